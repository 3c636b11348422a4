"""How a module uses its parameters, as recorded, and its passes at the present weights.

`Geometry` is what a recording found out about the module and holds no tensor, so that it serves
again when the weights have changed; a `Recording` runs passes of the module and compares the calls
of each with it. What has to be looked at once before a geometry may be trusted stands in
`_recording_checks`.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from talweg.network._layer_plan import Layer, Use
from talweg.network._layer_rows import Axis, Matrix
from talweg.network._recorded_calls import Call, NotRecorded, Recorder
from talweg.network._sample_jacobian import SampleFunction

# Bytes of the gradients of one backward pass, and of those of the outputs held together: measured
# on 2 cores with 1 MiB of second and 32 MiB of third cache.
PASS_BYTES = 2**22
GROUP_BYTES = 2**26

# Rows (samples times outputs) of a backward pass: fewer samples take several outputs at once.
ROWS, ROWS_CONV = 512, 16


@dataclass(frozen=True, eq=False)
class Pass:
    """A recorded forward pass: outputs ``(n, k)``, the calls, and which of them is the last.

    `functions` are all torch functions that the pass called, in order.
    """

    values: Tensor
    calls: list[Call]
    last: int
    functions: list[Callable[..., Any]]


def recorded_pass(function: SampleFunction, leaves: dict[str, Tensor], data: Tensor) -> Pass:
    """Record a pass; outputs as `SampleFunction.outputs` gives them.

    Args:
        function: The module.
        leaves: Its trainable parameters, as leaves of the graph.
        data: ``(n, ...)``.

    Raises:
        NotRecorded: The pass does something that a recording cannot see.
    """
    with function.installed(leaves) as model, Recorder(leaves) as recorder:
        values = model(data)
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
    return Pass(values.reshape(len(data), -1), recorder.calls, last, recorder.functions)


@dataclass(frozen=True, eq=False)
class Geometry:
    """What a recording found out about a module, without a tensor of it.

    Attributes:
        signatures: `Call.signature` of each call.
        axes: Where the samples run in each call's inputs and output.
        shapes: Of each call's inputs (None where they do not matter) and output, with 0 in place
            of the samples.
        layers: Inputs and cotangents of each call as H and G.
        outputs: k.
        last: Number of the call whose output is the network's own, or -1.
        sizes: Shape of each trainable parameter.
        bytes_kept: Bytes that autograd keeps for a sample.
        numbers_per_sample: Numbers in the outputs of all calls.
        single: Whether it was found with one sample only, and says nothing of several.
    """

    signatures: list[tuple[Any, ...]]
    axes: list[tuple[Axis, Axis]]
    shapes: list[tuple[tuple[int, ...] | None, tuple[int, ...]]]
    layers: list[Layer]
    outputs: int
    last: int
    sizes: dict[str, torch.Size]
    bytes_kept: int
    numbers_per_sample: int
    single: bool

    def require_same(self, one: Pass) -> None:
        """Compare the calls of a pass, in order: kinds, names, options and shapes.

        Raises:
            NotRecorded: They are others.
        """
        if one.last != self.last or [call.signature for call in one.calls] != self.signatures:
            raise NotRecorded("the calls depend on the data")
        n, k = one.values.shape
        if k != self.outputs:
            raise NotRecorded("the number of outputs depends on the data")
        for call, (source, target), (inputs, output) in zip(
            one.calls, self.axes, self.shapes, strict=True
        ):
            if target.without(call.shape, n) != output or (
                inputs is not None and source.without(call.inputs.shape, n) != inputs
            ):
                raise NotRecorded("shapes depend on the batch")


class Recording:
    """Passes through a module whose geometry is known, at the weights of `function`.

    Args:
        function: The module on copies of its tensors.
        leaves: Its trainable parameters, as leaves of the graph.
        geometry: How it uses them.
    """

    def __init__(
        self, function: SampleFunction, leaves: dict[str, Tensor], geometry: Geometry
    ) -> None:
        self.function, self.leaves, self.geometry = function, leaves, geometry
        self.layers, self.outputs = geometry.layers, geometry.outputs
        self._has_windows = any(layer.kind == "conv" for layer in geometry.layers)

    def forward(self, X: Tensor, samples: slice) -> Pass:
        """A pass of some of the samples, whose calls are those of the geometry.

        Raises:
            NotRecorded: They are others.
        """
        # A clone, because the module may work in place.
        whole = recorded_pass(self.function, self.leaves, X[samples].clone())
        self.geometry.require_same(whole)
        return whole

    @property
    def samples_at_once(self) -> int:
        """Samples of one pass through the model: their gradients should stay in the cache."""
        size = self.function.dtype.itemsize * self.geometry.numbers_per_sample
        return max(8, PASS_BYTES // size)

    def outputs_together(self, samples: int) -> int:
        """Outputs whose gradients are held at once, so that they share patches of the inputs."""
        size = self.function.dtype.itemsize * self.geometry.numbers_per_sample * samples
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
        together = max(1, (ROWS_CONV if self._has_windows else ROWS) // n)
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
