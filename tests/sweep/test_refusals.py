"""What a sweep refuses, with messages that name the argument, the requirement and what came."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("pyarrow")

from talweg import InputError, MissingDependencyError
from talweg.sweep import Sweep

from .cases import D, data, network

GRID: dict[str, Any] = {"lr": 0.1}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"seed": [1]}, "at least the axis 'lr'"),
        ([0.1], "at least the axis 'lr'"),
        ({"lr": []}, "at least one value"),
        ({"lr": [0.1, 0.1]}, "each once"),
        ({"lr": [1, 1.0]}, "each once"),
        ({"lr": 0.0}, "finite number above 0; got 0.0"),
        ({"lr": float("nan")}, "finite number above 0"),
        ({"lr": "fast"}, "finite number above 0; got 'fast'"),
        ({"lr": 1, "seed": -1}, "an integer from 0 on; got -1"),
        ({"lr": 1, "seed": 0.5}, "an integer from 0 on"),
        ({"lr": 1, "seed": True}, "an integer from 0 on"),
        ({"lr": 1, "scale": float("inf")}, "a finite number; got inf"),
        ({"lr": 1, "init": "xavier"}, "one of default, lecun, .*got 'xavier'"),
        ({"lr": 1, "init": {"lecun": lambda m, generator: None}}, "a name of its own"),
        ({"lr": 1, "loss": [1]}, "other than run, step, loss"),
        ({"lr": 1, "a b": [1]}, "identifier"),
        ({"lr": 1, "a": [None]}, "a number, a text or a flag; got None"),
        ({"lr": 1, "a": [1, "x"]}, "all numbers, all texts or all flags"),
    ],
)
def test_grids(grid: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sweep(network(), data(), grid, steps=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "`steps` of .* above 0; got 0"),
        ({"steps": 2.0}, "`steps` of .* got 2.0"),
        ({"steps": 1, "record_every": 0}, "`record_every` of"),
        ({"steps": 1, "chunk_size": True}, "`chunk_size` of"),
        ({"steps": 1, "loss": "l1"}, "`loss` of .* got 'l1'"),
        ({"steps": 1, "engine": "fast"}, "`engine` of .* got 'fast'"),
        ({"steps": 1, "target": float("nan")}, "`target` of .* got nan"),
        ({"steps": 1, "dtype": torch.int64}, "`dtype` of .* got torch.int64"),
    ],
)
def test_settings(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sweep(network(), data(), GRID, **arguments)


def frozen() -> nn.Module:
    model = network()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: 3, "returns one; got int"),
        (3, "returns one; got int"),
        (nn.Tanh(), "a trainable parameter"),
        (frozen, "a trainable parameter"),
        (nn.Sequential(nn.Linear(D, 1), nn.Dropout(0.5)), "draws random numbers"),
        (nn.Sequential(nn.Linear(D, 1), nn.BatchNorm1d(1)), "changes its buffers"),
        (nn.Linear(D + 1, 1), "must fit the model"),
        (nn.Linear(D, 2), r"shape of the outputs, \(5, 2\)"),
    ],
)
def test_models(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sweep(model, data(), GRID, steps=1)


def test_data() -> None:
    X, y = data()
    bad = X.clone()
    bad[2, 1] = torch.nan
    for wrong, message in [
        ((bad, y), "X of .* that is not finite"),
        ((X, y * torch.inf), "y of .* that is not finite"),
        ((X[:0], y[:0]), "at least one sample"),
        ((X, [1.0]), "y of .* got list"),
        (X, "a pair"),
        ((X, y.long()), "floating dtype; got torch.int64"),
    ]:
        with pytest.raises(InputError, match=message):
            Sweep(network(), wrong, GRID, steps=1)  # type: ignore[arg-type]


def test_targets_of_one_dimension_stand_for_one_output() -> None:
    X, y = data()
    flat = Sweep(network(), (X, y[:, 0]), GRID, steps=3).run().steps
    assert flat.equals(Sweep(network(), (X, y), GRID, steps=3).run().steps)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(D, D), nn.GELU(), nn.Linear(D, 1)),
        nn.Sequential(nn.Tanh(), nn.Linear(D, 1)),
    ],
)
def test_the_chain_engine_refuses_what_it_cannot_read(model: nn.Module) -> None:
    with pytest.raises(InputError, match="can be 'chain' only for"):
        Sweep(model, data(), GRID, steps=1, engine="chain")
    Sweep(model, data(), GRID, steps=1).run()


def test_what_is_not_the_library_s_own_forward_is_left_to_vmap() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2.0 * super().forward(x)

    hooked = network()
    hooked[1].register_forward_hook(lambda module, inputs, output: 2.0 * output)
    shared = nn.Sequential(nn.Linear(D, D), nn.Tanh(), nn.Linear(D, D), nn.Linear(D, 1))
    shared[2].weight = shared[0].weight
    halved = network()
    halved[0].bias.requires_grad_(False)
    for model in (nn.Sequential(Doubled(D, 1)), hooked, shared, halved):
        with pytest.raises(InputError, match="can be 'chain' only for"):
            Sweep(model, data(), GRID, steps=1, engine="chain")
        sweep = Sweep(model, data(), {"init": "as_given", "lr": 0.1}, steps=1)
        X, y = data()
        with torch.no_grad():
            expected = float((model.double()(X) - y).square().mean())
        assert sweep.run().summary["initial_loss"][0].as_py() == pytest.approx(expected)


def broken(how: str) -> Callable[..., None]:
    def initialise(model: nn.Module, generator: torch.Generator) -> None:
        if how == "nan":
            model[0].weight.fill_(torch.nan)  # type: ignore[index, operator, union-attr]
        else:
            model[0] = nn.Linear(D, D + 1)  # type: ignore[index, operator]

    return initialise


@pytest.mark.parametrize("how", ["nan", "shape"])
def test_functions_that_break_the_weights(how: str) -> None:
    sweep = Sweep(network(), data(), {"init": broken(how), "lr": 1}, steps=1)
    with pytest.raises(InputError, match=r"'initialise' of .* 0\.(weight|bias) is none"):
        sweep.run()


def test_initialisations_by_name_need_linear_layers() -> None:
    convolution = nn.Sequential(nn.Unflatten(1, (1, D)), nn.Conv1d(1, 1, D), nn.Flatten())
    sweep = Sweep(convolution, data(), GRID, steps=1)
    with pytest.raises(InputError, match=r"needs a model with a torch.nn.Linear"):
        sweep.run()
    mixed = nn.Sequential(*convolution, nn.Linear(1, 1))
    with pytest.raises(InputError, match=r"1.weight, 1.bias does not"):
        Sweep(mixed, data(), GRID, steps=1).run()
    with pytest.raises(InputError, match=r"scale 2.0 of .* needs"):
        Sweep(convolution, data(), {"init": "as_given", "scale": 2, "lr": 1}, steps=1).run()


def test_jobs_need_joblib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    sweep = Sweep(network(), data(), GRID, steps=1)
    with pytest.raises(MissingDependencyError, match=r"pip install 'talweg\[reproduce\]'"):
        sweep.run(tmp_path, jobs=2)
    sweep.run(tmp_path)


def test_the_room_needs_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "talweg.sweep")
    with pytest.raises(MissingDependencyError, match=r"pip install 'talweg\[reproduce\]'"):
        importlib.import_module("talweg.sweep")
