"""Which network a certificate speaks of: a chain (format 1) or a graph (format 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from flint import arb
from numpy.typing import NDArray

from talweg_check._chain import Chain, ChainLipschitz
from talweg_check._file import StoredArray
from talweg_check._grammar import Certificate
from talweg_check._graph import GraphNetwork
from talweg_check._graph_lipschitz import GraphLipschitz
from talweg_check._lipschitz import JacobianLipschitz
from talweg_check._network import Network

Numbers = NDArray[np.float64]


class Bound(Protocol):
    """A Lipschitz constant of the scaled Jacobian on balls around w0."""

    def upper(self, radius: float) -> arb:
        """A number not below it."""
        ...


def stored_numbers(
    certificate: Certificate, arrays: Mapping[str, StoredArray]
) -> dict[str, Numbers]:
    """Weights and inputs; those of a graph in rows, and where they are integers, small ones."""
    if certificate.graph is None:
        return {name: array.values() for name, array in arrays.items()}
    inputs = arrays["inputs"]
    rows = inputs.integers().astype(np.float64) if inputs.dtype == "I64" else inputs.values()
    found = {name: arrays[name].values() for name in certificate.graph.trains}
    return found | {"inputs": rows.reshape(len(rows), math.prod(rows.shape[1:]))}


def network(
    certificate: Certificate, values: Mapping[str, Numbers], inputs: Numbers, counts: Any
) -> Network:
    """The network at w0 on the distinct rows of the data."""
    frame = certificate.loss.frame
    if certificate.graph is not None:
        return GraphNetwork(certificate.graph, values, inputs, counts, frame)
    return Chain(certificate.operations, values, inputs, counts, frame)


def jacobian_lipschitz(net: Network) -> list[Bound]:
    """The bounds that belong to it; one that confirms a claim is enough."""
    if isinstance(net, GraphNetwork):
        return [GraphLipschitz(net)]
    by_units = JacobianLipschitz(net)
    bounds: list[Bound] = [by_units]
    if isinstance(net, Chain) and net.gains_from_graph:
        bounds.append(ChainLipschitz(net, by_units))
    return bounds
