"""A graph of the certificate's grammar evaluated in Arb with two infinitesimals.

Written from the table of `docs/certificate-format.md`. Numbers are a + b s + c t + d s t with
s^2 = t^2 = 0 and Arb balls a, b, c, d of `flint.ctx.prec` bits: with the parameters w + s x + t y
the outputs hold F, DF[x], DF[y] and D^2F[x, y].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray
from tests.soundness.chain_reference import FUNCTIONS, exact

from talweg.network import Network
from talweg.network._graph import Parametric

Array = NDArray[np.object_]
"""Of `Hyper` numbers."""


class Hyper:
    """a + b s + c t + d s t."""

    __slots__ = ("a", "b", "c", "d")

    def __init__(self, a: arb, b: Any = 0, c: Any = 0, d: Any = 0) -> None:
        self.a, self.b, self.c, self.d = a, b, c, d

    def __add__(self, other: Any) -> Hyper:
        if not isinstance(other, Hyper):
            return Hyper(self.a + other, self.b, self.c, self.d)
        return Hyper(self.a + other.a, self.b + other.b, self.c + other.c, self.d + other.d)

    __radd__ = __add__

    def __neg__(self) -> Hyper:
        return Hyper(-self.a, -self.b, -self.c, -self.d)

    def __sub__(self, other: Any) -> Hyper:
        return self + (-other)

    def __mul__(self, other: Any) -> Hyper:
        if not isinstance(other, Hyper):
            return Hyper(self.a * other, self.b * other, self.c * other, self.d * other)
        return Hyper(
            self.a * other.a,
            self.a * other.b + self.b * other.a,
            self.a * other.c + self.c * other.a,
            self.a * other.d + self.d * other.a + self.b * other.c + self.c * other.b,
        )

    __rmul__ = __mul__

    def lifted(self, value: arb, first: arb, second: arb) -> Hyper:
        """A function with this jet at a."""
        return Hyper(
            value,
            first * self.b,
            first * self.c,
            first * self.d + second * self.b * self.c,
        )

    def reciprocal(self) -> Hyper:
        r = 1 / self.a
        return self.lifted(r, -r * r, 2 * r * r * r)

    def root(self) -> Hyper:
        r = self.a.sqrt()
        return self.lifted(r, 1 / (2 * r), -1 / (4 * r * self.a))

    def exp(self) -> Hyper:
        e = self.a.exp()
        return self.lifted(e, e, e)


def hyper(values: Any, shape: Sequence[int]) -> Array:
    """An array of constants."""
    entries = [x if isinstance(x, Hyper) else Hyper(exact(x)) for x in values]
    out = np.empty(len(entries), dtype=object)
    out[:] = entries
    return out.reshape(tuple(shape))


class ReferenceGraph:
    """A network with its exact stored tensors.

    Args:
        network: As talweg holds it.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.shape = network.input_shape or (network.input_dim,)

    def values(
        self,
        row: Sequence[float],
        own: Mapping[tuple[int, str], Array],
        shifts: Mapping[int, Array] | None = None,
    ) -> list[Array]:
        """The value of every node for one row of data.

        Args:
            row: Its numbers, row-major.
            own: Other tensors by node and field; the stored ones where there is none.
            shifts: What is added to the values of nodes.
        """
        found = [hyper(row, self.shape)]
        for t, node in enumerate(self.network.nodes):
            operation, tensors = node.operation, {}
            if isinstance(operation, Parametric):
                for slot in operation.slots():
                    stored = slot.tensor.double()
                    tensors[slot.field] = own.get(
                        (t, slot.field), hyper(stored.reshape(-1).tolist(), stored.shape)
                    )
            value = _APPLY[operation.kind](operation, tensors, *(found[e] for e in node.inputs))
            if shifts is not None and t in shifts:
                value = value + shifts[t]
            found.append(value)
        return found[1:]


def _aligned(tensor: Array, axis: int, x: Array) -> Array:
    return tensor.reshape(*tensor.shape, *(1,) * (x.ndim - axis - tensor.ndim))


def _each(function: Any, x: Array) -> Array:
    return hyper([function(y) for y in x.reshape(-1)], x.shape)


def _linear(op: Any, p: Any, x: Array) -> Array:
    y = x.reshape(-1, x.shape[-1]) @ p["weight"].T
    y = y if "bias" not in p else y + p["bias"]
    return y.reshape(*x.shape[:-1], -1)


