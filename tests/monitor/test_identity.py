"""Training with and without a Monitor is the same, bit for bit, however the loop is made."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import talweg
from talweg.monitor import read_records

EVERYTHING = {"gradient": 2, "curvature": 3, "units": 2, "updates": 2, "kernel": 3}
STEPS = 7


class Attention(nn.Module):
    """A transformer layer over four tokens, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.reshape(len(x), 4, 8)).mean(1))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp with dropout": lambda: nn.Sequential(
        nn.Linear(32, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
    ),
    "convnet with batch normalisation": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 4, 4)), nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(),
        nn.Flatten(), nn.Linear(64, 3),
    ),
    "transformer": Attention,
}  # fmt: skip


def batches(count: int = STEPS) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    for _ in range(count):
        X = torch.randn(12, 32, generator=generator)
        yield X, torch.randint(3, (12,), generator=generator)


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, X: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(X), y).backward()
    optimizer.step()


def clipped_step(model: nn.Module, optimizer: torch.optim.Optimizer, X: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(X), y).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()


def accumulated_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, X: Tensor, y: Tensor
) -> None:
    optimizer.zero_grad()
    for x, t in zip(X.split(4), y.split(4), strict=True):
        (F.cross_entropy(model(x), t) / 3).backward()
    optimizer.step()


def autocast_step(model: nn.Module, optimizer: torch.optim.Optimizer, X: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(model(X), y)
    loss.backward()
    optimizer.step()


class ScaledStep:
    """With a GradScaler, which keeps state from step to step."""

    def __init__(self) -> None:
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def __call__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, X: Tensor, y: Tensor
    ) -> None:
        optimizer.zero_grad()
        self.scaler.scale(F.cross_entropy(model(X), y)).backward()
        self.scaler.step(optimizer)
        self.scaler.update()


STEPS_OF: dict[str, Callable[[], Callable[..., None]]] = {
    "plain": lambda: plain_step,
    "clipping": lambda: clipped_step,
    "accumulation": lambda: accumulated_step,
    "autocast": lambda: autocast_step,
    "gradient scaler": ScaledStep,
}


def groups(model: nn.Module) -> list[dict[str, Any]]:
    weights = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": 0.01}, {"params": rest, "lr": 0.05}]


def trained(
    model: nn.Module, watched: bool, step: Callable[..., None], optimiser: str, path: Path
) -> tuple[dict[str, Tensor], Tensor, list[dict[str, Any]]]:
    optimizer: torch.optim.Optimizer
    if optimiser == "sgd":
        optimizer = torch.optim.SGD(groups(model), lr=0.1, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(groups(model), lr=0.01)
    torch.manual_seed(3)
    monitor = talweg.Monitor(model, optimizer, F.cross_entropy, every=EVERYTHING, record=path)
    with monitor if watched else nullcontext():
        for X, y in batches():
            if watched:
                mode, gradients = model.training, [p.grad for p in model.parameters()]
                monitor.step((X, y))
                assert model.training is mode
                assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
            step(model, optimizer, X, y)
    state = {name: t.clone() for name, t in model.state_dict().items()}
    return state, torch.get_rng_state(), monitor.rows


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("kind", STEPS_OF)
@pytest.mark.parametrize("name", MODELS)
def test_bit_for_bit(name: str, kind: str, optimiser: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = MODELS[name]()
    twin = copy.deepcopy(model)
    alone, generator, _ = trained(twin, False, STEPS_OF[kind](), optimiser, tmp_path / "none")
    seen, after, rows = trained(model, True, STEPS_OF[kind](), optimiser, tmp_path / "m.jsonl")
    assert torch.equal(generator, after)
    assert all(torch.equal(alone[key], seen[key]) for key in alone)
    found = {key for row in rows for key in row}
    assert {"pl_ratio", "noise_scale", "update_ratios", "gradient_norms"} <= found
    assert "stability" in found
    assert "units" in found
    assert "kernel_condition" in found
    assert len(read_records(tmp_path / "m.jsonl")) == len(rows)


def whole(model: nn.Module) -> nn.Module:
    compiled: nn.Module = torch.compile(model, backend="aot_eager")  # type: ignore[assignment]
    return compiled


def in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="aot_eager")
    return model


def in_part(model: nn.Module) -> nn.Module:
    assert isinstance(model, nn.Sequential)
    model[3] = whole(nn.Sequential(model[3], nn.Tanh(), nn.Linear(3, 3)))
    return model


# Dynamo itself looks at `.grad` of what goes into a compiled part.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("how", [whole, in_place, in_part])
def test_compiled(how: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    found = []
    for watched in (False, True):
        torch.manual_seed(1)
        model = how(MODELS["mlp with dropout"]())
        found.append(trained(model, watched, plain_step, "sgd", tmp_path / f"{watched}"))
    (alone, generator, _), (seen, after, rows) = found
    assert torch.equal(generator, after)
    assert all(torch.equal(alone[key], seen[key]) for key in alone)
    keys = {key for row in rows for key in row}
    assert {"pl_ratio", "stability", "units", "kernel_condition"} <= keys


def distributed(rank: int, folder: str) -> None:
    """One of two processes, which train once without a Monitor and once with one."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "USE_LIBUV": "0"}
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    for watched in (False, True):
        torch.manual_seed(1)
        model = nn.parallel.DistributedDataParallel(MODELS["mlp with dropout"]())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.manual_seed(10 + rank)
        with talweg.Monitor(model, optimizer, F.cross_entropy, every=EVERYTHING) as monitor:
            for X, y in batches():
                half = slice(6 * rank, 6 * rank + 6)
                if watched:
                    monitor.step((X[half], y[half]))
                plain_step(model, optimizer, X[half], y[half])
        torch.save((model.state_dict(), torch.get_rng_state()), f"{folder}/{watched}-{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
def test_distributed(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(distributed, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        alone, generator = torch.load(tmp_path / f"False-{rank}.pt", weights_only=True)
        seen, after = torch.load(tmp_path / f"True-{rank}.pt", weights_only=True)
        assert torch.equal(generator, after)
        assert all(torch.equal(alone[key], seen[key]) for key in alone)
