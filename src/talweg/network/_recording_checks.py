"""What is looked at on a few samples before a recording may be trusted.

That a backward pass of the sum over samples gives each sample's own cotangents holds only where
samples do not meet. So a few samples are passed through together and alone:

* values: recorded inputs and outputs together equal those alone;
* gradients: with weights r_i on the samples, the cotangents of recorded calls and of the inputs
  are r_i times those with weights one;
* completeness: the gradients of all parameters are those that the recorded calls give (those of
  the weights of linear layers, times a random vector).

What fails any of it, or does something that a recording cannot see, is `NotRecorded`.
Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from talweg.network._layer_plan import Layer, Use
from talweg.network._layer_rows import Axis, Matrix, Scale, axis_of
from talweg.network._recorded_calls import NotRecorded
from talweg.network._recording import Geometry, Pass, Recording, recorded_pass
from talweg.network._sample_jacobian import SampleFunction


class CheckedRecording(Recording):
    """A recording that is made, and checked on a few samples, here and now.

    `functions` are all torch functions of a pass of several samples.

    Args:
        function: The module on copies of its tensors.
        X: All inputs; the first and the last one are passed alone.

    Raises:
        NotRecorded: The route is not open to this module.
    """

    def __init__(self, function: SampleFunction, X: Tensor) -> None:
        leaves = {name: p.detach().requires_grad_() for name, p in function.parameters.items()}
        self._X, n = X, len(X)
        self._probes = sorted({0, n - 1})
        first, kept = _pass_and_bytes(function, leaves, X[:1].clone())
        self._alone = [first]
        self._alone += [recorded_pass(function, leaves, X[i:].clone()) for i in self._probes[1:]]
        numbers = sum(math.prod(call.shape) for call in first.calls)
        joint_inputs = X[self._probes].clone()
        if joint_inputs.is_floating_point():
            joint_inputs.requires_grad_()
        joint = recorded_pass(function, leaves, joint_inputs.clone())
        geometry = _geometry(first, joint, leaves, kept, numbers)
        super().__init__(function, leaves, geometry)
        for one in self._alone:
            geometry.require_same(one)
        geometry.require_same(joint)
        self._check_values(joint, list(range(len(self._probes))))
        self._check_gradients(joint, joint_inputs)
        self.functions = joint.functions
        # Of all samples there are: no need to pass them again.
        self._whole = joint if len(self._probes) == n else None

    def forward(self, X: Tensor, samples: slice) -> Pass:
        """As `Recording.forward`; the probes among the samples are compared as well."""
        if X is not self._X:
            return super().forward(X, samples)
        if self._whole is not None and samples == slice(0, len(X)):
            whole, self._whole = self._whole, None
            return whole
        whole = super().forward(X, samples)
        self._check_values(
            whole,
            [i - samples.start if samples.start <= i < samples.stop else -1 for i in self._probes],
        )
        return whole

    def _check_values(self, whole: Pass, rows: list[int]) -> None:
        """Compare rows of a pass with the probes passed alone; negative rows are not looked at."""
        for one, row in zip(self._alone, rows, strict=True):
            if row < 0:
                continue
            _require_equal(one.values[0], whole.values[row], "an output depends on other samples")
            for alone, call, (source, _) in zip(
                one.calls, whole.calls, self.geometry.axes, strict=True
            ):
                if call.weight is not None:
                    _require_equal(
                        alone.inputs,
                        source.sample(call.inputs, row),
                        "a layer's input depends on other samples",
                    )

    def _check_gradients(self, joint: Pass, joint_inputs: Tensor) -> None:
        n, k = joint.values.shape
        generator = torch.Generator().manual_seed(0)
        weights = torch.rand(n, generator=generator, dtype=torch.float64).to(joint.values) + 0.5
        direction = torch.randn(k, generator=generator, dtype=torch.float64).to(joint.values)
        edges: list[Any] = [call.edge for call in joint.calls]
        inputs = [joint_inputs] if joint_inputs.requires_grad else []
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
        if n > 1:  # one sample meets no other
            plain = gradients(torch.ones_like(weights))
            places = [Axis(0, 1)] * len(inputs) + [target for _, target in self.geometry.axes]
            for a, b, place in zip(weighted, plain, places, strict=False):
                if a is None or b is None:
                    if a is not b:
                        raise NotRecorded("a gradient comes and goes")
                    continue
                _require_equal(a, b * place.spread(weights, b.dim()), "samples meet in a gradient")
        cotangents = weighted[len(inputs) : len(inputs) + len(edges)]
        stored = dict(zip(names, weighted[len(inputs) + len(edges) :], strict=True))
        uses: dict[str, list[Use]] = {name: [] for name in names}
        for number, call in enumerate(joint.calls):
            for name, role in ((call.weight, "weight"), (call.bias, "bias")):
                if name is not None and cotangents[number] is not None:
                    uses[name].append(Use(name, number, role))
        matrices = [leaf for leaf in self.leaves.values() if leaf.dim() == 2]
        widest = max((leaf.shape[1] for leaf in matrices), default=0)
        drawn = torch.randn(widest, generator=generator, dtype=torch.float64).to(joint.values)
        for name, leaf in self.leaves.items():
            autograd = stored[name]
            expected = torch.zeros_like(leaf) if autograd is None else autograd
            columns = None
            if all(self._is_flat(use) for use in uses[name]) and leaf.dim() == 2:
                # A random combination of the columns of two matrices: the same if and, but for a
                # set of measure zero, only if they are. It spares forming one of them.
                columns = drawn[: leaf.shape[1]]
                expected = expected @ columns
            found: Tensor | None = None
            for use in uses[name]:
                part = self._summed(joint, use, cotangents[use.call], columns)
                part = part.view(expected.shape)
                found = part if found is None else found + part
            if found is None:
                found = torch.zeros_like(expected)
            _require_equal(found, expected, f"{name} is used in a way that was not recorded")

    def _is_flat(self, use: Use) -> bool:
        layer = self.layers[use.call]
        return isinstance(layer, Matrix) and layer.is_flat and use.role == "weight"

    def _summed(
        self, joint: Pass, use: Use, cotangent: Tensor | None, columns: Tensor | None
    ) -> Tensor:
        """The gradient of a parameter, flat, from one use; times `columns` if there are any."""
        if cotangent is None:
            raise RuntimeError("unreachable: calls without a cotangent are no uses")
        layer, n = self.layers[use.call], len(joint.values)
        if isinstance(layer, Matrix):
            if columns is not None:
                inputs = joint.calls[use.call].inputs
                return layer.combined_gradient(inputs, cotangent, n, columns)
            if use.role == "bias":
                return layer.bias_rows(layer.cotangents(cotangent[None], n)).sum((0, 1))
        rows = cotangent.new_empty(1, n, self.leaves[use.name].numel())
        self.write_rows(joint, use, [cotangent[None]], rows)
        return rows.sum((0, 1))


def _pass_and_bytes(
    function: SampleFunction, leaves: dict[str, Tensor], data: Tensor
) -> tuple[Pass, int]:
    """A pass of one sample, and the bytes that autograd keeps for it."""
    kept = 0
    stored = {leaf.untyped_storage().data_ptr() for leaf in leaves.values()}

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        # Parameters and views of them, such as transposes, are there once for all samples.
        if tensor.untyped_storage().data_ptr() not in stored:
            kept += tensor.numel() * tensor.element_size()
        return tensor

    # Not around a pass that is differentiated: hooks switch off autograd's own check that no
    # tensor it kept was overwritten.
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        one = recorded_pass(function, leaves, data)
    return one, kept


def _geometry(
    first: Pass, joint: Pass, leaves: dict[str, Tensor], kept: int, numbers: int
) -> Geometry:
    """From a sample alone and some together."""
    signatures = [call.signature for call in first.calls]
    if [call.signature for call in joint.calls] != signatures:
        raise NotRecorded("the calls depend on the data")
    n = len(joint.values)
    axes: list[tuple[Axis, Axis]] = []
    shapes: list[tuple[tuple[int, ...] | None, tuple[int, ...]]] = []
    layers: list[Layer] = []
    for alone, call in zip(first.calls, joint.calls, strict=True):
        target = axis_of(alone.shape, call.shape, n)
        source, inputs = Axis(0, 1), None
        if call.weight is not None:
            source = axis_of(alone.inputs.shape, call.inputs.shape, n)
            inputs = source.without(alone.inputs.shape, 1)
        axes.append((source, target))
        shapes.append((inputs, target.without(alone.shape, 1)))
        kind = Scale if call.kind == "scale" else Matrix
        layers.append(kind(call, source, target, n))
    sizes = {name: leaf.shape for name, leaf in leaves.items()}
    return Geometry(
        signatures, axes, shapes, layers, first.values.shape[1], first.last, sizes, kept, numbers,
        single=n == 1,
    )  # fmt: skip


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
    low, high = (bound.item() for bound in torch.aminmax(expected))
    tolerance = torch.finfo(value.dtype).eps ** 0.5 * max(-low, high)
    low, high = (bound.item() for bound in torch.aminmax(value - expected))
    # NaN and infinity fail the comparison, and are left to the other route.
    if not (-tolerance <= low and high <= tolerance):
        raise NotRecorded(message)
