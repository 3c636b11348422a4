"""Random graphs of all kinds: outputs, kernels, and every entry of the table of B6."""

import numpy as np
import pytest
from flint import arb, ctx
from graph_reference import table
from graphs import Model
from random_graphs import random_graph
from reference import attack

from talweg_check._arrays import PRECISION, approx
from talweg_check._graph_lipschitz import GraphLipschitz, _OnBall
from talweg_check._verdict import Incomplete


def _columns(model: Model, lipschitz: GraphLipschitz) -> list[np.ndarray]:
    """The trained parameters of each row of the table."""
    places, position, net = {}, 0, lipschitz.net
    for name in model.trained():
        size = model.weights[name].size
        places[name] = np.arange(position, position + size)
        position += size
    result = []
    for row in sorted(set(lipschitz.row_of.values())):
        names = [
            net.parametric(a).names[key]
            for a in net.at if lipschitz.row_of[a] == row
            for key in net.parametric(a).trained
        ]  # fmt: skip
        result.append(np.concatenate([places[name] for name in dict.fromkeys(names)]))
    return result


@pytest.mark.parametrize("seed", range(8))
def test_every_pair_is_above_its_attack(seed: int) -> None:
    """u^T D2F[delta, v] with delta and v in the arrays of one row each, at points of the ball."""
    model, rng = random_graph(seed, parameters=40), np.random.default_rng(seed)
    counts = np.array([1, 2])
    flat = model.flat()
    root = np.sqrt(np.repeat(counts, model.targets.shape[1]))
    with ctx.workprec(PRECISION):
        net = model.network(counts)
        jacobian = root[:, None] * model.jacobian(flat)
        np.testing.assert_allclose(approx(net.h[-1]), model.outputs(flat), rtol=1e-11, atol=1e-12)
        kernel = approx(net.kernel())
        np.testing.assert_allclose(kernel, jacobian @ jacobian.T, rtol=1e-9, atol=1e-9)
        lipschitz = GraphLipschitz(net)
        columns = _columns(model, lipschitz)
        for radius in (1e-9, 0.2):
            try:
                table = approx(_OnBall(lipschitz, arb(radius)).table())
            except Incomplete:
                continue
            step = rng.normal(size=len(flat))
            moved = flat + radius * step / np.linalg.norm(step)
            tensor = root[:, None, None] * model.second(moved)
            for i, one in enumerate(columns):
                for j, two in enumerate(columns[i:], i):
                    found = attack(tensor[:, one][:, :, two], rng, 2)
                    assert found <= table[i, j] * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize("radius", [1e-9, 0.01])
@pytest.mark.parametrize("seed", range(100, 104))
def test_the_table_is_the_one_of_the_page(seed: int, radius: float) -> None:
    """Against dense matrices, and maps from differences; ranges are sampled there."""
    model, counts = random_graph(seed), np.array([1, 2])
    with ctx.workprec(PRECISION):
        found = approx(_OnBall(GraphLipschitz(model.network(counts)), arb(radius)).table())
    twin = table(model, counts, radius)
    assert (twin * (1 - 1e-6) - 1e-8 <= found).all()
    assert (found <= twin * (1 + 1e-3) + 1e-7).all()
