"""T8: scaling the output makes a smooth network with a full-rank kernel provably trainable.

    form           F_c                                   sigma      |J|      beta
    offset         c (F(w) - F(w0))                      c sigma    c |J|    c beta
    antisymmetric  c (G(w1) - G(w2)) / sqrt 2, w1 = w2   c sigma    c |J|    c beta / sqrt 2

Both start at output zero, so the residual is -y whatever c is, while the profile grows with c:

    T11's criterion for F_c        |y| < c max_R int_0^R s,    s = sigma - int beta (/ sqrt 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, positive, upper_bound
from talweg.theory._bounds import NestedBallBound
from talweg.theory._losses import HALF_SUM, SquaredLoss
from talweg.theory._singular_values import SingularValueProfile, singular_value_profile
from talweg.theory._squared import (
    PREMISES,
    SquaredLossConvergence,
    require_compatible_norms,
    squared_loss_converges,
    squared_loss_premises,
)
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T8 (T11 for scaled outputs; the idea of chatterjee2022's large output layer)"
Form = Literal["offset", "antisymmetric"]


@dataclass(frozen=True, slots=True)
class OutputScaling:
    """What T8 proves: T11 holds for the network scaled by `scale`.

    Attributes:
        scale: c.
        threshold_upper: |y| / int s from above; every c above it will do.
        convergence: what T11 proves for F_c; its radius is a distance in the weights of F_c.
    """

    scale: float
    threshold_upper: float
    convergence: SquaredLossConvergence


def scaled_output_converges(
    target_norm_upper: float,
    profile: SingularValueProfile,
    jacobian_norm_upper: float,
    *,
    scale: float,
    form: Form = "offset",
    loss: SquaredLoss = HALF_SUM,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[OutputScaling]:
    """Gradient descent on the scaled network reaches zero loss (T8).

        c > |y| / int_0^R s      (strictly),     eta <= 1 / (c^2 sup_{B(w0,R*)} |J|^2),

    for F_c = c (F - F(w0)), or for c times the antisymmetric twin with beta / sqrt 2 in s. The
    loss contracts by (1 - (s(R*) / sup |J|)^2)^2 at the largest step, int_0^{R*} s = |y| / c: the
    larger c, the shorter the way and the nearer to the linear model.

    Source: T8; the idea of chatterjee2022's large output layer, for every smooth network; proof in
    docs/theory/T8.md.

    Args:
        target_norm_upper: upper bound of |F_c(w0) - y|; |y| where the start is exactly zero.
        profile: s at w0 for c = 1 (of F, or of one G).
        jacobian_norm_upper: upper bound of |J(w0)| for c = 1.
        scale: c > 0.
        form: which of the two scaled networks.
        loss: scaling of the loss that the step and the rates speak of.
        step_size: learning rate on `loss` to verify; None asks for the largest certified one.
        assumed: premises only assumed, those of `squared_loss_converges`.

    Returns:
        PROVED with the numbers of T11 for F_c, or UNDECIDED naming the hypothesis: a premise,
        `scale` (its missing factor is threshold / c), or one of T11's for F_c: a premise again
        where c times its bound overflows or underflows.

    Raises:
        InputError: NaN, a negative norm, a scale or a step that is not finite and positive, an
            unknown form, or sigma_min_lower > jacobian_norm_upper.
    """
    call = "scaled_output_converges"
    r0 = upper_bound(target_norm_upper, "target_norm_upper", call)
    norm = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    c = positive(scale, "scale", call)
    trusted = assumed_names(assumed, PREMISES, call)
    require_compatible_norms(profile.sigma_min_lower, norm, call)
    base = _form_profile(profile, form, call)
    hypotheses = squared_loss_premises(r0, base, norm)
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    threshold = output_scale_threshold_upper(r0, profile, form=form)
    # In this form the value is what is needed, the bound what is there.
    hypotheses.append(Hypothesis.below("scale", "|y| / int_0^R s < c", threshold, c))
    if not hypotheses[-1].holds:
        return decide(SOURCE, hypotheses, trusted)
    scaled_norm = (Interval.point(c) * norm).hi
    inner = squared_loss_converges(
        r0, _scaled(base, c), scaled_norm, loss=loss, step_size=step_size
    )
    # Premises hold at c = 1; one fails here only where c times a bound leaves the range of floats.
    hypotheses += [h for h in inner.hypotheses if h.name not in PREMISES or not h.holds]
    if inner.conclusion is None:
        return decide(SOURCE, hypotheses, trusted)
    proved = OutputScaling(c, threshold, inner.conclusion)
    return decide(SOURCE, hypotheses, trusted, lambda: proved)


def output_scale_threshold_upper(
    target_norm_upper: float, profile: SingularValueProfile, *, form: Form = "offset"
) -> float:
    """The scale beyond which T8 holds, ``|y| / max_R int_0^R s``, rounded up.

    With constant beta on B(w0, sigma_0 / beta) it is 2 beta |y| / sigma_0^2, and 1 / sqrt 2 of that
    for the antisymmetric twin.

    Source: T8; docs/theory/T8.md.

    Args:
        target_norm_upper: |y|.
        profile: s at w0 for c = 1.
        form: which scaled network.

    Returns:
        The threshold; inf where no scale is known to do.

    Raises:
        InputError: NaN, a negative norm, an unknown form.
    """
    call = "output_scale_threshold_upper"
    r0 = upper_bound(target_norm_upper, "target_norm_upper", call)
    base = _form_profile(profile, form, call)
    available = base.integral_lower(base.radius)  # s >= 0: the whole integral is the largest
    if not available > 0.0:
        return math.inf
    if math.isinf(available):
        return 0.0
    return (Interval.point(r0) / Interval.point(available)).hi


def _form_profile(profile: SingularValueProfile, form: str, call: str) -> SingularValueProfile:
    """The profile of the scaled network at c = 1: beta divided by sqrt 2 for the twin.

    Args:
        profile: s of F, or of one G.
        form: "offset" or "antisymmetric".
        call: the function's name, for the message.

    Raises:
        InputError: unknown form.
    """
    if form == "offset":
        return profile
    if form == "antisymmetric":
        root = Interval.point(2.0).sqrt()
        return singular_value_profile(
            profile.sigma_min_lower,
            [(r, _quotient_upper(b, root)) for r, b in _pairs(profile.lipschitz)],
        )
    raise InputError(
        f"`form` of {call}() must be 'offset' or 'antisymmetric'; got {form!r}. 'offset' subtracts "
        "the outputs at the start, 'antisymmetric' is the difference of two copies."
    )


def _scaled(profile: SingularValueProfile, c: float) -> SingularValueProfile:
    """The profile c s: sigma rounded down, beta up."""
    factor = Interval.point(c)
    return singular_value_profile(
        (factor * profile.sigma_min_lower).lo,
        [(r, (factor * b).hi) for r, b in _pairs(profile.lipschitz)],
    )


def _pairs(bound: NestedBallBound) -> list[tuple[float, float]]:
    return list(zip(bound.radii, bound.values, strict=True))


def _quotient_upper(value: float, divisor: Interval) -> float:
    return math.inf if math.isinf(value) else (Interval.point(value) / divisor).hi
