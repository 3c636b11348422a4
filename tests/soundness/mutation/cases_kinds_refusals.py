"""What operations may not be: each refused by name, its neighbours that are allowed taken."""

from __future__ import annotations

from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation.registry import Checker, case, demand, precision, refused

MOST = 2**31
WINDOW = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
POOL = {"kernel": [2], "stride": [1], "padding": [0]}
SLICE = {"axis": 0, "start": 0, "stop": 2, "step": 1}
WEIGHT = "the weight must be (d_out, d_in), d_in the last axis of the input"
TAKES = ("a convolution takes (c_in, *spatial) with one or two spatial axes, its weight is "
         "(c_out, c_in / groups, *kernel)")  # fmt: skip
DIVIDES = "'groups' does not divide the channels as the weight says"
INPUT = "the weight must have the shape of the input from 'axis' on"
BATCH = "a matrix product takes (*batch, a, b) and (*batch, b, c)"
DISTINCT = "'axes' must be distinct axes of a value of shape "
BESIDE = "the values to concatenate differ beside 'axis'"
HALF = "0x1.0000000000000p-1"


def _whole(key: str, least: int = 0) -> str:
    return f"'{key}' must be a whole number from {least} to {MOST}"


REFUSED: list[tuple[str, dict[str, Any], list[Any], dict[str, Any], str]] = [
    ("linear", {}, [(3,)], {"weight": (4, 2)}, WEIGHT),
    ("linear", {}, [(3,)], {"weight": (3,)}, WEIGHT),
    ("linear", {}, [(3,)], {"weight": (4, 3, 1)}, WEIGHT),
    ("linear", {}, [()], {"weight": (4, 3)}, WEIGHT),
    ("linear", {}, [(3, 2)], {"weight": (4, 3)}, WEIGHT),
    ("linear", {}, [(3,)], {"weight": (2, 4)}, WEIGHT),
    ("linear", {}, [(3,)], {"weight": (4, 3), "bias": (3,)}, "the bias must be (d_out)"),
    ("linear", {}, [(3,)], {"weight": (4, 3), "bias": (5,)}, "the bias must be (d_out)"),
    ("linear", {}, [(3,)], {"weight": (4, 3), "bias": (4, 3)}, "the bias must be (d_out)"),
    ("convolution", WINDOW, [(2,)], {"weight": (3, 2)}, TAKES),
    ("convolution", WINDOW, [(2, 3, 3, 3)], {"weight": (3, 2, 2, 2, 2)}, TAKES),
    ("convolution", WINDOW, [(2, 3, 3)], {"weight": (3, 2, 2)}, TAKES),
    ("convolution", WINDOW, [(2, 3, 3)], {"weight": (3, 2, 2, 2, 1)}, TAKES),
    ("convolution", WINDOW | {"stride": [1]}, [(2, 3, 3)], {"weight": (3, 2, 2, 2)},
     "'stride' must have 2 entries"),
    ("convolution", WINDOW | {"stride": [1, 0]}, [(2, 3, 3)], {"weight": (3, 2, 2, 2)},
     _whole("stride", 1)),
    ("convolution", WINDOW | {"padding": [0]}, [(2, 3, 3)], {"weight": (3, 2, 2, 2)},
     "'padding' must have 2 entries"),
    ("convolution", WINDOW | {"padding": [0, -1]}, [(2, 3, 3)], {"weight": (3, 2, 2, 2)},
     _whole("padding")),
    ("convolution", WINDOW | {"dilation": [1] * 3}, [(2, 3, 3)], {"weight": (3, 2, 2, 2)},
     "'dilation' must have 2 entries"),
    ("convolution", WINDOW | {"dilation": [0, 1]}, [(2, 3, 3)], {"weight": (3, 2, 2, 2)},
     _whole("dilation", 1)),
    ("convolution", WINDOW | {"groups": 0}, [(2, 3, 3)], {"weight": (3, 2, 2, 2)},
     _whole("groups", 1)),
    ("convolution", WINDOW | {"groups": 2}, [(4, 3, 3)], {"weight": (3, 2, 2, 2)}, DIVIDES),
    ("convolution", WINDOW | {"groups": 2}, [(4, 3, 3)], {"weight": (4, 4, 2, 2)}, DIVIDES),
    ("convolution", WINDOW | {"groups": 2}, [(4, 3, 3)], {"weight": (4, 1, 2, 2)}, DIVIDES),
    ("convolution", WINDOW | {"groups": 2}, [(2, 3, 3)], {"weight": (4, 2, 2, 2)}, DIVIDES),
    ("convolution", WINDOW, [(2, 3, 3)], {"weight": (3, 2, 2, 2), "bias": (2,)},
     "the bias must be (c_out)"),
    ("convolution", WINDOW, [(2, 3, 3)], {"weight": (3, 2, 2, 2), "bias": (4,)},
     "the bias must be (c_out)"),
    ("convolution", WINDOW, [(2, 3, 3)], {"weight": (3, 2, 2, 4)},
     "a window of 4 is wider than the 3 entries and their padding"),
    ("affine", {"axis": 1}, [(3,)], {"weight": (3,)},
     "'axis' must be an axis of a value of shape 3"),
    ("affine", {"axis": -1}, [(3,)], {"weight": (3,)}, _whole("axis")),
    ("affine", {"axis": 0}, [(3, 2)], {"weight": (2,)}, INPUT),
    ("affine", {"axis": 0}, [(3, 2)], {"weight": (4,)}, INPUT),
    ("affine", {"axis": 1}, [(3, 2)], {"weight": (2, 1)}, INPUT),
    ("affine", {"axis": 0}, [(3, 2)], {"weight": (3,), "bias": (2,)},
     "the bias must have the shape of the weight"),
    ("affine", {"axis": 0}, [(3, 2)], {"weight": (3,), "bias": (3, 2)},
     "the bias must have the shape of the weight"),
    ("shift", {"axis": 0}, [(3, 2)], {"weight": (2,)}, INPUT),
    ("standardize", {"epsilon": HALF}, [(3, 2)], {"weight": (3, 2), "bias": (3, 2)},
     "the weight must have one axis, the channels"),
    ("standardize", {"epsilon": HALF}, [(3, 2)], {"weight": (), "bias": ()},
     "the weight must have one axis, the channels"),
    ("standardize", {"epsilon": HALF}, [(3, 2)], {"weight": (2,), "bias": (2,)}, INPUT),
    ("standardize", {"epsilon": HALF}, [(3, 2)], {"weight": (3,), "bias": (2,)},
     "the bias must have the shape of the weight"),
    ("standardize", {"epsilon": "-0x1.0000000000000p-1"}, [(3, 2)],
     {"weight": (3,), "bias": (3,)}, "'epsilon' must not be negative"),
    ("embedding", {}, [(3,)], {"weight": (3,)}, "the weight must be a matrix"),
    ("embedding", {}, [(3,)], {"weight": (3, 2, 2)}, "the weight must be a matrix"),
    ("elementwise", {"function": "relu", "parameters": {}}, [(3,)], {}, "unknown function 'relu'"),
    ("scale", {"numerator": HALF, "denominator": "0x0.0p+0"}, [(3,)], {}, "divides by zero"),
    ("sum", {"signs": [1]}, [(3,)], {}, "a sum takes two or more values of one shape"),
    ("sum", {"signs": [1, 1]}, [(3,), (2,)], {}, "a sum takes two or more values of one shape"),
    ("sum", {"signs": [1]}, [(3,), (3,)], {},
     "'signs' must be a list with one entry for each input"),
    ("sum", {"signs": [1] * 3}, [(3,), (3,)], {},
     "'signs' must be a list with one entry for each input"),
    ("sum", {"signs": "11"}, [(3,), (3,)], {},
     "'signs' must be a list with one entry for each input"),
    ("sum", {"signs": [1, 2]}, [(3,), (3,)], {}, "'signs' must be 1 or -1"),
    ("sum", {"signs": [0, 1]}, [(3,), (3,)], {}, "'signs' must be 1 or -1"),
    ("sum", {"signs": [1, -2]}, [(3,), (3,)], {}, "'signs' must be 1 or -1"),
    ("sum", {"signs": [True, 1]}, [(3,), (3,)], {}, "'signs' must be 1 or -1"),
    ("sum", {"signs": [1.0, 1]}, [(3,), (3,)], {}, "'signs' must be 1 or -1"),
    ("product", {}, [(3, 1), (3,)], {}, "a product takes two values of one shape"),
    ("product", {}, [(3,), (4,)], {}, "a product takes two values of one shape"),
    ("product", {}, [(4,), (3,)], {}, "a product takes two values of one shape"),
    ("matrix_product", {}, [(2, 3), (2, 3)], {}, BATCH),
    ("matrix_product", {}, [(3,), (3,)], {}, BATCH),
    ("matrix_product", {}, [(3,), (3, 2)], {}, BATCH),
    ("matrix_product", {}, [(2, 3), (3,)], {}, BATCH),
    ("matrix_product", {}, [(1, 2, 3), (3, 2)], {}, BATCH),
    ("matrix_product", {}, [(3, 2), (1, 2, 3)], {}, BATCH),
    ("matrix_product", {}, [(2, 2, 3), (1, 3, 2)], {}, BATCH),
    ("matrix_product", {}, [(1, 2, 3), (2, 3, 2)], {}, BATCH),
    ("matrix_product", {}, [(2, 3), (4, 2)], {}, BATCH),
    ("matrix_product", {}, [(2, 4), (3, 2)], {}, BATCH),
    ("softmax", {}, [()], {}, "a softmax needs an axis"),
    ("normalize", {"axes": 2, "epsilon": HALF}, [(3,)], {}, "'axes' is 2, the input has 1"),
    ("normalize", {"axes": 0, "epsilon": HALF}, [(3,)], {}, _whole("axes", 1)),
    ("normalize", {"axes": 1, "epsilon": "0x0.0p+0"}, [(3,)], {}, "'epsilon' must be positive"),
    ("normalize", {"axes": 1, "epsilon": "-0x1.0000000000000p-1"}, [(3,)], {},
     "'epsilon' must be positive"),
    ("normalize", {"axes": 1, "epsilon": 1}, [(3,)], {}, "'epsilon' must be"),
    ("average_pool", POOL | {"kernel": []}, [(3,)], {}, "'kernel' has 0 entries, the input 1 axes"),
    ("average_pool", POOL | {"kernel": [1, 1]}, [(3,)], {},
     "'kernel' has 2 entries, the input 1 axes"),
    ("average_pool", POOL | {"kernel": [0]}, [(3,)], {}, _whole("kernel", 1)),
    ("average_pool", POOL | {"kernel": [4]}, [(3,)], {},
     "a window of 4 is wider than the 3 entries and their padding"),
    ("average_pool", POOL | {"stride": [1, 1]}, [(3,)], {}, "'stride' must have 1 entries"),
    ("average_pool", POOL | {"stride": [0]}, [(3,)], {}, _whole("stride", 1)),
    ("average_pool", POOL | {"padding": [1, 1]}, [(3,)], {}, "'padding' must have 1 entries"),
    ("average_pool", POOL | {"padding": [-1]}, [(3,)], {}, _whole("padding")),
    ("mean", {"axes": []}, [(3, 2)], {}, DISTINCT + "3x2"),
    ("mean", {"axes": [0, 0]}, [(3, 2)], {}, DISTINCT + "3x2"),
    ("mean", {"axes": [2]}, [(3, 2)], {}, DISTINCT + "3x2"),
    ("mean", {"axes": [3, 0]}, [(3, 2)], {}, DISTINCT + "3x2"),
    ("concatenate", {"axis": 1}, [(3,), (3,)], {}, "'axis' must be an axis of a value of shape 3"),
    ("concatenate", {"axis": 0}, [(3, 2), (3, 1)], {}, BESIDE),
    ("concatenate", {"axis": 0}, [(3, 1), (3, 2)], {}, BESIDE),
    ("concatenate", {"axis": 1}, [(3, 2), (1, 2)], {}, BESIDE),
    ("concatenate", {"axis": 0}, [(3, 2), (3,)], {}, BESIDE),
    ("concatenate", {"axis": 0}, [(3,), (3, 2)], {}, BESIDE),
    ("concatenate", {"axis": 0}, [(3, 2), (3, 2), (1, 1)], {}, BESIDE),
    ("reshape", {"shape": [4]}, [(3, 2)], {}, "a value of shape 3x2 cannot become 4"),
    ("reshape", {"shape": [7]}, [(3, 2)], {}, "a value of shape 3x2 cannot become 7"),
    ("reshape", {"shape": [0]}, [(3, 2)], {}, _whole("shape", 1)),
    ("permute", {"axes": [0]}, [(3, 2)], {}, "'axes' must be those of a value of shape 3x2"),
    ("permute", {"axes": [0, 0]}, [(3, 2)], {}, "'axes' must be those of a value of shape 3x2"),
    ("permute", {"axes": [0, 1, 2]}, [(3, 2)], {}, "'axes' must be those of a value of shape 3x2"),
    ("permute", {"axes": [1, 2]}, [(3, 2)], {}, "'axes' must be those of a value of shape 3x2"),
    ("slice", SLICE | {"axis": 2}, [(3, 2)], {}, "'axis' must be an axis of a value of shape 3x2"),
    ("slice", SLICE | {"start": 2}, [(3,)], {},
     "'start' must lie below 'stop', and that within the axis"),
    ("slice", SLICE | {"start": 3}, [(3,)], {},
     "'start' must lie below 'stop', and that within the axis"),
    ("slice", SLICE | {"stop": 4}, [(3,)], {},
     "'start' must lie below 'stop', and that within the axis"),
    ("slice", SLICE | {"start": -1}, [(3,)], {}, _whole("start")),
    ("slice", SLICE | {"stop": 0}, [(3,)], {}, _whole("stop", 1)),
    ("slice", SLICE | {"step": 0}, [(3,)], {}, _whole("step", 1)),
]  # fmt: skip
TAKEN: list[tuple[str, dict[str, Any], list[Any], dict[str, Any], tuple[int, ...]]] = [
    ("linear", {}, [(1, 3)], {"weight": (1, 3), "bias": (1,)}, (1, 1)),
    ("convolution", WINDOW | {"stride": [3, 5], "padding": [1, 0]}, [(2, 3, 4)],
     {"weight": (3, 2, 5, 4)}, (3, 1, 1)),
    ("convolution", WINDOW | {"groups": 2}, [(2, 3, 4)], {"weight": (4, 1, 1, 2)}, (4, 3, 3)),
    ("affine", {"axis": 1}, [(3, 2)], {"weight": (2,)}, (3, 2)),
    ("standardize", {"epsilon": "0x0.0p+0"}, [(3,)], {"weight": (3,), "bias": (3,)}, (3,)),
    ("embedding", {}, [(1,)], {"weight": (1, 1)}, (1, 1)),
    ("sum", {"signs": [-1, -1]}, [(), ()], {}, ()),
    ("matrix_product", {}, [(1, 2), (2, 3)], {}, (1, 3)),
    ("matrix_product", {}, [(1, 1, 2), (1, 2, 3)], {}, (1, 1, 3)),
    ("normalize", {"axes": 2, "epsilon": "0x0.0000000000001p-1022"}, [(1, 2)], {}, (1, 2)),
    ("average_pool", POOL | {"kernel": [3]}, [(3,)], {}, (1,)),
    ("average_pool", {"kernel": [1, 1], "stride": [1, 9], "padding": [0, 2]}, [(3, 2)], {}, (3, 1)),
    ("mean", {"axes": [1, 0]}, [(3, 2)], {}, ()),
    ("concatenate", {"axis": 0}, [(3,)], {}, (3,)),
    ("concatenate", {"axis": 1}, [(3, 1), (3, 2)], {}, (3, 3)),
    ("concatenate", {"axis": 0}, [(1, 3), (2, 3)], {}, (3, 3)),
    ("reshape", {"shape": [1, 6]}, [(3, 2)], {}, (1, 6)),
    ("permute", {"axes": [1, 0]}, [(3, 2)], {}, (2, 3)),
    ("slice", SLICE | {"start": 2, "stop": 3, "step": MOST}, [(3,)], {}, (1,)),
    ("slice", SLICE | {"stop": 1}, [(1,)], {}, (1,)),
]  # fmt: skip
NAMES = {
    "linear": "Linear", "convolution": "Convolution", "affine": "Affine", "shift": "Shift",
    "embedding": "Embedding", "standardize": "Standardize", "elementwise": "Elementwise",
    "scale": "Scale", "sum": "Sum", "product": "Product", "matrix_product": "MatrixProduct",
    "softmax": "Softmax", "normalize": "Normalize", "average_pool": "AveragePool", "mean": "Mean",
    "concatenate": "Concatenate", "reshape": "Reshape", "permute": "Permute", "slice": "Slice",
}  # fmt: skip


