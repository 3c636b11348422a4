"""The rules of the six forms: (kind of loss, theorem)."""

from __future__ import annotations

from fractions import Fraction

from flint import arb
from tests.soundness.lies.terms import Claims, Rule, Terms, ball, proved


def _eta(t: Terms, c: Claims) -> Fraction:
    return t.unit * c["step_size"]


def _q(t: Terms, c: Claims) -> Fraction:
    return _eta(t, c) * t.s(c["radius"]) ** 2


def _halves(t: Terms, c: Claims) -> bool:
    gain = c["one_minus_rate"]
    return gain >= 1 or proved(
        lambda: ball(c["halving_steps"]) * -(-ball(gain)).log1p(), lambda: arb(2).log()
    )


RATE = Rule(
    "rate", False, lambda t, c: c["rate"] >= 1 - c["one_minus_rate"], "rate >= 1 - one_minus_rate"
)
HALVING = Rule("halving_steps", False, _halves, "halving_steps is large enough")
CONTRACTING_STEP = Rule(
    "step_size", True, lambda t, c: _eta(t, c) * t.top(c["radius"]) ** 2 <= 1,
    r"eta sup\|J\|\^2 <= 1 on the ball",
)  # fmt: skip
CONTRACTION = Rule(
    "one_minus_rate", True, lambda t, c: c["one_minus_rate"] <= 2 * _q(t, c) - _q(t, c) ** 2,
    r"one_minus_rate <= 2 q - q\^2",
)  # fmt: skip

T11 = [
    Rule("radius", False, lambda t, c: t.s_integral(c["radius"]) >= t.start,
         "int_0\\^radius s >= residual_norm_upper$"),
    CONTRACTING_STEP, CONTRACTION, RATE, HALVING,
]  # fmt: skip


def _smooth(t: Terms, c: Claims) -> Fraction:
    return t.top(c["radius"]) ** 2 + t.start * t.beta(c["radius"])


T4 = [
    Rule("radius", False, lambda t, c: (1 - c["epsilon"]) * t.s_integral(c["radius"]) >= t.start,
         r"\(1 - epsilon\) int_0\^radius s >= residual_norm_upper"),
    Rule("step_size", True, lambda t, c: _eta(t, c) * _smooth(t, c) <= 2 * c["epsilon"],
         "eta M <= 2 epsilon"),
    Rule("one_minus_rate", True,
         lambda t, c: c["one_minus_rate"] <= 2 * (1 - c["epsilon"]) * _q(t, c),
         r"one_minus_rate <= 2 \(1 - epsilon\) eta s\(radius\)\^2"),
    RATE, HALVING,
]  # fmt: skip


def _rho_squared(t: Terms, c: Claims) -> Fraction:
    return 2 * c["target_loss"] / t.unit


def _near(t: Terms, c: Claims) -> bool:
    missing = t.start - t.s_integral(c["radius"])
    return missing <= 0 or missing**2 <= _rho_squared(t, c)


def _reached(t: Terms, c: Claims) -> bool:
    ratio = _rho_squared(t, c) / t.start**2
    return proved(
        lambda: 2 * ball(c["steps_upper"]) * -(-ball(_q(t, c))).log1p(), lambda: -ball(ratio).log()
    )


def _lands(t: Terms, c: Claims) -> bool:
    leap = c["overshoot_radius"] - c["radius"]
    room = (_eta(t, c) * t.top(c["radius"])) ** 2
    return leap >= 0 and leap**2 >= room * t.further.get("height", _rho_squared)(t, c)


T7 = [
    Rule("radius", False, _near, "int_0\\^radius s >= residual_norm_upper - rho"),
    CONTRACTING_STEP, CONTRACTION, RATE, HALVING,
    Rule("overshoot_radius", False, _lands, r"overshoot_radius >= radius \+ eta sup\|J\| rho"),
    Rule("steps_upper", False, _reached, "steps_upper is large enough", integer=True),
]  # fmt: skip


def _lost(t: Terms, c: Claims) -> Fraction:
    return t.sigma * 2 * c["theta"] / (1 + c["theta"])


def _x(t: Terms, c: Claims) -> Fraction:
    s = t.s(c["radius"])
    return (1 + c["theta"]) * _eta(t, c) * s * (s - _lost(t, c))


def _at_floor(t: Terms, c: Claims) -> bool:
    ratio = c["floor"] / (t.unit * t.start**2 / 2)
    return proved(
        lambda: ball(c["steps_upper"]) * -(-ball(c["one_minus_rate"])).log1p(),
        lambda: -ball(ratio).log(),
    )


