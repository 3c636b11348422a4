"""Whether the library functions a reading relies on are still the library's own.

A leaf of the reading stands for a formula, and its Python code is never looked at; a replaced
``nn.Linear.forward`` would go unseen. So the originals are remembered when talweg is imported, and
checked to come from where they should even then.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from talweg.network._grammar import LEAVES, place, unsupported

_METHODS: tuple[str, ...] = ("__call__", "_call_impl", "_wrapped_call_impl", "__getattr__")


def _attribute(owner: Any, name: str) -> Any:
    return getattr(owner, name)


_CALLED_BY_FORWARD: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv1d: ("_conv_forward",),
    nn.Conv2d: ("_conv_forward",),
    nn.BatchNorm1d: ("_check_input_dim",),
    nn.BatchNorm2d: ("_check_input_dim",),
    nn.TransformerEncoderLayer: ("_sa_block", "_ff_block"),
}
_CODE: dict[type[nn.Module], dict[str, Any]] = {
    leaf: {name: _attribute(leaf, name) for name in ("forward", *_CALLED_BY_FORWARD.get(leaf, ()))}
    for leaf in LEAVES
}
_MODULE_METHODS: dict[str, Any] = {name: _attribute(nn.Module, name) for name in _METHODS}
_FUNCTIONS: tuple[tuple[Any, str, Any], ...] = tuple(
    (owner, name, _attribute(owner, name))
    for owner, names in (
        (torch, ("tanh", "sigmoid", "sin", "flatten", "softmax", "matmul", "bmm", "layer_norm")),
        (F, (
            "linear", "softplus", "silu", "gelu", "dropout", "dropout1d", "dropout2d", "logsigmoid",
            "sigmoid", "tanh", "conv1d", "conv2d", "avg_pool1d", "avg_pool2d",
            "adaptive_avg_pool1d", "adaptive_avg_pool2d", "layer_norm", "group_norm", "batch_norm",
            "softmax", "embedding", "bilinear", "scaled_dot_product_attention",
            "multi_head_attention_forward",
        )),
    )
    for name in names
)  # fmt: skip


def refuse_replaced_functions() -> None:
    """Refuse when one of the torch functions inside the supported layers was replaced.

    Raises:
        UnsupportedModelError: Names the function.
    """
    for owner, name, original in _FUNCTIONS:
        current = _attribute(owner, name)
        home = str(getattr(current, "__module__", None) or "torch")
        if current is not original or not home.startswith("torch"):
            raise unsupported(
                f"{owner.__name__}.{name} has been replaced by {current!r}",
                "Restore the original function of torch before the call.",
            )


def refuse_replaced_methods(module: nn.Module, path: str) -> None:
    """Refuse a module whose own class, or the instance, does not run the code it should.

    Raises:
        UnsupportedModelError: Names the module and the replaced method.
    """
    cls = type(module)
    for name in ("forward", *_METHODS, *_CALLED_BY_FORWARD.get(cls, ())):
        if name in vars(module):
            raise unsupported(
                f"{place(path)} ({cls.__name__}) has a {name} assigned on the instance",
                f"Delete it (del module.{name}) and put the code into a class of its own.",
            )
    for name, original in _MODULE_METHODS.items():
        if name != "__getattr__" and _attribute(cls, name) is not original:
            raise unsupported(
                f"{place(path)} ({cls.__name__}) runs its own {name} instead of torch.nn.Module's",
                f"Put the code of {name} into forward.",
            )
    if vars(module).get("_compiled_call_impl") is not None:
        raise unsupported(
            f"{place(path)} ({cls.__name__}) was compiled in place by module.compile()",
            "Pass a model that is not compiled; compile after the call.",
        )
    for name, original in _CODE.get(cls, {}).items():
        current: Any = _attribute(cls, name)
        home = next(base for base in cls.__mro__ if name in vars(base))
        genuine = (
            current is original
            and getattr(current, "__module__", None) == home.__module__
            and getattr(current, "__qualname__", None) == f"{home.__qualname__}.{name}"
            and _attribute(cls, "__getattr__") is _MODULE_METHODS["__getattr__"]
        )
        if not genuine:
            raise unsupported(
                f"{place(path)}: {cls.__name__}.{name} is not the original of {cls.__module__}",
                "Restore the original class; put changed code into a class of its own.",
            )
