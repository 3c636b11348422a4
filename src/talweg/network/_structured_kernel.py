"""The tangent kernel of any module from its recorded layers.

A forward pass records the calls that take trainable parameters (`_recording`); one backward pass
per output, for all samples at once, gives the cotangents of those calls' outputs. Each layer then
takes its cheapest exact route into the kernel (`_layer_plan`), in blocks of samples and outputs
that fit the memory budget.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from talweg.network._kernel_sum import SCRATCH
from talweg.network._layer_blocks import (
    Block,
    matrices_of,
    numbers_per_row,
    padding_of,
    product,
)
from talweg.network._layer_plan import Item, plan
from talweg.network._layer_rows import Matrix
from talweg.network._recording import Recording
from talweg.network._sample_jacobian import Reduction


def kernel_by_layers(
    recording: Recording,
    X: Tensor,
    X2: Tensor | None,
    *,
    reduction: Reduction,
    memory_budget: int,
) -> Tensor:
    """The kernel of `tangent_kernel` from recorded layers; inputs already checked.

    Raises:
        NotRecorded: The passes are not those that were recorded.
    """
    k, last = recording.outputs, recording.geometry.last
    sums = "trace" if reduction == "mean_trace" or (reduction == "full" and k == 1) else reduction
    sizes = {name: leaf.numel() for name, leaf in recording.leaves.items()}
    items = plan(recording.layers, sizes, len(X), k, last, sums)
    blocks = Blocks(recording, items, sums, memory_budget)
    if reduction == "diagonal":
        return blocks.diagonal(X)
    kernel = blocks.kernel(X, X2)
    if reduction == "full":
        # With one output the trace is the kernel.
        return kernel[:, None, :, None] if k == 1 else kernel.permute(1, 0, 3, 2)
    return kernel / k if reduction == "mean_trace" else kernel


class Blocks:
    """The kernel in blocks of samples and outputs, so that the factors fit the budget.

    Args:
        recording: The module.
        items: Its plan.
        sums: As in `plan`.
        budget: Bytes for everything but the result.
    """

    def __init__(self, recording: Recording, items: list[Item], sums: str, budget: int) -> None:
        self._recording, self._items, self._sums = recording, items, sums
        self._budget = budget
        self._scratch = min(SCRATCH, budget // 8)
        self._positions = any(item.route == "positions" for item in items)
        size = recording.function.dtype.itemsize
        features = passing = parts = widest = 0
        for item in items:
            for number in set(matrices_of(item, recording)):
                layer = recording.layers[number]
                if isinstance(layer, Matrix) and layer.kind != "embedding":
                    size_of = layer.groups * layer.inputs * layer.positions
                    passing += size_of
                    features += 0 if item.route == "rows" else 2 * size_of
            part = numbers_per_row(item, recording)
            parts += part
            widest = max(widest, part)
        self._size = size
        self._per_sample = features * size
        self._per_row = parts * size
        # Of the samples of one pass: what autograd keeps, patches, gradients and their rows.
        self._per_pass = 2 * recording.geometry.bytes_kept + passing * size
        self._per_gradient = (2 * recording.geometry.numbers_per_sample + widest) * size
        self._widest = widest * size

    def _bytes(self, n: int, k: int) -> int:
        """Bytes of one block's factors while they are made."""
        passing = min(n, self._recording.samples_at_once)
        at_once = min(k, self._recording.outputs_together(passing))
        made = passing * (self._per_pass + at_once * self._per_gradient)
        intermediate = n * k * self._widest if self._positions else 0
        return n * (self._per_sample + k * self._per_row) + max(made, intermediate)

    def _bytes_of_product(self, n: int, k: int, m: int, k2: int, *, kept: bool) -> int:
        rows, columns = (1, 1) if self._sums == "trace" else (k, k2)
        numbers = min(n * rows, 512) * m * columns + n * m  # a panel, and a layer's Gram matrix
        if not kept:
            numbers += 2 * n * rows * m * columns
        return numbers * self._size + 4 * self._scratch

    def _fits(self, n: int, m: int | None, k: int) -> bool:
        needed = self._bytes(n, k) + (0 if m is None else self._bytes(m, k))
        return needed + self._bytes_of_product(n, k, m or n, k, kept=True) <= self._budget

    def _cut(self, n: int, m: int) -> tuple[int, int]:
        """Samples and outputs of a block, two of which fit the budget with their product."""
        size, k = max(n, m), self._recording.outputs
        while size > 1 or k > 1:
            needed = 2 * self._bytes(size, k)
            if needed + self._bytes_of_product(size, k, size, k, kept=False) <= self._budget:
                break
            if size > 1:
                size = (size + 1) // 2
            else:
                k = (k + 1) // 2
        return size, k

    def _block(self, X: Tensor, samples: slice, outputs: slice) -> Block:
        return Block(self._recording, self._items, X, samples, outputs, self._sums == "trace")

    def _product(self, left: Block, right: Block | None) -> Tensor:
        trace = self._sums == "trace"
        return product(self._recording, self._items, left, right, trace, self._scratch)

    def kernel(self, X: Tensor, X2: Tensor | None) -> Tensor:
        """``(k, n, k, m)``, or ``(n, m)`` for a trace."""
        k, n = self._recording.outputs, len(X)
        m = n if X2 is None else len(X2)
        every = slice(0, k)
        if self._fits(n, None if X2 is None else m, k):
            left = self._block(X, slice(0, n), every)
            right = None if X2 is None else self._block(X2, slice(0, m), every)
            return self._product(left, right)
        size, outputs = self._cut(n, m)
        rows = list(_ranges(n, size, k, outputs))
        columns = rows if X2 is None else list(_ranges(m, size, k, outputs))
        dtype, device = self._recording.function.dtype, X.device
        if self._sums == "trace":
            kernel = torch.zeros(n, m, dtype=dtype, device=device)
        else:
            kernel = torch.empty(k, n, k, m, dtype=dtype, device=device)
        for a, (samples, here) in enumerate(rows):
            left = self._block(X, samples, here)
            for samples2, here2 in columns if X2 is not None else columns[a:]:
                if self._sums == "trace" and here != here2:
                    continue
                same = X2 is None and (samples, here) == (samples2, here2)
                other = None if same else self._block(X if X2 is None else X2, samples2, here2)
                block = self._product(left, other)
                if self._sums == "trace":
                    kernel[samples, samples2] += block
                    if X2 is None and not same:
                        kernel[samples2, samples] += block.T
                    continue
                kernel[here, samples, here2, samples2] = block
                if X2 is None and not same:
                    kernel[here2, samples2, here, samples] = block.permute(2, 3, 0, 1)
        return kernel

    def diagonal(self, X: Tensor) -> Tensor:
        """``K[i, o, i, o]``, ``(n, k)``."""
        n, k = len(X), self._recording.outputs
        size, outputs = n, k
        while self._bytes(size, outputs) > self._budget and (size > 1 or outputs > 1):
            if size > 1:
                size = (size + 1) // 2
            else:
                outputs = (outputs + 1) // 2
        kernel = torch.zeros(n, k, dtype=self._recording.function.dtype, device=X.device)
        for samples, here in _ranges(n, size, k, outputs):
            block = self._block(X, samples, here)
            for t, item in enumerate(self._items):
                kernel[samples, here] += block.squares(t, item, padding_of(item, self._recording))
        return kernel


def _ranges(n: int, size: int, k: int, outputs: int) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n, size):
        for o in range(0, k, outputs):
            yield slice(i, min(i + size, n)), slice(o, min(o + outputs, k))
