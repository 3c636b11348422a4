"""Which parameters carry the Lipschitz bound, as bars in the order of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from talweg.report._claim import clean
from talweg.report._pieces import Figure, Table
from talweg.report._plot import label
from talweg.report._series import number

MOST_BARS = 24
LONGEST_NAME = 80
LONGEST_NOTE = 44
"""Letters that a phone has room for."""
ROW_HEIGHT = 40
TITLES = {
    "bound": "What each layer adds to the Lipschitz bound (approximate)",
    "direction": "Where the Jacobian turns fastest (an estimate)",
}


def share_parts(found: Any) -> tuple[Figure, ...]:
    """One figure, or none where nothing was computed.

    Args:
        found: What `talweg report` computes: "shares" (pairs of name and share), "method" ("bound":
            of the matrix T; "direction": of the direction in which the Jacobian was found to
            change fastest), "theory" (id of the page about T), "rows" and "of" (of how many rows
            of the data the shares are, and how many there are), "named" (whether the names are
            those of the model).
    """
    if not isinstance(found, Mapping) or found.get("method") not in TITLES:
        return ()
    shares = [
        (clean(str(name), LONGEST_NAME), share)
        for name, given in found.get("shares") or ()
        for share in [number(given)]
        if share is not None and math.isfinite(share)
    ]
    return (_figure(shares, found),) if shares else ()


def _figure(shares: list[tuple[str, float]], found: Mapping[str, Any]) -> Figure:
    method = str(found["method"])
    top = max(shares, key=lambda item: item[1])
    what = "layers'" if method == "bound" else "tensors'"
    told = f"The largest share is that of {top[0]}, {top[1]:.1%} of {len(shares)} {what} total."
    drawn = _drawn(shares)
    positions = list(range(len(drawn)))
    trace = {
        "type": "bar", "orientation": "h", "name": "share", "showlegend": False, "width": 0.36,
        "y": positions, "x": [share for _, share in drawn],
        "customdata": [label(name) for name, _ in drawn],
        "marker": {"color": "@4"}, "hovertemplate": "%{customdata}: %{x:.1%}<extra></extra>",
    }  # fmt: skip
    axis = "share of the bound" if method == "bound" else "share of the squared direction"
    plan = {
        "xaxis": {"title": {"text": axis}, "tickformat": ".0%", "rangemode": "tozero", "nticks": 6},
        "yaxis": {"showticklabels": False, "showgrid": False, "zeroline": False,
                  "range": [len(drawn) - 0.6, -0.9]},
        "hovermode": "closest",
        "annotations": [note for i, item in enumerate(drawn) for note in _notes(i, *item)],
    }  # fmt: skip
    head = "layer" if method == "bound" else "tensor"
    return Figure(
        "layers", TITLES[method], f"{_explained(found)} {told} {_names(found)}", told,
        (trace,), plan,
        Table(f"Share by {head}", (head, "share"),
              tuple((name, f"{share:.1%}") for name, share in drawn)),
        height=110 + ROW_HEIGHT * max(3, len(drawn)),
    )  # fmt: skip


def _notes(position: int, name: str, share: float) -> list[dict[str, Any]]:
    """Name and share above a bar: beside it a phone has no room for the names of parameters."""
    half = LONGEST_NOTE // 2
    short = name if len(name) <= LONGEST_NOTE else f"{name[:half]}…{name[1 - half :]}"
    common = {"y": position - 0.22, "yanchor": "bottom", "xref": "paper", "showarrow": False,
              "font": {"color": "@text", "size": 12}}  # fmt: skip
    return [
        common | {"x": 0, "xanchor": "left", "text": label(short)},
        common | {"x": 1, "xanchor": "right", "text": f"{share:.1%}"},
    ]


def _explained(found: Mapping[str, Any]) -> str:
    if found["method"] == "direction":
        text = (
            "Shares of the parameters in the two directions along which a search in floating point "
            "found the second derivative of the outputs largest: an estimate of where the bound "
            "comes from. The shares in the bound itself take too long for this page."
        )
    else:
        theory = found.get("theory")
        text = (
            "Shares of the trained layers in the norm of the matrix T(R*) of theory "
            f"{theory if theory in ('B3', 'B6') else 'B6'}, by its leading eigenvector."
        )
        if theory == "B3":
            text += (
                " The bound in the file may be smaller than this norm: it has sharper forms for "
                "two trained layers, and for deep chains with one output."
            )
    rows, of = (number(found.get(key)) for key in ("rows", "of"))
    if rows is not None and of is not None and rows < of:
        text += f" Of {rows:,.0f} of the {of:,.0f} distinct rows of the data, evenly picked."
    return text


def _names(found: Mapping[str, Any]) -> str:
    if found.get("named"):
        return "The names are those of the model, as the file gives them; nobody checks names."
    return "The file does not name the parameters: what stands here is its own numbering."


def _drawn(shares: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """All in their order; of very many those with the largest shares, and the rest in one."""
    if len(shares) <= MOST_BARS:
        return shares
    kept = sorted(range(len(shares)), key=lambda i: -shares[i][1])[: MOST_BARS - 1]
    rest = sum(share for i, (_, share) in enumerate(shares) if i not in set(kept))
    return [shares[i] for i in sorted(kept)] + [(f"{len(shares) - len(kept)} others", rest)]
