"""The rules of every layer kind of a graph, one file a kind (docs/theory/B6.md)."""

from __future__ import annotations

from talweg._errors import UnsupportedModelError
from talweg.network._graph import Network, Operation
from talweg.network._shapes import value_shapes
from talweg.network.rules._rule import Curvature, Motion, Rule, Tangents, Visit
from talweg.network.rules._shared import SharedRule
from talweg.network.rules.affine import AffineRule, ShiftRule, StandardizeRule
from talweg.network.rules.averages import AveragePoolRule, MeanRule
from talweg.network.rules.convolution import ConvolutionRule
from talweg.network.rules.embedding import EmbeddingRule
from talweg.network.rules.linear import LinearRule
from talweg.network.rules.normalize import NormalizeRule
from talweg.network.rules.pointwise import ElementwiseRule, ScaleRule
from talweg.network.rules.products import MatrixProductRule, ProductRule
from talweg.network.rules.softmax import SoftmaxRule
from talweg.network.rules.sums import ConcatenateRule, SumRule
from talweg.network.rules.views import ViewRule

RULES: dict[str, type[Rule]] = {
    "linear": LinearRule,
    "convolution": ConvolutionRule,
    "affine": AffineRule,
    "shift": ShiftRule,
    "embedding": EmbeddingRule,
    "standardize": StandardizeRule,
    "elementwise": ElementwiseRule,
    "scale": ScaleRule,
    "sum": SumRule,
    "product": ProductRule,
    "matrix_product": MatrixProductRule,
    "softmax": SoftmaxRule,
    "normalize": NormalizeRule,
    "average_pool": AveragePoolRule,
    "mean": MeanRule,
    "concatenate": ConcatenateRule,
    "reshape": ViewRule,
    "permute": ViewRule,
    "slice": ViewRule,
}
"""By the kind of the operation."""


def rules_of(network: Network) -> tuple[Rule, ...]:
    """The rule of every node.

    Args:
        network: Any network.

    Raises:
        UnsupportedModelError: A kind has no rule, or an operation does not fit what it reads.
    """
    shapes = value_shapes(network)
    return tuple(
        _rule(node.operation)(node.operation, [shapes[e] for e in node.inputs], shapes[t + 1])
        for t, node in enumerate(network.nodes)
    )


def _rule(operation: Operation) -> type[Rule]:
    if operation.kind not in RULES:
        raise UnsupportedModelError(
            f"`network` of rules_of(): {operation.kind!r} has no rules; known are "
            f"{', '.join(RULES)}. Replace that layer."
        )
    return RULES[operation.kind]


__all__ = ["RULES", "Curvature", "Motion", "Rule", "SharedRule", "Tangents", "Visit", "rules_of"]
