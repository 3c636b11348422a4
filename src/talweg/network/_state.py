"""A network at its stored weights, whichever of the two forms its bounds take.

A chain on flat features has bounds of its own (docs/theory/B3.md), every other network those of a
graph (docs/theory/B6.md). Callers that need no more than the outputs, the kernel, the residual and
the Lipschitz constant take either.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from talweg.enclosure import Ball
from talweg.network._chain_lipschitz import ChainLipschitz, gains_from_graph
from talweg.network._graph import Network
from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network._graph_state import (
    GraphState,
    graph_kernel_ball,
    graph_residual_norm_bound,
    graph_state,
)
from talweg.network._kernel import symmetric_kernel
from talweg.network._linearization import (
    Linearization,
    kernel_ball,
    linearize,
    residual_norm_bound,
)
from talweg.network._lipschitz import JacobianLipschitz
from talweg.verified import SymmetricBall

NetworkState = Linearization | GraphState


class LipschitzBound(Protocol):
    """Lipschitz constants of the Jacobian on balls around the stored weights."""

    def upper(self, radius: float) -> float:
        """``beta(R)``, inf when nothing finite could be shown."""
        ...

    def layer_matrix_upper(self, radius: float) -> Tensor:
        """The matrix ``T(R)`` of shares of the layers."""
        ...

    def nonideal_path(self, radius: float) -> str | None:
        """The first activation that is not its ideal function on the whole ball, or None."""
        ...


def network_state(network: Network, X: Tensor, multiplicity: Tensor | None = None) -> NetworkState:
    """Evaluate a network and its cotangents on every row, as enclosures.

    Args:
        network: Any network.
        X: Inputs ``(n, d)``, floating point, read exactly.
        multiplicity: ``(n,)`` integers >= 1, how often each row stands in the data; None is 1.
    """
    build = linearize if network.is_chain else graph_state
    return build(network, X, multiplicity)


def state_kernel_ball(state: NetworkState) -> Ball:
    """Enclosure of the tangent kernel, ``(N, N)``; row ``i k + o`` is output o of sample i."""
    return graph_kernel_ball(state) if isinstance(state, GraphState) else kernel_ball(state)


def state_symmetric_kernel(state: NetworkState) -> Ball | SymmetricBall:
    """The same for its spectrum: a chain's with one radius for each row, in one array."""
    return graph_kernel_ball(state) if isinstance(state, GraphState) else symmetric_kernel(state)


def state_residual_norm_bound(state: NetworkState, targets: Tensor) -> float:
    """Upper bound of ``|F(w0) - y|`` over the unmerged data.

    Args:
        state: The network at its stored weights.
        targets: ``(n, k)`` targets of the merged rows, read exactly.
    """
    if isinstance(state, GraphState):
        return graph_residual_norm_bound(state, targets)
    return residual_norm_bound(state, targets)


def state_lipschitz(state: NetworkState, *, rough: bool = False) -> LipschitzBound:
    """The Lipschitz bound of the Jacobian.

    Args:
        state: The network at its stored weights.
        rough: Whether a looser bound at a fraction of the cost will do, where there is one.
    """
    if isinstance(state, GraphState):
        return GraphLipschitz(state)
    if rough:
        return JacobianLipschitz(state, rough=True)
    return ChainLipschitz(state) if gains_from_graph(state) else JacobianLipschitz(state)
