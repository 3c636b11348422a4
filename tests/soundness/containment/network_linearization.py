"""The linearization of a chain, its kernel, Jacobian and residual, entry by entry against Arb."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from flint import arb, arb_mat, ctx
from tests.soundness.chain_reference import jet
from tests.soundness.containment.draws import ball, matrix, members, threads
from tests.soundness.containment.network_draws import (
    Drawn,
    Rng,
    drawn,
    enclosed,
    hexadecimal,
    scaled_rows,
)
from tests.soundness.semidefinite import EXACT
from tests.soundness.shard import Shard, Tally

from talweg.enclosure import Ball
from talweg.network import (
    Linear,
    Linearization,
    gauss_newton_ball,
    jacobian_ball,
    kernel_ball,
    linearize,
    residual_ball,
    symmetric_kernel,
)

Rows = Sequence[arb]


# -- the true values -------------------------------------------------------------------------------


def stage_values(case: Drawn) -> tuple[list[str], list[Rows]]:
    """Names and true entries of everything in a linearization."""
    chain = case.reference
    states = chain.states(case.inputs.numpy())
    roots = [m.sqrt() for m in case.weights]
    linear = [t for t, op in enumerate(chain.operations) if op["kind"] == "linear"]
    ends = [*linear, len(chain.operations)]
    names, values = ["root"], [list(roots)]

    def add(name: str, entries: Rows) -> None:
        names.append(name)
        values.append(entries)

    slopes = []
    for stage, end in enumerate(ends):
        start = 0 if stage == 0 else linear[stage - 1] + 1
        first, second = [], []
        for x in states[start].entries():
            d1, d2 = _composed(chain.operations[start:end], x)
            first.append(d1)
            second.append(d2)
        slopes.append(first)
        add(f"z{stage}", states[start].entries())
        add(f"h{stage}", states[end].entries())
        add(f"first{stage}", first)
        add(f"second{stage}", second)
    for stage, t in enumerate(linear, start=1):
        op = chain.operations[t]
        rows = [
            [states[t][i, j] for j in range(states[t].ncols() if op["weight_trainable"] else 0)]
            + [arb(1)] * int(op["bias_trainable"])
            for i in range(states[t].nrows())
        ]
        add(f"extended{stage}", [x for row in rows for x in row])
    n, k = states[-1].nrows(), states[-1].ncols()
    pulled = [
        chain.cotangents(states, arb_mat(n, k, [int(o == j) for _ in range(n) for j in range(k)]))
        for o in range(k)
    ]
    for stage, t in enumerate(linear, start=1):
        for name, position in (("z", t + 1), ("h", ends[stage])):
            width = states[position].ncols()
            add(
                f"cotangent_{name}{stage}",
                [
                    roots[i] * pulled[o][position][i, j]
                    for i in range(n)
                    for o in range(k)
                    for j in range(width)
                ],
            )
    return names, values


def _composed(operations: Sequence[object], x: arb) -> tuple[arb, arb]:
    """First and second derivative of a composition at x, by the chain rule."""
    first, second = arb(1), arb(0)
    for op in operations:
        value, d1, d2 = jet(op, x)  # type: ignore[arg-type]
        first, second, x = d1 * first, d2 * first * first + d1 * second, value
    return first, second


def stage_balls(state: Linearization) -> dict[str, Ball]:
    """The enclosures by the names of `stage_values`."""
    found = {"root": state.root}
    for stage in range(state.depth + 1):
        found[f"z{stage}"] = state.z[stage]
        found[f"h{stage}"] = state.h[stage]
        found[f"first{stage}"] = state.first[stage]
        found[f"second{stage}"] = state.second[stage]
        if stage:
            found[f"extended{stage}"] = state.extended[stage]
            found[f"cotangent_z{stage}"] = state.cotangent_z[stage]
            found[f"cotangent_h{stage}"] = state.cotangent_h[stage]
    return found


def scaled_jacobian(case: Drawn) -> arb_mat:
    """The true Jacobian with rows multiplied by the root of the multiplicity."""
    jacobian = case.reference.jacobian(case.inputs.numpy())
    return scaled_rows(jacobian, [m.sqrt() for m in case.weights])


def columns_by_unit(case: Drawn) -> list[int]:
    """The column of the reference for each of `jacobian_ball`, which puts biases behind rows."""
    order: list[int] = []
    start = 0
    for op in case.network.operations:
        if not isinstance(op, Linear):
            continue
        d_out, d_in = op.weight.shape
        size = d_out * d_in * op.weight_trainable
        for j in range(d_out):
            order += [start + j * d_in + i for i in range(d_in * op.weight_trainable)]
            order += [start + size + j] * op.bias_trainable
        start += size + d_out * op.bias_trainable
    return order


# -- batches ---------------------------------------------------------------------------------------


def _over_chains(seed: int, salt: int, count: int, ask: Callable[[Drawn, Rng], Tally]) -> Tally:
    rng = np.random.default_rng([seed, salt])
    total = Tally()
    with threads(int(seed % 32 == 31)):
        for _ in range(count):
            case = drawn(rng)
            try:
                total += ask(case, rng)
            except Exception as error:
                total += Tally(tracebacks=(f"{error!r} for {case.line()}",))
    return total


def _linearize(case: Drawn, _: Rng) -> Tally:
    found = stage_balls(linearize(case.network, case.inputs, case.multiplicity))
    names, _ = stage_values(case)
    asked = [(name, found.pop(name)) for name in names]
    if found:
        raise ValueError(f"nothing to compare {sorted(found)} with")
    return enclosed("linearize", asked, lambda: stage_values(case)[1], case.line)


def _kernel(case: Drawn, _: Rng) -> Tally:
    found = kernel_ball(linearize(case.network, case.inputs, case.multiplicity))
    if not torch.equal(found.mid, found.mid.T):
        return Tally(violations=(f"kernel_ball has no symmetric midpoint for {case.line()}",))

    def answers() -> list[Rows]:
        jacobian = scaled_jacobian(case)
        return [(jacobian * jacobian.transpose()).entries()]

    return enclosed("kernel_ball", [("K", found)], answers, case.line)


def _kernel_by_rows(case: Drawn, _: Rng) -> Tally:
    """The row sums of ``|K - mid|`` against the radii."""
    found = symmetric_kernel(linearize(case.network, case.inputs, case.multiplicity))
    mid = [[arb(x) for x in row] for row in found.mid.tolist()]
    sums = Ball(torch.zeros_like(found.radius_rows), found.radius_rows)

    def answers() -> list[Rows]:
        jacobian = scaled_jacobian(case)
        rows = (jacobian * jacobian.transpose()).tolist()
        return [
            [
                sum((abs(x - m) for x, m in zip(a, b, strict=True)), arb(0))
                for a, b in zip(rows, mid, strict=True)
            ]
        ]

    return enclosed("symmetric_kernel", [("rows", sums)], answers, case.line)


def _jacobian(case: Drawn, _: Rng) -> Tally:
    found = jacobian_ball(linearize(case.network, case.inputs, case.multiplicity))
    order = columns_by_unit(case)

    def answers() -> list[Rows]:
        jacobian = scaled_jacobian(case)
        return [[jacobian[i, j] for i in range(jacobian.nrows()) for j in order]]

    return enclosed("jacobian_ball", [("J", found)], answers, case.line)


def _residual(case: Drawn, rng: Rng) -> Tally:
    state = linearize(case.network, case.inputs, case.multiplicity)
    targets = [drawn_targets(rng, state) for _ in range(6)]
    asked = [(f"r{t}", residual_ball(state, y)) for t, y in enumerate(targets)]

    def answers() -> list[Rows]:
        outputs = case.reference.forward(case.inputs.numpy())
        roots = [m.sqrt() for m in case.weights]
        return [scaled_rows(outputs - arb_mat(y.tolist()), roots).entries() for y in targets]

    return enclosed(
        "residual_ball",
        asked,
        answers,
        lambda: f"{case.line()} y={list(map(hexadecimal, targets))}",
    )


def drawn_targets(rng: Rng, state: Linearization) -> torch.Tensor:
    """Targets beside the outputs: equal to the midpoint, close, ordinary, or from all floats."""
    outputs = state.h[-1].mid
    kind = int(rng.integers(5))
    if kind == 0:
        return outputs.clone()
    if kind == 1:
        return (outputs * (1.0 + 2.0**-50)).nan_to_num()  # the product may overflow
    if kind == 2:
        return torch.from_numpy(matrix(rng, *outputs.shape)) + outputs * 0.0
    return torch.from_numpy(rng.standard_normal(tuple(outputs.shape)))


def gauss_newton_batch(seed: int, count: int = 30) -> Tally:
    """`gauss_newton_ball` on arbitrary balls J, against J^T J of an exact member."""
    rng = np.random.default_rng([seed, 15])
    total = Tally()
    with threads(int(seed % 32 == 31)):
        for _ in range(count):
            rows, p = (int(x) for x in rng.integers(1, 9, 2))
            jacobian = ball(rng, matrix(rng, rows, p))
            line = partial(_ball_line, jacobian)
            try:
                found = gauss_newton_ball(jacobian)
            except Exception as error:
                total += Tally(tracebacks=(f"gauss_newton_ball: {error!r} for {line()}",))
                continue
            if not torch.equal(found.mid, found.mid.T):
                total += Tally(violations=(f"gauss_newton_ball is not symmetric for {line()}",))
            with ctx.workprec(EXACT):
                exact = arb_mat(rows, p, [arb(x) * arb(2) ** -1077 for x in members(rng, jacobian)])
                product = (exact.transpose() * exact).entries()
            total += enclosed("gauss_newton_ball", [("G", found)], lambda p=product: [p], line)
    return total


def _ball_line(value: Ball) -> str:
    return f"mid={hexadecimal(value.mid)} rad={hexadecimal(value.rad)}"


def linearize_batch(seed: int) -> Tally:
    """Values, derivatives, extended inputs and cotangents of random chains."""
    return _over_chains(seed, 11, 10, _linearize)


def kernel_batch(seed: int) -> Tally:
    """Tangent kernels of random chains."""
    return _over_chains(seed, 12, 15, _kernel)


def kernel_by_rows_batch(seed: int) -> Tally:
    """Kernels of random chains, one radius for each row."""
    return _over_chains(seed, 15, 60, _kernel_by_rows)


def jacobian_batch(seed: int) -> Tally:
    """Jacobians of random chains."""
    return _over_chains(seed, 13, 12, _jacobian)


def residual_batch(seed: int) -> Tally:
    """Residuals of random chains and targets."""
    return _over_chains(seed, 14, 12, _residual)


_CHAIN = ("talweg.network._linearization",)

SHARDS = (
    Shard("containment/network.linearize", _CHAIN, 200_000, linearize_batch),
    Shard("containment/network.kernel_ball", _CHAIN, 100_000, kernel_batch),
    Shard(
        "containment/network.symmetric_kernel",
        ("talweg.network._kernel",),
        50_000,
        kernel_by_rows_batch,
    ),
    Shard(
        "containment/network.jacobian_ball",
        ("talweg.network._gauss_newton",),
        100_000,
        jacobian_batch,
    ),
    Shard(
        "containment/network.residual_ball", ("talweg.network._descent",), 100_000, residual_batch
    ),
    Shard(
        "containment/network.gauss_newton_ball",
        ("talweg.network._gauss_newton",),
        100_000,
        gauss_newton_batch,
    ),
)
