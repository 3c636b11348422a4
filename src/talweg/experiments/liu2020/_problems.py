"""Data, networks, bounds and runs that the sections of liu2020 share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import vjp

from talweg.enclosure import Ball, Interval
from talweg.network import (
    FlatFunction,
    JacobianLipschitz,
    Linearization,
    Network,
    kernel_ball,
    linearize,
    read,
    residual_norm_bound,
)
from talweg.nn import Scale
from talweg.theory import SingularValueProfile, singular_value_profile
from talweg.verified import psd_largest_eigenvalue_upper, smallest_eigenvalue_lower

FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
"""Of sigma_0 / beta(0), the radius where the profile would end if beta did not grow."""


def generator(seed: int) -> torch.Generator:
    """A generator of its own for every purpose.

    Args:
        seed: Its seed.
    """
    return torch.Generator().manual_seed(seed)


def sphere_inputs(n: int, d: int, seed: int, *, alike: float = 0.0) -> Tensor:
    """Rows of unit length ``(n, d)``: Gaussian directions, drawn towards a common one.

    Args:
        n: Rows.
        d: Columns.
        seed: Of the draw.
        alike: Weight of the common direction, in [0, 1): the larger, the worse the conditioning.
    """
    source = generator(seed)
    rows = torch.randn(n, d, generator=source, dtype=torch.float64)
    common = torch.randn(1, d, generator=source, dtype=torch.float64)
    rows = (1.0 - alike) * rows / rows.norm(dim=1, keepdim=True) + alike * common / common.norm()
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return unit


def orthonormal_inputs(n: int, d: int, seed: int) -> Tensor:
    """Rows ``(n, d)`` that are orthonormal up to rounding, n <= d, in random directions.

    Args:
        n: Rows.
        d: Columns.
        seed: Of the draw.
    """
    columns: Tensor = torch.linalg.qr(
        torch.randn(d, n, generator=generator(seed), dtype=torch.float64)
    )[0]
    return columns.T.contiguous()


def _linear(weight: Tensor) -> nn.Linear:
    """A layer without bias around a weight; no global random number is drawn for it."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight)
    return layer


def ntk_network(widths: tuple[int, ...], seed: int) -> nn.Sequential:
    """A tanh network in the NTK parametrisation: N(0, 1) weights, factors 1/sqrt(fan-in).

    The first layer carries no factor, because the inputs have unit length. No biases.

    Args:
        widths: Input, hidden and output widths.
        seed: Of the weights.
    """
    source = generator(seed)
    layers: list[nn.Module] = []
    for index, (d_in, d_out) in enumerate(pairwise(widths)):
        weight = torch.randn(d_out, d_in, generator=source, dtype=torch.float64)
        layers.append(_linear(weight))
        if index > 0:
            layers.append(Scale(1.0, math.sqrt(d_in)))
        if index < len(widths) - 2:
            layers.append(nn.Tanh())
    return nn.Sequential(*layers)


def twin_network(d: int, width: int, seed: int) -> nn.Sequential:
    """``F(x) = m^{-1/2} sum_j (+-1) tanh(w_j . x)``, each w_j there twice with opposite signs.

    Only the first layer trains, and F = 0 at the start (antisymmetric initialisation, theory T8).

    Args:
        d: Input width.
        width: m, even.
        seed: Of the weights.
    """
    half = width // 2
    rows = torch.randn(half, d, generator=generator(seed), dtype=torch.float64)
    first = _linear(torch.cat([rows, rows]))
    signs = torch.cat([torch.ones(half), -torch.ones(half)]).to(torch.float64)
    last = _linear(signs.reshape(1, -1))
    last.weight.requires_grad_(False)
    return nn.Sequential(first, nn.Tanh(), last, Scale(1.0, math.sqrt(2 * half)))


