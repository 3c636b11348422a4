"""Wrong conclusions about cross-entropies, as in `conclusions`."""

from __future__ import annotations

import math
from fractions import Fraction

from flint import arb
from tests.soundness.lies.conclusions import COMMON, SAFE, Formula, _least, _number
from tests.soundness.lies.rules import T13
from tests.soundness.lies.terms import Claims, Terms, ball, proved

N = _number


def _q(t: Terms) -> float:
    return float(t.further["least"])


def _n(t: Terms) -> int:
    return int(t.further["samples"])


def _descent(t: Terms, c: Claims, root: float, scale: float, factor: float = 1.0) -> bool:
    """The criterion of T13 with other constants."""
    low, high = float(c["target_loss"] / t.unit), float(t.start)
    width = math.log(math.expm1(high / root) / math.expm1(low / root))
    return float(t.s_integral(c["radius"])) * factor >= scale * width


def _psi(t: Terms, c: Claims, u: Fraction) -> float:
    k, root = t.further["classes"], math.sqrt(_n(t))
    factor = (1 - float(c["epsilon"])) * float(t.unit * c["step_size"] * t.s(c["radius"]) ** 2)
    return factor * k / (k - 1) * -math.expm1(-float(u) / root) * -math.expm1(-float(u) / root)


def _gain(t: Terms, c: Claims, u: Fraction) -> float:
    return _psi(t, c, u) / float(u) * (1 - 1e-12)


FORMULAS_OF_ENTROPIES: dict[str, dict[str, dict[str, Formula]]] = {
    "entropy T4": {
        "pl_lower": {
            "the smallest label itself": lambda t, c: _q(t),
            "one over the classes": lambda t, c: 1 / t.further["classes"],
            "smoothing over classes minus one": lambda t, c: _q(t) * 1.5,
            "linear in the gap": lambda t, c: _q(t) - float(t.start),
            "half of the way": lambda t, c: _q(t) - math.sqrt(_q(t) * float(t.start)) / 2,
            "to first order, without 1 - q": lambda t, c: _q(t) * math.exp(-float(t.start)),
            "Pinsker without its factor": lambda t, c: _q(t) - float(t.start) ** 0.5 * 0.2,
        },
        "radius": {
            "epsilon forgotten": _least(
                lambda t, c: t.s_integral(c["radius"]) ** 2 * c["pl_lower"] >= 2 * t.start),
            "the factor 2 forgotten": _least(
                lambda t, c: ((1 - c["epsilon"]) * t.s_integral(c["radius"])) ** 2 * c["pl_lower"]
                >= t.start),
            "label for pl_lower": _least(
                lambda t, c: ((1 - c["epsilon"]) * t.s_integral(c["radius"])) ** 2
                * t.further["least"] >= 2 * t.start),
            "gap for its root": N(lambda v: v.start / v.sigma),
        },
        "step_size": {
            "modulus 1/4": N(lambda v: 1 / (v.top**2 / 4 + math.sqrt(v.start) * v.beta) / v.unit),
            "curvature forgotten": N(lambda v: 2 / v.top**2 / v.unit),
            "|J| at w0": N(
                lambda v: 1 / (v.jac**2 / 2 + math.sqrt(v.start) * v.beta) / v.unit * SAFE),
            "gap for its root": N(lambda v: 1 / (v.top**2 / 2 + v.start * v.beta) / v.unit),
            "mean over samples and classes": N(
                lambda v: 3 / (v.top**2 / 2 + math.sqrt(v.start) * v.beta) / v.unit),
            "epsilon forgotten": N(
                lambda v: 2 / (v.top**2 / 2 + math.sqrt(v.start) * v.beta) / v.unit * SAFE),
        },
        "one_minus_rate": {
            "label for pl_lower": lambda t, c: _q(t) * float(
                t.unit * c["step_size"] * t.s(c["radius"]) ** 2),
            "pl_lower forgotten": N(lambda v: v.q * SAFE),
            "epsilon forgotten": N(lambda v: 2 * v.q * v.pl_lower * SAFE),
            "sigma at w0": N(lambda v: v.unit * v.step_size * v.sigma**2 * v.pl_lower),
        },
        **COMMON,
    },
    "entropy T13": {
        "radius": {
            "root n of the exponent forgotten": _least(
                lambda t, c: _descent(t, c, float(_n(t)), math.sqrt(_n(t) * 2 / 3))),
            "root n forgotten": _least(
                lambda t, c: _descent(t, c, math.sqrt(_n(t)), math.sqrt(2 / 3))),
            "classes forgotten": _least(
                lambda t, c: _descent(t, c, math.sqrt(_n(t)), math.sqrt(_n(t) / 3))),
            "difference of the losses": _least(
                lambda t, c: t.s_integral(c["radius"]) >= t.start - c["target_loss"] / t.unit),
            "epsilon forgotten": _least(lambda t, c: proved(
                lambda: ball(t.s_integral(c["radius"])),
                lambda: ball(Fraction(2, 3) * _n(t)).sqrt() * (
                    _power(t, t.start) / _power(t, c["target_loss"] / t.unit)).log())),
        },
        "step_size": {
            "modulus 1/4": N(lambda v: 2 * v.epsilon / (v.top**2 / 4) / v.unit),
            "within the smaller ball": lambda t, c: _step_13(t, c, c["radius"]),
            "|J| at w0": lambda t, c: _step_13(t, c, Fraction(0)),
            "loss for its root": N(
                lambda v: 2 * v.epsilon / (v.jac**2 / 2 + v.start**2 * v.beta / 4) / v.unit),
        },
        "one_minus_rate": {
            "at the start alone": lambda t, c: max(
                _gain(t, c, t.start), _gain(t, c, c["target_loss"] / t.unit)),
            "as for a PL constant": N(lambda v: 2 * v.q * SAFE),
            "psi for psi squared": lambda t, c: math.sqrt(_gain(t, c, t.start)),
            "twice": lambda t, c: 2 * _gain(t, c, t.start),
        },
        "steps_upper": {
            "one": lambda t, c: 1.0,
            "half": lambda t, c: float(max(1, _steps_13(t, c) // 2)),
            "less one": lambda t, c: float(_steps_13(t, c) - 1),
        },
        **COMMON,
    },
}  # fmt: skip


def _power(t: Terms, u: Fraction) -> arb:
    return (ball(u) / arb(_n(t)).sqrt()).expm1()


def _step_13(t: Terms, c: Claims, radius: Fraction) -> float:
    top, beta = float(t.top(radius)), float(t.pieces[0][1])
    modulus = top**2 / 2 + math.sqrt(t.start) * beta
    return 2 * float(c["epsilon"]) / modulus / float(t.unit) * (1 - 1e-12)


def _steps_13(t: Terms, c: Claims) -> int:
    return int(next(rule for rule in T13 if rule.integer).edge(t, c)[0])
