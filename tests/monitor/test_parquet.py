"""Rows as a Parquet table: nothing is lost on the way, and a kill leaves the lines."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import talweg
from talweg.monitor import read_records, write_parquet

pytest.importorskip("pyarrow")


def watched(path: Path, steps: int = 4) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    every = {"gradient": 1, "curvature": 2, "units": 2, "updates": 2, "kernel": 3}
    with talweg.Monitor(model, optimizer, F.mse_loss, every=every, record=path) as m:
        for _ in range(steps):
            X, y = torch.randn(8, 3), torch.randn(8, 2)
            m.step((X, y))
            optimizer.zero_grad()
            F.mse_loss(model(X), y).backward()
            optimizer.step()
    return m.rows


def numbers(value: Any) -> Any:
    """Words as the numbers they stand for, and nan as something that equals itself."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    if value in ("inf", "-inf", "nan"):
        value = float(value)
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def test_a_table_holds_what_the_lines_hold(tmp_path: Path) -> None:
    rows = watched(tmp_path / "run.parquet")
    lines = read_records(tmp_path / "run.jsonl")
    assert numbers(read_records(tmp_path / "run.parquet")) == numbers(lines) == numbers(rows)
    watched(tmp_path / "run.parquet", 2)  # goes on with the lines
    assert len(read_records(tmp_path / "run.parquet")) > len(rows)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.jsonl", "run.parquet"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 0, "a": math.inf, "n": {"x.y": math.nan, "": -0.0}}, {"step": 1, "a": 2}],
        [{"names": []}, {"names": ["w"]}, {"flag": True}, {"units": {"1": {"dead": 0.5}}}],
        [{"empty": {}, "none": []}, {"word": "nan, or a word"}, {"big": 2**70}],
    ],
)
def test_every_row_comes_back(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    write_parquet(rows, tmp_path / "a.parquet")
    assert numbers(read_records(tmp_path / "a.parquet")) == numbers(rows)


def test_what_a_kill_leaves_is_continued(tmp_path: Path) -> None:
    """A killed Monitor does not end; that its lines survive is tested beside its lines."""
    path = tmp_path / "run.parquet"
    killed = watched(tmp_path / "run.jsonl")
    with (tmp_path / "run.jsonl").open("ab") as file:
        file.write(b'{"step": 10, "gradient_squ')  # a line cut off
    assert not path.exists()
    later = watched(path)
    rows = read_records(path)
    assert len(rows) == len(killed) + len(later)
    write_parquet(rows, tmp_path / "copy.parquet")
    assert numbers(read_records(tmp_path / "copy.parquet")) == numbers(rows)


def no_table(path: Path) -> None:
    path.write_text("other")


def another_table(path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)


@pytest.mark.parametrize("made", [None, no_table, another_table])
def test_other_tables_are_refused(made: Callable[[Path], None] | None, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    if made is not None:
        made(path)
    with pytest.raises(talweg.InputError, match="path of read_records"):
        read_records(path)


@pytest.mark.parametrize("rows", [[1], [{"a": {}}, {"a": 1}], [{"a": {"b": [1]}}, {"a": {"b": 1}}]])
def test_rows_of_several_kinds_are_refused(rows: list[Any], tmp_path: Path) -> None:
    with pytest.raises(talweg.InputError, match="rows of write_parquet"):
        write_parquet(rows, tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(talweg.InputError, match="path of write_parquet"):
        write_parquet([], tmp_path / "missing" / "a.parquet")


@pytest.mark.parametrize("text", ["notes of mine", "a line\n", '{"kind": "other"}\n', "[1]\n"])
def test_a_file_of_another_kind_is_neither_cut_nor_continued(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text(text)
    for name in ("run.jsonl", "run.parquet"):
        with pytest.raises(talweg.InputError, match="record of Monitor"):
            watched(tmp_path / name)
    assert (tmp_path / "run.jsonl").read_text() == text


def test_a_missing_package_is_named_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(talweg.MissingDependencyError, match=r"talweg\[reproduce\]"):
        watched(tmp_path / "run.parquet")
    assert list(tmp_path.iterdir()) == []
