"""Gradient descent at the stated step size and at fractions of it, in float64 and in Arb.

The Arb run encloses real-arithmetic gradient descent; its balls grow from step to step, and the run
ends when they say nothing more. The float64 runs are longer and only point at a step to look at.
"""

from __future__ import annotations

import math
import time

import torch
from flint import arb, ctx
from torch import Tensor

from talweg.falsification._board import CLOSE, Board, Effort, ratio_approx
from talweg.falsification._chain import FloatChain
from talweg.falsification._course import PATH, RADIUS, RATE, STATEMENTS, Course, Iterate
from talweg.falsification._exact import ExactChain, norm
from talweg.falsification._losses import SquaredLoss
from talweg.falsification._result import Violation
from talweg.falsification._stated import Layer, Stated

BITS = 512
"""Of a descent in Arb: balls widen by a factor in every step."""

CONFIRMED_STEPS = 400
"""A float64 candidate later than this is not followed in Arb."""

ROUNDING_OF_SQUARES, ROUNDING_OF_LOGARITHMS = 1e-22, 1e-10
"""A float64 loss below this share of |F|^2, or of the number of samples, is rounding."""


def attack_descent(
    found: Stated, chain: FloatChain, exact: ExactChain, board: Board, effort: Effort,
    generator: torch.Generator,
) -> None:  # fmt: skip
    """Arb from the first step, float64 further; float64 candidates are followed in Arb."""
    board.say("following gradient descent")
    drawn = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    fractions = (1.0, 0.5, *drawn)
    with board.timed(RATE, RADIUS, PATH):
        for fraction in fractions[:3]:
            share = 0.5 if fraction == 1.0 else 0.25
            steps = min(
                effort.exact_steps, max(3, int(share * effort.exact_seconds / exact_cost(found)))
            )
            follow_exactly(found, exact, board, fraction, steps)
            if board.over():
                return
        for fraction, step in _float_runs(found, chain, board, fractions, effort.float_steps):
            if step <= CONFIRMED_STEPS and not board.over():
                board.say(f"following {step} steps in Arb")
                follow_exactly(found, exact, board, fraction, step, patient=True)


def exact_cost(found: Stated) -> float:
    """Seconds of one descent step in Arb, roughly."""
    products = sum(op.weight.numel() for op in found.operations if isinstance(op, Layer))
    high = sum(op.weight.shape[0] for op in found.operations if isinstance(op, Layer))
    rows = len(found.inputs)
    return 1e-4 + 1e-7 * rows * products + 6e-6 * rows * high + 2e-6 * products


def follow_exactly(
    found: Stated, exact: ExactChain, board: Board, fraction: float, steps: int,
    *, patient: bool = False,
) -> None:  # fmt: skip
    """An Arb run of at most `steps` steps; every comparison is decided or left alone.

    Args:
        found: The claims.
        exact: The chain.
        board: Where comparisons and a violation go.
        fraction: Of the stated step size.
        steps: At most.
        patient: Go on for as long again after the time of the search is up.
    """
    step = fraction * found.claims["step_size"]
    limit = board.deadline + (max(10.0, 100 * exact_cost(found)) if patient else 0.0)
    with ctx.workprec(BITS):
        p, q = found.loss.factor
        rate = arb(step) * p / q
        w = exact.start()
        outputs, gradient = exact.pull(w, found.loss.exact_slope)
        loss = found.loss.exact_value(outputs) * p / q
        moved, path = [arb(0)] * len(w), arb(0)
        course = Course(found, arb, certified=fraction == 1.0, first=Iterate(loss, arb(0), arb(0)))
        for _ in range(steps):
            if not course.running or time.perf_counter() > limit:
                return
            change = [rate * g for g in gradient]
            path += norm(change)
            moved = [m - c for m, c in zip(moved, change, strict=True)]
            w = [a - c for a, c in zip(w, change, strict=True)]
            outputs, gradient = exact.pull(w, found.loss.exact_slope)
            loss = found.loss.exact_value(outputs) * p / q
            if not loss.rad() * 1e6 < abs(loss.mid()):
                return
            for name, left, right in course.step(Iterate(loss, norm(moved), path)):
                board.compared(name, ratio_approx(left, right))
                if left > right:
                    board.violation = Violation(
                        name, STATEMENTS[name], float(left.mid()), float(right.mid()), BITS,
                        {"step_size": step, "step": float(course.k)}, {},
                    )  # fmt: skip
                    return


def _float_runs(
    found: Stated, chain: FloatChain, board: Board, fractions: tuple[float, ...], steps: int
) -> list[tuple[float, int]]:
    """Float64 runs side by side; (fraction, step) of the closest comparisons that look broken."""
    p, q = found.loss.factor
    x = torch.zeros(len(fractions), chain.size, dtype=torch.float64)
    lr = torch.tensor(fractions, dtype=torch.float64) * found.claims["step_size"] * (p / q)
    path = torch.zeros(len(fractions), dtype=torch.float64)
    courses: list[Course | None] = []
    worst: dict[tuple[int, str], tuple[float, int]] = {}
    for k in range(steps + 1):
        point = x.detach().requires_grad_(True)
        outputs = chain.outputs(point)
        value = found.loss.values_approx(outputs)
        gradient = torch.autograd.grad(value.sum(), point)[0]
        losses = (value.detach() * (p / q)).tolist()
        distances = x.norm(dim=1).tolist()
        floor = _rounding(found, outputs.detach())
        if k == 0:
            courses = [
                Course(found, float, certified=f == 1.0, first=Iterate(loss, 0.0, 0.0))
                for f, loss in zip(fractions, losses, strict=True)
            ]
        for index, course in enumerate(courses):
            if course is None:
                continue
            if k > 0:
                after = Iterate(losses[index], distances[index], float(path[index]))
                for name, left, right in course.step(after):
                    ratio = ratio_approx(left, right)
                    if ratio <= CLOSE:
                        board.compared(name, ratio)
                    elif ratio > worst.get((index, name), (CLOSE, 0))[0]:
                        worst[index, name] = (ratio, k)
            if not course.running or not losses[index] > floor[index]:
                courses[index] = None
        if all(course is None for course in courses) or board.over():
            break
        change = lr[:, None] * gradient
        path = path + change.norm(dim=1)
        x = (x - change).detach()
    found_steps = {(fractions[index], k) for (index, _), (_, k) in worst.items()}
    return sorted(found_steps, key=lambda pair: pair[1])[:4]


def _rounding(found: Stated, outputs: Tensor) -> list[float]:
    """Losses below this are rounding; infinite where the outputs are not finite."""
    p, q = found.loss.factor
    size = (found.multiplicity[:, None] * outputs**2).sum(dim=(1, 2))
    if isinstance(found.loss, SquaredLoss):
        floor = ROUNDING_OF_SQUARES * size
    else:
        floor = 0.0 * size + ROUNDING_OF_LOGARITHMS * float(found.multiplicity.sum())
    return [value if math.isfinite(value) else math.inf for value in (floor * (p / q)).tolist()]
