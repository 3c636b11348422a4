"""How a module uses its parameters, recorded and checked on a few samples.

That a backward pass of the sum over samples gives each sample's own cotangents holds only where
samples do not meet. So a few samples are passed through together and alone:

* values: recorded inputs and outputs together equal those alone;
* gradients: with weights r_i on the samples, the cotangents of recorded calls and of the inputs
  are r_i times those with weights one;
* completeness: the gradients of all parameters are those that the recorded calls give.

What fails any of it, or does something that a recording cannot see, is `NotRecorded`.
Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call

from talweg.network._layer_plan import Layer, Use
from talweg.network._layer_rows import Axis, Matrix, Scale, axis_of
from talweg.network._recorded_calls import Call, NotRecorded, Recorder
from talweg.network._sample_jacobian import SampleFunction

# Bytes of the gradients of one backward pass, and of those of the outputs held together: measured
# on 2 cores with 1 MiB of second and 32 MiB of third cache.
PASS_BYTES = 2**23
GROUP_BYTES = 2**26

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
        self.probes = sorted({0, n - 1})
        kept = 0
        stored = {leaf.untyped_storage().data_ptr() for leaf in self.leaves.values()}

        def count(tensor: Tensor) -> Tensor:
            nonlocal kept
            # Parameters and views of them, such as transposes, are there once for all samples.
            if tensor.untyped_storage().data_ptr() not in stored:
                kept += tensor.numel() * tensor.element_size()
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
        edges: list[Any] = [call.edge for call in joint.calls]
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
                    found += self._summed(joint, use, cotangent)
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

    def _summed(self, joint: Pass, use: Use, cotangent: Tensor) -> Tensor:
        """The gradient of a parameter, flat, from one use: the sum of its rows."""
        layer, call, n = self.layers[use.call], joint.calls[use.call], len(joint.values)
        if isinstance(layer, Matrix) and use.role == "weight":
            total = layer.weight_gradient(call.inputs, cotangent, n)
            if total is not None:
                return total
        rows = cotangent.new_empty(1, n, self.leaves[use.name].numel())
        self.write_rows(joint, use, [cotangent[None]], rows)
        return rows.sum((0, 1))

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
