"""Factors of a block of the tangent kernel, and the product of two blocks.

A `Block` holds, for a range of samples and outputs, one array per item of the plan: rows of the
Jacobian, or cotangents G beside the inputs H. Samples go through the model a few at a time, so that
what belongs to them stays in the cache.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from talweg.network._kernel_sum import FullSum, Products, TraceSum
from talweg.network._layer_plan import Item, Use
from talweg.network._layer_rows import Matrix
from talweg.network._recording import Pass, Recording


class Block:
    """The factors of a range of samples and outputs: one array per item of the plan."""

    def __init__(
        self, recording: Recording, items: list[Item], X: Tensor, samples: slice, outputs: slice,
        trace: bool,
    ) -> None:  # fmt: skip
        self.samples, self.outputs = samples, outputs
        self.n, self.k = samples.stop - samples.start, outputs.stop - outputs.start
        self.features: dict[int, Tensor] = {}
        self.parts: list[Tensor] = [torch.empty(0)] * len(items)
        self._recording, self._items, self._trace = recording, items, trace
        passes = math.ceil(self.n / recording.samples_at_once)
        step = math.ceil(self.n / passes)
        for start in range(samples.start, samples.stop, step):
            stop = min(start + step, samples.stop)
            self._fill(X, slice(start, stop))

    def _fill(self, X: Tensor, samples: slice) -> None:
        """Add some of the block's samples: few enough for what belongs to them to stay in cache."""
        recording = self._recording
        whole = recording.forward(X, samples)
        self.like = whole.values.detach()
        here = slice(samples.start - self.samples.start, samples.stop - self.samples.start)
        with torch.no_grad():
            for item in self._items:
                if item.route != "rows":
                    H = recording.features(whole, item.call)
                    if len(H) == self.n:  # all at once: no need of a copy
                        self.features[item.call] = H
                        continue
                    if item.call not in self.features:
                        self.features[item.call] = H.new_empty(self.n, *H.shape[1:])
                    self.features[item.call][here] = H
        edges = [call.edge for call in whole.calls]
        group = recording.outputs_together(len(whole.values))
        for first in range(self.outputs.start, self.outputs.stop, group):
            last = min(first + group, self.outputs.stop)
            given = recording.cotangents(whole.values, edges, first, last)
            counts = [next((len(g) for g in one if g is not None), 1) for one in given]
            # A call that these outputs do not reach has no gradient: zeros.
            gradients = [
                [
                    self.like.new_zeros(count, *call.shape) if g is None else g
                    for count, g in zip(counts, of_call, strict=True)
                ]
                for of_call, call in zip(zip(*given, strict=True), whole.calls, strict=True)
            ]
            place = slice(first - self.outputs.start, last - self.outputs.start), here
            with torch.no_grad():
                for t, item in enumerate(self._items):
                    self._store(t, item, whole, gradients, place)

    def _store(
        self, t: int, item: Item, whole: Pass, gradients: list[list[Tensor]],
        place: tuple[slice, slice],
    ) -> None:  # fmt: skip
        recording = self._recording
        if item.route == "output":
            return
        if item.route == "rows":
            part = self._part(t, (self.k, self.n, _width(item, recording)))
            for first, width, uses in _placed(item, recording):
                target = part[(*place, slice(first, first + width))]
                recording.write_rows(whole, uses[0], gradients[uses[0].call], target)
                for use in uses[1:]:
                    rows = torch.empty_like(target)
                    recording.write_rows(whole, use, gradients[use.call], rows)
                    target.add_(rows)
            return
        layer = recording.layers[item.call]
        if not isinstance(layer, Matrix):
            raise RuntimeError("unreachable: these routes are of matrix layers")
        o = place[0].start
        for gradient in gradients[item.call]:
            G = layer.cotangents(gradient, len(whole.values))[:, :, 0]  # (k, n, o, P)
            outputs, o = slice(o, o + len(G)), o + len(G)
            if item.route == "gram" and G.shape[:2] == (self.k, self.n):
                self.parts[t] = G[..., 0]
            elif item.route == "gram":
                self._part(t, (self.k, self.n, layer.outputs))[outputs, place[1]] = G[..., 0]
            elif self._trace:
                part = self._part(t, (self.n, layer.positions, self.k, layer.outputs))
                part[place[1], :, outputs] = G.permute(1, 3, 0, 2)
            else:
                part = self._part(t, (self.n, self.k, layer.outputs, layer.positions))
                part[place[1], outputs] = G.transpose(0, 1)

    def squares(self, t: int, item: Item, padding: int | None) -> Tensor:
        """The item's part of ``K[i, o, i, o]``, ``(n, k)``."""
        part = self.parts[t]
        if item.route == "rows":
            return part.square().sum(-1).T
        H = self.features[item.call]
        if item.route == "positions":  # tokens: (G^T G) where two positions hold the same one
            flat = part.flatten(0, 1)
            own = (flat.transpose(1, 2) @ flat).view(self.n, self.k, *flat.shape[2:] * 2)
            equal = H[:, :, None] == H[:, None, :]
            if padding is not None:
                equal &= H.ne(padding)[:, :, None]
            return own.mul_(equal[:, None]).sum((-2, -1))
        norms = H.flatten(1).square().sum(1) if item.weight else self.like.new_zeros(self.n)
        norms = norms + float(item.bias)
        if item.route == "output":
            return norms[:, None].expand(self.n, self.k)
        return part.square().sum(-1).T * norms[:, None]

    def _part(self, t: int, shape: tuple[int, ...]) -> Tensor:
        if not self.parts[t].numel():
            self.parts[t] = self.like.new_empty(shape)
        return self.parts[t]


