"""The tangent kernel cut into tiles, each formed from the rows of its factors alone.

    K = sum_l (G_l G_l^T) o (H~_l H~_l^T)                                    (theory B2)

A tile needs the rows of G_l and H~_l of its own samples, so that a machine that forms tiles never
sees the rest. The radius is that of `_kernel.py`: it holds for any order of summation, hence for
tiles of any size on any machine, and its row sums cost O(N) where the enclosures are.

Where only differences between the outputs of a sample matter, P K P + c (I - P) stands for K, P
subtracting the mean over the outputs. The second factor is constant on the k x k blocks in which P
acts, and I - P has the entries 1 / k there, so that

    P K P = sum_l ((P G_l)(P G_l)^T) o (H~_l H~_l^T),        c (I - P) = c / k on those blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from talweg._errors import UnsupportedModelError
from talweg.enclosure import Ball, add_up
from talweg.network._graph import Network
from talweg.network._kernel import radius_rows
from talweg.network._linearization import Linearization
from talweg.network._stages import Affine, Sweep, stages_of_network


@dataclass(frozen=True, eq=False)
class KernelTerms:
    """What some rows of the kernel are formed from.

    Attributes:
        factors: ``(G_l, H~_l)`` for each trainable stage, ``(n k, d_l)`` and ``(n, c_l)``, one
            dtype, on the CPU.
        outputs: k.
        lift: A number added to every entry of the k x k diagonal blocks.
    """

    factors: tuple[tuple[Tensor, Tensor], ...]
    outputs: int
    lift: float = 0.0

    def __len__(self) -> int:
        """Rows of the kernel, n k."""
        return len(self.factors[0][0]) if self.factors else 0

    def samples(self, first: int, last: int) -> KernelTerms:
        """The rows of some of the samples.

        Args:
            first: First sample.
            last: The one behind the last.
        """
        k = self.outputs
        cut = tuple((g[first * k : last * k], h[first:last]) for g, h in self.factors)
        return KernelTerms(cut, k, self.lift)

    def diagonal(self) -> Tensor:
        """``K_ii``, ``(n k,)``, in floats of the factors' dtype."""
        total = torch.full((len(self),), self.lift, dtype=self.factors[0][0].dtype)
        for g, h in self.factors:
            total += g.square().sum(1) * h.square().sum(1).repeat_interleave(self.outputs)
        return total

    def product(self, x: Tensor) -> Tensor:
        """``K X`` in floats, without a tile: ``out_io = G_io^T (sum_j G_j^T x_j H~_j^T) H~_i``.

        Args:
            x: ``(n k, b)``.
        """
        k = self.outputs
        n = len(self) // k
        by_sample = x.reshape(n, k, -1)
        image = self.lift * by_sample.sum(1, keepdim=True).expand_as(by_sample)
        columns = []
        for column in range(by_sample.shape[2]):
            total = torch.zeros(n, k, dtype=x.dtype)
            for g, h in self.factors:
                blocks = g.view(n, k, -1)  # (n, k, d)
                seen = torch.bmm(by_sample[:, None, :, column], blocks)[:, 0]  # (n, d)
                back = h @ (seen.T @ h).T  # (n, d)
                total += torch.bmm(blocks, back[:, :, None])[:, :, 0]
            columns.append(total)
        return (image + torch.stack(columns, 2)).reshape(n * k, -1)


def kernel_tile(rows: KernelTerms, columns: KernelTerms, *, on_diagonal: bool) -> Tensor:
    """The tile of the kernel that belongs to these rows and columns, rounded to nearest.

    Args:
        rows: Factors of the samples of the rows.
        columns: Of those of the columns, which come no later than the rows.
        on_diagonal: Whether they are the same; the tile is then exactly symmetric, its upper
            triangle the mirror image of the lower one.
    """
    k = rows.outputs
    m, count = len(rows) // k, len(columns) // k
    total: Tensor | None = None
    for (g, h), (g_columns, h_columns) in zip(rows.factors, columns.factors, strict=True):
        shared = h @ h_columns.T  # (m, count)
        product = g @ g_columns.T  # (m k, count k)
        if k == 1:
            product.mul_(shared)
        else:
            product.view(m, k, count, k).mul_(shared[:, None, :, None])
        total = product if total is None else total.add_(product)
    if total is None:
        raise RuntimeError("a kernel without trainable parameters was asked for; please report")
    if not on_diagonal:
        return total
    if rows.lift:
        sample = torch.arange(m)
        total.view(m, k, m, k)[sample, :, sample, :] += rows.lift
    return total.tril() + total.tril(-1).T


