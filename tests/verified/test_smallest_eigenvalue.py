"""Lower bounds of the smallest eigenvalue: never above the truth, and tight."""

import math
from fractions import Fraction

import pytest
import torch
from flint import arb, arb_mat, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.enclosure import Ball, gram
from talweg.verified import _smallest as smallest
from talweg.verified import smallest_eigenvalue_lower


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


def is_positive_definite(matrix, shift):
    """Whether matrix - shift I > 0, by exact elimination over the rationals."""
    rows = [list(map(Fraction, row)) for row in matrix.tolist()]
    n = len(rows)
    for i in range(n):
        rows[i][i] -= Fraction(shift)
    for k in range(n):
        if rows[k][k] <= 0:
            return False
        for i in range(k + 1, n):
            ratio = rows[i][k] / rows[k][k]
            for j in range(k, n):
                rows[i][j] -= ratio * rows[k][j]
    return True


def assert_below(matrix, bound):
    """bound <= lambda_min: every number strictly below the bound leaves a definite matrix."""
    if bound > -math.inf:
        below = math.nextafter(bound, -math.inf)
        assert is_positive_definite(matrix, below)


def with_spectrum(values, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = len(values)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    g = (q * values) @ q.T
    return 0.5 * (g + g.T)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 7),
    scale=st.sampled_from([1.0, 1e-300, 1e-310, 5e-324, 1e150, 1e300]),
    shift=st.sampled_from([0.0, 1.0, 1e-9, -0.5]),
)
def test_bounds_lie_below_the_truth(seed, n, scale, shift):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n, generator=generator, dtype=torch.float64)
    g = a @ a.T + shift * torch.eye(n, dtype=torch.float64)
    g = (0.5 * (g + g.T)) * scale
    assert_below(g, smallest_eigenvalue_lower(g))


@pytest.mark.parametrize("n", [3, 5, 8, 11])
def test_hilbert_matrices(n):
    with ctx.workprec(400):
        hilbert = tensor([[1.0 / (i + j + 1) for j in range(n)] for i in range(n)])
        bound = smallest_eigenvalue_lower(hilbert)
        assert_below(hilbert, bound)
        exact = arb_mat([[arb(x) for x in row] for row in hilbert.tolist()])
        values = sorted(float(v.real.mid()) for v in exact.eig())
        assert bound >= values[0] * (1 - 1e-3) - 1e-13
        if n <= 8:  # condition 1e10
            assert bound >= values[0] * (1 - 1e-3)


def test_hadamard_matrices():
    h = tensor([[1.0]])
    for _ in range(5):
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    g = h @ h.T  # 32 I
    assert 32.0 * (1 - 3e-4) <= smallest_eigenvalue_lower(g) <= 32.0
    assert -math.sqrt(32.0) * (1 + 3e-4) <= smallest_eigenvalue_lower(h) <= -math.sqrt(32.0)


@pytest.mark.parametrize("n", [40, 300, 600])
@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6, 1e8])
@pytest.mark.parametrize("spectrum", ["log", "two-level", "one-small"])
def test_tightness(n, condition, spectrum):
    t = torch.linspace(0.0, 1.0, n, dtype=torch.float64)
    if spectrum == "two-level":
        t = (t > 0.5).double()
    elif spectrum == "one-small":
        t = (t == 1.0).double()
    g = with_spectrum(condition**-t, seed=n)
    reference = torch.linalg.eigvalsh(g)[0].item()
    bound = smallest_eigenvalue_lower(g)
    noise = 1e-15 * math.sqrt(n)  # of eigvalsh itself
    assert bound <= reference + noise
    assert bound >= reference * (1 - (1e-3 if condition <= 1e6 else 1e-2)) - noise


@pytest.mark.parametrize(
    "values", [[-1.0, 2.0, 3.0], [-1e-9, 1.0, 1.0], [0.0, 0.0, 1.0], [-5.0, -4.0, -3.0]]
)
def test_indefinite_and_singular_matrices(values):
    g = with_spectrum(tensor(values * 10), seed=1)
    bound = smallest_eigenvalue_lower(g)
    assert bound <= min(values) + 1e-14
    assert bound >= min(values) - 1e-3 * abs(min(values)) - 1e-11


