"""The sentence of a claim, composed anew from the fields: one per kind of loss and theorem."""

from __future__ import annotations

from collections.abc import Callable

from talweg_check._entrywise import said as named
from talweg_check._forms import FORMS
from talweg_check._grammar import Certificate
from talweg_check._verdict import Invalid


def _chain(certificate: Certificate) -> str:
    """What is trained, operation by operation; the hashes alone do not say it."""
    if certificate.graph is not None:
        return certificate.graph.chain()
    said = []
    for item in certificate.operations:
        if item["kind"] == "linear":
            rows, columns = certificate.arrays[item["weight"]].shape
            weight, bias = (
                "trained" if item[key] else "frozen"
                for key in ("weight_trainable", "bias_trainable")
            )
            if item["bias"] is None:
                bias = "none"
            said.append(f"linear {columns}->{rows} (weight {weight}, bias {bias})")
        else:
            said.append(named(item))
    return "; ".join(said)


def _start(certificate: Certificate) -> str:
    """From where, on what, training what."""
    h = certificate.hashes
    return (
        f"on the full batch, started from the stored weights (sha256 {h['weights']}) on the stored "
        f"data (inputs sha256 {h['inputs']}, targets sha256 {h['targets']}), training the "
        f"{certificate.counts['parameters']} parameters of [{_chain(certificate)}], with "
    )


def _to_zero(certificate: Certificate) -> str:
    c = certificate.claims
    return (
        f"Gradient descent in real arithmetic {_start(certificate)}any constant step size in "
        f"(0, {c['step_size']!r}], converges to zero training loss ({certificate.loss.words}): "
        f"every iterate stays within Euclidean distance {c['radius']!r} of the start, and with "
        f"step size {c['step_size']!r} the loss falls by at least the fraction "
        f"{c['one_minus_rate']!r} in every step."
    )


def _to_target(certificate: Certificate) -> str:
    c = certificate.claims
    return (
        f"Gradient descent in real arithmetic {_start(certificate)}constant step size "
        f"{c['step_size']!r}, reaches a training loss of at most {c['target_loss']!r} "
        f"({certificate.loss.words}) after at most {int(c['steps_upper'])} steps: until then every "
        f"iterate stays within Euclidean distance {c['overshoot_radius']!r} of the start."
    )


def _to_floor(certificate: Certificate) -> str:
    c = certificate.claims
    assumed = "; ".join(FORMS[certificate.loss.kind, certificate.theorem].assumptions)
    return (
        "Gradient descent in float64, as run by the program of T9 (forward, backward and update in "
        "binary64, inner products in any order, with or without fused multiply-add), "
        f"{_start(certificate)}constant step size {c['step_size']!r}, brings the training loss "
        f"({certificate.loss.words}) down to the floor {c['floor']!r} after at most "
        f"{int(c['steps_upper'])} steps: until then every iterate stays within Euclidean distance "
        f"{c['radius']!r} of the start and the loss falls by at least the fraction "
        f"{c['one_minus_rate']!r} in every step; nothing is claimed about later iterates. "
        f"Assumed, not proved: {assumed}."
    )


def _to_infimum(certificate: Certificate) -> str:
    c = certificate.claims
    return (
        f"Gradient descent in real arithmetic {_start(certificate)}any constant step size in "
        f"(0, {c['step_size']!r}], converges to the infimum of the training loss "
        f"({certificate.loss.words}), which is the {certificate.loss.scaling} over the samples of "
        "the entropies of their smoothed labels: every iterate "
        f"stays within Euclidean distance {c['radius']!r} of the start, and with step size "
        f"{c['step_size']!r} the loss above its infimum falls by at least the fraction "
        f"{c['one_minus_rate']!r} in every step."
    )


SENTENCES: dict[tuple[str, str], Callable[[Certificate], str]] = {
    ("squared", "T11"): _to_zero,
    ("squared", "T4"): _to_zero,
    ("squared", "T7"): _to_target,
    ("squared", "T9"): _to_floor,
    ("cross_entropy", "T4"): _to_infimum,
    ("cross_entropy", "T13"): _to_target,
}


def require_sentence(certificate: Certificate) -> None:
    """Raises Invalid unless the stated sentence is the one that the fields give."""
    if SENTENCES[certificate.loss.kind, certificate.theorem](certificate) != certificate.sentence:
        raise Invalid("the stated claim is not the sentence that the fields give")
