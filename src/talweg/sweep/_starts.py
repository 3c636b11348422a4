"""Starting weights of many runs at once: one stacked tensor per parameter.

The same seed draws the same numbers at every scale, step size and length of chunk, so runs that
differ in these only are paired.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.network._isolate import random_state_kept

INITIALISERS: dict[str, str] = {
    "default": "PyTorch's: weights and biases uniform on +-1/sqrt(fan-in)",
    "lecun": "weights N(0, 1/fan-in), biases 0",
    "lecun_abs": "absolute values of lecun",
    "positive": "chatterjee2022's: first layer and biases 0, hidden entries uniform on "
    "(1/2, 3/2) / fan-in, output entries 1, so that the scale is the theorem's A",
    "as_given": "the weights of the model as it is",
}
"""Initialisations that go by name, for models whose parameters all belong to `torch.nn.Linear`."""


def stacked_starts(
    model: nn.Module,
    runs: Sequence[Mapping[str, Any]],
    initialisers: Mapping[str, Callable[..., None]],
    extra: Sequence[str],
) -> dict[str, Tensor]:
    """Starting weights of some runs.

    Args:
        model: The model, in the dtype to compute in; left as it is.
        runs: Settings of each run, with "seed", "init" and "scale".
        initialisers: Functions by name, beside `INITIALISERS`.
        extra: Names of the settings that a function takes as keyword arguments.

    Returns:
        For each trainable parameter its name and a tensor ``(runs, *shape)``.

    Raises:
        InputError: An initialisation by name meets parameters outside `torch.nn.Linear`, a scale
            other than 1 finds no linear layer, or a function changes a shape or leaves NaN.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    stacks = {name: p.new_empty((len(runs), *p.shape)) for name, p in trained.items()}
    own = copy.deepcopy(model)  # the initialisations by name fill it again and again
    latest: tuple[Any, ...] = ()
    with torch.no_grad(), random_state_kept():
        for index, run in enumerate(runs):
            drawn = (run["seed"], run["init"], run["scale"], *(run[name] for name in extra))
            if drawn == latest:
                for stack in stacks.values():
                    stack[index] = stack[index - 1]
                continue
            latest = drawn
            function = initialisers.get(run["init"])
            start = own
            if function is not None or run["init"] == "as_given":
                start = copy.deepcopy(model)
            generator = torch.Generator().manual_seed(run["seed"])
            if function is None:
                _draw(start, run["init"], generator)
            else:
                function(start, generator=generator, **{name: run[name] for name in extra})
            if run["scale"] != 1.0:
                for parameter in _linear_layers(start, f"scale {run['scale']}")[-1].parameters():
                    parameter.mul_(run["scale"])
            _put(start, stacks, index, run)
    return {name: stack.detach() for name, stack in stacks.items()}


def _put(start: nn.Module, stacks: dict[str, Tensor], index: int, run: Mapping[str, Any]) -> None:
    found = dict(start.named_parameters())
    for name, stack in stacks.items():
        if name not in found or found[name].shape != stack.shape[1:]:
            break
        stack[index] = found[name]
        if not bool(stack[index].isfinite().all()):
            break
    else:
        return
    raise InputError(
        f"The initialisation {run['init']!r} of talweg.sweep.Sweep must keep the names and shapes "
        f"of the parameters and fill them with finite numbers; {name} is none at {dict(run)}. Mend "
        "the function, or choose a smaller scale."
    )


def _draw(model: nn.Module, name: str, generator: torch.Generator) -> None:
    if name == "as_given":
        return
    layers = _linear_layers(model, f"initialisation {name!r}")
    owned = {id(p) for layer in layers for p in layer.parameters()}
    foreign = [key for key, p in model.named_parameters() if id(p) not in owned]
    if foreign:
        raise InputError(
            f"The initialisation {name!r} of talweg.sweep.Sweep needs every parameter to belong to "
            f"a torch.nn.Linear; {', '.join(foreign)} does not. Pass a function as `init`."
        )
    for index, layer in enumerate(layers):
        width = 1.0 / math.sqrt(layer.in_features)
        if name == "default":
            for parameter in layer.parameters():
                parameter.uniform_(-width, width, generator=generator)
            continue
        if name == "positive":
            _positive(layer, index == 0, layer is layers[-1], generator)
        else:
            draws = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
            layer.weight.copy_(draws / math.sqrt(layer.in_features))
            if name == "lecun_abs":
                layer.weight.abs_()
        if layer.bias is not None:
            layer.bias.zero_()


def _positive(layer: nn.Linear, first: bool, last: bool, generator: torch.Generator) -> None:
    if first:
        layer.weight.zero_()
    elif last:
        layer.weight.fill_(1.0)
    else:
        share = torch.rand(layer.weight.shape, generator=generator, dtype=torch.float64)
        layer.weight.copy_((0.5 + share) / layer.in_features)


def _linear_layers(model: nn.Module, wanted: str) -> list[nn.Linear]:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputError(
            f"The {wanted} of talweg.sweep.Sweep needs a model with a torch.nn.Linear; this "
            f"{type(model).__name__} has none. Pass a function as `init` and scale there."
        )
    return layers
