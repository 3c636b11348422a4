"""Midpoints and radii in binary64 contain the exact results; what overflows confirms nothing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from talweg_check._float64 import (
    ETA,
    MidRad,
    U,
    above,
    gamma,
    in_parallel,
    joined,
    matmul,
    norms_above,
    product_above,
    sum_above,
)

SIZES = [1e-320, 1e-160, 1.0, 1e150]


def _contains(ball: MidRad, exact: list[Fraction]) -> bool:
    mids, radii = ball.mid.ravel().tolist(), ball.radii.ravel().tolist()
    return all(
        abs(Fraction(mid) - value) <= Fraction(rad)
        for mid, rad, value in zip(mids, radii, exact, strict=True)
    )


def _numbers(rng: np.random.Generator, count: int, size: float) -> np.ndarray:
    return rng.normal(size=count) * size * 2.0 ** rng.integers(-8, 8, count)


@pytest.mark.parametrize("left", SIZES)
@pytest.mark.parametrize("right", SIZES)
def test_products_and_sums_of_exact_numbers(left: float, right: float) -> None:
    rng = np.random.default_rng(0)
    a, b = _numbers(rng, 200, left), _numbers(rng, 200, right)
    pairs = [(Fraction(x), Fraction(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert _contains(MidRad(a).times(MidRad(b)), [x * y for x, y in pairs])
    assert _contains(MidRad(a).plus(MidRad(b)), [x + y for x, y in pairs])


def _ends(mid: np.ndarray, rad: np.ndarray, sign: int) -> list[Fraction]:
    pairs = zip(mid.tolist(), rad.tolist(), strict=True)
    return [Fraction(m) + sign * Fraction(r) for m, r in pairs]


@pytest.mark.parametrize("left", SIZES)
@pytest.mark.parametrize("right", SIZES)
@pytest.mark.parametrize("thickness", [1e-17, 1e-3, 10.0])
def test_products_and_sums_of_the_ends(left: float, right: float, thickness: float) -> None:
    """Each end of either factor: all three parts of the radius are needed for one of them."""
    rng = np.random.default_rng(1)
    a, b = _numbers(rng, 40, left), _numbers(rng, 40, right)
    a[::5], b[::7] = 0, 0
    ra, rb = thickness * np.abs(_numbers(rng, 40, left)), thickness * np.abs(b)
    rb[::7] = right
    one, two = MidRad(a, ra), MidRad(b, rb)
    for s in (1, -1):
        for t in (1, -1):
            x = [
                Fraction(m) + s * Fraction(r) for m, r in zip(a.tolist(), ra.tolist(), strict=True)
            ]
            y = [
                Fraction(m) + t * Fraction(r) for m, r in zip(b.tolist(), rb.tolist(), strict=True)
            ]
            pairs = list(zip(x, y, strict=True))
            assert _contains(one.times(two), [p * q for p, q in pairs])
            assert _contains(one.plus(two), [p + q for p, q in pairs])
            lows, highs = one.lower().tolist(), one.upper().tolist()
            assert all(low <= v <= high for low, v, high in zip(lows, x, highs, strict=True))
            assert all(abs(v) <= m for v, m in zip(x, one.magnitude().tolist(), strict=True))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e308])
def test_what_overflows_confirms_nothing(value: float) -> None:
    with np.errstate(all="ignore"):
        ball = MidRad(np.array([value])).times(MidRad(np.array([1e10])))
        for result in (ball, ball.plus(ball), ball.times(MidRad(np.zeros(1))), ball.widened(1.0)):
            assert not (result.magnitude() <= 1.7e308).any()
        matrix = np.array([[value, 1.0]])
        product = matmul(MidRad(matrix), MidRad(np.full((2, 2), 1e10)))
        assert not (product.magnitude() <= 1.7e308).any()
        assert not (product_above(abs(matrix), np.full((2, 1), 1e10)) <= 1.7e308).any()
        assert not (norms_above(matrix, 1) <= 1.7e308).any()


@pytest.mark.parametrize("count", [1, 2, 10, 1000, 10**5, 2**40])
def test_gamma_is_above(count: int) -> None:
    exact = Fraction(count, 2**53) / (1 - Fraction(count, 2**53))
    assert exact <= Fraction(gamma(count)) <= exact * (1 + Fraction(1, 2**51))


def _exact_product(a: np.ndarray, b: np.ndarray) -> list[Fraction]:
    left = [[Fraction(x) for x in row] for row in a.tolist()]
    right = [[Fraction(x) for x in row] for row in b.T.tolist()]
    return [sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0))
            for row in left for column in right]  # fmt: skip


@pytest.mark.parametrize("inner", [1, 2, 7, 40])
@pytest.mark.parametrize("scale", SIZES)
def test_matrix_products(inner: int, scale: float) -> None:
    rng = np.random.default_rng(inner)
    a = _numbers(rng, 6 * inner, scale).reshape(6, inner)
    b = _numbers(rng, 5 * inner, 1.0).reshape(inner, 5)
    exact = _exact_product(a, b)
    product = matmul(MidRad(a), MidRad(b))
    assert _contains(product, exact)
    size = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=0))
    if scale > 1e-100:  # hardly more than one rounding of the result
        assert (product.radii <= 1.01 * U * np.abs(product.mid) + inner * 2.0**-68 * size).all()
    upper = product_above(np.abs(a), np.abs(b)).ravel().tolist()
    exact = _exact_product(np.abs(a), np.abs(b))
    assert all(Fraction(x) >= y for x, y in zip(upper, exact, strict=True))


def test_matrix_products_that_cancel() -> None:
    """The result is far below the rounding of the parts: what is lost there must be counted."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        a, b = rng.normal(size=(4, 60)), rng.normal(size=(60, 4))
        a, b = np.concatenate([a, -a], 1), np.concatenate([b, b * (1 + 2.0**-51)])
        assert _contains(matmul(MidRad(a), MidRad(b)), _exact_product(a, b))


