"""A chain of the certificate's grammar evaluated in Arb, from the formulas of the file format.

Written without a look at the code under test: numbers become balls of `flint.ctx.prec` bits, every
function and its two derivatives are typed from `docs/certificate-format.md`. Set the precision with
`flint.ctx.workprec(bits)` around a call; 256 bits leave about 200 true ones in a small network.

Rows of the Jacobian: output o of sample i is row ``i k + o``. Columns: operation by operation, of
each linear one first its weight row by row (if it trains), then its bias (if it trains).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat, fmpq

Number = arb | float | int | Fraction
Rows = Sequence[Sequence[Number]]
Operation = Mapping[str, Any]
Jet = tuple[arb, arb, arb]  # value, first and second derivative


def exact(value: Number | str) -> arb:
    """A number, or a hexadecimal float of the file, as an Arb number without rounding."""
    if isinstance(value, arb):
        return value
    if isinstance(value, str):
        return arb(float.fromhex(value))
    if isinstance(value, Fraction):
        return arb(fmpq(value.numerator, value.denominator))
    return arb(float(value)) if isinstance(value, float | np.floating) else arb(int(value))


def _logistic(x: arb) -> Jet:
    e = (-abs(x)).exp()
    value = 1 / (1 + (-x).exp()) if x > 0 else x.exp() / (1 + x.exp())
    slope = e / (1 + e) ** 2
    return value, slope, -slope * (x / 2).tanh()


def _tanh(x: arb, _: Operation) -> Jet:
    e = (-2 * abs(x)).exp()
    slope = 4 * e / (1 + e) ** 2
    return x.tanh(), slope, -2 * x.tanh() * slope


def _sigmoid(x: arb, _: Operation) -> Jet:
    return _logistic(x)


def _silu(x: arb, _: Operation) -> Jet:
    s, s1, s2 = _logistic(x)
    return x * s, s + x * s1, 2 * s1 + x * s2


def _gelu(x: arb, _: Operation) -> Jet:
    phi = (-x / arb(2).sqrt()).erfc() / 2
    density = (-x * x / 2).exp() / (2 * arb.pi()).sqrt()
    return x * phi, phi + x * density, density * (2 - x * x)


def _gelu_tanh(x: arb, _: Operation) -> Jet:
    cubic = arb(fmpq(44715, 1000000))
    root = (2 / arb.pi()).sqrt()
    # Products: a power of a ball that holds zero is no number in Arb.
    q, q1, q2 = root * (x + cubic * x * x * x), root * (1 + 3 * cubic * x * x), 6 * root * cubic * x
    s, s1, s2 = _logistic(2 * q)  # (1 + tanh q) / 2
    return x * s, s + 2 * x * q1 * s1, 4 * q1 * s1 + x * (2 * q2 * s1 + 4 * q1 * q1 * s2)


def _sin(x: arb, _: Operation) -> Jet:
    return x.sin(), x.cos(), -x.sin()


def _identity(x: arb, _: Operation) -> Jet:
    return x, arb(1), arb(0)


def _softplus(x: arb, constants: Operation) -> Jet:
    """The ideal function; torch's own differs beyond the threshold."""
    beta = exact(constants["beta"])
    y = beta * x
    s, s1, _ = _logistic(y)
    return (y.max(arb(0)) + (-abs(y)).exp().log1p()) / beta, s, beta * s1


def _smooth_leaky_relu(x: arb, constants: Operation) -> Jet:
    a = exact(constants["slope"])
    s, s1, _ = _logistic(x)
    bent = (x.expm1() / 2).log1p() if x < 1 else x + (-x).exp().log1p() - arb(2).log()
    return a * x + (1 - a) * bent, a + (1 - a) * s, (1 - a) * s1


FUNCTIONS: dict[str, Callable[[arb, Operation], Jet]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "sin": _sin,
    "identity": _identity,
    "softplus": _softplus,
    "smooth_leaky_relu": _smooth_leaky_relu,
}


def jet(operation: Operation, x: arb) -> Jet:
    """Value and two derivatives of one elementwise or scale operation."""
    if operation["kind"] == "scale":
        factor = exact(operation["numerator"]) / exact(operation["denominator"])
        return x * factor, factor, arb(0)
    return FUNCTIONS[operation["function"]](x, operation.get("parameters", {}))