def enclosed_kernel_terms(
    state: Linearization, *, centred: bool = False
) -> tuple[KernelTerms, Tensor]:
    """Float64 terms whose tiles enclose the kernel of the stored weights, with row radii.

    The matrix that `kernel_tile` gives below the diagonal and mirrored above differs from K, or
    from P K P + c (I - P), by a symmetric matrix whose absolute row sums the radii bound.

    Source: theory B2 (docs/theory/B3.md, stage form).

    Args:
        state: The linearization.
        centred: Whether P K P + c (I - P) is meant, c = k lift a number near the mean eigenvalue.

    Returns:
        The terms, on the CPU, and ``(n k,)`` float64 >= 0; inf where nothing is known.
    """
    n, k = state.h[-1].shape
    stages = [s for s in range(1, state.depth + 1) if state.form.stages[s - 1].is_trainable]
    factors: list[tuple[Ball, Ball]] = []
    for stage in stages:
        blocks = state.cotangent_z[stage]  # (n, k, d)
        if centred:
            blocks = blocks - (blocks.sum(1) / float(k)).reshape(n, 1, -1)
        factors.append((blocks.reshape(n * k, -1), state.extended[stage]))
    mids = tuple((g.mid.cpu(), h.mid.cpu()) for g, h in factors)
    terms = KernelTerms(mids, k)
    if not factors:
        return terms, torch.zeros(n * k, dtype=torch.float64)
    if centred:
        terms = KernelTerms(mids, k, _lift(terms))
    # The sum with the lift is one rounding more: of the partial sums, and of the lift.
    count = len(factors) + int(centred)
    rows = torch.full_like(mids[0][0][:, 0], 2.0**-52 * k * abs(terms.lift) * 1.01)
    for g, h in factors:
        rows = add_up(rows, radius_rows(g, h, k, count).cpu())
    sound = bool((rows >= 0.0).all()) and all(
        bool(g.isfinite().all()) and bool(h.isfinite().all()) for g, h in mids
    )
    return terms, rows if sound else torch.full_like(rows, torch.inf)


def kernel_terms_approx(
    network: Network, X: Tensor, root: Tensor | None, dtype: torch.dtype, *, centred: bool
) -> KernelTerms:
    """The same terms in plain floats.

    Args:
        network: A chain without shared parameters.
        X: Inputs ``(n, d)``.
        root: Factors of the rows ``(n, 1)``, or None.
        dtype: To compute in.
        centred: As in `enclosed_kernel_terms`.

    Raises:
        UnsupportedModelError: The network branches or uses a parameter twice.
    """
    stages = stages_of_network(network)
    if stages is None:
        raise UnsupportedModelError(
            "network of kernel_terms_approx must be a chain without shared parameters; this one "
            "branches or uses a parameter twice. Certify it without a scheduler."
        )
    factors = []
    with torch.no_grad():
        sweep = Sweep(stages, X.to(dtype))
        k = sweep.values.shape[1]
        for layer, inputs, cotangent in sweep:
            g = _by_sample(cotangent, k)  # (n, k, d)
            if root is not None:
                g = g * root.to(dtype).reshape(-1, 1, 1)
            if centred:
                g = g - g.mean(1, keepdim=True)
            factors.append((g.reshape(len(X) * k, -1).contiguous(), _extended(layer, inputs)))
    terms = KernelTerms(tuple(factors), k)
    return KernelTerms(terms.factors, k, _lift(terms)) if centred else terms


def _lift(centred: KernelTerms) -> float:
    """c / k with c about the mean eigenvalue on the zero-sum vectors; any number is sound."""
    k = centred.outputs
    return float(centred.diagonal().mean()) / max(k - 1, 1)


def _by_sample(cotangent: Tensor, k: int) -> Tensor:
    """dF/dz as ``(n, k, d)``, in memory of its own."""
    if cotangent.dim() == 3:
        return cotangent.permute(1, 0, 2).contiguous()
    return torch.diag_embed(cotangent)  # diagonal over the outputs: d = k


def _extended(layer: Affine, inputs: Tensor) -> Tensor:
    """H~ with H~ H~^T the layer's second factor."""
    ones = inputs.new_ones(len(inputs), 1)
    if not layer.trains_weight:
        return ones
    return torch.cat([inputs, ones], 1) if layer.trains_bias else inputs.contiguous()
