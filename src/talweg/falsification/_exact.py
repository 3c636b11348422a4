"""The stated chain in Arb: what decides whether a candidate is a violation.

Points are lists of Arb balls, flat like those of `FloatChain`; a point is the exact sum of the
stored weights and a displacement, not rounded to float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flint import arb, arb_mat
from torch import Tensor

from talweg.falsification._functions import exact_jet
from talweg.falsification._stated import Entrywise, Layer, Stated

Flat = list[Any]


class ExactChain:
    """Outputs and derivatives, enclosed at the precision of the context."""

    def __init__(self, found: Stated) -> None:
        self.stated = found
        self.inputs = _matrix(found.inputs)
        self.ones = arb_mat([[1]] * found.inputs.shape[0])
        self.frozen = [
            (_matrix(op.weight), None if op.bias is None else _matrix(op.bias[None]))
            if isinstance(op, Layer)
            else (None, None)
            for op in found.operations
        ]

    def start(self) -> Flat:
        """The stored weights."""
        flat: Flat = []
        for op, (weight, bias) in zip(self.stated.operations, self.frozen, strict=True):
            if isinstance(op, Layer) and weight is not None:
                flat += weight.entries() if op.trains_weight else []
                flat += bias.entries() if op.trains_bias and bias is not None else []
        return flat

    def displaced(self, x: Tensor) -> Flat:
        """The stored weights plus the exact numbers x ``(p,)``."""
        return [w + arb(v) for w, v in zip(self.start(), x.tolist(), strict=True)]

    def outputs(self, w: Sequence[Any]) -> Any:
        """F(w), a matrix ``(n, k)``, not scaled."""
        h = self.inputs
        for op, weight, bias in self._layers(w):
            h = _map(op, h)[0] if isinstance(op, Entrywise) else _affine(h, weight, bias, self.ones)
        return h

    def pull(self, w: Sequence[Any], slope: Any) -> tuple[Any, Flat]:
        """F(w) and the flat gradient of <slope(F), F>, slope a matrix or a function of F."""
        tape: list[Any] = []
        h = self.inputs
        layers = self._layers(w)
        for op, weight, bias in layers:
            if isinstance(op, Entrywise):
                h, first, _ = _map(op, h)
                tape.append(first)
            else:
                tape.append(h)
                h = _affine(h, weight, bias, self.ones)
        g = slope(h) if callable(slope) else slope
        parts: list[Flat] = []
        for (op, weight, _), kept in zip(reversed(layers), reversed(tape), strict=True):
            if isinstance(op, Entrywise):
                g = _times(g, kept)
                continue
            if op.trains_bias:
                parts.append((self.ones.transpose() * g).entries())
            if op.trains_weight:
                parts.append((g.transpose() * kept).entries())
            g = g * weight
        return h, [entry for part in reversed(parts) for entry in part]

    def push(self, w: Sequence[Any], v: Sequence[Any]) -> Any:
        """J(w) v, a matrix ``(n, k)``, not scaled."""
        return self.jet(w, v, v)[1]

    def bend(self, w: Sequence[Any], v: Sequence[Any], d: Sequence[Any]) -> Any:
        """D^2F(w)[v, d], a matrix ``(n, k)``, not scaled."""
        return self.jet(w, v, d)[3]

    def jet(
        self, w: Sequence[Any], v: Sequence[Any], d: Sequence[Any]
    ) -> tuple[Any, Any, Any, Any]:
        """F, J v, J d and D^2F[v, d]."""
        h = self.inputs
        a = b = c = arb_mat(h.nrows(), h.ncols())
        for (op, weight, bias), (_, va, wa), (_, vb, wb) in zip(
            self._layers(w), self._cut(v), self._cut(d), strict=True
        ):
            if isinstance(op, Entrywise):
                h, first, second = _map(op, h)
                c = _times(second, _times(a, b)) + _times(first, c)
                a, b = _times(first, a), _times(first, b)
                continue
            turned = weight.transpose()
            c = c * turned
            c = c if va is None else c + b * va.transpose()
            c = c if vb is None else c + a * vb.transpose()
            a, b = a * turned, b * turned
            a = a if va is None else a + h * va.transpose()
            b = b if vb is None else b + h * vb.transpose()
            a = a if wa is None else a + self.ones * wa
            b = b if wb is None else b + self.ones * wb
            h = _affine(h, weight, bias, self.ones)
        return h, a, b, c

    def scaled_direction(self, u: Tensor) -> Any:
        """A float64 direction ``(n, k)`` of the scaled outputs, projected exactly if need be."""
        rows = [[arb(value) for value in row] for row in u.tolist()]
        if self.stated.loss.zero_sum:
            means = [sum(row, arb(0)) / len(row) for row in rows]
            rows = [[z - m for z in row] for row, m in zip(rows, means, strict=True)]
        return arb_mat(rows)

    def rescaled(self, u: Any) -> Any:
        """Rows times sqrt(m_i): from outputs to scaled outputs, and back for cotangents."""
        roots = [arb(m).sqrt() for m in self.stated.multiplicity.tolist()]
        return arb_mat([[r * z for z in row] for r, row in zip(roots, u.tolist(), strict=True)])

    def _layers(self, w: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
        found = []
        for (op, weight, bias), (frozen_weight, frozen_bias) in zip(
            self._cut(w), self.frozen, strict=True
        ):
            found.append((
                op,
                frozen_weight if weight is None else weight,
                frozen_bias if bias is None else bias,
            ))  # fmt: skip
        return found

    def _cut(self, flat: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
        found: list[tuple[Any, Any, Any]] = []
        at = 0
        for op in self.stated.operations:
            weight = bias = None
            if isinstance(op, Layer):
                high, wide = op.weight.shape
                if op.trains_weight:
                    weight = arb_mat(high, wide, flat[at : at + high * wide])
                    at += high * wide
                if op.trains_bias:
                    bias = arb_mat(1, high, flat[at : at + high])
                    at += high
            found.append((op, weight, bias))
        return found


def norm(entries: Sequence[Any]) -> Any:
    """The Euclidean norm of Arb balls."""
    return sum((x * x for x in entries), arb(0)).sqrt()


def inner(a: Any, b: Any) -> Any:
    """The inner product of two matrices."""
    return sum((x * y for x, y in zip(a.entries(), b.entries(), strict=True)), arb(0))


def _matrix(tensor: Tensor) -> Any:
    return arb_mat([[arb(x) for x in row] for row in tensor.tolist()])


def _affine(h: Any, weight: Any, bias: Any, ones: Any) -> Any:
    z = h * weight.transpose()
    return z if bias is None else z + ones * bias


def _times(a: Any, b: Any) -> Any:
    entries = [x * y for x, y in zip(a.entries(), b.entries(), strict=True)]
    return arb_mat(a.nrows(), a.ncols(), entries)


def _map(op: Entrywise, h: Any) -> tuple[Any, Any, Any]:
    jets = [exact_jet(op.name, op.parameters, x) for x in h.entries()]
    shape = h.nrows(), h.ncols()
    values, firsts, seconds = (arb_mat(*shape, list(part)) for part in zip(*jets, strict=True))
    return values, firsts, seconds
