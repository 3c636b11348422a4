"""What a sweep leaves on the disk, and how it goes on after it was stopped in whatever way."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("pyarrow")
pytest.importorskip("joblib")

import joblib
import pyarrow as pa
import pyarrow.parquet as pq

from talweg import InputError
from talweg.sweep import Sweep, SweepResult

from .cases import data, network


def make(**changed: Any) -> Sweep:
    arguments: dict[str, Any] = {
        "model": network(), "data": data(), "steps": 30, "chunk_size": 4,
        "grid": {"seed": range(5), "init": ["lecun", "positive"], "lr": [0.01, 0.1]},
    } | changed  # fmt: skip
    return Sweep(arguments.pop("model"), arguments.pop("data"), arguments.pop("grid"), **arguments)


def bits(table: pa.Table) -> bytes:
    """The table as Arrow writes it: unlike its own comparison this finds NaN equal to itself."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def same(first: SweepResult, second: SweepResult) -> bool:
    return bits(first.steps) == bits(second.steps) and bits(first.summary) == bits(second.summary)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_and_tables(tmp_path: Path) -> None:
    result = make().run(tmp_path)
    assert same(result, make().run())  # with and without files
    assert set(contents(tmp_path)) == {
        "manifest.json", "summary.parquet", *(f"shards/chunk-0000{i}.parquet" for i in range(5))
    }  # fmt: skip
    assert pq.read_table(tmp_path / "summary.parquet").equals(result.summary)
    shards = pq.read_table(tmp_path / "shards").replace_schema_metadata(None)
    assert shards.equals(result.steps)
    assert result.steps.num_rows == 20 * 31


def test_an_interrupted_sweep_goes_on(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make().run(tmp_path, progress=stop)
    assert len(list((tmp_path / "shards").iterdir())) == 2
    written = (tmp_path / "shards" / "chunk-00000.parquet").stat().st_mtime_ns
    said: list[int] = []
    result = make().run(tmp_path, progress=lambda done, total: said.append(done))
    assert said == [8, 12, 16, 20]
    assert result.taken_over == 2
    assert (tmp_path / "shards" / "chunk-00000.parquet").stat().st_mtime_ns == written
    assert same(result, make().run())
    assert make().run(tmp_path).taken_over == 5


@pytest.mark.parametrize("damage", ["truncated", "empty", "removed", "swapped", "foreign"])
def test_a_damaged_shard_is_computed_again(tmp_path: Path, damage: str) -> None:
    whole = make().run(tmp_path)
    shard = tmp_path / "shards" / "chunk-00001.parquet"
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-50])
    elif damage == "empty":
        shard.write_bytes(b"")
    elif damage == "removed":
        shard.unlink()
    elif damage == "swapped":
        shard.write_bytes((tmp_path / "shards" / "chunk-00002.parquet").read_bytes())
    else:
        pq.write_table(pa.table({"run": [1]}), shard)
    result = make().run(tmp_path)
    assert result.taken_over == 4
    assert same(result, whole)


def shifted(scale: float) -> nn.Module:
    model = network()
    with torch.no_grad():
        model[0].weight.mul_(scale)  # type: ignore[operator, union-attr]
    return model


def other_function(model: nn.Module, generator: torch.Generator) -> None:
    for parameter in model.parameters():
        parameter.uniform_(generator=generator)


