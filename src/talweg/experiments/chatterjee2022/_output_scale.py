"""The output scale A: by the explicit formula, by certificate, and the smallest that works."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg.experiments import Section
from talweg.experiments.chatterjee2022._certified import certified_runs, compare_with_certificates
from talweg.experiments.chatterjee2022._starts import SHARES, positive, stable_step
from talweg.experiments.chatterjee2022._training import gaussian_data, network, train
from talweg.init import PositiveStart, positive_

SAMPLES, INPUTS = 8, 256
SLOPES = (0.1, 0.01)
"""The main table; 0.01 is PyTorch's default for its leaky ReLU."""

EXTREME_SLOPE = 1e-5
"""Nearly a shifted softplus, where the formula is weakest: a table of its own, labelled so."""

FEW_INPUTS = 16
"""The third table: inputs whose Gram matrix is worse conditioned, where the certificate is weak."""

AIM = 100.0
"""How many times smaller than the formula's A the certified one is hoped to be."""

WORKS = 1e-6
"""Training works if the loss falls to this fraction of its start."""

LOWEST = 1e-12
"""The search for the smallest A that works goes down to this share of the certified one."""

ROUNDS, QUICK_ROUNDS = 3, 2


@dataclass(frozen=True)
class Setting:
    """One line of the table.

    Attributes:
        depth: L, number of linear layers.
        width: Of every hidden layer.
        slope: Of the smooth leaky ReLU; None stands for tanh.
        inputs: d.
    """

    depth: int
    width: int
    slope: float | None
    inputs: int = INPUTS

    @property
    def activation(self) -> str:
        return "tanh" if self.slope is None else f"smooth leaky ReLU, slope {self.slope:g}"

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.width,) * (self.depth - 1)

    def network(self) -> nn.Sequential:
        """The architecture, its weights not yet set."""
        if self.slope is None:
            return network(self.inputs, self.widths, 0.5, activation=nn.Tanh())
        return network(self.inputs, self.widths, self.slope)


def table_of_output_scales(section: Section) -> None:
    """A by depth and width: formula | certified | smallest that works, with the ratios.

    Args:
        section: Where results go.
    """
    depths: tuple[int, ...] = (2, 3, 4)
    widths = (8,) if section.quick else (8, 16, 32)
    main = [Setting(depth, width, s) for s in SLOPES for depth in depths for width in widths]
    rows = _table(section, "output_scales", main, "")
    _draw(section, rows)
    depths = (2,) if section.quick else depths
    ends = (8,) if section.quick else (8, 32)
    extreme = [Setting(depth, width, EXTREME_SLOPE) for depth in depths for width in ends]
    _table(section, "output_scales_where_the_formula_is_weakest", extreme, ", extreme")
    few = [Setting(d, w, s, FEW_INPUTS) for s in (0.5, 0.1) for d in depths for w in ends]
    _table(section, "output_scales_with_few_inputs", few, f", d = {FEW_INPUTS}")
    tanh = [Setting(depth, width, None) for depth in depths for width in ends]
    _table(section, "output_scales_of_tanh", tanh, "")
    section.table("formula_against_certificate_at_two_layers", _two_layers(section))


def _two_layers(section: Section) -> list[dict[str, object]]:
    """Formula / certified over several data sets, where the two are closest."""
    sizes = ((5, 8),) if section.quick else ((5, 8), (8, 16))
    widths = (4,) if section.quick else (4, 8, 16)
    count = 2 if section.quick else 3
    rows: list[dict[str, object]] = []
    for samples, inputs in sizes:
        for slope in (0.5, 0.1):
            for width in widths:
                section.progress(f"two layers, d = {inputs}, width {width}, slope {slope:g}")
                gains = []
                for seed in range(section.seed, section.seed + count):
                    model = network(inputs, (width,), slope)
                    data = gaussian_data(samples, inputs, seed + 2000)
                    found = positive_(
                        model, output_scale="certified", data=data, tolerance=0.1, seed=seed
                    )
                    gains.append(found.gain or math.nan)
                below = sum(gain < 1.0 for gain in gains)
                rows.append({
                    "samples": samples, "inputs": inputs, "slope": slope, "width": width,
                    "smallest_formula_over_certified": min(gains),
                    "largest_formula_over_certified": max(gains),
                    "data_sets": count, "data_sets_where_the_formula_wins": below,
                })  # fmt: skip
    return rows


def _table(
    section: Section, name: str, settings: Sequence[Setting], where: str
) -> list[dict[str, object]]:
    """One table, with a line per activation on how many of its rows reach `AIM`."""
    data = gaussian_data(SAMPLES, settings[0].inputs, section.seed + 2000)
    rows = [_line(section, setting, data) for setting in settings]
    section.table(name, rows)
    for activation in dict.fromkeys(setting.activation for setting in settings):
        own = [row for row in rows if row["activation"] == activation]
        short = [row for row in own if not float(str(row["formula_over_certified"])) >= AIM]
        missed = "; ".join(
            f"depth {row['depth']}, width {row['width']}: {row['formula_over_certified']:.3g}"
            for row in short
        )
        section.compare(
            f"rows with formula / certified >= {AIM:g}, {activation}{where}",
            predicted=len(own), relation="reported", measured=len(own) - len(short), source="P1",
            note=f"predicted: all rows; an aim, no theorem; short of it: {missed or 'none'}",
        )  # fmt: skip
    for row in rows:
        section.compare(
            f"smallest A that works, {row['activation']}{where}, depth {row['depth']}, "
            f"width {row['width']}",
            predicted=float(str(row["certified"])), relation="<=",
            measured=float(str(row["works"])), source="T11", note="predicted: the certified A",
        )  # fmt: skip
    return rows


