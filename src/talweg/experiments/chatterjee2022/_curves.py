"""Training loss against iteration, by initialisation, by width, and by output scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from talweg.experiments import Section
from talweg.experiments.chatterjee2022._certified import (
    CertifiedRuns,
    certified_runs,
    compare_with_certificates,
)
from talweg.experiments.chatterjee2022._starts import (
    RANDOM,
    Initialisation,
    positive,
    stable_step,
    started,
    train_with_best_share,
)
from talweg.experiments.chatterjee2022._training import Runs, gaussian_data, network, train
from talweg.init import positive_

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAMPLES, INPUTS, SLOPE = 10, 20, 0.1
WIDTHS = (8, 8, 8)
"""Depth 4: three hidden layers of equal small width, as in the paper's first figure in kind."""

COLOURS = {"positive": "C0", "LeCun": "C3", "|LeCun|": "C1", "conditional event": "C2"}
FLOOR = 1e-32
"""Losses below are rounding of float64 and drawn here."""


def loss_by_initialisation(section: Section) -> None:
    """Mean training loss over seeds for four initialisations, small width, depth 4.

    Args:
        section: Where results go.
    """
    steps, every = (1000, 10) if section.quick else (6000, 20)
    seeds = range(section.seed, section.seed + (5 if section.quick else 10))
    data = gaussian_data(SAMPLES, INPUTS, section.seed + 1000)
    scale = _common_certified_scale(section, data, WIDTHS)
    names, shares, runs = _all_initialisations(section, data, WIDTHS, seeds, scale, steps, every)
    models = [started(positive(scale), INPUTS, WIDTHS, SLOPE, seed) for seed in seeds]
    certified = certified_runs(models, data, steps, every=every, progress=section.progress)
    if certified is not None:
        compare_with_certificates(section, certified, f"positive start, A = {scale:.3g}")
    section.compare(
        "starts certified before training, of all seeds", predicted=None, relation="reported",
        measured=0 if certified is None else len(certified.certificates), source="T11",
        note=f"{len(seeds)} seeds; A was chosen for the first",
    )  # fmt: skip
    rows = _rows(names, shares, runs, len(seeds), len(WIDTHS) + 1, WIDTHS[0])
    section.table("loss_by_initialisation", rows)
    _compare_speeds(section, rows)
    common, same = _with_one_step(section, data, seeds, scale, steps, every)
    section.table(
        "loss_by_initialisation_one_step",
        _rows(names, [None] * len(names), same, len(seeds), len(WIDTHS) + 1, WIDTHS[0]),
    )
    section.compare(
        "common step size of the second table", predicted=None, relation="reported",
        measured=common, source="chatterjee2022",
        note="the largest A allows only a small step; smaller kernels hardly move at that step",
    )  # fmt: skip
    with section.figure("loss_by_initialisation", width=11.0) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, names, same, len(seeds))
        left.set_title(f"one step size for all, {common:.2g}", fontsize=10)
        limits = [f"{name} (step {share:g} / $\\lambda_{{max}}$)"
                  for name, share in zip(names, shares, strict=True)]  # fmt: skip
        _draw(right, limits, runs, len(seeds))
        if certified is not None:
            _draw_certified(right, certified)
        right.set_title("each at its best step size", fontsize=10)
        for axes in (left, right):
            axes.legend(fontsize=7)
        figure.suptitle(
            f"depth {len(WIDTHS) + 1}, width {WIDTHS[0]}, n = {SAMPLES}, d = {INPUTS}, "
            f"mean over {len(seeds)} seeds, shaded from best to worst",
            fontsize=10,
        )


