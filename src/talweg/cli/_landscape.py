"""The loss on a plane through the stored weights: a slice for the report, in float64; no proof.

The plane holds the start and the end of a path. Its second direction is the one in which the path
leaves the line between them most, so that what bends of it can be seen. A few hundred measured
steps are often too short to be seen beside the ball, so for squared losses the path goes on to its
end in the linearised network:

    w_k - w_0 = -J^T Q ((1 - (1 - c eta Lambda)^k) / Lambda) Q^T r_0,    K = J J^T = Q Lambda Q^T,

c = 2 / (n k), 2 or 1 for the mean, the sum and half the sum of squares.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from talweg.cli._forward_work import forward_work, value_entries
from talweg.cli._stored_descent import KEPT_POINTS, Descent, Loss
from talweg.network import FlatFunction

MOST_PARAMETERS = 1_000_000
"""For the kept points of the path, 24 of them: 200 MB."""
MOST_WORK = 2e10
"""Operations for one slice, as `forward_work` counts: about a second. There are at most two."""
TOGETHER = 4_000_000
"""Entries of values and weights up to which points of a slice are evaluated at once: 32 MB."""
SIDES = (41, 31, 21)
"""Points along one side, the finest first."""
FRAME = 1.25
"""Half the side of the slice over the radius of the ball."""
CLOSER = 0.25
"""A second slice is drawn around the path where that is shorter than this share of the radius."""
ANGLES = 16
"""Points on the circle where the loss is looked at."""
DONE = 14.0
"""The linearised path ends where the slowest part of the residual is down by exp(-14), 1e-6."""
STRAIGHT = 1e-9
"""Of the way's length: what leaves the line between its ends by less has no direction."""


def side_of(function: FlatFunction, parameters: int) -> int:
    """Points along one side of a slice that the budget allows; 0 where it allows none.

    Args:
        function: The stored network on its inputs.
        parameters: Trainable ones.
    """
    if parameters > MOST_PARAMETERS:
        return 0
    work = len(function.inputs) * max(forward_work(function.network), parameters)
    return next((side for side in SIDES if side**2 * work <= MOST_WORK), 0)


@dataclass(frozen=True, eq=False)
class Ahead:
    """The descent in the linearised network, beyond what was measured.

    Attributes:
        steps: Step counts.
        path: Weights ``(m, p)``, float64.
    """

    steps: list[float]
    path: Tensor


def linearised_descent(
    function: FlatFunction, residual: Tensor, kernel: Tensor, step: float, begun: int
) -> Ahead:
    """Where gradient descent on the linearised network goes after the steps that were run.

    Args:
        function: The stored network on distinct rows, with the roots of their multiplicities.
        residual: ``r_0`` there, ``(N,)``.
        kernel: ``K`` there, ``(N, N)``.
        step: ``c eta``, the step on half the squared norm.
        begun: Steps that were run.

    Raises:
        ArithmeticError: The kernel or the step is not of a descent that converges.
    """
    values, vectors = torch.linalg.eigh(kernel)
    rates = step * values  # (N,)
    if not (bool((rates > 0.0).all()) and bool((rates < 2.0).all())):
        raise ArithmeticError("the linearised descent does not converge")
    last = max(DONE / float(rates.min()), 2.0 * begun)
    ratio = last / begun
    steps = [float(round(begun * ratio ** (i / (KEPT_POINTS - 1)))) for i in range(KEPT_POINTS)]
    start = function.start.requires_grad_()
    outputs = function(start)
    along = vectors.T @ residual
    points = []
    for k in steps:
        # 1 - (1 - c eta lambda)^k, without cancellation where c eta lambda is small
        small = -torch.expm1(k * torch.log1p(-rates))
        done = torch.where(rates < 0.5, small, 1.0 - (1.0 - rates).pow(k))
        weights = (vectors @ (along * done / values)).reshape(outputs.shape)
        # Of a scalar: with weights of its own, autograd.grad imports a computer algebra system.
        [moved] = torch.autograd.grad((outputs * weights).sum(), start, retain_graph=True)
        points.append(start.detach() - moved)
    return Ahead(steps, torch.stack(points))


