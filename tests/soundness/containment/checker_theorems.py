"""The checker's rules for claims against their restatement, near the edge of every inequality.

Each claim is drawn from the ones before it: the number at which its inequality turns, rounded so
that it holds, or an ulp or more beyond. A rule that accepts must be right, one that refuses too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq
from tests.soundness.containment.checker_restated import Stated, ball, exact, holds
from tests.soundness.containment.record import Record, shard

from talweg_check._claims import Numbers, require_at_least, require_power
from talweg_check._grammar import Certificate
from talweg_check._losses import loss
from talweg_check._theorems import require_theorem
from talweg_check._verdict import Incomplete, Invalid

UNDER_TEST = ("talweg_check._theorems", "talweg_check._claims")
FORMS = (
    ("squared", "T11"), ("squared", "T4"), ("squared", "T7"), ("squared", "T9"),
    ("cross_entropy", "T4"), ("cross_entropy", "T13"),
)  # fmt: skip


def near(rng: np.random.Generator, value: fmpq | float, side: int) -> float:
    """A float at an edge: mostly on the side (1 above, -1 below) where the claim is true."""
    edge = exact(value) if isinstance(value, float) else value
    if not 0 < edge < 2**1000:
        return float(min(max(float(edge) if abs(edge) < 2**1000 else 1.0, 1e-300), 1e300))
    x = max(float(edge), 5e-324)
    while (exact(x) - edge) * side < 0:
        x = math.nextafter(x, math.inf * side)
    kind = rng.random()
    if kind < 0.65:
        return x
    if kind < 0.92:
        return x * (1 + side * 10.0 ** float(rng.uniform(-12, -0.5)))
    if kind < 0.98:
        return math.nextafter(x, -math.inf * side) or 5e-324
    return x * (1 - side * 10.0 ** float(rng.uniform(-12, -1)))


def _profile(rng: np.random.Generator, sigma: float, round_numbers: bool) -> list[list[float]]:
    count = int(rng.integers(1, 5))
    ends = np.sort(rng.uniform(0.05, 1.5, count))
    betas = np.sort(rng.uniform(0.2, 2.0, count)) * float(rng.choice([0.0, 0.1, 1.0, 1.0]))
    if round_numbers:
        ends, betas = np.ceil(8 * ends) / 8, np.floor(8 * betas) / 8
    kept = [[float(e) * sigma, float(b)] for e, b in zip(ends, betas, strict=True)]
    return [p for i, p in enumerate(kept) if i == 0 or p[0] > kept[i - 1][0]]


class Draft:
    """Claims in the making: `c` holds the floats, `stated` reads them exactly."""

    def __init__(self, rng: np.random.Generator, kind: str, theorem: str) -> None:
        self.rng, self.kind, self.theorem = rng, kind, theorem
        self.round = bool(rng.random() < 0.3)
        sigma = 2.0 ** int(rng.integers(-12, 12))
        if not self.round:
            sigma *= float(rng.uniform(0.5, 1.0))
        self.samples, self.outputs = int(rng.integers(1, 9)), int(rng.integers(2, 5))
        names = ["mean", "sum", "half_sum"][: 3 if kind == "squared" else 2]
        self.scaling = str(rng.choice(names))
        smooth = kind == "cross_entropy" and theorem == "T4"
        self.smoothing = float(rng.choice([1.0, 0.5, 0.1, 1e-9])) if smooth else 0.0
        self.c: dict[str, float] = {}
        self.profile: list[list[float]] = [[1.0, 0.0]]
        self.unit = self.stated.unit
        self.profile = _profile(rng, sigma, self.round)
        end = self.profile[-1][0]
        radius = float(rng.choice([end, end * rng.uniform(0.1, 1), self.profile[0][0]]))
        if self.round:
            radius = float(rng.choice([p[0] for p in self.profile]))
        while rng.random() < 0.9 and self.bend(radius) >= sigma:
            radius /= 2  # so that s(radius) > 0
        if rng.random() < 0.02:
            radius = math.nextafter(end, math.inf)
        factor = float(rng.choice([1.0, 1.5, rng.uniform(1, 20)]))
        self.c = {
            "sigma_min_lower": sigma, "jacobian_norm_upper": sigma * factor, "radius": radius,
        }  # fmt: skip

    def bend(self, radius: float) -> float:
        """About int_0^radius beta."""
        pairs = itertools.pairwise([[0.0, 0.0], *self.profile])
        return sum(b * max(min(radius, r) - before, 0.0) for (before, _), (r, b) in pairs)

    @property
    def stated(self) -> Stated:
        """What the claims say so far."""
        numbers = {name: exact(value) for name, value in self.c.items()}
        profile = [(exact(r), exact(b)) for r, b in self.profile]
        return Stated(
            self.kind, self.theorem, self.scaling, exact(self.smoothing), self.samples,
            self.outputs, numbers, profile,
        )  # fmt: skip

    def put(self, name: str, value: fmpq | float, side: int) -> fmpq:
        """One more claim, near the value."""
        self.c[name] = near(self.rng, value, side)
        return exact(self.c[name])

    def certificate(self) -> Certificate:
        """The claims as the checker has them after parsing."""
        stated: dict[str, Any] = {"kind": self.kind, "scaling": self.scaling}
        if self.kind == "cross_entropy":
            stated["label_smoothing"] = self.smoothing.hex()
        counts = {"samples": self.samples, "outputs": self.outputs, "parameters": 1}
        return Certificate(
            self.theorem, "", [], loss(stated, counts), {}, dict(self.c),
            [(r, b) for r, b in self.profile], counts, {},
        )  # fmt: skip

    def __str__(self) -> str:
        claims = {name: value.hex() for name, value in self.c.items()}
        profile = [[r.hex(), b.hex()] for r, b in self.profile]
        return (
            f"{self.kind} {self.theorem} {self.scaling} a={self.smoothing.hex()} n={self.samples} "
            f"k={self.outputs} {claims} {profile}"
        )


def drafted(rng: np.random.Generator, kind: str, theorem: str) -> Draft:
    """A draft with every claim."""
    draft = Draft(rng, kind, theorem)
    stated, radius = draft.stated, exact(draft.c["radius"])
    if radius > stated.profile[-1][0]:
        radius = stated.profile[-1][0]
    s, area, norm = stated.s(radius), stated.s_integral(radius), stated.norm(radius)
    FURTHER[kind, theorem](draft, radius, s, area, norm)
    gain = exact(draft.c["one_minus_rate"])
    if rng.random() < 0.05:
        gain = draft.put("one_minus_rate", 1.0, -1)
    draft.put("rate", 1 - gain, 1)
    draft.put("halving_steps", min(_count(0.5, float(gain)), 1e300), 1)
    return draft


def _contracting(draft: Draft, s: fmpq, norm: fmpq) -> fmpq:
    step = draft.put("step_size", 1 / norm**2 / draft.unit, -1)
    q = draft.unit * step * s**2
    draft.put("one_minus_rate", 2 * q - q**2, -1)
    return q


def _t11(draft: Draft, radius: fmpq, s: fmpq, area: fmpq, norm: fmpq) -> None:
    draft.put("residual_norm_upper", area, -1)
    _contracting(draft, s, norm)


def _epsilon(draft: Draft) -> fmpq:
    choices = [0.5, 0.25, 1e-3, 1.0 - 2.0**-53, float(draft.rng.uniform(0.01, 0.99))]
    draft.c["epsilon"] = float(draft.rng.choice(choices))
    return exact(draft.c["epsilon"])


def _t4(draft: Draft, radius: fmpq, s: fmpq, area: fmpq, norm: fmpq) -> None:
    epsilon = _epsilon(draft)
    residual = draft.put("residual_norm_upper", (1 - epsilon) * area, -1)
    modulus = norm**2 + residual * draft.stated.beta(radius)
    step = draft.put("step_size", 2 * epsilon / modulus / draft.unit, -1)
    eta = draft.unit * step
    draft.put("one_minus_rate", 2 * (1 - epsilon) * eta * s**2, -1)


def _steps(draft: Draft, steps: float) -> None:
    steps = math.ceil(steps) if 0 < steps < 1e15 else 1.0
    steps += float(draft.rng.choice([0, 0, 0, 1, -1]))
    draft.c["steps_upper"] = max(steps, 1.0) + (0.5 if draft.rng.random() < 0.02 else 0.0)


def _count(ratio: float, gain: float) -> float:
    """Steps after which (1 - gain)^steps is the ratio."""
    if not (0 < gain < 1 and 0 < ratio < 1):
        return 1.0
    return math.log(ratio) / math.log1p(-gain)


def _overshoot(draft: Draft, radius: fmpq, leap: fmpq) -> None:
    """The overshoot radius, and a profile that reaches it."""
    overshoot = draft.put("overshoot_radius", radius + leap, 1)
    if overshoot > draft.stated.profile[-1][0] and draft.rng.random() < 0.95:
        end = near(draft.rng, overshoot, 1)
        draft.profile.append([end, draft.profile[-1][1] * float(draft.rng.choice([1.0, 1.5]))])


def _t7(draft: Draft, radius: fmpq, s: fmpq, area: fmpq, norm: fmpq) -> None:
    q = _contracting(draft, s, norm)
    rho = exact(float(area) * float(draft.rng.choice([1e-6, 0.1, 1.0, 10.0])))
    target = draft.put("target_loss", rho**2 * draft.unit / 2, 1)
    rho_squared = 2 * target / draft.unit
    root = exact(math.sqrt(rho_squared))
    residual = draft.put("residual_norm_upper", area + root, -1)
    leap = draft.unit * exact(draft.c["step_size"]) * norm * root
    _overshoot(draft, radius, leap)
    _steps(draft, _count(float(root / residual), float(q)))


def _t9(draft: Draft, radius: fmpq, s: fmpq, area: fmpq, norm: fmpq) -> None:
    theta = exact(float(draft.rng.choice([0.5, 0.25, 0.1, 0.01, 1.0 - 2.0**-53])))
    draft.c["theta"] = float(theta)
    lost = exact(draft.c["sigma_min_lower"]) * 2 * theta / (1 + theta)
    residual = draft.put("residual_norm_upper", max(area - lost * radius, area / 1000), -1)
    step = draft.put("step_size", 1 / norm**2 / draft.unit, -1)
    x = (1 + theta) * draft.unit * step * s * (s - lost)
    gain = draft.put("one_minus_rate", 2 * x - x**2, -1)
    start = draft.unit / 2 * residual**2
    floor = draft.put("floor", start * exact(10.0 ** float(draft.rng.uniform(-20, 0))), -1)
    error = exact(math.sqrt(2 * draft.unit * floor)) * abs(theta * s)
    draft.put("gradient_error_upper", error, -1)
    _steps(draft, _count(float(floor / start), float(gain)))


def _bent_step(draft: Draft, gap: fmpq, where: fmpq) -> fmpq:
    """eta (Sigma^2 / 2 + sqrt(gap) beta) = 2 epsilon."""
    where = min(where, draft.stated.profile[-1][0])
    slope = exact(math.sqrt(gap)) * draft.stated.beta(where)
    modulus = draft.stated.norm(where) ** 2 / 2 + slope
    step = 2 * exact(draft.c["epsilon"]) / modulus / draft.unit
    return draft.put("step_size", step, -1) * draft.unit


def _entropy_t4(draft: Draft, radius: fmpq, s: fmpq, area: fmpq, norm: fmpq) -> None:
    epsilon = _epsilon(draft)
    least = exact(draft.smoothing) / draft.outputs
    mu = draft.put("pl_lower", least * exact(float(draft.rng.choice([1, 0.9, 0.5, 1e-3]))), -1)
    with ctx.workprec(200):
        x, q = ball(mu), ball(least)
        divergence = q * (q / x).log() + (1 - q) * ((1 - q) / (1 - x)).log() if mu < least else 0
    reachable = (max((1 - epsilon) * area, fmpq(0))) ** 2 * mu / 2
    edge = min(exact(max(float(divergence), 0.0)), reachable)
    gap = draft.put("initial_gap_upper", edge, -1)
    if draft.rng.random() < 0.1:
        gap = fmpq(0)
        draft.c["initial_gap_upper"] = 0.0
    eta = _bent_step(draft, gap, radius)
    draft.put("one_minus_rate", 2 * (1 - epsilon) * eta * mu * s**2, -1)


def _t13(draft: Draft, radius: fmpq, s: fmpq, area: fmpq, norm: fmpq) -> None:
    epsilon = _epsilon(draft)
    n, k = draft.samples, draft.outputs
    mean = n if draft.scaling == "mean" else 1
    claimed = float(draft.rng.choice([1e-3, 0.1, 1.0, 5.0])) * float(draft.rng.uniform(0.5, 1))
    draft.c["target_loss"] = claimed
    target, root = claimed * mean, math.sqrt(n)
    reach = float((1 - epsilon) * area) / math.sqrt((k - 1) * n / k)
    if 0 < reach < 100:
        start = root * math.log1p(math.expm1(target / root) * math.exp(reach))
    else:
        start = 2 * target
    f0 = draft.put("initial_loss_upper", start, -1)
    epsilon = exact(draft.c["epsilon"])
    rough = draft.stated.norm(radius)
    step = 2 * epsilon / (rough**2 / 2 + exact(math.sqrt(f0)) * draft.stated.beta(radius))
    leap = step * rough * exact(math.sqrt(f0))
    _overshoot(draft, radius, leap)
    eta = _bent_step(draft, f0, exact(draft.c["overshoot_radius"]))
    if draft.rng.random() < 0.9:  # the overshoot that the step really needs
        leap = eta * rough * exact(math.sqrt(f0))
        draft.c["overshoot_radius"] = min(
            near(draft.rng, radius + leap, 1), draft.c["overshoot_radius"]
        )
    gain = float((1 - epsilon) * eta * s**2)
    worth = [gain * k / (k - 1) * math.expm1(-u / root) ** 2 / u for u in (target, float(f0))]
    draft.put("one_minus_rate", min(worth), -1)

    def primitive(u: float) -> float:
        e = math.expm1(min(u / root, 600.0))
        return math.log(e) - 1 / e

    count = (k - 1) / k * root * (primitive(float(f0)) - primitive(target))
    _steps(draft, count / gain if gain > 0 else 1.0)


FURTHER: dict[tuple[str, str], Callable[[Draft, fmpq, fmpq, fmpq, fmpq], None]] = {
    ("squared", "T11"): _t11, ("squared", "T4"): _t4, ("squared", "T7"): _t7,
    ("squared", "T9"): _t9, ("cross_entropy", "T4"): _entropy_t4, ("cross_entropy", "T13"): _t13,
}  # fmt: skip


def rule(form: tuple[str, str], rng: np.random.Generator, record: Record) -> None:
    """One draft: the checker's answer and the restated one."""
    draft = drafted(rng, *form)
    if any(not (0 < x < math.inf) and name != "initial_gap_upper" and name != "rate"
           for name, x in draft.c.items()):  # fmt: skip
        record.counts["malformed"] += 1
        return
    try:
        require_theorem(draft.certificate())
    except Invalid:
        accepted = False
    except Incomplete:
        record.counts["incomplete"] += 1
        return
    else:
        accepted = True
    truth = holds(draft.stated)
    if truth is None:
        record.undecided()
        return
    record.counts["accepted" if accepted else "refused"] += 1
    record.check(truth == accepted, "accepted" if accepted else "refused", draft)


