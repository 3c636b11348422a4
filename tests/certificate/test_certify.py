"""What `certify` answers, and that gradient descent then does what is claimed."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tests.certificate.problems import problem, proved
from torch import nn

import talweg
from talweg import InputError

LOSSES = {
    "mse": lambda r: (r**2).mean(),
    "sse": lambda r: (r**2).sum(),
    "half_sse": lambda r: (r**2).sum() / 2,
}
FLOAT64_NOISE = 1e-9  # gradient descent below is run in float64; the claim is about real numbers


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("theorem", ["T11", "T4"])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_gradient_descent_stays_under_the_envelope(loss: str, theorem: str, share: float) -> None:
    model, (X, y) = problem()
    certificate = talweg.certify(
        model, (X, y), loss=loss, theorem=theorem, polish=True, attack=False
    )
    assert certificate.status == "PROVED", certificate.reason
    assert certificate.theorem == theorem
    certificate.load_into_(model)
    start = torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])
    step = certificate.step_size * share
    optimizer = torch.optim.SGD(model.parameters(), lr=step)
    first = LOSSES[loss](model(X) - y).item()
    # The loss falls by one_minus_rate per step at the full step, at share times it at least below.
    rate = 1.0 - certificate.one_minus_rate * share * 0.5 if share < 1.0 else certificate.rate
    for k in range(300):
        value = LOSSES[loss](model(X) - y)
        assert value.item() <= first * rate**k * (1 + 1e-6) + 1e-28
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        here = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        assert float((here - start).norm()) <= certificate.radius * (1 + FLOAT64_NOISE)


def test_target_is_reached_in_the_claimed_number_of_steps() -> None:
    model, (X, y) = problem()
    reached = proved()
    reached.load_into_(model)
    first = ((model(X) - y) ** 2).mean().item()
    certificate = talweg.certify(model, (X, y), target=first / 10, attack=False)
    assert certificate.status == "PROVED", certificate.reason
    assert certificate.theorem == "T7"
    optimizer = torch.optim.SGD(model.parameters(), lr=certificate.step_size)
    steps = 0
    while ((model(X) - y) ** 2).mean().item() > first / 10:
        optimizer.zero_grad()
        ((model(X) - y) ** 2).mean().backward()
        optimizer.step()
        steps += 1
        assert steps <= certificate.steps
    assert steps > 0


def test_as_given_is_always_reported() -> None:
    model, data = problem()
    plain = talweg.certify(model, data, attack=False)
    assert plain.status == plain.as_given.status == "UNDECIDED"
    assert plain.as_given.missing_factor > 1.0
    assert "PROVED" not in str(plain)
    polished = talweg.certify(model, data, polish=True, attack=False)
    assert polished.polished
    assert polished.polish_distance > 0.0
    assert polished.as_given.missing_factor == plain.as_given.missing_factor


def test_weights_that_meet_the_criterion_are_taken_as_given() -> None:
    model, data = problem()
    proved().load_into_(model)
    certificate = talweg.certify(model, data, polish=True)
    assert certificate.status == "PROVED"
    assert not certificate.polished
    assert certificate.polish_distance == 0.0
    assert certificate.as_given.missing_factor < 1.0
    assert 1.0 <= certificate.slack < 2.0


def test_model_and_random_state_are_left_untouched() -> None:
    model, data = problem()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    talweg.certify(model, data, polish=True)
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_load_into_refuses_a_dtype_that_rounds() -> None:
    model, _ = problem()
    with pytest.raises(InputError, match=r"hold the certified values exactly.*model\.double\(\)"):
        proved().load_into_(model.float())


def test_load_into_refuses_another_architecture() -> None:
    with pytest.raises(InputError, match=r"must have a parameter"):
        proved().load_into_(nn.Sequential(nn.Linear(2, 2)))


def test_save_refuses_what_is_not_proved(tmp_path: object) -> None:
    model, data = problem()
    with pytest.raises(InputError, match="requires status PROVED"):
        talweg.certify(model, data, attack=False).save(f"{tmp_path}/x.talweg")


def test_float32_weights_are_certified_as_the_numbers_they_are() -> None:
    model, (X, y) = problem(widths=(3, 40, 1), n=3)
    model, X, y = model.float(), X.float(), y.float()
    certificate = talweg.certify(model, (X, y), polish=True, attack=False)
    assert certificate.status == "PROVED", certificate.reason
    exact = copy.deepcopy(model).double()
    twin = talweg.certify(exact, (X.double(), y.double()), polish=True, attack=False)
    assert twin.as_given.missing_factor == certificate.as_given.missing_factor


def test_fewer_parameters_than_residuals_is_undecided_with_both_numbers() -> None:
    model, data = problem(widths=(2, 2, 1), n=30)
    answer = talweg.certify(model, data)
    assert answer.status == "UNDECIDED"
    assert "p = 9" in answer.reason
    assert "N = 30" in answer.reason


def test_conflicting_rows_refute() -> None:
    model, (X, y) = problem()
    X[3] = X[1]
    y[1], y[3] = 0.0, 2.0
    answer = talweg.certify(model, (X, y), loss="sse")
    assert answer.status == "REFUTED"
    assert "zero loss impossible: rows 1, 3" in answer.reason
    assert "below 2" in answer.reason
    reachable = talweg.certify(model, (X, y), loss="sse", target=3.0)
    assert reachable.status == "UNDECIDED"
    unreachable = talweg.certify(model, (X, y), loss="sse", target=1.5)
    assert unreachable.status == "REFUTED"


def test_equal_rows_are_merged_and_reported() -> None:
    model, (X, y) = problem()
    twice = (torch.cat([X, X[:2]]), torch.cat([y, y[:2]]))
    certificate = talweg.certify(model, twice, polish=True, attack=False)
    assert certificate.status == "PROVED"
    assert any("7 rows hold 5 distinct inputs" in note for note in certificate.notes)


def test_softplus_beyond_its_threshold_is_undecided() -> None:
    model, data = problem()
    proved().load_into_(model)
    low = nn.Sequential(model[0], nn.Softplus(threshold=-50.0), model[2])
    answer = talweg.certify(low, data, polish=True, attack=False)
    assert answer.status == "UNDECIDED"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "l1"}, "`loss`"),
        ({"theorem": "T99"}, "`theorem`"),
        ({"target": -1.0}, "`target`"),
        ({"target": math.nan}, "`target`"),
        ({"target": 1.0, "theorem": "T4"}, "`target`"),
    ],
)
def test_bad_arguments(options: dict[str, object], message: str) -> None:
    model, data = problem()
    with pytest.raises(InputError, match=message):
        talweg.certify(model, data, **options)


@pytest.mark.parametrize("activation", [nn.Tanh, talweg.nn.Sin])
@pytest.mark.parametrize("options", [{}, {"theorem": "T4"}, {"target": 1e-6}])
@pytest.mark.parametrize("scale", [0.0, 1e-320, 1e-310])
def test_vanishing_curvature_at_the_start_says_nothing_about_the_ball(
    activation: type[nn.Module], options: dict[str, object], scale: float
) -> None:
    """beta(0) = 0 at z = 0, yet |tanh|, |sin| <= 1 never reach 5."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), activation()).double()
    nn.init.constant_(model[0].weight, scale)
    X = torch.eye(2, dtype=torch.float64)
    y = torch.tensor([[5.0], [3.0]], dtype=torch.float64)
    assert talweg.certify(model, (X, y), attack=False, **options).status == "UNDECIDED"


