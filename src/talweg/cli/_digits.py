"""The training run of ``talweg demo``: handwritten digits, odd against even, by ordinary Adam.

Nothing here knows about proofs. Data: scikit-learn's digits (8 x 8 pixels in 0..16, divided by 16),
target +1 for even and -1 for odd, the first 200 rows for training and the rest held out. Model:
64-256-1 with tanh, PyTorch's default initialisation, float64, all parameters trained. Adam on the
mean squared error of the full batch, learning rate 1e-3 falling to zero along a cosine.

The first-moment coefficient is 0.97 rather than 0.9: of the two it is the one that fits training
data to high accuracy within these 8,000 steps (the residual ends some 1,000 times smaller).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg._errors import MissingDependencyError

TRAINING_ROWS = 200
WIDTH = 256
STEPS = 8000
LEARNING_RATE = 1e-3
BETAS = (0.97, 0.999)
CHECKPOINTS = (0, 250, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000)


@dataclass(frozen=True, eq=False)
class Digits:
    """Training and held-out rows: inputs ``(n, 64)`` and targets ``(n, 1)``, float64."""

    X: Tensor
    y: Tensor
    X_held_out: Tensor
    y_held_out: Tensor


def load_digits() -> Digits:
    """The data, from the copy that scikit-learn ships.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        raise MissingDependencyError(
            "talweg demo needs scikit-learn for its data, and it is not installed. Install it "
            "with: pip install 'talweg[demo]'"
        ) from None
    pixels, digit = load(return_X_y=True)
    X = torch.as_tensor(pixels, dtype=torch.float64) / 16.0
    y = 1.0 - 2.0 * (torch.as_tensor(digit) % 2).to(torch.float64)[:, None]
    n = TRAINING_ROWS
    return Digits(X[:n], y[:n], X[n:], y[n:])


def fresh_model(seed: int) -> nn.Sequential:
    """The network at PyTorch's default initialisation; torch's global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1)).double()


def train(model: nn.Module, data: Digits, at: Callable[[int, float], None]) -> None:
    """Train in place, and call ``at(step, loss)`` at every checkpoint, before that step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(data.X), data.y)
        if step in CHECKPOINTS:
            at(step, loss.item())
        if step < STEPS:
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


@torch.no_grad()
def sign_errors(model: nn.Module, X: Tensor, y: Tensor) -> float:
    """The share of rows whose output has the wrong sign."""
    return float((model(X) * y <= 0).double().mean())


@dataclass(frozen=True)
class MeasuredDescent:
    """What gradient descent did in float64, from the certified weights.

    Attributes:
        step_size: The ``lr`` of plain `torch.optim.SGD` on the mean squared error.
        steps: How many steps were run.
        loss_ratio: Last loss over first loss.
        first_halving: Steps until the loss had first halved; None if it did not.
        halving_steps: Steps per halving over the second half of the run, where the quick directions
            have died out: ``steps log 2 / log(loss ratio)``; None where the loss did not fall,
            there or over the whole run.
    """

    step_size: float
    steps: int
    loss_ratio: float
    first_halving: int | None
    halving_steps: float | None


def descend(model: nn.Module, data: Digits, step_size: float, steps: int) -> MeasuredDescent:
    """Run plain full-batch gradient descent on a copy of ``model`` and measure the loss."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=step_size)
    losses: list[float] = []
    for step in range(steps + 1):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(data.X), data.y)
        losses.append(loss.item())
        if step == steps or not math.isfinite(losses[-1]):
            break
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    first, last, middle = losses[0], losses[-1], losses[len(losses) // 2]
    halved = next((k for k, value in enumerate(losses) if value <= first / 2.0), None)
    late = None
    if math.isfinite(last) and 0.0 < last < middle and last < first:
        late = (len(losses) - 1 - len(losses) // 2) * math.log(2.0) / math.log(middle / last)
    return MeasuredDescent(step_size, len(losses) - 1, last / first, halved, late)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, then put back what was set.

    Matrices of this size gain nothing from a second one, and a sum split over threads rounds
    differently: on one thread the run is the same wherever torch and its kernels are.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