@torch.no_grad()
def landscape_of(
    function: FlatFunction,
    loss: Loss,
    descent: Descent,
    radius: float,
    side: int,
    ahead: Ahead | None = None,
) -> dict[str, Any]:
    """Slices of the loss, the path on them, and the loss on the circle of the ball.

    Args:
        function: The stored network on its inputs.
        loss: Of its outputs, above the infimum.
        descent: From the stored weights, with kept points.
        radius: Of the certified ball.
        side: Points along one side of a slice.
        ahead: How the path goes on in the linearised network.

    Returns:
        "slices" (each "x", "y" and "log10", rows from below), "path" and "ahead" (step, both
        coordinates, loss), "off_plane" (largest distance of the path from the plane), "circle"
        (least and largest loss at points on it), "radius", "parameters" and "second" (what the
        second direction is).

    Raises:
        ArithmeticError: The path does not move, or nothing on the slice is finite.
    """
    start = descent.path[0]
    points = descent.path if ahead is None else torch.cat([descent.path, ahead.path])
    moves = points - start  # (m, p)
    first, second, what = _directions(moves)
    x, y = moves @ first, moves @ second
    off = (moves - torch.outer(x, first) - torch.outer(y, second)).norm(dim=1).max()

    entries = len(function.inputs) * value_entries(function.network) + len(start)
    together = max(1, TOGETHER // entries)

    def at(pairs: Sequence[tuple[float, float]]) -> list[float]:
        found: list[float] = []
        for part in torch.split(torch.tensor(pairs, dtype=start.dtype), together):
            a, b = part[:, :1], part[:, 1:]
            found += _losses(function, loss, start + a * first + b * second)
        return found

    frames = [(0.0, 0.0, FRAME * radius)]
    if float(torch.hypot(x, y).max()) < CLOSER * radius:
        middles = [float(v.min() + v.max()) / 2 for v in (x, y)]
        extent = max(float(v.max() - v.min()) for v in (x, y))
        frames.append((middles[0], middles[1], 0.7 * extent))
    slices = []
    for a, b, half in frames:
        ticks = [half * (2 * i / (side - 1) - 1) for i in range(side)]
        rows = [[_log10(v) for v in at([(a + s, b + t) for s in ticks])] for t in ticks]
        if not any(cell is not None for row in rows for cell in row):
            raise ArithmeticError("nothing on the slice is finite")
        slices.append({"x": [a + s for s in ticks], "y": [b + t for t in ticks], "log10": rows})
    angles = [2 * math.pi * i / ANGLES for i in range(ANGLES)]
    circle = at([(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles])
    losses = [v for part in torch.split(points, together) for v in _losses(function, loss, part)]
    steps = [*descent.kept, *([] if ahead is None else ahead.steps)]
    told = list(zip(steps, x.tolist(), y.tolist(), losses, strict=True))
    run = len(descent.kept)
    return {
        "slices": slices, "path": told[:run], "ahead": told[run:], "off_plane": float(off),
        "circle": (min(circle), max(circle)), "radius": radius, "second": what,
        "parameters": len(start),
    }  # fmt: skip


def _losses(function: FlatFunction, loss: Loss, points: Tensor) -> list[float]:
    """The loss at every point ``(m, p)``, all at once: most time of a small network is Python's."""
    if len(points) == 1:
        return [float(loss(function(points[0])))]
    with warnings.catch_warnings():
        # That an operation has no batching rule: the result is the same.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        outputs = vmap(function)(points)
    return [float(loss(one)) for one in outputs]


def _directions(moves: Tensor) -> tuple[Tensor, Tensor, str]:
    """Two orthonormal directions, and the second one in words."""
    length = moves[-1].norm()
    if not (bool(length.isfinite()) and length > 0.0):
        raise ArithmeticError("the path does not move")
    first = moves[-1] / length
    rest = moves - torch.outer(moves @ first, first)
    values, vectors = torch.linalg.eigh(rest @ rest.T)
    second = vectors[:, -1] @ rest
    what = "in which the path leaves that line most"
    if not values[-1].clamp(min=0.0).sqrt() > STRAIGHT * length:
        generator = torch.Generator().manual_seed(0)
        second = torch.randn(len(first), generator=generator, dtype=first.dtype)
        what = "drawn at random, because the path is straight"
    second = second - (second @ first) * first
    size = second.norm()
    if not size > 0.0:
        raise ArithmeticError("there is no second direction")
    second = second / size
    second = second - (second @ first) * first  # once more: the first time loses digits
    return first, second / second.norm() * (1 if (moves @ second).sum() >= 0 else -1), what


def _log10(value: float) -> float | None:
    if not 0.0 < value < math.inf:
        return None
    return round(math.log10(value), 4)