@pytest.mark.parametrize("options", [{}, {"theorem": "T4"}, {"target": 1e-6}])
def test_affine_models_are_certified_from_anywhere(options: dict[str, object]) -> None:
    model = nn.Linear(3, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    X = torch.eye(3, dtype=torch.float64)[:2]
    y = torch.tensor([[5.0], [3.0]], dtype=torch.float64)
    assert talweg.certify(model, (X, y), attack=False, **options).status == "PROVED"


def test_curvature_that_grows_from_zero_is_certified_near_enough() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Tanh()).double()
    nn.init.zeros_(model[0].weight)
    X = torch.eye(2, dtype=torch.float64)
    certificate = talweg.certify(model, (X, X[:, :1] * 0.2 - 0.1), attack=False)
    assert certificate.status == "PROVED"
    assert certificate.jacobian_lipschitz_upper > 0.0


def test_target_above_the_loss_is_said_to_be_met() -> None:
    model = nn.Linear(4, 1, dtype=torch.float64)
    X = torch.eye(4, dtype=torch.float64)[:3]
    answer = talweg.certify(model, (X, model(X).detach()), target=2.0, attack=False)
    assert answer.status == "UNDECIDED"
    assert "already at most the target" in answer.reason


def test_huge_data_are_undecided_not_a_crash() -> None:
    model, (X, y) = problem(widths=(3, 12, 4, 1))
    assert talweg.certify(model, (X * 1e160, y), attack=False).status == "UNDECIDED"


@pytest.mark.parametrize("changed", ["inputs", "targets"])
def test_data_changed_after_they_were_read_do_not_enter_the_claim(changed: str) -> None:
    model, data = problem()
    mine = {"inputs": data[0].clone(), "targets": data[1].clone()}

    def change(stage: str) -> None:
        if stage.startswith("bounds"):
            mine[changed].mul_(1.01)

    certificate = talweg.certify(
        model, (mine["inputs"], mine["targets"]), polish=True, attack=False, progress=change
    )
    assert certificate.document is not None
    assert not torch.equal(mine[changed], data[changed == "targets"])
    for name, given in zip(("inputs", "targets"), data, strict=True):
        assert torch.equal(certificate.document.arrays[name], given)


@pytest.mark.parametrize("target", [10**400, True, -1.0, math.nan])
def test_a_target_is_a_positive_binary64_number(target: float) -> None:
    model, data = problem()
    with pytest.raises(InputError, match="`target` of certify"):
        talweg.certify(model, data, target=target)


@pytest.mark.parametrize("seed", [1.5, True, -1, 2**63, "0", None])
def test_a_seed_is_an_integer(seed: object) -> None:
    with pytest.raises(InputError, match=r"`seed` of certify must be an integer from 0 to 2\^63"):
        talweg.certify(*problem(), seed=seed)  # type: ignore[arg-type]
