"""Imbalanced starts whose weights travel farther than any local theorem allows (D3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from talweg.experiments.xu2025._problems import Problem, build
from talweg.optim import enclosed_point, gap_upper, imbalance, linear_network_bounds
from talweg.theory import (
    NotLazyConvergence,
    Status,
    Verdict,
    linear_network_converges,
    linear_network_converges_not_lazy,
)
from talweg.verified import spectral_norm_upper

EPSILONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass
class FarRun:
    """Gradient descent with D3's step, measured beside what D3 says.

    Attributes:
        problem: where it started.
        claim: D3's conclusion.
        lazy_status: what D1 with T4 says of the same start.
        lazy_radius: sigma_min(J(w_0)), beyond which nothing local can speak.
        gaps: f - l*.
        kernels: sigma_d(W1)^2 + sigma_m(W2)^2.
        norms: sqrt(|W1|^2 + |W2|^2).
        drifts: trace norm of D_k - D_0.
        distances: |w_k - w_0|.
        path: length of the whole path.
    """

    problem: Problem
    claim: NotLazyConvergence
    lazy_status: Status
    lazy_radius: float
    gaps: list[float] = field(default_factory=list)
    kernels: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    drifts: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    path: float = 0.0

    @property
    def looseness(self) -> float:
        """log measured / log certified contraction over the whole run."""
        certified = (len(self.gaps) - 1) * math.log1p(-self.claim.one_minus_rate_lower)
        return math.log(self.gaps[-1] / self.gaps[0]) / certified


def starts(seed: int, *, quick: bool = False) -> list[Problem]:
    """Problems with W1 = size times orthonormal rows and a small W2.

    Args:
        seed: base seed.
        quick: only three of them.
    """
    choices = [
        ("squared", (3, 6, 2), 1.0, 1.0), ("squared", (3, 6, 2), 0.5, 1.0),
        ("logistic", (3, 6, 2), 0.7, 1.0), ("squared", (4, 10, 4), 0.7, 1.0),
        ("squared", (4, 10, 4), 0.35, 1.0), ("squared", (3, 6, 2), 0.7, 4.0),
        ("huber", (3, 6, 2), 1.0, 1.0), ("huber", (3, 6, 2), 0.7, 1.0),
        ("cross_entropy", (3, 6, 3), 0.7, 1.0),
    ]  # fmt: skip
    found = []
    for i, (kind, shape, size, condition) in enumerate(choices[: 3 if quick else None]):
        base = build(kind, shape, 1.0, 1.0, condition, seed=seed + 100 + i)  # type: ignore[arg-type]
        first = size * torch.linalg.qr(base.first.T)[0].T.contiguous()
        found.append(Problem(f"{base.kind} {shape[0]}x{shape[1]}x{shape[2]} cond {condition:g} "
                             f"size {size:g}", base.loss, first, 0.01 * base.second,
                             base.infimum))  # fmt: skip
    return found


def certified(problem: Problem) -> tuple[Verdict[NotLazyConvergence], Status, float]:
    """D3's best verdict over `EPSILONS`, D1 with T4 on the same start, and the lazy radius.

    Args:
        problem: where to start.
    """
    constants = problem.loss.constants.conclusion
    assert constants is not None
    at = enclosed_point(problem.loss, problem.first, problem.second)
    gap = gap_upper(problem.loss, at.outputs, at.gradient, constants)
    # |W - W_0| <= |W - W*| + |W_0 - W*| <= 2 sqrt(2 gap / convexity) on the sublevel set
    reach = 2.0 * math.sqrt(2.0 * gap / constants.convexity_lower) * (1.0 + 1e-12)
    norm = float(spectral_norm_upper(at.product)) + reach
    d0 = imbalance(problem.first, problem.second)
    bounds = linear_network_bounds(problem.first, problem.second)
    verdicts = [
        linear_network_converges_not_lazy(
            gap, d0, norm * (1.0 + 1e-12), pl_lower=constants.pl_lower,
            smoothness_upper=constants.smoothness_upper, epsilon=epsilon,
        )
        for epsilon in EPSILONS
    ]  # fmt: skip
    best = max(verdicts, key=lambda v: v.conclusion.one_minus_rate_lower if v.conclusion else -1.0)
    lazy = linear_network_converges(
        gap, bounds, pl_lower=constants.pl_lower, smoothness_upper=constants.smoothness_upper,
        epsilon=0.01,
    )  # fmt: skip
    return best, lazy.status, bounds.lazy_radius_lower


def far_run(problem: Problem, *, tolerance: float, most: int) -> FarRun | None:
    """Gradient descent with D3's step until the tolerance; None where D3 does not apply.

    Args:
        problem: where to start.
        tolerance: relative.
        most: iterations at most.
    """
    verdict, lazy, radius = certified(problem)
    if verdict.conclusion is None:
        return None
    run = FarRun(problem, verdict.conclusion, lazy, radius)
    first, second = problem.first.clone(), problem.second.clone()
    start = _imbalance(first, second)
    eta = run.claim.step_size
    for step in range(most + 1):
        run.gaps.append(problem.loss.value(first @ second) - problem.infimum)
        moved = float((first - problem.first).norm()), float((second - problem.second).norm())
        run.distances.append(math.hypot(*moved))
        if step % 10 == 0:  # the spectra cost more than the step
            run.kernels.append(_last(first) + _last(second.T))
            norms = [float(torch.linalg.matrix_norm(w, 2)) for w in (first, second)]
            run.norms.append(math.hypot(*norms))
            drift = torch.linalg.eigvalsh(_imbalance(first, second) - start)
            run.drifts.append(float(drift.abs().sum()))
        if run.gaps[-1] <= tolerance * run.gaps[0] or step == most:
            break
        g = problem.loss.gradient(first @ second)
        g1, g2 = g @ second.T, first.T @ g
        run.path += eta * math.hypot(float(g1.norm()), float(g2.norm()))
        first, second = first - eta * g1, second - eta * g2
    return run


def not_lazy(seed: int, *, quick: bool = False) -> list[dict[str, Any]]:
    """One row per imbalanced start: what D3 claims, what was measured, how far it went.

    Args:
        seed: base seed.
        quick: three starts only.
    """
    rows = []
    for problem in starts(seed, quick=quick):
        run = far_run(problem, tolerance=1e-8, most=20000)
        if run is not None:
            rows.append(summary(run))
    return rows


def summary(run: FarRun) -> dict[str, Any]:
    """One row of the table.

    Args:
        run: a finished run.
    """
    return {
        "start": run.problem.name,
        "lazy criterion (T4)": str(run.lazy_status),
        "step": run.claim.step_size,
        "steps": len(run.gaps) - 1,
        "distance / lazy radius": max(run.distances) / run.lazy_radius,
        "c of D3": run.claim.kernel_lower,
        "smallest kernel": min(run.kernels),
        "log measured / log certified": run.looseness,
    }


def _imbalance(first: Tensor, second: Tensor) -> Tensor:
    return first.T @ first - second @ second.T


def _last(matrix: Tensor) -> float:
    """The square of the last singular value of a wide matrix; 0 for a tall one."""
    if matrix.shape[0] > matrix.shape[1]:
        return 0.0
    return float(torch.linalg.svdvals(matrix)[-1]) ** 2
