"""Random small graphs of every kind of operation, with consistent shapes and shared tensors."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg._errors import UnsupportedModelError
from talweg.network import Elementwise, FlatFunction, Linear, Network, Node, Scale
from talweg.network._graph import (
    Affine,
    AveragePool,
    Concatenate,
    Convolution,
    Embedding,
    MatrixProduct,
    Mean,
    Normalize,
    Operation,
    Permute,
    Product,
    Reshape,
    Shape,
    Shift,
    Slice,
    Softmax,
    Standardize,
    Sum,
)
from talweg.network._shapes import output_shape

FUNCTIONS: dict[str, dict[str, float]] = {
    "tanh": {}, "sigmoid": {}, "silu": {}, "gelu": {}, "gelu_tanh": {}, "sin": {},
    "softplus": {"beta": 1.5, "threshold": 1e9}, "smooth_leaky_relu": {"slope": 0.3},
    "identity": {},
}  # fmt: skip
INPUTS: tuple[Shape, ...] = ((3,), (2, 3), (3, 2), (2, 3, 3), (1, 4, 3))
LARGEST = 18
"""Entries of one value."""

ROWS = 7
"""Rows of an embedding."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A network with data.

    Attributes:
        network: The network.
        X: ``(n, *input_shape)``.
        multiplicity: ``(n,)``.
    """

    network: Network
    X: Tensor
    multiplicity: Tensor

    def function(self) -> FlatFunction:
        """Outputs scaled by the roots of the multiplicities."""
        return FlatFunction(self.network, self.X, self.multiplicity.to(torch.float64).sqrt())


class Builder:
    """Adds operations that fit to values that are there."""

    def __init__(self, rng: random.Random, shape: Shape) -> None:
        self.rng = rng
        self.torch = torch.Generator().manual_seed(rng.randrange(2**31))
        self.shapes: list[Shape] = [shape]
        self.nodes: list[Node] = []
        self.frozen = rng.choice([0.0, 0.2, 0.5])
        self._pool: dict[Shape, list[tuple[Tensor, bool, str]]] = {}
        self._drawn = 0

    def add(self, operation: Operation, *inputs: int) -> int | None:
        """Index of the new value, or None where the operation does not fit or is too large."""
        try:
            shape = output_shape(operation, [self.shapes[e] for e in inputs])
        except UnsupportedModelError:
            return None
        if not 0 < math.prod(shape) <= LARGEST:
            return None
        self.nodes.append(Node(operation, inputs))
        self.shapes.append(shape)
        return len(self.nodes)

    def normal(self, *shape: int, size: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self.torch, dtype=torch.float64) * size

    def tensor(self, shape: Shape, field: str, size: float = 1.0) -> tuple[Tensor, bool, str]:
        """A new tensor with a name, or with some luck one that was used before."""
        pool = self._pool.setdefault(shape, [])
        if pool and self.rng.random() < 0.25:
            return self.rng.choice(pool)
        new = (
            self.normal(*shape, size=size), self.rng.random() >= self.frozen,
            f"{self._drawn}.{field}",
        )  # fmt: skip
        self._drawn += 1  # not the number of nodes: one that does not fit leaves its tensors here
        pool.append(new)
        return new

    def parameters(self, shape: Shape, bias: Shape | None, fan: int) -> dict[str, object]:
        """The fields of a parametric operation."""
        weight, trains, name = self.tensor(shape, "weight", fan**-0.5)
        fields: dict[str, object] = {
            "weight": weight, "weight_trainable": trains, "weight_name": name,
            "bias": None, "bias_trainable": False, "bias_name": None, "path": name,
        }  # fmt: skip
        if bias is not None and self.rng.random() < 0.7:
            own, bias_trains, bias_name = self.tensor(bias, "bias", 0.3)
            if bias_name != name:
                fields |= {"bias": own, "bias_trainable": bias_trains, "bias_name": bias_name}
        return fields

    def other(self, shape: Shape, first: int) -> int:
        """A value of this shape: another one where there is one, else `first` again."""
        fitting = [t for t in range(1, len(self.shapes)) if self.shapes[t] == shape]
        return self.rng.choice([t for t in fitting if t != first] or [first])

    @property
    def path(self) -> str:
        return str(len(self.nodes))


def linear(b: Builder, e: int) -> int | None:
    d_in, d_out = b.shapes[e][-1], b.rng.randint(1, 4)
    return b.add(Linear(**b.parameters((d_out, d_in), (d_out,), d_in)), e)  # type: ignore[arg-type]


def convolution(b: Builder, e: int) -> int | None:
    c, *spatial = b.shapes[e]
    if len(spatial) not in (1, 2):
        return None
    groups = b.rng.choice([g for g in range(1, c + 1) if c % g == 0])
    c_out = groups * b.rng.randint(1, 2)
    kernel = tuple(b.rng.randint(1, 3) for _ in spatial)
    fields = b.parameters((c_out, c // groups, *kernel), (c_out,), c // groups * math.prod(kernel))
    geometry = {
        "stride": tuple(b.rng.choice([1, 1, 2]) for _ in spatial),
        "padding": tuple(b.rng.choice([0, 1, 1, 2]) for _ in spatial),
        "dilation": tuple(b.rng.choice([1, 1, 2]) for _ in spatial),
    }
    return b.add(Convolution(**fields, **geometry, groups=groups), e)  # type: ignore[arg-type]


def _own(b: Builder, e: int) -> tuple[int, Shape]:
    shape = b.shapes[e]
    axis = b.rng.randrange(len(shape))
    return axis, shape[axis : b.rng.randint(axis + 1, len(shape))]


def affine(b: Builder, e: int) -> int | None:
    axis, own = _own(b, e)
    return b.add(Affine(**b.parameters(own, own, 1), axis=axis), e)  # type: ignore[arg-type]


def shift(b: Builder, e: int) -> int | None:
    axis, own = _own(b, e)
    return b.add(Shift(**b.parameters(own, None, 1), axis=axis), e)  # type: ignore[arg-type]


def embedding(b: Builder, e: int) -> int | None:
    fields = b.parameters((ROWS, b.rng.randint(1, 3)), None, 1)
    return b.add(Embedding(**fields), 0)  # type: ignore[arg-type]


def standardize(b: Builder, e: int) -> int | None:
    c = b.shapes[e][0]
    mean, variance = b.normal(c), 0.3 + b.normal(c).square()
    names = (f"{b.path}.mean", f"{b.path}.variance")
    return b.add(Standardize(mean, variance, False, False, b.path, *names, 1e-5), e)


def elementwise(b: Builder, e: int) -> int | None:
    function = b.rng.choice(list(FUNCTIONS))
    return b.add(Elementwise(function, b.path, dict(FUNCTIONS[function])), e)


def scale(b: Builder, e: int) -> int | None:
    return b.add(Scale(b.rng.choice([1.7, -0.5, 2.0]), b.rng.choice([1.0, 3.0]), b.path), e)


def sum_(b: Builder, e: int) -> int | None:
    others = [b.other(b.shapes[e], e) for _ in range(b.rng.randint(1, 2))]
    signs = tuple(b.rng.choice([1, 1, -1]) for _ in range(1 + len(others)))
    return b.add(Sum(signs, b.path), e, *others)


def product(b: Builder, e: int) -> int | None:
    return b.add(Product(b.path), e, b.other(b.shapes[e], e))


def matrix_product(b: Builder, e: int) -> int | None:
    shape = b.shapes[e]
    if len(shape) < 2:
        return None
    fitting = [
        t for t in range(1, len(b.shapes))
        if len(b.shapes[t]) == len(shape) and b.shapes[t][:-2] == shape[:-2]
        and b.shapes[t][-2] == shape[-1]
    ]  # fmt: skip
    if fitting and b.rng.random() < 0.5:
        return b.add(MatrixProduct(b.path), e, b.rng.choice(fitting))
    turned = b.add(
        Permute((*range(len(shape) - 2), len(shape) - 1, len(shape) - 2), b.path),
        b.other(shape, e),
    )
    return None if turned is None else b.add(MatrixProduct(b.path), e, turned)


def softmax(b: Builder, e: int) -> int | None:
    return b.add(Softmax(b.path), e)


def normalize(b: Builder, e: int) -> int | None:
    axes = b.rng.randint(1, len(b.shapes[e]))
    return b.add(Normalize(axes, b.rng.choice([1e-5, 0.1]), b.path), e)


def average_pool(b: Builder, e: int) -> int | None:
    count = min(b.rng.randint(1, 2), len(b.shapes[e]))
    pairs = [b.rng.choice([(1, 0), (2, 0), (2, 1), (3, 1)]) for _ in range(count)]
    kernel, padding = tuple(k for k, _ in pairs), tuple(p for _, p in pairs)
    stride = tuple(b.rng.randint(1, 2) for _ in range(count))
    return b.add(AveragePool(kernel, stride, padding, b.path), e)


def mean(b: Builder, e: int) -> int | None:
    axes = b.rng.sample(range(len(b.shapes[e])), b.rng.randint(1, len(b.shapes[e])))
    # A number without axes is read by nothing here.
    return b.add(Mean(tuple(axes), b.path), e) if len(axes) < len(b.shapes[e]) else None


def concatenate(b: Builder, e: int) -> int | None:
    axis = b.rng.randrange(len(b.shapes[e]))
    return b.add(Concatenate(axis, b.path), e, b.other(b.shapes[e], e))


def reshape(b: Builder, e: int) -> int | None:
    size = math.prod(b.shapes[e])
    first = b.rng.choice([x for x in range(1, size + 1) if size % x == 0])
    return b.add(Reshape(b.rng.choice([(size,), (first, size // first)]), b.path), e)


def permute(b: Builder, e: int) -> int | None:
    axes = list(range(len(b.shapes[e])))
    b.rng.shuffle(axes)
    return b.add(Permute(tuple(axes), b.path), e)


def slice_(b: Builder, e: int) -> int | None:
    axis = b.rng.randrange(len(b.shapes[e]))
    size = b.shapes[e][axis]
    start = b.rng.randrange(size)
    stop = b.rng.randint(start + 1, size)
    return b.add(Slice(axis, start, stop, b.rng.randint(1, 2), b.path), e)


ADDERS: dict[str, Callable[[Builder, int], int | None]] = {
    "linear": linear, "convolution": convolution, "affine": affine, "shift": shift,
    "embedding": embedding, "standardize": standardize, "elementwise": elementwise,
    "scale": scale, "sum": sum_, "product": product, "matrix_product": matrix_product,
    "softmax": softmax, "normalize": normalize, "average_pool": average_pool, "mean": mean,
    "concatenate": concatenate, "reshape": reshape, "permute": permute, "slice": slice_,
}  # fmt: skip
"""By kind; each reads a value and perhaps others, and answers None where it does not fit."""


def random_graph(seed: int, *, most: int = 8, samples: int = 3) -> Drawn:
    """A random graph of up to `most` operations and a head that reads every loose end.

    Args:
        seed: Decides everything.
        most: Largest number of operations before the head.
        samples: Number of rows.
    """
    rng = random.Random(seed)
    while True:
        found = _attempt(rng, most, samples)
        if found is not None:
            return found


def _attempt(rng: random.Random, most: int, samples: int) -> Drawn | None:
    of_tokens = rng.random() < 0.15
    shape = rng.choice([(2,), (3,), (2, 2)]) if of_tokens else rng.choice(INPUTS)
    b = Builder(rng, shape)
    if of_tokens and embedding(b, 0) is None:
        return None
    kinds = [k for k in ADDERS if k != "embedding" or of_tokens]
    layers = ["linear", "convolution", "affine", "shift"]
    curved = ["elementwise", "product", "matrix_product", "softmax", "normalize"]
    for _ in range(rng.randint(2, most)):
        kind = rng.choice(rng.choice([layers, curved, kinds]))
        first = 1 if of_tokens else 0
        # Late values twice as often: deeper graphs.
        places = list(range(first, len(b.shapes)))
        ADDERS[kind](b, rng.choice([*places, *places[len(places) // 2 :]]))
    _head(b)
    network = Network(
        tuple(b.nodes), math.prod(shape), b.shapes[-1][0], input_shape=shape
    )  # fmt: skip
    if not network.parameter_names():
        return None
    if of_tokens:
        X = torch.randint(0, ROWS, (samples, *shape), generator=b.torch).to(torch.float64)
    else:
        X = b.normal(samples, *shape)
    multiplicity = torch.tensor([rng.choice([1, 1, 2, 3]) for _ in range(samples)])
    return Drawn(network, X, multiplicity)


def _head(b: Builder) -> None:
    read = {e for node in b.nodes for e in node.inputs}
    loose = [t for t in range(1, len(b.shapes)) if t not in read] or [0]
    flat = []
    for t in loose:
        size = math.prod(b.shapes[t])
        b.nodes.append(Node(Reshape((size,), b.path), (t,)))
        b.shapes.append((size,))
        flat.append(len(b.nodes))
    whole = flat[0]
    if len(flat) > 1:
        b.nodes.append(Node(Concatenate(0, b.path), tuple(flat)))
        b.shapes.append((sum(b.shapes[t][0] for t in flat),))
        whole = len(b.nodes)
    if b.shapes[whole][0] <= 3 and b.rng.random() < 0.3:
        return
    k = b.rng.choice([1, 1, 2, 3])
    d_in = b.shapes[whole][0]
    fields = b.parameters((k, d_in), (k,), d_in)
    b.nodes.append(Node(Linear(**fields), (whole,)))  # type: ignore[arg-type]
    b.shapes.append((k,))
    if b.rng.random() < 0.2:
        elementwise(b, len(b.nodes))
