"""The Lipschitz bound of the Jacobian: never below what an attack finds, nor needlessly above."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tests.network.chains import CASES, chain, inputs, reference_jacobian
from torch import Tensor

from talweg._errors import InputError
from talweg.network import (
    Elementwise,
    FlatFunction,
    JacobianLipschitz,
    Linear,
    Network,
    Node,
    Operation,
    Scale,
    jacobian_lipschitz_upper,
    linearize,
    lipschitz_attack_approx,
)
from talweg.network._maxima import largest_of, nonnegative_norm_upper
from talweg.network._unit_curvature import unit_curvature_upper

# Largest slack seen over the cases below at R -> 0, so that a loosened bound is noticed.
SLACK_LIMIT = {"two layers": 1.25, "two layers, three outputs": 1.25, "three layers": 2.0}
ATTACK_ERROR = 1.0 + 1e-9  # float64 noise of the attack, which is no enclosure


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_attacks_at_the_stored_weights_stay_below(name: str, gain: float) -> None:
    network = chain(name, gain=gain)
    X = inputs(network, 6)
    multiplicity = torch.tensor([1, 2, 1, 3, 1, 1])
    bound = JacobianLipschitz(linearize(network, X, multiplicity)).upper(0.0)
    function = FlatFunction(network, X, multiplicity.to(torch.float64).sqrt())
    attack = lipschitz_attack_approx(function, restarts=3, iterations=80)
    assert attack.value <= bound * ATTACK_ERROR
    assert bound <= 6.0 * attack.value or attack.value == 0.0


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("radius", [0.03, 0.3, 1.5])
def test_attacks_anywhere_in_the_ball_stay_below(name: str, radius: float) -> None:
    network = chain(name, seed=2)
    X = inputs(network, 5)
    bound = jacobian_lipschitz_upper(linearize(network, X), radius)
    function = FlatFunction(network, X)
    for seed in range(3):
        w = function.start + radius * _unit(len(function.start), seed)
        here = FlatFunction(function.network_at(w), X)
        attack = lipschitz_attack_approx(here, restarts=1, iterations=40, seed=seed)
        assert attack.value <= bound * ATTACK_ERROR
        # Walk along the worst direction to the boundary: the bound holds for all of it.
        far = function.start + radius * attack.delta
        there = FlatFunction(function.network_at(far), X)
        assert (
            lipschitz_attack_approx(there, restarts=1, iterations=40).value <= bound * ATTACK_ERROR
        )


@pytest.mark.parametrize(
    "name", ["two layers", "three layers", "four layers, two outputs", "scaled"]
)
def test_jacobian_differences_stay_below(name: str) -> None:
    network = chain(name, seed=4)
    X = inputs(network, 5)
    function = FlatFunction(network, X)
    radius = 0.5
    bound = jacobian_lipschitz_upper(linearize(network, X), radius)
    start = function.start
    for seed in range(10):
        w = start + radius * _unit(len(start), 2 * seed)
        v = start + radius * _unit(len(start), 2 * seed + 1) * (seed / 10)
        change = reference_jacobian(function, w) - reference_jacobian(function, v)
        assert float(torch.linalg.matrix_norm(change, 2)) <= bound * float((w - v).norm())


def _overflowing(last: Elementwise) -> Network:
    """One trained bias b behind a frozen 1e200 and 1e-300: z = 0.5e-100 b + 1e20."""

    def frozen(value: float, bias: float | None, position: int, trains: bool = False) -> Linear:
        return Linear(
            torch.tensor([[value]], dtype=torch.float64),
            None if bias is None else torch.tensor([bias], dtype=torch.float64),
            False,
            trains,
            str(position),
            f"{position}.weight",
            None if bias is None else f"{position}.bias",
        )

    operations: list[Operation] = [
        frozen(1.0, 0.0, 0, trains=True),
        frozen(1e200, None, 1),
        Scale(0.5, 1.0, "2"),
        frozen(1e-300, None, 3),
        frozen(1.0, 1e20, 4),
        last,
    ]
    return Network(tuple(Node(op, (t,)) for t, op in enumerate(operations)), 1, 1)


def test_an_overflowing_change_is_unknown_not_the_largest_float() -> None:
    # |dz| overflows in the second layer. Taken as the largest float it came out of the fourth as
    # 1e8, as if z stayed at 1e20, far from where tanh bends; b = -2e120 brings it to 0.
    X = torch.ones(1, 1, dtype=torch.float64)
    bent = JacobianLipschitz(linearize(_overflowing(Elementwise("tanh", "5")), X))
    assert bent.upper(1e150) == math.inf
    constants = {"beta": 1.0, "threshold": 1e30}
    soft = JacobianLipschitz(linearize(_overflowing(Elementwise("softplus", "5", constants)), X))
    assert soft.nonideal_path(1e100) is None
    assert soft.nonideal_path(1e150) == "5"


def test_an_overflowing_curvature_of_a_unit_is_unknown() -> None:
    huge = torch.full((2, 1), 1e300, dtype=torch.float64)
    bound = unit_curvature_upper(huge, torch.full((2, 2), 1e300, dtype=torch.float64))
    assert bound.tolist() == [math.inf]


@pytest.mark.parametrize("name", CASES)
def test_bound_grows_with_the_radius_and_is_continuous_at_zero(name: str) -> None:
    lipschitz = JacobianLipschitz(linearize(chain(name), inputs(chain(name), 4)))
    values = [lipschitz.upper(r) for r in (0.0, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 10.0)]
    assert all(a <= b * (1 + 1e-12) for a, b in itertools.pairwise(values))
    assert values[1] <= values[0] * (1 + 1e-8) + 1e-300


@pytest.mark.parametrize("name", SLACK_LIMIT)
def test_bound_is_not_needlessly_loose(name: str) -> None:
    network = chain(name)
    X = inputs(network, 12).abs()
    bound = jacobian_lipschitz_upper(linearize(network, X), 0.0)
    assert bound <= SLACK_LIMIT[name] * lipschitz_attack_approx(FlatFunction(network, X)).value


@pytest.mark.parametrize(
    "name", ["two layers", "three layers", "four layers, two outputs", "no bias"]
)
def test_bound_equals_the_naive_formulas(name: str) -> None:
    """The page's formulas at R = 0, written with dense float matrices and no pruning."""
    network = chain(name, seed=7)
    X = inputs(network, 6)
    bound = jacobian_lipschitz_upper(linearize(network, X), 0.0)
    assert bound == pytest.approx(reference_lipschitz(network, X), rel=1e-3)
    assert bound >= reference_lipschitz(network, X) * (1 - 1e-12)


