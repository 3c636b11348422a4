"""Random chains of every kind of layer, each as a network of talweg and as a reference chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flint import arb, arb_mat, ctx
from numpy.typing import NDArray
from tests.soundness.chain_reference import ReferenceChain, exact
from tests.soundness.containment.draws import numbers_like
from tests.soundness.shard import Tally
from torch import Tensor

from talweg.enclosure import Ball
from talweg.network import Elementwise, Linear, Network, Node, Operation, Scale

Floats = NDArray[np.float64]
Rng = np.random.Generator

PRECISIONS = (256, 1024, 4096)
FUNCTIONS = (
    "tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "sin", "softplus", "smooth_leaky_relu",
    "identity",
)  # fmt: skip
WILD = 0.08
"""Share of weights and inputs over the whole range of floats."""


@dataclass(frozen=True)
class Drawn:
    """One chain with inputs.

    Attributes:
        network: As talweg holds it.
        reference: The same chain for the reference.
        inputs: ``(n, d)``.
        multiplicity: ``(n,)`` int64.
    """

    network: Network
    reference: ReferenceChain
    inputs: Tensor
    multiplicity: Tensor

    @property
    def weights(self) -> list[arb]:
        """``m_i``, exactly."""
        return [arb(m) for m in self.multiplicity.tolist()]

    def line(self) -> str:
        """Everything needed to draw it again by hand."""
        parts = []
        for op in self.network.operations:
            if isinstance(op, Linear):
                bias = None if op.bias is None else hexadecimal(op.bias)
                parts.append(
                    f"linear({hexadecimal(op.weight)}, {bias}, "
                    f"{op.weight_trainable}, {op.bias_trainable})"
                )
            elif isinstance(op, Elementwise):
                parts.append(f"{op.function}{op.parameters or ''}")
            else:
                parts.append(f"scale({op.numerator.hex()}/{op.denominator.hex()})")
        return f"[{'; '.join(parts)}] X={hexadecimal(self.inputs)} m={self.multiplicity.tolist()}"


def hexadecimal(t: Tensor | Floats) -> Any:
    """Nested lists of hexadecimal floats."""
    if t.ndim == 0:
        return float(t).hex()
    return [hexadecimal(row) for row in t]


def drawn(
    rng: Rng,
    *,
    depth: int | None = None,
    wild: float = WILD,
    functions: Sequence[str] = FUNCTIONS,
    scales: bool = True,
    most: int = 4,
    rows: int = 4,
) -> Drawn:
    """A random chain with random inputs.

    Args:
        rng: The generator.
        depth: Number of linear layers; None draws 1 to 4.
        wild: Probability that an array has entries over the whole range of floats.
        functions: Activations to draw from.
        scales: Whether constant factors and activations before the first layer appear.
        most: Largest width.
        rows: Largest number of samples.
    """
    depth = int(rng.choice([1, 2, 2, 2, 3, 3, 4])) if depth is None else depth
    widths = [int(x) for x in rng.integers(1, most + 1, depth + 1)]
    if rng.random() < 0.4:
        widths[-1] = 1
    operations: list[Operation] = []
    if scales and rng.random() < 0.15:
        operations.append(_pointwise(rng, 0, functions, scales))
    trains = rng.random((depth, 2)) < (0.8 if rng.random() < 0.5 else 1.1)
    biased = rng.random(depth) < 0.7
    if not (trains[:, 0] | (trains[:, 1] & biased)).any():
        trains[-1, 0] = True
    for layer in range(depth):
        with_bias = bool(biased[layer])
        d_in, d_out = widths[layer], widths[layer + 1]
        operations.append(
            Linear(
                torch.from_numpy(_weight(rng, d_out, d_in, wild)),
                torch.from_numpy(_vector(rng, d_out, wild)) if with_bias else None,
                bool(trains[layer, 0]),
                bool(trains[layer, 1]) and with_bias,
                str(len(operations)),
                f"{layer}.weight",
                f"{layer}.bias" if with_bias else None,
            )
        )
        last = layer == depth - 1
        many = int(rng.choice([0, 0, 0, 1, 2] if last else [0, 1, 1, 1, 1, 2, 3]))
        if not scales:
            many = min(many, 1)
        for _ in range(many):
            operations.append(_pointwise(rng, len(operations), functions, scales))
    n = int(rng.integers(1, rows + 1))
    inputs = torch.from_numpy(_inputs(rng, n, widths[0], wild))
    counts = rng.choice([1, 1, 1, 2, 3, 7], n) if rng.random() < 0.4 else np.ones(n, dtype=int)
    nodes = tuple(Node(op, (t,)) for t, op in enumerate(operations))
    network = Network(nodes, widths[0], widths[-1])
    return Drawn(network, reference_of(network), inputs, torch.from_numpy(counts.astype(np.int64)))


def reference_of(network: Network) -> ReferenceChain:
    """The same chain in the grammar of the file."""
    operations: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    for t, op in enumerate(network.operations):
        if isinstance(op, Linear):
            arrays[f"{t}.weight"] = op.weight.numpy()
            if op.bias is not None:
                arrays[f"{t}.bias"] = op.bias.tolist()
            operations.append(
                {
                    "kind": "linear",
                    "weight": f"{t}.weight",
                    "bias": None if op.bias is None else f"{t}.bias",
                    "weight_trainable": op.weight_trainable,
                    "bias_trainable": op.bias_trainable,
                }
            )
        elif isinstance(op, Elementwise):
            operations.append(
                {"kind": "elementwise", "function": op.function, "parameters": op.parameters}
            )
        else:
            operations.append(
                {"kind": "scale", "numerator": op.numerator, "denominator": op.denominator}
            )
    return ReferenceChain(operations, arrays)


def _pointwise(rng: Rng, position: int, functions: Sequence[str], scales: bool) -> Operation:
    if scales and rng.random() < 0.2:
        numerator = float(rng.choice([1.7, 1.0, -0.5, 0.0, 3.0, 1e-3, 40.0]))
        return Scale(numerator, float(rng.choice([1.0, 3.0, -7.0, 0.1, 2.0])), str(position))
    function = str(rng.choice(list(functions)))
    constants: dict[str, float] = {}
    if function == "softplus":
        constants = {"beta": float(rng.choice([1.0, 1.5, 0.1, 20.0])), "threshold": 20.0}
    if function == "smooth_leaky_relu":
        constants = {"slope": float(rng.choice([0.5, 0.1, 0.9, 1e-6]))}
    return Elementwise(function, str(position), constants)


def _weight(rng: Rng, d_out: int, d_in: int, wild: float) -> Floats:
    if rng.random() < wild:
        return numbers_like(rng, d_out * d_in).reshape(d_out, d_in)
    kind = int(rng.integers(10))
    if kind == 0:
        return np.zeros((d_out, d_in))
    if kind == 1:
        return np.outer(rng.standard_normal(d_out), rng.standard_normal(d_in))
    if kind == 2:
        return rng.choice([-1.0, 1.0], (d_out, d_in))
    if kind == 3:
        return np.repeat(rng.standard_normal((1, d_in)), d_out, 0)
    if kind == 4:
        return rng.standard_normal((d_out, d_in)) * 10.0 ** rng.integers(-8, 3, (d_out, 1))
    gain = float(rng.choice([1.0, 1.0, 1.0, 0.1, 3.0, 10.0, 1e-4]))
    return rng.standard_normal((d_out, d_in)) * gain / d_in**0.5


def _vector(rng: Rng, size: int, wild: float) -> Floats:
    if rng.random() < wild:
        return numbers_like(rng, size)
    return rng.standard_normal(size) * float(rng.choice([0.0, 0.3, 0.3, 1.0, 20.0]))


def _inputs(rng: Rng, n: int, d: int, wild: float) -> Floats:
    if rng.random() < wild:
        return numbers_like(rng, n * d).reshape(n, d)
    x = rng.standard_normal((n, d)) * float(rng.choice([1.0, 1.0, 1.0, 1e-6, 30.0]))
    kind = int(rng.integers(8))
    if kind == 0:
        x[0] = 0.0
    if kind == 1:  # nearly equal rows, or equal ones
        x[:] = x[0] + rng.choice([0.0, 1e-9]) * rng.standard_normal((n, d))
    if kind == 2:
        x = rng.choice([-1.0, 0.0, 1.0], (n, d))
    return np.asarray(x)


# -- deciding --------------------------------------------------------------------------------------


def scaled_rows(matrix: arb_mat, factors: Sequence[arb]) -> arb_mat:
    """diag(factors) times the matrix; each factor serves equally many rows."""
    repeat = matrix.nrows() // max(len(factors), 1)
    entries, columns = matrix.entries(), matrix.ncols()
    return arb_mat(
        matrix.nrows(),
        columns,
        [x * factors[i // columns // repeat] for i, x in enumerate(entries)],
    )


def precisions() -> Iterator[int]:
    """Working precisions, one after the other, each set while the caller uses it."""
    for bits in PRECISIONS:
        with ctx.workprec(bits):
            yield bits


def enclosed(
    subject: str,
    asked: Sequence[tuple[str, Ball]],
    answers: Callable[[], Sequence[Sequence[arb]]],
    line: Callable[[], str],
) -> Tally:
    """One case for each entry of each ball.

    Args:
        subject: What is under test.
        asked: The balls by name.
        answers: The true entries at the working precision, in the order of reading.
        line: The inputs, for a violation.
    """
    open_ = [
        (f"{name}[{i}]", position, i, mid, rad)
        for position, (name, ball) in enumerate(asked)
        for i, (mid, rad) in enumerate(
            zip(ball.mid.reshape(-1).tolist(), ball.rad.reshape(-1).tolist(), strict=True)
        )
    ]
    total, violations = len(open_), []
    unbounded = sum(rad == np.inf for *_, rad in open_)
    for _ in precisions():
        truth = answers()
        remaining = []
        for question in open_:
            name, position, i, mid, rad = question
            inside = is_inside(mid, rad, truth[position][i])
            if inside is None:
                remaining.append(question)
            elif not inside:
                value = f"{mid.hex()} +- {rad.hex()}"
                violations.append(f"{subject} {name} = {value} without {truth[position][i]}")
        open_ = remaining
        if not open_:
            break
    if violations:
        violations[0] += f" for {line()}"
    return Tally(
        total - len(open_),
        tuple(violations),
        counts={"undecided": len(open_), "unbounded": unbounded},
    )


def is_inside(mid: float, rad: float, value: arb) -> bool | None:
    """Whether |value - mid| <= rad; None where the value's own radius leaves it open."""
    if not (np.isfinite(mid) and rad >= 0.0):
        return False
    if rad == np.inf:
        return True
    excess = abs(value - mid) - rad
    if excess <= 0:
        return True
    return False if excess > 0 else None