def integrals(rng: np.random.Generator, record: Record) -> None:
    """The integrals of the step function at breakpoints, beside them and between."""
    draft = Draft(rng, "squared", "T11")
    draft.c["step_size"] = float(rng.uniform(0.1, 1))
    draft.c["residual_norm_upper"] = 1.0
    numbers = Numbers(draft.certificate())
    ends = [r for r, _ in draft.profile]
    points = [*ends, *(math.nextafter(r, 0.0) for r in ends), *(ends[-1] * rng.random(4)), 5e-324]
    for x in points:
        stated, q, r = draft.stated, Fraction(x), exact(x)
        pairs = [
            (numbers.beta_integral(q), stated.beta_integral(r)),
            (numbers.s(q), stated.s(r)),
            (numbers.s_integral(q), stated.s_integral(r)),
            (numbers.jacobian(q), stated.norm(r)),
        ]
        for number, (one, two) in enumerate(pairs):
            same = fmpq(one.numerator, one.denominator) == two
            record.check(same, "integral", number, "at", x, "of", draft)


def decisions(rng: np.random.Generator, record: Record) -> None:
    """`require_power` against exact powers, `require_at_least` against logarithms of powers."""
    for _ in range(20):
        gain = Fraction(int(rng.integers(1, 65)), 64)
        if rng.random() < 0.5:
            gain = Fraction(float(rng.uniform(0, 1)) or 0.5)
        exponent = Fraction(int(rng.integers(1, 30)), int(rng.integers(1, 4)))
        power = (1 - gain) ** exponent.numerator  # against ratio^denominator
        edge = float(power) ** (1 / exponent.denominator)
        ratio = Fraction(min(max(near(rng, edge or 1e-300, 1), 5e-324), 1 - 2.0**-53))
        if exponent.denominator == 1 and 0 < power < 1 and rng.random() < 0.2:
            ratio = power  # a tie
        truth = power <= ratio**exponent.denominator
        answer = _decided(record, partial(require_power, gain, exponent, ratio, ""))
        if answer is not None:
            record.check(answer == truth, "require_power", gain, exponent, ratio, "gave", answer)
        base = int(rng.integers(2, 50))
        p, q = int(rng.integers(1, 40)), int(rng.integers(1, 40))
        other = max(2, round(base ** (p / q))) + int(rng.integers(-1, 2)) or 2
        left, right = SimpleNamespace(n=p, b=base), SimpleNamespace(n=q, b=max(other, 2))
        answer = _decided(
            record,
            lambda one=left, two=right: require_at_least(
                lambda: one.n * arb(one.b).log(), lambda: two.n * arb(two.b).log(), ""
            ),
        )
        if answer is not None:
            right_answer = left.b**left.n >= right.b**right.n
            record.check(answer == right_answer, "require_at_least", left, right, "gave", answer)
        # a difference that only many digits show
        bits = int(rng.integers(60, 7000))
        sign = int(rng.choice([-1, 1]))
        answer = _decided(
            record,
            lambda bits=bits, sign=sign: require_at_least(
                lambda: arb(3).log() + sign * arb(2) ** -bits, lambda: arb(9).log() / 2, ""
            ),
        )
        if answer is not None:
            record.check(answer == (sign > 0), "require_at_least", bits, sign, "gave", answer)


def _decided(record: Record, question: Callable[[], None]) -> bool | None:
    try:
        question()
    except Invalid:
        return False
    except Incomplete:
        record.counts["incomplete"] += 1
        return None
    return True


SHARDS = (
    *(shard(f"checker.rule_{kind}_{name}", UNDER_TEST, partial(rule, (kind, name)), 600)
      for kind, name in FORMS),
    shard("checker.integrals", UNDER_TEST, integrals, 200),
    shard("checker.decisions", UNDER_TEST, decisions, 100),
)  # fmt: skip
