"""Arrays of balls, norms and eigenvalues: on the right side of exact answers, and close to them."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from flint import arb, arb_mat, fmpq_mat
from tests.soundness.mutation.registry import Checker, case, demand, precision, refused

TIGHT = 1e-8
BITS31 = 3e-8  # relative; norms are found in whole numbers of 31 bits


def balls(rows: Any, radius: float = 0.0) -> Any:
    """An object array of balls."""
    array = np.asarray(rows, dtype=float)
    result = np.empty(array.shape, dtype=object)
    for place, value in np.ndenumerate(array):
        result[place] = arb(float(value), radius)
    return result


def between(low: Any, x: Any, high: Any, what: object) -> None:
    """low <= x <= high, where balls decide it; NaN fails."""
    demand(low <= x and x <= high, f"{what}: {x} is not between {low} and {high}")


@case
def balls_have_sides(checker: Checker) -> None:
    a = checker.arrays
    with precision():
        x = balls([-3.0, 1.0], 0.5)  # a radius comes out a hair larger than said

        def found(numbers: Any, expected: list[float], words: str) -> None:
            close = all(abs(float(n) - e) < 1e-8 for n, e in zip(numbers, expected, strict=True))
            demand(close, (words, numbers))

        found(a.lower(x), [-3.5, 0.5], "lower")
        found(a.upper(x), [-2.5, 1.5], "upper")
        found(a.magnitude(x), [3.5, 1.5], "magnitude")
        demand(a.lower(x)[0] <= -3.5 and a.upper(x)[1] >= 1.5, "outwards")
        demand(a.magnitude(x)[0] >= 3.5 and all(y.is_exact() for y in a.magnitude(x)), "outwards")
        between(arb(2), a.root_upper(balls([3.0], 1.0))[0], arb(2) + 1e-8, "root")
        between(arb(2), a.root_upper(balls([0.0], 4.0))[0], arb(2) + 1e-8, "root")
        both = a.hull(balls([-3.0], 0.5), balls([1.0], 0.5))[0]
        demand(both.contains(arb(-1, 2.4375)) and float(both.rad()) < 2.51, both)
        rows = balls([[1.0, 4.0], [3.0, 2.0]], 0.25)
        found([y.upper() for y in a.largest(rows, axis=0)], [3.25, 4.25], "axis 0")
        found([y.upper() for y in a.largest(rows, axis=1)], [4.25, 3.25], "axis 1")
        demand([float(y) for y in a.largest(balls([[0.25, 0.125]]), axis=1)] == [0.25], "small")
        demand(float(a.largest(rows[:0], axis=0)[0]) == 0, "of nothing")
        norms = a.norms_upper(balls([[3.0, 4.0], [5.0, 12.0]]), 1)
        between(arb(5), norms[0], arb(5) + 1e-30, "norm")
        between(arb(13), norms[1], arb(13) + 1e-30, "norm")
        wide = a.norms_upper(balls([[3.0, 0.0]], 1.0), 1)[0]
        between(arb(17).sqrt().lower(), wide, 17.0**0.5 + 1e-6, "norm of a wide ball")
        across = a.norms_upper(balls([[3.0, 5.0], [4.0, 12.0]]), 0)
        between(arb(13), across[1], arb(13) + 1e-30, "norms of columns")


@case
def arrays_of_balls(checker: Checker) -> None:
    a = checker.arrays
    with precision():
        numbers = np.array([[0.1, -0.0], [5e-324, 1.7e308]])
        exact = a.exact(numbers)
        for place, value in np.ndenumerate(numbers):
            demand(exact[place].rad() == 0 and float(exact[place]) == value, place)
        demand(a.exact(np.array([2**62 + 1]))[0] == arb(2**62 + 1), "an integer")
        third = a.rational(Fraction(-1, 3))
        demand((3 * third).contains(arb(-1)) and third.rad() < 2.0**-100, third)
        square = a.full((2, 3), arb(7, 1))
        demand(square.shape == (2, 3) and all(x.rad() >= 1 for x in square.ravel()), square)
        demand(a.full(2, 1).shape == (2,) and a.full(2, 1)[1] == 1, "one dimension")
        left, right = balls([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), balls([[1.0, -1.0], [0.5, 2.0]])
        product = a.matmul(left, right)
        expected = [[2.0, 3.0], [5.0, 5.0], [8.0, 7.0]]
        demand([[float(x) for x in row] for row in product] == expected, product)
        matrix = a.from_matrix(arb_mat([[1, 2, 3]]))
        demand(matrix.shape == (1, 3) and matrix[0, 2] == 3, matrix)
        demand(a.approx(balls([0.1], 0.5)).tolist() == [0.1], "midpoints")
        demand(a.approx(balls([0.1])).dtype == np.float64, "binary64")


def reflected(values: list[float]) -> Any:
    """H diag(values) H with H = 1 - J/2, which is orthogonal for four rows; exact in binary64."""
    h = np.eye(4) - 0.5
    return h @ np.diag(values) @ h


def exceeds_norm(bound: Fraction, rows: list[list[Fraction]]) -> bool:
    """Whether bound > |A|: all leading minors of bound^2 - A^T A are positive."""
    n = len(rows[0])
    gram = [[sum((r[i] * r[j] for r in rows), Fraction(0)) for j in range(n)] for i in range(n)]
    return all(
        fmpq_mat([[_fmpq(bound**2 * (i == j) - gram[i][j]) for j in range(m)] for i in range(m)])
        .det() > 0
        for m in range(1, n + 1)
    )  # fmt: skip


def _fmpq(x: Fraction) -> Any:
    from flint import fmpq

    return fmpq(x.numerator, x.denominator)


def fraction(x: arb) -> Fraction:
    """The upper end of a ball."""
    man, exp = x.upper().man_exp()
    return Fraction(int(man)) * Fraction(2) ** int(exp)


@case
def norms(checker: Checker) -> None:
    norm = checker.linear_algebra.norm_upper
    rng = np.random.default_rng(5)
    with precision():
        for shape in ((1, 1), (1, 4), (4, 1), (3, 4), (5, 3), (2, 2)):
            for scale in (1.0, 2.0**-700, 2.0**700):
                matrix = np.round(rng.normal(size=shape) * 2**20) / 2**20 * scale
                bound = fraction(norm(balls(matrix)))
                rows = [[Fraction(x) for x in row] for row in matrix.tolist()]
                demand(exceeds_norm(bound * (1 + Fraction(1, 2**80)), rows), f"{shape} too small")
                demand(not exceeds_norm(bound * (1 - Fraction(BITS31)), rows), f"{shape} large")
        for values in ([5.0, 1.0, 2.0, 3.0], [-5.0, 1.0, 2.0, 4.5], [5.0, -5.0, 5.0, 5.0]):
            between(arb(5), norm(balls(reflected(values))), arb(5 * (1 + BITS31)), values)
        between(
            arb(35).sqrt().lower(), norm(balls(np.ones((5, 7)))), 35**0.5 * (1 + BITS31), "ones"
        )
        between(arb(0), norm(balls(np.zeros((3, 2)))), arb(0), "zeros")
        between(arb(1), norm(balls([[1.0, 0.0], [0.0, 0.5]])), arb(1 + BITS31), "a diagonal")


@case
def norms_of_wide_matrices(checker: Checker) -> None:
    norm = checker.linear_algebra.norm_upper
    with precision():
        between(arb(1.5), norm(balls([[1.0]], 0.5)), arb(1.5 * (1 + BITS31)), "one entry")
        between(arb(3), norm(balls(np.eye(2), 1.0)), arb(3 * (1 + BITS31)), "two rows")
        mixed = balls([[4.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
        mixed[2, 0], mixed[2, 1] = arb(0, 3), arb(0, 4)
        between(arb(41).sqrt().lower(), norm(mixed), arb(9 + 1e-6), "one wide row")
        tiny = balls([[1.0, 1.0]]) + arb(2) ** -80
        true = (2 * (1 + arb(2) ** -80) ** 2).sqrt()
        between(true.lower(), norm(tiny), true * (1 + BITS31), "digits below binary64")
        for bad in (math.inf, math.nan):
            bound = norm(balls([[1.0, bad]]))
            demand(not bound <= 1e300, f"a norm of {bad}: {bound}")
        huge = balls([[1.0]]) * arb(2) ** 2000
        demand(not norm(huge) <= arb(2) ** 1999, "beyond binary64")


@case
def norms_with_poor_hints(checker: Checker) -> None:
    """The estimate of the eigenvalue and the factor are hints: wrong ones cost sharpness alone."""
    module, eigvalsh = checker.linear_algebra, np.linalg.eigvalsh
    kept = module._cholesky
    try:
        with precision():
            for share in (0.9, 1.0, 1.5):
                for factor in (kept, np.zeros_like, np.ones_like):
                    np.linalg.eigvalsh = lambda hint, s=share: s * eigvalsh(hint)  # type: ignore
                    module._cholesky = factor
                    for matrix in (reflected([5.0, 1.0, 2.0, 4.5]), np.diag([5.0, 1.0]),
                                   np.array([[5.0]])):  # fmt: skip
                        between(arb(5), module.norm_upper(balls(matrix)), arb(99), (share, factor))
    finally:
        module._cholesky, np.linalg.eigvalsh = kept, eigvalsh


@case
def eigenvalues(checker: Checker) -> None:
    module = checker.linear_algebra
    least = module.smallest_eigenvalue_lower
    matrix = reflected([2.0, 1.0, 3.0, 5.0])
    kept = module.BLOCK
    with precision():
        for block in (kept, 1, 2, 3, 4):
            module.BLOCK = block
            between(arb(1 - 2e-9), least(balls(matrix), 1 - 1e-9), arb(1), f"block {block}")
            between(arb(-5 - 2e-9), least(balls(matrix), -5 - 1e-9, -1), arb(-5), "largest")
            between(arb(-1e9), least(balls(matrix), 1.5), arb(1), "shifted too far")
            between(arb(-1e9), least(balls(matrix), -4.5, -1), arb(-5), "shifted too far")
            scaled = balls(matrix * 2.0**-400)
            between(arb(2.0**-400 * (1 - 2e-9)), least(scaled, 2.0**-400 * (1 - 1e-9)),
                    arb(2.0**-400), "small")  # fmt: skip
            between(arb(2.0**400 * (1 - 2e-9)), least(balls(matrix * 2.0**400),
                    2.0**400 * (1 - 1e-9)), arb(2.0**400), "large")  # fmt: skip
            wide = balls(3 * np.eye(2), 0.25)
            between(arb(2.49), least(wide, 2.9999999), arb(2.5), "wide entries")
            star = balls(np.eye(5))
            for i in (2, 3, 4):
                star[i, 0] = star[0, i] = arb(0, 0.25)
            between(arb(0.2499), least(star, 1 - 1e-9), (1 - arb(3).sqrt() / 4).upper(), "a star")
            for centre in (0, 2, 4):
                for spokes in (arb(0, 0.25), arb(0.375)):
                    star = balls(np.eye(5))
                    for i in range(5):
                        if i != centre:
                            star[i, centre] = star[centre, i] = spokes
                    # shift 1 admits no factor where the spokes are real
                    limit = (1 - 2 * spokes.abs_upper()).upper()
                    between(arb(-0.51), least(star, 1.0), limit, f"a star around {centre}")
            for at in (0, 4):
                lone = balls(np.eye(5))
                lone[at, at] = arb(1, 0.5)
                between(arb(0.4999), least(lone, 1 - 1e-9), arb(0.5), "one wide entry")
        module.BLOCK = kept
        between(arb(-1), least(balls(np.ones((3, 3))), -1e-12), arb(0), "singular")
        between(arb(-1e-11), least(balls(np.ones((3, 3))), -1e-12), arb(0), "singular")
        for odd in (balls(np.eye(3)) + arb.nan(), balls(np.full((2, 2), 1e308)),
                    balls(np.eye(2)) * arb(2) ** 2000):  # fmt: skip
            demand(not least(odd, 1.0) >= 2, "no bound where there are no numbers")
            demand(not least(odd, 1.0, -1) >= 0, "no bound where there are no numbers")
        digits = balls(np.eye(3)) * (1 - arb(2) ** -70)
        demand(least(digits, 1.0) <= 1 - arb(2) ** -70, "digits below binary64")


@case
def products_of_nonnegative_matrices(checker: Checker) -> None:
    product = checker.linear_algebra.nonnegative_product_upper
    rng = np.random.default_rng(6)
    with precision():
        for shape in ((1, 1, 1), (3, 4, 2), (2, 5, 6)):
            for scale in (1.0, 2.0**-500, 2.0**450):
                one = rng.uniform(size=shape[:2]) ** 9 * scale
                two = rng.uniform(size=shape[1:]) ** 9
                two[0, 0], one[0, 0] = 1.0, scale
                bound = product(one, balls(two))
                demand(bound.shape == (shape[0], shape[2]), bound.shape)
                for i, j in np.ndindex(bound.shape):
                    exact = sum((Fraction(a) * Fraction(b)
                                 for a, b in zip(one[i].tolist(), two[:, j].tolist(), strict=True)),
                                Fraction(0))  # fmt: skip
                    found = fraction(bound[i, j])
                    demand(found >= exact, "a product too small")
                    slack = Fraction(scale) * shape[1] / 2**27
                    demand(found <= exact + slack, "a product too large")
        for bad in (math.inf, math.nan):
            odd, fine = np.array([[bad, 1.0]]), np.ones((2, 3))
            incomplete, words = checker.verdict.Incomplete, "a number that a bound needs"
            refused(partial(product, odd, balls(fine)), incomplete, words)
            refused(partial(product, fine.T, balls(odd.T)), incomplete, words)
        none = product(np.zeros((1, 2)), balls(np.ones((2, 1))))[0, 0]
        between(arb(0), none, arb(1e-8), "nothing")


@case
def numbers_above(checker: Checker) -> None:
    """Binary64 numbers above balls, and hardly so."""
    above = checker.arrays.floats_above
    with precision():
        x = balls([0.1, -0.1, 1.0, 5e-324, 0.0, 1e300])
        x[0] += arb(2) ** -100
        x[2] += arb(2) ** -54
        found = above(x)
        demand(found.dtype == np.float64, found.dtype)
        for ball, number in zip(x, found.tolist(), strict=True):
            demand(arb(number) >= ball, (ball, number))
            near = abs(float(ball)) * 2.0**-50 + 2e-323
            demand(number - float(ball) <= near, (ball, number))
        wide = float(above(balls([1.0], 0.5))[0])
        demand(1.5 <= wide <= 1.5 + 1e-8, wide)


@case
def perron_roots(checker: Checker) -> None:
    roots = checker.linear_algebra.perron_roots_upper
    rng = np.random.default_rng(7)
    with precision():
        for size in (1, 3, 6):
            matrix = rng.uniform(0.5, 1.5, size=(size, size))
            matrix = np.round((matrix + matrix.T) * 2**20) / 2**20
            weights = np.round(rng.uniform(0.2, 1.0, size=(size, 4)) * 2**20) / 2**20
            found = roots(matrix, balls(weights))
            demand(found.shape == (4,), found.shape)
            for j in range(4):
                w = weights[:, j]
                rows = [[Fraction(w[a]) * Fraction(matrix[a, b]) * Fraction(w[b])
                         for b in range(size)] for a in range(size)]  # fmt: skip
                square = fraction(found[j]) ** 2
                demand(exceeds_norm(square * (1 + Fraction(1, 2**60)), rows), "too small")
                demand(not exceeds_norm(square * (1 - Fraction(1, 10**6)), rows), "too large")
        zero = roots(np.diag([1.0, 4.0]), balls([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]))
        for value, root in zip(zero, (2.0, 1.0, 2.0), strict=True):
            between(arb(root), value, arb(root + 1e-6), "a diagonal")
        wide = roots(np.array([[4.0]]), balls([[1.0]], 0.5))[0]
        between(arb(3), wide, 3 + 1e-6, "wide")
        huge = roots(np.array([[1e300]]), balls([[1e10]]))[0]
        demand(not huge <= 1e150, "beyond binary64 there is no bound, or a true one")


@case
def products_of_whole_rows(checker: Checker) -> None:
    """Exact, or refused: rows at the limit, sums of squares and entries that would wrap around."""
    gram, incomplete = checker.linear_algebra._gram, checker.verdict.Incomplete
    most = 2**31 - 2**10 - 1  # the largest entry of a row of one
    quarter = most // 2 - 2**10
    exact: list[list[list[int]]] = [
        [[most]], [[-most]], [[0, 0]], [[quarter] * 4, [-quarter] * 4], [[most, 0], [0, -most]],
        [[most, 1], [1, 1]], [[2**22] * 64],
    ]  # fmt: skip
    for rows in exact:
        found = gram(np.array(rows, dtype=np.int64)).tolist()
        true = [[sum(map(int.__mul__, a, b)) for b in rows] for a in rows]
        demand(found == true, ("a product of rows", rows[0][:4]))
    beyond = 2**42 - 2**10  # whose square, of a shifted and raised number, wraps around to 0
    for rows in (
        [[most + 1]], [[-most - 1]], [[2**30] * 4], [[2**30] * 4, [0] * 4], [[0] * 4, [2**30] * 4],
        [[beyond]], [[-beyond]], [[beyond, 0]], [[0, -beyond]], [[beyond, -beyond]],
    ):  # fmt: skip
        refused(lambda r=rows: gram(np.array(r, dtype=np.int64)), incomplete,  # type: ignore[misc]
                "the norm of a matrix is beyond the reach of 64 bits")  # fmt: skip
    for columns in (2**21, 2**22):
        wide = np.full((1, columns), 2**31 - 1, dtype=np.int64)
        refused(lambda w=wide: gram(w), incomplete, "64 bits")  # type: ignore[misc]


@case
def norms_of_scaled_matrices(checker: Checker) -> None:
    """Above the exact norm of diag(w) A, and close to it, whatever the sizes of its rows."""
    scaled = checker.linear_algebra.scaled_norms_upper
    rng = np.random.default_rng(11)
    with precision():
        for shape in ((1, 1), (4, 1), (1, 4), (3, 4), (5, 3)):
            for sizes in (0, 40, 200):
                grow = 2.0 ** np.round(rng.uniform(-sizes, sizes, shape[0]))[:, None]
                matrix = np.round(rng.normal(size=shape) * 2**20) / 2**20 * grow
                weights = [np.round(rng.uniform(0.1, 1, shape[0]) * 2**20) / 2**20 / grow[:, 0]
                           for _ in range(3)]  # fmt: skip
                weights.append(np.eye(shape[0])[0] / grow[0, 0])
                found = scaled(balls(matrix), [balls(w) for w in weights])
                demand(len(found) == len(weights), "one bound for each weighting")
                for w, bound in zip(weights, found, strict=True):
                    pairs = zip(w.tolist(), matrix.tolist(), strict=True)
                    rows = [[Fraction(a) * Fraction(x) for x in row] for a, row in pairs]
                    number = fraction(bound)
                    demand(exceeds_norm(number * (1 + Fraction(1, 2**80)), rows), "too small")
                    near = number * (1 - Fraction(1, 10**7))
                    demand(not exceeds_norm(near, rows), f"{shape}, {sizes} too large")
        for wide in (balls(np.zeros((2, 2)), 1.0), balls([[1.0, 0.0], [0.0, 0.0]], 0.5)):
            for w in ([1.0, 2.0**-10], [2.0**-10, 1.0]):
                corner = [[Fraction(a) * Fraction(float(x.abs_upper())) for x in row]
                          for a, row in zip(w, wide, strict=True)]  # fmt: skip
                bound = fraction(scaled(wide, [balls(w)])[0])
                demand(exceeds_norm(bound * (1 + Fraction(1, 2**30)), corner), "wide entries")
                demand(bound <= 4, "wide entries, far too large")
        tops = scaled(balls([[3.0]]), [balls([2.0], 0.5), balls([0.0]), balls([0.0], 1.0)])
        between(arb(7.5), tops[0], arb(7.5 * (1 + BITS31)), "a wide weight")
        between(arb(0), tops[1], arb(1e-300), "no weight")
        between(arb(3), tops[2], arb(3 * (1 + BITS31)), "a weight about zero")
        tiny = 2.0**-60
        for rows in ([[0.0, 0.0], [tiny, 0.0]], [[0.0, -tiny], [0.0, 0.0]]):
            bound = scaled(balls(rows), [balls([1.0, 1.0])])[0]
            between(arb(tiny), bound, arb(tiny) * (1 + 4 * BITS31), "a row of zeros")
        ones = scaled(balls(np.ones((2, 2))), [balls([1.0, 1.0])])[0]
        between(arb(2), ones, arb(2 * (1 + 4 * BITS31)), "rows of ones")
        for bad in (math.inf, math.nan):
            refused(lambda b=bad: scaled(balls([[1.0]]), [balls([b])]),  # type: ignore[misc]
                    checker.verdict.Incomplete, "a number that a bound needs")  # fmt: skip
            demand(not scaled(balls([[bad]]), [balls([1.0])])[0] <= 1e300, bad)


@case
def halves_that_rounding_misses(checker: Checker) -> None:
    """With exact norms of the rounded matrices nothing else hides what rounding took away."""
    module, size = checker.linear_algebra, 16
    kept = module._whole_norm_upper
    rng = np.random.default_rng(12)
    try:
        module._whole_norm_upper = lambda x: arb(size * abs(int(x[0, 0])))  # all entries are equal
        with precision():
            for _ in range(60):
                entry = float(rng.integers(2**18, 2**19)) * rng.choice([-1, 1])
                weight = float(rng.integers(2**30, 2**31 - 2**20))
                matrix = balls(np.full((size, size), entry))
                bound = module.scaled_norms_upper(matrix, [balls(np.full(size, weight))])[0]
                true = size * arb(abs(entry)) * arb(weight)
                between(true, bound, true * (1 + 64 * BITS31), "rounded entries")
    finally:
        module._whole_norm_upper = kept


@case
def scaled_norms_with_poor_hints(checker: Checker) -> None:
    """A size that LAPACK puts wrongly makes whole numbers too long: cut off, never wrapped."""
    module, eigvalsh, calls = checker.linear_algebra, np.linalg.eigvalsh, []
    incomplete = checker.verdict.Incomplete

    def answer(hint: Any) -> Any:
        calls.append(hint)
        found = eigvalsh(hint)
        if len(calls) != at:
            return found
        return found * share if share > 0 else np.full(len(hint), wrong)

    try:
        np.linalg.eigvalsh = answer  # type: ignore[assignment]
        with precision(), np.errstate(all="ignore"):
            matrices = ([[1.0]], [[-1.0]], [[1.0, 0.5], [0.5, -1.0]], np.ones((4, 4)))
            for at in (1, 2):
                for share, wrong in (
                    *((2.0**-k, 0.0) for k in (1, 2, 3, 4, 5, 6, 8, 12, 20, 40)),
                    *((0.0, x) for x in (math.nan, math.inf, -math.inf, 1e300, -1e300, 0.0, -1.0)),
                ):
                    for matrix in matrices:
                        for weight in (1.0, 1 - 2.0**-20, 0.7):
                            calls.clear()
                            w = balls(np.full(len(matrix), weight))
                            with contextlib.suppress(incomplete):
                                bound = module.scaled_norms_upper(balls(matrix), [w])[0]
                                true = weight * float(np.linalg.norm(np.array(matrix), 2))
                                demand(bound >= true * (1 - 1e-12), (at, share, wrong, matrix))
                            calls.clear()
                            with contextlib.suppress(incomplete):
                                bound = module.norm_upper(balls(matrix))
                                demand(bound >= true / weight * (1 - 1e-12), (at, share, wrong))
    finally:
        np.linalg.eigvalsh = eigvalsh


@case
def norms_without_factors(checker: Checker) -> None:
    """The row sums of what is left count all entries of a row."""
    module, eigvalsh = checker.linear_algebra, np.linalg.eigvalsh
    kept = module._cholesky
    whole = np.full((4, 4), 2**20, dtype=np.int64)
    try:
        module._cholesky = np.zeros_like
        np.linalg.eigvalsh = lambda hint: 0.5 * eigvalsh(hint)  # type: ignore[assignment]
        with precision():
            between(arb(2**22), module._whole_norm_upper(whole), arb(2**24), "no factor")
            between(arb(2**21), module._whole_norm_upper(whole[:, :1]), arb(2**24), "no factor")
            uneven = np.array([[2, 2, 0], [2, 2, 0], [0, 0, 1]], dtype=np.int64) << 19
            between(arb(2**21), module._whole_norm_upper(uneven), arb(2**24), "uneven rows")
    finally:
        module._cholesky, np.linalg.eigvalsh = kept, eigvalsh
    with precision():
        for shape in ((4, 4), (1, 4), (4, 1), (2, 3)):
            ones = np.full(shape, 2**24, dtype=np.int64)
            true = 2**24 * arb(shape[0] * shape[1]).sqrt()
            between(true, module._whole_norm_upper(ones), true * (1 + 1e-6), shape)
        near = 1 - 2.0**-40  # a size just below a power of two
        between(arb(near), module.norm_upper(balls([[near]])), arb(1 + BITS31), "near one")
        demand(module.norm_upper(balls(np.zeros((2, 3)))) == 0, "nothing")
