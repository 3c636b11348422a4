"""Genuine certificates of every form, whose claims are all at the last bit that still holds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

import numpy as np
from classifier import SMOOTHING, EntropyDraft, classifier
from flint import arb, ctx
from generator import Draft, Problem, make
from tests.soundness.lies.rules import OVERSHOOT_13, RULES
from tests.soundness.lies.terms import Claims, Planted, Rule, Terms, derived, floats

from talweg_check._arrays import PRECISION, exact
from talweg_check._forms import ASSUMED_OF_THE_RUN, FLOAT64_DESCENT
from talweg_check._network import Network, merged, stages_of
from talweg_check._rounding import Rounding

FORMS = tuple(RULES)
SCALINGS = {
    "T11": ("mean", "sum", "half_sum"), "T4": ("mean", "sum", "half_sum"),
    "T7": ("mean", "sum", "half_sum"), "T9": ("mean", "sum", "half_sum"),
    "entropy T4": ("mean", "sum"), "entropy T13": ("mean", "sum"),
}  # fmt: skip
SEEDS = {"T7": (3,)}  # networks that can be certified; the others take any
EPSILON, THETA = 0.5, 0.5
LITTLE = 2.0**-12  # epsilon of T13: many small steps


class FloatDraft(Draft):
    """A T9 certificate in the making."""

    def sentence(self, hashes: dict[str, str]) -> str:
        """The sentence of T9."""
        c, n, k = self.claims, self.counts["samples"], self.counts["outputs"]
        words = {"mean": "mean", "sum": "sum", "half_sum": "half sum"}[self.scaling]
        return (
            "Gradient descent in float64, as run by the program of T9 (forward, backward and "
            "update in binary64, inner products in any order, with or without fused multiply-add), "
            f"on the full batch, started from the stored weights (sha256 {hashes['weights']}) on "
            f"the stored data (inputs sha256 {hashes['inputs']}, targets sha256 "
            f"{hashes['targets']}), training the {self.counts['parameters']} parameters of "
            f"[{self.chain()}], with constant step size {c['step_size']}, brings the training loss "
            f"({words} of squares over {n} samples and {k} outputs) down to the floor {c['floor']} "
            f"after at most {int(c['steps_upper'])} steps: until then every iterate stays within "
            f"Euclidean distance {c['radius']} of the start and the loss falls by at least the "
            f"fraction {c['one_minus_rate']} in every step; nothing is claimed about later "
            f"iterates. Assumed, not proved: {'; '.join(ASSUMED_OF_THE_RUN)}."
        )

    def tree(self) -> dict[str, Any]:
        """With the semantics and the assumptions of T9."""
        return super().tree() | {
            "semantics": FLOAT64_DESCENT, "assumptions": list(ASSUMED_OF_THE_RUN)
        }  # fmt: skip


@lru_cache(maxsize=64)
def measured(form: str, scaling: str = "mean", seed: int = 0) -> Draft:
    """Network, data and the numbers at w0 of a certificate of this form; not to be changed."""
    seeds = SEEDS.get(form, (0, 1, 2))
    seed = seeds[seed % len(seeds)]
    if form == "T11":
        return Draft(make([4, 10, 1], seed=seed), "T11", scaling).measure()
    if form == "entropy T4":
        return EntropyDraft(*classifier([4, 14, 3], seed=seed), scaling=scaling).measure()
    if form == "entropy T13":
        problem, labels = classifier([4, 24, 3], 0.0, samples=4, goal=1e-2, seed=seed)
        return EntropyDraft(problem, labels, 0.0, scaling).measure([1e-4, 1e-3, 0.03])
    kind = FloatDraft if form == "T9" else Draft
    goal = 1e-2 if form == "T7" else 1e-5
    draft = kind(make([4, 12 if form == "T7" else 10, 1], goal=goal, seed=seed), form, scaling)
    draft.measure([1e-3])
    reach = {"T9": 8, "T7": 3, "T4": 3}[form] * draft.r / draft.sigma
    return draft.measure([reach / 2, reach])


def given(draft: Draft) -> Claims:
    """What the theorem's other claims build on, and what its user chooses."""
    if isinstance(draft, EntropyDraft):
        choices = {"epsilon": Fraction(EPSILON)}
        if draft.theorem == "T13":
            last = Fraction(draft.profile[-1][0])
            choices = {
                "epsilon": Fraction(LITTLE), "overshoot_radius": Fraction(float(last * 9 / 10)),
                "target_loss": Fraction(0.9999 * draft.start * draft.unit),
            }  # fmt: skip
        return choices
    if draft.theorem == "T4":
        return {"epsilon": Fraction(EPSILON)}
    if draft.theorem == "T7":
        return {"target_loss": Fraction(0.3 * draft.r**2 * draft.coefficient)}
    return {"theta": Fraction(THETA)} if draft.theorem == "T9" else {}


