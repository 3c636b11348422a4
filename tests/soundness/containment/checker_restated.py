"""What the claims of a file must satisfy, written from the file format alone.

Every inequality is decided in exact rationals or in Arb at 1000 bits: True, False, or None where
that is not enough. Step functions are summed over their breakpoints, so no formula is shared with
the checker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flint import arb, ctx, fmpq

BITS = 1000


@dataclass(frozen=True)
class Stated:
    """The claims of one file as exact numbers."""

    kind: str
    theorem: str
    scaling: str
    smoothing: fmpq
    samples: int
    outputs: int
    numbers: Mapping[str, fmpq]
    profile: Sequence[tuple[fmpq, fmpq]]

    @property
    def unit(self) -> fmpq:
        """eta = unit step_size."""
        if self.kind == "squared":
            entries = self.samples * self.outputs
            return {"mean": fmpq(2, entries), "sum": fmpq(2), "half_sum": fmpq(1)}[self.scaling]
        return {"mean": fmpq(1, self.samples), "sum": fmpq(1)}[self.scaling]

    def beta(self, x: fmpq) -> fmpq:
        """The step function at x > 0: the beta of (radius_{j-1}, radius_j]."""
        return next(b for r, b in self.profile if r >= x)

    def beta_integral(self, x: fmpq) -> fmpq:
        """int_0^x beta."""
        return self.numbers["sigma_min_lower"] - self._walk(x)[0]

    def s(self, x: fmpq) -> fmpq:
        """sigma_min_lower - int_0^x beta."""
        return self._walk(x)[0]

    def s_integral(self, x: fmpq) -> fmpq:
        """int_0^x s by trapezoids: s is linear between breakpoints."""
        return self._walk(x)[1]

    def _walk(self, x: fmpq) -> tuple[fmpq, fmpq]:
        """s(x) and int_0^x s, from breakpoint to breakpoint."""
        height, area, at = self.numbers["sigma_min_lower"], fmpq(0), fmpq(0)
        for end, slope in self.profile:
            stop = min(end, x)
            lower = height - slope * (stop - at)
            area += (stop - at) * (height + lower) / 2
            height, at = lower, stop
            if stop == x:
                break
        return height, area

    def norm(self, x: fmpq) -> fmpq:
        """jacobian_norm_upper + int_0^x beta."""
        return self.numbers["jacobian_norm_upper"] + self.beta_integral(x)


def exact(x: float) -> fmpq:
    """A float as a rational number."""
    return fmpq(*x.as_integer_ratio())


def ball(x: fmpq) -> arb:
    """A rational number in Arb."""
    return arb(x)


def at_least(left: arb, right: arb) -> bool | None:
    """left >= right."""
    return True if left >= right else False if left < right else None


def root_at_least(x: fmpq, y: fmpq) -> bool:
    """x >= sqrt(y), for y >= 0."""
    return x >= 0 and x * x >= y


def all_of(answers: Sequence[bool | None]) -> bool | None:
    """False where one is false, True where all are true."""
    return False if False in answers else None if None in answers else True


def power_at_most(base: fmpq, exponent: fmpq, bound: fmpq) -> bool | None:
    """(base)^exponent <= bound, for 0 <= base < 1, exponent > 0 and bound > 0."""
    if base == 0 or bound >= 1:
        return True
    if exponent.q == 1 and exponent <= 8:
        return base ** int(exponent.p) <= bound
    return at_least(-ball(exponent) * ball(base).log(), -ball(bound).log())


def holds(stated: Stated) -> bool | None:
    """Whether the claims satisfy what the format asks of them."""
    c = stated.numbers
    radius, gain = c["radius"], c["one_minus_rate"]
    if radius > stated.profile[-1][0] or not stated.s(radius) > 0 or gain > 1:
        return False
    with ctx.workprec(BITS):
        answers = {
            ("squared", "T11"): _t11, ("squared", "T4"): _t4, ("squared", "T7"): _t7,
            ("squared", "T9"): _t9, ("cross_entropy", "T4"): _entropy_t4,
            ("cross_entropy", "T13"): _t13,
        }[stated.kind, stated.theorem](stated)  # fmt: skip
        answers += [
            c["rate"] >= 1 - gain,
            power_at_most(1 - gain, c["halving_steps"], fmpq(1, 2)),
        ]
        return all_of(answers)


def _contraction(stated: Stated) -> list[bool | None]:
    c = stated.numbers
    eta = stated.unit * c["step_size"]
    q = eta * stated.s(c["radius"]) ** 2
    return [
        eta * stated.norm(c["radius"]) ** 2 <= 1,
        c["one_minus_rate"] <= 2 * q - q**2,
    ]


def _t11(stated: Stated) -> list[bool | None]:
    c = stated.numbers
    first = stated.s_integral(c["radius"]) >= c["residual_norm_upper"]
    return [first, *_contraction(stated)]


def _t4(stated: Stated) -> list[bool | None]:
    c = stated.numbers
    radius, epsilon, residual = c["radius"], c["epsilon"], c["residual_norm_upper"]
    eta = stated.unit * c["step_size"]
    modulus = stated.norm(radius) ** 2 + residual * stated.beta(radius)
    return [
        0 < epsilon < 1,
        (1 - epsilon) * stated.s_integral(radius) >= residual,
        eta * modulus <= 2 * epsilon,
        c["one_minus_rate"] <= 2 * (1 - epsilon) * eta * stated.s(radius) ** 2,
    ]


def _t7(stated: Stated) -> list[bool | None]:
    c = stated.numbers
    radius, residual, overshoot = c["radius"], c["residual_norm_upper"], c["overshoot_radius"]
    if overshoot > stated.profile[-1][0]:
        return [False]
    entries = stated.samples * stated.outputs
    scale = {"mean": fmpq(1, entries), "sum": fmpq(1), "half_sum": fmpq(1, 2)}
    rho_squared = c["target_loss"] / scale[stated.scaling]
    eta = stated.unit * c["step_size"]
    q = eta * stated.s(radius) ** 2
    # int s >= |r_0| - rho  <=>  rho >= |r_0| - int s
    gap = residual - stated.s_integral(radius)
    answers: list[bool | None] = [
        gap <= 0 or gap**2 <= rho_squared,
        overshoot >= radius
        and root_at_least(overshoot - radius, (eta * stated.norm(radius)) ** 2 * rho_squared),
        stated.s(overshoot) >= 0,
        c["steps_upper"].q == 1 and c["steps_upper"] >= 1,
        *_contraction(stated),
    ]
    if False not in answers and residual > 0:
        ratio = rho_squared / residual**2
        answers.append(power_at_most(1 - q, 2 * c["steps_upper"], ratio))
    return answers


def _t9(stated: Stated) -> list[bool | None]:
    c = stated.numbers
    radius, theta, residual = c["radius"], c["theta"], c["residual_norm_upper"]
    if not 0 < theta < 1:
        return [False]
    lost = c["sigma_min_lower"] * 2 * theta / (1 + theta)
    eta, s = stated.unit * c["step_size"], stated.s(radius)
    x = (1 + theta) * eta * s * (s - lost)
    loss = stated.unit / 2 * residual**2
    answers: list[bool | None] = [
        s > lost,
        stated.s_integral(radius) - lost * radius >= residual,
        eta * stated.norm(radius) ** 2 <= 1,
        c["one_minus_rate"] <= 2 * x - x**2,
        2 * stated.unit * c["floor"] * (theta * s) ** 2 >= c["gradient_error_upper"] ** 2,
        c["floor"] < loss,
        c["steps_upper"].q == 1,
    ]
    if False not in answers:
        ratio = c["floor"] / loss
        answers.append(power_at_most(1 - c["one_minus_rate"], c["steps_upper"], ratio))
    return answers


def _modulus(stated: Stated, gap: fmpq, radius: fmpq) -> bool:
    """eta (Sigma^2 / 2 + sqrt(gap) beta) <= 2 epsilon."""
    eta = stated.unit * stated.numbers["step_size"]
    left = 2 * stated.numbers["epsilon"] - eta * stated.norm(radius) ** 2 / 2
    return root_at_least(left, (eta * stated.beta(radius)) ** 2 * gap)


def _entropy_t4(stated: Stated) -> list[bool | None]:
    c = stated.numbers
    radius, epsilon, gap, mu = (
        c["radius"], c["epsilon"], c["initial_gap_upper"], c["pl_lower"],
    )  # fmt: skip
    q = stated.smoothing / stated.outputs
    eta = stated.unit * c["step_size"]
    answers: list[bool | None] = [
        stated.smoothing > 0,
        mu <= q,
        0 < epsilon < 1,
        root_at_least((1 - epsilon) * stated.s_integral(radius), 2 * gap / mu),
        _modulus(stated, gap, radius),
        c["one_minus_rate"] <= 2 * (1 - epsilon) * eta * mu * stated.s(radius) ** 2,
    ]
    if gap > 0 and False not in answers:
        one, x = ball(q), ball(mu)
        divergence = one * (one.log() - x.log()) + (1 - one) * ((1 - one).log() - (1 - x).log())
        answers.append(at_least(divergence, ball(gap)))
    return answers


def _t13(stated: Stated) -> list[bool | None]:
    c = stated.numbers
    radius, epsilon, start = c["radius"], c["epsilon"], c["initial_loss_upper"]
    overshoot, steps = c["overshoot_radius"], c["steps_upper"]
    n, k = stated.samples, stated.outputs
    target = c["target_loss"] * (n if stated.scaling == "mean" else 1)
    if stated.smoothing != 0 or not target < start or overshoot > stated.profile[-1][0]:
        return [False]
    eta = stated.unit * c["step_size"]
    root = arb(n).sqrt()
    f, t = ball(start) / root, ball(target) / root
    ratio = (f.exp() - 1) / (t.exp() - 1)
    budget = (ball(fmpq((k - 1) * n, k))).sqrt() * ratio.log()
    gain = (1 - epsilon) * eta * stated.s(radius) ** 2

    def primitive(v: arb) -> arb:
        return (v.exp() - 1).log() - 1 / (v.exp() - 1)

    count = ball(fmpq(k - 1, k)) * root * (primitive(f) - primitive(t))
    return [
        0 < epsilon < 1,
        at_least(ball((1 - epsilon) * stated.s_integral(radius)), budget),
        overshoot >= radius
        and root_at_least(overshoot - radius, (eta * stated.norm(radius)) ** 2 * start),
        _modulus(stated, start, overshoot),
        *(
            at_least(
                ball(gain) * ball(fmpq(k, k - 1)) * (1 - (-ball(u) / root).exp()) ** 2,
                ball(c["one_minus_rate"] * u),
            )
            for u in (start, target)
        ),
        steps.q == 1,
        at_least(ball(gain * steps), count),
    ]
