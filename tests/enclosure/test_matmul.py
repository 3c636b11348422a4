"""Matrix products: exact rational products of members lie inside, in every mode."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.enclosure import Ball, gram, matmul

MODES = [("entries", None), ("norms", None), ("entries", 2), ("norms", 3)]


def exact_product(a, b):
    left = [list(map(Fraction, row)) for row in a.tolist()]
    right = [list(map(Fraction, column)) for column in b.T.tolist()]
    return [[sum(x * y for x, y in zip(r, c, strict=True)) for c in right] for r in left]


def assert_holds(ball, exact):
    for mids, rads, values in zip(ball.mid.tolist(), ball.rad.tolist(), exact, strict=True):
        for mid, rad, value in zip(mids, rads, values, strict=True):
            assert rad == float("inf") or abs(value - Fraction(mid)) <= Fraction(rad)


def random_matrix(generator, m, n, spread):
    exponents = torch.randint(-spread, spread + 1, (m, n), generator=generator)
    return torch.randn(m, n, generator=generator, dtype=torch.float64) * 2.0 ** exponents.double()


@pytest.mark.parametrize(("bound", "panel"), MODES)
@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    shape=st.sampled_from([(3, 4, 2), (1, 9, 1), (2, 1, 3), (3, 0, 2)]),
    spread=st.sampled_from([0, 30, 500]),
    radius=st.sampled_from([(0.0, 0.0), (1e-3, 0.0), (0.0, 1e-8), (0.5, 2.0)]),
)
def test_products_of_members_are_inside(bound, panel, seed, shape, spread, radius):
    generator = torch.Generator().manual_seed(seed)
    m, k, n = shape
    x, y = random_matrix(generator, m, k, spread), random_matrix(generator, k, n, spread)
    a = Ball(x, x.abs() * radius[0])
    b = Ball(y, y.abs() * radius[1])
    product = matmul(a, b, bound=bound, panel=panel)
    assert product.shape == (m, n)
    for s in (-1, 0, 1):
        for t in (-1, 0, 1):
            member = exact_member(a, s), exact_member(b, t)
            left, right = member
            columns = list(zip(*right, strict=True)) if k else [()] * n
            exact = [
                [sum((p * q for p, q in zip(r, c, strict=True)), Fraction(0)) for c in columns]
                for r in left
            ]
            assert_holds(product, exact)


def exact_member(ball, sign):
    return [
        [Fraction(m) + sign * Fraction(r) for m, r in zip(mids, rads, strict=True)]
        for mids, rads in zip(ball.mid.tolist(), ball.rad.tolist(), strict=True)
    ]


@pytest.mark.parametrize("bound", ["entries", "norms"])
def test_cancellation_is_inside_and_bounds_are_tight(bound):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(4, 60, generator=generator, dtype=torch.float64)
    a = torch.cat([x, x], 1)
    b = torch.cat([torch.ones(60, 3), -torch.ones(60, 3)]).double()
    product = matmul(a, b, bound=bound)
    assert_holds(product, exact_product(a, b))
    assert product.rad.max() < 1e-11


def test_norm_bound_is_close_to_the_entry_bound_on_dense_rows():
    generator = torch.Generator().manual_seed(4)
    a = Ball.exact(torch.randn(20, 300, generator=generator, dtype=torch.float64))
    entries, norms = (matmul(a, a.mT, bound=b) for b in ("entries", "norms"))
    assert (norms.rad <= 2.5 * entries.rad).all()
    panelled = matmul(a, a.mT, panel=16)
    assert panelled.rad.max() < 0.2 * entries.rad.max()


def test_batches_vectors_and_strides():
    generator = torch.Generator().manual_seed(5)
    a = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    b = torch.randn(6, 8, generator=generator, dtype=torch.float64)[:, ::2]
    for bound, panel in MODES:
        product = matmul(a, b, bound=bound, panel=panel)
        assert product.shape == (2, 3, 4)
        assert_holds(product[1], exact_product(a[1], b))
        flipped = matmul(b.T, a.mT, bound=bound, panel=panel)
        assert_holds(flipped[0], exact_product(b.T, a[0].T))
    vector = matmul(a, b[:, 0])
    assert vector.shape == (2, 3)
    assert_holds(vector[0].reshape(3, 1), exact_product(a[0], b[:, :1]))


def test_gram_is_symmetric_and_holds_the_exact_one():
    generator = torch.Generator().manual_seed(6)
    a = torch.randn(7, 11, generator=generator, dtype=torch.float64)
    g = gram(a)
    assert torch.equal(g.mid, g.mid.mT)
    assert_holds(g, exact_product(a, a.T))


def test_subnormal_and_huge_products():
    tiny = torch.full((2, 3), 2.0**-540, dtype=torch.float64)
    assert_holds(matmul(tiny, tiny.T), exact_product(tiny, tiny.T))
    huge = torch.full((2, 3), 1e200, dtype=torch.float64)
    product = matmul(huge, huge.T)
    assert (product.rad == float("inf")).all()
    assert (product.mid == 0.0).all()


def test_refusals():
    a = torch.ones(2, 3, dtype=torch.float64)
    with pytest.raises(InputError, match="bound"):
        matmul(a, a.T, bound="row")
    with pytest.raises(InputError, match="panel"):
        matmul(a, a.T, panel=0)
    with pytest.raises(InputError, match=r"\(2, 3\) and \(2, 3\)"):
        matmul(a, a)
