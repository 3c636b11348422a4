"""A learning rate that falls when noise, and no longer the descent, decides where the loss is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from talweg._errors import InputError
from talweg.optim._gradients import finite_option
from talweg.optim._loss_trend import GROUPS, Series
from talweg.optim._noise_power import floor_approx

FACTOR = 0.5
HORIZON = 0.5
"""Where no end is known: as many steps are expected to follow, times those taken so far."""
CONFIDENT, CERTAIN = 1.860, 4.501
"""Student's one-sided quantiles, 95 % and 99.9 %, with GROUPS - 2 = 8 degrees of freedom."""
FIRST_LOOK = 4 * GROUPS
NEXT_LOOK = 1.1
"""A rate is judged again when it has been used for ten percent longer."""


class NoiseFloorScheduler(LRScheduler):
    """Multiplies the rates by `factor` once going on as before gains less than that would.

    Call `step(loss)` after every `optimizer.step()`, with the loss of the batch. While the rate is
    constant the scheduler compares two numbers:

        gain  = horizon * (max(descent of the loss per step, 0) + 1.86 standard errors)
        floor = mean over the same steps of g . P g / 4

    and decays the rates when gain < floor, or when the loss rises by more than 4.5 standard errors.
    g is the gradient in `.grad` and P the step operator: lr for SGD, lr / (1 - momentum) with
    momentum, lr / (sqrt(v) + eps) for Adam and its kin. Near a minimum and with a small step,
    tr(P S)/4 (eta s^2/4 for SGD) is how far noise of covariance S holds the loss above it, whatever
    the curvatures are, and g . P g/4 has this mean. A decay takes off (1 - factor) floor; it costs
    (1 - factor) of the descent, which slows down in proportion to the rate; so the common factor
    drops out. The horizon is half the number of steps taken so far, and no more than what is left
    of `total_steps`, where that is known.

    The rule has no patience, no threshold and no unit. It is a rule, not a theorem, except here:
    gradient descent (full batch, a constant step at most 1/L) on a convex L-smooth loss is never
    slowed down (before the last eighth of `total_steps`), because f falls by eta |g|^2 / 2 in every
    step; docs/schedulers.md has the proof.
    Losses of separate batches are noisy, and while the noise hides whether the loss falls, the
    standard error keeps the rate as it is. The rate is never raised.

    Statistics start anew whenever a rate changes, so warm-up by another scheduler may come first.
    It costs one addition a step, and the length of the gradient once in a block of steps, of which
    there are 64 to 128 for the time since the last change. Losses on a GPU are read only at looks,
    about 25 of them while the time grows tenfold. Random numbers are not used.

    Source: E2; docs/schedulers.md. Stationarity tests of SGD by other statistics: Pflug 1983,
    Yaida 2018, Lang, Zhang, Xiao 2019, Pesme, Dieuleveut, Flammarion 2020.

    Args:
        optimizer: any torch optimiser; one that keeps its second moments under other names than
            Adam or RMSprop is treated as SGD is.
        factor: in (0, 1), of a decay. 1/2 was best of 1/2, 1/4, 1/10 on the development tasks
            (benchmarks/scheduler_rules.py).
        min_lr: no rate falls below it.
        total_steps: calls of `step` planned in all, where known. The rate then falls as the end
            comes near, if noise holds the loss up; afterwards it stays.

    Raises:
        InputError: an argument out of range.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        factor: float = FACTOR,
        min_lr: float = 0.0,
        total_steps: int | None = None,
    ) -> None:
        call = "NoiseFloorScheduler"
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InputError(
                f"`optimizer` of {call}() must be a torch.optim.Optimizer; got "
                f"{type(optimizer).__name__}. Pass the optimiser that trains the model."
            )
        self.factor = finite_option(factor, "factor", call)
        if not 0.0 < self.factor < 1.0:
            raise InputError(
                f"`factor` of {call}() must be in (0, 1); got {factor!r}. The default is {FACTOR}."
            )
        self.min_lr = finite_option(min_lr, "min_lr", call)
        if self.min_lr < 0.0:
            raise InputError(
                f"`min_lr` of {call}() must be at least 0; got {min_lr!r}. It bounds every rate."
            )
        whole = isinstance(total_steps, int) and not isinstance(total_steps, bool)
        if total_steps is not None and not (whole and total_steps >= 1):
            raise InputError(
                f"`total_steps` of {call}() must be None or an int >= 1; got {total_steps!r}. It "
                "counts the steps of the optimiser, not epochs."
            )
        # The base class would call step() here, as for rates that are known beforehand.
        self.optimizer = optimizer
        self.total_steps = total_steps
        self.last_epoch = 0
        self.decays: list[int] = []
        """The steps after which the rates were decayed."""
        self._begin()

    def step(self, loss: Tensor | float) -> None:  # type: ignore[override]
        """Take in one step of the optimiser, and decay the rates if it is time.

        Args:
            loss: of the batch that the step was taken with, before the step; one number.

        Raises:
            InputError: not one real number, or no gradients; or, found at the next look, a loss
                that was not finite, or no finite gradient at all.
        """
        if self._rates() != self._last_lr:
            self._begin()
        value = _number(loss)
        self.last_epoch += 1
        if self._series.add(value):
            floor = floor_approx(self.optimizer)
            if floor is None:
                raise InputError(
                    "NoiseFloorScheduler.step(loss) needs the gradients of the step in .grad; got "
                    "None for every parameter. Call it after optimizer.step() and before "
                    "optimizer.zero_grad()."
                )
            self._series.companion(floor)
        if self._series.length >= self._next_look:
            self._look()

    def get_last_lr(self) -> list[float | Tensor]:
        """The rates of the groups after the last call of `step`."""
        return list(self._last_lr)

    def get_lr(self) -> list[float | Tensor]:
        """The same as `get_last_lr`: no rate is known beforehand."""
        return self.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Settings and statistics, as plain numbers."""
        return {
            "factor": self.factor,
            "min_lr": self.min_lr,
            "total_steps": self.total_steps,
            "last_epoch": self.last_epoch,
            "decays": list(self.decays),
            "last_lr": list(self._last_lr),
            "next_look": self._next_look,
            "series": self._series.state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; the optimiser's rates come with its own state.

        Args:
            state_dict: from `NoiseFloorScheduler.state_dict`.

        Raises:
            InputError: the state of another scheduler.
        """
        missing = sorted(self.state_dict().keys() - state_dict.keys())
        if missing:
            raise InputError(
                "`state_dict` of NoiseFloorScheduler.load_state_dict() must come from "
                f"NoiseFloorScheduler.state_dict(); got one without {', '.join(missing)}. Load the "
                "scheduler's own state."
            )
        self.factor, self.min_lr = state_dict["factor"], state_dict["min_lr"]
        self.total_steps, self.last_epoch = state_dict["total_steps"], state_dict["last_epoch"]
        self.decays = list(state_dict["decays"])
        self._last_lr = list(state_dict["last_lr"])
        self._next_look = state_dict["next_look"]
        self._series = Series.from_state(state_dict["series"])

    def _begin(self) -> None:
        """New statistics for the present rates."""
        self._series = Series()
        self._next_look = FIRST_LOOK
        self._last_lr: list[float | Tensor] = self._rates()

    def _rates(self) -> list[float | Tensor]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _look(self) -> None:
        self._next_look = math.ceil(NEXT_LOOK * self._series.length)
        found = self._series.trend()
        if not (math.isfinite(found.slope) and math.isfinite(found.level)):
            raise InputError(
                "The losses and gradients that NoiseFloorScheduler.step(loss) sees must be finite; "
                f"among the last {self._series.length} was one that is not. The run has diverged: "
                "start again with a smaller learning rate."
            )
        horizon = HORIZON * self.last_epoch
        if self.total_steps is not None:
            horizon = min(horizon, self.total_steps - self.last_epoch)
            if horizon <= 0:
                return  # past the end nothing is planned, and the rate stays
        gain = horizon * (max(-found.slope, 0.0) + CONFIDENT * found.error)
        if gain < found.level or found.slope > CERTAIN * found.error:
            self._decay()

    def _decay(self) -> None:
        before = self._rates()
        for group, rate in zip(self.optimizer.param_groups, before, strict=True):
            lower = max(self.factor * float(rate), min(self.min_lr, float(rate)))
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lower)  # captured graphs read this tensor
            else:
                group["lr"] = lower
        if self._rates() != before:
            self.decays.append(self.last_epoch)
            self._begin()


def _number(loss: object) -> Tensor | float:
    """The loss, detached but not read."""
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point():
        return loss.detach().reshape(())
    if isinstance(loss, int | float) and not isinstance(loss, bool):
        return float(loss)
    shape = f" of shape {tuple(loss.shape)}, {loss.dtype}" if isinstance(loss, Tensor) else ""
    raise InputError(
        "`loss` of NoiseFloorScheduler.step(loss) must be one real number; got "
        f"{type(loss).__name__}{shape}. Pass the mean loss of the batch, as a float or a tensor "
        "with one element."
    )