class ReferenceChain:
    """A chain with its weights.

    Args:
        operations: The list ``model`` of the file.
        arrays: The values by array name, nested sequences or numpy arrays; weights
            ``(d_out, d_in)``, biases ``(d_out,)``.
    """

    def __init__(self, operations: Sequence[Operation], arrays: Mapping[str, Any]) -> None:
        self.operations = tuple(operations)
        self.arrays: dict[str, arb_mat] = {}
        for operation in self.operations:
            if operation["kind"] != "linear":
                continue
            self.arrays[operation["weight"]] = _matrix(arrays[operation["weight"]])
            if operation["bias"] is not None:
                self.arrays[operation["bias"]] = _matrix([list(arrays[operation["bias"]])])

    @property
    def trained(self) -> list[tuple[str, int, int]]:
        """Name, rows and columns of every trained array in the order of the columns of J."""
        names = [
            operation[part]
            for operation in self.operations
            if operation["kind"] == "linear"
            for part in ("weight", "bias")
            if operation[f"{part}_trainable"]
        ]
        return [(name, self.arrays[name].nrows(), self.arrays[name].ncols()) for name in names]

    @property
    def parameters(self) -> list[arb]:
        """The trained numbers in the order of the columns of J."""
        return [entry for name, _, _ in self.trained for entry in self.arrays[name].entries()]

    def with_parameters(self, values: Sequence[Number]) -> ReferenceChain:
        """The chain with other trained numbers, in the order of the columns of J."""
        other = object.__new__(ReferenceChain)
        other.operations, other.arrays = self.operations, dict(self.arrays)
        start = 0
        for name, rows, columns in self.trained:
            part = [exact(value) for value in values[start : start + rows * columns]]
            other.arrays[name] = arb_mat(rows, columns, part)
            start += rows * columns
        if start != len(values):
            raise ValueError(f"{len(values)} numbers for {start} parameters")
        return other

    def states(self, inputs: Any) -> list[arb_mat]:
        """What enters operation 0, 1, ..., and last the outputs; each ``(n, d)``."""
        values = [inputs if isinstance(inputs, arb_mat) else _matrix(inputs)]
        for operation in self.operations:
            values.append(self._apply(operation, values[-1]))
        return values

    def forward(self, inputs: Any) -> arb_mat:
        """The outputs ``(n, k)``."""
        return self.states(inputs)[-1]

    def slopes(self, state: arb_mat, position: int) -> tuple[arb_mat, arb_mat]:
        """First and second derivatives of the entrywise operation `position` at `state`."""
        jets = [jet(self.operations[position], x) for x in state.entries()]
        shape = state.nrows(), state.ncols()
        return arb_mat(*shape, [j[1] for j in jets]), arb_mat(*shape, [j[2] for j in jets])

    def cotangents(self, states: Sequence[arb_mat], top: arb_mat) -> list[arb_mat]:
        """``top`` ``(n, k)``, a cotangent of the outputs, pulled back to every state."""
        pulled = [top]
        for position in range(len(self.operations) - 1, -1, -1):
            operation = self.operations[position]
            if operation["kind"] == "linear":
                pulled.insert(0, pulled[0] * self.arrays[operation["weight"]])
            else:
                first, _ = self.slopes(states[position], position)
                pulled.insert(0, _entrywise(pulled[0], first))
        return pulled

    def pulled_back(self, inputs: Any, top: arb_mat) -> list[arb]:
        """``J^T top`` for ``top`` ``(n, k)``, in the order of the columns of J."""
        return self.pulled_back_from(self.states(inputs), top)

    def pulled_back_from(self, states: Sequence[arb_mat], top: arb_mat) -> list[arb]:
        """`pulled_back` where the states are known."""
        return self._parameter_part(states, self.cotangents(states, top))

    def jacobian(self, inputs: Any) -> arb_mat:
        """J ``(n k, p)``."""
        states = self.states(inputs)
        n, k = states[-1].nrows(), states[-1].ncols()
        rows: list[arb] = []
        count = 0
        for i in range(n):
            single = [_row(state, i) for state in states]
            for o in range(k):
                top = arb_mat(1, k, [int(o == j) for j in range(k)])
                part = self._parameter_part(single, self.cotangents(single, top))
                rows.extend(part)
                count = len(part)
        if not rows:
            count = len(self.parameters)
        return arb_mat(n * k, count, rows)

    def pushed_forward(self, inputs: Any, direction: Sequence[Number]) -> arb_mat:
        """``J v`` as ``(n, k)`` for a direction v of the parameters."""
        states = self.states(inputs)
        velocity = self.with_parameters(direction).arrays
        moving = arb_mat(states[0].nrows(), states[0].ncols())
        for position, operation in enumerate(self.operations):
            if operation["kind"] != "linear":
                moving = _entrywise(moving, self.slopes(states[position], position)[0])
                continue
            moved = moving * self.arrays[operation["weight"]].transpose()
            if operation["weight_trainable"]:
                moved = moved + states[position] * velocity[operation["weight"]].transpose()
            if operation["bias_trainable"]:
                moved = moved + _repeated(velocity[operation["bias"]], moved.nrows())
            moving = moved
        return moving

    def _apply(self, operation: Operation, value: arb_mat) -> arb_mat:
        if operation["kind"] != "linear":
            entries = [jet(operation, x)[0] for x in value.entries()]
            return arb_mat(value.nrows(), value.ncols(), entries)
        result = value * self.arrays[operation["weight"]].transpose()
        if operation["bias"] is not None:
            result = result + _repeated(self.arrays[operation["bias"]], value.nrows())
        return result

    def _parameter_part(self, states: Sequence[arb_mat], pulled: Sequence[arb_mat]) -> list[arb]:
        parts: list[arb] = []
        for position, operation in enumerate(self.operations):
            if operation["kind"] != "linear":
                continue
            delta = pulled[position + 1].transpose()
            if operation["weight_trainable"]:
                parts.extend((delta * states[position]).entries())
            if operation["bias_trainable"]:
                ones = arb_mat(delta.ncols(), 1, [1] * delta.ncols())
                parts.extend((delta * ones).entries())
        return parts


