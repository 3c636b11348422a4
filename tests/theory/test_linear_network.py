"""D1 to D4 attacked: closed forms, one refusal per hypothesis, and runs in 50 digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mp

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory import (
    LINEAR_LOSS_CURVATURE,
    Imbalance,
    LinearNetworkBounds,
    Status,
    StepQuartic,
    Verdict,
    linear_model_loss_is_pl,
    linear_network_converges,
    linear_network_converges_not_lazy,
    linear_network_is_locally_pl,
    linear_network_smoothness_upper,
    linear_network_squared_converges,
    linear_network_step_decreases,
    observed_step_contracts,
)

PAD = 1e-9  # relative; float64 singular values of 3 x 3 matrices are good to 1e-15
FULL = LinearNetworkBounds(1.0, 0.5, 2.0, 1.0)
LOCAL = {"pl_lower": 1.0, "smoothness_upper": 2.0, "epsilon": 0.25}
BALANCE = Imbalance(1.0, 0.1, 0.9, -0.1)


def names(verdict: Verdict[object]) -> list[str]:
    assert verdict.status is Status.UNDECIDED
    return [h.name for h in verdict.failed]


def kernel(w1: np.ndarray, w2: np.ndarray) -> np.ndarray:
    """K = J J^T of the product, from the explicit Jacobian: the referee of D1."""
    d, h = w1.shape
    m = w2.shape[1]
    columns = []
    for i in range(d):
        for j in range(h):
            e = np.zeros((d, h))
            e[i, j] = 1.0
            columns.append((e @ w2).ravel())
    for i in range(h):
        for j in range(m):
            e = np.zeros((h, m))
            e[i, j] = 1.0
            columns.append((w1 @ e).ravel())
    jacobian = np.array(columns).T
    return jacobian @ jacobian.T


@pytest.mark.parametrize("shape", [(2, 3, 2), (3, 2, 2), (2, 2, 3), (1, 4, 3), (3, 1, 2)])
def test_kernel_of_the_product_has_these_extreme_eigenvalues(shape: tuple[int, int, int]) -> None:
    d, h, m = shape
    rng = np.random.default_rng(d + 10 * h + 100 * m)
    w1, w2 = rng.standard_normal((d, h)), rng.standard_normal((h, m))
    s1, s2 = np.linalg.svd(w1)[1], np.linalg.svd(w2)[1]
    bounds = LinearNetworkBounds(
        s1[d - 1] if h >= d else 0.0, s2[m - 1] if h >= m else 0.0, s1[0], s2[0]
    )
    found = np.linalg.eigvalsh(kernel(w1, w2))
    assert bounds.kernel_lower.lo == pytest.approx(found[0], abs=1e-12)
    assert bounds.jacobian_norm_upper**2 == pytest.approx(found[-1], rel=1e-12)


def test_scalar_network_has_its_closed_form_criterion() -> None:
    # l(w) = (w - y)^2 / 2, W1 = a, W2 = 0: T11 in closed form is |y| < a^2 / 2.
    bounds = LinearNetworkBounds(2.0, 0.0, 2.0, 0.0)
    below = linear_network_squared_converges(math.nextafter(2.0, 0.0) * 0.999999, bounds)
    assert below.status is Status.PROVED
    assert names(linear_network_squared_converges(2.0, bounds)) == ["criterion"]
    # T4: sqrt(2 gap / mu) < (1 - eps) a^2 / 2 = 1.5 with gap = y^2 / 2, so |y| < 1.5
    for y, status in ((1.4999, Status.PROVED), (1.5001, Status.UNDECIDED)):
        verdict = linear_network_converges(
            y * y / 2.0, bounds, pl_lower=1.0, smoothness_upper=1.0, epsilon=0.25
        )
        assert verdict.status is status


def test_each_hypothesis_of_the_local_theorems_is_refused_by_name() -> None:
    assert names(linear_network_is_locally_pl(FULL, pl_lower=0.0)) == ["pl_lower"]
    flat = LinearNetworkBounds(0.0, 0.0, 2.0, 1.0)
    assert names(linear_network_is_locally_pl(flat, pl_lower=1.0)) == ["singular_values"]
    assert linear_network_is_locally_pl(FULL, pl_lower=2.0).conclusion.pl_lower == pytest.approx(
        2.5
    )  # type: ignore[union-attr]

    def t4(gap: float = 0.01, bounds: LinearNetworkBounds = FULL, **changed: float) -> list[str]:
        return names(linear_network_converges(gap, bounds, **{**LOCAL, **changed}))

    assert "criterion" in t4(gap=100.0)
    assert "initial_gap_upper" in t4(gap=math.inf)
    assert "pl_lower" in t4(pl_lower=0.0)
    assert "profile" in t4(bounds=flat)
    assert "smoothness_upper" in t4(smoothness_upper=math.inf)
    assert t4(step_size=10.0) == ["step_size"]
    assert linear_network_converges(0.01, FULL, **LOCAL).status is Status.PROVED


def quartic(slope: float, second: float, third: float, fourth: float) -> StepQuartic:
    return StepQuartic(*(Interval.point(x) for x in (slope, second, third, fourth)))


def test_minimum_of_a_quartic_with_known_roots() -> None:
    # derivative (x - 1)(x - 2)(x - 3) = -6 + 11 x - 6 x^2 + x^3: the first minimum is at 1
    first = quartic(6.0, 5.5, -2.0, 0.25).minimiser_approx()
    assert first == pytest.approx(1.0, rel=1e-12)
    assert quartic(2.0, 1.0, 0.0, 0.0).minimiser_approx() == pytest.approx(1.0, rel=1e-12)
    assert quartic(1e-30, 5e29, 0.0, 0.0).minimiser_approx() == pytest.approx(1e-60, rel=1e-9)
    assert quartic(1.0, -1.0, -1.0, 0.0).minimiser_approx() == math.inf


def test_one_step_of_the_scalar_network_is_exact() -> None:
    # f(a, b) = (a b - y)^2 / 2 at a = 1, b = 1, y = 2: G = -1, g = (-1, -1), A = -2, B = 1
    exact = StepQuartic.along_gradient(*(Interval.point(x) for x in (2.0, -1.0, 4.0, -2.0, 1.0)))
    for eta in (0.125, 0.5):
        after = 0.5 * ((1.0 + eta) ** 2 - 2.0) ** 2
        assert exact.change(eta).contains(after - 0.5)
    verdict = linear_network_step_decreases(exact, 0.125, local_pl_lower=2.0)
    c = verdict.conclusion
    assert c is not None
    gain = 0.5 - 0.5 * (1.125**2 - 2.0) ** 2
    assert gain - 1e-15 <= c.decrease_lower <= gain
    assert c.descent_constant_lower == pytest.approx(gain / (0.125 * 2.0))
    # mu_t = 2 is exact here (|grad f|^2 = 2 = 2 mu_t f), so the contraction is the measured one
    assert c.contraction_upper == pytest.approx(1.0 - gain / 0.5)


def test_each_hypothesis_of_a_step_is_refused_by_name() -> None:
    good = quartic(1.0, 1.0, 0.0, 0.0)
    assert linear_network_step_decreases(good, 0.5, local_pl_lower=0.1).status is Status.PROVED
    assert names(linear_network_step_decreases(good, 1.5, local_pl_lower=0.1)) == ["decrease"]
    assert names(linear_network_step_decreases(good, 0.5, local_pl_lower=-1.0)) == [
        "local_pl_lower"
    ]
    huge = quartic(1.0, math.inf, 0.0, 0.0)
    assert names(linear_network_step_decreases(huge, 0.5, local_pl_lower=0.1)) == ["quartic"]
    assert names(observed_step_contracts(0.0, 1.0)) == ["decrease"]
    assert names(observed_step_contracts(0.1, math.inf)) == ["gap_upper"]
    c = observed_step_contracts(0.25, 1.0).conclusion
    assert c is not None
    assert c.contraction_upper == pytest.approx(0.75)
    assert c.next_gap_upper == pytest.approx(0.75)
    with pytest.raises(InputError, match="decrease_lower"):
        observed_step_contracts(2.0, 1.0)


def test_a_certified_decrease_never_reads_as_growth() -> None:
    observed = observed_step_contracts(1e-320, 1.0).conclusion
    assert observed is not None
    assert observed.contraction_upper <= 1.0
    tiny = linear_network_step_decreases(quartic(1.0, 0.0, 0.0, 0.0), 1e-320, local_pl_lower=1e-3)
    assert tiny.conclusion is not None
    assert tiny.conclusion.contraction_upper <= 1.0
    # a gradient of 0 gains nothing, even with other coefficients that promise it
    still = quartic(0.0, -1.0, 0.0, 1.0)
    assert names(linear_network_step_decreases(still, 0.5, local_pl_lower=1.0)) == ["decrease"]


def test_rate_of_not_lazy_is_that_of_its_step() -> None:
    # a b = 1 from a = 2, b = 0: the rate of the step, and a hundredth of the step is slower
    verdict = linear_network_converges_not_lazy(
        0.5, Imbalance(4.0, 0.0, 4.0, -math.inf), 2.0, pl_lower=1.0, smoothness_upper=1.0,
        epsilon=0.5,
    )  # fmt: skip
    c = verdict.conclusion
    assert c is not None
    for share, holds in ((1.0, True), (0.01, False)):
        eta, a, b = share * c.step_size, 2.0, 0.0
        r = a * b - 1.0
        after = 0.5 * ((a - eta * r * b) * (b - eta * a * r) - 1.0) ** 2
        assert (after <= c.loss_rate_upper * 0.5) is holds
        assert after <= (1.0 - share * c.one_minus_rate_lower) * 0.5


def test_each_hypothesis_of_not_lazy_is_refused_by_name() -> None:
    def d3(gap: float = 0.02, balance: Imbalance = BALANCE, norm: float = 0.5,
           **changed: float) -> Verdict[object]:  # fmt: skip
        return linear_network_converges_not_lazy(gap, balance, norm, **{**LOCAL, **changed})

    assert d3().status is Status.PROVED
    assert names(d3(gap=math.inf)) == ["initial_gap_upper"]
    assert names(d3(balance=Imbalance(math.inf, 0.1, 0.9, -0.1))) == ["imbalance"]
    assert names(d3(norm=math.inf)) == ["product_norm_upper"]
    assert names(d3(pl_lower=0.0)) == ["pl_lower"]
    assert names(d3(smoothness_upper=math.inf)) == ["smoothness_upper"]
    assert names(d3(step_size=1.0)) == ["step_size"]
    assert names(d3(balance=Imbalance(1.0, 0.1, 0.0, -0.1))) == ["criterion"]
    assert names(d3(balance=Imbalance(1.0, 0.1, -math.inf, -math.inf))) == ["criterion"]
    # the same balance with a product of full rank: phi(-0.1 - Delta, 0.4) > 0
    ranked = d3(balance=Imbalance(1.0, 0.1, 0.0, -0.1), product_sigma_first_lower=0.4)
    assert ranked.status is Status.PROVED


def test_not_lazy_in_closed_form() -> None:
    # Delta = 0 when the gap is 0: D_0 = diag(1, -0.25), P = 0 gives |W1|^2 = 1, |W2|^2 = 1/4
    verdict = linear_network_converges_not_lazy(
        0.0, Imbalance(1.0, 0.25, 1.0, 0.25), 0.0, pl_lower=0.5, smoothness_upper=2.0, epsilon=0.5
    )
    c = verdict.conclusion
    assert c is not None
    assert c.smoothness_upper == pytest.approx(2.5)
    assert c.step_size == pytest.approx(0.4)
    assert c.kernel_lower == pytest.approx(1.25)
    assert c.one_minus_rate_lower == pytest.approx(2 * 0.5 * 0.4 * 0.5 * 1.25)


def test_losses_in_closed_form_and_refused_by_name() -> None:
    c = linear_model_loss_is_pl("squared", 3.0, data_sigma_lower=2.0, weight=0.5).conclusion
    assert c is not None
    assert (c.pl_lower, c.smoothness_upper) == (pytest.approx(2.0), pytest.approx(4.5))
    c = linear_model_loss_is_pl("logistic", 2.0, ridge=0.125).conclusion
    assert c is not None
    assert c.pl_lower == 0.125
    assert c.smoothness_upper == pytest.approx(1.125)
    wide = linear_model_loss_is_pl("squared", 3.0, data_sigma_lower=2.0, full_column_rank=False)
    assert wide.conclusion is not None
    assert wide.conclusion.convexity_lower == 0.0
    assert wide.conclusion.pl_lower == pytest.approx(4.0)
    both = linear_model_loss_is_pl(
        "squared", 3.0, data_sigma_lower=2.0, full_column_rank=False, ridge=0.25
    ).conclusion
    assert both is not None
    assert both.pl_lower == 0.25  # outside the row space only the ridge bends
    # nothing said of the shape: X = (1, 0), W = (0, 1)^T has |G|^2 / 2 = ridge (l - l*) exactly
    unsaid = linear_model_loss_is_pl("squared", 1.0, data_sigma_lower=1.0, ridge=0.01).conclusion
    assert unsaid is not None
    assert (unsaid.pl_lower, unsaid.convexity_lower) == (0.01, 0.01)
    tall = linear_model_loss_is_pl(
        "squared", 1.0, data_sigma_lower=1.0, ridge=0.01, full_column_rank=True
    ).conclusion
    assert tall is not None
    assert tall.convexity_lower == tall.pl_lower == pytest.approx(1.01)
    for kind in ("huber", "logistic", "cross_entropy"):
        assert names(linear_model_loss_is_pl(kind, 1.0, data_sigma_lower=1.0)) == ["pl_lower"]  # type: ignore[arg-type]
    assert names(linear_model_loss_is_pl("huber", math.inf, ridge=1.0)) == ["data_norm_upper"]
    with pytest.raises(InputError, match="kind"):
        linear_model_loss_is_pl("hinge", 1.0)  # type: ignore[arg-type]


PHI: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "squared": lambda z: np.eye(len(z)),
    "huber": lambda z: np.diag((np.abs(z) <= 1.0).astype(float)),
    "logistic": lambda z: np.diag(np.exp(-z) / (1.0 + np.exp(-z)) ** 2),
    "cross_entropy": lambda z: (
        np.diag(np.exp(z) / np.exp(z).sum()) - np.outer(np.exp(z), np.exp(z)) / np.exp(z).sum() ** 2
    ),
}


@pytest.mark.parametrize("kind", list(PHI))
def test_curvature_of_each_loss_stays_below_kappa_and_reaches_it(kind: str) -> None:
    rng = np.random.default_rng(3)
    points = [rng.standard_normal(3) * s for s in (0.0, 0.5, 2.0, 5.0) for _ in range(50)]
    points += [np.array([0.0, 0.0, -40.0])]  # two classes tie: cross-entropy's worst case
    largest = max(float(np.linalg.eigvalsh(PHI[kind](z))[-1]) for z in points)
    smallest = min(float(np.linalg.eigvalsh(PHI[kind](z))[0]) for z in points)
    assert largest <= LINEAR_LOSS_CURVATURE[kind] + 1e-12  # type: ignore[index]
    assert largest >= 0.999 * LINEAR_LOSS_CURVATURE[kind]  # type: ignore[index]
    assert smallest >= -1e-12


def problem(seed: int, scale: float, imbalance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    w1, w2 = rng.standard_normal((2, 3)) * imbalance, rng.standard_normal((3, 2)) / imbalance
    return w1, w2, w1 @ w2 + scale * rng.standard_normal((2, 2))


def bounds_of(w1: np.ndarray, w2: np.ndarray) -> LinearNetworkBounds:
    s1, s2 = np.linalg.svd(w1)[1], np.linalg.svd(w2)[1]
    low, high = 1.0 - PAD, 1.0 + PAD
    return LinearNetworkBounds(s1[1] * low, s2[1] * low, s1[0] * high, s2[0] * high)


def descend(w1: np.ndarray, w2: np.ndarray, y: np.ndarray, eta: float, steps: int) -> list[float]:
    """|W1 W2 - Y|^2 / 2 along gradient descent, in 50 digits."""
    with mp.workdps(50):
        a, b, t = mp.matrix(w1.tolist()), mp.matrix(w2.tolist()), mp.matrix(y.tolist())
        values = []
        for _ in range(steps + 1):
            r = a * b - t
            values.append(sum(x * x for x in r) / 2)
            a, b = a - eta * (r * b.T), b - eta * (a.T * r)
        return values


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.01, 1.0), st.floats(0.5, 2.0))
def test_no_run_contradicts_the_local_theorems(seed: int, scale: float, imbalance: float) -> None:
    w1, w2, y = problem(seed, scale, imbalance)
    bounds = bounds_of(w1, w2)
    residual = float(np.linalg.norm(w1 @ w2 - y)) * (1.0 + PAD)
    sharp = linear_network_squared_converges(residual, bounds)
    general = linear_network_converges(
        residual**2 / 2.0 * (1.0 + PAD), bounds, pl_lower=1.0, smoothness_upper=1.0, epsilon=0.5
    )
    for verdict in (sharp, general):
        if verdict.conclusion is None:
            continue
        c = verdict.conclusion
        values = descend(w1, w2, y, c.step_size, 25)
        for before, after in pairwise(values):
            assert after <= c.loss_rate_upper * before


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.01, 3.0), st.floats(0.3, 6.0), st.floats(0.02, 0.6))
def test_no_run_contradicts_not_lazy(
    seed: int, scale: float, imbalance: float, epsilon: float
) -> None:
    w1, w2, y = problem(seed, scale, imbalance)
    gap = float(np.linalg.norm(w1 @ w2 - y)) ** 2 / 2.0 * (1.0 + PAD)
    d0 = np.linalg.eigvalsh(w1.T @ w1 - w2 @ w2.T)
    slack = PAD * float(np.abs(d0).max())
    balance = Imbalance(d0[2] + slack, -d0[0] + slack, d0[1] - slack, -d0[1] - slack)
    reach = math.sqrt(2.0 * gap) * (1.0 + PAD)
    s = np.linalg.svd(y)[1]
    verdict = linear_network_converges_not_lazy(
        gap, balance, s[0] + reach, pl_lower=1.0, smoothness_upper=1.0, epsilon=epsilon,
        product_sigma_first_lower=max(s[1] - reach, 0.0),
        product_sigma_second_lower=max(s[1] - reach, 0.0),
    )  # fmt: skip
    c = verdict.conclusion
    assume(c is not None)
    assert c is not None
    values = descend(w1, w2, y, c.step_size, 25)
    for before, after in pairwise(values):
        assert after <= c.loss_rate_upper * before
    path, start = 0.0, w1.T @ w1 - w2 @ w2.T
    for _ in range(300):
        s1, s2 = np.linalg.svd(w1)[1], np.linalg.svd(w2)[1]
        assert s1[1] ** 2 + s2[1] ** 2 >= c.kernel_lower * (1.0 - 1e-9)
        assert math.hypot(s1[0], s2[0]) <= c.jacobian_norm_upper * (1.0 + 1e-9)
        drift = np.abs(np.linalg.eigvalsh(w1.T @ w1 - w2 @ w2.T - start)).sum()
        assert drift <= c.drift_upper * (1.0 + 1e-9) + 1e-12
        r = w1 @ w2 - y
        g1, g2 = r @ w2.T, w1.T @ r
        path += c.step_size * math.hypot(np.linalg.norm(g1), np.linalg.norm(g2))
        w1, w2 = w1 - c.step_size * g1, w2 - c.step_size * g2
    assert path <= c.path_length_upper * (1.0 + 1e-9)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.01, 3.0), st.floats(0.3, 6.0), st.floats(1e-4, 2.0))
def test_the_quartic_and_the_norm_bound_hold_along_the_step(
    seed: int, scale: float, imbalance: float, relative: float
) -> None:
    w1, w2, y = problem(seed, scale, imbalance)
    g = w1 @ w2 - y
    g1, g2 = g @ w2.T, w1.T @ g
    a, b = g1 @ w2 + w1 @ g2, g1 @ g2
    form = [
        (g1**2).sum() + (g2**2).sum(),
        (g * b).sum(),
        (a * a).sum(),
        (a * b).sum(),
        (b * b).sum(),
    ]
    exact = StepQuartic.along_gradient(*(Interval.point(float(x)) for x in form))
    s1, s2 = np.linalg.svd(w1)[1][0], np.linalg.svd(w2)[1][0]
    norms = math.hypot(s1, s2), math.sqrt(form[0]), float(np.linalg.norm(g))
    eta = relative / (norms[0] ** 2 + norms[2])
    after = 0.5 * float((((w1 - eta * g1) @ (w2 - eta * g2) - y) ** 2).sum())
    before = 0.5 * float((g**2).sum())
    assert exact.change(eta).mid == pytest.approx(after - before, rel=1e-9, abs=1e-12 * before)
    smooth = linear_network_smoothness_upper(*norms, 1.0, eta)
    bound = before - eta * form[0] * (1.0 - eta * smooth / 2.0)
    assert after <= bound + 1e-12 * before


def test_malformed_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="first_norm_upper"):
        LinearNetworkBounds(2.0, 0.0, 1.0, 1.0)
    with pytest.raises(InputError, match="largest_upper"):
        Imbalance(0.0, 0.0, 1.0, 0.0)
    with pytest.raises(InputError, match="product_norm_upper"):
        linear_network_converges_not_lazy(1.0, BALANCE, 0.5, product_sigma_first_lower=1.0, **LOCAL)
    with pytest.raises(InputError, match="epsilon"):
        linear_network_converges(0.1, FULL, pl_lower=1.0, smoothness_upper=1.0, epsilon=1.0)
    with pytest.raises(InputError, match="slope"):
        linear_network_step_decreases(quartic(-1.0, 1.0, 0.0, 0.0), 0.5, local_pl_lower=0.0)
