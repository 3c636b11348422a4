"""Losses of a linear model as objects: value, gradient, and the loss along a step (D4).

    l(W) = weight * sum_i phi(x_i^T W; y_i) + (ridge / 2) |W|^2,     X n x d, W d x m.

Along a gradient step of a two-layer network the product is W - eta A + eta^2 B, so the outputs are
Z - eta XA + eta^2 XB: with XA and XB at hand the loss at any eta costs no product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import Ball, Interval, gram
from talweg.theory import LinearLossKind, OutputLossConstants, Verdict, linear_model_loss_is_pl
from talweg.verified import smallest_eigenvalue_lower, spectral_norm_upper


@dataclass(frozen=True, eq=False)
class LinearModelLoss:
    """A squared, Huber, logistic or cross-entropy loss of the linear model X W.

    Args:
        inputs: X, (n, d), float64.
        targets: Y, (n, m), float64: any numbers (squared, huber), +-1 (logistic), or rows in the
            simplex (cross_entropy; smooth the labels beforehand if you wish).
        kind: "squared", "huber" (threshold 1), "logistic" or "cross_entropy".
        ridge: >= 0; D4 needs it positive for all kinds but the squared one.
        weight: > 0, 1/n for the mean over samples. Floats are taken as exact.

    The inputs and targets are copied, so what is proved of the loss does not change with the
    caller's tensors.

    Raises:
        InputError: another dtype, shapes that do not fit, entries that are not finite, an unknown
            kind, targets outside the kind's range, negative ridge, weight not positive.
    """

    inputs: Tensor
    targets: Tensor
    kind: LinearLossKind = "squared"
    ridge: float = 0.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            t = getattr(self, name)
            if (
                not isinstance(t, Tensor)
                or t.dtype != torch.float64
                or t.ndim != 2
                or not t.numel()
            ):
                came = f"{t.dtype} {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
                raise _refusal(name, "a float64 matrix with at least one entry", came)
            if not bool(t.isfinite().all()):
                raise _refusal(name, "finite", "an infinity or NaN")
            own = t.detach().clone(memory_format=torch.contiguous_format)
            object.__setattr__(self, name, own)
        if len(self.inputs) != len(self.targets):
            raise _refusal("targets", f"a matrix of {len(self.inputs)} rows", len(self.targets))
        if self.kind not in get_args(LinearLossKind):
            raise _refusal("kind", "one of " + ", ".join(get_args(LinearLossKind)), self.kind)
        for name in ("ridge", "weight"):
            x = getattr(self, name)
            if isinstance(x, bool) or not isinstance(x, (int, float)):
                raise _refusal(name, "a float", type(x).__name__)
        if not 0.0 <= self.ridge < float("inf"):
            raise _refusal("ridge", "a finite number >= 0", self.ridge)
        if not 0.0 < self.weight < float("inf"):
            raise _refusal("weight", "a finite number > 0", self.weight)
        if self.kind == "logistic" and not bool((self.targets.abs() == 1.0).all()):
            raise _refusal("targets", "+1 or -1 for the logistic loss", "other entries")
        if self.kind == "cross_entropy":
            sums = self.targets.sum(1)
            if not bool((self.targets >= 0.0).all() & ((sums - 1.0).abs() < 1e-12).all()):
                raise _refusal("targets", "rows in the simplex for cross_entropy", "other rows")

    def outputs(self, product: Tensor) -> Tensor:
        """Z = X W, (n, m)."""
        return self.inputs @ product

    def value(self, product: Tensor) -> float:
        """l(W), in floating point."""
        return self.value_of(self.outputs(product), product)

    def value_of(self, outputs: Tensor, product: Tensor) -> float:
        """l(W) from Z = X W and W, in floating point."""
        penalty = 0.5 * self.ridge * float(product.detach().square().sum())
        return self.weight * float(self._phi(outputs.detach())) + penalty

    def gradient(self, product: Tensor) -> Tensor:
        """G = grad l(W), (d, m), in floating point."""
        return self.inputs.T @ self.output_gradient(self.outputs(product)) + self.ridge * product

    def output_gradient(self, outputs: Tensor) -> Tensor:
        """weight times grad phi at Z, (n, m), in floating point."""
        y = self.targets
        if self.kind == "squared":
            slope = outputs - y
        elif self.kind == "huber":
            slope = (outputs - y).clamp(-1.0, 1.0)
        elif self.kind == "logistic":
            slope = -y * torch.sigmoid(-y * outputs)
        else:
            slope = torch.softmax(outputs, 1) - y
        return self.weight * slope

    @cached_property
    def constants(self) -> Verdict[OutputLossConstants]:
        """mu, K of l as a function of W (D4), from verified bounds of the singular values of X."""
        x = self.inputs
        tall = len(x) >= x.shape[1]
        sigma = 0.0
        if self.kind == "squared":
            lower = smallest_eigenvalue_lower(gram(Ball.exact(x.T if tall else x)))
            sigma = max(Interval.point(max(lower, 0.0)).sqrt().lo, 0.0)
        return linear_model_loss_is_pl(
            self.kind,
            float(spectral_norm_upper(x)),
            data_sigma_lower=sigma,
            full_column_rank=tall,
            ridge=float(self.ridge),
            weight=float(self.weight),
        )

    def _phi(self, z: Tensor) -> Tensor:
        y = self.targets
        if self.kind == "squared":
            return 0.5 * (z - y).square().sum()
        if self.kind == "huber":
            a = (z - y).abs()
            return torch.where(a <= 1.0, 0.5 * a.square(), a - 0.5).sum()
        if self.kind == "logistic":
            return torch.logaddexp(torch.zeros_like(z), -y * z).sum()
        return torch.logsumexp(z, 1).sum() - (y * z).sum()


class StepLine:
    """The loss along W(eta) = W - eta A + eta^2 B, in floating point.

    Args:
        loss: the loss.
        product: W.
        linear: A = g1 W2 + W1 g2.
        quadratic: B = g1 g2.
        gradient: G = grad l(W).
    """

    def __init__(
        self, loss: LinearModelLoss, product: Tensor, linear: Tensor, quadratic: Tensor,
        gradient: Tensor,
    ) -> None:  # fmt: skip
        self.loss = loss
        self.product, self.linear, self.quadratic = product, linear, quadratic
        self.z, self.za, self.zb = (loss.outputs(t) for t in (product, linear, quadratic))
        self.gradient_square = float((gradient * linear).sum())
        self._gradient_dot_b = float((gradient * quadratic).sum())
        self._start = loss.value_of(self.z, product)

    @property
    def start(self) -> float:
        """l(W)."""
        return self._start

    def quartic(self, curvature: float) -> tuple[float, float, float, float]:
        """|grad f|^2, <G, B> + q(A, A)/2, -q(A, B), q(B, B)/2 (D2) with D^2 phi <= curvature."""
        w, r = self.loss.weight * curvature, self.loss.ridge

        def form(zu: Tensor, zv: Tensor, u: Tensor, v: Tensor) -> float:
            return w * float((zu * zv).sum()) + r * float((u * v).sum())

        a, b = self.linear, self.quadratic
        second = self._gradient_dot_b + 0.5 * form(self.za, self.za, a, a)
        third, fourth = -form(self.za, self.zb, a, b), 0.5 * form(self.zb, self.zb, b, b)
        return self.gradient_square, second, third, fourth

    def change(self, eta: float) -> float:
        """f(eta) - f(0), in floating point."""
        square = eta * eta  # eta**2 would raise where it overflows
        w = self.product - eta * self.linear + square * self.quadratic
        return self.loss.value_of(self.z - eta * self.za + square * self.zb, w) - self._start

    def slope(self, eta: float) -> float:
        """d f / d eta, in floating point."""
        square = eta * eta
        w = self.product - eta * self.linear + square * self.quadratic
        g = self.loss.output_gradient(self.z - eta * self.za + square * self.zb)
        along = float((g * (2.0 * eta * self.zb - self.za)).sum())
        return along + self.loss.ridge * float(
            (w * (2.0 * eta * self.quadratic - self.linear)).sum()
        )


def _refusal(name: str, requirement: str, got: object) -> InputError:
    return InputError(
        f"`{name}` of LinearModelLoss() must be {requirement}; got {got}. "
        "Convert and check the data before building the loss."
    )
