"""Random chains with data as the checker reads them, and the same chains for the referee."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray
from tests.soundness.chain_reference import ReferenceChain
from tests.soundness.containment.checker_activations import built

from talweg_check._arrays import exact
from talweg_check._losses import loss
from talweg_check._network import Network, stages_of

Floats = NDArray[np.float64]
FUNCTIONS = (
    "tanh", "tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "sin", "softplus", "smooth_leaky_relu",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Drawn:
    """Operations, weights by name, distinct input rows and how often each occurs."""

    operations: list[dict[str, Any]]
    arrays: dict[str, Floats]
    inputs: Floats
    counts: NDArray[np.int64]

    def network(self, *, zero_sum: bool = False) -> Network:
        """What the checker makes of it, with squared losses or cross-entropies in mind."""
        with patch("talweg_check._network.function", built):
            stages = stages_of(self.operations, self.arrays)
        frame = None
        if zero_sum:
            stated = {"kind": "cross_entropy", "scaling": "sum", "label_smoothing": (0.0).hex()}
            frame = loss(stated, {"samples": 1, "outputs": self.outputs}).frame
        return Network(stages, exact(self.inputs), self.counts, frame)

    def reference(self) -> ReferenceChain:
        """What the referee makes of it."""
        return ReferenceChain(self.operations, self.arrays)

    @property
    def outputs(self) -> int:
        """Width of the last layer."""
        last = [item for item in self.operations if item["kind"] == "linear"][-1]
        return len(self.arrays[last["weight"]])

    def __str__(self) -> str:
        arrays = {name: a.tolist() for name, a in self.arrays.items()}
        return f"{self.operations} {arrays} {self.inputs.tolist()} {self.counts.tolist()}"


def entrywise(rng: np.random.Generator, names: tuple[str, ...] = FUNCTIONS) -> dict[str, Any]:
    """One entrywise operation."""
    name = str(rng.choice(names))
    numbers: dict[str, float] = {}
    if name == "softplus":
        numbers = {"beta": float(rng.choice([1.0, 0.5, 3.0])), "threshold": 1e6}
    if name == "smooth_leaky_relu":
        numbers = {"slope": float(rng.choice([0.5, 0.1]))}
    return {"kind": "elementwise", "function": name, "parameters": numbers}


def drawn_chain(
    rng: np.random.Generator,
    *,
    widest: int = 3,
    deepest: int = 3,
    most_samples: int = 3,
    names: tuple[str, ...] = FUNCTIONS,
    plain: bool = False,
) -> Drawn:
    """One to `deepest` linear layers; `plain`: one function of `names` or none behind each."""
    depth = int(rng.integers(1, deepest + 1))
    widths = [int(rng.integers(1, widest + 1)) for _ in range(depth + 1)]
    operations: list[dict[str, Any]] = []
    arrays: dict[str, Floats] = {}
    if not plain and rng.random() < 0.15:
        operations.append(entrywise(rng))
    for layer in range(depth):
        at = len(operations)
        weight, bias = f"weights/{at}.weight", f"weights/{at}.bias"
        spread = float(rng.choice([0.0, 0.3, 1.0, 1.0, 1.0, 3.0])) / math.sqrt(widths[layer])
        arrays[weight] = spread * rng.standard_normal((widths[layer + 1], widths[layer]))
        with_bias = bool(rng.random() < 0.7)
        if with_bias:
            arrays[bias] = spread * rng.standard_normal(widths[layer + 1])
        operations.append({
            "kind": "linear", "weight": weight, "bias": bias if with_bias else None,
            "weight_trainable": bool(rng.random() < 0.85),
            "bias_trainable": bool(with_bias and rng.random() < 0.85),
        })  # fmt: skip
        if not plain and rng.random() < 0.15:
            operations.append({
                "kind": "scale", "numerator": float(rng.choice([1.0, -2.0, 0.1])),
                "denominator": float(rng.choice([3.0, 1.0, math.sqrt(2.0)])),
            })  # fmt: skip
        if layer < depth - 1 or rng.random() < 0.2:
            operations.append(entrywise(rng, names))
            if not plain and rng.random() < 0.15:
                operations.append(entrywise(rng, names))
    trains = [item for item in operations if item["kind"] == "linear"]
    if not any(item["weight_trainable"] or item["bias_trainable"] for item in trains):
        trains[int(rng.integers(depth))]["weight_trainable"] = True
    samples = int(rng.integers(1, most_samples + 1))
    inputs = rng.standard_normal((samples, widths[0])) * float(rng.choice([1.0, 1.0, 1e-3, 30.0]))
    if rng.random() < 0.15:
        inputs[0] = 0.0
    if rng.random() < 0.15:
        inputs = np.round(inputs)
    counts = rng.choice([1, 1, 1, 2, 3], samples)
    return Drawn(operations, arrays, inputs, counts)


def orthonormal(size: int, zero_sum: bool) -> arb_mat:
    """Orthonormal rows: the unit vectors, or a frame of the vectors with sum zero.

    By Gram-Schmidt on e_1 - e_2, e_2 - e_3, ...; not the checker's formula.
    """
    if not zero_sum:
        return arb_mat(size, size, [int(i == j) for i in range(size) for j in range(size)])
    rows: list[list[arb]] = []
    for j in range(size - 1):
        row = [arb(int(c == j) - int(c == j + 1)) for c in range(size)]
        for other in rows:
            overlap = sum((x * y for x, y in zip(row, other, strict=True)), arb(0))
            row = [x - overlap * y for x, y in zip(row, other, strict=True)]
        length = sum((x * x for x in row), arb(0)).sqrt()
        rows.append([x / length for x in row])
    return arb_mat(size - 1, size, [x for row in rows for x in row])