X, Y = data()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"steps": 31}, "steps = 30, not 31"),
        ({"record_every": 2}, "record_every = 1, not 2"),
        ({"target": 1e-3}, "target = null, not 0.001"),
        ({"chunk_size": 5}, "chunk_size = 4, not 5"),
        ({"loss": "sse"}, 'loss = "mse", not "sse"'),
        ({"dtype": torch.float32}, 'dtype = "torch.float64", not "torch.float32"'),
        ({"engine": "vmap"}, 'engine = "Chain", not "Vectorized"'),
        ({"data": (X, Y + 1)}, "data = "),
        ({"model": network(bias=False)}, "model = "),
        ({"grid": {"seed": range(5), "lr": [0.01, 0.1]}}, "grid = "),
    ],
)
def test_changed_settings_are_refused_and_named(
    tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    make().run(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InputError) as refused:
        make(**changed).run(tmp_path)
    assert named in str(refused.value)
    assert "--fresh" in str(refused.value)
    assert contents(tmp_path) == before
    anew = make(**changed).run(tmp_path, fresh=True)
    assert anew.taken_over == 0
    assert same(anew, make(**changed).run())


def test_changed_weights_and_functions_are_refused(tmp_path: Path) -> None:
    given = {"init": "as_given", "lr": 0.1}
    make(grid=given, model=shifted(1.0)).run(tmp_path / "a")
    with pytest.raises(InputError, match="probe = "):
        make(grid=given, model=shifted(2.0)).run(tmp_path / "a")
    make(grid={"init": {"f": other_function}, "lr": 0.1}).run(tmp_path / "b")
    with pytest.raises(InputError, match="probe = "):
        make(
            grid={"init": {"f": lambda m, generator: other_function(m, generator.manual_seed(9))},
                  "lr": 0.1}
        ).run(tmp_path / "b")  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["{}", "[" * 100_000, '{"fingerprint": "", "settings": [[1, 2], ["a", 3]]}'],
    ids=["empty", "nested", "pairs"],
)
def test_a_folder_that_holds_something_else(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="cannot be read"):
        make().run(tmp_path)
    assert make().run(tmp_path, fresh=True).taken_over == 0


def test_fresh_removes_the_sweep_s_files_only(tmp_path: Path) -> None:
    make().run(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    make(grid={"lr": 0.1}).run(tmp_path, fresh=True)
    assert set(contents(tmp_path)) == {
        "manifest.json", "summary.parquet", "shards/chunk-00000.parquet", "notes.txt"
    }  # fmt: skip


def test_threads_give_the_same_bits(tmp_path: Path) -> None:
    with joblib.parallel_config(backend="threading", n_jobs=3):
        result = make().run(tmp_path, jobs=None)
    assert same(result, make().run())


def test_processes_give_the_same_bits(tmp_path: Path) -> None:
    function = {"mine": lambda model, generator: other_function(model, generator)}
    grid = {"seed": range(5), "init": function, "lr": [0.01, 0.1]}
    said: list[int] = []
    result = make(grid=grid).run(
        tmp_path, jobs=2, progress=lambda done, total: said.append(done)
    )  # fmt: skip
    assert sorted(said) == said
    assert said[0] == 0
    assert said[-1] == 10
    assert same(result, make(grid=grid).run())


BUILD = """
import torch
from torch import nn
from talweg.nn import SmoothLeakyReLU
from talweg.sweep import Sweep

def build():
    g = torch.Generator().manual_seed(0)
    X, y = torch.randn(6, 6, generator=g), torch.randn(6, 1, generator=g)
    model = nn.Sequential(
        nn.Linear(6, 6), SmoothLeakyReLU(), nn.Linear(6, 6), SmoothLeakyReLU(), nn.Linear(6, 1)
    )
    grid = {"seed": range(60), "init": ["lecun", "positive"], "lr": [0.1]}
    return Sweep(model, (X, y), grid, steps=20, chunk_size=4)
"""
KILLED = """
import sys, time
from pathlib import Path

folder = Path(sys.argv[1])

def progress(done, total):
    if done >= 8:
        (folder.parent / "ready").touch()
        time.sleep(0.5)  # so that the kill falls into the work, not behind it

build().run(folder, progress=progress)
"""


def test_kill_9_and_again_gives_the_same_table(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(BUILD + KILLED)
    folder = tmp_path / "sweep"
    process = subprocess.Popen([sys.executable, script, folder])
    try:
        limit = time.monotonic() + 120
        while not (tmp_path / "ready").exists():
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    left = len(list((folder / "shards").glob("chunk-*.parquet")))
    assert 2 <= left < 30
    assert not (folder / "summary.parquet").exists()
    namespace: dict[str, Any] = {}
    exec(BUILD, namespace)
    resumed = namespace["build"]().run(folder)
    assert resumed.taken_over == left
    whole = namespace["build"]().run(tmp_path / "whole")
    assert same(resumed, whole)
    # The temporary file of the killed write, if there was one, stays behind under its own name.
    files = {k: v for k, v in contents(folder).items() if not k.endswith(".tmp")}
    assert files == contents(tmp_path / "whole")
