"""Reading a module into the graph of operations that every bound is computed from.

The model's forward is traced symbolically; each recorded call is then either understood exactly or
refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn

from talweg._errors import InputError
from talweg.network._builder import Builder, Value
from talweg.network._calls import call_of, dropout
from talweg.network._data import check_inputs
from talweg.network._grammar import LEAVES, activation_of, advice, place, unsupported
from talweg.network._graph import Network
from talweg.network._refuse import refuse_hidden
from talweg.network._trace import path_of, trace
from talweg.nn import Scale


def read(model: nn.Module, X: Tensor) -> Network:
    """Read a feed-forward model into operations with copies of its stored weights.

    Nothing of the model changes: not its mode, gradients, hooks or buffers, nor any random state.
    Frozen parameters (``requires_grad`` False) and buffers used as weights become constants. An
    output of shape ``(n,)`` counts as one output and sets ``flat_output``.

    Args:
        model: A module that is a chain of supported layers, in the mode it shall be read in.
        X: Inputs ``(n, d)``, floating, on the device of the model's parameters.

    Returns:
        The network; its ``notes`` say what the reading dropped.

    Raises:
        InputError: ``X`` or a weight is malformed, or ``X`` does not fit the first layer.
        UnsupportedModelError: Something in the model has no exact reading; the message names it.
    """
    refuse_hidden(model)
    check_inputs(X)
    _refuse_other_device(model, X)
    builder = Builder(model, int(X.shape[1]))
    values: dict[fx.Node, Any] = {}
    result: Any = None
    # Calls whose result is unused are read too: they may act in place, or hook an activation.
    for node in trace(model).nodes:
        args = fx.map_arg(node.args, values.__getitem__)
        kwargs = fx.map_arg(node.kwargs, values.__getitem__)
        if node.op == "placeholder":
            values[node] = Value(0, builder.input_dim)
        elif node.op == "get_attr":
            values[node] = builder.weight(path_of(str(node.target)))
        elif node.op == "call_module":
            values[node] = _module(builder, path_of(str(node.target)), args, kwargs)
        elif node.op == "output":
            result = args[0]
        else:
            values[node] = call_of(builder, node, args, kwargs)
    return builder.finished(result)


def _refuse_other_device(model: nn.Module, inputs: Tensor) -> None:
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    if len(devices) > 1:
        raise unsupported(
            f"the model's parameters are on several devices ({', '.join(devices)})",
            "Move the model to one device, model.to(device).",
        )
    if devices and str(inputs.device) != devices[0]:
        raise InputError(
            f"X of talweg's reading must be on the model's device {devices[0]}; got a tensor on "
            f"{inputs.device}. Call X.to({devices[0]!r})."
        )


def _module(builder: Builder, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Value:
    module = builder.model.get_submodule(path)
    kind = type(module)
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
        raise unsupported(
            f"{place(path)} is a {kind.__name__} in training mode, where each output depends on "
            "the whole batch and every call moves the running statistics",
            f"Call model.eval(). {advice(kind.__name__)}",
        )
    values = [*args, *kwargs.values()]
    if kind not in LEAVES:
        raise unsupported(f"{place(path)} is a {kind.__name__}", advice(kind.__name__))
    if len(values) != 1 or not isinstance(values[0], Value):
        raise unsupported(
            f"{place(path)} ({kind.__name__}) is not called on the activations alone",
            "Call each layer on the one tensor that the layer before it returned.",
        )
    value = values[0]
    if isinstance(module, nn.Linear):
        weight = builder.weight_of(module.weight, path)
        bias = None if module.bias is None else builder.weight_of(module.bias, path)
        return builder.linear(value, weight, bias, path)
    if isinstance(module, Scale):
        return builder.scale(value, path, module.numerator, module.denominator)
    if isinstance(module, nn.Flatten):
        return builder.flatten(value, path, module.start_dim, module.end_dim)
    if isinstance(module, nn.Dropout):
        return dropout(builder, path, value, module.p, module.training, module.inplace)
    if isinstance(module, nn.Identity):
        return builder.dropped(value, path, "Identity")
    function, parameters = activation_of(module, path)
    return builder.elementwise(function, value, path, parameters)
