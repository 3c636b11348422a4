"""Progress where there is no terminal: a plain line now and then, for logs and batch systems.

    talweg certify:     9 s  bounds for the weights as given
    talweg certify:    19 s  bounds for the weights as given, for 10 s so far
    talweg certify:    31 s  bounds for the weights as given: took 22 s
    talweg certify:    31 s  attacking the Lipschitz bound
    talweg certify:    37 s  finished

Times are those since the command began. A command that is done within `PATIENCE` says nothing.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

PATIENCE = 5.0
"""Seconds without a word: what is over by then needs no progress."""
SPACING = 5.0
"""Seconds at least between the beginnings of two stages that are told."""
FIRST_REPEAT = 10.0
"""Seconds until a stage is told again, and at least between two lines of one stage; the end of a
stage that was shorter is not told."""
LAST_REPEAT = 60.0
"""The wait doubles up to this."""
TICK = 0.5
"""Seconds between two looks at the clock."""
LONGEST = 200
_NUMBERS = re.compile(r"\d[\d.,e+-]*")


class PlainProgress:
    """Decides when a line is due, and writes it; safe to be called from two threads.

    A stage is told when it begins, again and again while it lasts, and with its seconds when it is
    over, unless it was short: then its first line is all. Texts that differ in numbers alone are
    one stage. A stream that breaks ends the lines, not the work.

    Args:
        title: In front of every line.
        stream: Where to write.
        clock: Seconds; for tests.
    """

    def __init__(
        self, title: str, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._stream, self._clock = title, stream, clock
        self._lock = threading.Lock()
        self._begun = clock()
        self._text = self._key = ""
        self._entered = self._begun  # when the stage began
        self._is_told = False  # whether a line of this stage was written
        self._told: dict[str, float] = {}  # when a line of a stage was last written, by its key
        self._last = float("-inf")
        self._wait = FIRST_REPEAT
        self._broken = False

    def say(self, text: str) -> None:
        """Take in what is done now.

        Args:
            text: In few words.
        """
        with self._lock:
            text = "".join(c if c.isprintable() else " " for c in text[:LONGEST])
            key = _NUMBERS.sub("#", text)
            if key != self._key:
                self._end_stage()
                self._key, self._entered, self._is_told = key, self._clock(), False
                self._wait = FIRST_REPEAT
            self._text = text
            self._tell_if_due()

    def tick(self) -> None:
        """Look whether a line is due."""
        with self._lock:
            self._tell_if_due()

    def close(self) -> None:
        """Tell the end, where anything was told."""
        with self._lock:
            self._end_stage()
            if self._told:
                self._write(self._clock(), "finished")
            self._text = self._key = ""

    def _tell_if_due(self) -> None:
        now = self._clock()
        if not self._text or now - self._begun < PATIENCE:
            return
        before = self._told.get(self._key, float("-inf"))
        if self._is_told:
            if now - before >= self._wait:
                self._wait = min(2.0 * self._wait, LAST_REPEAT)
                self._tell(now, f"{self._text}, for {now - self._entered:.0f} s so far")
        elif now - self._last >= SPACING and now - before >= FIRST_REPEAT:
            lasted = now - self._entered
            for_long = f", for {lasted:.0f} s so far" if lasted >= 1.0 else ""
            self._is_told = True
            self._tell(now, self._text + for_long)

    def _end_stage(self) -> None:
        lasted = self._clock() - self._entered
        if self._is_told and lasted >= FIRST_REPEAT:
            self._write(self._clock(), f"{self._text}: took {lasted:.0f} s")

    def _tell(self, now: float, text: str) -> None:
        self._told[self._key] = self._last = now
        self._write(now, text)

    def _write(self, now: float, text: str) -> None:
        if self._broken:
            return
        try:
            print(f"{self._title}: {now - self._begun:5.0f} s  {text}", file=self._stream,
                  flush=True)  # fmt: skip
        except (OSError, ValueError):
            self._broken = True


@contextmanager
def plain_progress(title: str) -> Iterator[Callable[[str], None]]:
    """Plain lines on stderr while the block runs, whether or not the work says anything meanwhile.

    Args:
        title: In front of every line, such as "talweg certify".

    Yields:
        A function that takes what is done now.
    """
    progress, over = PlainProgress(title, sys.stderr), threading.Event()

    def watch() -> None:
        while not over.wait(TICK):
            progress.tick()

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield progress.say
    finally:
        over.set()
        watcher.join()
        progress.close()
