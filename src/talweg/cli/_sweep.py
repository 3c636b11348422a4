"""``talweg sweep``: many small trainings at once, from the command line."""

from __future__ import annotations

import contextlib
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from talweg import init
from talweg._errors import InputError
from talweg.cli._console import print_json, print_result, stdout_console, table
from talweg.cli._outcome import DONE
from talweg.cli._paths import make_writable_folder
from talweg.cli._plain_progress import plain_progress
from talweg.cli._progress import redrawn
from talweg.cli._spec import any_model_run, load_problem
from talweg.sweep import INITIALISERS, Sweep, SweepResult

_RANGE = re.compile(r"(\d+):(\d+)")


def run_sweep(
    spec: str, out: Path, axes: list[str], chosen: dict[str, Any], *,
    jobs: int, fresh: bool, quiet: bool = False, as_json: bool,
) -> int:  # fmt: skip
    """Train a specification's model at every point of a grid and print one line per setting.

    Args:
        spec: The specification.
        out: Folder for the tables; an interrupted sweep is taken up there.
        axes: Axes of the grid as ``NAME=VALUES``.
        chosen: Arguments of `talweg.sweep.Sweep` given on the command line.
        jobs: Processes.
        fresh: Start anew where the folder holds another sweep.
        quiet: No progress on stderr.
        as_json: Print one JSON object instead of a table.

    Returns:
        The exit code, 0: a run that diverges is a result.

    Raises:
        TalwegError: As `load_problem` and `talweg.sweep.Sweep`, or ``out`` cannot be written.
    """
    grid: dict[str, Any] = {**parse_axes(axes)}
    begun = time.perf_counter()
    problem = load_problem(spec)
    settings = {k: v for k, v in problem.settings.items() if k in ("loss", "target")} | chosen
    names = grid.get("init", [])
    if len(set(names)) == len(names) > 0:  # what is repeated is refused by the sweep
        grid["init"] = {str(name): _initialiser(name) for name in names}
    with contextlib.redirect_stdout(sys.stderr):
        with any_model_run(spec, "talweg sweep"):
            sweep = Sweep(problem.model, (problem.X, problem.y), grid, **settings)
        make_writable_folder(out, "--out of talweg sweep")
        with any_model_run(spec, "talweg sweep"), _progress(quiet) as progress:
            result = sweep.run(out, jobs=jobs, progress=progress, fresh=fresh)
    groups = _groups(result, [name for name in grid if name != "seed"])
    seconds = time.perf_counter() - begun
    if as_json:
        record = {
            "runs": sweep.size, "taken_over_chunks": result.taken_over, "settings": groups,
            "summary": str(out / "summary.parquet"), "shards": str(out / "shards"),
            "seconds": seconds,
        }  # fmt: skip
        print_json(record)
        return DONE
    shown = table(*groups[0])
    for group in groups:
        shown.add_row(*(_cell(value) for value in group.values()))
    print_result(shown)
    again = " (some of them by an earlier run)" if result.taken_over else ""
    for line in (
        f"{sweep.size} trainings{again}, {seconds:.1f} s",
        f"one row per training: {out / 'summary.parquet'}",
        f"one row per training and recorded step: {out / 'shards'}",
    ):
        stdout_console().print(line, soft_wrap=True)
    return DONE


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[bool | Callable[[int, int], None]]:
    """What `talweg.sweep.Sweep.run` is to do about progress: a bar, plain lines, or nothing."""
    if quiet or redrawn(Console(file=sys.stderr)):
        yield not quiet
        return
    with plain_progress("talweg sweep") as say:
        yield lambda done, total: say(f"{done:,} of {total:,} trainings done")


def parse_axes(axes: list[str]) -> dict[str, list[Any]]:
    """The grid that the options ``--grid NAME=VALUES`` describe.

    Values are separated by commas; ``a:b`` stands for the integers from a to b - 1.

    Raises:
        InputError: One of them is no such text, or an axis is given twice.
    """
    grid: dict[str, list[Any]] = {}
    for text in axes:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or not values.strip() or name in grid:
            raise InputError(
                "--grid of talweg sweep must be AXIS=VALUES, each axis once; got "
                f"{text!r}. Write for example --grid seed=0:100 --grid lr=0.01,0.1."
            )
        grid[name] = [value for part in values.split(",") for value in _values(part.strip())]
    return grid


def _initialiser(name: Any) -> Any:
    """A name that `talweg.sweep` knows, or the function of `talweg.init` behind it."""
    if name in INITIALISERS:
        return name
    return getattr(init, f"{name}_", name)


def _values(text: str) -> list[Any]:
    interval = _RANGE.fullmatch(text)
    if interval:
        return list(range(int(interval[1]), int(interval[2])))
    for kind in (int, float):
        try:
            return [kind(text)]
        except ValueError:
            continue
    return [text]


def _groups(result: SweepResult, axes: list[str]) -> list[dict[str, Any]]:
    """One line for each setting but the seed."""
    rows = result.summary.to_pylist()

    def setting(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in axes)

    ranks = {key: rank for rank, key in enumerate(dict.fromkeys(map(setting, rows)))}
    rows.sort(key=lambda row: ranks[setting(row)])
    groups = []
    for key, members in groupby(rows, setting):
        listed = list(members)
        ends = [row["status"] for row in listed]
        groups.append(
            {
                **dict(zip(axes, key, strict=True)),
                "runs": len(listed),
                "reached": ends.count("reached"),
                "diverged": ends.count("diverged"),
                "median_last_step": statistics.median(row["last_step"] for row in listed),
                "median_final_loss": _median_loss(listed),
            }
        )
    return groups


def _median_loss(rows: list[dict[str, Any]]) -> float:
    """The median with diverged runs as infinite, which is where they were heading."""
    return statistics.median(
        float("inf") if row["status"] == "diverged" else row["final_loss"] for row in rows
    )


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
