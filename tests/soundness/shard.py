"""One resumable piece of the campaign, and what a batch of it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tally:
    """What one batch found.

    Attributes:
        cases: Questions that were put and decided.
        violations: One line for each wrong answer, enough to put the question again.
        tracebacks: One line for each exception that is not a documented refusal.
        counts: Further counters.
    """

    cases: int = 0
    violations: tuple[str, ...] = ()
    tracebacks: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        names = [*self.counts, *(name for name in other.counts if name not in self.counts)]
        return Tally(
            self.cases + other.cases,
            self.violations + other.violations,
            self.tracebacks + other.tracebacks,
            {name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in names},
        )


@dataclass(frozen=True)
class Shard:
    """A question asked again and again with other seeds.

    Attributes:
        name: "area/subject".
        under_test: Dotted modules under test; counts are kept for one state of their sources.
        goal: Cases that the full campaign asks for.
        batch: The tally of one seed; deterministic, 1 to 20 seconds of one core.
    """

    name: str
    under_test: tuple[str, ...]
    goal: int
    batch: Callable[[int], Tally]
