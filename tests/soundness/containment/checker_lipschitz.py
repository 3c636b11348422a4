"""The checker's Lipschitz constant of the Jacobian against pairs of points of the ball.

A case is a pair (w1, w2) and unit vectors (u, v): u^T (J(w1) - J(w2)) v <= beta(R) |w1 - w2|, the
left side in Arb. Pairs and vectors come from a floating-point search for the worst second
derivative, by alternating between direction and singular vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from flint import arb, ctx
from numpy.typing import NDArray
from tests.soundness.containment.checker_chains import Drawn, drawn_chain
from tests.soundness.containment.record import Record, shard

from talweg_check._arrays import PRECISION
from talweg_check._lipschitz import JacobianLipschitz

UNDER_TEST = ("talweg_check._lipschitz",)
BITS = 256
EPSILON = 1e-30  # of the complex step
PAIRS = 40  # of one ball
RADII = (1e-20, 1e-12, 1e-6, 1e-3, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
Array = NDArray[Any]


def _sigmoid(z: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(z / 2)


def _softplus(z: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.where(z.real > 30, z, np.log(1 + np.exp(np.where(z.real > 30, 0, z))))


def _gelu(z: Array) -> Array:
    return z * _sigmoid(2 * 0.7978845608 * (z + 0.044715 * z**3))


# Analytic, so that a complex step differentiates them; gelu is only like its namesake.
APPROXIMATE: dict[str, Callable[[Array, dict[str, float]], Array]] = {
    "identity": lambda z, _: z,
    "tanh": lambda z, _: np.tanh(z),
    "sigmoid": lambda z, _: _sigmoid(z),
    "silu": lambda z, _: z * _sigmoid(z),
    "gelu": lambda z, _: _gelu(z),
    "gelu_tanh": lambda z, _: _gelu(z),
    "sin": lambda z, _: np.sin(z),
    "softplus": lambda z, c: _softplus(c["beta"] * z) / c["beta"],
    "smooth_leaky_relu": lambda z, c: c["slope"] * z + (1 - c["slope"]) * _softplus(z),
}


class Outputs:
    """w -> sqrt(m_i) F(x_i), approximately, for many w at once."""

    def __init__(self, drawn: Drawn, *, zero_sum: bool) -> None:
        self.drawn, self.zero_sum = drawn, zero_sum
        self.root = np.sqrt(drawn.counts)
        trained = [
            item[part] for item in drawn.operations if item["kind"] == "linear"
            for part in ("weight", "bias") if item[f"{part}_trainable"]
        ]  # fmt: skip
        self.start = np.concatenate([drawn.arrays[name].ravel() for name in trained])
        ends = np.cumsum([0, *(drawn.arrays[name].size for name in trained)])
        self.places = dict(zip(trained, itertools.pairwise(ends), strict=True))

    def _array(self, name: str, points: Array) -> Array:
        array = self.drawn.arrays[name]
        if name not in self.places:
            return np.broadcast_to(array, (len(points), *array.shape))
        begin, end = self.places[name]
        return points[:, begin:end].reshape(len(points), *array.shape)

    def __call__(self, points: Array) -> Array:
        """(B, p) to (B, n k)."""
        h = np.broadcast_to(self.drawn.inputs, (len(points), *self.drawn.inputs.shape))
        for item in self.drawn.operations:
            if item["kind"] == "linear":
                h = h @ self._array(item["weight"], points).swapaxes(1, 2)
                if item["bias"] is not None:
                    h = h + self._array(item["bias"], points)[:, None]
            elif item["kind"] == "scale":
                h = h * (item["numerator"] / item["denominator"])
            else:
                h = APPROXIMATE[item["function"]](h, item["parameters"])
        if self.zero_sum:
            h = h - h.mean(axis=2, keepdims=True)
        return (h * self.root[:, None]).reshape(len(points), -1)

    def jacobian(self, point: Array) -> Array:
        """(n k, p)."""
        steps = point + 1j * EPSILON * np.eye(len(point))
        return np.asarray(self(steps).imag.T / EPSILON)

    def turn(self, point: Array, direction: Array, step: float) -> Array:
        """How J changes along a direction, per unit of length, (n k, p)."""
        ahead, behind = (self.jacobian(point + sign * step * direction) for sign in (1, -1))
        return np.asarray((ahead - behind) / (2 * step))


def _unit(x: Array) -> Array:
    length = np.linalg.norm(x)
    return x / length if np.isfinite(length) and length > 0 else np.eye(len(x))[0]


def _singular(matrix: Array) -> tuple[Array, Array]:
    if not np.isfinite(matrix).all():
        matrix = np.zeros_like(matrix)
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left[:, 0], right[0]


def worst(
    rng: np.random.Generator, outputs: Outputs, radius: float
) -> tuple[Array, Array, Array, Array]:
    """Offset of a point, direction, and unit vectors u, v with a large u^T D^2F[direction, v]."""
    best, found = -1.0, None
    for _ in range(3):
        offset = 0.9 * radius * rng.random() * _unit(rng.standard_normal(outputs.start.shape))
        point = outputs.start + offset
        direction = _unit(rng.standard_normal(point.shape))
        step = 1e-4
        for _ in range(4):
            turn = outputs.turn(point, direction, step)
            u, v = _singular(turn)
            size = float(u @ turn @ v)
            if size > best:
                best, found = size, (offset, direction, u, v)
            direction = _unit(u @ outputs.turn(point, v, step))
    return found if found is not None else (offset, direction, u, v)


def pairs(zero_sum: bool, rng: np.random.Generator, record: Record) -> None:
    drawn = drawn_chain(rng)
    zero_sum = zero_sum and drawn.outputs > 1
    with np.errstate(all="ignore"), ctx.workprec(PRECISION):
        outputs = Outputs(drawn, zero_sum=zero_sum)
        lipschitz = record.call(lambda: JacobianLipschitz(drawn.network(zero_sum=zero_sum)))
        if lipschitz is None:
            return
        for radius in rng.choice(RADII, 2, replace=False).tolist():
            bound = record.call(lipschitz.upper, radius)
            if bound is None:
                continue
            if not bound.is_finite():
                record.counts["no bound"] += 1
                continue
            attack(rng, record, drawn, outputs, radius, bound.upper())


def attack(
    rng: np.random.Generator, record: Record, drawn: Drawn, outputs: Outputs, radius: float,
    bound: arb,
) -> None:  # fmt: skip
    with ctx.workprec(BITS):
        chain = drawn.reference()
        start = chain.parameters
    offset, direction, u, v = worst(rng, outputs, radius)
    for number in range(PAIRS):
        share = float(rng.choice([1e-6, 1e-3, 0.1, 0.5, 1.0]))
        if number % 4 == 3:
            offset = radius * rng.random() * _unit(rng.standard_normal(offset.shape))
            direction = _unit(rng.standard_normal(offset.shape))
        ends = [_shortened(offset + sign * share * radius * direction, radius) for sign in (1, -1)]
        if radius > 1e-9 and number % 4:
            u, v = _singular(
                outputs.jacobian(outputs.start + ends[0])
                - outputs.jacobian(outputs.start + ends[1])
            )
        with ctx.workprec(BITS):
            moves = [[arb(x) for x in end.tolist()] for end in ends]
            squares = [sum((x * x for x in move), arb(0)) for move in moves]
            if not all(square <= arb(radius) ** 2 for square in squares):
                record.counts["outside"] += 1
                continue
            apart = sum(((x - y) ** 2 for x, y in zip(*moves, strict=True)), arb(0)).sqrt()
            if not apart > 0:
                continue
            change = _change(drawn, chain, start, moves, u, v, zero_sum=outputs.zero_sum)
            if not change.is_finite():
                record.undecided()
                continue
            holds = None if (bound * apart).overlaps(change) else bool(bound * apart > change)
            if change <= bound * apart:
                holds = True
        if holds is None:
            record.undecided()
            continue
        if change > 0.9 * bound * apart:
            record.counts["above 90 %"] += 1
        record.check(holds, radius, [end.tolist() for end in ends], u.tolist(), v.tolist(), drawn,
                     "beta", bound, "but", change / apart)  # fmt: skip


def _shortened(offset: Array, radius: float) -> Array:
    length = float(np.linalg.norm(offset))
    return offset if length <= radius * (1 - 1e-12) else offset * (radius * (1 - 1e-12) / length)


def _change(
    drawn: Drawn, chain: Any, start: list[arb], moves: list[list[arb]], u: Array, v: Array,
    *, zero_sum: bool,
) -> arb:  # fmt: skip
    """u^T (J(w1) - J(w2)) v / (|u| |v|), u made to sum to zero in each sample where asked."""
    k = drawn.outputs
    left = [[arb(x) for x in row] for row in u.reshape(-1, k).tolist()]
    if zero_sum:
        left = [[x - sum(row, arb(0)) / k for x in row] for row in left]
    right = [arb(x) for x in v.tolist()]
    sizes = [sum((x * x for x in part), arb(0)) for part in ([x for r in left for x in r], right)]
    if not all(size > 0 for size in sizes):
        return arb.nan()
    total = arb(0)
    for sign, move in zip((1, -1), moves, strict=True):
        with ctx.workprec(4 * BITS):  # the sum is exact
            point = [x + y for x, y in zip(start, move, strict=True)]
        pushed = chain.with_parameters(point).pushed_forward(drawn.inputs, right)
        for i, count in enumerate(drawn.counts.tolist()):
            root = sign * arb(count).sqrt()
            total += root * sum((x * pushed[i, o] for o, x in enumerate(left[i])), arb(0))
    change: arb = abs(total) / (sizes[0] * sizes[1]).sqrt()
    return change


SHARDS = (
    shard("checker.jacobian_lipschitz", UNDER_TEST, partial(pairs, False), 25),
    shard("checker.jacobian_lipschitz_zero_sum", UNDER_TEST, partial(pairs, True), 25),
)
