"""Running a model's own code without leaving a trace in it or in the process."""

from __future__ import annotations

import copy
import operator
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from talweg.network._grammar import place, unsupported

Setting = bool | int | float | str


@dataclass
class RandomUse:
    """Whether the code inside `random_state_kept` drew random numbers; set when it ends."""

    drew: bool = False


@contextmanager
def random_state_kept() -> Iterator[RandomUse]:
    """Restore the states of torch's, Python's and NumPy's global generators afterwards."""
    use = RandomUse()
    numpy: Any = sys.modules.get("numpy.random")
    python_before = random.getstate()
    torch_before = _torch_states()
    numpy_before = numpy.get_state(legacy=False) if numpy else None
    try:
        yield use
    finally:
        torch_after = _torch_states()
        same_torch = all(map(torch.equal, torch_before, torch_after))
        same_numpy = not numpy or _same_state(numpy.get_state(legacy=False), numpy_before)
        same_python = random.getstate() == python_before
        use.drew = not (same_torch and same_numpy and same_python)
        if not same_python:
            random.setstate(python_before)
        if not same_numpy:
            numpy.set_state(numpy_before)
        if not same_torch:
            torch.set_rng_state(torch_before[0])
            for device, state in enumerate(torch_before[1:]):
                torch.cuda.set_rng_state(state, device)


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[RandomUse]:
    """Put back the attributes of the modules and the random state, also after an error.

    An activation that ``forward`` keeps as an attribute does not outlive the block; what it does
    inside a list or dictionary of its own does.
    """
    before = [(module, dict(vars(module))) for module in model.modules()]
    try:
        with random_state_kept() as use:
            yield use
    finally:
        for module, attributes in before:
            values = vars(module)
            same = values.keys() == attributes.keys()
            if not (same and all(map(operator.is_, values.values(), attributes.values()))):
                values.clear()
                values.update(attributes)


def _cuda_in_use() -> bool:
    initialized: Any = torch.cuda.is_initialized
    return torch.cuda.is_available() and bool(initialized())


def _same_state(first: Any, second: Any) -> bool:
    """Whether two states of NumPy's generators, nested dictionaries, are equal."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            _same_state(first[key], second[key]) for key in first
        )
    if hasattr(first, "tobytes"):
        return bool(first.tobytes() == second.tobytes())
    return bool(first == second)


def _torch_states() -> list[Tensor]:
    states = [torch.get_rng_state()]
    if _cuda_in_use():
        states += torch.cuda.get_rng_state_all()
    return states


@contextmanager
def plain_autograd() -> Iterator[None]:
    """Gradients on, inference mode off, whatever surrounds the call."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def twin_of(model: nn.Module) -> nn.Module:
    """A deep copy to run ``forward`` on: parameters, buffers and Python attributes of its own.

    Raises:
        UnsupportedModelError: An attribute cannot be copied.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            # An activation kept from an earlier call belongs to a graph and refuses to be copied.
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach()
    try:
        twin = copy.deepcopy(model, memo)
    except Exception as error:
        raise unsupported(
            f"the model ({type(model).__name__}) holds something that copy.deepcopy cannot copy "
            f"({type(error).__name__}: {error})",
            "Pass the network alone, without loggers, trainers or open files as attributes.",
        ) from error
    return twin


@dataclass(frozen=True)
class ModelState:
    """Values of all parameters and buffers of a model, and the attributes of its modules.

    Attributes:
        tensors: By name, the tensor object and a copy of its values.
        attributes: Each module with a shallow copy of its ``__dict__``.
        settings: The plain numbers, strings and flags among the attributes, by path and name.
    """

    tensors: dict[str, tuple[Tensor, Tensor]]
    attributes: list[tuple[nn.Module, dict[str, Any]]]
    settings: dict[tuple[str, str], Setting]

    @staticmethod
    def of(model: nn.Module) -> ModelState:
        """Copy the state of a model."""
        return ModelState(
            {name: (t, t.detach().clone()) for name, t in _tensors(model)},
            [(module, dict(vars(module))) for module in model.modules()],
            _settings(model),
        )

    def changes(self, model: nn.Module) -> list[str]:
        """What differs now: parameters, buffers, and plain attributes, each in words."""
        now = dict(_tensors(model))
        found = [
            f"parameter or buffer {name!r}"
            for name in sorted(self.tensors.keys() | now.keys())
            if name not in now
            or name not in self.tensors
            or not _same(self.tensors[name][1], now[name].detach())
        ]
        settings = _settings(model)
        for path, name in sorted(self.settings.keys() & settings.keys()):
            before, after = self.settings[path, name], settings[path, name]
            if repr(before) != repr(after):
                found.append(f"attribute {name!r} of {place(path)}")
        return found

    def restore(self, model: nn.Module) -> None:
        """Put the values back, into the tensors and attributes that held them."""
        for module, attributes in self.attributes:
            values = vars(module)
            same = values.keys() == attributes.keys()
            if not same or any(values[name] is not attributes[name] for name in attributes):
                values.clear()
                values.update(attributes)
        for name, (tensor, value) in self.tensors.items():
            if not _same(tensor.detach(), value):
                with torch.no_grad():
                    tensor.copy_(value)
            owner_path, _, leaf = name.rpartition(".")
            owner = vars(model.get_submodule(owner_path))
            for table in (owner["_parameters"], owner["_buffers"]):
                if leaf in table and table[leaf] is not tensor:
                    table[leaf] = tensor


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    for name, buffer in model.named_buffers():
        if buffer.layout == torch.strided and not buffer.is_meta and not buffer.is_quantized:
            yield name, buffer


def _settings(model: nn.Module) -> dict[tuple[str, str], Setting]:
    return {
        (path, name): value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, bool | int | float | str)
    }


def _same(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if not first.is_floating_point() and not first.is_complex():
        return torch.equal(first, second)
    return bool(((first == second) | (first.isnan() & second.isnan())).all())
