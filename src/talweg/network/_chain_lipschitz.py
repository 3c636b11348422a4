"""The sharper of two Lipschitz bounds for every pair of layers of a chain.

A chain is a graph, so both matrices T bound its pairs of layers: B3 keeps the hidden units of a
layer apart, B6 keeps products and curvature together with their signs. The least entry of the two
counts. B6 costs more, and is asked only for deep chains with one output.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network._graph_state import GraphState, graph_state
from talweg.network._linearization import Linearization
from talweg.network._lipschitz import JacobianLipschitz
from talweg.network._maxima import nonnegative_norm_upper
from talweg.network._weight_norms import trainable_stages

MOST_ENTRIES = 100_000_000
"""Samples times squared width beyond which B3 alone is used."""


def gains_from_graph(state: Linearization) -> bool:
    """Whether the bound for graphs is worth its cost: deep, narrow, one output."""
    n, k = state.outputs.shape
    width = max(z.shape[1] for z in state.z[1:])
    return k == 1 and len(trainable_stages(state)) > 2 and n * width * width <= MOST_ENTRIES


class ChainLipschitz:
    """Lipschitz constants of the Jacobian of a deep chain on balls around the stored weights.

    Args:
        state: The linearization on the (merged) training rows.
    """

    def __init__(self, state: Linearization) -> None:
        self._by_units = JacobianLipschitz(state)
        self._trainable = [s - 1 for s in trainable_stages(state)]
        graph: GraphState = graph_state(state.network, state.z[0].mid, state.counts)
        self._by_forms = GraphLipschitz(graph)
        self._known: dict[float, float] = {}

    def upper(self, radius: float) -> float:
        """``beta(R)``: ``|J(w) - J(w')|_op <= beta |w - w'|`` for all w, w' in B(w0, R).

        Args:
            radius: R >= 0, finite.

        Returns:
            A float, inf when nothing finite could be shown.
        """
        if radius not in self._known:
            beta = nonnegative_norm_upper(self.layer_matrix_upper(radius))
            self._known[radius] = beta if beta >= 0.0 else math.inf
        return self._known[radius]

    def layer_matrix_upper(self, radius: float) -> Tensor:
        """The matrix ``T(R)``, ``(L, L)``.

        Args:
            radius: R >= 0, finite.
        """
        matrix = self._by_units.layer_matrix_upper(radius).nan_to_num(nan=math.inf, posinf=math.inf)
        index = torch.tensor(self._trainable)
        other = self._by_forms.layer_matrix_upper(radius)
        where = (index[:, None], index[None, :])
        matrix[where] = torch.minimum(matrix[where], other)
        return matrix

    def nonideal_path(self, radius: float) -> str | None:
        """The first activation that is not its ideal function on all of B(w0, R), or None."""
        return self._by_units.nonideal_path(radius)
