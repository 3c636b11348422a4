"""Claims at one point of the ball, compared in Arb; every claim reads ``left <= right``.

At the stored weights plus x, with rho = |x|, s(rho) = sigma_min_lower - int_0^rho beta:

    Lipschitz   |<u, D^2F[v, d]>| / (|u| |v| |d|)  <=  beta at the first listed radius >= rho,
    sigma_min   s(rho)                             <=  |J^T u| / |u|,
    norm        |<u, J v>| / (|u| |v|)             <=  jacobian_norm_upper + int_0^rho beta,
    gradient    what the theorem needs of |grad f| <=  |grad f|.

The second derivative is the Jacobian's local modulus, so the first is implied by the claim.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flint import arb, ctx
from torch import Tensor

from talweg.falsification._board import PRECISIONS, Board, ratio_approx
from talweg.falsification._exact import ExactChain, inner, norm
from talweg.falsification._losses import SquaredLoss
from talweg.falsification._result import Violation
from talweg.falsification._stated import Stated

LIPSCHITZ, SIGMA, NORM, GRADIENT = (
    "Lipschitz constant", "sigma_min on the ball", "norm on the ball", "gradient on the ball",
)  # fmt: skip
STATEMENTS = {
    LIPSCHITZ: "the Jacobian's Lipschitz constant on a listed ball exceeds its bound",
    SIGMA: "sigma_min(J) falls below sigma_min_lower minus the integral of the betas",
    NORM: "|J| exceeds jacobian_norm_upper plus the integral of the betas",
    GRADIENT: "the gradient is shorter than the theorem's inequality allows",
}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A point that may break a claim.

    Attributes:
        kind: One of the four.
        x: Displacement ``(p,)``.
        directions: u ``(n, k)``, v and d ``(p,)``, as far as the kind needs them.
    """

    kind: str
    x: Tensor
    directions: dict[str, Tensor] = field(default_factory=dict)


def judge(
    candidate: Candidate, found: Stated, exact: ExactChain, board: Board, attack: str | None = None
) -> None:
    """Compare in Arb; a proved violation goes to the board."""
    name = attack or candidate.kind
    for bits in PRECISIONS:
        with ctx.workprec(bits):
            sides = _SIDES[candidate.kind](candidate, found, exact)
            if sides is None:
                return
            left, right = sides
            if left > right:
                distance = float(norm([arb(v) for v in candidate.x.tolist()]).mid())
                board.compared(name, ratio_approx(left, right))
                upper = candidate.kind in (LIPSCHITZ, NORM)
                attained, claimed = (left, right) if upper else (right, left)
                board.violation = Violation(
                    name, STATEMENTS[candidate.kind], float(attained.mid()), float(claimed.mid()),
                    bits, {"distance": distance},
                    {"displacement": candidate.x, **candidate.directions},
                )  # fmt: skip
                return
            if left <= right:
                board.compared(name, ratio_approx(left, right))
                return


def distance_upper(x: Tensor) -> Any:
    """|x| rounded up, as an exact Arb number."""
    return norm([arb(v) for v in x.tolist()]).upper()


def _lipschitz(c: Candidate, found: Stated, exact: ExactChain) -> tuple[Any, Any] | None:
    rho = distance_upper(c.x)
    betas = [arb(beta) for radius, beta in found.profile if rho <= arb(radius)]
    if not betas:
        return None
    v, d = ([arb(z) for z in c.directions[name].tolist()] for name in ("v", "d"))
    u = exact.scaled_direction(c.directions["u"])
    bent = exact.rescaled(exact.bend(exact.displaced(c.x), v, d))
    lengths = norm(u.entries()) * norm(v) * norm(d)
    return abs(inner(u, bent)), betas[0] * lengths


def _sigma(c: Candidate, found: Stated, exact: ExactChain) -> tuple[Any, Any] | None:
    s = _singular_lower(c.x, found)
    if s is None:
        return None
    u = exact.scaled_direction(c.directions["u"])
    _, pulled = exact.pull(exact.displaced(c.x), exact.rescaled(u))
    return s * norm(u.entries()), norm(pulled)


def _norm(c: Candidate, found: Stated, exact: ExactChain) -> tuple[Any, Any] | None:
    moved = found.lipschitz_integral(distance_upper(c.x))
    if moved is None:
        return None
    u = exact.scaled_direction(c.directions["u"])
    v = [arb(z) for z in c.directions["v"].tolist()]
    pushed = exact.rescaled(exact.push(exact.displaced(c.x), v))
    bound = arb(found.claims["jacobian_norm_upper"]) + moved
    return abs(inner(u, pushed)), bound * norm(u.entries()) * norm(v)


def _gradient(c: Candidate, found: Stated, exact: ExactChain) -> tuple[Any, Any] | None:
    """For l = |r|^2, |grad l| = 2 |J^T r| and |r| = sqrt(l)."""
    s = _singular_lower(c.x, found)
    if s is None:
        return None
    outputs, gradient = exact.pull(exact.displaced(c.x), found.loss.exact_slope)
    value = found.loss.exact_value(outputs)
    if isinstance(found.loss, SquaredLoss):
        return 2 * s * value.sqrt(), norm(gradient)
    if found.theorem == "T4":
        if not value <= arb(found.claims["initial_gap_upper"]):
            return None
        return (2 * arb(found.claims["pl_lower"]) * value).sqrt() * s, norm(gradient)
    n, k = int(found.multiplicity.sum()), found.outputs
    psi = (arb(k) / (k - 1)).sqrt() * -(-value / arb(n).sqrt()).expm1()
    return s * psi, norm(gradient)


def _singular_lower(x: Tensor, found: Stated) -> Any | None:
    moved = found.lipschitz_integral(distance_upper(x))
    if moved is None:
        return None
    s = arb(found.claims["sigma_min_lower"]) - moved
    return s if s > 0 else None


_SIDES = {LIPSCHITZ: _lipschitz, SIGMA: _sigma, NORM: _norm, GRADIENT: _gradient}
