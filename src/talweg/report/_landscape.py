"""A slice of the loss through the stored weights, with the path on it and the certified ball."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from talweg.report._claim import Claim
from talweg.report._directed import upper
from talweg.report._pieces import Figure, Paragraph, Part, Table
from talweg.report._plot import Trace, label, short
from talweg.report._series import number

ROWS = 12
CIRCLE_POINTS = 120
HEIGHT = 460
Point = tuple[float, float, float, float]


def landscape_parts(claim: Claim, measured: Mapping[str, Any], word: str) -> tuple[Part, ...]:
    """One or two slices, from afar and close to the path; nothing where there is none.

    Args:
        claim: What the file states.
        measured: May hold "landscape", as `talweg report` computes it: "slices" of "x", "y" and
            "log10" (rows from below), "path" and "ahead" (step, both coordinates, loss), "circle",
            "radius", "off_plane", "second", "parameters".
        word: What the numbers of the file may be called: "certified" or "claimed".
    """
    found = measured.get("landscape")
    if not isinstance(found, Mapping):
        return ()
    path, ahead = _points(found.get("path")), _points(found.get("ahead"))
    slices = [s for s in found.get("slices") or () if isinstance(s, Mapping)][:2]
    if not slices or len(path) < 2:
        return ()
    explained = (
        f"What is drawn is a slice: 2 of {number(found.get('parameters')) or 0:,.0f} directions, "
        "in float64, while this page was made. The proof does not rest on it, and off the plane "
        "the loss may look otherwise. The first direction leads from the stored weights to the "
        f"{'end of the path' if ahead else 'last step that was run'}, the second is the one "
        f"{found.get('second')}. The path is projected onto the plane; it leaves it by at most "
        f"{short(number(found.get('off_plane')) or 0.0)}."
    )
    figures = [
        _slice(claim, found, part, (path, ahead), word, closer=i > 0)
        for i, part in enumerate(slices)
    ]
    return (Paragraph(explained), *figures)


def _slice(
    claim: Claim, found: Mapping[str, Any], part: Mapping[str, Any],
    points: tuple[list[Point], list[Point]], word: str, *, closer: bool,
) -> Figure:  # fmt: skip
    path, ahead = points
    cells = [[_cell(v) for v in row] for row in part["log10"]]
    known = [v for row in cells for v in row if v is not None]
    radius = upper(claim.numbers["radius"])
    end = (ahead or path)[-1]
    least, most = (number(v) or 0.0 for v in found.get("circle") or (0.0, 0.0))
    told = (
        f"The path starts in the middle at a loss of {short(path[0][3])} and after "
        f"{path[-1][0]:,.0f} measured steps is at {short(path[-1][3])}"
    )
    if ahead:
        told += (
            f"; in the linearised network it goes on to {short(end[3])} after {end[0]:,.0f} steps, "
            f"{short(math.hypot(end[1], end[2]))} away from the start"
        )
    told += (
        f". The {word} ball cuts the plane in a circle of radius at most {radius}; at points on it "
        f"the loss is between {short(least)} and {short(most)}."
    )
    traces: list[Trace] = [
        {
            "type": "contour", "x": list(part["x"]), "y": list(part["y"]), "z": cells,
            "colorscale": "Viridis", "ncontours": 24, "showscale": True, "name": "loss",
            "contours": {"coloring": "heatmap", "showlines": True},
            "line": {"width": 0.5, "color": "rgba(255,255,255,.35)"},
            "colorbar": {"title": {"text": "log₁₀ of the loss", "side": "top"},
                         "orientation": "h", "thickness": 12, "y": -0.22, "yanchor": "top",
                         "x": 0.5, "len": 0.9},
            "hovertemplate": "%{x:.3g}, %{y:.3g}: 10^%{z:.2f}<extra></extra>",
        },
        *_circle(number(found.get("radius")) or 0.0),
    ]  # fmt: skip
    if ahead:
        traces.append(_way(ahead, "linearised", "dash"))
    traces.append(_way(path, "measured", "solid"))
    traces.append(
        {
            "type": "scatter", "mode": "markers", "name": "stored weights", "x": [0.0], "y": [0.0],
            "marker": {"size": 11, "symbol": "cross", "color": "#ffffff",
                       "line": {"width": 1.5, "color": "#000000"}},
            "hovertemplate": "stored weights<extra></extra>",
        }
    )  # fmt: skip
    where = "close to the path" if closer else f"around the {word} ball"
    span = f"from {short(10 ** min(known))} to {short(10 ** max(known))}" if known else "nowhere"
    return Figure(
        "landscape-closer" if closer else "landscape", f"The loss on a plane, {where}",
        f"log₁₀ of the loss {span}; both axes in distance of the weights from the stored ones. "
        f"{told} The claim is about the whole ball, not about this plane.",
        told, tuple(traces), _layout(part, number(found.get("radius")) or 0.0, f"{word} ball"),
        _table(path, ahead), height=HEIGHT,
    )  # fmt: skip


def _circle(radius: float) -> list[Trace]:
    """White on black, so that it is seen on every colour; its name stands beside it."""
    angles = [2 * math.pi * i / CIRCLE_POINTS for i in range(CIRCLE_POINTS + 1)]
    return [
        {
            "type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip",
            "x": [radius * math.cos(a) for a in angles],
            "y": [radius * math.sin(a) for a in angles],
            "line": {"color": color, "width": width, "dash": dash},
        }
        for color, width, dash in (("#000000", 3.5, "solid"), ("#ffffff", 2, "dash"))
    ]  # fmt: skip


def _way(points: Sequence[Point], name: str, dash: str) -> Trace:
    return {
        "type": "scatter", "mode": "lines+markers", "name": name,
        "x": [p[1] for p in points], "y": [p[2] for p in points],
        "customdata": [[p[0], p[3]] for p in points],
        "line": {"color": "#ff5a36", "width": 2.5, "dash": dash},
        "marker": {"size": 5, "color": "#ff5a36", "line": {"width": 0.5, "color": "#ffffff"}},
        "hovertemplate": "step %{customdata[0]:,.0f}: loss %{customdata[1]:.3g}<extra></extra>",
    }  # fmt: skip


def _layout(part: Mapping[str, Any], radius: float, name: str) -> dict[str, Any]:
    x, y = part["x"], part["y"]
    seen = x[0] <= 0.0 <= x[-1] and y[0] <= radius <= y[-1]  # where the circle is highest
    axis = {"constrain": "domain", "exponentformat": "power", "nticks": 5, "zeroline": False}
    return {
        "xaxis": axis | {"title": {"text": "along the path"}, "range": [x[0], x[-1]]},
        "yaxis": axis | {"title": {"text": "across"}, "range": [y[0], y[-1]], "scaleanchor": "x"},
        "hovermode": "closest",
        "annotations": [
            {"x": 0.0, "y": radius, "yanchor": "bottom", "yshift": 3, "text": label(name),
             "showarrow": False, "bgcolor": "@sheet", "borderpad": 2, "opacity": 0.9,
             "font": {"color": "@text", "size": 12}}
        ] if seen else [],
    }  # fmt: skip


def _table(path: Sequence[Point], ahead: Sequence[Point]) -> Table:
    every = [(p, "measured") for p in path] + [(p, "linearised") for p in ahead]
    stride = max(1, math.ceil(len(every) / ROWS))
    picked = every[:-1:stride] + every[-1:]
    rows = tuple(
        (f"{p[0]:,.0f}", short(p[1]), short(p[2]), short(p[3]), kind) for p, kind in picked
    )
    return Table(
        "The path on the plane, in floating point", ("step", "along", "across", "loss", "path"),
        rows,
    )  # fmt: skip


def _points(found: Any) -> list[Point]:
    made = []
    for item in found if isinstance(found, list | tuple) else ():
        step, x, y, loss = (number(v) for v in item)
        if step is None or x is None or y is None or loss is None:
            continue
        if math.isfinite(step) and math.isfinite(x) and math.isfinite(y):
            made.append((step, x, y, loss))
    return made


def _cell(value: Any) -> float | None:
    found = number(value)
    return found if found is not None and math.isfinite(found) else None
