"""Reading a record while it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.report.records import FINDINGS, HEADER, rows_of_descent, written

from talweg import InputError
from talweg.report import Follower, read_findings


def test_rows_as_they_arrive(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.touch()
    follower = Follower(path)
    assert follower.new_rows() == []
    with path.open("a") as file:
        file.write(json.dumps(HEADER) + '\n{"step": 0}\n{"st')
    assert follower.new_rows() == [{"step": 0}]
    assert follower.new_rows() == []
    with path.open("a") as file:
        file.write('ep": 1}\n')
    assert follower.new_rows() == [{"step": 1}]
    assert follower.restarts == 0


def test_a_record_that_begins_again(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", rows_of_descent(5))
    follower = Follower(path)
    assert len(follower.new_rows()) == 5
    written(path, [{"step": 7}])
    assert follower.new_rows() == [{"step": 7}]
    assert follower.restarts == 1
    other = written(tmp_path / "other.jsonl", rows_of_descent(6))
    other.replace(path)
    assert len(follower.new_rows()) == 6
    assert follower.restarts == 2


@pytest.mark.parametrize(
    "text", ["hello\n", "[1]\n", '{"kind": "x"}\n', "\x00\n", "[" * 9999 + "\n"]
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(InputError, match=r"line 1 of .* is something else"):
        Follower(path).new_rows()
    written(path, [])
    with path.open("a") as file:
        file.write(text if "kind" not in text else "3\n")
    with pytest.raises(InputError, match="line 2 of"):
        Follower(path).new_rows()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="FILE of x: a readable file"):
        Follower(tmp_path / "absent", "FILE of x").new_rows()


def test_the_latest_findings(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", rows_of_descent(5))
    assert read_findings(path) == []
    rows = [{"step": 1, "findings": []}, {"step": 2, "findings": [*FINDINGS, 3]}, {"step": 3}]
    assert read_findings(written(path, rows)) == FINDINGS
