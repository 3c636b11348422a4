"""Small graphs in which every kind of operation and every shape of bound occurs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tests.soundness.mutation.materials import Build, Model

PLAIN = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}


def _build(seed: int, shape: list[int]) -> Build:
    return Build(np.random.default_rng(seed), shape)


def residual() -> Model:
    b = _build(0, [3])
    h = b.linear(0, 3, 4)
    r = b.linear(b.act(b.linear(h, 4, 4, gain=0.8)), 4, 4, bias=False)
    h = b.add("sum", [h, r], signs=[1, -1])
    b.linear(b.act(h, "sigmoid"), 4, 2)
    return b.model(3, 2)


def images() -> Model:
    """One output; maps by weight, through the tangents of few weights and of few entries."""
    b = _build(1, [1, 4, 4])
    h = b.weighted("convolution", 0, (2, 1, 3, 3), (2,), **PLAIN | {"padding": [1, 1]})
    h = b.add("average_pool", b.act(h), kernel=[2, 2], stride=[2, 2], padding=[0, 0])
    h = b.act(b.weighted("convolution", h, (1, 2, 2, 2), None, **PLAIN | {"padding": [0, 1]}))
    h = b.add("mean", h, axes=[1, 2])
    b.linear(h, 1, 1)
    return b.model(2, 1)


def pictures(groups: int = 2) -> Model:
    """Two outputs; a second convolution in groups, with more rows than its input has entries."""
    b = _build(2, [2, 3, 3])
    h = b.act(b.weighted("convolution", 0, (2, 2, 2, 2), (2,), **PLAIN))
    keys = PLAIN | {"padding": [1, 0], "groups": groups}
    h = b.act(b.weighted("convolution", h, (4, 2 // groups, 2, 1), (4,), **keys), "sigmoid")
    h = b.add("reshape", h, shape=[24])
    h = b.add("slice", h, axis=0, start=1, stop=24, step=3)
    b.linear(h, 8, 2, bias=False)
    return b.model(2, 2)


def scenes() -> Model:
    """Two outputs; products in which Phi is smaller than its rows."""
    b = _build(3, [3])
    h = b.add("reshape", b.act(b.linear(0, 3, 4)), shape=[1, 4])
    keys = {"stride": [1], "padding": [1], "dilation": [1], "groups": 1}
    h = b.weighted("convolution", h, (3, 1, 3), None, **keys)
    h = b.weighted("affine", h, (3,), (3,), axis=0)
    h = b.act(b.add("reshape", h, shape=[12]), "silu")
    b.linear(h, 12, 3, trains=(True, False))
    return b.model(2, 3)


def signals() -> Model:
    b = _build(4, [2, 6])
    keys = {"stride": [2], "padding": [2], "dilation": [2], "groups": 2}
    h = b.act(b.weighted("convolution", 0, (4, 1, 2), None, **keys), "silu")
    h = b.add("average_pool", h, kernel=[3], stride=[1], padding=[1])
    h = b.weighted("affine", h, (4,), (4,), axis=0)
    keys = {"stride": [1], "padding": [0], "dilation": [1], "groups": 1}
    h = b.weighted("convolution", h, (2, 4, 2), (2,), **keys)
    h = b.add("reshape", h, shape=[6])
    b.linear(b.act(h, "tanh"), 6, 1, trains=(True, False))
    return b.model(3, 1)


def norms() -> Model:
    b = _build(5, [4])
    h = b.add("normalize", b.linear(0, 4, 5), axes=1, epsilon=0.1)
    h = b.act(b.weighted("affine", h, (5,), (5,), axis=0, gain=1.0), "silu")
    b.linear(h, 5, 2, bias=False)
    return b.model(3, 2)


def frozen_norms() -> Model:
    b = _build(6, [2, 3])
    h = b.linear(0, 3, 3)
    b.weights["weights/1.weight"] = b.rng.normal(size=2)
    b.weights["weights/1.bias"] = b.rng.uniform(0.5, 2, size=2)
    h = b.add("standardize", h, weight="weights/1.weight", bias="weights/1.bias", epsilon=1e-5)
    h = b.act(b.weighted("affine", h, (2,), (2,), axis=0))
    h = b.add("permute", h, axes=[1, 0])
    h = b.add("slice", h, axis=0, start=0, stop=3, step=2)
    b.linear(b.add("reshape", h, shape=[4]), 4, 1)
    return b.model(4, 1)


def gated() -> Model:
    b = _build(7, [3])
    one, two = b.act(b.linear(0, 3, 4)), b.act(b.linear(0, 3, 4), "sigmoid")
    h = b.add("product", [one, two])
    h = b.linear(b.add("scale", h, numerator=3.0, denominator=2.0), 4, 3)
    h = b.add("product", [h, h])
    b.linear(h, 3, 1)
    return b.model(3, 1)


def gated_by_data() -> Model:
    b = _build(8, [3])
    h = b.add("product", [b.linear(0, 3, 3), 0])
    b.linear(b.add("concatenate", [h, 0, h], axis=0), 9, 2)
    return b.model(3, 2)


def two_gates() -> Model:
    """Three outputs, factors of different sizes that different layers reach."""
    b = _build(9, [3])
    one, two = b.linear(0, 3, 4, gain=2.0), b.act(b.linear(0, 3, 4, gain=0.3), "sigmoid")
    h = b.add("product", [one, two])
    b.linear(b.add("concatenate", [h, two], axis=0), 8, 3)
    return b.model(2, 3)


def summed_gates() -> Model:
    """Two outputs; two layers in one factor, which no curvature joins."""
    b = _build(26, [2, 2])
    one = b.add("sum", [b.linear(0, 2, 2), b.linear(0, 2, 2)], signs=[1, 1])
    h = b.add("product", [one, b.act(b.linear(0, 2, 2), "sigmoid")])
    b.linear(b.add("reshape", h, shape=[4]), 4, 2)
    return b.model(2, 2)


def attention() -> Model:
    b = _build(10, [3, 4])
    q, k, v = (b.linear(0, 4, 4, bias=False, gain=0.7) for _ in range(3))
    heads = []
    for x in (q, k, v):
        x = b.add("reshape", x, shape=[3, 2, 2])
        heads.append(b.add("permute", x, axes=[1, 0, 2]))
    q, k, v = heads
    k = b.add("permute", k, axes=[0, 2, 1])
    s = b.add("scale", b.add("matrix_product", [q, k]), numerator=1.0, denominator=2.0**0.5)
    h = b.add("matrix_product", [b.add("softmax", s), v])
    h = b.add("reshape", b.add("permute", h, axes=[1, 0, 2]), shape=[3, 4])
    b.add("mean", b.linear(h, 4, 2), axes=[0])
    return b.model(2, 2)


def tokens() -> Model:
    b = _build(11, [4])
    h = b.weighted("embedding", 0, (5, 3), gain=0.7)
    h = b.weighted("shift", h, (4, 3), axis=0)
    h = b.add("normalize", h, axes=1, epsilon=1e-2)
    h = b.weighted("linear", h, (3, 3), (3,))
    h = b.add("mean", b.act(h, "gelu_tanh"), axes=[0])
    b.weighted("linear", h, "weights/0.weight", None)  # the table again
    return b.model(3, 5, b.rng.integers(0, 5, size=(3, 4)))


def words() -> Model:
    """Attention with one output; every layer but the last goes by its weights."""
    b = _build(12, [3])
    h = b.weighted("embedding", 0, (4, 2), gain=0.9)
    q, k = b.linear(h, 2, 2, gain=0.8), b.linear(h, 2, 2, bias=False, gain=0.8)
    s = b.add("softmax", b.add("matrix_product", [q, b.add("permute", k, axes=[1, 0])]))
    h = b.add("sum", [h, b.add("matrix_product", [s, h])], signs=[1, 1])
    h = b.add("normalize", h, axes=1, epsilon=0.5)
    h = b.act(b.linear(b.weighted("affine", h, (2,), (2,), axis=1, gain=1.0), 2, 1), "silu")
    b.linear(b.add("mean", h, axes=[0]), 1, 1)
    return b.model(3, 1, b.rng.integers(0, 4, size=(3, 3)))


def tied() -> Model:
    b = _build(13, [3])
    h = b.act(b.linear(0, 3, 3))
    h = b.act(b.weighted("linear", h, "weights/0.weight", "weights/0.bias"), "sigmoid")
    h = b.act(b.weighted("linear", h, "weights/0.weight", (3,)), "sigmoid")
    b.linear(h, 3, 1)
    return b.model(3, 1)


def bridged() -> Model:
    """Two layers that are linked by a third, which shares an array with each."""
    b = _build(14, [2])
    one = b.linear(0, 2, 2)
    two = b.act(b.linear(one, 2, 2))
    h = b.weighted("linear", two, "weights/0.weight", "weights/1.bias")
    b.linear(b.act(h, "sigmoid"), 2, 2)
    return b.model(2, 2)


def sequences() -> Model:
    b = _build(15, [4, 2])
    h = b.act(b.linear(0, 2, 3))
    h = b.weighted("affine", h, (3,), None, axis=1)
    h = b.act(b.linear(h, 3, 2), "softplus", beta=1.5, threshold=30.0)
    h = b.weighted("shift", h, (2,), axis=1)
    h = b.add("product", [h, h])
    b.linear(b.add("reshape", h, shape=[8]), 8, 1)
    return b.model(3, 1)


def partly() -> Model:
    """Frozen layers between trained ones, a frozen weight with a trained bias, data on the way."""
    b = _build(16, [3])
    z = b.act(b.linear(0, 3, 3, trains=(False, False)))
    h = b.linear(z, 3, 3, trains=(False, True))
    h = b.linear(b.act(h), 3, 3, trains=(False, False))
    h = b.add("sum", [h, z], signs=[1, -1])
    h = b.linear(b.act(h, "sigmoid"), 3, 3, trains=(True, False))
    b.linear(b.act(h), 3, 2, trains=(False, True))
    return b.model(3, 2)


def grouped() -> Model:
    """One output, more trained numbers than entries, in two groups."""
    b = _build(19, [2, 4])
    keys = {"stride": [1], "padding": [0], "dilation": [1], "groups": 2}
    h = b.act(b.weighted("convolution", 0, (2, 1, 3), (2,), **keys))
    b.linear(b.add("reshape", h, shape=[4]), 4, 1)
    return b.model(2, 1)


def long_rows() -> Model:
    """One output, four times as many trained numbers as entries."""
    b = _build(20, [2, 7])
    h = b.act(b.linear(0, 7, 4))
    b.linear(b.add("reshape", h, shape=[8]), 8, 1)
    return b.model(2, 1)


def two_rows() -> Model:
    """A layer of two positions whose input moves."""
    b = _build(22, [3])
    h = b.add("reshape", b.act(b.linear(0, 3, 4)), shape=[2, 2])
    h = b.add("reshape", b.act(b.linear(h, 2, 2), "sigmoid"), shape=[4])
    b.linear(h, 4, 2)
    return b.model(2, 2)


def one_window() -> Model:
    """A convolution of one position at the margin, whose input moves."""
    b = _build(23, [3])
    h = b.add("reshape", b.act(b.linear(0, 3, 5)), shape=[1, 5])
    keys = {"stride": [9], "padding": [1], "dilation": [1], "groups": 1}
    h = b.weighted("convolution", h, (2, 1, 3), (2,), **keys)
    b.linear(b.act(b.add("reshape", h, shape=[2])), 2, 1)
    return b.model(2, 1)


def deep_windows() -> Model:
    """Two outputs; a convolution with far more numbers than places, which goes by its value."""
    b = _build(25, [6, 3])
    keys = {"stride": [1], "padding": [0], "dilation": [1], "groups": 1}
    h = b.act(b.weighted("convolution", 0, (1, 6, 2), (1,), **keys))
    b.linear(b.add("reshape", h, shape=[2]), 2, 2)
    return b.model(2, 2)


def late() -> Model:
    """A linear network whose one trained layer stands behind others, and is read twice."""
    b, h = _build(24, [2]), 0
    for _ in range(5):
        h = b.add("scale", h, numerator=-3.0, denominator=2.0)
    h = b.linear(h, 2, 2)
    b.add("sum", [b.add("scale", h, numerator=2.0, denominator=3.0), h], signs=[1, 1])
    return b.model(2, 2)


def broad() -> Model:
    """So many trained numbers in two groups that their squares are what counts."""
    b = _build(21, [8, 3])
    keys = {"stride": [1], "padding": [0], "dilation": [1], "groups": 2}
    h = b.weighted("convolution", 0, (128, 4, 2), None, **keys)
    b.linear(b.add("reshape", h, shape=[256]), 256, 1)
    return b.model(1, 1)


def still() -> Model:
    """One sample of which nothing moves before the second layer."""
    b = _build(17, [3])
    h = b.linear(b.act(b.linear(0, 3, 3, bias=False)), 3, 3)
    b.linear(b.act(h, "sigmoid"), 3, 2)
    model = b.model(3, 2)
    model.inputs[1] = 0
    return model


def unit() -> Model:
    """For the ball of radius 1, on which weights move by exactly 1."""
    b = _build(18, [2])
    h = b.linear(b.act(b.linear(0, 2, 3)), 3, 2, gain=0.5)
    b.linear(b.act(h), 2, 2, gain=0.5)
    return b.model(2, 2)


MODELS: dict[str, Callable[[], Model]] = {
    model.__name__: model
    for model in (
        residual, images, pictures, scenes, signals, norms, frozen_norms, gated, gated_by_data,
        two_gates, summed_gates, attention, tokens, words, tied, bridged, sequences, partly,
        grouped, long_rows, two_rows, one_window, deep_windows, late, still, unit,
    )
}  # fmt: skip


def flat(model: Model) -> Any:
    """The rows of data as the checker takes them."""
    return model.inputs.reshape(len(model.inputs), math.prod(model.input_shape)).astype(float)