def test_matrix_products_of_subnormal_size() -> None:
    a, b = np.full((2, 30), 2.0**-537), np.full((30, 2), 0.75 * 2.0**-538)
    assert _contains(matmul(MidRad(a), MidRad(b)), _exact_product(a, b))
    assert Fraction(float(product_above(a, b)[0, 0])) >= _exact_product(a, b)[0]


def test_underflow_of_many_products() -> None:
    """Five thousand products of 0.49 ETA are zero in binary64, their sum is not."""
    a, b = np.full((1, 5000), 2.0**-537), np.full((5000, 1), 0.49 * 2.0**-537)
    exact = 5000 * Fraction(2.0**-537) * Fraction(0.49 * 2.0**-537)
    assert _contains(matmul(MidRad(a), MidRad(b)), [exact])
    assert Fraction(float(product_above(a, b)[0, 0])) >= exact
    values = np.full((1, 5000), 0.7 * 2.0**-537)
    squares = 5000 * Fraction(0.7 * 2.0**-537) ** 2
    assert Fraction(float(norms_above(values, 1)[0])) ** 2 >= squares


@pytest.mark.parametrize("which", ["left", "right", "both"])
def test_matrix_products_of_the_ends(which: str) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(3, 9)), rng.normal(size=(9, 4))
    a[:, 3:] = 0
    ra = rng.random((3, 9)) * (which != "right")
    rb = rng.random((9, 4)) * (which != "left")
    product = matmul(MidRad(a, ra), MidRad(b, rb))
    for _ in range(40):
        s, t = rng.choice([-1, 1], (3, 9)), rng.choice([-1, 1], (9, 4))
        assert _contains(product, _exact_product(a + s * ra, b + t * rb))
    s = np.sign(b[:, 0])[None, :] + (b[:, 0] == 0)[None, :]  # the first column's extreme
    assert _contains(product, _exact_product(a + s * ra, b + np.sign(b) * rb))


def test_many_rows_are_cut_and_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(23, 4)), rng.normal(size=(4, 3))
    whole = matmul(MidRad(a), MidRad(b))
    monkeypatch.setattr("talweg_check._float64.CHUNK", 5)
    parts = matmul(MidRad(a), MidRad(b))
    assert _contains(parts, _exact_product(a, b))
    assert parts.mid.shape == whole.mid.shape
    assert joined([MidRad(a), MidRad(a)]).is_exact
    assert joined([MidRad(a), MidRad(a, 1.0)]).radii[-1, 0] == 1


@pytest.mark.parametrize("scale", [*SIZES, 2.0**-537])
def test_norms_and_sums_are_above(scale: float) -> None:
    rng = np.random.default_rng(6)
    values = np.abs(_numbers(rng, 700, scale)).reshape(7, 100)
    rows = [[Fraction(x) for x in row] for row in values.tolist()]
    for total, norm, row in zip(
        sum_above(values, 1).tolist(), norms_above(values, 1).tolist(), rows, strict=True
    ):
        assert Fraction(total) >= sum(row)
        assert Fraction(norm) ** 2 >= sum(x * x for x in row)
        if scale > 1e-100:
            assert Fraction(norm) ** 2 <= sum(x * x for x in row) * (1 + Fraction(1, 2**40))


def test_sums_of_many_equal_numbers() -> None:
    """Within a power of two each addition errs alike, so that the sum drifts away."""
    for value in np.random.default_rng(8).random(12):
        exact = 30000 * Fraction(float(value))
        values = np.full((30000, 3), value)
        assert all(Fraction(x) >= exact for x in sum_above(values, 0).tolist())
        row = np.full((1, 30000), value)
        for found in (product_above(row, np.ones((30000, 1))),
                      product_above(np.ones((2, 30000)), values)):  # fmt: skip
            assert all(Fraction(x) >= exact for x in found.ravel().tolist())


def test_above_covers_a_long_expression() -> None:
    x = np.full(5, 1 + U * 2)
    value, exact = x.copy(), Fraction(1 + U * 2)
    for _ in range(60):
        value, exact = value * x, exact * Fraction(1 + U * 2)
    assert (above(value) >= float(exact)).all()
    assert above(np.zeros(1))[0] >= 64 * ETA


def test_tasks_keep_their_order_and_their_errors() -> None:
    assert in_parallel(lambda i: i * i, range(20)) == [i * i for i in range(20)]
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda i: 1 // i, [1, 0])
    with np.errstate(all="raise"):  # overflow in a thread is not an error
        assert in_parallel(lambda x: x * x, [np.float64(1e200)] * 3) == [np.inf] * 3
