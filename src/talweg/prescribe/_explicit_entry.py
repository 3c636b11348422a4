"""P1's explicit output entry for the network and the data as they stand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from talweg._errors import UnsupportedModelError
from talweg.enclosure import Ball, Interval, gram
from talweg.network import Elementwise, Linear, Network, read
from talweg.theory import (
    ExplicitOutputEntry,
    IdentityActivation,
    IncreasingActivation,
    PositiveNetwork,
    SmoothLeakyReLUActivation,
    TanhActivation,
    explicit_output_entry,
)
from talweg.verified import smallest_eigenvalue_lower


def explicit_entry_of(model: nn.Module, data: tuple[Tensor, Tensor]) -> ExplicitOutputEntry | None:
    """P1's explicit formula for the hidden weights and data of a model; None where P1 is silent.

    Args:
        model: `nn.Sequential`, with W_1 = 0 and zero biases.
        data: ``(X, y)``.
    """
    X, y = data
    try:
        network = read(model, X)
    except UnsupportedModelError:
        return None
    ingredients = _ingredients(network, X, y)
    return None if ingredients is None else explicit_output_entry(ingredients)


def _ingredients(network: Network, X: Tensor, y: Tensor) -> PositiveNetwork | None:
    """What P1 reads off a network and its data, each number on its side."""
    chain = _alternating(network)
    if chain is None or network.output_dim != 1:
        return None
    layers, activations = chain
    first, hidden = layers[0], layers[1:-1]
    zero = not bool(first.weight.any()) and first.weight_trainable
    if not zero or any(op.bias is not None and bool(op.bias.any()) for op in layers):
        return None
    if not bool((layers[-1].weight > 0.0).all()):
        return None
    low = min((float(op.weight.min()) for op in hidden), default=1.0)
    high = max((float(op.weight.max()) for op in hidden), default=1.0)
    if not low > 0.0:
        return None
    inputs = X.detach().to(torch.float64).reshape(len(X), -1)
    products = gram(Ball.exact(inputs))
    if first.bias is not None and first.bias_trainable:
        products = products + Ball.exact(torch.ones_like(products.mid))
    smallest = smallest_eigenvalue_lower(products)
    n = Interval.point(float(inputs.shape[0]))
    targets = y.detach().to(torch.float64).reshape(-1).tolist()
    squares = Interval.point(0.0)
    for value in targets:
        squares = squares + Interval.point(value).square()
    return PositiveNetwork(
        inputs=network.input_dim,
        widths=tuple(int(op.weight.shape[0]) for op in layers[:-1]),
        activations=activations,
        gram_eigenvalue_lower=(Interval.point(smallest) / n).lo,
        initial_loss_upper=(squares / n).hi,
        input_entry_upper=float(inputs.abs().max()),
        hidden_low=low if hidden else None,
        hidden_high=high if hidden else None,
    )


def _alternating(
    network: Network,
) -> tuple[list[Linear], tuple[IncreasingActivation, ...]] | None:
    """Linear layers and the activation after each but the last; None for anything else."""
    if not network.is_chain:
        return None
    layers: list[Linear] = []
    activations: list[IncreasingActivation] = []
    for operation in network.chain_operations:
        if isinstance(operation, Linear):
            if len(layers) > len(activations):
                activations.append(IdentityActivation())
            layers.append(operation)
            continue
        known = _activation(operation) if isinstance(operation, Elementwise) else None
        if known is None or len(activations) >= len(layers):
            return None
        activations.append(known)
    return (layers, tuple(activations)) if len(layers) == len(activations) + 1 else None


def _activation(operation: Elementwise) -> IncreasingActivation | None:
    if operation.function == "smooth_leaky_relu":
        return SmoothLeakyReLUActivation(operation.parameters["slope"])
    return TanhActivation() if operation.function == "tanh" else None
