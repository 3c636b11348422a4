"""The rounding of a float64 training step, measured in Arb, never exceeds its bound (T9)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from talweg.enclosure import Interval
from talweg.network import (
    GradientError,
    linearize,
    read,
    residual_norm_bound,
    rounding_not_covered,
)
from talweg.nn import Scale
from talweg.theory import SquaredLoss

BITS = 400
to_arb = np.frompyfunc(arb, 1, 1)
tanh = np.frompyfunc(arb.tanh, 1, 1)
sigmoid = np.frompyfunc(lambda x: 1 / (1 + (-x).exp()), 1, 1)


def exact(t: Tensor) -> Any:
    return to_arb(t.detach().numpy().astype(object))


def network(
    widths: tuple[int, ...], activation: type[nn.Module], scale: float, seed: int, bias: bool = True
) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise(widths):
        layer = nn.Linear(d_in, d_out, bias=bias, dtype=torch.float64)
        with torch.no_grad():
            for p in layer.parameters():
                noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
                p.copy_(scale * noise / d_in**0.5)
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def true_gradient(model: nn.Sequential, X: Tensor, y: Tensor, two_c: arb) -> list[Any]:
    """By the same backpropagation, without rounding, in the order of ``model.parameters()``."""
    h, tape = exact(X), []
    for layer in model:
        if isinstance(layer, nn.Linear):
            tape.append((layer, h))
            h = h @ exact(layer.weight).T
            h = h if layer.bias is None else h + exact(layer.bias)
        else:
            h = (tanh if isinstance(layer, nn.Tanh) else sigmoid)(h)
            tape.append((layer, h))
    g, found = (h - exact(y)) * two_c, []
    for layer, value in reversed(tape):
        if isinstance(layer, nn.Linear):
            found += [] if layer.bias is None else [g.sum(0)]
            found.append(g.T @ value)
            g = g @ exact(layer.weight)
        else:
            g = g * (1 - value * value if isinstance(layer, nn.Tanh) else value * (1 - value))
    return found[::-1]


def step_error(model: nn.Sequential, X: Tensor, y: Tensor, reduction: str, lr: float) -> arb:
    """|e| of one step of torch.optim.SGD, w+ = w - lr (grad f(w) + e), rounded up."""
    two_c = arb(2) / y.numel() if reduction == "mean" else arb(2)
    wanted = true_gradient(model, X, y, two_c)
    start = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    optimizer.zero_grad()
    nn.functional.mse_loss(model(X), y, reduction=reduction).backward()
    optimizer.step()
    total = arb(0)
    for before, after, gradient in zip(start, model.parameters(), wanted, strict=True):
        error = (exact(before) - exact(after)) / arb(lr) - gradient
        total += (error * error).sum()
    with torch.no_grad():
        for p, before in zip(model.parameters(), start, strict=True):
            p.copy_(before)
    return total.abs_upper().sqrt()


def bound(
    model: nn.Module, X: Tensor, y: Tensor, reduction: str, lr: float, radius: float = 0.0,
    residual: float | None = None,
) -> float:  # fmt: skip
    state = linearize(read(model, X), X)
    return GradientError(
        state,
        samples=len(X),
        residual_norm_upper=residual_norm_bound(state, y) if residual is None else residual,
        curvature=SquaredLoss(reduction, y.numel()).curvature,  # type: ignore[arg-type]
        step_size=lr,
    ).upper(radius)


@settings(max_examples=120)
@given(
    seed=st.integers(0, 10**6),
    widths=st.sampled_from(
        [(1, 1), (1, 1, 1), (3, 8, 1), (20, 30, 2), (4, 6, 6, 6, 3), (2, 40, 1), (60, 1)]
    ),
    n=st.sampled_from([1, 2, 7, 40]),
    activation=st.sampled_from([nn.Tanh, nn.Sigmoid]),
    scale=st.sampled_from([1e-150, 1e-8, 0.3, 1.0, 10.0, 1e4]),
    inputs=st.sampled_from([1e-8, 1.0, 1e6]),
    lr=st.sampled_from([1e-12, 1e-3, 0.1, 1e3, 1e9]),
    reduction=st.sampled_from(["mean", "sum"]),
    fitted=st.sampled_from([True, False]),
    bias=st.booleans(),
)
def test_the_step_of_torch_is_within_the_bound(
    seed: int, widths: tuple[int, ...], n: int, activation: type[nn.Module], scale: float,
    inputs: float, lr: float, reduction: str, fitted: bool, bias: bool,
) -> None:  # fmt: skip
    """Wide and narrow, saturated and nearly linear, fitted to the last bits or far from it."""
    generator = torch.Generator().manual_seed(seed)
    model = network(widths, activation, scale, seed, bias)
    X = inputs * torch.randn(n, widths[0], generator=generator, dtype=torch.float64)
    with torch.no_grad():
        y = model(X)
    noise = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    y = y * (1.0 + 1e-15 * noise) if fitted else y + noise
    with ctx.workprec(BITS):
        error = step_error(model, X, y, reduction, lr)
        assert error <= arb(bound(model, X, y, reduction, lr))


@pytest.mark.parametrize("radius", [1e-6, 1e-2, 1.0])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid])
def test_the_bound_holds_on_the_whole_ball(radius: float, activation: type[nn.Module]) -> None:
    generator = torch.Generator().manual_seed(3)
    model = network((5, 9, 4, 2), activation, 1.0, 3)
    X = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    start = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        size = float((model(X) - y).norm()) + 10.0 * radius
    found = bound(model, X, y, "mean", 0.1, radius, residual=size)
    assert found >= bound(model, X, y, "mean", 0.1, 0.0, residual=size)
    for _ in range(20):
        moves = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in start]
        length = math.sqrt(sum(float(m.square().sum()) for m in moves))
        with torch.no_grad():
            for p, s, m in zip(model.parameters(), start, moves, strict=True):
                p.copy_(s + 0.999 * radius * m / length)
            if float((model(X) - y).norm()) > size:
                continue
        with ctx.workprec(BITS):
            assert step_error(model, X, y, "mean", 0.1) <= arb(found)


def largest_share(lr: float, fitted: bool, **shape: Any) -> float:
    """The largest actual error over its bound, over a few seeds."""
    shares = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        model = network(shape["widths"], nn.Tanh, shape["scale"], seed)
        X = torch.randn(shape["n"], shape["widths"][0], generator=generator, dtype=torch.float64)
        with torch.no_grad():
            y = model(X)
        if not fitted:
            y = y + torch.randn(y.shape, generator=generator, dtype=torch.float64)
        with ctx.workprec(BITS):
            error = float(step_error(model, X, y, "sum", lr).upper())
        shares.append(error / bound(model, X, y, "sum", lr))
    return max(shares)


def test_the_bound_is_not_idle() -> None:
    """Each part of the bound is met to within a small factor by some run, so none may be lost."""
    shape = {"widths": (1, 1, 1), "n": 1, "scale": 1.0}
    assert largest_share(1e-6, False, **shape) > 0.15  # the update: u |w| / lr
    assert largest_share(1e3, True, **shape) > 0.02  # the forward error, residual 0
    assert largest_share(1e3, False, **shape) > 0.02  # the roundings that go with the residual


def test_the_library_is_as_accurate_as_assumed() -> None:
    """Sampled: tanh and sigmoid of this build within 2^-50 relatively, in both code paths."""
    x = torch.cat([torch.logspace(-12, 2.8, 997), torch.linspace(-30, 30, 1001)]).double()
    x = torch.cat([x, -x])
    with ctx.workprec(BITS):
        for function, ideal in ((torch.tanh, tanh), (torch.sigmoid, sigmoid)):
            values = exact(function(x))
            for computed, true in zip(values, ideal(exact(x)), strict=True):
                assert abs(computed - true) <= abs(true) * arb(2) ** -50 + arb(2) ** -1000


def test_rows_that_occur_twice_count_twice() -> None:
    model, X = network((3, 5, 1), nn.Tanh, 1.0, 0), torch.randn(4, 3, dtype=torch.float64)
    state = linearize(read(model, X), X)

    def upper(samples: int) -> float:
        curvature = Interval.point(2.0)
        return GradientError(
            state, samples=samples, residual_norm_upper=1.0, curvature=curvature, step_size=1e6
        ).upper(0.0)

    assert 1.4 * upper(4) < upper(8) < 2.1 * upper(4)


def test_nothing_finite_is_claimed_beyond_the_range() -> None:
    model, X = network((2, 3, 1), nn.Tanh, 1e130, 0), torch.randn(4, 2, dtype=torch.float64)
    assert math.isinf(bound(model, X, torch.zeros(4, 1).double(), "sum", 0.1))
    assert math.isinf(bound(model, X, torch.zeros(4, 1).double(), "sum", 0.1, math.inf))


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), *layers, nn.Linear(4, 1)).double()


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (chain(nn.Softplus()), "softplus"),
        (chain(nn.GELU()), "gelu"),
        (chain(Scale(2.0)), "factor"),
        (chain(nn.Tanh(), nn.Sigmoid()), "two activations"),
        (nn.Sequential(nn.Tanh(), nn.Linear(3, 1)).double(), "before the first"),
        (chain(nn.Tanh()).float(), "float32"),
    ],
)
def test_programs_that_are_not_bounded(model: nn.Module, word: str) -> None:
    dtype = next(model.parameters()).dtype
    X = torch.randn(2, 3, dtype=dtype)
    reason = rounding_not_covered(read(model, X), X)
    assert reason is not None
    assert word in reason


def test_programs_that_are_bounded() -> None:
    X = torch.randn(2, 3, dtype=torch.float64)
    for layers in ((nn.Tanh(),), (nn.Sigmoid(), nn.Identity()), ()):
        assert rounding_not_covered(read(chain(*layers), X), X) is None
    assert "data" in (rounding_not_covered(read(chain(nn.Tanh()), X), X.float()) or "")
