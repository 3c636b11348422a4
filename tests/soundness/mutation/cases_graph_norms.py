"""Norms of stacks and blocks, eigenvalues and factors, whatever LAPACK says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation.comparison import bound, close, instead, lying
from tests.soundness.mutation.kind_numbers import least_unfolding, op
from tests.soundness.mutation.registry import Checker, case, demand, precision, refused

Array = Any
REACH = "the norm of a matrix is beyond the reach of 64 bits"


@case
def stacks_of_small_matrices(checker: Checker) -> None:
    module, exact = checker.graph_algebra, checker.arrays.exact
    rng = np.random.default_rng(0)
    with precision():
        x, y = rng.normal(size=(2, 3, 2, 4)), rng.normal(size=(2, 3, 4, 5))
        close(checker, module.products(exact(x), exact(y)), x @ y, "products")
        for some in (x, x[0], x[0, 0]):
            close(checker, module.grams(exact(some)), some @ np.swapaxes(some, -1, -2), "grams")
        for shape in ((2, 3, 3, 4), (2, 3, 4, 3), (2, 1, 5), (2, 5, 1), (3, 1, 1), (2, 2)):
            x = rng.normal(size=shape)
            found = module.operator_norms_upper(exact(x))
            wanted = np.linalg.norm(x, 2, axis=(-2, -1))
            bound(checker, found, wanted, f"norms of {shape}")
        found = module.stacked([arb(1), arb(2), arb(3), arb(4), arb(5), arb(6)], (2, 3))
        demand(checker.arrays.approx(found).tolist() == [[1, 2, 3], [4, 5, 6]], "stacked")
        demand(module.smaller(exact(np.array([1, 4])), exact(np.array([2, 3]))).tolist()
               == [arb(1), arb(3)], "smaller")  # fmt: skip
        for shape in (
            (2, 3, 1, 3, 4), (2, 3, 3, 1, 4), (2, 3, 3, 4, 1), (1, 2, 2, 1, 1),
            (1, 2, 1, 1, 3), (2, 2, 2, 3, 4), (1, 2, 4, 2, 2), (1, 2, 3, 5, 2),
        ):  # fmt: skip
            x = rng.normal(size=shape)
            found = module.unfolded_norms_upper(exact(x))
            wanted = [[least_unfolding(x[i, j]) for j in range(shape[1])] for i in range(shape[0])]
            bound(checker, found, np.array(wanted), f"unfolded {shape}")
        # Each of the three unfoldings is once by far the least.
        array = np.einsum("ij,k->ijk", np.eye(4), np.ones(4))
        for order in ((2, 0, 1), (0, 1, 2), (0, 2, 1)):
            x = np.transpose(array, order)[None, None]
            found = module.unfolded_norms_upper(exact(x))
            bound(checker, found, np.array([[least_unfolding(x[0, 0])]]), f"order {order}")


@case
def factors_of_semidefinite_matrices(checker: Checker) -> None:
    """S <= L L^T + missed, whatever LAPACK says."""
    module, arrays = checker.graph_algebra, checker.arrays
    rng = np.random.default_rng(1)
    with precision():
        x = rng.normal(size=(4, 3))
        for s in (x @ x.T, x.T @ x, np.zeros((2, 2)), np.diag([4.0, -1.0, 9.0])):
            root, missed = module.factor(arrays.exact(s))
            rest = s - arrays.approx(root) @ arrays.approx(root).T
            size = np.linalg.norm(rest)
            demand(float(missed) >= size * (1 - 1e-9) - 1e-14, "what is missed")
            demand(float(missed) <= size * (1 + 1e-9) + 1e-13, "what is missed")
            demand(size <= (1.001 if s.min() < 0 and len(s) == 3 and s[1, 1] < 0 else 1e-13),
                   "a bad factor")  # fmt: skip
        wide = arrays.exact(x.T @ x) + arb(0, 0.5)
        _, missed = module.factor(wide)
        demand(1.5 - 1e-9 <= float(missed.abs_upper()) <= 1.5 + 1e-7, missed)
        for odd in (arb.nan(), arb.pos_inf(), arb.neg_inf()):
            s = arrays.exact(np.eye(2))
            s[0, 0] = odd
            root, missed = module.factor(s)
            demand(not missed.is_finite(), missed)
            demand(all(entry.is_finite() for entry in root.ravel()), "the factor")
        s = x.T @ x
        for scale in (0.0, 0.25, 4.0):
            root, missed = lying(
                "eigh", lambda true, f=scale: (f * true[0], true[1]),  # type: ignore[misc]
                lambda: module.factor(arrays.exact(s)),
            )  # fmt: skip
            rest = s - arrays.approx(root) @ arrays.approx(root).T
            size = np.linalg.norm(rest)
            demand(abs(float(missed) / size - 1) < 1e-9, "a lie of LAPACK is enclosed")


SIZES = ((3, 3), (4, 2), (2, 5), (1, 3), (3, 1), (1, 1))


@case
def norms_of_blocks(checker: Checker) -> None:
    """One below the other, at every scale, with what the blocks themselves leave open."""
    module, arrays = checker.graph_norms, checker.arrays
    rng = np.random.default_rng(2)
    with precision():
        for scale in (1.0, 1e-200, 1e200, 3.0 * 2.0**-40, 7.0**11):
            for rows, columns in SIZES:
                parts = [scale * rng.normal(size=(rows, columns)) for _ in range(3)]
                found = module.union_norm_upper([module.block(arrays.exact(x)) for x in parts])
                wanted = op(np.concatenate(parts))
                demand(wanted * (1 - 1e-14) <= float(found) <= wanted * (1 + 1e-8), (rows, scale))
        small = np.diag([1.0, 1e-12, 1e-30])
        found = module.union_norm_upper([module.block(arrays.exact(small))])
        demand(1 <= float(found) <= 1 + 1e-8, found)
        found = module.union_norm_upper([module.block(arrays.exact(np.zeros((2, 3))))])
        demand(0 <= float(found) <= 1e-7, found)


@case
def blocks_that_are_wide(checker: Checker) -> None:
    module, arrays = checker.graph_norms, checker.arrays
    rng = np.random.default_rng(3)
    with precision():
        x, y = rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
        hint, miss = module.block(arrays.exact(x))
        demand((hint == x).all() and hint.dtype == np.float64 and miss == 0, "an exact block")
        third = arrays.exact(x) / 3
        hint, miss = module.block(third)
        demand((hint == x / 3).all() or np.abs(hint - x / 3).max() < 1e-16, "the hint")
        demand(0 < float(miss) < 1e-15, miss)
        _, miss = module.block(arrays.exact(x) + arb(0, 0.25))
        demand(abs(float(miss.abs_upper()) / (0.25 * 6**0.5) - 1) < 1e-7, miss)
        blocks = [module.block(arrays.exact(x) + arb(0, 0.25)),
                  module.block(arrays.exact(y) + arb(0, 0.5))]  # fmt: skip
        found = float(module.union_norm_upper(blocks).abs_upper())
        wanted = op(np.concatenate([x, y])) + (6 / 16 + 4 / 4) ** 0.5
        demand(wanted * (1 - 1e-9) <= found <= wanted * (1 + 1e-8), (found, wanted))
        for odd in (arb.nan(), arb.pos_inf()):
            matrix = arrays.exact(x)
            matrix[1, 1] = odd
            hint, miss = module.block(matrix)
            demand((hint == 0).all() and not miss.is_finite(), "nothing is known")


@case
def what_whole_numbers_miss(checker: Checker) -> None:
    """The digits, and a bound of what they leave over that is sound to the last part of a unit."""
    module, arrays = checker.graph_norms, checker.arrays
    rng = np.random.default_rng(7)
    seen: list[Array] = []

    def nothing(digits: Array) -> Any:
        seen.append(digits)
        return arb(0)

    whole = rng.integers(-1000, 1000, size=(5, 4)).astype(float)
    signed = rng.normal(size=(5, 4))
    full = np.full((8, 8), 1 / 3)
    with precision(), instead(module, _whole_norm_upper=nothing):
        for x in (signed, -abs(signed), whole, full, -full, np.array([[1 - 2.0**-30]]),
                  np.array([[1.0, 0.0]]), 1e-9 * rng.normal(size=(3, 3)),
                  np.array([[-1e200, -1e-150]]), np.array([[1e200, 0.0], [0.0, 1e200]]),
                  np.array([[1e-200, 0.0], [0.0, 1e-200]])):  # fmt: skip
            found = module.union_norm_upper([module.block(arrays.exact(x))])
            digits = seen.pop()
            demand(digits.dtype == np.int64, digits.dtype)
            size = op(digits.astype(float))
            demand(2**30 / 1.011 <= size < 2**31 / 1.009, f"digits of norm {size}")
            top = np.unravel_index(abs(x).argmax(), x.shape)
            exponent = round(np.log2(abs(digits[top]) / abs(x[top])))
            unit = arb(2) ** -exponent
            rest = [
                arb(one) / unit - int(two)
                for one, two in zip(x.ravel(), digits.ravel(), strict=True)
            ]
            missed = sum((y * y for y in rest), arb(0)).sqrt()
            above = sum(((abs(y) + arb(1.5) / 65536) ** 2 for y in rest), arb(0)).sqrt()
            if all(y == 0 for y in rest):
                above = arb(x.size).sqrt() / 65536 * 1.0001
            demand(found / unit >= missed * (1 - 1e-20) and found / unit <= above, (x, found))


@case
def norms_of_blocks_and_lies(checker: Checker) -> None:
    """Whatever LAPACK says of the size, the bound holds, or there is none."""
    module, arrays, incomplete = checker.graph_norms, checker.arrays, checker.verdict.Incomplete
    x = np.random.default_rng(4).normal(size=(4, 3))
    with precision():
        block = module.block(arrays.exact(x))
        wanted = op(x)
        for factor in (1e-30, 1e-12, 1e-4, 0.5, 0.9, 1.5, 100.0, 1e8, 1e16, -1.0):
            try:
                found = lying("eigvalsh", lambda true, f=factor: f * true,  # type: ignore[misc]
                               lambda: module.union_norm_upper([block]))  # fmt: skip
            except incomplete as error:
                demand(factor < 1 and REACH in str(error), f"{factor}: {error}")
            else:
                demand(float(found) >= wanted * (1 - 1e-14), (factor, found))
                if factor >= 1:
                    demand(float(found) <= 1.01 * wanted * factor, (factor, found))
        tiny = lambda true: 1e-30 * true  # noqa: E731
        refused(lambda: lying("eigvalsh", tiny, lambda: module.union_norm_upper([block])),
                incomplete, REACH)  # fmt: skip


@case
def largest_eigenvalues(checker: Checker) -> None:
    module, arrays = checker.graph_norms, checker.arrays
    rng = np.random.default_rng(5)
    with precision():
        for scale in (1.0, 1e-200, 1e200, 3.0 * 2.0**-40, 7.0**11):
            for rows, columns in SIZES:
                x = rng.normal(size=(rows, columns))
                found = module.root_eigenvalue_upper(arrays.exact(x @ x.T) * arb(scale))
                wanted = op(x) * scale**0.5
                demand(wanted * (1 - 1e-14) <= float(found) <= wanted * (1 + 1e-7), (rows, scale))
        found = module.root_eigenvalue_upper(arrays.exact(np.zeros((2, 2))))
        demand(0 <= float(found) <= 1e-7, found)
        x = rng.normal(size=(3, 3))
        wide = arrays.exact(x @ x.T) + arb(0, 0.25)
        found, wanted = float(module.root_eigenvalue_upper(wide)), (op(x) ** 2 + 0.75) ** 0.5
        demand(wanted * (1 - 1e-9) <= found <= wanted * (1 + 1e-7), (found, wanted))
        # Only what is inside the balls counts, even where they hold no square.
        skew = x @ x.T + 1e-3 * np.triu(np.ones((3, 3)), 1)
        found = float(module.root_eigenvalue_upper(arrays.exact(skew)))
        demand(found >= float(np.linalg.eigvalsh(skew / 2 + skew.T / 2)[-1]) ** 0.5, found)
        # One column beside a multiple of the identity: its rows have small sums, its norm is large.
        skew = np.eye(20)
        skew[:-1, -1] += 1e-3
        found = float(module.root_eigenvalue_upper(arrays.exact(skew)))
        demand(found**2 >= float(np.linalg.eigvalsh(skew / 2 + skew.T / 2)[-1]), found)
        found = float(module.root_eigenvalue_upper(arrays.exact(np.diag([-16.0, 1.0]))))
        demand(1 <= found <= 1 + 1e-7, found)
        for odd in (arb.nan(), arb.pos_inf()):
            matrix = arrays.exact(x @ x.T)
            matrix[1, 1] = odd
            demand(not module.root_eigenvalue_upper(matrix).is_finite(), "nothing is known")
        square = x @ x.T
        for factor in (1e-30, 1e-9, 1e-4, 0.5, 0.999, 1.001, 2.0, 1e6, -1.0):
            try:
                found = lying(
                    "eigvalsh", lambda true, f=factor: f * true,  # type: ignore[misc]
                    lambda: module.root_eigenvalue_upper(arrays.exact(square)),
                )  # fmt: skip
            except checker.verdict.Incomplete as error:
                demand(REACH in str(error), error)
            else:
                demand(float(found) >= op(x) * (1 - 1e-14), (factor, found))


class _Probe:
    """Stands for the square of a factor, and looks at what it is taken from."""

    __array_ufunc__ = None

    def __init__(self) -> None:
        self.spread: Array = None

    def __rsub__(self, spread: Array) -> Array:
        self.spread = spread
        return spread


@case
def eigenvalues_in_whole_numbers(checker: Checker) -> None:
    module, arrays = checker.graph_norms, checker.arrays
    for x in (1.0, 3.0, 1e-5, 7.0**20):
        probe = _Probe()
        with precision(), instead(module, _gram=lambda root, p=probe: p):
            found = module.root_eigenvalue_upper(arrays.exact(np.array([[0.0, x], [x, 0.0]])))
        demand(probe.spread.dtype == np.int64, "whole numbers")
        top, digits = int(probe.spread[0, 0]), -int(probe.spread[0, 1])
        demand(2**57 < digits <= top < 2**61, (top, digits))
        unit = x / digits
        wanted = ((top + top + digits) * unit) ** 0.5
        demand(wanted * (1 - 1e-12) <= float(found) <= wanted * (1 + 1e-12), (x, found))


def _split_reference(rows: Array, grams: Array, sizes: Array, v: Array) -> float:
    """Theory page B6 for any V."""
    d = v.T @ v - np.eye(v.shape[1])
    e = np.linalg.norm(d)
    g, r = rows @ v @ (np.eye(len(d)) - d), rows - rows @ v @ v.T
    total = sum(np.kron(n, np.outer(x, x)) for n, x in zip(grams, g, strict=True))
    square = np.linalg.eigvalsh(total)[-1] + np.linalg.norm(sizes[:, None] * r, 2) ** 2
    return float(np.sqrt((1 + e * (1 + e)) * square))


@case
def rows_along_any_directions(checker: Checker) -> None:
    """Whatever LAPACK answers: the bound is that of these directions, orthonormal or not."""
    rng = np.random.default_rng(8)
    exact, module = checker.arrays.exact, checker.graph_rows
    with precision():
        for n, c, columns, most in ((5, 6, 3, 2), (4, 3, 2, 3), (3, 9, 4, 8), (2, 1, 1, 1)):
            rows, sizes = rng.standard_normal((n, c)), rng.uniform(1, 2, n)
            roots = rng.standard_normal((n, columns, columns))
            grams = roots @ np.swapaxes(roots, 1, 2)
            for size in (0.0, 0.1, 0.4):
                v = np.linalg.qr(rng.standard_normal((c, c)))[0]
                v = v + size * rng.standard_normal((c, c))

                def change(_: Any, v: Array = v) -> Any:
                    return None, v

                def split(rows: Array = rows) -> Any:
                    return module.SplitRows(exact(rows))

                with instead(module, DIRECTIONS=most):
                    made = lying("eigh", change, split)
                total = made.part(exact(grams[:1]), 0) + made.part(exact(grams[1:]), 1)
                found = made.norm_upper(total, exact(sizes))
                wanted = _split_reference(rows, grams, sizes, v[:, -most:])
                bound(checker, np.asarray(found, dtype=object), np.array(wanted),
                      f"{n}, {c}, {size}", 1e-5, 1e-9)  # fmt: skip


@case
def rows_that_are_not_numbers(checker: Checker) -> None:
    """Nothing is claimed for them, and LAPACK does not see them."""
    module, exact = checker.graph_rows, checker.arrays.exact
    with precision():
        for bad in (arb("nan"), arb("inf"), arb(0, "inf"), arb(1e300), arb(-1e300), arb(0)):
            rows = exact(np.zeros((3, 2)))
            rows[1, 0] = bad
            made = module.SplitRows(rows)
            if bad.is_finite():
                demand(made.growth < 1.1, "directions")
                continue
            total = made.part(exact(np.ones((3, 1, 1))), 0)
            demand(not made.norm_upper(total, exact(np.ones(3))) < 1e300, f"{bad}")


def _columns_reference(z: Array, e: Array, v: Array) -> float:
    """Theory page B6 for any V, and tau of all samples together; z (n, k, o, c, d), e (n, d, p)."""
    d = v.T @ v - np.eye(v.shape[1])
    growth = np.linalg.norm(d) * (1 + np.linalg.norm(d))
    along = np.einsum("ikocd,cs,sr,ide->ikeor", z, v, np.eye(len(d)) - d, e)
    along = np.linalg.norm(along.reshape(-1, z.shape[2] * len(d)), 2)
    rest = z - np.einsum("ikocd,cr,fr->ikofd", z, v, v)
    across = np.einsum("ikocd,ide->ikoce", rest, e).reshape(-1, e.shape[2])
    square = along**2 + np.linalg.norm(across, 2) ** 2
    return float(np.sqrt((1 + growth) * square))


@case
def columns_along_any_directions(checker: Checker) -> None:
    """Whatever LAPACK answers: the bound is that of these directions, orthonormal or not."""
    rng = np.random.default_rng(9)
    exact, module = checker.arrays.exact, checker.graph_columns
    n, k, o, c, m = 3, 2, 4, 5, 6
    linear = SimpleNamespace(patches=lambda x: x[:, None, None])
    with precision():
        for most, order, r in ((2, 256, 2), (9, 256, 5), (9, 12, 3), (9, 4, 1)):
            for size in (0.0, 0.1, 0.4):
                v = np.linalg.qr(rng.standard_normal((c, c)))[0]
                v = v + size * rng.standard_normal((c, c))
                rows, g = rng.standard_normal((n, 1, c)), rng.standard_normal((n, k, o, 1))
                x, change = rng.standard_normal((n, m, c - 1)), rng.standard_normal((n, m, k, o, 1))
                own, place = rng.standard_normal((n, 2, 3)), rng.permutation(m).reshape(3, 2)
                e = np.zeros((n, m, 3, 3))
                for row, at in enumerate(place):
                    e[:, at, row] = own
                inner = np.concatenate([x, np.zeros((n, m, 1))], axis=2)
                z = np.einsum("ikop,imc->ikocm", g, inner)
                z = z + np.einsum("imkop,ipc->ikocm", change, rows)

                def make(_: Any = None, rows: Array = rows) -> Any:
                    return module.SplitColumns(linear, exact(rows), o)

                with instead(module, DIRECTIONS=most, ORDER=order):
                    made = lying("eigh", lambda _, v=v: (None, v), make)
                demand(made.order == o * r and made.v.shape == (c, r), made.v.shape)
                rest = 0
                for i in range(n):
                    seen = made.seen(m, *map(exact, (g[i], rows[i], x[i], change[i])))
                    gram = np.einsum("kocm,kocl->ml", z[i], z[i])
                    gram = gram - made.across(seen, exact(own[i]), place)
                    flat = e[i].reshape(m, -1)
                    rest = rest + exact(flat.T) @ gram @ exact(flat)
                tau = checker.graph_norms.root_eigenvalue_upper(rest)
                found = made.norm_upper(tau)
                wanted = _columns_reference(z, e.reshape(n, m, -1), v[:, -r:])
                bound(checker, np.asarray(found, dtype=object), np.array(wanted),
                      f"{most}, {order}, {size}", 1e-5, 1e-9)  # fmt: skip


@case
def columns_that_are_not_numbers(checker: Checker) -> None:
    """Nothing is claimed for them, and LAPACK does not see them."""
    module, exact = checker.graph_columns, checker.arrays.exact
    linear = SimpleNamespace(patches=lambda x: x[:, None, None])
    with precision():
        for bad in (arb("nan"), arb("inf"), arb(0, "inf"), arb(1e300), arb(-1e300), arb(0)):
            rows = exact(np.zeros((3, 1, 2)))
            rows[1, 0, 0] = bad
            made = module.SplitColumns(linear, rows, 1)
            demand(made.growth < 1.1, "directions")
            seen = made.seen(
                1, exact(np.ones((1, 1, 1))), rows[1], None, exact(np.ones((1, 1, 1, 1)))
            )
            made.across(seen, None, np.zeros((1, 1), dtype=np.int64))
            if not bad.is_finite():
                demand(not made.norm_upper(arb(0)) < 1e300, f"{bad}")