def _said(entry: tuple[Any, ...]) -> str:
    return " ".join(map(str, entry[:4]))


@case
def operations_that_do_not_fit(checker: Checker) -> None:
    kinds, invalid = checker.kinds().KINDS, checker.verdict.Invalid
    for name, item, shapes, arrays, words in REFUSED:
        refused(lambda k=kinds[name], i={"kind": name} | item, s=shapes, a=arrays: k(i, s, a),  # type: ignore[misc]
                invalid, words)  # fmt: skip


@case
def operations_that_just_fit(checker: Checker) -> None:
    kinds = checker.kinds().KINDS
    for name, item, shapes, arrays, shape in TAKEN:
        made = kinds[name](item, shapes, arrays)
        demand(made.shape == shape and made.shapes == shapes, (name, item, made.shape))


@case
def names_of_operations(checker: Checker) -> None:
    found = {name: kind.__name__ for name, kind in checker.kinds().KINDS.items()}
    demand(found == NAMES, found)


@case
def numbers_of_operations(checker: Checker) -> None:
    """Whole numbers and lists of them, at the ends of what is allowed."""
    module, invalid = checker.kinds("_kind"), checker.verdict.Invalid
    demand(module.MOST == MOST, module.MOST)
    for least in (0, 1, 5):
        for value in (least, least + 1, MOST):
            found = module.whole({"x": value}, "x", least)
            demand(found == value and type(found) is int, (value, found))
        for wrong in (least - 1, MOST + 1, True, 5.0, "5", None, [5]):
            refused(lambda w=wrong, n=least: module.whole({"x": w}, "x", n),  # type: ignore[misc]
                    invalid, _whole("x", least))  # fmt: skip
    demand(module.whole({"x": 0}, "x") == 0, "from zero")
    refused(lambda: module.whole({"x": -1}, "x"), invalid, _whole("x"))
    for many in ([], [0], list(range(16))):
        demand(module.wholes({"x": many}, "x") == tuple(many), many)
        demand(module.wholes({"x": many}, "x", len(many)) == tuple(many), many)
    for wrong in ([0] * 17, 5, "5", (5,), None):
        refused(lambda w=wrong: module.wholes({"x": w}, "x"), invalid,  # type: ignore[misc]
                "'x' must be a list of at most 16 whole numbers")  # fmt: skip
    for length in (0, 1, 3):
        refused(lambda n=length: module.wholes({"x": [1, 2]}, "x", n),  # type: ignore[misc]
                invalid, f"'x' must have {length} entries")  # fmt: skip
    refused(lambda: module.wholes({"x": [1, 0]}, "x", 2, 1), invalid, _whole("x", 1))
    refused(lambda: module.wholes({"x": [1, -1]}, "x"), invalid, _whole("x"))
    refused(lambda: module.wholes({"x": [1, 1.0]}, "x"), invalid, _whole("x"))


