"""PL*_eps: losses that are certified down to a target, where zero is out of the theorem's reach."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import vjp

from talweg.experiments._record import Section
from talweg.experiments.liu2020._problems import (
    Bounds,
    bounds_of,
    generator,
    ntk_network,
    sphere_inputs,
)
from talweg.network import kernel_ball
from talweg.theory import SingularValueProfile, squared_loss_converges, squared_loss_target_reached


def target_loss(section: Section) -> None:
    """T7's steps and radius against runs, for residuals below and beyond what T11 admits.

    Args:
        section: Where results go.
    """
    n, d, width = (8, 12, 128) if section.quick else (12, 16, 256)
    excesses = (0.8, 1.5) if section.quick else (0.8, 1.2, 1.5, 3.0)
    shares = (0.5, 0.9) if section.quick else (0.3, 0.6, 0.9, 0.98)
    rows: list[dict[str, Any]] = []
    inputs = sphere_inputs(n, d, section.seed, alike=0.3)
    bounds = bounds_of(ntk_network((d, width, 1), section.seed + 100), inputs)
    profile = bounds.profile()
    for kind in ("slowest", "random"):
        for excess in excesses:
            for share in shares:
                section.progress(f"{kind} residual, {excess} of what T11 admits, share {share}")
                rows.append(_one(section, bounds, profile, kind, excess, share))
    section.table("target_loss", rows)
    _figure(section, rows)


def _one(
    section: Section, bounds: Bounds, profile: SingularValueProfile, kind: str, excess: float,
    share: float,
) -> dict[str, Any]:  # fmt: skip
    """The residual starts at `excess` and has to fall by `share` of what T11 admits."""
    admitted = profile.integral_lower(profile.radius)
    function = bounds.function
    outputs = function(function.start)
    if kind == "slowest":
        direction = torch.linalg.eigh(kernel_ball(bounds.state).mid)[1][:, 0]
    else:
        source = generator(section.seed + 300)
        direction = torch.randn(outputs.numel(), generator=source, dtype=torch.float64)
    size = excess * admitted
    y = outputs - (size * direction / direction.norm()).reshape(outputs.shape)
    r0 = bounds.residual_norm_upper(y)
    goal = max(r0 - share * admitted, 0.05 * r0)
    target = 0.5 * goal**2
    zero = squared_loss_converges(r0, profile, bounds.jacobian_norm_upper)
    c = squared_loss_target_reached(r0, target, profile, bounds.jacobian_norm_upper).conclusion
    if c is None:
        raise RuntimeError(f"T7 was not proved for {excess} and {share}; please report")
    steps, path, before = _first_hit(bounds, y, c.step_size, goal, int(c.steps_upper) + 1)
    label = f"{kind} residual, |r_0| {excess:g} of T11's limit, down to |r| = {goal / r0:.3g} |r_0|"
    section.compare(f"steps to the target, {label}", predicted=c.steps_upper, relation="<=",
                    measured=steps, source="T7",
                    note=f"T11 alone: {zero.status}")  # fmt: skip
    section.compare(f"path before the last step, {label}", predicted=c.radius_upper, relation="<=",
                    measured=before, source="T7")  # fmt: skip
    section.compare(f"path to the target, {label}", predicted=c.final_radius_upper, relation="<=",
                    measured=path, source="T7")  # fmt: skip
    return {
        "residual": kind, "start_over_limit": excess, "share": share, "target_loss": target,
        "loss_left": (goal / r0) ** 2, "t11": str(zero.status), "step": c.step_size,
        "steps_predicted": c.steps_upper, "steps_measured": steps,
        "path_over_radius": path / c.final_radius_upper,
    }  # fmt: skip


def _first_hit(
    bounds: Bounds, y: Tensor, step: float, goal: float, most: int
) -> tuple[int, float, float]:
    """Steps until |r| <= goal, the path until then, and the path one step earlier."""
    function = bounds.function
    w, path, before = function.start, 0.0, 0.0
    for k in range(most + 1):
        pulled = vjp(function, w)
        outputs, pullback = pulled[0], pulled[1]
        r = outputs - y
        if float(r.norm()) <= goal:
            return k, path, before
        change = step * pullback(r)[0]
        before, path = path, path + float(change.norm())
        w = w - change
    return most + 1, path, before


def _figure(section: Section, rows: list[dict[str, Any]]) -> None:
    with section.figure("target_loss", width=6.0, height=4.4) as figure:
        axis = figure.subplots()
        longest = max(r["steps_predicted"] for r in rows)
        least = max(min(r["steps_measured"] for r in rows), 1)
        axis.plot([least, longest], [least, longest], "k--", label="bound (T7)")
        for index, kind in enumerate(("slowest", "random")):
            for beyond, mark in ((False, "o"), (True, "^")):
                chosen = [
                    r for r in rows
                    if r["residual"] == kind and (r["start_over_limit"] > 1.0) == beyond
                ]  # fmt: skip
                where = "beyond T11's limit" if beyond else "below T11's limit"
                axis.plot([r["steps_predicted"] for r in chosen],
                          [max(r["steps_measured"], 1) for r in chosen], mark, color=f"C{index}",
                          fillstyle="none", label=f"{kind} residual, {where}")  # fmt: skip
        axis.set(xscale="log", yscale="log", xlabel="steps to the target, predicted",
                 ylabel="steps to the target, measured")  # fmt: skip
        axis.legend(fontsize=8)
