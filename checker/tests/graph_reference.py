"""B6 in dense floating point: every derivative a matrix, every norm LAPACK's, ranges sampled.

What an operation does to its weights is taken from the operation itself: E_a is the derivative by
(W, b), and the products come from the mixed derivative by W and x.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from graphs import TRAINED, Model, apply

Array = Any
GRID = np.linspace(-1, 1, 401)


def op(matrix: Array) -> float:
    return float(np.linalg.norm(matrix, 2)) if matrix.size else 0.0


class Dense:
    """The model at w0."""

    def __init__(self, model: Model, counts: Array) -> None:
        self.model, self.n = model, len(model.inputs)
        self.root = np.sqrt(counts)
        self.items = [{"inputs": []}, *model.operations]
        self.reads = [item["inputs"] for item in self.items]
        self.values = [model.inputs]
        for item in model.operations:
            read = [self.values[e] for e in item["inputs"]]
            self.values.append(apply(item, read, model.weights))
        self.last = len(model.operations)
        self.trains = [
            {key: item[key] for key in TRAINED if item.get(f"{key}_trainable")}
            for item in self.items
        ]
        self.at = [t for t in range(1, self.last + 1) if self.trains[t]]
        self.reached = {a: self._reached(a) for a in self.at}
        self.moves = set().union(*self.reached.values())
        self.d = {
            t: [self._by_input(t, slot) for slot in range(len(self.reads[t]))]
            for t in self.moves if any(e in self.moves for e in self.reads[t])
        }  # fmt: skip
        k = self.values[-1].shape[1]
        self.g = {t: np.zeros((self.n, k, self.size(t))) for t in self.moves}
        self.g[self.last] = np.sqrt(counts)[:, None, None] * np.eye(k)
        for t in sorted(self.d, reverse=True):
            for e, d in zip(self.reads[t], self.d[t], strict=True):
                if e in self.moves:
                    self.g[e] = self.g[e] + self.g[t] @ d
        self.p = {a: self._propagators(a) for a in self.at}
        self.e = {a: self._by_weights(a) for a in self.at}

    def size(self, t: int) -> int:
        return int(self.values[t][0].size)

    def _reached(self, a: int) -> set[int]:
        found = {a}
        for t in range(a + 1, self.last + 1):
            if found & set(self.reads[t]):
                found.add(t)
        return found

    def _by_input(self, t: int, slot: int, weights: Any = None) -> Array:
        """(n, d_t, d_e)."""
        weights = self.model.weights if weights is None else weights
        read = [self.values[e] for e in self.reads[t]]
        columns = []
        for unit in np.eye(read[slot][0].size):
            moved = [x.astype(complex) for x in read]
            moved[slot] = moved[slot] + 1e-30j * unit.reshape(read[slot].shape[1:])
            value = apply(self.items[t], moved, weights).imag / 1e-30
            columns.append(value.reshape(self.n, -1))
        return np.stack(columns, axis=2)

    def _by_weights(self, a: int) -> Array:
        """E, (n, d_a, trained parameters of a)."""
        read, columns = [self.values[e] for e in self.reads[a]], []
        for name in self.trains[a].values():
            for unit in np.eye(self.model.weights[name].size):
                w = dict(self.model.weights)
                w[name] = w[name] + 1e-30j * unit.reshape(w[name].shape)
                value = apply(self.items[a], read, w).imag / 1e-30
                columns.append(value.reshape(self.n, -1))
        return np.stack(columns, axis=2)

    def _propagators(self, a: int) -> dict[int, Array]:
        size = self.size(a)
        found = {a: np.broadcast_to(np.eye(size), (self.n, size, size))}
        for t in sorted(self.reached[a] - {a}):
            found[t] = sum(
                d @ found[e] for e, d in zip(self.reads[t], self.d[t], strict=True) if e in found
            )
        return found

    def mixed(self, b: int) -> Array:
        """The derivative by W and x, (weights, n, d_b, d_e); the operation is bilinear."""
        name = self.items[b]["weight"]
        shape, parts = self.model.weights[name].shape, []
        zero = self._by_input(b, 0, self.model.weights | {name: np.zeros(shape)})
        for unit in np.eye(int(np.prod(shape))):
            w = self.model.weights | {name: unit.reshape(shape)}
            parts.append(self._by_input(b, 0, w) - zero)
        return np.stack(parts)

    def maps(self, a: int, b: int, step: float = 1e-5) -> Array:
        """Z_ab, (n, k times numbers of b, d_a), by moving the value of a: no formula for it."""
        d, n = self.size(a), self.n
        offsets = np.tile(step * np.concatenate([np.eye(d), -np.eye(d)]), (n, 1))
        moved = self._run([np.repeat(v, 2 * d, axis=0) for v in self.values], a, a, offsets)
        columns, read = [], [moved[e] for e in self.reads[b]]
        for name in self.trains[b].values():
            for unit in np.eye(self.model.weights[name].size):
                w = dict(self.model.weights)
                w[name] = w[name] + 1e-30j * unit.reshape(w[name].shape)
                columns.append(apply(self.items[b], read, w).imag / 1e-30)
        count = len(columns)
        tiled = [np.concatenate([v] * count) for v in moved]
        tiled[b] = tiled[b] + 1e-30j * np.concatenate(columns)
        ends = self._run(tiled, b, a, np.tile(offsets, (count, 1)))[-1].imag / 1e-30
        ends = ends.reshape(count, n, 2, d, -1)
        change = (ends[:, :, 0] - ends[:, :, 1]) / (2 * step) * self.root[None, :, None, None]
        return change.transpose(1, 3, 0, 2).reshape(n, -1, d)

    def _run(self, values: list[Array], start: int, a: int, offsets: Array) -> list[Array]:
        """All values behind `start`; that of a is moved."""
        values = list(values)
        if start == a:
            values[a] = values[a] + offsets.reshape(values[a].shape) * (values[a].dtype != complex)
        for t in range(start + 1, len(values)):
            values[t] = apply(self.items[t], [values[e] for e in self.reads[t]], self.model.weights)
            if t == a:
                values[t] = values[t] + offsets.reshape(values[t].shape)
        return values

    def overlap(self, b: int) -> int:
        """m^2."""
        kind = self.items[b]["kind"]
        if kind in ("shift", "embedding"):
            return 0
        if kind != "convolution":
            return 1
        rows = self.mixed(b)[:, 0].reshape(len(self.model.weights[self.items[b]["weight"]]), -1,
                                           self.size(b), self.size(self.reads[b][0]))  # fmt: skip
        return int((rows != 0).sum(axis=(1, 2)).max())

    def patches(self, a: int, read: Array) -> Array:
        """q of an operation with one position and one group, (n, c)."""
        item, flat = self.items[a], read.reshape(self.n, -1)
        if item["kind"] == "linear":
            return flat
        if item["kind"] == "shift":
            return np.ones((self.n, 1))
        if item["kind"] == "affine":
            return flat
        # Which entries the only window of a convolution takes, by trying each.
        shape = self.model.weights[item["weight"]].shape
        first = self._by_input(a, 0, self.model.weights | {item["weight"]: np.ones(shape)})
        return self._windowed(a, flat, first[0, 0] != 0)

    def _windowed(self, a: int, flat: Array, taken: Array) -> Array:
        """The entries taken, and zeros for those of the margin."""
        size = int(np.prod(self.model.weights[self.items[a]["weight"]].shape[1:]))
        found = np.zeros((self.n, size))
        found[:, : taken.sum()] = flat[:, taken]
        return found

    def blocks(self, b: int) -> Array:
        """(n, groups, k, o, positions)."""
        item, g = self.items[b], self.g[b]
        n, k, _ = g.shape
        shape = self.values[b].shape[1:]
        if item["kind"] == "linear":
            return np.swapaxes(g.reshape(n, k, -1, shape[-1]), 2, 3)[:, None]
        if item["kind"] == "convolution":
            groups = item["groups"]
            blocks = g.reshape(n, k, groups, shape[0] // groups, -1)
            return np.moveaxis(blocks, 2, 1)
        inner = self.model.weights[item["weight"]].ndim
        moved = g.reshape(n, k, *shape)
        axes = [2 + item["axis"] + i for i in range(inner)]
        moved = np.moveaxis(moved, axes, list(range(2, 2 + inner)))
        groups = int(np.prod(moved.shape[2 : 2 + inner]))
        return np.moveaxis(moved.reshape(n, k, groups, 1, -1), 2, 1)


def _unfolded(array: Array) -> float:
    """alpha of (k, a, b)."""
    k, a, b = array.shape
    return min(op(array.reshape(k, a * b)), op(array.reshape(k * a, b)),
               op(np.swapaxes(array, 0, 1).reshape(a, k * b)))  # fmt: skip


def _phi(item: Any, x: Array) -> tuple[Array, Array]:
    """|phi'| and phi''."""
    slope = lambda z: apply(item, [z + 1e-30j], {}).imag / 1e-30  # noqa: E731
    return abs(slope(x)), (slope(x + 1e-5) - slope(x - 1e-5)) / 2e-5


