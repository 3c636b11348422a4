"""What to do next where nothing was proved: by the first hypothesis that was not shown.

docs/refusals.md says more about each; this is the line that stands beside the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from talweg.certificate._objective import SQUARED_SCALINGS
from talweg.theory import Verdict

POLISH = (
    "let a copy be trained until it holds: polish=True (`talweg certify` does so unless told not "
    "to); or train on and certify what that reached (`talweg prescribe train`)"
)
TRAIN = (
    "train first and certify what that reached (`talweg prescribe train`); standardise inputs and "
    "targets of unequal size (`talweg diagnose` tells); or widen the model"
)
SMOOTHING = (
    "smooth the labels and leave the target out (label_smoothing=0.1, `--label-smoothing 0.1`): "
    "then there is a minimiser, and a copy can be polished towards it. A target is mostly proved "
    "from weights whose loss is just above it alone"
)
NEARER = (
    "leave the target out to certify zero loss, or pass weights whose loss is nearer to the target"
)
SINGULAR = (
    "look at `kernel smallest` of `talweg measure`: rows that are nearly equal, few features, dead "
    "or saturated units make it vanish. Standardise the inputs, merge such rows, widen, or start "
    "from other weights"
)
EXTREME = "standardise the data, or restore an earlier checkpoint: a bound overflowed"

BY_HYPOTHESIS: Mapping[str, str] = {
    "sigma_min_lower": SINGULAR,
    "profile": SINGULAR,
    "jacobian_norm_upper": EXTREME,
    "jacobian_norm": EXTREME,
    "jacobian_lipschitz": EXTREME,
    "smoothness": EXTREME,
    "gradient_norm": EXTREME,
    "rate_positive": "standardise the inputs, and merge rows that are nearly equal",
    "pl_lower": "smooth the labels more, or pass weights nearer to a minimum",
}


def advice(
    verdict: Verdict[Any], loss: str, target: float | None, smoothing: float, *, polished: bool
) -> str | None:
    """The next thing to try; None where the reason says it.

    Args:
        verdict: Of the theorem.
        loss: Its name, as of `certify`.
        target: Asked for.
        smoothing: Of the labels.
        polished: Whether a polish was tried in vain.
    """
    if not verdict.failed:
        return None
    name = verdict.failed[0].name
    if name != "criterion":
        return BY_HYPOTHESIS.get(name)
    if loss not in SQUARED_SCALINGS and not smoothing:
        return SMOOTHING
    if target is not None:
        return NEARER
    if not polished:
        return POLISH if loss in SQUARED_SCALINGS else POLISH.partition(";")[0]
    return TRAIN if loss in SQUARED_SCALINGS else TRAIN.partition(";")[2].strip()
