"""Ascent towards the worst point of the ball, many starts at once, in float64.

A start keeps the best state it has met. Each iteration proposes one further state: a step along the
normalised gradient, back onto the ball, and a power step for the directions; an improvement makes
the next step longer, a failure shorter.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from talweg.falsification._board import CLOSE, Board, Effort
from talweg.falsification._chain import FloatChain
from talweg.falsification._exact import ExactChain
from talweg.falsification._losses import SquaredLoss
from talweg.falsification._points import GRADIENT, LIPSCHITZ, NORM, SIGMA, Candidate, judge
from talweg.falsification._stated import Stated

ENTRIES = 2**22
"""Numbers of one batch of Jacobians or weights at most; larger problems use fewer starts."""

JACOBIAN_ENTRIES = 2**26
"""Beyond this many entries a Jacobian is not formed, and singular values are not attacked."""

WARM_UP = 3
"""The share 1 / WARM_UP of the iterations of the Lipschitz attack stays at its first points."""

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From points ``(P, p)`` to log ratios ``(P,)`` and their gradients; -inf where nothing holds."""


def attack_ball(
    found: Stated, chain: FloatChain, exact: ExactChain, board: Board, effort: Effort,
    generator: torch.Generator,
) -> None:  # fmt: skip
    """All attacks on points of the ball, once."""
    board.say("attacking the Lipschitz constant on the ball")
    with board.timed(LIPSCHITZ):
        _attack_lipschitz(found, chain, exact, board, effort, generator)
    forms = chain.residuals * chain.size <= JACOBIAN_ENTRIES
    for kind in (SIGMA, NORM, GRADIENT):
        if board.over():
            return
        if kind == GRADIENT or forms:
            board.say(f"attacking {kind}")
            with board.timed(kind):
                _attack_spectrum(kind, found, chain, exact, board, effort, generator)


def _attack_lipschitz(
    found: Stated, chain: FloatChain, exact: ExactChain, board: Board, effort: Effort,
    generator: torch.Generator,
) -> None:  # fmt: skip
    """Maximise |D^2F(w)[v, d]| over the ball and unit v, d; u is the direction of the result."""
    count = _starts(chain.size, effort)
    listed = torch.tensor(found.profile, dtype=torch.float64)
    pieces = torch.arange(count) % len(listed)
    radii, betas = listed[pieces, 0], listed[pieces, 1]
    x, alpha = _points(count, chain.size, radii, generator), torch.full((count,), 0.5)
    v = _unit(torch.randn(count, chain.size, generator=generator, dtype=torch.float64))
    d = v if bool(torch.randint(2, (), generator=generator)) else _unit(
        torch.randn(count, chain.size, generator=generator, dtype=torch.float64)
    )  # fmt: skip
    alpha = alpha.to(torch.float64)
    best = torch.full((count,), -1.0, dtype=torch.float64)
    state: tuple[Tensor, ...] = (x, v, d)
    bent = torch.zeros(count, len(chain.inputs), found.outputs)
    bent = bent.to(torch.float64)
    slopes: tuple[Tensor, ...] = state
    for iteration in range(effort.iterations):
        leaves = tuple(t.detach().requires_grad_(True) for t in (x, v, d))
        image = chain.bend(*leaves)
        value = image.flatten(1).norm(dim=1)
        gradients = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
        better = value.detach() > best
        best = torch.where(better, value.detach(), best)
        mask = better[:, None]
        state = _chosen(mask, leaves, state)
        slopes = _chosen(
            mask, tuple(_filled(g, t) for g, t in zip(gradients, leaves, strict=True)), slopes
        )
        bent = torch.where(mask[:, :, None], image.detach(), bent)
        moving = iteration >= effort.iterations // WARM_UP
        if moving:
            alpha = torch.where(better, (1.5 * alpha).clamp(max=1.0), 0.5 * alpha)
        x, v, d = state
        if moving:
            x = _inside(x + (alpha * radii)[:, None] * _unit(slopes[0]), radii)
        if iteration % 2 == 0:
            v = _unit(slopes[1])
        else:
            d = _unit(slopes[2])
        if board.over():
            break
    ratios = torch.where(betas > 0.0, best / betas, torch.where(best > 0.0, torch.inf, 0.0))
    _settle(LIPSCHITZ, ratios, effort.iterations, board)
    for index in _closest(ratios):
        unit = bent[index] / bent[index].norm()
        directions = {"u": unit, "v": state[1][index], "d": state[2][index]}
        judge(Candidate(LIPSCHITZ, state[0][index], directions), found, exact, board)
        if board.violation is not None:
            return


