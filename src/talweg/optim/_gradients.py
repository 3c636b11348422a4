"""What an optimiser reads of its parameters: the dense gradients and their common length."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from talweg._errors import InputError

Closure = Callable[[], Any]


Members = list[tuple[Tensor, Tensor]]
"""The parameters of one group that have a gradient, each beside it."""


def dense_gradients(groups: Iterable[dict[str, Any]], call: str) -> list[Members]:
    """Per group the parameters that have a gradient; refused when there is none at all.

    Args:
        groups: `param_groups` of the optimiser.
        call: the method's name, for the message.

    Raises:
        InputError: a sparse or complex gradient, or no gradient anywhere.
    """
    found = [[(p, p.grad) for p in group["params"] if p.grad is not None] for group in groups]
    for _, g in (pair for members in found for pair in members):
        if g.is_sparse or g.is_complex():
            kind = "sparse" if g.is_sparse else "complex"
            raise InputError(
                f"The gradients that {call}() reads must be dense and real; got a {kind} one of "
                f"shape {tuple(g.shape)}. Use dense layers (Embedding(sparse=False)), or "
                "another optimiser for these parameters."
            )
    if not any(found):
        raise InputError(
            f"At least one parameter of {call}() must have a gradient; got none. Call "
            "loss.backward() first, or pass a closure that does."
        )
    return found


def gradient_norm_approx(found: Iterable[Members]) -> float:
    """|grad f| over all groups together, to rounding: the theorems speak of one vector.

    Args:
        found: from `dense_gradients`.
    """
    norms = [float(torch.linalg.vector_norm(g)) for members in found for _, g in members]
    return math.hypot(*norms)


def loss_of(closure: Closure | None) -> Any:
    """The closure's value, evaluated with gradients enabled; None without one.

    Args:
        closure: clears the gradients, computes the loss, calls backward, returns the loss.
    """
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def positive_option(value: object, name: str, call: str, *, infinite: bool = False) -> float:
    """An option as a float above 0.

    Args:
        value: what the user gave.
        name: the option.
        call: the class, for the message.
        infinite: whether inf is allowed.

    Raises:
        InputError: anything else.
    """
    number = finite_option(value, name, call) if value != math.inf or not infinite else math.inf
    if not number > 0.0:
        raise InputError(
            f"`{name}` of {call}() must be a number above 0; got {value!r}. Pass a positive float."
        )
    return number


def finite_option(value: object, name: str, call: str) -> float:
    """An option as a finite float.

    Args:
        value: what the user gave.
        name: the option.
        call: the class, for the message.

    Raises:
        InputError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(
            f"`{name}` of {call}() must be a finite number; got {value!r} of type "
            f"{type(value).__name__}. Convert tensors with .item()."
        )
    return float(value)
