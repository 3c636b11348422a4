"""A graph at its stored weights: values, cotangents and kernel against plain float64."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.network.graph_dense import Dense
from tests.network.random_graphs import Drawn, random_graph
from torch import Tensor

from talweg._errors import UnsupportedModelError
from talweg.enclosure import Ball
from talweg.network import Linear, Network, Node, evaluate_approx, merge_duplicates
from talweg.network._graph import (
    Affine,
    Convolution,
    Embedding,
    MatrixProduct,
    Mean,
    Product,
    Reshape,
    Shift,
    Slice,
    Sum,
)
from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network._graph_state import (
    graph_jacobian_ball,
    graph_kernel_ball,
    graph_residual_norm_bound,
    graph_state,
)

SEEDS = range(16)
NOISE = 1e-10

pytestmark = pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")


def assert_encloses(ball: Ball, reference: Tensor) -> None:
    """Up to the noise of the reference, and not needlessly wide."""
    assert ball.shape == reference.shape
    noise = NOISE * (1.0 + reference.abs().amax())
    assert bool(((ball.mid - reference).abs() <= ball.rad + noise).all())
    assert bool((ball.rad <= 1e-7 * (1.0 + reference.abs().amax())).all())


def assert_kernel(drawn: Drawn) -> None:
    """Both ways to the kernel against the Jacobian of automatic differentiation."""
    state = graph_state(drawn.network, drawn.X, drawn.multiplicity)
    function = drawn.function()
    jacobian = function.jacobian(function.start)
    kernel = graph_kernel_ball(state)
    assert_encloses(kernel, jacobian @ jacobian.T)
    assert torch.equal(kernel.mid, kernel.mid.T)
    # Tensor by tensor: in the order of the groups.
    found = graph_jacobian_ball(state)
    names = list(drawn.network.parameter_names())
    widths = [t.numel() for t in function.split(function.start)]
    parts = dict(zip(names, torch.split(jacobian, widths, 1), strict=True))
    order: dict[str, None] = {}
    for group in state.groups:
        for t in group:
            slots = drawn.network.nodes[t].operation.slots()
            order.update({s.name: None for s in slots if s.trainable})
    assert_encloses(found, torch.cat([parts[name] for name in order], 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_values_and_cotangents(seed: int) -> None:
    drawn = random_graph(seed)
    state = graph_state(drawn.network, drawn.X, drawn.multiplicity)
    assert_encloses(state.outputs, evaluate_approx(drawn.network, drawn.X))
    dense = Dense(drawn)
    at = dense.at(dense.function.start, second=False)
    for t, span in enumerate(dense.node):
        assert_encloses(state.visits[t].value.reshape(len(drawn.X), -1), at.values[:, span])
        n, k = state.outputs.shape
        assert_encloses(state.cotangents[t].reshape(n, k, -1), at.G[:, :, span])


@pytest.mark.parametrize("seed", SEEDS)
def test_kernels(seed: int) -> None:
    assert_kernel(random_graph(seed))


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )  # fmt: skip


def _drawn(nodes: list[Node], X: Tensor, k: int) -> Drawn:
    shape = tuple(X.shape[1:])
    network = Network(tuple(nodes), X[0].numel(), k, input_shape=shape)
    return Drawn(network, X, torch.tensor([2, 1, 3])[: len(X)])


def tied_language_model() -> Drawn:
    """Rows of one tensor in, the same tensor as the last layer; and once more as a shift."""
    table = _normal(5, 3)
    nodes = [
        Node(Embedding(table, None, True, False, "0", "table", None), (0,)),
        Node(Product("1"), (1, 1)),
        Node(Mean((0,), "2"), (2,)),
        Node(Linear(table, None, True, False, "3", "table", None), (3,)),
        Node(Slice(0, 0, 5, 2, "4"), (4,)),
    ]
    return _drawn(nodes, torch.tensor([[0.0, 4.0], [2.0, 2.0], [1.0, 3.0]]).double(), 3)


def tied_vectors() -> Drawn:
    """One vector as a scale, a shift and a bias; one matrix along two axes and as a convolution."""
    vector, matrix = _normal(3, seed=1), _normal(3, 3, seed=2)
    nodes = [
        Node(Affine(vector, None, True, False, "0", "v", None, 1), (0,)),
        Node(Shift(vector, None, True, False, "1", "v", None, 0), (1,)),
        Node(Linear(matrix, vector, True, True, "2", "m", "v"), (2,)),
        Node(MatrixProduct("3"), (3, 1)),
        Node(Linear(matrix, None, True, False, "4", "m", None), (4,)),
        Node(Sum((1, -1), "5"), (5, 3)),
        Node(Mean((0,), "6"), (6,)),
    ]
    return _drawn(nodes, _normal(3, 3, 3, seed=3), 3)


def tied_convolutions() -> Drawn:
    """One kernel in two groups, and in one group on a part of the channels."""
    kernel = _normal(4, 2, 2, seed=4)
    one = {"stride": (1,), "padding": (1,), "dilation": (1,)}
    nodes = [
        Node(Convolution(kernel, None, True, False, "0", "k", None, **one, groups=2), (0,)),
        Node(Slice(0, 1, 4, 2, "1"), (1,)),
        Node(Convolution(kernel, None, True, False, "2", "k", None, **one, groups=1), (2,)),
        Node(Product("3"), (3, 3)),
        Node(Mean((1,), "4"), (4,)),
    ]
    return _drawn(nodes, _normal(3, 4, 3, seed=5), 4)


TIED = {
    "language model": tied_language_model,
    "vectors": tied_vectors,
    "kernels": tied_convolutions,
}


@pytest.mark.parametrize("name", TIED)
def test_kernels_of_tensors_shared_between_kinds(name: str) -> None:
    assert_kernel(TIED[name]())


def test_merged_rows_have_the_kernel_of_all_rows() -> None:
    drawn = random_graph(4)
    X = drawn.X[[0, 1, 0, 2, 0]]
    rows = merge_duplicates(X.flatten(1), torch.zeros(5, drawn.network.output_dim).double())
    merged = Drawn(drawn.network, rows.inputs, rows.multiplicity)
    assert rows.multiplicity.tolist() == [3, 1, 1]
    assert_kernel(merged)
    function = Drawn(drawn.network, X, torch.ones(5)).function()
    singular = torch.linalg.svdvals(function.jacobian(function.start))
    kernel = graph_kernel_ball(graph_state(drawn.network, rows.inputs, rows.multiplicity))
    eigenvalues = torch.linalg.eigvalsh(kernel.mid).flip(0).clamp(min=0.0).sqrt()
    rank = min(len(eigenvalues), len(singular))
    assert torch.allclose(eigenvalues[:rank], singular[:rank], atol=1e-7)


def test_residuals_count_every_row() -> None:
    drawn = random_graph(4)
    targets = _normal(len(drawn.X), drawn.network.output_dim)
    state = graph_state(drawn.network, drawn.X, drawn.multiplicity)
    gap = (evaluate_approx(drawn.network, drawn.X) - targets).square().sum(1)
    norm = float((gap * drawn.multiplicity).sum().sqrt())
    bound = graph_residual_norm_bound(state, targets)
    assert norm * (1.0 - 1e-13) <= bound <= norm * (1.0 + 1e-9)


def test_nothing_trained_is_no_kernel_and_no_curvature() -> None:
    weight = _normal(2, 3)
    nodes = [Node(Linear(weight, None, False, False, "0", "w", None), (0,)),
             Node(Product("1"), (1, 1))]  # fmt: skip
    network = Network(tuple(nodes), 3, 2)
    state = graph_state(network, _normal(2, 3))
    assert float(graph_kernel_ball(state).magnitude_upper().amax()) == 0.0
    assert GraphLipschitz(state).upper(1.0) == 0.0


def test_a_weight_that_is_its_own_bias_is_refused() -> None:
    # |(d, d)| is sqrt(2) |d|, and the two slopes add up before they are multiplied.
    vector = _normal(3)
    nodes = (Node(Affine(vector, vector, True, True, "0", "v", "v", 0), (0,)),)
    with pytest.raises(UnsupportedModelError, match="weight and a bias of their own"):
        graph_state(Network(nodes, 3, 3), _normal(2, 3))
    frozen = dataclasses.replace(nodes[0].operation, bias_trainable=False)
    graph_state(Network((Node(frozen, (0,)),), 3, 3), _normal(2, 3))


def test_an_embedding_of_anything_but_the_data_is_refused() -> None:
    nodes = (
        Node(Reshape((2,), "0"), (0,)),
        Node(Embedding(_normal(5, 1), None, True, False, "1", "w", None), (1,)),
        Node(Reshape((2,), "2"), (2,)),
    )
    with pytest.raises(UnsupportedModelError, match="must read the input batch"):
        graph_state(Network(nodes, 2, 2), torch.zeros(1, 2).double())
