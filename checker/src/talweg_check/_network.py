"""A feed-forward chain in stage form, and everything at w0 that the bounds start from.

z_l = W_l h_{l-1} + b_l and h_l = psi_l(z_l) for l = 1..L, h_0 = psi_0(x), F = h_L; psi_l holds
the entrywise operations between two linear ones. Lists are indexed by stage; index 0 is the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from talweg_check._activations import Function, derivatives, function
from talweg_check._arrays import Balls, exact, full, matmul
from talweg_check._verdict import Invalid


@dataclass
class Stage:
    """One linear layer and the entrywise functions behind it (stage 0: functions only)."""

    weight: Balls  # (d_out, d_in)
    bias: Balls  # (d_out,)
    trains_weight: bool
    trains_bias: bool
    functions: list[Function]
    curved: bool = False


class Network:
    """The chain at w0 on the merged rows: values, derivatives, cotangents.

    Attributes, per stage: `z`, `h`, `d1` = psi'(z), `d2` = psi''(z), each (n, d_l); `gh` and `g`,
    (n, k', d_l): derivatives of sqrt(m_i) F(x_i) with respect to h_l and z_l, by k' = k outputs or,
    with `zero_sum`, along k' = k - 1 orthonormal directions whose entries sum to zero; `rows`: the
    extended inputs (trained weight: h_{c-1}; trained bias: 1) of stage c, (n, 0 to d_{c-1} + 1).
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        inputs: Balls,
        counts: NDArray[np.int64],
        zero_sum: bool = False,
    ) -> None:
        self.stages = stages
        self.samples, self.depth = len(inputs), len(stages) - 1
        value, _, _ = derivatives(stages[0].functions, inputs)
        self.z, self.h, self.d1, self.d2 = [inputs], [value], [inputs], [inputs]
        for stage in stages[1:]:
            z = matmul(self.h[-1], stage.weight.T) + stage.bias
            h, d1, d2 = derivatives(stage.functions, z)
            self.z.append(z)
            self.h.append(h)
            self.d1.append(d1)
            self.d2.append(d2)

        self.outputs = self.h[-1].shape[1]
        self.counts = exact(counts)
        self.root_counts = np.array([count.sqrt() for count in self.counts], dtype=object)
        frame = _zero_sum_frame(self.outputs) if zero_sum else _identity(self.outputs)
        self.directions = len(frame)
        cotangent = self.root_counts[:, None, None] * frame[None]
        self.gh, self.g = [cotangent], []
        for stage, d1 in zip(stages[:0:-1], self.d1[:0:-1], strict=True):
            self.g.append(self.gh[-1] * d1[:, None, :])
            flat = self.g[-1].reshape(-1, len(stage.weight))
            self.gh.append(matmul(flat, stage.weight).reshape(self.samples, self.directions, -1))
        self.gh.reverse()
        self.g = [self.gh[0], *reversed(self.g)]

        self.rows = [inputs]
        for stage, h in zip(stages[1:], self.h, strict=False):
            parts = [h] if stage.trains_weight else []
            parts += [full((self.samples, 1), 1)] if stage.trains_bias else []
            self.rows.append(np.concatenate(parts or [h[:, :0]], axis=1))
        self.trained = [c for c in range(1, self.depth + 1) if self.rows[c].shape[1]]
        self.row_grams = {c: matmul(self.rows[c], self.rows[c].T) for c in self.trained}

    def squared_residual(self, targets: Balls) -> arb:
        """|F(w0) - y|^2 over the rows as stored, that is with their multiplicities."""
        residual = self.h[-1] - targets
        square: arb = ((residual * residual).sum(axis=1) * self.counts).sum()
        return square

    def kernel(self, block: int = 300) -> Balls:
        """K = J J^T: sum over the trained layers of (G_l G_l^T) o (rows_l rows_l^T), (N, N)."""
        size = self.samples * self.directions
        result = np.empty((size, size), dtype=object)
        sample = np.arange(size) // self.directions
        flat = {c: self.g[c].reshape(size, -1) for c in self.trained}
        for top in range(0, size, block):
            one = slice(top, top + block)
            for left in range(0, top + 1, block):
                two = slice(left, left + block)
                pairs = np.ix_(sample[one], sample[two])
                part = sum(
                    matmul(flat[c][one], flat[c][two].T) * self.row_grams[c][pairs]
                    for c in self.trained
                )
                result[one, two], result[two, one] = part, part.T
        return result


def _identity(size: int) -> Balls:
    result = full((size, size), 0)
    result[np.diag_indices(size)] = arb(1)
    return result


def _zero_sum_frame(size: int) -> Balls:
    """Orthonormal rows spanning the vectors with sum zero: (1, ..., 1, -j, 0, ...) / sqrt(j(j+1)).

    (size - 1, size)
    """
    result = full((size - 1, size), 0)
    for j in range(1, size):
        length = arb(j * (j + 1)).sqrt()
        result[j - 1, :j] = 1 / length
        result[j - 1, j] = -j / length
    return result


def stages_of(
    operations: Sequence[Mapping[str, Any]], values: Mapping[str, NDArray[np.float64]]
) -> list[Stage]:
    """The stages of a chain of operations."""
    stages = [Stage(None, None, False, False, [])]
    for operation in operations:
        if operation["kind"] == "linear":
            weight = exact(values[operation["weight"]])
            bias = full(len(weight), 0)
            if operation["bias"] is not None:
                bias = exact(values[operation["bias"]])
            trains = operation["weight_trainable"], operation["bias_trainable"]
            stages.append(Stage(weight, bias, *trains, []))
        else:
            stages[-1].functions.append(function(dict(operation)))
            linear = operation["kind"] == "scale" or operation["function"] == "identity"
            stages[-1].curved |= not linear and len(stages) > 1  # psi_0 is constant
    return stages


def merged(
    inputs: NDArray[np.float64], targets: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.int64]]:
    """Distinct input rows, their targets and how often each occurs."""
    first: dict[tuple[float, ...], int] = {}
    counts = np.zeros(len(inputs), dtype=np.int64)
    for index, row in enumerate(map(tuple, inputs.tolist())):  # -0.0 == 0.0, and both hash alike
        origin = first.setdefault(row, index)
        if not (targets[origin] == targets[index]).all():
            raise Invalid(f"rows {origin} and {index} have equal inputs and different targets")
        counts[origin] += 1
    kept = list(first.values())
    return inputs[kept], targets[kept], counts[kept]
