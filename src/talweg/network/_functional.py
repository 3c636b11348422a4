"""A network as a differentiable float64 function of one flat vector of its trainable parameters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from talweg.network._evaluate import evaluated_with, set_parameters
from talweg.network._graph import Network


class FlatFunction:
    """``w -> F(w)`` on fixed inputs, in plain float64 (no error bound).

    Args:
        network: Any network.
        X: Inputs ``(n, d)`` or ``(n, *input_shape)``.
        root: Optional ``(n,)`` factors of the rows (square roots of multiplicities).
    """

    def __init__(self, network: Network, X: Tensor, root: Tensor | None = None) -> None:
        self._network = network
        self._X = X.to(torch.float64)
        self._root = None if root is None else root.reshape(-1, 1)
        self._tensors = [
            slot.tensor.detach().to(torch.float64) for slot in network.trainable_slots()
        ]

    @property
    def network(self) -> Network:
        """The network at its own weights."""
        return self._network

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
        names = self._network.parameter_names()
        h = evaluated_with(self._network, self._X, dict(zip(names, self.split(w), strict=True)))
        return h if self._root is None else h * self._root

    def jacobian(self, w: Tensor) -> Tensor:
        """``J(w)``, ``(n k, p)``, sample by sample: an output depends on its own row only."""
        names = self._network.parameter_names()

        def one(row: Tensor, *parts: Tensor) -> Tensor:
            values = dict(zip(names, parts, strict=True))
            return evaluated_with(self._network, row.unsqueeze(0), values)[0]

        parts = self.split(w)
        jacobians = vmap(
            jacrev(one, argnums=tuple(range(1, len(parts) + 1))),
            in_dims=(0, *(None for _ in parts)),
            chunk_size=64,
        )(self._X, *parts)
        joined = torch.cat([j.flatten(2) for j in jacobians], 2)  # (n, k, p)
        if self._root is not None:
            joined = joined * self._root.unsqueeze(2)
        return joined.flatten(0, 1)

    def network_at(self, w: Tensor) -> Network:
        """The network with the parameters ``w`` stored as float64."""
        names = self._network.parameter_names()
        return set_parameters(self._network, dict(zip(names, self.split(w), strict=True)))
