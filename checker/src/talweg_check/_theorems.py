"""The theorems, restated for the numbers of a certificate: one rule per kind of loss and theorem.

Every number is a binary64, so the inequalities are decided in exact rationals; the two with
logarithms in Arb. Each function returns nothing or raises: Invalid where an inequality is false.

With beta the stated step function, s(x) = sigma_min_lower - int_0^x beta and eta the step on the
loss that the rules speak of (for a squared loss |r|^2 / 2).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from talweg_check._claims import Numbers, contraction, require, require_power
from talweg_check._entropy_rules import t4_entropy, t13
from talweg_check._grammar import Certificate
from talweg_check._squared_rules import t4, t7, t9


def require_theorem(certificate: Certificate) -> None:
    """Raises Invalid unless the theorem follows from the claims about the network at w0."""
    n = Numbers(certificate)
    require(n.radius <= n.pieces[-1][0], "radius lies within the listed radii")
    require(n.s(n.radius) > 0, "s(radius) > 0")
    RULES[certificate.loss.kind, certificate.theorem](n)
    gain = n.claims["one_minus_rate"]
    require(gain <= 1, "one_minus_rate <= 1")
    require(n.claims["rate"] >= 1 - gain, "rate >= 1 - one_minus_rate")
    # (1 - gain)^halving_steps <= 1/2
    require_power(gain, n.claims["halving_steps"], Fraction(1, 2), "halving_steps is large enough")


def t11(n: Numbers) -> None:
    """Squared loss: GD with eta |J|^2 <= 1 on the ball contracts |r| by 1 - eta s(R)^2."""
    reach, residual = n.s_integral(n.radius), n.claims["residual_norm_upper"]
    require(reach >= residual, "int_0^radius s >= residual_norm_upper")
    contraction(n)


RULES: dict[tuple[str, str], Callable[[Numbers], None]] = {
    ("squared", "T11"): t11,
    ("squared", "T4"): t4,
    ("squared", "T7"): t7,
    ("squared", "T9"): t9,
    ("cross_entropy", "T4"): t4_entropy,
    ("cross_entropy", "T13"): t13,
}
