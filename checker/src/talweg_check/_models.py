"""Which network a certificate speaks of: a chain (format 1) or a graph (format 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg_check._arrays import exact
from talweg_check._file import StoredArray
from talweg_check._grammar import Certificate
from talweg_check._graph import GraphNetwork
from talweg_check._graph_lipschitz import GraphLipschitz
from talweg_check._lipschitz import JacobianLipschitz
from talweg_check._network import Network, stages_of

Numbers = NDArray[np.float64]


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
    return Network(stages_of(certificate.operations, values), exact(inputs), counts, frame)


def jacobian_lipschitz(net: Network) -> JacobianLipschitz | GraphLipschitz:
    """The bound that belongs to it."""
    return GraphLipschitz(net) if isinstance(net, GraphNetwork) else JacobianLipschitz(net)