@dataclass(frozen=True, eq=False)
class Bounds:
    """Rigorous bounds at the weights of a network, and the float function for runs.

    Attributes:
        network: The reading.
        inputs: ``(n, d)``.
        state: Its linearization.
        sigma_min_lower: sigma_0.
        jacobian_norm_upper: |J(w0)|.
        sample_norm_upper: max_i |J_i(w0)|.
        lipschitz: beta on balls.
    """

    network: Network
    inputs: Tensor
    state: Linearization
    sigma_min_lower: float
    jacobian_norm_upper: float
    sample_norm_upper: float
    lipschitz: JacobianLipschitz

    @property
    def function(self) -> FlatFunction:
        """``w -> F(w)``, float64."""
        return FlatFunction(self.network, self.inputs)

    def residual_norm_upper(self, targets: Tensor) -> float:
        """Upper bound of |F(w0) - y|.

        Args:
            targets: ``(n, k)``.
        """
        return residual_norm_bound(self.state, targets)

    def profile(self, fractions: tuple[float, ...] = FRACTIONS) -> SingularValueProfile:
        """``s(rho) = sigma_0 - int_0^rho beta`` with beta evaluated on nested balls.

        Args:
            fractions: Of sigma_0 / beta(0), where beta is evaluated.
        """
        end = self.sigma_min_lower / self.lipschitz.upper(0.0)
        return singular_value_profile(
            self.sigma_min_lower, [(f * end, self.lipschitz.upper(f * end)) for f in fractions]
        )


def bounds_of(model: nn.Module, inputs: Tensor) -> Bounds:
    """Read a model and bound its kernel spectrum and Lipschitz constant.

    Args:
        model: A chain.
        inputs: ``(n, d)`` distinct rows.
    """
    network = read(model, inputs)
    state = linearize(network, inputs)
    kernel = kernel_ball(state)
    return Bounds(
        network,
        inputs,
        state,
        root_lower(smallest_eigenvalue_lower(kernel)),
        root_upper(psd_largest_eigenvalue_upper(kernel)),
        _sample_norm_upper(kernel, state.h[-1].shape[1]),
        JacobianLipschitz(state),
    )


def root_lower(value: float) -> float:
    """Lower bound of the square root; 0 where the value is not positive."""
    return max(Interval.point(value).sqrt().lo, 0.0) if 0.0 < value < math.inf else 0.0


def root_upper(value: float) -> float:
    """Upper bound of the square root."""
    return Interval.point(max(value, 0.0)).sqrt().hi


def _sample_norm_upper(kernel: Ball, outputs: int) -> float:
    """max_i |J_i| from the diagonal of K: |J_i|^2 is at most the trace of its block."""
    diagonal = kernel.upper().diagonal().reshape(-1, outputs).amax(1)
    return root_upper((Interval.point(float(diagonal.amax())) * outputs).hi)


@dataclass(frozen=True, eq=False)
class Run:
    """One float64 run of gradient descent on 1/2 |F - y|^2.

    Attributes:
        residuals: ``|r_k|``, k = 0..steps.
        path: Length of the path.
        w: The last weights.
    """

    residuals: tuple[float, ...]
    path: float
    w: Tensor

    def worst_contraction(self, floor: float) -> float:
        """max |r_{k+1}| / |r_k| while |r_k| is above a floor, away from rounding.

        Args:
            floor: Relative to |r_0|.
        """
        r = self.residuals
        ratios = [b / a for a, b in pairwise(r) if a > floor * r[0] and b > floor * r[0]]
        return max(ratios, default=0.0)


def descend(
    function: FlatFunction, targets: Tensor, step: float, steps: int, *, floor: float = 1e-9
) -> Run:
    """Gradient descent on 1/2 |F - y|^2 until |r| falls to ``floor |r_0|``.

    Args:
        function: F.
        targets: ``(n, k)``.
        step: eta.
        steps: At most so many.
        floor: Where to stop.
    """
    w, path = function.start, 0.0
    residuals: list[float] = []
    for _ in range(steps):
        pulled = vjp(function, w)
        outputs, pullback = pulled[0], pulled[1]
        r = outputs - targets
        residuals.append(float(r.norm()))
        if residuals[-1] <= floor * residuals[0]:
            return Run(tuple(residuals), path, w)
        change = step * pullback(r)[0]
        path += float(change.norm())
        w = w - change
    residuals.append(float((function(w) - targets).norm()))
    return Run(tuple(residuals), path, w)


def slope(x: list[float], y: list[float]) -> float:
    """Least-squares slope of log y against log x.

    Args:
        x: Positive numbers.
        y: As many.
    """
    a = torch.tensor(x, dtype=torch.float64).log()
    b = torch.tensor(y, dtype=torch.float64).log()
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a * a).sum())
