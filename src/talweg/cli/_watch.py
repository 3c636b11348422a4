"""``talweg watch``."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from talweg.cli._console import stdout_console
from talweg.cli._outcome import DONE
from talweg.report import Follower, LiveView

Row = dict[str, Any]
POLLED = 0.5  # seconds between two looks at the file
PLAIN_EVERY = 5.0  # seconds between two lines where stdout is no terminal


def run_watch(file: Path, *, once: bool) -> int:
    """Show a record on stdout while it grows, until interrupted, or once; returns the exit code.

    Raises:
        InputError: the file cannot be read, or is no record.
    """
    follower = Follower(file, "FILE of talweg watch")
    view = LiveView(title=file.name, stream=sys.stdout, plain_every=PLAIN_EVERY)
    rows = follower.new_rows()  # a wrong file is refused before anything is drawn
    if once:
        for row in rows:
            view.summary.add(row)
        if view.on_terminal:
            stdout_console().print(view.panel(clock=False))
        else:
            print(view.summary.line())
        return DONE
    with _ended_by_interrupt(), view:
        _follow(follower, view, rows)
    return DONE


def _follow(follower: Follower, view: LiveView, rows: list[Row]) -> None:
    """Until an interrupt, or until nobody reads."""
    restarts = 0
    while not view.broken:
        if follower.restarts != restarts:
            restarts = follower.restarts
            view.restart()
        for row in rows:
            view.summary.add(row)
        view.draw()
        time.sleep(POLLED)
        rows = follower.new_rows()


@contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """Ctrl-C and a request to terminate are the regular end."""
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
