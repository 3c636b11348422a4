"""T11 for the numbers of a certificate, and how an inequality between them is decided.

Every number is a binary64, hence a rational: inequalities are decided exactly, those with
logarithms and exponentials in Arb, with more digits where needed.

With beta the stated step function, s(x) = sigma_min_lower - int_0^x beta and eta the step on the
loss that the rules speak of (for a squared loss |r|^2 / 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

    def _pieces_to(self, x: Fraction) -> Iterator[tuple[Fraction, Fraction, Fraction]]:
        """The pieces of [0, x], with beta; those beyond x have no length."""
        start = Fraction(0)
        for end, beta in self.pieces:
            yield start, max(min(x, end), start), beta
            start = end

    def beta_integral(self, x: Fraction) -> Fraction:
        """int_0^x beta."""
        return sum((beta * (b - a) for a, b, beta in self._pieces_to(x)), Fraction(0))

    def s(self, x: Fraction) -> Fraction:
        """A lower bound of the smallest singular value on B(w0, x)."""
        return self.sigma - self.beta_integral(x)

    def s_integral(self, x: Fraction) -> Fraction:
        """int_0^x s = sigma x - int_0^x (x - t) beta(t) dt."""
        lost = (beta * ((x - a) ** 2 - (x - b) ** 2) / 2 for a, b, beta in self._pieces_to(x))
        return self.sigma * x - sum(lost)

    def jacobian(self, x: Fraction) -> Fraction:
        """An upper bound of |J| on B(w0, x)."""
        return self.claims["jacobian_norm_upper"] + self.beta_integral(x)


def require_rule(certificate: Certificate, rule: Callable[[Numbers], None]) -> None:
    """Raises Invalid unless the rule and what all theorems share hold for the stated numbers."""
    n = Numbers(certificate)
    require(n.radius <= n.pieces[-1][0], "radius lies within the listed radii")
    require(n.s(n.radius) > 0, "s(radius) > 0")
    rule(n)
    gain = n.claims["one_minus_rate"]
    require(gain <= 1, "one_minus_rate <= 1")
    require(n.claims["rate"] >= 1 - gain, "rate >= 1 - one_minus_rate")
    # (1 - gain)^halving_steps <= 1/2
    require_power(gain, n.claims["halving_steps"], Fraction(1, 2), "halving_steps is large enough")


def t11(n: Numbers) -> None:
    """Squared loss: GD with eta |J|^2 <= 1 on the ball contracts |r| by 1 - eta s(R)^2.

    Equality in the first line is enough where s(R) > 0: see the remark in docs/theory/T11.md.
    """
    reach, residual = n.s_integral(n.radius), n.claims["residual_norm_upper"]
    require(reach >= residual, "int_0^radius s >= residual_norm_upper")
    contraction(n)


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
