"""The reading of a model: a small graph of operations with exact stored weights.

A `Network` is data, not code: nodes in topological order, each an operation from a closed list with
the indices of the nodes it reads. Index 0 stands for the input batch, node ``t`` of ``nodes`` has
index ``t + 1``, the last node is the output. A feed-forward chain has ``inputs == (t,)``
everywhere; the indices leave room for sums, concatenation and attention.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Linear:
    """``z = x W^T + b``; weight ``(d_out, d_in)``, bias ``(d_out,)`` or None, as stored.

    A frozen weight or bias is a constant of the ideal function; ``None`` is no bias at all.
    """

    kind: ClassVar[str] = "linear"
    weight: Tensor
    bias: Tensor | None
    weight_trainable: bool
    bias_trainable: bool
    path: str
    weight_name: str
    bias_name: str | None


@dataclass(frozen=True, eq=False)
class Elementwise:
    """``y = phi(x)`` entrywise; ``function`` is one of ``enclosure.activation_names()``."""

    kind: ClassVar[str] = "elementwise"
    function: str
    path: str
    parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scale:
    """``y = (numerator / denominator) x`` with exact binary64 constants (NTK-style factors)."""

    kind: ClassVar[str] = "scale"
    numerator: float
    denominator: float
    path: str


Operation = Linear | Elementwise | Scale


@dataclass(frozen=True, eq=False)
class Node:
    """One operation and the indices of the values it reads (0 is the input batch)."""

    operation: Operation
    inputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Network:
    """A model read into operations.

    Attributes:
        nodes: Operations in topological order.
        input_dim: Number of features of one sample.
        output_dim: Number of outputs ``k`` of one sample.
        notes: What the reading dropped or merged (for example eval-mode dropout), for the report.
        flat_output: Whether the model itself returns shape ``(n,)``, read as ``(n, 1)``.
    """

    nodes: tuple[Node, ...]
    input_dim: int
    output_dim: int
    notes: tuple[str, ...] = ()
    flat_output: bool = False

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations in order."""
        return tuple(node.operation for node in self.nodes)

    @property
    def is_chain(self) -> bool:
        """Whether every node reads just the one before it."""
        return all(node.inputs == (t,) for t, node in enumerate(self.nodes))

    @property
    def trainable_parameters(self) -> int:
        """Number ``p`` of trainable scalars."""
        total = 0
        for operation in self.operations:
            if isinstance(operation, Linear):
                if operation.weight_trainable:
                    total += operation.weight.numel()
                if operation.bias is not None and operation.bias_trainable:
                    total += operation.bias.numel()
        return total

    def parameter_names(self) -> tuple[str, ...]:
        """Names (as in ``model.named_parameters()``) of the trainable tensors, in graph order."""
        names: list[str] = []
        for operation in self.operations:
            if isinstance(operation, Linear):
                if operation.weight_trainable:
                    names.append(operation.weight_name)
                if operation.bias_trainable and operation.bias_name is not None:
                    names.append(operation.bias_name)
        return tuple(names)
