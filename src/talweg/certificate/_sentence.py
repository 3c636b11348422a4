"""The claim in words, composed from the other fields of a file (docs/certificate-format.md).

One entry of `LOSSES` per kind of loss and one of `SENTENCES` per theorem and kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from talweg.certificate._model_sentence import model_sentence

Body = Mapping[str, Any]


def number(body: Body, key: str) -> str:
    """A claim as Python prints the float.

    Args:
        body: A JSON object of the format.
        key: Name of the claim.
    """
    return repr(float.fromhex(body["claims"][key]))


def started(body: Body, arrays: Mapping[str, Tensor]) -> str:
    """From which weights, on which data, training what.

    Args:
        body: A JSON object of the format.
        arrays: Arrays by name, for the widths of the model.
    """
    counts, hashes = body["counts"], body["hashes"]
    return (
        f"on the full batch, started from the stored weights (sha256 {hashes['weights']}) on the "
        f"stored data (inputs sha256 {hashes['inputs']}, targets sha256 {hashes['targets']}), "
        f"training the {counts['parameters']} parameters of "
        f"[{model_sentence(body['model'], arrays)}], with "
    )


def loss_words(body: Body) -> str:
    """The loss in parentheses.

    Args:
        body: A JSON object of the format.
    """
    return f"({LOSSES[body['loss']['kind']](body)})"


def _squared_words(body: Body) -> str:
    counts, scaling = body["counts"], body["loss"]["scaling"].replace("_", " ")
    return f"{scaling} of squares over {counts['samples']} samples and {counts['outputs']} outputs"


def _entropy_words(body: Body) -> str:
    counts, loss = body["counts"], body["loss"]
    over = f"{loss['scaling']} of softmax cross-entropies over {counts['samples']} samples"
    smoothing = float.fromhex(loss["label_smoothing"])
    smoothed = f", label smoothing {smoothing!r}" if smoothing else ""
    return f"{over} and {counts['outputs']} classes{smoothed}"


def _reaches_zero(body: Body, arrays: Mapping[str, Tensor]) -> str:
    step = number(body, "step_size")
    return (
        f"Gradient descent in real arithmetic {started(body, arrays)}any constant step size in "
        f"(0, {step}], converges to zero training loss {loss_words(body)}: every iterate stays "
        f"within Euclidean distance {number(body, 'radius')} of the start, and with step size "
        f"{step} the loss falls by at least the fraction {number(body, 'one_minus_rate')} in every "
        "step."
    )


def _reaches_target(body: Body, arrays: Mapping[str, Tensor]) -> str:
    steps = int(float.fromhex(body["claims"]["steps_upper"]))
    return (
        f"Gradient descent in real arithmetic {started(body, arrays)}constant step size "
        f"{number(body, 'step_size')}, reaches a training loss of at most "
        f"{number(body, 'target_loss')} {loss_words(body)} after at most {steps} steps: until then "
        f"every iterate stays within Euclidean distance {number(body, 'overshoot_radius')} of the "
        "start."
    )


def _reaches_floor(body: Body, arrays: Mapping[str, Tensor]) -> str:
    steps = int(float.fromhex(body["claims"]["steps_upper"]))
    return (
        "Gradient descent in float64, as run by the program of T9 (forward, backward and update in "
        "binary64, inner products in any order, with or without fused multiply-add), "
        f"{started(body, arrays)}constant step size {number(body, 'step_size')}, brings the "
        f"training loss {loss_words(body)} down to the floor {number(body, 'floor')} after at most "
        f"{steps} steps: until then every iterate stays within Euclidean distance "
        f"{number(body, 'radius')} of the start and the loss falls by at least the fraction "
        f"{number(body, 'one_minus_rate')} in every step; nothing is claimed about later iterates. "
        f"Assumed, not proved: {'; '.join(body['assumptions'])}."
    )


def _reaches_infimum(body: Body, arrays: Mapping[str, Tensor]) -> str:
    step, scaling = number(body, "step_size"), body["loss"]["scaling"]
    return (
        f"Gradient descent in real arithmetic {started(body, arrays)}any constant step size in "
        f"(0, {step}], converges to the infimum of the training loss {loss_words(body)}, which is "
        f"the {scaling} over the samples of the entropies of their smoothed labels: every iterate "
        "stays within Euclidean distance "
        f"{number(body, 'radius')} of the start, and with step size {step} the loss above its "
        f"infimum falls by at least the fraction {number(body, 'one_minus_rate')} in every step."
    )


LOSSES: dict[str, Callable[[Body], str]] = {
    "squared": _squared_words,
    "cross_entropy": _entropy_words,
}
SENTENCES: dict[tuple[str, str], Callable[[Body, Mapping[str, Tensor]], str]] = {
    ("squared", "T11"): _reaches_zero,
    ("squared", "T4"): _reaches_zero,
    ("squared", "T7"): _reaches_target,
    ("cross_entropy", "T4"): _reaches_infimum,
    ("cross_entropy", "T13"): _reaches_target,
    ("squared", "T9"): _reaches_floor,
}


def claim_sentence(body: Body, arrays: Mapping[str, Tensor]) -> str:
    """The claim in words.

    Args:
        body: A JSON object of the format; ``claim`` itself is not read.
        arrays: Arrays by name, for the widths of the model.
    """
    return SENTENCES[body["loss"]["kind"], body["theorem"]](body, arrays)
