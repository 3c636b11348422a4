"""Files whose weights, data, model or loss are not those that the numbers were computed for.

Hashes and sentence are recomputed where the lie is about something else than them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from classifier import EntropyDraft
from generator import Draft, Problem, canonical, encode, make
from tests.soundness.lies.drafts import FloatDraft, concluded, copied, genuine
from tests.soundness.lies.planted import Group
from tests.soundness.lies.programs import network

WRONG = "^disproved: (residual_norm_upper|sigma_min_lower|jacobian_norm_upper|initial_)"
HASH = "do not have the stated sha256"


def _rich() -> Draft:
    return concluded(copied(network()))


def _set(draft: Draft, name: str, values: np.ndarray[Any, Any], dtype: str = "F64") -> None:
    draft.arrays[name] = (*encode(values, dtype), values.shape)


def _values(draft: Draft, name: str) -> np.ndarray[Any, Any]:
    raw, dtype, shape = draft.arrays[name]
    return np.frombuffer(raw, {"F64": "<f8", "I64": "<i8"}[dtype]).reshape(shape).copy()


def _array(name: str, change: Callable[[np.ndarray[Any, Any]], Any]) -> Callable[[Draft], None]:
    return lambda draft: _set(draft, name, np.ascontiguousarray(change(_values(draft, name))))


def _swap(one: str, two: str) -> Callable[[Draft], None]:
    def spoil(draft: Draft) -> None:
        draft.arrays[one], draft.arrays[two] = draft.arrays[two], draft.arrays[one]

    return spoil


def _relabel(
    name: str, dtype: str, shape: tuple[int, ...] | None = None
) -> Callable[[Draft], None]:
    def spoil(draft: Draft) -> None:
        raw, _, old = draft.arrays[name]
        draft.arrays[name] = (raw, dtype, shape or old)

    return spoil


def _operation(index: int, **fields: Any) -> Callable[[Draft], None]:
    def spoil(draft: Draft) -> None:
        problem = copy.copy(draft.problem)
        problem.operations = copy.deepcopy(problem.operations)
        problem.operations[index] |= fields
        draft.problem = problem

    return spoil


def _operations(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Any:
    def spoil(draft: Draft) -> None:
        problem = copy.copy(draft.problem)
        problem.operations = change(copy.deepcopy(problem.operations))
        draft.problem = problem

    return spoil


def _kept_counts(spoil: Callable[[Draft], None], parameters: int) -> Callable[[Draft], None]:
    def both(draft: Draft) -> None:
        spoil(draft)
        draft.counts["parameters"] += parameters

    return both


def _count(name: str, change: int) -> Callable[[Draft], None]:
    def spoil(draft: Draft) -> None:
        draft.counts[name] += change

    return spoil


def _nothing_trained(draft: Draft) -> None:
    for index in (0, 3, 6):
        _operation(index, weight_trainable=False, bias_trainable=False)(draft)
    draft.counts["parameters"] = 0


def _zeros_of_two_signs(draft: Draft) -> None:
    """Rows 1 and 6 are equal as real numbers; the targets are not."""
    inputs, targets = _values(draft, "inputs"), _values(draft, "targets")
    inputs[1, 0], inputs[6, 0] = 0.0, -0.0
    targets[6, 1] += 1.0
    _set(draft, "inputs", inputs)
    _set(draft, "targets", targets)


W0, B0, W3, B3, W6, B6 = (f"weights/{i}.{part}" for i in (0, 3, 6) for part in ("weight", "bias"))
IDENTITY = {"kind": "elementwise", "function": "identity", "parameters": {}}
TANH = {"kind": "elementwise", "function": "tanh", "parameters": {}}
SCALE = {"kind": "scale", "numerator": 1.0000000000000002, "denominator": 1.0}
SHAPE = "missing or is not a matrix|values, but|do not fit|wrong shape|'counts' says"

# Everything else follows: hashes, sentence, counts where they are part of the lie.
CONSISTENT: dict[str, tuple[Callable[[Draft], None], str]] = {
    "square weight transposed": (_array(W3, lambda w: w.T), WRONG),
    "biases of two layers swapped": (_swap(B0, B3), WRONG),
    "rows of a weight reversed": (_array(W0, lambda w: w[::-1]), WRONG),
    "columns of a weight reversed": (_array(W6, lambda w: w[:, ::-1]), WRONG),
    "one weight a hair off": (_array(W6, lambda w: w + 1e-4 * np.eye(*w.shape)), WRONG),
    "weights in single precision": (
        lambda d: _set(d, W0, _values(d, W0).astype("<f4").astype(float) + 2e-4, "F32"), WRONG),
    "weights in half precision": (lambda d: _set(d, W6, _values(d, W6), "F16"), WRONG),
    "weights in bfloat16": (lambda d: _set(d, W3, _values(d, W3), "BF16"), WRONG),
    "bias set to zero": (_array(B3, lambda b: 0 * b), WRONG),
    "rows of X reversed": (_array("inputs", lambda x: x[[4, 3, 2, 1, 0, 4, 3]]), WRONG),
    "features of X reversed": (_array("inputs", lambda x: x[:, ::-1]), WRONG),
    "rows of y permuted": (_array("targets", lambda y: y[[1, 0, 2, 3, 4, 1, 0]]), WRONG),
    "outputs of y swapped": (_array("targets", lambda y: y[:, ::-1]), WRONG),
    "one target a hair off": (_array("targets", lambda y: y + 1e-5 * (y == y[2, 1])), WRONG),
    "targets negated": (_array("targets", lambda y: -y), WRONG),
    "equal inputs with targets one bit apart": (
        _array("targets", lambda y: np.where(np.arange(7)[:, None] == 6, np.nextafter(y, 9), y)),
        "rows 1 and 6 have equal inputs and different targets"),
    "equal inputs, one as -0.0, with different targets": (
        _zeros_of_two_signs,
        "rows 1 and 6 have equal inputs and different targets"),
    "all inputs equal": (_array("inputs", lambda x: 0 * x), "have equal inputs and different"),
    "inputs read as twice as many in F32": (_relabel("inputs", "F32", (7, 8)), "do not fit"),
    "inputs reinterpreted (7, 4) -> (4, 7)": (_relabel("inputs", "F64", (4, 7)), "do not fit"),
    "weight reinterpreted (9, 4) -> (4, 9)": (_relabel(W0, "F64", (4, 9)), SHAPE),
    "weight reinterpreted (2, 9) -> (9, 2)": (_relabel(W6, "F64", (9, 2)), SHAPE),
    "bias as a matrix": (_relabel(B6, "F64", (1, 2)), "wrong shape"),
    "targets reinterpreted (7, 2) -> (2, 7)": (_relabel("targets", "F64", (2, 7)), "one row per"),
    "targets as a vector": (_relabel("targets", "F64", (14,)), "one row per sample"),
    "integers for weights": (_relabel(W3, "I64"), "array of integers"),
    "integers for inputs": (_relabel("inputs", "I64"), "array of integers"),
    "integers for targets": (_relabel("targets", "I64"), "array of integers"),
    "silu named gelu": (_operation(2, function="gelu"), WRONG),
    "silu named sigmoid": (_operation(2, function="sigmoid"), WRONG),
    "tanh named identity": (_operation(5, function="identity"), WRONG),
    "tanh named sin": (_operation(5, function="sin"), WRONG),
    "softplus with another beta": (
        _operation(5, function="softplus", parameters={"beta": 2.0, "threshold": 20.0}), WRONG),
    "leaky with a slope": (
        _operation(2, function="smooth_leaky_relu", parameters={"slope": 0.5}), WRONG),
    "scale with another numerator": (_operation(1, numerator=3.0001), WRONG),
    "scale with another denominator": (_operation(4, denominator=2.4), WRONG),
    "scale with the opposite sign": (_operation(1, numerator=-3.0), WRONG),
    "scale by zero": (_operation(1, numerator=0.0), WRONG),
    "frozen weight named trained": (
        _kept_counts(_operation(3, weight_trainable=True), 81), "^disproved: jacobian_norm_upper"),
    "frozen bias named trained": (
        _kept_counts(_operation(0, bias_trainable=True), 9), "^disproved: jacobian_norm_upper"),
    "trained weight named frozen": (
        _kept_counts(_operation(6, weight_trainable=False), -18), "^disproved: sigma_min_lower"),
    "trained weight at the bottom named frozen": (
        _kept_counts(_operation(0, weight_trainable=False), -36), "^disproved: sigma_min_lower"),
    "trained bias named frozen": (
        _kept_counts(_operation(3, bias_trainable=False), -9), "^disproved: sigma_min_lower"),
    "nothing is trained": (
        _nothing_trained,
        "'counts.parameters' must be a positive integer"),
    "frozen without the count": (_operation(6, weight_trainable=False), "'counts' says otherwise"),
    "another tanh at the end": (_operations(lambda o: [*o, TANH]), WRONG),
    "a scale of one bit at the end": (_operations(lambda o: [*o, {**SCALE, "numerator": 1.001}]),
                                      WRONG),
    "an activation missing": (_operations(lambda o: [*o[:5], IDENTITY, *o[6:]]), WRONG),
    "scale and activation in the other order": (
        _operations(lambda o: [o[0], o[2], o[1], *o[3:]]), WRONG),
    "activations in the other order": (
        _operations(lambda o: [o[0], o[1], o[5], o[3], o[4], o[2], o[6]]), WRONG),
    "an activation on the inputs": (
        _operations(lambda o: [o[0], {**SCALE, "numerator": 2.0}, *o[2:]]), WRONG),
    "more samples than rows": (_count("samples", 1), "another number of rows"),
    "fewer samples than rows": (_count("samples", -1), "another number of rows"),
    "one more output": (_count("outputs", 1), "'counts' says otherwise"),
    "one output less": (_count("outputs", -1), "'counts' says otherwise"),
    "one more parameter": (_count("parameters", 1), "'counts' says otherwise"),
    "one parameter less": (_count("parameters", -1), "'counts' says otherwise"),
    "no sample": (_count("samples", -7), "'counts.samples' must be a positive integer"),
}  # fmt: skip

# The stated hashes (and the sentence) stay those of the genuine file.
STALE: dict[str, tuple[Callable[[Draft], None], str]] = {
    "weight as a vector": (_relabel(W6, "F64", (18,)), "is missing or is not a matrix"),
    "weights of another network": (_array(W0, lambda w: -w), "weights " + HASH),
    "one bit of a weight": (_array(W3, lambda w: np.nextafter(w, 1)), "weights " + HASH),
    "two weights swapped between layers": (_swap(B0, B3), "weights " + HASH),
    "inputs of another set": (_array("inputs", lambda x: x[::-1]), "inputs " + HASH),
    "targets of another set": (_array("targets", lambda y: y[::-1]), "targets " + HASH),
    "targets in single precision": (
        lambda d: _set(d, "targets", _values(d, "targets"), "F32"), "targets " + HASH),
    "inputs in single precision": (
        lambda d: _set(d, "inputs", _values(d, "inputs"), "F32"), "inputs " + HASH),
}  # fmt: skip


def _spoilt(spoil: Callable[[Draft], None]) -> Draft:
    draft = _rich()
    spoil(draft)
    return draft


def _with_zeros(spoilt: bool) -> tuple[bytes, bytes]:
    """A network whose first bias is zero; stored as -0.0 under the hash of 0.0."""
    draft = _zero_bias()
    tree = draft.tree()
    if spoilt:
        _set(draft, B0, -_values(draft, B0))
    return canonical(tree), draft.blob()


def _zero_bias() -> Draft:
    problem = make([4, 10, 1], frozen=("0.bias",))
    problem.weights[B0] = 0 * problem.weights[B0]
    problem.polish(1e-6)
    return concluded(copied(Draft(problem).measure()))


def _half() -> Draft:
    """A network with a bias in F16."""
    problem = make([4, 10, 1], dtypes={"weights/2.bias": "F16"})
    return concluded(copied(Draft(problem).measure()))


def _bias_forms(change: str) -> Draft:
    draft = _zero_bias()
    _operation(0, bias=None, bias_trainable=False)(draft)
    if change == "array dropped":
        del draft.arrays[B0]
    return draft


def _stale(
    spoil: Callable[[Draft], None], base: Callable[[], Draft] = _rich
) -> tuple[bytes, bytes]:
    draft = base()
    tree = draft.tree()
    spoil(draft)
    return canonical(tree), draft.blob()


def _labels(form: str, seed: int, change: Callable[[np.ndarray[Any, Any]], Any]) -> Draft:
    draft = genuine(form, "mean", seed)
    assert isinstance(draft, EntropyDraft)
    labels = np.ascontiguousarray(change(draft.labels.copy()))
    kind = {"<i8": "I64", "<f8": "F64"}[labels.dtype.str]
    draft.arrays["targets"] = (labels.tobytes(), kind, labels.shape)
    return draft


def _at(index: int, value: int) -> Callable[[np.ndarray[Any, Any]], Any]:
    def spoil(labels: np.ndarray[Any, Any]) -> Any:
        labels[index] = value
        return labels

    return spoil


LABELS: dict[str, tuple[Callable[[np.ndarray[Any, Any]], Any], str]] = {
    "one label changed": (_at(1, 0), "^disproved: initial_"),
    "labels reversed": (lambda y: y[::-1], "^disproved: initial_"),
    "label -1": (_at(0, -1), "^a label is not one of the classes"),
    "label k": (_at(0, 3), "^a label is not one of the classes"),
    "label 2^63 - 1": (_at(2, 2**63 - 1), "^a label is not one of the classes"),
    "label -2^63": (_at(2, -(2**63)), "^a label is not one of the classes"),
    "labels as floats": (lambda y: y.astype("<f8"), "array of real numbers"),
    "labels as a column": (lambda y: y[:, None], "one label per sample"),
    "labels as a row": (lambda y: y[None], "one label per sample"),
    "a label too many": (lambda y: np.append(y, 0), "one label per sample"),
    "a label missing": (lambda y: y[:-1], "one label per sample"),
}  # fmt: skip


def bindings(seed: int) -> Group:
    """Everything that ties numbers to a network and its data."""
    group = Group("bindings", {
        "rich": _rich, "zeros": partial(_with_zeros, False), "half": _half,
        "entropy": partial(genuine, "entropy T4", "mean", seed),
    })  # fmt: skip
    for name, (spoil, reason) in CONSISTENT.items():
        group.add(name, partial(_spoilt, spoil), reason)
    for name, (spoil, reason) in STALE.items():
        group.add(f"{name}, under the old hashes", partial(_stale, spoil), reason)
    group.add("-0.0 under the hash of 0.0", partial(_with_zeros, True), "weights " + HASH)
    group.add(
        "F16 labelled BF16 under the old hash",
        partial(_stale, _relabel("weights/2.bias", "BF16"), _half),
        "weights " + HASH,
    )
    group.add("F16 labelled BF16", partial(_relabelled_half, "BF16"), WRONG)
    group.add(
        "a stored bias that the model denies",
        partial(_bias_forms, "array kept"),
        "belongs to no operation",
    )
    for form in ("entropy T4", "entropy T13"):
        for name, (change, reason) in LABELS.items():
            group.add(f"{form}: {name}", partial(_labels, form, seed, change), reason)
    for name, dtype in (("weights/0.weight", "F32"), ("inputs", "F32"), ("targets", "F32")):
        group.add(
            f"T9 with {name} in {dtype}",
            partial(_float32, seed, name),
            "T9 speaks of a float64 program|^disproved",
        )
    for kind in ("activation", "scale", "two", "inputs"):
        group.add(
            f"T9 with a program it does not speak of: {kind}",
            partial(_other_program, seed, kind),
            "T9 (does not speak|speaks) of",
        )
    return group


def _relabelled_half(dtype: str) -> Draft:
    draft = _half()
    _relabel("weights/2.bias", dtype)(draft)
    return draft


def _float32(seed: int, name: str) -> Draft:
    draft = genuine("T9", "mean", seed)
    values = _values(draft, name)
    _set(draft, name, values, "F32")
    return draft


def _other_program(seed: int, kind: str) -> Draft:
    """Equal as a function where it can be: the identity of a scale by one."""
    draft = genuine("T9", "mean", seed)
    assert isinstance(draft, FloatDraft)
    unit = {"kind": "scale", "numerator": 1.0, "denominator": 1.0}
    change: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
        "activation": lambda o: [o[0], {**TANH, "function": "sin"}, *o[2:]],
        "scale": lambda o: [*o, unit],
        "two": lambda o: [*o, TANH, TANH],
        "inputs": lambda o: [*o, unit, IDENTITY],
    }
    _operations(change[kind])(draft)
    if kind in ("activation", "two"):  # another function: its residual is made to fit
        old = draft.problem
        fresh = Problem(old.operations, old.weights, old.inputs, old.targets)
        fresh.forward()
        draft.problem = fresh
        _set(draft, "targets", fresh.values)
    return draft
