"""T13, and T4's constants of the smoothed cross-entropy, against closed forms and real runs."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from talweg import InputError
from talweg.theory import (
    SOFTMAX_SMOOTHNESS,
    CrossEntropy,
    JacobianNormBound,
    NestedBallBound,
    Status,
    composite_loss_converges,
    cross_entropy_budget,
    cross_entropy_pl_lower,
    cross_entropy_target_reached,
    singular_value_profile,
)

Array = NDArray[np.float64]
ONE_PAIR = CrossEntropy("sum", 1, 2)


def reached(
    f0: float = 2.0,
    target: float = 1.0,
    *,
    sigma: float = 1.0,
    norm: float = 1.0,
    pairs: tuple[tuple[float, float], ...] = ((10.0, 0.0),),
    bends: NestedBallBound | None = None,
    loss: CrossEntropy = ONE_PAIR,
    **options: Any,
) -> Any:
    profile = singular_value_profile(sigma, pairs)
    return cross_entropy_target_reached(
        f0, target, profile, JacobianNormBound(norm, NestedBallBound.of(pairs)),
        bends or NestedBallBound.of(pairs), loss=loss, **({"epsilon": 0.5} | options),
    )  # fmt: skip


def test_proved_with_the_numbers_of_t7() -> None:
    verdict = reached()
    assert verdict.status is Status.PROVED
    c = verdict.conclusion
    assert 0.0 < c.radius_upper < c.final_radius_upper < 10.0
    assert c.step_size > 0.0
    assert c.steps_upper >= 1.0


BEYOND = NestedBallBound.of([(10.0, math.inf)])
FAILURES: dict[str, dict[str, Any]] = {
    "target_loss_lower": {"target": 0.0},
    "initial_loss_upper": {"f0": math.inf},
    "profile": {"sigma": 0.0},
    "criterion": {"pairs": ((0.5, 0.0),)},
    "jacobian_norm": {"norm": math.inf},
    "jacobian_lipschitz": {"bends": BEYOND},
    "rate_positive": {"sigma": 1e-170, "pairs": ((1e300, 0.0),), "step_size": 1.0},
    "step_size": {"step_size": 100.0},
}


@pytest.mark.parametrize("name", FAILURES)
def test_each_hypothesis_alone_is_named(name: str) -> None:
    verdict = reached(**FAILURES[name])
    assert verdict.status is Status.UNDECIDED
    # Without any singular value there is no integral either.
    also = ["criterion"] if name == "profile" else []
    assert [h.name for h in verdict.failed] == [name, *also]


def test_the_target_may_be_met_at_the_start() -> None:
    assert reached(f0=0.5).conclusion.steps_upper == 0.0


def test_assumptions_are_carried() -> None:
    assert reached(assumed=["jacobian_lipschitz"]).assumptions == ("jacobian_lipschitz",)
    with pytest.raises(InputError, match="`assumed`"):
        reached(assumed=["hope"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"f0": math.nan}, "initial_loss_upper"),
        ({"f0": -1.0}, "initial_loss_upper"),
        ({"target": math.inf}, "target_loss_lower"),
        ({"epsilon": 1.0}, "epsilon"),
        ({"step_size": 0.0}, "step_size"),
    ],
)
def test_malformed_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        reached(**options)


@pytest.mark.parametrize(
    "arguments", [("max", 3, 2), ("sum", 0, 2), ("sum", 3, 1), ("mean", True, 2), ("mean", 3.0, 2)]
)
def test_malformed_losses_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match="CrossEntropy"):
        CrossEntropy(*arguments)


@given(st.floats(-30.0, 30.0), st.floats(1e-6, 40.0))
def test_one_sample_of_two_classes_is_an_equality(start: float, gained: float) -> None:
    """f = log(1 + e^-z) with z = w_1 - w_2: the path from z_0 to z_t has length (z_t - z_0)/sqrt 2.

    Here |grad f| = psi(f) exactly, so the right side of the criterion is that length.
    """
    f0 = float(mpmath.log1p(mpmath.exp(-start)))
    t = float(mpmath.log1p(mpmath.exp(-(start + gained))))
    with mpmath.workdps(50):
        z0, zt = (-mpmath.log(mpmath.expm1(mpmath.mpf(u))) for u in (f0, t))
        length = (zt - z0) / mpmath.sqrt(2)
        found = cross_entropy_budget(f0, t, ONE_PAIR)
        assert found.lo <= length <= found.hi
        assert found.hi - found.lo <= 1e-13 * (length + 1e-300)


@given(st.floats(1e-3, 460.0), st.floats(1e-12, 0.999999), st.integers(1, 300), st.integers(2, 100))
def test_the_budget_holds_the_integral(f0: float, part: float, n: int, k: int) -> None:
    """Also where target and start agree in all but a few digits."""
    t = f0 * (1.0 - part)
    if not 0.0 < t < f0:
        return
    with mpmath.workdps(60):
        root = mpmath.sqrt(n)
        ratio = mpmath.expm1(mpmath.mpf(f0) / root) / mpmath.expm1(mpmath.mpf(t) / root)
        exact = mpmath.sqrt(mpmath.mpf(k - 1) * n / k) * mpmath.log(ratio)
        found = cross_entropy_budget(f0, t, CrossEntropy("sum", n, k))
        assert found.lo <= exact <= found.hi
        assert found.hi <= exact * (1 + mpmath.mpf(10) ** -12)


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 10**6))
def test_the_gradient_is_at_least_psi(n: int, k: int, seed: int) -> None:
    """(2) of docs/theory/T13.md, with multiplicities, at losses of all sizes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 10.0 ** rng.uniform(-2, 2)
    m = rng.integers(1, 5, n)
    y = rng.integers(0, k, n)
    with mpmath.workdps(40):
        total, square = mpmath.mpf(0), mpmath.mpf(0)
        for row, label, count in zip(z.tolist(), y, m.tolist(), strict=True):
            e = [mpmath.exp(mpmath.mpf(v)) for v in row]
            p = [v / sum(e) for v in e]
            total -= count * mpmath.log(p[label])
            square += count * sum((v - (j == label)) ** 2 for j, v in enumerate(p))
        psi = mpmath.sqrt(mpmath.mpf(k) / (k - 1)) * -mpmath.expm1(-total / mpmath.sqrt(m.sum()))
        assert mpmath.sqrt(square) >= psi * (1 - mpmath.mpf(10) ** -30)


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def losses(z: Array, y: Array) -> Array:
    top = z.max(1)
    return np.asarray(
        np.log(np.exp(z - top[:, None]).sum(1)) + top - z[np.arange(len(z)), y.astype(int)]
    )


