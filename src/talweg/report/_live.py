"""A run as it goes, in the terminal: a panel that is redrawn, or a plain line now and then."""

from __future__ import annotations

import contextlib
import errno
import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from talweg.report._series import Row, shown_name
from talweg.report._summary import Summary, sparkline

REDRAWN = 0.25  # seconds between two drawings at least: a drawing takes some milliseconds
PLAIN_EVERY = 30.0  # seconds between two lines where there is no terminal
WIDTH = 76
BAR = 20


class _Console(Console):
    """One that says so when its reader is gone; rich's own would end the program."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "the terminal is gone")


class LiveView:
    """Shows the rows of a run on a terminal while they arrive; elsewhere a line now and then.

        with LiveView(total=400) as view:
            view.update(row)

    The cursor is shown again and the last panel stays, however the block ends. A stream that breaks
    ends the view, not the run. Colour is left out where ``NO_COLOR`` is set, by rich.

    Args:
        total: Steps of the whole run, if known.
        title: Of the panel.
        stream: Where to draw; stderr if not given.
        plain_every: Seconds between two plain lines on what is no terminal; None for silence.
        clock: Seconds; for tests.

    Attributes:
        summary: What is known so far.
        broken: Whether the stream is gone.
    """

    def __init__(
        self,
        *,
        total: int | None = None,
        title: str = "talweg",
        stream: TextIO | None = None,
        plain_every: float | None = PLAIN_EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.title, self.plain_every, self.clock = total, title, plain_every, clock
        self.summary = Summary()
        self.stream = stream if stream is not None else sys.stderr
        self._console = _Console(file=self.stream, highlight=False)
        self._live: Live | None = None
        self.broken = False
        self._begun = self._drawn = clock()

    @property
    def on_terminal(self) -> bool:
        """Whether there is a terminal that can be redrawn."""
        try:
            return self.stream.isatty() and not self._console.is_dumb_terminal
        except ValueError:  # closed
            return False

    def __enter__(self) -> LiveView:
        self._begun = self.clock()
        self._drawn = self._begun if not self.on_terminal else self._begun - REDRAWN
        if self.on_terminal:
            self._live = Live(
                self.panel(), console=self._console, auto_refresh=False,
                # What is printed meanwhile goes above the panel, but never from a pipe onto it.
                redirect_stdout=sys.stdout.isatty(), redirect_stderr=sys.stderr.isatty(),
            )  # fmt: skip
            self._guarded(self._live.start)
        return self

    def __exit__(self, *details: object) -> None:
        live = self._live
        if live is not None:
            self._guarded(lambda: live.update(self.panel()))
            self._guarded(live.stop)
            self._live = None
        elif self.plain_every is not None and self.summary.looks:
            self._guarded(self._print_line)

    def update(self, row: Row, overhead: float | None = None) -> None:
        """Take in a row, and draw if it is time.

        Args:
            row: Of a Monitor.
            overhead: What watching cost so far.
        """
        self.summary.add(row)
        if overhead is not None:
            self.summary.overhead = overhead
        self.draw()

    def draw(self) -> None:
        """Draw if it is time."""
        now, live = self.clock(), self._live
        wait = REDRAWN if live is not None else self.plain_every
        if wait is None or now - self._drawn < wait:
            return
        self._drawn = now
        if live is not None:
            self._guarded(lambda: live.update(self.panel(), refresh=True))
        elif self.summary.looks:
            self._guarded(self._print_line)

    def restart(self) -> None:
        """Forget what came so far: another run begins."""
        self.summary = Summary()

    def panel(self, *, clock: bool = True) -> Panel:
        """The run so far.

        Args:
            clock: Whether to say since when it has been watched.
        """
        s = self.summary
        wide = min(WIDTH, self._console.width)
        grid = Table.grid(padding=(0, 1))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        step = f"{s.step:,.0f}" + (f" of {self.total:,}" if self.total else "")
        since = f", watched for {_seconds(self.clock() - self._begun)}" if clock else ""
        grid.add_row("step", f"{step}, {s.looks:,} looks{since}")
        if not s.looks:
            grid.add_row("", "nothing measured yet")
        ascii_only = self._console.options.ascii_only
        trend = "" if ascii_only else sparkline(s.losses, max(8, min(30, wide - 40)))
        for name, shown in (
            ("loss", Text.assemble(f"{s.loss:<20} ", (trend, "cyan"))),
            ("PL ratio", Text(s.value("pl_ratio", "pl_ratio_error"))),
            ("stability", self._stability(ascii_only)),
            ("noise scale", self._noise()),
            ("overhead", Text("" if s.overhead is None else f"{s.overhead:.1%} of the time")),
            ("finding", Text(s.finding)),
        ):
            if ascii_only:
                shown = Text(shown.plain.replace("±", "+-"))
            if shown.plain.strip():
                grid.add_row(name, shown)
        return Panel(
            grid, title=Text(shown_name(self.title)), title_align="left", width=wide, padding=(0, 1)
        )

    def _stability(self, ascii_only: bool) -> Text:
        value = self.summary.latest.get("stability")
        if value is None:
            return Text("")
        over = not value <= 1
        full, empty = ("#", ".") if ascii_only else ("█", "░")
        share = min(1.0, max(0.0, value)) if value == value else 1.0
        bar = full * round(BAR * share) + empty * (BAR - round(BAR * share))
        colour = "red" if over else "yellow" if value > 0.5 else "green"
        words = " of the limit" + (": above it" if over else "")
        return Text.assemble(f"{value:<10.3g} ", (bar, colour), words)

    def _noise(self) -> Text:
        value, size = (self.summary.latest.get(key) for key in ("noise_scale", "batch_size"))
        if value is None:
            return Text("")
        batch = f" (batch {size:.0f})" if size is not None and size == size else ""
        return Text((f"{value:.3g}" if 0 < value < math.inf else "no signal") + batch)

    def _print_line(self) -> None:
        print(self.summary.line(self.total), file=self.stream, flush=True)

    def _guarded(self, draw: Callable[[], object]) -> None:
        """A terminal that is gone, or cannot show a letter, must not end the run."""
        if self.broken:
            return
        try:
            draw()
        except (OSError, ValueError):
            self.broken = True
            if self._live is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._live.stop()  # gives sys.stdout and sys.stderr back


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
