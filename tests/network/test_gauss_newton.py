"""The Jacobian by columns against autodiff, Gauss-Newton eigenvalues and gradient bounds."""

from __future__ import annotations

import pytest
import torch
from tests.network.chains import CASES, chain, inputs, reference_jacobian
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import gram
from talweg.network import (
    FlatFunction,
    Linear,
    Network,
    gauss_newton_ball,
    gradient_norm_bound,
    jacobian_ball,
    kernel_ball,
    linearize,
)
from talweg.network import _gauss_newton as module
from talweg.verified import smallest_eigenvalue_lower

AUTODIFF_ERROR = 1e-12  # float64 noise of the dense twin, not of the enclosure


def columns(network: Network) -> Tensor:
    """For each column of `jacobian_ball` the place of that parameter in the flat vector."""
    places, start = [], 0
    for op in network.operations:
        if not isinstance(op, Linear):
            continue
        d_out, d_in = op.weight.shape
        weight = d_in if op.weight_trainable else 0
        bias = start + d_out * weight
        for unit in range(d_out):
            places += range(start + unit * weight, start + (unit + 1) * weight)
            if op.bias_trainable:
                places.append(bias + unit)
        start = bias + (d_out if op.bias_trainable else 0)
    return torch.tensor(places)


@pytest.mark.parametrize("name", CASES)
def test_jacobian_holds_the_dense_one(name: str) -> None:
    network = chain(name)
    X = inputs(network, 6)
    multiplicity = torch.tensor([1, 2, 1, 3, 1, 1])
    state = linearize(network, X, multiplicity)
    J = jacobian_ball(state)
    root = multiplicity.to(torch.float64).sqrt()
    function = FlatFunction(network, X, root)
    dense = reference_jacobian(function, function.start)[:, columns(network)]
    assert J.shape == dense.shape == (state.residual_dim, network.trainable_parameters)
    assert float(((J.mid - dense).abs() - J.rad).max()) <= AUTODIFF_ERROR
    assert float(J.rad.max()) <= 1e-11
    kernel, product = kernel_ball(state), gram(J)
    gap = (kernel.mid - product.mid).abs() - kernel.rad - product.rad
    assert float(gap.max()) <= 0.0  # two enclosures of one matrix meet
    y = inputs(network, 6, seed=5)[:, :1].expand(6, network.output_dim)
    r = (function(function.start) - y * root.reshape(-1, 1)).reshape(-1)
    bound, value = gradient_norm_bound(state, y, J), float((dense.T @ r).norm())
    assert value * (1 - AUTODIFF_ERROR) <= bound <= value * (1 + 1e-9) + 1e-9


def test_smallest_column_singular_value_is_bounded() -> None:
    network = chain("two layers")  # p = 26
    X = inputs(network, 60)
    matrix = gauss_newton_ball(jacobian_ball(linearize(network, X)))
    function = FlatFunction(network, X)
    dense = reference_jacobian(function, function.start)
    true = float(torch.linalg.svdvals(dense)[-1]) ** 2
    lower = smallest_eigenvalue_lower(matrix)
    assert 0.9 * true <= lower <= true * (1 + 1e-9)


def test_large_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 100)
    network = chain("two layers")
    with pytest.raises(InputError, match="kernel_ball"):
        jacobian_ball(linearize(network, inputs(network, 6)))