def zero_sum_frame(n: int, k: int) -> Array:
    """Orthonormal columns spanning the vectors that sum to zero within each sample."""
    basis = np.linalg.svd(np.eye(k) - 1.0 / k)[0][:, : k - 1]
    return np.kron(np.eye(n), basis)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4), st.integers(2, 4), st.floats(0.2, 0.95), st.sampled_from(["sum", "mean"]),
    st.floats(0.05, 0.95), st.integers(0, 10**6),
)  # fmt: skip
def test_descent_on_affine_models_does_what_is_proved(
    n: int, k: int, part: float, scaling: Any, epsilon: float, seed: int
) -> None:
    """F = A w + b: beta = 0 and everything else is exact up to float64."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n * k, n * k + 2)) * 10.0 ** rng.uniform(-1, 1)
    b = rng.normal(size=(n, k)) * 2.0
    y = rng.integers(0, k, n)
    spectrum = np.linalg.svd(zero_sum_frame(n, k).T @ A)[1]
    f0 = float(losses(b, y).sum())
    loss = CrossEntropy(scaling, n, k)
    unit = 1.0 / n if scaling == "mean" else 1.0
    t = part * f0
    verdict = reached(
        f0 * (1 + 1e-12), t, sigma=float(spectrum[-1]) * (1 - 1e-9),
        norm=float(spectrum[0]) * (1 + 1e-9), pairs=((1e12, 0.0),), loss=loss, epsilon=epsilon,
    )  # fmt: skip
    assert verdict.status is Status.PROVED, verdict.reason
    c = verdict.conclusion
    w = np.zeros(A.shape[1])
    value = f0
    for step in range(int(min(c.steps_upper, 4000)) + 1):
        z = (A @ w).reshape(n, k) + b
        now = float(losses(z, y).sum())
        if now <= t:
            assert np.linalg.norm(w) <= c.final_radius_upper * (1 + 1e-9)
            return
        assert np.linalg.norm(w) <= c.radius_upper * (1 + 1e-9)
        if step:
            assert now <= value * (1 - c.one_minus_rate_lower) * (1 + 1e-12)
        value = now
        p = softmax(z)
        p[np.arange(n), y] -= 1.0
        w = w - c.step_size * unit * (A.T @ p.ravel())
    assert c.steps_upper > 4000


@given(st.floats(1e-6, 0.5), st.floats(1e-30, 10.0))
def test_pl_constant_is_below_the_root_of_the_binary_divergence(q: float, gap: float) -> None:
    x = cross_entropy_pl_lower(q, gap)
    assert 0.0 <= x <= q
    with mpmath.workdps(60):
        Q, X, G = mpmath.mpf(q), mpmath.mpf(x), mpmath.mpf(gap)
        if x > 0.0:
            divergence = Q * mpmath.log(Q / X) + (1 - Q) * mpmath.log((1 - Q) / (1 - X))
            assert divergence >= G
        simple = Q - mpmath.sqrt(2 * Q * G)
        assert simple - X <= mpmath.mpf(10) ** -12


def test_pl_constant_where_nothing_is_known() -> None:
    assert cross_entropy_pl_lower(0.0, 1.0) == 0.0
    assert cross_entropy_pl_lower(0.1, math.inf) == 0.0
    assert cross_entropy_pl_lower(0.25, 0.0) == pytest.approx(0.25, rel=1e-12)
    with pytest.raises(InputError, match="smallest_label_lower"):
        cross_entropy_pl_lower(1.5, 1.0)


@given(st.integers(2, 5), st.floats(0.02, 1.0), st.integers(0, 10**6))
def test_pl_inequality_holds_on_the_sublevel_set(k: int, smoothing: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = np.full(k, smoothing / k)
    q[0] += 1.0 - smoothing
    z = np.log(q) + rng.normal(size=k) * 10.0 ** rng.uniform(-3, 0.5)
    p = softmax(z[None])[0]
    gap = float((q * np.log(q / p)).sum())
    mu = cross_entropy_pl_lower(float(q.min()) * (1 - 1e-12), max(gap, 0.0) * (1 + 1e-9) + 1e-15)
    assert 0.5 * ((p - q) ** 2).sum() >= mu * gap * (1 - 1e-6) - 1e-15
    spectrum = np.linalg.eigvalsh(np.diag(p) - np.outer(p, p))
    assert spectrum[-1] <= SOFTMAX_SMOOTHNESS * (1 + 1e-12)
    assert spectrum[1] >= mu * (1 - 1e-9)  # spectrum[0] = 0 belongs to the constants


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(2, 4), st.floats(0.05, 1.0), st.integers(0, 10**6))
def test_descent_with_smoothed_labels_does_what_t4_proves(
    n: int, k: int, smoothing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n * k, n * k + 2))
    q = np.full((n, k), smoothing / k)
    q[np.arange(n), rng.integers(0, k, n)] += 1.0 - smoothing
    b = np.log(q) + rng.normal(size=(n, k)) * 10.0 ** rng.uniform(-3, 0)
    spectrum = np.linalg.svd(zero_sum_frame(n, k).T @ A)[1]

    def gap(z: Array) -> float:
        p = softmax(z)
        return float((q * (np.log(q) - np.log(p))).sum())

    start = gap(b) * (1 + 1e-9) + 1e-14
    pairs = ((1e12, 0.0),)
    verdict = composite_loss_converges(
        start, singular_value_profile(float(spectrum[-1]) * (1 - 1e-9), pairs),
        JacobianNormBound(float(spectrum[0]) * (1 + 1e-9), NestedBallBound.of(pairs)),
        NestedBallBound.of(pairs), pl_lower=cross_entropy_pl_lower(float(q.min()), start),
        smoothness_upper=SOFTMAX_SMOOTHNESS, epsilon=0.5,
    )  # fmt: skip
    if verdict.conclusion is None:  # G so large that mu_l vanishes
        assert verdict.failed[0].name in ("pl_lower", "profile")
        return
    c = verdict.conclusion
    w, value = np.zeros(A.shape[1]), gap(b)
    for _ in range(200):
        z = (A @ w).reshape(n, k) + b
        w = w - c.step_size * (A.T @ (softmax(z) - q).ravel())
        now = gap((A @ w).reshape(n, k) + b)
        assert now <= value * (1 - c.one_minus_rate_lower) * (1 + 1e-9) + 1e-13
        assert np.linalg.norm(w) <= c.radius_upper * (1 + 1e-9)
        value = now
