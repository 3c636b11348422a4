"""What `certificate.json` may say, rule by rule: each broken alone, refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.soundness.mutation.materials import drafts
from tests.soundness.mutation.registry import Checker, add, case, demand, refused

Change = Callable[[Any], object]
_trees: dict[str, Any] = {}
ONE = "0x1.0000000000000p+0"
TWO = "0x1.0000000000000p+1"
HALF = "0x1.0000000000000p-1"
ZERO = "0x0.0p+0"


def prepare() -> None:
    """The trees of the genuine drafts."""
    for name, draft in drafts().items():
        _trees[name] = draft.tree()


def arrays(checker: Checker, name: str) -> dict[str, Any]:
    """The arrays of a draft, as the checker stores them."""
    stored = checker.file.StoredArray
    return {
        key: stored(dtype, tuple(shape), raw)
        for key, (raw, dtype, shape) in drafts()[name].arrays.items()
    }


def put(*path: Any) -> Change:
    """Sets the last item at the keys before it."""
    *keys, last, value = path

    def change(tree: Any) -> None:
        for key in keys:
            tree = tree[key]
        tree[last] = value

    return change


def drop(*path: Any) -> Change:
    *keys, last = path

    def change(tree: Any) -> None:
        for key in keys:
            tree = tree[key]
        del tree[last]

    return change


def _list(kind: str, names: str) -> str:
    return f"'theorem' must be one of {names} for a {kind} loss"


PAIRS = "'claims.jacobian_lipschitz_upper' must be a list of pairs"
ORDER = "'claims.jacobian_lipschitz_upper' must have increasing radii and nondecreasing betas"
HEX = "'hashes.weights' must be 64 lower-case hex digits"
FORMAT = "'format' must be the integer 1"
WHOLE = "'counts.samples' must be a positive integer"
BETA = "jacobian_lipschitz_upper"
REAL = "'semantics' is not that of T11 in format 1"
TOP = ("assumptions", "claim", "claims", "counts", "format", "hashes", "hints", "loss", "model",
       "provenance", "semantics", "theorem")  # fmt: skip
CLAIMS = {
    "plain": ("residual_norm_upper",),
    "T4": ("residual_norm_upper", "epsilon"),
    "T7": ("residual_norm_upper", "target_loss", "steps_upper", "overshoot_radius"),
    "T9": ("residual_norm_upper", "theta", "gradient_error_upper", "floor", "steps_upper"),
    "smoothed": ("initial_gap_upper", "pl_lower", "epsilon"),
    "target": ("initial_loss_upper", "epsilon", "target_loss", "steps_upper", "overshoot_radius"),
}
SHARED = ("sigma_min_lower", "jacobian_norm_upper", "radius", "step_size", "rate", "one_minus_rate",
          "halving_steps", BETA)  # fmt: skip
UNKNOWN = "has the unknown function"
BROKEN: list[tuple[str, Change, str]] = [
    *(("plain", drop(key), f"missing key {key!r} in certificate.json") for key in TOP),
    ("plain", put("surprise", 1), "unknown key 'surprise' in certificate.json"),
    *(("plain", put("format", value), FORMAT) for value in (0, 3, True, "1", 1.0, 2.0, -1)),
    ("plain", put("claim", None), "'claim' must be a string"),
    ("plain", put("hints", []), "'hints' must be an object"),
    ("plain", put("provenance", None), "'provenance' must be an object"),
    *(("plain", drop("hashes", key), f"missing key {key!r} in 'hashes'")
      for key in ("weights", "inputs", "targets")),
    ("plain", put("hashes", "more", "0" * 64), "unknown key 'more' in 'hashes'"),
    *(("plain", put("hashes", "weights", value), HEX)
      for value in ("0" * 63, "0" * 65, "0" * 63 + "g", "0" * 63 + "A", ["0"] * 64, 0)),
    ("plain", put("counts", []), "'counts' must be an object"),
    *(("plain", drop("counts", key), f"missing key {key!r} in 'counts'")
      for key in ("samples", "outputs", "parameters")),
    ("plain", put("counts", "more", 1), "unknown key 'more' in 'counts'"),
    *(("plain", put("counts", "samples", value), WHOLE) for value in (0, -1, 3.0, "3", True)),
    ("plain", put("counts", "outputs", 0), "'counts.outputs' must be a positive integer"),
    ("plain", put("loss", []), "'loss' must be an object"),
    ("plain", drop("loss", "kind"), "missing key 'kind' in 'loss'"),
    ("plain", put("loss", "kind", "hinge"), "'loss.kind' must be one of squared, cross_entropy"),
    ("plain", put("loss", "kind", ["squared"]), "'loss.kind' must be one of"),
    ("plain", put("loss", "more", 1), "unknown key 'more' in 'loss'"),
    ("plain", drop("loss", "scaling"), "missing key 'scaling' in 'loss'"),
    ("plain", put("loss", "scaling", "half"),
     "'loss.scaling' must be one of mean, sum, half_sum"),
    ("smoothed", put("loss", "scaling", "half_sum"), "'loss.scaling' must be one of mean, sum"),
    ("smoothed", put("loss", "more", 1), "unknown key 'more' in 'loss'"),
    ("smoothed", drop("loss", "label_smoothing"), "missing key 'label_smoothing' in 'loss'"),
    ("smoothed", drop("loss", "scaling"), "missing key 'scaling' in 'loss'"),
    ("smoothed", put("counts", "outputs", 1), "a cross-entropy needs at least two outputs"),
    *(("smoothed", put("loss", "label_smoothing", value),
       "'loss.label_smoothing' must lie in [0, 1]")
      for value in ("-0x0.0p+0", "-" + ONE, "0x1.0000000000001p+0")),
    ("smoothed", put("loss", "label_smoothing", 0.125),
     "'loss.label_smoothing' must be a hexadecimal float string"),
    *(("plain", put("theorem", value), _list("squared", "T11, T4, T7, T9"))
      for value in ("T13", "T12", 11, ["T11"])),
    ("smoothed", put("theorem", "T11"), _list("cross_entropy", "T4, T13")),
    ("plain", put("semantics", _trees), REAL),
    ("plain", put("semantics", "real"), REAL),
    ("T9", put("assumptions", []), "'assumptions' must be ["),
    ("plain", put("assumptions", ["x"]), "'assumptions' must be [] for T11"),
    ("plain", put("claims", []), "'claims' must be an object"),
    ("plain", put("claims", "more", ONE), "unknown key 'more' in 'claims'"),
    *((name, drop("claims", key), f"missing key {key!r} in 'claims'")
      for name, extra in CLAIMS.items() for key in (*extra, *SHARED)),
    *((name, put("claims", key, ZERO), f"'claims.{key}' must be positive")
      for name, extra in CLAIMS.items() for key in (*extra, *SHARED)
      if key not in ("residual_norm_upper", "initial_gap_upper", "rate", BETA)),
    *(("plain", put("claims", key, "-0x1.0000000000000p-1000"), f"'claims.{key}' must be positive")
      for key in ("residual_norm_upper", "radius", "rate")),
    *(("plain", put("claims", "radius", value), "'claims.radius' must be")
      for value in ("inf", "nan", "1.5", "0x1p+0", " " + ONE, ONE + " ", 1.5, None, "", "1e999999",
                    "0x1p+999999")),
    *(("plain", put("claims", BETA, value), PAIRS)
      for value in ([], {}, "x", 1, [ONE], [[ONE]], [[ONE, ONE, ONE]], [{ONE: 1, TWO: 2}], None)),
    *(("plain", put("claims", BETA, value), ORDER)
      for value in ([[ZERO, ONE]], [[ONE, ONE], [ONE, ONE]], [[ONE, TWO], [TWO, ONE]],
                    [[ONE, "-" + ONE]], [["-" + ONE, ONE]], [[ONE, ONE], [HALF, ONE]])),
    ("plain", put("claims", BETA, [[1.0, ONE]]), "'claims.jacobian_lipschitz_upper' must be a hex"),
    ("plain", put("model", {}), "'model' must be a list of operations"),
    ("plain", put("model", []), "the model has no linear operation"),
    ("plain", put("model", 0, []), "operation 0 must be an object"),
    ("plain", put("model", 0, {}), "operation 0 has the unknown kind None"),
    ("plain", put("model", 1, "kind", "conv"), "operation 1 has the unknown kind 'conv'"),
    *(("plain", drop("model", 0, key), f"missing key {key!r} in operation 0")
      for key in ("weight", "bias", "weight_trainable", "bias_trainable")),
    ("plain", put("model", 0, "more", 1), "unknown key 'more' in operation 0"),
    ("plain", put("model", 0, "weight", "weights/2.weight"),
     "operation 0 must name its weight 'weights/0.weight'"),
    ("plain", put("model", 2, "bias", "weights/0.bias"),
     "operation 2 must name its bias 'weights/2.bias', or null"),
    *(("plain", put("model", 0, key, value), "operation 0 must say with booleans what is trainable")
      for key in ("weight_trainable", "bias_trainable") for value in (1, 0, None)),
    ("plain", put("model", 0, "bias", None), "operation 0 has no bias to train"),
    *(("plain", drop("model", 1, key), f"missing key {key!r} in operation 1")
      for key in ("function", "parameters")),
    ("plain", put("model", 1, "more", 1), "unknown key 'more' in operation 1"),
    ("plain", put("model", 1, "function", "relu"), f"operation 1 {UNKNOWN} 'relu'"),
    ("plain", put("model", 1, "function", ["tanh"]), f"operation 1 {UNKNOWN} ['tanh']"),
    ("plain", put("model", 1, "parameters", []), "the parameters of operation 1 must be an object"),
    ("plain", put("model", 1, "parameters", {"slope": HALF}),
     "unknown key 'slope' in the parameters of operation 1"),
    *(("soft", drop("model", 1, "parameters", key),
       f"missing key {key!r} in the parameters of operation 1") for key in ("beta", "threshold")),
    ("leaky", drop("model", 1, "parameters", "slope"), "missing key 'slope' in the parameters"),
    ("soft", put("model", 1, "parameters", "beta", ZERO),
     "operation 1 has a parameter outside its range"),
    ("soft", put("model", 1, "parameters", "beta", "-" + ONE),
     "operation 1 has a parameter outside its range"),
    *(("leaky", put("model", 1, "parameters", "slope", value),
       "operation 1 has a parameter outside its range") for value in (ZERO, ONE, "-" + ONE, TWO)),
    ("soft", put("model", 1, "parameters", "beta", 2.0), "beta of operation 1 must be a hex"),
    ("scaled", drop("model", 1, "numerator"), "missing key 'numerator' in operation 1"),
    ("scaled", drop("model", 1, "denominator"), "missing key 'denominator' in operation 1"),
    ("scaled", put("model", 1, "more", 1), "unknown key 'more' in operation 1"),
    ("scaled", put("model", 1, "numerator", 3.0), "numerator of operation 1 must be a hex"),
    ("scaled", put("model", 1, "denominator", 3.0), "denominator of operation 1 must be a hex"),
    ("scaled", put("model", 1, "denominator", ZERO), "operation 1 divides by zero"),
    ("scaled", put("model", 1, "denominator", "-0x0.0p+0"), "operation 1 divides by zero"),
    ("plain", put("counts", "outputs", 2), "the model has 1 outputs and 31 trainable parameters"),
    ("wide", put("counts", "outputs", 1), "the model has 2 outputs and 44 trainable parameters"),
    ("plain", put("counts", "outputs", 3), "the model has 1 outputs and 31 trainable parameters"),
    ("plain", put("counts", "parameters", 30), "the model has 1 outputs and 31 trainable"),
    ("plain", put("counts", "parameters", 32), "the model has 1 outputs and 31 trainable"),
    ("plain", put("model", 0, "weight_trainable", False), "the model has 1 outputs and 13 train"),
    ("plain", put("model", 0, "bias_trainable", False), "the model has 1 outputs and 25 train"),
    ("plain", put("counts", "samples", 2), "the stored inputs have another number of rows than"),
    ("plain", put("counts", "samples", 4), "the stored inputs have another number of rows than"),
]  # fmt: skip
ACCEPTED: list[tuple[str, Change]] = [
    *((name, put("claims", key, ZERO))
      for name, key in (("plain", "residual_norm_upper"), ("plain", "rate"),
                        ("smoothed", "initial_gap_upper"))),
    ("plain", put("claims", BETA, [[HALF, ZERO], [ONE, ONE], [TWO, ONE]])),
    ("plain", put("hints", {"a": 1})),
    ("smoothed", put("loss", "label_smoothing", ONE)),
    ("smoothed", put("loss", "label_smoothing", ZERO)),
    ("scaled", put("model", 1, "denominator", "-" + ONE)),
    ("scaled", put("model", 1, "numerator", ZERO)),
    *((name, put("hints", {})) for name in ("T4", "T7", "T9", "target", "F16", "soft", "leaky")),
    *(("plain", put("model", 1, "function", name))
      for name in ("tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "sin", "identity")),
]  # fmt: skip


def _broken(at: int, checker: Checker) -> None:
    name, change, words = BROKEN[at]
    tree = copy.deepcopy(_trees[name])
    change(tree)
    stored = arrays(checker, name)
    refused(lambda: checker.grammar.certificate(tree, stored), checker.verdict.Invalid, words)


for _at, (_name, _, _words) in enumerate(BROKEN):
    add(f"grammar {_at}: {_words}", partial(_broken, _at))


@case
def grammar_accepts(checker: Checker) -> None:
    for name, change in ACCEPTED:
        tree = copy.deepcopy(_trees[name])
        change(tree)
        found = checker.grammar.certificate(tree, arrays(checker, name))
        demand(found.theorem == tree["theorem"], name)


@case
def arrays_that_do_not_fit(checker: Checker) -> None:
    """Missing, of another shape, too many."""
    invalid, stored = checker.verdict.Invalid, checker.file.StoredArray
    certificate = checker.grammar.certificate

    def expect(words: str, name: str = "plain", **changes: Any) -> None:
        there = arrays(checker, name)
        for key, value in changes.items():
            key = key.replace("__", "/").replace("_dot_", ".")
            there.pop(key, None)
            if value is not None:
                there[key] = value
        refused(lambda: certificate(copy.deepcopy(_trees[name]), there), invalid, words)

    def zeros(*shape: int, dtype: str = "F64") -> Any:
        size = 1
        for one in shape:
            size *= one
        return stored(dtype, shape, bytes(8 * size))

    lacks = "array 'weights/0.weight' is missing or is not a matrix"
    expect(lacks, weights__0_dot_weight=None)
    expect(lacks, weights__0_dot_weight=zeros(18))
    expect(lacks, weights__0_dot_weight=zeros(6, 3, 1))
    expect("array 'weights/2.weight' takes 5 values, but 6 come in",
           weights__2_dot_weight=zeros(1, 5))  # fmt: skip
    expect("array 'weights/2.weight' takes 7 values, but 6 come in",
           weights__2_dot_weight=zeros(1, 7))  # fmt: skip
    for shape in ((6, 4), (6, 2)):
        expect("the inputs do not fit the first layer", weights__0_dot_weight=zeros(*shape))
    expect("array 'weights/0.bias' is missing or has the wrong shape", weights__0_dot_bias=None)
    for size in (5, 7):
        expect("array 'weights/0.bias' is missing or has the wrong shape",
               weights__0_dot_bias=zeros(size))  # fmt: skip
    both = "inputs and targets must both be stored, or both be left out"
    expect(both, inputs=None)
    expect(both, targets=None)
    expect("array 'more' belongs to no operation", more=zeros(1))
    expect("the targets do not have one row per sample, one column per output",
           targets=zeros(3, 2))  # fmt: skip
    expect("the targets do not have one row per sample, one column per output", targets=zeros(3))
    expect("the targets do not have one row per sample, one column per output",
           targets=zeros(4, 1))  # fmt: skip
    expect("an array of integers stands where real numbers are needed",
           targets=zeros(3, 1, dtype="I64"))  # fmt: skip
    expect("an array of real numbers stands where integers are needed", name="smoothed",
           targets=zeros(3))  # fmt: skip
    for shape in ((4,), (3, 1), (2,)):
        expect("the targets do not have one label per sample", name="smoothed",
               targets=zeros(*shape, dtype="I64"))  # fmt: skip
    for label in (3, -1, 4):
        raw = b"".join(x.to_bytes(8, "little", signed=True) for x in (0, label, 2))
        expect("a label is not one of the classes", name="smoothed",
               targets=stored("I64", (3,), raw))  # fmt: skip
    left_out = arrays(checker, "plain")
    del left_out["inputs"], left_out["targets"]
    certificate(copy.deepcopy(_trees["plain"]), left_out)


@case
def unbiased_layers_need_no_bias(checker: Checker) -> None:
    tree = copy.deepcopy(_trees["unbiased"])
    found = checker.grammar.certificate(tree, arrays(checker, "unbiased"))
    demand(found.counts["parameters"] == 40, "the count of the draft")
    tree["model"][0]["bias"] = "weights/0.bias"
    refused(
        lambda: checker.grammar.certificate(tree, arrays(checker, "unbiased")),
        checker.verdict.Invalid, "array 'weights/0.bias' is missing or has the wrong shape",
    )  # fmt: skip


@case
def sentences_are_compared(checker: Checker) -> None:
    """Every draft's sentence is composed by the generator in other words of code."""
    for name in _trees:
        certificate = checker.grammar.certificate(
            copy.deepcopy(_trees[name]), arrays(checker, name)
        )
        checker.sentence.require_sentence(certificate)
        tree = copy.deepcopy(_trees[name])
        tree["claim"] = tree["claim"].replace("the", "The", 1)
        other = checker.grammar.certificate(tree, arrays(checker, name))
        refused(lambda c=other: checker.sentence.require_sentence(c),  # type: ignore[misc]
                checker.verdict.Invalid,
                "the stated claim is not the sentence that the fields give")  # fmt: skip
        if name == "plain":
            tree["claim"] = "Z"
            later = checker.grammar.certificate(tree, arrays(checker, name))
            refused(lambda c=later: checker.sentence.require_sentence(c),  # type: ignore[misc]
                    checker.verdict.Invalid, "the stated claim is not the sentence")  # fmt: skip
