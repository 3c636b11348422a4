"""Entrywise functions in binary64: Taylor polynomials from Arb, with remainders from Arb.

The line is cut into cells of length `SPACING` around nodes c. Per cell that is needed, Arb gives

    a_k = f^(k)(c) / k!  for k < ORDER,   and   A, which holds f^(ORDER)(x) / ORDER! on the cell

(and a little beyond), so that by Lagrange f(c + t) = sum_k a_k t^k + A' t^ORDER with A' in A, and
likewise for f' and f'' with the coefficients differentiated. t = x - c is exact: x and c are within
a factor of two, or c = 0. The polynomials are evaluated by Horner's rule, whose rounding is bounded
per cell. Nothing here comes from the mathematical library of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from flint import arb, arb_series
from numpy.typing import NDArray

from talweg_check._activations import Function
from talweg_check._catalogue import function
from talweg_check._float64 import Floats, MidRad, U, above, in_parallel, joined
from talweg_check._float64_series import series_length, series_of
from talweg_check._verdict import Incomplete

ORDER = 9
CELLS = 50_000  # of one function; more would take minutes
FARTHEST = 2.0**40  # arguments beyond are nodes no more

ENTRIES = 2**17  # at once: what a processor's cache holds

_tables = Lock()  # they grow while they are read, and Arb's settings belong to the process


class Tabulated:
    """One entrywise function: f, f', f'' at thin enclosures, bounds of f', f'' on intervals."""

    def __init__(self, operation: Mapping[str, Any]) -> None:
        numbers = operation.get("parameters", {})
        steepness = max(1.0, numbers.get("beta", 1.0))
        self.spacing = 2.0 ** -(8 + int(np.ceil(np.log2(steepness))))
        self.series = series_of(operation)
        self.ceiling = np.inf
        if "threshold" in numbers:  # beyond it PyTorch's softplus is another function
            quotient = (arb(numbers["threshold"]) / arb(numbers["beta"])).lower()
            self.ceiling = float(np.nextafter(float(quotient), -np.inf))
        self.periodic = operation.get("function") == "sin"
        self.turns = [] if self.periodic else _turns(function(operation))
        self._row_of: dict[int, int] = {}
        self._table = np.empty((0, 3 * ORDER + 3))

    def at(self, x: MidRad, highest: int) -> list[MidRad]:
        """f, f', ... up to the derivative of order `highest` <= 2, of the shape of x."""
        self._require_below_ceiling(x.upper())
        cells = np.rint(np.clip(x.mid / self.spacing, -FARTHEST, FARTHEST))
        cells = np.nan_to_num(cells).astype(np.int64)
        rows = self._rows(cells)
        t = x.mid - cells * self.spacing
        # What the cell's bounds are for: half a spacing, and a quarter more for the radius.
        inside = np.abs(t) + x.rad < 0.75 * self.spacing
        return [self._polynomial(order, rows, t, x, inside) for order in range(highest + 1)]

    def _polynomial(
        self, order: int, rows: NDArray[np.int64], t: Floats, x: MidRad, inside: NDArray[np.bool_]
    ) -> MidRad:
        first = sum(ORDER - before for before in range(order))
        columns = self._table.T[first : first + ORDER - order]
        value = columns[-1].take(rows)
        for column in columns[-2::-1]:
            value *= t
            value += column.take(rows)
        error, slope = (self._table.T[3 * ORDER - 3 + 2 * order + i].take(rows) for i in (0, 1))
        rad = above(error)
        if not x.is_exact:
            rad = above(rad + slope * x.rad)
        return MidRad(value, np.where(inside, rad, np.inf))

    def bounds_between(self, low: Floats, high: Floats) -> list[Floats]:
        """Bounds of |f'| and |f''| on intervals: monotone between turning points."""
        ends = [self.at(MidRad(end), 2)[1:] for end in (low, high)]
        bounds = [np.maximum(one.magnitude(), two.magnitude())
                  for one, two in zip(*ends, strict=True)]  # fmt: skip
        for left, right, values in self.turns:
            inside = ~((right < low) | (left > high))
            for bound, value in zip(bounds, values, strict=True):
                np.maximum(bound, value, out=bound, where=inside)
        if self.periodic:
            # f' turns at multiples of pi, f'' half way; a little more than the interval is taken.
            for bound, shift in zip(bounds, (0.0, 0.5), strict=True):
                place, reach = (high + low) / (2 * np.pi) - shift, (high - low) / (2 * np.pi)
                slack = reach + 1e-9 * (1 + np.abs(low) + np.abs(high))
                bound[~(np.abs(place - np.rint(place)) > slack)] = 1.0
        return bounds

    def _require_below_ceiling(self, high: Floats) -> None:
        if self.ceiling < np.inf and not bool((high < self.ceiling).all()):
            raise Incomplete("a softplus is not shown to stay below its threshold on the ball")

    def _rows(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of the table for each cell; those that are missing are made."""
        lowest, span = int(cells.min()), int(cells.max() - cells.min()) + 1
        if span > 2**24:
            raise Incomplete("the arguments of an activation are spread too widely for a table")
        present = np.zeros(span, dtype=bool)
        present[(cells - lowest).ravel()] = True
        needed = (np.flatnonzero(present) + lowest).tolist()
        with _tables:
            missing = [cell for cell in needed if cell not in self._row_of]
            if len(self._row_of) + len(missing) > CELLS:
                raise Incomplete("the arguments of an activation need too large a table")
            if missing:
                new = np.array([self._row(cell) for cell in missing])
                size = len(self._table)
                self._table = np.concatenate([self._table, new])
                self._row_of.update(zip(missing, range(size, size + len(new)), strict=True))
        places = np.zeros(span, dtype=np.int64)
        places[present] = [self._row_of[cell] for cell in needed]
        return places.take(cells - lowest)

    def _row(self, cell: int) -> list[float]:
        """Coefficients of f, f', f''; then per polynomial its error and a bound of its slope."""
        with series_length(ORDER + 1):
            node = arb(cell) * arb(self.spacing)
            thin = self.series(arb_series([node, arb(1)], prec=ORDER + 1), cell > 0)
            around = arb_series([node + arb(0, 0.75 * self.spacing), arb(1)], prec=ORDER + 1)
            wide = self.series(around, cell > 0)
            exact = [thin[k] for k in range(ORDER)] + [wide[ORDER]]
            slopes = [wide[k] for k in range(4)]
        coefficients: list[float] = []
        extras: list[float] = []
        for order in range(3):
            rounded = [float(a.mid()) for a in exact[:-1]]
            coefficients += rounded
            extras.append(_horner_error(exact, rounded, arb(self.spacing) / 2))
            factor = (1, 2, 6)[order]
            extras.append(_float_above(factor * slopes[order + 1].abs_upper()))
            exact = [k * a for k, a in enumerate(exact)][1:]
        return coefficients + extras


def _horner_error(exact: Sequence[arb], rounded: Sequence[float], reach: arb) -> float:
    """Above |fl(p(t)) - f(c + t)| for |t| <= reach, without underflow.

    From the inside out: `size` is above the computed value, `error` above its error.
    """
    size, error = arb(0), arb(0)
    for a, number in zip(exact[-2::-1], rounded[::-1], strict=True):
        near = arb(number).abs_upper()
        product = reach * size * (1 + arb(U))
        size = ((product + near) * (1 + arb(U))).upper()
        error = (reach * error + (a - arb(number)).abs_upper()
                 + arb(U) * (product + size)).upper()  # fmt: skip
    return _float_above(error + exact[-1].abs_upper() * reach ** (len(exact) - 1))


def _float_above(value: arb) -> float:
    return float(np.nextafter(float(value.upper()), np.inf))


def _turns(f: Function) -> list[tuple[float, float, list[float]]]:
    """Where f' or f'' may turn, and bounds of |f'| and |f''| there."""
    points, slopes, bends = f.turns
    return [
        (float(np.nextafter(float(point.lower()), -np.inf)), _float_above(point),
         [_float_above(slope.abs_upper()), _float_above(bend.abs_upper())])
        for point, slope, bend in zip(points, slopes, bends, strict=True)
    ]  # fmt: skip


def chain_at(chain: Sequence[Tabulated], x: MidRad, highest: int) -> list[MidRad]:
    """psi and its derivatives up to `highest`, psi the functions one after the other."""

    def part(group: slice) -> list[MidRad]:
        results = [x.rows(group)]
        if not chain:
            shape = results[0].mid.shape
            return [*results, MidRad(np.ones(shape)), MidRad(np.zeros(shape))][: highest + 1]
        for index, step in enumerate(chain):
            f = step.at(results[0], highest)
            if index:
                if highest > 1:
                    bent = f[2].times(results[1].times(results[1]))
                    f[2] = bent.plus(f[1].times(results[2]))
                if highest > 0:
                    f[1] = f[1].times(results[1])
            results = f
        return results

    parts = in_parallel(part, _groups(x))
    return [joined([results[order] for results in parts]) for order in range(highest + 1)]


def chain_bounds(chain: Sequence[Tabulated], x: MidRad, reach: Floats) -> tuple[Floats, Floats]:
    """Bounds of |psi'| and |psi''| where x is moved by up to `reach`, (n,), one number per row.

    Several functions: with values v and |v'|, |v''| of those before, |f'(v)||v'| and so on; v moves
    by at most its slope's bound times what its argument moves by (mean value theorem).
    """

    def part(group: slice) -> tuple[Floats, Floats]:
        value = x.rows(group)
        move = np.broadcast_to(reach[group, None], value.mid.shape)
        first, second = np.ones_like(value.mid), np.zeros_like(value.mid)
        for index, step in enumerate(chain):
            moved = value.widened(move)
            slope, bend = step.bounds_between(moved.lower(), moved.upper())
            if index:
                second = above(bend * first * first + slope * second)
                first = above(slope * first)
            else:
                first, second = slope, bend
            if index + 1 < len(chain):
                value, move = step.at(value, 0)[0], above(slope * move)
        return first, second

    parts = in_parallel(part, _groups(x))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _groups(x: MidRad) -> list[slice]:
    """Rows that are handled at once."""
    step = max(ENTRIES // x.mid.shape[1], 1)
    return [np.s_[start : start + step] for start in range(0, len(x.mid), step)]
