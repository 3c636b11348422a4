"""Gradient descent with Armijo's backtracking: the step is found, not prescribed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from talweg._errors import InputError


class ArmijoGD(torch.optim.Optimizer):
    """Full-batch gradient descent whose every step goes down by a share of what the slope promises.

        w <- w - t g,   t the first of  t_0, t_0 shrink, t_0 shrink^2, ...  with
        f(w - t g) <= f(w) - share t |g|^2,

    t_0 = `grow` times the last step accepted (at most `lr`). Floating point: the steps taken are
    candidates for `talweg.optim.certify_run` (theory T12), which proves with enclosures which of
    them did go down enough. All parameter groups share one step; ``param_groups[0]["lr"]`` holds
    the step that was accepted last.

    Source: T12; Armijo 1966.

    Args:
        params: Parameters.
        lr: The first and largest step tried.
        share: c in (0, 1). Default 1/2: the step of exact descent on a quadratic with t <= 1/M
            passes it, and T12's criterion loses no more than a factor 2.
        shrink: in (0, 1). Default 1/2.
        grow: >= 1; 2 tries to double the step after every success.
        max_backtracks: Trials before a step is given up (the parameters then stay).

    Raises:
        InputError: A number is out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[tuple[str, Tensor]],
        lr: float = 1.0,
        *,
        share: float = 0.5,
        shrink: float = 0.5,
        grow: float = 2.0,
        max_backtracks: int = 60,
    ) -> None:
        good = 0.0 < lr < math.inf and 0.0 < share < 1.0 and 0.0 < shrink < 1.0
        if not (good and 1.0 <= grow < math.inf and max_backtracks >= 1):
            raise InputError(
                "`lr`, `share`, `shrink`, `grow` and `max_backtracks` of ArmijoGD() must be > 0, "
                "in (0, 1), in (0, 1), >= 1 and >= 1; got "
                f"{(lr, share, shrink, grow, max_backtracks)!r}. The defaults are sound."
            )
        defaults = {
            "lr": lr, "share": share, "shrink": shrink, "grow": grow, "largest": lr,
            "max_backtracks": max_backtracks,
        }  # fmt: skip
        super().__init__(params, defaults)
        self.accepted = False
        """Whether the last call of `step` moved the parameters."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Tensor:  # type: ignore[override]
        """One step, with as many evaluations of the loss as backtracking needs.

        Args:
            closure: Clears gradients, evaluates the loss on all of the data, calls ``backward()``
                and returns the loss. Required.

        Returns:
            The loss at the parameters before the step.

        Raises:
            InputError: No closure.
        """
        if closure is None:
            raise InputError(
                "`closure` of ArmijoGD.step(closure) is required, because backtracking evaluates "
                "the loss; got None. Pass a function that clears gradients, computes the loss, "
                "calls backward() and returns it."
            )
        with torch.enable_grad():
            before = torch.as_tensor(closure()).detach()
        held = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        start = [p.detach().clone() for p in held]
        slope = [p.grad.detach().clone() for p in held if p.grad is not None]
        square = float(sum((g.double().square().sum() for g in slope), torch.zeros(())))
        options = self.param_groups[0]
        f = float(before)
        self.accepted = False
        if not (math.isfinite(f) and 0.0 < square < math.inf):
            return before
        t = min(options["largest"], options["grow"] * options["lr"])
        for _ in range(options["max_backtracks"]):
            for p, w, g in zip(held, start, slope, strict=True):
                p.copy_(w).add_(g, alpha=-t)
            with torch.enable_grad():
                after = float(torch.as_tensor(closure()).detach())
            if after <= f - options["share"] * t * square:
                self.accepted = True
                break
            t *= options["shrink"]
        else:
            for p, w in zip(held, start, strict=True):
                p.copy_(w)
            return before
        for group in self.param_groups:
            group["lr"] = t
        return before
