"""Gradient descent on two-layer linear networks with untuned steps, each certified as it is taken.

Every step is checked after the fact, in enclosures and on the float64 weights as they are: the
decrease, the gap above the infimum, and the contraction that follows from the two. So nothing is
claimed about real arithmetic, and rounding needs no separate treatment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, get_args

import torch
from torch import Tensor

from talweg._display import Sheet, Shown
from talweg._errors import InputError
from talweg.enclosure import Ball, Interval, norm_upper
from talweg.optim._linear_model_gap import gap_upper
from talweg.optim._linear_model_loss import LinearModelLoss, StepLine
from talweg.optim._linear_network_enclosures import (
    Enclosed,
    decrease_lower,
    enclosed_point,
    linear_network_bounds,
)
from talweg.optim._linear_network_steps import RuleState, Situation, StepRule, candidates
from talweg.theory import linear_network_is_locally_pl, observed_step_contracts

DESCENT = 1e-3
"""A step is tried only if it gains this share of eta |grad f|^2 (Armijo's constant)."""


@dataclass(frozen=True, slots=True, repr=False)
class LinearStepCertificate(Shown):
    """What is proved of one step from the float64 weights before it to those after it.

    Attributes:
        step_size: eta.
        decrease_lower: f(w) - f(w+) >= this; not positive where nothing was shown (rounding).
        gap_upper: f(w) - l* <= this.
        local_pl_lower: mu_t of D1 at w; 0 where no factor has full rank.
        gradient_square_upper: |grad f(w)|^2 <= this.
        descent_constant_lower: c with f(w) - f(w+) >= c |grad f| |w+ - w| (T12's condition); -inf
            where no decrease was shown.
        path_upper: |w+ - w| <= this.
        contraction_upper: f(w+) - l* <= this (f(w) - l*), from the decrease and the gap; at most
            1 where the decrease is certified, inf elsewhere.
        pl_contraction_upper: the same from mu_t alone, 1 - 2 mu_t decrease / |grad f|^2.
    """

    step_size: float
    decrease_lower: float
    gap_upper: float
    local_pl_lower: float
    gradient_square_upper: float
    descent_constant_lower: float
    path_upper: float
    contraction_upper: float
    pl_contraction_upper: float

    def _sheet(self) -> Sheet:
        rows = [(f.name, f"{getattr(self, f.name):.6g}") for f in fields(self)]
        return Sheet("certificate of one step of a linear network", rows)


class LinearNetworkGD(torch.optim.Optimizer):
    """Gradient descent on l(W1 W2) with a step that needs no tuning.

    The gradient comes from the loss object, so no backward pass is needed and ``.grad`` is left
    alone; the step taken stands in ``param_groups[0]["lr"]``.

    Source: D2 (guarantee), Dai and Yuan's alternation of exact and Yuan steps (default rule);
    docs/theory/D2.md.

    Args:
        factors: W1 (d, h) and W2 (h, m), float64 leaf tensors on the CPU.
        loss: l.
        rule: see `talweg.optim._linear_network_steps`; "dai_yuan" was best on the suite in
            benchmarks/linear_network_steps.py.
        certify: enclose each step (some milliseconds); otherwise steps are only checked in
            floating point, and `certificates` stays empty.
        transposed: the tensors are the weights of `torch.nn.Linear` layers, which hold W1^T, W2^T.

    Attributes:
        certificates: one `LinearStepCertificate` per step.

    Raises:
        InputError: dtypes, shapes or an unknown rule; a loss without positive PL constant; in
            `step`, weights so large or so small that no candidate step stays in float64. The
            weights then stay as they were.
    """

    def __init__(
        self,
        factors: tuple[Tensor, Tensor],
        loss: LinearModelLoss,
        *,
        rule: StepRule = "dai_yuan",
        certify: bool = True,
        transposed: bool = False,
    ) -> None:
        first, second = _checked(factors, loss, rule, transposed)
        super().__init__([first, second], {"lr": math.nan})
        self.certificates: list[LinearStepCertificate] = []
        self._loss, self._rule, self._certify = loss, rule, certify
        self._transposed = transposed
        constants = loss.constants.conclusion
        if constants is None:
            raise InputError(
                "`loss` of LinearNetworkGD() must have a positive PL constant as a function of W; "
                f"got none ({loss.constants.reason}) Add a ridge, or drop dependent inputs."
            )
        self._constants = constants
        self._memory = RuleState()
        self._last_gradient: tuple[Tensor, Tensor] | None = None
        self._point: Enclosed | None = None
        self._gap = math.inf
        self._total = 1.0

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """W1 and W2 as matrices to multiply in this order."""
        first, second = self.param_groups[0]["params"]
        return (first.T, second.T) if self._transposed else (first, second)

    @property
    def certified_contraction_upper(self) -> float:
        """Upper bound of (f(w_k) - l*) / (f(w_0) - l*) over all steps so far (T12).

        w_0 are the weights before the first step, w_k the present ones. It is inf, and stays so,
        once a step was not certified or something other than `step` has moved the weights; the
        single certificates keep their meaning.
        """
        if self._last_gradient is None:
            return 1.0  # k = 0
        point = self._point
        if point is None or not _same(point, self.factors):
            return math.inf
        return self._total

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: evaluated with gradients enabled and its value returned, as torch does; the
                step itself does not need it.

        Returns:
            The closure's value, or the loss before the step as a float.
        """
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        first, second = (t.detach() for t in self.factors)
        product = first @ second
        gradient = self._loss.gradient(product)
        g1, g2 = gradient @ second.T, first.T @ gradient
        line = StepLine(self._loss, product, g1 @ second + first @ g2, g1 @ g2, gradient)
        square = line.gradient_square
        if not math.isfinite(square) or not math.isfinite(line.start):
            raise _out_of_range(f"the loss {line.start!r} and |grad f|^2 = {square!r}")
        if square > 0.0:
            at = self._situation(line, first, second, gradient, (g1, g2))
            start = (first.clone(), second.clone())
            try:
                eta = self._take(at, (g1, g2), start)
            except BaseException:
                for target, w in zip(self.factors, start, strict=True):
                    target.copy_(w)
                raise
            state = self._memory
            state.count, state.step, state.gradient_square = state.count + 1, eta, square
            self._last_gradient = (g1, g2)
            self.param_groups[0]["lr"] = eta
        return line.start if value is None else value

    def _situation(
        self, line: StepLine, first: Tensor, second: Tensor, gradient: Tensor,
        factors: tuple[Tensor, Tensor],
    ) -> Situation:  # fmt: skip
        at = Situation(
            line,
            self._constants.curvature_upper,
            self._constants.smoothness_upper,
            (first, second),
            float(gradient.norm()),
        )
        if self._last_gradient is not None:
            change = [g - p for g, p in zip(factors, self._last_gradient, strict=True)]
            dot = sum(
                float((p * y).sum()) for p, y in zip(self._last_gradient, change, strict=True)
            )
            at.displacement_dot_change = -self._memory.step * dot
            at.change_square = sum(float(y.square().sum()) for y in change)
        return at

    def _take(
        self, at: Situation, gradients: tuple[Tensor, Tensor], start: tuple[Tensor, Tensor]
    ) -> float:
        """Try the rule's candidates in turn; keep the first whose gain is shown."""
        options = candidates(self._rule, at, self._memory)
        floor = 1e-14 * abs(at.line.start)  # below it a change of the float loss says nothing
        known, gap = self._point, self._gap
        first_step = known is None
        continued = known is not None and _same(known, start)
        if not continued:  # the first step, or the user moved the weights
            known, gap = None, math.inf
        for number, option in enumerate(options):
            eta = option()
            last = number == len(options) - 1
            if not 0.0 < eta < math.inf:
                continue
            gain = -at.line.change(eta)
            required = DESCENT * eta * at.line.gradient_square - floor
            # written so that NaN is refused; the last step needs no more than a finite gain
            if not math.isfinite(gain) or not (last or gain >= required):
                continue
            moved = [w - eta * g for w, g in zip(start, gradients, strict=True)]
            if not all(bool(w.isfinite().all()) for w in moved):
                continue
            for target, w in zip(self.factors, moved, strict=True):
                target.copy_(w)
            if not self._certify:
                return eta
            known = known or enclosed_point(at.line.loss, *start)
            certificate, after = self._certificate(at.line.loss, eta, known, gap)
            if last or certificate.decrease_lower > 0.0:
                factor = certificate.contraction_upper
                unbroken = (continued or first_step) and max(self._total, factor) < math.inf
                self._total = (
                    (Interval.point(self._total) * Interval.point(factor)).hi
                    if unbroken
                    else math.inf
                )
                self.certificates.append(certificate)
                self._point = after
                self._gap = (
                    Interval.point(certificate.gap_upper) - certificate.decrease_lower
                ).hi if certificate.decrease_lower > 0.0 else math.inf  # fmt: skip
                return eta
        raise _out_of_range(f"none of {len(options)} candidate steps with a finite loss after it")

    def _certificate(
        self, loss: LinearModelLoss, eta: float, before: Enclosed, known_gap: float
    ) -> tuple[LinearStepCertificate, Enclosed]:
        """What the step from `before` to the present weights is sure to have gained.

        Args:
            loss: l.
            eta: the step.
            before: the point before it.
            known_gap: bounds f - l* at `before` from the steps that led there; inf if unknown.
        """
        after = enclosed_point(loss, *self.factors)
        decrease = decrease_lower(loss, before, after)
        mu = self._constants.pl_lower
        gap = min(known_gap, gap_upper(loss, before.outputs, before.gradient, self._constants))
        square = before.gradient_square.hi
        moved = [
            Interval.point(float(norm))
            for norm in (
                _distance_upper(after.first, before.first),
                _distance_upper(after.second, before.second),
            )
        ]
        path = (moved[0].square() + moved[1].square()).sqrt().hi
        local = linear_network_is_locally_pl(
            linear_network_bounds(before.first, before.second, tight_norms=False), pl_lower=mu
        ).conclusion
        mu_t = 0.0 if local is None else local.pl_lower
        descent, contraction, pl_contraction = -math.inf, math.inf, math.inf
        if decrease >= 0.0:
            observed = observed_step_contracts(decrease, gap).conclusion
            # neither bound exceeds 1, since f(w+) <= f(w)
            contraction = 1.0 if observed is None else min(observed.contraction_upper, 1.0)
            gain = Interval.point(decrease)
            reach = (Interval.point(square).sqrt() * Interval.point(path)).hi
            # a step of length 0 meets the condition with any c
            descent = max((gain / Interval.point(reach)).lo, 0.0)
            steepness = 2.0 * Interval.point(mu_t) * gain / Interval.point(square)
            kept = (1.0 - Interval.point(min(max(steepness.lo, 0.0), 1.0))).hi
            pl_contraction = min(kept, 1.0)
        return LinearStepCertificate(
            step_size=eta,
            decrease_lower=decrease,
            gap_upper=gap,
            local_pl_lower=mu_t,
            gradient_square_upper=square,
            descent_constant_lower=descent,
            path_upper=path,
            contraction_upper=contraction,
            pl_contraction_upper=pl_contraction,
        ), after


def _same(point: Enclosed, factors: tuple[Tensor, Tensor]) -> bool:
    """Whether the factors are the weights of the point, number for number."""
    pairs = zip((point.first, point.second), factors, strict=True)
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def _distance_upper(a: Tensor, b: Tensor) -> float:
    return float(norm_upper((Ball.exact(a) - Ball.exact(b)).magnitude_upper()))


def _checked(
    factors: tuple[Tensor, Tensor], loss: LinearModelLoss, rule: str, transposed: bool
) -> tuple[Tensor, Tensor]:
    first, second = factors
    for t in (first, second):
        if not isinstance(t, Tensor) or t.ndim != 2 or t.dtype != torch.float64:
            came = f"{t.dtype} {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
            raise _refusal("factors", "two float64 matrices W1 and W2", came)
    w1, w2 = (first.T, second.T) if transposed else (first, second)
    expected = (loss.inputs.shape[1], w1.shape[1], loss.targets.shape[1])
    if w1.shape != (expected[0], expected[1]) or w2.shape != (expected[1], expected[2]):
        raise _refusal(
            "factors", f"of shapes ({expected[0]}, h) and (h, {expected[2]})",
            f"{tuple(w1.shape)} and {tuple(w2.shape)}",
        )  # fmt: skip
    if rule not in get_args(StepRule):
        raise _refusal("rule", "one of " + ", ".join(get_args(StepRule)), rule)
    return first, second


def _refusal(name: str, requirement: str, got: object) -> InputError:
    return InputError(
        f"`{name}` of LinearNetworkGD() must be {requirement}; got {got}. "
        "Pass (W1, W2) with W = W1 W2, or transposed=True for the weights of nn.Linear layers."
    )


def _out_of_range(got: str) -> InputError:
    return InputError(
        "`factors` of LinearNetworkGD.step() must have a loss, a gradient and a step within the "
        f"range of float64; got {got}. Rescale the weights or the data; the weights were kept."
    )
