"""What the tables of a sweep depend on, as plain data for the manifest."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn

from talweg.sweep._chunk import Plan
from talweg.sweep._starts import stacked_starts


def settings_of(plan: Plan) -> dict[str, Any]:
    """All settings, each under the name that a message may use.

    Args:
        plan: The sweep.
    """
    return {
        "talweg": version("talweg"),
        "torch": version("torch"),
        "model": _name(plan.model),
        "data": _digest([plan.X, plan.y]),
        "grid": {name: list(values) for name, values in plan.grid.axes.items()},
        "loss": plan.loss if isinstance(plan.loss, str) else _name(plan.loss),
        "steps": plan.steps,
        "record_every": plan.record_every,
        "target": plan.target,
        "dtype": str(next(plan.model.parameters()).dtype),
        "chunk_size": plan.chunk_size,
        "engine": type(plan.objective()).__name__,
        "probe": _probe(plan),
    }


def _probe(plan: Plan) -> str:
    """SHA-256 of weights, losses and gradients at the start of one run per initialisation.

    Code has no fingerprint of its own: a changed forward, loss or initialisation shows here.
    """
    objective, grid = plan.objective(), plan.grid
    first = {name: values[0] for name, values in grid.axes.items()}
    names = ("init", *grid.extra)
    tensors: list[Tensor] = []
    for values in itertools.product(*(grid.axes[name] for name in names)):
        run = {**first, **dict(zip(names, values, strict=True))}
        start = stacked_starts(plan.model, [run], grid.initialisers, grid.extra)
        losses, gradients = objective(start)
        tensors += [*start.values(), losses, *(gradients[name] for name in start)]
    return _digest(tensors)


def _name(thing: object) -> str:
    if isinstance(thing, nn.Module):
        return f"{type(thing).__module__}.{type(thing).__qualname__}: {thing!r}"
    return str(getattr(thing, "__qualname__", type(thing).__qualname__))


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