def matrices_of(item: Item, recording: Recording) -> Iterator[int]:
    if item.route != "rows":
        yield item.call
        return
    for uses in item.pieces:
        for use in uses:
            if use.role == "weight" and isinstance(recording.layers[use.call], Matrix):
                yield use.call


def _placed(item: Item, recording: Recording) -> Iterator[tuple[int, int, tuple[Use, ...]]]:
    first = 0
    for uses in item.pieces:
        width = recording.leaves[uses[0].name].numel()
        yield first, width, uses
        first += width


def _width(item: Item, recording: Recording) -> int:
    return sum(width for _, width, _ in _placed(item, recording))


def product(
    recording: Recording, items: list[Item], left: Block, right: Block | None, trace: bool,
    scratch: int,
) -> Tensor:  # fmt: skip
    """The kernel between two blocks, ``(k, n, k', m)`` or, for a trace, ``(n, m)``."""
    other = left if right is None else right
    total: FullSum | TraceSum
    long = any(item.route == "rows" for item in items)
    if trace:
        total = TraceSum(left.n, None if right is None else other.n, left.like, scratch, long)
    else:
        size = None if right is None else (other.k, other.n)
        total = FullSum((left.k, left.n), size, left.like, scratch, long)
    # The last layer's own term is added at the end; the others may come in any order.
    for t, item in enumerate(items):
        if item.route == "rows":
            total.add_rows(left.parts[t], other.parts[t])
            continue
        H, H2 = left.features[item.call], other.features[item.call]
        if item.route == "positions":
            padding = padding_of(item, recording)
            products = Products(H, H2, bias=item.bias, padding=padding, dtype=left.like.dtype)
            G, G2 = left.parts[t], other.parts[t]
            if trace:
                G, G2 = G.flatten(2), G2.flatten(2)
            total.add_positions(G, G2, products)
            continue
        gram = _gram(item, H, H2)
        if item.route == "gram":
            total.add_gram(left.parts[t], other.parts[t], gram)
        else:
            total.add_output(gram, left.outputs, other.outputs)
    return total.result()


def padding_of(item: Item, recording: Recording) -> int | None:
    """The row of an embedding that gets no gradient."""
    if item.route != "positions" or recording.layers[item.call].kind != "embedding":
        return None
    padding: int | None = recording.layers[item.call].options[1]
    return padding


def _gram(item: Item, H: Tensor, H2: Tensor) -> Tensor:
    if not item.weight:
        return H.new_ones(len(H), len(H2))
    left = H.flatten(1)
    gram = left @ (left if H2 is H else H2.flatten(1)).T
    return gram.add_(1.0) if item.bias else gram


def numbers_per_row(item: Item, recording: Recording) -> int:
    """Numbers that an item keeps for each row of the kernel."""
    if item.route == "rows":
        return _width(item, recording)
    layer = recording.layers[item.call]
    if item.route == "output" or not isinstance(layer, Matrix):
        return 0
    return layer.outputs * layer.positions
