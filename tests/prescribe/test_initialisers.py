"""The initialisers: what they write, what they refuse, and that A is certified as it stands."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from scipy.stats import kstest, truncnorm
from torch import Tensor, nn

import talweg
from talweg import init
from talweg.nn import SmoothLeakyReLU

CHANGES = [init.lecun_, init.lecun_abs_, init.conditional_positive_, init.positive_]


def chain(
    *sizes: int, dtype: torch.dtype = torch.float64, activation: Callable[[], nn.Module] = nn.Tanh
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after, dtype=dtype), activation()]
    return nn.Sequential(*layers[:-1])


def leaky() -> nn.Module:
    return SmoothLeakyReLU(0.1)


def problem(n: int = 4, d: int = 8) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    X = torch.randn(n, d, generator=g, dtype=torch.float64)
    return X, torch.randn(n, 1, generator=g, dtype=torch.float64)


def weights(model: nn.Module) -> list[Tensor]:
    return [m.weight.detach() for m in model.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize("change", CHANGES)
def test_draws_come_from_seed_or_generator_alone(change: Callable[..., Any]) -> None:
    state = torch.get_rng_state()
    one, two, other = chain(5, 7, 6, 1), chain(5, 7, 6, 1), chain(5, 7, 6, 1)
    torch.set_rng_state(state)
    change(one, seed=4)
    change(two, generator=torch.Generator().manual_seed(4))
    change(other, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_biases_are_zero_and_nothing_else_is_touched(change: Callable[..., Any]) -> None:
    model = chain(5, 7, 6, 1, dtype=torch.float32).eval()
    model[0].weight.requires_grad_(False)
    change(model)
    for layer in model:
        if isinstance(layer, nn.Linear):
            assert layer.weight.dtype == torch.float32
            assert not bool(layer.bias.any())
            assert layer.weight.grad is None
    assert not model.training
    assert not model[0].weight.requires_grad
    assert model[2].weight.requires_grad


@pytest.mark.parametrize("change", CHANGES)
def test_layers_without_bias_and_nested_chains_are_fine(change: Callable[..., Any]) -> None:
    model = nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(5, 4, bias=False), nn.Tanh()), nn.Linear(4, 1)
    )
    change(model)
    assert bool(torch.isfinite(weights(model)[1]).all())


def test_lecun_has_variance_one_over_fan_in() -> None:
    model = chain(100, 200, 150, 1)
    init.lecun_(model, seed=1)
    first, second, _ = weights(model)
    assert kstest((first * 10.0).flatten().numpy(), "norm").pvalue > 1e-3
    assert kstest((second * math.sqrt(200.0)).flatten().numpy(), "norm").pvalue > 1e-3


def test_lecun_abs_is_the_absolute_value_of_the_same_draws() -> None:
    one, two = chain(5, 7, 1), chain(5, 7, 1)
    init.lecun_(one, seed=9)
    init.lecun_abs_(two, seed=9)
    assert all(torch.equal(a.abs(), b) for a, b in zip(weights(one), weights(two), strict=True))


@pytest.mark.parametrize("box", [(0.5, 3.0), (0.01, 0.1), (4.0, 5.0), (10.0, math.inf)])
def test_conditional_draws_follow_the_truncated_law(box: tuple[float, float]) -> None:
    model = chain(5, 40, 100, 1)
    init.conditional_positive_(model, box=box, output_box=(1.0, 1.5), seed=2)
    first, hidden, last = weights(model)
    assert not bool(first.any())
    scaled = (hidden * math.sqrt(40.0)).flatten()
    pad = 1e-15 * box[0]
    assert float(scaled.min()) >= box[0] - pad * 10
    assert float(scaled.max()) <= box[1] * (1 + 1e-14)
    assert kstest(scaled.numpy(), truncnorm(*box).cdf).pvalue > 1e-3
    assert bool(((last * 10.0 >= 1.0 - 1e-14) & (last * 10.0 <= 1.5 + 1e-14)).all())


def test_positive_writes_what_it_says() -> None:
    model = chain(5, 7, 6, 1)
    found = init.positive_(model, output_scale=3.5, hidden=(0.25, 0.75))
    first, hidden, last = weights(model)
    assert not bool(first.any())
    assert 0.25 <= float(hidden.min()) < 0.4 < 0.6 < float(hidden.max()) <= 0.75
    assert bool((last == 3.5).all())
    assert found.output_entry == 3.5
    assert found.certificate is None
    assert found.explicit is None
    init.positive_(model, hidden=(0.5, 0.5))
    assert bool((weights(model)[1] == 0.5).all())


def test_the_default_hidden_entries_keep_the_mean() -> None:
    model = chain(5, 400, 300, 1)
    init.positive_(model)
    sums = weights(model)[1].sum(1)
    assert float(sums.mean()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("sizes", [(8, 6, 1), (8, 5, 4, 1)], ids=["L=2", "L=3"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_certified_scale_is_proved_as_it_stands(
    sizes: tuple[int, ...], dtype: torch.dtype
) -> None:
    X, y = (t.to(dtype) for t in problem())
    model = chain(*sizes, dtype=dtype, activation=leaky)
    found = init.positive_(model, output_scale="certified", data=(X, y), tolerance=0.1)
    assert found.certificate is not None
    assert found.certificate.status == "PROVED"
    assert found.halving_steps == found.certificate.halving_steps
    last = weights(model)[-1]
    assert float(last.min()) == float(last.max()) == found.output_entry
    again = talweg.certify(model, (X, y), attack=False)
    assert again.status == "PROVED"
    assert again.claim == found.certificate.claim  # of exactly the weights left in the model
    assert found.refused_entry is not None
    assert found.refused_entry < found.output_entry <= 1.1 * found.refused_entry * (1 + 1e-6)
    with torch.no_grad():
        model[-1].weight.fill_(found.refused_entry)
    assert talweg.certify(model, (X, y), attack=False).status == "UNDECIDED"


def test_the_certified_run_obeys_its_certificate() -> None:
    X, y = problem()
    model = chain(8, 6, 1, activation=leaky)
    found = init.positive_(model, output_scale="certified", data=(X, y), tolerance=0.1)
    cert = found.certificate
    assert cert is not None
    assert cert.step_size is not None
    assert cert.rate is not None
    descent = torch.optim.SGD(model.parameters(), lr=cert.step_size)
    before = math.inf
    for _ in range(200):
        descent.zero_grad()
        loss = nn.functional.mse_loss(model(X), y)
        loss.backward()
        assert float(loss.detach()) <= cert.rate * before * (1 + 1e-12)
        before = float(loss.detach())
        descent.step()


def test_the_explicit_entry_is_given_with_data() -> None:
    X, y = problem()
    found = init.positive_(chain(8, 5, 4, 1, activation=leaky), data=(X, y))
    assert found.explicit is not None
    assert found.explicit.output_entry_upper > 1.0
    assert found.gain == found.explicit.output_entry_upper
    assert init.positive_(chain(8, 5, 1, activation=nn.Softplus), data=(X, y)).explicit is None


def test_dependent_inputs_end_undecided() -> None:
    X, y = problem(n=4)
    X = X.clone()
    X[3] = 0.5 * (X[0] + X[1])  # affinely dependent, so that no bias separates it either
    model = chain(8, 5, 1, activation=leaky)
    found = init.positive_(model, output_scale="certified", data=(X, y))
    assert found.certificate is not None
    assert found.certificate.status == "UNDECIDED"
    assert found.attempts < 10


def test_contradictory_rows_end_refuted() -> None:
    X, y = problem(n=4)
    X = X.clone()
    X[3] = X[0]
    found = init.positive_(chain(8, 5, 1, activation=leaky), output_scale="certified", data=(X, y))
    assert found.certificate is not None
    assert found.certificate.status == "REFUTED"


def test_any_start_can_be_scaled() -> None:
    X, y = problem()
    model = chain(8, 6, 1, activation=leaky)
    init.lecun_(model, seed=1)
    with torch.no_grad():
        model[0].weight.zero_()
    before = weights(model)[-1].clone()
    found = init.certified_output_scale_(model, (X, y), tolerance=0.5)
    assert found.certificate is not None
    assert found.certificate.status == "PROVED"
    after = weights(model)[-1]
    assert torch.allclose(after / after.abs().min(), before / before.abs().min())
    assert found.explicit is None  # negative entries: P1 is silent


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("model", [
    nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 1)), nn.Sequential(nn.Tanh()),
    nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 1)),
    nn.Sequential(nn.Linear(3, 3, dtype=torch.complex64), nn.Linear(3, 1)),
])  # fmt: skip
def test_other_models_are_refused(change: Callable[..., Any], model: nn.Module) -> None:
    with pytest.raises(talweg.InputError, match=rf"`model` of {change.__name__}\(\)"):
        change(model)


@pytest.mark.parametrize("change", CHANGES)
def test_tied_layers_are_refused(change: Callable[..., Any]) -> None:
    layer = nn.Linear(3, 3)
    with pytest.raises(talweg.InputError, match="used twice"):
        change(nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(3, 1)))


@pytest.mark.parametrize("change", CHANGES)
def test_malformed_seeds_are_refused_before_anything_changes(change: Callable[..., Any]) -> None:
    model = chain(3, 3, 1)
    before = [w.clone() for w in weights(model)]
    for bad in (1.5, "0", True, None):
        with pytest.raises(talweg.InputError, match="`seed`"):
            change(model, seed=bad)
    with pytest.raises(talweg.InputError, match="`generator`"):
        change(model, generator=3)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_malformed_settings_are_refused() -> None:
    model, data = chain(8, 3, 1), problem()
    for box in ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0,), "ab", None, (math.nan, 1.0)):
        with pytest.raises(talweg.InputError, match="`box`"):
            init.conditional_positive_(model, box=box)  # type: ignore[arg-type]
    with pytest.raises(talweg.InputError, match="standard deviations"):
        init.conditional_positive_(model, box=(50.0, 51.0))
    for hidden in ((0.0, 1.0), (2.0, 1.0), (0.1, math.inf), (-1.0, 1.0)):
        with pytest.raises(talweg.InputError, match="`hidden`"):
            init.positive_(model, hidden=hidden)
    for scale in (0.0, -1.0, math.inf, math.nan, "proved", True):
        with pytest.raises(talweg.InputError, match="`output_scale`"):
            init.positive_(model, output_scale=scale)  # type: ignore[arg-type]
    with pytest.raises(talweg.InputError, match="`data`"):
        init.positive_(model, output_scale="certified")
    for tolerance in (0.0, -1.0, math.inf, True):
        with pytest.raises(talweg.InputError, match="`tolerance`"):
            init.positive_(model, output_scale="certified", data=data, tolerance=tolerance)
    with pytest.raises(talweg.InputError, match="one output"):
        init.positive_(chain(8, 3, 2), output_scale="certified", data=data)
    zero = chain(8, 3, 1)
    with torch.no_grad():
        zero[-1].weight.zero_()
    with pytest.raises(talweg.InputError, match="without zero entries"):
        init.certified_output_scale_(zero, data)
