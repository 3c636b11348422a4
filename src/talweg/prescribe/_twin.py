"""The antisymmetric twin ``(G(w1) - G(w2)) / sqrt 2``: output zero at the start, the same kernel.

Two copies side by side are one network with stacked weights,

    W_1 -> [W_1; W_1],    hidden W_l -> diag(W_l, W_l),    W_L -> [W_L, -W_L],    then / sqrt 2,

and training this network is training the two copies if no entry off the diagonal blocks trains.
So the first and the last layer may train, those between must be frozen.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from talweg._errors import InputError, UnsupportedModelError
from talweg.network import (
    Elementwise,
    Linear,
    Network,
    Node,
    Operation,
    Scale,
    read,
    sequential_of,
)


def antisymmetric_twin(model: nn.Module, X: Tensor | None = None) -> nn.Sequential:
    """A network that computes ``(G(w1) - G(w2)) / sqrt 2`` with ``w1 = w2`` at the weights of G.

    Its output at the start is exactly zero in real arithmetic. Its tangent kernel at the start is
    that of G and its Jacobian's Lipschitz constant is smaller by sqrt 2, with one exception: a
    trained bias of the last layer, which cancels; it becomes one bias at 0, and its share of the
    kernel is halved.

    Source: theory T8.

    Args:
        model: A chain with at least two Linear layers, of which at most the first and the last
            are trained, ending in a Linear layer (or `talweg.nn.Scale` after it).
        X: Inputs to read the model with, ``(n, d)``; by default one row of zeros.

    Returns:
        A float64 module of its own, twice as wide, readable by `talweg.certify`.

    Raises:
        UnsupportedModelError: The twin of this model is no plain chain; the message says why.
        InputError: No Linear layer is found to tell the number of inputs from.
    """
    network = read(model, _probe(model) if X is None else X)
    operations: list[Operation] = list(network.chain_operations)
    places = [t for t, op in enumerate(operations) if isinstance(op, Linear)]
    _require_twin_is_a_chain(operations, places)
    first, last = places[0], places[-1]
    twin: list[Operation] = []
    for t, op in enumerate(operations):
        if not isinstance(op, Linear):
            twin.append(op)
        elif t == first:
            twin.append(_stacked(op))
        elif t == last:
            twin.append(_difference(op))
        else:
            twin.append(_blocks(op))
    twin.append(Scale(1.0, math.sqrt(2.0), "antisymmetric"))
    nodes = tuple(Node(op, (t,)) for t, op in enumerate(twin))
    return sequential_of(
        Network(nodes, network.input_dim, network.output_dim, (), network.flat_output)
    )


def _require_twin_is_a_chain(operations: list[Operation], places: list[int]) -> None:
    if len(places) < 2:
        raise _refused(
            f"the model has {len(places)} Linear layer(s)",
            "a linear model has no curvature: certify it as it is",
        )
    tail = [op for op in operations[places[-1] + 1 :] if isinstance(op, Elementwise)]
    if tail:
        raise _refused(
            f"its last Linear layer is followed by {tail[0].function} at {tail[0].path!r}, and the "
            "difference of two activations is no activation of a difference",
            "end the model in a Linear layer, or use the offset form",
        )
    for t in places[1:-1]:
        op = operations[t]
        if isinstance(op, Linear) and (op.weight_trainable or op.bias_trainable):
            raise _refused(
                f"its inner layer {op.path!r} is trained: the zero blocks between the two copies "
                "would be trained with it, and the two copies would grow together",
                "freeze the inner layers (requires_grad_(False)), or use the offset form",
            )


def _refused(why: str, advice: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        "antisymmetric_twin(model) requires a chain with two or more Linear layers, of which only "
        f"the first and the last train, ending in a Linear layer; {why}. Instead, {advice}."
    )


def _double(x: Tensor) -> Tensor:
    return x.detach().to(torch.float64)


def _stacked(op: Linear) -> Linear:
    weight = _double(op.weight)
    bias = None if op.bias is None else torch.cat([_double(op.bias)] * 2)
    return dataclasses.replace(op, weight=torch.cat([weight, weight]), bias=bias)


def _blocks(op: Linear) -> Linear:
    weight = _double(op.weight)
    bias = None if op.bias is None else torch.cat([_double(op.bias)] * 2)
    return dataclasses.replace(op, weight=_on_diagonal(weight), bias=bias)


def _on_diagonal(weight: Tensor) -> Tensor:
    rows, columns = weight.shape
    both = weight.new_zeros(2 * rows, 2 * columns)
    both[:rows, :columns] = weight
    both[rows:, columns:] = weight
    return both


def _difference(op: Linear) -> Linear:
    weight = _double(op.weight)
    bias = None
    if op.bias is not None and op.bias_trainable:
        bias = torch.zeros_like(_double(op.bias))
    made = dataclasses.replace(op, weight=torch.cat([weight, -weight], 1), bias=bias)
    if bias is None:
        made = dataclasses.replace(made, bias_trainable=False, bias_name=None)
    return made


def _probe(model: nn.Module) -> Tensor:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            weight = module.weight
            return torch.zeros(1, module.in_features, dtype=weight.dtype, device=weight.device)
    raise InputError(
        "`model` of antisymmetric_twin(model) must hold a torch.nn.Linear, from which the number "
        "of inputs is taken; none was found. Pass inputs as `X`."
    )
