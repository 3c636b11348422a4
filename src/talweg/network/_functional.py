"""A network as a differentiable float64 function of one flat vector of its trainable parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from talweg.network._evaluate import elementwise_approx, set_parameters
from talweg.network._graph import Elementwise, Linear, Network


class FlatFunction:
    """``w -> F(w)`` on fixed inputs, in plain float64 (no error bound).

    Args:
        network: A chain.
        X: Inputs ``(n, d)``.
        root: Optional ``(n,)`` factors of the rows (square roots of multiplicities).
    """

    def __init__(self, network: Network, X: Tensor, root: Tensor | None = None) -> None:
        self._network = network
        self._X = X.to(torch.float64)
        self._root = None if root is None else root.reshape(-1, 1)
        self._tensors = [
            t.detach().to(torch.float64) for t in _trainable_tensors(network)
        ]  # fmt: skip

    @property
    def inputs(self) -> Tensor:
        """``(n, d)`` float64."""
        return self._X

    @property
    def root(self) -> Tensor | None:
        """``(n, 1)`` factors of the rows, or None."""
        return self._root

    @property
    def start(self) -> Tensor:
        """The stored parameters, ``(p,)`` float64."""
        return torch.cat([t.reshape(-1) for t in self._tensors])

    def split(self, w: Tensor) -> list[Tensor]:
        """The trainable tensors inside ``w``, in the order of `Network.parameter_names`."""
        sizes = [t.numel() for t in self._tensors]
        return [
            part.reshape(t.shape)
            for part, t in zip(torch.split(w, sizes), self._tensors, strict=True)
        ]

    def __call__(self, w: Tensor) -> Tensor:
        """Outputs ``(n, k)``."""
        parts = iter(self.split(w))
        h = self._X
        for op in self._network.operations:
            if isinstance(op, Linear):
                weight = next(parts) if op.weight_trainable else op.weight.to(torch.float64)
                bias = op.bias
                if bias is not None:
                    bias = next(parts) if op.bias_trainable else bias.to(torch.float64)
                h = F.linear(h, weight, bias)
            elif isinstance(op, Elementwise):
                h = elementwise_approx(op, h)
            else:
                h = h * op.numerator / op.denominator
        return h if self._root is None else h * self._root

    def network_at(self, w: Tensor) -> Network:
        """The network with the parameters ``w`` stored as float64."""
        names = self._network.parameter_names()
        return set_parameters(self._network, dict(zip(names, self.split(w), strict=True)))


def _trainable_tensors(network: Network) -> list[Tensor]:
    tensors: list[Tensor] = []
    for op in network.operations:
        if isinstance(op, Linear):
            if op.weight_trainable:
                tensors.append(op.weight)
            if op.bias is not None and op.bias_trainable:
                tensors.append(op.bias)
    return tensors
