"""Products with the Jacobian of a chain at fixed weights, in plain floats (no error bound).

Values and slopes of all layers are kept from one evaluation; a product J^T u then costs two matrix
products for each layer, and so does J v. Many products at one set of weights are what conjugate
gradients ask for, and autodiff would evaluate the activations again for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from talweg.network._evaluate import elementwise_approx
from talweg.network._graph import Elementwise, Linear, Network


@dataclass(frozen=True, eq=False)
class _Affine:
    """A linear layer: its weight, its input, and which of its parameters train."""

    weight: Tensor  # (d_out, d_in)
    inputs: Tensor  # (n, d_in)
    trains_weight: bool
    trains_bias: bool


class JacobianProducts:
    """J of ``w -> root * F(w)`` at the stored weights of a network, through products.

    Args:
        network: A chain.
        X: Inputs ``(n, d)``.
        root: Factors of the rows ``(n, 1)``, or None.
        dtype: To compute in.
    """

    def __init__(
        self, network: Network, X: Tensor, root: Tensor | None, dtype: torch.dtype = torch.float64
    ) -> None:
        self._root = root = None if root is None else root.to(dtype)
        self._layers: list[_Affine | Tensor | float] = []  # a tensor: slopes (n, d)
        h = X.to(dtype)
        for op in network.chain_operations:
            if isinstance(op, Linear):
                weight = op.weight.detach().to(dtype)
                bias = op.bias
                self._layers.append(
                    _Affine(weight, h, op.weight_trainable, bias is not None and op.bias_trainable)
                )
                h = F.linear(h, weight, None if bias is None else bias.detach().to(dtype))
            elif isinstance(op, Elementwise):
                h, slopes = _value_and_slope(op, h)
                self._layers.append(slopes)
            else:
                factor = op.numerator / op.denominator
                self._layers.append(factor)
                h = h * factor
        self.outputs = h if root is None else h * root
        """``root * F``, ``(n, k)``."""
        self._spaces: dict[int, Tensor] = {}

    def pull(self, u: Tensor) -> list[Tensor]:
        """``J^T u``, in the order of `Network.parameter_names`.

        Args:
            u: ``(n, k)``.
        """
        g = u.clone() if self._root is None else u * self._root
        found: list[Tensor] = []  # from the last parameter to the first
        for position in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[position]
            if not isinstance(layer, _Affine):
                g.mul_(layer)
                continue
            if layer.trains_bias:
                found.append(g.sum(0))
            if layer.trains_weight:
                found.append(g.T @ layer.inputs)
            if position:
                g = torch.mm(g, layer.weight, out=self._space(position, layer.weight.shape[1]))
        return found[::-1]

    def push(self, tangents: list[Tensor]) -> Tensor:
        """``J v``, ``(n, k)``.

        Args:
            tangents: v, as `pull` returns.
        """
        parts = iter(tangents)
        moved: Tensor | None = None
        for position, layer in enumerate(self._layers):
            if not isinstance(layer, _Affine):
                if moved is not None:
                    moved.mul_(layer)
                continue
            space = self._space(position + 1, len(layer.weight))
            if moved is not None:
                moved = torch.mm(moved, layer.weight.T, out=space)
            if layer.trains_weight:
                tangent = next(parts).T
                if moved is None:
                    moved = torch.mm(layer.inputs, tangent, out=space)
                else:
                    moved.addmm_(layer.inputs, tangent)
            if layer.trains_bias:
                moved = space.zero_() if moved is None else moved
                moved.add_(next(parts))
        if moved is None:
            return torch.zeros_like(self.outputs)
        return moved.clone() if self._root is None else moved * self._root

    def _space(self, position: int, width: int) -> Tensor:
        """Memory for the quantity in front of a layer; fresh memory costs as much as a product."""
        if position not in self._spaces:
            self._spaces[position] = self.outputs.new_empty(len(self.outputs), width)
        return self._spaces[position]

    def kernel_product(self, u: Tensor) -> Tensor:
        """``J J^T u``, ``(n, k)``.

        Args:
            u: ``(n, k)``.
        """
        return self.push(self.pull(u))


def _value_and_slope(operation: Elementwise, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        here = x.detach().requires_grad_()
        value = elementwise_approx(operation, here)
        if value is here:
            return x, torch.ones_like(x)
        (slope,) = torch.autograd.grad(value.sum(), here)
    return value.detach(), slope
