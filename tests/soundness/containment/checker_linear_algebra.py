"""The checker's eigenvalue and norm bounds against exact arithmetic.

A member M of a matrix of balls is a matrix of whole numbers times a power of two. Whether
lambda_min(M) >= b is decided by the characteristic polynomial of M - b I: a symmetric matrix is
positive semidefinite if and only if the coefficients alternate in sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from flint import arb, ctx, fmpz_mat
from numpy.typing import NDArray
from tests.soundness.containment import draws
from tests.soundness.containment.record import Record, shard

from talweg_check._arrays import PRECISION
from talweg_check._linear_algebra import (
    nonnegative_product_upper,
    norm_upper,
    perron_roots_upper,
    scaled_norms_upper,
    smallest_eigenvalue_lower,
)
from talweg_check._verdict import Incomplete

UNDER_TEST = ("talweg_check._linear_algebra", "talweg_check._arrays")
Floats = NDArray[np.float64]
Dyadic = tuple[int, int]  # m 2^e
Grid = tuple[list[list[int]], int]  # whole numbers times 2^e


def dyadic(x: arb) -> Dyadic:
    """An Arb number without radius as m 2^e."""
    mantissa, exponent = x.man_exp()
    return int(mantissa), int(exponent)


def grid(rows: list[list[Dyadic]], further: Dyadic = (0, 0)) -> tuple[Grid, int]:
    """The numbers on one grid, and one further number on the same."""
    least = min(e for m, e in [further, *(x for row in rows for x in row)] if m or e == 0)
    whole = [[m << (e - least) if m else 0 for m, e in row] for row in rows]
    return (whole, least), further[0] << (further[1] - least) if further[0] else 0


def semidefinite(rows: list[list[int]]) -> bool:
    """Whether a symmetric matrix of whole numbers has no negative eigenvalue."""
    size = len(rows)
    coefficients = fmpz_mat(size, size, [x for row in rows for x in row]).charpoly().coeffs()
    return all((-1) ** (size - k) * int(c) >= 0 for k, c in enumerate(coefficients))


def eigenvalues_at_least(rows: list[list[Dyadic]], bound: Dyadic, sign: int = 1) -> bool:
    """Whether every eigenvalue of sign * rows is at least the bound."""
    (whole, _), b = grid(rows, bound)
    return semidefinite(
        [
            [sign * x - (b if i == j else 0) for j, x in enumerate(row)]
            for i, row in enumerate(whole)
        ]
    )


def norm_at_most(rows: list[list[Dyadic]], bound: Dyadic) -> bool:
    """Whether |rows|_2 <= bound, for bound >= 0."""
    (whole, _), b = grid(rows, bound)
    if len(whole[0]) > len(whole):
        whole = [list(column) for column in zip(*whole, strict=True)]
    columns = list(zip(*whole, strict=True))
    gram = [
        [(b * b if i == j else 0) - sum(map(int.__mul__, p, q)) for j, q in enumerate(columns)]
        for i, p in enumerate(columns)
    ]
    return semidefinite(gram)


def drawn_balls(
    rng: np.random.Generator, values: Floats, *, nonnegative: bool = False
) -> tuple[Any, list[list[Dyadic]]]:
    """Balls around the values, and a member of each, at an end as often as at the centre."""
    m, n = values.shape
    balls = np.empty((m, n), dtype=object)
    members: list[list[Dyadic]] = []
    kind = int(rng.integers(4))
    relative = float(rng.choice([2.0**-120, 2.0**-60, 2.0**-20, 0.5]))
    for i, row in enumerate(values.tolist()):
        line = []
        for j, x in enumerate(row):
            rad = [0.0, abs(x) * relative, 2.0**-40, float(rng.choice(draws.RADII))][kind]
            rad = min(rad, abs(x)) if nonnegative else rad
            balls[i, j] = arb(x, rad)
            # the radius that Arb stores may be larger than the one given
            side = (arb(0), balls[i, j].rad(), -balls[i, j].rad())[int(rng.integers(3))]
            with ctx.workprec(8192):
                member = balls[i, j].mid() + side
            if nonnegative and member < 0:
                member = arb(0)
            line.append(dyadic(member))
        members.append(line)
    return balls, members


def symmetric(rng: np.random.Generator, size: int) -> Floats:
    """A symmetric matrix: definite, singular, graded, Hilbert, Hadamard, indefinite."""
    kind = int(rng.integers(6))
    values = np.clip(draws.matrix(rng, size, size), -1e150, 1e150)
    if kind < 3:
        inner = np.clip(draws.matrix(rng, size, max(1, size - int(rng.integers(2)))), -1e75, 1e75)
        values = inner @ inner.T
    elif kind == 3:
        values = np.eye(size) * 2.0 ** rng.integers(-300, 300)
    elif kind == 4:  # a tight cluster
        values = np.eye(size) + 2.0**-50 * rng.integers(-3, 4, (size, size))
    return np.asarray(np.tril(values) + np.tril(values, -1).T, dtype=np.float64)


@contextmanager
def hostile_hints(rng: np.random.Generator) -> Iterator[None]:
    """Now and then LAPACK returns garbage, or gives up."""
    kind, other = (int(rng.integers(12)) for _ in range(2))
    original, eigvalsh = np.linalg.cholesky, np.linalg.eigvalsh
    call = int(rng.integers(3))  # which answer is wrong; 2 for all of them
    asked = 0

    def factor(hint: Floats) -> Floats:
        if kind == 0:
            raise np.linalg.LinAlgError
        if kind == 1:
            return draws.numbers(rng, hint.size).reshape(hint.shape)
        if kind == 2:
            return np.asarray(original(hint) * (1 + 2.0**-20))
        if kind == 3:
            return np.full(hint.shape, float(rng.choice([np.nan, np.inf, -np.inf, 0.0])))
        return np.asarray(original(hint))

    def spectrum(hint: Floats) -> Floats:
        nonlocal asked
        asked += 1
        if other > 4 or call not in (asked - 1, 2):
            return np.asarray(eigvalsh(hint))
        if other == 0:
            raise np.linalg.LinAlgError
        if other == 1:
            return draws.numbers(rng, len(hint))
        if other == 2:
            return np.asarray(eigvalsh(hint) * rng.choice([-1.0, 0.25, 0.9, 1 + 2.0**-20, 4.0]))
        wrong = [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0, 1e-300, 2.0**62, 2.0**63]
        return np.full(len(hint), float(rng.choice(wrong)))

    with (
        patch("numpy.linalg.cholesky", factor),
        patch("numpy.linalg.eigvalsh", spectrum),
        np.errstate(all="ignore"),
    ):
        yield


def bound_of(record: Record, routine: Callable[..., Any], *arguments: Any) -> Any:
    """What the routine returns; None where it raises, or refuses as it says it may."""
    refused = False

    def asked() -> Any:
        nonlocal refused
        try:
            return routine(*arguments)
        except (Incomplete, np.linalg.LinAlgError):
            refused = True

    asked.__name__ = routine.__name__
    bound = record.call(asked)
    record.counts["no bound"] += refused
    return bound


def smallest(rng: np.random.Generator, record: Record) -> None:
    """Both signs and several shifts of one matrix."""
    size = int(rng.choice([1, 1, 2, 3, 4, 6]))
    values = symmetric(rng, size)
    balls, members = drawn_balls(rng, values)
    mirrored = np.tril(np.ones((size, size), dtype=bool))
    balls = np.where(mirrored, balls, balls.T)
    members = [[members[max(i, j)][min(i, j)] for j in range(size)] for i in range(size)]
    for sign in (1, -1):
        least = float(np.linalg.eigvalsh(sign * values)[0])
        gap = max(abs(least), float(np.abs(values).max()))
        shifts = [
            *(least, least - gap * 2.0**-30, least + gap * 2.0**-30, least - gap, least / 2),
            *(0.0, float(draws.numbers(rng, 1)[0])),
        ]
        for shift in shifts:
            with ctx.workprec(PRECISION), hostile_hints(rng):
                bound = record.call(smallest_eigenvalue_lower, balls, shift, sign)
            if bound is None:
                continue
            if not bound.is_finite():
                record.counts["no bound"] += 1
                continue
            record.check(
                eigenvalues_at_least(members, dyadic(bound.lower()), sign),
                "smallest_eigenvalue_lower", sign, shift, values.tolist(), "gave", bound.lower(),
            )  # fmt: skip


def norm(rng: np.random.Generator, record: Record) -> None:
    m, n = (int(rng.choice([1, 1, 2, 3, 5])) for _ in range(2))
    values = np.clip(draws.matrix(rng, m, n), -1e150, 1e150)
    balls, members = drawn_balls(rng, values)
    for form in (balls, balls.T, balls[::-1]):
        with ctx.workprec(PRECISION), hostile_hints(rng):
            bound = bound_of(record, norm_upper, form)
        if bound is None:
            continue
        if not bound.is_finite():
            record.counts["no bound"] += 1
            continue
        record.check(
            bound >= 0 and norm_at_most(members, dyadic(bound.upper())),
            "norm_upper", values.tolist(), "gave", bound.upper(),
        )  # fmt: skip


def weightings(rng: np.random.Generator, rows: int) -> list[Floats]:
    """Weights >= 0 of every size, some or all of them zero."""
    several = []
    for _ in range(int(rng.integers(1, 5))):
        kind = int(rng.integers(8))
        drawn = np.abs(draws.numbers_like(rng, rows)) if kind < 4 else rng.random(rows)
        if kind == 4:
            drawn = np.zeros(rows)
        elif kind == 5:
            drawn *= 2.0 ** rng.integers(-60, 1, rows)
        elif kind == 6:
            drawn *= 2.0 ** rng.choice([-1000, 900])
        drawn[rng.random(rows) < 0.2] = 0.0
        several.append(np.minimum(drawn, 1e300))
    return several


def scaled(rng: np.random.Generator, record: Record) -> None:
    """Several weightings of one matrix."""
    m, n = (int(rng.choice([1, 1, 2, 3, 5])) for _ in range(2))
    centres = np.clip(draws.matrix(rng, m, n), -1e150, 1e150)
    centres[rng.random(m) < rng.choice([0, 0.4])] = 0  # rows of zeros, or about zero
    balls, members = drawn_balls(rng, centres)
    asked, true = [], []
    for drawn in weightings(rng, m):
        weights, factors = drawn_balls(rng, drawn[:, None], nonnegative=True)
        asked.append(weights[:, 0])
        true.append([row[0] for row in factors])
    with ctx.workprec(PRECISION), hostile_hints(rng):
        bounds = bound_of(record, scaled_norms_upper, balls, asked)
    if bounds is None:
        return
    record.check(len(bounds) == len(asked), "scaled_norms_upper gave", len(bounds), len(asked))
    for weights, factors, bound in zip(asked, true, bounds, strict=True):
        if not bound.is_finite():
            record.counts["no bound"] += 1
            continue
        rows = [
            [(w * x, e + f) for x, f in row] for (w, e), row in zip(factors, members, strict=True)
        ]
        record.check(
            bound >= 0 and norm_at_most(rows, dyadic(bound.upper())),
            "scaled_norms_upper", balls.tolist(), weights.tolist(), "gave", bound.upper(),
        )  # fmt: skip


def product(rng: np.random.Generator, record: Record) -> None:
    m, k, n = (int(rng.integers(1, 6)) for _ in range(3))
    left = np.abs(draws.matrix(rng, m, k))
    first = [[dyadic(arb(x)) for x in row] for row in left.tolist()]
    right, second = drawn_balls(rng, np.abs(draws.matrix(rng, k, n)), nonnegative=True)
    with ctx.workprec(PRECISION), np.errstate(all="ignore"):
        bounds = bound_of(record, nonnegative_product_upper, left, right)
    if bounds is None:
        return
    (one, e), _ = grid(first)
    (two, f), _ = grid(second)
    columns = list(zip(*two, strict=True))
    for i, row in enumerate(one):
        for j, column in enumerate(columns):
            bound = bounds[i, j]
            if not bound.is_finite():
                record.counts["no bound"] += 1
                record.check(not (bound <= 0), "nonnegative_product_upper gave", bound)
                continue
            true = sum(map(int.__mul__, row, column)), e + f
            record.check(
                at_most(true, dyadic(bound.upper())), "nonnegative_product_upper", left.tolist(),
                right.tolist(), i, j, "gave", bound,
            )  # fmt: skip


def at_most(x: Dyadic, y: Dyadic) -> bool:
    """x <= y."""
    least = min(x[1], y[1])
    return x[0] << (x[1] - least) <= y[0] << (y[1] - least)


def perron(rng: np.random.Generator, record: Record) -> None:
    size, columns = int(rng.choice([1, 2, 3, 5])), int(rng.integers(1, 5))
    values = np.abs(symmetric(rng, size))
    if rng.random() < 0.3:
        values[int(rng.integers(size))] = 0.0
        values = np.minimum(values, values.T)
    weights = np.abs(np.clip(draws.matrix(rng, size, columns), -1e100, 1e100))
    weights[rng.random(weights.shape) < 0.2] = 0.0
    members = [[dyadic(arb(x)) for x in row] for row in values.tolist()]
    scales, factors = drawn_balls(rng, weights, nonnegative=True)
    with ctx.workprec(PRECISION):
        bounds = bound_of(record, perron_roots_upper, values, scales)
    if bounds is None:
        return
    record.check(bounds.shape == (columns,), "perron_roots_upper gave", bounds.shape, columns)
    (whole, e), _ = grid(members)
    for j in range(columns):
        bound = bounds[j]
        if not bound.is_finite():
            record.counts["no bound"] += 1
            continue
        (column, f), _ = grid([[row[j]] for row in factors])
        scaled = [
            [(column[p][0] * x * column[q][0], e + 2 * f) for q, x in enumerate(row)]
            for p, row in enumerate(whole)
        ]
        b, g = dyadic(bound.upper())
        record.check(
            bound >= 0 and eigenvalues_at_least(scaled, (-b * b, 2 * g), -1),
            "perron_roots_upper", values.tolist(), weights[:, j].tolist(), "gave", bound,
        )  # fmt: skip


SHARDS = (
    shard("checker.smallest_eigenvalue_lower", UNDER_TEST, smallest, 60),
    shard("checker.norm_upper", UNDER_TEST, norm, 300),
    shard("checker.scaled_norms_upper", UNDER_TEST, scaled, 250),
    shard("checker.nonnegative_product_upper", UNDER_TEST, product, 300),
    shard("checker.perron_roots_upper", UNDER_TEST, perron, 250),
)