def squared_loss(outputs: arb_mat, targets: Any, scaling: str) -> tuple[arb, arb_mat]:
    """The loss and its gradient by the outputs; scaling "mean", "sum" or "half_sum"."""
    residual = outputs - _matrix(targets)
    total = sum((r * r for r in residual.entries()), arb(0))
    entries = residual.nrows() * residual.ncols()
    factor = {"mean": arb(1) / max(entries, 1), "sum": arb(1), "half_sum": arb(1) / 2}[scaling]
    return factor * total, residual * (2 * factor)


def cross_entropy_loss(
    outputs: arb_mat, classes: Sequence[int], label_smoothing: Number, scaling: str
) -> tuple[arb, arb_mat]:
    """The softmax cross-entropy and its gradient by the outputs; scaling "mean" or "sum"."""
    n, k = outputs.nrows(), outputs.ncols()
    a = exact(label_smoothing)
    factor = arb(1) / n if scaling == "mean" else arb(1)
    total, gradient = arb(0), []
    for i, label in enumerate(classes):
        row = [outputs[i, j] for j in range(k)]
        top = max((float(x.mid()) for x in row), default=0.0)
        powers = [(x - top).exp() for x in row]
        mass = sum(powers, arb(0))
        for j in range(k):
            q = (1 - a) * int(j == label) + a / k
            total -= q * (row[j] - top - mass.log())
            gradient.append(factor * (powers[j] / mass - q))
    return factor * total, arb_mat(n, k, gradient)


def _matrix(rows: Any) -> arb_mat:
    if isinstance(rows, arb_mat):
        return rows
    if isinstance(rows, np.ndarray):
        flat = [exact(value) for value in rows.astype(np.float64).reshape(-1).tolist()]
        return arb_mat(rows.shape[0], rows.shape[1], flat)
    listed = [[exact(value) for value in row] for row in rows]
    return arb_mat(len(listed), len(listed[0]) if listed else 0, [x for row in listed for x in row])


def _row(matrix: arb_mat, i: int) -> arb_mat:
    return arb_mat(1, matrix.ncols(), [matrix[i, j] for j in range(matrix.ncols())])


def _repeated(row: arb_mat, n: int) -> arb_mat:
    return arb_mat(n, row.ncols(), list(row.entries()) * n)


def _entrywise(a: arb_mat, b: arb_mat) -> arb_mat:
    pairs = zip(a.entries(), b.entries(), strict=True)
    return arb_mat(a.nrows(), a.ncols(), [x * y for x, y in pairs])