@case
def windows_and_axes(checker: Checker) -> None:
    module, invalid = checker.kinds("_kind"), checker.verdict.Invalid
    for extent in range(1, 7):
        for kernel in range(1, 5):
            for stride in (1, 2, 3):
                for padding in (0, 1, 2):
                    for dilation in (1, 2):
                        given = (extent, kernel, stride, padding, dilation)
                        last = padding + extent + padding - dilation * (kernel - 1)
                        wanted = len(range(0, last, stride))
                        if wanted:
                            demand(module.windows(*given) == wanted, given)
                        else:
                            words = f"a window of {kernel} is wider than the {extent} entries"
                            refused(lambda g=given: module.windows(*g),  # type: ignore[misc]
                                    invalid, words)  # fmt: skip
    demand(module.entries((2, 3, 4)) == 24 and module.entries(()) == 1, "entries")
    demand(module.times((2, 3, 40)) == "2x3x40" and module.times([7]) == "7", "times")
    for axis in (0, 1):
        demand(module.axis_of({"axis": axis}, (3, 2)) == axis, axis)
    words = "'axis' must be an axis of a value of shape 3x2"
    for axis in (2, 3):
        refused(lambda a=axis: module.axis_of({"axis": a}, (3, 2)), invalid, words)  # type: ignore[misc]


