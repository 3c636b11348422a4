"""``talweg sweep``: a grid of trainings from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

from talweg import InputError
from talweg.cli._sweep import parse_axes

Command = Callable[..., Any]
WriteSpec = Callable[..., str]
SMALL = ("--grid", "lr=0.01,100", "--grid", "seed=0:3", "--steps", "60", "--out", "o")


def test_a_sweep_prints_one_line_per_setting(
    talweg: Command, write_spec: WriteSpec, tmp_path: Path
) -> None:
    spec = write_spec("return network(width=5), *data()")
    done = talweg("sweep", spec, *SMALL, "--loss", "sse", "--target", "1.0")
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == [
        "lr", "runs", "reached", "diverged", "median_last_step", "median_final_loss"
    ]  # fmt: skip
    assert [line[:2] for line in lines[1:3]] == [["0.01", "3"], ["100", "3"]]
    assert lines[2][3] == "3"
    assert "6 trainings, " in done.out
    summary = pq.read_table(tmp_path / "o" / "summary.parquet").to_pylist()
    assert [row["status"] for row in summary if row["lr"] == 100.0] == ["diverged"] * 3
    assert all(
        row["final_loss"] <= 1.0 for row in summary if row["status"] == "reached"
    )  # fmt: skip
    assert len(list((tmp_path / "o" / "shards").iterdir())) == 1
    again = talweg("sweep", spec, *SMALL, "--loss", "sse", "--target", "1.0")
    assert "some of them by an earlier run" in again.out
    assert [line.split() for line in again.out.splitlines()][:3] == lines[:3]


def test_other_settings_are_refused_until_fresh(talweg: Command, write_spec: WriteSpec) -> None:
    spec = write_spec("return network(width=5), *data()")
    assert talweg("sweep", spec, *SMALL).code == 0
    done = talweg("sweep", spec, *SMALL, "--loss", "half_sse")
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert 'loss = "mse", not "half_sse"' in done.err
    assert talweg("sweep", spec, *SMALL, "--loss", "half_sse", "--fresh").code == 0


def test_json(talweg: Command, write_spec: WriteSpec) -> None:
    spec = write_spec(
        'print("stray")\nX, y = data()\n'
        'return {"model": network(width=5), "X": X, "y": y, "loss": "sse"}'
    )
    done = talweg("sweep", spec, *SMALL, "--grid", "init=lecun,conditional_positive", "--json")
    assert done.code == 0
    assert done.out.count("\n") == 1
    record = json.loads(done.out)
    assert record["runs"] == 12
    assert record["summary"] == "o/summary.parquet"
    settings = [(group["lr"], group["init"], group["runs"]) for group in record["settings"]]
    assert sorted(settings) == [
        (0.01, "conditional_positive", 3), (0.01, "lecun", 3),
        (100.0, "conditional_positive", 3), (100.0, "lecun", 3),
    ]  # fmt: skip
    assert json.loads(Path("o/manifest.json").read_text())["settings"]["loss"] == "sse"


def test_a_function_may_stand_for_the_model(talweg: Command, write_spec: WriteSpec) -> None:
    spec = write_spec("return (lambda: network(width=5)), *data()")
    assert talweg("sweep", spec, *SMALL).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "seed=0:3"], "at least the axis 'lr'"),
        (["--grid", "lr"], "--grid of talweg sweep must be AXIS=VALUES"),
        (["--grid", "lr=1", "--grid", "lr=2"], "each axis once"),
        (["--grid", "lr=fast"], "finite number above 0; got 'fast'"),
        (["--grid", "lr=0.1", "--grid", "init=xavier"], "got 'xavier'"),
        (["--grid", "lr=0.1", "--steps", "0"], "`steps` of"),
        (["--grid", "lr=0.1", "--out", "case.py"], "--out of talweg sweep must name a folder"),
        ([], "Missing option '--grid'"),
    ],
)
def test_misuse(
    talweg: Command, write_spec: WriteSpec, folder: Callable[[], set[str]],
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    spec = write_spec("return network(width=5), *data()")
    before = folder()
    done = talweg("sweep", spec, *arguments)
    assert done.code == 2, done.text
    assert done.out == ""
    assert message in done.err
    assert "Traceback" not in done.err
    assert folder() == before


def test_axes() -> None:
    grid = parse_axes(["lr=0.1,1e-3", "seed=0:3,7", "init=lecun", "scale=1,2.5"])
    assert grid == {
        "lr": [0.1, 1e-3], "seed": [0, 1, 2, 7], "init": ["lecun"], "scale": [1, 2.5]
    }  # fmt: skip
    for wrong in ("lr", "=1", "lr=", "a b=1"):
        with pytest.raises(InputError, match="AXIS=VALUES"):
            parse_axes([wrong])


@pytest.mark.parametrize(
    "body",
    [
        "X, y = data()\nreturn network(), X.to_sparse(), y",
        "X, y = data()\nreturn dict(model=network(), X=X, y=y, loss=['mse'])",
        "X, y = data()\nreturn dict(model=network(), X=X, y=y, target='small')",
        "model = network()\nmodel.forward = lambda x: None\nreturn model, *data()",
    ],
    ids=["sparse", "loss", "target", "nothing"],
)
def test_what_cannot_be_trained(
    talweg: Command, write_spec: WriteSpec, folder: Callable[[], set[str]], body: str
) -> None:
    spec = write_spec(body)
    before = folder()
    done = talweg("sweep", spec, *SMALL)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("talweg: error: ")
    assert done.err.count("\n") == 1
    assert folder() == before


def test_a_folder_whose_name_looks_like_a_uri(
    talweg: Command, write_spec: WriteSpec, tmp_path: Path
) -> None:
    spec = write_spec("return network(width=5), *data()")
    done = talweg("sweep", spec, *SMALL[:-1], "a:b")
    assert done.code == 0, done.text
    assert (tmp_path / "a:b" / "summary.parquet").is_file()
