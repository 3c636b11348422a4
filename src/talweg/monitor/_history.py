"""The rows of a run, distilled: what a rule asks for, as a few numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Trend:
    """How the loss went over a stretch: a line through log(loss - f*).

    Attributes:
        slope: Per step.
        error: Its standard error.
    """

    slope: float
    error: float


@dataclass(frozen=True)
class History:
    """The rows of one run.

    Attributes:
        rows: As a Monitor keeps them.
        f_star: A lower bound of the loss.
    """

    rows: Sequence[Row]
    f_star: float = 0.0

    @cached_property
    def losses(self) -> list[tuple[int, float]]:
        """(step, loss) wherever one is known, infinite ones included."""
        found = ((row["step"], row.get("loss", row.get("batch_loss"))) for row in self.rows)
        return [(step, float(loss)) for step, loss in found if loss is not None]

    @cached_property
    def gradients(self) -> list[Row]:
        """Rows with a finite estimate of the gradient."""
        return [row for row in self.rows if _finite(row.get("gradient_squared"))]

    @cached_property
    def curvatures(self) -> list[Row]:
        """Rows with a finite stability."""
        return [row for row in self.rows if _finite(row.get("stability"))]

    @cached_property
    def units(self) -> list[Row]:
        """Rows about units and sizes of outputs."""
        return [row for row in self.rows if "units" in row]

    @property
    def steps(self) -> int:
        """Steps between the first and the last row."""
        return int(self.rows[-1]["step"] - self.rows[0]["step"]) if self.rows else 0

    @cached_property
    def start(self) -> float:
        """Loss at the start: the first that is known, less what a small batch may overstate.

        That is two standard errors, but not below the median of the first three.
        """
        if not self.losses:
            return math.nan
        first = self.losses[0][1]
        error = next((row.get("loss_error", 0.0) for row in self.rows if "loss" in row), 0.0)
        least = min(first, _median([loss for _, loss in self.losses[:3]]))
        return max(least, first - 2 * error) if _finite(error) else first

    @cached_property
    def end(self) -> float:
        """Loss at the end: the mean of the last fifth, of at least three rows.

        Losses of batches are skewed: their median would say too little. Losses of the first half
        of the steps are no end, however few came later.
        """
        half = self.rows[-1]["step"] - self.steps / 2 if self.rows else 0
        last = self.losses[-max(3, len(self.losses) // 5) :]
        tail = [loss for step, loss in last if step >= half]
        return sum(tail) / len(tail) if tail else math.nan

    @cached_property
    def diverged(self) -> bool:
        """Whether the loss went beyond every bound, or stands well above its start."""
        if any(not _finite(loss) for _, loss in self.losses):
            return True
        return self.end > 2 * self.start

    @cached_property
    def left(self) -> float:
        """(end - f*) / (start - f*)."""
        gap = self.start - self.f_star
        return (self.end - self.f_star) / gap if gap > 0 else math.nan

    def trend(self, share: float = 0.5) -> Trend | None:
        """The trend of the last part of the run; None with fewer than five losses."""
        first = self.rows[-1]["step"] - share * self.steps if self.rows else 0
        points = [
            (step, math.log(loss - self.f_star))
            for step, loss in self.losses
            if step >= first and _finite(loss) and loss > self.f_star
        ]
        return _line(points) if len(points) >= 5 else None

    def late(self, key: str, rows: Sequence[Row]) -> float:
        """The median of a key over the second half of the run; nan without rows."""
        half = self.rows[-1]["step"] - self.steps / 2 if self.rows else 0
        found = [row[key] for row in rows if row["step"] >= half and _finite(row.get(key))]
        return _median(found)

    def early(self, key: str, rows: Sequence[Row]) -> float:
        """The median of a key over the first three rows."""
        return _median([row[key] for row in rows[:3] if _finite(row.get(key))])


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else math.nan


def _line(points: Sequence[tuple[float, float]]) -> Trend | None:
    """Least squares, with the standard error that the residuals suggest."""
    n = len(points)
    x = math.fsum(t for t, _ in points) / n
    y = math.fsum(v for _, v in points) / n
    spread = math.fsum((t - x) ** 2 for t, _ in points)
    if spread == 0:
        return None
    slope = math.fsum((t - x) * (v - y) for t, v in points) / spread
    rest = math.fsum((v - y - slope * (t - x)) ** 2 for t, v in points)
    return Trend(slope, math.sqrt(rest / max(1, n - 2) / spread))
