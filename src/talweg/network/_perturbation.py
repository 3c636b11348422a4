"""Rounding tolerances for a graph, measured on its reading with entries moved at random.

A computation with unit roundoff u behaves as one in which what every operation reads, and what it
returns, is moved by relative amounts of the order of u (Higham, *Accuracy and Stability of
Numerical Algorithms*, ch. 3; random signs as in the CESTAC method of Vignes). The reading runs in
float64 once as it is, and `RUNS` times with every entry, stored tensors included, multiplied by
``1 + u`` or ``1 - u``, signs drawn anew at every use. The same factors act in the backward pass. An
activation is moved by ``u (|y| + |x| + 1)``, its derivative by ``u (1 + |x|)``, the derivative of
a softmax by u of its values and that of a normalisation by u of ``1 / sigma``.

The tolerance is `SAFETY` times the largest deviation: in a row of outputs, in one tensor for
gradients; plus `SAFETY` times u of the size of the result. Sums of m terms in order may be off by
about ``sqrt(m)`` times what the moved terms show, which the factor covers for m up to its square.

These tolerances judge whether a reading is wrong. They are no part of any proof.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from talweg.network._apply import applied_approx
from talweg.network._graph import (
    Elementwise,
    Embedding,
    Network,
    Normalize,
    Operation,
    Parametric,
    Softmax,
)
from talweg.network._rounding import Judged, Precision

SAFETY = 256.0
RUNS = 4


def judged_graph(
    network: Network, X: Tensor, cotangent: Tensor, precision: Precision
) -> tuple[Judged, dict[str, Judged]]:
    """Outputs, and gradients of ``<cotangent, F>``, with tolerances.

    Args:
        network: Any network.
        X: Inputs ``(n, *shape)``, float64 or int64, taken as exact.
        cotangent: ``(n, k)`` float64, taken as exact.
        precision: Of the computation to be judged.

    Returns:
        The outputs ``(n, k)``, and one entry for each of ``network.parameter_names()``.
    """
    output, gradients = _run(network, X, cotangent, None)
    off = torch.zeros_like(output)
    spread = dict.fromkeys(gradients, 0.0)
    generator = torch.Generator("cpu").manual_seed(20261129)
    for _ in range(RUNS):
        moved, moved_gradients = _run(network, X, cotangent, _Noise(precision, generator))
        off = torch.maximum(off, (moved - output).abs())
        for name, gradient in gradients.items():
            change = (moved_gradients[name] - gradient).abs()
            spread[name] = max(spread[name], float(change.max()))
    u, tiny = precision.unit, precision.tiny
    row = off.amax(1, keepdim=True) + u * output.abs().amax(1, keepdim=True) + tiny
    judged = {
        name: Judged(
            gradient,
            torch.full_like(
                gradient,
                SAFETY * (spread[name] + u * float(gradient.abs().max()) + len(X) * tiny),
            ),
        )
        for name, gradient in gradients.items()
    }
    return Judged(output, (SAFETY * row).expand_as(output)), judged


class _Noise:
    """Moves tensors by relative amounts of one unit roundoff, signs at random."""

    def __init__(self, precision: Precision, generator: torch.Generator) -> None:
        self._unit, self._tiny, self._generator = precision.unit, precision.tiny, generator

    def _signs(self, x: Tensor) -> Tensor:
        bits = torch.randint(0, 2, x.shape, generator=self._generator, device="cpu")
        return bits.to(torch.float64).mul(2.0).sub(1.0).to(x.device)

    def relative(self, x: Tensor) -> Tensor:
        # Not x (1 + u): 1 + 2^-53 is 1 in float64.
        return x + x * (self._unit * self._signs(x)) + self._tiny * self._signs(x)

    def result(self, operation: Operation, x: Tensor, y: Tensor) -> Tensor:
        """What an operation returned, and what its backward pass will do, moved."""
        y = self.relative(y)
        match operation:
            case Elementwise():
                size = (x.abs() + y.abs() + 1.0).detach()
                y = y + self._unit * size * self._signs(y)
                return self._slope(x, y, 1.0 + x.abs())
            # Their backward passes subtract means of the cotangent, which may all but cancel.
            case Softmax():
                return self._slope(x, y, y)
            case Normalize():
                axes = tuple(range(x.ndim - operation.axes, x.ndim))
                variance = x.var(axes, correction=0, keepdim=True)
                return self._slope(x, y, (variance + operation.epsilon).rsqrt())
        return y

    def _slope(self, x: Tensor, y: Tensor, size: Tensor) -> Tensor:
        """y, with derivatives in x off by ``u size``."""
        return y + self._unit * size.detach() * self._signs(x) * (x - x.detach())


def _run(
    network: Network, X: Tensor, cotangent: Tensor, noise: _Noise | None
) -> tuple[Tensor, dict[str, Tensor]]:
    leaves = {
        slot.name: slot.tensor.detach().to(torch.float64).requires_grad_()
        for slot in network.trainable_slots()
    }
    output = _outputs(network, X, leaves, noise)
    found: tuple[Tensor | None, ...] = ()
    if leaves and output.requires_grad:
        found = torch.autograd.grad(output, list(leaves.values()), cotangent, allow_unused=True)
    gradients = {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(
            leaves.items(), found or (None,) * len(leaves), strict=True
        )
    }
    return output.detach(), gradients


def _outputs(
    network: Network, X: Tensor, leaves: Mapping[str, Tensor], noise: _Noise | None
) -> Tensor:
    states = [X.reshape(len(X), *(network.input_shape or (network.input_dim,)))]
    for node in network.nodes:
        operation = node.operation
        own: dict[str, Tensor] = {}
        if isinstance(operation, Parametric):
            for slot in operation.slots():
                own[slot.field] = leaves.get(slot.name, slot.tensor.detach().to(torch.float64))
        inputs = [states[e] for e in node.inputs]
        if noise is not None:
            own = {field: noise.relative(tensor) for field, tensor in own.items()}
            if not isinstance(operation, Embedding):
                inputs = [noise.relative(x) for x in inputs]
        y = applied_approx(operation, inputs, own.get("weight"), own.get("bias"))
        states.append(y if noise is None else noise.result(operation, inputs[0], y))
    return states[-1]
