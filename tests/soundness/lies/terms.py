"""The theorems' inequalities once more, in exact rationals, and the last binary64 that obeys each.

A theorem is a list of rules, in the order in which its claims follow from one another. A rule
says which numbers a claim may be, so that its edge is two neighbouring binary64: one that
holds, and one that is a lie by a single unit in the last place.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from flint import arb, ctx, fmpq

BITS = 600  # of Arb, for the inequalities with logarithms
Claims = dict[str, Fraction]


@dataclass
class Terms:
    """What a certificate says of the network at w0, and of its loss."""

    sigma: Fraction
    jacobian_norm: Fraction
    pieces: list[tuple[Fraction, Fraction]]
    unit: Fraction
    start: Fraction  # residual norm, gap or loss
    further: dict[str, Any] = field(default_factory=dict)

    def beta_integral(self, x: Fraction) -> Fraction:
        """int_0^x beta."""
        total, before = Fraction(0), Fraction(0)
        for end, beta in self.pieces:
            total += beta * (min(x, end) - before) if x > before else 0
            before = end
        return total

    def beta(self, x: Fraction) -> Fraction:
        """The beta of the first piece that reaches x."""
        return next(beta for end, beta in self.pieces if end >= x)

    def s(self, x: Fraction) -> Fraction:
        """sigma - int_0^x beta."""
        return self.sigma - self.beta_integral(x)

    def s_integral(self, x: Fraction) -> Fraction:
        """int_0^x s, piece by piece, s being linear on each."""
        corners = [Fraction(0), *(end for end, _ in self.pieces if end < x), x]
        return sum(
            ((b - a) * (self.s(a) + self.s(b)) / 2 for a, b in itertools.pairwise(corners)),
            Fraction(0),
        )  # fmt: skip

    def top(self, x: Fraction) -> Fraction:
        """A bound of |J| on the ball of radius x."""
        return self.jacobian_norm + self.beta_integral(x)


def ball(x: Fraction) -> arb:
    """The rational as an Arb ball."""
    return arb(fmpq(x.numerator, x.denominator))


def proved(left: Callable[[], arb], right: Callable[[], arb]) -> bool:
    """Whether left >= right, shown with many digits."""
    with ctx.workprec(BITS):
        return bool(left() >= right())


@dataclass(frozen=True)
class Rule:
    """Which numbers one claim may be, given those before it.

    Attributes:
        claim: Its name.
        greatest: Whether the claim gets stronger upwards.
        holds: The inequality.
        reason: What the checker says where it is broken.
        integer: Whether only integers are claimed.
    """

    claim: str
    greatest: bool
    holds: Callable[[Terms, Claims], bool]
    reason: str
    integer: bool = False

    def edge(self, terms: Terms, claims: Claims, top: float = 1e300) -> tuple[float, float]:
        """The strongest number that holds, and its stronger neighbour, which does not."""

        def good(x: float) -> bool:
            return self.holds(terms, {**claims, self.claim: Fraction(x)})

        if self.integer:
            weak, strong = 2**52, 0
            while weak - strong > 1:
                middle = (weak + strong) // 2
                weak, strong = (middle, strong) if good(middle) else (weak, middle)
            return float(weak), float(strong)
        weak, strong = (0, _place(top)) if self.greatest else (_place(top), 0)
        if not good(_float(weak)) and not self.greatest:
            raise ValueError(f"no {self.claim} up to {top} holds")
        while abs(weak - strong) > 1:
            middle = (weak + strong) // 2
            weak, strong = (middle, strong) if good(_float(middle)) else (weak, middle)
        return _float(weak), _float(strong)


def _place(x: float) -> int:
    """The position of a nonnegative binary64 among all of them."""
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def _float(place: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", place))[0])


Planted = Mapping[str, Callable[[Terms, Claims], float]]


def derived(terms: Terms, rules: list[Rule], given: Claims, planted: Planted) -> Claims:
    """All claims, each at its edge, but for the planted ones; what follows builds on those.

    Raises:
        ValueError: A planted number obeys its rule, so that it is no lie.
    """
    claims = dict(given)
    for rule in rules:
        last = float(terms.pieces[-1][0])
        top = last if rule.claim in ("radius", "overshoot_radius") else 1e300
        if rule.claim in planted:
            claims[rule.claim] = Fraction(planted[rule.claim](terms, dict(claims)))
            if rule.holds(terms, claims):
                raise ValueError(f"the planted {rule.claim} is no lie")
        else:
            claims[rule.claim] = Fraction(rule.edge(terms, claims, top)[0])
    return claims


def beyond(rule: Rule) -> Planted:
    """The claim one unit in the last place (or one step) stronger than what holds."""

    def neighbour(terms: Terms, claims: Claims) -> float:
        last = float(terms.pieces[-1][0])
        return rule.edge(terms, claims, last if rule.claim.endswith("radius") else 1e300)[1]

    return {rule.claim: neighbour}


def floats(claims: Claims) -> dict[str, float]:
    """The claims as binary64, which they are."""
    found = {name: float(value) for name, value in claims.items()}
    assert all(Fraction(found[name]) == value for name, value in claims.items())
    assert all(math.isfinite(value) for value in found.values())
    return found
