"""What theory page B6 says of one operation, in dense floating point.

Derivatives are complex steps and differences of the operation itself; patches are taken window by
window. Nothing here is read from the checker.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.soundness.mutation.materials import apply

Array = Any
Item = dict[str, Any]
GRID = np.linspace(-1, 1, 4001)
BILINEAR = ("product", "matrix_product")
PARAMETRIC = ("linear", "convolution", "affine", "shift", "embedding", "standardize")


def op(matrix: Array) -> float:
    """The operator norm."""
    return float(np.linalg.norm(matrix, 2)) if matrix.size else 0.0


def derivatives(item: Item, values: Sequence[Array], weights: dict[str, Array]) -> list[Array]:
    """D by slot, (n, d_t, d_e)."""
    result = []
    for slot, value in enumerate(values):
        columns = []
        for unit in np.eye(value[0].size):
            moved = [v.astype(complex) for v in values]
            moved[slot] = moved[slot] + 1e-30j * unit.reshape(value.shape[1:])
            columns.append(apply(item, moved, weights).imag.reshape(len(value), -1) * 1e30)
        result.append(np.stack(columns, axis=2))
    return result


def second(
    item: Item, values: Sequence[Array], weights: dict[str, Array], h: float = 1e-4
) -> Array:
    """(n, d_t, d, d) on all inputs together, by central differences."""
    slices = []
    for slot, value in enumerate(values):
        for unit in np.eye(value[0].size):
            ends = []
            for sign in (1, -1):
                moved = list(values)
                moved[slot] = moved[slot] + sign * h * unit.reshape(value.shape[1:])
                ends.append(np.concatenate(derivatives(item, moved, weights), axis=2))
            slices.append((ends[0] - ends[1]) / (2 * h))
    return np.stack(slices, axis=3)


def by_weight(item: Item, x: Array, weights: dict[str, Array], key: str) -> Array:
    """E for one stored array, (n, d_t, entries)."""
    columns = []
    for unit in np.eye(weights[key].size):
        moved = dict(weights)
        moved[key] = moved[key] + 1e-30j * unit.reshape(weights[key].shape)
        columns.append(apply(item, [x], moved).imag.reshape(len(x), -1) * 1e30)
    return np.stack(columns, axis=2)


def patches(item: Item, x: Array, weights: dict[str, Array]) -> Array:
    """q, (n, groups, positions, c)."""
    n, w = len(x), weights["weight"]
    if item["kind"] == "linear":
        return x.reshape(n, 1, -1, x.shape[-1])
    if item["kind"] == "embedding":
        return np.eye(len(w))[x.reshape(n, 1, -1).astype(int)]
    if item["kind"] == "convolution":
        return _windows(item, x, w)
    moved = _grouped(item, x, w, 1)[..., None]
    return np.ones_like(moved) if item["kind"] == "shift" else moved


def _windows(item: Item, x: Array, w: Array) -> Array:
    pad, step, reach = item["padding"], item["stride"], item["dilation"]
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    counts = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip(x.shape[2:], pad, reach, w.shape[2:], step, strict=True)
    ]
    per, groups = w.shape[1], item["groups"]
    result = np.zeros((len(x), groups, math.prod(counts), per * math.prod(w.shape[2:])))
    for group in range(groups):
        for position, at in enumerate(itertools.product(*map(range, counts))):
            column = 0
            for channel in range(group * per, (group + 1) * per):
                for offset in itertools.product(*map(range, w.shape[2:])):
                    place = tuple(
                        a * s + o * d for a, s, o, d in zip(at, step, offset, reach, strict=True)
                    )
                    result[:, group, position, column] = padded[(slice(None), channel, *place)]
                    column += 1
    return result


def _grouped(item: Item, x: Array, w: Array, lead: int) -> Array:
    """(..., entries of w, all others)."""
    axes = [lead + item["axis"] + i for i in range(w.ndim)]
    moved = np.moveaxis(x, axes, range(lead, lead + w.ndim))
    return moved.reshape(*x.shape[:lead], w.size, -1)


def unfolded(item: Item, g: Array, weights: dict[str, Array]) -> Array:
    """(n, k, groups, o, positions)."""
    n, k = g.shape[:2]
    if item["kind"] in ("linear", "embedding"):
        return np.swapaxes(g.reshape(n, k, -1, g.shape[-1]), 2, 3)[:, :, None]
    if item["kind"] == "convolution":
        return g.reshape(n, k, item["groups"], g.shape[2] // item["groups"], -1)
    return _grouped(item, g, weights["weight"], 2)[:, :, :, None]


def rows(item: Item, x: Array, weights: dict[str, Array], trains: dict[str, bool]) -> Array:
    """The patches, and 1: (n, groups, positions, c)."""
    q = patches(item, x, weights)
    parts = [q] if trains["weight"] else []
    if trains.get("bias"):
        parts.append(np.ones((*q.shape[:3], 1)))
    return np.concatenate(parts, axis=3)


def overlap(item: Item, x: Array, weights: dict[str, Array]) -> int:
    """m^2, counted: in how many patches an entry of the input is."""
    if item["kind"] in ("shift", "embedding"):
        return 0
    size, counts = x[0].size, []
    for unit in np.eye(size):
        counts.append(np.count_nonzero(patches(item, unit.reshape(1, *x.shape[1:]), weights)))
    return max(counts)


def least_unfolding(array: Array) -> float:
    """alpha of (k, a, b)."""
    k, a, b = array.shape
    turned = np.swapaxes(array, 0, 1)
    shapes = (array.reshape(k, a * b), array.reshape(k * a, b), turned.reshape(a, k * b))
    return min(map(op, shapes))


def motion(
    item: Item, xs: Sequence[Array], weights: dict[str, Array], trains: dict[str, bool],
    etas: Sequence[Array], radius: float,
) -> SimpleNamespace:  # fmt: skip
    """D hat, eta, Delta and what Delta Q needs, as the table says."""
    kind, n = item["kind"], len(xs[0])
    zero = np.zeros(n)
    flat = [x.reshape(n, -1) for x in xs]
    stretch, delta, extra = [zero + 1 for _ in xs], [zero for _ in xs], None
    if kind in ("linear", "convolution", "affine", "shift", "embedding"):
        m = math.sqrt(overlap(item, xs[0], weights))
        if kind == "affine":
            stretch = [zero + abs(weights["weight"]).max()]
        elif kind == "embedding":
            stretch = [zero]
        elif kind != "shift":
            stretch = [zero + op(derivatives(item, xs, weights)[0][0])]
        eta = stretch[0] * etas[0]
        if any(trains.values()):
            size = np.array([max(map(op, one)) for one in rows(item, xs[0], weights, trains)])
            slack = m * trains["weight"]
            eta = eta + radius * (size + slack * etas[0])
            delta = [zero + slack * radius]
    elif kind == "elementwise":
        wide = flat[0][None] + GRID[:, None, None] * etas[0][None, :, None]
        first, bent = jets(item, wide)
        here = jets(item, flat[0])
        stretch = [abs(here[0]).max(1)]
        eta = abs(first).max(0).max(1) * etas[0]
        delta = [abs(bent).max(0).max(1) * etas[0]]
        extra = abs(bent - here[1]).max(0)
    elif kind in BILINEAR:
        if kind == "product":
            sizes = [abs(v).max(1) for v in flat]
        else:
            sizes = [np.sqrt((v**2).sum((-2, -1))).reshape(n, -1).max(1) for v in xs]
        stretch, delta = sizes[::-1], list(etas[::-1])
        eta = sizes[1] * etas[0] + sizes[0] * etas[1] + etas[0] * etas[1]
    elif kind == "softmax":
        stretch, eta, delta = [zero + 0.5], etas[0] / 2, [0.7072 * etas[0]]
    elif kind == "normalize":
        d, _, sigma = deviations(item, xs[0])
        low = sigma.min(1) - etas[0] / math.sqrt(d)
        stretch, eta = [1 / sigma.min(1)], etas[0] / low
        delta, extra = [4 * etas[0] / (low**2 * math.sqrt(d))], low
    elif kind == "concatenate":
        eta = np.sqrt(sum(e**2 for e in etas))
    else:
        if kind == "average_pool":
            reach = derivatives(item, xs, weights)[0][0] > 0
            stretch = [zero + math.sqrt(reach.sum(0).max() / math.prod(item["kernel"]))]
        elif kind in ("mean", "standardize", "scale"):
            stretch = [zero + op(derivatives(item, xs, weights)[0][0])]
        eta = sum(s * e for s, e in zip(stretch, etas, strict=True))
    return SimpleNamespace(stretch=stretch, eta=eta, delta=delta, extra=extra)


def jets(item: Item, z: Array) -> tuple[Array, Array]:
    """phi' and phi''."""
    slope = lambda x: apply(item, [x + 1e-30j], {}).imag / 1e-30  # noqa: E731
    return slope(z), (slope(z + 1e-5) - slope(z - 1e-5)) / 2e-5


