"""A run too fast for its budget: known losses are kept, and the end is looked at once more."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import talweg
from talweg.monitor import read_records
from talweg.monitor._budget import Budget
from talweg.monitor._history import History
from talweg.monitor._known_losses import KnownLosses
from talweg.report import run_report
from talweg.report._summary import Summary

STEPS = 200


class Frozen(Budget):
    """A clock that stands: every kind is looked at once, on trust, and never again."""

    def __init__(self, budget: Budget) -> None:
        self.__dict__.update(budget.__dict__)
        self.clock = lambda: 0.0


def watched(*, told: bool, record: Path | None = None, **options: Any) -> tuple[Any, float]:
    """A monitor after 200 steps that its budget paid one look of each kind for, and the loss."""
    torch.manual_seed(0)
    X = torch.randn(64, 8)
    y = X[:, :1].sin()
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with talweg.Monitor(model, optimizer, F.mse_loss, record=record, **options) as m:
        m.budget = Frozen(m.budget)
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = F.mse_loss(model(X), y)
            loss.backward()
            m.step((X, y), loss if told else None)
            optimizer.step()
    return m, float(F.mse_loss(model(X), y).detach())


def test_losses_that_are_told_are_thinned_by_a_sixteenth() -> None:
    kept = KnownLosses()
    steps = [step for step in range(1_000_000) if kept.take(step, 1.0, looked=False)]
    assert steps[:17] == list(range(17))
    assert all(b - a <= max(1, b / 16 + 1) for a, b in itertools.pairwise(steps))
    assert len(steps) == 197
    assert sum(step < 600 for step in steps) == 82
    assert kept.last == (999_999, 1.0)


def test_the_run_ends_with_its_loss(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    m, end = watched(told=True, record=path)
    losses = History(tuple(m.rows)).losses
    assert len(losses) > 50
    assert losses[-1] == (STEPS, pytest.approx(end, rel=1e-5))
    assert m.rows[-1]["final"] is True
    assert m.rows[-1]["fresh"] is False
    assert "stability" in m.rows[-1]
    assert [row["step"] for row in read_records(path)][-1] == STEPS
    assert m.findings()[0].kind == "converging"
    assert sum("gradient_squared" in row for row in m.rows) == 1  # no biased one at the end


def test_without_losses_the_last_look_is_the_end(tmp_path: Path) -> None:
    m, end = watched(told=False)
    losses = History(tuple(m.rows)).losses
    assert losses[-1] == (STEPS, pytest.approx(end, rel=1e-5))
    first = m.findings()[0]
    assert first.kind == "converging"
    assert (
        "overhead=0.05 of Monitor, paid for 1 look at the gradient and 1 look at the curvature in "
        "200 steps; raise it for more" in first.seen
    )
    page = run_report(m.rows, [])
    said = [str(getattr(part, "text", "")) for part in page.sections[-1].parts]
    assert any("Little was measured: the time allowed for measuring" in text for text in said)
    assert not any("had seen the batch" in text for text in said)
    assert dict(page.facts.items)["Last loss"]


def test_close_looks_once_and_is_the_end() -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    m = talweg.Monitor(model, optimizer, F.mse_loss).__enter__()
    X, y = torch.randn(8, 3), torch.randn(8, 1)
    m.step((X, y))
    F.mse_loss(model(X), y).backward()
    optimizer.step()
    m.close()
    assert m.rows[-1]["step"] == 1
    assert m.rows[-1]["batch_loss"] == pytest.approx(float(F.mse_loss(model(X), y).detach()))
    rows = len(m.rows)
    m.close()
    m.__exit__()
    assert len(m.rows) == rows


def test_an_error_is_no_time_for_a_look() -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    m = talweg.Monitor(model, optimizer, F.mse_loss).__enter__()
    m.step((torch.randn(8, 3), torch.randn(8, 1)))
    F.mse_loss(model(torch.randn(8, 3)), torch.randn(8, 1)).backward()
    optimizer.step()
    m.__exit__(RuntimeError, RuntimeError("stop"), None)
    assert not any(row.get("final") for row in m.rows)


def test_a_fixed_schedule_has_no_last_look() -> None:
    m, _ = watched(told=True, every={"gradient": 50, "curvature": 100, "units": 0})
    assert not any(row.get("final") for row in m.rows)
    assert History(tuple(m.rows)).losses[-1][0] == STEPS - 1  # told, and not lost


def test_the_last_loss_is_shown_with_its_step() -> None:
    summary = Summary()
    summary.add({"step": 0, "fresh": True, "loss": 0.5, "loss_error": 0.1})
    assert summary.line() == "step 0: loss 0.5 ± 0.1 at step 0, the only one"
    summary.add({"step": 1, "fresh": True, "batch_loss": 0.4})
    assert summary.looks == 1
    assert summary.line() == "step 1: loss 0.4"
    summary.add({"step": 9, "fresh": True, "stability": 0.5})
    assert summary.line() == "step 9: loss 0.4 at step 1, stability 0.5 of the limit"
    one = [{"step": 0, "loss": 0.5, "loss_error": 0.1}, {"step": 9, "stability": 0.5}]
    assert ("Loss at step 0, the only one", "0.5 ± 0.1") in run_report(one).facts.items
    two = [*one, {"step": 4, "batch_loss": 0.25}]
    assert ("Last loss, at step 4", "0.25") in run_report(two).facts.items


def test_losses_of_the_first_half_are_no_end() -> None:
    """An early rise and one loss at the end: few looks, and the run came down."""
    rows = [{"step": s, "loss": v} for s, v in ((0, 0.5), (1, 4.0), (2, 3.0), (600, 0.01))]
    history = History(rows)
    assert history.end == pytest.approx(0.01)
    assert not history.diverged
    assert math.isnan(History([]).end)
