"""`certify`: from a model and its data to a claim about gradient descent, or why there is none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.certificate._bounds import MeasuredBounds, Stopwatch, measured_bounds
from talweg.certificate._certificate import AsGiven, Certificate
from talweg.certificate._document import (
    FORMAT,
    SEMANTICS,
    Document,
    array_hash,
    claim_sentence,
    model_and_weights,
    stored,
    weights_hash,
)
from talweg.certificate._polish import polish_steps
from talweg.certificate._search import Outcome, TheoremId, evaluate_theorem
from talweg.enclosure import Interval, require_sound_arithmetic
from talweg.network import (
    ConflictingRows,
    FlatFunction,
    JacobianLipschitz,
    MergedRows,
    Network,
    check_data,
    gate,
    linearize,
    lipschitz_attack_approx,
    merge_duplicates,
    read,
)
from talweg.theory import (
    DescentConvergence,
    SquaredLoss,
    SquaredLossConvergence,
    TargetReached,
    steps_to_shrink_upper,
)

LossName = Literal["mse", "sse", "half_sse"]
SCALINGS = {"mse": "mean", "sse": "sum", "half_sse": "half_sum"}
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Problem:
    """Checked input of one call."""

    network: Network
    inputs: Tensor
    targets: Tensor
    rows: MergedRows
    loss_name: LossName
    loss: SquaredLoss
    theorem: TheoremId
    target: float | None
    notes: tuple[str, ...]

    @property
    def samples(self) -> int:
        return len(self.inputs)

    @property
    def outputs(self) -> int:
        return self.targets.shape[1]

    def bounds(self, network: Network, watch: Stopwatch) -> MeasuredBounds:
        rows = self.rows
        return measured_bounds(network, rows.inputs, rows.targets, rows.multiplicity, watch)


def certify(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    loss: LossName = "mse",
    target: float | None = None,
    theorem: Literal["T11", "T4"] = "T11",
    polish: bool = False,
    attack: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> Certificate:
    """Prove that full-batch gradient descent from these weights converges to zero training loss.

    The claim is about real-arithmetic gradient descent on the exact stored numbers. A sufficient
    condition that does not hold gives UNDECIDED with its margin; REFUTED is a proof of the
    opposite. The model, its gradients and the random state are left untouched.

    Source: T11 by default (T7 with a target, T4 on request), with bounds B1 to B3.

    Args:
        model: A feed-forward chain of Linear layers and smooth activations.
        data: ``(X, y)``, inputs ``(n, d)`` and targets ``(n, k)`` or ``(n,)``, floating point.
        loss: "mse" (mean over all entries, PyTorch's default), "sse" (sum) or "half_sse".
        target: Prove that the loss falls to this value (> 0) instead of zero.
        theorem: "T11", the sharp criterion for squared losses, or "T4", the general one.
        polish: Where the weights as given do not meet the criterion, improve a copy by
            Levenberg-Marquardt steps until they do; the claim then speaks of the copy.
        attack: Also measure the slack of the Lipschitz bound, by a search for its worst case.
        seed: Of that search.
        progress: Called with a short text when a stage begins.

    Returns:
        The certificate; ``status`` is "PROVED", "UNDECIDED" or "REFUTED".

    Raises:
        InputError: Data or an argument is malformed.
        UnsupportedModelError: The model holds something that talweg cannot read.
        ReadingError: The live model and the reading of it disagree.
        UnsoundArithmeticError: This machine's floating point breaks an assumption.
    """
    watch = Stopwatch()
    begun = time.perf_counter()
    say = progress if progress is not None else _silent
    say("reading the model")
    problem = _checked(model, data, loss, target, theorem)
    if isinstance(problem, _Problem):
        require_sound_arithmetic(problem.inputs.device)
    watch.add("reading", begun)
    if not isinstance(problem, _Problem):
        return replace(problem, seconds=_total(watch, begun))
    certificate = _answer(problem, polish, attack, seed, say, watch)
    return replace(certificate, seconds=_total(watch, begun))


def _checked(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    loss: str,
    target: float | None,
    theorem: str,
) -> _Problem | Certificate:
    """Everything that can be wrong with the input, before anything is computed."""
    if loss not in SCALINGS:
        raise InputError(
            f"`loss` of certify() must be one of {', '.join(SCALINGS)}; got {loss!r}. For other "
            "losses no theorem is implemented yet."
        )
    if theorem not in ("T11", "T4"):
        raise InputError(
            f'`theorem` of certify() must be "T11" or "T4"; got {theorem!r}. T11 is the default.'
        )
    if target is not None and not (isinstance(target, int | float) and 0.0 < target < math.inf):
        raise InputError(
            f"`target` of certify() must be a finite number > 0, or None for zero loss; got "
            f"{target!r}. Pass the loss that gradient descent is to reach."
        )
    if target is not None and theorem == "T4":
        raise InputError(
            'A `target` of certify() goes with theorem="T11" (T7 with its constants); got "T4". '
            "Leave `theorem` at its default."
        )
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise InputError(
            "`data` of certify(model, data) must be a pair (X, y) of tensors; got "
            f"{type(data).__name__}. Pass inputs and targets together."
        )
    X, y = data
    network = read(model, X)
    checked = check_data(X, y, network)
    gate(model, network, X)
    targets = y.detach().reshape(checked.targets.shape)
    n, k = checked.targets.shape
    name: TheoremId = "T7" if target is not None else ("T4" if theorem == "T4" else "T11")
    squared = SquaredLoss(SCALINGS[loss], n * k) if loss == "mse" else SquaredLoss(SCALINGS[loss])  # type: ignore[arg-type]
    notes = (*network.notes, *checked.notes)
    base = {
        "theorem": name, "loss": loss, "samples": n, "outputs": k,
        "parameters": network.trainable_parameters, "target": target,
    }  # fmt: skip
    rows = merge_duplicates(checked.inputs, checked.targets)
    if isinstance(rows, ConflictingRows):
        return _conflicting(rows, squared, target, base, notes)
    if len(rows.inputs) < n:
        notes += (
            (
                f"{n} rows hold {len(rows.inputs)} distinct inputs; equal rows with equal targets "
                f"are merged, multiplicities up to {int(rows.multiplicity.max())}"
            ),
        )
    residuals = len(rows.inputs) * k
    if network.trainable_parameters < residuals:
        reason = (
            f"p = {network.trainable_parameters} trainable parameters are fewer than N = "
            f"{residuals} residuals ({len(rows.inputs)} distinct rows x {k} outputs): the tangent "
            "kernel is singular, so the criterion cannot hold. Use a wider model or fewer rows."
        )
        return _unproved("UNDECIDED", reason, base, notes)
    return _Problem(
        network, X.detach(), targets, rows, loss, squared, name, target, notes,  # type: ignore[arg-type]
    )  # fmt: skip


def _conflicting(
    rows: ConflictingRows,
    loss: SquaredLoss,
    target: float | None,
    base: dict[str, Any],
    notes: tuple[str, ...],
) -> Certificate:
    """Equal inputs with different targets: a proof of impossibility (theory F3)."""
    shown = "; ".join(f"rows {i}, {j}" for i, j in rows.pairs[:5])
    more = f" and {len(rows.pairs) - 5} more groups" if len(rows.pairs) > 5 else ""
    floor = loss.loss_lower(math.nextafter(math.sqrt(rows.squares_lower) * (1.0 - 1e-12), 0.0))
    equal = (
        f"{shown}{more} have equal inputs and different targets, so no weights give a loss below "
        f"{floor:.6g}"
    )
    if target is None:
        return _unproved("REFUTED", f"zero loss impossible: {equal}.", base, notes)
    if target < floor:
        return _unproved("REFUTED", f"loss {target!r} impossible: {equal}.", base, notes)
    reason = (
        f"{equal}: the tangent kernel is singular and no theorem here applies. Merge these rows "
        "into one with the mean target."
    )
    return _unproved("UNDECIDED", reason, base, notes)


def _unproved(
    status: str, reason: str, base: dict[str, Any], notes: tuple[str, ...]
) -> Certificate:
    return Certificate(
        status=status, reason=reason, as_given=AsGiven(status, reason, None), notes=notes, **base
    )


def _answer(
    problem: _Problem, polish: bool, attack: bool, seed: int, say: Progress, watch: Stopwatch
) -> Certificate:
    """Bounds and theorem for the weights as given, then for polished ones."""
    say("bounds for the weights as given")
    bounds = problem.bounds(problem.network, watch)
    outcome, reason = _judged(problem, bounds, watch)
    proved = outcome.verdict.conclusion is not None and reason is None
    given = AsGiven(
        "PROVED" if proved else "UNDECIDED",
        reason or _explained(outcome),
        outcome.missing_factor,
    )
    if proved:
        return _proved(problem, problem.network, bounds, outcome, given, attack, seed, say, watch)
    if polish:
        found = _polished(problem, bounds, say, watch)
        if found is not None:
            network, bounds_there, outcome_there, distance = found
            certificate = _proved(
                problem, network, bounds_there, outcome_there, given, attack, seed, say, watch
            )
            return replace(certificate, polished=True, polish_distance=distance)
    return replace(
        _described(problem, bounds, outcome, given),
        status="UNDECIDED",
        reason=given.reason
        + (" Polishing did not reach weights at which the criterion holds." if polish else ""),
        slack=_slack(problem, problem.network, bounds, seed, say, watch) if attack else None,
    )


def _judged(
    problem: _Problem, bounds: MeasuredBounds, watch: Stopwatch
) -> tuple[Outcome, str | None]:
    """The theorem's outcome, and a reason to discard it even if it holds."""
    begun = time.perf_counter()
    outcome = evaluate_theorem(bounds, problem.loss, problem.theorem, problem.target)
    reason = None
    conclusion = outcome.verdict.conclusion
    if isinstance(conclusion, TargetReached) and conclusion.steps_upper == 0.0:
        reason = (
            f"the loss at these weights is already at most the target {problem.target!r}: there is "
            "nothing to prove. Choose a smaller target."
        )
    elif conclusion is not None:
        path = bounds.lipschitz.nonideal_path(outcome.lipschitz[-1][0])
        if path is not None:
            reason = (
                f"softplus at {path!r} is not its ideal function on the whole ball: an input can "
                "pass the threshold beyond which PyTorch returns the input itself. Raise "
                "`threshold`."
            )
    watch.add("lipschitz", begun)
    return outcome, reason


def _explained(outcome: Outcome) -> str:
    verdict = outcome.verdict
    if verdict.conclusion is not None:
        return f"the criterion of {outcome.theorem} holds."
    return verdict.reason


def _polished(
    problem: _Problem, given: MeasuredBounds, say: Progress, watch: Stopwatch
) -> tuple[Network, MeasuredBounds, Outcome, float] | None:
    rows = problem.rows

    def lipschitz(network: Network) -> float:
        state = linearize(network, rows.inputs, rows.multiplicity)
        return JacobianLipschitz(state).upper(0.0)

    begun = time.perf_counter()
    say("polishing: Levenberg-Marquardt steps")
    for proposal in polish_steps(
        problem.network,
        rows.inputs,
        rows.targets,
        rows.multiplicity,
        lipschitz=lipschitz,
        lipschitz_at_start=given.lipschitz.upper(0.0),
    ):
        watch.add("polish", begun)
        say(f"bounds after {proposal.steps} steps, |r| = {proposal.residual_norm:.3g}")
        bounds = problem.bounds(proposal.network, watch)
        outcome, reason = _judged(problem, bounds, watch)
        if outcome.verdict.conclusion is not None and reason is None:
            return proposal.network, bounds, outcome, proposal.distance
        begun = time.perf_counter()
    watch.add("polish", begun)
    return None


def _described(
    problem: _Problem, bounds: MeasuredBounds, outcome: Outcome, given: AsGiven
) -> Certificate:
    """A certificate with the bounds, before any conclusion."""
    return Certificate(
        status=given.status, reason=given.reason, theorem=problem.theorem, loss=problem.loss_name,
        samples=problem.samples, outputs=problem.outputs,
        parameters=problem.network.trainable_parameters, as_given=given, verdict=outcome.verdict,
        residual_norm=bounds.residual_norm_upper, sigma_min_lower=bounds.sigma_min_lower,
        jacobian_lipschitz_upper=outcome.lipschitz[-1][1], target=problem.target,
        notes=problem.notes,
    )  # fmt: skip


def _proved(
    problem: _Problem, network: Network, bounds: MeasuredBounds, outcome: Outcome, given: AsGiven,
    attack: bool, seed: int, say: Progress, watch: Stopwatch,
) -> Certificate:  # fmt: skip
    conclusion = outcome.verdict.conclusion
    for radius, beta in outcome.lipschitz:
        if not bounds.lipschitz_upper(radius) <= beta:  # kept by construction; a proof rests on it
            raise RuntimeError(f"beta({radius!r}) in the profile is below its bound; please report")
    claims: dict[str, Any] = {
        "residual_norm_upper": bounds.residual_norm_upper.hex(),
        "sigma_min_lower": bounds.sigma_min_lower.hex(),
        "jacobian_norm_upper": bounds.jacobian_norm_upper.hex(),
        "jacobian_lipschitz_upper": [[r.hex(), b.hex()] for r, b in outcome.lipschitz],
    }
    numbers: dict[str, Any] = {}
    extra: dict[str, float] = {}
    if isinstance(conclusion, SquaredLossConvergence | DescentConvergence):
        numbers = {
            "radius": conclusion.radius_upper, "step_size": conclusion.step_size,
            "rate": conclusion.loss_rate_upper, "one_minus_rate": conclusion.one_minus_rate_lower,
            "halving_steps": conclusion.halving_steps_upper,
        }  # fmt: skip
        if outcome.epsilon is not None:
            extra["epsilon"] = outcome.epsilon
    elif isinstance(conclusion, TargetReached) and problem.target is not None:
        numbers, extra = _target_numbers(conclusion, float(problem.target))
    if not all(math.isfinite(v) for v in (*numbers.values(), *extra.values())):
        reason = (
            "the certified rate is too small for a finite float: the kernel is too ill-conditioned."
        )
        return replace(
            _described(problem, bounds, outcome, given), status="UNDECIDED", reason=reason
        )
    claims |= {key: float(v).hex() for key, v in (numbers | extra).items()}
    document = _document(problem, network, outcome.theorem, claims, given)
    say("attacking the Lipschitz bound" if attack else "writing the claim")
    return replace(
        _described(problem, bounds, outcome, given),
        status="PROVED",
        reason=f"every hypothesis of {outcome.theorem} was shown",
        claim=document.body["claim"],
        slack=_slack(problem, network, bounds, seed, say, watch) if attack else None,
        steps=extra.get("steps_upper"),
        document=document,
        network=network,
        **numbers,
    )


def _target_numbers(
    conclusion: TargetReached, target: float
) -> tuple[dict[str, Any], dict[str, float]]:
    """Numbers of T7; the theorem's rate speaks of |r|, the file's of the loss."""
    x = Interval.point(conclusion.one_minus_rate_lower)
    one_minus = (x * (2.0 - x)).lo
    numbers = {
        "radius": conclusion.radius_upper, "step_size": conclusion.step_size,
        "rate": (1.0 - Interval.point(one_minus)).hi, "one_minus_rate": one_minus,
        "halving_steps": steps_to_shrink_upper(2.0, one_minus),
    }  # fmt: skip
    extra = {
        "target_loss": target, "steps_upper": conclusion.steps_upper,
        "overshoot_radius": conclusion.final_radius_upper,
    }  # fmt: skip
    return numbers, extra


def _document(
    problem: _Problem, network: Network, theorem: TheoremId, claims: dict[str, Any], given: AsGiven
) -> Document:
    operations, arrays = model_and_weights(network)
    arrays["inputs"] = stored(problem.inputs)
    arrays["targets"] = stored(problem.targets)
    body: dict[str, Any] = {
        "format": FORMAT,
        "theorem": theorem,
        "semantics": SEMANTICS,
        "model": operations,
        "loss": {"kind": "squared", "scaling": SCALINGS[problem.loss_name]},
        "hashes": {
            "weights": weights_hash(arrays, operations),
            "inputs": array_hash(arrays["inputs"]),
            "targets": array_hash(arrays["targets"]),
        },
        "claims": claims,
        "counts": {
            "samples": problem.samples, "outputs": problem.outputs,
            "parameters": network.trainable_parameters,
        },
        "assumptions": [],
        "hints": {},
        "provenance": {
            "torch": str(torch.__version__), "as_given": given.status, "notes": list(problem.notes),
        },
    }  # fmt: skip
    body["claim"] = claim_sentence(body, arrays)
    return Document(body, arrays)


def _slack(
    problem: _Problem, network: Network, bounds: MeasuredBounds, seed: int, say: Progress,
    watch: Stopwatch,
) -> float | None:  # fmt: skip
    """Lipschitz bound at R -> 0, not padded, over the strongest attack found."""
    say("attacking the Lipschitz bound")
    begun = time.perf_counter()
    root = problem.rows.multiplicity.to(torch.float64).sqrt()
    function = FlatFunction(network, problem.rows.inputs, root)
    found = lipschitz_attack_approx(function, seed=seed)
    watch.add("attack", begun)
    return bounds.lipschitz.upper(0.0) / found.value if found.value > 0.0 else None


def _total(watch: Stopwatch, begun: float) -> dict[str, float]:
    return {**watch.seconds, "total": time.perf_counter() - begun}


def _silent(_: str) -> None:
    return None
