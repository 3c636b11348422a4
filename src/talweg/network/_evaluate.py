"""Plain evaluation of a network, and its inverse: a module, or other weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.network._apply import applied_approx
from talweg.network._graph import (
    ChainOperation,
    Elementwise,
    Linear,
    Network,
    Node,
    Operation,
    Parametric,
    Scale,
)
from talweg.network._rebuilt import GraphModule
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
        network: Any network.
        X: Inputs ``(n, d)`` or ``(n, *input_shape)``, on the device of the weights; converted to
            float64.

    Returns:
        ``(n, k)`` float64.
    """
    return evaluated_with(network, X.to(torch.float64), {})


def evaluated_with(network: Network, X: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """Outputs with other values for some stored tensors; differentiable in them.

    Args:
        network: Any network.
        X: Inputs ``(n, d)`` or ``(n, *input_shape)``, in the dtype to compute in.
        values: Tensors by name, in the same dtype; the others are converted to it.

    Returns:
        ``(n, k)``.
    """
    shape = network.input_shape or (network.input_dim,)
    states = [X.reshape(len(X), *shape)]
    for node in network.nodes:
        operation, own = node.operation, {}
        if isinstance(operation, Parametric):
            own = {
                slot.field: values[slot.name] if slot.name in values else slot.tensor.to(X.dtype)
                for slot in operation.slots()
            }
        inputs = [states[e] for e in node.inputs]
        states.append(applied_approx(operation, inputs, own.get("weight"), own.get("bias")))
    return states[-1]


def module_of(operation: ChainOperation) -> nn.Module:
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


def build_module(network: Network) -> nn.Module:
    """The network as a module in float64.

    A chain becomes an `nn.Sequential` in which layer ``t`` is operation ``t``, a graph a
    `GraphModule` with the parameter names of its model. Reading the result gives the operations
    back, weights converted exactly. A network whose model returned shape ``(n,)`` does so too.

    Args:
        network: Any network.

    Returns:
        A module in training mode with parameters of its own, frozen where they were frozen.
    """
    return sequential_of(network) if network.is_chain else GraphModule(network)


def sequential_of(network: Network) -> nn.Sequential:
    """A chain as `nn.Sequential`; one whose model returned ``(n,)`` ends in ``nn.Flatten(0)``.

    Args:
        network: A chain.

    Raises:
        UnsupportedModelError: It is no chain.
    """
    modules = [module_of(operation) for operation in network.chain_operations]
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
    known = {slot.name: slot.tensor for slot in network.slots()}
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
    if not isinstance(operation, Parametric):
        return operation
    bias = operation.bias
    if operation.bias_name is not None:
        bias = replaced.get(operation.bias_name, bias)
    weight = replaced.get(operation.weight_name, operation.weight)
    return dataclasses.replace(operation, weight=weight, bias=bias)
