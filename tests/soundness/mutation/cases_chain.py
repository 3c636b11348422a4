"""Chains as graphs: the same network, and the least of both bounds for every pair of layers."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation.comparison import close, instead
from tests.soundness.mutation.materials import Model, chain, table
from tests.soundness.mutation.registry import Checker, add, case, demand, precision

SOFT = ("softplus", {"beta": 1.5, "threshold": 30.0})
CHAINS: dict[str, tuple[list[int], Any, dict[str, Any]]] = {
    "three layers": ([5, 3, 4, 1], "tanh", {}),
    "scaled": ([2, 3, 3, 1], [("silu", {}), SOFT], {"scale": (3.0, 2.5)}),
    "without biases": ([2, 3, 3, 1], "sigmoid", {"bias": False}),
    "partly frozen": ([2, 3, 3, 2, 1], [("tanh", {}), ("identity", {})],
                      {"frozen": ("2.weight", "4.weight", "4.bias", "6.bias")}),
}  # fmt: skip
COUNTS, RADII = np.array([1, 3, 2]), (0.0, 0.03, 0.4)
_made: dict[str, SimpleNamespace] = {}


def prepare() -> None:
    """The same chains as graphs, and the tables of B6 for them."""
    for name, (widths, functions, options) in CHAINS.items():
        rng = np.random.default_rng(17)
        operations, weights = chain(rng, widths, functions, **options)
        weights = {key: 2 * value for key, value in weights.items()}
        inputs = rng.normal(size=(3, widths[0]))
        items = [{**item, "inputs": [t]} for t, item in enumerate(operations)]
        model = Model([widths[0]], items, weights, inputs, np.zeros((3, widths[-1])))
        tables = [table(model, COUNTS, radius) for radius in RADII]
        _made[name] = SimpleNamespace(
            operations=operations, weights=weights, inputs=inputs, model=model, tables=tables
        )


def _chain(checker: Checker, at: SimpleNamespace) -> Any:
    return checker.chain.Chain(at.operations, at.weights, at.inputs, COUNTS)


def _as_graph(name: str, checker: Checker) -> None:
    """Kinds, weights, training and kernel."""
    at = _made[name]
    with precision():
        net = _chain(checker, at).as_graph()
        model = at.model
        demand(isinstance(net, checker.graph.GraphNetwork), "a graph")
        demand(net.graph.chain() == model.graph().chain(), net.graph.chain())
        demand(net.graph.input_shape == tuple(model.input_shape), net.graph.input_shape)
        demand(net.graph.inputs == [(t,) for t in range(len(at.operations))], net.graph.inputs)
        demand(net.graph.trains == model.graph().trains, net.graph.trains)
        close(checker, net.h[-1], model.outputs(model.flat()), "outputs")
        jacobian = model.jacobian(model.flat()).reshape(3, -1)
        jacobian *= np.sqrt(COUNTS)[:, None]
        close(checker, net.kernel(), jacobian @ jacobian.T, "kernel", 1e-11)
        close(checker, _chain(checker, at).kernel(), jacobian @ jacobian.T, "kernel", 1e-11)


def _least_entries(name: str, checker: Checker) -> None:
    at = _made[name]
    with precision():
        net = _chain(checker, at)
        by_units = checker.lipschitz.JacobianLipschitz(net)
        both = checker.chain.ChainLipschitz(net, by_units)
        for radius, other in zip(RADII, at.tables, strict=True):
            own = checker.arrays.approx(checker.lipschitz._AtRadius(by_units, arb(radius)).table())
            demand(own.shape == other.shape, f"{own.shape}, {other.shape}")
            wanted = np.linalg.norm(np.minimum(own, other), 2)
            found = float(both.upper(radius))
            demand(wanted * (1 - 1e-6) - 1e-9 <= found <= wanted * (1 + 1e-4) + 1e-9,
                   f"radius {radius}: {found} beside {wanted}")  # fmt: skip
        demand(both.by_maps is both.by_maps and both.by_units is by_units, "made once")


for _name in CHAINS:
    add(f"chain as graph: {_name}", partial(_as_graph, _name))
    add(f"chain, least entries: {_name}", partial(_least_entries, _name))


@case
def each_bound_is_less_somewhere(checker: Checker) -> None:
    """Without one of the two tables the numbers above would be others."""
    smaller = {"units": 0, "maps": 0}
    with precision():
        for at in _made.values():
            by_units = checker.lipschitz.JacobianLipschitz(_chain(checker, at))
            for radius, other in zip(RADII, at.tables, strict=True):
                at_radius = checker.lipschitz._AtRadius(by_units, arb(radius))
                own = checker.arrays.approx(at_radius.table())
                smaller["units"] += int((own < 0.99 * other).sum())
                smaller["maps"] += int((other < 0.99 * own).sum())
    demand(min(smaller.values()) > 0, smaller)


@case
def chains_that_gain_from_graphs(checker: Checker) -> None:
    """One output, more than two trained layers, and a moderate size, without the inputs."""
    module = checker.chain
    demand(module.MOST == 10**8, module.MOST)
    with precision():
        for widths, frozen, gains in (
            ([5, 3, 4, 1], (), True), ([5, 4, 3, 1], (), True), ([5, 3, 4, 2], (), False),
            ([5, 4, 1], (), False),
            ([5, 3, 4, 1], ("2.weight", "2.bias"), False),
            ([5, 3, 4, 2, 1], ("2.weight", "2.bias"), True),
        ):  # fmt: skip
            rng = np.random.default_rng(3)
            operations, weights = chain(rng, widths, "tanh", frozen=frozen)
            inputs = rng.normal(size=(3, widths[0]))
            net = module.Chain(operations, weights, inputs, COUNTS)
            demand(net.gains_from_graph is gains, (widths, frozen))
            for most, holds in ((3 * 4 * 4, gains), (3 * 4 * 4 - 1, False)):
                with instead(module, MOST=most):
                    demand(net.gains_from_graph is holds, (widths, most))
            bounds = checker.models.jacobian_lipschitz(net)
            names = [type(found).__name__ for found in bounds]
            demand(names == ["JacobianLipschitz", "ChainLipschitz"][: 1 + gains], names)
            stages = checker.network.stages_of(operations, weights)
            bare = checker.network.Network(stages, checker.arrays.exact(inputs), COUNTS)
            demand(len(checker.models.jacobian_lipschitz(bare)) == 1, "no chain of a file")
