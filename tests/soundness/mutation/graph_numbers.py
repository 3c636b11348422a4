"""Theory page B6 for a whole graph, in dense floating point: every derivative is a matrix.

The maps Z come from moving a value, without a formula for them (`Dense.maps`); the rest restates
the page. Nothing here is read from the checker.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.soundness.mutation import kind_numbers as page
from tests.soundness.mutation.comparison import instead
from tests.soundness.mutation.kind_numbers import op
from tests.soundness.mutation.materials import Dense, Model, by_columns

Array = Any
FORMED, DIRECTIONS = 2**21, 5
ROW_DIRECTIONS, COLUMNS = 8, 128
COLUMN_DIRECTIONS, ORDER = 16, 256
CURVED = ("elementwise", "product", "matrix_product", "softmax", "normalize")


class Page:
    """The graph at w0; cotangents along the rows of `frame`, where there is one."""

    def __init__(self, model: Model, counts: Array, frame: Array = None) -> None:
        self.model, self.counts = model, counts
        self.net = net = Dense(model, counts)
        self.n, self.k = net.n, net.values[-1].shape[1]
        self.formed = FORMED
        self.frame = np.eye(self.k) if frame is None else frame
        self.g = {t: self.frame @ g for t, g in net.g.items()}
        self.zero, self.order = np.zeros(self.n), sorted(net.moves)
        self.trains = [
            {key: key in net.trains[t] for key in ("weight", "bias")} for t in range(net.last + 1)
        ]
        self.items = [self._item(t) for t in range(net.last + 1)]
        self.weights = [
            {key: model.weights[item[key]] for key in ("weight", "bias") if item.get(key)}
            for item in net.items
        ]
        self.overlap = {b: net.overlap(b) for b in net.at}
        self.slack = {a: math.sqrt(self.overlap[a]) * self.trains[a]["weight"] for a in net.at}
        self.eps = {a: self.each(lambda i, a=a: op(net.e[a][i])) for a in net.at}
        self.weighted = [b for b in net.at if self.slack[b] and net.reads[b][0] in net.moves]
        self.curved = [
            c for c in self.order
            if net.items[c]["kind"] in CURVED and net.items[c].get("function") != "identity"
            and all(e in net.moves for e in net.reads[c])
        ]  # fmt: skip
        self.alpha = {b: self._alpha(b) for b in self.weighted}
        self.motion(0.0)
        self.bend = {c: self._bend(c) for c in self.curved}
        self.hat = {a: self._hat(a) for a in net.at}
        self.omega = {
            (b, a): self._omega(b, a) for b in self.weighted for a in net.at
            if net.reads[b][0] in net.reached[a]
        }  # fmt: skip
        self.nu = {
            (a, self.both(a, b)): self._nu(a, sorted(self.both(a, b)))
            for a in net.at for b in net.at if self.both(a, b)
        }  # fmt: skip
        self.maps = {pair: self._map(*pair) for pair in self.pairs()}

    def _item(self, t: int) -> dict[str, Any]:
        """The operation, with its arrays by key."""
        item = self.net.items[t]
        return {**item, **{key: key for key in ("weight", "bias") if item.get(key)}}

    def each(self, f: Any) -> Array:
        return np.array([f(i) for i in range(self.n)])

    def inputs(self, t: int) -> list[Array]:
        return [self.net.values[e] for e in self.net.reads[t]]

    def shaped(self, t: int) -> Array:
        return self.g[t].reshape(*self.g[t].shape[:2], *self.net.values[t].shape[1:])

    def both(self, a: int, b: int) -> frozenset[int]:
        """S."""
        return frozenset(self.net.reached[a] & self.net.reached[b] & set(self.curved))

    def multiplied(self, a: int, b: int) -> bool:
        return b in self.weighted and self.net.reads[b][0] in self.net.reached[a]

    def kernel(self) -> Array:
        """sum_a J_a J_a^T, uses of one array added first."""
        parts: dict[str, Array] = {}
        for a in self.net.at:
            start = 0
            for name in self.net.trains[a].values():
                size = self.model.weights[name].size
                part = self.g[a] @ self.net.e[a][:, :, start : start + size]
                start += size
                parts[name] = parts.get(name, 0) + part.reshape(-1, size)
        return sum(part @ part.T for part in parts.values())

    def _alpha(self, b: int) -> Array:
        blocks = np.moveaxis(page.unfolded(self.items[b], self.shaped(b), self.weights[b]), 2, 1)
        return np.array([max(map(page.least_unfolding, one)) for one in blocks])

    def motion(self, radius: float) -> None:
        """eta, Delta, gamma and the stretches."""
        net = self.net
        self.eta: dict[int, Array] = {}
        self.delta: dict[int, list[Array]] = {}
        self.stretch: dict[int, list[Array]] = {}
        self.moved: dict[int, SimpleNamespace] = {}
        for t in self.order:
            etas = [self.eta.get(e, self.zero) for e in net.reads[t]]
            weights, trains = self.weights[t], self.trains[t]
            found = page.motion(self.items[t], self.inputs(t), weights, trains, etas, radius)
            self.moved[t], self.eta[t] = found, found.eta
            self.delta[t], self.stretch[t] = found.delta, found.stretch
        self.gamma = dict.fromkeys(self.order, self.zero)
        for t in reversed(self.order):
            for slot, e in enumerate(net.reads[t]):
                if e in self.gamma:
                    delta = self.delta[t][slot]
                    norm = self.each(lambda i, t=t: op(self.g[t][i]))
                    reach = self.gamma[t] * (self.stretch[t][slot] + delta)
                    self.gamma[e] = self.gamma[e] + reach + norm * delta
        if hasattr(self, "hat"):
            self.pi = {a: self._pi(a) for a in net.at}
            self.bend = {c: self._bend(c) for c in self.curved}

    def _hat(self, a: int) -> dict[int, Array]:
        hat = {a: self.zero + 1}
        for t in sorted(self.net.reached[a] - {a}):
            slots = [(s, e) for s, e in enumerate(self.net.reads[t]) if e in hat]
            hat[t] = sum(self.stretch[t][s] * hat[e] for s, e in slots)
        return hat

    def _pi(self, a: int) -> dict[int, Array]:
        hat, pi = self.hat[a], {a: self.zero}
        for t in sorted(self.net.reached[a] - {a}):
            slots = [(s, e) for s, e in enumerate(self.net.reads[t]) if e in hat]
            pi[t] = sum(
                (self.stretch[t][s] + self.delta[t][s]) * pi[e] + self.delta[t][s] * hat[e]
                for s, e in slots
            )
        return pi

    def _bend(self, c: int) -> SimpleNamespace:
        """q hat, Delta Q, and the root as matrices by input."""
        net = self.net
        etas = [self.eta.get(e, self.zero) for e in net.reads[c]]
        sizes = [net.size(e) for e in net.reads[c]]
        # |P_Y| / |P_X| over the trained operations that reach them
        parts = [
            sum(((net.p[a][e] ** 2).sum(axis=(1, 2)) for a in net.at if e in net.p[a]), self.zero)
            for e in net.reads[c]
        ]
        tau = np.sqrt(parts[1] / parts[0]) if len(parts) == 2 else self.zero + 1
        roots = []
        for slot, size in enumerate(sizes):
            tangents: list[Any] = [None] * len(sizes)
            unit = np.broadcast_to(np.eye(size), (self.n, size, size))
            tangents[slot] = unit.reshape(self.n, size, *self.inputs(c)[slot].shape[1:])
            found = page.curvature(
                self.items[c], self.inputs(c), self.shaped(c), tau, tangents, self.gamma[c],
                self.moved[c], etas,
            )  # fmt: skip
            roots.append(np.swapaxes(found.root, 1, 2))
        return SimpleNamespace(size=found.size, growth=found.growth, roots=roots)

    def _omega(self, b: int, a: int) -> Array:
        net, e = self.net, self.net.reads[b][0]
        first = self.each(lambda i: op(net.p[a][e][i]))
        first = math.sqrt(self.overlap[b]) * self.alpha[b] * first
        if page.unfolded(self.items[b], self.shaped(b), self.weights[b]).shape[4] == 1:
            return first
        mixed = net.mixed(b)
        seen = [
            np.einsum("kt,jte,ec->kjc", self.g[b][i], mixed[:, i], net.p[a][e][i])
            for i in range(self.n)
        ]
        second = self.each(lambda i: op(seen[i].reshape(-1, seen[i].shape[2])))
        return np.minimum(first, second)

    def _nu(self, a: int, chosen: Sequence[int]) -> Array:
        def stack(i: int) -> Array:
            return np.concatenate([
                root[i] @ self.net.p[a][e][i]
                for c in chosen
                for e, root in zip(self.net.reads[c], self.bend[c].roots, strict=True)
                if e in self.net.p[a]
            ])  # fmt: skip

        return self.each(lambda i: op(stack(i)))

    def pairs(self) -> list[tuple[int, int]]:
        """Which maps are made."""
        found = []
        most = max(map(self.net.size, self.net.at))
        for place, a in enumerate(self.net.at):
            for b in self.net.at[place:]:
                forward, backward = self.multiplied(a, b), self.multiplied(b, a)
                if not (self.both(a, b) or forward or backward):
                    continue
                for one, two in [(a, b)] if forward or a == b else [(a, b), (b, a)]:
                    if self.k == 1 or self.k * self.columns(one) * most <= self.formed:
                        found.append((one, two))
        return found

    def factored(self, a: int, b: int) -> bool:
        """Whether products of norms bound a pair, a not behind b."""
        product = self.multiplied(a, b) or self.multiplied(b, a)
        mapped = any(pair in ((a, b), (b, a)) for pair in self.pairs())
        if self.k == 1:
            return False
        return (bool(self.both(a, b)) and not mapped) or (product and not self.both(a, b))

    def products(self) -> tuple[set[tuple[int, int]], set[tuple[int, frozenset[int]]]]:
        """The keys of omega and nu that these ask for."""
        at = self.net.at
        pairs = [(a, b) for i, a in enumerate(at) for b in at[i:] if self.factored(a, b)]
        nu = {(t, self.both(a, b)) for a, b in pairs for t in (a, b) if self.both(a, b)}
        return {(b, a) for a, b in pairs if self.multiplied(a, b)}, nu

    def limits(self, pairs: Any) -> Iterator[int]:
        """With all maps, those that need few numbers, and none; the checker's module as well."""
        most = max(map(self.net.size, self.net.at))
        some = sorted(self.k * self.columns(a) * most for a in self.net.at)[len(self.net.at) // 2]
        for limit in (FORMED, some, 0) if self.k > 1 else (FORMED,):
            kept = self.maps
            with instead(pairs, FORMED=limit), instead(self, formed=limit, maps=kept):
                self.maps = {pair: kept[pair] for pair in self.pairs()}
                yield limit

    def positions(self, a: int) -> int:
        shape = page.patches(self.items[a], self.inputs(a)[0], self.weights[a]).shape
        return int(shape[2])

    def by_weight(self, a: int) -> bool:
        few = self.net.e[a].shape[2] <= DIRECTIONS * self.net.size(a)
        return self.positions(a) > 1 and few

    def split(self, a: int) -> bool:
        """Whether the maps from a are bounded by directions of its rows as well."""
        if self.items[a]["kind"] == "embedding" or self.net.size(a) > COLUMNS:
            return False
        _, groups, positions, _ = page.patches(
            self.items[a], self.inputs(a)[0], self.weights[a]
        ).shape
        return bool(groups == positions == 1)

    def groups(self, a: int) -> int:
        return int(page.patches(self.items[a], self.inputs(a)[0], self.weights[a]).shape[1])

    def columned(self, a: int, b: int, order: int = ORDER) -> bool:
        """Whether the maps from a to b are bounded by directions of the columns of b as well."""
        one, two = (self.items[t]["kind"] != "embedding" and self.groups(t) == 1 for t in (a, b))
        if self.k == 1 or a > b or (a == b and self.by_weight(a)):
            return False
        if max(self.positions(a), self.positions(b)) == 1:
            return False
        height = self.net.size(b) // self.positions(b)
        return two and height <= order and (one or self.narrow(a))

    def by_columns(self, a: int, b: int, most: int, order: int = ORDER) -> float:
        """The bound of the form of the pair through `most` directions of the columns of b."""
        z = self._forms(a, b).reshape(self.n, len(self.frame), -1, self.net.size(a))
        return by_columns(self.net, a, b, z, most, order)

    def rows(self, a: int) -> Array:
        """h of an operation with one position and one group, (n, c)."""
        q = page.patches(self.items[a], self.inputs(a)[0], self.weights[a])[:, 0, 0]
        parts = [q] if self.trains[a]["weight"] else []
        parts += [np.ones((self.n, 1))] if self.trains[a]["bias"] else []
        return np.concatenate(parts, axis=1)

    def by_rows(self, a: int, b: int, most: int) -> float:
        """The bound of the whole form through `most` directions of the rows."""
        z = self._forms(a, b)
        rows, sizes = self.rows(a), self.each(lambda i: op(z[i]))
        weighted = rows * (1 + np.arange(self.n) / self.n)[:, None]
        v = np.linalg.svd(weighted)[2][:most]
        along = [np.kron(z[i], v @ rows[i]) for i in range(self.n)]
        across = rows - rows @ v.T @ v
        return float(np.hypot(op(np.concatenate(along)), op(sizes[:, None] * across)))

    def narrow(self, a: int) -> bool:
        """Whether the tangents from a are those of its numbers."""
        groups = self.weights[a]["weight"].size if self.items[a]["kind"] in (
            "affine", "shift") else self.items[a].get("groups", 1)  # fmt: skip
        few = self.net.e[a].shape[2] <= self.net.size(a)
        return self.by_weight(a) and bool(few or groups > 1)

    def columns(self, a: int) -> int:
        return int(self.net.e[a].shape[2] if self.narrow(a) else self.net.size(a))

    def _forms(self, a: int, b: int) -> Array:
        """Z_ab along the frame, (n, numbers of b by outputs, d_a)."""
        z = self.net.maps(a, b)
        z = z.reshape(self.n, self.k, -1, z.shape[2])
        return np.einsum("fk,ikjd->ifjd", self.frame, z).reshape(self.n, -1, z.shape[3])

    def _map(self, a: int, b: int) -> Array:
        """lambda_max(N_ab)^(1/2) by sample, or that of all on the weights."""
        z = self._forms(a, b)
        if self.by_weight(a):
            return np.array(op(np.concatenate([z[i] @ self.net.e[a][i] for i in range(self.n)])))
        return self.each(lambda i: op(z[i]))

    def size(self, a: int) -> Array:
        """epsilon_a(R)."""
        return self.eps[a] + self.slack[a] * self.eta.get(self.net.reads[a][0], self.zero)

    def at_curved(self, numbers: dict[int, Array], c: int) -> Array:
        return np.sqrt(sum(numbers[e] ** 2 for e in self.net.reads[c] if e in numbers))

    def growth(self, a: int, b: int) -> Array:
        """Delta kappa."""
        total = self.zero
        for c in self.both(a, b):
            ha, hb = (self.at_curved(self.hat[t], c) for t in (a, b))
            pa, pb = (self.at_curved(self.pi[t], c) for t in (a, b))
            total = total + self.bend[c].growth * (ha + pa) * (hb + pb)
            total = total + self.bend[c].size * (pa * hb + ha * pb + pa * pb)
        return total

    def bent(self, a: int, b: int) -> Array:
        """kappa hat."""
        total = self.zero
        for c in self.both(a, b):
            ha, hb = (self.at_curved(self.hat[t], c) for t in (a, b))
            total = total + self.bend[c].size * ha * hb
        return total

    def turned(self, b: int, a: int) -> Array:
        """Delta omega."""
        e = self.net.reads[b][0]
        hat, pi = self.hat[a][e], self.pi[a][e]
        return math.sqrt(self.overlap[b]) * (self.gamma[b] * (hat + pi) + self.alpha[b] * pi)

    def change(self, a: int, b: int) -> Array:
        """Delta_ab."""
        moved = self.eta.get(self.net.reads[b][0], self.zero)
        total = self.growth(a, b) * self.size(b) + self.bent(a, b) * self.slack[b] * moved
        return total + self.turned(b, a) if self.multiplied(a, b) else total

    def rough(self, a: int, b: int) -> Array:
        """omega hat."""
        total = self.bent(a, b) * self.eps[b]
        if self.multiplied(a, b):
            hat = self.hat[a][self.net.reads[b][0]]
            total = total + math.sqrt(self.overlap[b]) * self.alpha[b] * hat
        return total

    def drift(self, a: int, weights: Array) -> float:
        """t^W m (sum omega^2 eta^2)^(1/2)."""
        eta = self.eta.get(self.net.reads[a][0], self.zero)
        return float(self.slack[a] * np.linalg.norm(weights * eta))
