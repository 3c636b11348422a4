"""E2 under PL: steps 2 / (mu (t + g)) go below every floor, at the rate 1/t."""

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
from talweg.theory import decreasing_steps_converge, noise_floor_reached

VARIANCE = 1.0


def decreasing_steps_under_pl(section: Section) -> None:
    """E D_t against nu / (t + g), beside a constant step that stays at its floor."""
    count = 6000 if section.quick else 100000
    runs = 300 if section.quick else 1000
    times = np.unique(np.geomspace(1, count, 40).astype(int))
    cases = [
        (sine_well(), 3.0, None),
        (quadratic((8.0,), "4 x^2, g = 40 (nearly sharp)"), 0.0, 40.0),
    ]
    rows, curves = [], []
    for number, (land, start, offset) in enumerate(cases):
        section.progress(f"{land.name}: {count} steps")
        x0 = np.full((1, land.dimension), start)
        c = decreasing_steps_converge(
            float(land.value(x0)[0]) * (1 + 1e-12), land.smoothness, land.pl, VARIANCE,
            offset=offset,
        ).conclusion  # fmt: skip
        if c is None:
            raise AssertionError(land.name)
        steps: Array = 2.0 / (c.pl * (np.arange(count, dtype=np.float64) + c.offset))
        gaps = gaps_at(land, start, steps, times, runs, section.seed + 100 * number)
        worst, means, bounds = -np.inf, [], []
        for t, sample in zip(times, gaps, strict=True):
            mean, error = mean_and_error(sample)
            bound = c.expected_gap_upper(int(t))
            worst = max(worst, (mean - DEVIATIONS * error) / bound)
            means.append(mean)
            bounds.append(bound)
            rows.append({
                "function": land.name, "t": int(t), "mean of f": mean, "standard error": error,
                "bound of E2": bound,
            })  # fmt: skip
        section.compare(
            f"largest E f / bound over t, {land.name}", predicted=1.0, relation="<=",
            measured=worst, source="E2", note=MEAN_NOTE,
        )  # fmt: skip
        late = times > count // 20
        section.compare(
            f"slope of log E f against log t, last {late.sum()} times, {land.name}",
            predicted=-1.0, relation="reported", source="E2",
            measured=fitted_slope(times[late] + c.offset, np.array(means)[late]),
            note="against t + g",
        )  # fmt: skip
        curves.append((land.name, means, bounds))
    fixed, floor = _constant_step(section, cases[0][0], times, count, runs)
    section.table("decreasing_steps", rows, show=False)
    section.table("decreasing_steps_at_the_end", [
        {"function": name, "t": int(times[-1]), "mean of f": means[-1], "bound": bounds[-1],
         "ratio": means[-1] / bounds[-1]} for name, means, bounds in curves
    ])  # fmt: skip
    with section.figure("decreasing_steps", width=9.0) as figure:
        axes = figure.subplots()
        for i, (name, means, bounds) in enumerate(curves):
            axes.loglog(times, means, f"C{i}o-", ms=3, label=name)
            axes.loglog(times, bounds, f"C{i}--", lw=1.0, label="its bound $\\nu/(t+g)$")
        axes.loglog(times, fixed, "C2-", label="$x^2+3\\sin(x)^2$, constant step $1/(2L)$")
        axes.axhline(floor, color="C2", ls="--", lw=1.0, label="its floor")
        axes.set_xlabel("step $t$")
        axes.set_ylabel("$E f(w_t)-f^*$")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _constant_step(
    section: Section, land: Landscape, times: Array, count: int, runs: int
) -> tuple[list[float], float]:
    eta = 0.5 / land.smoothness
    x0 = np.full((1, land.dimension), 3.0)
    gap = float(land.value(x0)[0]) * (1 + 1e-12)
    c = noise_floor_reached(gap, land.smoothness, land.pl, VARIANCE, step_size=eta).conclusion
    if c is None:
        raise AssertionError(land.name)
    section.progress("constant step")
    gaps = gaps_at(land, 3.0, np.full(count, eta), times, runs, section.seed + 55)
    means, worst = [], -np.inf
    for t, sample in zip(times, gaps, strict=True):
        mean, error = mean_and_error(sample)
        means.append(mean)
        worst = max(worst, (mean - DEVIATIONS * error) / c.expected_gap_upper(gap, int(t)))
    section.compare(
        "largest E f / bound over t, constant step 1/(2 L)", predicted=1.0, relation="<=",
        measured=worst, source="E2", note=MEAN_NOTE,
    )  # fmt: skip
    return means, c.floor_upper


def gaps_at(
    land: Landscape, start: float, steps: Array, times: Array, runs: int, seed: int
) -> list[Array]:
    """Per time t, f(w_t) of every run."""
    generator = np.random.default_rng(seed)
    x = np.full((runs, land.dimension), start)
    spread = np.sqrt(VARIANCE / land.dimension)
    wanted, found = set(times.tolist()), []
    for t, eta in enumerate(steps, start=1):
        x -= eta * (land.gradient(x) + spread * generator.standard_normal(x.shape))
        if t in wanted:
            found.append(land.value(x))
    return found
