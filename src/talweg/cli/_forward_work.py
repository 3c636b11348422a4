"""How much one forward pass of a network costs, for limits on what a page computes; no clock."""

from __future__ import annotations

import math

from talweg.network import (
    Convolution,
    Elementwise,
    Linear,
    MatrixProduct,
    Network,
    Normalize,
    Softmax,
    value_shapes,
)

SCALAR_FUNCTION = 200
"""Floating point operations of a matrix product in the time of one tanh in float64."""


def forward_work(network: Network) -> int:
    """Operations of one forward pass for one sample, roughly.

    Counted from the shapes. torch's own counter of operations would do it too, but loads its
    compiler, which takes longer than most pages.

    Args:
        network: Any network.
    """
    shapes = value_shapes(network)
    total = 0
    for node, shape in zip(network.nodes, shapes[1:], strict=True):
        operation, size = node.operation, math.prod(shape)
        if isinstance(operation, Linear | Convolution):
            total += 2 * size * math.prod(operation.weight.shape[1:])
        elif isinstance(operation, MatrixProduct):
            total += 2 * size * shapes[node.inputs[0]][-1]
        elif isinstance(operation, Elementwise | Softmax | Normalize):
            total += SCALAR_FUNCTION * size
        else:
            total += size
    return total


def value_entries(network: Network) -> int:
    """Entries of all values of one sample together, the input among them.

    Args:
        network: Any network.
    """
    return sum(math.prod(shape) for shape in value_shapes(network))