@case
def nothing_is_missing_unnoticed(checker: Checker) -> None:
    """What a kind has to define raises where it does not."""
    base = checker.kinds("_kind").Curved({}, [(2,)], {})
    demand(base.curved and not checker.kinds("_kind").Kind.curved, "curved")
    demand(base.keys == () and base.stored == () and base.slots == 1 and base.work == 0, "defaults")
    weights = checker.kinds("_parametric").Parametric({}, [(2,)], {})
    demand(weights.overlap == 1, weights.overlap)
    view = checker.kinds("views").View({}, [(2,)], {})
    paired = checker.kinds("products").Bilinear({}, [(2,), (2,)], {})
    empty: Any = np.zeros((1, 1, 2))
    for action in (
        base.words, lambda: base.run([]), lambda: base.push((), 0, empty),
        lambda: base.pull((), 0, empty), lambda: base.stretches(()), lambda: base.form((), empty),
        lambda: base.root((), (), empty, []), lambda: base.size((), ()),
        lambda: base.bend((), empty, []), lambda: base.growth((), (), empty, empty),
        lambda: weights.patches(empty), lambda: weights.unfolded(empty), weights.stretch,
        lambda: view.run([empty]), lambda: paired.paired(empty, empty, 0),
    ):  # fmt: skip
        refused(action, NotImplementedError, "")


