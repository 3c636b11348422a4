"""From a recorded call and its cotangents to per-sample gradients, layer by layer.

For a matrix layer (linear, convolution, embedding), with positions p and groups g,

    dF_q(x_i) / dW[g, o, c] = sum_p G[q, i, g, o, p] H[i, g, c, p],

H being the patches of a convolution. A scale ``z = w * h + b`` has ``sum_p G h`` and ``sum_p G``.
Arrays of rows are ordered (output, sample), the order of the kernel's memory.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.network._recorded_calls import Call, NotRecorded, Window


@dataclass(frozen=True)
class Axis:
    """Where the samples run in a tensor: dimension `dim`, each sample with `repeats` entries."""

    dim: int
    repeats: int

    def first(self, tensor: Tensor, samples: int, leading: int = 0) -> Tensor:
        """``(leading..., samples, rest...)``, with the repeats as the first of the rest."""
        dim = self.dim + leading
        if self.repeats != 1:
            tensor = tensor.unflatten(dim, (samples, self.repeats))
        return tensor.movedim(dim, leading)


def axis_of(alone: torch.Size, joint: torch.Size, samples: int) -> Axis:
    """The dimension along which a shape grew when one sample became several.

    Raises:
        NotRecorded: not exactly one dimension grew by the number of samples.
    """
    if samples == 1:
        # Any place will do; the whole is one sample.
        return Axis(0, alone[0] if alone else 1)
    grown = [d for d, (a, b) in enumerate(zip(alone, joint, strict=True)) if a != b]
    if len(grown) != 1 or joint[grown[0]] != samples * alone[grown[0]]:
        raise NotRecorded(f"shape {tuple(alone)} of one sample became {tuple(joint)}")
    return Axis(grown[0], alone[grown[0]])


def patches(inputs: Tensor, window: Window) -> Tensor:
    """What a convolution multiplies its weight with: ``(n, groups, c, positions)``.

    ``c`` runs over (channel of the group, place in the window), the order of a weight's row.
    """
    dims = len(window.size)
    padding = [e for pair in zip(window.before, window.after, strict=True) for e in reversed(pair)]
    if any(padding):
        inputs = torch.nn.functional.pad(inputs, padding[::-1])
    n, channels, *space = inputs.shape
    spans = [d * (s - 1) + 1 for d, s in zip(window.dilation, window.size, strict=True)]
    counts = [(e - s) // t + 1 for e, s, t in zip(space, spans, window.stride, strict=True)]
    inputs = inputs.contiguous()
    strides = inputs.stride()
    view = inputs.as_strided(
        (n, channels, *window.size, *counts),
        (
            *strides[:2],
            *(s * d for s, d in zip(strides[2:], window.dilation, strict=True)),
            *(s * t for s, t in zip(strides[2:], window.stride, strict=True)),
        ),
    )
    groups = window.groups
    rows = channels // groups * math.prod(window.size)
    return view.reshape(n, groups, rows, math.prod(view.shape[2 + dims :]))


class Matrix:
    """Geometry of a matrix layer: how its inputs and cotangents become H and G.

    Attributes:
        groups, outputs, inputs, positions: Numbers of groups, of rows and columns of a group's
            weight, and of positions of one sample.
    """

    def __init__(self, call: Call, source: Axis, target: Axis, samples: int) -> None:
        self.call, self._source, self._target = call, source, target
        self.groups = call.options.groups if call.kind == "conv" else 1
        total = math.prod(call.shape) // samples
        if call.kind == "conv":
            if source != Axis(0, 1) and samples > 1:
                raise NotRecorded("a convolution whose batch is not the samples")
            window = call.options
            self.outputs = call.shape[1] // self.groups
            self.inputs = call.inputs.shape[1] // self.groups * math.prod(window.size)
        elif call.kind == "linear":
            self.outputs, self.inputs = call.shape[-1], call.inputs.shape[-1]
            ends = (source.dim, call.inputs.dim()), (target.dim, len(call.shape))
            if samples > 1 and any(dim == length - 1 for dim, length in ends):
                raise NotRecorded("a linear layer whose features are the samples")
        else:
            self.outputs, self.inputs = call.shape[-1], call.options[0]
        self.positions = total // (self.groups * self.outputs)

    def features(self, inputs: Tensor, samples: int) -> Tensor:
        """H, ``(n, groups, c, positions)``; the tokens ``(n, positions)`` of an embedding."""
        if self.call.kind == "conv":
            return patches(inputs, self.call.options)
        first = self._source.first(inputs, samples)
        if self.call.kind == "embedding":
            return first.reshape(samples, -1)
        return first.reshape(samples, 1, self.positions, self.inputs).transpose(2, 3)

    def cotangents(self, gradient: Tensor, samples: int) -> Tensor:
        """G, ``(k, n, groups, o, positions)``, from gradients ``(k, *shape)``."""
        if self.call.kind == "conv":
            return gradient.reshape(
                len(gradient), samples, self.groups, self.outputs, self.positions
            )
        first = self._target.first(gradient, samples, leading=1)
        return first.reshape(
            len(gradient), samples, 1, self.positions, self.outputs
        ).transpose(3, 4)  # fmt: skip

    def weight_rows(self, H: Tensor, G: Tensor) -> Tensor:
        """``(k, n, groups * o * c)``: one row per output and sample, ordered as the weight."""
        k, n = G.shape[:2]
        if self.call.kind == "embedding":
            vocabulary, padding = self.call.options
            rows = G.new_zeros(k, n, vocabulary, self.outputs)
            index = H[None, :, :, None].expand(k, n, self.positions, self.outputs)
            rows.scatter_add_(2, index, G[:, :, 0].transpose(2, 3))
            if padding is not None:
                rows[:, :, padding] = 0
            return rows.flatten(2)
        rows = G.new_empty(k, n * self.groups, self.outputs, H.shape[2])
        columns = H.flatten(0, 1).transpose(1, 2)  # (n groups, positions, c)
        for q in range(k):  # H is shared by the outputs: no copy of it is made
            torch.bmm(G[q].flatten(0, 1), columns, out=rows[q])
        return rows.view(k, n, -1)

    def bias_rows(self, G: Tensor) -> Tensor:
        """``(k, n, groups * o)``."""
        return G.sum(-1).flatten(2)


class Scale:
    """Geometry of ``z = w * h + b``."""

    def __init__(self, call: Call, source: Axis, target: Axis, samples: int) -> None:
        self.call, self._source, self._target = call, source, target
        placed = list(call.options)
        if len(placed) == len(call.shape) and placed[0] == 1 and target.dim == 0:
            placed = placed[1:]  # a batch dimension of its own
        if samples > 1 and target.dim >= len(call.shape) - len(placed):
            raise NotRecorded("a parameter that runs along the samples")
        if samples == 1 and len(placed) >= len(call.shape):
            raise NotRecorded("a parameter that runs along the samples")
        self._placed = placed

    def weight_rows(self, inputs: Tensor, gradient: Tensor, samples: int) -> Tensor:
        """``(k, n, p)``: sums of ``G h`` over everything the weight is repeated along."""
        h = self._source.first(inputs, samples)
        return self._summed(self._target.first(gradient, samples, leading=1) * h)

    def bias_rows(self, gradient: Tensor, samples: int) -> Tensor:
        """``(k, n, p)``: sums of G over everything the shift is repeated along."""
        return self._summed(self._target.first(gradient, samples, leading=1))

    def _summed(self, rows: Tensor) -> Tensor:
        kept = rows.dim() - len(self._placed)
        dims = [d for d in range(2, kept)]
        dims += [kept + d for d, size in enumerate(self._placed) if size == 1]
        return (rows.sum(dims) if dims else rows).flatten(2)
