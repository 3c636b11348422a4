"""What to do next stands beside every verdict that names a hypothesis, and fits the case."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tests.certificate.problems import problem, proved
from torch import nn

import talweg
from talweg.certificate._advice import BY_HYPOTHESIS, advice
from talweg.theory import Hypothesis, Status, Verdict


def failed(name: str) -> Verdict[Any]:
    return Verdict(Status.UNDECIDED, None, (Hypothesis.below(name, "a < b", 2.0, 1.0),), "T11")


@pytest.mark.parametrize(
    ("loss", "target", "smoothing", "polished", "words"),
    [
        ("mse", None, 0.0, False, "polish=True"),
        ("mse", None, 0.0, True, "talweg prescribe train"),
        ("mse", 0.1, 0.0, True, "leave the target out"),
        ("cross_entropy", 0.1, 0.0, True, "smooth the labels"),
        ("cross_entropy", None, 0.1, False, "polish=True"),
        ("cross_entropy", None, 0.1, True, "widen the model"),
    ],
)
def test_the_criterion(
    loss: str, target: float | None, smoothing: float, polished: bool, words: str
) -> None:
    said = advice(failed("criterion"), loss, target, smoothing, polished=polished)
    assert said is not None
    assert words in said
    # What is for squared losses and zero loss alone is recommended for nothing else.
    assert ("prescribe" in said) == (loss == "mse" and target is None)


@pytest.mark.parametrize("name", BY_HYPOTHESIS)
def test_other_hypotheses(name: str) -> None:
    assert advice(failed(name), "mse", None, 0.0, polished=True) == BY_HYPOTHESIS[name]


def test_a_hypothesis_that_says_all() -> None:
    assert advice(failed("step_size"), "mse", None, 0.0, polished=True) is None


def test_it_is_shown_where_something_failed() -> None:
    model, data = problem()
    given = talweg.certify(model, data, attack=False)
    assert given.status == "UNDECIDED"
    assert given.advice is not None
    assert ("what to do", given.advice) in given.rows()
    assert given.to_dict()["advice"] == given.advice
    assert proved().advice is None
    assert "what to do" not in str(proved())


def test_rows_that_are_nearly_equal() -> None:
    model, (X, y) = problem()
    X = torch.cat([X, X + 1e-12])
    y = torch.cat([y, -y])
    found = talweg.certify(model, (X, y), attack=False, polish=True)
    assert found.advice is not None
    assert "kernel smallest" in found.advice


@pytest.mark.parametrize("loss", ["mse", "half_sse", "cross_entropy", "cross_entropy_sum"])
def test_the_target_within_reach_is_proved(loss: str) -> None:
    """And half as much beyond it is not."""
    torch.manual_seed(1)
    X = torch.randn(12, 4, dtype=torch.float64)
    entropy = loss.startswith("cross")
    model = nn.Sequential(nn.Linear(4, 40), nn.Tanh(), nn.Linear(40, 3)).double()
    y = torch.randint(0, 3, (12,)) if entropy else torch.randn(12, 3, dtype=torch.float64)
    settings: dict[str, Any] = {"loss": loss, "polish": False, "attack": False}
    found = talweg.certify(model, (X, y), target=1e-3, **settings)
    words = re.search(r"target of about (\S+) is within reach .* loss is (\S+);", str(found.advice))
    assert words, found.advice
    least, here = map(float, words.groups())
    assert 1e-3 < least < here
    assert talweg.certify(model, (X, y), target=least, **settings).status == "PROVED"
    beyond = here - 1.5 * (here - least)
    assert talweg.certify(model, (X, y), target=beyond, **settings).status == "UNDECIDED"


def test_what_it_recommends_works() -> None:
    """A target of a classifier is not proved; smoothed labels and a polish are."""
    torch.manual_seed(0)
    X, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    model = nn.Sequential(nn.Linear(4, 40), nn.GELU(), nn.Linear(40, 3))
    settings: dict[str, Any] = {"loss": "cross_entropy", "polish": True, "attack": False}
    found = talweg.certify(model, (X, labels), target=0.1, **settings)
    assert found.status == "UNDECIDED"
    assert "label_smoothing=0.1" in str(found.advice)
    assert talweg.certify(model, (X, labels), label_smoothing=0.1, **settings).status == "PROVED"


def one_hot(width: int) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3)).double()
    X = torch.randn(9, 4, dtype=torch.float64)
    return model, (X, torch.nn.functional.one_hot(torch.arange(9) % 3, 3).double())


def test_one_hot_labels_and_few_features() -> None:
    model, data = one_hot(6)
    found = talweg.certify(model, data, attack=False, polish=True)
    assert found.status == "UNDECIDED"
    assert found.advice is not None
    assert "every row of the targets sums to 1" in found.advice
    assert "6 features of 9 rows" in found.advice
    labels = data[0], data[1].argmax(1)
    smoothed = talweg.certify(
        model, labels, loss="cross_entropy", label_smoothing=0.1, polish=True, attack=False
    )
    assert smoothed.status == "PROVED", smoothed.reason


def test_one_hot_labels_and_enough_features() -> None:
    model, data = one_hot(40)
    assert talweg.certify(model, data, attack=False, polish=True).status == "PROVED"


def test_targets_without_a_common_sum() -> None:
    model, (X, y) = one_hot(6)
    found = talweg.certify(model, (X, y + torch.randn_like(y)), attack=False)
    assert found.advice is not None
    assert "sums to" not in found.advice


def test_a_frozen_last_layer_is_another_matter() -> None:
    model, (X, y) = one_hot(6)
    model[2].weight.requires_grad_(False)
    found = talweg.certify(model, (X, y), attack=False)
    assert found.advice is not None
    assert "sums to" not in found.advice


def test_a_graph_far_from_its_infimum_is_not_bounded_as_given() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)
    ).double()  # fmt: skip
    with torch.no_grad():
        model[3].bias.copy_(torch.tensor([60.0, 0.0, -60.0]))
    X, labels = torch.randn(6, 1, 6, dtype=torch.float64), torch.arange(6) % 3
    found = talweg.certify(
        model, (X, labels), loss="cross_entropy", label_smoothing=0.1, polish=True, attack=False
    )
    assert found.as_given.status == "UNDECIDED"
    assert "asks for infinitely much" in found.as_given.reason
