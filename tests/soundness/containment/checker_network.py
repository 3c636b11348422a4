"""Values, derivatives, cotangents and kernel of the checker against the referee's chain."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from flint import arb, arb_mat, ctx, fmpz_mat
from tests.soundness.containment.checker_activations import encloses
from tests.soundness.containment.checker_chains import Drawn, drawn_chain, orthonormal
from tests.soundness.containment.record import Record, shard

from talweg_check._arrays import PRECISION, exact
from talweg_check._network import Network, merged
from talweg_check._verdict import Invalid

UNDER_TEST = ("talweg_check._network",)
BITS = 400


def judge(record: Record, pairs: Iterable[tuple[arb, arb]], what: str, drawn: Drawn) -> None:
    """Whether the checker's balls hold the referee's numbers."""
    for number, (ball, true) in enumerate(pairs):
        holds = encloses(ball, true) if ball.is_finite() else True
        if holds is None:
            record.undecided()
        else:
            record.check(holds, what, number, "of", drawn, "gave", ball, "not", true.str(50))


def values(rng: np.random.Generator, record: Record) -> None:
    """Outputs, the residual with its multiplicities, and the last hidden values."""
    drawn = drawn_chain(rng, widest=4, deepest=4)
    with ctx.workprec(PRECISION):
        net = record.call(drawn.network)
    if net is None:
        return
    with ctx.workprec(BITS):
        chain = drawn.reference()
        states = chain.states(drawn.inputs)
        judge(record, zip(net.h[-1].ravel(), states[-1].entries(), strict=True), "output", drawn)
        for stage, position in enumerate(_linear_positions(drawn), 1):
            after = states[position + 1].entries()
            judge(record, zip(net.z[stage].ravel(), after, strict=True), "z", drawn)
            judge(record, zip(net.h[stage - 1].ravel(), states[position].entries(), strict=True),
                  "h", drawn)  # fmt: skip
            _slopes(record, drawn, net, stage, position, states)
        targets = rng.standard_normal(net.h[-1].shape)
        if rng.random() < 0.5:  # a residual that nearly cancels
            targets = net.h[-1].astype(np.float64)
    with ctx.workprec(PRECISION):
        square = record.call(net.squared_residual, exact(targets))
    with ctx.workprec(2 * BITS):
        true = arb(0)
        for i, count in enumerate(drawn.counts.tolist()):
            for j in range(states[-1].ncols()):
                true += count * (states[-1][i, j] - arb(float(targets[i, j]))) ** 2
        judge(record, [(square, true)], "squared_residual", drawn)


def _linear_positions(drawn: Drawn) -> list[int]:
    return [at for at, item in enumerate(drawn.operations) if item["kind"] == "linear"]


def _slopes(
    record: Record, drawn: Drawn, net: Network, stage: int, position: int, states: list[arb_mat]
) -> None:
    """psi' of a stage, as the product of the slopes of its functions."""
    chain, slopes = drawn.reference(), [arb(1)] * net.z[stage].size
    for at in range(position + 1, len(drawn.operations)):
        if drawn.operations[at]["kind"] == "linear":
            break
        first, _ = chain.slopes(states[at], at)
        slopes = [x * y for x, y in zip(slopes, first.entries(), strict=True)]
    judge(record, zip(net.d1[stage].ravel(), slopes, strict=True), "d1", drawn)


def kernel(rng: np.random.Generator, record: Record) -> None:
    """K = J J^T in the checker's directions; J row by row is g and rows."""
    zero_sum = bool(rng.integers(2))
    drawn = drawn_chain(rng)
    if zero_sum and drawn.outputs < 2:
        zero_sum = False
    with ctx.workprec(PRECISION):
        net = record.call(drawn.network, zero_sum=zero_sum)
        if net is None:
            return
        found = record.call(net.kernel, int(rng.choice([1, 2, 300])))
    with ctx.workprec(BITS):
        jacobian = drawn.reference().jacobian(drawn.inputs)
        directions = orthonormal(drawn.outputs, zero_sum)
        n, k, kept = len(drawn.inputs), drawn.outputs, directions.nrows()
        blown = arb_mat(n * kept, n * k)
        for i, count in enumerate(drawn.counts.tolist()):
            for p in range(kept):
                for q in range(k):
                    blown[i * kept + p, i * k + q] = directions[p, q] * arb(count).sqrt()
        rows = blown * jacobian
        true = rows * rows.transpose()
        if not zero_sum or k == 2:  # one vector of sum zero is unique up to its sign
            places = [(i, j) for i in range(n * kept) for j in range(n * kept)]
            judge(record, ((found[at], true[at]) for at in places), "kernel entry", drawn)
            return
        # Another frame: K' = Q K Q^T with Q orthogonal. Trace and |K|_F^2 do not depend on it, nor
        # do those of the blocks of two samples.
        for i in range(n):
            for j in range(n):
                one = found[i * kept : (i + 1) * kept, j * kept : (j + 1) * kept]
                square = (one * one).sum()
                other = sum(
                    (
                        true[i * kept + p, j * kept + q] ** 2
                        for p in range(kept)
                        for q in range(kept)
                    ),
                    arb(0),
                )
                judge(record, [(square, other)], "square of a block", drawn)
                if i == j:
                    trace = sum((one[p, p] for p in range(kept)), arb(0))
                    diagonal = (true[i * kept + p, i * kept + p] for p in range(kept))
                    judge(record, [(trace, sum(diagonal, arb(0)))], "trace of a block", drawn)


