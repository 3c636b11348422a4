"""certify(theorem="T9"): the claim, what is refused, and the run that it speaks of."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import talweg
from certificate.problems import problem
from talweg import Certificate
from talweg.enclosure import norm_upper
from talweg.network import FlatFunction, linearize, read, residual_norm_bound
from talweg.theory import SquaredLoss
from talweg_check import check


def certified(
    data: tuple[Tensor, Tensor] | None = None, model: nn.Module | None = None, **options: Any
) -> tuple[nn.Module, tuple[Tensor, Tensor], Certificate]:
    fallback_model, fallback_data = problem(widths=(3, 30, 1))
    model, data = model or fallback_model, data or fallback_data
    settings: dict[str, Any] = {"theorem": "T9", "polish": True, "attack": False} | options
    certificate = talweg.certify(model, data, **settings)
    return model, data, certificate


@pytest.fixture(scope="module")
def proved() -> tuple[nn.Module, tuple[Tensor, Tensor], Certificate]:
    found = certified()
    assert found[2].status == "PROVED", found[2].reason
    return found


def test_what_is_claimed(proved: tuple[Any, Any, Certificate]) -> None:
    cert = proved[2]
    assert cert.theorem == "T9"
    assert cert.floor is not None
    assert cert.residual_norm is not None
    assert 0.0 < cert.floor < 1e-6 * cert.residual_norm**2
    assert len(cert.assumptions) == 2
    assert cert.claim is not None
    assert "float64" in cert.claim
    assert "nothing is claimed about later iterates" in cert.claim
    for assumption in cert.assumptions:
        assert assumption in cert.claim
        assert assumption in str(cert)
    assert cert.to_dict()["assumptions"] == list(cert.assumptions)
    assert cert.to_dict()["floor"] == cert.floor


def test_the_checker_confirms_it(proved: tuple[Any, Any, Certificate], tmp_path: Path) -> None:
    path = tmp_path / "a.talweg"
    proved[2].save(path)
    verdict = check(str(path))
    assert verdict.verdict == "valid", verdict.reason
    assert "assumptions" in verdict.reason


@pytest.mark.parametrize("loss", ["mse", "sse", "half_sse"])
@pytest.mark.parametrize("widths", [(3, 20, 1), (4, 12, 12, 2)])
def test_every_scaling_is_confirmed(loss: str, widths: tuple[int, ...], tmp_path: Path) -> None:
    model, data = problem(1, widths, n=4)
    cert = certified(data, model, loss=loss)[2]
    assert cert.status == "PROVED", cert.reason
    cert.save(tmp_path / "a.talweg")
    verdict = check(str(tmp_path / "a.talweg"))
    assert verdict.verdict == "valid", verdict.reason


def test_an_error_smaller_by_1e_5_is_refused(
    proved: tuple[Any, Any, Certificate], tmp_path: Path
) -> None:
    """The two bounds of the rounding, ours and the checker's, agree to better than 1e-5."""
    cert = proved[2]
    assert cert.document is not None
    claims = cert.document.body["claims"]
    for key, factor in (("gradient_error_upper", 1 - 1e-5), ("floor", 1 - 1e-5)):
        before = claims[key]
        claims[key] = (float.fromhex(before) * factor).hex()
        sentence = cert.document.body["claim"]
        old, new = repr(float.fromhex(before)), repr(float.fromhex(claims[key]))
        cert.document.body["claim"] = sentence.replace(old, new)
        cert.save(tmp_path / "a.talweg")
        cert.document.body["claim"], claims[key] = sentence, before
        assert check(str(tmp_path / "a.talweg")).verdict in ("incomplete", "invalid")


def test_equal_rows_are_summed_as_often_as_they_occur(tmp_path: Path) -> None:
    """Merging leaves the theorem's numbers alone, but the program adds every row: e grows."""
    model, (X, y) = problem(widths=(3, 30, 1))
    once = certified((X, y), model, loss="sse")[2]
    rows = [0, 1, 2, 3, 4] * 3
    thrice = certified((X[rows], y[rows]), once.load_into_(model), loss="sse", polish=False)[2]
    assert thrice.status == "PROVED", thrice.reason
    thrice.save(tmp_path / "a.talweg")
    verdict = check(str(tmp_path / "a.talweg"))
    assert verdict.verdict == "valid", verdict.reason

    def error(cert: Certificate) -> float:
        assert cert.document is not None
        return float.fromhex(cert.document.body["claims"]["gradient_error_upper"])

    assert error(thrice) > 2.0 * error(once)


