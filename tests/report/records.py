"""Rows as a Monitor writes them, made up: exact descent on a quadratic, and a hostile record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HEADER = {"format": 1, "kind": "talweg.monitor"}
ETA, CURVATURE = 0.02, 2.0


def rows_of_descent(looks: int = 40, layers: Sequence[str] = ("0.weight", "0.bias")) -> list[Row]:
    """Gradient descent on f(x) = L x^2 / 2 from x = 1: f - f* falls by (1 - eta L)^2 at every step.

    E1 with mu = L says 1 - 2 eta L (1 - eta L / 2), which is the same.
    """
    made: list[Row] = []
    for look in range(looks):
        step = 5 * look
        x = (1 - ETA * CURVATURE) ** step
        loss, gradient = CURVATURE * x * x / 2, CURVATURE * x
        row: Row = {
            "step": step, "fresh": True, "loss": loss, "loss_error": 0.05 * loss,
            "gradient_squared": gradient**2, "gradient_squared_error": 0.1 * gradient**2,
            "noise": 3.0, "noise_error": 0.5, "noise_scale": 3.0 / gradient**2, "batch_size": 64,
            "pl_ratio": CURVATURE, "pl_ratio_error": 0.1 * CURVATURE,
            "gradient_norms": {n: gradient * (i + 1) for i, n in enumerate(layers)},
            "weight_norms": dict.fromkeys(layers, 1.0), "unused": [],
        }  # fmt: skip
        if look % 2 == 0:
            row |= {
                "stability": ETA * CURVATURE / 2, "stability_error": 0.01, "negative": -0.02,
                "negative_error": 0.01, "limit": 2.0, "rates": [ETA], "noise_step": ETA,
                "damping": 1.0, "sharpness": CURVATURE, "smallest_curvature": -0.4,
                "curvature_loss": loss, "gradient_scaled": ETA * gradient**2 / 2,
                "known_optimizer": True,
            }  # fmt: skip
        if look % 4 == 0:
            row |= {"units": {"1": {"dead": 0.25, "saturated": 0.0}}, "output_sizes": {"0": 1.0}}
            row["update_ratios"] = {n: 1e-3 / (i + 1) for i, n in enumerate(layers)}
        made.append(row)
    return made


FINDINGS: list[dict[str, Any]] = [
    {"kind": "step_too_small", "title": "step too small", "certainty": 0.75,
     "seen": "the step is 0.01 of the stability limit", "source": "E1",
     "change": "Multiply the step by up to 10.", "action": {"lr_factor": 10.0}, "numbers": {},
     "steps": [[0, 50], [100, 195]]},
    {"kind": "dead_units", "title": "dead units", "certainty": 0.45, "seen": "some",
     "source": "T11", "change": "Start again.", "steps": [[20, 180]]},
]  # fmt: skip

ATTACK = (
    "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'><b>&amp;{{7*7}}"
)


def hostile_rows() -> list[Row]:
    """Every text that a record can carry is an attack, and every value of a wrong type too."""
    made = rows_of_descent(12, layers=(ATTACK, "<a href='javascript:window.pwned=1'>x</a>"))
    for row in made:
        if "units" in row:
            row["units"] = {ATTACK: {"dead": 0.5, "saturated": ATTACK}, "x": ATTACK}
    finding = dict.fromkeys(("kind", "title", "seen", "source", "change"), ATTACK)
    wrong: list[Any] = [
        {"step": ATTACK}, {"step": True, "loss": 1.0}, {"step": -1}, {"step": "nan", "loss": 1.0},
        {"step": 300, "loss": ATTACK, "pl_ratio": [], "units": 3, "gradient_norms": [1, 2]},
        {"step": 301, "loss": 10**400, "rates": {}, "limit": None, "stability": {"a": 1}},
        {"step": 302, "loss": "inf", "stability": "nan", "noise_scale": "-inf"},
        {"step": 10**400, "loss": 1.0},
        {"step": 303, "findings": [
            {**finding, "certainty": 7, "steps": [[3, 1], [1], "x", [0, ATTACK]]},
            {**finding, "certainty": ATTACK, "steps": [[0, 200]]}, 4]},
    ]  # fmt: skip
    return [*made, *wrong]


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A record file of these rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in [HEADER, *rows]))
    return path
