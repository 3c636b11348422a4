"""Files of format 2: those that hold are confirmed, lies and malformed ones are not."""

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import ctx
from generator import canonical, write
from graphs import Build, GraphDraft, GraphEntropyDraft, Model

from talweg_check import check
from talweg_check._arrays import PRECISION
from talweg_check._cli import main
from talweg_check._graph_lipschitz import GraphLipschitz
from talweg_check._verdict import Incomplete, Invalid

VALID = ("valid", "every claim is confirmed")


def _model(seed: int = 0) -> Model:
    """A residual network with an attention-like product and a shared layer."""
    b = Build(np.random.default_rng(seed), [4])
    h = b.act(b.linear(0, 4, 10))
    r = b.linear(b.act(b.linear(h, 10, 10, gain=0.3)), 10, 10, bias=False, gain=0.3)
    b.linear(b.add("sum", [h, r], signs=[1, 1]), 10, 1)
    return b.model(5, 1).polish(1e-6)


def _images() -> Model:
    b = Build(np.random.default_rng(1), [1, 4, 4])
    keys = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    h = b.weighted("convolution", 0, (4, 1, 3, 3), (4,), **keys)
    h = b.add("average_pool", b.act(h, "silu"), kernel=[2, 2], stride=[2, 2], padding=[0, 0])
    b.linear(b.add("reshape", h, shape=[16]), 16, 1)
    return b.model(4, 1).polish(1e-6)


def _tokens() -> Model:
    b = Build(np.random.default_rng(2), [3])
    h = b.weighted("embedding", 0, (6, 5), gain=1.0)
    h = b.weighted("shift", h, (3, 5), axis=0)
    h = b.add("normalize", h, axes=1, epsilon=0.5)
    h = b.weighted("affine", h, (5,), (5,), axis=1, gain=1.0)
    h = b.add("mean", b.act(b.linear(h, 5, 6)), axes=[0])
    b.linear(h, 6, 1)
    inputs = b.rng.integers(0, 6, size=(4, 3))
    return b.model(4, 1, inputs).polish(1e-6)


def _attention() -> Model:
    b = Build(np.random.default_rng(3), [3, 4])
    q, k, v = (b.linear(0, 4, 3, bias=False) for _ in range(3))
    s = b.add("matrix_product", [q, b.add("permute", k, axes=[1, 0])])
    s = b.add("softmax", b.add("scale", s, numerator=1.0, denominator=3.0**0.5))
    h = b.add("matrix_product", [s, v])
    h = b.add("concatenate", [h, 0], axis=1)
    h = b.add("slice", h, axis=0, start=0, stop=3, step=2)
    h = b.add("reshape", h, shape=[14])
    b.weights["weights/11.weight"] = b.rng.normal(size=14)
    b.weights["weights/11.bias"] = b.rng.uniform(1, 2, size=14)
    h = b.add("standardize", h, weight="weights/11.weight", bias="weights/11.bias", epsilon=0.0)
    h = b.add("product", [h, h])
    b.linear(h, 14, 1)
    return b.model(3, 1).polish(1e-7)


def _shared() -> Model:
    b = Build(np.random.default_rng(4), [4])
    h = b.act(b.linear(0, 4, 4))
    h = b.act(b.weighted("linear", h, "weights/0.weight", "weights/0.bias"))
    b.linear(h, 4, 1, trains=(True, False))
    return b.model(3, 1).polish(1e-6)


MODELS: dict[str, Callable[[], Model]] = {
    "residual": _model, "images": _images, "tokens": _tokens, "attention": _attention,
    "shared": _shared,
}  # fmt: skip


@pytest.fixture(scope="module")
def _made() -> GraphDraft:
    draft = GraphDraft(_model())
    draft.measure().conclude()
    return draft


@pytest.fixture
def draft(_made: GraphDraft) -> GraphDraft:
    """A valid certificate that a test may spoil."""
    result = copy.copy(_made)
    result.claims, result.arrays = copy.deepcopy(_made.claims), dict(_made.arrays)
    result.counts, result.problem = dict(_made.counts), copy.deepcopy(_made.problem)
    return result


