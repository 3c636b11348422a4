"""Extreme eigenvalues of the Hessian as the optimiser sees it, by Lanczos.

A step w <- w - S grad f with a positive diagonal S (learning rates, divided by Adam's denominators)
is gradient descent with step 1 in the coordinates S^{-1/2} w, with Hessian S^{1/2} D^2f S^{1/2}.
Its largest eigenvalue against the optimiser's limit (2 for gradient descent) decides stability, its
smallest sign tells a saddle. With S = 1 these are the sharpness and the most negative curvature.

One Lanczos run from a seeded start gives both ends; |beta_m s_m| bounds how far an eigenvalue lies
from each Ritz value. Ritz values lie inside the spectrum: the largest is never overestimated.

Source: E3, E5; Cohen et al. 2021 and 2022 for the limits of momentum and Adam.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Extremes:
    """Ends of a spectrum.

    Attributes:
        largest: Largest Ritz value.
        largest_error: An eigenvalue lies within this of it.
        smallest: Smallest Ritz value.
        smallest_error: An eigenvalue lies within this of it.
        products: Matrix-vector products that were taken.
    """

    largest: float
    largest_error: float
    smallest: float
    smallest_error: float
    products: int


def hessian_product(loss: Tensor, leaves: Sequence[Tensor]) -> tuple[Product, Tensor]:
    """v -> D^2 f v by a second backward pass, and the gradient, both as flat vectors.

    Args:
        loss: Scalar with a graph.
        leaves: The parameters; those the loss does not use have zero derivatives.
    """
    gradients = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
    flat = torch.cat([g.reshape(-1) for g in gradients])

    def product(v: Tensor) -> Tensor:
        if not flat.requires_grad:  # the loss is affine in the parameters
            return torch.zeros_like(v)
        found = torch.autograd.grad(
            flat, leaves, grad_outputs=v, retain_graph=True, materialize_grads=True
        )
        return torch.cat([h.reshape(-1) for h in found])

    return product, flat.detach()


def extremes(product: Product, like: Tensor, steps: int, seed: int = 0) -> Extremes:
    """Both ends of the spectrum of a symmetric operator.

    Args:
        product: Matrix-vector product on flat vectors.
        like: A vector of the right length, dtype and device.
        steps: Lanczos steps, >= 1; fewer when an invariant subspace is found.
        seed: Of the start vector; torch's global generators are not used.
    """
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
    q = q / q.norm()
    basis: list[Tensor] = []
    alphas: list[float] = []
    betas: list[float] = []
    for _ in range(min(steps, like.numel())):
        basis.append(q)
        image = product(q)
        alphas.append(float(image @ q))
        for _ in range(2):  # orthogonal to the whole basis, twice: Lanczos alone forgets
            for b in basis:
                image = image - (image @ b) * b
        beta = float(image.norm())
        betas.append(beta)
        if not math.isfinite(alphas[-1] + beta):
            return Extremes(math.nan, math.nan, math.nan, math.nan, len(alphas))
        if not beta > 1e-6 * max(map(abs, alphas)):
            break
        q = image / beta
    T = torch.diag(torch.tensor(alphas, dtype=torch.float64))
    for i, beta in enumerate(betas[:-1]):
        T[i, i + 1] = T[i + 1, i] = beta
    values, vectors = torch.linalg.eigh(T)
    last = vectors[-1].abs() * betas[-1]
    return Extremes(
        largest=float(values[-1]),
        largest_error=float(last[-1]),
        smallest=float(values[0]),
        smallest_error=float(last[0]),
        products=len(alphas),
    )