def merging(rng: np.random.Generator, record: Record) -> None:
    """Distinct rows, their counts, and a conflict found if and only if there is one."""
    for _ in range(20):
        n, d, k = (int(rng.integers(1, 7)), int(rng.integers(1, 4)), int(rng.integers(1, 3)))
        inputs = rng.choice([0.0, -0.0, 1.0, 5e-324, -5e-324], (n, d))
        targets = rng.choice([0.0, -0.0, 1.0], (n, k), p=[0.45, 0.45, 0.1])
        if rng.random() < 0.3:
            targets = (rng.random(n) < 0.1).astype(np.int64)
        groups: dict[tuple[str, ...], list[int]] = {}
        for i, row in enumerate(inputs.tolist()):
            groups.setdefault(tuple((x + 0.0).hex() for x in row), []).append(i)
        conflict = any(
            not np.array_equal(targets[group[0]], targets[i]) for group in groups.values()
            for i in group
        )  # fmt: skip
        try:
            kept, chosen, counts = merged(inputs, targets)
        except Invalid:
            record.check(conflict, "merged refuses", inputs.tolist(), targets.tolist())
            continue
        right = not conflict and counts.tolist() == [len(group) for group in groups.values()]
        for row, target, group in zip(kept, chosen, groups.values(), strict=True):
            right &= np.array_equal(row, inputs[group[0]])
            right &= np.array_equal(target, targets[group[0]])
        record.check(right, "merged", inputs.tolist(), targets.tolist(), "gave", counts.tolist())


def exact_kernel(rng: np.random.Generator, record: Record) -> None:
    """Chains without functions over whole numbers: the kernel is known without rounding."""
    n, d, m, k = (int(x) for x in rng.integers(1, 4, 4))
    scale = 2.0 ** int(rng.integers(-200, 200))
    V, W = rng.integers(-9, 10, (m, d)), rng.integers(-9, 10, (k, m))
    X = rng.integers(-9, 10, (n, d))
    operations = [
        {"kind": "linear", "weight": f"weights/{i}.weight", "bias": None,
         "weight_trainable": True, "bias_trainable": False}
        for i in range(2)
    ]  # fmt: skip
    arrays = {"weights/0.weight": V * scale, "weights/1.weight": W.astype(np.float64)}
    counts = np.array([int(c) ** 2 for c in rng.integers(1, 4, n)])
    drawn = Drawn(operations, arrays, X.astype(np.float64), counts)
    with ctx.workprec(PRECISION):
        found = record.call(lambda: drawn.network().kernel())
    if found is None:
        return
    H, G = fmpz_mat((X @ V.T).tolist()), fmpz_mat((W @ W.T).tolist())
    hidden, data = H * H.transpose(), fmpz_mat((X @ X.T).tolist())
    roots = [round(int(c) ** 0.5) for c in counts]
    with ctx.workprec(BITS):
        for i in range(n * k):
            for j in range(n * k):
                (p, o), (q, u) = divmod(i, k), divmod(j, k)
                true = arb(hidden[p, q]) * arb(scale) ** 2 * int(o == u) + data[p, q] * G[o, u]
                judge(record, [(found[i, j], true * roots[p] * roots[q])], "whole kernel", drawn)


SHARDS = (
    shard("checker.network_values", UNDER_TEST, values, 30),
    shard("checker.kernel", UNDER_TEST, kernel, 30),
    shard("checker.kernel_of_whole_numbers", UNDER_TEST, exact_kernel, 60),
    shard("checker.merged", UNDER_TEST, merging, 100),
)
