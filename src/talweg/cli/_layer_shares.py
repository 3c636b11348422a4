"""Which layers of a stored model carry its Lipschitz bound, in float64; no proof.

With v the leading unit eigenvector of the matrix T(R) of theory B3 (chains) or B6 (graphs),

    |T| = sum_l v_l (T v)_l,        v_l (T v)_l / |T| = v_l^2,

so the squared entries of v are the shares. T of a graph is made from second derivatives sample by
sample and can take seconds for each: some rows tell the shares nearly as well as all. Where one is
too much, a search for the directions along which the Jacobian changes fastest says what it can.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from talweg.cli._forward_work import forward_work, value_entries
from talweg.network import (
    Convolution,
    FlatFunction,
    Linear,
    Linearization,
    Network,
    NetworkState,
    Operation,
    Parametric,
    lipschitz_attack_approx,
    network_state,
    state_lipschitz,
    value_shapes,
)

MOST_CHAIN_WORK = 5e7
"""Samples times outputs times parameters, for the matrix of a chain."""
MOST_GRAPH_WORK = 6e8
"""Of `_graph_work`, for all rows together: about a second."""
MOST_ROW_WORK = 1.5e9
"""Of `_graph_work`, for the one row that is always tried: about two seconds."""
MOST_SEARCH_WORK = 2e10
"""Operations of the search, as `forward_work` counts: about two seconds."""
ITERATIONS = 12
SEARCH_PASSES = 24 * ITERATIONS
"""Forward passes that the search is worth: three second-order products in each iteration."""


def layer_shares(
    network: Network,
    X: Tensor,
    counts: Tensor,
    radius: float,
    names: Mapping[str, str],
) -> dict[str, Any] | None:
    """Shares as `certificate_report` takes them, or None where all of it would take too long.

    Args:
        network: The stored network.
        X: Its distinct rows ``(n, d)``.
        counts: How often each occurs, ``(n,)``.
        radius: R, where the matrix is taken.
        names: What the tensors of the network are called on the page.

    Raises:
        ArithmeticError: The bound is infinite there, or no direction was found.
    """
    named = all(slot.name in names for slot in network.trainable_slots())
    found: dict[str, Any] = {"of": len(X), "named": named}
    rows = _bound_rows(network, len(X))
    if rows > 0:
        part, times = _picked(X, counts, rows)
        shares, theory = _of_bound(network, part, times, radius, names), _theory(network)
        return found | {"shares": shares, "method": "bound", "rows": rows, "theory": theory}
    rows = min(len(X), int(MOST_SEARCH_WORK / (SEARCH_PASSES * forward_work(network))))
    if rows < 1:
        return None
    part, times = _picked(X, counts, rows)
    shares = _of_directions(network, part, times, names)
    return found | {"shares": shares, "method": "direction", "rows": rows}


def shown_names(body: Mapping[str, Any]) -> dict[str, str]:
    """What the file calls its arrays in the model, as far as it says so; nobody checks it.

    Args:
        body: The JSON object of the file.
    """
    provenance = body.get("provenance")
    found = provenance.get("parameters") if isinstance(provenance, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    return {a: name for a, name in found.items() if isinstance(a, str) and isinstance(name, str)}


def _theory(network: Network) -> str:
    return "B3" if network.is_chain else "B6"


def _bound_rows(network: Network, n: int) -> int:
    if network.is_chain:
        work = n * network.output_dim * network.trainable_parameters
        return n if work <= MOST_CHAIN_WORK else 0
    work = _graph_work(network)
    if work > MOST_ROW_WORK:
        return 0
    return min(n, max(1, int(MOST_GRAPH_WORK / max(work, 1))))


def _graph_work(network: Network) -> int:
    """Multiplications for the second derivatives of one row, roughly.

    A unit vector for each entry of the value of each trained layer goes through the network, or of
    its weights where they are fewer, and comes back for each output; of the results all scalar
    products are taken. Too much where the maps of several outputs are not made.
    """
    sizes = [math.prod(shape) for shape in value_shapes(network)[1:]]
    products = sum(
        size * math.prod(op.weight.shape[1:])
        for op, size in zip(network.operations, sizes, strict=True)
        if isinstance(op, Linear | Convolution)
    )
    entries, total = value_entries(network), 0
    for op, size in zip(network.operations, sizes, strict=True):
        if isinstance(op, Parametric) and op.trains:
            weights = sum(slot.tensor.numel() for slot in op.slots() if slot.trainable)
            vectors = min(size, weights)
            total += vectors * (products + vectors * entries)
    return total * network.output_dim


def _picked(X: Tensor, counts: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Rows evenly over the data, which are sorted: neighbours are alike."""
    index = torch.linspace(0, len(X) - 1, rows).round().long()
    return X[index], counts[index]


def _of_bound(
    network: Network, X: Tensor, counts: Tensor, radius: float, names: Mapping[str, str]
) -> list[tuple[str, float]]:
    state = network_state(network, X, counts)
    matrix = state_lipschitz(state).layer_matrix_upper(radius)
    if not bool(matrix.isfinite().all()):
        raise ArithmeticError("the bound is infinite")
    vector = torch.linalg.eigh(torch.maximum(matrix, matrix.T)).eigenvectors[:, -1]
    shares = (vector**2).tolist()
    return [
        (_joined(operations, names), share)
        for operations, share in zip(_groups(network, state), shares, strict=True)
        if any(map(_trained, operations))  # a frozen layer of a chain has a row of zeros
    ]


def _groups(network: Network, state: NetworkState) -> list[list[Operation]]:
    """The operations behind each row of the matrix."""
    if isinstance(state, Linearization):
        return [[op] for op in network.operations if isinstance(op, Linear)]
    return [[network.operations[t] for t in group] for group in state.groups]


def _joined(operations: list[Operation], names: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(_tensor_names(operations, names)))


def _tensor_names(operations: list[Operation], names: Mapping[str, str]) -> Iterator[str]:
    for op in operations:
        for slot in op.slots() if isinstance(op, Parametric) else ():
            if slot.trainable:
                yield _name(slot.name, names)


def _name(array: str, names: Mapping[str, str]) -> str:
    return names.get(array) or array.removeprefix("weights/")


def _of_directions(
    network: Network, X: Tensor, counts: Tensor, names: Mapping[str, str]
) -> list[tuple[str, float]]:
    function = FlatFunction(network, X, counts.to(torch.float64).sqrt())
    with warnings.catch_warnings():
        # That an operation has no batching rule: the result is the same.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        found = lipschitz_attack_approx(function, restarts=1, iterations=ITERATIONS)
    if not found.value > 0.0:
        raise ArithmeticError("the Jacobian does not change")
    squares = (found.delta.square() + found.v.square()) / 2.0
    slots = network.trainable_slots()
    return [
        (_name(slot.name, names), float(part.sum()))
        for slot, part in zip(slots, function.split(squares), strict=True)
    ]


def _trained(op: Operation) -> bool:
    return isinstance(op, Parametric) and op.trains
