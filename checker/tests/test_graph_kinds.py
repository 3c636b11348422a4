"""Every kind of operation alone: values, derivatives, and each entry of the tables of B6."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from graphs import apply
from reference import attack

import talweg_check.kinds as package
from talweg_check._arrays import PRECISION, approx, exact
from talweg_check.kinds import KINDS
from talweg_check.kinds._kind import Curved, Kind
from talweg_check.kinds._parametric import Parametric

CONVOLUTION = {"stride": [2, 1], "padding": [1, 2], "dilation": [1, 2], "groups": 2}
CASES: dict[str, tuple[dict[str, Any], list[tuple[int, ...]], dict[str, tuple[int, ...]]]] = {
    "linear": ({"kind": "linear"}, [(3,)], {"weight": (4, 3), "bias": (4,)}),
    "linear, sequence": ({"kind": "linear"}, [(2, 3)], {"weight": (4, 3)}),
    "convolution": (
        {"kind": "convolution", **CONVOLUTION}, [(4, 4, 5)],
        {"weight": (2, 2, 3, 2), "bias": (2,)},
    ),
    "convolution, one axis": (
        {"kind": "convolution", "stride": [1], "padding": [0], "dilation": [1], "groups": 1},
        [(2, 5)], {"weight": (3, 2, 3)},
    ),
    "affine": ({"kind": "affine", "axis": 0}, [(3,)], {"weight": (3,), "bias": (3,)}),
    "affine, inside": ({"kind": "affine", "axis": 1}, [(2, 3, 2)], {"weight": (3,)}),
    "shift": ({"kind": "shift", "axis": 0}, [(3, 2)], {"weight": (3, 2)}),
    "standardize": (
        {"kind": "standardize", "epsilon": 1e-3}, [(3, 2)], {"weight": (3,), "bias": (3,)},
    ),
    "tanh": ({"kind": "elementwise", "function": "tanh", "parameters": {}}, [(4,)], {}),
    "sin": ({"kind": "elementwise", "function": "sin", "parameters": {}}, [(2, 3)], {}),
    "scale": ({"kind": "scale", "numerator": -3.0, "denominator": 2.0}, [(2, 2)], {}),
    "sum": ({"kind": "sum", "signs": [1, -1, 1]}, [(3,), (3,), (3,)], {}),
    "product": ({"kind": "product"}, [(2, 2), (2, 2)], {}),
    "matrix product": ({"kind": "matrix_product"}, [(2, 2, 3), (2, 3, 2)], {}),
    "softmax": ({"kind": "softmax"}, [(2, 4)], {}),
    "normalize": ({"kind": "normalize", "axes": 1, "epsilon": 0.2}, [(2, 5)], {}),
    "normalize, two axes": ({"kind": "normalize", "axes": 2, "epsilon": 0.01}, [(2, 3)], {}),
    "average pool": (
        {"kind": "average_pool", "kernel": [3, 2], "stride": [2, 1], "padding": [1, 0]},
        [(2, 4, 4)], {},
    ),
    "mean": ({"kind": "mean", "axes": [2, 0]}, [(2, 3, 2)], {}),
    "concatenate": ({"kind": "concatenate", "axis": 1}, [(2, 1), (2, 3)], {}),
    "reshape": ({"kind": "reshape", "shape": [3, 2]}, [(6,)], {}),
    "permute": ({"kind": "permute", "axes": [2, 0, 1]}, [(2, 3, 4)], {}),
    "slice": ({"kind": "slice", "axis": 1, "start": 1, "stop": 5, "step": 2}, [(2, 5)], {}),
}  # fmt: skip
SAMPLES = 3


class Alone:
    """One operation at random inputs."""

    def __init__(self, name: str, seed: int, spread: float = 1.0) -> None:
        item, self.shapes, arrays = CASES[name]
        rng = self.rng = np.random.default_rng(seed)
        self.weights = {key: rng.uniform(0.3, 1.5, size) for key, size in arrays.items()}
        for key in self.weights:
            if item["kind"] != "standardize":
                self.weights[key] *= rng.choice([-1, 1], self.weights[key].shape)
        self.item = item | {key: key for key in arrays}
        stated = {
            key: value.hex() if isinstance(value, float) else value
            for key, value in item.items()
        }  # fmt: skip
        self.kind: Kind = KINDS[item["kind"]](stated, self.shapes, arrays)
        self.values = [spread * rng.normal(size=(SAMPLES, *shape)) for shape in self.shapes]
        if isinstance(self.kind, Parametric):
            trains = item["kind"] != "standardize"
            self.kind.assign({key: key for key in arrays}, dict.fromkeys(arrays, trains), [])
            self.kind.load({key: exact(value) for key, value in self.weights.items()})
        self.value, self.state = self.kind.run([exact(value) for value in self.values])
        size = (SAMPLES, 2, *self.kind.shape)
        self.g = rng.normal(size=size)

    def dense(self, values: list[np.ndarray], weights: dict[str, np.ndarray]) -> list[np.ndarray]:
        """D by slot and sample, (SAMPLES, d_t, d_e), by complex steps."""
        result = []
        for slot, value in enumerate(values):
            size = value[0].size
            columns = []
            for unit in np.eye(size):
                moved = [v.astype(complex) for v in values]
                moved[slot] = moved[slot] + 1e-30j * unit.reshape(value.shape[1:])
                columns.append(apply(self.item, moved, weights).imag.reshape(len(value), -1) * 1e30)
            result.append(np.stack(columns, axis=2))
        return result

    def second(self, values: list[np.ndarray], h: float = 1e-4) -> np.ndarray:
        """(SAMPLES, d_t, d, d) on all inputs together."""
        sizes = [value[0].size for value in values]
        slices = []
        for slot, size in enumerate(sizes):
            for unit in np.eye(size):
                ends = []
                for sign in (1, -1):
                    moved = [value.copy() for value in values]
                    moved[slot] = moved[slot] + sign * h * unit.reshape(values[slot].shape[1:])
                    ends.append(np.concatenate(self.dense(moved, self.weights), axis=2))
                slices.append((ends[0] - ends[1]) / (2 * h))
        return np.stack(slices, axis=3)

    def moved(self, etas: list[np.ndarray], radius: float) -> tuple[list[np.ndarray], dict]:
        """Inputs and weights somewhere within the bounds, often at them."""
        values = []
        for value, eta in zip(self.values, etas, strict=True):
            step = self.rng.normal(size=value.shape)
            if self.rng.random() < 0.5:  # along one coordinate
                step *= self.rng.random(size=value.shape) > 0.8
            size = np.linalg.norm(step.reshape(SAMPLES, -1), axis=1) + 1e-300
            values.append(value + step * (eta / size).reshape(-1, *[1] * (value.ndim - 1)))
        steps = {key: self.rng.normal(size=w.shape) for key, w in self.weights.items()}
        size = np.sqrt(sum((step**2).sum() for step in steps.values()))
        frozen = self.item["kind"] == "standardize"
        return values, {
            key: w + (0 if frozen else radius * steps[key] / size)
            for key, w in self.weights.items()
        }  # fmt: skip


@pytest.fixture(autouse=True)
def _precision() -> Any:
    with ctx.workprec(PRECISION):
        yield


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name: str) -> None:
    at = Alone(name, 0)
    expected = apply(at.item, at.values, at.weights)
    assert expected.shape[1:] == at.kind.shape
    np.testing.assert_allclose(approx(at.value), expected, rtol=1e-12, atol=1e-13)
    for slot, dense in enumerate(at.dense(at.values, at.weights)):
        x = at.rng.normal(size=(SAMPLES, 4, *at.shapes[slot]))
        pushed = approx(at.kind.push(at.state, slot, exact(x))).reshape(SAMPLES, 4, -1)
        flat = x.reshape(SAMPLES, 4, -1)
        np.testing.assert_allclose(pushed, flat @ dense.transpose(0, 2, 1), rtol=1e-11, atol=1e-12)
        pulled = approx(at.kind.pull(at.state, slot, exact(at.g))).reshape(SAMPLES, 2, -1)
        flat = at.g.reshape(SAMPLES, 2, -1)
        np.testing.assert_allclose(pulled, flat @ dense, rtol=1e-11, atol=1e-12)
        norms = np.linalg.norm(dense, 2, axis=(1, 2))
        stretch = approx(at.kind.stretches(at.state)[slot] + exact(np.zeros(SAMPLES)))
        assert (norms <= stretch * (1 + 1e-12)).all()
        if at.item["kind"] in ("linear", "convolution", "affine", "elementwise", "product"):
            assert (stretch <= norms * (1 + 1e-6)).all()


@pytest.mark.parametrize("size", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("name", CASES)
def test_what_moves_on_the_ball(name: str, size: float) -> None:
    at = Alone(name, 1)
    if at.item["kind"] == "normalize":
        size *= 0.1
    etas = [size * (1 + at.rng.random(SAMPLES)) for _ in at.values]
    radius = 0.7 * size
    if isinstance(at.kind, Parametric) and not at.kind.trained:
        radius = 0.0
    eta, deltas, _ = at.kind.drift(at.state, [exact(eta) for eta in etas], arb(radius))
    value, slopes = apply(at.item, at.values, at.weights), at.dense(at.values, at.weights)
    for _ in range(8):
        values, weights = at.moved(etas, radius)
        change = (apply(at.item, values, weights) - value).reshape(SAMPLES, -1)
        assert (np.linalg.norm(change, axis=1) <= approx(eta) * (1 + 1e-12) + 1e-15).all()
        for delta, slope, other in zip(deltas, slopes, at.dense(values, weights), strict=True):
            norms = np.linalg.norm(other - slope, 2, axis=(1, 2))
            assert (norms <= approx(delta) * (1 + 1e-12) + 1e-13).all()


def _form(at: Alone, tensor: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Q, (SAMPLES, k, d, d)."""
    return np.einsum("ikt,itab->ikab", g.reshape(SAMPLES, g.shape[1], -1), tensor)


