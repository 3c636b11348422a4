"""LinearNetworkGD and its enclosures: against closed forms, 40 digits, and the best constant."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from mpmath import mp
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import Ball
from talweg.experiments.xu2025 import best_constant, build, run_rule
from talweg.optim import (
    LinearModelLoss,
    LinearNetworkGD,
    StepRule,
    _linear_network,
    enclosed_point,
    gap_upper,
    imbalance,
    linear_network_bounds,
    step_quartic,
)
from talweg.optim._linear_network_enclosures import decrease_lower, eigenvalue_bounds
from talweg.theory import LinearLossKind

KINDS = get_args(LinearLossKind)


def small(kind: str, seed: int = 0) -> Any:
    return build(kind, (3, 4, 2), 0.5, 2.0, 5.0, seed=seed)  # type: ignore[arg-type]


def exact_value(loss: LinearModelLoss, first: Tensor, second: Tensor) -> Any:
    """l(W1 W2) in 40 digits."""
    w = mp.matrix(first.tolist()) * mp.matrix(second.tolist())
    z = mp.matrix(loss.inputs.tolist()) * w
    y, total = loss.targets.tolist(), mp.mpf(0)
    for i, row in enumerate(y):
        zi = [z[i, j] for j in range(len(row))]
        if loss.kind == "squared":
            total += sum((a - b) ** 2 for a, b in zip(zi, row, strict=True)) / 2
        elif loss.kind == "huber":
            for a, b in zip(zi, row, strict=True):
                t = abs(a - b)
                total += t**2 / 2 if t <= 1 else t - mp.mpf(1) / 2
        elif loss.kind == "logistic":
            total += sum(mp.log(1 + mp.exp(-b * a)) for a, b in zip(zi, row, strict=True))
        else:
            total += mp.log(sum(mp.exp(a) for a in zi))
            total -= sum(a * b for a, b in zip(zi, row, strict=True))
    return mp.mpf(loss.weight) * total + mp.mpf(loss.ridge) / 2 * sum(x * x for x in w)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-7, 1e-2, 1.0])
def test_decrease_and_gradient_enclose_the_exact_ones(kind: str, size: float) -> None:
    problem = small(kind)
    loss, first, second = problem.loss, problem.first, problem.second
    before = enclosed_point(loss, first, second)
    g1, g2 = (b.mid for b in before.factor_gradients)
    after = enclosed_point(loss, first - size * g1, second - size * g2)
    with mp.workdps(40):
        f0 = exact_value(loss, before.first, before.second)
        f1 = exact_value(loss, after.first, after.second)
        lower = decrease_lower(loss, before, after)
        assert lower <= f0 - f1
        if size < 1.0:
            assert lower >= 0.9 * (f0 - f1) > 0  # and it is no idle bound
        # the gradient: central differences of the 40-digit value
        for i, j in ((0, 0), (2, 3)) if size == 1.0 else ():
            probe = torch.zeros_like(first)
            probe[i, j] = 2.0**-30
            up = exact_value(loss, first + probe, second)
            down = exact_value(loss, first - probe, second)
            slope = float((up - down) / mp.mpf(2.0**-29))
            assert slope == pytest.approx(float(g1[i, j]), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_gap_bounds_the_gap_and_is_sharp_near_the_minimum(kind: str) -> None:
    problem = small(kind)
    constants = problem.loss.constants.conclusion
    assert constants is not None
    run = run_rule(problem, "dai_yuan", tolerance=1e-9, most=150, certify=True)
    for c, gap in zip(run.certificates, run.gaps, strict=False):
        assert c.gap_upper >= gap - 1e-13 * run.gaps[0]
    if kind != "cross_entropy":
        late = [c.gap_upper / g for c, g in zip(run.certificates, run.gaps, strict=False)]
        assert late[-3] <= 1.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", get_args(StepRule))
def test_every_rule_descends_as_certified(kind: str, rule: StepRule) -> None:
    problem = small(kind, seed=5)
    run = run_rule(problem, rule, tolerance=1e-10, most=6, certify=True)
    rounding = 1e-13 * (abs(problem.infimum) + run.gaps[0])
    for (before, after), c in zip(pairwise(run.gaps), run.certificates, strict=True):
        assert c.decrease_lower > 0.0
        assert before - after >= c.decrease_lower - rounding
        assert after <= c.contraction_upper * before + rounding
        assert after <= c.pl_contraction_upper * before + rounding
        # T12's condition with the certificate's constant
        reach = math.sqrt(c.gradient_square_upper) * c.path_upper
        assert 0.0 < c.descent_constant_lower * reach <= c.decrease_lower * (1.0 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_untuned_step_beats_the_best_constant_on_a_small_problem(kind: str) -> None:
    problem = small(kind, seed=7)
    constant, _ = best_constant(problem, tolerance=1e-6, most=3000)
    run = run_rule(problem, "dai_yuan", tolerance=1e-6, most=3000)
    assert run.steps <= 1.2 * constant


def test_one_dimensional_squared_loss_is_solved_by_exact_steps() -> None:
    # f = (a b - 2)^2 / 2 from a = b = 1: the line ends in a b = 2 exactly, at eta = sqrt 2 - 1
    one = torch.ones(1, 1, dtype=torch.float64)
    loss = LinearModelLoss(one, 2.0 * one)
    factors = (one.clone(), one.clone())
    optimiser = LinearNetworkGD(factors, loss, rule="exact")
    assert optimiser.step() == pytest.approx(0.5)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(math.sqrt(2.0) - 1.0)
    assert float(factors[0]) == pytest.approx(math.sqrt(2.0))
    assert optimiser.certificates[0].contraction_upper < 1e-12


def test_quartic_of_the_squared_loss_is_the_loss_along_the_line() -> None:
    problem = small("squared")
    loss, first, second = problem.loss, problem.first, problem.second
    at = enclosed_point(loss, first, second)
    quartic = step_quartic(loss, at)
    g1, g2 = (b.mid for b in at.factor_gradients)
    for eta in (1e-3, 0.1, 0.7):
        change = loss.value((first - eta * g1) @ (second - eta * g2)) - loss.value(first @ second)
        assert quartic.change(eta).mid == pytest.approx(change, rel=1e-10)


def test_eigenvalue_bounds_hold_the_eigenvalues() -> None:
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        root = torch.randn(4, 4, generator=g, dtype=torch.float64)
        matrix = root + root.T
        lower, upper = eigenvalue_bounds(Ball.exact(matrix))
        with mp.workdps(40):
            exact = sorted(mp.eigsy(mp.matrix(matrix.tolist()), eigvals_only=True))
        for lo, value, hi in zip(lower, exact, upper, strict=True):
            assert lo <= value <= hi
            assert hi - lo <= 1e-12
    g = torch.Generator().manual_seed(9)
    w1 = torch.randn(2, 5, generator=g, dtype=torch.float64)
    w2 = torch.randn(5, 3, generator=g, dtype=torch.float64)
    found = imbalance(w1, w2)
    exact = torch.linalg.eigvalsh(w1.T @ w1 - w2 @ w2.T)
    assert found.largest_upper == pytest.approx(float(exact[4]))
    assert found.first_lower == pytest.approx(float(exact[3]))
    assert found.second_lower == pytest.approx(-float(exact[2]))
    assert found.negative_largest_upper == pytest.approx(-float(exact[0]))
    bounds = linear_network_bounds(w1, w2)
    assert bounds.first_sigma_lower == pytest.approx(float(torch.linalg.svdvals(w1)[-1]))
    assert linear_network_bounds(w1.T.contiguous(), w1).first_sigma_lower == 0.0


def test_wide_data_without_ridge_falls_back_on_the_plain_gap() -> None:
    g = torch.Generator().manual_seed(1)
    x, y = (torch.randn(3, k, generator=g, dtype=torch.float64) for k in (5, 2))
    loss = LinearModelLoss(x, y)
    w1 = torch.randn(5, 6, generator=g, dtype=torch.float64)
    w2 = torch.randn(6, 2, generator=g, dtype=torch.float64)
    at = enclosed_point(loss, w1, w2)
    constants = loss.constants.conclusion
    assert constants is not None
    assert constants.convexity_lower == 0.0
    assert gap_upper(loss, at.outputs, at.gradient, constants) >= loss.value(w1 @ w2)  # l* = 0
    optimiser = LinearNetworkGD((w1, w2), loss)
    for _ in range(60):
        optimiser.step()
    assert loss.value(w1 @ w2) < 1e-8
    assert optimiser.certified_contraction_upper < 1.0


def test_torch_linear_layers_are_trained_in_place_and_nothing_else_is_touched() -> None:
    problem = small("logistic")
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4, bias=False), torch.nn.Linear(4, 2, bias=False)
    ).double()
    with torch.no_grad():
        model[0].weight.copy_(problem.first.T)
        model[1].weight.copy_(problem.second.T)
    optimiser = LinearNetworkGD(
        (model[0].weight, model[1].weight), problem.loss, transposed=True, certify=False
    )
    value = optimiser.step(lambda: problem.loss.value(model[0].weight.T @ model[1].weight.T))
    twin = (problem.first.clone(), problem.second.clone())
    LinearNetworkGD(twin, problem.loss, certify=False).step()
    assert value == pytest.approx(problem.loss.value(problem.first @ problem.second))
    assert torch.allclose(model[0].weight.T, twin[0], rtol=1e-13)
    assert model[0].weight.grad is None
    assert not optimiser.certificates


def test_moved_weights_restart_the_gap() -> None:
    problem = small("squared")
    factors = (problem.first.clone(), problem.second.clone())
    optimiser = LinearNetworkGD(factors, problem.loss)
    for _ in range(5):
        optimiser.step()
    factors[0].copy_(problem.first)
    factors[1].copy_(problem.second)
    optimiser.step()
    assert optimiser.certificates[-1].gap_upper >= problem.initial_gap * (1.0 - 1e-12)


def test_product_of_contractions_ends_when_the_weights_are_moved() -> None:
    problem = small("squared")
    factors = (problem.first.clone(), problem.second.clone())
    optimiser = LinearNetworkGD(factors, problem.loss)
    assert optimiser.certified_contraction_upper == 1.0
    for _ in range(5):
        optimiser.step()
    claimed = optimiser.certified_contraction_upper
    last = problem.loss.value(factors[0] @ factors[1]) - problem.infimum
    assert last <= claimed * problem.initial_gap * (1.0 + 1e-9) < problem.initial_gap
    kept = factors[0].clone()
    factors[0].mul_(50.0)
    assert optimiser.certified_contraction_upper == math.inf  # read before the next step
    factors[0].copy_(kept)
    assert optimiser.certified_contraction_upper == claimed
    factors[0].mul_(50.0)
    optimiser.step()
    moved = problem.loss.value(factors[0] @ factors[1]) - problem.infimum
    assert moved > claimed * problem.initial_gap  # so a finite product would be false
    assert optimiser.certificates[-1].contraction_upper <= 1.0
    for _ in range(3):
        assert optimiser.certified_contraction_upper == math.inf
        optimiser.step()


def test_product_of_contractions_needs_every_step_and_every_certificate() -> None:
    problem = small("squared")
    factors = (problem.first.clone(), problem.second.clone())
    optimiser = LinearNetworkGD(factors, problem.loss, certify=False)
    optimiser.step()
    assert optimiser.certified_contraction_upper == math.inf
    factors = (problem.first.clone(), problem.second.clone())
    optimiser = LinearNetworkGD(factors, problem.loss)
    for _ in range(4):
        optimiser.step()
    claimed = optimiser.certified_contraction_upper
    optimiser.certificates.clear()
    assert optimiser.certified_contraction_upper == claimed


def test_loss_keeps_its_own_data() -> None:
    g = torch.Generator().manual_seed(2)
    x, y = (torch.randn(6, k, generator=g, dtype=torch.float64) for k in (3, 2))
    w = torch.randn(3, 2, generator=g, dtype=torch.float64)
    loss = LinearModelLoss(x, y.requires_grad_())
    before, constants = loss.value(w), loss.constants.conclusion
    assert constants is not None
    x.mul_(1e-2)
    y.detach().add_(30.0)
    assert loss.value(w) == before
    assert not loss.targets.requires_grad
    smallest = float(torch.linalg.svdvals(loss.inputs)[-1])
    assert constants.pl_lower == pytest.approx(smallest**2)


def test_steps_lost_in_rounding_claim_nothing() -> None:
    problem = small("huber")
    optimiser = LinearNetworkGD((problem.first.clone(), problem.second.clone()), problem.loss)
    for _ in range(120):
        optimiser.step()
    lost = [c for c in optimiser.certificates if c.decrease_lower < 0.0]
    assert lost  # the run reached the end of float64
    for c in lost:
        assert c.descent_constant_lower == -math.inf
        assert c.contraction_upper == c.pl_contraction_upper == math.inf
    for c in optimiser.certificates:
        if c.decrease_lower >= 0.0:
            assert c.descent_constant_lower >= 0.0
            assert max(c.contraction_upper, c.pl_contraction_upper) <= 1.0


def number(x: float) -> Tensor:
    return torch.tensor([[x]], dtype=torch.float64)


@pytest.mark.parametrize("certify", [False, True])
@pytest.mark.parametrize("rule", get_args(StepRule))
@pytest.mark.parametrize(
    ("kind", "first", "second", "ridge"),
    [
        ("huber", 1e80, 1e60, 1e-6),
        ("squared", 1e160, 1e-3, 0.0),
        ("squared", 1e80, 1e80, 0.0),
        ("logistic", 1e-160, 1e100, 1e-3),
    ],
)
def test_weights_at_the_end_of_the_range_are_stepped_or_kept(
    kind: LinearLossKind, first: float, second: float, ridge: float, rule: StepRule, certify: bool
) -> None:
    target = 1.0 if kind == "logistic" else 2.0
    loss = LinearModelLoss(number(1.0), number(target), kind, ridge=ridge)
    factors = (number(first), number(second))
    optimiser = LinearNetworkGD(factors, loss, rule=rule, certify=certify)
    for _ in range(6):
        before = [w.clone() for w in factors]
        try:
            optimiser.step()
        except InputError:
            assert all(torch.equal(a, b) for a, b in zip(factors, before, strict=True))
        value = loss.value(factors[0] @ factors[1])
        assert all(bool(w.isfinite().all()) for w in factors)
        if math.isfinite(loss.value(before[0] @ before[1])):
            assert math.isfinite(value)


def test_a_candidate_without_a_finite_gain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = small("squared")
    factors = (problem.first.clone(), problem.second.clone())
    optimiser = LinearNetworkGD(factors, problem.loss, certify=False)
    monkeypatch.setattr(_linear_network.StepLine, "change", lambda self, eta: math.nan)
    with pytest.raises(InputError, match="float64"):
        optimiser.step()
    assert torch.equal(factors[0], problem.first)
    assert torch.equal(factors[1], problem.second)


def test_a_failed_certification_puts_the_weights_back(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = small("squared")
    factors = (problem.first.clone(), problem.second.clone())
    optimiser = LinearNetworkGD(factors, problem.loss)

    def fail(*_: object) -> float:
        raise ArithmeticError

    monkeypatch.setattr(_linear_network, "decrease_lower", fail)
    with pytest.raises(ArithmeticError):
        optimiser.step()
    assert torch.equal(factors[0], problem.first)
    assert torch.equal(factors[1], problem.second)
    assert not optimiser.certificates
    assert optimiser.certified_contraction_upper == 1.0


@pytest.mark.parametrize("size", [1e160, 1e200])
def test_imbalance_beyond_the_range_is_unknown(size: float) -> None:
    large = torch.full((2, 2), size, dtype=torch.float64)
    found = imbalance(large, torch.ones_like(large))
    assert (found.largest_upper, found.negative_largest_upper) == (math.inf, math.inf)
    assert (found.first_lower, found.second_lower) == (-math.inf, -math.inf)


def test_malformed_arguments_are_refused_by_name() -> None:
    problem = small("squared")
    loss = problem.loss
    x, y = loss.inputs, loss.targets
    bad: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("inputs", (x.float(), y), {}),
        ("targets", (x, y[:-1]), {}),
        ("targets", (x, y * math.inf), {}),
        ("kind", (x, y, "hinge"), {}),
        ("ridge", (x, y), {"ridge": -1.0}),
        ("weight", (x, y), {"weight": Fraction(1, 3)}),
        ("weight", (x, y), {"weight": 0.0}),
        ("targets", (x, y, "logistic"), {}),
        ("targets", (x, y, "cross_entropy"), {}),
    ]
    for name, arguments, settings in bad:
        with pytest.raises(InputError, match=f"`{name}`"):
            LinearModelLoss(*arguments, **settings)
    first, second = problem.first, problem.second
    with pytest.raises(InputError, match="`factors`"):
        LinearNetworkGD((first.float(), second), loss)
    with pytest.raises(InputError, match="`factors`"):
        LinearNetworkGD((second, first), loss)
    with pytest.raises(InputError, match="`rule`"):
        LinearNetworkGD((first, second), loss, rule="newton")  # type: ignore[arg-type]
    flat = LinearModelLoss(x, torch.sign(y), "logistic")
    with pytest.raises(InputError, match="ridge"):
        LinearNetworkGD((first, second), flat)