def table(model: Model, counts: Array, radius: float) -> Array:
    """T, one row for each trained operation, or for those that share arrays."""
    net = Dense(model, counts)
    n, items, reads = net.n, net.items, net.reads
    zero, order = np.zeros(n), sorted(net.moves)
    each = lambda f: np.array([f(i) for i in range(n)])  # noqa: E731
    m = {b: np.sqrt(net.overlap(b)) for b in net.at}
    slack = {a: m[a] * ("weight" in net.trains[a]) for a in net.at}
    eps0 = {a: each(lambda i, a=a: op(net.e[a][i])) for a in net.at}
    curved = [
        c for c in order if items[c]["kind"] in
        ("elementwise", "product", "matrix_product", "softmax", "normalize")
        and all(e in net.moves for e in reads[c]) and items[c].get("function") != "identity"
    ]  # fmt: skip
    eta, stretch, delta, extra = {}, {}, {}, {}
    for t in order:
        item, kind = items[t], items[t]["kind"]
        es = [eta.get(e, zero) for e in reads[t]]
        x = [net.values[e].reshape(n, -1) for e in reads[t]]
        stretch[t], delta[t] = [zero + 1 for _ in es], [zero for _ in es]
        eta[t] = sum(es)
        if "weight" in item and kind != "standardize":
            if t in net.d and kind not in ("shift", "embedding"):
                stretch[t] = [zero + op(net.d[t][0][0])]
            eta[t] = stretch[t][0] * es[0] if kind != "embedding" else zero
            if t in net.at:
                eta[t] = eta[t] + radius * (eps0[t] + slack[t] * es[0])
                delta[t] = [zero + slack[t] * radius]
        elif kind == "elementwise":
            wide = x[0][None] + GRID[:, None, None] * es[0][None, :, None]
            first, second = _phi(item, wide)
            at_start = _phi(item, x[0])
            stretch[t] = [at_start[0].max(1)]
            eta[t] = first.max(0).max(1) * es[0]
            delta[t] = [abs(second).max(0).max(1) * es[0]]
            extra[t] = abs(second - at_start[1]).max(0) * (es[0] > 0)[:, None]
        elif kind in ("product", "matrix_product"):
            if kind == "product":
                sizes = [abs(v).max(1) for v in x]
            else:
                blocks = [net.values[e] for e in reads[t]]
                flat = [v.reshape(n, -1, v.shape[-1] * v.shape[-2]) for v in blocks]
                sizes = [np.linalg.norm(v, axis=2).max(1) for v in flat]
            stretch[t], delta[t] = sizes[::-1], es[::-1]
            eta[t] = sizes[1] * es[0] + sizes[0] * es[1] + es[0] * es[1]
        elif kind == "softmax":
            stretch[t], eta[t], delta[t] = [zero + 0.5], es[0] / 2, [0.7072 * es[0]]
        elif kind == "normalize":
            shape = net.values[t].shape[1:]
            d = int(np.prod(shape[len(shape) - item["axes"] :]))
            rows = x[0].reshape(n, -1, d)
            sigma = np.sqrt(rows.var(axis=2) + item["epsilon"])
            low = sigma.min(1) - es[0] / np.sqrt(d)
            extra[t] = (d, rows, sigma, low)
            stretch[t], eta[t] = [1 / sigma.min(1)], es[0] / low
            delta[t] = [4 * es[0] / (low**2 * np.sqrt(d))]
        elif kind == "average_pool":
            reach = net.d[t][0][0] > 0
            overlap = reach.sum(0).max()
            stretch[t] = [zero + np.sqrt(overlap / np.prod(item["kernel"]))]
            eta[t] = stretch[t][0] * es[0]
        elif kind in ("mean", "standardize", "scale"):
            stretch[t] = [zero + op(net.d[t][0][0])]
            eta[t] = stretch[t][0] * es[0]
        elif kind == "concatenate":
            eta[t] = np.sqrt(sum(e**2 for e in es))
    gnorm = {t: each(lambda i, t=t: op(net.g[t][i])) for t in order}
    gamma = dict.fromkeys(order, zero)
    for t in reversed(order):
        for slot, e in enumerate(reads[t]):
            if e in gamma:
                step = gamma[t] * (stretch[t][slot] + delta[t][slot])
                gamma[e] = gamma[e] + step + gnorm[t] * delta[t][slot]
    hat, pi = {}, {}
    for a in net.at:
        hat[a], pi[a] = {a: zero + 1}, {a: zero}
        for t in sorted(net.reached[a] - {a}):
            slots = [(s, e) for s, e in enumerate(reads[t]) if e in hat[a]]
            hat[a][t] = sum(stretch[t][s] * hat[a][e] for s, e in slots)
            pi[a][t] = sum(
                (stretch[t][s] + delta[t][s]) * pi[a][e] + delta[t][s] * hat[a][e]
                for s, e in slots
            )  # fmt: skip
    roots, sizes, growth = {}, {}, {}
    for c in curved:
        kind, g, item = items[c]["kind"], net.g[c], items[c]
        k = g.shape[1]
        columns = np.linalg.norm(g, axis=1)
        if kind == "elementwise":
            bend = abs(_phi(item, net.values[reads[c][0]].reshape(n, -1))[1])
            s = columns * bend
            roots[c] = [np.apply_along_axis(np.diag, 1, np.sqrt(s))]
            sizes[c] = s.max(1)
            turned = gamma[c][:, None]
            growth[c] = (bend * turned + (columns + turned) * extra[c]).max(1)
        elif kind in ("product", "matrix_product"):
            weights = [columns, columns]
            if kind == "matrix_product":
                shape = net.values[c].shape[1:]
                cut = g.reshape(n, k, -1, *shape[-2:])
                alpha = np.array([[_unfolded(cut[i, :, h]) for h in range(cut.shape[2])]
                                  for i in range(n)])  # fmt: skip
                weights = [np.repeat(alpha, net.size(e) // alpha.shape[1], 1) for e in reads[c]]
            parts = []
            for e in reads[c]:
                parts.append(sum((net.p[a][e] ** 2).sum(axis=(1, 2))
                                 for a in net.at if e in net.p[a]))  # fmt: skip
            tau = np.sqrt(parts[1] / parts[0])
            roots[c] = [
                np.apply_along_axis(np.diag, 1, np.sqrt(tau[:, None] * weights[0])),
                np.apply_along_axis(np.diag, 1, np.sqrt(weights[1] / tau[:, None])),
            ]
            sizes[c], growth[c] = weights[0].max(1), gamma[c]
        elif kind == "softmax":
            s = net.values[c]
            d = s.shape[-1]
            rows, cut = s.reshape(n, -1, d), g.reshape(n, k, -1, d)
            centred = cut - (cut * rows[:, None]).sum(-1, keepdims=True)
            weight = np.sqrt(rows * np.linalg.norm(centred, axis=1))
            root = np.zeros((n, net.size(c), net.size(c)))
            for r in range(rows.shape[1]):
                at = slice(r * d, (r + 1) * d)
                turn = np.eye(d) - rows[:, r][:, None, :]
                root[:, at, at] = weight[:, r, :, None] * turn
            roots[c] = [root]
            norm = each(lambda i, cut=cut: max(op(cut[i, :, r]) for r in range(cut.shape[2])))
            sizes[c] = 0.7072 * norm
            growth[c] = 0.7072 * gamma[c] + 1.75 * (norm + gamma[c]) * eta[reads[c][0]]
        else:
            d, rows, sigma, low = extra[c]
            y = (rows - rows.mean(2, keepdims=True)) / sigma[:, :, None]
            cut, centre = g.reshape(n, k, -1, d), np.eye(d) - 1 / d
            root = np.zeros((n, net.size(c), net.size(c)))
            for i in range(n):
                for r in range(rows.shape[1]):
                    block = cut[i, :, r]
                    kappa = op(block @ centre) * np.linalg.norm(y[i, r])
                    kappa += 3 * np.linalg.norm(block @ y[i, r])
                    at = slice(r * d, (r + 1) * d)
                    root[i, at, at] = np.sqrt(kappa / (sigma[i, r] ** 2 * d)) * centre
            roots[c] = [root]
            norm = each(lambda i, cut=cut: max(op(cut[i, :, r]) for r in range(cut.shape[2])))
            sizes[c] = 4 * norm / (sigma.min(1) ** 2 * np.sqrt(d))
            growth[c] = 4 * gamma[c] / (low**2 * np.sqrt(d))
            growth[c] += 18 * (norm + gamma[c]) * eta[reads[c][0]] / (low**3 * d)

    def union(a: int, chosen: list[int], i: int) -> float:
        stack = []
        for c in chosen:
            size = net.size(a)
            parts = [root[i] @ net.p[a].get(e, np.zeros((n, net.size(e), size)))[i]
                     for e, root in zip(reads[c], roots[c], strict=True)]  # fmt: skip
            stack += parts
        return op(np.concatenate(stack))

    def weighted(a: int, omega: Array) -> float:
        rows = (omega[:, None, None] * net.e[a]).reshape(-1, net.e[a].shape[2])
        drift = slack[a] * np.sqrt((omega**2 * eta.get(reads[a][0], zero) ** 2).sum())
        return op(rows) + drift

    groups: list[set[int]] = []
    for a in net.at:
        names = set(net.trains[a].values())
        linked = [s for s in groups if any(names & set(net.trains[b].values()) for b in s)]
        groups = [s for s in groups if s not in linked] + [set().union({a}, *linked)]
    groups.sort(key=max)
    result = np.zeros((len(groups), len(groups)))
    row = {a: i for i, s in enumerate(groups) for a in s}
    eps = {a: eps0[a] + slack[a] * eta.get(reads[a][0], zero) for a in net.at}
    k = net.values[-1].shape[1]
    for place, a in enumerate(net.at):
        for b in net.at[place:]:
            chosen = [c for c in curved if c in net.reached[a] & net.reached[b]]
            turned, grown, bent, omega = zero, zero, zero, zero
            for c in chosen:
                ha, pa, hb, pb = (
                    np.sqrt(sum(x[t][e] ** 2 for e in reads[c] if e in x[t]))
                    for t in (a, b) for x in (hat, pi)
                )  # fmt: skip
                grown = grown + growth[c] * (ha + pa) * (hb + pb)
                grown = grown + sizes[c] * (pa * hb + ha * pb + pa * pb)
                bent = bent + sizes[c] * ha * hb
            e = reads[b][0]
            product = e in net.p[a] and slack[b] > 0
            if product:
                blocks, mixed = net.blocks(b), net.mixed(b)
                alpha = each(lambda i, x=blocks: max(_unfolded(block) for block in x[i]))
                omega = m[b] * alpha * each(lambda i, a=a, e=e: op(net.p[a][e][i]))
                if blocks.shape[4] > 1:
                    seen = [
                        np.einsum("kt,jte,ec->kjc", net.g[b][i], mixed[:, i], net.p[a][e][i])
                        for i in range(n)
                    ]
                    second = each(lambda i, x=seen: op(x[i].reshape(-1, x[i].shape[2])))
                    omega = np.minimum(omega, second)
                turned = m[b] * (gamma[b] * (hat[a][e] + pi[a][e]) + alpha * pi[a][e])
            if not product and not chosen:
                continue
            most = max(map(net.size, net.at))
            ways = [
                way for way in ([(a, b)] if product or a == b else [(a, b), (b, a)])
                if k == 1 or k * directions(net, way[0]) * most <= 2**21
            ]  # fmt: skip
            bounds = []
            if k > 1 and not (chosen and ways):
                bound = weighted(a, omega + turned) if product else 0.0
                if chosen:
                    both = each(lambda i, a=a, b=b, s=chosen: union(a, s, i) * union(b, s, i))
                    both = both + grown
                    bound += min(weighted(a, both * eps[b]), weighted(b, both * eps[a]))
                bounds.append(bound)
            for one, two in ways:
                z = net.maps(one, two)
                drift = eta.get(reads[two][0], zero)
                change = turned + grown * eps[two] + bent * slack[two] * drift
                rough = bent * eps0[two]
                if product:
                    rough = rough + m[two] * alpha * hat[one][e]
                own = eta.get(reads[one][0], zero)
                spread = slack[one] * np.sqrt((rough**2 * own**2).sum())
                if by_weight(net, one):
                    stack = [z[i] @ net.e[one][i] for i in range(n)]
                    wholes = [op(np.concatenate(stack))]
                else:
                    sizes_of_z = each(lambda i, z=z: op(z[i]))
                    bounds.append(weighted(one, sizes_of_z + change))
                    rows = own_rows(net, one) if split(net, one) else None
                    wholes = [] if rows is None else [by_rows(z, rows, sizes_of_z)]
                if columned(net, one, two):
                    wholes.append(by_columns(net, one, two, z.reshape(n, k, -1, z.shape[2])))
                bounds += [whole + weighted(one, change) + spread for whole in wholes]
            result[row[a], row[b]] += min(bounds)
            if a != b:
                result[row[b], row[a]] += min(bounds)
    return result


def split(net: Dense, a: int) -> bool:
    """Whether the rows of a are split: one position, one group, few entries."""
    kind = net.items[a]["kind"]
    if kind == "embedding" or net.size(a) > 128:
        return False
    return all(net.blocks(a).shape[x] == 1 for x in (1, 4))


def own_rows(net: Dense, a: int) -> Array:
    """h, (n, c): what the numbers of one entry of the value are multiplied by."""
    read, columns = net.values[net.reads[a][0]], []
    if "weight" in net.trains[a]:
        columns.append(net.patches(a, read))
    if "bias" in net.trains[a]:
        columns.append(np.ones((net.n, 1)))
    return np.concatenate(columns, axis=1)


def by_rows(z: Array, rows: Array, sizes: Array, most: int = 8) -> float:
    """The bound of sum_i u_i Z_i X h_i by some directions of the rows; z (n, .., d_a)."""
    n, (c, d) = len(rows), (rows.shape[1], z.shape[2])
    weighted = rows * (1 + np.arange(n) / n)[:, None]
    v = np.linalg.eigh(weighted.T @ weighted)[1][:, -most:]
    g = rows @ v
    stack = np.einsum("itd,ir->itdr", z, g).reshape(-1, d * g.shape[1])
    across = sizes[:, None] * (rows @ (np.eye(c) - v @ v.T))
    return float(np.hypot(op(stack), op(across)))


def whole(net: Dense, a: int) -> bool:
    """Whether the numbers of a are one matrix."""
    return net.items[a]["kind"] != "embedding" and net.blocks(a).shape[1] == 1


def columned(net: Dense, a: int, b: int, order: int = 256) -> bool:
    """Whether the maps from a to b are bounded by some directions of the columns of b as well."""
    if net.values[-1].shape[1] == 1 or a > b or (a == b and by_weight(net, a)):
        return False
    if positions(net, a) == positions(net, b) == 1:
        return False
    narrow = directions(net, a) == net.e[a].shape[2] and by_weight(net, a)
    return whole(net, b) and net.blocks(b).shape[3] <= order and (whole(net, a) or narrow)


def matrix_of(net: Dense, a: int) -> Array:
    """Which numbers of an operation with one group stand in each row, (o, c)."""
    o, found, start = net.blocks(a).shape[3], [], 0
    for name in net.trains[a].values():
        size = net.model.weights[name].size
        found.append(start + np.arange(size).reshape(o, -1))
        start += size
    return np.concatenate(found, axis=1)


def by_columns(
    net: Dense, a: int, b: int, z: Array, most: int = 16, order: int = 256
) -> float:  # fmt: skip
    """The bound of sum_i u_i <D, Z_i E_i X> by some directions of the columns of D.

    z (n, outputs, numbers of b, d_a).
    """
    table, e = matrix_of(net, b), net.e[a]
    z = z[:, :, table]  # (n, k, o, c, d_a)
    rows = net.e[b][:, :, table[0]]  # those of the first row, and zeros: (n, d_b, c)
    flat = rows.reshape(-1, rows.shape[2])
    c, size = rows.shape[2], np.linalg.norm(flat)
    apart = 1e-2 * size * np.diag(np.sqrt(np.arange(c, 0, -1))) / c
    v = np.linalg.svd(np.concatenate([flat, apart]))[2][: min(most, order // len(table))]
    along = np.einsum("ikocd,rc,ide->ikeor", z, v, e).reshape(-1, len(table) * len(v))
    rest = z - np.einsum("ikocd,rc,rf->ikofd", z, v, v)
    if by_weight(net, a):
        across = op(np.einsum("ikocd,ide->ikoce", rest, e).reshape(-1, e.shape[2]))
    else:
        sizes = np.array([op(one.reshape(-1, one.shape[3])) for one in rest])
        own = e[:, :, matrix_of(net, a)[0]] * sizes[:, None, None]
        across = op(own.reshape(-1, own.shape[2]))
    return float(np.hypot(op(along), across))


def by_weight(net: Dense, a: int) -> bool:
    """Whether the maps from a are bounded on its numbers, for all samples together."""
    return bool(positions(net, a) > 1 and net.e[a].shape[2] <= 5 * net.size(a))


def positions(net: Dense, a: int) -> int:
    """How often the value of a repeats its numbers."""
    item, shape = net.items[a], net.values[a].shape[1:]
    if item["kind"] in ("linear", "embedding"):
        return int(np.prod(shape[:-1]))
    if item["kind"] == "convolution":
        return int(np.prod(shape[1:]))
    return int(net.size(a) // net.model.weights[item["weight"]].size)


def directions(net: Dense, a: int) -> int:
    """Of the numbers of a where they are fewer than the entries of its value, or in groups."""
    item = net.items[a]
    one_each = item["kind"] in ("affine", "shift")
    groups = net.model.weights[item["weight"]].size if one_each else item.get("groups", 1)
    numbers = net.e[a].shape[2]
    few = by_weight(net, a) and (numbers <= net.size(a) or groups > 1)
    return int(numbers if few else net.size(a))