def test_radius_is_subtracted():
    generator = torch.Generator().manual_seed(2)
    g = with_spectrum(torch.linspace(1.0, 2.0, 30, dtype=torch.float64))
    rad = 1e-3 * torch.rand(30, 30, generator=generator, dtype=torch.float64)
    bound = smallest_eigenvalue_lower(Ball(g, rad))
    for seed in range(5):
        signs = torch.randn(30, 30, generator=torch.Generator().manual_seed(seed)).double().sign()
        inner = torch.minimum(rad, rad.T)
        error = torch.triu(signs * inner) + torch.triu(signs * inner, 1).T
        assert bound <= torch.linalg.eigvalsh(g + error)[0].item() + 1e-14
    assert bound >= 1.0 - 1e-3 - rad.sum(1).max().item()


def test_gram_matrix_of_balls():
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(60, 90, generator=generator, dtype=torch.float64)
    bound = smallest_eigenvalue_lower(gram(a))
    exact = torch.linalg.svdvals(a)[-1].item() ** 2
    assert exact * (1 - 1e-3) <= bound <= exact * (1 + 1e-12)


@pytest.mark.parametrize("guess", [None, 1.0, 0.5, 2.0, 1e300, -1e300, math.nan, math.inf, 1.0001])
def test_any_guess_is_safe(guess):
    g = with_spectrum(torch.linspace(1.0, 9.0, 50, dtype=torch.float64))
    bound = smallest_eigenvalue_lower(g, guess=guess)
    assert bound <= 1.0 + 1e-14
    if guess not in (0.5, -1e300):
        assert bound >= 0.99


def test_edges():
    assert smallest_eigenvalue_lower(torch.zeros(0, 0).double()) == -math.inf
    assert smallest_eigenvalue_lower(torch.zeros(3, 3).double()) <= 0.0
    assert smallest_eigenvalue_lower(torch.zeros(3, 3).double()) >= -1e-300
    assert 3.0 * (1 - 1e-15) <= smallest_eigenvalue_lower(tensor([[3.0]])) <= 3.0
    whole = Ball(torch.eye(2).double(), torch.full((2, 2), math.inf).double())
    assert smallest_eigenvalue_lower(whole) == -math.inf
    assert smallest_eigenvalue_lower(torch.eye(3).double() * 1e308) >= 0.99e308
    assert smallest_eigenvalue_lower(torch.ones(4, 4)) <= 0.0  # float32 converts exactly


def test_a_wrong_factor_never_gives_a_wrong_bound(monkeypatch):
    g = with_spectrum(torch.linspace(1.0, 2.0, 20, dtype=torch.float64))
    generator = torch.Generator().manual_seed(5)
    for factor in (
        torch.zeros_like(g),
        torch.full_like(g, math.nan),
        10.0 * torch.randn(20, 20, generator=generator, dtype=torch.float64).tril(),
        torch.linalg.cholesky(g) * (1 + 1e-3),
    ):
        monkeypatch.setattr(smallest, "factor_in", lambda *_, f=factor: f)
        assert smallest_eigenvalue_lower(g) <= 1.0 + 1e-14


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.ones(2, 3).double(), "square"),
        (torch.ones(2).double(), "square"),
        (tensor([[1.0, 2.0], [2.0 + 1e-15, 1.0]]), "symmetric"),
        (tensor([[1.0, math.nan], [math.nan, 1.0]]), "finite"),
    ],
)
def test_malformed_matrices_are_refused(matrix, message):
    with pytest.raises(InputError, match=message):
        smallest_eigenvalue_lower(matrix)


def test_asymmetry_far_from_the_diagonal_is_noticed():
    g = torch.eye(1100, dtype=torch.float64)
    g[1050, 3] = 1e-300
    with pytest.raises(InputError, match="symmetric"):
        smallest_eigenvalue_lower(g)


@pytest.mark.parametrize("diagonal", [[1.0, 1e-308, 1e-308], [1.0, 6e-309, 6e-309, 1e-308]])
def test_inverses_near_overflow_leave_a_bound(diagonal):
    # The sum of the inverse and its transpose overflowed, and LAPACK's error came out of the call.
    bound = smallest_eigenvalue_lower(torch.diag(tensor(diagonal)))
    assert bound <= min(diagonal)
    assert bound >= 0.99 * min(diagonal)


def test_a_failing_eigenvalue_routine_costs_sharpness_only(monkeypatch):
    def fails(_):
        raise torch.linalg.LinAlgError("failed to converge")

    matrix = with_spectrum(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    monkeypatch.setattr(torch.linalg, "eigvalsh", fails)
    assert_below(matrix, smallest_eigenvalue_lower(matrix))
