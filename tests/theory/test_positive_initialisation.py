"""P1 attacked: the bound of |grad S|^2 / S inside the ball, and descent from what is proved."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from talweg._errors import InputError
from talweg.network import JacobianLipschitz, kernel_ball, linearize, read
from talweg.nn import SmoothLeakyReLU
from talweg.theory import (
    IdentityActivation,
    NestedBallBound,
    PositiveNetwork,
    SmoothLeakyReLUActivation,
    Status,
    TanhActivation,
    explicit_output_entry,
    positive_initialisation_descends,
    positive_initialisation_flow_converges,
)
from talweg.verified import psd_largest_eigenvalue_upper

INF = math.inf
LEAKY = SmoothLeakyReLUActivation(0.25)
TWO = PositiveNetwork(3, (4,), (LEAKY,), 0.5, 1.0, 2.0)
THREE = PositiveNetwork(3, (4, 5), (LEAKY, LEAKY), 0.5, 1.0, 2.0, 0.5, 0.75)
FOUR = PositiveNetwork(3, (4, 5, 2), (LEAKY, TanhActivation(), LEAKY), 0.5, 1.0, 0.1, 0.5, 0.5)
ALL = pytest.mark.parametrize("net", [TWO, THREE, FOUR], ids=["L=2", "L=3", "L=4"])


# The activations' two bounds, against 40 digits.


def exact(activation: object, u: mpmath.mpf) -> mpmath.mpf:
    if isinstance(activation, SmoothLeakyReLUActivation):
        a = mpmath.mpf(activation.slope)
        return a * u + (1 - a) * (mpmath.log1p(mpmath.exp(u)) - mpmath.log(2))
    return mpmath.tanh(u) if isinstance(activation, TanhActivation) else u


@pytest.mark.parametrize("activation", [LEAKY, SmoothLeakyReLUActivation(1e-5), TanhActivation(),
                                        IdentityActivation()])  # fmt: skip
@settings(max_examples=40)
@given(reach=st.floats(0.0, 60.0), share=st.floats(-1.0, 1.0))
def test_activation_bounds_hold(activation: Any, reach: float, share: float) -> None:
    with mpmath.workdps(40):
        u = mpmath.mpf(share) * reach
        assert abs(exact(activation, u)) <= activation.magnitude_upper(reach)
        assert mpmath.diff(lambda v: exact(activation, v), u) >= activation.slope_lower(reach)


@pytest.mark.parametrize("activation", [LEAKY, TanhActivation(), IdentityActivation()])
def test_activation_bounds_are_tight(activation: Any) -> None:
    with mpmath.workdps(40):
        for reach in (0.0, 1e-3, 2.0, 30.0):
            largest = float(exact(activation, mpmath.mpf(reach)))
            assert activation.magnitude_upper(reach) <= largest * (1 + 1e-14) + 1e-300
            slope = float(mpmath.diff(lambda v: exact(activation, v), -reach))
            assert activation.slope_lower(reach) >= slope * (1 - 1e-13)


def test_activations_of_an_unbounded_argument() -> None:
    assert LEAKY.magnitude_upper(INF) == INF
    assert LEAKY.slope_lower(INF) == 0.25
    assert TanhActivation().slope_lower(INF) == 0.0


@pytest.mark.parametrize("slope", [0.0, 1.0, -0.5, math.nan, True, "0.5"])
def test_a_slope_outside_is_refused(slope: Any) -> None:
    with pytest.raises(InputError, match="slope"):
        SmoothLeakyReLUActivation(slope)


# The explicit A, against its closed form.


def test_two_linear_layers_have_a_closed_form() -> None:
    """c = 1: A = max{2R, q / R} is smallest at R = sqrt(q / 2), q = 2 sqrt(S / (lambda d_1))."""
    net = PositiveNetwork(3, (4,), (IdentityActivation(),), 0.5, 1.7, 2.0)
    q = 2.0 * math.sqrt(1.7 / (0.5 * 4))
    found = explicit_output_entry(net)
    assert math.sqrt(2.0 * q) <= found.output_entry_upper <= math.sqrt(2.0 * q) * (1 + 1e-3)


def test_three_layers_follow_the_formula() -> None:
    """The display of the docstring in plain floats, with b_max + R."""
    r = 0.25
    k_1 = r * (3 * 2.0 + 1)
    sigma = 0.25 * k_1 + 0.75 * (math.log1p(math.exp(k_1)) - math.log(2))
    k_2 = (0.75 + r) * 4 * sigma + r
    c_1, c_2 = (0.25 + 0.75 / (1 + math.exp(k)) for k in (k_1, k_2))
    p = c_1 * 5 * (0.5 - r) * c_2
    expected = max(2 * r, 2 * math.sqrt(1.0 / (0.5 * 4)) / (r * p))
    found = explicit_output_entry(THREE, radius=r)
    assert found.output_entry_upper == pytest.approx(expected, rel=1e-12)
    assert found.output_entry_upper >= expected * (1 - 1e-15)
    assert found.downstream_lower == pytest.approx(p, rel=1e-12)
    assert found.radius == r
    half = explicit_output_entry(THREE, epsilon=0.5, radius=r).output_entry_upper
    assert half == pytest.approx(2 * expected, rel=1e-12)


@ALL
def test_no_other_radius_gives_less_than_the_best(net: PositiveNetwork) -> None:
    best = explicit_output_entry(net)
    for exponent in range(-160, 40):
        radius = 10.0 ** (exponent / 20.0)
        if net.hidden_low is None or radius < net.hidden_low:
            other = explicit_output_entry(net, radius=radius).output_entry_upper
            assert other >= best.output_entry_upper * (1 - 1e-3)
    again = explicit_output_entry(net, radius=best.radius)
    assert again == best


def test_a_steep_flat_side_asks_for_a_smaller_radius() -> None:
    """At b_min / 2 the slopes of tanh are below every float, and A is infinite."""
    net = replace(FOUR, activations=(TanhActivation(),) * 3, input_entry_upper=1e5)
    assert explicit_output_entry(net, radius=0.25).output_entry_upper == INF
    found = explicit_output_entry(net)
    assert found.output_entry_upper < INF
    assert found.radius < 0.01


@ALL
def test_entries_above_the_explicit_one_are_proved(net: PositiveNetwork) -> None:
    explicit = explicit_output_entry(net)
    entry = explicit.output_entry_upper * (1 + 1e-12)
    flow = positive_initialisation_flow_converges(net, entry, radius=explicit.radius)
    assert flow.status is Status.PROVED
    assert flow.conclusion is not None
    assert flow.conclusion.radius_upper <= explicit.radius
    share = explicit_output_entry(net, epsilon=0.25, radius=explicit.radius)
    descent = positive_initialisation_descends(
        net, share.output_entry_upper * (1 + 1e-12), NestedBallBound.everywhere(1e6), epsilon=0.25,
        radius=explicit.radius,
    )  # fmt: skip
    assert descent.status is Status.PROVED


@ALL
def test_far_smaller_entries_are_not(net: PositiveNetwork) -> None:
    entry = explicit_output_entry(net).output_entry_upper / 5.0
    verdict = positive_initialisation_flow_converges(net, entry)
    assert verdict.status is Status.UNDECIDED
    assert verdict.failed


@pytest.mark.parametrize("low", [0.0, -0.5, -3.0])
@pytest.mark.parametrize("net", [THREE, FOUR], ids=["L=3", "L=4"])
def test_no_entry_suffices_without_positive_hidden_weights(
    net: PositiveNetwork, low: float
) -> None:
    """With two hidden layers the product of two negative bounds would be positive."""
    net = replace(net, hidden_low=low)
    for radius in (None, 0.1, 1.0):
        found = explicit_output_entry(net, radius=radius)
        assert found.downstream_lower == 0.0
        assert found.output_entry_upper == INF
    verdict = positive_initialisation_flow_converges(net, 1e9)
    assert [h.name for h in verdict.failed] == ["hidden_low"]


# One violation per hypothesis.

GOOD: dict[str, Any] = {
    "network": THREE,
    "output_entry_lower": 1e3,
    "smoothness": NestedBallBound.everywhere(1e6),
    "epsilon": 0.5,
}
VIOLATIONS: dict[str, dict[str, Any]] = {
    "gram_eigenvalue_lower": {"network": replace(THREE, gram_eigenvalue_lower=0.0)},
    "hidden_low": {"network": replace(THREE, hidden_low=0.0)},
    "output_entry_lower": {"output_entry_lower": 0.2, "radius": 0.25},
    "hidden_high": {"network": replace(THREE, hidden_high=INF)},
    "input_entry_upper": {"network": replace(THREE, input_entry_upper=INF)},
    "downstream": {"network": replace(FOUR, activations=(TanhActivation(),) * 3,
                                      input_entry_upper=1e9), "radius": 0.25},
    "initial_loss_upper": {"network": replace(THREE, initial_loss_upper=INF)},
    "profile": {"network": replace(THREE, gram_eigenvalue_lower=5e-324),
                "output_entry_lower": 2e-200, "radius": 1e-200},
    "criterion": {"output_entry_lower": 10.0},
    "smoothness": {"smoothness": NestedBallBound.everywhere(INF)},
    "rate_positive": {"step_size": 5e-324, "network": replace(THREE, initial_loss_upper=1e-12),
                      "output_entry_lower": 0.5},
    "step_size": {"step_size": 2e-6},
}  # fmt: skip


def test_good_arguments_are_proved() -> None:
    verdict = positive_initialisation_descends(**GOOD)
    assert verdict.status is Status.PROVED
    assert {h.name for h in verdict.hypotheses} == set(VIOLATIONS)
    flow = positive_initialisation_flow_converges(THREE, 1e3)
    assert {h.name for h in flow.hypotheses} == set(VIOLATIONS) - {"smoothness", "step_size"}


@pytest.mark.parametrize("name", list(VIOLATIONS))
def test_the_violated_hypothesis_is_named(name: str) -> None:
    verdict = positive_initialisation_descends(**{**GOOD, **VIOLATIONS[name]})
    assert verdict.status is Status.UNDECIDED
    failed = [h.name for h in verdict.failed]
    consequences = {"initial_loss_upper": {"criterion"}, "profile": {"criterion"}}
    assert name in failed
    assert set(failed) <= {name} | consequences.get(name, set())


@pytest.mark.parametrize("change", [
    {"widths": ()}, {"widths": (4, 0)}, {"inputs": 0}, {"inputs": True}, {"activations": (LEAKY,)},
    {"hidden_low": None}, {"hidden_low": 0.9}, {"hidden_high": math.nan},
    {"initial_loss_upper": -1.0}, {"gram_eigenvalue_lower": INF}, {"input_entry_upper": math.nan},
])  # fmt: skip
def test_malformed_ingredients_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"PositiveNetwork\(\)"):
        replace(THREE, **change)


def test_malformed_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="exactly when there are hidden"):
        replace(TWO, hidden_low=0.5, hidden_high=1.0)
    for bad in (0.5, 0.6, 0.0, -1.0, math.nan, INF):
        with pytest.raises(InputError, match="`radius`"):
            explicit_output_entry(THREE, radius=bad)
    for bad in (1.0, -0.1, math.nan):
        with pytest.raises(InputError, match="`epsilon`"):
            explicit_output_entry(THREE, epsilon=bad)
    for bad in (math.nan, INF):
        with pytest.raises(InputError, match="`output_entry_lower`"):
            positive_initialisation_flow_converges(THREE, bad)
    with pytest.raises(InputError, match="`assumed`"):
        positive_initialisation_flow_converges(THREE, 1e3, assumed=("criterion",))
    with pytest.raises(InputError, match="`assumed`"):  # a flow has no step
        positive_initialisation_flow_converges(THREE, 1e3, assumed=("smoothness",))


PREMISES = ("gram_eigenvalue_lower", "input_entry_upper", "hidden_low", "hidden_high",
            "output_entry_lower", "initial_loss_upper")  # fmt: skip


@pytest.mark.parametrize("name", PREMISES)
def test_an_assumed_premise_is_marked(name: str) -> None:
    flow = positive_initialisation_flow_converges(THREE, 1e3, assumed=(name,))
    assert flow.status is Status.PROVED
    assert flow.assumptions == (name,)
    descent = positive_initialisation_descends(**GOOD, assumed=(name, "smoothness"))
    assert descent.status is Status.PROVED
    assert set(descent.assumptions) == {name, "smoothness"}


def test_every_ingredient_is_a_hypothesis_of_the_verdict() -> None:
    """Each number that A depends on stands in the verdict, as it was given."""
    found = {h.name: h.value for h in positive_initialisation_flow_converges(THREE, 1e3).hypotheses}
    for name in PREMISES:
        given = 1e3 if name == "output_entry_lower" else getattr(THREE, name)
        assert found[name] == given
    smaller = explicit_output_entry(THREE, radius=0.25).output_entry_upper
    for change in ({"hidden_high": 1.0}, {"input_entry_upper": 3.0}):
        other = explicit_output_entry(replace(THREE, **change), radius=0.25)
        assert other.output_entry_upper > smaller


def test_the_start_is_named() -> None:
    verdict = positive_initialisation_flow_converges(TWO, 1e3)
    statements = {h.name: h.statement for h in verdict.hypotheses}
    assert set(statements) >= set(PREMISES) - {"hidden_low", "hidden_high"}
    assert "W_1 is trained" in statements["gram_eigenvalue_lower"]
    assert "W_1 = 0 and biases 0" in statements["input_entry_upper"]
    assert "S(w0)" in statements["initial_loss_upper"]


# Live networks.


class Instance:
    """A random network of P1's form, with its ingredients read off in plain floats, padded."""

    def __init__(self, seed: int, depth: int, entry: float, slope: float = 0.2) -> None:
        g = torch.Generator().manual_seed(seed)
        self.d, self.n = 4, 3
        self.widths = tuple(int(torch.randint(2, 5, (1,), generator=g)) for _ in range(depth - 1))
        self.X = torch.randn(self.n, self.d, generator=g, dtype=torch.float64)
        self.y = torch.randn(self.n, 1, generator=g, dtype=torch.float64)
        layers: list[torch.nn.Module] = []
        for before, after in itertools.pairwise((self.d, *self.widths, 1)):
            layers += [torch.nn.Linear(before, after, dtype=torch.float64), SmoothLeakyReLU(slope)]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.linear = [m for m in self.model if isinstance(m, torch.nn.Linear)]
        with torch.no_grad():
            for layer in self.linear:
                layer.bias.zero_()
                size = layer.weight.shape
                layer.weight.copy_(0.5 + torch.rand(size, generator=g, dtype=torch.float64))
            self.linear[0].weight.zero_()
            last = self.linear[-1].weight
            last.copy_(entry * (1.0 + torch.rand(last.shape, generator=g, dtype=torch.float64)))
        hidden = [layer.weight for layer in self.linear[1:-1]]
        gram = (self.X @ self.X.T + 1.0) / self.n
        self.ingredients = PositiveNetwork(
            inputs=self.d,
            widths=self.widths,
            activations=(SmoothLeakyReLUActivation(slope),) * len(self.widths),
            gram_eigenvalue_lower=float(torch.linalg.eigvalsh(gram)[0]) * (1 - 1e-12),
            initial_loss_upper=float((self.y**2).mean()) * (1 + 1e-12),
            input_entry_upper=float(self.X.abs().max()),
            hidden_low=min(float(w.detach().min()) for w in hidden) if hidden else None,
            hidden_high=max(float(w.detach().max()) for w in hidden) if hidden else None,
        )
        self.entry = float(self.linear[-1].weight.detach().min())
        self.start = torch.nn.utils.parameters_to_vector(self.model.parameters()).detach()

    def loss_and_gradient(self, w: Tensor) -> tuple[float, Tensor]:
        torch.nn.utils.vector_to_parameters(w, self.model.parameters())
        loss = ((self.model(self.X) - self.y) ** 2).mean()
        grads = torch.autograd.grad(loss, list(self.model.parameters()))
        return float(loss.detach()), torch.cat([g.flatten() for g in grads])

    def steepness(self, w: Tensor) -> float:
        loss, grad = self.loss_and_gradient(w)
        return float(grad @ grad) / loss


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_steepness_bound_holds_when_attacked_in_the_ball(seed: int, depth: int) -> None:
    """Random points, then random-line descent on |grad S|^2 / S, all within R of the start."""
    instance = Instance(seed, depth, entry=3.0)
    net = instance.ingredients
    explicit = explicit_output_entry(net, radius=0.2)
    r, p = explicit.radius, explicit.downstream_lower
    alpha = 4 * net.gram_eigenvalue_lower * net.widths[0] * ((instance.entry - r) * p) ** 2
    g = torch.Generator().manual_seed(seed)
    worst = math.inf
    for _ in range(6):
        direction = torch.randn(instance.start.shape, generator=g, dtype=torch.float64)
        w = instance.start + r * direction / direction.norm()
        for _ in range(12):
            worst = min(worst, instance.steepness(w))
            # downhill on |grad S|^2 / S along a random line, back onto the ball
            line = torch.randn(w.shape, generator=g, dtype=torch.float64)
            h = 1e-5 / float(line.norm())
            slope = (instance.steepness(w + h * line) - instance.steepness(w - h * line)) / (2 * h)
            w = w - math.copysign(0.3 * r, slope) * line / line.norm()
            moved = w - instance.start
            w = instance.start + moved * min(1.0, r / float(moved.norm()))
    assert worst >= alpha


