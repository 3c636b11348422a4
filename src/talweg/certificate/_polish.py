"""Polish: Levenberg-Marquardt in function space until the criterion holds (theory P5).

    w <- w + J^T (K + lambda I)^{-1} (y - F(w)),      K = J J^T.

Floating point, on a copy of the weights. Whatever it ends with is judged by the same rigorous
bounds as weights from anywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vjp

from talweg.certificate._objective import PolishGoal
from talweg.network import FlatFunction, Network, tangent_kernel_of

FIRST_DAMPING = 1e-2
"""Of the kernel's mean eigenvalue, where the residual is still large."""

LEAST_DAMPING = 1e-15
MAX_REJECTIONS = 12


@dataclass(frozen=True, eq=False)
class Proposal:
    """Weights that a theorem may be tried on.

    Attributes:
        network: The network with the weights, stored as float64.
        distance: Euclidean distance from the weights at the start, float.
        residual_norm: ``|r|`` there, float.
        steps: Accepted steps so far.
    """

    network: Network
    distance: float
    residual_norm: float
    steps: int


def polish_steps(
    network: Network,
    inputs: Tensor,
    goal: PolishGoal,
    multiplicity: Tensor,
    *,
    lipschitz: Callable[[Network], float],
    lipschitz_at_start: float,
    max_steps: int = 80,
) -> Iterator[Proposal]:
    """Weights along the path at which the criterion ``need < sigma_0^2 / (2 beta)`` looks met.

    Args:
        network: A chain; its weights are the start.
        inputs: Distinct rows ``(n, d)``.
        goal: The outputs to reach.
        multiplicity: ``(n,)``.
        lipschitz: Lipschitz constant of the Jacobian at given weights (R -> 0).
        lipschitz_at_start: The same at the start.
        max_steps: Accepted steps at most.

    Yields:
        Candidates; the caller tries its theorem and stops when it holds.
    """
    root = multiplicity.to(torch.float64).sqrt()
    function = FlatFunction(network, inputs, root)
    outputs = goal.outputs * root.reshape(-1, 1)

    def residual_at(w: Tensor) -> Tensor:
        difference = outputs - function(w)
        return centred_rows(difference) if goal.centred else difference

    w = start = function.start
    residual = residual_at(w)
    norm = float(residual.norm())
    damping: float | None = None
    beta = lipschitz_at_start
    steps = 0
    while steps < max_steps and norm > 0.0:
        kernel = _kernel(function.network_at(w), inputs, root)
        if goal.centred:
            kernel = centred_kernel(kernel, outputs.shape[1])
        need = goal.need(residual)
        if _criterion_looks_met(kernel, need, 0.5 * beta):
            here = function.network_at(w)
            beta = lipschitz(here)
            if _criterion_looks_met(kernel, need, beta):
                yield Proposal(here, float((w - start).norm()), norm, steps)
        mean = float(kernel.diagonal().mean())
        if damping is None:
            damping = FIRST_DAMPING * mean
        pullback = vjp(function, w)[1]
        for _ in range(MAX_REJECTIONS):
            weights = _damped_solution(kernel, residual, damping)
            if weights is not None:
                trial = w + pullback(weights)[0]
                trial_residual = residual_at(trial)
                trial_norm = float(trial_residual.norm())
                if trial_norm < norm:
                    break
            damping = max(10.0 * damping, LEAST_DAMPING * mean)
        else:
            return  # at the rounding floor, or stuck
        damping = max(damping * min(0.1, (trial_norm / norm) ** 2), LEAST_DAMPING * mean)
        w, residual, norm = trial, trial_residual, trial_norm
        steps += 1


def _kernel(network: Network, inputs: Tensor, root: Tensor) -> Tensor:
    """Float64 tangent kernel ``(N, N)`` of the rows scaled by ``root``."""
    if not network.is_chain:
        function = FlatFunction(network, inputs, root)
        jacobian = function.jacobian(function.start)
        return jacobian @ jacobian.T
    kernel = tangent_kernel_of(network, inputs.to(torch.float64), dtype=torch.float64)
    n, k = kernel.shape[:2]
    scale = root.repeat_interleave(k)
    return kernel.reshape(n * k, n * k) * scale * scale.reshape(-1, 1)


def centred_rows(outputs: Tensor) -> Tensor:
    """The outputs of each sample minus their mean.

    Args:
        outputs: ``(n, k)``.
    """
    return outputs - outputs.mean(dim=1, keepdim=True)


def centred_kernel(kernel: Tensor, k: int) -> Tensor:
    """``P K P + c (I - P)``, P subtracting the mean over the k outputs of each sample.

    c is the mean diagonal entry of P K P: the added part decides no extreme eigenvalue.

    Args:
        kernel: ``(N, N)``, N = n k.
        k: Outputs.
    """
    N = len(kernel)
    blocks = kernel.reshape(N // k, k, N // k, k)
    blocks = blocks - blocks.mean(dim=1, keepdim=True)
    blocks = blocks - blocks.mean(dim=3, keepdim=True)
    c = blocks.reshape(N, N).diagonal().mean()
    sample = torch.arange(N // k, device=kernel.device)
    blocks[sample, :, sample, :] += c / k
    return blocks.reshape(N, N)


def _criterion_looks_met(kernel: Tensor, need: float, beta: float) -> bool:
    """Whether ``lambda_min(K) > 2 beta need`` by a float Cholesky factorisation."""
    if not (math.isfinite(beta) and math.isfinite(need)):
        return False
    shifted = kernel.clone()
    shifted.diagonal().sub_(2.0 * beta * need * (1.0 + 1e-5))
    return bool(torch.linalg.cholesky_ex(shifted).info == 0)


def _damped_solution(kernel: Tensor, residual: Tensor, damping: float) -> Tensor | None:
    """``(K + lambda I)^{-1} r`` in the shape of ``r``; None when the factorisation fails."""
    shifted = kernel.clone()
    shifted.diagonal().add_(damping)
    factor, info = torch.linalg.cholesky_ex(shifted)
    if int(info) != 0:
        return None
    return torch.cholesky_solve(residual.reshape(-1, 1), factor).reshape(residual.shape)
