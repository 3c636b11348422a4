"""Operator norms that do not depend on the radius, per sample (theory B3, "On the ball").

For every pair of stages a <= c this collects, as float64 upper bounds of shape (n,),

    b0[c, a]   >= |B_{c,a}|_op       = |dh_c/dz_a|,
    nu0[a, b]  >= nu_{a|b}           the norm of the stack over c >= b of diag(sqrt s_c) P_{c,a},

with P_{c,a} = dz_c/dz_a. The matrices are formed in chunks of samples, so that memory stays small.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, cat, mul_up, norm_upper, sqrt_up
from talweg.network._linearization import Linearization
from talweg.network.layers import linear
from talweg.verified import spectral_norm_upper

CHUNK_ENTRIES = 4_000_000
"""Entries of the per-sample matrices held at once: 32 MB a copy in float64."""

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class WeightNorms:
    """Upper bounds at the stored weights; stages are numbered from 1, index 0 is unused.

    Attributes:
        weight: ``omega_l >= |W_l|_op``.
        hidden: ``|h_l|`` per sample, ``(n,)``.
        cotangent_z: ``|G_l|_op`` per sample, ``(n,)``.
        cotangent_h: ``|G^h_l|_op`` per sample, ``(n,)``.
        columns: ``|G^h_l e_j|`` per sample and unit, ``(n, d_l)``.
        curvature: ``s_l = |psi_l''| |G^h_l e_j|`` at the stored weights, ``(n, d_l)``.
        b0: ``|B_{c,a}|`` per sample.
        nu0: ``nu_{a|b}`` per sample, without the pairs a = b whose Q_b is diagonal.
    """

    weight: tuple[float, ...]
    hidden: tuple[Tensor, ...]
    cotangent_z: tuple[Tensor, ...]
    cotangent_h: tuple[Tensor, ...]
    columns: tuple[Tensor, ...]
    curvature: tuple[Tensor, ...]
    b0: dict[Pair, Tensor]
    nu0: dict[Pair, Tensor]


def weight_norms(state: Linearization, *, rough: bool = False) -> WeightNorms:
    """Everything in the Lipschitz bound that does not depend on the radius.

    Args:
        state: The linearization.
        rough: Whether ``|B_{c,a}|`` and ``nu_{a|b}`` are bounded by products of norms instead of
            forming a matrix for each sample.
    """
    depth = state.depth
    stages = range(1, depth + 1)
    none = state.z[0].mid.new_zeros(0)
    columns = (none, *(norm_upper(state.cotangent_h[s].magnitude_upper(), 1) for s in stages))
    curvature = (
        none, *(mul_up(state.second[s].magnitude_upper(), columns[s]) for s in stages)
    )  # fmt: skip
    weight = (0.0, *(linear.weight_norm_upper(stage.linear) for stage in state.form.stages))
    if rough:
        b0, nu0 = _propagator_norms_roughly(state, curvature, weight)
    else:
        b0, nu0 = _propagator_norms(state, curvature)
    return WeightNorms(
        weight=weight,
        hidden=tuple(norm_upper(h.magnitude_upper(), 1) for h in state.h),
        cotangent_z=(none, *(spectral_norm_upper(state.cotangent_z[s]) for s in stages)),
        cotangent_h=(none, *(spectral_norm_upper(state.cotangent_h[s]) for s in stages)),
        columns=columns,
        curvature=curvature,
        b0=b0,
        nu0=nu0,
    )


def curved_stages(state: Linearization, start: int) -> list[int]:
    """Stages ``c >= start`` whose pointwise composition is curved."""
    return [
        c for c in range(start, state.depth + 1) if state.form.stages[c - 1].pointwise.is_curved
    ]


def trainable_stages(state: Linearization) -> list[int]:
    """Stages with a trainable weight or bias, numbered from 1."""
    return [s for s in range(1, state.depth + 1) if state.form.stages[s - 1].is_trainable]


def _propagator_norms(
    state: Linearization, curvature: tuple[Tensor, ...]
) -> tuple[dict[Pair, Tensor], dict[Pair, Tensor]]:
    b0: dict[Pair, list[Tensor]] = {}
    nu0: dict[Pair, list[Tensor]] = {}
    trainable = trainable_stages(state)
    n = len(state.h[0])
    for a in trainable:
        d_a = state.z[a].shape[1]
        later = range(a + 1, state.depth + 1)
        width = d_a * max([state.z[c].shape[1] for c in later], default=1)
        step = max(1, CHUNK_ENTRIES // max(width, 1))
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            _one_chunk(state, curvature, a, rows, b0, nu0)
    return (
        {pair: torch.cat(chunks) for pair, chunks in b0.items()},
        {pair: torch.cat(chunks) for pair, chunks in nu0.items()},
    )


def _propagator_norms_roughly(
    state: Linearization, curvature: tuple[Tensor, ...], weight: tuple[float, ...]
) -> tuple[dict[Pair, Tensor], dict[Pair, Tensor]]:
    """``|B_{c,a}|`` as a product, ``nu_{a|b}^2 <= sum_c max_j s_cj |P_{c,a}|^2``."""
    b0: dict[Pair, Tensor] = {}
    nu0: dict[Pair, Tensor] = {}
    steepest = [d.magnitude_upper().amax(1) if d.shape[1] else d.mid.sum(1) for d in state.first]
    for a in trainable_stages(state):
        p = torch.ones_like(steepest[a])  # |P_{c,a}|
        sizes: dict[int, Tensor] = {}
        for c in range(a, state.depth + 1):
            if c > a:
                p = mul_up(b0[c - 1, a], weight[c])
            sizes[c] = p
            if c == a or c < state.depth:
                b0[c, a] = mul_up(steepest[c], p)
        for b in trainable_stages(state):
            curved = curved_stages(state, b) if b >= a else []
            if not curved or (a == b and curved == [b]):
                continue
            total = torch.zeros_like(p)
            for c in curved:
                total = add_up(total, mul_up(curvature[c].amax(1), mul_up(sizes[c], sizes[c])))
            nu0[a, b] = sqrt_up(total)
    return b0, nu0


def _one_chunk(
    state: Linearization,
    curvature: tuple[Tensor, ...],
    a: int,
    rows: slice,
    b0: dict[Pair, list[Tensor]],
    nu0: dict[Pair, list[Tensor]],
) -> None:
    """Append the norms of one chunk of samples for the stage ``a``."""
    first_a = state.first[a][rows]
    b0.setdefault((a, a), []).append(first_a.magnitude_upper().amax(1))
    curved = curved_stages(state, a)
    needed_b = [b for b in trainable_stages(state) if b >= a and any(c >= b for c in curved)]
    if needed_b == [a] and curved == [a]:
        needed_b = []  # Q_a is diagonal and is bounded unit by unit
    last = max([*(curved if needed_b else []), state.depth - 1])
    blocks: dict[int, Ball] = {}
    if a in needed_b and a in curved:
        blocks[a] = _weights(torch.diag_embed(sqrt_up(curvature[a][rows])))  # (m, d_a, d_a)
    b_matrix: Ball | None = None  # B_{c,a}; None stands for diag(first_a)
    for c in range(a + 1, last + 1):
        weight = Ball.exact(state.form.stages[c - 1].linear.weight)  # (d_c, d_{c-1})
        diagonal = first_a.reshape(len(first_a), 1, -1)
        p = weight * diagonal if b_matrix is None else weight @ b_matrix  # (m, d_c, d_a)
        first_c = state.first[c][rows]
        b_matrix = p * first_c.reshape(*first_c.shape, 1)
        if c < state.depth:
            b0.setdefault((c, a), []).append(spectral_norm_upper(b_matrix))
        if needed_b and c in curved:
            root = _weights(sqrt_up(curvature[c][rows]))
            blocks[c] = p * root.reshape(*root.shape, 1)
    for b in needed_b:
        if a == b and all(c == b for c in curved):
            continue
        stacked = cat([blocks[c] for c in curved if c >= b], 1)  # (m, sum d_c, d_a)
        nu0.setdefault((a, b), []).append(spectral_norm_upper(stacked))


def _weights(values: Tensor) -> Ball:
    """Nonnegative numbers as a ball; where they overflowed, the whole line."""
    finite = values.isfinite()
    unknown = torch.full_like(values, torch.inf)
    zero = torch.zeros_like(values)
    return Ball(torch.where(finite, values, zero), torch.where(finite, zero, unknown))
