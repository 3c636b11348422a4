"""The network under construction: nodes are added one by one, each checked to fit.

The batch size n itself never enters the reading.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from talweg._errors import InputError, UnsupportedModelError
from talweg.network._grammar import exact_float, place, unsupported
from talweg.network._graph import (
    Elementwise,
    Embedding,
    Linear,
    Network,
    Node,
    Operation,
    Parametric,
    Reshape,
    Scale,
    Shape,
)
from talweg.network._refuse import refuse_nonfinite, refuse_storage
from talweg.network._shapes import output_shape
from talweg.network._value import Value, Weight, shape_words


@dataclass
class Builder:
    """Collects operations; ``nodes`` grows by one for each.

    Attributes:
        model: The model that is read.
        input_shape: Shape of one sample.
        whole: Whether the inputs are whole numbers, for an Embedding.
        nodes: What was read so far.
        notes: What was dropped.
    """

    model: nn.Module
    input_shape: Shape
    whole: bool = False
    nodes: list[Node] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _shapes: list[Shape] = field(default_factory=list)
    _settled: dict[tuple[int, Shape], int] = field(default_factory=dict)
    _first: Weight | None = None

    def __post_init__(self) -> None:
        self._shapes.append(self.input_shape)

    @property
    def input(self) -> Value:
        """The batch of inputs."""
        return Value(0, self.input_shape)

    def weight(self, name: str) -> Weight:
        """The parameter or buffer of this name, checked to be plain and finite."""
        for known, tensor in (*self.model.named_parameters(), *self.model.named_buffers()):
            if known == name:
                return self._checked(Weight(known, tensor))
        raise unsupported(
            f"the forward uses {name!r}, which is no parameter or buffer of the model",
            "Register it with nn.Parameter or register_buffer.",
        )

    def weight_of(self, tensor: Tensor, path: str) -> Weight:
        """The parameter or buffer that a layer holds, under its first name in the model."""
        for name, known in (*self.model.named_parameters(), *self.model.named_buffers()):
            if known is tensor:
                return self._checked(Weight(name, tensor))
        raise unsupported(
            f"{place(path)} holds a weight that is no parameter or buffer of the model",
            "Use the layer as it is constructed.",
        )

    def optional_weight_of(self, tensor: Tensor | None, path: str) -> Weight | None:
        """The same where the layer may have none."""
        return None if tensor is None else self.weight_of(tensor, path)

    def _checked(self, weight: Weight) -> Weight:
        refuse_storage(weight.tensor, repr(weight.name))
        refuse_nonfinite(weight.tensor, f"{weight.name!r} of the model")
        if weight.tensor.requires_grad and not isinstance(weight.tensor, nn.Parameter):
            raise unsupported(
                f"{weight.name!r} requires a gradient but is a buffer, which no optimiser moves",
                "Make it an nn.Parameter.",
            )
        return weight

    def linear(self, value: Value, weight: Weight, bias: Weight | None, path: str) -> Value:
        """``x W^T + b``; refuses shapes and dtypes on which the layer itself would fail."""
        W, b = weight.tensor, None if bias is None else bias.tensor
        came = f"its weight {weight.name!r} has shape {tuple(W.shape)}"
        if W.ndim != 2 or not value.dims:
            raise unsupported(
                f"{place(path)} is a linear layer on values of shape {value}, and {came}",
                "It needs a weight (d_out, d_in) and values (n, d_in).",
            )
        if W.shape[1] != value.dims[-1]:
            whose = "X of the data" if value.index == 0 else "the model"
            raise InputError(
                f"{whose} must give {place(path)} {W.shape[1]} features, since {came}; "
                f"they come with {value.dims[-1]}, shape {value}. Check the two shapes."
            )
        if b is not None and tuple(b.shape) != (W.shape[0],):
            raise unsupported(
                f"{place(path)}: {came}, but its bias has shape {tuple(b.shape)}",
                "The bias must have shape (d_out,).",
            )
        return self.parametric(Linear, value, weight, bias, path)

    def parametric(
        self,
        kind: type[Parametric],
        value: Value,
        weight: Weight,
        bias: Weight | None,
        path: str,
        **settings: object,
    ) -> Value:
        """An operation with stored tensors.

        Args:
            kind: Its class.
            value: What it reads.
            weight: Its weight.
            bias: Its bias, or None.
            path: Where it stands.
            **settings: The other fields of the class.
        """
        if bias is not None and bias.name == weight.name:
            raise unsupported(
                f"{place(path)} uses {weight.name!r} as weight and as bias",
                "Give it two tensors.",
            )
        for each in (weight, bias):
            if each is not None:
                self._require_one_dtype(each)
        W, b = weight.tensor, None if bias is None else bias.tensor
        operation: Operation = kind(  # type: ignore[assignment]
            weight=_stored(W),
            bias=None if b is None else _stored(b),
            weight_trainable=W.requires_grad,
            bias_trainable=b is not None and b.requires_grad,
            path=path,
            weight_name=weight.name,
            bias_name=None if bias is None else bias.name,
            **settings,
        )
        return self.emit(operation, value)

    def _require_one_dtype(self, weight: Weight) -> None:
        first = self._first = self._first or weight
        if first.tensor.dtype != weight.tensor.dtype:
            raise unsupported(
                f"{weight.name!r} has dtype {weight.tensor.dtype} and {first.name!r} has "
                f"{first.tensor.dtype}",
                "Convert the model to one dtype, for example model.double().",
            )

    def elementwise(
        self, function: str, value: Value, path: str, parameters: dict[str, float] | None = None
    ) -> Value:
        """``phi(x)`` entrywise."""
        return self._entrywise(Elementwise(function, path, parameters or {}), value)

    def scale(self, value: Value, path: str, numerator: object, denominator: object) -> Value:
        """A product or quotient with Python numbers, which stay two separate constants."""
        top, bottom = exact_float(numerator), exact_float(denominator)
        if top is None or bottom is None or not (_usable(top) and _usable(bottom)):
            bad = denominator if numerator == 1.0 else numerator
            raise unsupported(
                f"{place(path)} scales by {bad!r} ({type(bad).__name__})",
                "Scale by finite nonzero Python numbers that do not depend on the batch; "
                "write a constant tensor as a number (.item()).",
            )
        return self._entrywise(Scale(top, bottom, path), value)

    def dropped(self, value: Value, path: str, what: str) -> Value:
        """A layer that does nothing: the value itself, with a note."""
        self.notes.append(f"{place(path)}: {what}, read as the identity")
        return value

    def _entrywise(self, operation: Operation, value: Value) -> Value:
        # The entries are what matters, whatever shape they are seen in.
        self._refuse_whole(operation, value.index)
        return Value(self._added(operation, (value.index,), self._shapes[value.index]), value.dims)

    def emit(self, operation: Operation, *values: Value) -> Value:
        """Add an operation on values in the shapes that the forward sees.

        Args:
            operation: The operation.
            *values: What it reads.

        Returns:
            Its value.

        Raises:
            UnsupportedModelError: It does not fit them.
            InputError: It reads int64 inputs, and is no Embedding.
        """
        try:
            dims = output_shape(operation, [value.dims for value in values])
        except UnsupportedModelError as error:
            came = " and ".join(map(str, values))
            raise unsupported(
                f"{place(operation.path)} is a {operation.kind.replace('_', ' ')} on values {came}"
                f"{_weight_words(operation)}, which do not fit",
                "Check the shapes: the batch comes first, and nothing is broadcast.",
            ) from error
        for value in values:
            self._refuse_whole(operation, value.index)
        indices = tuple(self._settle(value, operation.path) for value in values)
        return Value(self._added(operation, indices, dims), dims)

    def embedding(self, value: Value, weight: Weight, path: str) -> Value:
        """Rows of a table at whole numbers; it reads the input itself, whatever its view."""
        if value.index != 0 or not self.whole:
            raise unsupported(
                f"{place(path)} is an Embedding of values that are no int64 inputs",
                "Pass X of dtype int64, and let embeddings read it directly.",
            )
        read = self.parametric(Embedding, self.input, weight, None, path)
        return Value(read.index, (*value.dims, int(weight.tensor.shape[1])))

    def _refuse_whole(self, operation: Operation, index: int) -> None:
        if self.whole and index == 0 and not isinstance(operation, Embedding):
            raise InputError(
                "X of the data must be floating where anything but an Embedding reads it; "
                f"{place(operation.path)} computes with the inputs, which are torch.int64. Cast "
                "them: X.to(torch.float32)."
            )

    def _settle(self, value: Value, path: str) -> int:
        """Index of a node of the shape that the forward sees."""
        if value.dims == self._shapes[value.index]:
            return value.index
        key = (value.index, value.dims)
        if key not in self._settled:
            reshape = Reshape(value.dims, path)
            self._refuse_whole(reshape, value.index)
            self._settled[key] = self._added(reshape, (value.index,), value.dims)
        return self._settled[key]

    def _added(self, operation: Operation, inputs: tuple[int, ...], shape: Shape) -> int:
        self.nodes.append(Node(operation, inputs))
        self._shapes.append(shape)
        return len(self.nodes)

    def finished(self, result: object) -> Network:
        """The network whose output is this value.

        Raises:
            UnsupportedModelError: It is no value of the network, or of no shape ``(n, k)``.
        """
        if not isinstance(result, Value):
            many = isinstance(result, tuple | list | dict)
            raise unsupported(
                f"the model returns {'several values' if many else 'no activations'} "
                f"({type(result).__name__})",
                "Wrap it in a module whose forward returns the one tensor to be fitted.",
            )
        if result.index == 0:
            raise unsupported("the model applies no operation to its input", "Add a Linear layer.")
        if len(result.dims) > 1:
            raise unsupported(
                f"the model returns values of shape {result}",
                "Return (n, k): end in Flatten(), or read out one position or the mean.",
            )
        flat = not result.dims
        last = self._settle(Value(result.index, result.dims or (1,)), "output")
        nodes, shape = _normal_form(self.nodes, last, self.input_shape, self.whole)
        self._note_unused(nodes)
        if flat:
            self.notes.append("the model returns shape (n,), read as one output (n, 1)")
        if shape != self.input_shape:
            self.notes.append(
                f"inputs {shape_words(self.input_shape)} read as rows {shape_words(shape)}"
            )
        return Network(
            nodes=nodes,
            input_dim=int(torch.Size(shape).numel()),
            output_dim=1 if flat else result.dims[0],
            notes=tuple(self.notes),
            flat_output=flat,
            input_shape=shape,
        )

    def _note_unused(self, nodes: Iterable[Node]) -> None:
        used = {
            slot.name
            for node in nodes
            if isinstance(node.operation, Parametric)
            for slot in node.operation.slots()
        }
        unused = [
            (name, parameter.numel())
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and name not in used
        ]
        if unused:
            names = ", ".join(name for name, _ in unused[:5]) + (", ..." if unused[5:] else "")
            self.notes.append(
                f"{len(unused)} trainable tensors ({sum(count for _, count in unused)} numbers) do "
                f"not reach the output and have gradient zero: {names}"
            )


def _normal_form(
    nodes: list[Node], last: int, input_shape: Shape, whole: bool
) -> tuple[tuple[Node, ...], Shape]:
    """The nodes that the output needs, and the input as rows where it is only read flattened."""
    needed = {last}
    for index in range(last, 0, -1):
        if index in needed:
            needed.update(nodes[index - 1].inputs)
    kept = [index for index in sorted(needed) if index > 0]
    flat = (int(torch.Size(input_shape).numel()),)
    readers = [index for index in kept if 0 in nodes[index - 1].inputs]
    views = [nodes[index - 1].operation for index in readers]
    place_of = {0: 0}
    if not whole and all(isinstance(op, Reshape) and op.shape == flat for op in views):
        input_shape = flat
        place_of |= dict.fromkeys(readers, 0)
        kept = [index for index in kept if index not in readers]
    place_of |= {index: place for place, index in enumerate(kept, start=1)}
    found = tuple(
        dataclasses.replace(
            nodes[index - 1], inputs=tuple(place_of[e] for e in nodes[index - 1].inputs)
        )
        for index in kept
    )
    return found, input_shape


def _weight_words(operation: Operation) -> str:
    if not isinstance(operation, Parametric):
        return ""
    return f" with {operation.weight_name!r} of shape {tuple(operation.weight.shape)}"


def _usable(factor: float) -> bool:
    return factor != 0.0 and abs(factor) < float("inf")


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)
