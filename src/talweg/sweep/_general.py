"""Losses and gradients of many copies of any module, by vmap over its stacked parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

LossFunction = Callable[[Tensor, Tensor], Tensor]


class Vectorized:
    """Any module without randomness and without buffers that its forward changes.

    The forward pass is vectorised with ``vmap(functional_call)``, and the sum of all losses is
    differentiated once: run b's loss depends on run b's weights alone, so the gradient of the sum
    holds each run's own. This takes less time than ``vmap(grad)`` and is as exact.

    Args:
        model: The module; left as it is.
        X: Inputs.
        y: Targets.
        loss: From outputs and targets to a scalar.
    """

    def __init__(self, model: nn.Module, X: Tensor, y: Tensor, loss: LossFunction) -> None:
        fixed = dict(model.named_buffers())
        fixed |= {n: p.detach() for n, p in model.named_parameters() if not p.requires_grad}

        def single(weights: dict[str, Tensor]) -> Tensor:
            outputs = torch.func.functional_call(model, {**fixed, **weights}, (X,))
            return loss(outputs, y)

        self._losses = torch.func.vmap(single, randomness="error")

    def __call__(self, weights: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses ``(B,)`` and gradients at stacked weights ``(B, *shape)``."""
        with torch.inference_mode(False), torch.enable_grad():
            leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
            losses = self._losses(leaves)
            found = torch.autograd.grad(
                losses.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
            )
        return losses.detach(), dict(zip(leaves, found, strict=True))
