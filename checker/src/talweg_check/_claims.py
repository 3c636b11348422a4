"""The numbers of a certificate as exact rationals, and how an inequality between them is decided.

Inequalities with logarithms and exponentials are decided in Arb, with more digits where needed.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from flint import arb, ctx

from talweg_check._arrays import rational
from talweg_check._grammar import Certificate
from talweg_check._verdict import Incomplete, Invalid


class Numbers:
    """The claims as exact rationals."""

    def __init__(self, certificate: Certificate) -> None:
        self.claims = {name: Fraction(value) for name, value in certificate.claims.items()}
        self.pieces = [(Fraction(end), Fraction(beta)) for end, beta in certificate.profile]
        self.radius, self.sigma = self.claims["radius"], self.claims["sigma_min_lower"]
        self.loss = certificate.loss
        self.unit = certificate.loss.unit
        self.eta = self.unit * self.claims["step_size"]

    def beta_integral(self, x: Fraction) -> Fraction:
        """int_0^x beta."""
        total = start = Fraction(0)
        for end, beta in self.pieces:
            total += beta * max(min(x, end) - start, Fraction(0))
            start = end
        return total

    def s(self, x: Fraction) -> Fraction:
        """A lower bound of the smallest singular value on B(w0, x)."""
        return self.sigma - self.beta_integral(x)

    def s_integral(self, x: Fraction) -> Fraction:
        """int_0^x s = sigma x - int_0^x (x - t) beta(t) dt."""
        total, start = self.sigma * x, Fraction(0)
        for end, beta in self.pieces:
            stop = max(min(x, end), start)  # start, where the piece lies beyond x
            total -= beta * ((x - start) ** 2 - (x - stop) ** 2) / 2
            start = end
        return total

    def jacobian(self, x: Fraction) -> Fraction:
        """An upper bound of |J| on B(w0, x)."""
        return self.claims["jacobian_norm_upper"] + self.beta_integral(x)


def require(holds: bool, statement: str) -> None:
    """Raises Invalid unless the inequality holds."""
    if not holds:
        raise Invalid(f"the claims do not satisfy: {statement}")


def require_at_least(left: Callable[[], arb], right: Callable[[], arb], statement: str) -> None:
    """Raises Invalid where left < right, Incomplete where no precision here decides."""
    for precision in (128, 1024, 8192):
        with ctx.workprec(precision):
            one, two = left(), right()
            if one >= two:
                return
            if one < two:
                require(False, statement)
    raise Incomplete(f"not decided: {statement}")


def contraction(n: Numbers) -> None:
    """With eta |J|^2 <= 1 on the ball a step leaves (1 - q) |r|: (1 - q)^2 = 1 - (2 q - q^2)."""
    require(n.eta * n.jacobian(n.radius) ** 2 <= 1, "eta sup|J|^2 <= 1 on the ball")
    q = n.eta * n.s(n.radius) ** 2
    require(n.claims["one_minus_rate"] <= 2 * q - q * q, "one_minus_rate <= 2 q - q^2")


def require_power(gain: Fraction, exponent: Fraction, ratio: Fraction, statement: str) -> None:
    """(1 - gain)^exponent <= ratio < 1, for 0 < gain <= 1 and exponent > 0."""
    if gain == 1:
        return
    require_at_least(
        lambda: rational(exponent) * -(-rational(gain)).log1p(),
        lambda: -rational(ratio).log(),
        statement,
    )
