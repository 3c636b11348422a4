"""The whole check: form, hashes, sentence, theorem, then the claims about the network at w0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flint import arb, ctx
from numpy.typing import NDArray

from talweg_check._arrays import PRECISION, Balls, approx, exact, matmul
from talweg_check._file import StoredArray, digest, read
from talweg_check._forms import FORMS
from talweg_check._grammar import Certificate
from talweg_check._grammar import certificate as parsed
from talweg_check._linear_algebra import smallest_eigenvalue_lower
from talweg_check._lipschitz import JacobianLipschitz
from talweg_check._network import Network, merged, stages_of
from talweg_check._rounding import gradient_error_doubts
from talweg_check._sentence import require_sentence
from talweg_check._theorems import require_theorem
from talweg_check._verdict import Incomplete, Invalid

ENTRIES_LIMIT = 10_000  # residual entries; the kernel then takes some 8 GB
REASON_LIMIT = 500  # characters; a hostile file may hold long names

# Claims about the network that one theorem alone makes: doubts, or Invalid where one is disproved.
FURTHER: dict[tuple[str, str], Callable[[Certificate, Network, NDArray[Any]], list[str]]] = {
    ("squared", "T9"): gradient_error_doubts,
}


@dataclass(frozen=True)
class Verdict:
    """`verdict` is valid, invalid or incomplete; `claim` the sentence, once the fields gave it."""

    verdict: str
    reason: str
    claim: str | None


def check(path: str, data: tuple[StoredArray, StoredArray] | None = None) -> Verdict:
    """The verdict on the file at `path`; `data` = (inputs, targets) if they are stored elsewhere.

    Raises OSError when the file cannot be read.
    """
    claim = None
    try:
        certificate = parsed(*read(path))
        require_sentence(certificate)
        claim = certificate.sentence
        with ctx.workprec(PRECISION):
            _check(certificate, data)
    except Invalid as error:
        return Verdict("invalid", str(error)[:REASON_LIMIT], claim)
    except Incomplete as error:
        return Verdict("incomplete", str(error)[:REASON_LIMIT], claim)
    except (MemoryError, RecursionError):
        return Verdict("incomplete", "not enough memory for a problem of this size", claim)
    assumed = FORMS[certificate.loss.kind, certificate.theorem].assumptions
    grade = f", under {len(assumed)} assumptions that the claim names" if assumed else ""
    return Verdict("valid", f"every claim is confirmed{grade}", claim)


def _check(certificate: Certificate, data: tuple[StoredArray, StoredArray] | None) -> None:
    arrays = dict(certificate.arrays)
    names = [name for item in certificate.operations if item["kind"] == "linear"
             for name in (item["weight"], item["bias"]) if name is not None]  # fmt: skip
    chunks = [name.encode("ascii") + b"\n" + arrays[name].digest_input() for name in names]
    if digest(chunks) != certificate.hashes["weights"]:
        raise Invalid("the stored weights do not have the stated sha256")
    require_theorem(certificate)
    if data is not None:
        arrays.update(zip(("inputs", "targets"), data, strict=True))
    if "inputs" not in arrays:
        raise Incomplete("unbound: the file leaves its data out, and none was given")
    for name in ("inputs", "targets"):
        if digest([arrays[name].digest_input()]) != certificate.hashes[name]:
            raise Invalid(f"the {name} do not have the stated sha256")

    certificate = replace(certificate, arrays=dict(arrays))
    counts, targets = certificate.counts, arrays.pop("targets")
    values = {name: array.values() for name, array in arrays.items()}
    labels = certificate.loss.targets(targets, counts)
    if values["inputs"].shape != (counts["samples"], *values[names[0]].shape[1:]):
        raise Invalid("the given data do not fit the model or 'counts'")
    _confirm(certificate, values, labels)


def _confirm(
    certificate: Certificate, values: dict[str, NDArray[np.float64]], targets: NDArray[Any]
) -> None:
    """The claims about w0, cheapest first; a disproof ends the check, a doubt is kept."""
    inputs, targets, multiplicity = merged(values["inputs"], targets)
    if len(inputs) * certificate.counts["outputs"] > ENTRIES_LIMIT:
        raise Incomplete(f"this checker takes at most {ENTRIES_LIMIT} residual entries")
    stages, zero_sum = stages_of(certificate.operations, values), certificate.loss.zero_sum
    net = Network(stages, exact(inputs), multiplicity, zero_sum)
    claim = {name: arb(value) for name, value in certificate.claims.items()}
    doubts = certificate.loss.doubts(net, targets, certificate.claims)
    further = FURTHER.get((certificate.loss.kind, certificate.theorem))
    if further is not None:
        doubts += further(certificate, net, targets)

    kernel = net.kernel()
    if not _bounded(kernel, claim["sigma_min_lower"], 1):
        doubts.append("sigma_min_lower is not confirmed")
    if not _bounded(kernel, claim["jacobian_norm_upper"], -1):
        doubts.append("jacobian_norm_upper is not confirmed")

    if not doubts:
        lipschitz = JacobianLipschitz(net)
        for radius, beta in certificate.profile:
            if not lipschitz.upper(radius) <= arb(beta):
                doubts.append(f"jacobian_lipschitz_upper is not confirmed at radius {radius!r}")
    if doubts:
        raise Incomplete("; ".join(doubts))


def _bounded(kernel: Balls, singular_value: arb, sign: int) -> bool:
    """Whether the square bounds the spectrum from below (sign 1) or above (-1); may disprove."""
    target = sign * singular_value**2
    try:
        values, vectors = np.linalg.eigh(sign * approx(kernel))
    except np.linalg.LinAlgError:
        return False
    hint = (float(values[0]) + float(target)) / 2
    promising = bool(np.isfinite(hint)) and hint > target
    if promising and smallest_eigenvalue_lower(kernel, hint, sign) >= target:
        return True
    vector = exact(vectors[:, :1])
    quotient = sign * (vector * matmul(kernel, vector)).sum() / (vector * vector).sum()
    if quotient < target:
        name = "sigma_min_lower" if sign == 1 else "jacobian_norm_upper"
        raise Invalid(f"disproved: {name} contradicts a Rayleigh quotient of the kernel")
    return False
