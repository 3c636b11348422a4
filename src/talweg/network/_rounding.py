"""A priori rounding tolerances for one forward and one backward pass of a chain.

Beside each float64 value ``v`` runs a bound ``e`` on how far a computation with unit roundoff
``u`` may come out from it, by the usual first-order forward analysis (Higham, *Accuracy and
Stability of Numerical Algorithms*, ch. 3), worst case, with a safety factor ``C = 8`` for library
functions that are off by a few units::

    linear        e' = e |W|^T + C (d_in + 2) u (|v| |W|^T + |b|)
    elementwise   e' = sup|phi'| e + C u m(v)
    scale         e' = |c| e + C u |c v|

and for the cotangent ``g`` with bound ``d``, where ``s = phi'(v)``::

    linear        d' = d |W| + C (d_out + 2) u |g| |W|
                  on the gradient g^T v:   d^T (|v| + e) + |g|^T e + C (n + 2) u |g|^T |v|
    elementwise   d' = (|s| + t) d + |g| (t + C u |s|),   t = sup|phi''| e + C u (1 + |v|)

These tolerances judge whether a reading is wrong. They are no part of any proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.network._evaluate import elementwise_approx
from talweg.network._graph import Elementwise, Linear, Network

SAFETY = 8.0
# At least the suprema of |phi'| and |phi''| on the real line.
_SLOPES: dict[str, tuple[float, float]] = {
    "tanh": (1.0, 0.78),
    "sigmoid": (0.25, 0.1),
    "softplus": (1.0, 0.25),
    "silu": (1.1, 0.5),
    "gelu": (1.13, 0.8),
    "gelu_tanh": (1.13, 0.81),
    "smooth_leaky_relu": (1.0, 0.25),
    "sin": (1.0, 1.0),
    "identity": (1.0, 0.0),
}
# Functions computed with a small error relative to |x| near zero; the others relative to one.
_VANISH_AT_ZERO = frozenset(("tanh", "silu", "gelu", "gelu_tanh", "sin", "identity"))


@dataclass(frozen=True, eq=False)
class Judged:
    """A float64 tensor, and how far a computation in the judged precision may be from it."""

    value: Tensor
    tolerance: Tensor


@dataclass(frozen=True)
class Precision:
    """Unit roundoff and smallest dependable magnitude of the arithmetic under judgement."""

    unit: float
    tiny: float


def precision_of(dtype: torch.dtype) -> Precision:
    """Precision in which torch multiplies matrices of this dtype, as currently configured."""
    info = torch.finfo(dtype)
    unit = info.eps / 2
    if dtype == torch.float32:
        # "high" and "medium" allow TF32 and bfloat16 products of float32 matrices.
        unit = {"highest": unit, "high": 2.0**-11}.get(
            torch.get_float32_matmul_precision(), 2.0**-9
        )
    tiny = info.smallest_normal
    if dtype == torch.float16:
        tiny = 2.0**-24  # its subnormals are kept; the smallest normal, 6e-5, would hide too much
    return Precision(unit, tiny)


def forward(network: Network, inputs: Tensor, precision: Precision) -> list[Judged]:
    """Values of all nodes, the input first, with tolerances.

    Args:
        network: A chain.
        inputs: ``(n, d)`` float64, taken as exact.
        precision: Of the computation to be judged.

    Returns:
        One entry for the input and one for each node, ``(n, dim)``.
    """
    u = SAFETY * precision.unit
    states = [Judged(inputs, torch.zeros_like(inputs))]
    for operation in network.chain_operations:
        v, e = states[-1].value, states[-1].tolerance
        if isinstance(operation, Linear):
            W = operation.weight.to(torch.float64)  # (d_out, d_in)
            z, size = v @ W.T, v.abs() @ W.T.abs()
            if operation.bias is not None:
                b = operation.bias.to(torch.float64)
                z, size = z + b, size + b.abs()
            terms = W.shape[1] + 2
            states.append(Judged(z, e @ W.T.abs() + terms * (u * size + precision.tiny)))
        elif isinstance(operation, Elementwise):
            y = elementwise_approx(operation, v)
            slope, _ = _slopes(operation)
            size = y.abs() + v.abs()
            if operation.function not in _VANISH_AT_ZERO:
                size = size + 1.0 / operation.parameters.get("beta", 1.0)
            error = slope * e + u * size + _threshold_jump(operation, v, e) + precision.tiny
            states.append(Judged(y, error))
        else:
            y = v * operation.numerator / operation.denominator
            factor = abs(operation.numerator / operation.denominator)
            states.append(Judged(y, factor * e + u * y.abs() + precision.tiny))
    return states


def backward(
    network: Network, states: list[Judged], cotangent: Tensor, precision: Precision
) -> dict[str, Judged]:
    """Gradients of ``<cotangent, F>`` in all trainable tensors, by name, with tolerances.

    Args:
        network: A chain.
        states: What `forward` returned.
        cotangent: ``(n, k)`` float64, taken as exact.
        precision: Of the computation to be judged.

    Returns:
        One entry for each of ``network.parameter_names()``, of the shape of the parameter.
    """
    u = SAFETY * precision.unit
    g, d = cotangent, torch.zeros_like(cotangent)
    gradients: dict[str, Judged] = {}
    operations = reversed(network.chain_operations)
    for operation, state in zip(operations, reversed(states[:-1]), strict=True):
        v, e = state.value, state.tolerance
        if isinstance(operation, Linear):
            rows = len(v) + 2
            if operation.weight_trainable:
                error = d.T @ (v.abs() + e) + g.abs().T @ e
                error = error + rows * (u * (g.abs().T @ v.abs()) + precision.tiny)
                gradients[operation.weight_name] = Judged(g.T @ v, error)
            if operation.bias_trainable and operation.bias_name is not None:
                error = d.sum(0) + rows * (u * g.abs().sum(0) + precision.tiny)
                gradients[operation.bias_name] = Judged(g.sum(0), error)
            W = operation.weight.to(torch.float64)
            terms = W.shape[0] + 2
            d = d @ W.abs() + terms * (u * (g.abs() @ W.abs()) + precision.tiny)
            g = g @ W
        elif isinstance(operation, Elementwise):
            s = _derivative(operation, v)
            _, curvature = _slopes(operation)
            t = curvature * e + u * (1.0 + v.abs()) + _threshold_jump(operation, v, e)
            d = (s.abs() + t) * d + g.abs() * (t + u * s.abs()) + precision.tiny
            g = g * s
        else:
            factor = abs(operation.numerator / operation.denominator)
            g = g * operation.numerator / operation.denominator
            d = factor * d + u * g.abs() + precision.tiny
    return gradients


def _slopes(operation: Elementwise) -> tuple[float, float]:
    slope, curvature = _SLOPES[operation.function]
    return slope, curvature * operation.parameters.get("beta", 1.0)


def _derivative(operation: Elementwise, v: Tensor) -> Tensor:
    x = v.detach().requires_grad_()
    (derivative,) = torch.autograd.grad(elementwise_approx(operation, x).sum(), x)
    return derivative


def _threshold_jump(operation: Elementwise, v: Tensor, e: Tensor) -> Tensor:
    """Jump of torch's softplus where rounding may decide on which side of the threshold it is."""
    if operation.function != "softplus":
        return torch.zeros_like(v)
    beta, threshold = operation.parameters["beta"], operation.parameters["threshold"]
    undecided = (beta * v - threshold).abs() <= beta * e + 1e-2 * abs(threshold)
    jump = max(1.0, 1.0 / beta) * math.log1p(math.exp(min(-threshold, 700.0)))
    return undecided * jump
