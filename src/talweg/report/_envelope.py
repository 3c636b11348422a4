"""What a certificate says of the loss over the steps, and what a measured run did beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from talweg.report._claim import Claim
from talweg.report._curves import curve, leftward
from talweg.report._directed import near, upper, whole
from talweg.report._pieces import Figure, Paragraph, Part, Table
from talweg.report._plot import layout, short
from talweg.report._series import number

HALVINGS = 20
ROWS = 10
POINTS = 100


def envelope_parts(claim: Claim, measured: Mapping[str, Any], word: str) -> tuple[Part, ...]:
    """The bound of the loss, with its halving steps, and a measured run if there is one.

    Args:
        claim: What the file states.
        measured: May hold "losses", pairs of step and loss above the infimum.
        word: What the numbers of the file may be called: "certified" or "claimed".
    """
    start, gain = near(claim.start), claim.numbers["one_minus_rate"]
    parts: list[Part] = []
    if 0.0 < start < math.inf and gain < 1:
        parts.append(_stated(claim, start, word))
        losses = _pairs(measured.get("losses"))
        if len(losses) > 1:
            parts.append(_beside(claim, start, losses, word))
    else:
        parts.append(Paragraph(
            "The bound is not drawn: the loss at the start or after one step is zero, or no float."
        ))  # fmt: skip
    return tuple(parts)


def loss_name(claim: Claim) -> str:
    """What falls, in words."""
    return "loss above its infimum" if (claim.kind, claim.theorem) == (
        "cross_entropy", "T4") else "loss"  # fmt: skip


def until(claim: Claim) -> str:
    """How far the rate holds, in words."""
    if claim.goal is None:
        return "in every step"
    # Of later iterates nothing is claimed.
    return "until the loss is at the " + ("floor" if "floor" in claim.numbers else "target")


def bound_at(claim: Claim, start: float, step: float) -> float:
    """The certified bound of the loss after some steps, in floating point.

    Args:
        claim: What the file states.
        start: Its bound at the start.
        step: How many steps.
    """
    gain = near(claim.numbers["one_minus_rate"])
    return start * math.exp(step * math.log1p(-gain)) if gain < 1.0 else 0.0


def _stated(claim: Claim, start: float, word: str) -> Figure:
    halving, goal = claim.numbers["halving_steps"], claim.goal
    gain = near(claim.numbers["one_minus_rate"])
    slope = -math.log1p(-gain) if gain < 1.0 else math.inf
    end = HALVINGS * near(halving)
    if goal is not None:
        reached = math.log(max(start / near(goal), 1.0)) / slope if slope > 0 else end
        end = min(max(reached, 1.0), near(claim.numbers["steps_upper"]))
    x = [end * i / POINTS for i in range(POINTS + 1)]
    count = int(end / near(halving))
    every = max(1, math.ceil(count / HALVINGS))
    marks = [(j * halving, claim.start / 2**j) for j in range(0, count + 1, every)]
    name = loss_name(claim)
    limits = (
        [] if goal is None else [(near(goal), "floor" if "floor" in claim.numbers else "target")]
    )
    told = (
        f"{word.capitalize()}: with step size {float(claim.numbers['step_size'])!r} the {name} is "
        f"at most "
        f"{upper(claim.start)} at the start and halves at least every {whole(halving)} steps, "
        f"{until(claim)}."
    )
    shown = marks if len(marks) <= ROWS else [marks[i * (len(marks) - 1) // (ROWS - 1)]
                                              for i in range(ROWS)]  # fmt: skip
    rows = tuple((whole(step), upper(loss)) for step, loss in shown)
    return Figure(
        "envelope", f"The {word} bound of the {name}",
        "f₀ (1 - gain)^k with the file's bounds of f₀ and of the gain in a step; points are "
        f"{'halvings' if every == 1 else f'every {every} halvings'}. {told} "
        "A bound: the loss may be smaller.",
        told,
        (curve(x, [bound_at(claim, start, k) for k in x], f"{word} bound", 1, what="step"),
         curve([near(k) for k, _ in marks], [near(f) for _, f in marks], "halvings", 2,
               what="step", mode="markers")),
        _axis(name, [start, bound_at(claim, start, end)], limits),
        Table(f"After so many steps, rounded up; {until(claim)}",
              ("steps", f"{name} at most"), rows),
    )  # fmt: skip


def _beside(claim: Claim, start: float, losses: Sequence[tuple[float, float]], word: str) -> Figure:
    name, last = loss_name(claim), losses[-1]
    x = [step for step, _ in losses]
    bound = [bound_at(claim, start, step) for step in x]
    told = (
        f"Measured: from {short(losses[0][1])} to {short(last[1])} in {last[0]:,.0f} steps; the "
        f"bound after them is {short(bound[-1])}."
    )
    stride = max(1, math.ceil(len(losses) / ROWS))
    rows = tuple(
        (f"{step:,.0f}", short(loss), short(most))
        for (step, loss), most in list(zip(losses, bound, strict=True))[::stride]
    )
    return Figure(
        "measured", f"The first steps: measured beside {word}",
        f"Gradient descent with the {word} step from the stored weights, run in float64 while "
        f"this page was made. A measurement, not part of the proof. {told}",
        told,
        (curve(x, bound, f"{word} bound", 1, what="step"),
         curve(x, [loss if loss > 0 else math.nan for _, loss in losses], "measured, float64", 3,
               what="step", dash="dash")),
        _axis(name, [*bound, *(loss for _, loss in losses)]),
        Table(f"Measured beside {word}, not rounded to a side",
              ("step", f"{name}, measured", "bound"), rows),
    )  # fmt: skip


def _axis(
    name: str, values: Sequence[float], limits: Sequence[tuple[float, str]] = ()
) -> dict[str, Any]:
    """Logarithmic over more than a decade, with few labels where it is not much more."""
    positive = [v for v in values if 0.0 < v < math.inf]
    ratio = max(positive) / min(positive) if positive else 1.0
    made = leftward(layout(name, log=ratio > 10.0, limits=limits))
    made["yaxis"] |= {"exponentformat": "power"}
    if 10.0 < ratio < 20.0:
        made["yaxis"] |= {"dtick": "D2"}
    return made


def _pairs(found: Any) -> list[tuple[float, float]]:
    made = []
    for item in found if isinstance(found, list | tuple) else ():
        step, loss = (number(v) for v in item)
        if step is not None and loss is not None and math.isfinite(loss):
            made.append((step, loss))
    return made
