"""The theorems, restated for the numbers of a certificate, and the sentence they prove.

Every number is a binary64, so the inequalities are decided in exact rationals; the two with
logarithms in Arb. Each function returns nothing or raises: Invalid where an inequality is false.

With r = residual_norm_upper, j = jacobian_norm_upper, R = radius, beta the stated step function,
s(x) = sigma_min_lower - int_0^x beta and eta the step for f = |r|^2 / 2.
"""

from __future__ import annotations

from fractions import Fraction

from flint import arb, ctx, fmpq

from talweg_check._grammar import SCALINGS, Certificate
from talweg_check._verdict import Incomplete, Invalid


class _Numbers:
    """The claims as exact rationals."""

    def __init__(self, certificate: Certificate) -> None:
        claims = {name: Fraction(value) for name, value in certificate.claims.items()}
        self.claims = claims
        self.pieces = [(Fraction(end), Fraction(beta)) for end, beta in certificate.profile]
        self.residual, self.radius = claims["residual_norm_upper"], claims["radius"]
        self.sigma, self.step = claims["sigma_min_lower"], claims["step_size"]
        entries = certificate.counts["samples"] * certificate.counts["outputs"]
        # The loss is c |r|^2; a step of lr on it is the step 2 c lr on |r|^2 / 2.
        scale = {"mean": Fraction(1, entries), "sum": Fraction(1), "half_sum": Fraction(1, 2)}
        self.coefficient = scale[certificate.scaling]
        self.eta = 2 * self.coefficient * self.step

    def beta_at(self, x: Fraction) -> Fraction:
        """beta(x): the value of the first piece that reaches x."""
        return next(beta for end, beta in self.pieces if x <= end)

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
            stop = min(x, end)
            if stop > start:
                total -= beta * ((x - start) ** 2 - (x - stop) ** 2) / 2
            start = end
        return total

    def jacobian(self, x: Fraction) -> Fraction:
        """An upper bound of |J| on B(w0, x)."""
        return self.claims["jacobian_norm_upper"] + self.beta_integral(x)


def require_theorem(certificate: Certificate) -> None:
    """Raises Invalid unless the theorem follows from the claims about the network at w0."""
    n = _Numbers(certificate)
    _require(n.radius <= n.pieces[-1][0], "radius lies within the listed radii")
    _require(n.s(n.radius) > 0, "s(radius) > 0")
    {"T11": _t11, "T4": _t4, "T7": _t7}[certificate.theorem](n)
    gain = n.claims["one_minus_rate"]
    _require(gain <= 1, "one_minus_rate <= 1")
    _require(n.claims["rate"] >= 1 - gain, "rate >= 1 - one_minus_rate")
    # (1 - gain)^halving_steps <= 1/2
    _require_power(gain, n.claims["halving_steps"], Fraction(1, 2), "halving_steps is large enough")


def _t11(n: _Numbers) -> None:
    """Squared loss: GD with eta |J|^2 <= 1 on the ball contracts |r| by 1 - eta s(R)^2."""
    _require(n.s_integral(n.radius) >= n.residual, "int_0^radius s >= residual_norm_upper")
    _contraction(n)


def _contraction(n: _Numbers) -> None:
    _require(n.eta * n.jacobian(n.radius) ** 2 <= 1, "eta sup|J|^2 <= 1 on the ball")
    q = n.eta * n.s(n.radius) ** 2
    _require(n.claims["one_minus_rate"] <= 2 * q - q * q, "one_minus_rate <= 2 q - q^2")


def _t4(n: _Numbers) -> None:
    """General descent: the gradient of f has modulus |J|^2 + |r| beta; f contracts by 1 - delta."""
    epsilon = n.claims["epsilon"]
    _require(epsilon < 1, "epsilon < 1")
    _require(
        (1 - epsilon) * n.s_integral(n.radius) >= n.residual,
        "(1 - epsilon) int_0^radius s >= residual_norm_upper",
    )
    smoothness = n.jacobian(n.radius) ** 2 + n.residual * n.beta_at(n.radius)
    _require(n.eta * smoothness <= 2 * epsilon, "eta M <= 2 epsilon")
    delta = 2 * (1 - epsilon) * n.eta * n.s(n.radius) ** 2
    _require(
        n.claims["one_minus_rate"] <= delta, "one_minus_rate <= 2 (1 - epsilon) eta s(radius)^2"
    )


