"""Rows as scalars, and those as events that TensorBoard reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import talweg
from talweg.monitor import adapters
from talweg.monitor.adapters import scalars

EXTRAS = {
    "LightningCallback": "lightning",
    "MonitoredTrainer": "transformers",
    "TensorBoardLog": "tensorboard",
}


def test_a_row_as_scalars() -> None:
    row: dict[str, Any] = {
        "step": 3, "fresh": True, "loss": 0.5, "batch_size": 8, "unused": ["w"], "rates": [0.1],
        "units": {"1": {"dead": 0.25}}, "noise_scale": float("inf"),
    }  # fmt: skip
    assert scalars(row) == {
        "monitor/loss": 0.5, "monitor/batch_size": 8.0, "monitor/rates/0": 0.1,
        "monitor/units/1/dead": 0.25, "monitor/noise_scale": float("inf"),
    }  # fmt: skip
    assert scalars(row, "", nested=False).keys() == {"loss", "batch_size", "noise_scale"}


class Writer:
    """Takes what a SummaryWriter takes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, int]] = []

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.seen.append((tag, value, step))

    def flush(self) -> None:
        self.seen.append(("flushed", 0.0, 0))

    def close(self) -> None:
        raise AssertionError("a writer that was given stays open")


def watched(log: Any) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    every = {"gradient": 1, "curvature": 0, "units": 0, "updates": 0, "kernel": 0}
    with talweg.Monitor(model, optimizer, F.mse_loss, every=every, log=log) as m:
        for _ in range(3):
            m.step((torch.randn(8, 3), torch.randn(8, 2)))
    return m.rows


def test_events_in_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'talweg[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with adapters.TensorBoardLog(tmp_path) as log:
        rows = watched(log)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    found = events.Scalars("monitor/loss")
    assert [event.step for event in found] == [0, 1, 2]
    assert [event.value for event in found] == pytest.approx([row["loss"] for row in rows])
    assert "monitor/weight_norms/weight" in events.Tags()["scalars"]


def test_a_writer_that_is_given_stays_open() -> None:
    pytest.importorskip("tensorboard", reason="pip install 'talweg[tensorboard]'")
    writer = Writer()
    with adapters.TensorBoardLog(writer, prefix="", nested=False) as log:
        rows = watched(log)
    assert [v for tag, v, _ in writer.seen if tag == "loss"] == [row["loss"] for row in rows]
    assert writer.seen[-1][0] == "flushed"
    assert not any("/" in tag for tag, _, _ in writer.seen)


@pytest.mark.parametrize("name", EXTRAS)
def test_a_missing_library_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("lightning.pytorch", "transformers", "torch.utils.tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, library, None)
    for module in EXTRAS.values():
        monkeypatch.delitem(sys.modules, f"talweg.monitor.adapters._{module}", raising=False)
    monkeypatch.delitem(vars(adapters), name, raising=False)
    with pytest.raises(talweg.MissingDependencyError, match=rf"talweg\[{EXTRAS[name]}\]"):
        getattr(adapters, name)


def test_names() -> None:
    assert dir(adapters) == sorted(adapters.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'bogus'"):
        adapters.bogus  # noqa: B018


def test_the_monitor_alone_loads_none_of_them() -> None:
    code = (
        "import sys, talweg, talweg.monitor, talweg.monitor.adapters; talweg.Monitor; "
        "sys.exit(bool({'lightning', 'transformers', 'tensorboard', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
