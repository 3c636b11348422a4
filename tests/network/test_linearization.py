"""Values, kernel and residual at the stored weights against dense autodiff and Arb."""

from __future__ import annotations

import math

import flint
import pytest
import torch
from tests.network.chains import CASES, chain, inputs, reference_jacobian

from talweg.network import FlatFunction, kernel_ball, linearize, residual_norm_bound

AUTODIFF_ERROR = 1e-12  # float64 noise of the dense twin, not of the enclosure


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_the_dense_kernel(name: str) -> None:
    network = chain(name)
    X = inputs(network, 6)
    multiplicity = torch.tensor([1, 2, 1, 3, 1, 1])
    kernel = kernel_ball(linearize(network, X, multiplicity))
    function = FlatFunction(network, X, multiplicity.to(torch.float64).sqrt())
    J = reference_jacobian(function, function.start)
    error = (kernel.mid - J @ J.T).abs() - kernel.rad
    assert float(error.max()) <= AUTODIFF_ERROR * max(1.0, float((J @ J.T).abs().max()))
    assert float(kernel.rad.max()) <= 1e-11


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_module(name: str) -> None:
    network = chain(name)
    X = inputs(network, 5)
    state = linearize(network, X)
    function = FlatFunction(network, X)
    expected = function(function.start)
    assert float(((state.h[-1].mid - expected).abs() - state.h[-1].rad).max()) <= AUTODIFF_ERROR


def test_outputs_and_residual_contain_the_arb_value() -> None:
    network = chain("two layers")
    X = inputs(network, 4)
    y = torch.tensor([[0.3], [-1.0], [2.0], [0.0]], dtype=torch.float64)
    multiplicity = torch.tensor([1, 3, 1, 2])
    state = linearize(network, X, multiplicity)
    first, last = network.operations[0], network.operations[2]
    previous = flint.ctx.prec
    flint.ctx.prec = 256
    try:
        total = flint.arb(0)
        for i in range(4):
            output = flint.arb(float(last.bias[0]))  # type: ignore[union-attr, index]
            for j in range(5):
                z = flint.arb(float(first.bias[j]))  # type: ignore[union-attr, index]
                for d in range(3):
                    z += flint.arb(float(first.weight[j, d])) * flint.arb(float(X[i, d]))  # type: ignore[union-attr]
                output += flint.arb(float(last.weight[0, j])) * z.tanh()  # type: ignore[union-attr]
            lo, hi = float(state.h[-1].lower()[i, 0]), float(state.h[-1].upper()[i, 0])
            assert flint.arb(lo) <= output <= flint.arb(hi)
            total += int(multiplicity[i]) * (output - flint.arb(float(y[i, 0]))) ** 2
        bound = residual_norm_bound(state, y)
        assert total.sqrt() <= flint.arb(bound)
        assert bound <= float(total.sqrt().mid()) * (1 + 1e-12)
    finally:
        flint.ctx.prec = previous


def test_merged_rows_have_the_spectrum_of_the_unmerged_ones() -> None:
    network = chain("three layers")
    X = inputs(network, 3)
    doubled = X[[0, 1, 1, 2, 2, 2]]
    merged = kernel_ball(linearize(network, X, torch.tensor([1, 2, 3]))).mid
    full = kernel_ball(linearize(network, doubled)).mid
    assert torch.allclose(
        torch.linalg.eigvalsh(full)[3:], torch.linalg.eigvalsh(merged), rtol=1e-10
    )
    assert math.isclose(float(merged.diagonal().sum()), float(full.diagonal().sum()), rel_tol=1e-12)
