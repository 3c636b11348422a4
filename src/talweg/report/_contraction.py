"""How fast f - f* falls, measured and predicted (E1).

E1: for a step eta and curvature at most L, gradient descent takes the share
2 eta mu (1 - L eta / 2) of f - f* off at every step, mu = |grad f|^2 / (2 (f - f*)). Here mu and L
are what was measured at that moment, so the prediction is that of the local quadratic, without the
noise of batches.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Sequence

from talweg.report._series import Row, Series, number, runs, series, step_of

WINDOW = 4  # looks on either side of a measured rate


def lower_bound(rows: Sequence[Row]) -> float:
    """The f* that a run was watched with, from the rows: f - |g|^2 / (2 PL ratio); 0 if unknown."""
    found, sizes = [], []
    for row in rows:
        loss, square, ratio = (number(row.get(k)) for k in ("loss", "gradient_squared", "pl_ratio"))
        if loss is None or square is None or not ratio or not math.isfinite(loss):
            continue
        gap = square / (2 * ratio)
        if math.isfinite(gap):
            found.append(loss - gap)
            sizes.append(abs(loss))
    if not found:
        return 0.0
    middle = statistics.median(found)
    return 0.0 if abs(middle) <= 1e-9 * statistics.median(sizes) else middle


def gaps(rows: Sequence[Row], f_star: float) -> Series:
    """f - f* with its standard error, wherever the loss is known."""
    loss = losses(rows)
    return Series(loss.steps, tuple(v - f_star for v in loss.values), loss.errors)


def losses(rows: Sequence[Row]) -> Series:
    """The loss, or that of the batch where no other is known."""
    merged = [
        {"step": row.get("step"), "loss": row.get("loss", row.get("batch_loss")),
         "loss_error": row.get("loss_error")}
        for row in rows
    ]  # fmt: skip
    return series(merged, "loss", "loss_error")


def measured(gap: Series) -> Series:
    """Share of f - f* that a step takes off: a line through log(f - f*) of some looks around.

    The standard error is that of the line's slope.
    """
    good = gap.where([math.isfinite(v) and v > 0 for v in gap.values])
    steps, values, errors = [], [], []
    for part in runs(good.steps):
        for i in part:
            near = range(max(part.start, i - WINDOW), min(part.stop, i + WINDOW + 1))
            if len(near) < 4:
                continue
            x = [good.steps[j] for j in near]
            y = [math.log(good.values[j]) for j in near]
            slope, error = _slope(x, y)
            steps.append(good.steps[i])
            values.append(-math.expm1(min(slope, 50.0)))
            errors.append(error * math.exp(min(slope, 50.0)))
    return Series(tuple(steps), tuple(values), tuple(errors))


def predicted(rows: Sequence[Row], f_star: float) -> tuple[Series, str]:
    """Share of f - f* that a step takes off by E1, and a sentence about how it was reckoned.

    With momentum b the step counts as eta / (1 - b), and the factor 1 - L eta / 2 is left out. An
    optimiser with a rate of its own for every parameter (Adam) takes |S^{1/2} g|^2 / (f - f*) off,
    with g the gradient of the few samples that curvature is measured on, hence too much.
    """
    curved = [row for row in rows if step_of(row) is not None and _all(row, "limit", "stability")]
    shares: list[tuple[float, float]] = []
    if any(_all(row, "sharpness") for row in curved):
        at = [step_of(row) or 0.0 for row in curved]
        for row in rows:
            step, ratio = step_of(row), number(row.get("pl_ratio"))
            before = bisect.bisect_right(at, step) - 1 if step is not None else -1
            if step is None or ratio is None or before < 0:
                continue
            rate, damping, stability = _step(curved[before])
            brake = max(0.0, 1 - stability) if damping == 1 else 1.0
            shares.append((step, 2 * rate / damping * ratio * brake))
        return _averaged(shares), (
            "2 η μ (1 - L η / 2) with μ the PL ratio and L the sharpness of that moment, the mean "
            "of nine looks; with momentum b the step counts as η / (1 - b)"
        )
    for row in curved:
        loss, scaled, limit = (
            number(row.get(key)) for key in ("curvature_loss", "gradient_scaled", "limit")
        )
        if loss is not None and scaled is not None and limit is not None and loss > f_star:
            shares.append((step_of(row) or 0.0, scaled * limit / (loss - f_star)))
    return _averaged(shares), (
        "the optimiser's own rates times the squared gradient of the few samples on which "
        "curvature is measured, over f - f*, the mean of nine looks; too large by the noise of "
        "those samples"
    )


def _step(row: Row) -> tuple[float, float, float]:
    """Learning rate, 1 - momentum and stability of a row about curvature."""
    rates = row.get("rates")
    known = [number(rate) for rate in rates] if isinstance(rates, list | tuple) else []
    rate = max((r for r in known if r is not None), default=math.nan)
    damping = number(row.get("damping")) or 1.0
    stability = number(row.get("stability"))
    return rate, damping, math.nan if stability is None else stability


def _averaged(points: Sequence[tuple[float, float]]) -> Series:
    """The mean of the looks around, for the estimates are without bias but noisy."""
    good = [(step, share) for step, share in points if math.isfinite(share)]
    steps = tuple(step for step, _ in good)
    values = []
    for part in runs(steps):
        for i in part:
            near = range(max(part.start, i - WINDOW), min(part.stop, i + WINDOW + 1))
            values.append(statistics.fmean(good[j][1] for j in near))
    return Series(steps, tuple(values), (math.nan,) * len(steps))


def _all(row: Row, *keys: str) -> bool:
    return all(number(row.get(key)) is not None for key in keys)


def _slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Of the line of least squares, and its standard error by the residuals."""
    line = statistics.linear_regression(x, y)
    centre = statistics.fmean(x)
    rest = math.fsum((b - line.intercept - line.slope * a) ** 2 for a, b in zip(x, y, strict=True))
    spread = math.fsum((a - centre) ** 2 for a in x)
    return line.slope, math.sqrt(rest / (len(x) - 2) / spread)
