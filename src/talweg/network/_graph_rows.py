"""Maps of a layer with one position on its weights, along a few directions of its rows.

The form of a pair (a, b) is u -> sum_i u_i Z^i X h_i in the weights X of layer a, h_i its row of
sample i and |Z^i y|^2 = y^T N_i y (docs/theory/B6.md). With any V (c x r), D = V^T V - I, e >= |D|:

    X h_i = (X V) g_i + (X - X V V^T) r_i,    g_i = (I - D) V^T h_i,    r_i = h_i - V V^T h_i,
    |X V|^2 + |X - X V V^T|^2 <= (1 + e (1 + e)) |X|^2,

so that Cauchy and Schwarz give for the form, with omega_i^2 = lambda_max(N_i),

    T_ab^2 <= (1 + e (1 + e)) ( lambda_max( sum_i N_i x g_i g_i^T ) + |diag(omega) (r_i)_i|^2 ).

One matrix of order d_a r instead of d_a c. V, the leading directions of the rows, is a hint; a
weight that differs from sample to sample keeps them apart where the rows are all alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, matmul, mul_up, norm_upper, sqrt_up
from talweg.network._graph import Embedding, Parametric
from talweg.network._graph_state import GraphState
from talweg.network.rules._norms import psd_norm_upper
from talweg.network.rules._rule import rearranged
from talweg.verified import spectral_norm_upper

DIRECTIONS = 8
"""Columns of V at most."""

MOST_COLUMNS = 128
"""Entries of the value of a layer up to which its rows are split: the order is 1024 at most."""


def is_split(state: GraphState, a: int) -> bool:
    """Whether the maps from layer a are bounded this way too: one position, one group, narrow.

    Args:
        state: The graph.
        a: A layer with something trained.
    """
    operation = state.network.nodes[a].operation
    if not isinstance(operation, Parametric) or isinstance(operation, Embedding):
        return False
    if state.visits[a].value.mid[0].numel() > MOST_COLUMNS:
        return False
    _, groups, positions, c = state.shared_rule(a).rows(state.visits[a]).shape
    return groups == 1 and positions == 1 and c > 0


@dataclass(eq=False)
class SplitRows:
    """The rows of one layer along V and across.

    Attributes:
        along: g ``(n, r)``.
        across: ``(r_i)`` ``(n, c)``.
        growth: ``1 + e (1 + e)`` from above.
        sums: By the other layer b, ``sum_i N_i x g_i g_i^T`` of the samples so far, a ball.
    """

    along: Ball
    across: Ball
    growth: float
    sums: dict[int, Ball] = field(default_factory=dict)

    def add(self, b: int, gram: Ball, first: int) -> None:
        """N of some samples from `first` on, ``(m, d_a, d_a)``.

        Args:
            b: The other layer.
            gram: With symmetric midpoints.
            first: The number of the first sample.
        """
        m, d = gram.shape[:2]
        g = self.along[first : first + m]
        r = g.shape[1]
        outer = g.reshape(m, r, 1) * g.reshape(m, 1, r)
        flat = rearranged(gram, lambda t: t.reshape(m, d * d).T)
        product = matmul(flat, outer.reshape(m, r * r), bound="norms")  # (d d, r r)
        part = rearranged(
            product, lambda t: t.reshape(d, d, r, r).permute(0, 2, 1, 3).reshape(d * r, d * r)
        )
        before = self.sums.get(b)
        self.sums[b] = part if before is None else before + part

    def norm_upper(self, b: int, sizes: Tensor) -> float:
        """The bound of T_ab at the stored weights.

        Args:
            b: The other layer.
            sizes: omega ``(n,)``.
        """
        total = self.sums[b].symmetrized()
        along = psd_norm_upper(total.reshape(1, *total.shape))[0]
        weights = sizes.nan_to_num(nan=torch.inf, posinf=torch.inf)
        if not bool(weights.isfinite().all()):
            return float("inf")
        across = spectral_norm_upper(self.across * Ball.exact(weights[:, None]))
        return joined_upper(along, across, self.growth)


def split_rows(state: GraphState, a: int) -> SplitRows:
    """The rows of layer a for all samples.

    Args:
        state: The graph.
        a: A layer that `is_split`.
    """
    rows = state.shared_rule(a).rows(state.visits[a])[:, 0, 0]  # (n, c)
    n = len(rows)
    weights = 1.0 + torch.arange(n, dtype=torch.float64, device=rows.device)[:, None] / n
    hint = rows.mid.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    size = float(hint.abs().amax())
    weighted = weights * (hint / size if size > 0.0 else hint)
    # LAPACK's vectors: on the CPU, and any matrix would do.
    vectors = torch.linalg.eigh((weighted.T @ weighted).cpu()).eigenvectors[:, -DIRECTIONS:]
    v = vectors.to(rows.device).nan_to_num(nan=0.0)
    defect, growth = orthonormality(v)
    seen = matmul(rows, v)
    return SplitRows(seen - matmul(seen, defect), rows - matmul(seen, v.T), growth)


def orthonormality(v: Tensor) -> tuple[Ball, float]:
    """``D = V^T V - I`` and ``1 + e (1 + e)`` from above, e >= |D|.

    Args:
        v: V ``(c, r)``.
    """
    identity = torch.eye(v.shape[1], dtype=torch.float64, device=v.device)
    defect = matmul(v.T.contiguous(), v) - identity
    e = float(norm_upper(defect.magnitude_upper()))
    return defect, float(add_up(mul_up(e, add_up(e, 1.0)), 1.0))


def joined_upper(along: Tensor, across: Tensor, growth: float) -> float:
    """``(growth (along^2 + across^2))^(1/2)`` from above.

    Args:
        along: A bound along V.
        across: The one across V.
        growth: ``1 + e (1 + e)`` from above.
    """
    square = add_up(mul_up(along, along), mul_up(across, across))
    return float(sqrt_up(mul_up(square, growth)))
