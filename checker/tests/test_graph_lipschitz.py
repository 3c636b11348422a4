"""B6 against what it bounds, kind by kind: kernels, attacks, differences of Jacobians."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx
from graph_reference import table
from graphs import Build, Model, attacked

from talweg_check._arrays import PRECISION, approx
from talweg_check._graph_lipschitz import GraphLipschitz, _OnBall
from talweg_check._graph_pairs import Pairs
from talweg_check._losses import CrossEntropy
from talweg_check.kinds._kind import entries


def _build(seed: int, shape: list[int]) -> Build:
    return Build(np.random.default_rng(seed), shape)


def residual(seed: int) -> Model:
    b = _build(seed, [3])
    h = b.linear(0, 3, 4)
    r = b.linear(b.act(b.linear(h, 4, 4, gain=0.8)), 4, 4, bias=False)
    h = b.add("sum", [h, r], signs=[1, -1])
    b.linear(b.act(h, "sin"), 4, 2)
    return b.model(4, 2)


def images(seed: int) -> Model:
    b = _build(seed, [1, 4, 4])
    keys = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    h = b.weighted("convolution", 0, (2, 1, 3, 3), (2,), **keys)
    h = b.add("average_pool", b.act(h), kernel=[2, 2], stride=[2, 2], padding=[0, 0])
    h = b.act(b.weighted("convolution", h, (1, 2, 2, 2), None, **{**keys, "padding": [0, 1]}))
    h = b.add("mean", h, axes=[1, 2])
    b.linear(h, 1, 1)
    return b.model(2, 1)


def signals(seed: int) -> Model:
    b = _build(seed, [2, 6])
    keys = {"stride": [2], "padding": [2], "dilation": [2], "groups": 2}
    h = b.act(b.weighted("convolution", 0, (4, 1, 2), None, **keys), "silu")
    h = b.add("average_pool", h, kernel=[3], stride=[1], padding=[1])
    h = b.weighted("affine", h, (4,), (4,), axis=0)
    h = b.weighted("convolution", h, (2, 4, 2), (2,), stride=[1], padding=[0], dilation=[1],
                   groups=1)  # fmt: skip
    h = b.add("reshape", h, shape=[int(np.prod(_shape(b, h)))])
    b.linear(b.act(h, "tanh"), int(np.prod(_shape(b, h))), 1, trains=(True, False))
    return b.model(3, 1)


def _shape(b: Build, index: int) -> tuple[int, ...]:
    return b.model(1, 1).outputs(b.model(1, 1).flat()).shape[1:]


def norms(seed: int) -> Model:
    b = _build(seed, [4])
    h = b.linear(0, 4, 5)
    h = b.add("normalize", h, axes=1, epsilon=0.1)
    h = b.weighted("affine", h, (5,), (5,), axis=0, gain=1.0)
    h = b.act(h, "silu")
    b.linear(h, 5, 2, bias=False)
    return b.model(4, 2)


def frozen_norms(seed: int) -> Model:
    b = _build(seed, [2, 3])
    h = b.linear(0, 3, 3)
    b.weights["weights/1.weight"] = b.rng.normal(size=2)
    b.weights["weights/1.bias"] = b.rng.uniform(0.5, 2, size=2)
    h = b.add("standardize", h, weight="weights/1.weight", bias="weights/1.bias", epsilon=1e-5)
    h = b.act(b.weighted("affine", h, (2,), (2,), axis=0))
    h = b.add("permute", h, axes=[1, 0])
    h = b.add("slice", h, axis=0, start=0, stop=3, step=2)
    h = b.add("reshape", h, shape=[4])
    b.linear(h, 4, 1)
    return b.model(4, 1)


def gated(seed: int) -> Model:
    b = _build(seed, [3])
    one, two = b.act(b.linear(0, 3, 4)), b.act(b.linear(0, 3, 4), "sigmoid")
    h = b.add("product", [one, two])
    h = b.linear(b.add("scale", h, numerator=3.0, denominator=2.0), 4, 3)
    h = b.add("product", [h, h])
    b.linear(h, 3, 1)
    return b.model(4, 1)


def gated_by_data(seed: int) -> Model:
    b = _build(seed, [3])
    h = b.add("product", [b.linear(0, 3, 3), 0])
    b.linear(b.add("concatenate", [h, 0, h], axis=0), 9, 2)
    return b.model(3, 2)


def attention(seed: int) -> Model:
    b = _build(seed, [3, 4])
    q, k, v = (b.linear(0, 4, 4, bias=False, gain=0.7) for _ in range(3))
    heads = []
    for x in (q, k, v):
        x = b.add("reshape", x, shape=[3, 2, 2])
        heads.append(b.add("permute", x, axes=[1, 0, 2] if x != 0 else []))
    q, k, v = heads
    k = b.add("permute", k, axes=[0, 2, 1])
    s = b.add("scale", b.add("matrix_product", [q, k]), numerator=1.0, denominator=2.0**0.5)
    h = b.add("matrix_product", [b.add("softmax", s), v])
    h = b.add("reshape", b.add("permute", h, axes=[1, 0, 2]), shape=[3, 4])
    h = b.add("mean", b.linear(h, 4, 2), axes=[0])
    return b.model(2, 2)


def tokens(seed: int) -> Model:
    b = _build(seed, [4])
    h = b.weighted("embedding", 0, (5, 3), gain=0.7)
    h = b.weighted("shift", h, (4, 3), axis=0)
    h = b.add("normalize", h, axes=1, epsilon=1e-2)
    h = b.weighted("linear", h, (3, 3), (3,))
    h = b.add("mean", b.act(h, "gelu_tanh"), axes=[0])
    b.weighted("linear", h, "weights/0.weight", None)  # the table again
    inputs = b.rng.integers(0, 5, size=(3, 4))
    return b.model(3, 5, inputs)


def words(seed: int) -> Model:
    """Attention with one output; every layer but the last goes by its weights."""
    b = _build(seed, [3])
    h = b.weighted("embedding", 0, (4, 2), gain=0.9)
    q, k = b.linear(h, 2, 2, gain=0.8), b.linear(h, 2, 2, bias=False, gain=0.8)
    s = b.add("softmax", b.add("matrix_product", [q, b.add("permute", k, axes=[1, 0])]))
    h = b.add("sum", [h, b.add("matrix_product", [s, h])], signs=[1, 1])
    h = b.add("normalize", h, axes=1, epsilon=0.5)
    h = b.act(b.linear(b.weighted("affine", h, (2,), (2,), axis=1, gain=1.0), 2, 1), "silu")
    b.linear(b.add("mean", h, axes=[0]), 1, 1)
    return b.model(3, 1, b.rng.integers(0, 4, size=(3, 3)))


def tied(seed: int) -> Model:
    b = _build(seed, [3])
    h = b.act(b.linear(0, 3, 3))
    h = b.act(b.weighted("linear", h, "weights/0.weight", "weights/0.bias"), "sin")
    h = b.act(b.weighted("linear", h, "weights/0.weight", (3,)), "sin")
    b.linear(h, 3, 1)
    return b.model(4, 1)


def sequences(seed: int) -> Model:
    b = _build(seed, [4, 2])
    h = b.act(b.linear(0, 2, 3))
    h = b.weighted("affine", h, (3,), None, axis=1)
    h = b.act(b.linear(h, 3, 2), "softplus", beta=1.5, threshold=30.0)
    h = b.weighted("shift", h, (2,), axis=1)
    h = b.add("product", [h, h])
    b.linear(b.add("reshape", h, shape=[8]), 8, 1)
    return b.model(3, 1)


def margins(seed: int) -> Model:
    """One position, whose window reaches beyond its input on one side."""
    b = _build(seed, [3])
    h = b.add("reshape", b.act(b.linear(0, 3, 5)), shape=[1, 5])
    keys = {"stride": [9], "padding": [1], "dilation": [1], "groups": 1}
    h = b.weighted("convolution", h, (2, 1, 3), (2,), **keys)
    b.linear(b.act(b.add("reshape", h, shape=[2])), 2, 1)
    return b.model(2, 1)


MODELS: dict[str, Callable[[int], Model]] = {
    model.__name__: model
    for model in (
        residual, images, signals, norms, frozen_norms, gated, gated_by_data, attention, tokens,
        words, tied, sequences, margins,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_kernel(name: str) -> None:
    model = MODELS[name](0)
    counts = np.arange(1, len(model.inputs) + 1)
    with ctx.workprec(PRECISION):
        net = model.network(counts)
        kernel = approx(net.kernel())
        outputs = approx(net.h[-1])
    flat = model.flat()
    np.testing.assert_allclose(outputs, model.outputs(flat), rtol=1e-12, atol=1e-12)
    root = np.sqrt(np.repeat(counts, outputs.shape[1]))
    jacobian = root[:, None] * model.jacobian(flat)
    np.testing.assert_allclose(kernel, jacobian @ jacobian.T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_is_above_the_attack_at_the_start(name: str) -> None:
    model = MODELS[name](1)
    found = attacked(model, model.flat(), np.random.default_rng(1))
    with ctx.workprec(PRECISION):
        bound = float(GraphLipschitz(model.network()).upper(1e-9))
    assert found * (1 - 1e-6) <= bound <= 40 * found + 1e-6


@pytest.mark.parametrize("radius", [0.05, 0.5])
@pytest.mark.parametrize("name", MODELS)
def test_is_above_differences_of_jacobians(name: str, radius: float) -> None:
    model, rng = MODELS[name](2), np.random.default_rng(3)
    if name in ("norms", "tokens", "words"):
        radius /= 16 if name == "words" else 8  # beyond that, a deviation may vanish
    with ctx.workprec(PRECISION):
        bound = float(GraphLipschitz(model.network()).upper(radius))
    centre = model.flat()
    for _ in range(5):
        ends = []
        for _ in range(2):
            step = rng.normal(size=len(centre))
            ends.append(centre + radius * step / np.linalg.norm(step))
        change = model.jacobian(ends[0]) - model.jacobian(ends[1])
        assert np.linalg.norm(change, 2) <= bound * np.linalg.norm(ends[0] - ends[1])


@pytest.mark.parametrize("radius", [1e-9, 0.02])
@pytest.mark.parametrize("name", MODELS)
def test_is_the_formula_of_the_page(name: str, radius: float) -> None:
    """The twin samples its ranges, so it may fall short a little, but never exceed the bound."""
    model = MODELS[name](4)
    counts = np.arange(1, len(model.inputs) + 1)
    with ctx.workprec(PRECISION):
        found = approx(_OnBall(GraphLipschitz(model.network(counts)), arb(radius)).table())
    twin = table(model, counts, radius)
    slack = 1e-6 if radius < 1e-6 else 1e-4
    assert (twin * (1 - 1e-7) - 1e-9 <= found).all()
    assert (found <= twin * (1 + slack) + 1e-9).all()


def test_the_models_need_all_maps() -> None:
    """By value and by weight, through the tangents of few weights and of few entries."""
    found = set()
    for build in MODELS.values():
        model = build(5)
        pairs = Pairs(model.network())
        for a in pairs.net.at:
            if pairs.formed(a):
                small = pairs.trained_numbers(a) <= entries(pairs.net.kind(a).shape)
                found.add((pairs.net.outputs > 1, pairs.by_weight(a), small))
    assert found >= {
        (False, True, True), (False, True, False), (False, False, False), (True, False, False),
        (True, True, True), (True, True, False),
    }  # fmt: skip


def test_large_values_of_several_outputs_have_no_maps() -> None:
    b = _build(0, [2])
    b.linear(b.act(b.linear(0, 2, 1100, bias=False)), 1100, 2, bias=False)
    pairs = Pairs(b.model(1, 2).network())
    assert pairs.maps(1, 3) == []  # 2 * 1100 * 1100 > 2^21
    assert pairs.maps(3, 3) == []  # nothing is curved behind it


def test_with_one_output_the_maps_are_the_norms() -> None:
    """A form in one direction of the outputs is its map: at w0 each pair meets its attack."""
    b = _build(3, [3])
    b.linear(b.act(b.linear(b.act(b.linear(0, 3, 3)), 3, 2)), 2, 1)
    model = b.model(1, 1)
    with ctx.workprec(PRECISION):
        found = approx(_OnBall(GraphLipschitz(model.network()), arb(1e-12)).table())
    tensor, ends, start = model.second(model.flat()), [], 0
    for name in ("0", "2", "4"):
        size = sum(model.weights[f"weights/{name}.{key}"].size for key in ("weight", "bias"))
        ends.append(slice(start, start + size))
        start += size
    for i, one in enumerate(ends):
        for j, two in enumerate(ends):
            norm = np.linalg.norm(tensor[0, one, two], 2)
            assert norm <= found[i, j] * (1 + 1e-6) + 1e-9 <= norm * (1 + 1e-5) + 1e-8


@pytest.mark.parametrize("frame", [False, True])
def test_a_frame_never_loosens(frame: bool) -> None:
    """Along k - 1 directions the choices are those of the k outputs."""
    model = gated_by_data(3)
    lines = CrossEntropy(Fraction(1), "sum", "", 3, 2, Fraction(0)).frame if frame else None
    with ctx.workprec(PRECISION):
        all_outputs = GraphLipschitz(model.network())
        bound = GraphLipschitz(model.network(None, lines))
        assert bound.start.maps.by_value.keys() == all_outputs.start.maps.by_value.keys()
        assert not bound.start.maps.by_weight
        for radius in (1e-6, 0.3):
            assert float(bound.upper(radius)) <= float(all_outputs.upper(radius)) * (1 + 1e-7)


@pytest.mark.parametrize("radius", [0.0, 1e-3, 0.1, 1.0, 3.0])
def test_a_second_derivative_that_only_shrinks_ends_a_cancellation(radius: float) -> None:
    # F(b) = cos b - cos(2 b) / 4: F'' is 0 at b = 0, where |phi''| is largest in both units.
    b = _build(0, [1])
    shifted = b.linear(0, 1, 1, trains=(False, True))
    units = b.linear(shifted, 1, 2, trains=(False, False))
    b.linear(b.act(units, "sin"), 2, 1, bias=False, trains=(False, False))
    model = b.model(1, 1, np.zeros((1, 1)))
    half = float(np.pi / 2)
    values = {
        "weights/0.weight": [[1.0]], "weights/0.bias": [0.0],
        "weights/1.weight": [[1.0], [2.0]], "weights/1.bias": [half, 3 * half],
        "weights/3.weight": [[1.0, 0.25]],
    }  # fmt: skip
    model.weights.update({name: np.array(value) for name, value in values.items()})
    with ctx.workprec(PRECISION):
        bound = GraphLipschitz(model.network()).upper(radius)
        for share in np.linspace(-1, 1, 9):
            second = np.cos(2 * share * radius) - np.cos(share * radius)
            assert bound >= arb(abs(second)) - arb(1e-15)
