"""Upper bounds of operator norms and of largest eigenvalues: never below the truth, and tight."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from verified.test_cholesky_defect import exact_row_sums
from verified.test_smallest_eigenvalue import is_positive_definite, with_spectrum

from talweg._errors import InputError
from talweg.enclosure import Ball, gram
from talweg.verified import _spectral_norm as module
from talweg.verified import (
    largest_eigenvalue_upper,
    psd_largest_eigenvalue_upper,
    spectral_norm_upper,
)

INF = math.inf


def assert_above(a, bound):
    """bound >= |A|_2: (bound+)^2 I - A A^T is definite over the rationals for bound+ > bound."""
    if bound == INF:
        return
    rows = [list(map(Fraction, row)) for row in a.tolist()]
    above = Fraction(math.nextafter(bound, INF)) ** 2
    n = len(rows)
    products = [
        [
            (above if i == j else 0) - sum(x * y for x, y in zip(rows[i], rows[j], strict=True))
            for j in range(n)
        ]
        for i in range(n)
    ]
    assert definite(products)


def definite(rows):
    n = len(rows)
    for k in range(n):
        if rows[k][k] <= 0:
            return False
        for i in range(k + 1, n):
            ratio = rows[i][k] / rows[k][k]
            rows[i] = [x - ratio * y for x, y in zip(rows[i], rows[k], strict=True)]
    return True


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    shape=st.sampled_from([(1, 1), (1, 4), (3, 2), (4, 6), (5, 5)]),
    scale=st.sampled_from([1.0, 1e-300, 1e-310, 5e-324, 1e150, 1e300]),
    rank_one=st.booleans(),
)
def test_norms_lie_above_the_truth(seed, shape, scale, rank_one):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    if rank_one:
        a = a[:, :, :1] * a[:, :1, :]
    a = a * scale
    bounds = spectral_norm_upper(a)
    assert bounds.shape == (3,)
    for matrix, bound in zip(a, bounds.tolist(), strict=True):
        assert_above(matrix, bound)


@pytest.mark.parametrize("shape", [(4, 7), (2, 3, 5, 9), (40, 9, 3), (300, 270), (2, 280, 400)])
def test_norms_are_tight(shape):
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(*shape, generator=generator, dtype=torch.float64)
    exact = torch.linalg.matrix_norm(a, 2)
    for x in (a, a.mT, a.mT.contiguous().mT):
        bound = spectral_norm_upper(x)
        assert bound.shape == exact.shape
        assert (bound >= exact * (1 - 1e-13)).all()
        assert (bound <= exact * (1 + 1e-5)).all()


def test_equal_singular_values_and_zeros():
    a = torch.stack([torch.eye(6), torch.zeros(6, 6), 2 * torch.eye(6)]).double()
    bound = spectral_norm_upper(a).tolist()
    assert bound[1] == 0.0
    assert 1.0 <= bound[0] <= 1.0 + 1e-6
    assert 2.0 <= bound[2] <= 2.0 + 2e-6


def test_radii_are_added():
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(5, 4, 6, generator=generator, dtype=torch.float64)
    rad = 1e-2 * torch.rand(5, 4, 6, generator=generator, dtype=torch.float64)
    bound = spectral_norm_upper(Ball(a, rad))
    for seed in range(5):
        signs = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)).double().sign()
        assert (torch.linalg.matrix_norm(a + signs * rad, 2) <= bound).all()
    assert (torch.linalg.matrix_norm(a + rad * a.sign(), 2) <= bound).all()
    assert (bound <= torch.linalg.matrix_norm(a, 2) + torch.linalg.matrix_norm(rad) + 1e-5).all()
    whole = Ball(a, torch.full_like(a, INF))
    assert (spectral_norm_upper(whole) == INF).all()


def test_shapes_without_entries():
    assert spectral_norm_upper(torch.zeros(0, 3).double()).item() == 0.0
    assert spectral_norm_upper(torch.zeros(4, 0, 3).double()).tolist() == [0.0] * 4
    assert spectral_norm_upper(torch.zeros(0, 2, 3).double()).shape == (0,)
    with pytest.raises(InputError, match=r"\.\.\., m, n"):
        spectral_norm_upper(torch.zeros(3).double())


@pytest.mark.parametrize("fault", ["nan", "zero", "garbage"])
def test_a_wrong_factor_never_gives_a_wrong_norm(monkeypatch, fault):
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(6, 5, 8, generator=generator, dtype=torch.float64)
    exact = torch.linalg.matrix_norm(a, 2)

    def wrong(matrix):
        shape = matrix.shape
        values = {
            "nan": torch.full(shape, math.nan, dtype=torch.float64),
            "zero": torch.zeros(shape, dtype=torch.float64),
            "garbage": torch.randn(*shape, generator=generator, dtype=torch.float64),
        }
        return values[fault], torch.zeros(shape[:-2], dtype=torch.int32)

    monkeypatch.setattr(torch.linalg, "cholesky_ex", wrong)
    bound = spectral_norm_upper(a)
    assert (bound >= exact).all()
    assert (bound < INF).all()


def test_the_residual_of_a_stack_is_bounded():
    generator = torch.Generator().manual_seed(5)
    a = torch.randn(4, 9, 9, generator=generator, dtype=torch.float64)
    grams = a @ a.mT + (a @ a.mT).mT
    c = torch.linalg.eigvalsh(grams)[:, -1] * 1.5
    shifted = c[:, None, None] * torch.eye(9, dtype=torch.float64) - grams
    good = torch.linalg.cholesky_ex(shifted).L
    for factor in (good, good * 2.0**-60, a.tril() * 1e8):
        bounds = module._defects(grams, factor, c).tolist()
        for g, low, shift, bound in zip(grams, factor, c.tolist(), bounds, strict=True):
            exact = exact_row_sums(g, low, shift, -1.0)
            assert Fraction(bound) >= max(exact)


def swallowed(length):
    """64 ones, then 2^-28 throughout: a computed square may lose every small term."""
    row = torch.full((length,), 2.0**-28, dtype=torch.float64)
    row[:64] = 1.0
    return row


def test_terms_swallowed_by_the_residual_are_counted():
    order = 1600
    factor = torch.zeros(1, order, order, dtype=torch.float64)
    factor[0, 0] = swallowed(order)
    gram_ = 64.0 * torch.eye(order, dtype=torch.float64)[None]
    gram_[0, 0, 0] = 0.0  # 64 I - gram is the computed product, the exact one is a little more
    bound = module._defects(gram_, factor, torch.tensor([64.0], dtype=torch.float64))
    assert Fraction(bound.item()) >= Fraction(order - 64, 2**56)


def test_terms_swallowed_by_the_gram_matrix_are_counted(monkeypatch):
    """With the top eigenvalue of fl(A A^T) in place of a bound, only the error term helps."""
    length = 1 << 17
    a = torch.zeros(1, 2, length, dtype=torch.float64)
    a[0, 0] = swallowed(length)
    monkeypatch.setattr(module, "_cheap_norm", lambda a: torch.full((1,), INF).double())
    monkeypatch.setattr(module, "_gram_norm", lambda grams: grams[:, 0, 0])
    bound = Fraction(spectral_norm_upper(a).item())
    assert bound**2 >= 64 + Fraction(length - 64, 2**56)


def test_a_low_estimate_is_retried_or_capped(monkeypatch):
    generator = torch.Generator().manual_seed(4)
    a = torch.randn(6, 5, 8, generator=generator, dtype=torch.float64)
    exact = torch.linalg.matrix_norm(a, 2)
    original = module._largest_eigenvalue_approx
    for factor in (1 - 1e-6, 0.5, math.nan, -1.0):
        monkeypatch.setattr(
            module, "_largest_eigenvalue_approx", lambda g, f=factor: original(g) * f
        )
        bound = spectral_norm_upper(a)
        assert (bound >= exact).all()
        assert (bound <= torch.linalg.matrix_norm(a) * (1 + 1e-9)).all()


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 6),
    scale=st.sampled_from([1.0, 1e-310, 1e300]),
    positive=st.booleans(),
)
def test_largest_eigenvalues_lie_above_the_truth(seed, n, scale, positive):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n, generator=generator, dtype=torch.float64)
    a = a.abs() if positive else a
    g = a @ a.T
    g = 0.5 * (g + g.T) * scale
    bound = psd_largest_eigenvalue_upper(g)
    if bound < INF:
        assert is_positive_definite(-g, -math.nextafter(bound, INF))


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("n", [1, 30, 400])
def test_largest_eigenvalues_are_tight(n, positive):
    generator = torch.Generator().manual_seed(n)
    a = torch.randn(n, 2 * n, generator=generator, dtype=torch.float64)
    g = gram(a.abs() if positive else a)
    exact = torch.linalg.eigvalsh(g.mid)[-1].item()
    assert exact * (1 - 1e-12) <= psd_largest_eigenvalue_upper(g) <= exact * (1 + 2e-5)


def test_largest_eigenvalue_with_radius_and_edges():
    g = with_spectrum(torch.linspace(0.0, 2.0, 20, dtype=torch.float64))
    rad = torch.full_like(g, 1e-4)
    bound = psd_largest_eigenvalue_upper(Ball(g, rad))
    assert torch.linalg.eigvalsh(g + rad)[-1].item() <= bound <= 2.0 + 21e-4
    assert psd_largest_eigenvalue_upper(torch.zeros(0, 0).double()) == 0.0
    assert psd_largest_eigenvalue_upper(torch.zeros(3, 3).double()) <= 1e-300
    assert psd_largest_eigenvalue_upper(Ball(g, torch.full_like(g, INF))) == INF
    with pytest.raises(InputError, match="symmetric"):
        psd_largest_eigenvalue_upper(torch.tensor([[1.0, 2.0], [0.0, 1.0]]).double())


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 5),
    scales=st.lists(st.sampled_from([0.0, 1.0, 5e-324, 1e-310, 1e-200, 1e300]), max_size=4),
    semidefinite=st.booleans(),
)
def test_stacked_largest_eigenvalues_lie_above_the_truth(seed, n, scales, semidefinite):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(len(scales), n, n, generator=generator, dtype=torch.float64)
    g = a @ a.mT if semidefinite else a
    g = 0.5 * (g + g.mT) * torch.tensor(scales, dtype=torch.float64).reshape(-1, 1, 1)
    bounds = largest_eigenvalue_upper(Ball.exact(g))
    assert bounds.shape == (len(scales),)
    for one, bound in zip(g, bounds.tolist(), strict=True):
        assert bound < INF
        assert is_positive_definite(-one, -math.nextafter(bound, INF))


@pytest.mark.parametrize("n", [1, 30, 130, 300])
def test_stacked_largest_eigenvalues_are_tight(n):
    generator = torch.Generator().manual_seed(n)
    a = torch.randn(2, n, n + 3, generator=generator, dtype=torch.float64)
    a = a * torch.tensor([1.0, 1e-130], dtype=torch.float64).reshape(2, 1, 1)
    g = gram(a)
    exact = torch.linalg.eigvalsh(g.mid)[:, -1]
    bounds = largest_eigenvalue_upper(g)
    assert (bounds >= exact * (1 - 1e-12)).all()
    assert (bounds <= exact * (1 + 2e-5)).all()


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0 - 1e-5, 2.0, math.nan])
def test_stacked_largest_eigenvalues_survive_a_wrong_estimate(monkeypatch, factor):
    generator = torch.Generator().manual_seed(5)
    g = gram(torch.randn(3, 4, 6, generator=generator, dtype=torch.float64))
    original = module._largest_eigenvalue_approx
    monkeypatch.setattr(module, "_largest_eigenvalue_approx", lambda x: original(x) * factor)
    bounds = largest_eigenvalue_upper(g)
    for one, bound in zip(g.mid, bounds.tolist(), strict=True):
        assert bound < INF
        assert is_positive_definite(-one, -math.nextafter(bound, INF))


def test_stacked_largest_eigenvalues_with_radius_and_edges():
    g = with_spectrum(torch.linspace(0.0, 2.0, 20, dtype=torch.float64))
    rad = torch.full_like(g, 1e-4)
    rad[0] = rad[:, 0] = 1e-2
    stack = Ball(torch.stack([g, g, -g]), torch.stack([rad, torch.zeros_like(g), rad]))
    wide, exact, below = largest_eigenvalue_upper(stack).tolist()
    # The sign pattern of the top vector is the worst member of the ball for it.
    top = torch.linalg.eigh(g).eigenvectors[:, -1].sign()
    worst = torch.linalg.eigvalsh(g + rad * torch.outer(top, top))[-1].item()
    assert 2.0 < worst <= wide <= 2.1
    assert 2.0 - 1e-12 <= exact <= 2.0 + 1e-5
    assert below >= torch.linalg.eigvalsh(rad - g)[-1].item()
    unknown = Ball(torch.stack([g, g]), torch.stack([torch.full_like(g, INF), 0.0 * g]))
    first, second = largest_eigenvalue_upper(unknown).tolist()
    assert first == INF
    assert second <= 2.0 + 1e-5
    assert largest_eigenvalue_upper(Ball.exact(torch.zeros(2, 3, 3).double())).tolist() == [0, 0]
    assert largest_eigenvalue_upper(Ball.exact(torch.zeros(2, 0, 0).double())).tolist() == [0, 0]
    assert largest_eigenvalue_upper(Ball.exact(torch.zeros(0, 3, 3).double())).shape == (0,)
    with pytest.raises(InputError, match="symmetric"):
        largest_eigenvalue_upper(Ball.exact(torch.tensor([[[1.0, 2.0], [0.0, 1.0]]]).double()))
    with pytest.raises(InputError, match=r"\(b, n, n\)"):
        largest_eigenvalue_upper(Ball.exact(g))
