"""The output scale: found from the profile, proved by certify on the scaled model, and its twin."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import talweg
from talweg import InputError, UnsupportedModelError
from talweg.network import evaluate_approx, jacobian_lipschitz_upper, linearize, read
from talweg.prescribe import antisymmetric_twin, output_scale

Data = tuple[Tensor, Tensor]


def data(n: int = 5, d: int = 3, k: int = 1, seed: int = 1) -> Data:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return X, torch.randn(n, k, generator=generator, dtype=torch.float64)


def network(*widths: int, bias: bool = True, seed: int = 2) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b, bias=bias), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


@pytest.fixture(scope="module")
def offset() -> tuple[nn.Sequential, Data, talweg.prescribe.ScaledOutput]:
    model, pair = network(3, 16, 1), data()
    held_out = data(7, seed=9)
    return model, pair, output_scale(model, pair, held_out=held_out, descent_steps=50)


def test_both_scales_are_certified_on_the_scaled_model(
    offset: tuple[nn.Sequential, Data, talweg.prescribe.ScaledOutput],
) -> None:
    _, (X, _), found = offset
    assert found.status == "PROVED"
    assert found.smallest_scale is not None
    assert found.smallest_certificate is not None
    assert found.smallest_certificate.status == "PROVED"
    assert found.scale == pytest.approx(1.25 * found.smallest_scale)
    again = talweg.certify(found.model, (X, found.targets), attack=False)
    assert again.status == "PROVED"
    assert again.claim == found.certificate.claim  # type: ignore[union-attr]


def test_slightly_below_the_smallest_scale_certify_says_no(
    offset: tuple[nn.Sequential, Data, talweg.prescribe.ScaledOutput],
) -> None:
    model, (X, y), found = offset
    assert found.smallest_scale is not None
    c = found.smallest_scale * (1.0 - 1e-3)
    scaled = nn.Sequential(copy.deepcopy(model), talweg.nn.Scale(c))
    targets = y + c * model(X).detach()
    assert talweg.certify(scaled, (X, targets), attack=False).status == "UNDECIDED"


def test_the_explicit_formula_is_never_below_the_profile(
    offset: tuple[nn.Sequential, Data, talweg.prescribe.ScaledOutput],
) -> None:
    _, _, found = offset
    assert found.smallest_scale is not None
    assert found.threshold_upper <= found.formula_scale * (1.0 + 1e-9)
    assert found.threshold_upper < found.smallest_scale <= found.threshold_upper * 1.02


def test_the_shifted_targets_are_as_close_as_stated(
    offset: tuple[nn.Sequential, Data, talweg.prescribe.ScaledOutput],
) -> None:
    model, (X, y), found = offset
    assert found.targets is not None
    assert found.scale is not None
    exact = y + found.scale * model(X).detach()
    assert float((found.targets - exact).norm()) <= found.target_rounding_upper
    assert found.target_rounding_upper < 1e-8 * found.scale


@pytest.mark.parametrize("seed", range(3))
def test_equal_rows_get_equal_targets(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batched products round by position, so equal rows of the start can be an ulp apart."""

    def by_position(*args: object, **settings: object) -> Tensor:
        outputs = evaluate_approx(*args, **settings)  # type: ignore[arg-type]
        odd = torch.arange(len(outputs), device=outputs.device).reshape(-1, 1) % 2
        return torch.where(odd == 1, outputs.nextafter(outputs + 1.0), outputs)

    monkeypatch.setattr("talweg.prescribe._output_scale.evaluate_approx", by_position)
    X, y = data(7, 10, seed=seed)
    again = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 1])
    found = output_scale(network(10, 40, 1, seed=seed), (X[again], y[again, 0]), descent_steps=1)
    assert found.status == "PROVED", found.reason
    assert found.targets is not None
    assert found.targets.shape == (9,)
    assert torch.equal(found.targets[7:], found.targets[:2])


def test_the_rounding_stated_counts_equal_rows_as_often_as_they_come() -> None:
    model, (X, y) = network(3, 16, 1), data(4)
    again = torch.tensor([3, 0, 1, 0, 2, 0, 0])
    found = output_scale(model, (X[again], y[again]), descent_steps=1)
    assert found.targets is not None
    assert found.scale is not None
    error = found.targets - (y + found.scale * model(X).detach())[again]
    assert float(error.norm()) <= found.target_rounding_upper < 1e-8 * found.scale


@pytest.mark.parametrize("size", [0.0, 1e-300])
@pytest.mark.parametrize("form", ["offset", "antisymmetric"])
def test_targets_at_or_near_zero_stop_at_the_floor(form: str, size: float) -> None:
    model, (X, y) = network(3, 16, 1, bias=False), data(4)
    stages: list[str] = []
    found = output_scale(model, (X, size * y), form=form, descent_steps=1, progress=stages.append)
    assert found.status == "PROVED", found.reason
    assert found.smallest_scale is not None
    assert 2.0**-200 < found.smallest_scale < 2.0**-199
    assert sum("certify" in stage for stage in stages) == 2


def test_predictions_start_at_zero_and_the_model_given_is_left_alone(
    offset: tuple[nn.Sequential, Data, talweg.prescribe.ScaledOutput],
) -> None:
    model, (X, _), found = offset
    assert found.model is not None
    assert found.offset is not None
    assert torch.equal(found.model(X), found.offset(X))
    assert not any(p.requires_grad for p in found.offset.parameters())
    for p, q in zip(model.parameters(), network(3, 16, 1).parameters(), strict=True):
        assert torch.equal(p, q)