def terms(draft: Draft) -> Terms:
    """The exact numbers that the rules of its theorem speak of."""
    n, k = draft.counts["samples"], draft.counts["outputs"]
    scaled = {
        "mean": Fraction(1, n) if isinstance(draft, EntropyDraft) else Fraction(2, n * k),
        "sum": Fraction(1) if isinstance(draft, EntropyDraft) else Fraction(2),
        "half_sum": Fraction(1),
    }  # fmt: skip
    unit = scaled[draft.scaling]
    further: dict[str, Any] = {}
    start = draft.start if isinstance(draft, EntropyDraft) else draft.r
    if isinstance(draft, EntropyDraft):
        further = {"samples": n, "classes": k, "least": Fraction(draft.smoothing) / k,
                   "height": lambda t, c: t.start}  # fmt: skip
    if isinstance(draft, FloatDraft):
        further["error"] = lambda radius, step: _rounding_error(draft, unit, radius, step)
    return Terms(
        Fraction(draft.sigma), Fraction(draft.jacobian),
        [(Fraction(radius), Fraction(beta)) for radius, beta in draft.profile],
        unit, Fraction(start), further,
    )  # fmt: skip


@cache
def _rounding(draft: FloatDraft) -> Rounding:
    problem = draft.problem
    inputs, _, counts = merged(problem.inputs, problem.targets)
    net = Network(stages_of(problem.operations, problem.weights), exact(inputs), counts)
    return Rounding(problem.operations, net, len(problem.inputs))


@lru_cache(maxsize=256)
def _error_bound(
    draft: FloatDraft, start: float, unit: Fraction, radius: Fraction, step: Fraction
) -> Fraction:
    with ctx.workprec(PRECISION):
        scale = arb(unit.numerator) / unit.denominator
        bound = _rounding(draft).error(arb(float(radius)), arb(start), scale, arb(float(step)))
        mantissa, exponent = bound.upper().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _rounding_error(
    draft: FloatDraft, unit: Fraction, radius: Fraction, step: Fraction
) -> Fraction:
    origin = getattr(draft, "origin", draft)  # a copy has the same network
    return _error_bound(origin, draft.r, unit, radius, step)


def rules(draft: Draft) -> list[Rule]:
    """Those of its form."""
    return RULES[("entropy " if isinstance(draft, EntropyDraft) else "") + draft.theorem]


def copied(draft: Draft) -> Draft:
    """A draft that may be spoilt; the network and its data are shared."""
    result = copy.copy(draft)
    result.origin = getattr(draft, "origin", draft)
    result.profile = copy.deepcopy(draft.profile)
    result.arrays, result.counts = dict(draft.arrays), dict(draft.counts)
    result.claims = dict(getattr(draft, "claims", {}))
    return result


def concluded(draft: Draft, planted: Planted | None = None) -> Draft:
    """With claims that follow from its numbers, each at its edge but for the planted ones."""
    said = floats(derived(terms(draft), rules(draft), given(draft), planted or {}))
    return claiming(draft, said)


def claiming(draft: Draft, said: dict[str, float]) -> Draft:
    """With these claims and those about w0."""
    about: dict[str, Any] = {
        "sigma_min_lower": draft.sigma, "jacobian_norm_upper": draft.jacobian,
        "jacobian_lipschitz_upper": draft.profile,
    }  # fmt: skip
    if not isinstance(draft, EntropyDraft):
        about["residual_norm_upper"] = draft.r
    else:
        name = "initial_gap_upper" if draft.smoothing else "initial_loss_upper"
        about[name] = draft.start
    draft.claims = about | said
    return draft


@lru_cache(maxsize=64)
def _genuine(form: str, scaling: str, seed: int) -> Draft:
    return concluded(copied(measured(form, scaling, seed)))


def genuine(form: str, scaling: str = "mean", seed: int = 0) -> Draft:
    """A valid certificate, to be spoilt."""
    return copied(_genuine(form, scaling, seed))


def problem_with(draft: Draft, **changes: Any) -> Problem:
    """The network and data of a draft with other parts."""
    old = draft.problem
    parts: dict[str, Any] = {
        "operations": copy.deepcopy(old.operations), "weights": dict(old.weights),
        "inputs": old.inputs, "targets": old.targets, "dtypes": dict(old.dtypes),
    }  # fmt: skip
    return Problem(**(parts | changes))


def labels_of(draft: Draft) -> np.ndarray[Any, Any]:
    """The class indices of a cross-entropy."""
    assert isinstance(draft, EntropyDraft)
    return draft.labels


Drafted = Callable[[], Draft]
__all__ = ["FORMS", "OVERSHOOT_13", "SCALINGS", "SMOOTHING", "Drafted", "Sequence"]
