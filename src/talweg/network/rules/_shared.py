"""Layers with weights: one form for all, groups of matrices applied to patches of the input.

    v[g, :, p] = W_g q_{g,p}(x) + b_g,    rows h~_{g,p} = (q_{g,p} where W trains, 1 where b does)

(docs/theory/B6.md, "Parametric nodes").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, cat, matmul, mul_up
from talweg.network._graph import Parametric
from talweg.network.rules._rule import Motion, Rule, Visit, flat, weights_ball
from talweg.verified import spectral_norm_upper


@dataclass(frozen=True, eq=False)
class Window:
    """One coordinate of the patches within a channel: position p takes source s.

    Attributes:
        positions: Indices p, each at most once.
        sources: For each of them the index s of the entry that it takes.
    """

    positions: Tensor
    sources: Tensor


class SharedRule(Rule):
    """A layer with weights.

    Attributes:
        overlap: m, the root of the largest number of positions that take one entry.
    """

    operation: Parametric
    overlap: float = 1.0

    # What a kind has to say.

    def patches(self, x: Ball) -> Ball:
        """``(n, *shape_in)`` -> ``(n, g, P, c)``."""
        raise NotImplementedError

    def arranged(self, g: Ball) -> Ball:
        """``(n, m, *shape)`` -> ``(n, m, g, o, P)``."""
        raise NotImplementedError

    def unarranged(self, g: Ball) -> Ball:
        """``(n, m, g, o, P)`` -> ``(n, m, *shape)``, the inverse of `arranged`."""
        raise NotImplementedError

    def sources(self, t: Ball) -> Ball:
        """``(n, m, *shape_in)`` -> ``(n, m, g, ch, S)``."""
        raise NotImplementedError

    def windows(self) -> Sequence[Window]:
        """The coordinates of the patches of a channel."""
        raise NotImplementedError

    def operator_norm(self) -> float:
        """Upper bound of the norm of the layer as a map of its input."""
        raise NotImplementedError

    def as_stored(self, t: Tensor) -> Tensor:
        """``(N, g o c)`` by groups, rows and entries of patches -> by entries of the weight."""
        return t

    # What follows from it.

    @property
    def multiplies(self) -> bool:
        """Whether a trained weight multiplies the input."""
        return self.operation.weight_trainable and self.overlap > 0.0

    def rows(self, visit: Visit) -> Ball:
        """``(n, g, P, c)``; c may be 0."""
        patches = self.patches(visit.inputs[0])
        parts = [patches if self.operation.weight_trainable else patches[..., :0]]
        if self.operation.bias_trainable:
            n, groups, count, _ = patches.shape
            one = torch.ones(n, groups, count, 1, dtype=torch.float64, device=patches.device)
            parts.append(Ball.exact(one))
        return parts[0] if len(parts) == 1 else cat(parts, 3)

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """The operator norm."""
        return [visit.zero + self._norm()]

    def _norm(self) -> float:
        known: float | None = getattr(self, "_operator_norm", None)
        if known is None:
            known = self._operator_norm = self.operator_norm()
        return known

    def row_norms(self, visit: Visit) -> Tensor:
        """epsilon, ``(n,)``: the largest norm of one sample's rows over the groups."""
        known: Tensor | None = visit.kept.get("row norms")
        if known is None:
            rows = self.rows(visit)
            known = visit.zero
            if rows.shape[3]:
                known = spectral_norm_upper(rows).amax(1)
            visit.kept["row norms"] = known
        return known

    def visit(self, inputs: tuple[Ball, ...]) -> Visit:
        """The node with room for what is computed once."""
        return Visit(inputs, self.value(inputs), {})

    def motion(self, visit: Visit, moved: Sequence[Tensor], radius: float) -> Motion:
        """The weight turns by at most the radius."""
        (eta,) = moved
        change = mul_up(self.slope_norms(visit)[0], eta)
        if self.operation.trains:
            change = add_up(change, mul_up(self.moved_row_norms(visit, eta), radius))
        turned = mul_up(self.overlap, radius) if self.multiplies else 0.0
        return Motion(change, (visit.zero + turned,))

    def moved_row_norms(self, visit: Visit, eta: Tensor) -> Tensor:
        """epsilon(R), ``(n,)``."""
        reach = self.row_norms(visit)
        return add_up(reach, self.row_change(eta))

    def row_change(self, eta: Tensor) -> Tensor:
        """By how much the rows of one sample can move together, ``(n,)``."""
        return mul_up(eta, self.overlap) if self.multiplies else torch.zeros_like(eta)

    def cotangent_sizes(self, g: Ball) -> Tensor:
        """alpha, ``(n,)``, from the cotangent of the value."""
        n, k, groups, o, count = (arranged := self.arranged(g)).shape
        by_group = unfolded_norms_upper(arranged.reshape(n, k, groups, o, count), (0, 2, 1, 3, 4))
        return by_group.amax(1)

    def product_weights(self, g: Ball, alpha: Tensor, tangent: Ball) -> Tensor:
        """omega(0), ``(n,)``: cotangent ``(n, k, *shape)``, tangent ``(n, m, *shape_in)``.

        With one position the norms of the factors are never worse; with one output the form is
        the norm itself.
        """
        positions = self.arranged(g).shape[4]
        forms = self.product_forms(g, tangent) if positions > 1 else None
        if forms is not None and g.shape[1] == 1:
            return forms
        plain = mul_up(mul_up(alpha, spectral_norm_upper(flat(tangent))), self.overlap)
        return plain if forms is None else torch.minimum(plain, forms)

    def product_forms(self, g: Ball, tangent: Ball) -> Tensor:
        """``lambda_max(P^T Phi P)^(1/2)`` from above, ``(n,)``; tangent ``(n, m, *shape_in)``."""
        from talweg.network.rules._norms import psd_norm_upper

        return psd_norm_upper(self.product_gram(g, tangent).symmetrized())

    def product_gram(self, g: Ball, tangent: Ball) -> Ball:
        """``P^T Phi P``, ``(n, m, m)``: cotangent of the value, tangents of the input."""
        source = self.sources(tangent)  # (n, m, g, ch, S)
        n, m, groups, channels, size = source.shape
        phi = self._phi(g, size)  # (n, g, S, S)
        by_group = source.reshape(n, m, groups, channels, size)
        turned = _swapped(by_group)  # (n, g, m ch, S)
        applied = matmul(turned, phi, bound="norms")  # (n, g, m ch, S)
        left = _joined(turned, m, channels)  # (n, m, g ch S)
        right = _joined(applied, m, channels)
        return matmul(left, right.mT, bound="norms")

    def _phi(self, g: Ball, size: int) -> Ball:
        """Phi for one channel of each group, ``(n, g, S, S)``."""
        arranged = self.arranged(g)
        n, k, groups, o, count = arranged.shape
        from talweg.network.rules._rule import rearranged

        turned = rearranged(
            arranged, lambda t: t.permute(0, 2, 4, 1, 3).reshape(n, groups, count, k * o)
        )
        gamma = matmul(turned, turned.mT, bound="norms")  # (n, g, P, P)
        total: Ball | None = None
        for window in self.windows():
            where, source = window.positions, window.sources

            def placed(t: Tensor, where: Tensor = where, source: Tensor = source) -> Tensor:
                out = t.new_zeros(n, groups, size, size)
                part = t[:, :, where][:, :, :, where]
                out[:, :, source.reshape(-1, 1), source.reshape(1, -1)] = part
                return out

            one = rearranged(gamma, placed)
            total = one if total is None else total + one
        if total is None:
            raise RuntimeError("a layer without windows has no products; please report")
        return total


