"""The largest certified step size at given weights, beside what floats estimate (theory P5).

T11 allows 1 / sup |J|^2 (on 1/2 |r|^2) under the criterion of the flow. T4 allows 2 eps / M, M near
|J|^2 when the residual is small, if (1 - eps) int_0^R s > |r_0|: where the criterion holds with
room, its step approaches 2 / |J|^2, twice as long, at a smaller certified rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import jvp, vjp

from talweg._display import Sheet, Shown
from talweg.certificate import Certificate, certify
from talweg.network import FlatFunction
from talweg.prescribe._outlook import (
    DEFAULT_STEPS,
    Outlook,
    outlook_approx,
    price_rows,
    shown,
)
from talweg.prescribe._weight_bounds import (
    WeightBounds,
    checked_pair,
    squared_loss,
    weight_bounds,
)
from talweg.theory import (
    DescentConvergence,
    SingularValueProfile,
    SquaredLoss,
    Verdict,
    composite_loss_converges,
    singular_value_profile,
)

Progress = Callable[[str], None]

EPSILONS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Shares of the descent given up to the step that T4 is tried with."""


@dataclass(frozen=True, eq=False, repr=False)
class CertifiedStep(Shown):
    """The answer of `certified_step`.

    Attributes:
        status: "PROVED" where a step is certified, else "UNDECIDED".
        reason: One sentence.
        step_size: The largest certified ``lr`` of plain full-batch SGD; None without one.
        theorem: Which theorem carries it, "T11" or "T4".
        halving_steps: So many steps at it surely halve the loss.
        best_rate_step: The step with the fewest certified halving steps (T11's).
        best_rate_halving_steps: Its certified halving steps.
        certificate: Of T11, which can be saved.
        general: T4's verdict at its largest step; None where it was not shown.
        stability_limit_approx: 2 / (largest eigenvalue of the Hessian at w0), a float estimate;
            beyond it gradient descent leaves even a quadratic.
        gauss_newton_limit_approx: 2 / (largest eigenvalue of J^T J, scaled as the loss), likewise.
        outlook: Measured gradient descent at `step_size`.
    """

    status: str
    reason: str
    step_size: float | None
    theorem: str | None
    halving_steps: float | None
    best_rate_step: float | None
    best_rate_halving_steps: float | None
    certificate: Certificate
    general: Verdict[DescentConvergence] | None
    stability_limit_approx: float | None
    gauss_newton_limit_approx: float | None
    outlook: Outlook | None

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain data."""
        return {
            "status": self.status, "reason": self.reason, "step_size": self.step_size,
            "theorem": self.theorem, "halving_steps": self.halving_steps,
            "best_rate_step": self.best_rate_step,
            "best_rate_halving_steps": self.best_rate_halving_steps,
            "stability_limit_approx": self.stability_limit_approx,
            "gauss_newton_limit_approx": self.gauss_newton_limit_approx,
            "certificate": self.certificate.to_dict(),
            "outlook": None if self.outlook is None else vars(self.outlook),
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of every line, without the price."""
        lines = [("status", self.status), ("reason", self.reason)]
        if self.step_size is None and self.certificate.advice is not None:
            lines.append(("what to do", self.certificate.advice))
        if self.step_size is not None:
            halving = f"halving steps {self.halving_steps:,.0f}"
            lines.append(("largest step", f"{self.step_size:.9g} ({self.theorem}), {halving}"))
        if self.best_rate_step is not None:
            halving = f"halving steps {self.best_rate_halving_steps:,.0f}"
            lines.append(("fastest certified", f"{self.best_rate_step:.9g} (T11), {halving}"))
        sharpness, squared = self.stability_limit_approx, self.gauss_newton_limit_approx
        lines.append(("2 / sharpness", shown(sharpness, ".6g") + " (float estimate)"))
        lines.append(("2 / |J|^2", shown(squared, ".6g") + " (float estimate)"))
        return lines

    def _sheet(self) -> Sheet:
        rows = self.rows() + price_rows(self.certificate, self.outlook)
        return Sheet.of_status("the largest certified step", self.status, rows)


