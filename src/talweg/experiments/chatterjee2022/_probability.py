"""Theorem 2.8: the probability of the LeCun event in closed form, by Monte Carlo, by training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg.enclosure import Interval
from talweg.experiments import Section
from talweg.experiments.chatterjee2022._starts import stable_step
from talweg.experiments.chatterjee2022._training import network, train
from talweg.init import lecun_
from talweg.theory import (
    ConvergenceProbability,
    PositiveNetwork,
    SmoothLeakyReLUActivation,
    Verdict,
    lecun_initialisation_converges_with_probability,
    likeliest_lecun_box_approx,
)

SLOPE = 0.5
EPSILON = 0.5
"""For descent: the explicit A with room for a step."""

MISSES = 1e-6
"""A confidence limit is wrong with at most this probability."""

WORKS = 1e-6
"""Training works if the loss falls to this fraction of its start."""


@dataclass(frozen=True)
class Case:
    """Orthonormal inputs, n = d, targets of one size, and hidden widths.

    Attributes:
        inputs: n = d; the Gram matrix is the identity, so lambda = 1 / n exactly.
        widths: d_1, ..., d_{L-1}.
        target: Every |y_i|.
    """

    inputs: int
    widths: tuple[int, ...]
    target: float

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        signs = torch.tensor([(-1.0) ** i for i in range(self.inputs)], dtype=torch.float64)
        return torch.eye(self.inputs, dtype=torch.float64), self.target * signs.reshape(-1, 1)

    @property
    def ingredients(self) -> PositiveNetwork:
        """What P1 needs, with the Gram matrix of the inputs alone, without the biases' share."""
        activation = SmoothLeakyReLUActivation(SLOPE)
        box = (None, None) if len(self.widths) == 1 else (1.0, 1.0)
        return PositiveNetwork(
            inputs=self.inputs,
            widths=self.widths,
            activations=(activation,) * len(self.widths),
            gram_eigenvalue_lower=Interval.ratio(1, self.inputs).lo,
            initial_loss_upper=Interval.point(self.target).square().hi,
            input_entry_upper=1.0,
            hidden_low=box[0],
            hidden_high=box[1],
        )

    def probability(self) -> Verdict[ConvergenceProbability]:
        """P3 at its likeliest box."""
        net = self.ingredients
        if len(self.widths) == 1:
            return lecun_initialisation_converges_with_probability(net, epsilon=EPSILON)
        low, high = likeliest_lecun_box_approx(net, epsilon=EPSILON)
        return lecun_initialisation_converges_with_probability(
            net, low=low, high=high, epsilon=EPSILON
        )


MEASURABLE = (Case(2, (2,), 1e-3), Case(2, (1, 1), 1e-4), Case(2, (2, 2), 1e-6))
USUAL = (Case(4, (4,), 1.0), Case(4, (4, 4), 1.0), Case(4, (8, 8), 1.0), Case(4, (8, 8, 8), 1.0))


def lecun_event(section: Section) -> None:
    """P3 beside the measured frequency of its event and of convergence.

    Args:
        section: Where results go.
    """
    draws = 200_000 if section.quick else 2_000_000
    rows = [_measurable(section, case, draws) for case in MEASURABLE]
    usual = USUAL[:2] if section.quick else USUAL
    rows += [_usual(section, case) for case in usual]
    section.table("lecun_event", rows)
    _draw(section, rows)


def _measurable(section: Section, case: Case, draws: int) -> dict[str, object]:
    """A case whose event is frequent enough to be counted."""
    row, found = _line(section, case)
    if found is None:
        return row
    hits = event_count(case, found, draws, section.seed)
    low, high = binomial_limits(hits, draws)
    bound = math.exp(found.log_probability_lower)
    name = f"widths {case.widths}, |y| = {case.target:g}"
    section.compare(
        f"upper confidence limit of the event's frequency, {name}", predicted=bound, relation=">=",
        measured=high, source="P3", note=f"{hits} of {draws} draws; lower limit {low:.6g}",
    )  # fmt: skip
    # Both describe one event, so the closed form may not lie above either limit's far side.
    section.compare(
        f"lower confidence limit of the event's frequency, {name}",
        predicted=bound * (1.0 + 1e-9), relation="<=", measured=low, source="P3",
        note="the closed form is the event's probability up to rounding",
    )  # fmt: skip
    return {**row, "event_low": low, "event_high": high}


def _usual(section: Section, case: Case) -> dict[str, object]:
    row, _ = _line(section, case)
    return row