def test_the_price_is_shown(
    offset: tuple[nn.Sequential, Data, talweg.prescribe.ScaledOutput],
) -> None:
    _, _, found = offset
    assert found.outlook is not None
    assert found.outlook.steps == 50
    assert found.outlook.held_out_error is not None
    halving = [option.halving_steps for option in found.options]
    assert halving == sorted(halving, reverse=True)
    radii = [option.radius for option in found.options]
    assert radii == sorted(radii, reverse=True)


def test_measured_descent_obeys_the_certificate() -> None:
    model, (X, y) = network(3, 24, 1), data(4)
    found = output_scale(model, (X, y), headroom=4.0, descent_steps=400)
    certificate, outlook = found.certificate, found.outlook
    assert certificate is not None
    assert outlook is not None
    assert certificate.rate is not None
    assert certificate.radius is not None
    assert outlook.loss_last <= outlook.loss_first * certificate.rate**outlook.steps * 1.000001
    assert outlook.distance <= certificate.radius


def test_the_antisymmetric_form_needs_less() -> None:
    model, pair = network(3, 16, 1, bias=False), data(4)
    plain = output_scale(model, pair, descent_steps=1)
    twin = output_scale(model, pair, form="antisymmetric", descent_steps=1)
    assert twin.status == "PROVED"
    assert twin.offset is None
    assert twin.target_rounding_upper == 0.0
    ratio = twin.threshold_upper / plain.threshold_upper
    assert ratio == pytest.approx(1.0 / math.sqrt(2.0), rel=0.03)


def test_a_singular_kernel_is_undecided() -> None:
    model, (X, y) = network(3, 16, 1), data(4)
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    found = output_scale(model, (X, y))
    assert found.status == "UNDECIDED"
    assert found.scale is None
    assert "no scale is known" in found.reason


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"form": "twin"}, "form"), ({"headroom": 0.5}, "headroom"), ({"loss": "l1"}, "loss")],
)
def test_bad_arguments_are_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=f"`{named}` of output_scale"):
        output_scale(network(3, 8, 1), data(4), **settings)  # type: ignore[arg-type]


def test_data_is_a_pair_and_conflicts_are_named() -> None:
    X, y = data(4)
    with pytest.raises(InputError, match="`data` of output_scale"):
        output_scale(network(3, 8, 1), X)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rows 0 and 4"):
        output_scale(network(3, 8, 1), (torch.cat([X, X[:1]]), torch.cat([y, y[:1] + 1.0])))


def kernel(model: nn.Module, X: Tensor) -> Tensor:
    rows = []
    for i in range(len(X)):
        for value in model(X[i : i + 1]).reshape(-1):
            grads = torch.autograd.grad(
                value, [p for p in model.parameters() if p.requires_grad], retain_graph=True
            )
            rows.append(torch.cat([g.reshape(-1) for g in grads]))
    J = torch.stack(rows)
    return J @ J.T


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_twin_starts_at_zero_with_the_same_kernel(outputs: int) -> None:
    X, _ = data(4)
    model = network(3, 8, outputs)
    model[-1].bias.requires_grad_(False)
    twin = antisymmetric_twin(model)
    assert float(twin(X).detach().abs().max()) < 1e-14
    assert torch.allclose(kernel(twin, X), kernel(model, X), rtol=1e-12)


def test_the_twin_has_a_smaller_lipschitz_constant() -> None:
    X, _ = data(4)
    model = network(3, 8, 1, bias=False)
    ours = jacobian_lipschitz_upper(linearize(read(model, X), X), 0.0)
    twin = antisymmetric_twin(model)
    theirs = jacobian_lipschitz_upper(linearize(read(twin, X), X), 0.0)
    assert theirs == pytest.approx(ours / math.sqrt(2.0), rel=1e-6)


def test_training_the_twin_is_training_two_copies() -> None:
    """Gradient descent on the twin equals descent on (G(w1) - G(w2)) / sqrt 2, written out."""
    X, y = data(4)
    model = network(3, 6, 1, bias=False)
    twin = antisymmetric_twin(model)
    one, two = copy.deepcopy(model), copy.deepcopy(model)
    for _ in range(20):
        for outputs, parameters in (
            (twin(X), list(twin.parameters())),
            ((one(X) - two(X)) / math.sqrt(2.0), [*one.parameters(), *two.parameters()]),
        ):
            loss = 0.5 * (outputs - y).square().sum()
            for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.data -= 0.05 * g
    assert torch.allclose(twin(X), (one(X) - two(X)) / math.sqrt(2.0), rtol=1e-10)


def test_a_trained_output_bias_keeps_half_of_its_share() -> None:
    X, _ = data(4)
    model = network(3, 8, 1)
    difference = kernel(model, X) - kernel(antisymmetric_twin(model), X)
    assert torch.allclose(difference, torch.full((4, 4), 0.5, dtype=torch.float64))


def test_a_deeper_net_has_a_twin_when_its_inner_layers_are_frozen() -> None:
    X, _ = data(4)
    model = network(3, 6, 5, 1, bias=False)
    with pytest.raises(UnsupportedModelError, match="inner layer '2' is trained"):
        antisymmetric_twin(model)
    model[2].weight.requires_grad_(False)
    twin = antisymmetric_twin(model)
    assert float(twin(X).detach().abs().max()) < 1e-14
    assert torch.allclose(kernel(twin, X), kernel(model, X), rtol=1e-12)


def test_models_without_a_twin_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="1 Linear layer"):
        antisymmetric_twin(nn.Sequential(nn.Linear(3, 1)))
    with pytest.raises(UnsupportedModelError, match="followed by tanh"):
        antisymmetric_twin(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Tanh()))
    with pytest.raises(InputError, match=r"torch\.nn\.Linear"):
        antisymmetric_twin(nn.Sequential(nn.Tanh()))
