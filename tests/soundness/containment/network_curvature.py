"""Maxima and weighted norms inside the Lipschitz bound, against exact elimination.

Norms b of a matrix A are right exactly if b^2 I - A A^T is positive semidefinite; eigenvalues of a
positive semidefinite M likewise with b I - M.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from flint import arb, ctx
from tests.soundness.containment.draws import ball, matrix, members, threads
from tests.soundness.containment.network_draws import (
    Floats,
    Rng,
    drawn,
    hexadecimal,
)
from tests.soundness.semidefinite import EXACT, is_positive_semidefinite
from tests.soundness.shard import Shard, Tally

from talweg.enclosure import Ball
from talweg.network import Linearization, linearize
from talweg.network._maxima import largest_of, nonnegative_norm_upper
from talweg.network._unit_curvature import overlaps_upper, unit_curvature_upper
from talweg.network._weighted_inputs import WeightedInputs

Rows = list[list[arb]]


def asked(seed: int, salt: int, count: int, ask: Callable[[Rng], Tally], name: str) -> Tally:
    rng = np.random.default_rng([seed, salt])
    total = Tally()
    with threads(int(seed % 32 == 31)):
        for index in range(count):
            try:
                total += ask(rng)
            except Exception as error:
                total += Tally(tracebacks=(f"{name}: {error!r} in seed {seed}, draw {index}",))
    return total


def _answer(right: bool | None, line: Callable[[], str], *, unbounded: bool = False) -> Tally:
    if right is None:
        return Tally(counts={"undecided": 1})
    return Tally(1, () if right else (line(),), counts={"unbounded": int(unbounded)})


def norm_is_at_most(bound: float, rows: Rows) -> bool | None:
    """Whether |A| <= bound, for exact A or for balls."""
    if not bound >= 0.0:
        return False
    if bound == np.inf:
        return True
    if rows and len(rows) > len(rows[0]):
        rows = [list(column) for column in zip(*rows, strict=True)]
    square = arb(bound) ** 2
    gram = [
        [
            (square if i == j else 0) - sum(map(arb.__mul__, a, rows[j]), arb(0))
            for j in range(i + 1)
        ]
        for i, a in enumerate(rows)
    ]
    return is_positive_semidefinite(gram)


def squared_norm_is_at_most(bound: float, symmetric: Rows) -> bool | None:
    """Whether lambda_max(M) <= bound^2."""
    if not bound >= 0.0:
        return False
    if bound == np.inf:
        return True
    square = arb(bound) ** 2
    return is_positive_semidefinite(
        [
            [(square if i == j else 0) - row[j] for j in range(i + 1)]
            for i, row in enumerate(symmetric)
        ]
    )


# -- nonnegative matrices --------------------------------------------------------------------------


def _nonnegative(rng: Rng, m: int, n: int) -> Floats:
    """Entries >= 0 of moderate or wild size, many of them 0."""
    a = np.abs(matrix(rng, m, n))
    if rng.random() < 0.8:
        a = np.where((a > 1e60) | (a < 1e-60), rng.random((m, n)), a)
    return np.where(rng.random((m, n)) < 0.15, 0.0, a)


def _unit_curvature(rng: Rng) -> Tally:
    n, m = (int(x) for x in rng.integers(1, 6, 2))
    s, overlaps = _nonnegative(rng, n, m), _nonnegative(rng, n, n)
    overlaps = np.tril(overlaps) + np.tril(overlaps, -1).T
    if rng.random() < 0.4:  # squares of inner products
        h = rng.standard_normal((n, int(rng.integers(1, 5))))
        overlaps = np.tril((h @ h.T) ** 2)
        overlaps = overlaps + np.tril(overlaps, -1).T
    found = unit_curvature_upper(torch.from_numpy(s), torch.from_numpy(overlaps)).tolist()
    total = Tally()
    for j, bound in enumerate(found):
        with ctx.workprec(EXACT):
            weights = [arb(x) for x in s[:, j].tolist()]
            rows = [
                [weights[i] * arb(x) * weights[q] for q, x in enumerate(row)]
                for i, row in enumerate(overlaps.tolist())
            ]
            right = squared_norm_is_at_most(bound, rows)

        def line(bound: float = bound, j: int = j) -> str:
            return f"unit_curvature {bound} of {j}: {hexadecimal(s)} {hexadecimal(overlaps)}"

        total += _answer(right, line, unbounded=bound == np.inf)
    return total


def _overlaps(rng: Rng) -> Tally:
    n = int(rng.integers(1, 6))
    start, norms, changes = (_nonnegative(rng, n, n), *_nonnegative(rng, 2, n))
    found = overlaps_upper(*map(torch.from_numpy, (start, norms, changes)))
    total = Tally()
    with ctx.workprec(EXACT):
        e, v = ([arb(x) for x in t.reshape(-1).tolist()] for t in (changes, norms))
        for i in range(n):
            for j in range(n):
                true = (arb(start[i, j]) + e[i] * v[j] + v[i] * e[j] + e[i] * e[j]) ** 2
                bound = float(found[i, j])
                right = bound == np.inf or bool(true <= arb(bound))

                def line(bound: float = bound) -> str:
                    return f"overlaps {bound}: {[hexadecimal(x) for x in (start, norms, changes)]}"

                total += _answer(right, line, unbounded=bound == np.inf)
    return total


def _maxima(rng: Rng) -> Tally:
    n = int(rng.integers(1, 6))
    a = _nonnegative(rng, n, n)
    a = np.tril(a) + np.tril(a, -1).T
    bound = nonnegative_norm_upper(torch.from_numpy(a))
    with ctx.workprec(EXACT):
        rows = [[arb(x) for x in row] for row in a.tolist()]
        right = bound == np.inf or (bound >= 0.0 and norm_is_at_most(bound, rows))
    total = _answer(
        right,
        lambda: f"nonnegative_norm_upper {bound}: {hexadecimal(a)}",
        unbounded=bound == np.inf,
    )
    many = int(rng.integers(1, 12))
    dear = np.abs(rng.standard_normal(many)) * 10.0 ** float(rng.integers(-3, 4))
    cheap = dear * rng.choice([1.0, 1.0 + 2.0**-30, 1.1, 2.0, 100.0, np.inf], many)
    if rng.random() < 0.1:
        cheap[int(rng.integers(many))] = np.nan
    largest = largest_of(
        torch.from_numpy(cheap),
        lambda units: torch.from_numpy(dear)[units],
        int(rng.integers(1, 5)),
    )
    return total + _answer(
        bool((dear <= largest).all()),
        lambda: f"largest_of {largest}: {cheap.tolist()} {dear.tolist()}",
    )


# -- weighted extended inputs ----------------------------------------------------------------------


def _with_inputs(state: Linearization, inputs: Ball) -> Linearization:
    return dataclasses.replace(state, extended=(state.extended[0], inputs))


def _changed(rng: Rng, rows: Rows, changes: Sequence[float]) -> Rows:
    """Each row moved by exactly its change, along one axis or the direction (3, 4) / 5."""
    moved = []
    for row, change in zip(rows, changes, strict=True):
        row = list(row)
        i = int(rng.integers(len(row)))
        if len(row) > 1 and rng.random() < 0.5:
            j = (i + 1) % len(row)
            row[j] = row[j] + 4 * arb(change) / 5
            row[i] = row[i] - 3 * arb(change) / 5
        else:
            row[i] = row[i] + (arb(change) if row[i] >= 0 else -arb(change))
        moved.append(row)
    return moved


def _weighted_inputs(rng: Rng) -> Tally:
    case = drawn(rng, depth=1, most=1, rows=1, wild=0.0, scales=False)
    n, c, m = int(rng.integers(1, 5)), int(rng.integers(1, 8)), int(rng.integers(1, 4))
    values = matrix(rng, n, c)
    values = np.where(np.abs(values) > 1e60, 1.0, values)
    inputs = ball(rng, values, infinite=False)
    inputs = Ball(inputs.mid, torch.where(inputs.rad > 1e60, 0.5, inputs.rad))
    subject = WeightedInputs(_with_inputs(linearize(case.network, case.inputs), inputs))
    weights = _nonnegative(rng, n, m)
    changes = _nonnegative(rng, n, 1)[:, 0] * float(rng.choice([0.0, 0.0, 1.0]))
    routines = {
        "norms_upper": subject.norms_upper,
        "cheap_norms_upper": subject.cheap_norms_upper,
        "power_norms_upper": subject.power_norms_upper,
        "curvatures_upper": subject.curvatures_upper,
        "cheap_curvatures_upper": subject.cheap_curvatures_upper,
    }
    found = {
        name: routine(torch.from_numpy(weights), 1, torch.from_numpy(changes)).tolist()
        for name, routine in routines.items()
    }
    total = Tally()
    with ctx.workprec(EXACT):
        flat = [arb(x) * arb(2) ** -1077 for x in members(rng, inputs)]
        rows = _changed(rng, [flat[i * c : i * c + c] for i in range(n)], changes.tolist())
        squares = [[sum(map(arb.__mul__, a, b), arb(0)) ** 2 for b in rows] for a in rows]
        for j in range(m):
            w = [arb(x) for x in weights[:, j].tolist()]
            scaled = [[w[i] * x for x in row] for i, row in enumerate(rows)]
            bent = [[w[i] * x * w[q] for q, x in enumerate(row)] for i, row in enumerate(squares)]
            for name, bounds in found.items():
                bound = bounds[j]
                right = (
                    squared_norm_is_at_most(bound, bent)
                    if name.endswith("curvatures_upper")
                    else norm_is_at_most(bound, scaled)
                )

                def line(name: str = name, bound: float = bound, j: int = j) -> str:
                    parts = [
                        hexadecimal(x) for x in (weights[:, j], changes, inputs.mid, inputs.rad)
                    ]
                    return f"{name} = {bound}: weights, changes, mid, rad = {parts}"

                total += _answer(right, line, unbounded=not np.isfinite(bound))
    return total


def unit_curvature_batch(seed: int) -> Tally:
    """`unit_curvature_upper` on nonnegative matrices."""
    return asked(seed, 51, 120, _unit_curvature, "unit_curvature_upper")


def overlaps_batch(seed: int) -> Tally:
    """`overlaps_upper` on nonnegative numbers."""
    return asked(seed, 52, 150, _overlaps, "overlaps_upper")


def maxima_batch(seed: int) -> Tally:
    """`nonnegative_norm_upper` and `largest_of`."""
    return asked(seed, 53, 150, _maxima, "maxima")


def weighted_inputs_batch(seed: int) -> Tally:
    """The bounds of `WeightedInputs` on arbitrary balls of inputs."""
    return asked(seed, 54, 30, _weighted_inputs, "WeightedInputs")


SHARDS = (
    Shard(
        "containment/network.unit_curvature_upper",
        ("talweg.network._unit_curvature",),
        100_000,
        unit_curvature_batch,
    ),
    Shard(
        "containment/network.overlaps_upper",
        ("talweg.network._unit_curvature",),
        100_000,
        overlaps_batch,
    ),
    Shard("containment/network.maxima", ("talweg.network._maxima",), 100_000, maxima_batch),
    Shard(
        "containment/network.WeightedInputs",
        ("talweg.network._weighted_inputs", "talweg.network._unit_norms"),
        100_000,
        weighted_inputs_batch,
    ),
)