def bounded(
    subject: str,
    bounds: Sequence[float],
    excesses: Callable[[], Sequence[arb]],
    line: Callable[[], str],
) -> Tally:
    """One case for each bound: right where its excess is certainly <= 0.

    Args:
        subject: What is under test.
        bounds: The bounds; inf counts as unbounded and right, NaN as wrong.
        excesses: By how much each is wrong at the working precision; any number where it is inf.
        line: The inputs, for a violation.
    """
    open_ = [i for i, bound in enumerate(bounds) if not np.isinf(bound)]
    violations = [f"{subject}[{i}] = nan for {line()}" for i in open_ if np.isnan(bounds[i])]
    open_ = [i for i in open_ if not np.isnan(bounds[i])]
    unbounded = sum(bool(np.isinf(bound)) for bound in bounds)
    for _ in precisions():
        if not open_:
            break
        excess = excesses()
        for i in open_:
            if excess[i] > 0:
                violations.append(
                    f"{subject}[{i}] = {bounds[i].hex()} is off by {excess[i]} for {line()}"
                )
        open_ = [i for i in open_ if not (excess[i] <= 0 or excess[i] > 0)]
    return Tally(
        len(bounds) - len(open_),
        tuple(violations),
        counts={"undecided": len(open_), "unbounded": unbounded},
    )


def square_excess(bound: float, square: arb) -> arb:
    """square - bound^2 for a bound >= 0, something positive for a negative one."""
    return square - exact(bound) ** 2 if bound >= 0.0 else arb(1)
