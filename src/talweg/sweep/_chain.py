"""Losses and gradients of many copies of a chain of linear layers, in one batched pass.

For run b, layer l with weights W (B, h', h), biases c (B, h') and activation s, samples in columns:

    Z_l = W_l H_{l-1} + c_l,   H_l = s(Z_l),          H_0 = X^T for all runs alike
    r = H_L - y^T,             f = factor |r|^2,      G_L = 2 factor r
    grad W_l = G_l H_{l-1}^T,  grad c_l = G_l 1,      G_{l-1} = s'(Z_{l-1}) * (W_l^T G_l)

Samples in columns make the first layer, whose input all runs share, a single matrix product in both
directions. Automatic differentiation gives the same numbers up to rounding and takes longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talweg.nn import Scale, Sin, SmoothLeakyReLU

_LOG_2 = math.log(2.0)
_Rule = Callable[[Tensor], tuple[Tensor, Tensor | float]]
"""From Z to the value s(Z) and the slope s'(Z)."""


@dataclass(frozen=True)
class _Layer:
    weight: str
    bias: str | None
    rules: tuple[_Rule, ...]


class Chain:
    """A chain of `torch.nn.Linear` and elementwise modules with a squared loss.

    Args:
        layers: From input to output.
        X: Inputs ``(n, d)``.
        y: Targets ``(n, k)``.
        factor: The loss is ``factor`` times the sum of squares.
    """

    def __init__(self, layers: Sequence[_Layer], X: Tensor, y: Tensor, factor: float) -> None:
        self._layers = layers
        self._X = X.contiguous()
        self._inputs = X.mT.contiguous()
        self._targets = y.mT.contiguous()
        self._factor = factor

    def __call__(self, weights: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses ``(B,)`` and gradients at stacked weights ``(B, *shape)``."""
        values: list[Tensor] = []  # the input of each layer but the first
        slopes: list[list[Tensor | float]] = []
        H: Tensor | None = None
        for layer in self._layers:
            W = weights[layer.weight]
            if H is None:
                Z = (W.reshape(-1, W.shape[2]) @ self._inputs).view(*W.shape[:2], -1)
            else:
                Z = W @ H  # (B, h', n)
            if layer.bias is not None:
                Z += weights[layer.bias].unsqueeze(2)
            slopes.append([])
            for rule in layer.rules:
                Z, slope = rule(Z)
                slopes[-1].append(slope)
            H = Z
            values.append(H)
        assert H is not None
        residual = H - self._targets  # (B, k, n)
        losses = self._factor * residual.square().sum((1, 2))
        return losses, self._gradients(weights, values, slopes, residual)

    def _gradients(
        self,
        weights: dict[str, Tensor],
        values: list[Tensor],
        slopes: list[list[Tensor | float]],
        residual: Tensor,
    ) -> dict[str, Tensor]:
        gradients: dict[str, Tensor] = {}
        G = residual.mul_(2.0 * self._factor)
        for index in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[index]
            for slope in reversed(slopes[index]):
                G = G * slope
            if layer.bias is not None:
                gradients[layer.bias] = G.sum(2)
            if index == 0:
                gradients[layer.weight] = (G.flatten(0, 1) @ self._X).view(*G.shape[:2], -1)
                break
            gradients[layer.weight] = G @ values[index - 1].mT
            W = weights[layer.weight]
            # With a single output the product is an outer one, which needs no matrix routine.
            G = W.mT * G if W.shape[1] == 1 else W.mT @ G
        return gradients


def read_chain(model: nn.Module, X: Tensor, y: Tensor, factor: float) -> Chain | None:
    """The model as a `Chain`, or None where it is none: something else, frozen or shared weights.

    Args:
        model: Any module.
        X: Inputs; a chain takes ``(n, d)``.
        y: Targets; a chain takes ``(n, k)``.
        factor: The loss is ``factor`` times the sum of squares.
    """
    modules = _flat(model)
    if modules is None or X.ndim != 2 or y.ndim != 2:
        return None
    names = {id(p): name for name, p in model.named_parameters(remove_duplicate=False)}
    layers: list[_Layer] = []
    for module in modules:
        if type(module) is nn.Linear:
            bias = None if module.bias is None else names[id(module.bias)]
            layers.append(_Layer(names[id(module.weight)], bias, ()))
            continue
        rule = _rule(module)
        if rule is None or not layers:
            return None
        layers[-1] = _Layer(layers[-1].weight, layers[-1].bias, (*layers[-1].rules, rule))
    used = [name for layer in layers for name in (layer.weight, layer.bias) if name is not None]
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    if not layers or sorted(used) != sorted(trainable):
        return None
    return Chain(layers, X, y, factor)


def _flat(model: nn.Module) -> list[nn.Module] | None:
    """The modules that a sequence calls one after the other; None where hooks may interfere."""
    if any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or "forward" in vars(m)
        for m in model.modules()
    ):
        return None
    if type(model) is not nn.Sequential:
        return [model]
    flat: list[nn.Module] = []
    for child in model:
        inner = _flat(child)
        if inner is None:
            return None
        flat += inner
    return flat


def _rule(module: nn.Module) -> _Rule | None:
    if type(module) is SmoothLeakyReLU:
        return _smooth_leaky_relu(module.slope)
    if type(module) is Scale:
        return _scale(module.numerator, module.denominator)
    return _RULES.get(type(module))


def _smooth_leaky_relu(a: float) -> _Rule:
    def rule(Z: Tensor) -> tuple[Tensor, Tensor]:
        slope = torch.sigmoid(Z).mul_(1.0 - a).add_(a)
        value = F.logsigmoid(-Z).add_(_LOG_2).mul_(a - 1.0)
        return value.add_(Z, alpha=a), slope

    return rule


def _scale(numerator: float, denominator: float) -> _Rule:
    return lambda Z: (Z * numerator / denominator, numerator / denominator)


def _tanh(Z: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.tanh(Z)
    return value, 1.0 - value.square()


def _sigmoid(Z: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.sigmoid(Z)
    return value, value * (1.0 - value)


def _relu(Z: Tensor) -> tuple[Tensor, Tensor]:
    return torch.relu(Z), (Z > 0).to(Z.dtype)  # the slope that autograd takes at 0


_RULES: dict[type[nn.Module], _Rule] = {
    nn.Identity: lambda Z: (Z, 1.0),
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
    nn.ReLU: _relu,
    Sin: lambda Z: (torch.sin(Z), torch.cos(Z)),
}
