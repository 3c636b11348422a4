"""Progress on stderr: a running line on a terminal, plain lines now and then elsewhere.

Nothing of it goes to stdout. Colour is left out where ``NO_COLOR`` is set, by rich; plain lines
have none.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

from talweg.cli._plain_progress import plain_progress
from talweg.report import LiveView

Progress = Callable[[str], None]


@contextmanager
def progress_shown(command: str, *, quiet: bool = False) -> Iterator[Progress]:
    """A callback that shows the running stage on stderr.

    It also raises an interrupt again that foreign code swallowed: an exception raised in Python
    that was called from C may be lost there, and Ctrl-C with it.

    Args:
        command: Such as "talweg certify".
        quiet: Whether nothing is shown.
    """
    with _interrupts_noted() as interrupted, stages_shown(command, quiet=quiet) as (show, _):

        def go_on(stage: str) -> None:
            if interrupted():
                raise KeyboardInterrupt
            show(stage)

        yield go_on


@contextmanager
def stages_shown(command: str, *, quiet: bool) -> Iterator[tuple[Progress, Status | None]]:
    """The callback without the interrupts, and the running line where there is one.

    Args:
        command: Such as "talweg reproduce".
        quiet: Whether nothing is shown.
    """
    console = Console(file=sys.stderr, highlight=False)
    if quiet:
        yield lambda _: None, None
    elif not redrawn(console):
        with plain_progress(command) as say:
            yield say, None
    else:
        with console.status("starting") as status:
            # As Text, because brackets in a string would be read as markup.
            yield lambda stage: status.update(Text(f"{stage} ...")), status


@contextmanager
def run_shown(
    title: str, steps: int, *, quiet: bool = False
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A callback that shows the rows of a Monitor on stderr.

    As `progress_shown` for interrupts.

    Args:
        title: Of the panel, and in front of plain lines.
        steps: Of the whole run.
        quiet: Whether nothing is shown.
    """
    if quiet or not redrawn(Console(file=sys.stderr)):
        with progress_shown(title, quiet=quiet) as say:
            yield lambda row: say(f"training a copy, step {row.get('step', 0.0):,.0f} of {steps:,}")
        return
    with (
        _interrupts_noted() as interrupted,
        LiveView(total=steps, title=title, plain_every=None) as view,
    ):

        def show(row: Mapping[str, Any]) -> None:
            if interrupted():
                raise KeyboardInterrupt
            view.update(row)

        yield show


def redrawn(console: Console) -> bool:
    """Whether there is a terminal on which a line can be drawn again.

    Args:
        console: On the stream in question.
    """
    return console.file.isatty() and not console.is_dumb_terminal


@contextmanager
def _interrupts_noted() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed in the meantime; the handler of the main thread only."""
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    in_charge = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if in_charge:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        if in_charge:
            signal.signal(signal.SIGINT, signal.default_int_handler)
