"""The checked input of one call of `certify`: what can be wrong is found first."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from torch import Tensor, nn

from talweg._errors import InputError
from talweg.certificate._bounds import Linearised, MeasuredBounds, Stopwatch, measured_bounds
from talweg.certificate._certificate import AsGiven, Certificate
from talweg.certificate._cross_entropy import CrossEntropyFamily
from talweg.certificate._objective import Objective
from talweg.certificate._request import Answer, Family, Request
from talweg.certificate._squared import SquaredFamily
from talweg.certificate._theorems import Theorem
from talweg.cluster import Cluster
from talweg.network import Network, gate, read

KINDS: dict[str, Family] = {
    "squared": SquaredFamily(),
    "cross_entropy": CrossEntropyFamily(),
}
"""By the kind of loss, as in the file."""

FAMILIES: dict[str, Family] = {
    "mse": KINDS["squared"],
    "sse": KINDS["squared"],
    "half_sse": KINDS["squared"],
    "cross_entropy": KINDS["cross_entropy"],
    "cross_entropy_sum": KINDS["cross_entropy"],
}
"""By the name of the loss; a family is a kind of loss with the theorems that speak of it."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Checked input of one call."""

    network: Network
    inputs: Tensor
    objective: Objective
    theorem: Theorem
    target: float | None
    label_smoothing: float
    notes: tuple[str, ...]
    cluster: Cluster | None = None

    @property
    def samples(self) -> int:
        return len(self.inputs)

    @property
    def outputs(self) -> int:
        return self.network.output_dim

    def bounds(
        self, network: Network, watch: Stopwatch, known: Linearised | None = None
    ) -> MeasuredBounds:
        bounds = measured_bounds(network, self.objective, watch, self.cluster, known)
        begun = time.perf_counter()
        bounds = bounds.sharpened(self.theorem.need(bounds))
        watch.add("lipschitz", begun)
        return bounds


def checked_problem(
    model: nn.Module, data: tuple[Tensor, Tensor], request: Request
) -> Problem | Certificate:
    """Everything that can be wrong with the input, before anything is computed."""
    if not isinstance(request.loss, str) or request.loss not in FAMILIES:
        raise InputError(
            f"`loss` of certify() must be one of {', '.join(FAMILIES)}; got {request.loss!r}. For "
            "other losses no theorem is implemented yet."
        )
    if not isinstance(request.theorem, str | None):
        raise InputError(
            f'`theorem` of certify() must be a name such as "T11"; got {request.theorem!r}. '
            "Leave it out for the default."
        )
    target = request.target
    if target is not None and not _is_positive(target):
        raise InputError(
            f"`target` of certify() must be a finite number > 0, or None for the infimum; got "
            f"{target!r}. Pass the loss that gradient descent is to reach."
        )
    FAMILIES[request.loss].require(request)
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise InputError(
            "`data` of certify(model, data) must be a pair (X, y) of tensors; got "
            f"{type(data).__name__}. Pass all inputs and all targets at once, as two tensors."
        )
    # A copy of its own: what is hashed and stored at the end is what was bounded at the beginning.
    X, y = (v.detach().clone() if isinstance(v, Tensor) else v for v in data)
    network = read(model, X)
    reading = FAMILIES[request.loss].reading(request, network, X, y)
    gate(model, network, X)
    notes, objective = (*network.notes, *reading.notes), reading.objective
    if isinstance(objective, Answer):
        return _unproved(objective, request, network, reading.samples, reading.theorem.id, notes)
    if reading.residuals is not None and network.trainable_parameters < reading.residuals:
        reason = (
            f"p = {network.trainable_parameters} trainable parameters are fewer than N = "
            f"{reading.residuals} residuals ({len(objective.rows.inputs)} distinct rows x "
            f"{reading.residuals // len(objective.rows.inputs)} each): the tangent kernel is "
            "singular, so the criterion cannot hold. Use a wider model or fewer rows."
        )
        answer = Answer("UNDECIDED", reason)
        return _unproved(answer, request, network, reading.samples, reading.theorem.id, notes)
    smoothing = float(request.label_smoothing)
    return Problem(network, X, objective, reading.theorem, target, smoothing, notes)


def require_tiles(problem: Problem) -> None:
    """Raises InputError where the kernel cannot be formed in tiles.

    Args:
        problem: Checked.
    """
    network = problem.network
    names = network.parameter_names()
    if not network.is_chain or len(set(names)) < len(names):
        raise InputError(
            "`scheduler` of certify() goes with a chain of linear layers and activations; this "
            "network branches, convolves or shares a parameter, and its kernel is formed on one "
            "machine. Leave scheduler out."
        )
    if problem.inputs.device.type != "cpu":
        raise InputError(
            "`scheduler` of certify() goes with a model and data on the CPU; they are on "
            f"{problem.inputs.device}. Move them, or leave scheduler out."
        )


def _is_positive(target: object) -> bool:
    """Whether it is a number with a finite positive binary64 value."""
    if isinstance(target, bool) or not isinstance(target, int | float):
        return False
    try:
        return 0.0 < float(target) < math.inf
    except OverflowError:
        return False


def _unproved(
    answer: Answer, request: Request, network: Network, samples: int, theorem: str,
    notes: tuple[str, ...],
) -> Certificate:  # fmt: skip
    return Certificate(
        status=answer.status, reason=answer.reason, theorem=theorem, loss=request.loss,
        samples=samples, outputs=network.output_dim, parameters=network.trainable_parameters,
        as_given=AsGiven(answer.status, answer.reason, None), target=request.target,
        label_smoothing=float(request.label_smoothing), notes=notes,
    )  # fmt: skip
