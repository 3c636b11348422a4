"""A chain as alternating linear layers and pointwise compositions.

    h_0 = psi_0(x),   z_l = W_l h_{l-1} + b_l,   h_l = psi_l(z_l),   l = 1..L,   F = h_L.

``psi_l`` composes the activations and factors between two linear layers; its value and two
derivatives come from the chain rule, entry by entry:

    (f o g)' = f'(g) g',     (f o g)'' = f''(g) g'^2 + f'(g) g''.

Source: docs/theory/B3.md, "Stage form".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from talweg._errors import UnsupportedModelError
from talweg.enclosure import Ball
from talweg.network._graph import Elementwise, Linear, Network, Scale
from talweg.network.layers import elementwise, scale
from talweg.network.layers.elementwise import Jet

PointwiseOperation = Elementwise | Scale


@dataclass(frozen=True, eq=False)
class Pointwise:
    """Composition of entrywise operations, applied first to last; empty is the identity."""

    operations: tuple[PointwiseOperation, ...] = ()

    @property
    def is_curved(self) -> bool:
        """Whether a second derivative can be nonzero."""
        return any(
            isinstance(op, Elementwise) and elementwise.is_curved(op) for op in self.operations
        )

    def jet(self, z: Ball) -> Jet:
        """Value and two derivatives on ``z``, entry by entry; three balls of its shape."""
        value = z
        first = Ball.exact(torch.ones_like(z.mid))
        second = Ball.exact(torch.zeros_like(z.mid))
        for position, op in enumerate(self.operations):
            outer = (
                elementwise.jet(op, value) if isinstance(op, Elementwise) else scale.jet(op, value)
            )
            if position == 0:
                value, first, second = outer
                continue
            value = outer[0]
            second = outer[2] * first.square() + outer[1] * second
            first = outer[1] * first
        return value, first, second

    @property
    def can_be_nonideal(self) -> bool:
        """Whether a module in it may compute something else than its ideal function."""
        return any(
            isinstance(op, Elementwise) and elementwise.can_be_nonideal(op)
            for op in self.operations
        )

    def is_ideal_on(self, z: Ball) -> bool:
        """Whether every module in it computes its ideal function on all of ``z``."""
        value = z
        for op in self.operations:
            if isinstance(op, Elementwise):
                if not elementwise.is_ideal_on(op, value):
                    return False
                value = elementwise.jet(op, value)[0]
            else:
                value = scale.jet(op, value)[0]
        return True


@dataclass(frozen=True, eq=False)
class Stage:
    """One linear layer and the pointwise composition behind it."""

    linear: Linear
    pointwise: Pointwise

    @property
    def is_trainable(self) -> bool:
        """Whether the layer has a trainable weight or bias."""
        return self.linear.weight_trainable or self.linear.bias_trainable


@dataclass(frozen=True, eq=False)
class StageForm:
    """A chain in stage form: ``psi_0`` and the stages 1..L (``stages[l - 1]`` is stage l)."""

    entry: Pointwise
    stages: tuple[Stage, ...]


def stage_form(network: Network) -> StageForm:
    """Group the operations of a chain into stages.

    Args:
        network: A chain with at least one linear layer.

    Raises:
        UnsupportedModelError: The network is no chain, or has no linear layer.
    """
    if not network.is_chain:
        raise UnsupportedModelError(
            "`network` of stage_form(network) must be a feed-forward chain; got a graph in which "
            "an operation reads something else than the one before it. Sums and concatenations "
            "are not supported yet."
        )
    groups: list[tuple[Linear | None, list[PointwiseOperation]]] = [(None, [])]
    for op in network.chain_operations:
        if isinstance(op, Linear):
            groups.append((op, []))
        else:
            groups[-1][1].append(op)
    stages = tuple(
        Stage(linear, Pointwise(tuple(ops))) for linear, ops in groups if linear is not None
    )
    if not stages:
        raise UnsupportedModelError(
            "`network` of stage_form(network) must hold at least one Linear layer; got "
            f"{len(network.nodes)} operations without one. There is nothing to train in it."
        )
    return StageForm(Pointwise(tuple(groups[0][1])), stages)
