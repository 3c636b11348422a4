"""What is known of a run so far, in a few numbers; fed row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from talweg.report._findings import certainty, title
from talweg.report._series import Row, is_look, number, step_of

KEPT = 256  # losses for the trend; beyond that every second one is dropped
BLOCKS = "▁▂▃▄▅▆▇█"
SHOWN = (
    "loss", "loss_error", "pl_ratio", "pl_ratio_error", "stability", "stability_error",
    "noise_scale", "batch_size",
)  # fmt: skip


@dataclass
class Summary:
    """The latest numbers of a run, and the trend of its loss.

    Attributes:
        step: The latest step.
        looks: Rows so far in which something was measured.
        latest: The latest value of what is shown.
        losses: The loss over the run, thinned out.
        finding: The first finding, if any came.
        overhead: Seconds spent watching per second of everything else.
    """

    step: float = 0.0
    looks: int = 0
    latest: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    finding: str = ""
    overhead: float | None = None
    _loss_step: float = 0.0
    _stride: int = 1
    _count: int = 0

    def add(self, row: Row) -> None:
        """Take in one row of a Monitor; what is no number in it is passed over."""
        step = step_of(row)
        if step is None:
            return
        self.step = step
        self.looks += is_look(row)
        source: Mapping[str, Any] = row
        if "loss" not in row and "batch_loss" in row:
            source = {**row, "loss": row["batch_loss"], "loss_error": "nan"}
        for key in SHOWN:
            value = number(source.get(key))
            if value is not None:
                self.latest[key] = value
        loss = number(source.get("loss"))
        if loss is not None:
            self._loss_step = step
            self._keep(loss)
        found = row.get("findings")
        if isinstance(found, list) and found and isinstance(found[0], Mapping):
            self.finding = f"{title(found[0])}, {certainty(found[0]):.0%} sure"

    def _keep(self, loss: float) -> None:
        if self._count % self._stride == 0:
            self.losses.append(loss)
        self._count += 1
        if len(self.losses) > KEPT:
            del self.losses[1::2]
            self._stride *= 2

    def value(self, key: str, error: str | None = None) -> str:
        """A number as shown, with its standard error; empty if it was not measured."""
        if key not in self.latest:
            return ""
        text = f"{self.latest[key]:.3g}"
        spread = self.latest.get(error, math.nan) if error is not None else math.nan
        return text + (f" ± {spread:.2g}" if math.isfinite(spread) else "")

    @property
    def loss(self) -> str:
        """The last loss as shown; with its step where the run is further, or there is no other."""
        text = self.value("loss", "loss_error")
        if text and (self._loss_step < self.step or self._count == 1):
            text += f" at step {self._loss_step:.0f}" + (", the only one" * (self._count == 1))
        return text

    def line(self, total: int | None = None) -> str:
        """One line of plain text."""
        parts = [f"step {self.step:.0f}" + (f" of {total}" if total else "")]
        if self.loss:
            parts.append(f"loss {self.loss}")
        for name, key, error, behind in (
            ("PL ratio", "pl_ratio", "pl_ratio_error", ""),
            ("stability", "stability", None, " of the limit"),
            ("noise scale", "noise_scale", None, ""),
        ):
            value = self.value(key, error)
            if value:
                parts.append(f"{name} {value}{behind}")
        if self.overhead is not None:
            parts.append(f"watching {self.overhead:.1%}")
        if self.finding:
            parts.append(self.finding)
        return parts[0] + ": " + ", ".join(parts[1:]) if len(parts) > 1 else parts[0]


def sparkline(values: Sequence[float], width: int) -> str:
    """The course of positive numbers as small blocks, by their logarithms.

    Args:
        values: In order; a block shows the mean of its stretch, "!" one that is not finite.
        width: Blocks at most.
    """
    if not values:
        return ""
    count = min(width, len(values))
    cells: list[float] = []
    for i in range(count):
        part = values[i * len(values) // count : (i + 1) * len(values) // count]
        good = all(math.isfinite(v) for v in part)
        mean = math.fsum(v / len(part) for v in part) if good else math.nan
        cells.append(math.log(mean) if mean > 0 else math.nan if not good else -math.inf)
    known = [cell for cell in cells if math.isfinite(cell)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    text = ""
    for cell in cells:
        if math.isnan(cell):
            text += "!"
        elif cell == -math.inf:
            text += BLOCKS[0]
        else:
            text += BLOCKS[round((cell - low) / (high - low) * 7) if high > low else 3]
    return text