def test_two_layers_unit_by_unit_is_the_better_bound() -> None:
    network = chain("two layers", seed=3)
    lipschitz = JacobianLipschitz(linearize(network, inputs(network, 8)))
    whole = nonnegative_norm_upper(lipschitz.layer_matrix_upper(0.0))
    assert lipschitz.upper(0.0) <= whole * (1 + 1e-9)


def test_affine_model_has_constant_jacobian() -> None:
    network = chain("one layer")
    assert jacobian_lipschitz_upper(linearize(network, inputs(network, 4)), 2.0) <= 1e-290


def test_softplus_beyond_its_threshold_is_reported() -> None:
    network = chain("softplus", gain=1.0)
    lipschitz = JacobianLipschitz(linearize(network, inputs(network, 4)))
    assert lipschitz.nonideal_path(0.01) is None
    assert lipschitz.nonideal_path(100.0) == "1"


@pytest.mark.parametrize("radius", [-1.0, math.inf, math.nan])
def test_radius_must_be_finite(radius: float) -> None:
    network = chain("two layers")
    with pytest.raises(InputError, match="radius"):
        jacobian_lipschitz_upper(linearize(network, inputs(network, 2)), radius)


def test_largest_of_prunes_only_what_cannot_win() -> None:
    exact = torch.tensor([1.0, 4.0, 2.0, 3.0], dtype=torch.float64)
    cheap = torch.tensor([9.0, 5.0, 3.5, 3.9], dtype=torch.float64)
    seen: list[int] = []

    def evaluate(units: Tensor) -> Tensor:
        seen.extend(units.tolist())
        return exact[units]

    assert largest_of(cheap, evaluate, 1) == 4.0
    assert seen == [0, 1]


def test_largest_of_lets_no_nan_pass() -> None:
    cheap = torch.tensor([1.0, math.nan], dtype=torch.float64)
    assert largest_of(cheap, lambda units: cheap[units], 2) == math.inf


