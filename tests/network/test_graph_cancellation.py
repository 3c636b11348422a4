"""Terms that cancel at the stored weights: a bound on a ball must not count on it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from talweg.network import (
    Elementwise,
    FlatFunction,
    Linear,
    Network,
    Node,
    lipschitz_attack_approx,
)
from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network._graph_state import graph_state


def _tensor(x: list[float] | list[list[float]]) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def _two_waves() -> Network:
    """``F(b) = cos b - cos(2 b) / 4``: F'' is 0 at b = 0, where both terms bend their most."""
    operations = [
        Linear(_tensor([[1.0]]), _tensor([0.0]), False, True, "0", "0.weight", "0.bias"),
        Linear(
            _tensor([[1.0], [2.0]]), _tensor([math.pi / 2, 3 * math.pi / 2]), False, False,
            "1", "1.weight", "1.bias",
        ),
        Elementwise("sin", "2"),
        Linear(_tensor([[1.0, 0.25]]), None, False, False, "3", "3.weight", None),
    ]  # fmt: skip
    return Network(tuple(Node(op, (t,)) for t, op in enumerate(operations)), 1, 1)


@pytest.mark.parametrize("radius", [0.0, 1e-3, 0.1, 1.0, 3.0])
def test_a_second_derivative_that_only_shrinks_ends_a_cancellation(radius: float) -> None:
    # |phi''| is largest at w0 in both units, so it cannot grow on any ball; the sum of the two
    # forms does, from 0 to 2.
    network, X = _two_waves(), torch.zeros(1, 1, dtype=torch.float64)
    bound = GraphLipschitz(graph_state(network, X)).upper(radius)
    function = FlatFunction(network, X)
    for share in (-1.0, -0.7, 0.7, 1.0):
        there = FlatFunction(function.network_at(function.start + share * radius), X)
        assert lipschitz_attack_approx(there, restarts=1).value <= bound + 1e-12
