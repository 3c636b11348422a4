"""``talweg report`` on what ``talweg reproduce`` leaves: folders and records of sections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command
from tests.report.certificates import DOT
from tests.report.records import rows_of_descent, written

BROKEN = {"quantity": "rate", "predicted": 0.5, "relation": "<=", "measured": 0.7, "source": "E1",
          "note": "of one run"}  # fmt: skip
HELD = BROKEN | {"measured": 0.25, "predicted": {"float": "inf"}, "note": ""}


def record(**changes: Any) -> dict[str, Any]:
    return {
        "fingerprint": "ab", "title": "linear rate", "comparisons": [BROKEN, HELD],
        "tables": {"by_step": [{"step": 0.1, "steps": 12, "note": None}]},
        "figures": ["rate.png"], "data": ["by_step.parquet"], "seconds": 1.5,
    } | changes  # fmt: skip


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lecture", "xu2025"):
        folder = tmp_path / "reproduce" / name
        folder.mkdir(parents=True)
        (folder / "01_linear_rate.json").write_text(json.dumps(record()))
        (folder / "rate.png").write_bytes(DOT)
    (tmp_path / "reproduce" / "lecture" / "notes.json").write_text("{}")


def test_a_folder(talweg: Command, tmp_path: Path) -> None:
    done = talweg("report", "reproduce/lecture", "--out", "a.html")
    assert done.code == 0, done.text
    assert done.out == "a.html: 1 experiment\n"
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    for text in ("<h1>lecture</h1>", "VIOLATED", "rate [1]", "[1] of one run", "inf", "rate.png",
                 "1 of 2 bounds are broken", "data:image/png;base64"):  # fmt: skip
        assert text in page


def test_all_experiments_and_one_record(talweg: Command) -> None:
    done = talweg("report", "reproduce", "reproduce/lecture/01_linear_rate.json", "--json")
    assert done.code == 0, done.text
    assert json.loads(done.out)["experiments"] == ["lecture", "xu2025", "lecture"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1]", "is none"),
        ("{", "is none"),
        ("[" * 10**5, "is none"),
        (json.dumps({"title": "x"}), "no 'comparisons'"),
        (json.dumps(record(figures=["../../secret.png"])), "no PNG file beside the record"),
        (json.dumps(record(figures=["absent.png"])), "No such file"),
        (json.dumps(record(comparisons=[BROKEN | {"more": 1}])), "is none"),
        (json.dumps(record(comparisons=[BROKEN | {"measured": "x"}])), "a comparison is none"),
        (json.dumps(record(comparisons=[BROKEN | {"note": []}])), "a comparison is none"),
        (json.dumps(record(tables={"t": [3]})), "is none"),
        (json.dumps(record(tables=[])), "is none"),
        (json.dumps(record(seconds="x")), "is none"),
        (" " * (2**24 + 1), "it is too large"),
    ],
)
def test_a_malformed_record_is_one_message(
    talweg: Command, folder: Callable[[], set[str]], tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "reproduce" / "lecture" / "01_linear_rate.json").write_text(content)
    before = folder()
    done = talweg("report", "reproduce")
    assert done.code == 2, done.text
    assert words in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert done.out == ""
    assert folder() == before


def test_a_record_of_a_monitor_by_another_name(talweg: Command, tmp_path: Path) -> None:
    written(tmp_path / "run.json", rows_of_descent())
    done = talweg("report", "run.json", "--out", "a.html")
    assert done.code == 0, done.text
    assert "1 run" in done.out


def test_a_figure_that_is_a_link(talweg: Command, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(DOT)
    picture = tmp_path / "reproduce" / "lecture" / "rate.png"
    picture.unlink()
    picture.symlink_to(secret)
    done = talweg("report", "reproduce/lecture")
    assert done.code == 2, done.text
    assert "no PNG file beside the record" in done.err
