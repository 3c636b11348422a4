"""The two evaluators of a chain, float64 and Arb, against each other and difference quotients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from flint import arb, ctx
from torch import Tensor, nn

import talweg
from talweg.falsification._chain import FloatChain
from talweg.falsification._exact import ExactChain
from talweg.falsification._functions import exact_jet, jet_approx
from talweg.falsification._stated import Stated, stated

FUNCTIONS = {
    "tanh": {}, "sigmoid": {}, "silu": {}, "gelu": {}, "gelu_tanh": {}, "sin": {}, "identity": {},
    "softplus": {"beta": 1.5, "threshold": 20.0}, "smooth_leaky_relu": {"slope": 0.2},
    "scale": {"numerator": 3.0, "denominator": 7.0},
}  # fmt: skip
ACTIVATIONS: list[Callable[[], nn.Module]] = [nn.Tanh, nn.Sigmoid, nn.GELU, nn.Softplus]


def drawn(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def claims_about(activation: Callable[[], nn.Module], *, entropy: bool = False) -> Stated:
    """A certificate with a frozen bias, a repeated row and two outputs."""
    model = nn.Sequential(nn.Linear(2, 5), activation(), nn.Linear(5, 5), activation(),
                          nn.Linear(5, 2)).double()  # fmt: skip
    with torch.no_grad():
        for seed, parameter in enumerate(model.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=seed))
    model[2].bias.requires_grad_(False)
    X, rows = drawn(2, 2, seed=10), [0, 1, 1]
    with torch.no_grad():
        y = (model(X) + 1e-8)[rows]  # exactly equal for equal rows
    X = X[rows]
    if entropy:
        labels = torch.tensor([0, 1, 1])
        with torch.no_grad():
            loss = float(nn.functional.cross_entropy(model(X), labels))
        found = talweg.certify(
            model, (X, labels), loss="cross_entropy", target=0.99999 * loss, attack=False
        )
    else:
        found = talweg.certify(model, (X, y), attack=False)
    assert found.document is not None, found.reason
    return stated(found.document)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float_and_exact_functions_agree(name: str) -> None:
    points = torch.linspace(-6.0, 6.0, 49, dtype=torch.float64)
    jets = jet_approx(name, FUNCTIONS[name], points)
    for index, x in enumerate(points.tolist()):
        with ctx.workprec(256):
            exact = exact_jet(name, FUNCTIONS[name], arb(x))
        for approximate, value in zip(jets, exact, strict=True):
            assert float(approximate[index]) == pytest.approx(float(value), rel=1e-9, abs=1e-12)
            assert value.rad() < 1e-60


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_exact_derivatives_are_those_of_the_value(name: str) -> None:
    """The slope over a tiny interval lies within what f'' allows; so does that of f'."""
    step = arb(2) ** -60
    with ctx.workprec(512):
        for x in (-2.0, -0.3, 0.0, 0.7, 3.1):
            left, right = (
                exact_jet(name, FUNCTIONS[name], arb(x) + sign * step) for sign in (-1, 1)
            )
            here = exact_jet(name, FUNCTIONS[name], arb(x))
            for order in (1, 2):
                quotient = (right[order - 1] - left[order - 1]) / (2 * step)
                assert abs(quotient - here[order]) < 1e-30


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_chains_agree(activation: Callable[[], nn.Module]) -> None:
    found = claims_about(activation)
    chain, exact = FloatChain(found), ExactChain(found)
    x = 0.1 * drawn(2, chain.size, seed=1)
    v, d = drawn(2, chain.size, seed=2), drawn(2, chain.size, seed=3)
    outputs, pushed = chain.push(x, v)
    bent = chain.bend(x, v, d)
    jacobian = chain.jacobian(x)
    assert torch.allclose((jacobian @ v[:, :, None])[:, :, 0], pushed.flatten(1), rtol=1e-12)
    with ctx.workprec(256):
        w = exact.displaced(x[0])
        h, a, b, c = exact.jet(w, *([arb(z) for z in t[0].tolist()] for t in (v, d)))
        pairs = [
            (h, outputs[0]), (exact.outputs(w), outputs[0]), (exact.rescaled(a), pushed[0]),
            (exact.rescaled(b), chain.push(x, d)[1][0]), (exact.rescaled(c), bent[0]),
        ]  # fmt: skip
        for one, other in pairs:
            for ball, value in zip(one.entries(), other.flatten().tolist(), strict=True):
                assert float(ball) == pytest.approx(value, rel=1e-11, abs=1e-13)


def test_the_exact_derivatives_are_limits_of_difference_quotients() -> None:
    found = claims_about(nn.Tanh)
    exact, size = ExactChain(found), FloatChain(found).size
    step = arb(2) ** -100
    with ctx.workprec(512):
        w, v, d = ([arb(z) for z in drawn(size, seed=seed).tolist()] for seed in (1, 2, 3))
        left, right = ([a + sign * step * b for a, b in zip(w, d, strict=True)] for sign in (-1, 1))
        for derivative, quotient in (
            (exact.push(w, d), exact.outputs(right) - exact.outputs(left)),
            (exact.bend(w, v, d), exact.push(right, v) - exact.push(left, v)),
        ):
            for one, two in zip(derivative.entries(), quotient.entries(), strict=True):
                assert abs(one - two / (2 * step)) < 1e-50


@pytest.mark.parametrize("entropy", [False, True])
def test_the_exact_gradient_is_that_of_the_loss(entropy: bool) -> None:
    found = claims_about(nn.Tanh, entropy=entropy)
    chain, exact = FloatChain(found), ExactChain(found)
    x = (0.1 * drawn(1, chain.size, seed=4)).requires_grad_(True)
    value = found.loss.values_approx(chain.outputs(x))
    gradient, reference = torch.autograd.grad(value.sum(), x)[0][0], float(value.detach())
    with ctx.workprec(256):
        outputs, pulled = exact.pull(exact.displaced(x[0].detach()), found.loss.exact_slope)
        assert float(found.loss.exact_value(outputs)) == pytest.approx(reference, rel=1e-12)
    for ball, wanted in zip(pulled, gradient.tolist(), strict=True):
        assert float(ball) == pytest.approx(wanted, rel=1e-10, abs=1e-12)


def test_zero_sum_directions_for_a_cross_entropy() -> None:
    chain = FloatChain(claims_about(nn.Tanh, entropy=True))
    x, v = 0.1 * drawn(1, chain.size, seed=5), drawn(1, chain.size, seed=6)
    pushed = chain.push(x, v)[1]
    assert float(pushed.sum(dim=-1).abs().max()) < 1e-14
    along = (chain.jacobian(x) @ v[:, :, None])[:, :, 0]
    assert torch.allclose(chain.directions(along), pushed, rtol=1e-12)
