"""The smallest width at which convergence is proved before any training (theory P5).

The criterion need not hold monotonically in the width: weights are drawn anew for each. So what is
returned is the smallest width *tried* at which `talweg.certify` proved the claim, and every trial
is listed. The search brackets by the missing factor, which for wide networks falls like a power of
the width, and narrows the bracket in log-log coordinates.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from talweg._display import Grid, Sheet, Shown
from talweg._errors import InputError
from talweg.certificate import Certificate, certify
from talweg.prescribe._outlook import (
    DEFAULT_STEPS,
    Outlook,
    outlook_approx,
    price_rows,
    shown,
)
from talweg.prescribe._weight_bounds import checked_pair

Family = Callable[[int, int], nn.Module]
Progress = Callable[[str], None]

RESOLUTION = 0.01
"""Default: the bracket is narrowed to 1 % of the width."""

EXPONENT = 0.5
"""Of the missing factor in the width, before two trials tell it: |D^2 F| ~ 1 / sqrt(width)."""

IMPRACTICAL = 1e6
"""Widths beyond it are not recommended."""

MAX_GROWTH = 4.0
"""From one trial to the next on the way up."""


@dataclass(frozen=True)
class WidthTrial:
    """One width and one seed.

    Attributes:
        width: As given to the family.
        seed: As given to the family.
        proved: Whether `talweg.certify` proved convergence from these weights.
        missing_factor: ``|r_0| / int s``, a float estimate; None where no number came out.
    """

    width: int
    seed: int
    proved: bool
    missing_factor: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Width(Shown):
    """The answer of `width_finder`.

    Attributes:
        status: "PROVED" where every seed is certified at `width`, else "UNDECIDED".
        reason: One sentence.
        width: The smallest width tried at which *every* seed was certified; None where none was.
        per_seed: For each seed the smallest width tried that was certified; None where none was.
        median: Of `per_seed`; None where a seed has none.
        certificates: At `width`, one for each seed.
        trials: Everything that was tried, in order.
        outlooks: Measured gradient descent at `width`, one for each seed.
    """

    status: str
    reason: str
    width: int | None
    per_seed: dict[int, int | None]
    median: float | None
    certificates: tuple[Certificate, ...]
    trials: tuple[WidthTrial, ...]
    outlooks: tuple[Outlook, ...]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain data."""
        return {
            "status": self.status, "reason": self.reason, "width": self.width,
            "median": self.median,
            "per_seed": {str(seed): width for seed, width in self.per_seed.items()},
            "trials": [vars(trial) for trial in self.trials],
            "certificates": [certificate.to_dict() for certificate in self.certificates],
            "outlooks": [vars(outlook) for outlook in self.outlooks],
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of every line, without the price."""
        lines = [("status", self.status), ("reason", self.reason)]
        if self.width is not None:
            text = f"{self.width:,} (smallest tried that does for every seed)"
            lines.append(("width", text))
        else:
            lines.append(("what to do", self._advice()))
        lines.append(("note", "no claim about widths between those tried: weights differ for each"))
        return lines

    def _advice(self) -> str:
        """Where the missing factor stands, and the width at which its trend would end."""
        factors = [
            (t.missing_factor, t.width)
            for t in self.trials
            if t.missing_factor is not None and 0.0 < t.missing_factor < math.inf
        ]
        train = "train until it can be proved (`talweg prescribe train`)"
        if not factors:
            return (
                "no missing factor came out, because the kernel was singular at every width tried: "
                f"look at the data (`talweg measure`), raise `high`, or {train}"
            )
        factor, width = min(factors)
        text = f"nearest: a missing factor of {factor:.4g} at width {width:,}"
        needed = _trend_end(factors)
        if needed is None:
            return f"{text}; raise `high`, or {train}"
        if needed > IMPRACTICAL:
            return (
                f"{text}, whose trend would reach 1 near width {needed:.0e} only (an "
                f"extrapolation): {train} instead"
            )
        return (
            f"{text}, whose trend would reach 1 near width {needed:,.0f} (an extrapolation); raise "
            f"`high`, or {train}"
        )

    def grids(self) -> tuple[Grid, ...]:
        """The seeds, and all that was tried, as tables."""
        columns = ("seed", "smallest width", "missing factor", "certified halving",
                   "held-out error")  # fmt: skip
        each = []
        for i, (seed, width) in enumerate(self.per_seed.items()):
            factors = [
                t.missing_factor for t in self.trials if (t.seed, t.width) == (seed, width)
            ] or [None]
            halving = self.certificates[i].halving_steps if self.certificates else None
            error = self.outlooks[i].held_out_error if self.outlooks else None
            each.append(
                (str(seed), shown(width, ",d"), shown(factors[0], ".4g"), shown(halving, ",.0f"),
                 shown(error, ".4g"))
            )  # fmt: skip
        tried = [
            (f"{t.width:,}", str(t.seed), "yes" if t.proved else "no",
             shown(t.missing_factor, ".5g"))
            for t in self.trials
        ]  # fmt: skip
        return (
            Grid(columns, each, numbers=frozenset(range(5))),
            Grid(("width", "seed", "certified", "missing factor"), tried,
                 numbers=frozenset(range(4))),
        )  # fmt: skip

    def _sheet(self) -> Sheet:
        certificate = self.certificates[0] if self.certificates else None
        rows = self.rows() + price_rows(certificate, self.outlooks[0] if self.outlooks else None)
        return Sheet.of_status("the smallest certified width", self.status, rows, *self.grids())


def _trend_end(factors: Sequence[tuple[float, int]]) -> float | None:
    """The width at which the missing factor, taken for a power of the width, would be 1, or None.

    None for fewer than three widths, and where the factor hardly falls.
    """
    widths = {width for _, width in factors}
    if len(widths) < 3:
        return None
    x = [math.log(width) for _, width in factors]
    y = [math.log(factor) for factor, _ in factors]
    slope, _ = statistics.linear_regression(x, y)
    if not slope < -0.1:
        return None
    end = math.exp(min(statistics.fmean(x) - statistics.fmean(y) / slope, 700.0))
    return end if end > max(widths) else None


def width_finder(
    family: Family,
    data: tuple[Tensor, Tensor] | Callable[[int], tuple[Tensor, Tensor]],
    *,
    low: int = 16,
    high: int = 1 << 15,
    multiple: int = 1,
    resolution: float = RESOLUTION,
    seeds: Sequence[int] = (0, 1, 2),
    loss: str = "mse",
    held_out: tuple[Tensor, Tensor] | None = None,
    descent_steps: int = DEFAULT_STEPS,
    progress: Progress | None = None,
) -> Width:
    """Find the smallest width at which a family of models is certified before training.

    For each seed: a width that is certified is sought upward from ``low``, then the bracket
    between the largest width known to fail below it and the smallest known to do is narrowed to
    ``resolution``. Then all seeds are certified at one common width, moved up until all are.
    Nothing is claimed about widths that were not tried: the criterion need not be monotone.

    Source: theory P5, T11 at initialisation.

    Args:
        family: ``family(width, seed)`` -> model at its initial weights. It must draw its random
            numbers from the seed alone.
        data: ``(X, y)``, or a function of the seed that returns them.
        low: First width tried.
        high: Largest width tried.
        multiple: Widths are multiples of this (2 for antisymmetric pairs).
        resolution: Relative width of the last bracket. Default 1 %.
        seeds: At least one.
        loss: "mse", "sse" or "half_sse"; only steps and rates depend on it.
        held_out: Rows to measure the held-out error on.
        descent_steps: Steps of the measured gradient descent.
        progress: Called with a short text when a stage begins.

    Returns:
        The width, the certificates there, and every trial.

    Raises:
        InputError: An argument is malformed.
        UnsupportedModelError: A model of the family cannot be read.
    """
    call = "width_finder"
    seeds = _checked(low, high, multiple, resolution, seeds, call)
    if held_out is not None:
        held_out = checked_pair(held_out, "held_out", call)
    say = progress if progress is not None else _silent
    search = _Search(family, data, loss, multiple, say)
    low, high = search.rounded(low, 1), search.rounded(high, -1)
    per_seed = {seed: search.smallest(seed, low, high, resolution) for seed in seeds}
    found = [width for width in per_seed.values() if width is not None]
    median = statistics.median(found) if len(found) == len(seeds) else None
    common = None
    if median is not None:
        common = search.common(max(found), high, seeds, resolution)
    trials = tuple(search.trials)
    if common is None:
        failed = [str(seed) for seed, width in per_seed.items() if width is None]
        reason = (
            f"no width from {low} to {high} was certified for seed {', '.join(failed)}"
            if failed
            else f"no width up to {high} was certified for every seed"
        )
        best = [t.missing_factor for t in trials if t.missing_factor is not None]
        if best:
            reason += f"; the smallest missing factor met was {min(best):.4g}"
        return Width("UNDECIDED", reason + ".", None, per_seed, median, (), trials, ())
    say(f"measuring gradient descent at width {common}")
    outlooks, certificates = [], []
    for seed in seeds:
        certificate = search.certificate(common, seed)
        certificates.append(certificate)
        model, pair = search.problem(common, seed)
        outlooks.append(
            outlook_approx(
                model, pair, certificate.step_size, loss=loss, held_out=held_out,
                steps=descent_steps,
            )
        )  # fmt: skip
    reason = f"certified before training at width {common} for each of {len(seeds)} seeds."
    return Width(
        "PROVED", reason, common, per_seed, median, tuple(certificates), trials, tuple(outlooks)
    )


class _Search:
    """Trials by width and seed, each certified once."""

    def __init__(self, family: Family, data: Any, loss: str, multiple: int, say: Progress) -> None:
        self._family, self._data, self._loss = family, data, loss
        self._multiple, self._say = multiple, say
        self._known: dict[tuple[int, int], Certificate] = {}
        self.trials: list[WidthTrial] = []

    def rounded(self, width: float, direction: int) -> int:
        """The multiple next to a width, above (1) or below (-1)."""
        parts = width / self._multiple
        return self._multiple * int(math.ceil(parts) if direction > 0 else math.floor(parts))

    def problem(self, width: int, seed: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
        """Model and data."""
        model = self._family(width, seed)
        if not isinstance(model, nn.Module):
            raise InputError(
                "`family` of width_finder() must return a torch.nn.Module for (width, seed); got "
                f"{type(model).__name__} for ({width}, {seed}). Return the model alone."
            )
        given = self._data(seed) if callable(self._data) else self._data
        return model, checked_pair(given, "data", "width_finder")

    def certificate(self, width: int, seed: int) -> Certificate:
        """The certificate, from memory where it was tried before."""
        key = width, seed
        if key not in self._known:
            self._say(f"certify width {width}, seed {seed}")
            model, pair = self.problem(width, seed)
            found = certify(model, pair, loss=self._loss, attack=False)  # type: ignore[arg-type]
            self._known[key] = found
            factor = found.as_given.missing_factor
            self.trials.append(WidthTrial(width, seed, found.status == "PROVED", factor))
        return self._known[key]

    def smallest(self, seed: int, low: int, high: int, resolution: float) -> int | None:
        """The smallest width tried that is certified for a seed."""
        width, failed = low, None
        while not self._proved(width, seed):
            if width >= high:
                return None
            failed = width
            width = min(max(self._guess_up(width, seed), width + self._multiple), high)
        proved = width
        while failed is not None:
            step = max(self.rounded(resolution * proved, -1), self._multiple)
            if proved - failed <= step:
                break
            middle = self._guess_between(failed, proved, seed, step)
            if self._proved(middle, seed):
                proved = middle
            else:
                failed = middle
        return proved

    def common(self, start: int, high: int, seeds: Sequence[int], resolution: float) -> int | None:
        """The first width from `start` up, in steps of the resolution, that does for all seeds."""
        width = start
        while True:
            if all(self._proved(width, seed) for seed in seeds):
                return width
            if width >= high:
                return None
            step = max(self.rounded(resolution * width, 1), self._multiple)
            width = min(width + step, high)

    def _proved(self, width: int, seed: int) -> bool:
        return self.certificate(width, seed).status == "PROVED"

    def _factor(self, width: int, seed: int) -> float | None:
        factor = self.certificate(width, seed).as_given.missing_factor
        return factor if factor is not None and 0.0 < factor < math.inf else None

    def _guess_up(self, width: int, seed: int) -> int:
        """Where the missing factor should fall to 1, a little beyond; at most `MAX_GROWTH`."""
        factor = self._factor(width, seed)
        growth = MAX_GROWTH if factor is None else 1.02 * max(factor, 1.0) ** (1.0 / EXPONENT)
        return self.rounded(width * min(max(growth, 1.02), MAX_GROWTH), 1)

    def _guess_between(self, failed: int, proved: int, seed: int, step: int) -> int:
        """Where the line through both factors, in log-log, meets 1; away from the ends."""
        middle = math.sqrt(failed * proved)
        a, b = self._factor(failed, seed), self._factor(proved, seed)
        if a is not None and b is not None and a > 1.0 > b:
            part = math.log(a) / math.log(a / b)
            crossing = failed * (proved / failed) ** part
            # try just above the crossing where that would close the bracket, else just below
            inside = crossing + 0.5 * step if proved - crossing > step else crossing - 0.5 * step
            middle = inside
        width = self.rounded(middle, 1)
        return min(max(width, failed + self._multiple), proved - self._multiple)


def _checked(
    low: int, high: int, multiple: int, resolution: float, seeds: Sequence[int], call: str
) -> tuple[int, ...]:
    whole = all(isinstance(x, int) and not isinstance(x, bool) for x in (low, high, multiple))
    if not (whole and 1 <= multiple <= high and 1 <= low <= high):
        raise InputError(
            f"`low`, `high` and `multiple` of {call}() must be whole numbers with 1 <= low <= high "
            f"and 1 <= multiple <= high; got {low!r}, {high!r}, {multiple!r}. Widths between low "
            "and high are tried."
        )
    if -(-low // multiple) > high // multiple:
        raise InputError(
            f"between `low` and `high` of {call}() there must be a multiple of `multiple`; got "
            f"{low}, {high} and {multiple}. Widen the range."
        )
    if not (isinstance(resolution, int | float) and 0.0 < resolution < 1.0):
        raise InputError(
            f"`resolution` of {call}() must be a number between 0 and 1, relative to the width; "
            f"got {resolution!r}. 0.01 is the default."
        )
    chosen = tuple(seeds)
    if not chosen or not all(isinstance(seed, int) for seed in chosen):
        raise InputError(
            f"`seeds` of {call}() must be one or more whole numbers; got {seeds!r}. Pass for "
            "example range(10)."
        )
    return tuple(dict.fromkeys(chosen))


def _silent(_: str) -> None:
    return None
