"""A chain as a graph: the sharper of both bounds for every pair of its trained layers.

B3 keeps the hidden units of a layer apart, B6 keeps products and curvature together with their
signs. T of both bounds the same forms, pair by pair, so the least entries do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from talweg_check._arrays import Balls, exact
from talweg_check._graph import GraphNetwork
from talweg_check._graph_algebra import smaller
from talweg_check._graph_grammar import Graph
from talweg_check._graph_lipschitz import GraphLipschitz
from talweg_check._graph_lipschitz import _OnBall as OnBallOfGraph
from talweg_check._linear_algebra import norm_upper
from talweg_check._lipschitz import JacobianLipschitz, _AtRadius
from talweg_check._network import Network, stages_of
from talweg_check.kinds import KINDS
from talweg_check.kinds._parametric import Parametric

MOST = 10**8  # samples times squared width, beyond which only B3 is tried


class Chain(Network):
    """The chain at w0, which remembers what it was made of."""

    def __init__(
        self,
        operations: Sequence[Mapping[str, Any]],
        values: Mapping[str, NDArray[np.float64]],
        inputs: NDArray[np.float64],
        counts: NDArray[np.int64],
        frame: Balls = None,
    ) -> None:
        super().__init__(stages_of(operations, values), exact(inputs), counts, frame)
        self._made_of = operations, values, inputs, counts, frame

    @property
    def gains_from_graph(self) -> bool:
        """Whether B6 may be sharper at a moderate cost: one output, more than two layers."""
        width = max(z.shape[1] for z in self.z[1:])
        return self.outputs == 1 and len(self.trained) > 2 and self.samples * width * width <= MOST

    def as_graph(self) -> GraphNetwork:
        """The same network."""
        operations, values, inputs, counts, frame = self._made_of
        graph = Graph((inputs.shape[1],))
        for index, stated in enumerate(operations):
            item = dict(stated)
            names = {key: item[key] for key in ("weight", "bias") if item.get(key) is not None}
            for key in ("numerator", "denominator"):
                if key in item:
                    item[key] = item[key].hex()
            if "parameters" in item:
                item["parameters"] = {k: float(v).hex() for k, v in item["parameters"].items()}
            shapes = {key: values[name].shape for key, name in names.items()}
            kind = KINDS[item["kind"]](item, [graph.shape(index)], shapes)
            if isinstance(kind, Parametric):
                trains = {key: bool(item.get(f"{key}_trainable")) for key in kind.stored}
                kind.assign(names, trains, [])
                graph.trains.update({name: trains[key] for key, name in names.items()})
            graph.kinds.append(kind)
            graph.inputs.append((index,))
        return GraphNetwork(graph, values, inputs, counts, frame)


class ChainLipschitz:
    """beta(R) by the least entries; B6 is made ready when it is asked for."""

    def __init__(self, net: Chain, by_units: JacobianLipschitz) -> None:
        self.net, self.by_units = net, by_units

    @cached_property
    def by_maps(self) -> GraphLipschitz:
        """B6 of the chain."""
        return GraphLipschitz(self.net.as_graph())

    def upper(self, radius: float) -> arb:
        """A number not below beta(radius)."""
        tables = (
            _AtRadius(self.by_units, arb(radius)).table(),
            OnBallOfGraph(self.by_maps, arb(radius)).table(),
        )
        return norm_upper(smaller(*tables))
