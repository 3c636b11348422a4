"""The stated chain in float64, for many points of parameter space at once.

A point is a displacement x from the stored weights, flat in the order of the layers, weight before
bias; P points are ``(P, p)``. Outputs are scaled by sqrt(m_i) wherever a Jacobian is meant, and
their directions are those that the claims speak of: all, or (cross-entropy) those that sum to zero
within each sample.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from talweg.falsification._functions import jet_approx
from talweg.falsification._stated import Layer, Stated


class FloatChain:
    """Outputs, Jacobians and directional derivatives at displaced weights."""

    def __init__(self, found: Stated) -> None:
        self.stated = found
        self.inputs = found.inputs
        self.root = found.multiplicity.to(torch.float64).sqrt()
        self.size = sum(
            t.numel()
            for op in found.operations
            if isinstance(op, Layer)
            for t, trains in ((op.weight, op.trains_weight), (op.bias, op.trains_bias))
            if trains and t is not None
        )
        k = found.outputs
        self.frame = _zero_sum_frame(k) if found.loss.zero_sum else torch.eye(k).to(torch.float64)
        self.residuals = len(found.inputs) * len(self.frame)

    def start(self) -> Tensor:
        """The stored weights ``(p,)``."""
        parts = [
            t.reshape(-1)
            for op in self.stated.operations
            if isinstance(op, Layer)
            for t, trains in ((op.weight, op.trains_weight), (op.bias, op.trains_bias))
            if trains and t is not None
        ]
        return torch.cat(parts)

    def outputs(self, x: Tensor) -> Tensor:
        """F at the displaced weights ``(P, n, k)``, not scaled."""
        h = self.inputs.expand(len(x), -1, -1)
        for op, weight, bias in self._layers(x):
            if weight is None:
                h = jet_approx(op.name, op.parameters, h)[0]
            else:
                h = h @ weight.mT
                h = h if bias is None else h + bias
        return h

    def push(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """F, not scaled, and J v, scaled and projected; each ``(P, n, k)``."""
        h = self.inputs.expand(len(x), -1, -1)
        a: Tensor | None = None
        for (op, weight, bias), (_, dw, db) in zip(self._layers(x), self._tangents(v), strict=True):
            if weight is None:
                h, first, _ = jet_approx(op.name, op.parameters, h)
                a = None if a is None else first * a
            else:
                a = _moved(a, h, weight, dw, db)
                h = h @ weight.mT
                h = h if bias is None else h + bias
        pushed = torch.zeros_like(h) if a is None else a.expand_as(h)
        return h, self._projected(pushed)

    def bend(self, x: Tensor, v: Tensor, d: Tensor) -> Tensor:
        """D^2F[v, d] ``(P, n, k)``, scaled and projected."""
        h = self.inputs.expand(len(x), -1, -1)
        a: Tensor | None = None
        b: Tensor | None = None
        c: Tensor | None = None
        for (op, weight, bias), (_, va, wa), (_, vb, wb) in zip(
            self._layers(x), self._tangents(v), self._tangents(d), strict=True
        ):
            if weight is None:
                h, first, second = jet_approx(op.name, op.parameters, h)
                if a is not None and b is not None:
                    c = _sum(second * a * b, None if c is None else first * c)
                a, b = (None if t is None else first * t for t in (a, b))
            else:
                c = _sum(
                    None if c is None else c @ weight.mT,
                    None if va is None or b is None else b @ va.mT,
                    None if vb is None or a is None else a @ vb.mT,
                )
                a, b = _moved(a, h, weight, va, wa), _moved(b, h, weight, vb, wb)
                h = h @ weight.mT
                h = h if bias is None else h + bias
        # A chain without any curvature still depends on x as far as autograd is concerned.
        bent = torch.zeros_like(h) + 0.0 * x.sum() if c is None else c
        return self._projected(bent)

    def jacobian(self, x: Tensor) -> Tensor:
        """J along the directions of `frame` ``(P, n k', p)``, scaled; k' rows for every sample."""
        tape: list[Tensor] = []
        h = self.inputs.expand(len(x), -1, -1)
        layers = self._layers(x)
        for op, weight, bias in layers:
            if weight is None:
                h, first, _ = jet_approx(op.name, op.parameters, h)
                tape.append(first)
            else:
                tape.append(h)
                h = h @ weight.mT
                h = h if bias is None else h + bias
        g = (self.root[:, None, None] * self.frame).expand(len(x), -1, -1, -1)  # (P, n, k', d)
        blocks: list[Tensor] = []
        for (op, weight, _), kept in zip(reversed(layers), reversed(tape), strict=True):
            if weight is None:
                g = g * kept[:, :, None, :]
                continue
            if op.trains_bias:
                blocks.append(g.reshape(len(x), self.residuals, -1))
            if op.trains_weight:
                outer = g[..., :, None] * kept[:, :, None, None, :]
                blocks.append(outer.reshape(len(x), self.residuals, -1))
            g = g @ (weight if weight.dim() == 2 else weight[:, None])
        blocks.reverse()
        return torch.cat(blocks, dim=2)

    def directions(self, u: Tensor) -> Tensor:
        """Coefficients along `frame` ``(P, n k')`` as output directions ``(P, n, k)``."""
        return u.reshape(len(u), len(self.inputs), -1) @ self.frame

    def _projected(self, a: Tensor) -> Tensor:
        a = self.root[:, None] * a
        return a - a.mean(dim=-1, keepdim=True) if self.stated.loss.zero_sum else a

    def _layers(self, x: Tensor) -> list[tuple[Any, Tensor | None, Tensor | None]]:
        """Every operation with its weight and bias at the points; frozen ones are not repeated."""
        found: list[tuple[Any, Tensor | None, Tensor | None]] = []
        for op, dw, db in self._tangents(x):
            if not isinstance(op, Layer):
                found.append((op, None, None))
                continue
            bias = op.bias if op.bias is None or db is None else op.bias + db
            found.append((op, op.weight if dw is None else op.weight + dw, bias))
        return found

    def _tangents(self, v: Tensor) -> list[tuple[Any, Tensor | None, Tensor | None]]:
        """A flat direction cut into weights ``(P, o, i)`` and biases ``(P, 1, o)``."""
        found: list[tuple[Any, Tensor | None, Tensor | None]] = []
        at = 0
        for op in self.stated.operations:
            dw = db = None
            if isinstance(op, Layer):
                if op.trains_weight:
                    dw = v[:, at : at + op.weight.numel()].reshape(len(v), *op.weight.shape)
                    at += op.weight.numel()
                if op.trains_bias and op.bias is not None:
                    db = v[:, None, at : at + op.bias.numel()]
                    at += op.bias.numel()
            found.append((op, dw, db))
        return found


def _moved(
    a: Tensor | None, h: Tensor, weight: Tensor, dw: Tensor | None, db: Tensor | None
) -> Tensor | None:
    """The tangent a of h behind a linear layer whose weight and bias move by dw and db."""
    return _sum(None if a is None else a @ weight.mT, None if dw is None else h @ dw.mT, db)


def _sum(*terms: Tensor | None) -> Tensor | None:
    total: Tensor | None = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def _zero_sum_frame(size: int) -> Tensor:
    """Orthonormal rows that span the vectors with sum zero ``(k - 1, k)``."""
    rows = torch.zeros(size - 1, size, dtype=torch.float64)
    for j in range(1, size):
        rows[j - 1, :j] = 1.0
        rows[j - 1, j] = -float(j)
    frame: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return frame
