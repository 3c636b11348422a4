"""E2 without PL: the mean squared gradient falls like 1 / sqrt(T)."""

from __future__ import annotations

import numpy as np

from talweg.experiments._record import Section
from talweg.experiments.lecture._functions import Array, Landscape, egg_box
from talweg.experiments.lecture._statistics import (
    DEVIATIONS,
    MEAN_NOTE,
    fitted_slope,
    mean_and_error,
)
from talweg.theory import decreasing_steps_gradient_bounded, mean_squared_gradient_bounded

DIMENSION = 20
START = 2.5  # each coordinate, where the second derivative is negative
VARIANCE = 20.0  # 1 per coordinate


def nonconvex_gradients(section: Section) -> None:
    """A constant step chosen for T, and c / sqrt(t), on sum (1 - cos x_i)."""
    land = egg_box(DIMENSION)
    last = 11 if section.quick else 15
    horizons = [2**i for i in range(5, last + 1)]
    runs = 40 if section.quick else 100
    gap = float(land.value(np.full((1, DIMENSION), START))[0])

    def constant(horizon: int) -> tuple[float, Array]:
        c = mean_squared_gradient_bounded(gap, land.smoothness, VARIANCE, steps=horizon).conclusion
        if c is None:
            raise AssertionError("constant step")
        steps = np.full(horizon, c.step_size)
        means = squared_gradients(land, steps, runs, section.seed + horizon)
        return c.mean_squared_gradient_upper, means[-1]

    def decreasing(horizon: int) -> tuple[float, Array]:
        c = decreasing_steps_gradient_bounded(
            gap, land.smoothness, VARIANCE, initial_step=first, steps=horizon
        ).conclusion
        if c is None:
            raise AssertionError("decreasing steps")
        return c.mean_squared_gradient_upper, shared[horizon - 1]

    first = 0.5 / land.smoothness
    section.progress("decreasing steps")
    shared = squared_gradients(
        land, first / np.sqrt(np.arange(1, horizons[-1] + 1)), runs, section.seed + 7
    )
    rows, curves = [], []
    for name, rule in (("constant step for T", constant), ("steps 0.5 / sqrt(t)", decreasing)):
        worst, means, bounds = -np.inf, [], []
        for horizon in horizons:
            section.progress(f"{name}: T = {horizon}")
            bound, sample = rule(horizon)
            mean, error = mean_and_error(sample)
            worst = max(worst, (mean - DEVIATIONS * error) / bound)
            means.append(mean)
            bounds.append(bound)
            rows.append({
                "schedule": name, "T": horizon, "mean squared gradient": mean,
                "standard error": error, "bound of E2": bound, "mean / bound": mean / bound,
            })  # fmt: skip
        section.compare(
            f"largest mean squared gradient / bound over T, {name}", predicted=1.0,
            relation="<=", measured=worst, source="E2", note=MEAN_NOTE,
        )  # fmt: skip
        half = len(horizons) // 2
        section.compare(
            f"slope against T, second half of the range, {name}", predicted=-0.5,
            relation="reported",
            measured=fitted_slope(np.array(horizons[half:], float), np.array(means[half:])),
            source="E2",
            note="steeper as long as the large gradients of the start still count",
        )  # fmt: skip
        curves.append((name, means, bounds))
    section.table("nonconvex", rows)
    with section.figure("nonconvex") as figure:
        axes = figure.subplots()
        for i, (name, means, bounds) in enumerate(curves):
            axes.loglog(horizons, means, f"C{i}o-", ms=4, label=name)
            axes.loglog(horizons, bounds, f"C{i}--", lw=1.0, label="its bound (E2)")
        axes.set_xlabel("number of steps $T$")
        axes.set_ylabel("mean over $t$ of $E|\\nabla f(w_t)|^2$")
        axes.legend()
        axes.set_title("sum of $1-\\cos x_i$ in 20 dimensions, unit noise")


def squared_gradients(land: Landscape, steps: Array, runs: int, seed: int) -> Array:
    """Row T - 1: per run, the mean of |grad f|^2 over the first T points."""
    generator = np.random.default_rng(seed)
    x = np.full((runs, land.dimension), START)
    total = np.zeros(runs)
    means = np.empty((len(steps), runs))
    for t, eta in enumerate(steps):
        g = land.gradient(x)
        total += np.sum(g**2, axis=1)
        means[t] = total / (t + 1)
        x -= eta * (g + generator.standard_normal(x.shape))
    return means
