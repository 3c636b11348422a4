"""E2: the noise floor of a constant step is proportional to the step."""

from __future__ import annotations

import numpy as np

from talweg.experiments._record import Section
from talweg.experiments.lecture._functions import Array, Landscape, quadratic, sine_well
from talweg.experiments.lecture._statistics import (
    DEVIATIONS,
    MEAN_NOTE,
    fitted_slope,
    mean_and_error,
)
from talweg.theory import noise_floor_reached

VARIANCE = 1.0


def noise_floor_against_step(section: Section) -> None:
    """Time-averaged E D at stationarity, for steps from 1/(2 L) down."""
    landscapes = [
        quadratic((8.0,), "4 x^2 (sharp)"),
        quadratic(tuple(np.linspace(0.8, 8.0, 10)), "quadratic, L / mu = 10"),
        sine_well(),
    ]
    halvings = 6 if section.quick else 9
    runs = 400 if section.quick else 2000
    rows, curves = [], []
    for number, land in enumerate(landscapes):
        steps, means, errors, floors = [], [], [], []
        worst = -np.inf
        for i in range(1, halvings + 1):
            eta = 2.0**-i / land.smoothness
            section.progress(f"{land.name}: L eta = 2^-{i}")
            c = noise_floor_reached(
                0.0, land.smoothness, land.pl, VARIANCE, step_size=eta
            ).conclusion
            if c is None:
                raise AssertionError(land.name)
            sample = stationary_gaps(land, eta, runs, section.seed + 1000 * number + i)
            mean, error = mean_and_error(sample)
            worst = max(worst, (mean - DEVIATIONS * error) / c.floor_upper)
            steps.append(eta)
            means.append(mean)
            errors.append(error)
            floors.append(c.floor_upper)
            textbook = land.smoothness * eta * VARIANCE / (2.0 * land.pl)
            rows.append({
                "function": land.name, "L eta": 2.0**-i, "mean of f": mean,
                "standard error": error, "floor of E2": c.floor_upper,
                "textbook floor": textbook, "mean / floor": mean / c.floor_upper,
            })  # fmt: skip
        section.compare(
            f"largest E f / floor over the steps, {land.name}", predicted=1.0, relation="<=",
            measured=worst, source="E2", note=MEAN_NOTE + "; started at the minimiser",
        )  # fmt: skip
        section.compare(
            f"slope of log E f against log step, {land.name}", predicted=1.0,
            relation="reported", measured=fitted_slope(np.array(steps), np.array(means)),
            source="E2", note="the floor is proportional to the step as L eta tends to 0",
        )  # fmt: skip
        curves.append((land.name, steps, means, errors, floors))
    section.table("noise_floor", rows)
    with section.figure("noise_floor") as figure:
        axes = figure.subplots()
        for i, (name, steps, means, errors, floors) in enumerate(curves):
            spread = DEVIATIONS * np.array(errors)
            products = 8.0 * np.array(steps)  # every L is 8
            shifted = products * 1.07 ** (i - 1)  # the means coincide: set them side by side
            axes.errorbar(shifted, means, spread, fmt=f"C{i}o", ms=4, capsize=2, label=name)
            axes.plot(products, floors, f"C{i}-", lw=1.0)
        axes.plot([], [], "k-", lw=1.0, label="floor of E2")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("step, $L\\eta$")
        axes.set_ylabel("stationary mean of $f-f^*$, with 5 standard errors")
        axes.legend()


def stationary_gaps(land: Landscape, eta: float, runs: int, seed: int) -> Array:
    """Per run, f averaged over a stretch of steps after the slowest mode has settled.

    The theorem's bound (1 - rate^t) floor holds from the minimiser on at every t, so the average
    needs no burn-in to be fair; the burn-in is for the slope.
    """
    generator = np.random.default_rng(seed)
    x = np.zeros((runs, land.dimension))
    slowest = land.pl if land.dimension > 1 else land.smoothness
    settle = int(np.ceil(4.0 / (slowest * eta)))
    stretch = max(4 * int(np.ceil(1.0 / (land.smoothness * eta))), 40)
    spread = np.sqrt(VARIANCE / land.dimension)
    total = np.zeros(runs)
    for t in range(settle + stretch):
        x -= eta * (land.gradient(x) + spread * generator.standard_normal(x.shape))
        if t >= settle:
            total += land.value(x)
    return total / stretch