def _line(section: Section, setting: Setting, data: tuple[Tensor, Tensor]) -> dict[str, object]:
    section.progress(f"A at depth {setting.depth}, width {setting.width}, {setting.activation}")
    model = setting.network()
    found = positive_(
        model, output_scale="certified", data=data, tolerance=0.1 if section.quick else 0.01,
        seed=section.seed,
    )  # fmt: skip
    budget = 300 if section.quick else 1000
    works = smallest_working_scale(section, setting, data, found.output_entry, budget)
    formula = math.inf if found.explicit is None else found.explicit.output_entry_upper
    _watch_certified_run(section, setting, model, data, found)
    status = "none" if found.certificate is None else found.certificate.status
    return {
        "depth": setting.depth, "width": setting.width, "activation": setting.activation,
        "formula": formula, "certified": found.output_entry, "works": works,
        "formula_over_certified": formula / found.output_entry,
        "certified_over_works": found.output_entry / works,
        "works_at_lowest_tried": works <= 1.001 * LOWEST * found.output_entry, "status": status,
        "halving_steps": found.halving_steps, "budget": budget,
    }  # fmt: skip


def _watch_certified_run(
    section: Section, setting: Setting, model: nn.Sequential, data: tuple[Tensor, Tensor],
    found: PositiveStart,
) -> None:  # fmt: skip
    """A run from the smallest certified scale stays under its envelope."""
    if found.certificate is None or found.certificate.status != "PROVED":
        return
    steps = 100 if section.quick else 500
    runs = certified_runs([model], data, steps, every=10, progress=section.progress)
    if runs is not None:
        where = f"depth {setting.depth}, width {setting.width}, {setting.activation}"
        compare_with_certificates(section, runs, f"{where}, d = {setting.inputs}")


def smallest_working_scale(
    section: Section,
    setting: Setting,
    data: tuple[Tensor, Tensor],
    certified: float,
    budget: int,
    *,
    points: int = 6,
) -> float:
    """The smallest A from which gradient descent brings the loss down by `WORKS`, by multisection.

    Each A is tried with every step size of `SHARES` and works if one of them does within the
    budget. An interval between an A that fails and one that works is cut into equal parts on a
    logarithmic scale, all of them trained at once, and the lowest cut that works closes the next.

    Args:
        section: For its seed and progress.
        setting: The network.
        data: ``(X, y)``.
        certified: Where the search begins.
        budget: Steps.
        points: Cuts of one round.

    Returns:
        A; inf where none of the scales tried works, and the lowest one tried where all do.
    """
    high, low = certified, certified * LOWEST
    best = math.inf
    for _ in range(QUICK_ROUNDS if section.quick else ROUNDS):
        cuts = torch.logspace(math.log10(low), math.log10(high), points, dtype=torch.float64)
        scales = [*cuts.tolist()[:-1], high]
        working = _works(section, setting, data, scales, budget)
        if not any(working):
            break
        first = working.index(True)
        best = min(best, scales[first])
        if first == 0:
            break
        low, high = scales[first - 1], scales[first]
    return best


def _works(
    section: Section, setting: Setting, data: tuple[Tensor, Tensor], scales: Sequence[float],
    budget: int,
) -> list[bool]:  # fmt: skip
    models, sizes = [], []
    for scale in scales:
        model = setting.network()
        positive(scale)(model, section.seed)
        limit = stable_step(model, data)
        models += [model] * len(SHARES)
        sizes += [share * limit for share in SHARES]
    lr = torch.tensor(sizes, dtype=torch.float64)
    runs = train(models, data, lr, budget, every=max(budget // 20, 1))
    reached = (runs.losses <= WORKS * runs.losses[0]).any(0)
    return [bool(found) for found in reached.reshape(-1, len(SHARES)).any(1)]


def _draw(section: Section, rows: Sequence[dict[str, object]]) -> None:
    with section.figure("output_scales", width=4.6 * len(SLOPES)) as figure:
        grid = figure.subplots(1, len(SLOPES), sharey=True, squeeze=False)
        for axes, slope in zip(grid.flat, SLOPES, strict=True):
            own = [r for r in rows if r["activation"] == Setting(2, 1, slope).activation]
            for key, marker, label in (
                ("formula", "s", "explicit formula, best radius"), ("certified", "o", "certified"),
                ("works", "v", "smallest tried that works"),
            ):  # fmt: skip
                axes.semilogy([float(str(r[key])) for r in own], marker, label=label)
            axes.set_xticks(range(len(own)), [f"{r['depth']}\n{r['width']}" for r in own])
            axes.tick_params(axis="x", labelsize=7)
            axes.set_xlabel("depth, below it width")
            axes.set_title(
                f"smooth leaky ReLU, slope {slope:g}, n = {SAMPLES}, d = {INPUTS}", fontsize=9
            )
        grid[0, 0].set_ylabel("output scale A")
        grid[0, 0].legend(fontsize=8)
