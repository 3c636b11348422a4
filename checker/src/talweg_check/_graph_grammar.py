"""The models of format 2: graphs of operations, their arrays, and how the sentence names them.

Index 0 is the input, operation t has index t + 1. Everything here is about shapes; no value is
looked at but the whole numbers that embeddings read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from talweg_check._file import AXES, StoredArray, as_object, is_count
from talweg_check._verdict import Incomplete, Invalid
from talweg_check.kinds import KINDS
from talweg_check.kinds._kind import MOST, Kind, Shape, entries, times, wholes
from talweg_check.kinds._parametric import Parametric
from talweg_check.kinds.affine import Standardize
from talweg_check.kinds.embedding import Embedding

OPERATIONS = 2000  # from which the answer is "incomplete"


@dataclass
class Graph:
    """The operations, what each of them reads, and the arrays in the order of their first use."""

    input_shape: Shape
    kinds: list[Kind] = field(default_factory=list)
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    trains: dict[str, bool] = field(default_factory=dict)  # by array name

    def shape(self, index: int) -> Shape:
        """The shape of the value with an index."""
        return self.kinds[index - 1].shape if index else self.input_shape

    def chain(self) -> str:
        """The graph as the sentence names it."""
        said = [f"input {times(self.input_shape)}"]
        for before, (kind, read) in enumerate(zip(self.kinds, self.inputs, strict=True)):
            origin = f" <- {', '.join(map(str, read))}" if read != (before,) else ""
            said.append(kind.words() + origin)
        return "; ".join(said)

    def require_inputs(self, array: StoredArray, samples: int) -> None:
        """Raises Invalid unless the array can be the inputs."""
        if array.shape != (samples, *self.input_shape):
            raise Invalid("the inputs do not fit the model or 'counts'")
        readers = [kind for kind, read in zip(self.kinds, self.inputs, strict=True) if 0 in read]
        tables = [kind for kind in readers if isinstance(kind, Embedding)]
        if array.dtype == "I64" and len(tables) < len(readers):
            raise Invalid("the inputs are integers, but not only embeddings read them")
        if tables:
            numbers = array.integers() if array.dtype == "I64" else array.values()
            least = min(kind.choices for kind in tables)
            if not ((numbers >= 0) & (numbers < least) & (numbers == np.floor(numbers))).all():
                raise Invalid(f"an embedding reads an input that is not one of its {least} rows")


def graph(
    model: Any, arrays: Mapping[str, StoredArray], counts: Mapping[str, int]
) -> Graph:  # fmt: skip
    """The graph that 'model' describes, whose arrays are all there and no others."""
    top = as_object(model, ("input_shape", "operations"), "'model'")
    result = Graph(wholes(top, "input_shape", least=1))
    if not result.input_shape or entries(result.input_shape) > MOST:
        raise Invalid("'input_shape' must have at least one axis and a moderate size")
    operations = top["operations"]
    if not isinstance(operations, list) or not operations:
        raise Invalid("'operations' must be a list of operations")
    if len(operations) > OPERATIONS:
        raise Incomplete(f"this checker takes at most {OPERATIONS} operations")
    for index, item in enumerate(operations):
        try:
            _append(result, index, item, arrays)
        except Invalid as error:
            raise Invalid(f"operation {index}: {error}") from None
    used = {index for read in result.inputs for index in read}
    for index in range(1, len(operations)):
        if index not in used:
            raise Invalid(f"operation {index - 1} is read by no later one")
    _require_counts(result, arrays, counts)
    return result


def _append(
    result: Graph, index: int, item: Any, arrays: Mapping[str, StoredArray]
) -> None:  # fmt: skip
    """One operation more, whose inputs are there already."""
    name = as_object(item, None, "an operation").get("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise Invalid(f"unknown kind {name!r}")
    kind = KINDS[name]
    item = dict(as_object(item, ("kind", "inputs", *kind.keys), "it"))
    read = item.pop("inputs")
    if not isinstance(read, list) or not read or not all(is_count(entry) for entry in read):
        raise Invalid("'inputs' must be a list of indices")
    if max(read) > index:
        raise Invalid("'inputs' must be indices of operations before it")
    if kind.slots is not None and len(read) != kind.slots:
        raise Invalid(f"it takes {kind.slots} inputs, not {len(read)}")
    if kind is Embedding and read != [0]:
        raise Invalid("an embedding reads the input, index 0")
    names = _names(kind, index, item, arrays, result.trains)
    made = kind(
        item,
        [result.shape(entry) for entry in read],
        {key: arrays[array].shape for key, array in names.items()},
    )
    if len(made.shape) > AXES or entries(made.shape) > MOST:
        raise Invalid(f"its value has more than {MOST} entries or too many axes")
    if isinstance(made, Parametric):
        trains = _training(made, item, names)
        shared = [key for key, array in names.items() if array in result.trains]
        for key, array in names.items():
            if result.trains.setdefault(array, trains[key]) != trains[key]:
                raise Invalid(f"array {array!r} is trained in one place and frozen in another")
        made.assign(names, trains, shared)
    result.kinds.append(made)
    result.inputs.append(tuple(read))


def _names(
    kind: type[Kind], index: int, item: Mapping[str, Any],
    arrays: Mapping[str, StoredArray], before: Mapping[str, bool],
) -> dict[str, str]:  # fmt: skip
    """The arrays by key: of its own index, or used before."""
    names: dict[str, str] = {}
    for key in kind.stored:
        name = item[key]
        if name is None and key == "bias" and kind is not Standardize:
            continue
        if not isinstance(name, str) or (name != f"weights/{index}.{key}" and name not in before):
            raise Invalid(
                f"'{key}' must be 'weights/{index}.{key}' or an array that was used before"
            )
        if name not in arrays:
            raise Invalid(f"array {name!r} is missing")
        if name in names.values():
            raise Invalid(f"array {name!r} cannot be weight and bias of one operation")
        names[key] = name
    return names


def _training(
    kind: Parametric, item: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, bool]:
    """What trains, by key; absent arrays do not."""
    trains = {}
    for key in kind.stored:
        flag = item.get(f"{key}_trainable", False)
        if not isinstance(flag, bool):
            raise Invalid("it must say with booleans what is trainable")
        if flag and key not in names:
            raise Invalid("it has no bias to train")
        trains[key] = flag
    return trains


def _require_counts(
    result: Graph, arrays: Mapping[str, StoredArray], counts: Mapping[str, int]
) -> None:
    """Outputs, parameters and data are as 'counts' says, and no array is idle."""
    parameters = sum(entries(arrays[name].shape) for name, flag in result.trains.items() if flag)
    shape = result.kinds[-1].shape
    if shape != (counts["outputs"],) or parameters != counts["parameters"]:
        raise Invalid(f"the model has outputs of shape ({times(shape)}) and {parameters} trainable "
                      "parameters, 'counts' says otherwise")  # fmt: skip
    data = {"inputs", "targets"} & set(arrays)
    if len(data) == 1:
        raise Invalid("inputs and targets must both be stored, or both be left out")
    if data:
        result.require_inputs(arrays["inputs"], counts["samples"])
    for name in arrays:
        if name not in result.trains and name not in data:
            raise Invalid(f"array {name!r} belongs to no operation")
