"""E1 and E4: gradient descent and capped Polyak steps on x^2 + 3 sin(x)^2."""

from __future__ import annotations

import numpy as np
import torch

from talweg.experiments._record import Section
from talweg.experiments.lecture._functions import Array, Landscape, sine_well
from talweg.optim import PolyakStep
from talweg.theory import (
    SmoothPLConvergence,
    polyak_steps_converge,
    smooth_pl_descent_converges,
    steps_to_shrink_upper,
)

TEXTBOOK_PL = 1.0 / 32.0
SHRINK = 1e12
NEGLIGIBLE = 1e-28  # below it f is rounding error


def linear_rate(section: Section) -> None:
    """Worst contraction over many starts, against the rate; both values of mu."""
    well = sine_well()
    starts = np.linspace(-10.0, 10.0, 2001 if section.quick else 20001)
    starts = starts[starts != 0.0][:, None]
    rows, curves = [], []
    for product in (0.25, 1.0, 1.5, 1.9):
        step = product / well.smoothness
        gap = float(well.value(starts).max())
        verdict = smooth_pl_descent_converges(gap, well.smoothness, well.pl, step_size=step)
        textbook = smooth_pl_descent_converges(gap, well.smoothness, TEXTBOOK_PL, step_size=step)
        c, t = verdict.conclusion, textbook.conclusion
        if c is None or t is None:
            raise AssertionError(verdict.reason + textbook.reason)
        section.progress(f"gradient descent, L eta = {product}")
        rates, steps, path, curve = descend(well, starts, step)
        curves.append((product, c, curve))
        predicted_steps = steps_to_shrink_upper(SHRINK, c.one_minus_rate_lower)
        label = f"L eta = {product}"
        section.compare(
            f"worst contraction of f in one step, {label}", predicted=c.loss_rate_upper,
            relation="<=", measured=rates, source="E1, E4",
            note=f"{len(starts)} starts in [-10, 10], all steps with f > {NEGLIGIBLE:g}",
        )  # fmt: skip
        section.compare(
            f"longest path, {label}", predicted=c.path_upper, relation="<=", measured=path,
            source="E1, E4",
        )  # fmt: skip
        section.compare(
            f"most steps until f has shrunk 1e12 times, {label}", predicted=predicted_steps,
            relation="<=", measured=steps, source="E1, E4",
        )  # fmt: skip
        rows.append({
            "L eta": product, "rate, mu = 1/32": t.loss_rate_upper, "rate, mu = 0.1755":
            c.loss_rate_upper, "worst measured": rates, "steps to 1e-12 predicted":
            predicted_steps, "steps measured": steps,
        })  # fmt: skip
    _pl_constant(section, well)
    _polyak(section, well)
    section.table("linear_rate", rows)
    with section.figure("linear_rate") as figure:
        axes = figure.subplots()
        for i, (product, c, curve) in enumerate(curves):
            k = np.arange(len(curve))
            axes.semilogy(k, curve, f"C{i}-", label=f"$L\\eta={product}$, worst start")
            axes.semilogy(k, c.loss_rate_upper**k, f"C{i}:", lw=1.0)
        axes.set_xlabel("step $k$")
        axes.set_ylabel("$f(x_k)\\,/\\,f(x_0)$, largest over starts")
        axes.set_ylim(1e-30, 10.0)
        axes.set_xlim(0, 250)
        axes.plot([], [], "k:", label="bound of E1 with $\\mu=0.1755$")
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.92))
        axes.set_title(f"$x^2+3\\sin(x)^2$: gradient descent from {len(starts)} starts")


def descend(well: Landscape, starts: Array, step: float) -> tuple[float, int, float, Array]:
    """Worst contraction, most steps to shrink, longest path, largest relative loss per step."""
    x, first = starts.copy(), well.value(starts)
    before, path, worst, longest = first, np.zeros(len(x)), 0.0, 0
    curve = [1.0]
    reached = np.full(len(x), -1)
    for k in range(1, 3000):
        move = step * well.gradient(x)
        x -= move
        path += np.abs(move[:, 0])
        after = well.value(x)
        live = before > NEGLIGIBLE
        if not live.any():
            break
        worst = max(worst, float(np.max(after[live] / before[live])))
        curve.append(float(np.max(after / first)))
        new = (reached < 0) & (after * SHRINK <= first)
        reached[new] = k
        longest = max(longest, k) if new.any() else longest
        before = after
    return worst, longest, float(path.max()), np.array(curve)


def _pl_constant(section: Section, well: Landscape) -> None:
    x = np.linspace(1e-3, 12.0, 100001)[:, None]
    ratio = well.gradient(x)[:, 0] ** 2 / (2.0 * well.value(x))
    section.compare(
        "least |f'|^2 / (2 f) on a grid", predicted=well.pl, relation=">=",
        measured=float(ratio.min()), source="E4",
        note="100001 points of (0, 12]; the published constant is 1/32 = 0.03125",
    )  # fmt: skip
    with section.figure("pl_ratio") as figure:
        axes = figure.subplots()
        axes.semilogy(x[:, 0], ratio, label="$f'(x)^2/(2f(x))$")
        axes.axhline(well.pl, color="C1", label="$\\mu=0.17553098588$ (proved, sharp)")
        axes.axhline(TEXTBOOK_PL, color="C2", ls="--", label="$\\mu=1/32$ (published)")
        axes.set_xlabel("$x$")
        axes.set_ylabel("PL ratio")
        axes.legend()


def _polyak(section: Section, well: Landscape) -> None:
    """The optimiser itself, with the true infimum and with a bound below it."""
    cap = 1.0 / well.smoothness
    verdict = polyak_steps_converge(103.0, well.smoothness, well.pl, max_step=cap)
    c: SmoothPLConvergence | None = verdict.conclusion
    if c is None:
        raise AssertionError(verdict.reason)
    for bound in (0.0, -5.0):
        worst = 0.0
        for start in np.linspace(0.3, 9.9, 5 if section.quick else 40):
            x = torch.tensor([float(start)], dtype=torch.float64, requires_grad=True)
            optimizer = PolyakStep([x], bound, max_step=cap)
            before = float("inf")
            for _ in range(120):
                optimizer.zero_grad()
                loss = (x**2 + 3.0 * torch.sin(x) ** 2).sum()
                now = float(loss.detach())
                if now < NEGLIGIBLE:
                    break
                if before < float("inf"):
                    worst = max(worst, now / before)
                before = now
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step(loss=loss.detach())
        section.compare(
            f"worst contraction of f, PolyakStep with cap 1/L and f_star = {bound:g}",
            predicted=c.loss_rate_upper, relation="<=", measured=worst,
            source="E1 (capped Polyak steps)",
            note="any f_star at or below the infimum is covered",
        )  # fmt: skip
