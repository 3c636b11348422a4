"""Transition to linearity: what the width does to |D^2F|, to the kernel, and to its change (F2)."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import torch

from talweg.enclosure import Interval
from talweg.experiments._record import Section
from talweg.experiments.liu2020._problems import (
    bounds_of,
    descend,
    generator,
    ntk_network,
    slope,
    sphere_inputs,
)
from talweg.network import kernel_ball, linearize, lipschitz_attack_approx


def transition_to_linearity(section: Section) -> None:
    """Networks in the NTK parametrisation, trained towards a hundredth of their residual.

    Args:
        section: Where results go.
    """
    n, d = (10, 10) if section.quick else (20, 10)
    widths = (32, 64, 128, 256) if section.quick else (32, 64, 128, 256, 512, 1024)
    seeds = 2 if section.quick else 3
    depths = (1,) if section.quick else (1, 2)
    inputs = sphere_inputs(n, d, section.seed)
    source = generator(section.seed + 1)
    targets = torch.sign(torch.randn(n, 1, generator=source, dtype=torch.float64))
    rows: list[dict[str, Any]] = []
    for depth in depths:
        for width in widths:
            if depth > 1 and width > 256:
                continue
            for seed in range(seeds if width <= 512 else 2):
                section.progress(f"{depth} hidden layers, width {width}, network {seed + 1}")
                hidden = (width,) * depth
                rows.append(_one(section, (d, *hidden, 1), seed, inputs, targets))
    section.table("width_runs", rows, show=False)
    means = _means(rows)
    section.table("width", means)
    for depth in depths:
        chosen = [r for r in means if r["hidden_layers"] == depth]
        w = [float(r["width"]) for r in chosen]
        what = f"{depth} hidden layer" + ("s" if depth > 1 else "")
        for column, expected, name in (
            ("attack", -0.5, "|D^2F| (strongest attack)"),
            ("bound", -0.5, "|D^2F| (B3's bound)"),
            ("kernel_change", -0.5, "relative kernel change in training"),
            ("mu", 0.0, "mu = lambda_min(K)"),
        ):
            section.compare(
                f"slope of {name} against width, {what}", predicted=expected, relation="reported",
                measured=slope(w, [float(r[column]) for r in chosen]), source="F2 (liu2020)",
                note="order of growth up to logarithms, as the width tends to infinity",
            )  # fmt: skip
    _figure(section, means)


def _one(
    section: Section, widths: tuple[int, ...], seed: int, inputs: torch.Tensor,
    targets: torch.Tensor,
) -> dict[str, Any]:  # fmt: skip
    model = ntk_network(widths, section.seed + 1000 * seed + widths[1])
    bounds = bounds_of(model, inputs)
    function = bounds.function
    beta = bounds.lipschitz.upper(0.0)
    attack = lipschitz_attack_approx(
        function, restarts=1 if section.quick else 2, iterations=25, seed=seed
    ).value
    label = f"width {widths[1]} x {len(widths) - 2}, network {seed + 1}"
    section.compare(f"|D^2F| found by attack, {label}", predicted=beta, relation="<=",
                    measured=attack, source="B3")  # fmt: skip
    step = 1.0 / bounds.jacobian_norm_upper**2
    run = descend(function, targets, step, 200 if section.quick else 1000, floor=1e-2)
    start = kernel_ball(bounds.state).mid
    end = kernel_ball(linearize(function.network_at(run.w), inputs)).mid
    distance = float((run.w - function.start).norm())
    change = float(torch.linalg.matrix_norm(end - start, 2))
    # |J J^T - J_0 J_0^T| <= 2 |J_0| beta d + (beta d)^2, beta on the ball that holds w
    reach = Interval.point(bounds.lipschitz.upper(1.0001 * distance)) * (1.0001 * distance)
    allowed = (2.0 * reach * bounds.jacobian_norm_upper + reach.square()).hi
    section.compare(f"|K(w_T) - K(w_0)|, {label}", predicted=allowed, relation="<=",
                    measured=change, source="B3", note=f"|w_T - w_0| = {distance:.3g}")  # fmt: skip
    return {
        "hidden_layers": len(widths) - 2, "width": widths[1], "network": seed + 1,
        "bound": beta, "attack": attack, "slack": beta / attack,
        "mu": bounds.sigma_min_lower**2, "lambda_max": bounds.jacobian_norm_upper**2,
        "kernel_change": change / float(torch.linalg.matrix_norm(start, 2)),
        "distance": distance, "steps": len(run.residuals) - 1,
        "residual_left": run.residuals[-1] / run.residuals[0],
    }  # fmt: skip


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Geometric means over networks, one row for each depth and width."""
    columns = ("bound", "attack", "slack", "mu", "lambda_max", "kernel_change", "distance")
    keys = sorted({(r["hidden_layers"], r["width"]) for r in rows})
    means = []
    for depth, width in keys:
        chosen = [r for r in rows if (r["hidden_layers"], r["width"]) == (depth, width)]
        values = {
            c: math.exp(fmean(math.log(r[c]) for r in chosen))
            for c in columns
            if all(r[c] > 0.0 for r in chosen)
        }
        means.append(
            {"hidden_layers": depth, "width": width, "networks": len(chosen)}
            | {c: values.get(c, 0.0) for c in columns}
        )
    return means


def _figure(section: Section, means: list[dict[str, Any]]) -> None:
    with section.figure("transition_to_linearity", width=10.0, height=4.0) as figure:
        axes = figure.subplots(1, 3)
        for depth in sorted({r["hidden_layers"] for r in means}):
            chosen = [r for r in means if r["hidden_layers"] == depth]
            w = [r["width"] for r in chosen]
            color, label = f"C{depth - 1}", f"{depth} hidden"
            axes[0].plot(w, [r["bound"] for r in chosen], "o-", color=color,
                         label=f"bound (B3), {label}")  # fmt: skip
            axes[0].plot(w, [r["attack"] for r in chosen], "x--", color=color,
                         label=f"attack, {label}")  # fmt: skip
            axes[1].plot(w, [r["mu"] for r in chosen], "o-", color=color, label=label)
            axes[2].plot(w, [r["kernel_change"] for r in chosen], "o-", color=color, label=label)
        first = [r for r in means if r["hidden_layers"] == 1]
        guide = [(r["width"] / first[0]["width"]) ** -0.5 for r in first]
        for axis, column in ((axes[0], "attack"), (axes[2], "kernel_change")):
            axis.plot([r["width"] for r in first], [0.6 * first[0][column] * g for g in guide],
                      "k:", label="slope -1/2")  # fmt: skip
        ticks = sorted({r["width"] for r in means})[:: 1 if len(first) < 5 else 2]
        every = [r["mu"] for r in means]
        axes[1].set_ylim(0.3 * min(every), 3.0 * max(every))
        strongest, largest = min(r["attack"] for r in means), max(r["bound"] for r in means)
        axes[0].set_ylim(0.3 * strongest, 5.0 * largest)  # room for the legend
        titles = ("|D^2F| at initialisation", "mu = lambda_min(K), verified", "|K_T - K_0| / |K_0|")
        for axis, title in zip(axes, titles, strict=True):
            axis.set(xscale="log", yscale="log", xlabel="width", title=title)
            axis.set_xticks(ticks, [str(width) for width in ticks])
            axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            axis.legend(fontsize=8)