def _verdict(draft: GraphDraft, path: Path) -> tuple[str, str]:
    found = check(str(draft.save(path / "a.talweg")))
    return found.verdict, found.reason


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, tmp_path: Path) -> None:
    draft = GraphDraft(MODELS[name]())
    draft.measure().conclude()
    assert _verdict(draft, tmp_path) == VALID


@pytest.mark.parametrize("theorem", ["T4", "T7"])
def test_other_theorems(theorem: str, tmp_path: Path) -> None:
    model = _model()
    model.targets = model.targets + (1e-4 if theorem == "T7" else 0)
    draft = GraphDraft(model, theorem, "sum")
    draft.measure([1e-3])
    target = 0.3 * draft.r**2 if theorem == "T7" else None
    reach = 3 * draft.r / draft.sigma
    draft.measure([reach / 2, reach])
    draft.conclude(target=target)
    assert _verdict(draft, tmp_path) == VALID


@pytest.mark.parametrize("smoothing", [0.125, 0.0])
def test_cross_entropies(smoothing: float, tmp_path: Path) -> None:
    """The frame of directions is honoured: without it sigma_min would be zero or smaller."""
    b = Build(np.random.default_rng(5), [4])
    h = b.act(b.linear(0, 4, 12))
    h = b.add("sum", [h, b.linear(h, 12, 12, gain=0.1)], signs=[1, 1])
    b.linear(h, 12, 3)
    model, labels = b.model(4, 3), np.array([0, 1, 2, 0])
    q = np.full((4, 3), max(smoothing, 0.1) / 3)
    q[np.arange(4), labels] += 1 - max(smoothing, 0.1)
    model.targets = np.log(q) - np.log(q).mean(axis=1, keepdims=True)
    model.polish(1e-4)
    draft = GraphEntropyDraft(model, labels, smoothing)
    if smoothing:
        draft.measure().conclude()
    else:
        draft.measure([1e-4, 1e-3, 0.03])
        draft.conclude(0.05, target=0.999999 * draft.start * draft.unit)
    assert _verdict(draft, tmp_path) == VALID  # type: ignore[arg-type]


def test_data_kept_elsewhere(tmp_path: Path) -> None:
    draft = GraphDraft(_tokens())
    draft.measure().conclude()
    path = str(draft.save(tmp_path / "a.talweg", leave_out=("inputs", "targets")))
    given = ["--inputs", str(tmp_path / "x.npy"), "--targets", str(tmp_path / "y.npy")]
    np.save(tmp_path / "x.npy", draft.problem.inputs)
    np.save(tmp_path / "y.npy", draft.problem.targets)
    assert main([path]) == 3
    assert main([path, *given]) == 0
    np.save(tmp_path / "x.npy", draft.problem.inputs + 1)
    assert main([path, *given]) == 1


def test_repeated_rows(tmp_path: Path) -> None:
    model = _images()
    model.inputs = np.concatenate([model.inputs, model.inputs[:2]])
    model.targets = np.concatenate([model.targets, model.targets[:2]])
    draft = GraphDraft(model)
    draft.measure().conclude()
    assert _verdict(draft, tmp_path) == VALID


@pytest.mark.parametrize("key", ["residual_norm_upper", "sigma_min_lower", "jacobian_norm_upper"])
def test_stronger_claims(key: str, draft: GraphDraft, tmp_path: Path) -> None:
    draft.claims[key] *= 1.001 if key == "sigma_min_lower" else 0.999
    assert _verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize("factor", [0.5, 1 - 3e-6])
def test_smaller_betas(factor: float, draft: GraphDraft, tmp_path: Path) -> None:
    for pair in draft.claims["jacobian_lipschitz_upper"]:
        pair[1] *= factor
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "incomplete"
    assert "jacobian_lipschitz_upper" in reason


