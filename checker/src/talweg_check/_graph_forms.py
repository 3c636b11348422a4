"""Second derivatives of a graph by pairs of operations, as the maps Z of theory page B6.

For a tangent x of the value at a, S_b(x) is what the cotangent at b changes by, forward over
reverse through the graph, and Z_ab(x) what the derivative of the outputs by the numbers of b does:

    Z_ab(x) = sum_p G_b[:, p] q_p(P x)^T + sum_p S_b(x)[:, p] h_p^T,      N_ab = Z_ab^T Z_ab,

with patches q and rows h. Columns of a sample are tangents x; Z itself is never written down.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from flint import arb, ctx
from numpy.typing import NDArray

from talweg_check._arrays import Balls, approx, exact, full, matmul
from talweg_check._graph import GraphNetwork, bounded
from talweg_check._graph_columns import SplitColumns
from talweg_check._graph_norms import root_eigenvalue_upper
from talweg_check._graph_pairs import Pairs
from talweg_check._graph_rows import SplitRows
from talweg_check._linear_algebra import norm_upper
from talweg_check.kinds._kind import entries

CHUNK = 2_000_000  # numbers that are held at once
BITS = 53  # of Arb here: as many as the hints for eigenvalues have, and products are faster
Places = NDArray[np.int64]


class Forms:
    """Norms of the maps at w0.

    `by_value`, by (a, b): lambda_max(N_ab)^(1/2), (n,); `by_weight`: the root of that of the sum of
    E_a^T N_ab E_a over the samples; `by_rows`: a bound of that root, for some pairs of `by_value`;
    `by_columns`: a bound of the form of the pair, for some of both.
    """

    def __init__(self, net: GraphNetwork, pairs: Pairs) -> None:
        self.net, self.pairs = net, pairs
        self.by_value: dict[tuple[int, int], Balls] = {}
        self.by_weight: dict[tuple[int, int], arb] = {}
        self.by_rows: dict[tuple[int, int], arb] = {}
        self.by_columns: dict[tuple[int, int], arb] = {}
        self.places = cache(self._places)
        for a in net.at:
            maps = {pair for b in net.at for pair in pairs.maps(min(a, b), max(a, b))}
            ends = sorted(two for one, two in maps if one == a)
            if ends:
                with ctx.workprec(BITS):
                    self._from(a, ends)

    def _from(self, a: int, ends: list[int]) -> None:
        """The maps from a to some b."""
        net, pairs = self.net, self.pairs
        by_weight, narrow = pairs.by_weight(a), pairs.narrow(a)
        columns = pairs.trained_numbers(a) if narrow else entries(net.kind(a).shape)
        heads = {net.reads[b][0] for b in ends if pairs.multiplied(a, b)}
        bent = [c for c in pairs.curved if c in net.reached[a]]
        kept = sorted(heads | {e for c in bent for e in net.reads[c]})
        shapes = [net.graph.shape(e) for e in kept] + [net.kind(b).shape for b in ends]
        largest = max(entries(kind.shape) + kind.work for kind in net.graph.kinds)
        cost = columns * (sum(map(entries, shapes)) + largest) * net.directions
        bounded(max(cost, columns * columns, pairs.trained_numbers(a) ** 2 * by_weight))
        splits = {b: self._columns(b) for b in ends if pairs.columned(a, b)}
        for one in splits.values():
            bounded(columns * net.directions * one.order)
        order = self._order(a)[0]
        wholes = {b: _Whole(by_weight, order) for b in ends}
        rests = {b: _Whole(by_weight, order) for b in splits}
        along: dict[int, Balls] = {}
        split = SplitRows(self._rows(a, np.s_[:])[:, 0, 0]) if pairs.split(a) else None
        step = max(CHUNK // cost, 1)
        for first in range(0, net.samples, step):
            part = np.s_[first : min(first + step, net.samples)]
            seed = self._seed(a, part) if narrow else None
            pushed = net.tangents(a, part, kept, seed)
            changes = self._changes(part, pushed, set(bent), ends)
            for b in ends:
                grams = []
                for i in range(part.start, part.stop):
                    own = None if narrow else self._rows(a, np.s_[i : i + 1])[0, 0]
                    x = pushed[net.reads[b][0]][i - first] if pairs.multiplied(a, b) else None
                    change = changes[b][i - first] if b in changes else None
                    moved = None if change is None else self._moved(b, change, columns)
                    gram = self._gram(b, i, columns, x, moved)
                    wholes[b].add(gram, own)
                    if split is not None:
                        grams.append(gram)
                    if b in splits:
                        g, rows = self._cotangent(b, i)[0], self._rows(b, np.s_[i : i + 1])[0, 0]
                        seen = splits[b].seen(
                            columns, g, rows, x, None if moved is None else moved[0]
                        )
                        rests[b].add(gram - splits[b].across(seen, own, order), own)
                if split is not None:
                    more = split.part(np.array(grams), first)
                    along[b] = along[b] + more if b in along else more
        for b, whole in wholes.items():
            key = (a, b)
            if by_weight:
                self.by_weight[key] = whole.norm_upper()
            else:
                self.by_value[key] = whole.sizes()
            if split is not None:
                self.by_rows[key] = split.norm_upper(along[b], self.by_value[key])
            if b in splits:
                rest = rests[b]
                across = rest.norm_upper() if by_weight else self._weighted(rest.sizes(), a)
                self.by_columns[key] = splits[b].norm_upper(across)

    def _columns(self, b: int) -> SplitColumns:
        """The columns of b, for one pair."""
        rows = self._rows(b, np.s_[:])[:, 0]
        return SplitColumns(self.net.parametric(b), rows, len(self._order(b)[0]))

    def _weighted(self, sizes: Balls, a: int) -> arb:
        """tau from the norms by sample: that of all rows of a, times these."""
        rows = self._rows(a, np.s_[:])[:, 0]
        return norm_upper((rows * sizes[:, None, None]).reshape(-1, rows.shape[2]))

    def _changes(
        self, part: slice, pushed: dict[int, Balls], bent: set[int], ends: list[int]
    ) -> dict[int, Balls]:
        """S at the ends, (samples, k' columns, *shape); none: zero."""
        net = self.net
        useful = set().union(*(net.reached[b] for b in ends))
        found: dict[int, Balls] = {}
        for t in range(net.last, 0, -1):
            state = tuple(array[part] for array in net.states[t])
            bends: list[Any] = [None for _ in net.reads[t]]
            if t in bent:
                tangents = [pushed.get(e) for e in net.reads[t]]
                bends = self.pairs.kind(t).bend(state, net.g[t][part], tangents)
            for slot, e in enumerate(net.reads[t]):
                if e in useful:
                    shares = [found[e]] if e in found else []
                    if t in found:
                        shares.append(net.kind(t).pull(state, slot, found[t]))
                    if bends[slot] is not None:
                        bend = bends[slot]
                        shares.append(bend.reshape(len(bend), -1, *bend.shape[3:]))
                    if shares:
                        found[e] = sum(shares[1:], shares[0])
            if t not in ends:
                found.pop(t, None)
        return found

    def _moved(self, b: int, change: Balls, columns: int) -> Balls:
        """S of one sample, (groups, columns, k', o, P), from (k' columns, *shape)."""
        s = self.net.parametric(b).unfolded(change[None])[0]  # (k' columns, groups, o, P)
        return s.reshape(-1, columns, *s.shape[1:]).transpose(2, 1, 0, 3, 4)

    def _cotangent(self, b: int, i: int) -> Balls:
        """G of one sample, (groups, k', o, P)."""
        return np.moveaxis(self.net.parametric(b).unfolded(self.net.g[b][i : i + 1])[0], 1, 0)

    def _gram(self, b: int, i: int, columns: int, x: Balls, moved: Balls) -> Balls:
        """N of one sample; x (columns, *shape) or None, moved as `_moved` has it, or None."""
        kind, value = self.net.parametric(b), self.net.values[self.net.reads[b][0]][i : i + 1]
        left, right = [full((columns, 0), 0)], [full((columns, 0), 0)]
        if moved is not None:
            for rows, own in zip(kind.extended(value)[0], moved, strict=True):
                flat = own.reshape(-1, own.shape[-1])
                few = rows.shape[1] <= rows.shape[0]
                seen = matmul(flat, rows if few else matmul(rows, rows.T)).reshape(columns, -1)
                left.append(seen)
                right.append(seen if few else own.reshape(columns, -1))
        if x is not None:
            x, g = x.reshape(columns, -1), self._cotangent(b, i)
            applied = self._applied(b, g, x)
            left.append(x)
            right.append(applied)
            if moved is not None:
                crossed = self._crossed(b, g, moved, kind.patches(value)[0], x.shape[1])
                right[-1] = applied + crossed
                left.append(crossed)
                right.append(x)
        if len(left) == 1:
            return full((columns, columns), 0)
        return matmul(np.concatenate(left, axis=1), np.concatenate(right, axis=1).T)

    def _applied(self, b: int, g: Balls, x: Balls) -> Balls:
        """Phi x, with Phi = sum_{p,p'} Gamma_{pp'} q_p^T q_p' as a matrix on the input of b."""
        width, alone = x.shape[1], g.shape[-1] == 1
        bounded(width * width)
        phi = full((width, width) if not alone else (width,), 0)
        for places, own in zip(self.places(b), g, strict=True):
            flat = own.reshape(-1, own.shape[-1])
            gamma = matmul(flat.T, flat)
            if alone:
                phi[places[0][places[0] >= 0]] += gamma[0, 0]  # the margin is no entry
                continue
            for at in places.T:  # one entry of the patch, at all positions
                inside = at >= 0
                phi[np.ix_(at[inside], at[inside])] += gamma[np.ix_(inside, inside)]
        return x * phi if alone else matmul(x, phi)

    def _crossed(self, b: int, g: Balls, moved: Balls, patches: Balls, width: int) -> Balls:
        """U (columns, width) with <sum_p G_p q_p(x)^T, sum_p' S_p'(x') q_p'^T> = x U(x')^T."""
        result = full((moved.shape[1], width), 0)
        for places, own, s, q in zip(self.places(b), g, moved, patches, strict=True):
            positions, c = q.shape
            flat = np.moveaxis(s, 0, 2).reshape(-1, len(s) * positions)  # (k' o, columns P')
            met = matmul(own.reshape(-1, positions).T, flat).reshape(positions, -1, positions)
            back = matmul(met.reshape(-1, positions), q).reshape(positions, -1, c)
            if positions <= c:  # no entry twice in one patch, nor in one place of all patches
                for at, one in zip(places, back, strict=True):
                    inside = at >= 0
                    result[:, at[inside]] += one[:, inside]
            else:
                for at, one in zip(places.T, np.moveaxis(back, 2, 0), strict=True):
                    inside = at >= 0
                    result[:, at[inside]] += one[inside].T
        return result

    def _places(self, b: int) -> Places:
        """The entries of the input that patches take, (groups, positions, c); -1: none."""
        shape = self.net.graph.shape(self.net.reads[b][0])
        numbers = exact(np.arange(1, entries(shape) + 1)).reshape(1, *shape)
        return approx(self.net.parametric(b).patches(numbers)[0]).astype(np.int64) - 1

    def _order(self, a: int) -> Places:
        """The entries of the value by group, row and position."""
        shape = self.net.kind(a).shape
        numbers = np.arange(entries(shape)).reshape(1, 1, *shape)
        return np.asarray(self.net.parametric(a).unfolded(numbers)[0, 0], dtype=np.int64)

    def _rows(self, a: int, part: slice) -> Balls:
        """h, (samples, groups, P, c)."""
        return self.net.parametric(a).extended(self.net.values[self.net.reads[a][0]][part])

    def _seed(self, a: int, part: slice) -> Balls:
        """E_a for unit directions of the trained numbers, (samples, numbers, *shape)."""
        order, rows = self._order(a), self._rows(a, part)
        groups, o, positions = order.shape
        spread = full((len(rows), groups, o, rows.shape[3], groups, o, positions), 0)
        for group in range(groups):
            for row in range(o):
                spread[:, group, row, :, group, row] = np.swapaxes(rows[:, group], 1, 2)
        flat = spread.reshape(len(rows), -1, order.size)
        seed = np.empty_like(flat)
        seed[:, :, order.ravel()] = flat
        return seed.reshape(*flat.shape[:2], *self.net.kind(a).shape)


class _Whole:
    """The N of one pair (a, b): their sum on the numbers of a, or the norm of each."""

    def __init__(self, by_weight: bool, order: Places) -> None:
        self.by_weight, self.sum = by_weight, _Sum(order)
        self.norms: list[arb] = []

    def add(self, gram: Balls, rows: Balls) -> None:
        """N of one sample, and the rows of a; None: N is on its numbers already."""
        if not self.by_weight:
            self.norms.append(root_eigenvalue_upper(gram))
        elif rows is None:
            self.sum.add(gram)
        else:
            self.sum.add_on_weights(gram, rows)

    def sizes(self) -> Balls:
        """lambda_max(N)^(1/2) of each sample."""
        return np.array(self.norms, dtype=object)

    def norm_upper(self) -> arb:
        """That of the sum."""
        return root_eigenvalue_upper(self.sum.total())


class _Sum:
    """The sum of E_a^T N E_a over the samples, for one pair.

    `order` are the entries of the value, (rows o, positions P): h^T N h, row by row, from one side
    sample by sample, and from the other, for rows in one order, for as many samples as are held.
    """

    def __init__(self, order: Places) -> None:
        self.order = order
        self.first, self.second = np.triu_indices(len(order))
        self.sums: list[Balls] = []
        self.halves: list[Balls] = []  # (pairs of rows x c, P)
        self.rows: list[Balls] = []  # (P, c)

    def add(self, part: Balls) -> None:
        """Some of the sum, or of its blocks by pairs of rows."""
        self.sums = [part + before for before in self.sums] or [part]

    def add_on_weights(self, gram: Balls, rows: Balls) -> None:
        """N of one sample, and its rows h."""
        positions, c = rows.shape
        ordered = gram[np.ix_(self.order.ravel(), self.order.ravel())]
        half = matmul(ordered.reshape(-1, positions), rows)
        half = half.reshape(*self.order.shape, -1, c).transpose(2, 0, 3, 1)
        self.halves.append(half[self.first, self.second].reshape(-1, positions))
        self.rows.append(rows)
        if half.size * len(self.halves) > CHUNK:
            self._join()

    def _join(self) -> None:
        both = matmul(np.concatenate(self.halves, axis=1), np.concatenate(self.rows))
        self.halves, self.rows = [], []
        self.add(both.reshape(len(self.first), -1, both.shape[1]))

    def total(self) -> Balls:
        """The sum of all that was added, a square matrix."""
        if self.halves:
            self._join()
        (found,) = self.sums
        if found.ndim == 2:
            return found
        count, c = len(self.order), found.shape[2]
        total = full((count, c, count, c), 0)
        for o, other, block in zip(self.first, self.second, found, strict=True):
            total[o, :, other], total[other, :, o] = block, block.T
        return total.reshape(count * c, -1)