@case
def training_of_arrays(checker: Checker) -> None:
    """What the sentence says of arrays that are absent, frozen, trained, or used before."""
    kind = checker.kinds().KINDS["linear"]({}, [(3,)], {"weight": (2, 3), "bias": (2,)})
    names = {"weight": "weights/0.weight", "bias": "weights/0.bias"}
    for trains, shared, words, trained in (
        ({"weight": True, "bias": True}, ["weight"], "weight trained, shared, bias trained",
         ["weight", "bias"]),
        ({"weight": True, "bias": False}, ["bias"], "weight trained, bias frozen", ["weight"]),
        ({"weight": False, "bias": True}, ["weight", "bias"],
         "weight frozen, bias trained, shared", ["bias"]),
        ({"weight": False, "bias": False}, [], "weight frozen, bias frozen", []),
    ):  # fmt: skip
        kind.assign(names, trains, shared)
        demand(kind.words() == f"linear 3->2 ({words})", kind.words())
        demand(kind.trained == trained and kind.trains == trains, kind.trained)
        demand(kind.names == names and kind.shared == set(shared), kind.names)
    kind.assign({"weight": "x"}, {"weight": True, "bias": False}, [])
    demand(kind.words() == "linear 3->2 (weight trained, bias none)", kind.words())
    weight = checker.arrays.exact(np.eye(2, 3))
    kind.load({"x": weight})
    demand(kind.weight is weight and kind.bias is None, "no bias")


