"""Figures by layer: updates over weights, gradients, units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from talweg.report._pieces import Figure
from talweg.report._plot import layer_ticks, layout, lines_by_layer, map_by_layer, numbers, short
from talweg.report._series import Row, Series, by_layer

FEW = 8  # lines that can be told apart
LAYERS_IN_TABLE = 12


def layer_figures(rows: Sequence[Row]) -> list[Figure]:
    """The length of an update over that of the weights, and the gradient's norm."""
    made = []
    for name, title, key, axis, caption in (
        ("updates", "Update over weight", "update_ratios", "|Δw| / |w|",
         ("The length of one update over the length of the weights, by parameter. Around 0.001 is "
          "usual; layers far apart learn at different speeds.")),
        ("gradients", "Gradient norms", "gradient_norms", "|∇f| of the layer",
         ("The length of the gradient, by parameter. A gradient that falls by orders of magnitude "
          "from layer to layer vanishes; one that grows explodes.")),
    ):  # fmt: skip
        layers = by_layer(rows, key)
        still = [n for n, v in layers.items() if v.values[-1] == 0]
        layers = {n: _positive(v) for n, v in layers.items() if len(_positive(v))}
        if still:
            caption += f" It is exactly 0 at the last look for {_names(still)}."
        if layers:
            made.append(_figure(name, title, axis, caption, layers, log=True))
    return made


def unit_figures(rows: Sequence[Row]) -> list[Figure]:
    """Shares of dead and of saturated units."""
    layers: dict[str, Series] = {}
    for key in ("dead", "saturated"):
        for name, values in by_layer(rows, "units", key).items():
            other = "saturated" if key == "dead" else "dead"
            if any(values.finite) or (key == "dead" and not _seen(rows, name, other)):
                layers[f"{name or 'model'} {key}"] = values
    if not layers:
        return []
    return [
        _figure(
            "units", "Dead and saturated units", "share of units",
            "Shares of ReLUs that are 0 for the whole batch, and of tanh or sigmoid units at an "
            "end of their range for nearly all of it, by module. Neither passes a gradient on.",
            layers, log=False, limits=(0.0, 1.0),
        )
    ]  # fmt: skip


def _figure(
    name: str, title: str, axis: str, caption: str, layers: Mapping[str, Series], *, log: bool,
    limits: tuple[float, float] | None = None,
) -> Figure:  # fmt: skip
    few = len(layers) <= FEW
    more: dict[str, Any] = {}
    if few:
        traces = lines_by_layer(layers)
        plan = layout(axis + (" (log scale)" if log else ""), log=log)
        if limits is not None:
            plan["yaxis"] = plan["yaxis"] | {"range": [limits[0] - 0.02, limits[1] + 0.02]}
    else:
        traces = map_by_layer(layers, logarithm=log)
        more = {"yaxis": {"type": "category", "autorange": "reversed", **layer_ticks(list(layers))},
                "hovermode": "closest"}  # fmt: skip
        plan = layout("") | more
        caption += (
            " Layers from the top down in the order of the model; their names without what all of "
            "them share."
        )
    ends = {n: v.last for n, v in layers.items()}
    low, high = min(ends, key=ends.__getitem__), max(ends, key=ends.__getitem__)
    words = (
        f"{len(layers)} lines. At the end the smallest is {low} with {short(ends[low])}, the "
        f"largest {high} with {short(ends[high])}."
    )
    table = numbers(dict(list(layers.items())[:LAYERS_IN_TABLE]), title)
    height = 340 if few else min(900, 140 + 18 * len(layers))
    return Figure(
        name, title, caption, words, tuple(traces), plan, table, height=height, wide=not few
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _positive(values: Series) -> Series:
    return values.where([v > 0 and v != float("inf") for v in values.values])


def _seen(rows: Sequence[Row], name: str, key: str) -> bool:
    found = by_layer(rows, "units", key).get(name)
    return found is not None and any(found.finite)