CURVED = [name for name in CASES if issubclass(KINDS[CASES[name][0]["kind"]], Curved)]


def _root(at: Alone, kind: Curved, form: Any, tau: np.ndarray) -> np.ndarray:
    """(SAMPLES, rows, d)."""
    sizes = [int(np.prod(shape)) for shape in at.shapes]
    blocks = []
    for slot, size in enumerate(sizes):
        units = np.broadcast_to(np.eye(size), (SAMPLES, size, size))
        tangents: list[Any] = [exact(np.zeros((SAMPLES, size, *shape))) for shape in at.shapes]
        tangents[slot] = exact(units).reshape(SAMPLES, size, *at.shapes[slot])
        found = approx(kind.root(at.state, form, exact(tau), tangents))
        blocks.append(found.transpose(0, 2, 1))
    return np.concatenate(blocks, axis=2)


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("name", CURVED)
def test_curvature_at_the_start(name: str, spread: float) -> None:
    """|Q(u)[x, x']| <= |u| |R x| |R x'| and <= q |u| |x| |x'|."""
    at = Alone(name, 2, spread)
    kind = at.kind
    assert isinstance(kind, Curved)
    form = kind.form(at.state, exact(at.g))
    size, tau = approx(kind.size(at.state, form)), at.rng.uniform(0.3, 3, SAMPLES)
    root = _root(at, kind, form, tau)
    tensor = _form(at, at.second(at.values), at.g)
    for i in range(SAMPLES):
        assert attack(tensor[i], at.rng, 4) <= size[i] * (1 + 1e-5) + 1e-6
        # In the coordinates R x: x = R^+ y reaches everything that R does not send to zero.
        inverse = np.linalg.pinv(root[i], rcond=1e-9)
        turned = inverse.T @ tensor[i] @ inverse
        assert attack(turned, at.rng, 4) <= 1 + 1e-4
        kernel = np.eye(root.shape[2]) - inverse @ root[i]
        assert abs(kernel.T @ tensor[i]).max() < 1e-5


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("name", CURVED)
def test_what_bends_the_cotangents(name: str, absent: bool) -> None:
    """Q(e_o)[x, .] for tangents of all slots, or of the last one only."""
    at = Alone(name, 6)
    kind = at.kind
    assert isinstance(kind, Curved)
    tangents = [at.rng.normal(size=(SAMPLES, 3, *shape)) for shape in at.shapes]
    given: list[Any] = [exact(x) for x in tangents]
    if absent and len(tangents) > 1:
        given[0], tangents[0] = None, np.zeros_like(tangents[0])
    found = kind.bend(at.state, exact(at.g), given)
    flat = np.concatenate([x.reshape(SAMPLES, 3, -1) for x in tangents], axis=2)
    wanted = np.einsum("ikab,ima->ikmb", _form(at, at.second(at.values), at.g), flat)
    start = 0
    for slot, shape in enumerate(at.shapes):
        size = int(np.prod(shape))
        part = wanted[..., start : start + size].reshape(SAMPLES, 2, 3, *shape)
        start += size
        if found[slot] is None:
            assert abs(part).max() < 1e-6
        else:
            np.testing.assert_allclose(approx(found[slot]), part, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1e-2, 0.2, 1.0])
