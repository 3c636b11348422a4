"""What to do next where nothing was proved: by the first hypothesis that was not shown.

docs/refusals.md says more about each; this is the line that stands beside the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from talweg.certificate._objective import SQUARED_SCALINGS
from talweg.network import Linear, Network
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
    "then there is a minimiser, and a copy can be polished towards it"
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


def narrow_under_sums(network: Network, targets: Tensor) -> str | None:
    """Whether zero squared loss makes the kernel singular: one-hot labels and few features.

    Where every row of the targets has one sum s and the features (d of them, and 1) of the rows
    span their space, zero loss makes the rows of the last weight sum to zero. The sum of the
    outputs then no longer sees the layers below: of n rows its kernel has rank d + 1 at most.

    Args:
        network: Any network.
        targets: ``(n, k)`` of distinct rows.

    Returns:
        What to do, or None where this is not so.
    """
    last = network.nodes[-1].operation
    n, k = targets.shape
    if k == 1 or not isinstance(last, Linear) or len(network.parameter_names()) <= 2:
        return None
    if len(last.weight) != k or not last.weight_trainable:  # applied by position, or frozen
        return None
    features = last.weight.shape[1]
    sums = targets.sum(1)
    if n <= features + 1 or bool((sums - sums[0]).abs().max() > 1e-12 * targets.abs().max()):
        return None
    return (
        f"every row of the targets sums to {float(sums[0]):.6g}, as one-hot labels do, and the "
        f"last layer reads {features} features of {n} rows: near zero loss the sum of the outputs "
        "no longer sees the layers below, and the kernel is singular however long one trains. Use "
        'loss="cross_entropy" with label_smoothing=0.1 (`--loss cross_entropy --label-smoothing '
        "0.1`), which leaves that direction out, or widen the last layer beyond the rows"
    )


def advice(
    verdict: Verdict[Any],
    loss: str,
    target: float | None,
    smoothing: float,
    *,
    polished: bool,
    provable: tuple[float, float] | None = None,
) -> str | None:
    """The next thing to try; None where the reason says it.

    Args:
        verdict: Of the theorem.
        loss: Its name, as of `certify`.
        target: Asked for.
        smoothing: Of the labels.
        polished: Whether a polish was tried in vain.
        provable: About the least target within reach, and the loss at the weights.
    """
    if not verdict.failed:
        return None
    name = verdict.failed[0].name
    if name != "criterion":
        return BY_HYPOTHESIS.get(name)
    if target is not None or (loss not in SQUARED_SCALINGS and not smoothing):
        further = NEARER if loss in SQUARED_SCALINGS else SMOOTHING
        if provable is None:
            return further
        least, here = _short_above(provable[0]), provable[1]
        if not least < here:  # so near that the digits do not tell them apart
            return further
        return (
            f"a target of about {least:.7g} is within reach of these weights, whose loss is "
            f"{here:.7g}; to get below it, {further}"
        )
    if not polished:
        return POLISH if loss in SQUARED_SCALINGS else POLISH.partition(";")[0]
    return TRAIN if loss in SQUARED_SCALINGS else TRAIN.partition(";")[2].strip()


def _short_above(x: float) -> float:
    """The next number of seven digits above x > 0: a target to be typed in."""
    unit = 10.0 ** (math.floor(math.log10(x)) - 6)
    return math.ceil(x / unit) * unit if unit > 0.0 else x  # digits of what is nearly 0 are all
