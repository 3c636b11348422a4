"""Rules about how a run goes: its step against the stability limit, noise, saddles, stationarity.

At a stationary state of SGD near a minimum, with small steps and independent noise of variance s^2
per step, each direction of curvature lambda carries eta s_i^2 / (2 lambda) of variance, so the loss
stands eta s^2 / 4 above the minimum whatever the curvatures are. (E2's floor eta L s^2 / (2 mu) is
the bound for the worst case.) With momentum b the step counts as eta / (1 - b).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from talweg.monitor._data import MOST_READ, DataFacts
from talweg.monitor._finding import Finding
from talweg.monitor._history import History
from talweg.monitor._rules_facts import TINY, row_size, units_died
from talweg.monitor._structure import ModelFacts

UNSTABLE = 1.5  # of the limit; at its edge full-batch training sits happily
SLOW = 0.05  # of the limit
RISEN = 3  # times its start, of a loss that was thrown
LITTLE = 0.05  # share of the loss that is left where a larger step is still worth saying
STUCK = 0.8  # share of the loss that is left
DOWN = 0.3  # the same, of a run that came down: what else is found is a remark
LEVEL = 0.003  # of |g|^2 / (2 (f - f*)) over the largest curvature: the PL ratio over L
FLOOR = 0.02  # of the loss: what a smaller step must promise to take off
AIM = 0.15  # of the limit, times root 1 - momentum: what a suggested step has; sharpness grows


def run_rules(history: History, model: ModelFacts, data: DataFacts | None) -> Iterator[Finding]:
    """Findings from the rows of a run."""
    if len(history.losses) < 3:
        return
    early, late = (find("stability", history.curvatures) for find in (history.early, history.late))
    trend = history.trend()
    fall = -trend.slope * history.steps / 2 if trend is not None else math.nan
    flat = trend is not None and fall < max(0.1, 2 * trend.error * history.steps / 2)
    peak = max(loss for _, loss in history.losses)
    # A rise is the step's fault where the curvature says so, or nothing says otherwise: the loss
    # stays up. One that the curvature does not bear out, and that the run comes down from, was of
    # Adam's first steps, which have no second moments to divide by.
    near = _largest(history)
    recovering = (
        trend is not None and fall > 3 * trend.error * history.steps / 2
        and history.end < peak / 2 and near <= UNSTABLE and late < 1
    )  # fmt: skip
    if history.diverged and not recovering:
        yield _too_large(history, near, True)
        return
    whole = _is_full_batch(history, data)
    noise, floor = (0.0, 0.0) if whole else (_noise(history), _floor(history))
    noisy = noise > 2 and floor > FLOOR * (history.end - history.f_star)
    drowned = flat and noisy
    tiny = row_size(history, model) < TINY  # all units of ReLU networks lie near 0 there
    died = units_died(history) and history.left > 0.9 and not (drowned or tiny)
    rose = peak > RISEN * history.start
    thrown = early > 2 * UNSTABLE or (rose and not recovering) or died
    calm = drowned and late < 1  # whatever threw it, noise holds it now
    if (late > UNSTABLE and (flat or history.left > STUCK)) or (
        thrown and history.left > 0.5 and not calm
    ):
        yield _too_large(history, late if late > UNSTABLE else near, False)
    elif rose and recovering and history.left > DOWN:
        yield _first_steps(history, late)
    negative = -history.late("negative", history.curvatures)
    bent = negative > 0.2 * max(late, 0.0) and negative > 0
    saddle = flat and history.left > STUCK and bent and _steepness(history) < LEVEL
    if saddle:
        yield Finding(
            "saddle", 0.8,
            f"the loss stands still at {history.end:.3g} and the most negative curvature is "
            f"{negative / max(late, negative):.2g} of the largest", "E3",
            "Add noise of the usual initialisation's size to the weights, or start again from "
            "larger ones.", {"reinitialize": [], "perturb": True}, {"negative": negative},
        )  # fmt: skip
    if drowned and not saddle:
        yield Finding(
            "noise_floor", 0.85 if history.left > DOWN else 0.45,
            f"the loss stands still at {history.end:.3g}; the noise of a batch "
            + (f"is {noise:.2g} times the squared gradient" if math.isfinite(noise)
               else "hides the gradient")
            + f" and holds the loss about {floor:.2g} above its minimum",
            "E2",
            "Divide the step by 10, or multiply the batch by 10: the noise floor falls as much.",
            {"lr_factor": 0.1, "batch_factor": 10}, {"noise_to_signal": noise, "floor": floor},
        )  # fmt: skip
    residuals = data.samples * data.outputs if data is not None else 0
    few = model.parameters < residuals / 4 or (model.parameters < residuals and flat)
    if few and history.left > 0.02:
        yield Finding(
            "rank_deficient", _deficiency(model.parameters / residuals, flat, fall),
            f"{model.parameters} parameters face {residuals} residuals: the tangent kernel is "
            f"singular, and the loss {'stands still' if flat else 'falls slowly'} at "
            f"{history.end:.3g}", "T11",
            "Widen the network until the parameters outnumber the residuals, or accept that the "
            "loss has a positive minimum.", {"widen": residuals / max(1, model.parameters)},
            {"parameters": model.parameters, "residuals": residuals},
        )  # fmt: skip
    if late < SLOW and history.left > LITTLE and not (saddle or thrown or noisy):
        factor = max(2.0, _aim(history) / max(late, 1e-6))
        yield Finding(
            "step_too_small", 0.75,
            f"the step is {late:.2g} of the stability limit, and {history.left:.0%} of the loss is "
            f"left after {history.steps} steps", "E1",
            f"Multiply the step by up to {factor:.2g}: the rate grows as much.",
            {"lr_factor": factor}, {"stability": late},
        )  # fmt: skip
    if (fall > 0.1 and history.left < 0.9) or history.left < DOWN or (rose and recovering):
        yield Finding(
            "converging", 0.6,
            f"{history.left:.2%} of the loss is left after {history.steps} steps"
            + (f"; it falls by a factor e every {1 / -trend.slope:.3g} steps"
               if trend is not None and not flat else ""), "E1",
            "Go on.", {}, {"left": history.left},
        )  # fmt: skip


def _deficiency(share: float, flat: bool, fall: float) -> float:
    """How sure it is that too few parameters hold the loss up."""
    slow = flat or fall < 0.3
    return 0.7 if (share < 1 / 4 and slow) or (share < 1 / 16 and fall < 1.2) else 0.45


def _too_large(history: History, stability: float, diverged: bool) -> Finding:
    rates = history.curvatures[0].get("rates", []) if history.curvatures else []
    most = 0.3 if stability > 1 else 0.03
    factor = min(most, _aim(history) / stability) if stability > 0 else most
    step = f"the step {max(rates):.3g}" if rates else "the step"
    if stability > 1:
        seen = f"{step} is {stability:.3g} times the stability limit"
    else:
        seen = _rise(history) + (
            f"; {step} is {stability:.3g} of the stability limit" if stability > 0
            else f"; where its curvature was measured, after that, {step} is at most "
            f"{_most(history):.3g} times the stability limit" if history.curvatures
            else "; its curvature was not measured"
        )  # fmt: skip
    what = "the loss diverges" if diverged else "the loss does not fall"
    below = f" (below {factor * max(rates):.3g})" if rates else ""
    sure = 0.9 if diverged and stability > 1 else 0.75 if diverged or history.left > DOWN else 0.45
    return Finding(
        "step_too_large", sure, f"{what}: {seen}", "E1",
        f"Multiply the step by {factor:.2g}{below}.", {"lr_factor": factor},
        {"stability": stability},
    )  # fmt: skip


def _first_steps(history: History, late: float) -> Finding:
    """A rise that the run comes down from, and that the curvature does not bear out: a remark."""
    now = f"; late in the run the step is {late:.2g} of the stability limit" if late > 0 else ""
    return Finding(
        "step_too_large", 0.45,
        f"the first steps may have been too large for the loss: {_rise(history)}, and falls since"
        f"{now} (Adam's first steps have the full size, however small the gradient)", "E1",
        "Let the step grow over the first steps (warm-up), or keep the optimiser's state when a "
        "run is taken up again.", {"warmup": True}, {"stability": late},
    )  # fmt: skip


def _rise(history: History) -> str:
    """How far the loss went up, in words."""
    for step, loss in history.losses:
        if not math.isfinite(loss):
            return f"it is no finite number at step {step}"
    step, peak = max(history.losses, key=lambda pair: pair[1])
    times = peak / history.start if history.start > 0 else math.inf
    return f"it rose to {times:.3g} times its start by step {step}"


def _most(history: History) -> float:
    return max(float(row["stability"]) for row in history.curvatures)


def _aim(history: History) -> float:
    """The stability that a suggested step would have."""
    damping = history.curvatures[0].get("damping", 1.0) if history.curvatures else 1.0
    return AIM * math.sqrt(damping)


def _noise(history: History) -> float:
    """Noise of a batch over the squared gradient, late in the run; inf where no signal is left."""
    square = history.late("gradient_squared", history.gradients)
    noise = history.late("noise", history.gradients)
    size = history.late("batch_size", history.gradients)
    if math.isnan(square) or math.isnan(noise):
        return math.nan
    return noise / size / square if square > 0 else math.inf


def _is_full_batch(history: History, data: DataFacts | None) -> bool:
    """Whether a batch is nearly all of the data: what micro-batches differ by is then no noise.

    A few samples of a batch are left out where it is cut into equal parts.
    """
    if data is None or data.samples >= MOST_READ:
        return False
    least = min(0.9 * data.samples, data.samples - 3)
    return bool(history.late("batch_size", history.gradients) >= least)


def _steepness(history: History) -> float:
    """The PL ratio over the largest curvature, late, in the optimiser's coordinates; at most 1."""
    found = []
    for row in history.curvatures[len(history.curvatures) // 2 :]:
        gap = row["curvature_loss"] - history.f_star
        top = max(row["stability"], -row["negative"])
        if gap > 0 and top > 0:
            found.append(row["gradient_scaled"] / (2 * gap * top))
    return statistics.median(found) if found else math.nan


def _floor(history: History) -> float:
    """How far above its minimum the noise holds the loss: eta s^2 / 4."""
    variance = history.late("noise", history.gradients) / history.late(
        "batch_size", history.gradients
    )
    rates = [float(row["noise_step"]) for row in history.curvatures if row.get("noise_step")]
    return _or(rates[-1] * variance / 4, 0.0) if rates else 0.0


def _largest(history: History) -> float:
    """The largest stability while the loss was still near its start; 0 where it was not measured.

    Far out the curvature has nothing to do with that of the weights one starts from.
    """
    wild = [step for step, loss in history.losses if not loss <= RISEN * history.start]
    end = min(wild, default=math.inf)
    near = [float(row["stability"]) for row in history.curvatures if row["step"] < end]
    return max(near, default=0.0)


def _or(value: float, other: float) -> float:
    return other if math.isnan(value) else value