def certified_step(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    loss: str = "mse",
    held_out: tuple[Tensor, Tensor] | None = None,
    descent_steps: int = DEFAULT_STEPS,
    progress: Progress | None = None,
) -> CertifiedStep:
    """Find the largest step size that T11 or T4 certifies for the weights as given.

        T11: eta <= 1 / sup |J|^2,      T4: eta <= 2 eps / (sup |J|^2 + |r_0| beta), eps < 1,

    each on its own ball, for 1/2 |r|^2; other scalings divide by their curvature. The largest step
    need not be the fastest certified one: T4's rate goes with eps (1 - eps).

    Source: theory T11, T4, P5.

    Args:
        model: A chain; left alone.
        data: ``(X, y)``.
        loss: "mse", "sse" or "half_sse": what the step speaks of.
        held_out: Rows to measure the held-out error on.
        descent_steps: Steps of the measured gradient descent.
        progress: Called with a short text when a stage begins.

    Returns:
        The step, its certificate, and float estimates of the stability limit.

    Raises:
        InputError: An argument is malformed.
        UnsupportedModelError: The model cannot be read.
    """
    call = "certified_step"
    X, y = checked_pair(data, "data", call)
    if held_out is not None:
        held_out = checked_pair(held_out, "held_out", call)
    squared = squared_loss(loss, y.numel(), call)
    say = progress if progress is not None else _silent
    say("certify by T11")
    certificate = certify(model, (X, y), loss=loss, attack=False)  # type: ignore[arg-type]
    if certificate.residual_norm is None:  # nothing was computed: refuted, or too few parameters
        return CertifiedStep(
            certificate.status, certificate.reason, None, None, None, None, None, certificate,
            None, None, None, None,
        )  # fmt: skip
    say("step sizes of T4")
    bounds = weight_bounds(model, X, y)
    general = _largest_general(bounds, squared)
    say("estimating the stability limit")
    sharpness, gauss_newton = _limits_approx(bounds, squared)
    step, theorem, halving = certificate.step_size, "T11", certificate.halving_steps
    if certificate.status != "PROVED":
        step = theorem = halving = None  # type: ignore[assignment]
    if general is not None and general.conclusion is not None:
        c = general.conclusion
        if step is None or c.step_size > step:
            step, theorem, halving = c.step_size, "T4", c.halving_steps_upper
    outlook = None
    if step is not None:
        say("measuring gradient descent")
        outlook = outlook_approx(
            model, (X, y), step, loss=loss, held_out=held_out, steps=descent_steps
        )
    return CertifiedStep(
        "UNDECIDED" if step is None else "PROVED",
        certificate.reason if step is None else f"every hypothesis of {theorem} was shown",
        step, theorem, halving, certificate.step_size, certificate.halving_steps, certificate,
        general, sharpness, gauss_newton, outlook,
    )  # fmt: skip


def _largest_general(bounds: WeightBounds, loss: SquaredLoss) -> Verdict[DescentConvergence] | None:
    """T4 with the epsilon of the largest step, on the profile up to just beyond its own radius."""
    best: Verdict[DescentConvergence] | None = None
    sigma, r0 = bounds.sigma_min_lower, bounds.residual_norm_upper
    if not sigma > 0.0:
        return None
    for epsilon in EPSILONS:
        profile = _profile_for(bounds, r0 / (1.0 - epsilon))
        if profile is None:
            break  # the criterion only gets harder
        verdict = composite_loss_converges(
            loss.loss_upper(r0), profile, profile.jacobian_norm(bounds.jacobian_norm_upper),
            profile.lipschitz, pl_lower=loss.pl_lower, smoothness_upper=loss.smoothness_upper,
            epsilon=epsilon,
        )  # fmt: skip
        c = verdict.conclusion
        if c is None or not math.isfinite(c.halving_steps_upper):
            continue
        if bounds.lipschitz.nonideal_path(profile.lipschitz.radii[-1]) is not None:
            continue  # a softplus may leave its ideal function somewhere on this ball
        if best is None or best.conclusion is None or c.step_size > best.conclusion.step_size:
            best = verdict
    return best


def _profile_for(bounds: WeightBounds, need: float) -> SingularValueProfile | None:
    """A profile whose integral reaches the need on a ball hardly larger than necessary."""
    sigma, beta = bounds.sigma_min_lower, bounds.lipschitz.upper(0.0)
    for _ in range(4):
        room = sigma * sigma - 2.0 * beta * need
        if not room > 0.0:
            break
        radius = max(1.01 * 2.0 * need / (sigma + math.sqrt(room)), 1e-150)
        grown = bounds.lipschitz.upper(radius)
        profile = singular_value_profile(sigma, [(radius, grown)])
        if profile.integral_lower(profile.radius) > need:
            return profile
        beta = grown
    profile = bounds.profile()
    return profile if profile.integral_lower(profile.radius) > need else None


def _limits_approx(bounds: WeightBounds, loss: SquaredLoss) -> tuple[float | None, float | None]:
    """2 / lambda_max of the loss's Hessian, and of its Gauss-Newton part: Lanczos in floats."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    rows = bounds.rows
    root = rows.multiplicity.to(torch.float64).sqrt()
    function = FlatFunction(bounds.network, rows.inputs, root)
    w = function.start
    target = rows.targets.to(torch.float64) * root.reshape(-1, 1)
    p = w.numel()
    scale = loss.curvature.mid

    def gradient(v: Tensor) -> Tensor:
        outputs, pullback = vjp(function, v)[:2]
        pulled: Tensor = pullback(outputs - target)[0]
        return pulled

    def hessian(x: Any) -> Any:
        v = torch.as_tensor(np.asarray(x, dtype=np.float64).reshape(p))
        return jvp(gradient, (w,), (v,))[1].detach().numpy()

    def gauss_newton(x: Any) -> Any:
        v = torch.as_tensor(np.asarray(x, dtype=np.float64).reshape(p))
        forward = jvp(function, (w,), (v,))[1]
        return vjp(function, w)[1](forward)[0].detach().numpy()

    start = np.random.default_rng(0).standard_normal(p)
    found: list[float | None] = []
    for apply in (hessian, gauss_newton):
        if p < 3:
            dense = np.stack([apply(e) for e in np.eye(p)])
            largest = float(np.linalg.eigvalsh(0.5 * (dense + dense.T))[-1])
        else:
            operator = LinearOperator((p, p), matvec=apply, dtype=np.float64)
            try:
                values = eigsh(
                    operator, k=1, which="LA", v0=start, tol=1e-4, return_eigenvectors=False
                )
            except ArpackError:  # Lanczos did not converge
                found.append(None)
                continue
            largest = float(values[0])
        found.append(2.0 / (scale * largest) if largest > 0.0 else None)
    return found[0], found[1]


def _silent(_: str) -> None:
    return None
