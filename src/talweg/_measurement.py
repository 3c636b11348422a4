"""`Measurement`: what `measure` found, as data, as a table, and as HTML."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from talweg._display import Grid, Sheet, Shown

if TYPE_CHECKING:
    from rich.table import Table

_FOOTNOTE = "floating point, not a proof; None: undefined or not converged"


@dataclass(frozen=True, repr=False)
class Measurement(Shown):
    """Numbers of one model on one training set, in floating point: none is a bound or a proof.

    Attributes:
        loss_name: "mse", "sse", "half_sse", "cross_entropy" or "cross_entropy_sum".
        loss: f, the loss at the current weights.
        infimum: The f* used by `pl_ratio`; an assumption: 0, or the entropy of smoothed labels,
            unless the caller knew better.
        gradient_norm: ``|grad f|``.
        pl_ratio: ``|grad f|^2 / (2 (f - infimum))``; None where f equals the infimum.
        residual_norm: ``|F(w) - y|``; for a cross-entropy ``|softmax(F(w)) - q|``, q the smoothed
            labels.
        kernel_largest: Largest eigenvalue of ``K = J J^T``; for a cross-entropy of K on vectors
            that sum to zero in each sample, which is all that its gradient sees.
        kernel_smallest: Smallest eigenvalue of K as computed; noise if below `kernel_resolution`;
            None where Lanczos cannot resolve it.
        kernel_condition: Their ratio; infinite if ``p < N`` or if the smallest is lost in rounding.
        kernel_resolution: ``N eps kernel_largest``: eigenvalues below it are rounding.
        kernel_method: "eigvalsh" (all eigenvalues) or "lanczos_approx" (extreme ones, to a
            tolerance).
        sharpness: Largest eigenvalue of the Hessian of f, approximated by Lanczos from below.
        step_limit: ``2 / sharpness``; plain gradient descent with a larger step is locally
            unstable. None where the sharpness is not positive.
        regime: "overparameterised" (``p >= N``) or "underparameterised".
        samples: n.
        outputs: k, outputs of one sample.
        equations: ``N = n k``; for a cross-entropy ``n (k - 1)``.
        parameters: p, trainable scalars.
        dtype: What was computed in.
    """

    loss_name: str
    loss: float
    infimum: float
    gradient_norm: float
    pl_ratio: float | None
    residual_norm: float
    kernel_largest: float | None
    kernel_smallest: float | None
    kernel_condition: float | None
    kernel_resolution: float
    kernel_method: str
    sharpness: float | None
    step_limit: float | None
    regime: str
    samples: int
    outputs: int
    equations: int
    parameters: int
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, ready for strict JSON: an infinite number is the string "inf"."""
        values = dataclasses.asdict(self)
        infinite = {name for name, v in values.items() if isinstance(v, float) and math.isinf(v)}
        return {name: str(v) if name in infinite else v for name, v in values.items()}

    def _rows(self) -> list[tuple[str, str, str]]:
        """Name, value, meaning."""
        entropy = self.loss_name.startswith("cross_entropy")
        relation = ">=" if self.parameters >= self.equations else "<"
        size = (
            f"p = {self.parameters} {relation} N = {self.equations} "
            f"(n = {self.samples}, k = {self.outputs})"
        )
        return [
            ("loss", _number(self.loss), f"{self.loss_name}, {self.dtype}"),
            ("gradient norm", _number(self.gradient_norm), "|g|, g = grad f"),
            ("PL ratio", _number(self.pl_ratio), f"|g|^2 / (2 (f - f*)), f* = {self.infimum:g}"),
            (
                "residual norm",
                _number(self.residual_norm),
                "|softmax(F(w)) - q|" if entropy else "|F(w) - y|",
            ),
            (
                "kernel largest",
                _number(self.kernel_largest),
                f"of K = J J^T{' on zero-sum vectors' * entropy}, {self.kernel_method}",
            ),
            (
                "kernel smallest",
                _number(self.kernel_smallest),
                f"rounding below {_number(self.kernel_resolution)}",
            ),
            ("kernel condition", _number(self.kernel_condition), "largest / smallest"),
            ("sharpness", _number(self.sharpness), "largest Hessian eigenvalue, Lanczos"),
            ("step limit", _number(self.step_limit), "2 / sharpness"),
            (
                "regime",
                self.regime,
                size,
            ),
        ]

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table(title="talweg measure", caption=_FOOTNOTE)
        table.add_column("quantity")
        table.add_column("value", justify="right")
        table.add_column("meaning")
        for row in self._rows():
            table.add_row(*row)
        return table

    def __str__(self) -> str:
        lines = [f"{name:<17}{value:>20}  {meaning}" for name, value, meaning in self._rows()]
        return "\n".join([*lines, f"({_FOOTNOTE})"])

    def _sheet(self) -> Sheet:
        grid = Grid(("quantity", "value", "meaning"), self._rows(), numbers=frozenset({1}))
        return Sheet("talweg measure", grids=(grid,), note=_FOOTNOTE)


def _number(value: float | None) -> str:
    return "None" if value is None else f"{value:.4g}"
