"""The linear layers of a feed-forward chain, in order, as the initialisers see them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from talweg._errors import InputError


def linear_layers(model: nn.Module, call: str) -> tuple[nn.Linear, ...]:
    """The `nn.Linear` layers of an `nn.Sequential` in the order of evaluation.

    Args:
        model: Linear layers and modules without parameters, nested `nn.Sequential` allowed.
        call: The function's name, for the message.

    Raises:
        InputError: Not an `nn.Sequential`, other modules with parameters, fewer than two linear
            layers, a layer that occurs twice, or weights that are not real floating point.
    """
    if not isinstance(model, nn.Sequential):
        raise InputError(
            f"`model` of {call}() must be a torch.nn.Sequential of Linear layers and activations; "
            f"got {type(model).__name__}. Its layers must be in the order of evaluation."
        )
    layers: list[nn.Linear] = []
    for module in _flat(model):
        if isinstance(module, nn.Linear):
            _require_plain(module, layers, call)
            layers.append(module)
        elif next(module.parameters(), None) is not None:
            raise InputError(
                f"`model` of {call}() must have parameters in Linear layers alone; got a "
                f"{type(module).__name__} with parameters. Leave it out or initialise it yourself."
            )
    if len(layers) < 2:
        raise InputError(
            f"`model` of {call}() must have at least two Linear layers; got {len(layers)}. "
            "A single layer is a convex problem and needs no special start."
        )
    return tuple(layers)


def write_(layers: tuple[nn.Linear, ...], weights: list[Tensor]) -> None:
    """Copy the weights into the layers and set every bias to zero.

    Args:
        layers: The layers to write to.
        weights: One tensor per layer, float64, of the shape of its weight.
    """
    with torch.no_grad():
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.zero_()


def random_source(seed: int, generator: torch.Generator | None, call: str) -> torch.Generator:
    """The generator as given, or a new CPU one with this seed.

    Args:
        seed: Used when no generator is given.
        generator: A CPU generator; it is advanced.
        call: The function's name, for the message.

    Raises:
        InputError: The seed is no int, or the generator is not a CPU one.
    """
    if generator is None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InputError(
                f"`seed` of {call}() must be an int; got {seed!r}. Pass an int, or generator=..."
            )
        return torch.Generator().manual_seed(seed)
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise InputError(
            f"`generator` of {call}() must be a torch.Generator on the CPU; got {generator!r}. "
            "Draws are made there in float64, so that every device gets the same weights."
        )
    return generator


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    # A module that is used twice is visited twice: `modules()` would hide that.
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _flat(child)
    else:
        yield module


def _require_plain(layer: nn.Linear, earlier: list[nn.Linear], call: str) -> None:
    if any(layer.weight is other.weight for other in earlier):
        raise InputError(
            f"`model` of {call}() must have a weight of its own in every Linear layer; got one "
            "that is used twice. Untie the layers."
        )
    if not layer.weight.dtype.is_floating_point:
        raise InputError(
            f"`model` of {call}() must have real floating point weights; got {layer.weight.dtype}. "
            "Call model.to(torch.float64)."
        )
