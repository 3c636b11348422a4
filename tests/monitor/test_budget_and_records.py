"""The share of time is kept whatever measurements cost; records survive what kills a process."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import talweg
from talweg.monitor import read_records
from talweg.monitor._budget import SEEN, Budget


class Clock:
    """Seconds that pass when told so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [0.001, 0.1, 3.0])
def test_the_share_is_kept(cost: float) -> None:
    clock = Clock()
    budget = Budget({"dear": 3.0, "cheap": 1.0}, 0.05, clock=clock)
    costs = {"dear": cost, "cheap": 0.01 * cost}
    for step in range(20_000):
        clock.now += 0.01  # a training step
        for kind in budget.due(step):
            clock.now += costs[kind]
            budget.charge(kind, costs[kind], step)
    elapsed = clock.now - 100.0
    share = SEEN * 0.05 / 1.05
    for kind, part in (("dear", 0.75), ("cheap", 0.25)):  # one run of debt at most, none starves
        assert budget.spent[kind] <= share * part * elapsed + costs[kind]
        if cost > 0.001:
            assert budget.spent[kind] >= share * part * elapsed - 2 * costs[kind]
    assert budget.overhead <= SEEN * 0.05 + 2 * cost / elapsed


def test_a_fixed_schedule_does_not_look_at_the_clock() -> None:
    budget = Budget({"a": 1, "b": 1, "c": 1}, 0.05, {"a": 3, "b": 0}, clock=Clock())
    budget.charge("c", 1e9)
    assert [budget.due(step) for step in range(4)] == [["a"], [], [], ["a"]]


@pytest.mark.parametrize("every", [{"other": 2}, {"a": -1}, {"a": 1.5}])
def test_a_schedule_out_of_range_is_refused(every: dict[str, int]) -> None:
    with pytest.raises(talweg.InputError, match="every of Monitor"):
        Budget({"a": 1.0}, 0.05, every)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(talweg.InputError, match="overhead of Monitor"):
        Budget({"a": 1.0}, share)


def _parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(3, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_arguments_are_checked() -> None:
    model, optimizer = _parts()
    for wrong, words in (
        ({}, "exactly one of loss_fn"),
        ({"loss_fn": F.mse_loss, "loss_of": lambda m, b: m(b).sum()}, "exactly one of loss_fn"),
        ({"loss_fn": F.mse_loss, "f_star": math.nan}, "f_star of Monitor"),
        ({"loss_fn": F.mse_loss, "parts": 1}, "parts, curvature_samples"),
    ):
        with pytest.raises(talweg.InputError, match=words):
            talweg.Monitor(model, optimizer, **wrong)
    model.requires_grad_(False)
    with pytest.raises(talweg.InputError, match="requires a gradient"):
        talweg.Monitor(model, optimizer, F.mse_loss)


def test_a_batch_without_a_common_length_is_refused() -> None:
    model, optimizer = _parts()
    with (
        talweg.Monitor(model, optimizer, F.mse_loss, every={"gradient": 1}) as m,
        pytest.raises(talweg.InputError, match="one common first dimension"),
    ):
        m.step((torch.ones(4, 3), torch.ones(5, 2)))


def test_a_batch_that_was_trained_on_is_called_so() -> None:
    model, optimizer = _parts()
    batch = torch.randn(8, 3), torch.randn(8, 2)
    with talweg.Monitor(model, optimizer, F.mse_loss, every={"gradient": 1}) as m:
        F.mse_loss(model(batch[0]), batch[1]).backward()
        optimizer.step()
        row = m.step(batch)
    assert row is not None
    assert row["fresh"] is False


def test_no_pl_ratio_below_the_bound() -> None:
    """A loss at or under f* shows that f* was no lower bound; there is no ratio then."""
    model, optimizer = _parts()
    with talweg.Monitor(model, optimizer, F.mse_loss, f_star=1e6, every={"gradient": 1}) as m:
        row = m.step((torch.randn(8, 3), torch.randn(8, 2)))
    assert row is not None
    assert "pl_ratio" not in row


def test_parameters_without_influence_are_named() -> None:
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "forgotten": nn.Linear(3, 2)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_of(module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.mse_loss(module["used"](batch[0]), batch[1])  # type: ignore[index]

    with talweg.Monitor(model, optimizer, loss_of=loss_of, every={"gradient": 1}) as m:
        row = m.step((torch.randn(8, 3), torch.randn(8, 2)))
    assert row is not None
    assert row["unused"] == ["forgotten.weight", "forgotten.bias"]


def test_dead_and_saturated_units() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-100.0, 0.0, 100.0, -100.0]))
        model[2].bias.copy_(torch.tensor([0.0, 0.0, 1000.0, 0.0]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with talweg.Monitor(model, optimizer, F.mse_loss, every={"units": 1, "gradient": 0}) as m:
        row = m.step((torch.randn(64, 3), torch.randn(64, 1)))
    assert row is not None
    assert row["units"]["1"]["dead"] == 0.5
    assert row["units"]["3"]["saturated"] >= 0.25
    assert not any(module._forward_hooks for module in model.modules())


KILLED = """
import os, signal, sys, torch, talweg
from torch import nn
model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with talweg.Monitor(model, optimizer, nn.functional.mse_loss, every={"gradient": 1},
                    record=sys.argv[1]) as m:
    for step in range(10):
        m.step((torch.randn(8, 3), torch.randn(8, 2)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_its_rows_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=120)
    assert [row["step"] for row in read_records(path)] == list(range(10))
    with path.open("ab") as file:
        file.write(b'{"step": 10, "gradient_squ')  # a line cut off by the kill
    assert len(read_records(path)) == 10
    model, optimizer = _parts()
    with talweg.Monitor(model, optimizer, F.mse_loss, every={"gradient": 1}, record=path) as m:
        m.step((torch.randn(8, 3), torch.randn(8, 2)))
    assert len(read_records(path)) == 11


@pytest.mark.parametrize("text", ["", "{}\n", "[1]\n", "\x00\xff\n", '{"kind": "other"}\n'])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text, encoding="latin-1")
    if text:
        with pytest.raises(talweg.InputError, match="records of a Monitor"):
            read_records(path)
    else:
        assert read_records(path) == []
    with pytest.raises(talweg.InputError, match="a readable file"):
        read_records(tmp_path / "missing")


def test_numbers_that_json_lacks_are_words(tmp_path: Path) -> None:
    rows: list[object] = []
    model, optimizer = _parts()
    with torch.no_grad():
        model.weight.fill_(math.inf)
    path = tmp_path / "r.jsonl"
    with talweg.Monitor(
        model, optimizer, F.mse_loss, every={"gradient": 1}, record=path, log=rows.append
    ) as m:
        m.step((torch.ones(8, 3), torch.ones(8, 2)))
    assert len(rows) == len(read_records(path))
    json.dumps(read_records(path), allow_nan=False)
