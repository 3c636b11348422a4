"""Facts about data and models against closed forms, and findings on small planted faults."""

from __future__ import annotations

import ast
import copy
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import talweg
from talweg.monitor import KINDS, Finding, inspect_data, read_records
from talweg.monitor._finding import THEORY, ranked
from talweg.monitor._history import History
from talweg.monitor._rules_run import _floor
from talweg.monitor._structure import inspect_model

ROOT = Path(__file__).resolve().parents[2]


def test_contradicting_targets_leave_their_variance() -> None:
    X = torch.tensor([[0.0], [0.0], [1.0], [2.0]])
    y = torch.tensor([[1.0], [4.0], [0.0], [0.0]])
    facts = inspect_data((X, y))
    assert facts is not None
    assert facts.floor == pytest.approx(2 * 1.5**2 / 4)
    assert facts.conflicting == 0.5
    best = torch.tensor([[2.5], [2.5], [0.0], [0.0]])
    assert facts.floor == pytest.approx(float(F.mse_loss(best, y)))


def test_contradicting_labels_leave_their_entropy() -> None:
    X = torch.zeros(4, 2)
    facts = inspect_data([(X, torch.tensor([0, 0, 0, 1]))])
    assert facts is not None
    assert facts.floor == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert facts.classes
    assert facts.outputs == 2


def test_equal_inputs_with_equal_targets_are_no_contradiction() -> None:
    facts = inspect_data((torch.ones(5, 2), torch.ones(5, 1)))
    assert facts is not None
    assert (facts.conflicting, facts.floor) == (0.0, 0.0)


def test_spread_and_offset_are_those_of_the_features() -> None:
    X = torch.tensor([1.0, 1.0, 50.0]) * torch.tensor([[1.0], [-1.0]])
    facts = inspect_data((X, torch.zeros(2, 1)))
    assert facts is not None
    assert facts.spread == pytest.approx(50)
    assert facts.offset == pytest.approx(0)
    images = X.T[None, :, :, None].expand(4, 3, 2, 2)  # a feature of images is a channel
    facts = inspect_data((images, torch.zeros(4, dtype=torch.int64)))
    assert facts is not None
    assert facts.spread == pytest.approx(50)


def test_twins_are_units_equal_inwards_and_outwards() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    assert inspect_model(model, optimizer).twins == {}
    with torch.no_grad():
        model[0].weight[1] = model[0].weight[0]
    assert inspect_model(model, optimizer).twins == {}  # the way out still tells them apart
    with torch.no_grad():
        model[2].weight[:, 1] = model[2].weight[:, 0]
    assert inspect_model(model, optimizer).twins == {"0.weight": 0.5}


def test_a_last_layer_of_zeros_is_no_symmetry() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    nn.init.zeros_(model[2].weight)
    assert inspect_model(model, torch.optim.SGD(model.parameters(), 0.1)).twins == {}


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_the_noise_floor_of_a_quadratic(momentum: float) -> None:
    """f = sum lambda_i w_i^2 / 2 with independent noise: f stays eta s^2 / (4 (1 - b)) up."""
    torch.manual_seed(0)
    curvature = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    w = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    model = nn.ParameterList([w])
    lr, deviation, batch = 0.01, 2.0, 16

    def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
        (v,) = model.parameters()
        return (curvature * v**2).sum() / 2 + (batch @ v).mean()

    optimizer = torch.optim.SGD([w], lr, momentum=momentum)
    losses = []
    every = {"gradient": 50, "curvature": 50, "units": 0, "updates": 0}
    with talweg.Monitor(model, optimizer, loss_of=loss_of, f_star=-1e9, every=every) as m:
        for step in range(20000):
            noise = deviation * torch.randn(batch, 3, dtype=torch.float64)
            m.step(noise)
            optimizer.zero_grad()
            loss_of(model, noise).backward()
            optimizer.step()
            if step > 2000:
                losses.append(float((curvature * w.detach() ** 2).sum() / 2))
    predicted = lr * 3 * deviation**2 / batch / 4 / (1 - momentum)
    history = History(tuple(m.rows), -1e9)
    assert _floor(history) == pytest.approx(predicted, rel=0.1)
    # 18000 correlated steps; the slowest direction forgets within 200
    assert sum(losses) / len(losses) == pytest.approx(predicted, rel=0.25)


