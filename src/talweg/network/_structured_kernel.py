"""The tangent kernel of any module from its recorded layers.

A forward pass records the calls that take trainable parameters (`_recorded_calls`); one backward
pass per output, for all samples at once, gives the cotangents of those calls' outputs. Each layer
then takes its cheapest exact route into the kernel (`_layer_plan`).

That a backward pass of the sum over samples gives each sample's own cotangents holds only where
samples do not meet. So before anything else a few samples are passed through together and alone:

* values: recorded inputs and outputs together equal those alone;
* gradients: with weights r_i on the samples, the cotangents of recorded calls and of the inputs
  are r_i times those with weights one;
* completeness: the gradients of all parameters are those that the recorded calls give.

What fails any of it, or does something that a recording cannot see, is left to the per-sample
Jacobians. Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call

from talweg.network._kernel_sum import SCRATCH, FullSum, Products, TraceSum
from talweg.network._layer_plan import Item, Layer, Use, plan
from talweg.network._layer_rows import Axis, Matrix, Scale, axis_of
from talweg.network._recorded_calls import Call, NotRecorded, Recorder
from talweg.network._sample_jacobian import Reduction, SampleFunction

# Bytes of the gradients of one backward pass, and of those of the outputs held together: chosen for
# the second and third cache of the machines measured.
PASS_BYTES = 2**21
GROUP_BYTES = 2**24

# Rows (samples times outputs) of a backward pass: fewer samples take several outputs at once.
ROWS, ROWS_CONV = 512, 16


@dataclass(frozen=True, eq=False)
class Pass:
    """A recorded forward pass: outputs ``(n, k)``, the calls, and which of them is the last."""

    values: Tensor
    calls: list[Call]
    last: int


class Recording:
    """How a module uses its parameters, checked on a few samples.

    Args:
        function: The module on copies of its tensors.
        X: All inputs; a few of them are looked at.

    Raises:
        NotRecorded: The route is not open to this module.
    """

    def __init__(self, function: SampleFunction, X: Tensor) -> None:
        self.function, self._X = function, X
        self.leaves = {name: p.detach().requires_grad_() for name, p in function.parameters.items()}
        n = len(X)
        self.probes = sorted({0, n // 2, n - 1})
        kept = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel() * tensor.element_size() if not tensor.is_leaf else 0
            return tensor

        # Not around a pass that is differentiated: hooks switch off autograd's own check that no
        # tensor it kept was overwritten.
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            self._alone = [self.forward(X[i : i + 1].clone()) for i in self.probes]
        self.bytes_kept = kept // len(self.probes)
        first = self._alone[0]
        self.outputs, self.last = first.values.shape[1], first.last
        probe = X[self.probes].clone()
        if probe.is_floating_point():
            probe.requires_grad_()
        joint = self.forward(probe.clone())
        self._axes: list[tuple[Axis, Axis]] = []
        self.layers: list[Layer] = []
        self._check_same(joint)
        for alone, call in zip(first.calls, joint.calls, strict=True):
            needs_input = call.weight is not None
            axes = (
                axis_of(alone.inputs.shape, call.inputs.shape, len(probe))
                if needs_input
                else Axis(0, 1),
                axis_of(alone.shape, call.shape, len(probe)),
            )
            self._axes.append(axes)
            kind = Scale if call.kind == "scale" else Matrix
            self.layers.append(kind(call, *axes, len(probe)))
        self.check_values(joint, list(range(len(probe))))
        self._check_gradients(joint, probe)
        self.has_windows = any(call.kind == "conv" for call in first.calls)
        self.numbers_per_sample = sum(math.prod(call.shape) for call in first.calls)

    def forward(self, data: Tensor) -> Pass:
        """Record a pass; outputs as `SampleFunction.outputs` gives them."""
        function = self.function
        with Recorder(self.leaves) as recorder:
            values = functional_call(function.model, {**self.leaves, **function.constants}, (data,))
        if recorder.refused is not None:
            raise NotRecorded(recorder.refused)
        values = function.checked(values, len(data))
        if not values.requires_grad:
            raise NotRecorded("outputs without a gradient")
        last = -1
        if values.dim() == 2:
            edge = get_gradient_edge(values)
            for number, call in enumerate(recorder.calls):
                if call.edge.node is edge.node and call.edge.output_nr == edge.output_nr:
                    last = number
        for call in recorder.calls:
            if call.weight is not None and call.inputs._version != call.version:
                raise NotRecorded("a recorded input was overwritten later")
        return Pass(values.reshape(len(data), -1), recorder.calls, last)

    def _check_same(self, other: Pass) -> None:
        first = self._alone[0]
        mine = [call.signature() for call in first.calls]
        for one in (*self._alone[1:], other):
            if one.last != first.last or [call.signature() for call in one.calls] != mine:
                raise NotRecorded("the calls depend on the data")
            if one.values.shape[1] != first.values.shape[1]:
                raise NotRecorded("the number of outputs depends on the data")

    def check_block(self, whole: Pass, X: Tensor, samples: slice) -> None:
        """`check_values` of a pass of `samples` of X, for the probes that are among them."""
        rows = [-1] * len(self.probes)
        if X is self._X:
            rows = [i - samples.start if i < samples.stop else -1 for i in self.probes]
        self.check_values(whole, rows)

    def check_values(self, whole: Pass, rows: list[int]) -> None:
        """Compare rows of a pass with the probes passed alone; negative rows are not looked at.

        Raises:
            NotRecorded: They differ by more than rounding.
        """
        self._check_same(whole)
        n = len(whole.values)
        for one, row in zip(self._alone, rows, strict=True):
            if row < 0:
                continue
            _require_equal(one.values[0], whole.values[row], "an output depends on other samples")
            for alone, call, (source, target) in zip(
                one.calls, whole.calls, self._axes, strict=True
            ):
                if _without(call.shape, target, n) != _without(alone.shape, target, 1):
                    raise NotRecorded("shapes depend on the batch")
                if call.weight is None:
                    continue
                if _without(call.inputs.shape, source, n) != _without(
                    alone.inputs.shape, source, 1
                ):
                    raise NotRecorded("shapes depend on the batch")
                _require_equal(
                    source.first(alone.inputs, 1)[0],
                    source.first(call.inputs, n)[row],
                    "a layer's input depends on other samples",
                )

    def _check_gradients(self, joint: Pass, probe: Tensor) -> None:
        n, k = joint.values.shape
        generator = torch.Generator().manual_seed(0)
        weights = torch.rand(n, generator=generator, dtype=torch.float64).to(joint.values) + 0.5
        direction = torch.randn(k, generator=generator, dtype=torch.float64).to(joint.values)
        edges = [call.edge for call in joint.calls]
        inputs = [probe] if probe.requires_grad else []
        names = list(self.leaves)

        def gradients(weights: Tensor, *more: Tensor) -> list[Tensor | None]:
            return list(
                torch.autograd.grad(
                    joint.values,
                    [*inputs, *edges, *more],
                    weights[:, None] * direction,
                    retain_graph=True,
                    allow_unused=True,
                )
            )

        weighted = gradients(weights, *self.leaves.values())
        plain = gradients(torch.ones_like(weights))
        places = [Axis(0, 1)] * len(inputs) + [target for _, target in self._axes]
        for a, b, place in zip(weighted, plain, places, strict=False):
            if a is None or b is None:
                if a is not b:
                    raise NotRecorded("a gradient comes and goes")
                continue
            a, b = place.first(a, n), place.first(b, n)
            _require_equal(
                a, b * weights.view(n, *([1] * (b.dim() - 1))), "samples meet in a gradient"
            )
        cotangents = weighted[len(inputs) : len(inputs) + len(edges)]
        stored = dict(zip(names, weighted[len(inputs) + len(edges) :], strict=True))
        uses: dict[str, list[Use]] = {name: [] for name in names}
        for number, call in enumerate(joint.calls):
            for name, role in ((call.weight, "weight"), (call.bias, "bias")):
                if name is not None:
                    uses[name].append(Use(name, number, role))
        for name, leaf in self.leaves.items():
            autograd = stored[name]
            found = torch.zeros_like(leaf).flatten()
            for use in uses[name]:
                cotangent = cotangents[use.call]
                if cotangent is not None:
                    rows = torch.zeros(1, n, len(found)).to(found)
                    self.write_rows(joint, use, [cotangent[None]], rows)
                    found += rows.sum((0, 1))
            expected = torch.zeros_like(found) if autograd is None else autograd.flatten()
            _require_equal(found, expected, f"{name} is used in a way that was not recorded")

    @property
    def samples_at_once(self) -> int:
        """Samples of one pass through the model: their gradients should stay in the cache."""
        size = self.function.dtype.itemsize * self.numbers_per_sample
        return max(8, PASS_BYTES // size)

    def outputs_together(self, samples: int) -> int:
        """Outputs whose gradients are held at once, so that they share patches of the inputs."""
        size = self.function.dtype.itemsize * self.numbers_per_sample * samples
        return max(1, GROUP_BYTES // size)

    def cotangents(
        self, values: Tensor, edges: list[Any], start: int, stop: int
    ) -> list[list[Tensor | None]]:
        """Gradients of outputs `start` to `stop`, summed over the samples.

        Returns:
            For consecutive outputs, one or several at a time: per edge ``(outputs, *shape)``, or
            None where none of them reaches it.
        """
        n, k = values.shape
        together = max(1, (ROWS_CONV if self.has_windows else ROWS) // n)
        found: list[list[Tensor | None]] = []
        while start < stop:
            count = min(together, stop - start)
            # One-hot rows (count, 1, k), the same for every sample.
            ones = torch.zeros(count, 1, k, dtype=values.dtype, device=values.device)
            ones[:, 0, start : start + count].fill_diagonal_(1.0)
            rows = ones.expand(-1, n, -1)
            try:
                gradients = torch.autograd.grad(
                    values, edges, rows if count > 1 else rows[0],
                    retain_graph=True, allow_unused=True, is_grads_batched=count > 1,
                )  # fmt: skip
            except (RuntimeError, ValueError, NotImplementedError):
                if count == 1:
                    raise
                together = 1  # an operation without a batching rule: one output after the other
                continue
            if count == 1:
                gradients = tuple(None if g is None else g[None] for g in gradients)
            found.append(list(gradients))
            start += count
        return found

    def features(self, whole: Pass, number: int) -> Tensor:
        """H of a matrix layer."""
        layer = self.layers[number]
        if not isinstance(layer, Matrix):
            raise RuntimeError("unreachable: only matrix layers have features")
        return layer.features(whole.calls[number].inputs, len(whole.values))

    def write_rows(self, whole: Pass, use: Use, gradients: list[Tensor], out: Tensor) -> None:
        """``(k, n, entries of the parameter)`` into `out`.

        Args:
            whole: The pass.
            use: Which call, and as what.
            gradients: ``(k', *shape)`` of the call's output for consecutive outputs, k in all.
            out: Where to write.
        """
        layer, n = self.layers[use.call], len(whole.values)
        inputs = whole.calls[use.call].inputs
        if isinstance(layer, Matrix) and use.role == "weight":
            layer.write_weight_rows(inputs, gradients, out)
            return
        o = 0
        for gradient in gradients:
            if isinstance(layer, Matrix):
                rows = layer.bias_rows(layer.cotangents(gradient, n))
            elif use.role == "bias":
                rows = layer.bias_rows(gradient, n)
            else:
                rows = layer.weight_rows(inputs, gradient, n)
            out[o : o + len(rows)] = rows
            o += len(rows)


def _without(shape: torch.Size, axis: Axis, samples: int) -> tuple[int, ...]:
    sizes = list(shape)
    if sizes[axis.dim] != samples * axis.repeats:
        raise NotRecorded("shapes depend on the batch")
    sizes[axis.dim] = 0
    return tuple(sizes)


def _require_equal(value: Tensor, expected: Tensor, message: str) -> None:
    """Raise `NotRecorded` if two arrays differ by more than the rounding of a deep network."""
    if value.shape != expected.shape:
        raise NotRecorded(message)
    if value.numel() == 0:
        return
    if not value.is_floating_point():
        if not torch.equal(value, expected):
            raise NotRecorded(message)
        return
    tolerance = torch.finfo(value.dtype).eps ** 0.5
    scale = torch.maximum(value.abs().max(), expected.abs().max())
    # NaN and infinity fail the comparison, and are left to the other route.
    if not bool((value - expected).abs().max() <= tolerance * scale):
        raise NotRecorded(message)


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
        for start in range(samples.start, samples.stop, recording.samples_at_once):
            stop = min(start + recording.samples_at_once, samples.stop)
            self._fill(X, slice(start, stop))

    def _fill(self, X: Tensor, samples: slice) -> None:
        """Add some of the block's samples: few enough for what belongs to them to stay in cache."""
        recording = self._recording
        whole = recording.forward(X[samples].clone())
        recording.check_block(whole, X, samples)
        self.like = whole.values.detach()
        here = slice(samples.start - self.samples.start, samples.stop - self.samples.start)
        with torch.no_grad():
            for item in self._items:
                if item.route != "rows":
                    H = recording.features(whole, item.call)
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
            if item.route == "gram":
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


def _matrices_of(item: Item, recording: Recording) -> Iterator[int]:
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
    if trace:
        total = TraceSum(left.n, None if right is None else other.n, left.like, scratch)
    else:
        size = None if right is None else (other.k, other.n)
        long = any(item.route == "rows" for item in items)
        total = FullSum((left.k, left.n), size, left.like, scratch, long)
    # The last layer's own term is added at the end; the others may come in any order.
    for t, item in enumerate(items):
        if item.route == "rows":
            total.add_rows(left.parts[t], other.parts[t])
            continue
        H, H2 = left.features[item.call], other.features[item.call]
        if item.route == "positions":
            padding = _padding(item, recording)
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


def _padding(item: Item, recording: Recording) -> int | None:
    """The row of an embedding that gets no gradient."""
    if item.route != "positions" or recording.layers[item.call].call.kind != "embedding":
        return None
    padding: int | None = recording.layers[item.call].call.options[1]
    return padding


def _gram(item: Item, H: Tensor, H2: Tensor) -> Tensor:
    if not item.weight:
        return H.new_ones(len(H), len(H2))
    gram = H.flatten(1) @ H2.flatten(1).T
    return gram.add_(1.0) if item.bias else gram


def kernel_by_layers(
    function: SampleFunction,
    X: Tensor,
    X2: Tensor | None,
    *,
    reduction: Reduction,
    memory_budget: int,
) -> Tensor:
    """The kernel of `tangent_kernel` from recorded layers; inputs already checked.

    Raises:
        NotRecorded: The route is not open to this module.
    """
    recording = Recording(function, X)
    k = recording.outputs
    sums = "trace" if reduction == "mean_trace" or (reduction == "full" and k == 1) else reduction
    sizes = {name: leaf.numel() for name, leaf in recording.leaves.items()}
    items = plan(recording.layers, sizes, len(X), k, recording.last, sums)
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
            for number in set(_matrices_of(item, recording)):
                layer = recording.layers[number]
                if isinstance(layer, Matrix) and layer.call.kind != "embedding":
                    size_of = layer.groups * layer.inputs * layer.positions
                    passing += size_of
                    features += 0 if item.route == "rows" else 2 * size_of
            part = _numbers(item, recording)
            parts += part
            widest = max(widest, part)
        self._size = size
        self._per_sample = features * size
        self._per_row = parts * size
        # Of the samples of one pass: what autograd keeps, patches, gradients and their rows.
        self._per_pass = 2 * recording.bytes_kept + passing * size
        self._per_gradient = (2 * recording.numbers_per_sample + widest) * size
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
                kernel[samples, here] += block.squares(t, item, _padding(item, self._recording))
        return kernel


def _numbers(item: Item, recording: Recording) -> int:
    """Numbers that an item keeps for each row of the kernel."""
    if item.route == "rows":
        return _width(item, recording)
    layer = recording.layers[item.call]
    if item.route == "output" or not isinstance(layer, Matrix):
        return 0
    return layer.outputs * layer.positions


def _ranges(n: int, size: int, k: int, outputs: int) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n, size):
        for o in range(0, k, outputs):
            yield slice(i, min(i + size, n)), slice(o, min(o + outputs, k))
