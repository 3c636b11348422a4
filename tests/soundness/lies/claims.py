"""Every claim of every form, stronger than the truth by a hair or by its last bit."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import numpy as np
from classifier import EntropyDraft
from flint import arb, ctx
from generator import Draft
from tests.soundness.lies.drafts import (
    FORMS,
    OVERSHOOT_13,
    SCALINGS,
    concluded,
    copied,
    genuine,
    given,
    measured,
    rules,
    terms,
)
from tests.soundness.lies.planted import INCOMPLETE, INVALID, Group
from tests.soundness.lies.terms import Rule, beyond

PAD = 1e-6  # of the builders
HAIR = 1e-8  # beyond the true number
GAP_HAIR = 1e-5  # of a divergence, which the builder bounds, and floats resolve to some 1e-7


def last_bit(seed: int) -> Group:
    """Exact inequalities: the last binary64 that holds is the control, the next one the lie."""
    group = Group("last_bit", {
        f"{form}, {scaling}": partial(genuine, form, scaling, seed)
        for form in FORMS for scaling in SCALINGS[form]
    })  # fmt: skip
    for form in FORMS:
        scaling = SCALINGS[form][seed % len(SCALINGS[form])]
        for rule in rules(measured(form)):
            verdict = INCOMPLETE if rule.claim == "gradient_error_upper" else INVALID
            group.add(f"{form}: {rule.claim}", partial(_one_bit, form, scaling, seed, rule),
                      rule.reason, verdict)  # fmt: skip
    group.add("entropy T13: overshoot_radius", partial(_overshoot, seed), OVERSHOOT_13.reason)
    for form, up, down in (
        ("T4", r"\(1 - epsilon\) int", "eta M"),
        ("entropy T4", r"\(1 - epsilon\) int", "eta M"),
        ("entropy T13", r"\(1 - epsilon\) int", "eta M"),
        ("T9", "int_0\\^radius s' ", "floor >= "),
    ):
        name = "theta" if form == "T9" else "epsilon"
        for reason, share in ((up, HAIR), (down, -HAIR)):
            group.add(f"{form}: {name} {share:+g}", partial(_scaled, form, seed, name, 1 + share),
                      reason)  # fmt: skip
    for form, reason in (
        ("T7", "int_0\\^radius s >= residual_norm_upper - rho"),
        ("entropy T13", r"\(1 - epsilon\) int_0"),
    ):
        lower = partial(_scaled, form, seed, "target_loss", 1 - HAIR)
        group.add(f"{form}: target_loss {-HAIR:+g}", lower, reason)
    for form in ("T7", "T9", "entropy T13"):
        group.add(f"{form}: steps_upper is no integer", partial(_half_a_step, form, seed),
                  "steps_upper is an integer")  # fmt: skip
    for form in FORMS:
        group.add(f"{form}: radius beyond the list", partial(_beyond_the_list, form, seed),
                  "radius lies within the listed radii")  # fmt: skip
        group.add(f"{form}: s vanishes on the ball", partial(_s_vanishes, form, seed),
                  r"s\(radius\) > 0")  # fmt: skip
    return group


def _one_bit(form: str, scaling: str, seed: int, rule: Rule) -> Draft:
    return concluded(copied(measured(form, scaling, seed)), beyond(rule))


def _overshoot(seed: int) -> Draft:
    draft = genuine("entropy T13", "mean", seed)
    claims = {**given(draft), **{name: Fraction(value) for name, value in draft.claims.items()
                                 if isinstance(value, float)}}  # fmt: skip
    last = draft.profile[-1][0]
    draft.claims["overshoot_radius"] = OVERSHOOT_13.edge(terms(draft), claims, last)[1]
    return draft


def _scaled(form: str, seed: int, name: str, factor: float) -> Draft:
    draft = genuine(form, "mean", seed)
    draft.claims[name] *= factor
    return draft


def _half_a_step(form: str, seed: int) -> Draft:
    draft = genuine(form, "mean", seed)
    draft.claims["steps_upper"] += 0.5
    return draft


def _beyond_the_list(form: str, seed: int) -> Draft:
    draft = genuine(form, "mean", seed)
    last = float(np.nextafter(draft.claims["radius"], 0))
    draft.profile = [*(pair for pair in draft.profile if pair[0] < last)]
    draft.profile.append([last, measured(form, "mean", seed).profile[-1][1]])
    draft.claims["jacobian_lipschitz_upper"] = draft.profile
    return draft


def _s_vanishes(form: str, seed: int) -> Draft:
    draft = genuine(form, "mean", seed)
    draft.profile[-1][1] = draft.profile[0][1] = 2 * draft.sigma / draft.claims["radius"]
    for pair in draft.profile:
        pair[1] = draft.profile[0][1]
    draft.claims["jacobian_lipschitz_upper"] = draft.profile
    return draft


def hairs(seed: int) -> Group:
    """Claims about w0, a hair beyond the truth; everything else follows from them."""
    group = Group("hairs", {form: partial(genuine, form, "mean", seed) for form in FORMS})
    for form in FORMS:
        for name, change in CHANGES.items():
            start = "gap" if form == "entropy T4" else "loss" if form == "entropy T13" else "norm"
            shown = {"gap": "initial_gap_upper", "loss": "initial_loss_upper"}.get(
                start, "residual_norm_upper"
            )
            claim = shown if name == "start" else name
            group.add(f"{form}: {claim}", partial(_changed, form, seed, change),
                      f"^disproved: {claim} ")  # fmt: skip
        for index in range(len(measured(form).profile)):
            group.add(f"{form}: beta {index + 1}", partial(_beta, form, seed, index),
                      "^jacobian_lipschitz_upper is not confirmed at radius ",
                      INCOMPLETE)  # fmt: skip
    return group


def _changed(form: str, seed: int, change: Callable[[Draft], None]) -> Draft:
    draft = copied(measured(form, "mean", seed))
    change(draft)
    return concluded(draft)


def _sigma(draft: Draft) -> None:
    draft.sigma = draft.sigma / (1 - PAD) * (1 + HAIR)


def _jacobian(draft: Draft) -> None:
    draft.jacobian = draft.jacobian / (1 + PAD) * (1 - HAIR)


def _start(draft: Draft) -> None:
    if isinstance(draft, EntropyDraft):
        draft.start = summed(draft) * (1 - (GAP_HAIR if draft.smoothing else HAIR))
    else:
        draft.r = _residual_norm(draft) * (1 - HAIR)


def _residual_norm(draft: Draft) -> float:
    """|F(w0) - y| of a chain of linear layers and tanh; a float loses the residual in F."""
    problem, number = draft.problem, np.frompyfunc(arb, 1, 1)
    with ctx.workprec(200):
        value = number(problem.inputs)
        for operation in problem.operations:
            if operation["kind"] == "linear":
                weight, bias = (problem.weights[operation[key]] for key in ("weight", "bias"))
                value = value.dot(number(weight.T)) + number(bias)
            else:
                value = np.frompyfunc(arb.tanh, 1, 1)(value)
        residual = value - number(problem.targets)
        return float((residual * residual).sum().sqrt())


CHANGES: dict[str, Callable[[Draft], None]] = {
    "start": _start, "sigma_min_lower": _sigma, "jacobian_norm_upper": _jacobian,
}  # fmt: skip


def summed(draft: EntropyDraft) -> float:
    """The summed loss, above its infimum where labels are smoothed, in long doubles."""
    draft.problem.forward()
    z = draft.problem.values.astype(np.longdouble)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    q = np.full(z.shape, np.longdouble(draft.smoothing) / draft.k)
    q[np.arange(len(z)), draft.labels] += 1 - np.longdouble(draft.smoothing)
    logarithm = np.log(np.where(q > 0, q, 1)) if draft.smoothing else 0
    return float((q * (logarithm - log_p)).sum())


def _beta(form: str, seed: int, index: int) -> Draft:
    draft = copied(measured(form, "mean", seed))
    low = draft.profile[index][1] / (1 + PAD) * (1 - HAIR)
    for pair in draft.profile[: index + 1]:
        pair[1] = min(pair[1], low)
    return concluded(draft)
