"""What a theorem function returns: a status, its conclusion in numbers, and every hypothesis.

A theorem is a sufficient condition. When all of its hypotheses were shown the verdict is PROVED and
carries a conclusion; when one of them was not, the verdict is UNDECIDED and names it. REFUTED is
kept for a proof of the negation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Generic, Literal, TypeVar

from talweg._display import Grid, Sheet, Shown
from talweg._errors import InputError
from talweg.enclosure import Interval

Grounds = Literal["computed", "assumed"]
ConclusionT = TypeVar("ConclusionT")
ConclusionT_co = TypeVar("ConclusionT_co", covariant=True)


class Status(Enum):
    """The three answers a theorem can give."""

    PROVED = "PROVED"
    REFUTED = "REFUTED"
    UNDECIDED = "UNDECIDED"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One hypothesis of a theorem, as it was checked on numbers.

    Args:
        name: the argument or inequality it speaks of; stable, for programs.
        statement: the hypothesis as a formula, for people.
        value: the side that was measured, rounded against the theorem.
        bound: the side it is compared with, rounded against the theorem.
        margin: the distance by which it holds, rounded down; negative when it fails.
        holds: whether it was shown.
        grounds: "computed" when `value` rests on an enclosure, "assumed" when the caller says so.
        missing_factor: value / bound rounded up, for "value below bound" with bound > 0: how many
            times too large `value` is. None where a ratio says nothing.
    """

    name: str
    statement: str
    value: float
    bound: float
    margin: float
    holds: bool
    grounds: Grounds = "computed"
    missing_factor: float | None = None

    @classmethod
    def below(
        cls, name: str, statement: str, value: float, bound: float, *, strict: bool = True
    ) -> Hypothesis:
        """The hypothesis ``value < bound`` (``<=`` when not strict), with its missing factor.

        Args:
            name: see the class.
            statement: see the class.
            value: upper bound of the left side.
            bound: lower bound of the right side.
            strict: whether equality fails.
        """
        margin = (Interval.point(bound) - Interval.point(value)).lo
        holds = bool(value < bound) if strict else bool(value <= bound)
        factor = (Interval.point(value) / Interval.point(bound)).hi if bound > 0.0 else None
        return cls(name, statement, value, bound, margin, holds, "computed", factor)

    @classmethod
    def above(cls, name: str, statement: str, value: float, bound: float) -> Hypothesis:
        """The hypothesis ``value > bound``, `value` being a lower bound of the left side.

        Args:
            name: see the class.
            statement: see the class.
            value: lower bound of the left side.
            bound: upper bound of the right side.
        """
        margin = (Interval.point(value) - Interval.point(bound)).lo
        return cls(name, statement, value, bound, margin, bool(value > bound))

    @classmethod
    def known(cls, name: str, statement: str, value: float) -> Hypothesis:
        """The premise that `value` is a finite upper bound of what the statement names.

        Args:
            name: see the class.
            statement: see the class.
            value: the upper bound; infinity means that none is known.
        """
        holds = bool(value < float("inf"))
        return cls(name, statement, value, float("inf"), float("inf") if holds else 0.0, holds)

    def assumed(self) -> Hypothesis:
        """The same hypothesis, marked as resting on the caller's word."""
        return Hypothesis(
            self.name, self.statement, self.value, self.bound, self.margin, self.holds,
            "assumed", self.missing_factor,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class Verdict(Shown, Generic[ConclusionT_co]):
    """The answer of one theorem. It has no truth value: read `status`.

    Args:
        status: PROVED, REFUTED or UNDECIDED.
        conclusion: the numbers proved; None when nothing was.
        hypotheses: those that were evaluated, in the order of the theorem. After a failed one,
            hypotheses that depend on it are left out.
        source: the theorem's id and its key in the literature.

    Raises:
        InputError: PROVED without a conclusion or with a failed hypothesis, UNDECIDED with a
            conclusion or without a failed hypothesis.
    """

    status: Status
    conclusion: ConclusionT_co | None
    hypotheses: tuple[Hypothesis, ...]
    source: str

    def __post_init__(self) -> None:
        failed = any(not h.holds for h in self.hypotheses)
        if self.status is Status.PROVED:
            consistent = self.conclusion is not None and not failed
        elif self.status is Status.UNDECIDED:
            consistent = self.conclusion is None and failed
        else:
            consistent = True
        if not consistent:
            raise InputError(
                "`status` of Verdict(...) must be PROVED exactly when every hypothesis holds and a "
                f"conclusion is given, UNDECIDED when one fails and none is given; got "
                f"{self.status} with failed hypotheses {[h.name for h in self.failed]} and "
                f"conclusion {self.conclusion!r}. Build verdicts with the theorem functions."
            )

    def __bool__(self) -> bool:
        raise TypeError(
            "A Verdict has no truth value: UNDECIDED is neither true nor false. "
            f"This one is {self.status}; compare `verdict.status` with Status.PROVED."
        )

    @property
    def failed(self) -> tuple[Hypothesis, ...]:
        """The hypotheses that were evaluated and not shown."""
        return tuple(h for h in self.hypotheses if not h.holds)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Names of the hypotheses that rest on the caller's word."""
        return tuple(h.name for h in self.hypotheses if h.grounds == "assumed")

    @property
    def missing_factor(self) -> float | None:
        """How many times too large the left side of the criterion is (at most 1: it is not)."""
        return next((h.missing_factor for h in self.hypotheses if h.name == "criterion"), None)

    @property
    def reason(self) -> str:
        """One sentence: what was proved on, or which hypothesis was not shown and by how much."""
        if not self.failed:
            return f"{self.source}: every hypothesis was shown."
        h = self.failed[0]
        text = f"{self.source}: not shown: {h.name} ({h.statement}); {h.value:.6g}"
        text += f" against {h.bound:.6g}, margin {h.margin:.3g}"
        if h.missing_factor is not None:
            text += f", missing factor {h.missing_factor:.4g}"
        return text + "."

    def _sheet(self) -> Sheet:
        rows = [("status", str(self.status)), ("reason", self.reason)]
        if is_dataclass(self.conclusion):
            for field in fields(self.conclusion):
                value = getattr(self.conclusion, field.name)
                if isinstance(value, int | float | str):
                    rows.append((field.name, str(value)))
        grid = Grid(
            ("hypothesis", "statement", "value", "bound", "margin", "shown"),
            [_cells(h) for h in self.hypotheses],
            numbers=frozenset({2, 3, 4}),
        )
        return Sheet.of_status(f"theorem {self.source}", str(self.status), rows, grid)


def _cells(h: Hypothesis) -> tuple[str, ...]:
    shown = ("assumed" if h.grounds == "assumed" else "yes") if h.holds else "no"
    return h.name, h.statement, f"{h.value:.6g}", f"{h.bound:.6g}", f"{h.margin:.3g}", shown


def decide(
    source: str,
    hypotheses: Sequence[Hypothesis],
    assumed: frozenset[str],
    conclusion: Callable[[], ConclusionT] | None = None,
) -> Verdict[ConclusionT]:
    """PROVED with ``conclusion()`` when every hypothesis holds, else UNDECIDED.

    Args:
        source: the theorem.
        hypotheses: those evaluated so far.
        assumed: names of hypotheses that rest on the caller's word.
        conclusion: called only when all hold; left out on an early exit.
    """
    marked = tuple(h.assumed() if h.name in assumed else h for h in hypotheses)
    if conclusion is not None and all(h.holds for h in marked):
        return Verdict(Status.PROVED, conclusion(), marked, source)
    return Verdict(Status.UNDECIDED, None, marked, source)
