"""A feed-forward chain as stages that give values, slopes and cotangents in floating point.

This is a wider reading than `read`: any elementwise module will do, kinked ones too, because
autograd's slope is all that a floating-point kernel needs. Nothing rigorous may be built on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg.network._graph import Elementwise, Linear, Network, Scale


@dataclass(frozen=True, eq=False)
class Affine:
    """``z = h W^T + b``; weight ``(d_out, d_in)``, bias ``(d_out,)`` or None."""

    weight: Tensor
    bias: Tensor | None
    trains_weight: bool
    trains_bias: bool

    @property
    def trains(self) -> bool:
        """Whether the layer contributes to the kernel."""
        return self.trains_weight or self.trains_bias

    def gram(self, left: Tensor, right: Tensor) -> Tensor:
        """Second factor: ``H H'^T`` if the weight trains, ``+ 1`` if the bias does."""
        if not self.trains_weight:
            return left.new_ones(len(left), len(right))
        product = left @ right.T  # (n, m)
        return product.add_(1.0) if self.trains_bias else product

    def gram_diagonal(self, inputs: Tensor) -> Tensor:
        """Diagonal of `gram`, ``(n,)``, without the matrix."""
        if not self.trains_weight:
            return inputs.new_ones(len(inputs))
        return inputs.square().sum(1) + float(self.trains_bias)


@dataclass(frozen=True, eq=False)
class Pointwise:
    """``y = phi(z)`` entrywise; `function` is differentiable by autograd."""

    function: Callable[[Tensor], Tensor]

    def value_and_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``phi(z)`` and ``phi'(z)``, both of the shape of `z`."""
        if self.function is torch.tanh:  # the common case, without a graph
            value = torch.tanh(z)
            return value, 1.0 - value * value
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            # A clone, because the module may work in place, which autograd refuses on a leaf.
            value = self.function(leaf.clone())
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), slope


Stage = Affine | Pointwise


class Sweep:
    """One forward pass through a chain; iterating over it runs the backward pass.

    Iteration yields ``(layer, H_{l-1}, G_l)`` for the trainable affine layers, last first:
    ``H_{l-1}`` is ``(n, d_{l-1})``; ``G_l = dF/dz_l`` is ``(k, n, d_l)`` with the outputs slowest,
    or ``(n, k)`` while it is diagonal over the outputs (``G_l[o, i, u] = [u = o] v[i, o]``), which
    holds up to and including the last affine layer.
    """

    def __init__(self, stages: tuple[Stage, ...], X: Tensor) -> None:
        self._steps: list[tuple[Stage, Tensor]] = []  # the stage, its input or its slope
        value = X
        for stage in stages:
            if isinstance(stage, Affine):
                self._steps.append((stage, value))
                bias = None if stage.bias is None else stage.bias.to(value.dtype)
                value = nn.functional.linear(value, stage.weight.to(value.dtype), bias)
            else:
                value, slope = stage.value_and_slope(value)
                self._steps.append((stage, slope))
        while self._steps and not (isinstance(stages[0], Affine) and stages[0].trains):
            stages = stages[1:]  # nothing below the first trainable layer matters
            self._steps.pop(0)
        self.values = value  # (n, k)

    def __iter__(self) -> Iterator[tuple[Affine, Tensor, Tensor]]:
        cotangent = torch.ones_like(self.values)  # (n, k)
        for t in reversed(range(len(self._steps))):
            stage, tensor = self._steps[t]
            if isinstance(stage, Pointwise):
                # In place, in our own array: fresh memory costs more than the product.
                cotangent.mul_(tensor)
                continue
            if stage.trains:
                yield stage, tensor, cotangent
            if t == 0:
                return
            weight = stage.weight.to(cotangent.dtype)
            if cotangent.dim() == 2:
                cotangent = cotangent.T[:, :, None] * weight[:, None, :]  # (k, n, d_in)
            else:
                cotangent = cotangent @ weight  # (k, n, d_in)


