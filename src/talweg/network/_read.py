"""Reading a module into the graph of operations that every bound is computed from.

The model's forward is traced symbolically; each recorded call is then either understood exactly or
refused by name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from talweg._errors import InputError
from talweg.network._builder import Builder
from talweg.network._call import call_of
from talweg.network._data import check_inputs
from talweg.network._grammar import unsupported
from talweg.network._graph import Embedding, Network
from talweg.network._modules import module_call
from talweg.network._refuse import refuse_hidden
from talweg.network._trace import path_of, trace


def read(model: nn.Module, X: Tensor) -> Network:
    """Read a model into operations with copies of its stored weights.

    Nothing of the model changes: not its mode, gradients, hooks or buffers, nor any random state.
    Frozen parameters (``requires_grad`` False) and buffers used as weights become constants. An
    output of shape ``(n,)`` counts as one output and sets ``flat_output``.

    Args:
        model: A module of supported layers, in the mode it shall be read in.
        X: Inputs ``(n, d)`` or ``(n, *shape)``, floating, or int64 where an Embedding reads them,
            on the device of the model's parameters.

    Returns:
        The network; its ``notes`` say what the reading dropped.

    Raises:
        InputError: ``X`` or a weight is malformed, or ``X`` does not fit the first layer.
        UnsupportedModelError: Something in the model has no exact reading; the message names it.
    """
    refuse_hidden(model)
    check_inputs(X)
    _refuse_other_device(model, X)
    shape = tuple(int(size) for size in X.shape[1:])
    builder = Builder(model, shape, whole=X.dtype == torch.int64)
    values: dict[fx.Node, Any] = {}
    result: Any = None
    # Calls whose result is unused are read too: they may act in place, or hook an activation.
    for node in trace(model).nodes:
        args = fx.map_arg(node.args, values.__getitem__)
        kwargs = fx.map_arg(node.kwargs, values.__getitem__)
        if node.op == "placeholder":
            values[node] = builder.input
        elif node.op == "get_attr":
            values[node] = builder.weight(path_of(str(node.target)))
        elif node.op == "call_module":
            values[node] = module_call(builder, path_of(str(node.target)), args, kwargs)
        elif node.op == "output":
            result = args[0]
        else:
            values[node] = call_of(builder, node, args, kwargs)
    network = builder.finished(result)
    _refuse_unknown_rows(network, X)
    return network


def _refuse_unknown_rows(network: Network, X: Tensor) -> None:
    """Refuse whole numbers that an embedding has no row for."""
    tables = [op for op in network.operations if isinstance(op, Embedding)]
    rows = min((int(op.weight.shape[0]) for op in tables), default=0)
    if tables and not 0 <= int(X.min()) <= int(X.max()) < rows:
        raise InputError(
            f"X of the data must hold whole numbers from 0 to {rows - 1}, the rows of the "
            f"smallest Embedding; got {int(X.min())} to {int(X.max())}. Use a larger Embedding, or "
            "other indices."
        )


def _refuse_other_device(model: nn.Module, inputs: Tensor) -> None:
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    if len(devices) > 1:
        raise unsupported(
            f"the model's parameters are on several devices ({', '.join(devices)})",
            "Move the model to one device, model.to(device).",
        )
    if devices and str(inputs.device) != devices[0]:
        raise InputError(
            f"X of the data must be on the model's device {devices[0]}; got a tensor on "
            f"{inputs.device}. Call X.to({devices[0]!r})."
        )
