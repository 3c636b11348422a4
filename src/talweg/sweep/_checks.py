"""Checking what a sweep is given, before anything is trained or written."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.network._isolate import random_state_kept


def require_count(name: str, value: object) -> None:
    """Refuse anything but an integer above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            f"`{name}` of talweg.sweep.Sweep must be an integer above 0; got {value!r}. "
            "Pass for example 100."
        )


def copied_model(model: nn.Module | Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    """A copy of the model in another dtype.

    Raises:
        InputError: It is no module, nothing in it is trained, or the dtype is not floating.
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(
            f"`dtype` of talweg.sweep.Sweep must be a floating dtype of torch; got {dtype!r}. "
            "Leave it out for torch.float64."
        )
    with random_state_kept():
        made = model if isinstance(model, nn.Module) else model() if callable(model) else model
    if not isinstance(made, nn.Module):
        raise InputError(
            "`model` of talweg.sweep.Sweep must be a torch.nn.Module or a function that returns "
            f"one; got {type(made).__name__}. Return the module."
        )
    twin = copy.deepcopy(made).to(dtype)
    if not any(p.requires_grad for p in twin.parameters()):
        raise InputError(
            "`model` of talweg.sweep.Sweep must have a trainable parameter; this "
            f"{type(twin).__name__} has none. Set requires_grad on what shall be trained."
        )
    return twin


def checked_data(
    model: nn.Module, data: tuple[Tensor, Tensor], dtype: torch.dtype, *, squared: bool
) -> tuple[Tensor, Tensor]:
    """Inputs and targets in the dtype to compute in, tried on the model.

    Args:
        model: In that dtype.
        data: Inputs and targets.
        dtype: The dtype; integer data (labels, tokens) keeps its own.
        squared: Whether the targets must have the shape of the outputs.

    Raises:
        InputError: They are not finite, do not fit the model, or the model draws random numbers or
            changes its buffers.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise InputError(
            "`data` of talweg.sweep.Sweep must be a pair (X, y) of tensors; got "
            f"{type(data).__name__}. Pass (X, y)."
        )
    for name, value in zip("Xy", data, strict=True):
        if not isinstance(value, Tensor) or not value.numel() or not bool(value.isfinite().all()):
            raise InputError(
                f"{name} of `data` of talweg.sweep.Sweep must be a tensor of finite numbers with "
                f"at least one sample; got {_form(value)}. Mend the data."
            )
    X, y = (t.detach().to(dtype) if t.is_floating_point() else t.detach() for t in data)
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    with torch.no_grad(), random_state_kept() as use:
        try:
            outputs = model(X)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"X of `data` of talweg.sweep.Sweep must fit the model, whose forward fails on "
                f"{_form(X)}: {error}. Change one of them."
            ) from None
    if use.drew or any(not torch.equal(b, buffers[name]) for name, b in model.named_buffers()):
        raise InputError(
            "`model` of talweg.sweep.Sweep must be a fixed function of its parameters; this "
            f"{type(model).__name__} draws random numbers or changes its buffers. Call "
            "model.eval(), or leave dropout and batch norm out."
        )
    if not squared:
        return X, y
    if outputs.shape == (*y.shape, 1):
        y = y.unsqueeze(-1)
    if outputs.shape != y.shape or not y.is_floating_point():
        raise InputError(
            "y of `data` of talweg.sweep.Sweep must have the shape of the outputs, "
            f"{tuple(outputs.shape)}, and a floating dtype; got {_form(y)}. Reshape it, or pass a "
            "function as `loss`."
        )
    return X, y


def _form(value: object) -> str:
    if isinstance(value, Tensor):
        finite = "" if bool(value.isfinite().all()) else " that is not finite"
        return f"{value.dtype} of shape {tuple(value.shape)}{finite}"
    return type(value).__name__