def test_a_schedule_through_zero_freezes_nothing() -> None:
    model, X = nn.Linear(6, 1), torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    with talweg.Monitor(model, optimizer, F.mse_loss, every={"gradient": 1}) as m:
        for _ in range(20):
            m.step((X, X[:, :1]))
            optimizer.zero_grad()
            F.mse_loss(model(X), X[:, :1]).backward()
            optimizer.step()
            schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0
    assert "frozen" not in {f.kind for f in m.findings()}


def test_twins_that_blow_up_were_twins() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
    for p in model.parameters():
        nn.init.constant_(p, 0.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    start = inspect_model(model, optimizer)
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    assert inspect_model(model, optimizer).since(start).twins == {"0.weight": 1.0}
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    assert inspect_model(model, optimizer).since(start).twins == {}


def test_a_small_batch_does_not_set_the_start() -> None:
    """Losses 9, 1, 1, ...: the first with an error of 4 is no start, with one of 0.1 it is."""
    for error, start in ((4.0, 1.0), (0.1, 8.8)):
        rows = [{"step": i, "loss": 9.0 if i == 0 else 1.0, "loss_error": error} for i in range(9)]
        assert History(rows).start == pytest.approx(start)


Change = Callable[[nn.Sequential, Tensor, Tensor], tuple[Tensor, Tensor]]


def _mlp(activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(6, 24), activation(), nn.Linear(24, 24), activation(), nn.Linear(24, 1)
    )


def _constant(model: nn.Sequential, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    for p in model.parameters():
        nn.init.constant_(p, 0.1)
    return X, y


def _scaled(model: nn.Sequential, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        model[0].weight *= 100
        model[2].weight *= 100
    return X, y


def _biased(model: nn.Sequential, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        model[2].bias -= 20
    return X, y


def _tiny(model: nn.Sequential, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        for p in model.parameters():
            p *= 1e-3
    return X, y


def _frozen(model: nn.Sequential, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    model[2].requires_grad_(False)
    return X, y


def _same(model: nn.Sequential, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return X, y


PLANTED: dict[str, tuple[str, type[nn.Module], float, Change]] = {
    "none": ("converging", nn.Tanh, 0.2, _same),
    "step": ("step_too_large", nn.Tanh, 20.0, _same),
    "crawl": ("step_too_small", nn.Tanh, 1e-4, _same),
    "constant": ("symmetric", nn.Tanh, 0.2, _constant),
    "saturated": ("saturated_units", nn.Tanh, 0.2, _scaled),
    "dead": ("dead_units", nn.ReLU, 0.2, _biased),
    "tiny": ("saddle", nn.Tanh, 0.2, _tiny),
    "frozen": ("frozen", nn.Tanh, 0.2, _frozen),
    "targets": ("target_scale", nn.Tanh, 0.002, lambda m, X, y: (X, 100 * y)),
    "inputs": ("inputs", nn.Tanh, 0.2, lambda m, X, y: (X * 10 ** torch.linspace(-2, 2, 6), y)),
    "conflict": ("conflicting_targets", nn.Tanh, 0.2,
                 lambda m, X, y: (torch.cat([X, X]), torch.cat([y, -y]))),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_first(name: str) -> None:
    kind, activation, lr, change = PLANTED[name]
    model = _mlp(activation)
    generator = torch.Generator().manual_seed(2)
    X = torch.randn(128, 6, generator=generator)
    y = torch.sin(2 * X[:, :1]) + X[:, 1:2]
    X, y = change(model, X, y)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    batches = [(X[i::4], y[i::4]) for i in range(4)]
    found = talweg.diagnose(model, batches, F.mse_loss, optimizer, steps=200)
    assert found[0].kind == kind, "\n".join(map(str, found))


def test_a_detached_body_is_found() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 24), nn.Linear(24, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(torch.tanh(self.one(x)).detach())

    torch.manual_seed(0)
    model, X = Cut(), torch.randn(64, 6)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    found = talweg.diagnose(model, [(X, X[:, :1] * X[:, 1:2])], F.mse_loss, optimizer, steps=100)
    assert found[0].kind == "disconnected"
    assert found[0].action == {"connect": ["one.bias", "one.weight"]}


def test_diagnose_leaves_everything_as_it_was() -> None:
    model, X = _mlp(), torch.randn(64, 6)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    data = torch.utils.data.TensorDataset(X, X[:, :1])
    loader = torch.utils.data.DataLoader(data, 16, shuffle=True)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    talweg.diagnose(model, loader, F.mse_loss, optimizer, steps=20)
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not optimizer.state
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("loader", "steps", "words"),
    [([], 20, "at least one batch"), ([(torch.ones(8, 6), torch.ones(8, 1))], 5, "at least 10")],
)
def test_diagnose_says_what_it_needs(loader: list[object], steps: int, words: str) -> None:
    model = _mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(talweg.InputError, match=words):
        talweg.diagnose(model, loader, F.mse_loss, optimizer, steps=steps)


def test_a_pair_of_tensors_is_one_full_batch() -> None:
    torch.manual_seed(0)
    X, y = torch.randn(16, 3), torch.randn(16, 1)
    model = nn.Linear(3, 1)
    found = [
        talweg.diagnose(
            model, loader, F.mse_loss, torch.optim.SGD(model.parameters(), 0.1), steps=20
        )
        for loader in ((X, y), [X, y], [(X, y)])
    ]
    assert found[0] == found[1] == found[2]


def test_a_generator_is_refused_when_it_runs_out() -> None:
    model, X = _mlp(), torch.ones(8, 6)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loader = ((X, X[:, :1]) for _ in range(3))
    with pytest.raises(talweg.InputError, match="not a generator"):
        talweg.diagnose(model, loader, F.mse_loss, optimizer, steps=20)


def test_records_of_a_diverged_run_tell_the_same(tmp_path: Path) -> None:
    model, X = _mlp(), torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    model.insert(5, nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), 1e3)
    path = tmp_path / "run.jsonl"
    every = {"gradient": 1, "curvature": 1}
    with talweg.Monitor(model, optimizer, F.mse_loss, every=every, record=path) as m:
        for _ in range(30):
            m.step((X, X[:, :1]))
            optimizer.zero_grad()
            F.mse_loss(model(X), X[:, :1]).backward()
            optimizer.step()
    assert m.findings()[0].kind == "step_too_large"
    assert History(tuple(read_records(path))).diverged


def test_likely_findings_come_first_and_causes_before_effects() -> None:
    def one(kind: str, certainty: float) -> Finding:
        return Finding(kind, certainty, "", "", "")

    found = ranked([one("dead_units", 0.4), one("step_too_large", 0.6), one("inputs", 0.6)])
    assert [f.kind for f in found] == ["inputs", "step_too_large", "dead_units"]
    assert all(f.kind in KINDS for f in found)


def test_without_rows_the_answer_is_not_sure() -> None:
    model = _mlp()
    monitor = talweg.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), F.mse_loss)
    assert [f.kind for f in monitor.findings()] == ["unsure"]


def test_a_smoothed_cross_entropy_tells_its_infimum() -> None:
    torch.manual_seed(0)
    X, y = torch.randn(24, 3), torch.arange(24) % 3
    model = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    with talweg.Monitor(model, optimizer, loss, every={"gradient": 20, "curvature": 40}) as m:
        for _ in range(400):
            m.step((X, y))
            optimizer.zero_grad()
            loss(model(X), y).backward()
            optimizer.step()
    q = torch.full((3,), 0.1 / 3, dtype=torch.float64)
    q[0] += 0.9
    assert m.f_star == pytest.approx(float(-(q * q.log()).sum()), rel=1e-12)
    assert float(loss(model(X), y).detach()) > m.f_star - 1e-6
    assert next(f.kind for f in m.findings((X, y))) == "converging"
    assert talweg.Monitor(model, optimizer, loss, f_star=0.0).f_star == 0.0


def test_a_full_batch_has_no_noise() -> None:
    torch.manual_seed(0)
    X = torch.randn(30, 4)
    y = torch.randn(30, 1)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = talweg.diagnose(model, (X, y), F.mse_loss, optimizer, steps=40)
    assert "noise_floor" not in [f.kind for f in found]


def test_numbers_that_are_not_finite_are_refused() -> None:
    X = torch.randn(8, 3)
    X[5, 1] = torch.nan
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(talweg.InputError, match="got nan in row 5 of a batch"):
        talweg.diagnose(model, (X, torch.zeros(8, 1)), F.mse_loss, optimizer, steps=10)


def test_a_batch_in_two_arguments_is_refused() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = talweg.Monitor(model, optimizer, F.mse_loss)
    with monitor, pytest.raises(talweg.InputError, match=r"step\(\(X, y\)\)"):
        monitor.step(torch.zeros(4, 3), torch.zeros(4, 2))


def test_the_theory_behind_a_finding_is_told_in_words() -> None:
    for source, title in THEORY.items():
        page = (ROOT / "docs" / "theory" / f"{source}.md").read_text(encoding="utf-8")
        heading = page.splitlines()[0].removeprefix(f"# {source}").lstrip(".: ")
        assert heading[0].lower() + heading[1:] == title
    found = Finding("converging", 0.6, "seen", "E1", "Go on.")
    words = "(theory: E1, gradient descent under smoothness and PL)"
    assert str(found) == f"converging (60% sure): seen. Go on. {words}"
    assert str(Finding("unsure", 0.5, "seen", "", "Watch on.")).endswith("seen. Watch on.")


def test_every_source_of_a_finding_is_explained() -> None:
    sources = set()
    for path in (ROOT / "src" / "talweg" / "monitor").glob("_rules_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(r"[A-Z]\d+", str(node.value)):
                sources.add(node.value)
    assert sources == set(THEORY)


def _trained_by_adam(lr: float) -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    X = torch.randn(64, 2)
    y = torch.sin(2 * X[:, :1])
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(600):
        optimizer.zero_grad()
        F.mse_loss(model(X), y).backward()
        optimizer.step()
    return model, X, y


def test_a_new_adam_on_trained_weights_is_no_step_too_large() -> None:
    """It throws a small loss up and comes down, at 0.1 to 0.4 of the limit all the while."""
    model, X, y = _trained_by_adam(0.03)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    rows: list[dict[str, float]] = []
    found = talweg.diagnose(
        model, (X, y), F.mse_loss, optimizer, steps=200, progress=lambda _, row: rows.append(row)
    )
    losses = [row["loss"] for row in rows if "loss" in row]
    assert max(losses) > 100 * losses[0]  # thrown
    assert max(row["stability"] for row in rows if "stability" in row) < 0.6
    assert found[0].kind == "converging"
    (remark,) = [f for f in found if f.kind == "step_too_large"]
    assert remark.certainty < 0.5
    assert "times its start by step" in remark.seen
    assert remark.action == {"warmup": True}


def test_a_rise_that_stays_is_a_step_too_large() -> None:
    """At a rate of 1 Adam spoils the network with its first steps: no curvature was seen there."""
    model = _mlp()
    X = torch.randn(128, 6, generator=torch.Generator().manual_seed(2))
    y = torch.sin(2 * X[:, :1])
    optimizer = torch.optim.Adam(model.parameters(), lr=3.0)
    first = talweg.diagnose(model, (X, y), F.mse_loss, optimizer, steps=100)[0]
    assert first.kind == "step_too_large"
    assert first.certainty >= 0.5
    assert "where its curvature was measured, after that" in first.seen
    assert "lr_factor" in first.action


def test_the_limit_of_adam_is_the_one_of_frozen_moments() -> None:
    """2 (1 + b) / (1 - b) of the curvature over sqrt(v) + eps: 38 for b = 0.9 and a rate of 1."""
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    batch = torch.ones(8, 1), torch.zeros(8, 1)
    every = {"curvature": 1, "gradient": 0, "units": 0, "updates": 0, "kernel": 0}
    with talweg.Monitor(model, optimizer, F.mse_loss, every=every) as m:
        for _ in range(2):
            m.step(batch)
            optimizer.zero_grad()
            F.mse_loss(model(batch[0]), batch[1]).backward()
            square = float(model.weight.grad.square())  # type: ignore[union-attr]
            optimizer.step()
            if len(m.rows) == 1:
                root = math.sqrt(square)  # v_hat after one step is g^2
    assert "stability" not in m.rows[0]
    assert m.rows[1]["stability"] == pytest.approx(0.01 * 2 / (root + 1e-8) / 38, rel=1e-4)