def _convolution(op: Any, p: Any, x: Array) -> Array:
    w, groups = p["weight"], op.groups
    spatial, kernel = x.shape[1:], w.shape[2:]
    geometry = list(zip(op.stride, op.padding, op.dilation, strict=True))
    positions = [
        (size + 2 * pad - reach * (k - 1) - 1) // step + 1
        for size, k, (step, pad, reach) in zip(spatial, kernel, geometry, strict=True)
    ]
    out = np.empty((w.shape[0], *positions), dtype=object)
    for c in range(w.shape[0]):
        first = c // (w.shape[0] // groups) * w.shape[1]
        for at in itertools.product(*map(range, positions)):
            total = Hyper(arb(0))
            for offset in itertools.product(*map(range, kernel)):
                place = tuple(
                    a * step - pad + o * reach
                    for a, o, (step, pad, reach) in zip(at, offset, geometry, strict=True)
                )
                if all(0 <= q < size for q, size in zip(place, spatial, strict=True)):
                    for channel in range(w.shape[1]):
                        total = total + w[(c, channel, *offset)] * x[(first + channel, *place)]
            out[(c, *at)] = total + (p["bias"][c] if "bias" in p else arb(0))
    return out


def _affine(op: Any, p: Any, x: Array) -> Array:
    y = x * _aligned(p["weight"], op.axis, x)
    return y + _aligned(p["bias"], op.axis, x) if "bias" in p else y


def _standardize(op: Any, p: Any, x: Array) -> Array:
    scale = _each(lambda v: (v + exact(op.epsilon)).root().reciprocal(), p["bias"])
    return (x - _aligned(p["weight"], 0, x)) * _aligned(scale, 0, x)


def _elementwise(op: Any, p: Any, x: Array) -> Array:
    return _each(lambda y: y.lifted(*FUNCTIONS[op.function](y.a, op.parameters)), x)


def _sum(op: Any, p: Any, *inputs: Array) -> Array:
    total = inputs[0] * exact(op.signs[0])
    for sign, x in zip(op.signs[1:], inputs[1:], strict=True):
        total = total + x * exact(sign)
    return total


def _softmax(op: Any, p: Any, x: Array) -> Array:
    powers = _each(Hyper.exp, x)
    total = _each(Hyper.reciprocal, powers.sum(-1, keepdims=True))
    return powers * total


def _normalize(op: Any, p: Any, x: Array) -> Array:
    rows = x.reshape(-1, math.prod(x.shape[x.ndim - op.axes :]))
    share = 1 / exact(rows.shape[1])
    rows = rows - rows.sum(1, keepdims=True) * share
    variance = (rows * rows).sum(1, keepdims=True) * share
    scale = _each(lambda v: (v + exact(op.epsilon)).root().reciprocal(), variance)
    return (rows * scale).reshape(x.shape)


def _average_pool(op: Any, p: Any, x: Array) -> Array:
    lead = x.shape[: x.ndim - len(op.kernel)]
    spatial = x.shape[len(lead) :]
    flat = x.reshape(-1, *spatial)
    positions = [
        (size + 2 * pad - k) // step + 1
        for size, k, step, pad in zip(spatial, op.kernel, op.stride, op.padding, strict=True)
    ]
    out = np.empty((len(flat), *positions), dtype=object)
    for c in range(len(flat)):
        for at in itertools.product(*map(range, positions)):
            total = Hyper(arb(0))
            for offset in itertools.product(*map(range, op.kernel)):
                place = tuple(
                    a * step - pad + o
                    for a, o, step, pad in zip(at, offset, op.stride, op.padding, strict=True)
                )
                if all(0 <= q < size for q, size in zip(place, spatial, strict=True)):
                    total = total + flat[(c, *place)]
            out[(c, *at)] = total * (1 / exact(math.prod(op.kernel)))
    return out.reshape(*lead, *positions)


def _mean(op: Any, p: Any, x: Array) -> Array:
    count = math.prod(x.shape[axis] for axis in op.axes)
    return x.sum(tuple(op.axes)) * (1 / exact(count))


def _sliced(op: Any, p: Any, x: Array) -> Array:
    return x[(slice(None),) * op.axis + (slice(op.start, op.stop, op.step),)]


def _matrix_product(op: Any, p: Any, x: Array, y: Array) -> Array:
    return (x[..., :, :, None] * y[..., None, :, :]).sum(-2)


_APPLY: dict[str, Any] = {
    "linear": _linear,
    "convolution": _convolution,
    "affine": _affine,
    "shift": lambda op, p, x: x + _aligned(p["weight"], op.axis, x),
    "embedding": lambda op, p, x: np.stack(
        [p["weight"][int(float(y.a))] for y in x.reshape(-1)]
    ).reshape(*x.shape, -1),
    "standardize": _standardize,
    "elementwise": _elementwise,
    "scale": lambda op, p, x: x * (exact(op.numerator) / exact(op.denominator)),
    "sum": _sum,
    "product": lambda op, p, x, y: x * y,
    "matrix_product": _matrix_product,
    "softmax": _softmax,
    "normalize": _normalize,
    "average_pool": _average_pool,
    "mean": _mean,
    "concatenate": lambda op, p, *inputs: np.concatenate(inputs, op.axis),
    "reshape": lambda op, p, x: x.reshape(op.shape),
    "permute": lambda op, p, x: x.transpose(op.axes),
    "slice": _sliced,
}
