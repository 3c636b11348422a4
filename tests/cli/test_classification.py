"""``talweg certify --loss cross_entropy``, and ``talweg check --against`` with labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import PREAMBLE, Command

CLASSIFIER = """
def problem():
    X, _ = data(n=5, d=3)
    model = network(k=3, width=24)
    return model, X, torch.tensor([0, 1, 2, 0, 1])
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classifier.py").write_text(PREAMBLE + CLASSIFIER)
    return "classifier.py:problem"


def test_smoothed_labels(talweg: Command, spec: str, tmp_path: Path) -> None:
    arguments = ("certify", spec, "--loss", "cross_entropy", "--label-smoothing", "0.1")
    done = talweg(*arguments, "--no-attack", "--json", "--out", "a.talweg")
    assert done.code == 0, done.text
    record = json.loads(done.out)
    assert record["status"] == "PROVED"
    assert record["theorem"] == "T4"
    assert record["label_smoothing"] == 0.1
    assert record["initial_gap"] > 0.0
    assert record["residual_norm"] is None
    checked = talweg("check", "a.talweg", "--json")
    assert checked.code == 0, checked.text
    compared = talweg("check", "a.talweg", "--against", spec)
    assert compared.code == 1  # the file speaks of the polished weights ...
    assert "weights differ" in compared.out
    assert "targets differ" not in compared.out  # ... on these very labels


def test_a_target(talweg: Command, spec: str) -> None:
    done = talweg(
        "certify", spec, "--loss", "cross_entropy", "--target", "1e-3", "--no-attack", "--json"
    )
    assert done.code == 1
    record = json.loads(done.out)
    assert (record["status"], record["theorem"]) == ("UNDECIDED", "T13")
    assert "criterion" in record["reason"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--loss", "cross_entropy"), "`target`"),
        (("--loss", "cross_entropy", "--label-smoothing", "2"), "`label_smoothing`"),
        (("--loss", "mse", "--label-smoothing", "0.1"), "`label_smoothing`"),
        (("--loss", "mse"), "class labels"),
    ],
)
def test_bad_options(talweg: Command, spec: str, options: tuple[str, ...], message: str) -> None:
    done = talweg("certify", spec, *options)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.text