def softplus_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 20), nn.Softplus(), nn.Linear(20, 1)).double()


def test_programs_without_a_bound_are_undecided() -> None:
    cert = certified(model=softplus_net())[2]
    assert cert.status == "UNDECIDED"
    assert "softplus" in cert.reason
    model, (X, y) = problem(widths=(3, 30, 1))
    cert = certified((X.float(), y.float()), model.float())[2]
    assert cert.status == "UNDECIDED"
    assert "float32" in cert.reason


def test_weights_too_far_from_a_solution_are_undecided() -> None:
    cert = certified(polish=False)[2]
    assert cert.status == "UNDECIDED"
    assert "criterion" in cert.reason
    assert cert.assumptions == ()


def test_a_start_at_the_floor_is_undecided() -> None:
    """Polished to the last bits, the loss is already below what rounding leaves."""
    model, (X, _) = problem(widths=(3, 30, 1))
    with torch.no_grad():
        fitted = model(X)
    cert = certified((X, fitted), model)[2]
    assert cert.status == "UNDECIDED"
    assert "floor" in cert.reason


def replay(
    model: nn.Module, data: tuple[Tensor, Tensor], cert: Certificate, steps: int, loss: str
) -> None:
    """Run the torch program and check each iterate against the claim, with enclosed losses."""
    X, y = data
    cert.load_into_(model)
    network = read(model, X)
    function = FlatFunction(network, X)
    scaling = {"mse": "mean", "sse": "sum", "half_sse": "half_sum"}[loss]
    squared = SquaredLoss(scaling, y.numel())  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(model.parameters(), lr=cert.step_size)
    assert cert.one_minus_rate is not None
    assert cert.radius is not None
    assert cert.floor is not None

    def flat() -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    start, before = flat(), None
    for _ in range(steps):
        away = float(norm_upper(flat() - start)) * (1 + 1e-15)
        assert away <= cert.radius
        state = linearize(function.network_at(flat()), X)
        size = residual_norm_bound(state, y)
        now = squared.loss_upper(size)
        if before is not None:
            # before: an upper bound; the enclosures are a few roundings wide
            slack = 1e-9 * before + 1e-26 * y.numel()
            assert now <= (1.0 - cert.one_minus_rate) * before + slack
        if now <= cert.floor:
            return
        before = now
        optimizer.zero_grad()
        value = nn.functional.mse_loss(model(X), y, reduction="mean" if loss == "mse" else "sum")
        (value if loss != "half_sse" else 0.5 * value).backward()
        optimizer.step()


def test_the_run_to_the_floor(proved: tuple[nn.Module, Any, Certificate]) -> None:
    model, data, cert = proved
    assert cert.steps is not None
    replay(model, data, cert, min(int(cert.steps) + 1, 3000), "mse")


@settings(max_examples=8)
@given(
    seed=st.integers(0, 1000),
    widths=st.sampled_from([(2, 15, 1), (3, 12, 2), (2, 8, 8, 1)]),
    scale=st.sampled_from([0.5, 1.0, 3.0]),
    loss=st.sampled_from(["mse", "sse", "half_sse"]),
    sigmoid=st.booleans(),
)
def test_no_run_contradicts_a_claim(
    seed: int, widths: tuple[int, ...], scale: float, loss: str, sigmoid: bool
) -> None:
    model, data = problem(seed, widths, n=3)
    if sigmoid:
        model = nn.Sequential(*(nn.Sigmoid() if isinstance(m, nn.Tanh) else m for m in model))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    cert = certified(data, model, loss=loss)[2]
    if cert.status == "PROVED":
        replay(model, data, cert, 150, loss)


def test_the_file_states_its_assumptions(
    proved: tuple[Any, Any, Certificate], tmp_path: Path
) -> None:
    path = tmp_path / "a.talweg"
    proved[2].save(path)
    with zipfile.ZipFile(path) as archive:
        body = json.loads(archive.read("certificate.json"))
    assert body["theorem"] == "T9"
    assert body["assumptions"] == list(proved[2].assumptions)
    assert "float64" in body["semantics"]
    assert "real-arithmetic" not in body["semantics"]
