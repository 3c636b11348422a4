"""Maps between two layers with the other one's numbers along a few directions of its columns.

The form of a pair (a, b) is (u, D, X) -> sum_i u_i . <D, Z^i E_i X>, D (o x c) the numbers of b.
With any V (c x r), D_V = V^T V - I, e >= |D_V| and Q = I - V V^T (docs/theory/B6.md),

    <D, z> = <D V, z V (I - D_V)> + <D Q, z Q>,    |D V|^2 + |D Q|^2 <= (1 + e (1 + e)) |D|^2,

so that

    T_ab^2 <= (1 + e (1 + e)) (lambda_max(M) + tau^2),
    M = sum_i (z_i V (I - D_V)) (E_i E_i^T) (z_i V (I - D_V))^T      of order o r,

where tau bounds the pair for N' = (z Q)(z Q)^T = N - (z V)(z V (I - D_V))^T in place of N. Along V
the outputs and the numbers of a are summed over, across V those of b. V, the leading directions of
the rows of b, is a hint.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from talweg.enclosure import Ball, matmul
from talweg.network._graph import Embedding, Parametric
from talweg.network._graph_rows import joined_upper, orthonormality
from talweg.network._graph_state import GraphState
from talweg.network.rules._norms import psd_norm_upper
from talweg.network.rules._rule import rearranged
from talweg.verified import spectral_norm_upper

DIRECTIONS = 16
"""Columns of V at most."""

ORDER = 256
"""And as many as keep M at this order."""

APART = 1e-4
"""By how much directions are kept apart that the rows do not tell apart, of their mean size."""


def is_columned(state: GraphState, b: int) -> bool:
    """Whether the numbers of layer b are split: one group, not too many outputs.

    Args:
        state: The graph.
        b: A layer with something trained.
    """
    operation = state.network.nodes[b].operation
    if state.outputs.shape[1] == 1:
        return False
    if not isinstance(operation, Parametric) or isinstance(operation, Embedding):
        return False
    rule = state.shared_rule(b)
    _, groups, _, c = rule.rows(state.visits[b]).shape
    return groups == 1 and c > 0 and rule.arranged(state.cotangents[b]).shape[3] <= ORDER


@dataclass(frozen=True, eq=False)
class Placed:
    """How the entries of the value of a layer with one group stand to its rows.

    Attributes:
        order: The entries by rows of the weight and positions, ``(o P,)``.
        overlaps: Inner products of the rows by position, ``(n, P, P)``.
    """

    order: Tensor
    overlaps: Ball

    def spread(self, ordered: Ball) -> Ball:
        """``E E^T`` times something of the entries in this order, ``(n, o P, x)``."""
        n, count, _ = self.overlaps.shape
        m = ordered.shape[1]
        by_place = rearranged(
            ordered,
            lambda t: t.reshape(n, m // count, count, -1).transpose(1, 2).reshape(n, count, -1),
        )
        product = matmul(self.overlaps, by_place, bound="norms")
        return rearranged(
            product,
            lambda t: t.reshape(n, count, m // count, -1).transpose(1, 2).reshape(n, m, -1),
        )


@dataclass(eq=False)
class SplitColumns:
    """The columns of one layer b along V and across; sums by the other layer a.

    Attributes:
        v: V ``(c, r)``.
        defect: ``V^T V - I``.
        growth: ``1 + e (1 + e)`` from above.
        along: M of the samples so far, a ball.
        across: Sum of ``E^T N' E`` of the samples so far, where a is bounded on its weights.
        sizes: Norms of N' by sample, where it is bounded on its value.
    """

    v: Tensor
    defect: Ball
    growth: float
    along: dict[int, Ball] = field(default_factory=dict)
    across: dict[int, Ball] = field(default_factory=dict)
    sizes: dict[int, list[Tensor]] = field(default_factory=dict)

    def seen(
        self, state: GraphState, b: int, tangent: Ball | None, change: Ball | None, m: int
    ) -> Ball:
        """z V, ``(n, m, k, o, r)``: tangent ``(n, m, *in)``, change ``(n, k m, *shape)``."""
        rule = state.shared_rule(b)
        n, k = state.outputs.shape
        parts: list[Ball] = []
        v = Ball.exact(self.v)
        r = self.v.shape[1]
        if tangent is not None:
            g = rule.arranged(state.cotangents[b])  # (n, k, 1, o, P)
            o, count = g.shape[3:]
            taken = rule.patches(tangent.reshape(n * m, *tangent.shape[2:]))  # (n m, 1, P, c)
            width = taken.shape[3]
            short = matmul(taken.reshape(n * m * count, width), v[:width])
            short = rearranged(
                short, lambda t: t.reshape(n, m, count, r).transpose(1, 2).reshape(n, count, m * r)
            )
            product = matmul(g.reshape(n, k * o, count), short, bound="norms")
            parts.append(
                rearranged(product, lambda t: t.reshape(n, k, o, m, r).permute(0, 3, 1, 2, 4))
            )
        if change is not None:
            shift = rule.arranged(change)  # (n, k m, 1, o, P)
            o, count = shift.shape[3:]
            rows = matmul(rule.rows(state.visits[b])[:, 0], v, bound="norms")  # (n, P, r)
            product = matmul(shift.reshape(n, k * m * o, count), rows, bound="norms")
            parts.append(rearranged(product, lambda t: t.reshape(n, k, m, o, r).transpose(1, 2)))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def add(self, a: int, seen: Ball, placed: Placed | None) -> Ball:
        """Add M of some samples, and give (z V)(z V (I - D_V))^T ``(n, m, m)``.

        Args:
            a: The other layer.
            seen: z V ``(n, m, k, o, r)``, m the directions from a.
            placed: Where these are the entries of its value; None where they are its numbers.
        """
        n, m, k, o, r = seen.shape
        flat = seen.reshape(n * m * k * o, r)
        turned = (flat - matmul(flat, self.defect)).reshape(n, m, k * o * r)
        product = matmul(seen.reshape(n, m, k * o * r), turned.mT, bound="norms")
        spread = turned
        if placed is not None:
            turned = rearranged(turned, lambda t: t[:, placed.order])
            spread = placed.spread(turned)
        left, right = (x.reshape(n * m * k, o * r) for x in (turned, spread))
        part = matmul(left.mT, right, bound="norms")
        before = self.along.get(a)
        self.along[a] = part if before is None else before + part
        return product

    def add_across(self, a: int, grams: Ball) -> None:
        """Add ``E^T N' E`` of some samples, ``(n, p_a, p_a)``."""
        total = grams.sum(0)
        before = self.across.get(a)
        self.across[a] = total if before is None else before + total

    def norm_upper(self, a: int, rows: Ball) -> float:
        """The bound of T_ab at the stored weights.

        Args:
            a: The other layer.
            rows: Those of a, ``(n, g, P, c)``; with one group where `sizes` are known.
        """
        total = self.along[a].symmetrized()
        along = psd_norm_upper(total.reshape(1, *total.shape))[0]
        if a in self.across:
            rest = self.across[a].symmetrized()
            across = psd_norm_upper(rest.reshape(1, *rest.shape))[0]
        else:
            weights = torch.cat(self.sizes[a]).nan_to_num(nan=torch.inf, posinf=torch.inf)
            if not bool(weights.isfinite().all()):
                return float("inf")
            scaled = rows * Ball.exact(weights[:, None, None, None])
            across = spectral_norm_upper(scaled.reshape(-1, rows.shape[3]))
        return joined_upper(along, across, self.growth)


def split_columns(state: GraphState, b: int) -> SplitColumns:
    """The directions of the columns of layer b.

    Args:
        state: The graph.
        b: A layer that `is_columned`.
    """
    rows = state.shared_rule(b).rows(state.visits[b])[:, 0].mid  # (n, P, c)
    rows = rows.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    c = rows.shape[2]
    o = state.shared_rule(b).arranged(state.cotangents[b]).shape[3]
    size = float(rows.abs().amax())
    flat = (rows / size if size > 0.0 else rows).reshape(-1, c)
    square = (flat.T @ flat).cpu()
    # Directions that rows tell no better apart are those of the first numbers: both programs find
    # the same ones.
    spread = APART * float(square.trace()) * torch.arange(c, 0, -1, dtype=torch.float64) / c**2
    few = min(DIRECTIONS, ORDER // o)
    vectors = torch.linalg.eigh(square + spread.diag()).eigenvectors[:, -few:]
    return columns_along(vectors.to(rows.device).nan_to_num(nan=0.0))


def columns_along(v: Tensor) -> SplitColumns:
    """Columns along any directions.

    Args:
        v: V ``(c, r)``.
    """
    return SplitColumns(v, *orthonormality(v))
