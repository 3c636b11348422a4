"""A sample of the containment shards of `verified` and `network`, and proof that they can fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq
from tests.network.chains import CASES, inputs, reference_jacobian
from tests.network.chains import chain as network_of
from tests.soundness.chain_reference import FUNCTIONS, cross_entropy_loss, squared_loss
from tests.soundness.containment import (
    network_curvature,
    network_graph,
    network_linearization,
    network_lipschitz,
    network_norms,
    network_rounding,
    network_weight_norms,
    verified,
)
from tests.soundness.containment.network_draws import reference_of
from tests.soundness.semidefinite import is_positive_semidefinite
from tests.soundness.shard import Shard, Tally
from torch import Tensor

from talweg.enclosure import _ball
from talweg.network import (
    FlatFunction,
    GradientError,
    JacobianLipschitz,
    _descent,
    _linearization,
    _merge,
)
from talweg.network import _graph_forms as graph_forms
from talweg.network import _kernel as kernel
from talweg.network import _unit_curvature as unit_curvature
from talweg.network import _weighted_inputs as weighted_inputs
from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network.rules import _norms as norms
from talweg.verified import _largest as largest
from talweg.verified import _smallest as smallest
from talweg.verified import _spectral_norm as spectral_norm

MODULES = (
    verified,
    network_linearization,
    network_norms,
    network_lipschitz,
    network_graph,
    network_rounding,
    network_curvature,
    network_weight_norms,
)
SHARDS: dict[str, Shard] = {
    shard.name: shard for shard in chain.from_iterable(module.SHARDS for module in MODULES)
}


@pytest.mark.parametrize("name", SHARDS)
def test_one_batch_finds_nothing(name: str) -> None:
    tally = SHARDS[name].batch(20_260_000)
    assert tally.violations == ()
    assert tally.tracebacks == ()
    assert tally.cases > 50


def _smaller(routine: Callable[..., Any], factor: float) -> Callable[..., Any]:
    def scaled(*args: Any, **kwargs: Any) -> Any:
        return routine(*args, **kwargs) * factor

    return scaled


def _next_up(routine: Callable[..., float]) -> Callable[..., float]:
    def raised(*args: Any) -> float:
        return math.nextafter(routine(*args), math.inf)

    return raised


def _shrunk(rad: Tensor) -> Tensor:
    return rad.mul_(0.25)


def _low_norm(x: Tensor, dim: Any = None) -> Tensor:
    dims = tuple(range(x.ndim)) if dim is None else dim
    return torch.linalg.vector_norm(x, dim=dims) * (1.0 - 2.0**-50)


def _high_sum(x: Tensor) -> Tensor:
    return x.sum() + 1e-12 * x.abs().sum()


SABOTAGE: tuple[tuple[str, object, str, object], ...] = (
    (
        "verified.smallest_eigenvalue_lower",
        smallest,
        "gershgorin_lower",
        _next_up(smallest.gershgorin_lower),
    ),
    (
        "verified.psd_largest_eigenvalue_upper",
        largest,
        "_collatz",
        _smaller(largest._collatz, 1.0 - 1e-15),
    ),
    ("verified.spectral_norm_upper", spectral_norm, "norm_upper", _low_norm),
    ("network.linearize", _ball, "lift_", _shrunk),
    ("network.kernel_ball", _ball, "lift_", _shrunk),
    ("network.symmetric_kernel", kernel, "radius_rows", _smaller(kernel.radius_rows, 0.1)),
    ("network.jacobian_ball", _ball, "lift_", _shrunk),
    ("network.residual_ball", _ball, "lift_", _shrunk),
    ("network.residual_norm_bound", _linearization, "norm_upper", _low_norm),
    ("network.half_squares_gradient_norm_upper", _descent, "norm_upper", _low_norm),
    ("network.half_squares_decrease_lower", _descent, "sum_lower", _high_sum),
    ("network.step_length_bounds", _descent, "norm_upper", _low_norm),
    (
        "network.merge_duplicates",
        _merge,
        "_within_group_squares_lower",
        _next_up(_merge._within_group_squares_lower),
    ),
    (
        "network.JacobianLipschitz",
        JacobianLipschitz,
        "_upper",
        _smaller(JacobianLipschitz._upper, 0.999),
    ),
    ("network.graph_values", _ball, "lift_", _shrunk),
    ("network.graph_kernels", _ball, "lift_", _shrunk),
    ("network.graph_forms", graph_forms, "psd_norm_upper", _smaller(norms.psd_norm_upper, 0.999)),
    (
        "network.GraphLipschitz",
        GraphLipschitz,
        "layer_matrix_upper",
        _smaller(GraphLipschitz.layer_matrix_upper, 0.999),
    ),
    (
        "network.GradientError",
        GradientError,
        "upper",
        _smaller(GradientError.upper, 0.05),
    ),
    (
        "network.unit_curvature_upper",
        unit_curvature,
        "div_up",
        _smaller(torch.div, 1.0 - 1e-12),
    ),
    (
        "network.WeightedInputs",
        weighted_inputs,
        "moved_upper",
        _smaller(weighted_inputs.moved_upper, 0.0),
    ),
)


@pytest.mark.parametrize(("name", "module", "attribute", "broken"), SABOTAGE)
def test_a_broken_routine_is_found(
    name: str, module: object, attribute: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, attribute, broken)
    tally, seed = Tally(), 0
    while not tally.violations and seed < 4:
        tally += SHARDS[f"containment/{name}"].batch(seed)
        seed += 1
    assert tally.violations


@pytest.mark.parametrize("name", CASES)
def test_the_reference_agrees_with_automatic_differentiation(name: str) -> None:
    network = network_of(name)
    X = inputs(network, 3)
    function = FlatFunction(network, X)
    expected = reference_jacobian(function, function.start).numpy()
    reference = reference_of(network)
    with ctx.workprec(256):
        found = np.array(
            [[float(x) for x in row] for row in reference.jacobian(X.numpy()).tolist()]
        )
    assert np.abs(found - expected).max() < 1e-14  # rounding of the automatic one


@pytest.mark.parametrize("name", FUNCTIONS)
def test_reference_derivatives_are_those_of_the_function(name: str) -> None:
    constants = {"beta": 1.5, "slope": 0.3}
    with ctx.workprec(600):
        h = arb(2) ** -150
        for x in (-3.0, -0.25, 0.0, 0.5, 2.0):
            left, at, right = (FUNCTIONS[name](arb(x) + s * h, constants) for s in (-1, 0, 1))
            for order in (0, 1):
                quotient = (right[order] - left[order]) / (2 * h)
                assert abs(quotient - at[order + 1]) < arb(2) ** -280


def test_reference_losses() -> None:
    from flint import arb_mat

    outputs = arb_mat(2, 2, [1, 2, 3, 4])
    loss, top = squared_loss(outputs, [[0.0, 0.0], [0.0, 1.0]], "mean")
    assert loss == arb(fmpq(23, 4))
    assert top[1, 1] == arb(fmpq(3, 2))
    loss, top = cross_entropy_loss(arb_mat(1, 2, [0, 0]), [1], 0.5, "sum")
    assert abs(loss - arb(2).log()) < 1e-15
    assert top[0, 0] == arb(fmpq(1, 4))


def test_semidefinite_is_decided_at_the_boundary() -> None:
    def rows(values: list[list[float]]) -> list[list[arb]]:
        return [[arb(x) for x in row] for row in values]

    assert is_positive_semidefinite(rows([[1.0, 1.0], [1.0, 1.0]])) is True
    assert is_positive_semidefinite(rows([[1.0, 1.0], [1.0, 1.0 - 2.0**-53]])) is False
    assert is_positive_semidefinite(rows([[0.0, 0.0], [0.0, 0.0]])) is True
    assert is_positive_semidefinite(rows([[0.0, 1.0], [1.0, 5.0]])) is False
    # Rank one: eliminating 0.1 needs a third of it, which no precision represents.
    with ctx.workprec(256):
        exact = [[arb(0.1) * a * b for b in (1, 3, 2)] for a in (1, 3, 2)]
    assert is_positive_semidefinite(exact) is True
