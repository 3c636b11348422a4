"""The rules of every layer kind of a graph, one file a kind (docs/theory/B6.md)."""

from __future__ import annotations

from talweg._errors import UnsupportedModelError
from talweg.network._graph import Embedding, Network, Node, Operation, Parametric
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
    for node in network.nodes:
        _check(node)
    return tuple(
        _rule(node.operation)(node.operation, [shapes[e] for e in node.inputs], shapes[t + 1])
        for t, node in enumerate(network.nodes)
    )


def _check(node: Node) -> None:
    """Refuse what the rules take for granted and a reading never makes."""
    operation = node.operation
    if isinstance(operation, Embedding) and node.inputs != (0,):
        raise UnsupportedModelError(
            f"`network` of rules_of(): the embedding at {operation.path!r} must read the input "
            f"batch, index 0; it reads {node.inputs}. Look rows up in the data itself."
        )
    if isinstance(operation, Parametric):
        names = [slot.name for slot in operation.slots() if slot.trainable]
        if len(names) > len(set(names)):
            raise UnsupportedModelError(
                f"`network` of rules_of(): {operation.kind} at {operation.path!r} must have a "
                f"weight and a bias of their own; both are {names[0]!r}. Untie them."
            )


def _rule(operation: Operation) -> type[Rule]:
    if operation.kind not in RULES:
        raise UnsupportedModelError(
            f"`network` of rules_of(): {operation.kind!r} has no rules; known are "
            f"{', '.join(RULES)}. Replace that layer."
        )
    return RULES[operation.kind]


__all__ = ["RULES", "Curvature", "Motion", "Rule", "SharedRule", "Tangents", "Visit", "rules_of"]
