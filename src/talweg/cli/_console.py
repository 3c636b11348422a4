"""Where output goes: results to stdout, progress to stderr, and progress on a terminal only."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from talweg.report import LiveView

Progress = Callable[[str], None]

PLAIN_WIDTH = 100
"""Columns of a table that is piped or redirected, where there is no terminal to ask."""


def stdout_console() -> Console:
    """A console on stdout: coloured on a terminal unless ``NO_COLOR`` is set, plain when piped."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


def print_result(result: object) -> None:
    """Print a result on stdout: as its rich table on a terminal, as plain lines when piped."""
    if sys.stdout.isatty():
        stdout_console().print(result)
    else:
        sys.stdout.write(plain_text(result))


def plain_text(result: object, width: int = PLAIN_WIDTH) -> str:
    """Text without colour or frames, for pipes and files: a table's cells, or ``str(result)``."""
    if not isinstance(result, Table):
        return f"{result}\n"
    console = Console(width=width, color_system=None, force_terminal=False, highlight=False)
    with console.capture() as capture:
        console.print(result)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table of right-aligned numbers without rules between rows."""
    made = Table(title=title, box=None, pad_edge=False, title_justify="left", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    return made


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on stdout; numbers that JSON cannot hold (inf, NaN) become null."""
    print(json.dumps(finite(record), allow_nan=False))


def finite(value: Any) -> Any:
    """A copy of plain data in which every float that is not finite is None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


@contextmanager
def progress_on_terminal() -> Iterator[Progress]:
    """A callback that shows the running stage on stderr, silent where stderr is no terminal.

    It also raises an interrupt again that foreign code swallowed: an exception raised in Python
    that was called from C may be lost there, and Ctrl-C with it.
    """
    with _interrupts_noted() as interrupted:

        def go_on() -> None:
            if interrupted():
                raise KeyboardInterrupt

        if not sys.stderr.isatty():
            yield lambda _: go_on()
            return
        console = Console(file=sys.stderr, highlight=False)
        with console.status("starting") as status:

            def show(stage: str) -> None:
                go_on()
                status.update(f"{stage} ...")

            yield show


@contextmanager
def run_on_terminal(title: str, steps: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A callback that shows the rows of a Monitor on stderr, silent where that is no terminal.

    As `progress_on_terminal` for interrupts.

    Args:
        title: Of the panel.
        steps: Of the whole run.
    """
    with (
        _interrupts_noted() as interrupted,
        LiveView(total=steps, title=title, plain_every=None) as view,
    ):

        def show(row: Mapping[str, Any]) -> None:
            if interrupted():
                raise KeyboardInterrupt
            view.update(row)

        yield show


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