def _t7(n: _Numbers) -> None:
    """T11 down to |r| = rho with c rho^2 = target_loss; the last step may leave the ball.

    It ends within R + eta sup|J| rho, where s must still be nonnegative and beta be listed.
    """
    overshoot, steps = n.claims["overshoot_radius"], n.claims["steps_upper"]
    rho_squared = n.claims["target_loss"] / n.coefficient
    _require(overshoot <= n.pieces[-1][0], "overshoot_radius lies within the listed radii")
    missing = n.residual - n.s_integral(n.radius)
    _require(
        missing <= 0 or missing**2 <= rho_squared, "int_0^radius s >= residual_norm_upper - rho"
    )
    _contraction(n)
    leap = overshoot - n.radius
    _require(
        leap >= 0 and leap**2 >= (n.eta * n.jacobian(n.radius)) ** 2 * rho_squared,
        "overshoot_radius >= radius + eta sup|J| rho",
    )
    _require(n.s(overshoot) >= 0, "s(overshoot_radius) >= 0")
    _require(steps.denominator == 1, "steps_upper is an integer")
    if n.residual**2 > rho_squared:
        # (1 - q)^steps |r_0| <= rho, squared
        q = n.eta * n.s(n.radius) ** 2
        ratio = rho_squared / n.residual**2
        _require_power(q, 2 * steps, ratio, "steps_upper is large enough")


def _require(holds: bool, statement: str) -> None:
    if not holds:
        raise Invalid(f"the claims do not satisfy: {statement}")


def _require_power(gain: Fraction, exponent: Fraction, ratio: Fraction, statement: str) -> None:
    """(1 - gain)^exponent <= ratio < 1, for 0 < gain <= 1 and exponent > 0."""
    if gain == 1:
        return
    for precision in (128, 1024, 8192):
        with ctx.workprec(precision):
            left = _real(exponent) * -(-_real(gain)).log1p()
            right = -_real(ratio).log()
            if left >= right:
                return
            if left < right:
                _require(False, statement)
    raise Incomplete(f"not decided: {statement}")


def _real(number: Fraction) -> arb:
    return arb(fmpq(number.numerator, number.denominator))


def _chain(certificate: Certificate) -> str:
    """What is trained, operation by operation; the hashes alone do not say it."""
    said = []
    for item in certificate.operations:
        if item["kind"] == "linear":
            rows, columns = certificate.arrays[item["weight"]].shape
            weight, bias = (
                "trained" if item[key] else "frozen"
                for key in ("weight_trainable", "bias_trainable")
            )
            if item["bias"] is None:
                bias = "none"
            said.append(f"linear {columns}->{rows} (weight {weight}, bias {bias})")
        elif item["kind"] == "scale":
            said.append(f"scale({item['numerator']!r}/{item['denominator']!r})")
        else:
            numbers = [f"{key}={item['parameters'][key]!r}" for key in sorted(item["parameters"])]
            said.append(item["function"] + (f"({', '.join(numbers)})" if numbers else ""))
    return "; ".join(said)


def require_sentence(certificate: Certificate) -> None:
    """Raises Invalid unless the stated sentence is the one that the fields give."""
    c, h, counts = certificate.claims, certificate.hashes, certificate.counts
    loss = (
        f"({SCALINGS[certificate.scaling]} of squares over {counts['samples']} samples and "
        f"{counts['outputs']} outputs)"
    )
    start = (
        "Gradient descent in real arithmetic on the full batch, started from the stored weights "
        f"(sha256 {h['weights']}) on the stored data (inputs sha256 {h['inputs']}, targets sha256 "
        f"{h['targets']}), training the {counts['parameters']} parameters of "
        f"[{_chain(certificate)}], with "
    )
    if certificate.theorem == "T7":
        sentence = (
            f"{start}constant step size {c['step_size']!r}, reaches a training loss of at most "
            f"{c['target_loss']!r} {loss} after at most {int(c['steps_upper'])} steps: until then "
            f"every iterate stays within Euclidean distance {c['overshoot_radius']!r} of the start."
        )
    else:
        sentence = (
            f"{start}any constant step size in (0, {c['step_size']!r}], converges to zero training "
            f"loss {loss}: every iterate stays within Euclidean distance {c['radius']!r} of the "
            f"start, and with step size {c['step_size']!r} the loss falls by at least the fraction "
            f"{c['one_minus_rate']!r} in every step."
        )
    if sentence != certificate.sentence:
        raise Invalid("the stated claim is not the sentence that the fields give")
