"""``talweg report``: one file from records, and one message on bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.report.records import FINDINGS, rows_of_descent, written


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "a.jsonl", [*rows_of_descent(), {"step": 195, "findings": FINDINGS}])
    written(tmp_path / "b.jsonl", rows_of_descent(20))
    written(tmp_path / "empty.jsonl", [])
    (tmp_path / "other.txt").write_text("hello\n")
    (tmp_path / "sub").mkdir()
    written(tmp_path / "sub" / "a.jsonl", rows_of_descent(20))


def test_one_run(talweg: Command, tmp_path: Path) -> None:
    done = talweg("report", "a.jsonl", "--out", "page.html")
    assert done.code == 0, done.text
    assert done.out == "page.html: 1 run, 41 rows\n"
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h1>a.jsonl</h1>" in text
    assert "1. Step too small" in text


def test_several_runs(talweg: Command, tmp_path: Path) -> None:
    done = talweg("report", "a.jsonl", "b.jsonl", "sub/a.jsonl", "--json")
    assert done.code == 0, done.text
    found = json.loads(done.out)
    assert found["file"] == "run.html"
    assert [run["rows"] for run in found["runs"]] == [41, 20, 20]
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "Comparison of runs" in text
    assert "sub/a.jsonl" in text


def test_a_record_that_was_cut_off(talweg: Command, tmp_path: Path) -> None:
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write('{"step": 100, "lo')
    done = talweg("report", "b.jsonl")
    assert done.code == 0, done.text
    assert "20 rows" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.jsonl"], "a readable file is required; got 'absent.jsonl'"),
        (["other.txt"], "a record of a Monitor is required; line 1 of 'other.txt'"),
        (["sub"], "'sub' holds no records of sections"),
        (["empty.jsonl"], "records with at least one row are required; empty.jsonl has none yet"),
        (["a.jsonl", "a.jsonl"], "got one of them twice"),
        (["a.jsonl", "--out", "a.jsonl"], "which is one of them"),
        (["a.jsonl", "--out", "no/run.html"], "there is no folder no"),
        (["a.jsonl", "--out", "sub"], "is a folder. Add a file name: sub/run.html"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_message(
    talweg: Command, folder: Callable[[], set[str]], arguments: list[str], words: str
) -> None:
    before = folder()
    done = talweg("report", *arguments)
    assert done.code == 2, done.text
    assert words in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert done.out == ""
    assert folder() == before
