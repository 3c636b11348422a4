"""What 'model' may say in format 2, rule by rule: each broken alone, refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from tests.soundness.mutation.graph_models import MODELS, flat
from tests.soundness.mutation.materials import Build, Model
from tests.soundness.mutation.registry import Checker, case, demand, refused

Change = Callable[[Any], object]
MOST = 2**31
INPUTS = "operation 3: 'inputs' must be a list of indices"
BEFORE = "operation 3: 'inputs' must be indices of operations before it"
COUNTED = "'counts' says otherwise"
INPUT_SHAPE = "'input_shape' must have at least one axis and a moderate size"


def _base() -> Model:
    """Five operations, the third of them a sum, the fourth a view."""
    b = Build(np.random.default_rng(3), [3])
    h = b.linear(0, 3, 4)
    r = b.linear(b.act(h), 4, 4, bias=False)
    b.add("reshape", b.add("sum", [h, r], signs=[1, -1]), shape=[2, 2])
    b.add("reshape", 5, shape=[4])
    b.linear(6, 4, 2)
    return b.model(3, 2)


def _parts(model: Model, checker: Checker) -> tuple[Any, dict[str, Any], dict[str, int]]:
    stored = checker.file.StoredArray
    arrays = {
        name: stored("F64", array.shape, array.astype("<f8").tobytes())
        for name, array in model.weights.items()
    }
    counts = {"samples": len(model.inputs), "outputs": model.targets.shape[1],
              "parameters": model.parameters()}  # fmt: skip
    return copy.deepcopy(model.tree()), arrays, counts


def _array(checker: Checker, values: Any, dtype: str = "F64") -> Any:
    values = np.asarray(values)
    kind = "<i8" if dtype == "I64" else "<f8"
    return checker.file.StoredArray(dtype, values.shape, values.astype(kind).tobytes())


def _operation(at: int, **keys: Any) -> Change:
    return lambda tree: tree["operations"][at].update(keys)


def _instead(at: int, item: Any) -> Change:
    return lambda tree: tree["operations"].__setitem__(at, item)


def _drop(at: int, key: str) -> Change:
    return lambda tree: tree["operations"][at].pop(key)


def _top(**keys: Any) -> Change:
    return lambda tree: tree.update(keys)


SHIFT = {"kind": "shift", "inputs": [3], "weight": "weights/0.bias", "weight_trainable": True,
         "axis": 0}  # fmt: skip
AFFINE = {"kind": "affine", "inputs": [3], "weight": "weights/0.bias", "weight_trainable": True,
          "bias": None, "bias_trainable": False, "axis": 0}  # fmt: skip
STANDARD = {"kind": "standardize", "inputs": [3], "weight": "weights/3.weight",
            "bias": "weights/3.bias", "epsilon": (1.0).hex()}  # fmt: skip
USED = "must be 'weights/{}.{}' or an array that was used before"
REFUSED: list[tuple[Change, str]] = [
    (_top(more=1), "unknown key 'more' in 'model'"),
    (lambda tree: tree.pop("input_shape"), "missing key 'input_shape' in 'model'"),
    (_top(input_shape=[]), INPUT_SHAPE),
    (_top(input_shape=[2**16, 2**15 + 1]), INPUT_SHAPE),
    (_top(input_shape=[0]), f"'input_shape' must be a whole number from 1 to {MOST}"),
    (_top(input_shape=3), "'input_shape' must be a list of at most 16 whole numbers"),
    (_top(operations=[]), "'operations' must be a list of operations"),
    (_top(operations={"0": 1}), "'operations' must be a list of operations"),
    (_instead(3, 5), "operation 3: an operation must be an object"),
    (_instead(3, {}), "operation 3: unknown kind None"),
    (_operation(3, kind="relu"), "operation 3: unknown kind 'relu'"),
    (_operation(3, kind=["sum"]), "operation 3: unknown kind ['sum']"),
    (_operation(3, gain=1), "operation 3: unknown key 'gain' in it"),
    (_drop(3, "signs"), "operation 3: missing key 'signs' in it"),
    (_drop(3, "inputs"), "operation 3: missing key 'inputs' in it"),
    (_operation(3, inputs=[]), INPUTS),
    (_operation(3, inputs=1), INPUTS),
    (_operation(3, inputs="13"), INPUTS),
    (_operation(3, inputs=[1, True]), INPUTS),
    (_operation(3, inputs=[1, -1]), INPUTS),
    (_operation(3, inputs=[1, 1.0]), INPUTS),
    (_operation(3, inputs=[1, 4]), BEFORE),
    (_operation(3, inputs=[1, 5]), BEFORE),
    (_operation(4, inputs=[4, 4]), "operation 4: it takes 1 inputs, not 2"),
    (_instead(3, {"kind": "product", "inputs": [1]}), "operation 3: it takes 2 inputs, not 1"),
    (_operation(3, signs=[1, 2]), "operation 3: 'signs' must be 1 or -1"),
    (_instead(2, {"kind": "embedding", "inputs": [2], "weight": "weights/2.weight",
                  "weight_trainable": True}),
     "operation 2: an embedding reads the input, index 0"),
    (_operation(0, weight="weights/1.weight"), f"operation 0: 'weight' {USED.format(0, 'weight')}"),
    (_operation(0, bias="weights/0.bia"), f"operation 0: 'bias' {USED.format(0, 'bias')}"),
    (_operation(0, weight=None), f"operation 0: 'weight' {USED.format(0, 'weight')}"),
    (_operation(0, weight=5), f"operation 0: 'weight' {USED.format(0, 'weight')}"),
    (_operation(0, weight=["weights/0.weight"]),
     f"operation 0: 'weight' {USED.format(0, 'weight')}"),
    (lambda tree: (_operation(0, bias_trainable=False)(tree), _instead(3, SHIFT)(tree)),
     "operation 3: array 'weights/0.bias' is trained in one place and frozen in another"),
    (_instead(3, STANDARD | {"weight": "weights/0.bias", "bias": None}),
     f"operation 3: 'bias' {USED.format(3, 'bias')}"),
    (_instead(3, SHIFT | {"weight": "weights/3.weight"}),
     "operation 3: array 'weights/3.weight' is missing"),
    (_instead(3, AFFINE | {"bias": "weights/0.bias", "bias_trainable": True}),
     "operation 3: array 'weights/0.bias' cannot be weight and bias of one operation"),
    (_instead(3, SHIFT | {"weight_trainable": False}),
     "operation 3: array 'weights/0.bias' is trained in one place and frozen in another"),
    (_instead(3, SHIFT | {"weight_trainable": 1}),
     "operation 3: it must say with booleans what is trainable"),
    (_instead(3, AFFINE | {"bias_trainable": True}), "operation 3: it has no bias to train"),
    (_operation(0, bias_trainable="yes"), "operation 0: it must say with booleans"),
    (_operation(2, inputs=[1]), "operation 1 is read by no later one"),
    (_operation(3, inputs=[1, 1]), "operation 2 is read by no later one"),
    (lambda tree: tree["operations"].pop(), "the model has outputs of shape (4) and 32 trainable"),
    (_operation(6, bias_trainable=False), "the model has outputs of shape (2) and 40 trainable"),
    (_operation(4, shape=[2, 3]), "operation 4: a value of shape 4 cannot become 2x3"),
]  # fmt: skip


@case
def models_of_graphs_that_do_not_fit(checker: Checker) -> None:
    graph, invalid = checker.graph_grammar.graph, checker.verdict.Invalid
    model = _base()
    tree, arrays, counts = _parts(model, checker)
    graph(tree, arrays, counts)
    for change, words in REFUSED:
        tree, arrays, counts = _parts(model, checker)
        change(tree)
        refused(lambda t=tree, a=arrays, c=counts: graph(t, a, c), invalid, words)  # type: ignore[misc]
    refused(lambda: graph([], arrays, counts), invalid, "'model' must be an object")
    for reads, idle in (((0, 0, 2), 0), ((0, 1, 1), 1), ((0, 0, 2, 3), 0), ((0, 1, 2, 2), 2)):
        operations = [{"kind": "softmax", "inputs": [read]} for read in reads]
        tree = {"input_shape": [2], "operations": operations}
        refused(lambda t=tree: graph(t, {}, counts), invalid,  # type: ignore[misc]
                f"operation {idle} is read by no later one")  # fmt: skip


@case
def many_operations_and_large_values(checker: Checker) -> None:
    module, verdict = checker.graph_grammar, checker.verdict
    demand(module.OPERATIONS == 2000, module.OPERATIONS)
    model = _base()
    tree, arrays, counts = _parts(model, checker)
    kept = module.OPERATIONS
    try:
        module.OPERATIONS = 7
        module.graph(tree, arrays, counts)
        module.OPERATIONS = 6
        refused(lambda: module.graph(tree, arrays, counts), verdict.Incomplete,
                "this checker takes at most 6 operations")  # fmt: skip
    finally:
        module.OPERATIONS = kept
    words = f"operation 0: its value has more than {MOST} entries or too many axes"
    for shape, item, holds in (
        ([2**16, 2**15], {"kind": "softmax", "inputs": [0]}, True),
        ([2**15], {"kind": "concatenate", "inputs": [0] * 2**3, "axis": 0}, True),
        ([2**30], {"kind": "concatenate", "inputs": [0, 0, 0], "axis": 0}, False),
        ([1] * 16, {"kind": "softmax", "inputs": [0]}, True),
        ([3], {"kind": "reshape", "inputs": [0], "shape": [3, *[1] * 15]}, True),
    ):  # fmt: skip
        tree = {"input_shape": shape, "operations": [item]}
        refused(lambda t=tree: module.graph(t, {}, counts), verdict.Invalid,  # type: ignore[misc]
                "the model has outputs of shape" if holds else words)  # fmt: skip
    # An embedding has one axis more than its input.
    for axes in (15, 16):
        table = {"weights/0.weight": _array(checker, np.zeros((3, 2)))}
        item = {"kind": "embedding", "inputs": [0], "weight": "weights/0.weight",
                "weight_trainable": True}  # fmt: skip
        tree = {"input_shape": [1] * axes, "operations": [item]}
        refused(lambda t=tree, a=table: module.graph(t, a, counts), verdict.Invalid,  # type: ignore[misc]
                "the model has outputs of shape" if axes == 15 else words)  # fmt: skip


@case
def numbers_of_a_graph(checker: Checker) -> None:
    """Outputs, parameters, and arrays that nobody uses."""
    graph, invalid = checker.graph_grammar.graph, checker.verdict.Invalid
    tree, arrays, counts = _parts(_base(), checker)
    said = "the model has outputs of shape (2) and 42 trainable parameters, 'counts' says otherwise"
    for key, wrong in (("outputs", 1), ("outputs", 3), ("parameters", 41), ("parameters", 43)):
        refused(lambda k=key, w=wrong: graph(tree, arrays, counts | {k: w}), invalid, said)  # type: ignore[misc]
    words = "array 'weights/9.weight' belongs to no operation"
    more = arrays | {"weights/9.weight": arrays["weights/0.bias"]}
    refused(lambda: graph(tree, more, counts), invalid, words)
    rows, targets = np.zeros((3, 3)), _array(checker, np.zeros((3, 2)))
    data = arrays | {"inputs": _array(checker, rows), "targets": targets}
    graph(tree, data, counts)
    words = "inputs and targets must both be stored, or both be left out"
    for name in ("inputs", "targets"):
        alone = {key: value for key, value in data.items() if key != name}
        refused(lambda a=alone: graph(tree, a, counts), invalid, words)  # type: ignore[misc]
    wrong = data | {"inputs": _array(checker, np.zeros((4, 3)))}
    refused(lambda: graph(tree, wrong, counts), invalid,
            "the inputs do not fit the model or 'counts'")  # fmt: skip


@case
def what_a_graph_holds(checker: Checker) -> None:
    """Kinds, inputs, arrays in the order of their first use, training, and the sentence."""
    model = MODELS["tied"]()
    tree, arrays, counts = _parts(model, checker)
    made = checker.graph_grammar.graph(tree, arrays, counts)
    demand(made.input_shape == (3,) and len(made.kinds) == 7, "sizes")
    demand(made.inputs == [(0,), (1,), (2,), (3,), (4,), (5,), (6,)], made.inputs)
    demand([made.shape(t) for t in (0, 1, 7)] == [(3,), (3,), (1,)], "shapes")
    wanted = ["weights/0.weight", "weights/0.bias", "weights/4.bias", "weights/6.weight",
              "weights/6.bias"]  # fmt: skip
    demand(list(made.trains) == wanted and all(made.trains.values()), made.trains)
    shared = "weight trained, shared, bias trained"
    demand(made.chain() == "input 3; linear 3->3 (weight trained, bias trained); tanh; linear 3->3 "
           f"({shared}, shared); sigmoid; linear 3->3 ({shared}); sigmoid; linear 3->1 (weight "
           "trained, bias trained)", made.chain())  # fmt: skip
    tree, arrays, counts = _parts(_base(), checker)
    made = checker.graph_grammar.graph(tree, arrays, counts)
    demand(made.chain() == "input 3; linear 3->4 (weight trained, bias trained); tanh; linear 4->4 "
           "(weight trained, bias none); sum(+, -) <- 1, 3; reshape(2x2); reshape(4); linear 4->2 "
           "(weight trained, bias trained)", made.chain())  # fmt: skip
    model = MODELS["partly"]()
    tree, arrays, counts = _parts(model, checker)
    made = checker.graph_grammar.graph(tree, arrays, counts)
    trained = {name for name, flag in made.trains.items() if flag}
    demand(trained == set(model.trained()), made.trains)
    demand(list(made.trains) == list(model.weights), made.trains)
    for t, kind in enumerate(made.kinds):
        for key in ("weight", "bias"):
            name = model.operations[t].get(key)
            if name:
                demand(kind.names[key] == name and kind.trains[key] is made.trains[name], name)
    model = MODELS["frozen_norms"]()
    tree, arrays, counts = _parts(model, checker)
    made = checker.graph_grammar.graph(tree, arrays, counts)
    demand(made.kinds[1].trains == {"weight": False, "bias": False}, "a frozen normalisation")
    for name, model in ((name, make()) for name, make in MODELS.items()):
        tree, arrays, counts = _parts(model, checker)
        made = checker.graph_grammar.graph(tree, arrays, counts)
        shape = (len(model.inputs), *model.input_shape)
        made.require_inputs(_array(checker, flat(model).reshape(shape)), len(model.inputs))
        demand(made.input_shape == tuple(model.input_shape), name)


@case
def inputs_of_a_graph(checker: Checker) -> None:
    invalid = checker.verdict.Invalid
    fits = "the inputs do not fit the model or 'counts'"
    reads = "the inputs are integers, but not only embeddings read them"
    rows = "an embedding reads an input that is not one of its 3 rows"
    b = Build(np.random.default_rng(0), [2])
    one = b.weighted("embedding", 0, (4, 2), gain=1.0)
    two = b.weighted("embedding", 0, (3, 2), gain=1.0)
    b.linear(b.add("reshape", b.add("sum", [one, two], signs=[1, 1]), shape=[4]), 4, 1)
    made = checker.graph_grammar.graph(*_parts(b.model(2, 1, np.zeros((2, 2))), checker))
    good = np.array([[0, 2], [1, 0]])
    for dtype in ("I64", "F64"):
        made.require_inputs(_array(checker, good, dtype), 2)
        for bad in (3, -1):
            wrong = _array(checker, np.array([[0, 2], [bad, 0]]), dtype)
            refused(lambda w=wrong: made.require_inputs(w, 2), invalid, rows)  # type: ignore[misc]
    for bad in (0.5, 1.5, -0.5, 2.5):
        wrong = _array(checker, np.array([[0, 2], [bad, 0]]))
        refused(lambda w=wrong: made.require_inputs(w, 2), invalid, rows)  # type: ignore[misc]
    for shape, samples in (((2, 2), 3), ((2, 2), 1), ((2, 1), 2), ((4,), 2)):
        wrong = _array(checker, np.zeros(shape))
        refused(lambda w=wrong, n=samples: made.require_inputs(w, n), invalid, fits)  # type: ignore[misc]
    # One reader that is no embedding: integers are refused, whole real numbers are not.
    b = Build(np.random.default_rng(0), [2])
    one = b.weighted("embedding", 0, (3, 2), gain=1.0)
    one = b.add("reshape", one, shape=[4])
    b.linear(b.add("concatenate", [one, 0], axis=0), 6, 1)
    made = checker.graph_grammar.graph(*_parts(b.model(2, 1, np.zeros((2, 2))), checker))
    made.require_inputs(_array(checker, good), 2)
    refused(lambda: made.require_inputs(_array(checker, good, "I64"), 2), invalid, reads)
    refused(lambda: made.require_inputs(_array(checker, good + 1), 2), invalid, rows)
    b = Build(np.random.default_rng(0), [2])
    b.linear(0, 2, 1)
    made = checker.graph_grammar.graph(*_parts(b.model(2, 1), checker))
    made.require_inputs(_array(checker, good / 3), 2)
    refused(lambda: made.require_inputs(_array(checker, good, "I64"), 2), invalid, reads)
