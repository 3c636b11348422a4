"""The claims about the stored weights themselves, evaluated in Arb."""

from __future__ import annotations

import torch
from flint import arb, ctx

from talweg.falsification._ball_attacks import JACOBIAN_ENTRIES, singular_directions
from talweg.falsification._board import PRECISIONS, Board, ratio_approx
from talweg.falsification._chain import FloatChain
from talweg.falsification._exact import ExactChain
from talweg.falsification._points import NORM, SIGMA, Candidate, judge
from talweg.falsification._result import Violation
from talweg.falsification._stated import Stated

LOSS_CLAIMS = ("residual_norm_upper", "initial_gap_upper", "initial_loss_upper")
AT_START = {SIGMA: "sigma_min at w0", NORM: "norm at w0"}


def attack_start(found: Stated, chain: FloatChain, exact: ExactChain, board: Board) -> None:
    """The residual or loss, and both extreme singular values along float64 singular vectors."""
    board.say("evaluating the claims at the stored weights")
    _attack_loss(found, exact, board)
    if chain.residuals * chain.size > JACOBIAN_ENTRIES:
        return
    origin = torch.zeros(chain.size, dtype=torch.float64)
    for kind, name in AT_START.items():
        if board.violation is not None:
            return
        with board.timed(name):
            directions = singular_directions(kind, chain, origin)
            judge(Candidate(kind, origin, directions), found, exact, board, name)


def _attack_loss(found: Stated, exact: ExactChain, board: Board) -> None:
    """|F(w0) - y|, or the loss of a cross-entropy; none of it needs a search."""
    claim = next(name for name in LOSS_CLAIMS if name in found.claims)
    attack = f"{claim.removesuffix('_upper')} at w0"
    with board.timed(attack):
        for bits in PRECISIONS:
            with ctx.workprec(bits):
                attained = found.loss.exact_value(exact.outputs(exact.start()))
                if claim == "residual_norm_upper":
                    attained = attained.sqrt()
                claimed = arb(found.claims[claim])
                if attained > claimed or attained <= claimed:
                    break
        board.compared(attack, ratio_approx(attained, claimed))
        if attained > claimed:
            board.violation = Violation(
                attack, f"the value at the stored weights exceeds {claim}",
                float(attained.mid()), float(claimed.mid()), bits, {}, {},
            )  # fmt: skip
