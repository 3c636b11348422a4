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
from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight

from talweg.network._recorded_calls import Call, NotRecorded, Window

# Bytes of patches made at a time: such that they stay in the cache.
PATCH_BYTES = 2**20

# A convolution with as many groups as samples has the rows of all of them as the gradient of its
# weight, without patches. oneDNN is ahead with it for one output of the network in float32, for
# few channels in multiples of its vectors, windows of some size, and enough numbers to share its
# start between: 1.1 to 3.6 times as fast where measured (one thread, 8 to 100 samples, one to three
# dimensions).
_GROUPED_CHANNELS, _GROUPED_MULTIPLE, _GROUPED_WINDOW, _GROUPED_NUMBERS = 48, 8, 9, 2**13
_WEIGHT_GRADIENT = {1: conv1d_weight, 2: conv2d_weight, 3: conv3d_weight}

# Outputs of a layer up to which those of all outputs of the network are multiplied together.
_FEW = 32


@dataclass(frozen=True)
class Axis:
    """Where the samples run in a tensor: dimension `dim`, each sample with `repeats` entries."""

    dim: int
    repeats: int

    def first(self, tensor: Tensor, samples: int, leading: int = 0) -> Tensor:
        """``(leading..., samples, rest...)``, with the repeats as the first of the rest."""
        dim = self.dim + leading
        if self.repeats != 1:
            sizes = tensor.shape
            tensor = tensor.reshape(*sizes[:dim], samples, self.repeats, *sizes[dim + 1 :])
        return tensor.movedim(dim, leading)

    def sample(self, tensor: Tensor, i: int) -> Tensor:
        """Sample i, in the shape of a pass of this sample alone."""
        return tensor.narrow(self.dim, i * self.repeats, self.repeats)

    def spread(self, weights: Tensor, dims: int) -> Tensor:
        """One number per sample, ``(n,)``, to be multiplied with an array of `dims` dimensions."""
        if self.repeats != 1:
            weights = weights.repeat_interleave(self.repeats)
        return weights.view(-1, *([1] * (dims - self.dim - 1)))

    def without(self, shape: torch.Size, samples: int) -> tuple[int, ...]:
        """The shape with 0 in place of the samples.

        Raises:
            NotRecorded: the samples are not where they should be.
        """
        sizes = list(shape)
        if len(sizes) <= self.dim or sizes[self.dim] != samples * self.repeats:
            raise NotRecorded("shapes depend on the batch")
        sizes[self.dim] = 0
        return tuple(sizes)


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


def _described(call: Call) -> tuple[str, Any, str | None, str | None]:
    # Not the call itself, which holds a graph.
    return call.kind, call.options, call.weight, call.bias


