"""JSON objects of certificate files, one for every theorem, and an experiment: all made up."""

from __future__ import annotations

import base64
from typing import Any

WORD = "PROVED"
SENTENCE = "Gradient descent in real arithmetic from the stored weights converges."
COMMON = {
    "sigma_min_lower": 1.0, "jacobian_norm_upper": 3.0, "radius": 0.125, "step_size": 0.1,
    "rate": 0.9, "one_minus_rate": 0.1, "halving_steps": 7.0,
}  # fmt: skip
OTHERS: dict[str, tuple[str, dict[str, float]]] = {
    "T11": ("squared", {"residual_norm_upper": 0.1}),
    "T4": ("squared", {"residual_norm_upper": 0.05, "epsilon": 0.5}),
    "T7": ("squared", {"residual_norm_upper": 0.1, "target_loss": 1e-4, "steps_upper": 30.0,
                       "overshoot_radius": 0.2}),
    "T9": ("squared", {"residual_norm_upper": 0.01, "theta": 0.25, "gradient_error_upper": 1e-14,
                       "floor": 1e-20, "steps_upper": 500.0}),
    "T4 entropy": ("cross_entropy", {"initial_gap_upper": 1e-6, "pl_lower": 0.01, "epsilon": 0.1}),
    "T13": ("cross_entropy", {"initial_loss_upper": 5.0, "epsilon": 0.1, "target_loss": 0.5,
                              "steps_upper": 40.0, "overshoot_radius": 0.2}),
}  # fmt: skip
PROFILE = ((0.0625, 1.0), (0.25, 2.0))


def body(name: str = "T11") -> dict[str, Any]:
    """The object of a file for a theorem; its claims are of the form, not true."""
    kind, numbers = OTHERS[name]
    loss = {"kind": kind, "scaling": "mean"}
    if kind == "cross_entropy":
        loss["label_smoothing"] = (0.0).hex()
    return {
        "format": 1, "theorem": name.split()[0], "semantics": "gradient descent", "model": [],
        "claim": SENTENCE, "loss": loss,
        "hashes": dict.fromkeys(("weights", "inputs", "targets"), "ab" * 32),
        "claims": {
            **{key: value.hex() for key, value in (COMMON | numbers).items()},
            "jacobian_lipschitz_upper": [[r.hex(), beta.hex()] for r, beta in PROFILE],
        },
        "counts": {"samples": 5, "outputs": 2, "parameters": 40},
        "assumptions": ["rounding to nearest"] if name == "T9" else [],
        "hints": {}, "provenance": {"torch": "2.0", "as_given": WORD, "notes": []},
    }  # fmt: skip


VALID = {"verdict": "valid", "reason": "", "claim": SENTENCE, "seconds": 0.5}
SLICE = {
    "slices": [
        {"x": [-0.2, 0.0, 0.2], "y": [-0.2, 0.0, 0.2],
         "log10": [[-1.0, -1.5, -1.0], [-1.2, -3.0, None], [-1.0, -1.5, -0.5]]},
        {"x": [-0.01, 0.0, 0.01], "y": [-0.01, 0.0, 0.01], "log10": [[-3.0] * 3] * 3},
    ],
    "path": [(0, 0.0, 0.0, 1e-3), (1, 0.004, 0.001, 8e-4), (29, 0.008, 0.0, 1.5e-6)],
    "ahead": [(29.0, 0.008, 0.0, 1.5e-6), (1e6, 0.02, 0.0, 1e-20)],
    "off_plane": 1e-4, "circle": (0.01, 0.1), "radius": 0.125, "parameters": 40,
    "second": "in which the path leaves that line most",
}  # fmt: skip
MEASURED = {
    "landscape": SLICE,
    "eigenvalues": [4.0, 1.5, 1.01, 3.0],
    "layers": {"shares": [("0.weight, 0.bias", 0.75), ("2.weight", 0.25)], "method": "bound",
               "theory": "B6", "rows": 2, "of": 5, "named": True},
    "losses": [(k, 0.001 * 0.8**k) for k in range(30)], "left_out": ["Something was left out."],
}  # fmt: skip
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""
SECTION: dict[str, Any] = {
    "title": "linear rate", "columns": ("quantity", "measured", "result"),
    "comparisons": [("rate [1]", "0.9", "ok"), ("steps", "12", "VIOLATED")],
    "notes": ["of 100 starts"], "tables": {"by_step": [["step", "status"], ["0.1", WORD]]},
    "pictures": {"rate.png": DOT}, "violated": 1, "bounds": 2, "seconds": 3.25,
}  # fmt: skip

DEMO: dict[str, Any] = {
    "checkpoints": [
        {"step": k, "loss": 10.0**-k, "residual_norm": 10.0 ** (-k / 2), "sigma_min": 0.2,
         "missing_factor": 1e3 * 10.0**-k, "applies": k >= 4}
        for k in range(8)
    ],
    "trapping_time": 4, "held_out_sign_errors": 0.1, "held_out_rows": 1597,
    "certificate": {"status": WORD, "theorem": "T11", "halving_steps": 7.0},
    "descent": [
        {"step_size": 0.1, "halving_steps": 5.0, "loss_ratio": 0.5},
        {"step_size": 0.25, "halving_steps": None, "loss_ratio": float("inf")},
    ],
}  # fmt: skip
"""What ``talweg demo`` tells its page."""