def _swapped(source: Ball) -> Ball:
    from talweg.network.rules._rule import rearranged

    n, m, groups, channels, size = source.shape
    return rearranged(
        source, lambda t: t.permute(0, 2, 1, 3, 4).reshape(n, groups, m * channels, size)
    )


def _joined(ball: Ball, m: int, channels: int) -> Ball:
    from talweg.network.rules._rule import rearranged

    n, groups, _, size = ball.shape
    return rearranged(
        ball,
        lambda t: (
            t.reshape(n, groups, m, channels, size)
            .permute(0, 2, 1, 3, 4)
            .reshape(n, m, groups * channels * size)
        ),
    )


def unfolded_norms_upper(array: Ball, order: tuple[int, int, int, int, int]) -> Tensor:
    """Least of the norms of the three unfoldings of (outputs, rows, columns), ``(n, g)``.

    Args:
        array: Five axes that `order` brings to (n, g, k, o, P).
        order: The permutation.
    """
    from talweg.network.rules._rule import rearranged

    a = rearranged(array, lambda t: t.permute(order))
    n, groups, k, o, count = a.shape
    if 1 in (k, o, count):
        # A matrix: its norm is the least of the three.
        return spectral_norm_upper(_as_matrix(a))
    unfoldings = (
        a.reshape(n, groups, k, o * count),
        a.reshape(n, groups, k * o, count),
        rearranged(a, lambda t: t.transpose(2, 3).reshape(n, groups, o, k * count)),
    )
    norms = [spectral_norm_upper(u) for u in unfoldings]
    return torch.minimum(torch.minimum(norms[0], norms[1]), norms[2])


def _as_matrix(a: Ball) -> Ball:
    """``(n, g, k, o, P)`` with one of the last three axes of size 1, without that axis."""
    n, groups, k, o, count = a.shape
    if k == 1:
        return a.reshape(n, groups, o, count)
    return a.reshape(n, groups, k, count if o == 1 else o)


def exact_weight(tensor: Tensor) -> Ball:
    """A stored tensor as a ball."""
    return Ball.exact(tensor.detach())


__all__ = ["SharedRule", "Window", "exact_weight", "unfolded_norms_upper", "weights_ball"]
