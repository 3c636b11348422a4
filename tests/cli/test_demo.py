"""``talweg demo``, whole and cut short."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import talweg.cli._digits as digits

Command = Callable[..., Any]


def test_the_whole_demo(talweg: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = talweg("demo", "--out", out)
    assert done.code == 0, done.text
    assert done.err == ""
    record = json.loads((out / "demo.json").read_text())
    factors = [point["missing_factor"] for point in record["checkpoints"]]
    assert factors[0] > 1e6
    assert factors[-1] < 0.1
    assert 1000 < record["trapping_time"] < digits.STEPS
    assert record["certificate"]["status"] == "PROVED"
    assert record["certificate"]["polished"] is False
    assert record["checker"]["verdict"] == "valid"
    assert record["training_sign_errors"] == 0.0
    assert record["held_out_sign_errors"] < 0.2
    certified = record["certificate"]["halving_steps"]
    measured = record["descent"][0]["halving_steps"]
    assert measured <= certified  # the certificate is an upper bound
    assert measured > certified / 100  # and of the right size
    assert (out / "digits.talweg").is_file()
    assert {path.name for path in out.iterdir()} == {
        "digits.talweg", "report.html", "report.txt", "demo.json"
    }  # fmt: skip
    assert (out / "report.txt").read_text() in done.out
    assert (out / "report.html").as_uri() in done.out
    page = (out / "report.html").read_text().split('<script type="application/json"')[0]
    assert "PROVED: confirmed by the independent checker" in page
    assert f"At step {record['trapping_time']:,} the theorem applies for the first time" in page
    for figure in ("missing", "training-loss", "landscape", "envelope", "spectrum"):
        assert f'id="plot-{figure}"' in page
    for path in out.iterdir():
        assert str(path) in done.out


def test_a_run_cut_short_is_undecided_and_leaves_no_certificate(
    talweg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits, "STEPS", 20)
    monkeypatch.setattr(digits, "CHECKPOINTS", (0, 20))
    (tmp_path / "digits.talweg").write_text("of an earlier demo")
    done = talweg("demo", "--out", tmp_path, "--json")
    record = json.loads(done.out)
    assert done.code == 1
    assert record["certificate"]["status"] == "UNDECIDED"
    assert record["checker"] is None
    assert record["trapping_time"] is None
    assert "PROVED" not in done.text
    assert not (tmp_path / "digits.talweg").exists()
    assert "does not apply at any checkpoint" in (tmp_path / "report.txt").read_text()
    page = (tmp_path / "report.html").read_text().split('<script type="application/json"')[0]
    assert "At no checkpoint does the theorem apply." in page
    assert "UNDECIDED" in page
    assert "PROVED" not in page


def test_without_what_draws_the_page(
    talweg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits, "STEPS", 20)
    monkeypatch.setattr(digits, "CHECKPOINTS", (0, 20))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    (tmp_path / "report.html").write_text("of an earlier demo")
    done = talweg("demo", "--out", tmp_path)
    assert done.code == 1
    assert "No report.html: a report needs Jinja2" in done.out
    assert {path.name for path in tmp_path.iterdir()} == {"report.txt", "demo.json"}


def test_the_output_folder_is_checked_first(talweg: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = talweg("demo", "--out", tmp_path / "file")
    assert done.code == 2
    assert "must name a folder that can be written to" in done.err


def test_without_scikit_learn(
    talweg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    done = talweg("demo", "--out", tmp_path)
    assert done.code == 2
    assert "pip install 'talweg[demo]'" in done.err


def test_the_initial_weights_depend_on_the_seed_alone() -> None:
    first, again, other = digits.fresh_model(0), digits.fresh_model(0), digits.fresh_model(1)
    assert first[0].weight.equal(again[0].weight)
    assert not first[0].weight.equal(other[0].weight)