T9 = [
    Rule("radius", False,
         lambda t, c: t.s_integral(c["radius"]) - _lost(t, c) * c["radius"] >= t.start,
         "int_0\\^radius s' >= residual_norm_upper"),
    CONTRACTING_STEP,
    Rule("one_minus_rate", True, lambda t, c: c["one_minus_rate"] <= 2 * _x(t, c) - _x(t, c) ** 2,
         r"one_minus_rate <= 2 x - x\^2"),
    RATE, HALVING,
    Rule("gradient_error_upper", False,
         lambda t, c: t.further["error"](c["radius"], c["step_size"]) <= c["gradient_error_upper"],
         "gradient_error_upper is not confirmed"),
    Rule("floor", False,
         lambda t, c: 2 * t.unit * c["floor"] * (c["theta"] * t.s(c["radius"])) ** 2
         >= c["gradient_error_upper"] ** 2,
         r"floor >= \(gradient_error_upper / \(theta s\(radius\)\)\)\^2"),
    Rule("steps_upper", False, _at_floor, "steps_upper is large enough", integer=True),
]  # fmt: skip


def _divergent(t: Terms, c: Claims) -> bool:
    q, x = t.further["least"], c["pl_lower"]
    if not 0 < x <= q:
        return x == 0
    return proved(
        lambda: ball(q) * ball(q / x).log() + ball(1 - q) * ball((1 - q) / (1 - x)).log(),
        lambda: ball(t.start),
    )


def _reaches(t: Terms, c: Claims) -> bool:
    reach = (1 - c["epsilon"]) * t.s_integral(c["radius"])
    return reach >= 0 and reach**2 * c["pl_lower"] >= 2 * t.start


def _bounded_step(t: Terms, c: Claims, radius: Fraction) -> bool:
    room = 2 * c["epsilon"] - _eta(t, c) * t.top(radius) ** 2 / 2
    return room >= 0 and room**2 >= (_eta(t, c) * t.beta(radius)) ** 2 * t.start


T4_ENTROPY = [
    Rule("pl_lower", True, _divergent,
         "pl_lower is >= initial_gap_upper|pl_lower <= the smallest smoothed label"),
    Rule("radius", False, _reaches,
         r"\(1 - epsilon\) int_0\^radius s >= sqrt\(2 initial_gap_upper / pl_lower\)"),
    Rule("step_size", True, lambda t, c: _bounded_step(t, c, c["radius"]), "eta M <= 2 epsilon"),
    Rule("one_minus_rate", True,
         lambda t, c: c["one_minus_rate"] <= 2 * (1 - c["epsilon"]) * c["pl_lower"] * _q(t, c),
         r"one_minus_rate <= 2 \(1 - epsilon\) eta pl_lower s\(radius\)\^2"),
    RATE, HALVING,
]  # fmt: skip


def _ends(t: Terms, c: Claims) -> tuple[Fraction, Fraction]:
    """Target and start of the summed loss."""
    return c["target_loss"] / t.unit, t.start


def _power(t: Terms, u: Fraction) -> arb:
    """e^(u / sqrt n) - 1."""
    return (ball(u) / arb(t.further["samples"]).sqrt()).expm1()


def _share(t: Terms) -> Fraction:
    return Fraction(t.further["classes"] - 1, t.further["classes"])


def _descends(t: Terms, c: Claims) -> bool:
    low, high = _ends(t, c)
    return proved(
        lambda: ball((1 - c["epsilon"]) * t.s_integral(c["radius"])),
        lambda: (
            ball(_share(t) * t.further["samples"]).sqrt() * (_power(t, high) / _power(t, low)).log()
        ),
    )


def _gains(t: Terms, c: Claims) -> bool:
    factor = (1 - c["epsilon"]) * _q(t, c) / _share(t)

    def gain(u: Fraction) -> arb:
        return ball(factor / u) * (-ball(u) / arb(t.further["samples"]).sqrt()).expm1() ** 2

    return all(proved(lambda u=u: gain(u), lambda: ball(c["one_minus_rate"])) for u in _ends(t, c))


def _in_time(t: Terms, c: Claims) -> bool:
    def time() -> arb:
        low, high = (_power(t, u) for u in _ends(t, c))
        root = ball(_share(t)) * arb(t.further["samples"]).sqrt()
        return root * ((high / low).log() + 1 / low - 1 / high)

    return proved(lambda: ball(c["steps_upper"] * (1 - c["epsilon"]) * _q(t, c)), time)


OVERSHOOT_13 = Rule(
    "overshoot_radius", False, _lands,
    r"overshoot_radius >= radius \+ eta sup\|J\| sqrt\(initial_loss_upper\)",
)  # fmt: skip
T13 = [
    Rule("radius", False, _descends, r"\(1 - epsilon\) int_0\^radius s >= int du / psi"),
    Rule("step_size", True, lambda t, c: _bounded_step(t, c, c["overshoot_radius"]),
         "eta M <= 2 epsilon"),
    Rule("one_minus_rate", True, _gains, r"one_minus_rate <= c psi\(u\)\^2 / u"),
    RATE, HALVING,
    Rule("steps_upper", False, _in_time, "c steps_upper >= int du / psi", integer=True),
]  # fmt: skip

RULES: dict[str, list[Rule]] = {
    "T11": T11, "T4": T4, "T7": T7, "T9": T9, "entropy T4": T4_ENTROPY, "entropy T13": T13,
}  # fmt: skip
