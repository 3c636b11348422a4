"""Looking for the first iterate at which the criterion holds, in floats, before anything is proved.

The residual norms of the iterates since the last check are held against ``sigma_0^2 / (2 beta)`` at
both checks; iterates near or below it get a missing factor of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.network import (
    ConflictingRows,
    Network,
    check_data,
    evaluate_approx,
    gate,
    merge_duplicates,
    network_state,
    read,
    set_parameters,
    state_kernel_ball,
    state_lipschitz,
    tangent_kernel_of,
)
from talweg.prescribe._training_loss import SquaredTraining, TrainingLoss

Iterate = tuple[Tensor, ...]
"""Values of the trained parameters, in the order of ``model.parameters()``."""

NEAR = 2.0
"""Residual over ``sigma_0^2 / (2 beta)`` of the nearest checks below which an iterate is looked at
one by one. Both bounds move by a few percent between two checks where residuals fall to 1e-4."""

CLEARLY_ABOVE = 1.01
"""Float missing factor beyond which an iterate is not certified. It takes beta at the nearest check
and R = 0, so it lies below the rigorous factor, but for what beta changes between two checks."""

CALIBRATED_ABOVE = 1.003
"""The same, once a neighbour was certified in vain: its ratio of rigorous to float factor changes
by far less from one iterate to the next."""

LITTLE = 1.1
"""Rigorous factor up to which its ratio to the float one is taken as it is."""


@dataclass(frozen=True)
class TrapCheck:
    """One check of the criterion, a float estimate.

    Attributes:
        step: Optimiser steps taken.
        residual_norm: ``|F(w) - y|`` in floats; for a cross-entropy ``sqrt(2 G / mu_l)``.
        missing_factor: That over ``sigma_0^2 / (2 beta)``, in floats.
    """

    step: int
    residual_norm: float
    missing_factor: float


class TrappingWatch:
    """The criterion in floats at the weights of a live model.

    Args:
        model: The model, read and gated once.
        X: Inputs.
        y: Targets.
        loss: What is trained; a squared one by default.
    """

    def __init__(
        self, model: nn.Module, X: Tensor, y: Tensor, loss: TrainingLoss | None = None
    ) -> None:
        self._loss = SquaredTraining("mse") if loss is None else loss
        network = read(model, X)
        gate(model, network, X)
        self._X, self._y = X, self._loss.rows(y, network.output_dim)
        checked = check_data(X, self._y, network)
        rows = merge_duplicates(checked.inputs, checked.targets)
        self.hopeless: str | None = None
        if isinstance(rows, ConflictingRows):
            self.hopeless = (
                "equal rows have different labels: the tangent kernel is singular and no theorem "
                "applies."
                if self._loss.centred
                else "equal rows have different targets: zero loss is impossible."
            )
            return
        self._rows, self._network = rows, network
        self._root = rows.multiplicity.to(torch.float64).sqrt()
        residuals = len(rows.inputs) * (network.output_dim - int(self._loss.centred))
        if network.trainable_parameters < residuals:
            self.hopeless = (
                f"{network.trainable_parameters} trainable parameters are fewer than "
                f"{residuals} residuals: the criterion cannot hold."
            )
        self._lipschitz = 0.0
        self._last_factor = math.inf
        self._limit = CLEARLY_ABOVE

    def calibrate(self, rigorous: float | None) -> None:
        """Learn from the candidate that was just certified in vain."""
        if rigorous is not None and self._last_factor < 1.0 <= rigorous < math.inf:
            # A large difference is beta's growth on a large ball, and shrinks with the ball: then
            # only half of the way is taken, so that no iterate in between is passed over.
            step = rigorous if rigorous < LITTLE else math.sqrt(rigorous)
            self._limit = CALIBRATED_ABOVE * self._last_factor / step

    def check(self, model: nn.Module, step: int, last: TrapCheck | None) -> TrapCheck:
        """Residual norm and missing factor, with beta at these very weights."""
        self._limit = CLEARLY_ABOVE
        if not all(bool(p.isfinite().all()) for p in model.parameters()):
            return TrapCheck(step, math.inf, math.inf)
        network = self._current(model)
        norm = self._loss.need(
            evaluate_approx(network, self._rows.inputs), self._rows.targets,
            self._root.reshape(-1, 1),
        )  # fmt: skip
        if not math.isfinite(norm):
            return TrapCheck(step, norm, math.inf)
        state = network_state(network, self._rows.inputs, self._rows.multiplicity)
        self._lipschitz = state_lipschitz(state).upper(0.0)
        return TrapCheck(step, norm, self._factor(network, norm))

    def candidates(
        self, window: list[Iterate], model: nn.Module, before: TrapCheck,
        after: TrapCheck,
    ) -> Iterator[int]:  # fmt: skip
        """Positions in the window, in order, whose missing factor is not clearly above 1."""
        limits = [
            check.residual_norm / check.missing_factor
            for check in (before, after)
            if check.missing_factor > 0.0
        ]
        limit = NEAR * max(limits, default=math.inf)
        parameters = [p for p in model.parameters() if p.requires_grad]
        once = torch.ones(1, 1, dtype=torch.float64)
        for offset in range(1, len(window)):
            restore(parameters, window[offset])
            with torch.no_grad():
                norm = self._loss.need(model(self._X), self._y, once)
            if norm <= limit:
                self._last_factor = self._factor(self._current(model), norm)
                if self._last_factor <= self._limit:
                    yield offset

    def _current(self, model: nn.Module) -> Network:
        """The reading with the model's present weights; its structure was gated at the start."""
        live = dict(model.named_parameters())
        names = self._network.parameter_names()
        return set_parameters(self._network, {name: live[name].detach() for name in names})

    def _factor(self, network: Network, norm: float) -> float:
        kernel = self._kernel(network)
        if self._loss.centred:
            kernel = _on_zero_sums(kernel, network.output_dim)
        smallest = float(torch.linalg.eigvalsh(kernel)[0])
        if smallest <= 0.0:
            return math.inf
        return 2.0 * self._lipschitz * norm / smallest

    def _kernel(self, network: Network) -> Tensor:
        """The kernel on distinct rows, with the roots of their multiplicities; (N, N)."""
        rows = self._rows
        if not network.is_chain:
            return state_kernel_ball(network_state(network, rows.inputs, rows.multiplicity)).mid
        kernel = tangent_kernel_of(network, rows.inputs, dtype=torch.float64)
        n, k = kernel.shape[:2]
        scale = self._root.repeat_interleave(k)
        return kernel.reshape(n * k, n * k) * scale * scale.reshape(-1, 1)


