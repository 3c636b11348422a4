"""Every run of a sweep is the plain loop's run; runs do not touch each other."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("pyarrow")

import talweg.init
from talweg.sweep import INITIALISERS, Sweep

from .cases import D, data, every_rule, network, plain_descent

# Sums of a dozen terms in another order, carried through tens of contracting steps.
TOLERANCE = 1e-11


def columns(table: object, *names: str) -> list[np.ndarray]:
    return [table[name].to_numpy() for name in names]  # type: ignore[index]


def starts(sweep: Sweep) -> dict[str, Tensor]:
    return sweep._plan.starts(0, sweep.size)


@pytest.mark.parametrize("engine", ["chain", "vmap"])
@pytest.mark.parametrize("loss", ["mse", "sse", "half_sse"])
@pytest.mark.parametrize("make", [network, lambda: network(bias=False), every_rule])
def test_runs_are_those_of_the_plain_loop(engine: str, loss: str, make: object) -> None:
    model: nn.Sequential = make()  # type: ignore[operator]
    X, y = data(k=model(torch.zeros(1, D)).shape[1])
    sweep = Sweep(
        model, (X, y), {"seed": [3, 7], "scale": [1.0, 0.5], "lr": [0.01, 0.02]},
        steps=20, record_every=4, loss=loss, engine=engine,
    )  # fmt: skip
    steps = sweep.run().steps
    first = starts(sweep)
    factor = {"mse": 1 / y.numel(), "sse": 1.0, "half_sse": 0.5}[loss]
    for run in range(sweep.size):
        rows = [row for row in steps.to_pylist() if row["run"] == run]
        assert [row["step"] for row in rows] == [0, 4, 8, 12, 16, 20]
        plain = plain_descent(
            model, {name: stack[run] for name, stack in first.items()}, rows[0]["lr"], 20,
            lambda m: factor * (m(X) - y).square().sum(),
        )  # fmt: skip
        for row in rows:
            measured = (row["loss"], row["gradient_norm"], row["distance"])
            assert measured == pytest.approx(plain[row["step"]], rel=TOLERANCE, abs=TOLERANCE)


def test_any_module_and_any_loss() -> None:
    """A convolution, a frozen parameter, a buffer, class labels."""

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 2, 3)
            self.head = nn.Linear(2 * (D - 2), 3)
            self.head.bias.requires_grad_(False)
            self.register_buffer("shift", torch.ones(D))

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.conv((x + self.shift).unsqueeze(1)))
            return self.head(h.flatten(1))  # type: ignore[no-any-return]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Classifier()
    X, _ = data(6)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    sweep = Sweep(
        model, (X, labels), {"init": "as_given", "lr": [0.1, 0.3]},
        steps=10, record_every=5, loss=F.cross_entropy,
    )  # fmt: skip
    rows = sweep.run().steps.to_pylist()
    assert len(rows) == 6
    start = {name: p.detach().double() for name, p in model.named_parameters()}
    for row in rows:
        plain = plain_descent(
            model, start, row["lr"], row["step"], lambda m: F.cross_entropy(m(X), labels)
        )
        measured = (row["loss"], row["gradient_norm"], row["distance"])
        assert measured == pytest.approx(plain[-1], rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize("engine", ["chain", "vmap"])
def test_diverged_runs_are_recorded_and_leave_the_others_alone(engine: str) -> None:
    grid = {"seed": range(3), "init": "lecun"}
    mixed = Sweep(
        network(), data(), {**grid, "lr": [0.01, 1e3, 0.02]}, steps=40, record_every=7,
        engine=engine,
    ).run()  # fmt: skip
    tame = Sweep(
        network(), data(), {**grid, "lr": [0.01, 0.02]}, steps=40, record_every=7, engine=engine
    ).run()
    summary = mixed.summary.to_pylist()
    assert [row["status"] for row in summary] == ["finished", "diverged", "finished"] * 3
    diverged = [row for row in summary if row["status"] == "diverged"]
    assert all(0 < row["last_step"] < 40 for row in diverged)
    assert all(not math.isfinite(row["final_loss"]) for row in diverged)
    assert all(math.isfinite(row["smallest_loss"]) for row in diverged)
    kept = mixed.steps.filter(mixed.steps["status"].to_numpy() == "finished")  # type: ignore[arg-type]
    ours, theirs = columns(kept, "loss", "distance"), columns(tame.steps, "loss", "distance")
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=TOLERANCE)


def test_a_run_ends_where_it_reaches_the_target() -> None:
    free = Sweep(network(), data(), {"seed": range(4), "lr": 0.1}, steps=300, record_every=1)
    ended = Sweep(
        network(), data(), {"seed": range(4), "lr": 0.1}, steps=300, record_every=50, target=0.05
    )
    losses = free.run().steps
    for row in ended.run().summary.to_pylist():
        path = losses.filter(losses["run"].to_numpy() == row["run"])["loss"].to_numpy()
        below = np.flatnonzero(path <= 0.05)
        assert row["status"] == ("reached" if len(below) else "finished")
        assert row["last_step"] == (below[0] if len(below) else 300)
        assert row["final_loss"] == pytest.approx(path[row["last_step"]], rel=TOLERANCE)
    assert "reached" in ended.run().summary["status"].to_pylist()


def test_the_length_of_chunks_changes_rounding_at_most() -> None:
    tables = [
        Sweep(
            network(), data(), {"seed": range(7), "init": ["lecun", "positive"], "lr": 0.02},
            steps=30, chunk_size=size,
        ).run().steps
        for size in (1, 4, 100)
    ]  # fmt: skip
    for other in tables[1:]:
        assert other.drop_columns(["loss", "gradient_norm", "distance"]).equals(
            tables[0].drop_columns(["loss", "gradient_norm", "distance"])
        )
        for name in ("loss", "gradient_norm", "distance"):
            np.testing.assert_allclose(
                other[name].to_numpy(), tables[0][name].to_numpy(), rtol=TOLERANCE
            )


def test_the_same_sweep_is_the_same_bit_for_bit() -> None:
    def run() -> object:
        return Sweep(network(), data(), {"seed": range(5), "lr": [0.01, 0.1]}, steps=50).run().steps

    assert run().equals(run())  # type: ignore[attr-defined]


def test_nothing_of_the_caller_is_changed() -> None:
    model = network()
    before = {name: p.clone() for name, p in model.named_parameters()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()

    def draws(model: nn.Module, generator: torch.Generator) -> None:
        torch.rand(1)

    Sweep(model, data(), {"init": draws, "lr": 0.1}, steps=3).run()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_initialisations_by_name() -> None:
    names = list(INITIALISERS)
    model = nn.Sequential(nn.Linear(50, 60), nn.Tanh(), nn.Linear(60, 40), nn.Linear(40, 1))
    X = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    sweep = Sweep(model, (X, torch.zeros(3, 1)), {"init": names, "lr": 1.0}, steps=1)
    start = dict(
        zip(
            names,
            ({k: v[i] for k, v in starts(sweep).items()} for i in range(len(names))),
            strict=True,
        )
    )
    hidden = "2.weight"
    for name in ("lecun", "lecun_abs"):
        assert start[name][hidden].square().mean() == pytest.approx(1 / 60, rel=0.1)
        assert not start[name]["2.bias"].any()
    assert torch.equal(start["lecun_abs"][hidden], start["lecun"][hidden].abs())  # paired draws
    assert not start["positive"]["0.weight"].any()
    assert (start["positive"]["3.weight"] == 1.0).all()
    assert 60 * start["positive"][hidden].min() >= 0.5
    assert 60 * start["positive"][hidden].max() <= 1.5
    assert start["positive"][hidden].mean() == pytest.approx(1 / 60, rel=0.02)
    assert start["lecun"]["0.weight"].square().mean() == pytest.approx(1 / 50, rel=0.1)
    assert start["default"][hidden].abs().max() <= 60**-0.5
    assert start["default"][hidden].square().mean() == pytest.approx(1 / 60 / 3, rel=0.1)
    assert start["default"]["2.bias"].any()
    for key, parameter in model.named_parameters():
        assert torch.equal(start["as_given"][key], parameter.detach().double())


@pytest.mark.parametrize("name", ["lecun", "lecun_abs", "positive"])
def test_names_mean_what_they_mean_in_talweg_init(name: str) -> None:
    function = getattr(talweg.init, f"{name}_")
    model = nn.Sequential(nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 1))
    grid = {"seed": [0, 5], "scale": [1.0, 2.0], "lr": 0.1}
    ours = starts(Sweep(model, data(), {**grid, "init": name}, steps=1))
    theirs = starts(Sweep(model, data(), {**grid, "init": {"f": function}}, steps=1))
    for key, weights in ours.items():
        torch.testing.assert_close(weights, theirs[key], rtol=1e-15, atol=0.0)


def test_scale_multiplies_the_last_linear_layer() -> None:
    sweep = Sweep(network(), data(), {"scale": [1.0, -3.0], "lr": 1.0}, steps=1)
    for name, stack in starts(sweep).items():
        assert torch.equal(stack[1], stack[0] * (-3.0 if name.startswith("4.") else 1.0))


def test_functions_and_further_axes_initialise() -> None:
    def constant(model: nn.Module, generator: torch.Generator, value: float) -> None:
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, value)

    sweep = Sweep(
        network(), data(), {"init": constant, "value": [0.5, 1, 0.25], "lr": 0.1}, steps=1
    )
    assert [float(s) for s in starts(sweep)["0.bias"][:, 0]] == [0.5, 1.0, 0.25]
    summary = sweep.run().summary
    assert summary["value"].to_pylist() == [0.5, 1.0, 0.25]
    assert summary["init"].to_pylist() == ["constant"] * 3
    named = Sweep(network(), data(), {"init": {"mine": constant}, "value": 1, "lr": 1}, steps=1)
    assert named.run().summary["init"].to_pylist() == ["mine"]


def test_grid_order_and_types() -> None:
    grid = {"lr": [0.1, 1], "seed": np.arange(2), "init": ["lecun", "default"]}
    summary = Sweep(network(), data(), grid, steps=1).run().summary
    rows = [(r["seed"], r["init"], r["scale"], r["lr"]) for r in summary.to_pylist()]
    assert rows == list(itertools.product((0, 1), ("lecun", "default"), (1.0,), (0.1, 1.0)))
    assert [str(summary.schema.field(n).type) for n in ("run", "seed", "init", "scale", "lr")] == [
        "int64", "int64", "string", "double", "double"
    ]  # fmt: skip


def test_columns_are_those_of_the_documentation() -> None:
    result = Sweep(network(), data(), {"lr": 0.1}, steps=2).run()
    axes = ["seed", "init", "scale", "lr"]
    assert result.steps.column_names == [
        "run", *axes, "status", "step", "loss", "gradient_norm", "distance"
    ]  # fmt: skip
    assert result.summary.column_names == [
        "run", *axes, "status", "last_step", "initial_loss", "final_loss", "smallest_loss",
        "final_gradient_norm", "distance",
    ]  # fmt: skip


def test_progress_counts_runs() -> None:
    said: list[tuple[int, int]] = []
    sweep = Sweep(network(), data(), {"seed": range(5), "lr": 0.1}, steps=1, chunk_size=2)
    sweep.run(progress=lambda done, total: said.append((done, total)))
    assert said == [(0, 5), (2, 5), (4, 5), (5, 5)]