def loss_by_width(section: Section) -> None:
    """The same at several larger widths.

    Args:
        section: Where results go.
    """
    widths = (16, 32) if section.quick else (16, 32, 64, 128)
    steps, every = (300, 5) if section.quick else (1200, 10)
    seeds = range(section.seed, section.seed + 5)
    data = gaussian_data(SAMPLES, INPUTS, section.seed + 1000)
    table = []
    results = []
    for width in widths:
        section.progress(f"width {width}")
        chain = (width,) * len(WIDTHS)
        scale = _common_certified_scale(section, data, chain)
        found = _all_initialisations(section, data, chain, seeds, scale, steps, every)
        table += _rows(*found, len(seeds), len(chain) + 1, width)
        models = [started(positive(scale), INPUTS, chain, SLOPE, seed) for seed in seeds]
        certified = certified_runs(models, data, steps, every=every, progress=section.progress)
        if certified is not None:
            compare_with_certificates(section, certified, f"width {width}, A = {scale:.3g}")
        results.append((width, found))
    section.table("loss_by_width", table)
    rows = (len(widths) + 1) // 2
    with section.figure("loss_by_width", width=9.0, height=3.6 * rows) as figure:
        grid = figure.subplots(rows, 2, sharey=True, squeeze=False)
        for axes, (width, (names, shares, runs)) in zip(grid.flat, results, strict=False):
            labels = [f"{name} ({share:g} / $\\lambda_{{max}}$)"
                      for name, share in zip(names, shares, strict=True)]  # fmt: skip
            _draw(axes, labels, runs, len(seeds))
            axes.set_title(f"width {width}", fontsize=10)
            axes.legend(fontsize=7)
        for axes in list(grid.flat)[len(widths) :]:
            axes.set_visible(False)


def sweep_of_output_scale(section: Section) -> None:
    """Loss after a fixed number of steps against the output scale A of the positive start.

    Args:
        section: Where results go.
    """
    steps = 400 if section.quick else 600
    count = 3 if section.quick else 5
    seeds = range(section.seed, section.seed + count)
    data = gaussian_data(SAMPLES, INPUTS, section.seed + 1000)
    certified = positive_(
        network(INPUTS, WIDTHS, SLOPE), output_scale="certified", data=data, tolerance=0.05,
        seed=section.seed,
    )  # fmt: skip
    formula = math.inf if certified.explicit is None else certified.explicit.output_entry_upper
    grid = [10.0**e for e in torch.arange(-3, 5.1, 1.0 if section.quick else 0.5).tolist()]
    groups = [[started(positive(a), INPUTS, WIDTHS, SLOPE, seed) for seed in seeds] for a in grid]
    shares, runs = train_with_best_share(
        groups, data, steps, every=steps, progress=section.progress
    )
    final = runs.losses[-1].reshape(len(grid), count)
    section.table("sweep_of_output_scale", [
        {"output_scale": a, "step_share": share, "mean_loss": float(f.mean()),
         "smallest_loss": float(f.min()), "largest_loss": float(f.max()),
         "step": steps}
        for a, share, f in zip(grid, shares, final, strict=True)
    ])  # fmt: skip
    section.compare(
        "certified output scale A", predicted=formula, relation="<=",
        measured=certified.output_entry, source="P1",
        note="predicted: the explicit formula for the same hidden weights",
    )  # fmt: skip
    larger = [a for a in (certified.output_entry, *grid) if a >= certified.output_entry]
    models = [started(positive(a), INPUTS, WIDTHS, SLOPE, section.seed) for a in larger]
    runs_there = certified_runs(models, data, steps, every=10, progress=section.progress)
    if runs_there is not None:
        compare_with_certificates(section, runs_there, "at and above the certified A")
    section.compare(
        "scales at or above the certified A that are proved too", predicted=None,
        relation="reported", measured=0 if runs_there is None else len(runs_there.certificates),
        source="T11", note=f"of {len(larger)} tried",
    )  # fmt: skip
    with section.figure("sweep_of_output_scale", width=7.2) as figure:
        axes = figure.subplots()
        drawn = final.clamp(min=FLOOR)
        axes.loglog(grid, drawn.mean(1), "o-", label=f"mean over {count} seeds, best step size")
        axes.fill_between(grid, drawn.amin(1), drawn.amax(1), alpha=0.2, linewidth=0)
        axes.axvline(certified.output_entry, color="C2", linestyle="--",
                     label=f"certified A = {certified.output_entry:.3g}")  # fmt: skip
        if formula < math.inf:
            axes.axvline(formula, color="C3", linestyle=":",
                         label=f"explicit formula A = {formula:.3g}")  # fmt: skip
        axes.set_xlabel("output scale A (every entry of the last weight)")
        axes.set_ylabel(f"mean squared error after {steps} steps")
        axes.legend(fontsize=8)


