"""The Lipschitz bound for graphs, each ingredient against its dense twin on random graphs."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from tests.network.chains import chain, inputs
from tests.network.graph_bounds import Bounded, at_start, bounded, failures, on_ball
from tests.network.random_graphs import Drawn, random_graph
from tests.network.test_graph_state import TIED
from torch import Tensor

from talweg.network import (
    Elementwise,
    FlatFunction,
    JacobianLipschitz,
    Linear,
    Network,
    Node,
    Product,
    linearize,
    lipschitz_attack_approx,
)
from talweg.network import _graph_forms as forms_module
from talweg.network import _graph_start as start_module
from talweg.network._graph import Affine, Convolution, Mean
from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network._graph_start import common
from talweg.network._graph_state import graph_state

SEEDS = range(100, 122)
RADII = (1e-8, 1e-4, 1e-2, 0.1, 0.5, 2.0, 10.0)
OUTPUTS = (109, 110, 117)
"""Seeds of graphs with several outputs."""
NOISE = 1e-8
"""Of second derivatives by automatic differentiation where values are in the hundreds."""

pytestmark = pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")


def _top(case: Bounded) -> Tensor:
    """A direction along which the Jacobian changes fast, a random one where it does not at all."""
    form = case.whole(case.start)
    x, y = case.random_unit(), case.random_unit()
    for _ in range(10):
        u = torch.einsum("npq,p,q->n", form, x, y)
        z = torch.einsum("npq,n,q->p", form, u, y)
        if not float(z.norm()) > 0.0:
            return x
        x, y = z / z.norm(), x
    return x


@pytest.mark.parametrize("seed", SEEDS)
def test_ingredients_at_the_stored_weights(seed: int) -> None:
    comparisons = list(at_start(bounded(random_graph(seed))))
    assert failures(iter(comparisons), 1e-9) == []
    for name, found, bound in comparisons:
        assert not name.startswith("=") or bound <= found * (1.0 + 1e-5) + 1e-7, name


@pytest.mark.parametrize("seed", SEEDS)
def test_ingredients_on_balls(seed: int) -> None:
    case = bounded(random_graph(seed))
    rng = random.Random(seed)
    top = _top(case)
    for radius in rng.sample(RADII, 2):
        step = rng.choice([case.random_unit(), top, -top])
        assert failures(on_ball(case, radius, step), NOISE) == []


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("radius", [1e-3, 1.0])
def test_tensors_shared_between_kinds(name: str, radius: float) -> None:
    case = bounded(TIED[name]())
    assert failures(at_start(case), 1e-9) == []
    for step in (case.random_unit(), _top(case)):
        assert failures(on_ball(case, radius, step), NOISE) == []


def _one_number(outputs: int) -> Drawn:
    """One positive weight w used five times on positive data: all bounds are attained at w + R."""
    weight = torch.tensor([0.8], dtype=torch.float64)

    def affine(position: int) -> Affine:
        return Affine(weight, None, True, False, str(position), "w", None, 0)

    nodes = [
        Node(affine(0), (0,)),
        Node(affine(1), (1,)),
        Node(Product("2"), (2, 2)),
        Node(affine(3), (3,)),
        Node(Product("4"), (4, 4)),
        Node(affine(5), (5,)),
        Node(affine(6), (6,)),
    ]
    if outputs == 2:
        turned = torch.tensor([[0.6], [0.8]], dtype=torch.float64)
        nodes.append(Node(Linear(turned, None, False, False, "7", "f", None), (7,)))
    X = torch.tensor([[1.3]], dtype=torch.float64)
    return Drawn(Network(tuple(nodes), 1, outputs), X, torch.ones(1, dtype=torch.int64))


def _one_number_at_many_positions() -> Drawn:
    """The same without products, on four equal entries: directions are those of the weights."""
    weight = torch.tensor([0.8], dtype=torch.float64)
    nodes = [
        Node(Affine(weight, None, True, False, str(t), "w", None, 0), (t,)) for t in range(4)
    ]  # fmt: skip
    nodes.append(Node(Mean((1,), "4"), (4,)))
    X = torch.full((1, 1, 4), 1.3, dtype=torch.float64)
    network = Network(tuple(nodes), 4, 1, input_shape=(1, 4))
    return Drawn(network, X, torch.ones(1, dtype=torch.int64))


def _overlapping_windows() -> Drawn:
    """A convolution whose windows share every entry, on constant data, between two scales."""
    weight = torch.tensor([0.8], dtype=torch.float64)
    kernel = torch.full((1, 1, 2), 0.7, dtype=torch.float64)
    nodes = [
        Node(Affine(weight, None, True, False, "0", "w", None, 0), (0,)),
        Node(
            Convolution(
                kernel, None, True, False, "1", "k", None,
                stride=(1,), padding=(1,), dilation=(1,), groups=1,
            ),
            (1,),
        ),
        Node(Affine(weight, None, True, False, "2", "w", None, 0), (2,)),
        Node(Affine(weight, None, True, False, "3", "w", None, 0), (3,)),
        Node(Mean((1,), "4"), (4,)),
    ]  # fmt: skip
    X = torch.full((1, 1, 18), 1.3, dtype=torch.float64)
    network = Network(tuple(nodes), 18, 1, input_shape=(1, 18))
    return Drawn(network, X, torch.ones(1, dtype=torch.int64))


def test_bounds_that_are_attained_at_many_positions() -> None:
    case = bounded(_one_number_at_many_positions())
    assert case.lipschitz._start.by_weight
    assert failures(at_start(case), 1e-9) == []
    for comparison in on_ball(case, 0.5, torch.ones(1, dtype=torch.float64)):
        assert failures(iter([comparison]), NOISE) == []
        name, found, bound = comparison
        assert found >= bound * (1.0 - 1e-5) - 1e-9, name


@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (0.0, 0.7071, 0.7071)])
def test_windows_that_share_entries(direction: tuple[float, ...]) -> None:
    case = bounded(_overlapping_windows())
    assert failures(at_start(case), 1e-9) == []
    step = torch.tensor(direction, dtype=torch.float64)
    comparisons = list(on_ball(case, 0.5, step))
    assert failures(iter(comparisons), NOISE) == []
    name = "Delta Z" if direction[0] else "pi"
    assert max(f / b for n, f, b in comparisons if n == name and b > 0.0) >= 0.9


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("factors", [False, True])
@pytest.mark.parametrize("radius", [1e-3, 0.5, 5.0])
def test_bounds_that_are_attained(
    outputs: int, factors: bool, radius: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every term of every formula counts here: one that is missing leaves a bound too small.
    if factors:
        monkeypatch.setattr(forms_module, "FORM_ENTRIES", 0)
    case = bounded(_one_number(outputs))
    assert failures(at_start(case), 1e-9) == []
    for comparison in on_ball(case, radius, torch.ones(1, dtype=torch.float64)):
        assert failures(iter([comparison]), NOISE) == []
        name, found, bound = comparison
        assert found >= bound * (1.0 - 1e-5) - 1e-9, name
    assert failures(on_ball(case, radius, -torch.ones(1, dtype=torch.float64)), NOISE) == []


@pytest.mark.parametrize("seed", range(200, 210))
def test_jacobian_differences_stay_below(seed: int) -> None:
    drawn = random_graph(seed)
    function = drawn.function()
    bounds = GraphLipschitz(graph_state(drawn.network, drawn.X, drawn.multiplicity))
    generator = torch.Generator().manual_seed(seed)
    for radius in (0.03, 0.5):
        beta = bounds.upper(radius)
        for _ in range(4):
            w, v = (
                function.start + radius * x / x.norm()
                for x in torch.randn(2, len(function.start), generator=generator).double()
            )
            change = function.jacobian(w) - function.jacobian(v)
            norm = float(torch.linalg.matrix_norm(change, 2))
            assert norm <= beta * float((w - v).norm()) * (1.0 + 1e-9) + 1e-9


@pytest.mark.parametrize("seed", range(200, 212))
def test_bounds_grow_with_the_radius(seed: int) -> None:
    drawn = random_graph(seed)
    bounds = GraphLipschitz(graph_state(drawn.network, drawn.X, drawn.multiplicity))
    betas = [bounds.upper(r) for r in (0.0, 1e-8, 1e-4, 1e-2, 0.3, 1.0, 1e2, 1e6, 1e300)]
    assert not any(math.isnan(b) for b in betas)
    for small, large in itertools.pairwise(betas):
        assert small <= large * (1.0 + 1e-9)


@pytest.mark.parametrize("seed", [100, 101, 103, 105])
def test_a_few_samples_at_a_time_give_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = random_graph(seed, samples=4)
    state = graph_state(drawn.network, drawn.X, drawn.multiplicity)
    radii = (0.0, 0.1)
    whole = [GraphLipschitz(state).layer_matrix_upper(r) for r in radii]
    monkeypatch.setattr(start_module, "CHUNK_ENTRIES", 1)
    parts = [GraphLipschitz(state).layer_matrix_upper(r) for r in radii]
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-12)
    monkeypatch.undo()
    monkeypatch.setattr(start_module, "CHUNK_ENTRIES", 1)
    case = bounded(drawn)
    assert failures(at_start(case), 1e-9) == []
    assert failures(on_ball(case, 0.1, case.random_unit()), NOISE) == []


@pytest.mark.parametrize("seed", range(100, 112))
@pytest.mark.parametrize("entries", [0, 60])
def test_ingredients_where_few_forms_are_made(
    seed: int, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With several outputs and large values the norms of the factors are all there is.
    monkeypatch.setattr(forms_module, "FORM_ENTRIES", entries)
    case = bounded(random_graph(seed))
    assert failures(at_start(case), 1e-9) == []
    assert failures(on_ball(case, 0.1, _top(case)), NOISE) == []


def test_products_are_made_where_maps_do_not_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for seed, entries in itertools.product(OUTPUTS, (0, 60, 1 << 21)):
        monkeypatch.setattr(forms_module, "FORM_ENTRIES", entries)
        lipschitz = bounded(random_graph(seed)).lipschitz
        state, start = lipschitz._state, lipschitz._start
        mapped = start.by_value | start.by_weight
        for place, a in enumerate(state.uses):
            for b in state.uses[place:]:
                bent = bool(common(start.reach, a, b))
                product = start_module.multiplies(state, a, b)
                maps = (a, b) in mapped or ((b, a) in mapped and not product)
                if bent or product:
                    assert ((a, b) in start.products) == (not (maps and bent)), (seed, a, b)
                    seen.add((bent, product, maps))
    assert len(seen) == 6


@pytest.mark.parametrize("name", ["three layers", "four layers, two outputs", "biases only"])
@pytest.mark.parametrize("radius", [0.0, 0.3])
def test_a_chain_read_as_a_graph(name: str, radius: float) -> None:
    network = chain(name)
    X = inputs(network, 4)
    bound = GraphLipschitz(graph_state(network, X)).upper(radius)
    assert bound <= (2.0 + 15.0 * radius) * JacobianLipschitz(linearize(network, X)).upper(radius)
    function = FlatFunction(network, X)
    attack = lipschitz_attack_approx(function, restarts=1)
    far = FlatFunction(function.network_at(function.start + radius * attack.delta), X)
    for there in (attack.value, lipschitz_attack_approx(far, restarts=1).value):
        assert there <= bound * (1.0 + 1e-9)


def _overflowing(function: str, constants: dict[str, float]) -> Network:
    """One trained bias b behind a frozen 1e200 and 1e-300, and a product: z = 0.5e-100 b + 1e20."""

    def frozen(value: float, bias: float | None, position: int, trains: bool = False) -> Linear:
        return Linear(
            torch.tensor([[value]], dtype=torch.float64),
            None if bias is None else torch.tensor([bias], dtype=torch.float64),
            False, trains, str(position), f"{position}.weight",
            None if bias is None else f"{position}.bias",
        )  # fmt: skip

    nodes = (
        Node(frozen(1.0, 0.0, 0, trains=True), (0,)),
        Node(frozen(1e200, None, 1), (1,)),
        Node(frozen(0.5, None, 2), (2,)),
        Node(frozen(1e-300, None, 3), (3,)),
        Node(frozen(1.0, 1e20, 4), (4,)),
        Node(Elementwise(function, "5", constants), (5,)),
        Node(Product("6"), (6, 6)),
    )
    return Network(nodes, 1, 1)


def test_an_overflowing_change_is_unknown_not_the_largest_float() -> None:
    X = torch.ones(1, 1, dtype=torch.float64)
    assert GraphLipschitz(graph_state(_overflowing("tanh", {}), X)).upper(1e150) == math.inf
    soft = GraphLipschitz(
        graph_state(_overflowing("softplus", {"beta": 1.0, "threshold": 1e30}), X)
    )
    assert soft.nonideal_path(1e100) is None
    assert soft.nonideal_path(1e150) == "5"


def test_a_cotangent_that_moves_without_bound_is_unknown() -> None:
    # gamma overflows; taken for the largest float it came out small behind a tiny slope.
    weight = torch.full((1, 1), 1e-300, dtype=torch.float64)
    nodes = (
        Node(Linear(weight, None, True, False, "0", "a", None), (0,)),
        Node(Elementwise("tanh", "1"), (1,)),
        Node(Product("2"), (2, 2)),
        Node(Linear(weight * 1e300, None, True, False, "3", "b", None), (3,)),
        Node(Product("4"), (4, 4)),
    )
    state = graph_state(Network(nodes, 1, 1), torch.ones(1, 1).double())
    assert GraphLipschitz(state).upper(1e200) == math.inf


def test_a_normalisation_that_may_lose_its_deviation_is_unknown() -> None:
    drawn: Drawn = next(
        d for d in map(random_graph, range(100, 400))
        if any(op.kind == "normalize" for op in d.network.operations)
        and GraphLipschitz(graph_state(d.network, d.X)).upper(1e-6) > 0.0
        and GraphLipschitz(graph_state(d.network, d.X)).upper(1e3) == math.inf
    )  # fmt: skip
    assert math.isfinite(GraphLipschitz(graph_state(drawn.network, drawn.X)).upper(1e-6))
