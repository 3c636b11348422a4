"""Stochastic gradient descent under interpolation: many runs against T10's expectation."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

from talweg.experiments._record import Section
from talweg.experiments.liu2020._problems import (
    Bounds,
    bounds_of,
    generator,
    ntk_network,
    orthonormal_inputs,
)
from talweg.network import FlatFunction
from talweg.theory import (
    StochasticConvergence,
    squared_loss_minibatch_constants,
    stochastic_descent_interpolates,
)

RISK = 0.1
"""Probability of leaving the ball that is accepted; the residual is chosen to use it up."""

BALL = 0.1
"""Radius of the ball in units of sigma_0 / beta(0)."""

ERRORS = 4.0
"""A sample mean is judged after this many standard errors are taken off (one-sided)."""


def stochastic_interpolation(section: Section) -> None:
    """Batches of several sizes: the mean loss over many runs stays below (1 - delta)^k f(w0).

    The theorem speaks of an expectation, a finite sample of runs does not: what is compared is the
    mean minus four standard errors. The expectation after one step is also computed exactly, over
    all batches, and compared as it is.

    Args:
        section: Where results go.
    """
    n, d, width = (6, 8, 256) if section.quick else (8, 10, 512)
    runs = 64 if section.quick else 400
    inputs = orthonormal_inputs(n, d, section.seed + 5)
    bounds = bounds_of(ntk_network((d, width, 1), section.seed + 105), inputs)
    rows: list[dict[str, Any]] = []
    curves: list[tuple[int, list[int], list[float], list[float], float]] = []
    for batch in (1, 2) if section.quick else (1, 2, 4, 8):
        y, c = _problem(section, bounds, batch)
        function = bounds.function
        steps = min(int(3.0 / c.one_minus_rate_lower) + 1, 60 if section.quick else 600)
        section.progress(f"batches of {batch}: {runs} runs of {steps} steps")
        found = _many_runs(section, bounds, y, batch, c.step_size, runs, steps)
        marks = sorted({round(steps * i / 40) for i in range(41)})
        f0 = float(found.losses[0][0])
        means: list[float] = [float(found.losses[k].mean()) / f0 for k in marks]
        spread: list[float] = [float(found.losses[k].std()) / f0 / math.sqrt(runs) for k in marks]
        for k, mean, error in list(zip(marks, means, spread, strict=True))[10::10]:
            section.compare(
                f"E[f_k] / f_0 after {k} steps, batch {batch} of {n}",
                predicted=c.loss_rate_upper**k, relation="<=",
                measured=max(mean - ERRORS * error, 0.0),
                source="T10", note=f"mean {mean:.3g} over {runs} runs, standard error {error:.2g}",
            )  # fmt: skip
        exact = _exact_factor(function, y, batch, c.step_size, function.start)
        section.compare(f"E[f_1] / f_0 over all batches, batch {batch} of {n}",
                        predicted=c.loss_rate_upper, relation="<=", measured=exact,
                        source="T10", note="no sampling")  # fmt: skip
        section.compare(
            f"share of runs that left the ball, batch {batch} of {n}",
            predicted=c.exit_probability_upper, relation="<=",
            measured=_share_lower(found.left, runs), source="T10",
            note=f"{found.left} of {runs}; a lower confidence limit is compared",
        )  # fmt: skip
        section.compare(
            f"mean path, batch {batch} of {n}", predicted=c.expected_path_upper, relation="<=",
            measured=max(float(found.paths.mean() - ERRORS * found.paths.std() / runs**0.5), 0.0),
            source="T10", note=f"mean {float(found.paths.mean()):.3g}",
        )  # fmt: skip
        decay = 1.0 - math.exp(math.log(means[-1]) / marks[-1]) if means[-1] > 0.0 else 1.0
        mean_path = float(found.paths.mean())
        rows.append({
            "batch": batch, "step": c.step_size, "delta": c.one_minus_rate_lower,
            "measured_mean_decay": decay, "exact_first_decay": 1.0 - exact,
            "exit_bound": c.exit_probability_upper, "left": found.left, "runs": runs,
            "steps": steps, "mean_path_over_bound": mean_path / c.expected_path_upper,
        })  # fmt: skip
        curves.append((batch, marks, means, spread, c.loss_rate_upper))
    section.table("stochastic_interpolation", rows)
    _figure(section, n, curves)


def _problem(section: Section, bounds: Bounds, batch: int) -> tuple[Tensor, StochasticConvergence]:
    """Targets as far from F(w0) as T10 allows at the accepted risk, and its conclusion."""
    radius = BALL * bounds.sigma_min_lower / bounds.lipschitz.upper(0.0)
    profile = bounds.profile((BALL,))
    function = bounds.function
    outputs = function(function.start)
    source = generator(section.seed + 17)
    direction = torch.randn(outputs.shape, generator=source, dtype=torch.float64)
    direction = direction / direction.norm()
    size = 1.0
    for _ in range(200):
        y = outputs - size * direction
        k = squared_loss_minibatch_constants(
            bounds.residual_norm_upper(y), profile, bounds.jacobian_norm_upper,
            bounds.sample_norm_upper, samples=len(outputs), batch=batch,
            radius=min(radius, profile.radius),
        )  # fmt: skip
        verdict = stochastic_descent_interpolates(
            k.initial_loss_upper, k.pl_lower, k.smoothness_upper, k.batch_smoothness_upper,
            k.radius, failure_probability=RISK,
        )  # fmt: skip
        if verdict.conclusion is not None:
            return y, verdict.conclusion
        size *= 0.9
    raise RuntimeError("T10 was not proved for any residual; please report")


class _Runs:
    """Losses of all runs at every step (0 after an exit), exits, and paths inside the ball."""

    def __init__(self, losses: list[Tensor], left: int, paths: Tensor) -> None:
        self.losses, self.left, self.paths = losses, left, paths


def _many_runs(
    section: Section, bounds: Bounds, y: Tensor, batch: int, step: float, runs: int, steps: int
) -> _Runs:
    """Independent runs side by side; batches of distinct samples, fresh at every step."""
    function, n = bounds.function, len(y)
    radius = min(
        BALL * bounds.sigma_min_lower / bounds.lipschitz.upper(0.0), bounds.profile((BALL,)).radius
    )
    source = generator(section.seed + 31 * batch)

    def batch_loss(w: Tensor, mask: Tensor) -> Tensor:
        return 0.5 * (n / batch) * (mask * (function(w) - y).square().reshape(-1)).sum()

    slopes = vmap(grad(batch_loss))
    losses_of = vmap(lambda w: 0.5 * (function(w) - y).square().sum())
    start = function.start
    w = start.expand(runs, -1).clone()
    inside = torch.ones(runs, dtype=torch.float64)
    paths = torch.zeros(runs, dtype=torch.float64)
    losses = [losses_of(w)]
    for k in range(steps):
        if k % 50 == 0:
            section.progress(f"batches of {batch}: step {k} of {steps}")
        chosen = torch.rand(runs, n, generator=source, dtype=torch.float64).topk(batch, dim=1)[1]
        mask = torch.zeros(runs, n, dtype=torch.float64).scatter_(1, chosen, 1.0)
        change = step * slopes(w, mask) * inside.unsqueeze(1)
        paths += change.norm(dim=1)
        w = w - change
        inside = inside * ((w - start).norm(dim=1) <= radius)
        losses.append(losses_of(w) * inside)
    return _Runs(losses, int(runs - inside.sum()), paths)


def _exact_factor(function: FlatFunction, y: Tensor, batch: int, step: float, w: Tensor) -> float:
    """E[f(w+)] / f(w), the mean over all batches."""
    n = len(y)
    start = 0.5 * float((function(w) - y).square().sum())
    total, count = 0.0, 0
    for chosen in combinations(range(n), batch):
        rows = list(chosen)

        def loss(v: Tensor, rows: list[int] = rows) -> Tensor:
            return 0.5 * (n / batch) * (function(v) - y)[rows].square().sum()

        moved = w - step * grad(loss)(w)
        total += 0.5 * float((function(moved) - y).square().sum())
        count += 1
    return total / count / start


def _share_lower(successes: int, trials: int) -> float:
    """Lower limit of a probability by Hoeffding's inequality at confidence 1 - 1e-4."""
    return max(successes / trials - math.sqrt(math.log(1e4) / (2.0 * trials)), 0.0)


def _figure(
    section: Section, n: int, curves: list[tuple[int, list[int], list[float], list[float], float]]
) -> None:
    with section.figure("stochastic_interpolation", width=6.6, height=4.4) as figure:
        axis = figure.subplots()
        for index, (batch, marks, means, spread, rate) in enumerate(curves):
            color = f"C{index}"
            axis.plot(marks, means, color=color, label=f"batch {batch} of {n}")
            low = [max(m - ERRORS * e, 1e-300) for m, e in zip(means, spread, strict=True)]
            high = [m + ERRORS * e for m, e in zip(means, spread, strict=True)]
            axis.fill_between(marks, low, high, color=color, alpha=0.25)
            axis.plot(marks, [rate**k for k in marks], "--", color=color)
        least = min(min(m for m in means if m > 0.0) for _, _, means, _, _ in curves)
        axis.set(yscale="log", xlabel="step k", ylabel="mean of f(w_k) 1{tau > k} / f(w_0)",
                 ylim=(max(0.3 * least, 1e-16), 2.0))  # fmt: skip
        axis.legend(title="solid: mean, 4 standard errors\ndashed: bound (T10)")