@case
def variances_and_deviations(checker: Checker) -> None:
    """Positive, at w0 and on the ball, or nothing is said."""
    exact, verdict = checker.arrays.exact, checker.verdict
    kinds = checker.kinds().KINDS
    words = "a variance of 'standardize' and its epsilon are not positive together"
    with precision():
        for variance, epsilon, holds in (
            ([0.5, 1e-300], 0.0, True), ([0.5, 0.0], 0.0, False), ([-0.5, 1.0], 0.5, False),
            ([-0.25, 1.0], 0.5, True), ([1.0, -0.75], 0.5, False),
        ):  # fmt: skip
            made = kinds["standardize"]({"epsilon": epsilon.hex()}, [(2,)],
                                        {"weight": (2,), "bias": (2,)})  # fmt: skip
            made.assign({"weight": "m", "bias": "v"}, {"weight": False, "bias": False}, [])
            arrays = {"m": exact(np.ones(2)), "v": exact(np.array(variance))}
            if holds:
                made.load(arrays)
            else:
                refused(lambda m=made, a=arrays: m.load(a), verdict.Invalid, words)  # type: ignore[misc]
        made = kinds["normalize"]({"axes": 1, "epsilon": (0.25).hex()}, [(2, 2)], {})
        x = exact(np.array([[[0.0, 2.0], [0.0, 0.0]], [[1.0, 1.0], [3.0, 1.0]]]))
        _, state = made.run([x])
        words = "a deviation may vanish on the ball"
        root = 0.5 * 2**0.5  # the least deviation is 1/2, and sigma falls by eta / sqrt(2)
        for factor in (1 - 1e-9, 1 + 1e-9):
            for etas in ([0.0, factor * root], [factor * root, 0.0]):
                given = [exact(np.array(etas))]
                if factor < 1:
                    made.drift(state, given, arb(0))
                else:
                    refused(lambda g=given: made.drift(state, g, arb(0)),  # type: ignore[misc]
                            verdict.Incomplete, words)  # fmt: skip
        words = "a deviation is not shown to be positive"
        wide = x + arb(0, 2**60)
        refused(lambda: made.run([wide]), verdict.Incomplete, words)
        for sample in (0, 1):  # one of two is enough
            part = x + 0
            part[sample] = wide[sample]
            refused(lambda p=part: made.run([p]), verdict.Incomplete, words)  # type: ignore[misc]
        # With rows of one entry sigma is exactly the root of epsilon, here 1/2.
        made = kinds["normalize"]({"axes": 1, "epsilon": (0.25).hex()}, [(1,)], {})
        _, state = made.run([exact(np.array([[3.0]]))])
        refused(lambda: made.drift(state, [exact(np.array([0.5]))], arb(0)), verdict.Incomplete,
                "a deviation may vanish on the ball")  # fmt: skip