def stages_of_network(network: Network) -> tuple[Stage, ...] | None:
    """Stages of a network that has been read, or None where it branches or shares a parameter."""
    if not network.is_chain:
        return None
    stages: list[Stage] = []
    for operation in network.chain_operations:
        if isinstance(operation, Linear):
            bias = None if operation.bias is None else operation.bias.detach()
            trains_bias = bias is not None and operation.bias_trainable
            stages.append(
                Affine(operation.weight.detach(), bias, operation.weight_trainable, trains_bias)
            )
        elif isinstance(operation, Scale):
            factor = operation.numerator / operation.denominator
            stages.append(Pointwise(lambda z, c=factor: z * c))  # type: ignore[misc]
        else:
            function = _function(operation)
            if function is None:
                return None
            stages.append(Pointwise(function))
    names = network.parameter_names()
    return tuple(stages) if len(set(names)) == len(names) else None


def stages_of_sequential(model: nn.Module, X: Tensor) -> tuple[Stage, ...] | None:
    """Stages of a plain (nested) Sequential of Linear and elementwise modules, None for all else.

    Plain means: the exact classes of PyTorch, no hooks, no replaced ``forward``, no shared
    parameter.
    """
    layers = _flat(model)
    if layers is None:
        return None
    if layers and type(layers[0]) is nn.Flatten:
        flatten = layers.pop(0)
        if X.dim() < 2 or flatten.start_dim != 1 or flatten.end_dim != -1:
            return None
    elif X.dim() != 2:
        return None
    stages: list[Stage] = []
    for layer in layers:
        if type(layer) is nn.Linear:
            bias = layer.bias
            stages.append(
                Affine(
                    layer.weight.detach(),
                    None if bias is None else bias.detach(),
                    layer.weight.requires_grad,
                    bias is not None and bias.requires_grad,
                )
            )
        elif type(layer) is nn.Dropout:
            if layer.training and layer.p > 0:
                return None
        elif type(layer) is nn.Tanh:
            stages.append(Pointwise(torch.tanh))
        elif type(layer) in _ELEMENTWISE:
            stages.append(Pointwise(layer))
        elif type(layer) is not nn.Identity:
            return None
    linear = [layer for layer in layers if type(layer) is nn.Linear]
    shared = len({id(layer.weight) for layer in linear}) < len(linear)
    biases = [id(layer.bias) for layer in linear if layer.bias is not None]
    if shared or len(set(biases)) < len(biases) or not linear:
        return None
    return tuple(stages)


_ELEMENTWISE: frozenset[type[nn.Module]] = frozenset(
    {
        nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU,
        nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus,
        nn.Softsign, nn.Tanhshrink,
    }
)  # fmt: skip


def _flat(model: nn.Module) -> list[nn.Module] | None:
    """The leaves of nested plain Sequentials, in order; None if anything could change the call."""
    hooked = (
        model._forward_hooks or model._forward_pre_hooks or model._backward_hooks
        or model._backward_pre_hooks or "forward" in vars(model)
    )  # fmt: skip
    if hooked:
        return None
    if type(model) is not nn.Sequential:
        return [model]
    leaves: list[nn.Module] = []
    for child in model:
        part = _flat(child)
        if part is None:
            return None
        leaves.extend(part)
    return leaves


def _function(operation: Elementwise) -> Callable[[Tensor], Tensor] | None:
    """The ideal elementwise function in floating point; None if it is not known here."""
    parameters = operation.parameters
    beta = parameters.get("beta", 1.0)
    slope = parameters.get("slope", 0.0)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        # Without PyTorch's switch to the identity at beta z = 20.
        "softplus": lambda z: torch.logaddexp(beta * z, torch.zeros_like(z)) / beta,
        "silu": nn.functional.silu,
        "gelu": nn.functional.gelu,
        "gelu_tanh": lambda z: nn.functional.gelu(z, approximate="tanh"),
        "smooth_leaky_relu": lambda z: (
            slope * z + (1.0 - slope) * (torch.logaddexp(z, torch.zeros_like(z)) - math.log(2.0))
        ),
        "sin": torch.sin,
        "identity": lambda z: z * 1.0,
    }
    return functions.get(operation.function)
