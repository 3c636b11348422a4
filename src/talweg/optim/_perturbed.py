"""Gradient descent that shakes itself off strict saddles (E3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.optim._gradients import (
    Closure,
    dense_gradients,
    gradient_norm_approx,
    loss_of,
    positive_option,
)


class PerturbedGD(torch.optim.Optimizer):
    """Gradient descent with a random perturbation wherever the gradient is small (E3).

    Outside an episode:  if |grad f(w)| <= threshold:  w <- w + xi,  xi uniform in B(0, radius),
    which opens an episode of `interval` steps; otherwise, and inside an episode,

        w <- w - lr grad f(w).

    A perturbing call takes no gradient step, because the gradient at hand belongs to the
    unperturbed point. The norm and the ball are those of all parameters together, across groups.
    `talweg.theory.perturbed_descent_finds_second_order_point` states what this proves for full
    gradients of a function whose constants are known, and which settings it needs: lr <= 1/L, a
    small radius. Settings chosen without those constants are a heuristic.

    After each call every `param_groups` entry has `effective_lr`: its lr, or 0.0 when the call
    perturbed. `perturbations` counts them.

    Source: E3; Jin et al. 2017 algorithm 1, without its stopping rule.

    Args:
        params: parameters or groups; `lr` may differ between groups (the theorem wants one).
        lr: step size.
        gradient_threshold: the norm at or below which a point counts as critical.
        radius: of the ball that perturbations are drawn from.
        interval: gradient steps after a perturbation before the next one is allowed.
        seed: of an own generator on the CPU; give this or `generator`.
        generator: used, and advanced, for every perturbation.

    Raises:
        InputError: a number out of range, neither or both of `seed` and `generator`.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        gradient_threshold: float,
        radius: float,
        interval: int,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        call = "PerturbedGD"
        self._threshold = positive_option(gradient_threshold, "gradient_threshold", call)
        self._radius = positive_option(radius, "radius", call)
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise InputError(
                f"`interval` of {call}() must be an int >= 1; got {interval!r}. It counts the "
                "gradient steps that follow a perturbation."
            )
        self._interval = interval
        self._generator = _generator(seed, generator)
        self._remaining = 0  # gradient steps left in the current episode
        self._perturbations = 0
        super().__init__(params, {"lr": positive_option(lr, "lr", call), "effective_lr": None})

    @property
    def perturbations(self) -> int:
        """How many calls of `step` have perturbed so far."""
        return self._perturbations

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose own `lr` is checked.

        Args:
            param_group: with "params" and optionally "lr".

        Raises:
            InputError: an `lr` that is not a finite number above 0.
        """
        if "lr" in param_group:
            positive_option(param_group["lr"], "lr", "PerturbedGD")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Perturb or step.

        Args:
            closure: clears the gradients, computes the loss, calls backward, returns the loss.

        Returns:
            The closure's loss at the point before the move; None without a closure.

        Raises:
            InputError: a sparse or complex gradient, or none at all.
        """
        loss = loss_of(closure)
        members = dense_gradients(self.param_groups, "PerturbedGD.step")
        perturbing = self._remaining == 0 and gradient_norm_approx(members) <= self._threshold
        if perturbing:
            self._perturb([p for pairs in members for p, _ in pairs])
            self._remaining = self._interval
            self._perturbations += 1
        else:
            for group, pairs in zip(self.param_groups, members, strict=True):
                for p, g in pairs:
                    p.add_(g, alpha=-group["lr"])
            self._remaining = max(self._remaining - 1, 0)
        for group in self.param_groups:
            group["effective_lr"] = 0.0 if perturbing else group["lr"]
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The usual dictionary, and under "perturbation" the episode, settings and generator."""
        return {
            **super().state_dict(),
            "perturbation": {
                "threshold": self._threshold,
                "radius": self._radius,
                "interval": self._interval,
                "remaining": self._remaining,
                "count": self._perturbations,
                "generator": self._generator.get_state(),
            },
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a run where `state_dict` left it, random numbers included.

        Args:
            state_dict: from `PerturbedGD.state_dict`.

        Raises:
            InputError: the "perturbation" entry is missing.
        """
        if "perturbation" not in state_dict:
            raise InputError(
                "`state_dict` of PerturbedGD.load_state_dict() must have the key 'perturbation'; "
                f"got {sorted(map(str, state_dict))}. Pass what PerturbedGD.state_dict() returned."
            )
        super().load_state_dict(state_dict)
        saved = state_dict["perturbation"]
        self._threshold, self._radius = saved["threshold"], saved["radius"]
        self._interval, self._remaining = saved["interval"], saved["remaining"]
        self._perturbations = saved["count"]
        self._generator.set_state(saved["generator"])

    def __getstate__(self) -> dict[str, Any]:
        # The base class keeps three names only; a copy needs the rest too.
        own = ("_threshold", "_radius", "_interval", "_generator", "_remaining", "_perturbations")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def _perturb(self, parameters: list[Tensor]) -> None:
        """Add a point of the ball: a Gaussian direction, and a length r u^(1/d)."""
        device = self._generator.device
        dtype = torch.float32 if device.type == "mps" else torch.float64  # mps has no float64

        def draw(shape: torch.Size, sample: Any) -> Tensor:
            drawn: Tensor = sample(shape, generator=self._generator, device=device, dtype=dtype)
            return drawn

        directions = [draw(p.shape, torch.randn) for p in parameters]
        norm = torch.stack([torch.linalg.vector_norm(x) for x in directions]).norm()
        dimension = sum(x.numel() for x in directions)
        length = self._radius * float(draw(torch.Size([]), torch.rand)) ** (1.0 / dimension)
        for p, x in zip(parameters, directions, strict=True):
            p.add_((x * (length / norm)).to(device=p.device, dtype=p.dtype))


def _generator(seed: int | None, generator: torch.Generator | None) -> torch.Generator:
    if (seed is None) == (generator is None):
        given = "neither" if seed is None else "both"
        raise InputError(
            f"Exactly one of `seed` and `generator` of PerturbedGD() must be given; got {given}. "
            "Pass seed=0 for a reproducible run."
        )
    if generator is not None:
        if not isinstance(generator, torch.Generator):
            raise InputError(
                "`generator` of PerturbedGD() must be a torch.Generator; got "
                f"{type(generator).__name__}. Pass torch.Generator().manual_seed(0)."
            )
        return generator
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(
            f"`seed` of PerturbedGD() must be an int; got {seed!r} of type "
            f"{type(seed).__name__}. Pass seed=0."
        )
    return torch.Generator().manual_seed(seed)
