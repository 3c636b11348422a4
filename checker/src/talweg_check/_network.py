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

from talweg_check._activations import ROWS, Function, derivatives
from talweg_check._arrays import Balls, exact, floats_above, full, magnitude, matmul, norms_upper
from talweg_check._catalogue import function
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
    (n, k', d_l): derivatives of sqrt(m_i) F(x_i) with respect to h_l and z_l, along k' orthonormal
    directions: the rows of `frame`, or the k' = k outputs themselves; `rows`: the extended inputs
    (trained weight: h_{c-1}; trained bias: 1) of stage c, (n, 0 to d_{c-1} + 1).
    """

    def __init__(
        self, stages: Sequence[Stage], inputs: Balls, counts: NDArray[np.int64], frame: Balls = None
    ) -> None:
        self.stages = stages
        self.samples, self.depth = len(inputs), len(stages) - 1
        value, _, _ = derivatives(stages[0].functions, inputs)
        self.z, self.h, self.d1, self.d2 = [inputs], [value], [inputs], [inputs]
        for stage in stages[1:]:
            z = matmul(self.h[-1], stage.weight.T) + stage.bias
            at_z = z, *derivatives(stage.functions, z)
            for values, value in zip((self.z, self.h, self.d1, self.d2), at_z, strict=True):
                values.append(value)

        self.outputs = self.h[-1].shape[1]
        self.counts = exact(counts)
        self.root_counts = np.array([count.sqrt() for count in self.counts], dtype=object)
        frame = exact(np.eye(self.outputs)) if frame is None else frame
        self.directions = len(frame)
        cotangent = self.root_counts[:, None, None] * frame[None]
        self.gh, self.g = [cotangent], [inputs]
        for stage, d1 in zip(stages[:0:-1], self.d1[:0:-1], strict=True):
            self.g.insert(1, self.gh[0] * d1[:, None, :])
            flat = matmul(self.g[1].reshape(-1, len(stage.weight)), stage.weight)
            self.gh.insert(0, flat.reshape(self.samples, self.directions, -1))

        self.rows = [inputs]
        for stage, h in zip(stages[1:], self.h, strict=False):
            ones = full((self.samples, 1), 1)
            parts = h[:, : stage.trains_weight * h.shape[1]], ones[:, : int(stage.trains_bias)]
            self.rows.append(np.concatenate(parts, axis=1))
        self.trained = [c for c in range(1, self.depth + 1) if self.rows[c].shape[1]]

    def squared_residual(self, targets: Balls) -> arb:
        """|F(w0) - y|^2 over the rows as stored, that is with their multiplicities."""
        residual = self.h[-1] - targets
        square: arb = ((residual * residual).sum(axis=1) * self.counts).sum()
        return square

    def propagators(self, i: int, a: int) -> dict[int, Balls]:
        """P_ca = dz_c/dz_a of sample i for every c >= a, (d_c, d_a)."""
        result = {a: exact(np.eye(len(self.stages[a].weight)))}
        for c in range(a + 1, self.depth + 1):
            step = self.stages[c].weight * self.d1[c - 1][i]
            result[c] = matmul(step, result[c - 1]) if c > a + 1 else step
        return result

    def squared_overlaps(self, c: int, change: Balls) -> NDArray[np.float64]:
        """(|<h, h'>| + e |h'| + |h| e' + e e')^2 from above, h a row of stage c, e = `change`."""
        rows, size, parts = self.rows[c], norms_upper(self.rows[c], 1), []
        for one in (np.s_[i : i + ROWS] for i in range(0, len(rows), ROWS)):
            moved = change[one, None] * (size + change) + size[one, None] * change
            overlap = magnitude(matmul(rows[one], rows.T)) + moved
            parts.append(floats_above(overlap * overlap))
        return np.concatenate(parts)

    def kernel(self, block: int = 300) -> Balls:
        """K = J J^T: sum over the trained layers of (G_l G_l^T) o (rows_l rows_l^T), (N, N)."""
        n, k = self.samples, self.directions
        result, step = np.empty((n, k, n, k), dtype=object), max(block // k, 1)
        for top in range(0, n, step):
            for left in range(0, top + 1, step):
                one, two = np.s_[top : top + step], np.s_[left : left + step]
                part = sum(self._kernel_part(c, one, two) for c in self.trained)
                result[one, :, two], result[two, :, one] = part, part.transpose(2, 3, 0, 1)
        return result.reshape(n * k, n * k)

    def _kernel_part(self, c: int, one: slice, two: slice) -> Balls:
        """What layer c adds to the kernel between two groups of samples, (s, k', t, k')."""
        flat = [self.g[c][group].reshape(-1, self.g[c].shape[2]) for group in (one, two)]
        grams = matmul(self.rows[c][one], self.rows[c][two].T)
        shape = len(grams), self.directions, -1, self.directions
        return matmul(flat[0], flat[1].T).reshape(shape) * grams[:, None, :, None]


def stages_of(
    operations: Sequence[Mapping[str, Any]], values: Mapping[str, NDArray[np.float64]]
) -> list[Stage]:
    """The stages of a chain of operations."""
    stages = [Stage(None, None, False, False, [])]
    for operation in operations:
        if operation["kind"] == "linear":
            weight = exact(values[operation["weight"]])
            named = operation["bias"] is not None
            bias = exact(values[operation["bias"]]) if named else full(len(weight), 0)
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