def _line(section: Section, case: Case) -> tuple[dict[str, object], ConvergenceProbability | None]:
    section.progress(f"LeCun event, widths {case.widths}")
    found = case.probability().conclusion
    runs = 60 if section.quick else 200
    hits = trained_count(case, runs, 600 if section.quick else 2000, section.seed)
    low, high = binomial_limits(hits, runs)
    log_bound = -math.inf if found is None else found.log_probability_lower
    section.compare(
        f"upper confidence limit of the share of trainings that converge, widths {case.widths}, "
        f"|y| = {case.target:g}",
        predicted=math.exp(log_bound), relation=">=", measured=high, source="P3",
        note=f"{hits} of {runs} LeCun starts with W_1 = 0 reach {WORKS:g} of the first loss",
    )  # fmt: skip
    row: dict[str, object] = {
        "depth": len(case.widths) + 1, "width": case.widths[0], "target": case.target,
        "log10_theorem": log_bound / math.log(10.0),
        "box_low": None if found is None else found.low,
        "box_high": None if found is None else found.high,
        "output_entry": None if found is None else found.output_entry,
        "event_low": None, "event_high": None,
        "converged_low": low, "converged": hits / runs, "converged_high": high,
    }  # fmt: skip
    return row, found


def event_count(case: Case, found: ConvergenceProbability, draws: int, seed: int) -> int:
    """How often LeCun's weights of layers 2..L fall into the event.

    Args:
        case: The network.
        found: Box and A of the event.
        draws: How many networks.
        seed: Of the draws.
    """
    source = torch.Generator().manual_seed(seed)
    sizes = (*case.widths, 1)
    hits, block = 0, 100_000
    for begin in range(0, draws, block):
        count = min(block, draws - begin)
        inside = torch.ones(count, dtype=torch.bool)
        for index in range(1, len(sizes)):
            fan_in, units = sizes[index - 1], sizes[index]
            shape = (count, fan_in * units)
            entries = torch.randn(shape, generator=source, dtype=torch.float64) / math.sqrt(fan_in)
            if index == len(sizes) - 1:
                inside &= (entries > found.output_entry).all(1)
            elif found.low is not None and found.high is not None:
                inside &= ((entries >= found.low) & (entries <= found.high)).all(1)
        hits += int(inside.sum())
    return hits


def trained_count(case: Case, runs: int, steps: int, seed: int) -> int:
    """How many LeCun starts with W_1 = 0 train to `WORKS`, at half their stability limit or less.

    Args:
        case: The network and its data.
        runs: How many starts.
        steps: Budget of each.
        seed: Of the starts.
    """
    models, sizes = [], []
    for run in range(runs):
        model = network(case.inputs, case.widths, SLOPE)
        lecun_(model, seed=seed * 1_000_003 + run)
        first = model[0]
        if isinstance(first, nn.Linear):
            with torch.no_grad():
                first.weight.zero_()
        limit = stable_step(model, case.data)
        models += [model, model]
        sizes += [0.5 * limit, 0.1 * limit]
    lr = torch.tensor(sizes, dtype=torch.float64)
    done = train(models, case.data, lr, steps, every=max(steps // 20, 1))
    reached = (done.losses <= WORKS * done.losses[0]).any(0)
    return int(reached.reshape(runs, 2).any(1).sum())


def binomial_limits(hits: int, draws: int) -> tuple[float, float]:
    """Clopper-Pearson limits of a probability, each wrong with at most `MISSES`.

    Args:
        hits: Successes.
        draws: Trials.
    """
    from scipy.stats import beta

    low = 0.0 if hits == 0 else float(beta.ppf(MISSES, hits, draws - hits + 1))
    high = 1.0 if hits == draws else float(beta.ppf(1.0 - MISSES, hits + 1, draws - hits))
    return low, high


def _draw(section: Section, rows: list[dict[str, object]]) -> None:
    with section.figure("lecun_event", width=7.2) as figure:
        axes = figure.subplots()
        places = list(range(len(rows)))
        theorem = [float(str(row["log10_theorem"])) for row in rows]
        axes.plot(places, theorem, "s", color="C3", label="theorem 2.8 with the explicit A")
        event = [
            (p, math.log10(float(str(r["event_low"]))), math.log10(float(str(r["event_high"]))))
            for p, r in zip(places, rows, strict=True)
            if r["event_low"] is not None and float(str(r["event_low"])) > 0.0
        ]
        axes.errorbar(
            [p for p, _, _ in event], [(a + b) / 2 for _, a, b in event],
            yerr=[(b - a) / 2 for _, a, b in event], fmt="_", color="C0", capsize=4, markersize=12,
            label="event counted in random draws",
        )  # fmt: skip
        trained = [
            (p, math.log10(float(str(r["converged"]))))
            for p, r in zip(places, rows, strict=True)
            if float(str(r["converged"])) > 0.0
        ]
        axes.plot([p for p, _ in trained], [v for _, v in trained], "v", color="C2",
                  label="training that converges")  # fmt: skip
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_xticks(
            places,
            [f"L={r['depth']}, width {r['width']}\n|y| = {r['target']}" for r in rows],
            fontsize=7,
        )
        axes.set_ylabel("log10 of the probability")
        axes.legend(fontsize=8)