def _common_certified_scale(
    section: Section, data: tuple[Tensor, Tensor], widths: Sequence[int]
) -> float:
    """A with a tenth to spare, so that other seeds' hidden weights are mostly proved too."""
    found = positive_(
        network(INPUTS, widths, SLOPE), output_scale="certified", data=data, tolerance=0.1,
        seed=section.seed,
    )  # fmt: skip
    return 1.1 * found.output_entry


def _starts(scale: float) -> dict[str, Initialisation]:
    positives = {f"positive, A = {scale:.3g}": positive(scale), "positive, A = 3": positive(3.0)}
    return positives | RANDOM


def _with_one_step(
    section: Section, data: tuple[Tensor, Tensor], seeds: Sequence[int], scale: float, steps: int,
    every: int,
) -> tuple[float, Runs]:  # fmt: skip
    """All starts with the same step size: half the smallest stability limit among them."""
    models = [
        started(start, INPUTS, WIDTHS, SLOPE, seed)
        for start in _starts(scale).values()
        for seed in seeds
    ]
    step = 0.5 * min(stable_step(model, data) for model in models)
    lr = torch.full((len(models),), step, dtype=torch.float64)
    return step, train(models, data, lr, steps, every=every, progress=section.progress)


def _all_initialisations(
    section: Section, data: tuple[Tensor, Tensor], widths: Sequence[int], seeds: Sequence[int],
    scale: float, steps: int, every: int,
) -> tuple[list[str], list[float], Runs]:  # fmt: skip
    starts = _starts(scale)
    groups = [
        [started(start, INPUTS, widths, SLOPE, seed) for seed in seeds] for start in starts.values()
    ]
    shares, runs = train_with_best_share(
        groups, data, steps, every=every, progress=section.progress
    )
    return list(starts), shares, runs


def _rows(
    names: Sequence[str], shares: Sequence[float | None], runs: Runs, count: int, depth: int,
    width: int,
) -> list[dict[str, object]]:  # fmt: skip
    rows: list[dict[str, object]] = []
    for name, share, block in zip(names, shares, runs.blocks(count), strict=True):
        mean = block.mean(1)
        hit = (mean <= 1e-6 * mean[0]).nonzero()
        rows.append({
            "depth": depth, "width": width, "initialisation": name, "step_share": share,
            "first_loss": float(mean[0]), "last_loss": float(mean[-1]),
            "steps_to_1e-6": runs.steps[int(hit[0])] if len(hit) else None,
            "steps": runs.steps[-1],
        })  # fmt: skip
    return rows


def _compare_speeds(section: Section, rows: Sequence[dict[str, object]]) -> None:
    for row in rows:
        section.compare(
            f"mean loss after {row['steps']} steps, {row['initialisation']}", predicted=None,
            relation="reported", measured=float(str(row["last_loss"])), source="chatterjee2022",
        )  # fmt: skip


def _draw(axes: Axes, labels: Sequence[str], runs: Runs, count: int) -> None:
    for label, block in zip(labels, runs.blocks(count), strict=True):
        kind = label.split(",")[0].split(" (")[0]
        drawn = block.clamp(min=FLOOR)
        style = "-." if label.split(" (")[0].endswith("A = 3") else "-"
        axes.semilogy(runs.steps, drawn.mean(1), style, color=COLOURS[kind], label=label)
        axes.fill_between(
            runs.steps, drawn.amin(1), drawn.amax(1), color=COLOURS[kind], alpha=0.12, linewidth=0
        )
    axes.set_xlabel("gradient descent step")
    axes.set_ylabel("mean squared error")


def _draw_certified(axes: Axes, found: CertifiedRuns) -> None:
    axes.semilogy(found.runs.steps, found.runs.losses.mean(1), "k-", linewidth=1.0,
                  label="positive, certified step")  # fmt: skip
    axes.semilogy(found.runs.steps, found.envelope.mean(1), "k:", linewidth=1.2,
                  label="certified bound on it")  # fmt: skip