@pytest.mark.parametrize("entries", [[[0.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [2.0, 0.0]]])
def test_nonnegative_norm(entries: list[list[float]]) -> None:
    matrix = torch.tensor(entries, dtype=torch.float64)
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    bound = nonnegative_norm_upper(matrix)
    assert exact * (1 - 1e-15) <= bound <= exact * (1 + 1e-6)


def test_nonnegative_norm_without_an_eigenvector(monkeypatch: pytest.MonkeyPatch) -> None:
    """LAPACK gave up on a matrix graded to the extreme; the row sums bound it as well."""

    def eigh(matrix: Tensor) -> None:
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(torch.linalg, "eigh", eigh)
    matrix = torch.tensor([[1.0, 2.0], [2.0, 0.0]], dtype=torch.float64)
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    assert exact <= nonnegative_norm_upper(matrix) <= 1.5 * exact
    assert nonnegative_norm_upper(1e-300 * matrix) >= 1e-300 * exact


def _unit(size: int, seed: int) -> Tensor:
    direction = torch.randn(
        size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return direction / direction.norm()


def reference_lipschitz(network: Network, X: Tensor) -> float:
    """beta(0) of docs/theory/B3.md for tanh chains with identity output, dense and naive."""
    from talweg.network import Linear

    layers = [op for op in network.operations if isinstance(op, Linear)]
    depth, n, k = len(layers), len(X), network.output_dim
    h, extended, slope, curve = X, [], [], []
    for layer in layers:
        ones = [] if layer.bias is None else [torch.ones(n, 1, dtype=torch.float64)]
        extended.append(torch.cat([h, *ones], 1))
        z = h @ layer.weight.T + (0.0 if layer.bias is None else layer.bias)
        h = torch.tanh(z)
        slope.append(1 - h**2)
        curve.append(-2 * h * (1 - h**2))
    g = [torch.eye(k, dtype=torch.float64).expand(n, k, k)]
    g_h = [torch.zeros(0)]
    for index in range(depth - 2, -1, -1):
        g_h.insert(0, g[0] @ layers[index + 1].weight)
        g.insert(0, g_h[0] * slope[index][:, None, :])

    def norm(matrix: Tensor) -> Tensor:
        return torch.linalg.matrix_norm(matrix, 2)

    def weighted(weights: Tensor, a: int) -> Tensor:
        return norm(weights[:, None] * extended[a])

    s = [g_h[c].norm(dim=1) * curve[c].abs() for c in range(depth - 1)]
    size = [e.norm(dim=1) for e in extended]
    P: dict[tuple[int, int], Tensor] = {}
    for a in range(depth):
        P[a, a] = torch.eye(slope[a].shape[1], dtype=torch.float64).expand(n, -1, -1)
        for c in range(a + 1, depth):
            P[c, a] = layers[c].weight @ (slope[c - 1][:, :, None] * P[c - 1, a])
    T = torch.zeros(depth, depth, dtype=torch.float64)
    units: list[Tensor] = []
    for b in range(depth):
        for a in range(b + 1):
            product = curvature = torch.tensor(0.0, dtype=torch.float64)
            if a == b - 1:
                sigma = torch.stack([
                    weighted(norm(g[b]) * slope[a][:, j], a) for j in range(slope[a].shape[1])
                ])  # fmt: skip
                product = sigma.max()
                units.append(sigma)
            elif a < b:
                product = weighted(norm(g[b]) * norm(slope[b - 1][:, :, None] * P[b - 1, a]), a)
            if a == b == depth - 2:
                overlaps = (extended[b] @ extended[b].T) ** 2
                tau = torch.stack([
                    min(
                        weighted(s[b][:, j] * size[b], b),
                        norm(s[b][:, j, None] * overlaps * s[b][:, j]).sqrt(),
                    )
                    for j in range(s[b].shape[1])
                ])  # fmt: skip
                curvature = tau.max()
                units.insert(0, tau)
            elif b < depth - 1:
                own = norm(
                    torch.cat([s[c].sqrt()[:, :, None] * P[c, b] for c in range(b, depth - 1)], 1)
                )
                other = norm(
                    torch.cat([s[c].sqrt()[:, :, None] * P[c, a] for c in range(b, depth - 1)], 1)
                )
                curvature = min(
                    weighted(own * other * size[b], a), weighted(own * other * size[a], b)
                )
            T[a, b] = T[b, a] = product + curvature
    if depth == 2:
        tau, sigma = units
        return float(((tau + (tau**2 + 4 * sigma**2).sqrt()) / 2).max())
    return float(torch.linalg.matrix_norm(T, 2))