def _attack_spectrum(
    kind: str, found: Stated, chain: FloatChain, exact: ExactChain, board: Board, effort: Effort,
    generator: torch.Generator,
) -> None:  # fmt: skip
    """Maximise the log of left over right of one claim over the ball."""
    wide = chain.size if kind == GRADIENT else chain.size * chain.residuals
    count = _starts(wide, effort)
    radii = torch.full((count,), _reach(kind, found), dtype=torch.float64)
    objective = _gradient_objective(found, chain) if kind == GRADIENT else _singular_objective(
        kind, found, chain
    )  # fmt: skip
    x = _points(count, chain.size, radii, generator)
    alpha = torch.full((count,), 0.5, dtype=torch.float64)
    best = torch.full((count,), -torch.inf, dtype=torch.float64)
    kept, slope = x, torch.zeros_like(x)
    iterations = max(2, effort.iterations // 2)
    for _ in range(iterations):
        value, gradient = objective(x)
        better = value > best
        best = torch.where(better, value, best)
        kept = torch.where(better[:, None], x, kept)
        slope = torch.where(better[:, None], gradient, slope)
        alpha = torch.where(better, (1.5 * alpha).clamp(max=1.0), 0.5 * alpha)
        x = _inside(kept + (alpha * radii)[:, None] * _unit(slope), radii)
        if board.over():
            break
    ratios = best.exp()
    _settle(kind, ratios, iterations, board)
    for index in _closest(ratios):
        point = kept[index]
        directions = {} if kind == GRADIENT else singular_directions(kind, chain, point)
        judge(Candidate(kind, point, directions), found, exact, board)
        if board.violation is not None:
            return


def singular_directions(kind: str, chain: FloatChain, x: Tensor) -> dict[str, Tensor]:
    """The extreme singular directions of J at one point: u, and v for the largest."""
    u, v, _ = _singular_triples(kind, chain, x[None])
    found = {"u": chain.directions(u)[0]}
    return found | {"v": v[0]} if kind == NORM else found


def _singular_triples(kind: str, chain: FloatChain, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """u ``(P, n k')``, v ``(P, p)`` and the value of the smallest or largest singular value."""
    jacobian = chain.jacobian(x)
    if chain.residuals <= 200:
        jacobian = torch.where(jacobian.isfinite(), jacobian, 0.0)
        u, values, vt = torch.linalg.svd(jacobian, full_matrices=False)
        if kind == NORM:
            return u[:, :, 0], vt[:, 0], values[:, 0]
        if jacobian.shape[1] > jacobian.shape[2]:  # sigma_min is 0: any null direction shows it
            u = torch.linalg.svd(jacobian, full_matrices=True)[0]
        return u[:, :, -1], vt[:, -1], values[:, -1]
    _, vectors = torch.linalg.eigh(jacobian @ jacobian.mT)
    u = vectors[:, :, -1 if kind == NORM else 0]
    v = (jacobian.mT @ u[:, :, None])[:, :, 0]
    lengths = v.norm(dim=1)
    return u, v / lengths[:, None], lengths


def _singular_objective(kind: str, found: Stated, chain: FloatChain) -> Objective:
    def objective(x: Tensor) -> tuple[Tensor, Tensor]:
        u, v, _ = _singular_triples(kind, chain, x)
        point = x.detach().requires_grad_(True)
        value = (chain.directions(u) * chain.push(point, v)[1]).sum(dim=(1, 2)).abs()
        moved = found.lipschitz_integral_approx(point.norm(dim=1))
        if kind == NORM:
            log = value.log() - (found.claims["jacobian_norm_upper"] + moved).log()
        else:
            log = (found.claims["sigma_min_lower"] - moved).log() - value.log()
        return _with_gradient(log, point)

    return objective


def _gradient_objective(found: Stated, chain: FloatChain) -> Objective:
    claims, samples = found.claims, float(found.multiplicity.sum())

    def objective(x: Tensor) -> tuple[Tensor, Tensor]:
        point = x.detach().requires_grad_(True)
        value = found.loss.values_approx(chain.outputs(point))
        gradient = torch.autograd.grad(value.sum(), point, create_graph=True)[0]
        s = claims["sigma_min_lower"] - found.lipschitz_integral_approx(point.norm(dim=1))
        if isinstance(found.loss, SquaredLoss):
            needed = 2.0 * s * value.sqrt()
        elif found.theorem == "T4":
            needed = (2.0 * claims["pl_lower"] * value).sqrt() * s
            needed = torch.where(value <= claims["initial_gap_upper"], needed, 0.0)
        else:
            k = found.outputs
            needed = s * (k / (k - 1)) ** 0.5 * -torch.expm1(-value / samples**0.5)
        return _with_gradient(needed.log() - gradient.norm(dim=1).log(), point)

    return objective


def _with_gradient(log: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    gradient = _filled(torch.autograd.grad(log.sum(), point, allow_unused=True)[0], point)
    value = log.detach()
    return torch.where(value.isnan(), -torch.inf, value), gradient


def _reach(kind: str, found: Stated) -> float:
    """The radius within which the claim says anything: the last listed one, or where s ends."""
    last = found.profile[-1][0]
    if kind == NORM:
        return last
    low, high = 0.0, last
    for _ in range(60):
        middle = 0.5 * (low + high)
        moved = float(found.lipschitz_integral_approx(torch.tensor(middle, dtype=torch.float64)))
        low, high = (middle, high) if moved < found.claims["sigma_min_lower"] else (low, middle)
    return min(last, 0.999 * high) if high < last else last


def _starts(entries: int, effort: Effort) -> int:
    return max(1, min(effort.restarts, ENTRIES // max(1, entries)))


def _points(count: int, size: int, radii: Tensor, generator: torch.Generator) -> Tensor:
    """Starts in the ball: on the sphere and inside, with few and with many coordinates moved."""
    x = torch.randn(count, size, generator=generator, dtype=torch.float64)
    share = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    kept = torch.rand(count, size, generator=generator, dtype=torch.float64) < share
    x = torch.where(kept | (share > 0.5), x, 0.0)
    depth = torch.rand(count, generator=generator, dtype=torch.float64)
    depth = torch.where(depth < 0.5, 1.0, depth)
    depth[0] = 0.0  # the stored weights themselves
    return _inside(_unit(x) * (depth * radii)[:, None], radii)


def _inside(x: Tensor, radii: Tensor) -> Tensor:
    """Points outside are pulled onto the sphere, a few rounding errors inside of it."""
    limit = radii * (1.0 - 1e-14)
    norms = x.norm(dim=1)
    factor = torch.where(norms > limit, limit / norms, 1.0)
    return x * factor[:, None]


def _unit(x: Tensor) -> Tensor:
    largest = x.abs().amax(dim=1, keepdim=True)  # first, so that no square over- or underflows
    scaled = torch.where(largest > 0.0, x / largest, 0.0)
    norms = scaled.norm(dim=1, keepdim=True)
    unit = torch.where(norms > 0.0, scaled / norms, 0.0)
    return torch.where(unit.isfinite(), unit, 0.0)


def _filled(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient.detach()


def _chosen(mask: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.where(mask, a.detach(), b) for a, b in zip(new, old, strict=True))


def _settle(kind: str, ratios: Tensor, iterations: int, board: Board) -> None:
    """Record what stays below the claim; what does not is recorded once Arb has judged it."""
    below = ratios[ratios <= CLOSE]
    board.compared(kind, float(below.max()) if len(below) else float("-inf"), 0)
    board.compared(kind, float("-inf"), len(ratios) * iterations)


def _closest(ratios: Tensor, most: int = 2) -> list[int]:
    """The largest ratios that float64 cannot tell from a violation."""
    order = torch.argsort(ratios, descending=True)[:most]
    return [int(i) for i in order if float(ratios[i]) > CLOSE]
