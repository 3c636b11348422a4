"""The reading of a model: a small graph of operations with exact stored weights.

A `Network` is data, not code: nodes in topological order, each an operation from a closed list with
the indices of the nodes it reads. Index 0 stands for the input batch, node ``t`` of ``nodes`` has
index ``t + 1``, the last node is the output. The value of a node is, for each sample, an array of
a fixed shape (row-major where it is flattened); the batch itself is never an axis of it.

Networks of Linear, Elementwise and Scale on flat features in which ``inputs == (t,)`` everywhere
are chains; they have bounds of their own (docs/theory/B3.md), all others those of graphs
(docs/theory/B6.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from talweg._errors import UnsupportedModelError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Slot:
    """One stored tensor of an operation: the field that holds it, whether it trains, its name."""

    field: str
    tensor: Tensor
    trainable: bool
    name: str


@dataclass(frozen=True, eq=False)
class Parametric:
    """An operation with stored tensors; a frozen one is a constant of the ideal function."""

    weight: Tensor
    bias: Tensor | None
    weight_trainable: bool
    bias_trainable: bool
    path: str
    weight_name: str
    bias_name: str | None

    def slots(self) -> tuple[Slot, ...]:
        """The stored tensors, the weight first."""
        weight = Slot("weight", self.weight, self.weight_trainable, self.weight_name)
        if self.bias is None or self.bias_name is None:
            return (weight,)
        return weight, Slot("bias", self.bias, self.bias_trainable, self.bias_name)

    @property
    def trains(self) -> bool:
        """Whether the weight or the bias is trained."""
        return self.weight_trainable or self.bias_trainable


@dataclass(frozen=True, eq=False)
class Linear(Parametric):
    """``z = x W^T + b`` along the last axis; weight ``(d_out, d_in)``, bias ``(d_out,)`` or None.

    ``None`` is no bias at all.
    """

    kind: ClassVar[str] = "linear"


@dataclass(frozen=True, eq=False)
class Convolution(Parametric):
    """Cross-correlation with zero padding over the one or two last axes, as `torch.nn.Conv2d`.

    Values ``(c_in, *spatial)``; weight ``(c_out, c_in / groups, *kernel)``, bias ``(c_out,)``;
    stride, padding and dilation have one entry for each spatial axis.
    """

    kind: ClassVar[str] = "convolution"
    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int


@dataclass(frozen=True, eq=False)
class Affine(Parametric):
    """``y = w * x + b``, both of one shape that stands at the axes ``axis, axis + 1, ...``.

    The scale and shift of normalising layers: over the channels (axis 0) or the last axes.
    """

    kind: ClassVar[str] = "affine"
    axis: int


@dataclass(frozen=True, eq=False)
class Shift(Parametric):
    """``y = x + w``, the weight at the axes ``axis, axis + 1, ...``; for example positions.

    The bias is None.
    """

    kind: ClassVar[str] = "shift"
    axis: int


@dataclass(frozen=True, eq=False)
class Embedding(Parametric):
    """Row ``x`` of the weight ``(v, d)`` for every whole number x of a value ``(*shape)``.

    It reads the input batch, whose entries are whole numbers in [0, v); the bias is None.
    """

    kind: ClassVar[str] = "embedding"


@dataclass(frozen=True, eq=False)
class Standardize(Parametric):
    """``y = (x - weight) / sqrt(bias + epsilon)`` by channel (axis 0), both frozen ``(c,)``.

    Batch normalisation in eval mode without its scale and shift: weight is the running mean, bias
    the running variance.
    """

    kind: ClassVar[str] = "standardize"
    epsilon: float


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


@dataclass(frozen=True, eq=False)
class Sum:
    """``y = sum_e signs[e] x_e`` of two or more values of one shape, signs 1 or -1."""

    kind: ClassVar[str] = "sum"
    signs: tuple[int, ...]
    path: str


@dataclass(frozen=True, eq=False)
class Product:
    """``y = x_1 * x_2`` entrywise, two values of one shape (or one value twice)."""

    kind: ClassVar[str] = "product"
    path: str


@dataclass(frozen=True, eq=False)
class MatrixProduct:
    """``y = x_1 @ x_2`` of values ``(*batch, a, b)`` and ``(*batch, b, c)``, equal batch axes."""

    kind: ClassVar[str] = "matrix_product"
    path: str


@dataclass(frozen=True, eq=False)
class Softmax:
    """Softmax along the last axis."""

    kind: ClassVar[str] = "softmax"
    path: str


@dataclass(frozen=True, eq=False)
class Normalize:
    """``(x - mean) / sqrt(variance + epsilon)`` over the last ``axes`` axes, divided by the count.

    Layer normalisation without its scale and shift.
    """

    kind: ClassVar[str] = "normalize"
    axes: int
    epsilon: float
    path: str


@dataclass(frozen=True, eq=False)
class AveragePool:
    """Means over windows of the last ``len(kernel)`` axes; zero padding counts into the mean."""

    kind: ClassVar[str] = "average_pool"
    kernel: Shape
    stride: Shape
    padding: Shape
    path: str


@dataclass(frozen=True, eq=False)
class Mean:
    """Mean over the given axes, which disappear."""

    kind: ClassVar[str] = "mean"
    axes: Shape
    path: str


@dataclass(frozen=True, eq=False)
class Concatenate:
    """Values joined along one axis."""

    kind: ClassVar[str] = "concatenate"
    axis: int
    path: str


@dataclass(frozen=True, eq=False)
class Reshape:
    """The same entries, in row-major order, in another shape."""

    kind: ClassVar[str] = "reshape"
    shape: Shape
    path: str


@dataclass(frozen=True, eq=False)
class Permute:
    """Axes in another order, as `torch.permute`."""

    kind: ClassVar[str] = "permute"
    axes: Shape
    path: str


@dataclass(frozen=True, eq=False)
class Slice:
    """The entries ``start, start + step, ... < stop`` along one axis, which stays."""

    kind: ClassVar[str] = "slice"
    axis: int
    start: int
    stop: int
    step: int
    path: str


Operation = (
    Linear | Convolution | Affine | Shift | Embedding | Standardize | Elementwise | Scale | Sum
    | Product | MatrixProduct | Softmax | Normalize | AveragePool | Mean | Concatenate | Reshape
    | Permute | Slice
)  # fmt: skip
ChainOperation = Linear | Elementwise | Scale


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
        input_shape: Shape of one sample; None is ``(input_dim,)``.
    """

    nodes: tuple[Node, ...]
    input_dim: int
    output_dim: int
    notes: tuple[str, ...] = ()
    flat_output: bool = False
    input_shape: Shape | None = None

    def __post_init__(self) -> None:
        if self.input_shape is None:
            object.__setattr__(self, "input_shape", (self.input_dim,))

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations in order."""
        return tuple(node.operation for node in self.nodes)

    @property
    def chain_operations(self) -> tuple[ChainOperation, ...]:
        """The operations of a chain, for rules that speak of chains alone.

        Raises:
            UnsupportedModelError: The network is no chain.
        """
        found = tuple(op for op in self.operations if isinstance(op, Linear | Elementwise | Scale))
        if not self.is_chain:
            kinds = ", ".join(sorted({op.kind for op in self.operations}))
            raise UnsupportedModelError(
                "the model must here be a feed-forward chain of Linear "
                "layers, activations and scalings on flat features, each with parameters of its "
                f"own; got a graph of {kinds}. Ask for something that covers graphs."
            )
        return found

    @property
    def is_chain(self) -> bool:
        """Whether it is a chain of Linear, Elementwise and Scale on flat features, each its own."""
        flat = self.input_shape is not None and len(self.input_shape) == 1
        return flat and not self.shared_parameters() and all(
            node.inputs == (t,) and isinstance(node.operation, Linear | Elementwise | Scale)
            for t, node in enumerate(self.nodes)
        )  # fmt: skip

    def slots(self) -> Iterator[Slot]:
        """Every stored tensor in the order of the operations; shared ones come again."""
        for operation in self.operations:
            if isinstance(operation, Parametric):
                yield from operation.slots()

    def trainable_slots(self) -> tuple[Slot, ...]:
        """The trainable tensors in graph order, each once."""
        found: dict[str, Slot] = {}
        for slot in self.slots():
            if slot.trainable:
                found.setdefault(slot.name, slot)
        return tuple(found.values())

    def shared_parameters(self) -> frozenset[str]:
        """Names of the trainable tensors that more than one operation uses."""
        names = [slot.name for slot in self.slots() if slot.trainable]
        return frozenset(name for name in names if names.count(name) > 1)

    @property
    def trainable_parameters(self) -> int:
        """Number ``p`` of trainable scalars."""
        return sum(math.prod(slot.tensor.shape) for slot in self.trainable_slots())

    def parameter_names(self) -> tuple[str, ...]:
        """Names (as in ``model.named_parameters()``) of the trainable tensors, in graph order."""
        return tuple(slot.name for slot in self.trainable_slots())
