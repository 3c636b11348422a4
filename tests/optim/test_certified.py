"""CertifiedGD: the certified step from the certified weights, and nothing else."""

from __future__ import annotations

import copy
import math
import pickle

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
    assert optimizer.loss_envelope(int(cert.steps)) == cert.floor
    assert optimizer.loss_envelope(int(cert.steps) + 1) == math.inf  # nothing is claimed there
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


def partly_frozen() -> Prepared:
    model, data = problem(widths=(3, 30, 1))
    model[0].weight.requires_grad_(False)
    cert = talweg.certify(model, data, polish=True, attack=False)
    assert cert.status == "PROVED", cert.reason
    cert.load_into_(model)
    return model, data, cert


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_an_altered_frozen_parameter_is_refused(trains: bool, named: bool) -> None:
    model, _, cert = partly_frozen()
    with torch.no_grad():
        model[0].weight.mul_(-2.0)
    model[0].weight.requires_grad_(trains)
    with pytest.raises(InputError, match="must train" if trains else "must hold tensors"):
        CertifiedGD(model.named_parameters() if named else model.parameters(), cert)


def test_a_frozen_parameter_that_moves_later_is_refused_and_its_gradient_ignored() -> None:
    model, data, cert = partly_frozen()
    optimizer = CertifiedGD(model.parameters(), cert)
    before = model[0].weight.detach().clone()
    model[0].weight.grad = torch.ones_like(before)
    nn.functional.mse_loss(model(data[0]), data[1]).backward()
    optimizer.step()
    assert torch.equal(model[0].weight, before)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    with pytest.raises(InputError, match=r"0\.weight"):
        optimizer.loss_envelope()


@pytest.mark.parametrize("trains", [True, False])
def test_an_extra_parameter_is_refused(prepared: Prepared, trains: bool) -> None:
    model, _, cert = prepared
    extra = nn.Parameter(torch.zeros(2, dtype=torch.float64), requires_grad=trains)
    with pytest.raises(InputError, match="must train" if trains else "must hold tensors"):
        CertifiedGD([*model.parameters(), extra], cert)


def test_equal_values_of_a_frozen_and_a_trained_tensor_need_names() -> None:
    model, data = problem(widths=(3, 30, 1))
    twin = nn.Sequential(model[0], nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), model[2]).double()
    with torch.no_grad():
        twin[0].bias.zero_()
        twin[2].bias.zero_()
    twin[2].bias.requires_grad_(False)
    with torch.no_grad():
        near = (data[0], twin(data[0]) + 1e-6)
    cert = talweg.certify(twin, near, attack=False)
    assert cert.status == "PROVED", cert.reason
    with pytest.raises(InputError, match="named_parameters"):
        CertifiedGD(twin.parameters(), cert)
    CertifiedGD(twin.named_parameters(), cert)
    twin[2].bias.requires_grad_(True)
    twin[0].bias.requires_grad_(False)  # the values alone would still fit
    with pytest.raises(InputError, match=r"0\.bias"):
        CertifiedGD(twin.named_parameters(), cert)


def test_a_t9_claim_is_about_float64() -> None:
    model, (X, _) = problem(widths=(3, 30, 1))
    model.float().double()
    with torch.no_grad():
        data = (X, model(X) + 1e-6)
    cert = talweg.certify(model, data, theorem="T9", attack=False)
    assert cert.status == "PROVED", cert.reason
    CertifiedGD(model.parameters(), cert)
    with pytest.raises(InputError, match="float64"):
        CertifiedGD(copy.deepcopy(model).float().parameters(), cert)
    optimizer = CertifiedGD(model.parameters(), cert)
    model.float()
    with pytest.raises(InputError, match="float64"):
        optimizer.loss_envelope()
    real = talweg.certify(model.double(), data, attack=False)
    assert real.status == "PROVED", real.reason
    CertifiedGD(copy.deepcopy(model).float().parameters(), real)  # the claim is the ideal run's


def test_one_covered_step_in_all_groups(prepared: Prepared) -> None:
    model, data, cert = prepared
    p = list(model.parameters())
    for lr in (50.0, cert.step_size / 2):
        groups = [{"params": p[:2]}, {"params": p[2:], "lr": lr}]
        with pytest.raises(InputError, match="lr"):
            CertifiedGD(groups, cert)
    optimizer = CertifiedGD([{"params": p[:2]}, {"params": p[2:]}], cert)
    descend(model, data, optimizer)
    for lr in (50.0, cert.step_size / 2, math.nan):
        optimizer.param_groups[1]["lr"] = lr
        before = [q.detach().clone() for q in p]
        with pytest.raises(InputError, match="lr"):
            descend(model, data, optimizer)
        assert all(map(torch.equal, before, p))
    assert optimizer.steps == 1
    with pytest.raises(InputError, match="add_param_group"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 3.0})
    assert len(optimizer.param_groups) == 2


