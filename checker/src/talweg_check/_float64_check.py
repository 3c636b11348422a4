"""The grade "float64": the claims about w0 with linear algebra in binary64.

It speaks of squared losses under T11, T4 and T7; the order of the checks is that of `_check`.
Elementary functions and the comparisons with the claims are Arb's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flint import arb
from numpy.typing import NDArray

from talweg_check._float64 import Floats
from talweg_check._float64_largest import norm_is_at_most
from talweg_check._float64_lipschitz import JacobianLipschitz64
from talweg_check._float64_network import Network64, stages_of
from talweg_check._float64_sentinel import require_sound_arithmetic
from talweg_check._float64_spectrum import Kernel64
from talweg_check._grammar import Certificate
from talweg_check._verdict import Incomplete, Invalid

THEOREMS = ("T11", "T4", "T7")


def require_float64(
    certificate: Certificate,
    values: Mapping[str, Floats],
    merged: tuple[Floats, Floats, NDArray[np.int64]],
) -> None:
    """The claims about w0, cheapest first.

    Args:
        certificate: What the file says.
        values: Its arrays by name, weights among them.
        merged: Distinct input rows, their targets and how often each occurs.

    Raises:
        Incomplete: Something is not confirmed, not spoken of, or too large for this machine.
        Invalid: The stated residual norm is disproved.
    """
    inputs, targets, multiplicity = merged
    if certificate.graph is not None:
        raise Incomplete("the grade float64 speaks of chains (format 1) only")
    if certificate.loss.kind != "squared" or certificate.theorem not in THEOREMS:
        raise Incomplete(
            f"the grade float64 speaks of squared losses under {', '.join(THEOREMS)} only"
        )
    with np.errstate(all="ignore"):  # what overflows is inf or nan, and confirms nothing
        require_sound_arithmetic()
        stages = stages_of(certificate.operations, values)
        _require_memory(len(inputs), certificate.counts["outputs"],
                        [len(stage.weight.mid) for stage in stages[1:]])  # fmt: skip
        net = Network64(stages, inputs, multiplicity)
        doubts = _residual_doubts(net, targets, certificate.claims["residual_norm_upper"])
        lipschitz = JacobianLipschitz64(net)  # refuses what it cannot bound; the work comes later
        doubts += spectrum_doubts(Kernel64(net), certificate.claims)
        if not doubts:
            for radius, beta in certificate.profile:
                if not lipschitz.upper(radius) <= beta:
                    doubts.append(f"jacobian_lipschitz_upper is not confirmed at radius {radius!r}")
    if doubts:
        raise Incomplete("; ".join(doubts))


def _residual_doubts(net: Network64, targets: Floats, claim: float) -> list[str]:
    stated = arb(claim) ** 2
    low, high = net.squared_residual(targets)
    if stated >= high:
        return []
    if stated < low:
        raise Invalid("disproved: residual_norm_upper is below the residual norm")
    return ["residual_norm_upper is not confirmed"]


def spectrum_doubts(kernel: Kernel64, claims: Mapping[str, float]) -> list[str]:
    """The claims about the eigenvalues of K that are not confirmed."""
    least = arb(claims["sigma_min_lower"]) ** 2
    most = arb(claims["jacobian_norm_upper"]) ** 2
    doubts = [] if _is_at_least(kernel, least, 1.0) else ["sigma_min_lower is not confirmed"]
    limit = float(np.nextafter(float(most.lower()), -np.inf))
    if not (norm_is_at_most(kernel, limit) or _is_at_least(kernel, -most, -1.0)):
        doubts.append("jacobian_norm_upper is not confirmed")
    return doubts


def _is_at_least(kernel: Kernel64, target: arb, sign: float) -> bool:
    """Whether lambda_min(sign K) >= target, by shifts a little above it: as far as E costs."""
    goal = float(target)
    margin = 1e-6 * abs(goal)
    for _ in range(3):
        bound, cost = kernel.smallest_eigenvalue_lower(goal + margin, sign)
        if arb(bound) >= target:
            return True
        # Without a factor the shift was too large, else too small for what E costs.
        margin = 1e-4 * margin if cost == np.inf else max(2 * cost, margin / 2)
    return False


def _require_memory(samples: int, outputs: int, widths: list[int]) -> None:
    """Raises Incomplete where the arrays to come do not fit into what is free."""
    entries, wide = samples * outputs, sum(widths)
    kept = samples * wide * (9 + 4 * outputs)  # values, slopes, cotangents with radii
    spectrum = 2 * entries**2  # the kernel and its factor
    units = samples**2 + 10 * samples * max(widths)  # overlaps, and arrays over the units
    needed = 8 * (kept + max(spectrum, units)) + 2**29
    free = _free_bytes()
    if free is not None and needed > free:
        raise Incomplete(
            f"this check needs some {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free"
        )


def _free_bytes() -> int | None:
    """What Linux says is available; None elsewhere, where a lack of memory shows on allocation."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None
