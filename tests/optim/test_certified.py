"""CertifiedGD: the certified step from the certified weights, and nothing else."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from certificate.problems import problem
from torch import Tensor, nn

import talweg
from talweg import Certificate, InputError
from talweg.optim import CertifiedGD

Prepared = tuple[nn.Module, tuple[Tensor, Tensor], Certificate]


@pytest.fixture(scope="module")
def _prepared() -> Prepared:
    model, data = problem(widths=(3, 30, 1))
    cert = talweg.certify(model, data, polish=True, attack=False)
    assert cert.status == "PROVED"
    return model, data, cert


@pytest.fixture
def prepared(_prepared: Prepared) -> Prepared:
    model, data, cert = _prepared
    model = copy.deepcopy(model)
    cert.load_into_(model)
    return model, data, cert


def descend(
    model: nn.Module, data: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer
) -> float:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(data[0]), data[1])
    loss.backward()
    optimizer.step()
    return loss.item()


def test_it_is_sgd_at_the_certified_step_under_the_envelope(prepared: Prepared) -> None:
    model, data, cert = prepared
    twin = copy.deepcopy(model)
    optimizer = CertifiedGD(model.parameters(), cert)
    plain = torch.optim.SGD(twin.parameters(), lr=cert.step_size)
    for k in range(30):
        assert optimizer.steps == k
        loss = descend(model, data, optimizer)
        assert loss == descend(twin, data, plain)
        assert loss <= optimizer.loss_envelope(k) * (1 + 1e-9)
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_the_envelope(prepared: Prepared) -> None:
    model, data, cert = prepared
    optimizer = CertifiedGD(model.parameters(), cert)
    start = cert.residual_norm**2 / data[1].numel()
    rate = 1.0 - cert.one_minus_rate
    for k in (0, 1, 7, 1000):
        assert optimizer.loss_envelope(k) == pytest.approx(start * rate**k, rel=1e-9)
        assert optimizer.loss_envelope(k) >= start * rate**k * (1 - 1e-12)
    half = CertifiedGD(model.parameters(), cert, lr=cert.step_size / 2)
    assert half.loss_envelope(1000) == pytest.approx(start, rel=1e-12)


def test_a_smaller_step_is_covered_a_larger_one_is_not(prepared: Prepared) -> None:
    model, _, cert = prepared
    assert CertifiedGD(model.parameters(), cert, lr=1e-6).param_groups[0]["lr"] == 1e-6
    for lr in (math.nextafter(cert.step_size, 1.0), 0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="lr"):
            CertifiedGD(model.parameters(), cert, lr=lr)


def test_a_t9_claim_covers_one_step_only() -> None:
    model, data = problem(widths=(3, 30, 1))
    cert = talweg.certify(model, data, theorem="T9", polish=True, attack=False)
    cert.load_into_(model)
    optimizer = CertifiedGD(model.parameters(), cert)
    assert optimizer.loss_envelope(10**9) == cert.floor
    with pytest.raises(InputError, match="exactly"):
        CertifiedGD(model.parameters(), cert, lr=cert.step_size / 2)


def test_other_values_are_refused(prepared: Prepared) -> None:
    model, _, cert = prepared
    with torch.no_grad():
        weight = next(model.parameters())
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0, dtype=torch.float64))
    with pytest.raises(InputError, match=r"0\.weight"):
        CertifiedGD(model.parameters(), cert)


def test_a_missing_parameter_is_refused(prepared: Prepared) -> None:
    model, _, cert = prepared
    with pytest.raises(InputError, match="all 4"):
        CertifiedGD(list(model.parameters())[:3], cert)


def test_a_frozen_parameter_may_not_train() -> None:
    model, data = problem(widths=(3, 30, 1))
    model[0].bias.requires_grad_(False)
    cert = talweg.certify(model, data, polish=True, attack=False)
    assert cert.status == "PROVED", cert.reason
    cert.load_into_(model)
    CertifiedGD(model.parameters(), cert)
    model[0].bias.requires_grad_(True)
    with pytest.raises(InputError, match=r"0\.bias"):
        CertifiedGD(model.parameters(), cert)


def test_nothing_proved_nothing_run() -> None:
    model, data = problem(widths=(3, 30, 1))
    cert = talweg.certify(model, data, attack=False)
    assert cert.status == "UNDECIDED"
    with pytest.raises(InputError, match="PROVED"):
        CertifiedGD(model.parameters(), cert)


def test_state_dict(prepared: Prepared) -> None:
    model, data, cert = prepared
    twin = copy.deepcopy(model)
    optimizer = CertifiedGD(model.parameters(), cert)
    for _ in range(3):
        descend(model, data, optimizer)
    saved = optimizer.state_dict()
    other = CertifiedGD(twin.parameters(), cert)
    other.load_state_dict(saved)
    assert other.steps == 3
    saved["param_groups"][0]["lr"] = 2.0 * cert.step_size
    with pytest.raises(InputError, match="lr"):
        other.load_state_dict(saved)
