"""Polyak's step for mini-batches, with |grad f|^2 measured without bias."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.optim._gradients import finite_option, positive_option

AVERAGE = 0.9
"""Weight of the past in the averages: about ten batches, few against a relaxation of the loss."""


class StochasticPolyakStep(torch.optim.Optimizer):
    """Stochastic gradient descent with a Polyak step whose |grad f|^2 comes from disjoint batches.

    A batch is given as m >= 2 micro-batches with losses f_1..f_m and gradients g_1..g_m:

        d = mean_i f_i - f_star,                   E d = f - f_star,
        q = sum_{i != j} <g_i, g_j> / (m (m - 1)), E q = |grad f|^2   (independent micro-batches),
        lr = min(D / (scale Q), max_step), or max_step where Q <= 0,
        w <- w - lr mean_i g_i,

    D and Q exponential averages of d and q over *earlier* batches. The squared length of the whole
    batch's gradient would be too large by its variance, s^2, and is not used. Because lr is known
    before the batch is drawn, the inequality of E2 holds for it as for a step fixed beforehand:

        E[f(w+) | past] <= f - lr (1 - L lr / 2) |grad f|^2 + L lr^2 s^2 / 2,

    so with PL, max_step < 2/L and s^2 bounded the loss comes down to the floor of the largest step,
    at the rate of the smallest. What is *not* known is that lr falls with the loss: where
    f_star is not reached (no interpolation, or a careless lower bound), grad f vanishes before
    f - f_star does, the step becomes max_step and stays there. So choose max_step as the largest
    step that you would use without this class.

    `.grad` is neither read nor written; clipping it has no effect. After each call every group has
    in `lr` the step that was taken; `scale` and `max_step` may differ between groups.

    Source: E1, E2; Polyak 1969; Loizou et al. 2021 (stochastic, with |g_B|^2 of the same batch).

    Args:
        params: parameters or groups.
        f_star: a lower bound of the loss; its infimum where the step shall fall with the loss.
        max_step: the cap; below 2/L for the inequality to mean descent.
        scale: c in the formula.
        average: in [0, 1), the weight of the past in D and Q.
        slack: by how much D may lie below f_star (then it counts as 0).

    Raises:
        InputError: a number out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        f_star: float,
        *,
        max_step: float,
        scale: float = 1.0,
        average: float = AVERAGE,
        slack: float = 0.0,
    ) -> None:
        call = "StochasticPolyakStep"
        self._f_star = finite_option(f_star, "f_star", call)
        self._slack = finite_option(slack, "slack", call)
        self._average = finite_option(average, "average", call)
        if self._slack < 0.0 or not 0.0 <= self._average < 1.0:
            raise InputError(
                f"`slack` and `average` of {call}() must be at least 0 and in [0, 1); got "
                f"{slack!r} and {average!r}. The defaults are 0.0 and {AVERAGE}."
            )
        self._gap = self._square = self._weight = 0.0
        defaults = {
            "lr": 0.0,
            "scale": positive_option(scale, "scale", call),
            "max_step": positive_option(max_step, "max_step", call),
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose own `scale` and `max_step` are checked.

        Args:
            param_group: with "params" and optionally "scale", "max_step".

        Raises:
            InputError: a number out of range.
        """
        for name in ("scale", "max_step"):
            if name in param_group:
                positive_option(param_group[name], name, "StochasticPolyakStep")
        super().add_param_group(param_group)

    @property
    def gap(self) -> float:
        """D, the averaged height above f_star; nan before the first step."""
        return self._gap / self._weight if self._weight else math.nan

    @property
    def gradient_squared(self) -> float:
        """Q, the averaged unbiased estimate of |grad f|^2; may be negative; nan before a step."""
        return self._square / self._weight if self._weight else math.nan

    @torch.no_grad()
    def step(self, losses: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        """Take one step.

        Args:
            losses: the mean losses of m >= 2 disjoint micro-batches of equal size, drawn
                independently of the weights, with their graphs; `backward` is not called by you.

        Returns:
            Their mean, detached, at the point before the move.

        Raises:
            InputError: fewer than two, not scalar tensors with a graph, a value that is not finite
                or an average below f_star - slack.
        """
        call = "StochasticPolyakStep.step"
        _check(losses, call)
        params = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        m = len(losses)
        total: list[Tensor] = []
        own = 0.0  # sum of |g_i|^2
        for i, loss in enumerate(losses):
            found = torch.autograd.grad(loss, params, retain_graph=i < m - 1, allow_unused=True)
            found = tuple(
                torch.zeros_like(p) if g is None else g for p, g in zip(params, found, strict=True)
            )
            own += _square(found)
            total = list(found) if not total else [a + b for a, b in zip(total, found, strict=True)]
        mean = torch.stack([loss.detach().reshape(()) for loss in losses]).mean()
        d, q = float(mean) - self._f_star, (_square(total) - own) / (m * (m - 1))
        if not (math.isfinite(d) and math.isfinite(q)):
            raise InputError(
                f"The losses and gradients of {call}() must be finite; got a mean loss of "
                f"{float(mean)}. The run has diverged: give a smaller max_step."
            )
        if not self._weight:
            self._take(d, q)  # the first step has no past to go by
            self._step(params, total, m, call)
        else:
            self._step(params, total, m, call)
            self._take(d, q)
        return mean

    def state_dict(self) -> dict[str, Any]:
        """The usual dictionary, and under "polyak" the settings and averages."""
        return {**super().state_dict(), "polyak": {name: getattr(self, name) for name in OWN}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over steps, settings and averages.

        Args:
            state_dict: from `StochasticPolyakStep.state_dict`.

        Raises:
            InputError: the "polyak" entry is missing or of another optimiser.
        """
        found = state_dict.get("polyak", {})
        if set(found) != set(OWN):
            raise InputError(
                "`state_dict` of StochasticPolyakStep.load_state_dict() must come from "
                f"StochasticPolyakStep.state_dict(); got the keys {sorted(map(str, state_dict))}. "
                "Load the optimiser's own state."
            )
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "polyak"})
        for name in OWN:
            setattr(self, name, found[name])

    def __getstate__(self) -> dict[str, Any]:
        # The base class keeps three names only; a copy needs the rest too.
        return {**super().__getstate__(), **{name: getattr(self, name) for name in OWN}}

    def _take(self, d: float, q: float) -> None:
        keep = self._average
        self._gap = keep * self._gap + (1.0 - keep) * d
        self._square = keep * self._square + (1.0 - keep) * q
        self._weight = keep * self._weight + (1.0 - keep)

    def _step(self, params: list[Tensor], total: list[Tensor], m: int, call: str) -> None:
        if self.gap < -self._slack:
            raise InputError(
                f"`f_star` of StochasticPolyakStep() must be a lower bound of the loss; got f_star="
                f"{self._f_star!r}, and {call}() met losses whose average is "
                f"{self.gap + self._f_star!r}. Lower f_star, or allow for noise with slack=."
            )
        directions = dict(zip(map(id, params), total, strict=True))
        for group in self.param_groups:
            size = group["max_step"]
            if self.gap <= 0.0:
                size = 0.0
            elif self.gradient_squared > 0.0:
                size = min(self.gap / self.gradient_squared / group["scale"], size)
            group["lr"] = size
            for p in group["params"]:
                if id(p) in directions:
                    p.add_(directions[id(p)], alpha=-size / m)


OWN = ("_f_star", "_slack", "_average", "_gap", "_square", "_weight")


def _square(tensors: Iterable[Tensor]) -> float:
    return math.fsum(float(torch.linalg.vector_norm(t)) ** 2 for t in tensors)


def _check(losses: object, call: str) -> None:
    if not isinstance(losses, list | tuple) or len(losses) < 2:
        what = f"{len(losses)}" if isinstance(losses, list | tuple) else type(losses).__name__
        raise InputError(
            f"`losses` of {call}() must be a list of at least two losses of disjoint micro-batches"
            f"; got {what}. Split the batch: [loss_fn(model(x), t) for x, t in zip(X.chunk(2), "
            "y.chunk(2))]."
        )
    for loss in losses:
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.grad_fn is None:
            raise InputError(
                f"`losses` of {call}() must be tensors with one element and a graph; got "
                f"{type(loss).__name__}"
                + (f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else "")
                + ". Pass the losses as computed, without backward() or detach()."
            )