def _on_zero_sums(kernel: Tensor, k: int) -> Tensor:
    """The kernel on vectors that sum to zero within each sample; ``(n (k - 1), n (k - 1))``."""
    n = len(kernel) // k
    basis = torch.linalg.qr(torch.eye(k, dtype=kernel.dtype)[:, 1:] - 1.0 / k).Q.to(kernel.device)
    blocks = torch.einsum("iajb,ac,bd->icjd", kernel.reshape(n, k, n, k), basis, basis)
    return blocks.reshape(n * (k - 1), n * (k - 1))


class FixedPart:
    """What training must leave alone, so that the trained parameters alone make an iterate.

    Args:
        model: The model before its first step.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._alive = _named_tensors(model)  # no id in the layout is given to another tensor
        self._layout = _layout(model)
        self._values = [(name, t, t.detach().clone()) for name, t in _fixed_tensors(model)]

    def require_unchanged(self, step: int) -> None:
        """Refuse a step that touched it; after every step, as a change may be undone by the next.

        Args:
            step: Steps taken, for the message.

        Raises:
            InputError: A frozen parameter or a buffer has other values, or the module has other
                parameters, buffers or ``requires_grad`` flags.
        """
        if _layout(self._model) != self._layout:
            raise InputError(
                "the training step of train_until_proved() must leave the module's parameters, "
                f"buffers and requires_grad flags as they are; step {step:,} replaced, froze or "
                "thawed some. Do that between two calls, and change values in place."
            )
        for name, tensor, before in self._values:
            if not torch.equal(tensor, before):
                raise InputError(
                    "the training step of train_until_proved() must change nothing but parameters "
                    f"with requires_grad; step {step:,} changed {name!r}, a frozen parameter or a "
                    "buffer. Call requires_grad_() on it before, or leave it alone."
                )

    @torch.no_grad()
    def restore(self) -> None:
        """Write the values back."""
        for _, tensor, before in self._values:
            tensor.copy_(before)


def _named_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _fixed_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, t) for name, t in _named_tensors(model) if not t.requires_grad]


def _layout(model: nn.Module) -> list[tuple[str, int, bool]]:
    return [(name, id(t), t.requires_grad) for name, t in _named_tensors(model)]


def copied(parameters: list[nn.Parameter]) -> Iterate:
    """The present values, in tensors of their own."""
    return tuple(p.detach().clone() for p in parameters)


@torch.no_grad()
def restore(parameters: list[nn.Parameter], values: Iterate) -> None:
    """Write values back into the parameters."""
    for p, value in zip(parameters, values, strict=True):
        p.copy_(value)