def _set(t: int, **keys: Any) -> Callable[[GraphDraft], None]:
    return lambda draft: draft.problem.operations[t].update(keys)


LIES: dict[str, tuple[Callable[[GraphDraft], None], str]] = {
    "weight frozen": (_set(0, weight_trainable=False), "'counts'"),
    "bias frozen": (_set(2, bias_trainable=False), "'counts'"),
    "other function": (_set(3, function="sin"), "disproved"),
    "other sign": (_set(5, signs=[1, -1]), "disproved"),
    "other order": (_set(5, inputs=[5, 2]), ""),
    "skip from elsewhere": (_set(5, inputs=[1, 5]), "disproved"),
    "nobody reads": (_set(5, inputs=[2, 2]), "operation 4 is read by no later one"),
    "other reader": (_set(2, inputs=[1]), "disproved"),
}


@pytest.mark.parametrize("name", LIES)
def test_other_models(name: str, draft: GraphDraft, tmp_path: Path) -> None:
    """The sentence of each is its own, only the model is another one."""
    change, word = LIES[name]
    change(draft)
    verdict, reason = _verdict(draft, tmp_path)
    assert (verdict == "invalid") == (name != "other order")  # a sum does not mind
    assert word in reason


def test_another_sentence_or_hash(draft: GraphDraft, tmp_path: Path) -> None:
    tree = draft.tree()
    for old, new in (("input 4", "input 5"), (" <- 2, 5", ""), ("10->10", "10->11")):
        assert old in tree["claim"]
        text = canonical(tree | {"claim": tree["claim"].replace(old, new, 1)})
        found = check(str(write(tmp_path / "a.talweg", text, draft.blob())))
        assert (found.verdict, "sentence" in found.reason) == ("invalid", True)
    wrong = tree["hashes"] | {"weights": "0" * 64}
    text = canonical(tree | {"claim": draft.sentence(wrong), "hashes": wrong})
    found = check(str(write(tmp_path / "a.talweg", text, draft.blob())))
    assert (found.verdict, "sha256" in found.reason) == ("invalid", True)


def test_t9_is_for_chains(draft: GraphDraft, tmp_path: Path) -> None:
    from talweg_check._forms import ASSUMED_OF_THE_RUN, FLOAT64_DESCENT

    tree = draft.tree() | {
        "theorem": "T9", "semantics": FLOAT64_DESCENT, "assumptions": list(ASSUMED_OF_THE_RUN),
    }  # fmt: skip
    one = (1.0).hex()
    tree["claims"] |= dict.fromkeys(("theta", "gradient_error_upper", "floor", "steps_upper"), one)
    found = check(str(write(tmp_path / "a.talweg", canonical(tree), draft.blob())))
    assert (found.verdict, found.reason) == ("invalid", "T9 speaks of chains, which have format 1")


def test_no_byte_can_change(draft: GraphDraft, tmp_path: Path) -> None:
    path = draft.save(tmp_path / "a.talweg")
    good, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        spoilt = bytearray(good)
        spoilt[rng.integers(good.find(b"{"), good.find(b"PK\x01\x02"))] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        assert check(str(path)).verdict == "invalid"


