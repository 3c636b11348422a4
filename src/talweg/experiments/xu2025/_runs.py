"""Runs: one rule from the start to a tolerance, and the best constant step of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from talweg.experiments.xu2025._problems import Problem
from talweg.optim import LinearNetworkGD, LinearStepCertificate, StepRule

GRID = tuple(0.2 * 500.0 ** (i / 19.0) for i in range(20))
"""Twenty constant steps, in units of 1/L_0, L_0 = K (|W1|^2 + |W2|^2) + |G| at the start."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a rule.

    Attributes:
        steps: iterations until the gap fell below the tolerance; inf if it did not.
        gaps: f - l* before each step and at the end, in floating point.
        certificates: one per step, empty unless asked for.
        distances: |w_k - w_0|.
        steps_taken: the step sizes.
    """

    steps: float
    gaps: list[float]
    certificates: list[LinearStepCertificate]
    distances: list[float]
    steps_taken: list[float]


def run_rule(
    problem: Problem, rule: StepRule, *, tolerance: float, most: int, certify: bool = False
) -> Run:
    """Run one rule until f - l* <= tolerance (f_0 - l*).

    Args:
        problem: where to start.
        rule: of `LinearNetworkGD`.
        tolerance: relative.
        most: iterations at most.
        certify: whether every step is enclosed.
    """
    first, second = problem.first.clone(), problem.second.clone()
    optimiser = LinearNetworkGD((first, second), problem.loss, rule=rule, certify=certify)
    gaps, distances = [problem.initial_gap], [0.0]
    sizes: list[float] = []
    while len(sizes) < most and gaps[-1] > tolerance * gaps[0]:
        optimiser.step()
        sizes.append(float(optimiser.param_groups[0]["lr"]))
        gaps.append(problem.loss.value(first @ second) - problem.infimum)
        moved = float((first - problem.first).norm()), float((second - problem.second).norm())
        distances.append(math.hypot(*moved))
    done = gaps[-1] <= tolerance * gaps[0]
    return Run(len(sizes) if done else math.inf, gaps, optimiser.certificates, distances, sizes)


def best_constant(problem: Problem, *, tolerance: float, most: int) -> tuple[float, float]:
    """Iterations and step of the best constant step of `GRID`, all run at once.

    Args:
        problem: where to start.
        tolerance: relative.
        most: iterations at most.

    Returns:
        (inf, nan) if no step of the grid reached the tolerance.
    """
    loss, x, y = problem.loss, problem.loss.inputs, problem.loss.targets
    count = len(GRID)
    first, second = problem.first.repeat(count, 1, 1), problem.second.repeat(count, 1, 1)
    eta = torch.tensor(GRID, dtype=torch.float64) / initial_smoothness(problem)
    target = tolerance * problem.initial_gap
    for step in range(most):
        product = first @ second
        z = x @ product
        if loss.kind == "squared":
            slope, phi = z - y, 0.5 * (z - y).square().sum((1, 2))
        elif loss.kind == "huber":
            a = (z - y).abs()
            slope = (z - y).clamp(-1.0, 1.0)
            phi = torch.where(a <= 1.0, 0.5 * a.square(), a - 0.5).sum((1, 2))
        elif loss.kind == "logistic":
            slope = -y * torch.sigmoid(-y * z)
            phi = torch.nn.functional.softplus(-y * z).sum((1, 2))
        else:
            slope = torch.softmax(z, 2) - y
            phi = torch.logsumexp(z, 2).sum(1) - (y * z).sum((1, 2))
        value = loss.weight * phi + 0.5 * loss.ridge * product.square().sum((1, 2))
        gap = value - problem.infimum
        reached = (gap <= target).nonzero()
        if len(reached):
            return float(step), float(eta[int(reached[0])])
        alive = gap < 1e6 * max(problem.initial_gap, 1.0)  # False for NaN
        if not bool(alive.any()):
            break
        if not bool(alive.all()):
            first, second, eta = first[alive], second[alive], eta[alive]
            slope, product = slope[alive], product[alive]
        g = loss.weight * (x.T @ slope) + loss.ridge * product
        scale = eta.reshape(-1, 1, 1)
        first, second = first - scale * (g @ second.mT), second - scale * (first.mT @ g)
    return math.inf, math.nan


def initial_smoothness(problem: Problem) -> float:
    """L_0 = K (|W1|^2 + |W2|^2) + |G| at the start, in floating point."""
    constants = problem.loss.constants.conclusion
    assert constants is not None
    norms = [float(torch.linalg.matrix_norm(w, 2)) ** 2 for w in (problem.first, problem.second)]
    slope = float(problem.loss.gradient(problem.first @ problem.second).norm())
    return constants.smoothness_upper * sum(norms) + slope
