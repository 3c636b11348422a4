"""The smallest output scale at which convergence is proved before any training (theory T8)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from talweg._display import Grid, Sheet, Shown
from talweg._errors import InputError
from talweg.certificate import Certificate, certify
from talweg.enclosure import Ball, Interval, norm_upper
from talweg.network import evaluate_approx
from talweg.nn import Scale
from talweg.prescribe._outlook import DEFAULT_STEPS, Outlook, outlook_approx, price_rows
from talweg.prescribe._twin import antisymmetric_twin
from talweg.prescribe._weight_bounds import (
    WeightBounds,
    checked_pair,
    squared_loss,
    weight_bounds,
)
from talweg.theory import (
    SingularValueProfile,
    SquaredLoss,
    output_scale_threshold_upper,
    scaled_output_converges,
)

Progress = Callable[[str], None]

FORMS = ("offset", "antisymmetric")
HEADROOM = 1.25
"""Default of `scale` over `smallest_scale`: at the smallest one s(R*) is next to 0, so the rate is;
at 1.25 it is within about 1/5 of the best that scaling can give (1 - 1/1.25)."""

FIRST_STRIDE = 1e-5
"""Above the threshold: room for the relative pad of 1e-6 on each bound that `certify` claims."""

MAX_STRIDES = 24
SCALE_FLOOR = 2.0**-200
"""No smaller scale is tried: where y is 0 or tiny there is no smallest one worth looking for, and
the squares that certify forms of much smaller numbers underflow."""

_FORMULAS = {
    "offset": "c (F(w) - F(w0))",
    "antisymmetric": "c (G(w1) - G(w2)) / sqrt 2, twice as wide",
}

SHOWN_HEADROOMS = (1.01, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)


@dataclass(frozen=True)
class ScaleOption:
    """What a scale buys, from T8 on the profile (no file).

    Attributes:
        headroom: Scale over the threshold.
        scale: c.
        step_size: Largest certified ``lr`` on the loss.
        halving_steps: So many steps at it surely halve the loss.
        radius: The path in the weights is no longer.
    """

    headroom: float
    scale: float
    step_size: float
    halving_steps: float
    radius: float


LAZY = (
    "lazy training: the larger the scale, the less the weights and the features move, and the "
    "model learns as its linearisation at the start does; the held-out error shows what that costs"
)


@dataclass(frozen=True, eq=False, repr=False)
class ScaledOutput(Shown):
    """The answer of `output_scale`.

    Attributes:
        status: "PROVED" when `certificate` is, else "UNDECIDED".
        reason: One sentence.
        form: "offset" or "antisymmetric".
        threshold_upper: ``|y| / int s``: T8 holds for every scale above it; inf where none is.
        formula_scale: The explicit ``2 beta |y| / sigma_0^2``, beta valid on B(w0, sigma_0/beta).
        smallest_scale: The smallest scale that `talweg.certify` proved, none below 2^-200 being
            tried (y = 0 or tiny stops there); None where it proved none.
        smallest_certificate: For it.
        scale: The recommended scale, headroom included.
        certificate: For it.
        model: The scaled module, ready to train on ``(X, targets)``.
        targets: What it is trained on: y, shifted by the outputs at the start for the offset form
            and rounded to float64; equal rows of X have equal targets. The proof is about these
            floats.
        target_rounding_upper: ``|targets - (y + c F(w0))|``, upper bound.
        offset: Subtract its output from the model's to predict; None where nothing is subtracted.
        options: What other scales would buy.
        outlook: Measured gradient descent from the scaled model.
    """

    status: str
    reason: str
    form: str
    threshold_upper: float
    formula_scale: float
    smallest_scale: float | None
    smallest_certificate: Certificate | None
    scale: float | None
    certificate: Certificate | None
    model: nn.Sequential | None
    targets: Tensor | None
    target_rounding_upper: float
    offset: nn.Sequential | None
    options: tuple[ScaleOption, ...]
    outlook: Outlook | None

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain data."""
        return {
            "status": self.status, "reason": self.reason, "form": self.form,
            "threshold_upper": self.threshold_upper, "formula_scale": self.formula_scale,
            "smallest_scale": self.smallest_scale, "scale": self.scale,
            "target_rounding_upper": self.target_rounding_upper,
            "halving_steps": None if self.certificate is None else self.certificate.halving_steps,
            "options": [vars(option) for option in self.options],
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "outlook": None if self.outlook is None else vars(self.outlook),
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of every line, without the price."""
        threshold = f"{self.threshold_upper:.6g} (|y| / int s; any larger scale, strictly)"
        lines = [
            ("status", self.status),
            ("reason", self.reason),
            ("form", _FORMULAS[self.form]),
            ("threshold", threshold),
            ("formula", f"{self.formula_scale:.6g} (2 beta |y| / sigma_0^2)"),
        ]
        if self.smallest_scale is not None and self.smallest_certificate is not None:
            halving = self.smallest_certificate.halving_steps or float("inf")
            text = f"{self.smallest_scale:.9g} (certified; halving steps {halving:,.0f})"
            lines.append(("smallest scale", text))
            lines.append(("recommended scale", f"{self.scale:.9g}"))
        if self.scale is not None:
            lines.append(("price", LAZY))
        if self.form == "offset" and self.scale is not None:
            text = (
                "y + c F(w0), rounded to float64: off by at most "
                f"{self.target_rounding_upper:.3g} in norm; predictions subtract c F(w0)"
            )
            lines.append(("targets", text))
        return lines

    def grids(self) -> tuple[Grid, ...]:
        """What other scales would buy, as a table."""
        rows = [
            (f"{option.scale:.4g}", f"{option.step_size:.3e}", f"{option.halving_steps:,.0f}",
             f"{option.radius:.3g}")
            for option in self.options
        ]  # fmt: skip
        columns = ("scale", "step size", "certified halving", "radius")
        return (Grid(columns, rows, "What other scales buy (T8)", frozenset(range(4))),)

    def _sheet(self) -> Sheet:
        rows = self.rows() + price_rows(self.certificate, self.outlook)
        return Sheet.of_status("the output scale", self.status, rows, *self.grids())


def output_scale(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    form: str = "offset",
    headroom: float = HEADROOM,
    loss: str = "mse",
    held_out: tuple[Tensor, Tensor] | None = None,
    descent_steps: int = DEFAULT_STEPS,
    progress: Progress | None = None,
) -> ScaledOutput:
    """Find the smallest c for which gradient descent on the scaled model provably converges.

        c > |y| / max_R int_0^R s        (T8; 2 beta |y| / sigma_0^2 for a constant beta)

    from the rigorous profile of the model at its weights, then `talweg.certify` on the model that
    is actually scaled. The price is the lazy regime: the larger c, the less the weights move; the
    result shows certified halving steps and held-out error.

    Offset form: the network c (F(w) - F(w0)) on targets y is c F(w) on targets y + c F(w0): the
    residuals and gradients are the same. The shifted targets are rounded to float64, and the proof
    is about the rounded ones; `target_rounding_upper` bounds the difference. Predicting on new
    inputs subtracts ``offset(X)``.

    Source: theory T8, P5.

    Args:
        model: A chain at its initial weights; left alone.
        data: ``(X, y)``.
        form: "offset", or "antisymmetric" for c times `antisymmetric_twin`.
        headroom: Recommended scale over the smallest, >= 1. Default 1.25.
        loss: "mse", "sse" or "half_sse".
        held_out: Rows to measure the held-out error on.
        descent_steps: Steps of the measured gradient descent.
        progress: Called with a short text when a stage begins.

    Returns:
        The scaled model with its certificate, or why there is none.

    Raises:
        InputError: An argument is malformed.
        UnsupportedModelError: The model cannot be read, or has no twin that is a chain.
    """
    call = "output_scale"
    X, y = checked_pair(data, "data", call)
    if held_out is not None:
        held_out = checked_pair(held_out, "held_out", call)
    if form not in FORMS:
        raise InputError(
            f"`form` of {call}() must be one of {', '.join(FORMS)}; got {form!r}. 'offset' works "
            "for every readable model."
        )
    if not (isinstance(headroom, int | float) and 1.0 <= headroom < math.inf):
        raise InputError(
            f"`headroom` of {call}() must be a number >= 1; got {headroom!r}. It multiplies the "
            "smallest scale."
        )
    say = progress if progress is not None else _silent
    say("bounds at c = 1")
    base = copy.deepcopy(model).double() if form == "offset" else antisymmetric_twin(model, X)
    exact_y = y.detach().to(torch.float64)
    bounds = weight_bounds(base, X, exact_y)
    squared = squared_loss(loss, exact_y.numel(), call)
    profile = bounds.profile()
    size = _target_norm_upper(bounds)
    threshold = output_scale_threshold_upper(size, profile)
    family = _Family(base, bounds, X, exact_y, form, loss)
    formula = formula_scale(bounds, size)
    options = _options(size, profile, bounds.jacobian_norm_upper, squared, threshold)
    if not threshold < math.inf:
        reason = (
            "no scale is known to do: the smallest singular value of the Jacobian at these "
            "weights was not shown to be positive. Use a wider model or other initial weights."
        )
        return ScaledOutput(
            "UNDECIDED", reason, form, threshold, formula, None, None, None, None, None, None, 0.0,
            None, options, None,
        )  # fmt: skip
    smallest, first = family.smallest(threshold, say)
    if smallest is None:
        return ScaledOutput(
            "UNDECIDED", first.reason, form, threshold, formula, None, None, None, None, None,
            None, 0.0, None, options, None,
        )  # fmt: skip
    scale = smallest * headroom
    certificate = first if headroom == 1.0 else family.certified(scale, say)
    scaled, targets = family.at(scale)
    say("measuring gradient descent")
    offset = copy.deepcopy(scaled).requires_grad_(False) if form == "offset" else None
    outlook = outlook_approx(
        scaled, (X, targets), certificate.step_size, loss=loss, held_out=held_out,
        held_out_offset=_offset_on(offset, held_out), steps=descent_steps,
    )  # fmt: skip
    return ScaledOutput(
        certificate.status, certificate.reason, form, threshold, formula, smallest, first, scale,
        certificate, scaled, targets, family.rounding_upper(scale), offset, options, outlook,
    )  # fmt: skip


def formula_scale(bounds: WeightBounds, target_norm: float) -> float:
    """The explicit scale ``2 beta |y| / sigma_0^2``, beta valid on all of B(w0, sigma_0 / beta).

    Args:
        bounds: At the initial weights, c = 1.
        target_norm: ``|y|`` from above.

    Returns:
        A float rounded up; inf where sigma_0 was not shown to be positive.
    """
    sigma = bounds.sigma_min_lower
    beta = bounds.lipschitz.upper(0.0)
    if not (sigma > 0.0 and beta < math.inf):
        return math.inf
    beta = bounds.lipschitz.upper(sigma / beta) if beta > 0.0 else bounds.lipschitz.upper(1.0)
    if not beta < math.inf:
        return math.inf
    product = 2.0 * Interval.point(beta) * target_norm
    return (product / Interval.point(sigma).square()).hi


class _Family:
    """The scaled models ``c F`` of one base model, with the targets each is trained on."""

    def __init__(
        self, base: nn.Module, bounds: WeightBounds, X: Tensor, y: Tensor, form: str, loss: str
    ) -> None:
        self._base, self._bounds, self._X, self._y = base, bounds, X, y
        self._form, self._loss = form, loss
        # On the distinct rows: in a batch, equal rows may come out an ulp apart.
        self._start = evaluate_approx(bounds.network, bounds.rows.inputs).detach()

    def at(self, scale: float) -> tuple[nn.Sequential, Tensor]:
        """The model scaled by c, and its targets."""
        scaled = nn.Sequential(copy.deepcopy(self._base), Scale(scale))
        if self._form == "antisymmetric":
            return scaled, self._y.clone()
        return scaled, self._shifted(scale)[self._bounds.rows.inverse].reshape(self._y.shape)

    def _shifted(self, scale: float) -> Tensor:
        """Targets of the distinct rows for the offset form."""
        targets = self._bounds.rows.targets
        return targets + scale * self._start.reshape(targets.shape)

    def certified(self, scale: float, say: Progress) -> Certificate:
        say(f"certify at c = {scale:.6g}")
        model, targets = self.at(scale)
        return certify(model, (self._X, targets), loss=self._loss, attack=False)  # type: ignore[arg-type]

    def smallest(self, threshold: float, say: Progress) -> tuple[float | None, Certificate]:
        """The smallest scale tried that is certified: upward in growing strides, then bisected."""
        failed, stride = max(threshold, SCALE_FLOOR), FIRST_STRIDE
        scale = failed * (1.0 + stride)
        answer = self.certified(scale, say)
        tries = 0
        while answer.status != "PROVED":
            tries += 1
            if tries > MAX_STRIDES:
                return None, answer
            failed, stride = scale, 2.0 * stride
            scale *= 1.0 + stride
            answer = self.certified(scale, say)
        while scale > failed * (1.0 + 4.0 * FIRST_STRIDE):
            middle = 0.5 * (scale + failed)
            trial = self.certified(middle, say)
            if trial.status == "PROVED":
                scale, answer = middle, trial
            else:
                failed = middle
        return scale, answer

    def rounding_upper(self, scale: float) -> float:
        """``|targets - (y + c F(w0))|`` over the distinct rows and their multiplicities."""
        if self._form == "antisymmetric":
            return 0.0
        state, rows = self._bounds.state, self._bounds.rows
        shifted = Ball.exact(rows.targets) + state.outputs * scale
        difference = (shifted - Ball.exact(self._shifted(scale))) * state.root.reshape(-1, 1)
        return float(norm_upper(difference.magnitude_upper()))


def _target_norm_upper(bounds: WeightBounds) -> float:
    """``|y|`` over all rows, rounded up."""
    rows = bounds.rows
    scaled = Ball.exact(rows.targets) * bounds.state.root.reshape(-1, 1)
    return float(norm_upper(scaled.magnitude_upper()))


def _options(
    size: float, profile: SingularValueProfile, norm: float, loss: SquaredLoss, threshold: float
) -> tuple[ScaleOption, ...]:
    found = []
    for headroom in SHOWN_HEADROOMS:
        scale = headroom * threshold
        if not 0.0 < scale < math.inf:
            continue
        verdict = scaled_output_converges(size, profile, norm, scale=scale, loss=loss)
        if verdict.conclusion is not None:
            c = verdict.conclusion.convergence
            found.append(
                ScaleOption(headroom, scale, c.step_size, c.halving_steps_upper, c.radius_upper)
            )
    return tuple(found)


def _offset_on(
    offset: nn.Sequential | None, held_out: tuple[Tensor, Tensor] | None
) -> Tensor | None:
    if offset is None or held_out is None:
        return None
    with torch.no_grad():
        try:
            outputs: Tensor = offset(held_out[0].detach().double())
        except RuntimeError as error:
            raise InputError(
                f"`held_out` must hold inputs that the model takes; its call failed with: {error}. "
                "Pass rows like those trained on."
            ) from None
    return outputs


def _silent(_: str) -> None:
    return None
