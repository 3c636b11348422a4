"""Where in a run a finding shows: the looks that meet its criterion, joined to stretches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from talweg.monitor._history import History
from talweg.monitor._rules_facts import MOST
from talweg.monitor._rules_run import SLOW

Flags = Sequence[tuple[int, bool]]
Stretches = tuple[tuple[int, int], ...]
AROUND = 2  # looks on either side: single looks are noisy


def stretches(kind: str, history: History) -> Stretches:
    """First and last step of each stretch that shows a finding of this kind.

    Findings about data, structure and the initial state, and those that no single look shows, hold
    for the whole run.

    Args:
        kind: One of `KINDS`.
        history: The rows of the run.
    """
    flags: Flags = ()
    more: Flags = ()
    curved = [(row["step"], row["stability"], row.get("negative", 0.0))
              for row in history.curvatures]  # fmt: skip
    if kind == "step_too_large":
        flags = [(step, over > 1) for step, over, _ in curved]
        more = [(step, not loss <= 2 * history.start) for step, loss in history.losses]
    elif kind == "step_too_small":
        flags = _smooth([(step, over < SLOW) for step, over, _ in curved])
    elif kind == "saddle":
        flags = _smooth([(step, -low > 0.2 * max(top, 0.0)) for step, top, low in curved])
    elif kind == "noise_floor":
        flags = _smooth([
            (row["step"], row["noise"] > 2 * row["batch_size"] * max(0.0, row["gradient_squared"]))
            for row in history.gradients
            if all(_number(row.get(key)) for key in ("noise", "batch_size"))
        ])  # fmt: skip
    elif kind in ("dead_units", "saturated_units"):
        key = kind.removesuffix("_units")
        worst = [
            max((unit[key] for unit in row["units"].values()), default=0.0) for row in history.units
        ]
        flags = [(row["step"], w >= MOST[key]) for row, w in zip(history.units, worst, strict=True)]
    found = _united([*_joined(flags), *_joined(more)])
    if found or not history.rows:
        return found
    return ((int(history.rows[0]["step"]), int(history.rows[-1]["step"])),)


def _smooth(flags: Flags) -> Flags:
    """What most of the looks around say."""
    made = []
    for i, (step, _) in enumerate(flags):
        near = [flag for _, flag in flags[max(0, i - AROUND) : i + AROUND + 1]]
        made.append((step, 2 * sum(near) > len(near)))
    return made


def _united(found: Sequence[tuple[int, int]]) -> Stretches:
    """Stretches that overlap become one."""
    made: list[tuple[int, int]] = []
    for begin, end in sorted(found):
        if made and begin <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((begin, end))
    return tuple(made)


def _joined(flags: Flags) -> Stretches:
    """Flags that follow one another become one stretch, up to the last look that shows it."""
    made: list[tuple[int, int]] = []
    open_ = False
    for step, flag in flags:
        if flag:
            made[-1:] = (
                [(made[-1][0], int(step))] if open_ else [*made[-1:], (int(step), int(step))]
            )
        open_ = flag
    return tuple(made)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
