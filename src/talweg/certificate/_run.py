"""`certify_run`: a recorded training run, judged step by step after the fact (T12)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from talweg._display import Sheet, Shown
from talweg._errors import InputError
from talweg.certificate._objective import SQUARED_SCALINGS
from talweg.enclosure import Interval, require_sound_arithmetic
from talweg.network import (
    ConflictingRows,
    JacobianLipschitz,
    Linearization,
    MergedRows,
    Network,
    check_data,
    gate,
    half_squares_decrease_lower,
    half_squares_gradient_norm_upper,
    kernel_ball,
    linearize,
    merge_duplicates,
    read,
    residual_ball,
    residual_norm_bound,
    set_parameters,
    step_length_bounds,
)
from talweg.theory import (
    RunContained,
    RunStep,
    ScaledProfile,
    SingularValueProfile,
    SquaredLoss,
    Verdict,
    run_stays_in_ball,
    singular_value_profile,
)
from talweg.verified import smallest_eigenvalue_lower

NESTED_FRACTIONS = (0.125, 0.25, 0.5, 1.0)
"""Of the radius at which the profile would end without growth of beta."""

LEAST_RADIUS = 1e-150


@dataclass(frozen=True, eq=False, repr=False)
class RunCertificate(Shown):
    """What is proved of a recorded run, or why nothing is.

    Attributes:
        status: "PROVED" or "UNDECIDED".
        reason: One sentence.
        verdict: The theorem's hypotheses and conclusion; None where the data forbid it.
        steps: Steps of the run.
        decreases_lower: Proved decrease of the loss in each step.
        losses_upper: Upper bound of the loss at each iterate.
        radius: Every iterate is proved to lie within this distance of the first.
        one_minus_rates: The loss falls by at least this fraction in each step, by T12's rate.
        shrink: Bounds the last loss over the first, the product of those rates.
    """

    status: str
    reason: str
    verdict: Verdict[RunContained] | None
    steps: int
    decreases_lower: tuple[float, ...] = ()
    losses_upper: tuple[float, ...] = ()
    radius: float | None = None
    one_minus_rates: tuple[float, ...] = ()
    shrink: float | None = None

    def _sheet(self) -> Sheet:
        rows = [("status", self.status), ("reason", self.reason), ("steps", f"{self.steps:,}")]
        if self.radius is not None:
            rows.append(("radius", f"{self.radius:.6g} (every iterate is that near the first)"))
        if self.losses_upper:
            ends = f"{self.losses_upper[0]:.6g} -> {self.losses_upper[-1]:.6g}"
            rows.append(("loss <=", ends))
        if self.shrink is not None:
            rows.append(("last / first loss <=", f"{self.shrink:.6g}"))
        return Sheet.of_status("certificate of a recorded run (T12)", self.status, rows)


def certify_run(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    iterates: Sequence[Mapping[str, Tensor]],
    *,
    loss: str = "mse",
    share: float = 0.5,
) -> RunCertificate:
    """Prove of a recorded run that each step went down enough for all of it to stay in a ball.

    The iterates are taken as the exact numbers they are, whatever method made them; no step rule
    and no smoothness constant enters. All that an iterate names enters: what the model does not
    train is a constant of f, so an iterate may repeat it but not change it. For every step

        f(w_k) - f(w_{k+1}) >= share |grad f(w_k)| |w_{k+1} - w_k|

    is decided with enclosures (the decrease as half the product of difference and sum of the
    residuals), the profile a = sqrt(2 mu_l) (sigma_min(J(w_0)) - int beta) at the first iterate.

    Source: T12 (docs/theory/T12.md).

    Args:
        model: A feed-forward chain. Its frozen tensors are those of f; the values of its trained
            ones are not used, each iterate brings its own.
        data: ``(X, y)`` as in `certify`.
        iterates: At least two, each with all trained tensors of f by name (as in
            ``model.named_parameters()``; `parameters_of` copies them). Any other tensor of the
            model that is named must have exactly the value that it has in the model.
        loss: "mse", "sse" or "half_sse".
        share: c in (0, 1]; Armijo's constant, or a little less, to make room for rounding.

    Returns:
        The certificate; UNDECIDED names the first step that was not shown to go down enough, or
        the first iterate that is not finite.

    Raises:
        InputError: Data, iterates or an argument is malformed; an iterate lacks a trained tensor,
            names one that the model does not have, or changes one that is frozen or unused.
        UnsupportedModelError: The model holds something that talweg cannot read.
        UnsoundArithmeticError: This machine's floating point breaks an assumption.
    """
    if loss not in SQUARED_SCALINGS:
        raise InputError(
            f"`loss` of certify_run() must be one of {', '.join(SQUARED_SCALINGS)}; got {loss!r}. "
            "T12 is implemented for squared losses."
        )
    X, y = data
    network = read(model, X)
    checked = check_data(X, y, network)
    gate(model, network, X)
    _check_iterates(model, network, iterates)
    require_sound_arithmetic(X.device)
    squared = SquaredLoss(SQUARED_SCALINGS[loss], checked.targets.numel())
    rows = merge_duplicates(checked.inputs, checked.targets)
    count = len(iterates) - 1
    if isinstance(rows, ConflictingRows):
        i, j = rows.pairs[0]
        reason = f"rows {i} and {j} have equal inputs and different targets: the kernel is singular"
        return RunCertificate("UNDECIDED", reason + ".", None, count)
    diverged = _not_finite(network, iterates)
    if diverged is not None:
        return RunCertificate("UNDECIDED", diverged, None, count)
    names = network.parameter_names()
    networks = [set_parameters(network, {n: iterate[n] for n in names}) for iterate in iterates]
    start = linearize(networks[0], rows.inputs, rows.multiplicity)
    steps, losses = _steps(networks, start, rows, squared)
    lipschitz = JacobianLipschitz(start)
    profile = _profile(start, rows, lipschitz, share)
    steepness = ScaledProfile(profile, max((2.0 * squared.curvature).sqrt().lo, 0.0))
    verdict = run_stays_in_ball(losses[0], steepness, steps, share=share)
    decreases = tuple(step.decrease_lower for step in steps)
    found, why = verdict.conclusion, verdict.reason
    if found is not None:
        path = lipschitz.nonideal_path(found.radius_upper)
        if path is not None:
            found, why = None, f"softplus at {path!r} may pass its threshold inside the ball."
    if found is None:
        return RunCertificate("UNDECIDED", why, verdict, count, decreases, losses)
    reason = f"{count} steps went down by the share {share!r} and more of gradient times length."
    return RunCertificate(
        "PROVED", reason, verdict, count, decreases, losses,
        found.radius_upper, found.one_minus_rates_lower, found.shrink_upper,
    )  # fmt: skip


def _check_iterates(
    model: nn.Module, network: Network, iterates: Sequence[Mapping[str, Tensor]]
) -> None:
    """Every iterate must be a point of the space on which f is defined.

    A value for a tensor that f holds constant is part of what the caller recorded: to drop it would
    prove something of other points.
    """
    if len(iterates) < 2:
        raise InputError(
            f"`iterates` of certify_run() must hold at least two iterates; got {len(iterates)}. "
            "Record a copy of the parameters before the first and after every step."
        )
    trained = set(network.parameter_names())
    tensors = dict(model.named_buffers(remove_duplicate=False))
    tensors |= dict(model.named_parameters(remove_duplicate=False))
    constants = {name: t.detach() for name, t in tensors.items() if name not in trained}
    for k, iterate in enumerate(iterates):
        missing = sorted(trained - set(iterate))
        if missing:
            raise InputError(
                "`iterates` of certify_run() must name every trainable parameter; iterate "
                f"{k} lacks {', '.join(missing)}. Copy model.named_parameters()."
            )
        for name, value in iterate.items():
            if name in trained:
                continue
            if name not in constants:
                raise InputError(
                    "`iterates` of certify_run() must name tensors of the model alone; iterate "
                    f"{k} names {name!r}, which it does not have. Pass the model that was trained, "
                    "and parameters_of(model) of it."
                )
            if not _equal(value, constants[name]):
                raise InputError(
                    f"`iterates` of certify_run() must leave {name!r}, which is frozen or unused "
                    f"in the model, exactly as it is there; iterate {k} has other values. Pass "
                    "the model with the values and requires_grad flags that the run had."
                )


def _equal(value: Tensor, constant: Tensor) -> bool:
    """Whether two tensors hold the same numbers; no two dtypes are compared after a rounding."""
    if value.is_floating_point() and constant.is_floating_point():
        value, constant = value.to(torch.float64), constant.to(torch.float64)
    same = value.shape == constant.shape and value.dtype == constant.dtype
    return same and torch.equal(value.to(constant.device), constant)


def _not_finite(network: Network, iterates: Sequence[Mapping[str, Tensor]]) -> str | None:
    """The first iterate with a NaN or infinity, in words."""
    for k, iterate in enumerate(iterates):
        for name in network.parameter_names():
            if not bool(torch.isfinite(iterate[name]).all()):
                return f"iterate {k} is not finite in {name!r}: the run diverged."
    return None


def _steps(
    networks: Sequence[Network], start: Linearization, rows: MergedRows, loss: SquaredLoss
) -> tuple[list[RunStep], tuple[float, ...]]:
    """Bounds of every step, and of the loss at every iterate, on the scale of ``loss``."""
    curvature, steps = loss.curvature, []
    state, here = start, residual_ball(start, rows.targets)
    losses = [loss.loss_upper(residual_norm_bound(state, rows.targets))]
    for before, after in pairwise(networks):
        gradient = half_squares_gradient_norm_upper(state, here)
        state = linearize(after, rows.inputs, rows.multiplicity)
        there = residual_ball(state, rows.targets)
        shortest, longest = step_length_bounds(before, after)
        steps.append(RunStep(
            decrease_lower=_no_nan((curvature * half_squares_decrease_lower(here, there)).lo, -1.0),
            gradient_norm_upper=_no_nan((curvature * gradient).hi, 1.0),
            length_lower=shortest,
            length_upper=longest,
        ))  # fmt: skip
        losses.append(loss.loss_upper(residual_norm_bound(state, rows.targets)))
        here = there
    return steps, tuple(losses)


def _no_nan(bound: float, side: float) -> float:
    """A bound, or the infinity on its side where it overflowed to NaN: nothing is known then."""
    return math.copysign(math.inf, side) if math.isnan(bound) else bound


def _profile(
    start: Linearization, rows: MergedRows, lipschitz: JacobianLipschitz, share: float
) -> SingularValueProfile:
    """s at the first iterate, on radii near the one that the criterion needs."""
    smallest = smallest_eigenvalue_lower(kernel_ball(start))
    sigma = Interval.point(smallest).sqrt().lo if 0.0 < smallest < math.inf else 0.0
    beta = lipschitz.upper(0.0)
    need = 1.001 * residual_norm_bound(start, rows.targets) / max(share, 1e-300)
    if not (sigma > 0.0 and beta < math.inf and need < math.inf):
        return singular_value_profile(sigma, [(1.0, lipschitz.upper(1.0))])
    end = max(4.0 * need / sigma, LEAST_RADIUS)
    if beta * end > sigma:
        end = max(sigma / beta, LEAST_RADIUS)
    room = sigma * sigma - 2.0 * beta * need
    if room > 0.0:
        end = min(end, max(1.05 * 2.0 * need / (sigma + math.sqrt(room)), LEAST_RADIUS))
    return singular_value_profile(
        sigma, [(share * end, lipschitz.upper(share * end)) for share in NESTED_FRACTIONS]
    )


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the trainable parameters by name: one iterate for `certify_run`.

    Args:
        model: The model in training.
    """
    with torch.no_grad():
        return {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
