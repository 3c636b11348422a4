"""What is done differently for large problems, on small ones."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from tests.certificate.problems import problem

import talweg
from talweg.certificate import _bounds, _polish, _search
from talweg.certificate._damped_system import FactoredSystem
from talweg.certificate._preconditioned_system import PreconditionedSystem
from talweg.network import FlatFunction, JacobianLipschitz, read
from talweg_check import check


@pytest.mark.parametrize("widths", [(3, 12, 1), (3, 8, 8, 2)])
@pytest.mark.parametrize("centred", [False, True])
def test_conjugate_gradients_take_the_step_of_the_factorisation(
    widths: tuple[int, ...], centred: bool
) -> None:
    model, (X, y) = problem(widths=widths, n=8)
    network = read(model, X)
    root = torch.tensor([1, 1, 2, 1, 3, 1, 1, 1], dtype=torch.float64).sqrt()
    function = FlatFunction(network, X, root)
    centred = centred and widths[-1] > 1
    factored = FactoredSystem(function, centred=centred)
    system = PreconditionedSystem(function, centred=centred)
    w = function.start
    for there in (w, 1.01 * w):
        factored.move_to(there)
        system.move_to(there)
        residual = y - function(there)
        residual = residual - residual.mean(1, keepdim=True) if centred else residual
        damping = 1e-4 * factored.mean
        one, other = factored.step(residual, damping), system.step(residual, damping)
        assert one is not None
        assert other is not None
        assert float((one - other).norm()) <= 0.05 * float(one.norm())
    smallest = system.find_smallest()
    assert smallest is not None
    assert factored.smallest_exceeds(0.5 * smallest)
    assert not factored.smallest_exceeds(1.01 * smallest)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as large."""
    monkeypatch.setattr(_polish, "PRECONDITIONED_FROM", 1)
    monkeypatch.setattr(_bounds, "ROUGH_FROM", 1)


@pytest.mark.usefixtures("large")
def test_a_large_problem_is_proved_and_checked(tmp_path: Path) -> None:
    model, data = problem(widths=(3, 40, 1), n=12)
    certificate = talweg.certify(model, data, polish=True, attack=False)
    assert certificate.status == "PROVED", certificate.reason
    assert certificate.polished
    file = tmp_path / "large.talweg"
    certificate.save(file)
    assert check(str(file)).verdict == "valid"
    given = certificate.as_given
    assert given.status == "UNDECIDED"
    assert given.missing_factor is not None
    assert given.missing_factor > 1.0


@pytest.mark.usefixtures("large")
def test_what_float32_cannot_factor_is_factored_in_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PreconditionedSystem, "_factored", lambda self, kernel, damping: None)
    model, data = problem()
    certificate = talweg.certify(model, data, polish=True, attack=False)
    assert certificate.status == "PROVED", certificate.reason


@pytest.mark.usefixtures("large")
def test_hopeless_weights_are_told_by_how_much_without_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("talweg.certificate._polished.HOPELESS", 1.0)
    model, data = problem(widths=(3, 40, 1), n=12)
    certificate = talweg.certify(model, data, polish=True, attack=False)
    assert certificate.status == "PROVED", certificate.reason
    given = certificate.as_given
    assert given.status == "UNDECIDED"
    assert "estimate" in given.reason
    plain = talweg.certify(model, data, attack=False)
    assert plain.as_given.missing_factor is not None
    assert given.missing_factor is not None
    # A Ritz value and the rough constant stand in for the bounds.
    assert 0.2 <= given.missing_factor / plain.as_given.missing_factor <= 5.0