def deviations(item: Item, x: Array) -> tuple[int, Array, Array]:
    """d, y and sigma of the rows, (n, rows, d) and (n, rows)."""
    d = math.prod(x.shape[x.ndim - item["axes"] :])
    cut = x.reshape(len(x), -1, d)
    sigma = np.sqrt(cut.var(axis=2) + item["epsilon"])
    return d, (cut - cut.mean(2, keepdims=True)) / sigma[:, :, None], sigma


def curvature(
    item: Item, xs: Sequence[Array], g: Array, tau: Array, tangents: Sequence[Array],
    gamma: Array, moved: SimpleNamespace, etas: Sequence[Array],
) -> SimpleNamespace:  # fmt: skip
    """The root applied to tangents, q hat and Delta Q."""
    kind, n, k = item["kind"], len(g), g.shape[1]
    columns = np.linalg.norm(g.reshape(n, k, -1), axis=1)
    flat = [x if x is None else x.reshape(n, x.shape[1], -1) for x in tangents]
    if kind == "elementwise":
        bend = abs(jets(item, xs[0].reshape(n, -1))[1])
        s = columns * bend
        turned = gamma[:, None]
        return SimpleNamespace(
            root=np.sqrt(s)[:, None] * flat[0], size=s.max(1),
            growth=(bend * turned + (columns + turned) * moved.extra).max(1),
        )  # fmt: skip
    if kind in BILINEAR:
        weights = [columns, columns]
        if kind == "matrix_product":
            cut = g.reshape(n, k, -1, *g.shape[-2:])
            alpha = np.array([[least_unfolding(one[:, h]) for h in range(one.shape[1])]
                              for one in cut])  # fmt: skip
            weights = [np.repeat(alpha, x[0].size // alpha.shape[1], 1) for x in xs]
        factors = (tau[:, None], 1 / tau[:, None])
        parts = [
            np.sqrt(f * w)[:, None] * x
            for f, w, x in zip(factors, weights, flat, strict=True)
            if x is not None
        ]
        root = np.concatenate(parts, axis=2)
        return SimpleNamespace(root=root, size=weights[0].max(1), growth=gamma)
    if kind == "softmax":
        s = apply(item, list(xs), {})
        d = s.shape[-1]
        s, cut = s.reshape(n, -1, d), g.reshape(n, k, -1, d)
        spread = np.linalg.norm(cut - (cut * s[:, None]).sum(-1, keepdims=True), axis=1)
        x = flat[0].reshape(n, -1, s.shape[1], d)
        centred = x - (s[:, None] * x).sum(-1, keepdims=True)
        norm = np.array([max(op(one[:, r]) for r in range(one.shape[1])) for one in cut])
        return SimpleNamespace(
            root=(np.sqrt(s * spread)[:, None] * centred).reshape(flat[0].shape),
            size=0.7072 * norm, growth=0.7072 * gamma + 1.75 * (norm + gamma) * etas[0],
        )  # fmt: skip
    d, y, sigma = deviations(item, xs[0])
    cut, low = g.reshape(n, k, -1, d), moved.extra
    centre = np.eye(d) - 1 / d
    kappa = np.array([
        [op(cut[i, :, r] @ centre) * np.linalg.norm(y[i, r])
         + 3 * np.linalg.norm(cut[i, :, r] @ centre @ y[i, r]) for r in range(y.shape[1])]
        for i in range(n)
    ]) / (sigma**2 * d)  # fmt: skip
    norm = np.array([max(op(one[:, r]) for r in range(one.shape[1])) for one in cut])
    x = flat[0].reshape(n, -1, y.shape[1], d) @ centre
    growth = 4 * gamma / (low**2 * math.sqrt(d)) + 18 * (norm + gamma) * etas[0] / (low**3 * d)
    return SimpleNamespace(
        root=(np.sqrt(kappa)[:, None, :, None] * x).reshape(flat[0].shape),
        size=4 * norm / (sigma.min(1) ** 2 * math.sqrt(d)), growth=growth,
    )  # fmt: skip