HUGE = 2**40
MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kind": ({"kind": "relu"}, "unknown kind 'relu'"),
    "kind of another type": ({"kind": ["sum"]}, "unknown kind"),
    "unknown key": ({"kind": "product", "gain": 1}, "unknown key 'gain'"),
    "missing key": ({"kind": "sum"}, "missing key 'signs'"),
    "no inputs": ({"kind": "softmax", "inputs": []}, "'inputs' must be a list"),
    "inputs of another type": ({"kind": "softmax", "inputs": [True]}, "'inputs' must be a list"),
    "negative index": ({"kind": "softmax", "inputs": [-1]}, "'inputs' must be a list"),
    "forward index": ({"kind": "softmax", "inputs": [9]}, "before it"),
    "own index": ({"kind": "softmax", "inputs": [7]}, "before it"),
    "too many inputs": ({"kind": "softmax", "inputs": [0, 1]}, "takes 1 inputs"),
    "shapes differ": ({"kind": "product", "inputs": [0, 1]}, "two values of one shape"),
    "sum of one": ({"kind": "sum", "signs": [1]}, "two or more"),
    "sign": ({"kind": "sum", "inputs": [1, 1], "signs": [1, 2]}, "1 or -1"),
    "boolean sign": ({"kind": "sum", "inputs": [1, 1], "signs": [1, True]}, "1 or -1"),
    "fewer signs": ({"kind": "sum", "inputs": [1, 1], "signs": [1]}, "one entry for each"),
    "matrix product": ({"kind": "matrix_product", "inputs": [0, 0]}, "(*batch, a, b)"),
    "axis": ({"kind": "concatenate", "axis": 1}, "'axis' must be an axis"),
    "negative axis": ({"kind": "concatenate", "axis": -1}, "'axis' must be a whole number"),
    "concatenate": ({"kind": "concatenate", "inputs": [1, 7], "axis": 0}, ""),
    "reshape": ({"kind": "reshape", "shape": [11]}, "cannot become"),
    "reshape to nothing": ({"kind": "reshape", "shape": [0]}, "from 1"),
    "reshape to a lot": ({"kind": "reshape", "shape": [HUGE, HUGE]}, "whole number"),
    "many axes": ({"kind": "reshape", "shape": [1] * 17}, "at most 16"),
    "permute": ({"kind": "permute", "axes": [0, 0]}, "'axes' must be those"),
    "slice": ({"kind": "slice", "axis": 0, "start": 3, "stop": 3, "step": 1}, "lie below"),
    "slice beyond": ({"kind": "slice", "axis": 0, "start": 3, "stop": 11, "step": 1}, "within"),
    "zero step": ({"kind": "slice", "axis": 0, "start": 0, "stop": 3, "step": 0}, "'step'"),
    "mean": ({"kind": "mean", "axes": [1]}, "distinct axes"),
    "mean twice": ({"kind": "mean", "axes": [0, 0]}, "distinct axes"),
    "mean of nothing": ({"kind": "mean", "axes": []}, "distinct axes"),
    "pool": (
        {"kind": "average_pool", "kernel": [11], "stride": [1], "padding": [0]}, "wider than",
    ),
    "pool of two axes": (
        {"kind": "average_pool", "kernel": [1, 1], "stride": [1, 1], "padding": [0, 0]},
        "2 entries",
    ),
    "zero stride": (
        {"kind": "average_pool", "kernel": [1], "stride": [0], "padding": [0]}, "'stride'",
    ),
    "negative padding": (
        {"kind": "average_pool", "kernel": [1], "stride": [1], "padding": [-1]}, "'padding'",
    ),
    "huge padding": (
        {"kind": "average_pool", "kernel": [1], "stride": [1], "padding": [2**31]}, "entries",
    ),
    "normalize": ({"kind": "normalize", "axes": 2, "epsilon": (0.1).hex()}, "'axes' is 2"),
    "epsilon": ({"kind": "normalize", "axes": 1, "epsilon": (0.0).hex()}, "positive"),
    "epsilon as a number": ({"kind": "normalize", "axes": 1, "epsilon": 1}, "hexadecimal"),
    "function": ({"kind": "elementwise", "function": "relu", "parameters": {}}, "unknown function"),
    "scale": (
        {"kind": "scale", "numerator": (1.0).hex(), "denominator": (0.0).hex()}, "divides by zero",
    ),
    "missing array": (
        {"kind": "affine", "weight": "weights/2.bias", "weight_trainable": True,
         "bias": "weights/6.bias", "bias_trainable": False, "axis": 0},
        "is missing",
    ),
    "array of another name": (
        {"kind": "shift", "weight": "weights/9.weight", "weight_trainable": True, "axis": 0},
        "used before",
    ),
    "array of another type": (
        {"kind": "shift", "weight": None, "weight_trainable": True, "axis": 0}, "used before",
    ),
    "shared and frozen": (
        {"kind": "shift", "weight": "weights/2.bias", "weight_trainable": False, "axis": 0},
        "trained in one place and frozen in another",
    ),
    "flag": (
        {"kind": "shift", "weight": "weights/2.bias", "weight_trainable": 1, "axis": 0},
        "booleans",
    ),
    "shared with another shape": (
        {"kind": "shift", "weight": "weights/0.weight", "weight_trainable": True, "axis": 0},
        "shape of the input",
    ),
    "weight and bias at once": (
        {"kind": "affine", "weight": "weights/2.bias", "weight_trainable": True,
         "bias": "weights/2.bias", "bias_trainable": True, "axis": 0},
        "cannot be weight and bias",
    ),
    "no bias to train": (
        {"kind": "affine", "weight": "weights/2.bias", "weight_trainable": True, "bias": None,
         "bias_trainable": True, "axis": 0},
        "no bias to train",
    ),
    "standardize trained": (
        {"kind": "standardize", "weight": "weights/2.bias", "bias": "weights/0.bias",
         "epsilon": (1.0).hex()},
        "trained in one place",
    ),
    "embedding inside": (
        {"kind": "embedding", "weight": "weights/0.weight", "weight_trainable": True},
        "index 0",
    ),
    "embedding of fractions": (
        {"kind": "embedding", "weight": "weights/0.weight", "weight_trainable": True,
         "inputs": [0]},
        "",
    ),
    "linear": (
        {"kind": "linear", "weight": "weights/0.weight", "weight_trainable": True, "bias": None,
         "bias_trainable": False},
        "d_in the last axis",
    ),
    "convolution": (
        {"kind": "convolution", "weight": "weights/2.weight", "weight_trainable": True,
         "bias": None, "bias_trainable": False, "stride": [1], "padding": [0], "dilation": [1],
         "groups": 1},
        "one or two spatial axes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_operations(name: str, draft: GraphDraft, tmp_path: Path) -> None:
    """One operation more at index 7, behind the sum; the last layer reads it."""
    keys, word = MALFORMED[name]
    tree = draft.tree()
    operations = tree["model"]["operations"]
    operations.insert(6, {"inputs": [6], **keys})
    blob = draft.blob(("weights/6.bias",) if name == "missing array" else ())
    found = check(str(write(tmp_path / "a.talweg", canonical(tree), blob)))
    assert found.verdict == "invalid", found.reason
    assert word in found.reason


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"groups": 2}, "'groups' does not divide"), ({"groups": 0}, "'groups'"),
        ({"stride": [0, 1]}, "'stride'"), ({"stride": [1]}, "must have 2 entries"),
        ({"dilation": [9, 1]}, "wider than"), ({"padding": [2**31, 2**31]}, "entries"),
        ({"stride": "11"}, "'stride' must be a list"), ({"padding": [1.0, 1]}, "'padding'"),
        ({"weight": "weights/6.weight"}, "used before"), ({"bias_trainable": "yes"}, "booleans"),
    ],
)  # fmt: skip
def test_malformed_convolutions(keys: dict[str, Any], word: str, tmp_path: Path) -> None:
    draft = GraphDraft(_images())
    draft.r, draft.sigma, draft.jacobian, draft.profile = 1e-3, 1.0, 2.0, [[1.0, 0.1]]
    draft.conclude()
    tree = draft.tree()
    tree["model"]["operations"][0] |= keys
    found = check(str(write(tmp_path / "a.talweg", canonical(tree), draft.blob())))
    assert (found.verdict, word in found.reason) == ("invalid", True), found.reason


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ([], "must be an object"), ({}, "missing key"),
        ({"input_shape": [], "operations": []}, "at least one axis"),
        ({"input_shape": [0], "operations": []}, "from 1"),
        ({"input_shape": [HUGE], "operations": []}, "from 1"),
        ({"input_shape": [2**30, 2**30], "operations": []}, "moderate"),
        ({"input_shape": [4], "operations": {}}, "must be a list"),
        ({"input_shape": [4], "operations": []}, "must be a list"),
        ({"input_shape": [4], "operations": [None]}, "must be an object"),
    ],
)  # fmt: skip
def test_malformed_models(model: Any, word: str, draft: GraphDraft, tmp_path: Path) -> None:
    text = canonical(draft.tree() | {"model": model})
    found = check(str(write(tmp_path / "a.talweg", text, draft.blob())))
    assert (found.verdict, word in found.reason) == ("invalid", True), found.reason


