"""The court for functions of numbers: exact restatements in Arb, every comparison decided or not.

A routine is asked with drawn arguments at Arb's usual precision. A restatement of its theorem,
written from the formulas alone, then says for each number of the answer on which side of the exact
one it lies. The restatement is evaluated at 256 bits, and again at more where Arb cannot decide.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flint import arb, ctx
from tests.soundness.shard import Shard, Tally

from talweg import InputError
from talweg.theory import Hypothesis, Status, Verdict

Number = arb | float | int
Answer = bool | None
Claim = tuple[str, Answer]
Entry = tuple[str, Number, Number, bool]
PRECISIONS = (256, 1024, 8192)
INF = arb(math.inf)
ArgumentsT = TypeVar("ArgumentsT")


class Unresolved(Exception):
    """A case distinction of the restatement that Arb cannot decide at the precision set."""


def exact(x: Number) -> arb:
    """The number without rounding; floats and ints are exact in Arb."""
    return x if isinstance(x, arb) else arb(x)


def at_most(a: Number, b: Number) -> Answer:
    """Whether a <= b; None where the balls overlap, False for a NaN that the routine returned."""
    if _nan(a) or _nan(b):
        return False
    x, y = exact(a), exact(b)
    return True if x <= y else False if x > y else None


def below(a: Number, b: Number) -> Answer:
    """Whether a < b."""
    if _nan(a) or _nan(b):
        return False
    x, y = exact(a), exact(b)
    return True if x < y else False if x >= y else None


def decided(answer: Answer) -> bool:
    """The answer, for a case distinction."""
    if answer is None:
        raise Unresolved
    return answer


def smaller(a: arb, b: arb) -> arb:
    """The smaller number (exact also where Arb cannot tell which)."""
    return a.min(b)


def product(a: Number, b: Number) -> arb:
    """The product a b with 0 inf = 0: an infinity is a bound, never a value."""
    x, y = exact(a), exact(b)
    return arb(0) if x == 0 or y == 0 else x * y


def _nan(x: Number) -> bool:
    return isinstance(x, float) and math.isnan(x)


def rate_claims(
    one_minus: float, rate: float | None, halving: float | None, delta: arb
) -> Iterator[Claim]:
    """What is said of D_{k+1} <= (1 - delta) D_k: delta from below, 1 - delta above, halving."""
    yield "0 <= one_minus_rate_lower <= 1", at_most(0, one_minus) and at_most(one_minus, 1)
    yield "one_minus_rate_lower", at_most(one_minus, delta)
    if rate is not None:
        yield "loss_rate_upper", at_most(1 - delta, rate)
        yield "rate >= 1 - one_minus_rate", at_most(1 - exact(one_minus), rate)
    if halving is not None:
        yield from shrink_claims("halving_steps_upper", halving, delta, arb(2))


def shrink_claims(name: str, steps: float, delta: arb, ratio: arb) -> Iterator[Claim]:
    """(1 - delta)^steps <= 1 / ratio, for a whole number of steps."""
    yield name + " whole", steps == math.inf or (steps >= 0.0 and steps == math.floor(steps))
    if steps < math.inf and not delta >= 1 and not ratio <= 1:
        kept = exact(steps) * -((-delta).log1p()) if below(delta, 1) else arb("nan")
        yield name, at_most(ratio.log(), kept)


def hypothesis_claims(
    verdict: Verdict[Any], table: Mapping[str, Callable[[Hypothesis], Entry]]
) -> Iterator[Claim]:
    """Every hypothesis against the exact one of the same name; PROVED needs all of the table.

    An entry is ("known", x, inf, True) for x < inf, ("below", left, right, strict) or ("above",
    left, right, strict); the numbers in a hypothesis are rounded against the theorem.
    """
    for h in verdict.hypotheses:
        if h.name not in table:
            yield f"unknown hypothesis {h.name}", False
            continue
        kind, left, right, strict = table[h.name](h)
        if kind == "known":
            yield h.name + " finite", not h.holds or at_most(left, h.value)
            yield h.name + " finite", h.holds == (h.value < math.inf)
            continue
        first, second = (left, right) if kind == "below" else (right, left)
        if h.holds:
            yield h.name + " holds", below(first, second) if strict else at_most(first, second)
        up, down = (h.value, h.bound) if kind == "below" else (h.bound, h.value)
        yield h.name + " upper side", at_most(first, up)
        yield h.name + " lower side", at_most(down, second)
        if math.isfinite(h.margin) and exact(first).is_finite() and exact(second).is_finite():
            yield h.name + " margin", at_most(h.margin, exact(second) - exact(first))
        if h.missing_factor is not None and down > 0.0:
            yield (
                h.name + " missing factor",
                at_most(exact(first) / exact(second), h.missing_factor),
            )
    if verdict.status is Status.PROVED:
        names = {h.name for h in verdict.hypotheses}
        for name in table:
            yield f"{name} was asked", name in names
    yield "never refuted", verdict.status is not Status.REFUTED


def known(x: Number) -> Entry:
    """The premise x < inf."""
    return "known", x, INF, True


def less(left: Number, right: Number, *, strict: bool = True) -> Entry:
    """The hypothesis left < right, `value` bounding left."""
    return "below", left, right, strict


def more(left: Number, right: Number) -> Entry:
    """The hypothesis left > right, `value` bounding left."""
    return "above", left, right, True


@dataclass(frozen=True)
class Routine:
    """A function with its draws and its restatement.

    Attributes:
        draw: arguments from a generator; its representation is enough to repeat the question.
        ask: the routine under test.
        claims: the restatement: what has to hold of the answer.
        calls: questions in one batch.
        count_numbers: whether a case is a number compared (slow routines) or a call.
    """

    draw: Callable[[random.Random], Any]
    ask: Callable[[Any], Any]
    claims: Callable[[Any, Any], Iterable[Claim]]
    calls: int = 150
    count_numbers: bool = False

    def batch(self, seed: int) -> Tally:
        """The tally of one seed."""
        rng = random.Random(seed)
        counts = dict.fromkeys(("proved", "undecided verdicts", "refused", "undecided"), 0)
        asked, tracebacks = [], []
        for _ in range(self.calls):
            arguments = self.draw(rng)
            try:
                answer = self.ask(arguments)
            except InputError as error:
                if "Interval" not in str(error):  # a refusal speaks of the routine's own arguments
                    counts["refused"] += 1
                    continue
                tracebacks.append(f"{shown(arguments)}: {error}")
                continue
            except Exception as error:
                tracebacks.append(f"{shown(arguments)}: {type(error).__name__}: {error}")
                continue
            asked.append((arguments, answer))
            verdict = answer[0] if isinstance(answer, tuple) and answer else answer
            if isinstance(verdict, Verdict):
                name = "proved" if verdict.status is Status.PROVED else "undecided verdicts"
                counts[name] += 1
        cases, violations = 0, []
        for arguments, answer in asked:
            found = self._judged(arguments, answer)
            open_claims = sum(1 for _, holds in found if holds is None)
            wrong = [name for name, holds in found if holds is False]
            violations += [f"{name}: {shown(arguments)} -> {shown(answer)}" for name in wrong]
            counts["undecided"] += open_claims
            compared = len(found) - open_claims
            cases += compared if self.count_numbers else int(compared > 0 and not open_claims)
        return Tally(cases, tuple(violations), tuple(tracebacks), counts)

    def _judged(self, arguments: Any, answer: Any) -> list[Claim]:
        found: list[Claim] = []
        for bits in PRECISIONS:
            with ctx.workprec(bits):
                try:
                    found = [(name, holds) for name, holds in self.claims(arguments, answer)]
                except Unresolved:
                    found = [("case distinction", None)]
            if all(holds is not None for _, holds in found):
                return found
        return found


def shown(value: Any) -> str:
    """A value with its floats in hexadecimal."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, tuple | list):
        return "(" + ", ".join(shown(v) for v in value) + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Verdict):
        return f"{value.status} {shown(value.conclusion)} {value.hypotheses!r}"
    if hasattr(value, "__dataclass_fields__"):
        parts = (f"{n}={shown(getattr(value, n))}" for n in value.__dataclass_fields__)
        return f"{type(value).__name__}({', '.join(parts)})"
    return repr(value)


CALLS = 100_000
NUMBERS = 300_000
"""Goals: calls of a fast routine, or numbers compared of a slow one (5 to 45 a call)."""


def shard(
    name: str, routine: Routine, under_test: tuple[str, ...], *, goal: int | None = None
) -> Shard:
    """The routine as a shard of the campaign.

    Args:
        name: of the routine, "theory.squared_loss_converges".
        routine: draws, call and restatement.
        under_test: modules.
        goal: cases of the full campaign; None for the usual ones.
    """
    usual = NUMBERS if routine.count_numbers else CALLS
    return Shard(f"containment/{name}", under_test, usual if goal is None else goal, routine.batch)
