"""`certify`: from a model and its data to a claim about gradient descent, or why there is none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.certificate._advice import advice, narrow_under_sums
from talweg.certificate._assembly import assembled
from talweg.certificate._bounds import (
    MeasuredBounds,
    Stopwatch,
)
from talweg.certificate._certificate import AsGiven, Certificate
from talweg.certificate._judgement import explained, judged
from talweg.certificate._objective import LossName
from talweg.certificate._polished import (
    estimated_reason,
    hopeless_missing_factor,
    polish_failed,
    polished,
    search_of,
)
from talweg.certificate._problem import Problem, checked_problem, require_tiles
from talweg.certificate._provable_target import provable_target_approx
from talweg.certificate._request import Request
from talweg.certificate._search import Outcome
from talweg.cluster import connected
from talweg.enclosure import require_sound_arithmetic
from talweg.network import (
    FlatFunction,
    Network,
    lipschitz_attack_approx,
    state_lipschitz,
)

Progress = Callable[[str], None]

ON_CLUSTER = (
    "the kernel's eigenvalues were bounded from tiles that workers of a Dask cluster formed"
)


def certify(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    loss: LossName = "mse",
    label_smoothing: float = 0.0,
    target: float | None = None,
    theorem: Literal["T11", "T4", "T9"] | None = None,
    polish: bool = False,
    attack: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
    scheduler: str | None = None,
) -> Certificate:
    """Prove that full-batch gradient descent from these weights reaches the infimum of its loss.

    Zero loss for squared losses, the entropy of the labels for a smoothed cross-entropy; or a
    stated target.

    The claim is about real-arithmetic gradient descent on the exact stored numbers. A sufficient
    condition that does not hold gives UNDECIDED with its margin; REFUTED is a proof of the
    opposite. The model, its gradients and the random state are left untouched.

    Source: T11 for squared losses (T7 with a target, T4 or T9 on request), T4 for cross-entropy
    with label smoothing, T13 for cross-entropy with a target; bounds B1 to B3.

    Args:
        model: A module of the layers that talweg reads, for example a chain of Linear layers and
            smooth activations.
        data: ``(X, y)``, inputs ``(n, d)`` or ``(n, *shape)`` and targets ``(n, k)`` or ``(n,)``,
            floating point (inputs of an Embedding int64); for a cross-entropy class indices
            ``(n,)``, int64.
        loss: "mse" (mean over all entries, PyTorch's default), "sse" (sum), "half_sse",
            "cross_entropy" (softmax, mean over the samples, PyTorch's default) or
            "cross_entropy_sum".
        label_smoothing: Of a cross-entropy, as in `torch.nn.CrossEntropyLoss`. Without smoothing
            the infimum is out of reach, and a target must be given.
        target: Prove that the loss falls to this value (> 0) instead of its infimum.
        theorem: For a squared loss "T11" (default), the sharp criterion, "T4", the general one, or
            "T9": float64 descent as it runs, down to a floor, under stated assumptions.
        polish: Where the weights as given do not meet the criterion, improve a copy by
            Levenberg-Marquardt steps until they do; the claim then speaks of the copy.
        attack: Also measure the slack of the Lipschitz bound, by a search for its worst case.
        seed: Of that search.
        progress: Called with a short text when a stage begins.
        scheduler: Address of a Dask scheduler, such as "tcp://host:8786": the kernel is formed and
            factored by its workers, and no N x N array exists on this machine (needs the extra
            ``dask``, and a chain). None computes here.

    Returns:
        The certificate; ``status`` is "PROVED", "UNDECIDED" or "REFUTED".

    Raises:
        InputError: Data or an argument is malformed.
        UnsupportedModelError: The model holds something that talweg cannot read.
        ReadingError: The live model and the reading of it disagree.
        UnsoundArithmeticError: This machine's floating point, or that of a worker, breaks an
            assumption.
        MissingDependencyError: A scheduler was named, and Dask is not installed.
        ClusterError: The scheduler or all workers were lost on the way.
    """
    watch = Stopwatch()
    begun = time.perf_counter()
    say = progress if progress is not None else _silent
    _require_seed(seed)
    say("reading the model")
    problem = checked_problem(model, data, Request(loss, target, theorem, label_smoothing))
    if isinstance(problem, Problem):
        require_sound_arithmetic(problem.inputs.device)
    watch.add("reading", begun)
    if not isinstance(problem, Problem):
        return replace(problem, seconds=_total(watch, begun))
    if scheduler is None:
        certificate = _answer(problem, polish, attack, seed, say, watch)
    else:
        require_tiles(problem)
        with connected(scheduler, say) as cluster:
            problem = replace(problem, cluster=cluster, notes=(*problem.notes, ON_CLUSTER))
            certificate = _answer(problem, polish, attack, seed, say, watch)
    return replace(certificate, seconds=_total(watch, begun))


def _require_seed(seed: Any) -> None:
    if isinstance(seed, bool) or not (isinstance(seed, int) and 0 <= seed < 2**63):
        raise InputError(
            f"`seed` of certify must be an integer from 0 to 2^63 - 1; got {seed!r}. Pass 0."
        )


def _answer(
    problem: Problem, polish: bool, attack: bool, seed: int, say: Progress, watch: Stopwatch
) -> Certificate:
    """Bounds and theorem for the weights as given, then for polished ones."""
    search = search_of(problem) if polish else None
    hopeless: tuple[float, float] | None = None
    if search is not None:
        say("looking at the weights as given")
        hopeless = hopeless_missing_factor(problem, search, watch)
        if hopeless is not None:
            missing, beta = hopeless
            given = AsGiven("UNDECIDED", estimated_reason(problem, missing), missing)
            found = polished(problem, search, beta, say, watch)
            if found is not None:
                return _proved_after_polish(problem, found, given, attack, seed, say, watch)
    say("bounds for the weights as given")
    bounds = problem.bounds(problem.network, watch)
    outcome, reason = judged(problem, bounds, watch)
    proved = outcome.verdict.conclusion is not None and reason is None
    given = AsGiven(
        "PROVED" if proved else "UNDECIDED",
        reason or explained(outcome),
        outcome.missing_factor,
    )
    if proved:
        return _proved(problem, problem.network, bounds, outcome, given, attack, seed, say, watch)
    if search is not None and hopeless is None:
        found = polished(problem, search, bounds.lipschitz.upper(0.0), say, watch)
        if found is not None:
            return _proved_after_polish(problem, found, given, attack, seed, say, watch)
    return replace(
        _described(problem, bounds, outcome, given),
        status="UNDECIDED",
        reason=given.reason + (polish_failed(problem) if polish else ""),
        advice=_singular_by_sums(problem)
        or advice(
            outcome.verdict,
            problem.objective.name,
            problem.target,
            problem.label_smoothing,
            polished=polish,
            provable=provable_target_approx(bounds, problem.theorem, outcome),
        ),
        slack=_slack(problem, problem.network, bounds, seed, say, watch) if attack else None,
    )


def _singular_by_sums(problem: Problem) -> str | None:
    """The one cause that no training removes; of a squared loss on its way to zero."""
    rows = problem.objective.rows
    if problem.objective.kind != "squared" or problem.target is not None:
        return None
    return narrow_under_sums(problem.network, rows.targets)


def _proved_after_polish(
    problem: Problem, found: tuple[Network, MeasuredBounds, Outcome, float], given: AsGiven,
    attack: bool, seed: int, say: Progress, watch: Stopwatch,
) -> Certificate:  # fmt: skip
    network, bounds, outcome, distance = found
    certificate = _proved(problem, network, bounds, outcome, given, attack, seed, say, watch)
    return replace(certificate, polished=True, polish_distance=distance)


def _described(
    problem: Problem, bounds: MeasuredBounds, outcome: Outcome, given: AsGiven
) -> Certificate:
    """A certificate with the bounds, before any conclusion."""
    return Certificate(
        status=given.status, reason=given.reason, theorem=problem.theorem.id,
        loss=problem.objective.name, samples=problem.samples, outputs=problem.outputs,
        parameters=problem.network.trainable_parameters, as_given=given, verdict=outcome.verdict,
        label_smoothing=problem.label_smoothing,
        residual_norm=bounds.start.get("residual_norm_upper"),
        initial_gap=bounds.start.get("initial_gap_upper"),
        pl_constant=bounds.start.get("pl_lower"),
        initial_loss=bounds.start.get("initial_loss_upper"),
        sigma_min_lower=bounds.sigma_min_lower,
        jacobian_lipschitz_upper=outcome.lipschitz[-1][1], target=problem.target,
        notes=problem.notes,
    )  # fmt: skip


def _proved(
    problem: Problem, network: Network, bounds: MeasuredBounds, outcome: Outcome, given: AsGiven,
    attack: bool, seed: int, say: Progress, watch: Stopwatch,
) -> Certificate:  # fmt: skip
    conclusion = outcome.verdict.conclusion
    for radius, beta in outcome.lipschitz:
        if not bounds.lipschitz_upper(radius) <= beta:  # kept by construction; a proof rests on it
            raise RuntimeError(f"beta({radius!r}) in the profile is below its bound; please report")
    stated = problem.theorem.numbers(conclusion)
    extra = {**outcome.extra, **stated.extra}
    numbers = {
        **bounds.start, "sigma_min_lower": bounds.sigma_min_lower,
        "jacobian_norm_upper": bounds.jacobian_norm_upper, **stated.common, **extra,
    }  # fmt: skip
    if not all(math.isfinite(v) for v in numbers.values()):
        reason = (
            "the certified rate is too small for a finite float: the kernel is too ill-conditioned."
        )
        return replace(
            _described(problem, bounds, outcome, given), status="UNDECIDED", reason=reason
        )
    claims: dict[str, Any] = {key: float(v).hex() for key, v in numbers.items()}
    claims["jacobian_lipschitz_upper"] = [[r.hex(), b.hex()] for r, b in outcome.lipschitz]
    document = assembled(problem, network, claims, given.status)
    say("attacking the Lipschitz bound" if attack else "writing the claim")
    return replace(
        _described(problem, bounds, outcome, given),
        status="PROVED",
        reason=f"every hypothesis of {outcome.theorem} was shown",
        claim=document.body["claim"],
        slack=_slack(problem, network, bounds, seed, say, watch) if attack else None,
        steps=extra.get("steps_upper"),
        floor=extra.get("floor"),
        assumptions=tuple(problem.theorem.assumptions),
        document=document,
        network=network,
        **stated.common,
    )


def _slack(
    problem: Problem, network: Network, bounds: MeasuredBounds, seed: int, say: Progress,
    watch: Stopwatch,
) -> float | None:  # fmt: skip
    """Lipschitz bound at R -> 0, not padded, over the strongest attack found."""
    say("attacking the Lipschitz bound")
    begun = time.perf_counter()
    root = problem.objective.rows.multiplicity.to(torch.float64).sqrt()
    function = FlatFunction(network, problem.objective.rows.inputs, root)
    found = lipschitz_attack_approx(function, seed=seed)
    watch.add("attack", begun)
    if not found.value > 0.0:
        return None
    # The slack is that of the bound in use, not of what stood in for it far from the criterion.
    lipschitz = state_lipschitz(bounds.state) if bounds.is_rough else bounds.lipschitz
    return lipschitz.upper(0.0) / found.value


def _total(watch: Stopwatch, begun: float) -> dict[str, float]:
    return {**watch.seconds, "total": time.perf_counter() - begun}


def _silent(_: str) -> None:
    return None
