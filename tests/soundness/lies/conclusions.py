"""Certificates by a program that draws a wrong conclusion from right numbers.

One claim comes from a wrong formula; the claims that follow from it are then drawn correctly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial

from generator import Draft
from tests.soundness.lies.drafts import FORMS, SCALINGS, concluded, copied, genuine, measured, rules
from tests.soundness.lies.planted import INCOMPLETE, INVALID, Group
from tests.soundness.lies.terms import Claims, Rule, Terms

Formula = Callable[[Terms, Claims], float]
SAFE = 1 - 1e-9


def _least(holds: Callable[[Terms, Claims], bool], claim: str = "radius") -> Formula:
    """The smallest number for which a wrong inequality holds."""

    def formula(t: Terms, c: Claims) -> float:
        return Rule(claim, False, holds, "").edge(t, c, float(t.pieces[-1][0]))[0]

    return formula


def _number(formula: Callable[..., float]) -> Formula:
    """The same of floats: sigma, |J| and start at w0; s, top and beta at the radius; c."""

    def value(t: Terms, c: Claims) -> float:
        said = {name: float(x) for name, x in c.items()}
        radius = c.get("radius")
        parts = {
            "sigma": float(t.sigma), "jac": float(t.jacobian_norm), "start": float(t.start),
            "unit": float(t.unit), "s": 0.0, "top": 0.0, "beta": float(t.pieces[-1][1]), "q": 0.0,
        }  # fmt: skip
        if radius is not None:
            parts["s"], parts["top"] = float(t.s(radius)), float(t.top(radius))
            parts["q"] = parts["unit"] * said.get("step_size", 0.0) * parts["s"] ** 2
        return formula(_Floats(parts | said, t, c))

    return value


class _Floats:
    """Named numbers."""

    def __init__(self, numbers: dict[str, float], t: Terms, c: Claims) -> None:
        self.t, self.c = t, c
        self.__dict__.update(numbers)

    def __getattr__(self, name: str) -> float:
        raise AttributeError(name)


N = _number
FEW = N(lambda v: v.start / v.sigma)
COMMON: dict[str, dict[str, Formula]] = {
    "rate": {
        "rounded down": N(lambda v: math.nextafter(1 - v.one_minus_rate, 0)),
        "of the squared loss": N(lambda v: (1 - v.one_minus_rate) ** 2),
        "one minus the rate": N(lambda v: min(v.one_minus_rate, 0.4)),
        "zero": N(lambda v: 0.0),
    },
    "halving_steps": {
        "one over the rate, halved": N(lambda v: 0.5 / v.one_minus_rate),
        "of the residual": N(lambda v: math.log(2) / v.one_minus_rate / 2 * SAFE),
        "to base ten": N(lambda v: math.log10(2) / v.one_minus_rate),
        "cut to an integer": N(lambda v: math.floor(math.log(2) / -math.log1p(-v.one_minus_rate))),
    },
}  # fmt: skip
SQUARED_STEP: dict[str, Formula] = {
    "|J| at w0": N(lambda v: 1 / v.jac**2 / v.unit),
    "2 over |J|^2": N(lambda v: 2 / v.top**2 / v.unit),
    "over sigma^2": N(lambda v: 1 / v.sigma**2 / v.unit),
    "over |J| sigma": N(lambda v: 1 / (v.top * v.sigma) / v.unit),
    "times the number of samples": N(lambda v: 6 / v.top**2 / v.unit),
}  # fmt: skip
CONTRACTION: dict[str, Formula] = {
    "2 q": N(lambda v: 2 * v.q * SAFE),
    "sigma at w0": N(lambda v: v.unit * v.step_size * v.sigma**2 * 2 * SAFE),
    "in units of the mean": N(lambda v: v.step_size * v.s**2),
    "|J| for sigma": N(lambda v: min(1.0, v.unit * v.step_size * v.top**2)),
    "twice": N(lambda v: 3.9 * v.q),
    "q of the root": N(lambda v: math.sqrt(v.q)),
}  # fmt: skip

FORMULAS: dict[str, dict[str, dict[str, Formula]]] = {
    "T11": {
        "radius": {
            "start / sigma": FEW,
            "start / |J|": N(lambda v: v.start / v.jac),
            "half of the integral": N(lambda v: v.start / (2 * v.sigma)),
            "betas of the piece before": _least(
                lambda t, c: _shifted(t).s_integral(c["radius"]) >= t.start),
            "betas over two": _least(lambda t, c: _weaker(t).s_integral(c["radius"]) >= t.start),
            "the square of the residual": N(lambda v: v.start**2 / v.sigma),
        },
        "step_size": SQUARED_STEP,
        "one_minus_rate": CONTRACTION | {
            "without the square": N(lambda v: 1 - (1 - v.q) ** 3),
        },
        **COMMON,
    },
    "T4": {
        "radius": {
            "epsilon forgotten": _least(lambda t, c: t.s_integral(c["radius"]) >= t.start),
            "epsilon for 1 - epsilon, squared": _least(
                lambda t, c: (1 - c["epsilon"] ** 2) * t.s_integral(c["radius"]) >= t.start),
            "start / sigma": FEW,
            "s at w0": N(lambda v: v.start / v.sigma / 0.5 * SAFE),
        },
        "step_size": {
            "the residual's curvature forgotten": N(lambda v: 2 * 0.5 / v.top**2 / v.unit),
            "|J| at w0": N(lambda v: 2 * 0.5 / (v.jac**2 + v.start * v.beta) / v.unit),
            "epsilon forgotten": N(lambda v: 2 / (v.top**2 + v.start * v.beta) / v.unit * SAFE),
            "beta alone": N(lambda v: 1 / (v.start * v.beta) / v.unit),
            "over sigma^2": SQUARED_STEP["over sigma^2"],
        },
        "one_minus_rate": {
            "as in T11": N(lambda v: 2 * v.q - v.q**2),
            "epsilon forgotten": N(lambda v: 2 * v.q * SAFE),
            "sigma at w0": N(lambda v: v.unit * v.step_size * v.sigma**2),
            "1 + epsilon": N(lambda v: 2 * 1.5 * v.q),
        },
        **COMMON,
    },
    "T7": {
        "radius": {
            "rho of the whole loss": _least(
                lambda t, c: t.s_integral(c["radius"])
                >= t.start - 2 * Fraction(math.sqrt(2 * c["target_loss"] / t.unit))),
            "start / sigma - rho": N(
                lambda v: (v.start - math.sqrt(2 * v.target_loss / v.unit)) / v.sigma),
            "difference of the squares": N(
                lambda v: (v.start**2 - 2 * v.target_loss / v.unit) / v.sigma * 0.1),
            "|J| for sigma": N(lambda v: v.start / v.jac * 0.1),
        },
        "step_size": {name: SQUARED_STEP[name] for name in ("|J| at w0", "2 over |J|^2")},
        "one_minus_rate": CONTRACTION,
        "overshoot_radius": {
            "the ball itself": N(lambda v: v.radius),
            "one step of length eta rho": N(
                lambda v: v.radius + v.unit * v.step_size * math.sqrt(2 * v.target_loss / v.unit)),
            "rho of the stated loss": N(
                lambda v: v.radius + v.unit * v.step_size * v.top * math.sqrt(v.target_loss)),
            "the unit of the step forgotten": N(
                lambda v: v.radius + v.step_size * v.top * v.target_loss),
            "half of a step": N(
                lambda v: v.radius
                + v.unit * v.step_size * v.top * math.sqrt(2 * v.target_loss / v.unit) / 2),
            "sigma for |J|": N(
                lambda v: v.radius
                + v.unit * v.step_size * v.sigma * math.sqrt(2 * v.target_loss / v.unit)),
        },
        "steps_upper": {
            "rounded down": lambda t, c: _steps_7(t, c) - 1,
            "of the loss, at twice the speed": lambda t, c: _steps_7(t, c) // 2,
            "one": lambda t, c: 1.0,
        },
        **COMMON,
    },
    "T9": {
        "radius": {
            "theta forgotten": _least(lambda t, c: t.s_integral(c["radius"]) >= t.start),
            "theta once": _least(
                lambda t, c: t.s_integral(c["radius"]) - t.sigma * c["theta"]
                / (1 + c["theta"]) * c["radius"] >= t.start),
            "1 - theta squared": _least(
                lambda t, c: t.s_integral(c["radius"]) * (1 - c["theta"] ** 2) >= t.start),
            "start / sigma": FEW,
        },
        "step_size": SQUARED_STEP,
        "one_minus_rate": {
            "as in T11": N(lambda v: 2 * v.q - v.q**2),
            "theta of the step forgotten": N(lambda v: 3 * v.q),
            "2 x": N(lambda v: 3 * v.unit * v.step_size * v.s * (v.s - v.sigma * 2 / 3) * SAFE),
        },
        "gradient_error_upper": {
            "no error": lambda t, c: 5e-324,
            "one rounding": N(lambda v: 2.0**-53),
            "at w0": lambda t, c: float(t.further["error"](Fraction(0), c["step_size"])) * SAFE,
            "update rounded at a thousandfold step": lambda t, c: float(
                t.further["error"](c["radius"], 1000 * c["step_size"])),
            "half": lambda t, c: float(t.further["error"](c["radius"], c["step_size"])) / 2,
            "of the summed loss": lambda t, c: float(
                t.unit / 2 * t.further["error"](c["radius"], c["step_size"])) * 0.99,
        },
        "floor": {
            "sigma at w0": N(lambda v: (v.gradient_error_upper / (v.theta * v.sigma)) ** 2
                             / (2 * v.unit)),
            "theta forgotten": N(lambda v: (v.gradient_error_upper / v.s) ** 2 / (2 * v.unit)),
            "c forgotten": N(lambda v: (v.gradient_error_upper / (v.theta * v.s)) ** 2 / 8),
            "the error itself, squared": N(lambda v: v.gradient_error_upper**2),
            "|J| for sigma": N(lambda v: (v.gradient_error_upper / (v.theta * v.top)) ** 2
                               / (2 * v.unit)),
        },
        "steps_upper": {
            "of the residual": N(lambda v: math.floor(
                math.log(v.unit * v.start**2 / 2 / v.floor) / v.one_minus_rate / 2)),
            "to base ten": N(lambda v: math.floor(
                math.log10(v.unit * v.start**2 / 2 / v.floor) / v.one_minus_rate)),
            "one": lambda t, c: 1.0,
        },
        **COMMON,
    },
}  # fmt: skip


def _changed(t: Terms, betas: list[Fraction]) -> Terms:
    ends = [end for end, _ in t.pieces]
    pieces = list(zip(ends, betas, strict=True))
    return Terms(t.sigma, t.jacobian_norm, pieces, t.unit, t.start, t.further)


def _shifted(t: Terms) -> Terms:
    return _changed(t, [Fraction(0), *(beta for _, beta in t.pieces[:-1])])


def _weaker(t: Terms) -> Terms:
    return _changed(t, [beta / 2 for _, beta in t.pieces])


def _steps_7(t: Terms, c: Claims) -> float:
    rule = next(rule for rule in rules(measured("T7")) if rule.integer)
    return rule.edge(t, c)[0]


def conclusions(seed: int) -> Group:
    """Wrong formulas; the seed chooses the networks and the scaling of the loss."""
    group = Group("conclusions", {
        f"{form}, {scaling}": partial(genuine, form, scaling, seed)
        for form in FORMS for scaling in SCALINGS[form]
    })  # fmt: skip
    from tests.soundness.lies.entropy_conclusions import FORMULAS_OF_ENTROPIES

    for form, table in (FORMULAS | FORMULAS_OF_ENTROPIES).items():
        reasons = {rule.claim: rule.reason for rule in rules(measured(form))}
        for claim, formulas in table.items():
            verdict = INCOMPLETE if claim == "gradient_error_upper" else INVALID
            for name, formula in formulas.items():
                make = partial(_concluded, form, seed, claim, formula)
                group.add(f"{form}, {claim}: {name}", make, reasons[claim], verdict)
    for scaling in SCALINGS["T11"]:
        for other in SCALINGS["T11"]:
            if other != scaling:
                for form in ("T11", "T4", "T7", "T9"):
                    make = partial(_rescaled, form, seed, scaling, other)
                    if measured(form, scaling).coefficient < measured(form, other).coefficient:
                        group.add(f"{form}: numbers of the {scaling} for the {other}", make,
                                  "the claims do not satisfy: ")  # fmt: skip
    return group


def _concluded(form: str, seed: int, claim: str, formula: Formula) -> Draft:
    return concluded(copied(measured(form, "mean", seed)), {claim: formula})


def _rescaled(form: str, seed: int, scaling: str, other: str) -> Draft:
    draft = genuine(form, other, seed)
    draft.claims = dict(genuine(form, scaling, seed).claims)
    return draft
