"""The whole check: form, sentence, theorem, hashes, then the claims about the network at w0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from flint import arb, ctx

from talweg_check._arrays import PRECISION, Balls, approx, exact, matmul
from talweg_check._binding import Data, bound
from talweg_check._file import read
from talweg_check._float64_check import require_float64
from talweg_check._grades import Grade
from talweg_check._grammar import Certificate
from talweg_check._grammar import certificate as parsed
from talweg_check._html import Shown
from talweg_check._linear_algebra import smallest_eigenvalue_lower
from talweg_check._models import jacobian_lipschitz, network, stored_numbers
from talweg_check._network import merged
from talweg_check._rounding import gradient_error_doubts
from talweg_check._sentence import require_sentence
from talweg_check._theorems import require_theorem
from talweg_check._verdict import Incomplete, Invalid

REASON_LIMIT = 500  # characters; a hostile file may hold long names


@dataclass(frozen=True)
class Verdict(Shown):
    """`verdict` is valid, invalid or incomplete; `claim` the sentence, once the fields gave it.

    `grade` is arb or float64, once the number of entries decided it.
    """

    verdict: str
    reason: str
    claim: str | None
    grade: str | None = None


def check(path: str, data: Data = None, grade: str = "auto") -> Verdict:
    """The verdict on the file at `path`; `data` = (inputs, targets) if they are stored elsewhere.

    `grade` is one of auto, arb and float64: see `_grades`.

    Raises OSError when the file cannot be read.
    """
    claim, graded = None, Grade(grade)
    try:
        certificate = parsed(*read(path))
        require_sentence(certificate)
        claim = certificate.sentence
        require_theorem(certificate)
        with ctx.workprec(PRECISION):
            _require_claims(certificate, data, graded)
    except Invalid as error:
        return Verdict("invalid", str(error)[:REASON_LIMIT], claim, graded.name)
    except Incomplete as error:
        return Verdict("incomplete", str(error)[:REASON_LIMIT], claim, graded.name)
    except (MemoryError, RecursionError, np.linalg.LinAlgError) as error:
        reason = f"{type(error).__name__}: the problem is too large or too extreme"
        return Verdict("incomplete", reason, claim, graded.name)
    return Verdict("valid", graded.confirmed(certificate), claim, graded.name)


def _require_claims(certificate: Certificate, data: Data, grade: Grade) -> None:
    """The claims about w0, cheapest first; a disproof ends the check, a doubt is kept."""
    certificate = bound(certificate, data)
    arrays, counts = dict(certificate.arrays), certificate.counts
    labels = certificate.loss.targets(arrays.pop("targets"), counts)
    values = stored_numbers(certificate, arrays)
    distinct = inputs, targets, multiplicity = merged(values["inputs"], labels)
    if grade.choose(len(inputs) * counts["outputs"]) == "float64":
        require_float64(certificate, values, distinct)
        return
    net = network(certificate, values, inputs, multiplicity)
    doubts = certificate.loss.doubts(net, targets, certificate.claims)
    doubts += gradient_error_doubts(certificate, net)

    doubts += _spectrum_doubts(net.kernel(), certificate.claims)
    if not doubts:
        bounds = jacobian_lipschitz(net)
        for radius, beta in certificate.profile:
            if not any(bound.upper(radius) <= arb(beta) for bound in bounds):
                doubts.append(f"jacobian_lipschitz_upper is not confirmed at radius {radius!r}")
    if doubts:
        raise Incomplete("; ".join(doubts))


def _spectrum_doubts(kernel: Balls, claims: Mapping[str, float]) -> list[str]:
    """The claims about the eigenvalues of K that are not confirmed; Invalid where one is disproved.

    With sign -1 it is the smallest eigenvalue of -K that is bounded.
    """
    names, doubts = (("sigma_min_lower", 1, 0), ("jacobian_norm_upper", -1, -1)), []
    values, vectors = np.linalg.eigh(approx(kernel))
    for name, sign, end in names:
        target = sign * arb(claims[name]) ** 2
        shift = (sign * float(values[end]) + float(target)) / 2
        promising = bool(np.isfinite(shift)) and shift > target
        if promising and smallest_eigenvalue_lower(kernel, shift, sign) >= target:
            continue
        vector = exact(vectors[:, [end]])
        quotient = sign * (vector * matmul(kernel, vector)).sum() / (vector * vector).sum()
        if quotient < target:
            raise Invalid(f"disproved: {name} contradicts a Rayleigh quotient of the kernel")
        doubts.append(f"{name} is not confirmed")
    return doubts
