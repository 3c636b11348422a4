"""Figures about the step against the curvature, and about the noise of the batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from talweg.report._contraction import gaps
from talweg.report._pieces import Figure
from talweg.report._plot import band, layout, line, numbers, told
from talweg.report._series import Row, Series, number, series, step_of


def step_figures(rows: Sequence[Row]) -> list[Figure]:
    """Curvature over the optimiser's limit, and sharpness against 2 / eta."""
    made = []
    stable = series(rows, "stability", "stability_error")
    lowest = series(rows, "negative", "negative_error")
    if stable.finite:
        log = max(stable.finite) > 20
        traces = [band(stable, 1, positive=log), line(stable, "largest", 1)]
        columns = {"largest": stable}
        if lowest.finite and not log:
            traces.append(line(lowest, "most negative", 4, dash="dot"))
            columns["most negative"] = lowest
        above = sum(v > 1 for v in stable.finite)
        made.append(
            Figure(
                "stability", "Stability: curvature over the limit",
                "The largest curvature as the optimiser sees it, over the largest that its step "
                "bears: above 1 the step is unstable on the local quadratic. Full-batch training "
                "often settles at 1. Curvature below zero bends downwards: a saddle's way out.",
                f"{told(stable, 'The stability')} It is above 1 at {above} of "
                f"{len(stable.finite)} looks. {told(lowest, 'The most negative curvature')}",
                tuple(traces), layout("curvature / limit", log=log, limits=[(1.0, "limit")]),
                numbers(columns, "Curvature over the limit"),
            )
        )  # fmt: skip
    sharp = series(rows, "sharpness")
    if sharp.finite:
        limit = _limits(rows)
        positive = [v for v in (*sharp.finite, *limit.finite) if v > 0]
        log = len(positive) > 1 and max(positive) > 30 * min(positive)
        traces = [line(sharp, "sharpness", 1)]
        columns = {"sharpness": sharp}
        if limit.finite:
            traces.append(line(limit, "limit / η", 2, dash="dash"))
            columns["limit / η"] = limit
        made.append(
            Figure(
                "sharpness", "Sharpness and 2/η",
                "The largest eigenvalue of the Hessian, and the largest at which the step η is "
                "stable: 2/η for gradient descent, 2(1 + b)/η with momentum b.",
                f"{told(sharp, 'The sharpness')} {told(limit, 'Its limit')}", tuple(traces),
                layout("eigenvalue", log=log), numbers(columns, "Sharpness and its limit"),
            )
        )  # fmt: skip
    return made


def noise_figures(rows: Sequence[Row], f_star: float) -> list[Figure]:
    """The gradient's noise scale, and the noise floor beside f - f*."""
    made = []
    scale = series(rows, "noise_scale")
    good = scale.where([math.isfinite(v) and v > 0 for v in scale.values])
    size = series(rows, "batch_size")
    if len(good):
        lost = len(scale) - len(good)
        traces = [line(good, "noise scale", 1)]
        columns = {"noise scale": good}
        if size.finite:
            traces.append(line(size, "batch size", 2, dash="dash"))
            columns["batch size"] = size
        made.append(
            Figure(
                "noise-scale", "Gradient noise scale",
                "tr Σ / |∇f|²: the batch size at which noise equals signal. Far above the batch "
                "size a step is mostly noise; far below it a larger batch is a waste."
                + (f" At {lost} looks noise hid the gradient altogether; they are left out."
                   if lost else ""),
                told(good, "The noise scale"), tuple(traces), layout("samples", log=True),
                numbers(columns, "Gradient noise scale"),
            )
        )  # fmt: skip
    floor = _floor(rows)
    if len(floor):
        gap = gaps(rows, f_star)
        made.append(
            Figure(
                "noise-floor", "Noise floor",
                "How far above its minimum the noise of the batches holds the loss with this step "
                "and batch, η s²/4, beside f - f*. Where the two meet, only a smaller step or a "
                "larger batch helps.",
                f"{told(floor, 'The noise floor')} {told(gap, 'f - f*')}",
                (line(gap, "f - f*", 1), line(floor, "noise floor", 2, dash="dash")),
                layout("loss", log=True),
                numbers({"f - f*": gap, "noise floor": floor}, "Noise floor and f - f*"),
            )
        )  # fmt: skip
    return made


def _limits(rows: Sequence[Row]) -> Series:
    """The limit over the learning rate, wherever there is one rate."""
    steps, values = [], []
    for row in rows:
        step, limit, rates = step_of(row), number(row.get("limit")), row.get("rates")
        if step is None or limit is None or "sharpness" not in row:
            continue
        rate = number(rates[0]) if isinstance(rates, list | tuple) and len(rates) == 1 else None
        if rate is not None and rate > 0:
            steps.append(step)
            values.append(limit / rate)
    return Series(tuple(steps), tuple(values), (math.nan,) * len(steps))


def _floor(rows: Sequence[Row]) -> Series:
    """eta s^2 / (4 batch), with the latest step known."""
    steps, values = [], []
    rate: float | None = None
    for row in rows:
        rate = number(row.get("noise_step")) or rate
        step = step_of(row)
        noise, size = number(row.get("noise")), number(row.get("batch_size"))
        if step is None or rate is None or noise is None or not size or noise <= 0:
            continue
        value = rate * noise / size / 4
        if math.isfinite(value):
            steps.append(step)
            values.append(value)
    return Series(tuple(steps), tuple(values), (math.nan,) * len(steps))
