"""The network under construction: one method per operation, each checking that it applies.

A value in the reading is a batch ``(n, dim)``, or ``(n,)`` once a last dimension of width 1 was
squeezed away. The batch size n itself never enters the reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from talweg._errors import InputError, UnsupportedModelError
from talweg.network._grammar import exact_float, place, unsupported
from talweg.network._graph import Elementwise, Linear, Network, Node, Operation, Scale
from talweg.network._refuse import refuse_nonfinite, refuse_storage


@dataclass(frozen=True)
class Value:
    """A batch: index of the node that made it, width, and whether its shape is ``(n,)``."""

    index: int
    dim: int
    flat: bool = False


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer of the live model under its name."""

    name: str
    tensor: Tensor


@dataclass
class Builder:
    """Collects the operations of a chain; ``nodes`` grows by one for each operation."""

    model: nn.Module
    input_dim: int
    nodes: list[Node] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    users: dict[str, str] = field(default_factory=dict)

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
            "Use torch.nn.Linear as it is constructed.",
        )

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
        if W.ndim != 2 or value.flat:
            shape = "(n,)" if value.flat else f"(n, {value.dim})"
            raise unsupported(
                f"{place(path)} is a linear layer on values of shape {shape}, and {came}",
                "It needs a weight (d_out, d_in) and values (n, d_in).",
            )
        if W.shape[1] != value.dim:
            whose = "X of talweg's reading" if value.index == 0 else "model of talweg's reading"
            raise InputError(
                f"{whose} must give {place(path)} {W.shape[1]} features, since {came}; "
                f"they come with {value.dim}, shape (n, {value.dim}). Check the two shapes."
            )
        if b is not None and tuple(b.shape) != (W.shape[0],):
            raise unsupported(
                f"{place(path)}: {came}, but its bias has shape {tuple(b.shape)}",
                "The bias must have shape (d_out,).",
            )
        for each in (weight, bias):
            if each is not None:
                self._use(each, path)
        operation = Linear(
            weight=_stored(W),
            bias=None if b is None else _stored(b),
            weight_trainable=W.requires_grad,
            bias_trainable=b is not None and b.requires_grad,
            path=path,
            weight_name=weight.name,
            bias_name=None if bias is None else bias.name,
        )
        return self._emit(operation, value, int(W.shape[0]))

    def _use(self, weight: Weight, path: str) -> None:
        if weight.name in self.users and weight.tensor.requires_grad:
            raise unsupported(
                f"the parameter {weight.name!r} is used twice, by {place(self.users[weight.name])} "
                f"and by {place(path)}: a shared weight, or a module called twice",
                "Give every use a layer of its own, or freeze it by requires_grad_(False).",
            )
        for node in self.nodes:
            operation = node.operation
            if isinstance(operation, Linear) and operation.weight.dtype != weight.tensor.dtype:
                raise unsupported(
                    f"{weight.name!r} has dtype {weight.tensor.dtype} and "
                    f"{operation.weight_name!r} has {operation.weight.dtype}",
                    "Convert the model to one dtype, for example model.double().",
                )
        self.users[weight.name] = path

    def elementwise(
        self, function: str, value: Value, path: str, parameters: dict[str, float] | None = None
    ) -> Value:
        """``phi(x)`` entrywise."""
        return self._emit(Elementwise(function, path, parameters or {}), value, value.dim)

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
        return self._emit(Scale(top, bottom, path), value, value.dim)

    def dropped(self, value: Value, path: str, what: str) -> Value:
        """A layer that does nothing: the value itself, with a note."""
        self.notes.append(f"{place(path)}: {what}, read as the identity")
        return value

    def flatten(self, value: Value, path: str, start: object, end: object) -> Value:
        """``flatten``: nothing on ``(n, d)`` from dimension 1 on; ``(n, 1)`` to ``(n,)`` from 0."""
        rank = 1 if value.flat else 2
        begin = start % rank if isinstance(start, int) and -rank <= start < rank else None
        last = end % rank if isinstance(end, int) and -rank <= end < rank else None
        if begin is not None and begin == last:
            return self.dropped(value, path, "flatten")
        if (begin, last) == (0, 1) and value.dim == 1:
            return Value(value.index, 1, flat=True)
        raise unsupported(
            f"{place(path)} flattens from dimension {start!r} to {end!r} on (n, {value.dim}), "
            "which mixes the samples of a batch",
            "Use Flatten(start_dim=1), torch.flatten(x, 1) or x.flatten(1).",
        )

    def squeeze(self, value: Value, path: str, dim: object) -> Value:
        """``squeeze(-1)`` or ``squeeze(1)``: ``(n, 1)`` to ``(n,)``, nothing on ``(n, d)``."""
        if dim in (-1, 1) and not value.flat:
            return Value(value.index, 1, flat=True) if value.dim == 1 else value
        raise unsupported(
            f"{place(path)} calls squeeze with dimension {dim!r}, which may remove the batch",
            "Use squeeze(-1) on an output of shape (n, 1).",
        )

    def finished(self, result: object) -> Network:
        """The network whose output is this value.

        Raises:
            UnsupportedModelError: It is no value of the chain, or not the last one.
        """
        if not isinstance(result, Value):
            many = isinstance(result, tuple | list | dict)
            raise unsupported(
                f"the model returns {'several values' if many else 'no activations'} "
                f"({type(result).__name__})",
                "Wrap it in a module whose forward returns the one tensor to be fitted.",
            )
        if not self.nodes:
            raise unsupported("the model applies no operation to its input", "Add a Linear layer.")
        if result.index != len(self.nodes):
            raise _branch("the model", "computes something that its output does not read")
        self._note_unused()
        if result.flat:
            self.notes.append("the model returns shape (n,), read as one output (n, 1)")
        return Network(
            nodes=tuple(self.nodes),
            input_dim=self.input_dim,
            output_dim=result.dim,
            notes=tuple(self.notes),
            flat_output=result.flat,
        )

    def _note_unused(self) -> None:
        unused = [
            (name, parameter.numel())
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and name not in self.users
        ]
        if unused:
            names = ", ".join(name for name, _ in unused[:5]) + (", ..." if unused[5:] else "")
            self.notes.append(
                f"{len(unused)} trainable tensors ({sum(count for _, count in unused)} numbers) do "
                f"not reach the output and have gradient zero: {names}"
            )

    def _emit(self, operation: Operation, value: Value, dim: int) -> Value:
        if value.index != len(self.nodes):
            raise _branch(place(operation.path), "reads a value that another operation reads too")
        self.nodes.append(Node(operation, (value.index,)))
        return Value(len(self.nodes), dim, value.flat)


def _usable(factor: float) -> bool:
    return factor != 0.0 and abs(factor) < float("inf")


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _branch(where: str, what: str) -> UnsupportedModelError:
    return unsupported(
        f"{where} {what}, so the model is no chain",
        "Skip connections, several heads and in-place updates are not supported; apply one "
        "operation after another.",
    )
