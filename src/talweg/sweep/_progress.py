"""A progress bar on stderr, where stderr is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Called with the finished runs and all runs."""


@contextmanager
def progress_of(progress: bool | Progress) -> Iterator[Progress]:
    """What to call with the runs that are done: a given function, a bar, or nothing.

    Args:
        progress: A function, True for a bar on stderr (only on a terminal), or False.
    """
    if callable(progress):
        yield progress
        return
    if not progress or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("trainings"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )  # fmt: skip
    # rich would send stdout's text to stderr while the bar is shown.
    with Bar(
        *columns, console=Console(file=sys.stderr), redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task("trainings", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
