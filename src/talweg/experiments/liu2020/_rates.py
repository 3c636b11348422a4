"""The measured rate of gradient descent against the condition number of the tangent kernel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from talweg.experiments._record import Section
from talweg.experiments.liu2020._problems import (
    Bounds,
    bounds_of,
    descend,
    ntk_network,
    slope,
    sphere_inputs,
)
from talweg.network import kernel_ball
from talweg.theory import local_pl_converges, squared_loss_converges

FLOOR = 1e-8
"""Runs are judged while |r| is above this share of |r_0|: below it rounding is felt."""


def rate_against_conditioning(section: Section) -> None:
    """T11's certified rate and step on kernels from well to badly conditioned; T5 beside it.

    Targets are F(w0) plus a residual of half the size that T11 admits, along the direction of the
    smallest eigenvalue (where descent is slowest) and at random.

    Args:
        section: Where results go.
    """
    n, d, width = (8, 12, 128) if section.quick else (12, 16, 256)
    degrees = (0.0, 0.4, 0.6) if section.quick else (0.0, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8)
    steps = 300 if section.quick else 1500
    rows: list[dict[str, Any]] = []
    curves: list[tuple[float, tuple[float, ...], float]] = []
    for index, alike in enumerate(degrees):
        inputs = sphere_inputs(n, d, section.seed + index, alike=alike)
        bounds = bounds_of(ntk_network((d, width, 1), section.seed + 100 + index), inputs)
        profile = bounds.profile()
        admitted = profile.integral_lower(profile.radius)
        published = _t5_admits(bounds)
        for kind in ("slowest", "random"):
            section.progress(f"kernel {index + 1} of {len(degrees)}, {kind} residual")
            y = _targets(bounds, kind, 0.5 * admitted, section.seed + 200 + index)
            r0 = bounds.residual_norm_upper(y)
            c = squared_loss_converges(r0, profile, bounds.jacobian_norm_upper).conclusion
            if c is None:
                raise RuntimeError("half of what T11 admits was not proved; please report")
            run = descend(bounds.function, y, c.step_size, steps, floor=FLOOR)
            kappa = (c.jacobian_norm_upper / c.singular_value_lower) ** 2
            worst = run.worst_contraction(FLOOR)
            label = f"kappa {kappa:.3g}, {kind} residual"
            note = f"{len(run.residuals) - 1} steps of eta = {c.step_size:.3g}"
            section.compare(f"largest |r_k+1| / |r_k|, {label}", predicted=c.contraction_upper,
                            relation="<=", measured=worst, source="T11", note=note)  # fmt: skip
            section.compare(f"path length, {label}", predicted=c.radius_upper, relation="<=",
                            measured=run.path, source="T11")  # fmt: skip
            rows.append({
                "kappa": kappa, "residual": kind, "step": c.step_size,
                "predicted_1_minus_rate": 1.0 - c.contraction_upper,
                "measured_1_minus_rate": 1.0 - worst,
                "path_over_radius": run.path / c.radius_upper,
                "t11_admits": admitted, "t5_admits": published,
                "t11_over_t5": admitted / published if published > 0.0 else math.inf,
            })  # fmt: skip
            if kind == "slowest":
                curves.append((kappa, run.residuals, c.contraction_upper))
    section.table("rate_against_condition_number", rows)
    slowest = [r for r in rows if r["residual"] == "slowest"]
    section.compare(
        "slope of log(1 - measured rate) against log kappa, slowest direction", predicted=-1.0,
        relation="reported", source="liu2020", note="1 - rate = eta mu = 1 / kappa",
        measured=slope([r["kappa"] for r in slowest],
                       [r["measured_1_minus_rate"] for r in slowest]),
    )  # fmt: skip
    _published_run(section, n, d, width)
    _figures(section, rows, curves)


def _targets(bounds: Bounds, kind: str, size: float, seed: int) -> Tensor:
    """F(w0) minus a residual of norm `size` (a little less, to stay below after rounding)."""
    outputs = bounds.function(bounds.function.start)
    if kind == "slowest":
        direction = torch.linalg.eigh(kernel_ball(bounds.state).mid)[1][:, 0]
    else:
        source = torch.Generator().manual_seed(seed)
        direction = torch.randn(outputs.numel(), generator=source, dtype=torch.float64)
    residual: Tensor = (size * direction / direction.norm()).reshape(outputs.shape)
    return outputs - residual


def _t5_admits(bounds: Bounds) -> float:
    """The largest |r_0| that T5 admits with the same sigma_0 and beta, over a grid of radii."""
    best = 0.0
    end = bounds.sigma_min_lower / bounds.lipschitz.upper(0.0)
    for i in range(2, 9):  # the best radius is near a third of the end
        radius = end * i / 16
        beta = bounds.lipschitz.upper(radius)
        least = bounds.sigma_min_lower - beta * radius
        if least > 0.0:
            largest = bounds.jacobian_norm_upper + beta * radius
            best = max(best, radius * least**2 / (2.0 * largest))
    return best


def _published_run(section: Section, n: int, d: int, width: int) -> None:
    """T5 itself, on the largest residual that it admits: its rate and radius bound the run."""
    inputs = sphere_inputs(n, d, section.seed)
    bounds = bounds_of(ntk_network((d, width, 1), section.seed + 100), inputs)
    profile = bounds.profile((1.0 / 3.0,))
    radius = profile.radius
    beta = bounds.lipschitz.upper(radius)
    least = profile.value_lower(radius)
    largest = profile.jacobian_norm(bounds.jacobian_norm_upper).upper(radius)
    size = 0.99 * radius * least**2 / (2.0 * largest)
    y = _targets(bounds, "random", size, section.seed + 300)
    r0 = bounds.residual_norm_upper(y)
    c = local_pl_converges(r0, least**2 * (1 - 1e-12), largest, beta, radius).conclusion
    if c is None:
        raise RuntimeError("T5 was not proved on the residual chosen for it; please report")
    run = descend(bounds.function, y, c.step_size, 400, floor=FLOOR)
    section.compare("largest f_k+1 / f_k under T5's step", predicted=c.loss_rate_upper,
                    relation="<=", measured=run.worst_contraction(FLOOR) ** 2, source="T5",
                    note=f"condition number {c.condition_number_upper:.3g}")  # fmt: skip
    section.compare("path length under T5's step", predicted=c.radius_upper, relation="<=",
                    measured=run.path, source="T5",
                    note=f"2 |r_0| / sqrt(mu) = {c.path_upper:.3g} bounds it too")  # fmt: skip


def _figures(
    section: Section, rows: list[dict[str, Any]],
    curves: list[tuple[float, tuple[float, ...], float]],
) -> None:  # fmt: skip
    with section.figure("rate_against_condition_number", width=9.0) as figure:
        left, right = figure.subplots(1, 2)
        kappas = sorted({r["kappa"] for r in rows})
        left.plot(kappas, [1.0 / k for k in kappas], "k--", label="predicted, 1 / kappa (T11)")
        for kind, mark in (("slowest", "o"), ("random", "s")):
            chosen = [r for r in rows if r["residual"] == kind]
            left.plot([r["kappa"] for r in chosen], [r["measured_1_minus_rate"] for r in chosen],
                      mark, label=f"measured, {kind} residual", fillstyle="none")  # fmt: skip
        left.set(xscale="log", yscale="log", xlabel="certified condition number kappa",
                 ylabel="1 - largest contraction per step")  # fmt: skip
        ticks = [k for k in (10, 30, 100, 300, 1000, 3000, 10000) if kappas[0] <= k <= kappas[-1]]
        left.set_xticks(ticks, [str(k) for k in ticks])
        left.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        left.legend()
        for index, (kappa, residuals, contraction) in enumerate(
            curves[:: max(1, len(curves) // 3)]
        ):
            color = f"C{index}"
            k = range(len(residuals))
            right.plot(k, [r / residuals[0] for r in residuals], color=color,
                       label=f"kappa = {kappa:.3g}")  # fmt: skip
            right.plot(k, [contraction**i for i in k], "--", color=color)
        right.set(yscale="log", xlabel="step k", ylabel="|r_k| / |r_0|", ylim=(FLOOR / 3, 2.0))
        right.legend(title="solid: measured\ndashed: T11", fontsize=8)
