"""Polyak's step size, from a lower bound of the loss that the user gives."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.optim._gradients import (
    Closure,
    dense_gradients,
    finite_option,
    gradient_norm_approx,
    loss_of,
    positive_option,
)


class PolyakStep(torch.optim.Optimizer):
    """Gradient descent with the step that the height above a lower bound suggests.

        lr = min((f(w) - f_star) / (scale |grad f(w)|^2), max_step),     w <- w - lr grad f(w).

    What is known of it, with full gradients:

    * f convex, f_star its minimum, scale >= 1/2: the distance to every minimiser never grows.
    * grad f L-Lipschitz, PL with constant mu, max_step < 2/L, and f_star *any* number at or below
      the infimum: linear convergence (`talweg.theory.polyak_steps_converge`). The cap is what makes
      this true without convexity, so give one.
    * otherwise, and with the default max_step = inf on a nonconvex loss, nothing: a lower bound far
      below the infimum makes the steps too long, and so does flat ground.

    With minibatches the loss and gradient are those of the batch, and f_star has to bound the
    batch's loss. `f_star` is never estimated: a loss that comes out below it is an error, because
    it shows that the number was not a lower bound.

    After each call every `param_groups` entry has in `lr` the step that was taken; `scale` and
    `max_step` may differ between groups, the norm is that of all parameters together.

    Source: Polyak 1969; Loizou et al. 2021 (the cap); E1.

    Args:
        params: parameters or groups.
        f_star: a lower bound of the loss; 0 for a squared loss or a cross-entropy.
        scale: c in the formula; 1 is Polyak's own choice.
        max_step: largest step; inf for none.
        slack: losses down to f_star - slack count as f_star (step 0) instead of an error: the
            rounding error of the loss, where f_star is its minimum.

    Raises:
        InputError: a number out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        f_star: float,
        *,
        scale: float = 1.0,
        max_step: float = math.inf,
        slack: float = 0.0,
    ) -> None:
        call = "PolyakStep"
        self._f_star = finite_option(f_star, "f_star", call)
        self._slack = finite_option(slack, "slack", call)
        if self._slack < 0.0:
            raise InputError(
                f"`slack` of {call}() must be at least 0; got {slack!r}. It is the rounding error "
                "that the loss may have."
            )
        defaults = {
            "lr": 0.0,
            "scale": positive_option(scale, "scale", call),
            "max_step": positive_option(max_step, "max_step", call, infinite=True),
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose own `scale` and `max_step` are checked.

        Args:
            param_group: with "params" and optionally "scale", "max_step".

        Raises:
            InputError: a number out of range.
        """
        if "scale" in param_group:
            positive_option(param_group["scale"], "scale", "PolyakStep")
        if "max_step" in param_group:
            positive_option(param_group["max_step"], "max_step", "PolyakStep", infinite=True)
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Closure | None = None, *, loss: Tensor | float | None = None) -> Any:
        """Take one step.

        Args:
            closure: clears the gradients, computes the loss, calls backward, returns the loss.
            loss: the loss at the present weights, when backward was called already. One of the two
                is needed.

        Returns:
            The loss at the point before the move, as it was given.

        Raises:
            InputError: neither or both arguments, a loss that is no finite number or lies below
                f_star - slack, a gradient that is not finite, sparse, complex or missing, or an
                infinite step.
        """
        call = "PolyakStep.step"
        if (closure is None) == (loss is None):
            given = "neither" if closure is None else "both"
            raise InputError(
                f"Exactly one of `closure` and `loss` of {call}() must be given; got {given}. The "
                "step needs the loss: pass step(loss=loss) after loss.backward(), or a closure."
            )
        value = loss_of(closure) if loss is None else loss
        gap = self._gap(value, call)
        members = dense_gradients(self.param_groups, call)
        norm = gradient_norm_approx(members)
        if not math.isfinite(norm):
            raise InputError(
                f"The gradients that {call}() reads must be finite; got a norm of {norm}. The run "
                "has diverged: give a smaller max_step."
            )
        sizes = [_step_size(gap, norm, group, call) for group in self.param_groups]
        for group, pairs, size in zip(self.param_groups, members, sizes, strict=True):
            group["lr"] = size
            for p, g in pairs:
                p.add_(g, alpha=-size)
        return value

    def state_dict(self) -> dict[str, Any]:
        """The usual dictionary, and under "polyak" the lower bound and the slack."""
        return {
            **super().state_dict(),
            "polyak": {"f_star": self._f_star, "slack": self._slack},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over steps and settings.

        Args:
            state_dict: from `PolyakStep.state_dict`.

        Raises:
            InputError: the "polyak" entry is missing.
        """
        if "polyak" not in state_dict:
            raise InputError(
                "`state_dict` of PolyakStep.load_state_dict() must have the key 'polyak'; got "
                f"{sorted(map(str, state_dict))}. Pass what PolyakStep.state_dict() returned."
            )
        super().load_state_dict(state_dict)
        self._f_star = state_dict["polyak"]["f_star"]
        self._slack = state_dict["polyak"]["slack"]

    def __getstate__(self) -> dict[str, Any]:
        # The base class keeps three names only; a copy needs the rest too.
        return {**super().__getstate__(), "_f_star": self._f_star, "_slack": self._slack}

    def _gap(self, loss: Any, call: str) -> float:
        """f(w) - f_star, at least 0."""
        scalar = isinstance(loss, Tensor) and loss.numel() == 1 and not loss.is_complex()
        if not scalar and (isinstance(loss, bool) or not isinstance(loss, int | float)):
            shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
            raise InputError(
                f"The loss of {call}() must be one real number; got {type(loss).__name__}{shape}. "
                "Pass a float or a tensor with one element (a closure has to return it)."
            )
        value = float(loss.detach() if isinstance(loss, Tensor) else loss)
        if not math.isfinite(value):
            raise InputError(
                f"The loss of {call}() must be finite; got {value}. The run has diverged: give a "
                "smaller max_step, or a closer f_star."
            )
        gap = value - self._f_star
        if gap < -self._slack:
            raise InputError(
                f"`f_star` of PolyakStep() must be a lower bound of the loss; got f_star="
                f"{self._f_star!r}, and {call}() met the loss {value!r}. Lower f_star, or allow "
                "for rounding with slack=."
            )
        return max(gap, 0.0)


def _step_size(gap: float, norm: float, group: dict[str, Any], call: str) -> float:
    """The formula of the class; 0 at a critical point, which has no direction."""
    if gap == 0.0 or norm == 0.0:
        return 0.0
    size = min(gap / norm / norm / group["scale"], group["max_step"])  # norm^2 may underflow
    if math.isinf(size):
        raise InputError(
            f"The step of {call}() must be finite; got {gap:.3g} above f_star with a gradient of "
            f"norm {norm:.3g}. Set max_step."
        )
    return float(size)