def test_a_smaller_step_on_the_way_ends_the_rate(prepared: Prepared) -> None:
    model, data, cert = prepared
    optimizer = CertifiedGD(model.parameters(), cert)
    bound = [optimizer.loss_envelope(k) for k in range(9)]
    for _ in range(3):
        descend(model, data, optimizer)
    optimizer.param_groups[0]["lr"] = 1e-3 * cert.step_size
    assert [optimizer.loss_envelope(k) for k in range(9)] == bound[:4] + 5 * [bound[3]]
    descend(model, data, optimizer)
    optimizer.param_groups[0]["lr"] = cert.step_size
    descend(model, data, optimizer)
    assert optimizer.steps == 5
    assert [optimizer.loss_envelope(k) for k in range(9)] == bound[:4] + 5 * [bound[3]]
    assert copy.deepcopy(optimizer).loss_envelope() == bound[3]


def test_a_step_needs_gradients(prepared: Prepared) -> None:
    model, data, cert = prepared
    optimizer = CertifiedGD(model.parameters(), cert)
    with pytest.raises(InputError, match="gradient"):
        optimizer.step()
    nn.functional.mse_loss(model(data[0]), data[1]).backward()
    before = [p.detach().clone() for p in model.parameters()]
    for bad in (None, torch.full_like(model[2].bias, math.nan)):
        model[2].bias.grad = bad
        with pytest.raises(InputError, match=r"2\.bias"):
            optimizer.step()
    assert optimizer.steps == 0
    assert all(map(torch.equal, before, model.parameters()))


def test_other_weights_on_the_way_end_the_claim(prepared: Prepared) -> None:
    model, data, cert = prepared
    optimizer = CertifiedGD(model.parameters(), cert)
    descend(model, data, optimizer)
    with torch.no_grad():
        model[2].bias.add_(1e-9)
    for call in (optimizer.loss_envelope, lambda: descend(model, data, optimizer)):
        with pytest.raises(InputError, match=r"2\.bias"):
            call()
    assert optimizer.steps == 1


def test_tensors_that_share_memory_end_the_claim() -> None:
    model, data = problem(widths=(3, 30, 30, 1))
    with torch.no_grad():
        model[0].bias.zero_()
        model[2].bias.zero_()
        near = (data[0], model(data[0]) + 1e-6)
    cert = talweg.certify(model, near, attack=False)
    assert cert.status == "PROVED", cert.reason
    model[2].bias = nn.Parameter(model[0].bias.detach())
    optimizer = CertifiedGD(model.parameters(), cert)
    descend(model, near, optimizer)
    with pytest.raises(InputError, match=r"0\.bias"):
        optimizer.loss_envelope()


def test_nothing_proved_nothing_run() -> None:
    model, data = problem(widths=(3, 30, 1))
    cert = talweg.certify(model, data, attack=False)
    assert cert.status == "UNDECIDED"
    with pytest.raises(InputError, match="PROVED"):
        CertifiedGD(model.parameters(), cert)


def test_state_dict(prepared: Prepared) -> None:
    model, data, cert = prepared
    start = copy.deepcopy(model)
    optimizer = CertifiedGD(model.parameters(), cert)
    for _ in range(3):
        descend(model, data, optimizer)
    saved = optimizer.state_dict()
    other = CertifiedGD(start.parameters(), cert)
    with pytest.raises(InputError, match="weights"):
        other.load_state_dict(saved)  # the model is still at the start
    assert other.steps == 0
    start.load_state_dict(model.state_dict())
    other.load_state_dict(saved)
    assert other.steps == 3
    assert other.loss_envelope() == optimizer.loss_envelope()
    assert descend(start, data, other) == descend(model, data, optimizer)
    assert all(map(torch.equal, start.parameters(), model.parameters()))


def test_a_state_of_another_run_is_refused(prepared: Prepared) -> None:
    model, data, cert = prepared
    optimizer = CertifiedGD(model.parameters(), cert)
    descend(model, data, optimizer)
    saved = optimizer.state_dict()
    forged = copy.deepcopy(saved)
    forged["certified"]["steps"] = forged["certified"]["full_steps"] = 10**9
    for state in (
        forged,
        torch.optim.SGD(model.parameters(), lr=cert.step_size).state_dict(),
        {**saved, "certified": another(data).state_dict()["certified"]},
    ):
        with pytest.raises(InputError, match="state_dict"):
            optimizer.load_state_dict(state)
    saved["param_groups"][0]["lr"] = 2.0 * cert.step_size
    with pytest.raises(InputError, match="lr"):
        optimizer.load_state_dict(saved)
    assert optimizer.steps == 1


def another(data: tuple[Tensor, Tensor]) -> CertifiedGD:
    model, _ = problem(1, widths=(3, 30, 1))
    cert = talweg.certify(model, data, polish=True, attack=False)
    return CertifiedGD(cert.load_into_(model).parameters(), cert)


@pytest.mark.parametrize("pickled", [True, False])
def test_a_copy_goes_on(prepared: Prepared, pickled: bool) -> None:
    model, data, cert = prepared
    optimizer = CertifiedGD(model.parameters(), cert)
    for _ in range(2):
        descend(model, data, optimizer)
    pair = (model, optimizer)
    twin, other = pickle.loads(pickle.dumps(pair)) if pickled else copy.deepcopy(pair)
    assert other.steps == 2
    assert descend(twin, data, other) == descend(model, data, optimizer)
    assert all(map(torch.equal, twin.parameters(), model.parameters()))
    other.param_groups[0]["lr"] = 2.0 * cert.step_size
    with pytest.raises(InputError, match="lr"):
        descend(twin, data, other)
    with pytest.raises(InputError, match="add_param_group"):
        other.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
