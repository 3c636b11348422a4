"""Gradient descent at the step that a certificate proves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.certificate import Certificate
from talweg.enclosure import Interval
from talweg.network import Linear, Network
from talweg.theory import SquaredLoss

SCALINGS: dict[str, Literal["mean", "sum", "half_sum"]] = {
    "mse": "mean",
    "sse": "sum",
    "half_sse": "half_sum",
}


class CertifiedGD(torch.optim.Optimizer):
    """Plain full-batch gradient descent at the certified step, from the certified weights.

        w <- w - lr grad f(w),      lr = cert.step_size or a smaller one that the claim covers.

    The parameters must hold the certified numbers exactly when the optimiser is made, because the
    claim speaks of those alone. A claim about real arithmetic (T11, T4, T7) is about the ideal run;
    a T9 claim is about this run in float64.

    Args:
        params: The parameters of the certified model, all of the trainable ones, in order.
        cert: A certificate with status PROVED.
        lr: A step in (0, cert.step_size]; None is cert.step_size. T9 and T7 cover that one only.

    Raises:
        InputError: Nothing is proved, a parameter differs from the certified one (call
            ``cert.load_into_(model)`` first), or the step is not covered.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[tuple[str, Tensor]],
        cert: Certificate,
        *,
        lr: float | None = None,
    ) -> None:
        if cert.status != "PROVED" or cert.network is None or cert.step_size is None:
            raise InputError(
                f"`cert` of CertifiedGD(params, cert) must have status PROVED; got {cert.status}: "
                f"{cert.reason} Certify with polish=True, or use torch.optim.SGD without a claim."
            )
        step = cert.step_size if lr is None else _covered_step(float(lr), cert)
        super().__init__(params, {"lr": step})
        self._require_certified(cert)
        self._cert = cert
        self._steps = 0

    def _require_certified(self, cert: Certificate) -> None:
        if cert.network is None:
            raise RuntimeError("unreachable: checked by the constructor")
        expected, frozen = _tensors(cert.network)
        held = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        if len(held) < len(expected):
            raise InputError(
                f"`params` of CertifiedGD(params, cert) must hold all {len(expected)} trained "
                f"tensors of the certificate; got {len(held)}. Pass model.parameters()."
            )
        left = list(held)
        for name, tensor in expected:
            match = next((i for i, p in enumerate(left) if _same(p, tensor)), None)
            if match is None:
                raise InputError(
                    f"`params` of CertifiedGD(params, cert) must hold the certified values of "
                    f"{name!r}, shape {tuple(tensor.shape)}, exactly; no parameter does. Call "
                    "cert.load_into_(model) first (after model.double() if the dtype is narrower)."
                )
            left.pop(match)
        for name, tensor in frozen:
            if any(_same(p, tensor) for p in left):
                raise InputError(
                    f"`params` of CertifiedGD(params, cert) must not train {name!r}, which the "
                    "certificate holds fixed; a parameter with its values requires a gradient. "
                    "Call requires_grad_(False) on it."
                )

    @property
    def steps(self) -> int:
        """Steps taken since the certified weights."""
        return self._steps

    def loss_envelope(self, k: int | None = None) -> float:
        """Upper bound of the loss after k steps, ``rate^k`` times the bound at the start.

        Valid until the floor of a T9 claim or the target of a T7 claim is reached, and never below
        that floor or target; ``rate`` belongs to the certified step, so for a smaller one the
        bound at the start is returned. Known for squared losses, inf for others.

        Args:
            k: Number of steps; None is the number taken.
        """
        cert, count = self._cert, self._steps if k is None else k
        if cert.loss not in SCALINGS or cert.residual_norm is None or cert.one_minus_rate is None:
            return math.inf
        loss = SquaredLoss(SCALINGS[cert.loss], cert.samples * cert.outputs)
        start = loss.loss_upper(cert.residual_norm)
        if self.param_groups[0]["lr"] != cert.step_size:
            return start
        least = max(cert.floor or 0.0, cert.target or 0.0)
        return max(_power_upper(1.0 - Interval.point(cert.one_minus_rate), count, start), least)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; gradients must come from the loss that was certified, on all of the data.

        Args:
            closure: Evaluates the loss again and returns it; not needed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-group["lr"])
        self._steps += 1
        return loss

    def state_dict(self) -> dict[str, Any]:
        """As in torch, with the number of steps since the certified weights."""
        return {**super().state_dict(), "certified_steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch; the step may not grow beyond what the certificate covers.

        Args:
            state_dict: What `state_dict` gave.

        Raises:
            InputError: It holds a step that the claim does not cover.
        """
        plain = dict(state_dict)
        steps = int(plain.pop("certified_steps", 0))
        for group in plain["param_groups"]:
            _covered_step(float(group["lr"]), self._cert)
        super().load_state_dict(plain)
        self._steps = steps


def _covered_step(lr: float, cert: Certificate) -> float:
    step = cert.step_size if cert.step_size is not None else 0.0
    only = cert.theorem in ("T9", "T7")
    if not (lr == step if only else 0.0 < lr <= step):
        covered = f"exactly {step!r}" if only else f"in (0, {step!r}]"
        raise InputError(
            f"`lr` of CertifiedGD(params, cert) must be {covered}, which the {cert.theorem} claim "
            f"covers; got {lr!r}. Leave it out."
        )
    return lr


def _tensors(network: Network) -> tuple[list[tuple[str, Tensor]], list[tuple[str, Tensor]]]:
    """Name and value of the trained tensors, and of the frozen ones."""
    trained: list[tuple[str, Tensor]] = []
    frozen: list[tuple[str, Tensor]] = []
    for op in network.operations:
        if isinstance(op, Linear):
            (trained if op.weight_trainable else frozen).append((op.weight_name, op.weight))
            if op.bias is not None and op.bias_name is not None:
                (trained if op.bias_trainable else frozen).append((op.bias_name, op.bias))
    return trained, frozen


def _same(parameter: Tensor, certified: Tensor) -> bool:
    return parameter.shape == certified.shape and torch.equal(
        parameter.detach().to("cpu", torch.float64), certified.detach().to("cpu", torch.float64)
    )


def _power_upper(base: Interval, exponent: int, factor: float) -> float:
    """``factor base^exponent`` rounded up, by repeated squaring; base in [0, 1]."""
    result, square = Interval.point(factor), base.clip_nonnegative()
    while exponent > 0:
        if exponent & 1:
            result = result * square
        square = square.square()
        exponent >>= 1
    return result.hi
