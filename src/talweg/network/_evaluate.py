"""Plain evaluation of a network, and its inverse: a module, or other weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.network._graph import Elementwise, Linear, Network, Node, Operation, Scale
from talweg.network._refuse import FLOAT_DTYPES, refuse_nonfinite
from talweg.nn import Scale as ScaleModule
from talweg.nn import Sin, SmoothLeakyReLU


def elementwise_approx(operation: Elementwise, x: Tensor) -> Tensor:
    """``phi(x)`` in the arithmetic of ``x``; differentiable.

    A softplus keeps the threshold of its module, beyond which torch returns ``x`` itself.
    """
    return module_of(operation).forward(x) if operation.function != "identity" else x


def evaluate_approx(network: Network, X: Tensor) -> Tensor:
    """Outputs of a network in float64 by plain torch operations, without any error bound.

    Args:
        network: A chain.
        X: Inputs ``(n, d)``, on the device of the weights; converted to float64.

    Returns:
        ``(n, k)`` float64.
    """
    values = [X.to(torch.float64)]
    for node in network.nodes:
        operation, x = node.operation, values[node.inputs[0]]
        if isinstance(operation, Linear):
            bias = None if operation.bias is None else operation.bias.to(torch.float64)
            values.append(F.linear(x, operation.weight.to(torch.float64), bias))
        elif isinstance(operation, Elementwise):
            values.append(elementwise_approx(operation, x))
        else:
            values.append(x * operation.numerator / operation.denominator)
    return values[-1]


def module_of(operation: Operation) -> nn.Module:
    """One operation as a module; linear layers in float64 with weights of their own."""
    if isinstance(operation, Linear):
        return _linear_module(operation)
    if isinstance(operation, Scale):
        return ScaleModule(operation.numerator, operation.denominator)
    constants = operation.parameters
    if operation.function == "softplus":
        return nn.Softplus(constants["beta"], constants["threshold"])
    if operation.function == "smooth_leaky_relu":
        return SmoothLeakyReLU(constants["slope"])
    modules: dict[str, nn.Module] = {
        "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(),
        "silu": nn.SiLU(),
        "gelu": nn.GELU(),
        "gelu_tanh": nn.GELU(approximate="tanh"),
        "sin": Sin(),
        "identity": nn.Identity(),
    }
    return modules[operation.function]


def _linear_module(operation: Linear) -> nn.Linear:
    d_out, d_in = operation.weight.shape
    with torch.inference_mode(False):
        module = nn.Linear(d_in, d_out, bias=operation.bias is not None, device="meta")
        module.weight = nn.Parameter(
            operation.weight.detach().to(torch.float64, copy=True),
            requires_grad=operation.weight_trainable,
        )
        if operation.bias is not None:
            module.bias = nn.Parameter(
                operation.bias.detach().to(torch.float64, copy=True),
                requires_grad=operation.bias_trainable,
            )
    return module


def build_module(network: Network) -> nn.Sequential:
    """The network as an `nn.Sequential` in float64; layer ``t`` is operation ``t``.

    Reading the result gives the operations back, weights converted exactly. A network whose model
    returned shape ``(n,)`` ends in ``nn.Flatten(0)``.

    Args:
        network: A chain.

    Returns:
        A module in training mode with parameters of its own, frozen where they were frozen.
    """
    modules = [module_of(operation) for operation in network.operations]
    if network.flat_output:
        modules.append(nn.Flatten(0))
    return nn.Sequential(*modules)


def set_parameters(network: Network, values: Mapping[str, Tensor]) -> Network:
    """A copy of a network with other values for some of its parameters.

    Args:
        network: The network to copy.
        values: New values by name (as in ``model.named_parameters()``, frozen ones included), each
            of the shape of the parameter; float16 to float64, stored as float64, which is exact.

    Returns:
        The copy; parameters that are not named keep their tensors and dtypes.

    Raises:
        InputError: A name is unknown, or a value has another shape, no float dtype, or is not
            finite.
    """
    known = {
        name: tensor
        for op in network.operations
        if isinstance(op, Linear)
        for name, tensor in ((op.weight_name, op.weight), (op.bias_name, op.bias))
        if name is not None and tensor is not None
    }
    replaced: dict[str, Tensor] = {}
    for name, value in values.items():
        if name not in known:
            raise InputError(
                f"values of set_parameters must name parameters of the network; got {name!r}. "
                f"Known are {', '.join(sorted(known))}."
            )
        if value.shape != known[name].shape or value.dtype not in FLOAT_DTYPES:
            raise InputError(
                f"values[{name!r}] of set_parameters must be a float tensor of shape "
                f"{tuple(known[name].shape)}; got {value.dtype}, {tuple(value.shape)}. "
                "Pass the values in the shape that the network stores."
            )
        refuse_nonfinite(value, f"values[{name!r}] of set_parameters")
        with torch.inference_mode(False):
            replaced[name] = value.detach().to(torch.float64, copy=True)
    nodes = tuple(Node(_with(node.operation, replaced), node.inputs) for node in network.nodes)
    return dataclasses.replace(network, nodes=nodes)


def _with(operation: Operation, replaced: Mapping[str, Tensor]) -> Operation:
    if not isinstance(operation, Linear):
        return operation
    bias = operation.bias
    if operation.bias_name is not None:
        bias = replaced.get(operation.bias_name, bias)
    weight = replaced.get(operation.weight_name, operation.weight)
    return dataclasses.replace(operation, weight=weight, bias=bias)
