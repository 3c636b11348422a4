"""Tracing a model symbolically, with the cases that `torch.fx` records silently refused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from talweg._errors import TalwegError, UnsupportedModelError
from talweg.network._grammar import LEAVES, place, unsupported
from talweg.network._isolate import ModelState, plain_autograd, random_state_kept, twin_of

ROOT = "model"


class _Call(nn.Module):
    """Calls the model, so that a model that is one layer, or has optional arguments, traces too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model(x)


def path_of(target: str) -> str:
    """A traced name without the wrapper's prefix; the empty string is the model itself."""
    return target.removeprefix(ROOT).removeprefix(".")


class _Tracer(fx.Tracer):
    """`torch.fx.Tracer` that stops at library layers and refuses what a graph cannot show."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m) in LEAVES:
            return True
        base = next((leaf for leaf in LEAVES if isinstance(m, leaf)), None)
        if base is not None:
            raise unsupported(
                f"{place(path_of(module_qualified_name))} is a {type(m).__name__}, a subclass of "
                f"{base.__name__} that may compute something else",
                f"Use {base.__name__} itself, or an nn.Module whose forward holds the formula.",
            )
        return bool(super().is_leaf_module(m, module_qualified_name))

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        where = place(path_of(self.scope.module_path))
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            raise unsupported(
                f"{where} runs a part of its forward without gradients (torch.no_grad, "
                "inference_mode, or a custom autograd.Function)",
                "Freeze layers by requires_grad_(False), and write functions in plain torch.",
            )
        if any(torch.is_autocast_enabled(device) for device in ("cpu", "cuda", "mps", "xpu")):
            raise unsupported(f"{where} enters autocast in its forward", "Remove the autocast.")
        node = super().create_node(*args, **kwargs)
        node.meta["scope"] = path_of(self.scope.module_path)
        return node

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor):
            for name, tensor in (*self.root.named_parameters(), *self.root.named_buffers()):
                if tensor is a:
                    return self.create_node("get_attr", name, (), {})
            raise unsupported(
                f"the forward of {place(path_of(self.scope.module_path))} uses a tensor of shape "
                f"{tuple(a.shape)} that is no parameter or buffer of the model (computed from "
                "weights in forward, a global, or a plain attribute)",
                "Register it with nn.Parameter or register_buffer, and use weights as stored: "
                "no mask, transpose, norm or product of weights in forward.",
            )
        return super().create_arg(a)


def trace(model: nn.Module) -> fx.Graph:
    """Record the operations of one call of the model.

    The forward runs on a deep copy, with the random state restored afterwards, so that nothing it
    does reaches the model. Names in the graph start with `ROOT`; each node carries in
    ``meta["scope"]`` the path of the module whose forward made it.

    Args:
        model: A model that `refuse_hidden` let pass.

    Returns:
        The graph, with one placeholder.

    Raises:
        UnsupportedModelError: The forward cannot be traced, changes its own state, or is random.
    """
    with plain_autograd():
        call = _Call(twin_of(model))
        state = ModelState.of(call.model)
        with random_state_kept() as use:
            graph = _traced(call)
    changes = state.changes(call.model)
    if changes:
        raise unsupported(
            f"the forward of the model changes {', '.join(changes[:3])} while it runs",
            "A model must be a fixed function of its inputs and weights; move the update out of "
            "forward.",
        )
    if use.drew:
        raise unsupported(
            "the forward of the model draws random numbers",
            "Remove the noise; if it belongs to training mode, call model.eval().",
        )
    return graph


def _traced(call: _Call) -> fx.Graph:
    try:
        return _Tracer().trace(call)
    except TalwegError:
        raise
    except TraceError as error:
        raise unsupported(
            f"the forward of {type(call.model).__name__} branches or loops on values or shapes of "
            f"its input ({_first_line(error)})",
            "Make the path fixed: no if, while, assert or for over tensors in forward.",
        ) from error
    except NameError as error:
        if "not installed as a submodule" not in str(error):
            raise _untraceable(call, error) from error
        raise unsupported(
            f"the forward of {type(call.model).__name__} calls a module that is not registered "
            "as a submodule",
            "Assign it as an attribute, or keep layers in nn.ModuleList instead of a list.",
        ) from error
    except Exception as error:
        raise _untraceable(call, error) from error


def _untraceable(call: _Call, error: Exception) -> UnsupportedModelError:
    return unsupported(
        f"the forward of {type(call.model).__name__} could not be traced by torch.fx "
        f"({type(error).__name__}: {_first_line(error)})",
        "forward must take one tensor (n, ...) and apply supported layers to it.",
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else "no message"
