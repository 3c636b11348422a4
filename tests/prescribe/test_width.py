"""The width finder: brackets, lists its trials, and certifies what it returns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import talweg
from talweg import InputError
from talweg.prescribe import Width, WidthTrial, width_finder


def data(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(4, 12, generator=generator, dtype=torch.float64)
    return X / X.norm(dim=1, keepdim=True), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]).double()


def family(width: int, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(1000 + seed)
    half = torch.randn(width // 2, 12, generator=generator, dtype=torch.float64)
    model = nn.Sequential(
        nn.Linear(12, width, bias=False), nn.Tanh(), nn.Linear(width, 1, bias=False)
    )
    model = model.double()
    signs = torch.ones(1, width // 2, dtype=torch.float64) / math.sqrt(width)
    with torch.no_grad():
        model[0].weight.copy_(torch.cat([half, half]))
        model[2].weight.copy_(torch.cat([signs, -signs], 1))
    model[2].weight.requires_grad_(False)
    return model


@pytest.fixture(scope="module")
def found() -> Width:
    return width_finder(
        family, data(), low=64, high=4096, multiple=2, resolution=0.05, seeds=(0, 1),
        descent_steps=200, held_out=data(5),
    )  # fmt: skip


def test_every_seed_is_certified_at_the_common_width(found: Width) -> None:
    assert found.status == "PROVED"
    assert found.width is not None
    for seed in (0, 1):
        again = talweg.certify(family(found.width, seed), data(), attack=False)
        assert again.status == "PROVED"
    assert [c.status for c in found.certificates] == ["PROVED", "PROVED"]


def test_the_bracket_is_as_narrow_as_asked(found: Width) -> None:
    for seed, width in found.per_seed.items():
        assert width is not None
        assert width % 2 == 0
        failed = [t.width for t in found.trials if t.seed == seed and not t.proved]
        below = max(w for w in failed if w < width)
        assert width - below <= max(0.05 * width, 2)
    assert found.width is not None
    assert found.width >= max(w for w in found.per_seed.values() if w is not None)


def test_no_width_is_certified_twice(found: Width) -> None:
    pairs = [(t.width, t.seed) for t in found.trials]
    assert len(pairs) == len(set(pairs))
    assert all((t.missing_factor or 2.0) < 1.0 for t in found.trials if t.proved)


def test_the_closed_form_of_the_page(found: Width) -> None:
    """m > (8 / (3 sqrt 3) omega sqrt n / sigma_0^2)^2, up to units short of the supremum."""
    X, _ = data()
    for seed, width in found.per_seed.items():
        assert width is not None
        slopes = 1.0 - torch.tanh(X @ family(width, seed)[0].weight.detach().T).square()  # type: ignore[index, union-attr]
        kernel = (slopes @ slopes.T / width) * (X @ X.T)
        smallest = float(torch.linalg.eigvalsh(kernel)[0])
        omega = math.sqrt(float(torch.linalg.eigvalsh((X @ X.T).square())[-1]))
        formula = (8.0 / (3.0 * math.sqrt(3.0)) * omega * 2.0 / smallest) ** 2
        assert 0.85 * width <= formula <= 1.15 * width


def test_measured_descent_reaches_the_bottom(found: Width) -> None:
    for certificate, outlook in zip(found.certificates, found.outlooks, strict=True):
        assert outlook.loss_last < 1e-2 * outlook.loss_first
        assert certificate.radius is not None
        assert outlook.distance <= certificate.radius
        assert outlook.held_out_error is not None


def test_none_is_an_answer() -> None:
    found = width_finder(family, data(), low=8, high=12, multiple=2, seeds=(0,))
    assert found.status == "UNDECIDED"
    assert found.width is None
    assert found.per_seed == {0: None}
    assert "no width from 8 to 12" in found.reason
    assert "missing factor" in found.reason


def _undecided(factors: dict[int, float | None]) -> str:
    trials = tuple(WidthTrial(width, 0, False, factor) for width, factor in factors.items())
    found = Width("UNDECIDED", "none", None, {0: None}, None, (), trials, ())
    return dict(found.rows())["what to do"]


def test_advice_follows_the_trend() -> None:
    """The factor falls as width^-1/2, and reaches 1 at 64 * 40^2 = 102,400."""
    near = _undecided({64: 40.0, 256: 20.0, 1024: 10.0})
    assert "10 at width 1,024" in near
    assert "near width 102,400 (an extrapolation)" in near
    far = _undecided({64: 4e6, 256: 2e6, 1024: 1e6})
    assert "near width 1e+15 only (an extrapolation): train until" in far


@pytest.mark.parametrize(
    "factors", [{64: 3.0, 128: 2.0}, {64: 3.0, 128: 3.1, 256: 3.0}, {64: 3.0, 128: None}]
)
def test_no_trend_is_no_extrapolation(factors: dict[int, float | None]) -> None:
    advice = _undecided(factors)
    assert "extrapolation" not in advice
    assert "raise `high`" in advice


def test_no_factor_points_at_the_data() -> None:
    assert "kernel was singular at every width tried" in _undecided({64: math.inf, 128: None})


def test_data_may_depend_on_the_seed() -> None:
    asked: list[int] = []

    def drawn(seed: int) -> tuple[Tensor, Tensor]:
        asked.append(seed)
        return data(seed)

    found = width_finder(family, drawn, low=2048, high=4096, seeds=(7,), descent_steps=1)
    assert found.status == "PROVED"
    assert set(asked) == {7}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"low": 0}, "low"),
        ({"low": 9, "high": 8}, "low"),
        ({"low": 9, "high": 11, "multiple": 4}, "multiple"),
        ({"resolution": 1.0}, "resolution"),
        ({"seeds": ()}, "seeds"),
    ],
)
def test_bad_arguments_are_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        width_finder(family, data(), **settings)  # type: ignore[arg-type]


def test_a_family_returns_models() -> None:
    with pytest.raises(InputError, match="`family` of width_finder"):
        width_finder(lambda width, seed: (width, seed), data())  # type: ignore[arg-type, return-value]
