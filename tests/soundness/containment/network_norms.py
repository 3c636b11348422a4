"""Bounds of residuals, gradients, steps and decreases, and the merging of rows, against Arb."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from flint import arb, arb_mat, ctx
from tests.soundness.chain_reference import exact
from tests.soundness.containment.draws import (
    ball,
    matrix,
    members,
    numbers_like,
    relaid,
    threads,
)
from tests.soundness.containment.network_draws import (
    Drawn,
    Rng,
    bounded,
    drawn,
    hexadecimal,
    scaled_rows,
    square_excess,
)
from tests.soundness.containment.network_linearization import drawn_targets, scaled_jacobian
from tests.soundness.semidefinite import EXACT
from tests.soundness.shard import Shard, Tally
from torch import Tensor

from talweg.enclosure import Ball
from talweg.network import (
    ConflictingRows,
    Linear,
    Network,
    Node,
    gradient_norm_bound,
    half_squares_decrease_lower,
    half_squares_gradient_norm_upper,
    jacobian_ball,
    linearize,
    merge_duplicates,
    residual_norm_bound,
    step_length_bounds,
)

TARGETS = 30
"""Targets for each chain: the linearization costs more than a bound."""

MEMBERS = 3
"""Points of a ball that one bound is compared with."""


def _sum_of_squares(entries: Sequence[arb]) -> arb:
    return sum((x * x for x in entries), arb(0))


def _asked(seed: int, salt: int, count: int, ask: Callable[[Rng], Tally], *, name: str) -> Tally:
    rng = np.random.default_rng([seed, salt])
    total = Tally()
    with threads(int(seed % 32 == 31)):
        for index in range(count):
            try:
                total += ask(rng)
            except Exception as error:
                total += Tally(tracebacks=(f"{name}: {error!r} in seed {seed}, draw {index}",))
    return total


def _residual_norm(rng: Rng) -> Tally:
    case = drawn(rng)
    state = linearize(case.network, case.inputs, case.multiplicity)
    targets = [drawn_targets(rng, state) for _ in range(TARGETS)]
    bounds = [residual_norm_bound(state, y) for y in targets]

    def excesses() -> list[arb]:
        outputs = case.reference.forward(case.inputs.numpy())
        roots = [m.sqrt() for m in case.weights]
        return [
            square_excess(
                bound, _sum_of_squares(scaled_rows(outputs - exact_matrix(y), roots).entries())
            )
            for bound, y in zip(bounds, targets, strict=True)
        ]

    return bounded("residual_norm_bound", bounds, excesses, partial(_targets_line, case, targets))


def _gradient_norm(rng: Rng) -> Tally:
    case = drawn(rng)
    state = linearize(case.network, case.inputs, case.multiplicity)
    jacobian = jacobian_ball(state)
    targets = [drawn_targets(rng, state) for _ in range(TARGETS)]
    bounds = [gradient_norm_bound(state, y, jacobian) for y in targets]

    def excesses() -> list[arb]:
        outputs = case.reference.forward(case.inputs.numpy())
        true = scaled_jacobian(case)
        weighted = scaled_rows(true, [m.sqrt() for m in case.weights]).transpose()
        n, k = outputs.nrows(), outputs.ncols()
        found = []
        for bound, y in zip(bounds, targets, strict=True):
            residual = arb_mat(n * k, 1, (outputs - exact_matrix(y)).entries())
            found.append(square_excess(bound, _sum_of_squares((weighted * residual).entries())))
        return found

    return bounded("gradient_norm_bound", bounds, excesses, partial(_targets_line, case, targets))


def _half_squares_gradient(rng: Rng) -> Tally:
    case = drawn(rng)
    state = linearize(case.network, case.inputs, case.multiplicity)
    shape = tuple(state.h[-1].shape)
    residuals = [ball(rng, matrix(rng, *shape), infinite=False) for _ in range(TARGETS // MEMBERS)]
    once = [half_squares_gradient_norm_upper(state, r) for r in residuals]
    bounds = [bound for bound in once for _ in range(MEMBERS)]
    chosen = [_column(members(rng, r)) for r in residuals for _ in range(MEMBERS)]

    def excesses() -> list[arb]:
        transposed = scaled_jacobian(case).transpose()
        return [
            square_excess(bound, _sum_of_squares((transposed * r).entries()))
            for bound, r in zip(bounds, chosen, strict=True)
        ]

    def line() -> str:
        return f"{case.line()} r={[hexadecimal(r.mid) + hexadecimal(r.rad) for r in residuals]}"

    return bounded("half_squares_gradient_norm_upper", bounds, excesses, line)


def _column(values: Sequence[int]) -> arb_mat:
    """Whole numbers of 2^-1077 as a column, exactly."""
    with ctx.workprec(EXACT):
        return arb_mat(len(values), 1, [arb(x) * arb(2) ** -1077 for x in values])


def _half_squares_decrease(rng: Rng) -> Tally:
    rows, columns = (int(x) for x in rng.integers(1, 5, 2))
    first = matrix(rng, rows, columns)
    second = matrix(rng, rows, columns)
    kind = int(rng.integers(4))
    if kind == 0:  # nearly equal losses
        second = first * (1.0 + rng.choice([-1.0, 0.0, 1.0], first.shape) * 2.0**-52)
    if kind == 1:
        second = -first
    with np.errstate(over="ignore", invalid="ignore"):
        second = np.where(np.isfinite(second), second, first)
    before, after = (ball(rng, x, infinite=False) for x in (first, second))
    bound = half_squares_decrease_lower(before, after)
    if kind == 2:  # one residual all over: only their difference is known to be zero
        after, bound = before, half_squares_decrease_lower(before, before)
    twice = []
    for _ in range(MEMBERS):
        r, s = _column(members(rng, before)), _column(members(rng, after))
        with ctx.workprec(EXACT):
            twice.append(_sum_of_squares(r.entries()) - _sum_of_squares(s.entries()))

    def excesses() -> list[arb]:
        with ctx.workprec(EXACT):
            return [2 * exact(bound) - true for true in twice]

    return bounded(
        "half_squares_decrease_lower",
        [bound if bound != np.inf else np.nan] * MEMBERS,
        excesses,
        lambda: " ".join(map(_ball_line, (before, after))),
    )


def _step_length(rng: Rng) -> Tally:
    layers, bounds = int(rng.integers(1, 4)), []
    width = int(rng.integers(1, 5))
    trains = rng.random((layers, 2)) < 0.8
    before = [_vector(rng, width) for _ in range(2 * layers)]
    after = [x if rng.random() < 0.2 else _moved(rng, x) for x in before]
    networks = [_linears(width, values, trains) for values in (before, after)]
    found = step_length_bounds(networks[0], networks[1])
    with ctx.workprec(EXACT):
        moved = [
            arb(b) - arb(a)
            for x, y, moves in zip(before, after, trains.reshape(-1), strict=True)
            if moves
            for a, b in zip(x.tolist(), y.tolist(), strict=True)
        ]
        square = _sum_of_squares(moved)
    bounds = list(found)
    lower, upper = bounds
    if not 0.0 <= lower <= upper or lower == np.inf:
        return Tally(2, (f"step_length_bounds = {found} in no order",))
    nothing = all(x.is_zero() for x in moved)
    if (upper == 0.0) != nothing:
        return Tally(2, (f"step_length_bounds = {found} where nothing moved is {nothing}",))

    def excesses() -> list[arb]:
        with ctx.workprec(EXACT):
            return [exact(lower) ** 2 - square, square_excess(upper, square)]

    def line() -> str:
        return f"{[hexadecimal(x) for x in before]} {[hexadecimal(x) for x in after]} {trains}"

    with ctx.workprec(EXACT):
        return bounded("step_length_bounds", bounds, excesses, line)


def _vector(rng: Rng, width: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return numbers_like(rng, width) if rng.random() < 0.5 else rng.standard_normal(width)


def _moved(
    rng: Rng, x: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    kind = int(rng.integers(4))
    if kind == 0:
        return np.nextafter(x, np.where(rng.random(x.shape) < 0.5, 0.0, -x))
    if kind == 1:
        return -x
    with np.errstate(over="ignore", invalid="ignore"):
        y = x + numbers_like(rng, x.size) if kind == 2 else x * (1.0 + 1e-9)
    return np.where(np.isfinite(y), y, x)


def _linears(width: int, values: Sequence[object], trains: np.ndarray) -> Network:  # type: ignore[type-arg]
    """Layers ``(width, 1)`` with the values as weights and biases, for this call only."""
    nodes = []
    for t in range(len(values) // 2):
        weight = torch.tensor(values[2 * t]).reshape(width, 1)
        bias = torch.tensor(values[2 * t + 1])
        w, b = (bool(x) for x in trains[t])
        nodes.append(Node(Linear(weight, bias, w, b, str(t), f"{t}.weight", f"{t}.bias"), (t,)))
    return Network(tuple(nodes), 1, width)


def _merge(rng: Rng) -> Tally:
    n, d, k = int(rng.integers(1, 9)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    pool = rng.choice([0.0, -0.0, 1.0, 5e-324, -5e-324, 1.0 + 2.0**-52, 1e308], (3, d))
    inputs = relaid(rng, pool[rng.integers(0, 3, n)])
    values = rng.choice([0.0, -0.0, 0.0, 1.0, 1e-170, 1e308, -1e308, 0.1], (n, k))
    if rng.random() < 0.5:  # one target for each input: nothing contradicts
        by_row = {tuple(row): value for row, value in zip(inputs.tolist(), values, strict=True)}
        values = np.array([by_row[tuple(row)] for row in inputs.tolist()])
    targets = relaid(rng, values)
    found = merge_duplicates(inputs, targets)
    groups: dict[tuple[Fraction, ...], list[int]] = {}
    for i, row in enumerate(inputs.tolist()):
        groups.setdefault(tuple(map(Fraction, row)), []).append(i)
    y = [tuple(map(Fraction, row)) for row in targets.tolist()]
    conflicts = [rows for rows in groups.values() if len({y[i] for i in rows}) > 1]
    if isinstance(found, ConflictingRows):
        right = (
            sorted(found.groups) == sorted(map(tuple, conflicts))
            and bool(conflicts)
            and all(
                a in rows and b in rows and y[a] != y[b]
                for (a, b), rows in zip(found.pairs, found.groups, strict=True)
            )
            and np.isfinite(found.squares_lower)
            and Fraction(found.squares_lower) <= _within(conflicts, y)
        )
    else:
        merged = [tuple(map(Fraction, row)) for row in found.inputs.tolist()]
        kept = [tuple(map(Fraction, row)) for row in found.targets.tolist()]
        right = (
            not conflicts
            and merged == list(groups)
            and found.multiplicity.tolist() == [len(rows) for rows in groups.values()]
            and len(found.inverse) == n
            and all(
                merged[j] == tuple(map(Fraction, inputs[i].tolist())) and kept[j] == y[i]
                for i, j in enumerate(found.inverse.tolist())
            )
        )
    line = f"merge_duplicates: X={hexadecimal(inputs)} y={hexadecimal(targets)} gave {found}"
    return Tally(n, () if right else (line,), counts={"conflicts": int(bool(conflicts))})


def _within(groups: Sequence[Sequence[int]], y: Sequence[Sequence[Fraction]]) -> Fraction:
    total = Fraction(0)
    for rows in groups:
        for column in zip(*(y[i] for i in rows), strict=True):
            mean = sum(column, Fraction(0)) / len(column)
            total += sum(((value - mean) ** 2 for value in column), Fraction(0))
    return total


def exact_matrix(t: Tensor) -> arb_mat:
    """A matrix of floats, exactly."""
    return arb_mat(t.shape[0], t.shape[1], [arb(x) for row in t.tolist() for x in row])


def _ball_line(value: Ball) -> str:
    return f"mid={hexadecimal(value.mid)} rad={hexadecimal(value.rad)}"


def _targets_line(case: Drawn, targets: Sequence[Tensor]) -> str:
    return f"{case.line()} y={[hexadecimal(y) for y in targets]}"


def residual_norm_batch(seed: int) -> Tally:
    """`residual_norm_bound` of random chains for many targets each."""
    return _asked(seed, 21, 8, _residual_norm, name="residual_norm_bound")


def gradient_norm_batch(seed: int) -> Tally:
    """`gradient_norm_bound` of random chains for many targets each."""
    return _asked(seed, 22, 8, _gradient_norm, name="gradient_norm_bound")


def half_squares_gradient_batch(seed: int) -> Tally:
    """`half_squares_gradient_norm_upper` of random chains for many residuals each."""
    return _asked(seed, 23, 8, _half_squares_gradient, name="half_squares_gradient_norm_upper")


def half_squares_decrease_batch(seed: int) -> Tally:
    """`half_squares_decrease_lower` on arbitrary balls."""
    return _asked(seed, 24, 100, _half_squares_decrease, name="half_squares_decrease_lower")


def step_length_batch(seed: int) -> Tally:
    """Both bounds of `step_length_bounds` on arbitrary weights."""
    return _asked(seed, 25, 200, _step_length, name="step_length_bounds")


def merge_batch(seed: int) -> Tally:
    """`merge_duplicates` on small data with many coincidences."""
    return _asked(seed, 26, 120, _merge, name="merge_duplicates")


_DESCENT = ("talweg.network._descent",)

SHARDS = (
    Shard(
        "containment/network.residual_norm_bound",
        ("talweg.network._linearization",),
        100_000,
        residual_norm_batch,
    ),
    Shard(
        "containment/network.gradient_norm_bound",
        ("talweg.network._gauss_newton",),
        100_000,
        gradient_norm_batch,
    ),
    Shard(
        "containment/network.half_squares_gradient_norm_upper",
        _DESCENT,
        100_000,
        half_squares_gradient_batch,
    ),
    Shard(
        "containment/network.half_squares_decrease_lower",
        _DESCENT,
        100_000,
        half_squares_decrease_batch,
    ),
    Shard("containment/network.step_length_bounds", _DESCENT, 100_000, step_length_batch),
    Shard(
        "containment/network.merge_duplicates",
        ("talweg.network._merge",),
        100_000,
        merge_batch,
    ),
)
