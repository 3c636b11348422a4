"""Where to look for the fastest change of a Jacobian: directions and points, in plain float64.

Nothing here decides anything. The second derivative is a table of differences of Jacobians that are
evaluated for many weights at once; alternating maximisation of its trilinear form then costs
microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tests.soundness.containment.network_draws import Drawn, Rng
from torch import Tensor

from talweg.network import Linear, Scale
from talweg.network._evaluate import elementwise_approx

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Direction:
    """A strong pair of directions at one point.

    Attributes:
        value: ``u . D^2F[delta, v]``.
        u: Unit vector of the outputs ``(N,)``.
        delta: Unit vector of the parameters ``(p,)``.
    """

    value: float
    u: Floats
    delta: Floats


def start_of(case: Drawn) -> Floats:
    """The trained numbers, weight then bias, operation by operation."""
    parts = [
        tensor.reshape(-1)
        for op in case.network.operations
        if isinstance(op, Linear)
        for tensor, trains in ((op.weight, op.weight_trainable), (op.bias, op.bias_trainable))
        if tensor is not None and trains
    ]
    return np.asarray(torch.cat(parts).numpy()) if parts else np.zeros(0)


def jacobians_approx(case: Drawn, points: Floats) -> Floats:
    """Jacobians ``(M, N, p)`` with rows scaled by the root multiplicity, for weights ``(M, p)``."""
    w = torch.from_numpy(np.ascontiguousarray(points))
    many, n = len(w), len(case.inputs)
    k = case.network.output_dim
    value = case.inputs.expand(many, n, -1)
    taken = 0
    tape: list[tuple[Tensor | float, Tensor | None, int, int]] = []  # what goes back, inputs, flags
    for op in case.network.operations:
        if isinstance(op, Linear):
            weight, bias = op.weight.expand(many, -1, -1), op.bias
            columns = 0
            if op.weight_trainable:
                weight = w[:, taken : taken + op.weight.numel()].reshape(many, *op.weight.shape)
                taken, columns = taken + op.weight.numel(), op.weight.shape[1]
            shift = None if bias is None else bias.expand(many, -1)
            if bias is not None and op.bias_trainable:
                shift = w[:, taken : taken + len(bias)]
                taken += len(bias)
            tape.append((weight, value, columns, int(op.bias_trainable)))
            value = torch.einsum("mni,moi->mno", value, weight)
            value = value if shift is None else value + shift[:, None, :]
        elif isinstance(op, Scale):
            factor = op.numerator / op.denominator
            tape.append((factor, None, 0, 0))
            value = value * factor
        else:
            z = value.detach().requires_grad_()
            value = elementwise_approx(op, z)
            (slope,) = torch.autograd.grad(value.sum(), z)
            tape.append((slope, None, 0, 0))
            value = value.detach()
    back = torch.eye(k, dtype=torch.float64).expand(many, n, k, k)
    back = back * case.multiplicity.to(torch.float64).sqrt().reshape(1, n, 1, 1)
    blocks: list[Tensor] = []
    for factor, inputs, columns, biased in reversed(tape):
        if inputs is None:
            scaled = factor if isinstance(factor, float) else factor[:, :, None, :]
            back = back * scaled
            continue
        if biased:
            blocks.insert(0, back)
        if columns:
            outer = torch.einsum("mnkd,mni->mnkdi", back, inputs)
            blocks.insert(0, outer.flatten(3))
        back = torch.einsum("mnkd,mdi->mnki", back, factor)
    jacobian = torch.cat(blocks, 3) if blocks else back[..., :0]
    return np.asarray(jacobian.reshape(many, n * k, -1).numpy())


def second_derivative_approx(case: Drawn, point: Floats) -> Floats:
    """``D^2F`` ``(N, p, p)`` at one point, by central differences of Jacobians."""
    p = len(point)
    h = 1e-5 * max(1.0, float(np.abs(point).max(initial=0.0)))
    steps = np.concatenate([h * np.eye(p), -h * np.eye(p)])
    jacobians = jacobians_approx(case, point + steps)
    return np.asarray((jacobians[:p] - jacobians[p:]).transpose(1, 2, 0) / (2.0 * h))


def strongest(tensor: Floats, rng: Rng, starts: int = 3, rounds: int = 12) -> Direction | None:
    """Alternating maximisation of ``u . D^2F[delta, v]``; None where nothing finite is found."""
    outputs, p, _ = tensor.shape
    if not np.isfinite(tensor).all() or not tensor.any():
        return None
    best: Direction | None = None
    for _ in range(starts):
        delta = rng.standard_normal(p)
        v = rng.standard_normal(p)
        value = 0.0
        u = np.ones(outputs)
        for _ in range(rounds):
            u = (tensor @ v) @ delta
            u = u / max(float(np.linalg.norm(u)), 1e-300)
            hessian = np.einsum("n,npq->pq", u, tensor)
            v = hessian @ delta
            v = v / max(float(np.linalg.norm(v)), 1e-300)
            delta = hessian @ v
            value = float(np.linalg.norm(delta))
            delta = delta / max(value, 1e-300)
        if best is None or value > best.value:
            best = Direction(value, u, delta)
    return best


def random_directions(rng: Rng, p: int, extra: Sequence[Floats] = ()) -> list[Floats]:
    """Unit vectors: random, sparse, one coordinate, and the given ones with both signs."""
    found = [rng.standard_normal(p), rng.standard_normal(p) * (rng.random(p) < 0.3)]
    found.append(np.eye(p)[int(rng.integers(p))])
    found += [sign * x for x in extra for sign in (1.0, -1.0)]
    return [x / norm for x in found if (norm := float(np.linalg.norm(x))) > 0.0]
