"""Bounds for every hidden unit j, in binary64: rough for all, sharp for those that matter.

Two numbers belong to a unit: sigma_j >= |diag(w_j) rows| of its slopes, and tau_j, the smaller one
of such a norm and of sqrt(lambda_max(diag(s_j) Theta diag(s_j))), Theta the squared overlaps of the
rows. For a nonnegative matrix M and *any* x > 0, lambda_max(M) <= max_i (M x)_i / x_i (Collatz,
Wielandt), and one product of n x n with n x m serves all units.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from talweg_check._float64 import (
    CHUNK,
    ETA,
    Floats,
    MidRad,
    U,
    above,
    gamma,
    in_parallel,
    norms_above,
    product_above,
)
from talweg_check._float64_norms import largest_eigenvalues_above

Units = NDArray[np.int64]  # their numbers

FLOOR = 1e-9  # keeps the hint of the power iteration positive
STEPS = 2  # products for all units
SHARP_STEPS = 9  # products for those that matter: one more than the grade arb takes
AT_ONCE = 32  # units


class WeightedRows:
    """|diag(w) rows| for rows (n, c)."""

    def __init__(self, rows: MidRad) -> None:
        self.rows = rows.mid
        self.thick = norms_above(rows.radii, 1)

    def norm(self, weights: Floats) -> float:
        """Above the norm for one weighting w >= 0, (n,): |A|^2 = lambda_max of the smaller Gram."""
        scaled = weights[:, None] * self.rows  # each entry rounded once
        gram = scaled.T @ scaled if len(scaled) >= len(scaled.T) else scaled @ scaled.T
        gram = (gram + gram.T) / 2  # the library need not keep it symmetric
        inner, small = max(scaled.shape), len(gram)
        # |A|_F^2 is the trace, whose rounding is that of the Gram matrix and of a sum.
        square = above(gram.diagonal().sum() * (1 + 4 * gamma(inner + small)) + scaled.size * ETA)
        off = above(gamma(inner + 2) * square + inner * small * ETA)
        norm = np.sqrt(largest_eigenvalues_above(gram, off))
        rounded = 2 * U * np.sqrt(square) + 2 * scaled.size * ETA
        moved = norms_above(above(weights * self.thick), 0)
        return float(above(above(norm) + above(rounded) + moved))

    def norms_approx(self, weights: Floats) -> Floats:
        """Not above the norms of all weightings (n, m) but for rounding: a hint."""
        squares = (weights * weights).T @ (self.rows * self.rows)
        narrow = min(self.rows.shape)
        hint: Floats = np.sqrt(np.maximum(squares.max(axis=1), squares.sum(axis=1) / narrow))
        return hint


class Curvatures:
    """tau_j for s (n, m) and hat (n,), Theta (n, n): the names of docs/theory/B3.md."""

    def __init__(
        self, s: Floats, hat: Floats, theta: Floats, rows: WeightedRows, hint: Floats | None
    ) -> None:
        self.s, self.theta, self.rows, self.hat = s, theta, rows, hat
        if hint is None:
            with np.errstate(all="ignore"):
                common = _positive(theta @ s.mean(axis=1))
                hint = _positive(s * common[:, None])
        self.x = hint
        self.bounds = np.full(s.shape[1], np.inf)
        # Where the norm cannot be the smaller one it is not worth its time.
        self.floor = rows.norms_approx(above(s * hat[:, None]))
        self.improve(np.arange(s.shape[1]), STEPS)

    def improve(self, units: Units, steps: int) -> None:
        """Some products more for these units; each gives a bound and the next x."""
        s, x = self.s[:, units], self.x[:, units]
        for _ in range(steps):
            parts = in_parallel(partial(self._product, above(s * x)), range(0, len(s), CHUNK))
            with np.errstate(all="ignore"):
                image = above(s * np.concatenate(parts))
                bound = above(np.sqrt(above(image / x).max(axis=0)))
                x = _positive(image)
            self.bounds[units] = np.fmin(self.bounds[units], bound)
        self.x[:, units] = x

    def _product(self, right: Floats, start: int) -> Floats:
        """Some rows of Theta times the right factor, from above."""
        return product_above(self.theta[start : start + CHUNK], right)

    def sharpen(self, units: Units) -> None:
        """As sharp as it gets: from the same start as the grade arb, with as many steps.

        The bound falls from step to step, but two starts are not comparable.
        """
        self.x[:, units] = 1.0
        self.improve(units, SHARP_STEPS)
        useful = units[~(self.bounds[units] <= self.floor[units])]
        norms = in_parallel(lambda j: self.rows.norm(above(self.s[:, j] * self.hat)), useful)
        self.bounds[useful] = np.fmin(self.bounds[useful], norms)


class Slopes:
    """sigma_j for weights (n, m); `before`: those of a ball inside, with the same rows."""

    def __init__(self, weights: Floats, rows: WeightedRows, before: Slopes | None) -> None:
        self.weights, self.rows = weights, rows
        self.bounds = np.full(weights.shape[1], rows.norm(weights.max(axis=1)))
        if before is not None:
            # |diag(w') H| <= |diag(w) H| + |diag(max(w' - w, 0)) H| for all units at once.
            more = above(np.maximum(weights - before.weights, 0.0).max(axis=1))
            self.bounds = np.fmin(self.bounds, above(before.bounds + rows.norm(more)))

    def sharpen(self, units: Units) -> None:
        """As sharp as it gets."""
        self.bounds[units] = in_parallel(lambda j: self.rows.norm(self.weights[:, j]), units)


def largest_above(parts: list[Slopes | Curvatures], combine: Callable[..., Floats]) -> float:
    """Above max_j of a nondecreasing function of the parts' numbers.

    The largest bounds are sharpened, those of the first part first, until the largest is sharp.
    """
    count = len(parts[0].bounds)
    sharp = np.zeros((len(parts), count), dtype=bool)
    while True:
        values = combine(*(part.bounds for part in parts))
        top = int(np.argmax(values))  # the first nan, if there is one
        if sharp[:, top].all():
            return float(values[top])
        part = int(np.argmin(sharp[:, top]))
        open_units = np.flatnonzero(~sharp[part])
        best = open_units[np.argsort(-values[open_units], kind="stable")][:AT_ONCE]
        chosen = np.union1d(best, [top])
        parts[part].sharpen(chosen)
        sharp[part, chosen] = True


def _positive(x: Floats) -> Floats:
    """Scaled to at most 1 per column, and positive: any x > 0 will do."""
    scaled = np.nan_to_num(x / x.max(axis=0), nan=1.0, posinf=1.0, neginf=1.0)
    clipped: Floats = np.clip(scaled, FLOOR, 1.0)
    return clipped
