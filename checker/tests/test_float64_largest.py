"""The cheap proof about the largest eigenvalue: true limits only, whatever the hint is."""

from __future__ import annotations

import numpy as np
import pytest
from test_float64_spectrum import _Given

from talweg_check import _float64_largest as largest
from talweg_check import _float64_spectrum as spectrum
from talweg_check._float64_largest import norm_is_at_most, times


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(largest, "LEAST", 1)
    monkeypatch.setattr(largest, "VECTORS", 6)
    monkeypatch.setattr(largest, "POWERS", 9)
    monkeypatch.setattr(spectrum, "ROWS", 9)


def _kernel(values: np.ndarray, step: int = 7, seed: int = 0) -> _Given:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    matrix = (basis * values) @ basis.T
    return _Given((matrix + matrix.T) / 2, step)


DECAYING = 100.0 * 0.7 ** np.arange(40)


@pytest.mark.parametrize("step", [4, 7, 512])
def test_products_with_the_stored_half(step: int) -> None:
    kernel = _kernel(DECAYING, step)
    whole = np.tril(kernel.blocks) + np.tril(kernel.blocks, -1).T
    kernel.blocks += np.triu(np.full((40, 40), 1e3), 1)  # what lies above is never read
    right = np.random.default_rng(1).normal(size=(40, 3))
    assert np.abs(times(kernel, right) - whole @ right).max() <= 1e-12
    assert 0 <= largest._frobenius(kernel) / np.linalg.norm(whole) - 1 <= 1e-12


@pytest.mark.parametrize("step", [7, 512])
def test_limits(step: int) -> None:
    kernel = _kernel(DECAYING, step)
    assert norm_is_at_most(kernel, 100 * (1 + 1e-6))
    assert norm_is_at_most(kernel, 100 * (1 + 1e-9))
    for limit in (100 * (1 - 1e-9), 99.0, 50.0, 0.0, -1.0, np.nan):
        assert not norm_is_at_most(kernel, limit)
    kernel.radius_rows[3] = 1e-4
    assert not norm_is_at_most(kernel, 100 * (1 + 0.99e-6))
    assert norm_is_at_most(kernel, 100 * (1 + 2e-6))


def test_too_many_large_eigenvalues_are_left_to_the_factor() -> None:
    assert not norm_is_at_most(_kernel(np.linspace(90, 100, 40)), 101)
    assert norm_is_at_most(_kernel(np.concatenate([np.full(6, 100.0), np.full(34, 10.0)])), 101)


def test_small_kernels_are_left_to_the_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(largest, "LEAST", 41)
    assert not norm_is_at_most(_kernel(DECAYING), 200)


@pytest.mark.parametrize("seed", range(60))
def test_no_hint_proves_a_false_limit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that miss, overlap, are too long or no numbers; eigenvalues that are wrong."""
    rng = np.random.default_rng(seed)
    kernel = _kernel(DECAYING, seed=seed)
    values, vectors = np.linalg.eigh(kernel.blocks + np.tril(kernel.blocks, -1).T)
    v, d = vectors[:, ::-1][:, :6].copy(), values[::-1][:6].copy()
    kind = seed % 10
    if kind == 0:
        v = v[:, 1:]
        d = d[1:]  # the first one is missing
    elif kind == 1:
        v[:, 0] += 10.0 ** rng.uniform(-9, -3) * rng.normal(size=40)
    elif kind == 2:
        d[0] *= 1 - 10.0 ** rng.uniform(-9, -1)
    elif kind == 3:
        v *= 1 - 10.0 ** rng.uniform(-9, -1)
    elif kind == 4:
        v[:, 1] = v[:, 0]
    elif kind == 5:
        v = rng.normal(size=(40, 6))
    elif kind == 6:
        v[2, 3] = np.nan
    elif kind == 7:
        d[:] = 0
    elif kind == 8:
        v, d = 0 * v, 0 * d
    else:
        turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
        v = v @ turn  # the right space, but no eigenvectors
        d = np.diag(turn.T * d @ turn).copy()
    monkeypatch.setattr(largest, "_hint", lambda _: (v, d))
    with np.errstate(all="ignore"):
        for limit in (100 * (1 - 1e-13), 99.9, 70.0):
            assert not norm_is_at_most(kernel, limit)
        if kind == 1:  # a poor vector leaves room between the proof and the truth
            assert norm_is_at_most(kernel, 200)


def test_what_the_vectors_do_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first vector is missing: tau alone knows of it. It is tilted: the residual alone does."""
    kernel = _kernel(DECAYING)
    values, vectors = np.linalg.eigh(kernel.blocks + np.tril(kernel.blocks, -1).T)
    v, d = vectors[:, ::-1].copy(), values[::-1].copy()
    monkeypatch.setattr(largest, "_hint", lambda _: (v[:, 1:7], d[1:7]))
    assert not norm_is_at_most(kernel, 99.0)
    share = 0.2
    tilted = v[:, :6].copy()
    tilted[:, 0] = np.sqrt(1 - share) * v[:, 0] + np.sqrt(share) * v[:, 9]
    ritz = d[:6].copy()
    ritz[0] = (1 - share) * d[0] + share * d[9]
    monkeypatch.setattr(largest, "_hint", lambda _: (tilted, ritz))
    for limit in (85.0, 92.0, 99.0, 99.99):
        assert not norm_is_at_most(kernel, limit)


@pytest.mark.parametrize("seed", range(8))
def test_the_rest_is_above_its_norm(seed: int) -> None:
    """For vectors that are not orthonormal, and eigenvalues that are none."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(12, 12))
    matrix = matrix @ matrix.T
    values, vectors = np.linalg.eigh(matrix)
    v = vectors[:, -4:] + 10.0 ** rng.uniform(-6, -1) * rng.normal(size=(12, 4))
    d = values[-4:] * (1 + 10.0 ** rng.uniform(-6, -1) * rng.normal(size=4))
    t = np.linalg.norm(v.T @ v - np.eye(4), 2)
    inner = np.linalg.norm(v.T @ (matrix @ v - v * d))
    rest = np.linalg.norm(matrix - v * d @ v.T)
    assert largest._rest_above(float(np.linalg.norm(matrix)), d, float(t), float(inner)) >= rest
    matrix = (
        vectors[:, -4:] * values[-4:] @ vectors[:, -4:].T
    )  # nothing is left but what D is off by
    core = np.linalg.norm(0.5 * values[-4:])
    found = largest._rest_above(
        float(np.linalg.norm(matrix)), 1.5 * values[-4:], 1e-14, float(core)
    )
    assert found >= core * (1 - 1e-14)
    stretched = 1.1 * vectors[:, -4:]  # K - V D V^T is negative there, and no smaller for it
    core = np.linalg.norm(stretched.T @ (matrix @ stretched - stretched * values[-4:]))
    rest = np.linalg.norm(matrix - stretched * values[-4:] @ stretched.T)
    found = largest._rest_above(float(np.linalg.norm(matrix)), values[-4:], 0.21, float(core))
    assert found >= rest


def test_lapack_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(np.linalg, "qr", fail)
    assert not norm_is_at_most(_Given(np.eye(5), 2), 9)
