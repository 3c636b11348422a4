"""T11 attacked: gradient descent run in 60 digits on problems built to break the conclusion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import mpmath
import pytest
from mpmath import mp

from talweg.theory import (
    SquaredLoss,
    SquaredLossConvergence,
    Status,
    Verdict,
    singular_value_profile,
    squared_loss_converges,
)

mp.dps = 60
Vector = list[mpmath.mpf]
Matrix = list[Vector]


@dataclass(frozen=True)
class Problem:
    """F, its Jacobian, and bounds that hold for them."""

    outputs: Callable[[Vector], Vector]
    jacobian: Callable[[Vector], Matrix]
    start: Vector
    sigma_min_lower: float
    norm_upper: float
    lipschitz: float


def norm(v: Sequence[mpmath.mpf]) -> mpmath.mpf:
    return mp.sqrt(sum((x * x for x in v), mp.mpf(0)))


def gradient(jacobian: Matrix, residual: Vector) -> Vector:
    return [
        sum((row[j] * r for row, r in zip(jacobian, residual, strict=True)), mp.mpf(0))
        for j in range(len(jacobian[0]))
    ]


def fold(sigma: float, beta: float, others: Sequence[float] = ()) -> Problem:
    """F_1 = sigma w_1 - beta w_1^2 / 2 folds back at its maximum; the rest is linear.

    J = diag(sigma - beta w_1, others): beta is its exact Lipschitz constant, and the fold uses up
    the smallest singular value exactly as s(rho) allows: T11 is sharp here.
    """
    s, b, more = mp.mpf(sigma), mp.mpf(beta), [mp.mpf(o) for o in others]

    def outputs(w: Vector) -> Vector:
        return [s * w[0] - b * w[0] ** 2 / 2, *(o * x for o, x in zip(more, w[1:], strict=True))]

    def jacobian(w: Vector) -> Matrix:
        size = 1 + len(more)
        rows = [[mp.mpf(0)] * size for _ in range(size)]
        for i, o in enumerate([s - b * w[0], *more]):
            rows[i][i] = o
        return rows

    start = [mp.mpf(0)] * (1 + len(more))
    return Problem(outputs, jacobian, start, min([sigma, *others]), max([sigma, *others]), beta)


def waves(seed: int) -> Problem:
    """F_i = w_i + a sin(u_i . w + phase_i), two outputs, three weights, drawn from the seed."""
    state = seed

    def draw() -> float:
        nonlocal state
        state = (1103515245 * state + 12345) % 2**31
        return state / 2**30 - 1.0

    amplitude = 0.2 + 0.1 * draw()
    u = [[draw() for _ in range(3)] for _ in range(2)]
    phase = [draw() for _ in range(2)]

    def inner(i: int, w: Vector) -> mpmath.mpf:
        return sum((mp.mpf(a) * x for a, x in zip(u[i], w, strict=True)), mp.mpf(phase[i]))

    def outputs(w: Vector) -> Vector:
        return [w[i] + mp.mpf(amplitude) * mp.sin(inner(i, w)) for i in range(2)]

    def jacobian(w: Vector) -> Matrix:
        return [
            [(1 if j == i else 0) + mp.mpf(amplitude) * mp.cos(inner(i, w)) * mp.mpf(u[i][j])
             for j in range(3)]
            for i in range(2)
        ]  # fmt: skip

    start = [mp.mpf(0)] * 3
    j0 = jacobian(start)
    gram = mp.matrix([[sum(a * b for a, b in zip(r, q, strict=True)) for r in j0] for q in j0])
    half = (gram[0, 0] + gram[1, 1]) / 2
    root = mp.sqrt(((gram[0, 0] - gram[1, 1]) / 2) ** 2 + gram[0, 1] ** 2)
    # row i of J moves by at most a |u_i| |u_i . dw|; the operator norm is below the Frobenius norm
    beta = amplitude * math.sqrt(sum(sum(a * a for a in row) ** 2 for row in u))
    pad = 1.0 - 1e-12
    return Problem(
        outputs,
        jacobian,
        start,
        float(mp.sqrt(half - root)) * pad,
        float(mp.sqrt(half + root)) / pad,
        beta / pad,
    )


def certify(problem: Problem, r0: float, **settings: object) -> Verdict[SquaredLossConvergence]:
    profile = singular_value_profile(problem.sigma_min_lower, [(math.inf, problem.lipschitz)])
    return squared_loss_converges(r0, profile, problem.norm_upper, **settings)  # type: ignore[arg-type]


def attack(problem: Problem, target: Vector, verdict: Verdict[SquaredLossConvergence]) -> None:
    """Run gradient descent and check every sentence of the conclusion along the way."""
    assert verdict.status is Status.PROVED
    c = verdict.conclusion
    assert c is not None
    w, path, residuals, points = list(problem.start), mp.mpf(0), [], []
    for _ in range(200):
        r = [a - b for a, b in zip(problem.outputs(w), target, strict=True)]
        residuals.append(norm(r))
        points.append(w)
        if residuals[-1] < mp.mpf("1e-30"):
            break
        g = gradient(problem.jacobian(w), r)
        path += c.step_size * norm(g)
        w = [x - mp.mpf(c.step_size) * y for x, y in zip(w, g, strict=True)]
        assert path <= c.radius_upper
    for before, after in pairwise(residuals):
        assert after <= c.contraction_upper * before
        assert after**2 <= c.loss_rate_upper * before**2
    if c.halving_steps_upper < len(residuals):
        k = int(c.halving_steps_upper)
        assert all(b**2 <= a**2 / 2 for a, b in zip(residuals, residuals[k:], strict=False))
    # w* lies within |r_last| / s of the last iterate
    reach = c.distance_per_residual_upper
    for point, r_norm in zip(points, residuals, strict=True):
        gap = norm([a - b for a, b in zip(point, points[-1], strict=True)])
        assert gap <= reach * (r_norm + residuals[-1])


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999, 1 - 1e-9])
@pytest.mark.parametrize(
    "others", [(), (1.0,), (1.5, 4.0)], ids=["alone", "equal", "ill-conditioned"]
)
def test_containment_up_to_the_fold(share: float, others: tuple[float, ...]) -> None:
    problem = fold(1.0, 2.0, others)
    r0 = share * 0.25  # sigma^2 / (2 beta) = 1/4
    attack(problem, [mp.mpf(r0), *([mp.mpf(0)] * len(others))], certify(problem, r0))


@pytest.mark.parametrize("angle", [0.1, 0.7, 1.4, 2.5])
def test_containment_with_mixed_residuals(angle: float) -> None:
    problem = fold(1.0, 2.0, (3.0,))
    r0 = 0.2499
    target = [r0 * mp.cos(angle), r0 * mp.sin(angle)]
    attack(problem, target, certify(problem, r0 * (1 + 1e-15)))


@pytest.mark.parametrize("seed", range(8))
def test_containment_on_waves(seed: int) -> None:
    problem = waves(seed)
    profile = singular_value_profile(problem.sigma_min_lower, [(math.inf, problem.lipschitz)])
    r0 = 0.98 * profile.integral_lower(profile.radius)
    y0 = problem.outputs(problem.start)
    for angle in (0.3, 2.0, 4.5):
        target = [y0[0] + r0 * mp.cos(angle), y0[1] + r0 * mp.sin(angle)]
        attack(problem, target, certify(problem, r0 * (1 + 1e-12)))


@pytest.mark.parametrize("shrink", [1.0, 0.5, 1e-3])
def test_every_smaller_step_is_covered(shrink: float) -> None:
    problem = fold(1.0, 2.0, (2.0,))
    r0 = 0.249
    largest = certify(problem, r0).conclusion
    assert largest is not None
    verdict = certify(problem, r0, step_size=shrink * largest.step_size)
    attack(problem, [mp.mpf(r0), mp.mpf(0)], verdict)
    assert verdict.conclusion is not None
    assert verdict.conclusion.radius_upper == largest.radius_upper


def test_the_constant_is_sharp_in_one_dimension() -> None:
    """Below sigma^2 / (2 beta) proved; above it no solution exists, and nothing is proved."""
    problem = fold(1.0, 2.0)
    assert certify(problem, math.nextafter(0.25, 0.0) - 1e-15).status is Status.PROVED
    at = certify(problem, 0.25)
    assert at.status is Status.UNDECIDED
    beyond = certify(problem, 0.2500001)
    assert beyond.status is Status.UNDECIDED
    assert [h.name for h in beyond.failed] == ["criterion"]
    # sigma w - beta w^2 / 2 <= 1/4 < target for every w
    assert max(problem.outputs([mp.mpf(k) / 1000])[0] for k in range(-5000, 5000)) <= 0.25


def test_a_constant_profile_would_need_half_the_residual() -> None:
    assert certify(fold(1.0, 2.0), 0.2).status is Status.PROVED  # sigma^2 / (4 beta) = 1/8


def test_the_step_bound_is_needed() -> None:
    """eta = 2 / |J|^2 and more oscillates: a linear problem with a double step never converges."""
    profile = singular_value_profile(1.0, [(math.inf, 0.0)])
    assert squared_loss_converges(1.0, profile, 1.0, step_size=0.99).status is Status.PROVED
    refused = squared_loss_converges(1.0, profile, 1.0, step_size=1.01)
    assert [h.name for h in refused.failed] == ["step_size"]


@pytest.mark.parametrize(("damping", "lam"), [(1.0, 0.0), (0.5, 0.0), (1.0, 0.3), (0.7, 5.0)])
@pytest.mark.parametrize("angle", [0.0, 0.4, 1.5])
def test_levenberg_marquardt_stays_in_the_same_ball(
    damping: float, lam: float, angle: float
) -> None:
    """The containment of T11 holds for damped Gauss-Newton and Levenberg-Marquardt steps."""
    problem = fold(1.0, 2.0, (3.0,))
    r0 = 0.2499
    target = [r0 * mp.cos(angle), r0 * mp.sin(angle)]
    c = certify(problem, r0 * (1 + 1e-15)).conclusion
    assert c is not None
    w, path, last = list(problem.start), mp.mpf(0), mp.mpf(r0)
    for _ in range(200):
        r = [a - b for a, b in zip(problem.outputs(w), target, strict=True)]
        assert norm(r) <= last * (1 + mp.mpf("1e-14"))
        last = norm(r)
        j = [problem.jacobian(w)[i][i] for i in range(2)]
        step = [-damping * a * b / (a * a + lam) for a, b in zip(j, r, strict=True)]
        path += norm(step)
        w = [a + b for a, b in zip(w, step, strict=True)]
        assert path <= c.radius_upper


@pytest.mark.parametrize("scaling", ["mean", "sum", "half_sum"])
def test_scalings_describe_the_same_descent(scaling: str) -> None:
    loss = SquaredLoss(scaling, 7)  # type: ignore[arg-type]
    profile = singular_value_profile(1.0, [(0.5, 0.7), (3.0, 0.9)])
    base = squared_loss_converges(0.3, profile, 2.0).conclusion
    here = squared_loss_converges(0.3, profile, 2.0, loss=loss).conclusion
    assert base is not None
    assert here is not None
    assert loss.theory_step(here.step_size).hi <= base.step_size
    assert here.one_minus_rate_lower == pytest.approx(base.one_minus_rate_lower, rel=1e-14)
    again = squared_loss_converges(0.3, profile, 2.0, loss=loss, step_size=here.step_size)
    assert again.conclusion == here


def test_tiny_rates_keep_their_digits() -> None:
    profile = singular_value_profile(1e-6, [(math.inf, 1e-3)])
    c = squared_loss_converges(1e-10, profile, 30.0).conclusion
    assert c is not None
    x = mp.mpf(c.step_size) * mp.mpf(c.singular_value_lower) ** 2
    assert c.one_minus_rate_lower <= 1 - (1 - x) ** 2
    assert c.one_minus_rate_lower >= (1 - (1 - x) ** 2) * (1 - mp.mpf("1e-14"))
    assert c.halving_steps_upper >= mp.log(2) / -mp.log1p(-(2 * x - x * x))
    assert c.halving_steps_upper <= 1 + (1 + mp.mpf("1e-12")) * mp.log(2) / (2 * x - x * x)
    assert c.loss_rate_upper <= 1.0


def test_a_solved_problem_is_proved_with_radius_zero() -> None:
    profile = singular_value_profile(1.0, [(1.0, 1.0)])
    c = squared_loss_converges(0.0, profile, 1.0).conclusion
    assert c is not None
    assert c.radius_upper == 0.0


def test_jacobian_norm_grows_over_the_ball() -> None:
    profile = singular_value_profile(1.0, [(math.inf, 0.5)])
    c = squared_loss_converges(0.4, profile, 2.0).conclusion
    assert c is not None
    growth = 2.0 + 0.5 * c.radius_upper
    assert growth <= c.jacobian_norm_upper <= growth + 1e-14
    assert c.step_size <= 1.0 / growth**2


@pytest.mark.parametrize("index", range(50))
def test_both_ways_to_state_the_rate_agree(index: int) -> None:
    """f_{k+1} / f_k <= rate and 1 - rate >= one_minus_rate, also after rounding."""
    profile = singular_value_profile(1.0, [(9.0, 0.0)])
    c = squared_loss_converges(0.5, profile, 1.0 + 0.03 * index).conclusion
    assert c is not None
    assert Fraction(c.loss_rate_upper) >= 1 - Fraction(c.one_minus_rate_lower)