@settings(max_examples=8)
@given(
    seed=st.integers(0, 10_000),
    depth=st.sampled_from([2, 3]),
    excess=st.floats(1.05, 3.0),
    epsilon=st.sampled_from([0.25, 0.5]),
)
def test_descent_from_a_proved_start_is_never_contradicted(
    seed: int, depth: int, excess: float, epsilon: float
) -> None:
    """M from the certificate's own rigorous bounds on the ball; then the run itself."""
    probe = Instance(seed, depth, entry=1.0)
    entry = excess * explicit_output_entry(probe.ingredients, epsilon=epsilon).output_entry_upper
    instance = Instance(seed, depth, entry=entry)
    radius = explicit_output_entry(instance.ingredients, epsilon=epsilon).radius
    smoothness = _smoothness(instance, radius)
    verdict = positive_initialisation_descends(
        instance.ingredients, instance.entry, NestedBallBound.of([(radius, smoothness)]),
        epsilon=epsilon, radius=radius,
    )  # fmt: skip
    assert verdict.status is Status.PROVED
    found = verdict.conclusion
    assert found is not None
    w, path = instance.start.clone(), 0.0
    previous = math.inf
    for _ in range(100):
        loss, grad = instance.loss_and_gradient(w)
        assert loss <= found.loss_rate_upper * previous * (1 + 1e-9) + 1e-24
        assert path <= found.radius_upper * (1 + 1e-9)
        previous = loss
        w = w - found.step_size * grad
        path += found.step_size * float(grad.norm())


def _smoothness(instance: Instance, radius: float) -> float:
    """M for S = |r|^2 / n: (2 / n) (sup |J|^2 + |r_0| beta) on the ball."""
    state = linearize(read(instance.model, instance.X), instance.X, torch.ones(instance.n))
    beta = JacobianLipschitz(state).upper(radius)
    norm = math.sqrt(psd_largest_eigenvalue_upper(kernel_ball(state))) + beta * radius
    r0 = float(instance.y.norm())
    return 2.0 / instance.n * (norm**2 + r0 * beta) * (1 + 1e-9)
