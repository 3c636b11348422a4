"""Curves over something else than the steps of a run, as traces for plotly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from talweg.report._plot import Trace, label


def curve(
    x: Sequence[float], y: Sequence[float], name: str, colour: int, *, what: str = "",
    mode: str = "lines", dash: str = "solid", filled: bool = False,
) -> Trace:  # fmt: skip
    """A curve; what is not finite leaves a gap.

    Args:
        x: Where.
        y: How high.
        name: In the legend.
        colour: 1 to 8.
        what: Name of x in the label that the mouse shows.
        mode: "lines", "markers" or "lines+markers".
        dash: Of the line.
        filled: Whether the area down to zero is filled.
    """
    made: Trace = {
        "type": "scatter", "mode": mode, "name": label(name), "connectgaps": False,
        "x": list(x), "y": [v if math.isfinite(v) else None for v in y],
        "line": {"color": f"@{colour}", "width": 2, "dash": dash},
        "marker": {"size": 7 if mode == "markers" else 5, "color": f"@{colour}"},
        "hovertemplate": f"{label(what)} %{{x:.4g}}: %{{y:.4g}}",
    }  # fmt: skip
    if filled:
        made |= {"fill": "tozeroy", "fillcolor": f"@{colour}/0.22"}
    return made


def upright(x: float, name: str, *, left: bool) -> dict[str, Any]:
    """Shapes and annotations of a vertical line that means something.

    Args:
        x: Where.
        name: What stands beside it.
        left: Whether on its left.
    """
    return {
        "shapes": [
            {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": x, "x1": x,
             "line": {"color": "@limit", "width": 1.5, "dash": "dot"}}
        ],
        "annotations": [
            {"x": x, "yref": "paper", "y": 0.06, "xanchor": "right" if left else "left",
             "showarrow": False, "text": label(name), "xshift": -4 if left else 4,
             "font": {"color": "@limit", "size": 12}}
        ],
    }  # fmt: skip


def together(*layouts: dict[str, Any]) -> dict[str, Any]:
    """Layouts on top of each other; their shapes and annotations add up."""
    made: dict[str, Any] = {}
    for one in layouts:
        for key, value in one.items():
            both = key in ("shapes", "annotations")
            made[key] = [*made.get(key, []), *value] if both else value
    return made


def leftward(layout: dict[str, Any], *which: int) -> dict[str, Any]:
    """The layout with the names of its limits on the left, where the curve is elsewhere.

    Args:
        layout: As `talweg.report._plot.layout` makes it.
        which: Numbers of the limits; all if none is given.
    """
    notes = [
        note | {"x": 0, "xanchor": "left"} if index in (which or (index,)) else note
        for index, note in enumerate(layout.get("annotations", []))
    ]
    return layout | ({"annotations": notes} if notes else {})