def _at_a_solution(n: int = 12) -> tuple[torch.nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    model, data = problem(widths=(3, 40, 1), n=n)
    talweg.certify(model, data, polish=True, attack=False).load_into_(model)
    return model, data


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("comfortable", [0.0, 1.0])
def test_weights_that_meet_the_criterion_need_no_polish(
    comfortable: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bounds, "COMFORTABLE", comfortable)
    model, data = _at_a_solution()
    certificate = talweg.certify(model, data, polish=True, attack=False)
    assert certificate.status == "PROVED"
    assert not certificate.polished


@pytest.mark.usefixtures("large")
def test_a_rough_constant_will_do_well_inside_the_criterion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, data = _at_a_solution()
    found = {}
    for comfortable in (0.0, 1.0):
        monkeypatch.setattr(_bounds, "COMFORTABLE", comfortable)
        found[comfortable] = talweg.certify(model, data, attack=comfortable == 1.0)
    sharp, rough = found[0.0], found[1.0]
    beta, other = sharp.jacobian_lipschitz_upper, rough.jacobian_lipschitz_upper
    assert beta is not None
    assert other is not None
    assert beta < other < 4.0 * beta
    assert sharp.radius is not None
    assert rough.radius is not None
    assert sharp.radius <= rough.radius <= 1.3 * sharp.radius
    assert rough.slack is not None
    assert 1.0 <= rough.slack < 2.0  # that of the sharp constant
    rough.save(tmp_path / "rough.talweg")
    assert check(str(tmp_path / "rough.talweg")).verdict == "valid"


@pytest.mark.usefixtures("large")
def test_near_the_criterion_the_sharp_constant_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = _at_a_solution()
    asked: list[bool] = []
    genuine = _bounds.state_lipschitz

    def noted(state: object, *, rough: bool = False) -> object:
        asked.append(rough)
        return genuine(state, rough=rough)  # type: ignore[arg-type]

    monkeypatch.setattr(_bounds, "state_lipschitz", noted)
    talweg.certify(model, data, attack=False)
    well_inside = asked.copy()
    asked.clear()
    monkeypatch.setattr(_bounds, "COMFORTABLE", 1e-12)
    talweg.certify(model, data, attack=False)
    assert True in well_inside
    assert asked == [True, False]


Problem = tuple[torch.nn.Sequential, tuple[torch.Tensor, torch.Tensor]]


def _missing_by(model: torch.nn.Sequential, X: torch.Tensor, factor: float) -> Problem:
    """Targets so far from the outputs that the rough constant misses the criterion by a factor."""
    outputs = model(X).detach()
    small = 1e-9 * torch.arange(1.0, len(X) + 1.0, dtype=torch.float64).cos().reshape(-1, 1)
    known = talweg.certify(model, (X, outputs + small), attack=False).as_given.missing_factor
    assert known is not None
    assert known < _bounds.COMFORTABLE
    return model, (X, outputs + factor / known * small)


def _near(factor: float, seed: int, widths: tuple[int, ...], n: int) -> Problem:
    model, (X, _) = problem(widths=widths, n=n, seed=seed)
    return _missing_by(model, X, factor)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("missing", [0.01, 0.2, 0.5, 0.8, 1.3, 30.0, 3e4])
@pytest.mark.parametrize("theorem", ["T11", "T4", "T9"])
@pytest.mark.parametrize(("seed", "widths"), [(0, (3, 40, 1)), (1, (3, 40, 1)), (2, (3, 400, 1))])
def test_one_radius_says_what_several_say(
    missing: float, theorem: Literal["T11", "T4", "T9"], seed: int, widths: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    """Between where the rough constant is far from the criterion and well inside."""
    model, data = _near(missing, seed, widths, 12)
    found = talweg.certify(model, data, theorem=theorem, attack=False)
    monkeypatch.setattr(_search, "_one_evaluation", lambda *_: None)
    wanted = talweg.certify(model, data, theorem=theorem, attack=False)
    assert found.status == wanted.status
    one, other = found.as_given.missing_factor, wanted.as_given.missing_factor
    assert one is not None
    assert other is not None
    assert 0.9 * other <= one <= 1.1 * other
    if found.status == "PROVED":
        assert found.one_minus_rate is not None
        assert wanted.one_minus_rate is not None
        assert found.one_minus_rate >= 0.9 * wanted.one_minus_rate
        found.save(tmp_path / "one.talweg")
        assert check(str(tmp_path / "one.talweg")).verdict == "valid"


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("missing", [0.5, 3e3])
def test_the_sharp_constant_is_asked_for_once_where_it_hardly_grows(
    missing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (X, _) = problem(widths=(3, 40, 1), n=6)
    X[1] = X[0] + 1e-3  # nearly one row: the ball is small
    model, data = _missing_by(model, X, missing)
    radii: list[float] = []
    genuine = JacobianLipschitz._upper

    def noted(self: JacobianLipschitz, radius: float) -> float:
        if not self.is_rough:
            radii.append(radius)
        return genuine(self, radius)

    monkeypatch.setattr(JacobianLipschitz, "_upper", noted)
    found = talweg.certify(model, data, attack=False)
    assert found.status == ("PROVED" if missing < 1.0 else "UNDECIDED")
    assert len(radii) == 1


@pytest.mark.usefixtures("large")
def test_a_softplus_may_come_near_its_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a ball twice as large as the criterion needs it could reach it."""
    model, (X, _) = problem(widths=(3, 40, 1), n=8)
    softplus = torch.nn.Softplus()
    model[1] = softplus
    model, (X, targets) = _missing_by(model, X, 0.6)
    highest = float(model[0](X).detach().amax())
    proved = []
    for share in (1.0 + 0.005 * step for step in range(1, 40)):
        softplus.threshold = highest * share
        found = talweg.certify(model, (X, targets), attack=False)
        proved.append(found.status == "PROVED")
        with monkeypatch.context() as patch:
            patch.setattr(_search, "_one_evaluation", lambda *_: None)
            wanted = talweg.certify(model, (X, targets), attack=False)
        assert found.status == wanted.status
    assert proved[-1]
    assert not proved[0]


@pytest.mark.usefixtures("large")
def test_a_rough_constant_never_stands_in_a_slack() -> None:
    model, data = problem(widths=(3, 40, 1), n=12)
    certificate = talweg.certify(model, data, seed=1)
    assert certificate.status == "UNDECIDED"
    assert certificate.slack is not None
    assert 1.0 <= certificate.slack < 2.0