def test_other_inputs(tmp_path: Path) -> None:
    draft = GraphDraft(_tokens())
    draft.r, draft.sigma, draft.jacobian, draft.profile = 1e-3, 1.0, 2.0, [[1.0, 0.1]]
    draft.conclude()
    good = np.frombuffer(draft.arrays["inputs"][0], "<i8").reshape(4, 3)
    for values, word in (
        (good + 6, "not one of its 6 rows"), (good - 7, "not one of its 6 rows"),
        (good + 0.5, "not one of its 6 rows"), (good[:, :2], "do not fit"),
        (good.reshape(4, 3, 1), "do not fit"), (good[:3], "do not fit"),
    ):  # fmt: skip
        kind = "F64" if values.dtype == float else "I64"
        raw = values.astype("<f8" if kind == "F64" else "<i8").tobytes()
        draft.arrays["inputs"] = (raw, kind, values.shape)
        verdict, reason = _verdict(draft, tmp_path)
        assert (verdict, word in reason) == ("invalid", True), reason


def test_whole_inputs_of_other_operations(draft: GraphDraft, tmp_path: Path) -> None:
    values = np.arange(20).reshape(5, 4)
    draft.arrays["inputs"] = (values.astype("<i8").tobytes(), "I64", values.shape)
    assert "not only embeddings" in _verdict(draft, tmp_path)[1]


