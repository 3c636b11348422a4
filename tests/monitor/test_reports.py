"""What a Monitor shows and leaves behind: report, live view, findings in the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import talweg
from talweg import InputError
from talweg.monitor import Finding, read_findings, read_records
from talweg.monitor._history import History
from talweg.monitor._stretches import stretches

EVERY = {"gradient": 2, "curvature": 4, "units": 8, "updates": 4}


def trained(lr: float = 0.1, steps: int = 24, **settings: Any) -> tuple[talweg.Monitor, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with talweg.Monitor(model, optimizer, F.mse_loss, every=EVERY, **settings) as monitor:
        for _ in range(steps):
            X = torch.randn(16, 3)
            y = X.sum(1, keepdim=True)
            monitor.step((X, y))
            optimizer.zero_grad()
            F.mse_loss(model(X), y).backward()
            optimizer.step()
    return monitor, model


def test_a_report(tmp_path: Path) -> None:
    monitor, _ = trained()
    data = [(torch.randn(16, 3), torch.randn(16, 1))]
    path = monitor.report(tmp_path / "run.html", data)
    text = path.read_text(encoding="utf-8")
    assert "<h1>Sequential with SGD</h1>" in text
    assert "Cost of watching" in text
    assert "1. " in text
    with pytest.raises(InputError, match="path of report"):
        monitor.report(tmp_path / "absent" / "run.html")


def test_the_live_view_changes_no_bit(capsys: pytest.CaptureFixture[str]) -> None:
    shown, seen = trained(live=True)
    generator = torch.get_rng_state()
    _, unseen = trained()
    assert torch.equal(generator, torch.get_rng_state())
    for a, b in zip(seen.parameters(), unseen.parameters(), strict=True):
        assert torch.equal(a, b)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("step 23: loss ")  # no terminal: one line at the end
    assert printed.err.count("\n") == 1
    assert shown.rows


def test_the_record_ends_with_the_findings(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    monitor, _ = trained(record=path)
    assert len(read_records(path)) == len(monitor.rows)
    assert read_findings(path) == [f.to_dict() for f in monitor.findings()]
    data = [(torch.zeros(16, 3), torch.randn(16, 1))]  # equal inputs, different targets
    found = monitor.findings(data)
    assert "conflicting_targets" in {f.kind for f in found}
    assert read_findings(path) == [f.to_dict() for f in found]
    path.unlink()
    monitor.findings()
    assert not path.exists()


def test_a_diagnosis_that_fails_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*details: Any) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("talweg.monitor._monitor.findings", fails)
    with pytest.warns(RuntimeWarning, match="Monitor could not conclude: ZeroDivisionError"):
        trained(record=tmp_path / "run.jsonl")
    assert read_records(tmp_path / "run.jsonl")


def test_findings_say_where_they_show() -> None:
    monitor, _ = trained(lr=50.0)
    first = monitor.findings()[0]
    assert first.kind == "step_too_large"
    assert first.steps
    assert all(0 <= begin <= end <= 23 for begin, end in first.steps)
    assert first.to_dict()["steps"] == [list(pair) for pair in first.steps]


def rows(**series: list[float]) -> History:
    count = len(next(iter(series.values())))
    return History([
        {"step": 10 * i, "loss": 1.0, **{key: values[i] for key, values in series.items()}}
        for i in range(count)
    ])  # fmt: skip


def test_stretches_above_the_limit_and_of_a_lost_run() -> None:
    history = rows(stability=[0.5, 1.5, 2.0, 0.5, 0.5, 3.0, 0.5])
    assert stretches("step_too_large", history) == ((10, 20), (50, 50))
    history = rows(stability=[0.5, 1.5, 0.5, 0.5], loss=[1.0, 1.0, 9.0, float("inf")])
    assert stretches("step_too_large", history) == ((10, 10), (20, 30))


def test_stretches_are_what_most_looks_around_say() -> None:
    history = rows(stability=[0.01, 0.01, 0.2, 0.01, 0.01, 0.2, 0.2, 0.2, 0.01, 0.2])
    assert stretches("step_too_small", history) == ((0, 30),)


def test_stretches_of_noise_and_saddles() -> None:
    history = rows(gradient_squared=[1.0] * 5 + [0.1] * 5, noise=[16.0] * 10, batch_size=[16] * 10)
    assert stretches("noise_floor", history) == ((50, 90),)
    history = rows(stability=[0.1] * 10, negative=[-0.1] * 6 + [0.0] * 4)
    assert stretches("saddle", history) == ((0, 50),)


def test_what_no_look_shows_holds_for_the_whole_run() -> None:
    history = rows(stability=[0.5] * 4)
    for kind in ("frozen", "step_too_large", "dead_units", "converging"):
        assert stretches(kind, history) == ((0, 30),)
    assert stretches("frozen", History([])) == ()


def test_a_finding_as_plain_data() -> None:
    finding = Finding("frozen", 0.9, "seen", "T11", "change", {"unfreeze": ["a"]}, {"frozen": 0.3})
    assert finding.to_dict() == {
        "kind": "frozen", "title": "parameters that are not trained", "certainty": 0.9,
        "seen": "seen", "source": "T11", "change": "change", "action": {"unfreeze": ["a"]},
        "numbers": {"frozen": 0.3}, "steps": [],
    }  # fmt: skip