class Matrix:
    """Geometry of a matrix layer: how its inputs and cotangents become H and G.

    Attributes:
        kind, options, weight, bias: As in the `Call`.
        groups, outputs, inputs, positions: Numbers of groups, of rows and columns of a group's
            weight, and of positions of one sample.
    """

    def __init__(self, call: Call, source: Axis, target: Axis, samples: int) -> None:
        self.kind, self.options, self.weight, self.bias = _described(call)
        self._source, self._target = source, target
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
        return self._features(self._source.first(inputs, samples))

    def _features(self, inputs: Tensor) -> Tensor:
        if self.kind == "conv":
            return patches(inputs, self.options)
        if self.kind == "embedding":
            return inputs.reshape(len(inputs), -1)
        return inputs.reshape(len(inputs), 1, self.positions, self.inputs).transpose(2, 3)

    def cotangents(self, gradient: Tensor, samples: int) -> Tensor:
        """G, ``(k, n, groups, o, positions)``, from gradients ``(k, *shape)``."""
        if self.kind == "conv":
            return gradient.reshape(
                len(gradient), samples, self.groups, self.outputs, self.positions
            )
        first = self._target.first(gradient, samples, leading=1)
        return first.reshape(
            len(gradient), samples, 1, self.positions, self.outputs
        ).transpose(3, 4)  # fmt: skip

    def write_weight_rows(self, inputs: Tensor, gradients: list[Tensor], out: Tensor) -> None:
        """Rows of the weight, ``(k, n, groups * o * c)``, into `out`.

        Args:
            inputs: What the call saw.
            gradients: ``(k', *shape)`` of consecutive outputs, k in all.
            out: ``(k, n, ...)`` with the entries of the weight last.
        """
        n = out.shape[1]
        if self.kind == "embedding":
            return self._write_token_rows(inputs, gradients, out)
        if len(out) == 1 and self._is_faster_grouped(inputs):
            return self._write_grouped_rows(inputs, gradients[0], out[0])
        first = self._source.first(inputs, n)
        cotangents = [self.cotangents(g, n) for g in gradients]
        # Patches of a few samples at a time, shared by all outputs while they are in the cache.
        each = self.groups * self.inputs * self.positions * first.element_size()
        step = n if self.positions == 1 else max(1, PATCH_BYTES // each)
        for start in range(0, n, step):
            stop = min(start + step, n)
            H = self._features(first[start:stop])
            columns = H.flatten(0, 1).transpose(1, 2)  # (n groups, positions, c)
            o = 0
            if len(out) > 1 and self.outputs <= _FEW and self.positions > 1 and self.groups == 1:
                # Few rows make a slow product: take those of all outputs together.
                together = torch.cat([G[:, start:stop, 0].transpose(0, 1) for G in cotangents], 1)
                rows = torch.bmm(together.flatten(1, 2), columns)  # (n, k o, c)
                out[:, start:stop] = rows.view(stop - start, len(out), -1).transpose(0, 1)
                continue
            for G in cotangents:
                for one in G[:, start:stop]:
                    target, left = out[o, start:stop], one.flatten(0, 1)
                    o += 1
                    if target.is_contiguous():
                        shape = len(left), self.outputs, H.shape[2]
                        torch.bmm(left, columns, out=target.view(shape))
                    else:
                        target.copy_(torch.bmm(left, columns).view(target.shape))
        return None

    def _is_faster_grouped(self, inputs: Tensor) -> bool:
        if self.kind != "conv" or self.groups > 1 or inputs.dtype != torch.float32:
            return False
        window, channels = self.options, (inputs.shape[1], self.outputs)
        return (
            inputs.device.type == "cpu"
            and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
            and window.before == window.after
            and math.prod(window.size) >= _GROUPED_WINDOW
            and max(channels) <= _GROUPED_CHANNELS
            and all(count % _GROUPED_MULTIPLE == 0 for count in channels)
            and inputs.numel() >= _GROUPED_NUMBERS
        )

    def _write_grouped_rows(self, inputs: Tensor, gradient: Tensor, out: Tensor) -> None:
        """`write_weight_rows` of one output, ``(n, o * c)``, as grouped weight gradients."""
        window, (n, c, *space) = self.options, inputs.shape
        # As many samples at a time as have their rows in the cache.
        step = max(1, PATCH_BYTES // (out.shape[1] * out.element_size()))
        for start in range(0, n, step):
            here, there = inputs[start : start + step], gradient[0, start : start + step]
            rows: Tensor = _WEIGHT_GRADIENT[len(space)](  # type: ignore[no-untyped-call]
                here.reshape(1, len(here) * c, *space),
                (len(here) * self.outputs, c, *window.size),
                there.reshape(1, len(here) * self.outputs, *there.shape[2:]),
                window.stride, window.before, window.dilation, len(here),
            )  # fmt: skip
            out[start : start + step] = rows.view(len(here), -1)

    def _write_token_rows(self, inputs: Tensor, gradients: list[Tensor], out: Tensor) -> None:
        n = out.shape[1]
        tokens = self.features(inputs, n)
        vocabulary, padding = self.options
        rows = out.new_zeros(*out.shape[:2], vocabulary, self.outputs)
        G = torch.cat([self.cotangents(g, n)[:, :, 0].transpose(2, 3) for g in gradients])
        index = tokens[None, :, :, None].expand(G.shape)
        rows.scatter_add_(2, index, G)
        if padding is not None:
            rows[:, :, padding] = 0
        out.copy_(rows.flatten(2))

    @property
    def is_flat(self) -> bool:
        """Whether the gradient of the weight is one product of all cotangents and inputs."""
        return self.kind == "linear" and self.positions == 1

    def combined_gradient(
        self, inputs: Tensor, gradient: Tensor, samples: int, columns: Tensor
    ) -> Tensor:
        """The sum of a flat layer's weight rows of one output, ``(o, c)``, times `columns`.

        Without forming it: it is as large as the weight.
        """
        H = self.features(inputs, samples).flatten(1)  # (n, c)
        G = self.cotangents(gradient[None], samples).flatten(0, 1).flatten(1)  # (n, o)
        return G.T @ (H @ columns)

    def bias_rows(self, G: Tensor) -> Tensor:
        """``(k, n, groups * o)``."""
        return G.sum(-1).flatten(2)


class Scale:
    """Geometry of ``z = w * h + b``."""

    def __init__(self, call: Call, source: Axis, target: Axis, samples: int) -> None:
        self.kind, self.options, self.weight, self.bias = _described(call)
        self._source, self._target = source, target
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
        dims = list(range(2, kept))
        dims += [kept + d for d, size in enumerate(self._placed) if size == 1]
        return (rows.sum(dims) if dims else rows).flatten(2)
