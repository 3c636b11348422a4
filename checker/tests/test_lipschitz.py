"""B3 against what it bounds (attacks, differences of Jacobians) and against a naive twin."""

import numpy as np
import pytest
from flint import ctx
from generator import Problem, chain
from reference import at, attack, flat_weights, jacobian, lipschitz, second_derivative

from talweg_check._arrays import PRECISION, exact
from talweg_check._lipschitz import JacobianLipschitz
from talweg_check._network import Network, stages_of

CASES = {
    "two layers": ([3, 6, 1], "tanh", {}),
    "two layers, three outputs": ([3, 5, 3], "sigmoid", {}),
    "no bias": ([3, 6, 1], "gelu", {"bias": False}),
    "first layer only": ([3, 6, 2], "tanh", {"frozen": ("2.weight", "2.bias")}),
    "last layer only": ([3, 6, 2], "tanh", {"frozen": ("0.weight", "0.bias")}),
    "last weight frozen": ([3, 6, 2], "silu", {"frozen": ("2.weight",)}),
    "biases frozen": ([3, 4, 4, 1], "tanh", {"frozen": ("0.bias", "2.bias", "4.bias")}),
    "three layers": ([3, 4, 5, 2], "tanh", {}),
    "middle frozen": ([3, 4, 5, 2], "sin", {"frozen": ("2.weight", "2.bias")}),
    "last of three frozen": ([3, 4, 5, 2], "tanh", {"frozen": ("4.weight", "4.bias")}),
    "four layers": ([2, 4, 3, 4, 1], "gelu_tanh", {}),
    "linear": ([2, 3, 3, 1], "identity", {}),
}


def _setting(name: str, seed: int = 0) -> tuple[Problem, np.ndarray]:
    widths, function, options = CASES[name]
    rng = np.random.default_rng(seed)
    operations, weights = chain(rng, widths, function, **options)
    weights = {key: 2 * value for key, value in weights.items()}
    inputs = rng.normal(size=(4, widths[0]))
    problem = Problem(operations, weights, inputs, np.zeros((4, widths[-1])))
    return problem, np.array([1, 3, 1, 2])


def _bound(problem: Problem, multiplicity: np.ndarray, radius: float) -> float:
    with ctx.workprec(PRECISION):
        stages = stages_of(problem.operations, problem.weights)
        net = Network(stages, exact(problem.inputs), multiplicity)
        return float(JacobianLipschitz(net).upper(radius))


@pytest.mark.parametrize("name", CASES)
def test_is_above_the_attack_at_the_start(name: str) -> None:
    problem, multiplicity = _setting(name)
    root = np.sqrt(np.repeat(multiplicity, problem.targets.shape[1]))
    found = attack(root[:, None, None] * second_derivative(problem), np.random.default_rng(1))
    bound = _bound(problem, multiplicity, 1e-9)
    assert found * (1 - 1e-6) <= bound <= 6 * found + 1e-6


@pytest.mark.parametrize("radius", [0.1, 1.0])
@pytest.mark.parametrize("name", CASES)
def test_is_above_the_attack_in_the_ball(name: str, radius: float) -> None:
    problem, multiplicity = _setting(name, 2)
    rng = np.random.default_rng(3)
    root = np.sqrt(np.repeat(multiplicity, problem.targets.shape[1]))
    bound = _bound(problem, multiplicity, radius)
    centre = flat_weights(problem)
    for _ in range(3):
        step = rng.normal(size=len(centre))
        moved = at(problem, centre + radius * step / np.linalg.norm(step))
        tensor = root[:, None, None] * second_derivative(moved)
        assert attack(tensor, rng, 2) <= bound
        other = rng.normal(size=len(centre))
        other = centre + radius * other / np.linalg.norm(other)
        change = root[:, None] * (jacobian(moved) - jacobian(at(problem, other)))
        distance = np.linalg.norm(flat_weights(moved) - other)
        assert np.linalg.norm(change, 2) <= bound * distance


@pytest.mark.parametrize("radius", [1e-9, 0.05, 0.7])
@pytest.mark.parametrize("name", CASES)
def test_is_the_formula_of_the_page(name: str, radius: float) -> None:
    """The twin samples its ranges, so it may fall short of the bound a little, never exceed it."""
    problem, multiplicity = _setting(name, 4)
    bound, twin = _bound(problem, multiplicity, radius), lipschitz(problem, multiplicity, radius)
    assert twin * (1 - 1e-7) <= bound <= twin * (1 + 1e-3) + 1e-9


def test_grows_with_the_radius() -> None:
    problem, multiplicity = _setting("three layers")
    bounds = [_bound(problem, multiplicity, radius) for radius in (1e-6, 1e-3, 0.1, 1.0)]
    assert bounds == sorted(bounds)


def test_derivatives_of_both_signs() -> None:
    """F = w4 (sin w0 - sin(w0 + pi)) = 2 w4 sin w0: absolute values of psi' would cancel in P.

    A checker that made the propagators of |psi'| found a beta of 2.8e-4 here.
    """
    linear = {"kind": "linear", "bias": None, "weight_trainable": False, "bias_trainable": False}
    operations = [
        {**linear, "weight": "0", "weight_trainable": True},
        {**linear, "weight": "1", "bias": "1b"},
        {"kind": "elementwise", "function": "sin", "parameters": {}},
        {**linear, "weight": "3"},
        {**linear, "weight": "4", "weight_trainable": True},
    ]
    weights = {
        "0": np.zeros((1, 1)), "1": np.ones((2, 1)), "1b": np.array([0.0, np.pi]),
        "3": np.array([[1.0, -1.0]]), "4": np.ones((1, 1)),
    }  # fmt: skip
    problem = Problem(operations, weights, np.ones((1, 1)), np.zeros((1, 1)))
    assert _bound(problem, np.array([1]), 1e-9) >= 2


@pytest.mark.parametrize("function", ["sin", "silu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("seed", range(4))
def test_deep_chains_of_functions_that_are_not_monotone(function: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    operations, weights = chain(rng, [2, 3, 4, 3, 1], function)
    weights = {key: 3 * value for key, value in weights.items()}
    problem = Problem(operations, weights, rng.normal(size=(3, 2)), np.zeros((3, 1)))
    tensor = second_derivative(problem)
    assert attack(tensor, rng) * (1 - 1e-6) <= _bound(problem, np.ones(3, dtype=int), 1e-9)
