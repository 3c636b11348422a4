"""Evaluate a model that is being trained without leaving a trace in it.

Gradients, buffers, hooks on parameters and torch's random generators are as before; only time
passes. Dropout draws from the generators as they stand, and they are put back afterwards. What is
compiled runs as it was written: compiled code has no second derivative, keeps no graph for a second
pass, and would be compiled again for the hooks of a look.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Loss = Callable[[nn.Module, Any], Tensor]
"""``loss(model, batch)`` -> scalar; the model is called inside, as often as it likes."""


def plain(model: nn.Module) -> nn.Module:
    """The module itself, without the wrappers of `torch.compile` and distributed training."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


@contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """Torch's generators of the CPU, and of the device if it is another, as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


class Replica:
    """The model with leaves of its own that share the parameters' memory.

    A gradient by these leaves reaches no `.grad`, and no hook on a parameter runs. Buffers are
    copies, so that batch normalisation may update them.

    Args:
        model: The model in training, already `plain`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._caller = _Caller(model)
        own: dict[int, Tensor] = {}
        self.leaves: dict[str, Tensor] = {}
        for name, p in model.named_parameters(remove_duplicate=False):
            leaf = own.setdefault(id(p), p.detach().requires_grad_(p.requires_grad))
            self.leaves[f"model.{name}"] = leaf
        self.trained = [leaf for leaf in own.values() if leaf.requires_grad]
        self._buffers = dict(self._caller.named_buffers(remove_duplicate=False))

    def loss(self, loss: Loss, batch: Any) -> Tensor:
        """``loss(model, batch)`` while the model holds the leaves in place of its parameters."""
        buffers = {name: b.detach().clone() for name, b in self._buffers.items()}
        value: Tensor = torch.func.functional_call(
            self._caller, (self.leaves, buffers), (loss, batch)
        )
        return value


class _Caller(nn.Module):
    """Whatever the loss touches of the model, its parts and attributes, is under the leaves."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, loss: Loss, batch: Any) -> Tensor:
        return loss(self.model, batch)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[Replica]:
    """A replica to evaluate; gradients are enabled, attention takes a form with two derivatives.

    Args:
        model: The model in training, wrapped or not.

    Yields:
        The replica.
    """
    inner = plain(model)
    device = next((p.device for p in inner.parameters()), torch.device("cpu"))
    with (
        _as_written(), generators_kept(device), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH)
    ):  # fmt: skip
        yield Replica(inner)


def _as_written() -> AbstractContextManager[object]:
    """A context in which compiled modules run eagerly; nothing is compiled before dynamo loads."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return eager
