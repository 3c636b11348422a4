"""The kernel's eigenvalues between the certified bounds."""

# ruff: noqa: RUF001 - Greek letters and signs of the theory pages stand for themselves.

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from talweg.report._claim import Claim
from talweg.report._curves import curve, leftward
from talweg.report._directed import lower, near, nearest, upper
from talweg.report._pieces import Figure, Paragraph, Part, Table
from talweg.report._plot import layout
from talweg.report._series import number
from talweg.report._shares import share_parts

ROWS = 10


def kernel_parts(claim: Claim, measured: Mapping[str, Any], word: str) -> tuple[Part, ...]:
    """Spectrum and layers, as far as they were computed, and why the rest was not.

    Args:
        claim: What the file states.
        measured: May hold "eigenvalues" (numbers, in any order), "layers" (see `share_parts`) and
            "left_out" (sentences).
        word: What the numbers of the file may be called: "certified" or "claimed".
    """
    parts: list[Part] = []
    values = sorted((v for v in map(number, measured.get("eigenvalues") or ())
                     if v is not None and math.isfinite(v)), reverse=True)  # fmt: skip
    if values:
        parts.append(_spectrum(claim, values, word))
    parts += share_parts(measured.get("layers"))
    parts += [Paragraph(str(text)) for text in measured.get("left_out") or ()]
    return tuple(parts)


def _spectrum(claim: Claim, values: list[float], word: str) -> Figure:
    least = claim.numbers["sigma_min_lower"] ** 2
    most = claim.numbers["jacobian_norm_upper"] ** 2
    told = (
        f"{len(values):,} eigenvalues from {nearest(values[-1])} to {nearest(values[0])}, computed "
        f"in float64; {word} are at least {lower(least)} and at most {upper(most)}."
    )
    positive = [v if v > 0 else math.nan for v in values]
    limits = [(level, text) for level, text in ((near(least), f"σ_min², {word}"),
                                                (near(most), f"|J|², {word}"))
              if 0.0 < level < math.inf]  # fmt: skip
    count = len(values)
    picked = sorted({i * (count - 1) // (ROWS - 1) for i in range(ROWS)})
    return Figure(
        "spectrum", "The tangent kernel's spectrum at the start (approximate)",
        "Eigenvalues of K = J Jᵀ, largest first, between the bounds of the file"
        + (", on the directions that sum to zero within each sample"
           if claim.kind == "cross_entropy" else "")
        + f". {told} The distance between the extremes is what slows the descent.",
        told,
        (curve(list(range(1, count + 1)), positive, "eigenvalues, float64", 1, what="number",
               mode="lines+markers" if count <= 60 else "lines"),),
        leftward(layout("eigenvalue", log=True, limits=limits,
                        xaxis={"title": {"text": "number, from the largest"}}), 0),
        Table("Eigenvalues, approximate", ("number", "eigenvalue"),
              tuple((f"{i + 1:,}", nearest(values[i])) for i in picked)),
    )  # fmt: skip
