"""Graphs put together at random from all kinds of operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from graphs import Build, Model

KINDS = (
    "linear", "convolution", "affine", "shift", "elementwise", "scale", "sum", "product",
    "matrix_product", "softmax", "normalize", "average_pool", "mean", "concatenate", "reshape",
    "permute", "slice", "share",
)  # fmt: skip
FUNCTIONS = ("tanh", "sin", "silu", "sigmoid", "gelu_tanh", "identity")


class _Maker:
    """The graph so far, and the shape of every value."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        shapes: list[tuple[int, ...]] = [(4,), (2, 3), (2, 2, 2), (1, 3, 3), (2, 4)]
        self.shapes = [shapes[self.rng.integers(len(shapes))]]
        self.build = Build(self.rng, list(self.shapes[0]))

    def pick(self, *numbers: Any) -> Any:
        return numbers[self.rng.integers(len(numbers))]

    def added(self, index: int, shape: tuple[int, ...]) -> None:
        assert index == len(self.shapes)
        self.shapes.append(shape)

    def step(self, kind: str) -> None:
        """One operation of the kind, where a value fits it."""
        b, e = self.build, int(self.rng.integers(max(0, len(self.shapes) - 4), len(self.shapes)))
        shape, pick = self.shapes[e], self.pick
        like = [i for i, s in enumerate(self.shapes) if s == shape]
        trains = (bool(pick(True, True, False)), bool(pick(True, False)))
        if kind == "linear" and shape:
            high = int(pick(2, 3))
            bias = (high,) if pick(True, False) else None
            self.added(b.weighted(kind, e, (high, shape[-1]), bias, trains), (*shape[:-1], high))
        elif kind == "convolution" and len(shape) in (2, 3):
            axes, groups = len(shape) - 1, shape[0] if pick(True, False) else 1
            kernel = [int(min(pick(1, 2), size)) for size in shape[1:]]
            keys = {
                "stride": [int(pick(1, 2)) for _ in range(axes)],
                "padding": [int(pick(0, 1)) for _ in range(axes)],
                "dilation": [int(pick(1, 1, 2)) for _ in range(axes)], "groups": groups,
            }  # fmt: skip
            sizes = [
                (d + 2 * p - step * (k - 1) - 1) // s + 1
                for d, p, step, k, s in zip(
                    shape[1:], keys["padding"], keys["dilation"], kernel, keys["stride"],
                    strict=True,
                )
            ]  # fmt: skip
            if min(sizes) >= 1:
                weight, out = (groups, shape[0] // groups, *kernel), groups
                if pick(True, False):
                    weight, out = (2 * groups, *weight[1:]), 2 * groups
                bias = (out,) if pick(True, False) else None
                self.added(b.weighted(kind, e, weight, bias, trains, **keys), (out, *sizes))
        elif kind in ("affine", "shift") and shape:
            axis = int(self.rng.integers(len(shape)))
            inner = shape[axis : axis + int(pick(1, 2))]
            bias = inner if kind == "affine" and pick(True, False) else None
            self.added(b.weighted(kind, e, inner, bias, trains, gain=1.0, axis=axis), shape)
        elif kind == "elementwise":
            self.added(b.act(e, str(pick(*FUNCTIONS))), shape)
        elif kind == "scale":
            self.added(b.add(kind, e, numerator=float(pick(-1.0, 2.0)), denominator=3.0), shape)
        elif kind == "sum":
            read = [e, int(pick(*like)), int(pick(*like))]
            self.added(b.add(kind, read, signs=[int(pick(1, -1)) for _ in read]), shape)
        elif kind == "product":
            self.added(b.add(kind, [e, int(pick(*like))]), shape)
        elif kind == "matrix_product" and len(shape) >= 2:
            wanted = (*shape[:-2], shape[-1])
            other = [i for i, s in enumerate(self.shapes) if len(s) >= 2 and s[:-1] == wanted]
            if other:
                two = int(pick(*other))
                self.added(b.add(kind, [e, two]), (*shape[:-1], self.shapes[two][-1]))
        elif kind == "softmax" and shape:
            self.added(b.add(kind, e), shape)
        elif kind == "normalize" and shape:
            axes = int(self.rng.integers(1, len(shape) + 1))
            self.added(b.add(kind, e, axes=axes, epsilon=float(pick(0.5, 2.0))), shape)
        elif kind == "average_pool" and shape:
            axes = int(self.rng.integers(1, len(shape) + 1))
            kernel = [int(min(2, size)) for size in shape[-axes:]]
            keys = {"stride": [int(pick(1, 2)) for _ in kernel], "padding": [0] * axes}
            if pick(True, False):
                keys["padding"] = [1] * axes
            ends = zip(shape[-axes:], keys["padding"], kernel, keys["stride"], strict=True)
            sizes = [(d + 2 * p - k) // s + 1 for d, p, k, s in ends]
            self.added(b.add(kind, e, kernel=kernel, **keys), (*shape[:-axes], *sizes))
        elif kind == "mean" and len(shape) >= 2:
            axis = int(self.rng.integers(len(shape)))
            self.added(b.add(kind, e, axes=[axis]), (*shape[:axis], *shape[axis + 1 :]))
        elif kind == "concatenate" and shape:
            axis = int(self.rng.integers(len(shape)))
            read = [e, int(pick(*like))]
            whole = (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])
            self.added(b.add(kind, read, axis=axis), whole)
        elif kind == "reshape":
            size = math.prod(shape)
            half = (2, size // 2) if size % 2 == 0 else (size,)
            self.added(b.add(kind, e, shape=list(half)), half)
        elif kind == "permute" and shape:
            axes = [int(axis) for axis in self.rng.permutation(len(shape))]
            self.added(b.add(kind, e, axes=axes), tuple(shape[axis] for axis in axes))
        elif kind == "slice" and shape:
            axis = int(self.rng.integers(len(shape)))
            stop = int(self.rng.integers(1, shape[axis] + 1))
            keys = {"axis": axis, "start": 0, "stop": stop, "step": int(pick(1, 2))}
            length = len(range(0, stop, keys["step"]))
            cut = (*shape[:axis], length, *shape[axis + 1 :])
            self.added(b.add(kind, e, **keys), cut)
        elif kind == "share" and shape:
            fits = [item for item in b.operations if item["kind"] == "linear"
                    and b.weights[item["weight"]].shape[1] == shape[-1]]  # fmt: skip
            if fits:
                item = pick(*fits)
                high = len(b.weights[item["weight"]])
                flags = item["weight_trainable"], item["bias_trainable"]
                index = b.weighted("linear", e, item["weight"], item["bias"], flags)
                self.added(index, (*shape[:-1], high))

    def finish(self, samples: int, outputs: int) -> Model:
        """Everything that nobody reads goes into one last layer."""
        b = self.build
        read = {e for item in b.operations for e in item["inputs"]}
        ends = [i for i in range(1, len(self.shapes)) if i not in read] or [0]
        flat = []
        for e in ends:
            size = math.prod(self.shapes[e])
            flat.append(b.add("reshape", e, shape=[size]))
            self.added(flat[-1], (size,))
        whole = b.add("concatenate", flat, axis=0)
        wide = sum(self.shapes[e][0] for e in flat)
        self.added(whole, (wide,))
        b.linear(whole, wide, outputs)
        return b.model(samples, outputs)


def random_graph(seed: int, steps: int = 8, parameters: int = 60) -> Model:
    """A model with at most so many trained parameters and a moderate size."""
    for attempt in range(1000):
        maker = _Maker(1000 * seed + attempt)
        for _ in range(steps):
            maker.step(str(maker.pick(*KINDS)))
            if math.prod(maker.shapes[-1]) > 40:
                break
        model = maker.finish(2, int(maker.pick(1, 2)))
        if model.parameters() <= parameters:
            return model
    raise AssertionError("no graph was small enough")
