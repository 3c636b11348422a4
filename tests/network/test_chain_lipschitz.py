"""Deep chains take the sharper entry of the two matrices, and stay above every attack."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from talweg.network import FlatFunction, JacobianLipschitz, linearize, lipschitz_attack_approx, read
from talweg.network._chain_lipschitz import ChainLipschitz, gains_from_graph
from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network._graph_state import graph_state


def chain(*widths: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for d_in, d_out in itertools.pairwise(widths):
        layers += [nn.Linear(d_in, d_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


@pytest.mark.parametrize("seed", range(3))
def test_each_entry_is_the_least_of_both(seed: int) -> None:
    X = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    network = read(chain(4, 5, 6, 1, seed=seed), X)
    counts = torch.tensor([1, 2, 1, 1, 3, 1])
    state = linearize(network, X, counts)
    both = ChainLipschitz(state)
    by_units = JacobianLipschitz(state)
    by_forms = GraphLipschitz(graph_state(network, X, counts))
    for radius in (0.0, 1e-4, 1e-2):
        least = torch.minimum(
            by_units.layer_matrix_upper(radius), by_forms.layer_matrix_upper(radius)
        )
        assert torch.equal(both.layer_matrix_upper(radius), least)
        assert both.upper(radius) <= min(by_units.upper(radius), by_forms.upper(radius)) * (
            1 + 1e-12
        )
    attack = lipschitz_attack_approx(FlatFunction(network, X, counts.double().sqrt()), restarts=4)
    assert attack.value <= both.upper(0.0)


def test_frozen_layers_keep_their_places() -> None:
    X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = chain(3, 4, 4, 4, 1, seed=0)
    model[2].requires_grad_(False)
    state = linearize(read(model, X), X)
    matrix = ChainLipschitz(state).layer_matrix_upper(1e-3)
    assert matrix.shape == (4, 4)
    assert not matrix[1].any()
    assert not matrix[:, 1].any()
    assert matrix[0, 2] > 0.0


def test_only_deep_chains_with_one_output_ask_for_both() -> None:
    X = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for widths, expected in (((3, 4, 4, 1), True), ((3, 4, 1), False), ((3, 4, 4, 2), False)):
        state = linearize(read(chain(*widths, seed=1), X), X)
        assert gains_from_graph(state) is expected
