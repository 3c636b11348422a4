"""``talweg diagnose``: what it prints, exit codes, and one message on bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Command = Callable[..., Any]
WriteSpec = Callable[..., str]

GOOD = """
X, y = data(64)
return network(), X, y
"""


def test_the_step_that_is_too_large(talweg: Command, write_spec: WriteSpec) -> None:
    done = talweg("diagnose", write_spec(GOOD), "--lr", "1000", "--steps", "40")
    assert done.code == 0, done.text
    assert done.out.startswith("1. step too large (")
    assert "Multiply the step by" in done.out


def test_one_json_object(talweg: Command, write_spec: WriteSpec) -> None:
    done = talweg(
        "diagnose", write_spec(GOOD), "--optimizer", "adam", "--steps", "20", "--batch", "8",
        "--json",
    )  # fmt: skip
    assert done.code == 0, done.text
    found = json.loads(done.out)
    assert found["loss"] == "mse"
    assert found["lr"] == 1e-3
    assert {"kind", "certainty", "seen", "source", "change"} <= set(found["findings"][0])


def test_targets_without_a_second_axis(talweg: Command, write_spec: WriteSpec) -> None:
    """As for `certify`; PyTorch would broadcast them, with a warning, to n x n differences."""
    found = []
    for body in (GOOD, GOOD.replace("network(), X, y", "network(), X, y[:, 0]")):
        found.append(
            json.loads(talweg("diagnose", write_spec(body), "--steps", "40", "--json").out)
        )
    assert "y[:, 0]" in body
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("body", "arguments", "words"),
    [
        (GOOD, ("--lr", "-1"), "--lr of diagnose: a positive number is required"),
        (GOOD, ("--lr", "nan"), "--lr of diagnose: a positive number is required"),
        ("X, y = data(9)\nreturn network(), X[:, :2], y", (), "must return a model that runs on X"),
        ('X, y = data(9)\nreturn {"model": network(), "X": X, "y": y, "loss": "sse"}', (),
         "a mean over the batch is required"),
        ("X, y = data(9)\nreturn network().requires_grad_(False), X, y", (),
         "at least one parameter that requires a gradient"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(
    talweg: Command, write_spec: WriteSpec, body: str, arguments: tuple[str, ...], words: str
) -> None:
    done = talweg("diagnose", write_spec(body), "--steps", "12", *arguments)
    assert done.code == 2, done.text
    assert words in " ".join(done.err.split())
    assert done.out == ""


BAD = """
torch.manual_seed(0)
X, y = torch.randn(30, 3), torch.randn(30, 2)
def net(k=2):
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, k))
return {case}
"""
CASES = {
    "nan": ("net(), X.where(X > X.min(), torch.nan), y", "X of diagnose: finite numbers"),
    "infinite": ("net(), X, y.where(y > y.min(), torch.inf)", "y of diagnose: finite numbers"),
    "too few": ("net(), X, y[:20]", "y of diagnose: one row for each row of X"),
    "stretched": ("net(), X, y[:, :1]", "y of diagnose: the shape of the outputs, (n, 2)"),
    "labels": ("net(), X, torch.arange(30) % 3", "class labels from 0 to 1"),
    "ignored labels": (
        "net(), X, torch.where(torch.arange(30) > 2, torch.arange(30) % 2, -100)",
        "got 3 of -100, the first in row 0: PyTorch leaves such labels out of the loss",
    ),
    "numbers from labels": (
        "dict(model=net(), X=X, y=torch.arange(30) % 2, loss='mse')",
        "choose --loss cross_entropy for class labels",
    ),
    "shaped labels": ("net(), X, torch.zeros(30, 1).long()", "class labels from 0 to 1"),
    "probabilities": (
        "dict(model=net(), X=X, y=y[:, 0], loss='cross_entropy')", "a probability for each output"
    ),
    "two outputs": (
        "type('M', (torch.nn.Linear,), {'forward': lambda s, x: (x, x)})(3, 2), X, y",
        "one tensor of outputs",
    ),
    "smoothing": (
        "dict(model=net(), X=X, y=torch.arange(30) % 2, label_smoothing=2.0)",
        "a number from 0 to 1",
    ),
    "smoothed squares": (
        "dict(model=net(), X=X, y=y, label_smoothing=0.1)", "choose --loss cross_entropy"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_data_that_do_not_fit_are_refused(
    name: str, talweg: Command, write_spec: WriteSpec
) -> None:
    case, words = CASES[name]
    done = talweg("diagnose", write_spec(BAD.replace("{case}", case)), "--steps", "10")
    assert done.code == 2, done.text
    assert words in " ".join(done.text.split())
    assert "Traceback" not in done.text


def test_the_smoothing_of_the_specification_counts(talweg: Command, write_spec: WriteSpec) -> None:
    case = "dict(model=net(), X=X, y=torch.arange(30) % 2, label_smoothing=0.1)"
    done = talweg("diagnose", write_spec(BAD.replace("{case}", case)), "--steps", "20")
    assert done.code == 0, done.text
    last = done.out.splitlines()[-1]
    assert last == (
        "Tried: 20 steps of sgd, step size 0.1, batches of 64, cross_entropy with label smoothing "
        "0.1."
    )


def test_measure_takes_a_cross_entropy(talweg: Command, write_spec: WriteSpec) -> None:
    case = "dict(model=net(), X=X, y=torch.arange(30) % 2, loss='cross_entropy')"
    spec = write_spec(BAD.replace("{case}", case))
    done = talweg("measure", spec, "--label-smoothing", "0.1", "--json")
    assert done.code == 0, done.text
    found = json.loads(done.out)
    assert (found["loss_name"], found["equations"]) == ("cross_entropy", 30)
    assert 0.19 < found["infimum"] < 0.2  # the entropy of (0.95, 0.05)