def test_many_operations_and_large_values(draft: GraphDraft, tmp_path: Path) -> None:
    """Neither takes long, nor much memory."""
    tree = draft.tree()
    tree["model"]["operations"] = [
        {"kind": "concatenate", "inputs": [t, t], "axis": 0} for t in range(60)
    ]
    found = check(str(write(tmp_path / "a.talweg", canonical(tree), draft.blob())))
    assert (found.verdict, "entries" in found.reason) == ("invalid", True)
    tree["model"]["operations"] = [{"kind": "softmax", "inputs": [t]} for t in range(5000)]
    found = check(str(write(tmp_path / "a.talweg", canonical(tree), draft.blob())))
    assert (found.verdict, "operations" in found.reason) == ("incomplete", True)
    assert json.loads(canonical(tree))["format"] == 2


@pytest.mark.parametrize("size", [1e-320, 1e-160, 1e160, 1e308])
@pytest.mark.parametrize("name", ["weights/0.weight", "weights/4.weight", "inputs"])
def test_extreme_numbers_get_a_verdict(
    name: str, size: float, draft: GraphDraft, tmp_path: Path
) -> None:
    shape = draft.arrays[name][2]
    draft.arrays[name] = (np.full(shape, size).astype("<f8").tobytes(), "F64", shape)
    assert _verdict(draft, tmp_path)[0] != "valid"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [1e-300, 1e-80, 1e80, 1e300])
def test_bounds_of_extreme_models(name: str, size: float) -> None:
    """The bound is not finite, refused, or above what it was: never a crash, never a warning."""
    model = MODELS[name]()
    for key in model.trained():
        model.weights[key] = model.weights[key] * size
    with ctx.workprec(PRECISION), contextlib.suppress(Incomplete, Invalid):
        assert not GraphLipschitz(model.network()).upper(1e-3) < 0
