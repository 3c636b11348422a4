"""Questions put to one routine, and the tally of the answers."""

from __future__ import annotations

import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.soundness.containment.draws import threads
from tests.soundness.shard import Shard, Tally
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import Ball

MOST_LINES = 40  # of violations that one batch writes out; the others are counted


@dataclass
class Record:
    """What a batch has found so far."""

    cases: int = 0
    violations: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def check(self, holds: bool, *parts: object) -> None:
        """One decided question; the parts tell how to put it again."""
        self.cases += 1
        if not holds:
            self.counts["wrong"] += 1
            if len(self.violations) < MOST_LINES:
                self.violations.append(" ".join(map(_written, parts)))

    def undecided(self) -> None:
        """One question that the referee could not decide."""
        self.counts["undecided"] += 1

    def call(self, routine: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What the routine returns, or None when it raises."""
        try:
            return routine(*arguments, **named)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            line = f"{type(error).__name__} at {where.name}:{where.lineno}: {str(error)[:200]}"
            self.tracebacks.append(f"{_name(routine)}{arguments!r:.300}: {line}")
            return None

    def refuses(self, routine: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """One question whose right answer is an InputError."""
        try:
            routine(*arguments, **named)
        except InputError:
            self.counts["refused"] += 1
            self.check(True)
        else:
            self.check(False, _name(routine), f"accepted {arguments!r:.300}")

    def tally(self) -> Tally:
        """The record as a tally."""
        return Tally(self.cases, tuple(self.violations), tuple(self.tracebacks), dict(self.counts))


Question = Callable[[np.random.Generator, Record], None]


QUESTIONS: dict[str, Question] = {}


def shard(
    routine: str,
    under_test: tuple[str, ...],
    question: Question,
    repeats: int,
    goal: int = 100_000,
    *,
    threaded: int = 4,
) -> Shard:
    """The shard "containment/<routine>" whose batch puts a question `repeats` times.

    One seed in `threaded` computes in two threads.
    """
    QUESTIONS[routine] = question

    def batch(seed: int) -> Tally:
        with threads(int(seed % threaded == threaded - 1)):
            return answers(routine, seed, repeats)

    return Shard(f"containment/{routine}", under_test, goal, batch)


def answers(routine: str, seed: int, repeats: int) -> Tally:
    """What the question of a routine finds when it is put `repeats` times."""
    rng = np.random.default_rng([seed, zlib.crc32(routine.encode())])
    record = Record()
    for _ in range(repeats):
        QUESTIONS[routine](rng, record)
    record.violations = [f"seed {seed}: {line}" for line in record.violations]
    return record.tally()


def _name(routine: Callable[..., Any]) -> str:
    return getattr(routine, "__name__", repr(routine))


def _written(part: object) -> str:
    """Floats in hexadecimal, whatever holds them; large whole numbers too."""
    if isinstance(part, Ball):
        return f"Ball(mid={_written(part.mid)}, rad={_written(part.rad)})"
    if isinstance(part, Tensor):
        return _written(part.tolist())
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(_written, part))}]"
    if isinstance(part, float):
        return part.hex()
    return hex(part) if isinstance(part, int) and abs(part) > 2**53 else str(part)
