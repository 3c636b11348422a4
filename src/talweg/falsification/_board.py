"""What the attacks of one search share: their effort, the clock, the tally of what was tried."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from talweg.falsification._result import AttackResult, Violation

PRECISIONS = (256, 1024)
"""Bits at which a candidate is judged, in this order."""

CLOSE = 1.0 - 1e-9
"""A float64 ratio above this is worth a judgement in Arb."""


@dataclass(frozen=True)
class Effort:
    """How hard one round tries.

    Attributes:
        restarts: Starting points of each ball attack.
        iterations: Ascent steps from each.
        exact_seconds: Aimed at for descents in Arb, at least a few steps are made.
        exact_steps: Descent steps in Arb at most.
        float_steps: Descent steps in float64 at most.
    """

    restarts: int = 16
    iterations: int = 60
    exact_seconds: float = 0.5
    exact_steps: int = 50
    float_steps: int = 500


QUICK = Effort(restarts=6, iterations=8, exact_seconds=0.02, exact_steps=8, float_steps=16)
"""For very many small certificates."""


@dataclass
class _Line:
    ratio: float = -math.inf
    points: int = 0
    seconds: float = 0.0


@dataclass
class Board:
    """The tally of one search; attacks write into it as they go, so that it survives Ctrl-C."""

    say: Callable[[str], None]
    deadline: float
    violation: Violation | None = None
    lines: dict[str, _Line] = field(default_factory=dict)
    begun: float = field(default_factory=time.perf_counter)

    def over(self) -> bool:
        """Whether to stop: time is up or a violation is proved."""
        return self.violation is not None or time.perf_counter() > self.deadline

    def compared(self, attack: str, ratio: float, points: int = 1) -> None:
        """Count comparisons and keep the closest ratio; NaN counts as no comparison."""
        line = self.lines.setdefault(attack, _Line())
        if not math.isnan(ratio):
            line.points += points
            line.ratio = max(line.ratio, ratio)

    @contextmanager
    def timed(self, *attacks: str) -> Iterator[None]:
        """Spread the time of a block evenly over attacks."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            for attack in attacks:
                line = self.lines.setdefault(attack, _Line())
                line.seconds += (time.perf_counter() - begun) / len(attacks)

    def results(self) -> tuple[AttackResult, ...]:
        """One line for each attack that was begun."""
        return tuple(
            AttackResult(
                name, line.ratio if line.ratio > -math.inf else None, line.points, line.seconds
            )
            for name, line in self.lines.items()
        )


def ratio_approx(left: Any, right: Any) -> float:
    """left / right for numbers >= 0, Arb or float; above 1 where the claim left <= right fails."""
    a, b = _float(left), _float(right)
    if math.isnan(a) or math.isnan(b):
        return math.nan
    if b <= 0.0:
        return 0.0 if a <= b else math.inf
    return a / b


def _float(x: Any) -> float:
    return x if isinstance(x, float) else float(x.mid())