@pytest.mark.parametrize("name", CURVED)
def test_curvature_on_the_ball(name: str, size: float) -> None:
    at = Alone(name, 3)
    kind = at.kind
    assert isinstance(kind, Curved)
    if at.item["kind"] == "normalize":
        size *= 0.1
    etas = [size * (0.5 + at.rng.random(SAMPLES)) for _ in at.values]
    gamma = size * at.rng.random(SAMPLES)
    form = kind.form(at.state, exact(at.g))
    _, _, ball = kind.drift(at.state, [exact(eta) for eta in etas], arb(0))
    growth = approx(kind.growth(at.state, form, exact(gamma), ball))
    start = _form(at, at.second(at.values), at.g)
    for _ in range(4):
        values, _ = at.moved(etas, 0.0)
        step = at.rng.normal(size=at.g.shape)
        norms = np.linalg.norm(step.reshape(SAMPLES, 2, -1), 2, axis=(1, 2))
        g = at.g + step * (gamma / norms).reshape(-1, *[1] * (step.ndim - 1))
        tensor = _form(at, at.second(values), g)
        for i in range(SAMPLES):
            if at.item["kind"] == "elementwise":  # |Q| entry by entry, over s_j
                diagonal = abs(np.einsum("kaa->ka", tensor[i]))
                over = np.linalg.norm(diagonal, axis=0) - approx(form[1])[i].ravel()
                assert over.max() <= growth[i] * (1 + 1e-5) + 1e-6
            else:
                assert attack(tensor[i] - start[i], at.rng, 3) <= growth[i] * (1 + 1e-5) + 1e-6


FILES = sorted(Path(package.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_can_be_read_at_once(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 150
    assert not re.search(r"^\s*(import|from) (talweg|torch)\b", text, re.MULTILINE)
