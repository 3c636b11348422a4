"""Training until it can be proved, with a cross-entropy and smoothed labels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import talweg
from talweg import InputError
from talweg.prescribe import TrainedUntilProved, outlook_approx, train_until_proved
from talweg.prescribe._training_loss import EntropyTraining, training_loss
from talweg.prescribe._trapping_watch import TrappingWatch
from talweg_check import check

Data = tuple[Tensor, Tensor]
SMOOTHING = 0.1
STEPS = 1000


def data(n: int = 6, seed: int = 1) -> Data:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64), torch.arange(n) % 3


def network(width: int = 96, seed: int = 2) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3)).double()


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-2, betas=(0.97, 0.999))


def cosine(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)


def run(model: nn.Module | None = None, pair: Data | None = None, **other: Any) -> Any:
    settings = {"max_steps": STEPS, "check_every": 100, "descent_steps": 30,
                "loss": "cross_entropy", "label_smoothing": SMOOTHING} | other  # fmt: skip
    return train_until_proved(
        model or network(), pair or data(), adam, scheduler=cosine, **settings
    )


@pytest.fixture(scope="module")
def trained() -> TrainedUntilProved:
    return run(held_out=data(9, 5))  # type: ignore[no-any-return]


def test_training_ends_with_a_proof_that_the_checker_confirms(
    trained: TrainedUntilProved, tmp_path: Path
) -> None:
    assert trained.status == "PROVED", trained.reason
    assert trained.certificate.theorem == "T4"
    assert trained.reason.startswith("T4 applies from iterate")
    trained.certificate.save(tmp_path / "a.talweg")
    verdict = check(str(tmp_path / "a.talweg"))
    assert verdict.verdict == "valid", verdict.reason
    assert "sqrt(2 G / mu)" in str(trained)


def test_the_claim_is_about_the_trained_model(trained: TrainedUntilProved) -> None:
    again = talweg.certify(
        trained.model, data(), loss="cross_entropy", label_smoothing=SMOOTHING, attack=False
    )
    assert (again.status, again.step_size) == ("PROVED", trained.certificate.step_size)


def test_no_iterate_just_before_would_do(trained: TrainedUntilProved) -> None:
    """The same training, stopped one step earlier."""
    assert trained.trapping_time is not None
    model = network()
    optimizer = adam(model.parameters())
    schedule = cosine(optimizer)
    X, y = data()
    for _ in range(trained.trapping_time - 1):
        optimizer.zero_grad()
        F.cross_entropy(model(X), y, label_smoothing=SMOOTHING).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    before = talweg.certify(
        model, (X, y), loss="cross_entropy", label_smoothing=SMOOTHING, attack=False
    )
    assert before.status == "UNDECIDED"


def test_measured_descent_is_of_the_loss_above_its_infimum(trained: TrainedUntilProved) -> None:
    outlook, certificate = trained.outlook, trained.certificate
    assert outlook is not None
    assert certificate.initial_gap is not None
    assert outlook.loss_first == pytest.approx(certificate.initial_gap / 6, rel=1e-6)
    assert 0.0 < outlook.loss_last < outlook.loss_first
    assert outlook.held_out_error is not None
    assert outlook.held_out_error > 0.0
    assert "loss above its infimum" in str(outlook)
    assert "cross-entropy, no smoothing" in str(outlook)


def test_need_and_factor_are_those_of_certify() -> None:
    """At R = 0, where beta has not grown, so somewhat below."""
    model, (X, y) = network(), data()
    again = run(model, max_steps=300)  # a copy is trained; not far enough for a proof
    trained, check = again.model, again.checks[-1]
    loss = EntropyTraining("cross_entropy", SMOOTHING)
    made = talweg.certify(
        trained, (X, y), loss="cross_entropy", label_smoothing=SMOOTHING, attack=False
    )
    assert made.initial_gap is not None
    assert made.pl_constant is not None
    expected = math.sqrt(2.0 * made.initial_gap / made.pl_constant)
    assert check.residual_norm == pytest.approx(expected, rel=1e-6)
    rigorous = made.as_given.missing_factor
    assert rigorous is not None
    assert 0.5 * rigorous <= check.missing_factor <= 1.0001 * rigorous
    with torch.no_grad():
        outputs = trained(X)
    infimum = F.cross_entropy(
        torch.log(0.9 * F.one_hot(y, 3).double() + 0.1 / 3), y, label_smoothing=SMOOTHING
    )
    above = float(loss.value(outputs, y) - infimum)
    assert loss.value_above(outputs, y) == pytest.approx(above, rel=0.3)  # a bound of KL
    assert loss.value_above(outputs, y) >= above * (1 - 1e-9)


def test_rows_that_occur_twice_count_twice() -> None:
    X, y = data()
    loss = EntropyTraining("cross_entropy_sum", SMOOTHING)
    twice = TrappingWatch(network(), torch.cat([X, X]), torch.cat([y, y]), loss)
    once = TrappingWatch(network(), X, y, loss)
    rows = loss.rows(y, 3)
    outputs = 0.1 * torch.randn(6, 3, dtype=torch.float64) + rows.clamp(min=0.05).log()
    double = loss.need(outputs, rows, torch.full((6, 1), math.sqrt(2.0), dtype=torch.float64))
    assert double == pytest.approx(
        loss.need(torch.cat([outputs] * 2), torch.cat([rows] * 2), torch.ones(1, 1).double())
    )
    assert twice.hopeless is once.hopeless is None


def test_equal_rows_with_different_labels() -> None:
    X, _ = data(4)
    found = run(pair=(torch.cat([X, X[:1]]), torch.tensor([0, 1, 2, 0, 1])))
    assert found.status == "UNDECIDED"
    assert "equal rows have different labels" in found.reason


def test_too_few_parameters() -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.Tanh(), nn.Linear(1, 3)).double()
    found = run(model, data(9))
    assert "fewer than 18 residuals" in found.reason  # nine rows times (three outputs - 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label_smoothing": 0.0}, "must be above 0 and at most 1"),
        ({"label_smoothing": 1.5}, "must be above 0 and at most 1"),
        ({"label_smoothing": True}, "must be above 0 and at most 1"),
        ({"label_smoothing": "0.1"}, "must be above 0 and at most 1"),
        ({"loss": "mse"}, "must be 0 for a squared loss"),
        ({"loss": "hinge"}, "`loss` of train_until_proved"),
        ({"held_out": (torch.zeros(2, 4), torch.zeros(2))}, "must hold class indices"),
        ({"held_out": (torch.zeros(2, 4), torch.tensor([0, 3]))}, "must hold class indices"),
        ({"held_out": (torch.zeros(2, 4), torch.tensor([[0], [1]]))}, "must hold class indices"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run(**settings)


def test_targets_that_are_no_labels_are_refused() -> None:
    X, _ = data()
    with pytest.raises(InputError, match="class indices"):
        run(pair=(X, torch.zeros(6, 3, dtype=torch.float64)))
    with pytest.raises(InputError, match="class indices"):
        run(pair=(X, torch.tensor([0, 1, 2, 3, 4, 5])))


def test_the_sum_has_a_step_of_its_own() -> None:
    pair = data()
    mean, total = (
        outlook_approx(
            network(), pair, None, loss=name, held_out=None, label_smoothing=SMOOTHING
        ).loss_first
        for name in ("cross_entropy", "cross_entropy_sum")
    )  # fmt: skip
    assert total == pytest.approx(6 * mean)
    assert training_loss("sse", 0.0, "x").settings == {"loss": "sse"}
