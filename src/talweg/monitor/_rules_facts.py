"""Rules about what stands before the first step: data, structure, initial state.

Thresholds were fixed on the development half of benchmarks/faults and are about orders of
magnitude, not about the last digit.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping

from talweg.monitor._data import DataFacts
from talweg.monitor._finding import Finding
from talweg.monitor._history import History
from talweg.monitor._structure import ModelFacts

SPREAD = 10.0  # of feature sizes: costs a factor 100 in the condition number
SIZES = (0.05, 10.0)  # usual sizes of inputs and targets
OFFSET = 10.0  # |mean| over standard deviation
MOST = {"dead": 0.75, "saturated": 0.5}  # share of the units of a layer; half of all ReLUs may rest
TINY = 0.05  # of the rows of a weight: usual initialisations have 0.5 to 1.5
GROWTH = 20.0  # of sizes from the first layer to the largest
DECAY = 1e-3  # of gradients, root mean squares per weight, from the last layer to the first
WELL = 0.01  # share of the loss that is left in a run that nothing seems to hinder


def data_rules(history: History, data: DataFacts) -> Iterator[Finding]:
    """Contradictions and scales."""
    if data.conflicting > 0.02 and data.floor > 0:
        stands = history.start if history.diverged else history.end
        weight = min(1.0, data.floor / stands) if stands > 0 else 1.0
        yield Finding(
            "conflicting_targets", min(0.95, 0.4 + weight),
            f"{data.conflicting:.0%} of {data.samples} samples occur again with another target, "
            f"which leaves a loss of at least {data.floor:.3g} (squared error or cross-entropy, "
            f"mean); it stands at {history.end:.3g}",
            "F3", "Merge them into one sample with the mean target, or find out what tells them "
            "apart; zero loss is impossible as it is.",
            {"merge": True}, {"conflicting": data.conflicting, "floor": data.floor},
        )  # fmt: skip
    sure = 0.9 if not history.left < WELL else 0.6
    if not data.classes and _unusual(data.target_size, data.target_offset):
        yield Finding(
            "target_scale", sure,
            f"the targets have size {data.target_size:.3g} and |mean|/deviation "
            f"{data.target_offset:.3g}", "E1",
            "Subtract their mean and divide by their standard deviation; undo it in the output.",
            {"standardize_targets": True}, {"target_size": data.target_size},
        )  # fmt: skip
    if data.spread > SPREAD or _unusual(data.input_size, data.offset):
        yield Finding(
            "inputs", sure,
            f"the largest feature is {data.spread:.3g} times the median one, the inputs have size "
            f"{data.input_size:.3g} and |mean|/deviation {data.offset:.3g}", "E1",
            "Subtract every feature's mean and divide it by its standard deviation: the condition "
            f"number falls by up to {data.spread**2:.2g}.",
            {"standardize_inputs": True}, {"spread": data.spread, "input_size": data.input_size},
        )  # fmt: skip


def _unusual(size: float, offset: float) -> bool:
    return not math.isnan(size) and (not SIZES[0] <= size <= SIZES[1] or offset > OFFSET)


def structure_rules(history: History, model: ModelFacts) -> Iterator[Finding]:
    """Parameters that do not take part, and units that are copies."""
    if model.frozen >= 0.1:
        sure = (0.9 if model.frozen >= 0.3 else 0.6) - (0.5 if history.left < WELL else 0)
        yield Finding(
            "frozen", sure,
            f"{model.frozen:.0%} of the parameters are not trained: {_names(model.frozen_names)}",
            "T11", "If that is not meant, set requires_grad and give them to the optimiser with a "
            "positive rate.", {"unfreeze": list(model.frozen_names)}, {"frozen": model.frozen},
        )  # fmt: skip
    unused = sorted({name for row in history.gradients for name in row.get("unused", ())})
    if unused:
        share = len(unused) / max(1, len(history.gradients[0].get("weight_norms", unused)))
        yield Finding(
            "disconnected", 0.9 if share >= 0.1 and not history.left < WELL else 0.45,
            f"the loss does not depend on {_names(unused)}",
            "T11", "Look for a detach(), a branch that is not taken or a module that forward "
            "does not call.", {"connect": unused}, {"share": share},
        )  # fmt: skip
    if model.twins:
        name, share = max(model.twins.items(), key=lambda item: item[1])
        if share >= 0.5:
            yield Finding(
                "symmetric", 0.95,
                f"{share:.0%} of the units of {name} have an exact copy, which receives the same "
                "gradient", "E3",
                "Initialise with independent random weights; a perturbation breaks the symmetry.",
                {"reinitialize": list(model.twins)}, {"share": share},
            )  # fmt: skip


def state_rules(history: History, model: ModelFacts) -> Iterator[Finding]:
    """Dead and saturated units, outputs and gradients that explode or vanish, at the first look."""
    sure = 0.9 if not history.left < WELL else 0.6
    if history.units:
        first, last = history.units[0], history.units[-1]
        for key, kind, words, change in (
            ("dead", "dead_units", "are 0 for every sample of the batch",
             "Start again with smaller negative biases, a leaky activation or a smaller step."),
            ("saturated", "saturated_units", "sit at an end of their range for nearly every sample",
             "Divide the weights in front of them, so that their inputs are of size one."),
        ):  # fmt: skip
            name, share = _worst(first["units"], key)
            _, later = _worst(last["units"], key)
            if share >= MOST[key]:
                yield Finding(
                    kind, sure, f"{share:.0%} of the units of {name} {words}, from the first look "
                    "on", "T11", change, {"reinitialize": [name]}, {"share": share},
                )  # fmt: skip
            elif later >= MOST[key] and len(history.units) > 1:
                name, share = _worst(last["units"], key)
                yield Finding(
                    kind, 0.45, f"{share:.0%} of the units of {name} {words}; they were alive at "
                    "first", "T11", change, {"reinitialize": [name]}, {"share": share},
                )  # fmt: skip
        sizes = list(first.get("output_sizes", {}).items())
        if len(sizes) > 1:
            name, largest = max(sizes, key=lambda item: item[1])
            base = max(sizes[0][1], 1.0)
            if not largest <= GROWTH * base:
                yield Finding(
                    "exploding", 0.9,
                    f"outputs grow from {sizes[0][1]:.3g} behind {sizes[0][0]} to {largest:.3g} "
                    f"behind {name}", "B3",
                    "Initialise with variance 2/fan_in (ReLU) or 1/fan_in, or put normalisation "
                    "between the layers.", {"reinitialize": [name]}, {"growth": largest / base},
                )  # fmt: skip
    size = row_size(history, model)
    if size < TINY:
        yield Finding(
            "saddle", sure,
            f"the weights are near zero, where the loss has a saddle: their rows have length "
            f"{size:.2g} in the middle", "E3",
            "Start from weights of the usual size, 1/sqrt(fan_in) per entry.",
            {"reinitialize": list(model.units)}, {"row_size": size},
        )  # fmt: skip
    elif history.gradients:
        found = _decay(history.gradients[0])
        if found is not None and found[1] < DECAY:
            name, ratio = found
            yield Finding(
                "vanishing", sure,
                f"the gradient of {name} is {ratio:.2g} of that of the last layer, per weight",
                "T11", "Use an activation with slope 1 at 0, initialise with variance 2/fan_in, "
                "or add residual connections or normalisation.",
                {"reinitialize": [name]}, {"ratio": ratio},
            )  # fmt: skip


def units_died(history: History) -> bool:
    """Whether a layer lost most of its units during the run."""
    if len(history.units) < 2:
        return False
    first, last = (_worst(row["units"], "dead")[1] for row in (history.units[0], history.units[-1]))
    return first < MOST["dead"] <= last


def row_size(history: History, model: ModelFacts) -> float:
    """The median over weights of the root mean square length of their rows, at the first look.

    Args:
        history: The rows of the run.
        model: For the numbers of units.
    """
    norms = history.gradients[0]["weight_norms"] if history.gradients else {}
    found = [norms[name] / rows**0.5 for name, rows in model.units.items() if name in norms]
    return statistics.median(found) if found else math.inf


def _worst(units: Mapping[str, Mapping[str, float]], key: str) -> tuple[str, float]:
    return max(((name, found[key]) for name, found in units.items()), key=lambda item: item[1],
               default=("", 0.0))  # fmt: skip


def _decay(row: Mapping[str, Mapping[str, float]]) -> tuple[str, float] | None:
    """The weight whose gradient is smallest beside the last one's, relative to its own size.

    |g_l| |w_l| is about the same in all layers of a homogeneous network, so it tells depth from
    mere differences of scale.
    """
    norms, weights = row["gradient_norms"], row["weight_norms"]
    sizes = [(n, g * weights[n]) for n, g in norms.items() if n.endswith("weight") and g > 0]
    if len(sizes) < 3:
        return None
    last = sizes[-1][1]
    name, smallest = min(sizes[:-1], key=lambda item: item[1])
    return (name, smallest / last) if last > 0 else None


def _names(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
