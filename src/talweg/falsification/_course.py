"""What the claims say about a run of gradient descent, for floats and for Arb balls alike.

Every comparison reads ``left <= right``. With f the named loss above its infimum, S_k the length of
the path, R the radius, and t the target (T7, T13) or floor (T9), 0 where there is none:

* while f_k > t: |w_k - w0| <= R and S_k <= R (the theorems bound the path); a step at the stated
  size has f_{k+1} <= rate f_k and <= (1 - one_minus_rate) f_k; ceil(halving_steps) steps halve f;
* the first iterate with f <= t lies within the overshoot radius (T7, T13) or R (T9);
* after steps_upper steps some iterate had f <= t.

Comparisons of balls are False where they are not certain, so nothing is concluded from a doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from talweg.falsification._stated import Stated

RATE, RADIUS, PATH, HALVING, END = (
    "descent: rate", "descent: radius", "descent: path", "descent: halving", "descent: steps",
)  # fmt: skip
STATEMENTS = {
    RATE: "a step at the stated size shrinks the loss by less than the stated fraction",
    RADIUS: "an iterate leaves the stated ball",
    PATH: "the path is longer than the radius",
    HALVING: "halving_steps steps do not halve the loss",
    END: "the target or floor is not reached within steps_upper steps",
}


@dataclass(frozen=True)
class Iterate:
    """One iterate: loss above the infimum, distance from w0, length of the path to it."""

    loss: Any
    distance: Any
    path: Any


class Course:
    """The comparisons that successive iterates of one run allow.

    Args:
        found: The claims.
        number: Turns a float into the kind of number that the iterates hold.
        certified: Whether the run uses the stated step size, not a smaller one.
        first: w0.
    """

    def __init__(
        self, found: Stated, number: Callable[[float], Any], *, certified: bool, first: Iterate
    ) -> None:
        claims = found.claims
        self.number, self.certified, self.theorem = number, certified, found.theorem
        self.end = number(claims.get("target_loss", claims.get("floor", 0.0)))
        self.radius = number(claims["radius"])
        self.last_radius = number(claims.get("overshoot_radius", claims["radius"]))
        self.rates = (number(claims["rate"]), 1 - number(claims["one_minus_rate"]))
        self.halving = math.ceil(claims["halving_steps"])
        self.steps = claims.get("steps_upper", math.inf)
        self.first = self.before = first
        self.k = 0

    @property
    def running(self) -> bool:
        """Whether the latest iterate is certainly above target or floor."""
        return bool(self.before.loss > self.end)

    def step(self, after: Iterate) -> Iterator[tuple[str, Any, Any]]:
        """Take the next iterate; call only while `running`.

        Yields:
            Name, left and right of every comparison.
        """
        before, self.before, self.k = self.before, after, self.k + 1
        arrived = bool(after.loss <= self.end)
        if not arrived and not self.running:
            return  # a ball across the target: both cases are open
        if self.certified and (not arrived or self.theorem == "T9"):
            for rate in self.rates:
                yield RATE, after.loss, rate * before.loss
        yield RADIUS, after.distance, self.last_radius if arrived else self.radius
        if not arrived or self.theorem not in ("T7", "T13"):
            yield PATH, after.path, self.radius
        if self.certified and not arrived:
            if self.k == self.halving:
                yield HALVING, 2 * after.loss, self.first.loss
            if self.k >= self.steps:
                yield END, after.loss, self.end
