"""The referee of the Lipschitz bound: a strong lower estimate of |D^2F| at the stored weights.

Alternating maximisation of u^T D^2F[delta, v] over unit vectors (theory B4): with H(u) the Hessian
of u . F,

    u <- D^2F[delta, v] / |.|,     v <- H(u) delta / |.|,     delta <- H(u) v / |.|.

Each value found is a lower bound of the Lipschitz constant at R -> 0 up to rounding, so
bound / attack >= 1 is the slack of the bound. Float arithmetic; never part of a proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp

from talweg.network._functional import FlatFunction


@dataclass(frozen=True, eq=False)
class Attack:
    """The strongest trilinear value found.

    Attributes:
        value: ``u^T D^2F[delta, v]``.
        delta: Unit direction ``(p,)``.
        v: Unit direction ``(p,)``.
    """

    value: float
    delta: Tensor
    v: Tensor


# Rounds of every start before the best of them goes on, and rounds over which a gain is judged: the
# value can stand almost still for a few of them near a saddle.
TRIAL_ROUNDS = 12
JUDGED_ROUNDS = 5


def lipschitz_attack_approx(
    function: FlatFunction,
    *,
    restarts: int = 4,
    iterations: int = 60,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Attack:
    """Search for directions along which the Jacobian changes fastest.

    Args:
        function: The network on its training rows.
        restarts: Random starts (independent of the global generator); each has a few rounds, and
            the best of them goes on.
        iterations: Rounds of the best start at most; three Hessian-vector products each.
        tolerance: Relative gain of five rounds below which a start ends.
        seed: Seed of the starts.

    Returns:
        The best attack found.
    """
    w = function.start
    generator = torch.Generator().manual_seed(seed)
    best = Attack(0.0, torch.zeros_like(w), torch.zeros_like(w))
    first = iterations if restarts == 1 else min(TRIAL_ROUNDS, iterations)
    for _ in range(restarts):
        delta = _random_unit(len(w), generator).to(w.device)
        v = _random_unit(len(w), generator).to(w.device)
        found = _ascend(function, Attack(0.0, delta, v), first, tolerance)
        if found.value > best.value:
            best = found
    if iterations > first and best.value > 0.0:
        best = _ascend(function, best, iterations - first, tolerance)
    return best


def _ascend(function: FlatFunction, start: Attack, rounds: int, tolerance: float) -> Attack:
    """Rounds of the alternating maximisation; the values found never fall but for roundings."""
    w, best, delta, v = function.start, start, start.delta, start.v
    values: list[float] = []
    for _ in range(rounds):
        second = _second_derivative(function, w, delta, v)
        norm = float(second.norm())
        if not norm > 0.0:
            break
        u = second / norm
        v = _unit(_hessian_product(function, w, u, delta))
        image = _hessian_product(function, w, u, v)
        value = float(image.norm())
        if not value > 0.0:
            break
        delta = image / value
        if value > best.value:
            best = Attack(value, delta, v)
        values.append(value)
        earlier = values[-1 - JUDGED_ROUNDS] if len(values) > JUDGED_ROUNDS else 0.0
        if value - earlier <= tolerance * value:
            break
    return best


def _second_derivative(function: FlatFunction, w: Tensor, delta: Tensor, v: Tensor) -> Tensor:
    """``D^2F(w)[delta, v]``, ``(n, k)``: the gradient of ``<H(u) delta, v>``, linear in u.

    Not forward over forward differentiation, which torch gets wrong for its layer normalisation.
    """

    def value(u: Tensor) -> Tensor:
        return _hessian_product(function, w, u, delta) @ v

    return grad(value)(torch.zeros_like(function(w)))  # type: ignore[no-any-return]


def _hessian_product(function: FlatFunction, w: Tensor, u: Tensor, direction: Tensor) -> Tensor:
    """``H(u) direction`` with H(u) the Hessian of ``u . F``, ``(p,)``."""

    def gradient(point: Tensor) -> Tensor:
        return vjp(function, point)[1](u)[0]  # type: ignore[no-any-return]

    return jvp(gradient, (w,), (direction,))[1]  # type: ignore[no-any-return]


def _random_unit(size: int, generator: torch.Generator) -> Tensor:
    return _unit(torch.randn(size, generator=generator, dtype=torch.float64))


def _unit(x: Tensor) -> Tensor:
    norm = x.norm()
    return x / norm if float(norm) > 0.0 else x
