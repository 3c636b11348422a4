"""Two processes measure what one would on the joined batch, and hold equal rows."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import talweg
from talweg.monitor import estimate, read_records
from talweg.monitor._gradients import estimate_from_sums

EVERY = {"gradient": 1, "curvature": 2, "units": 3, "updates": 2, "kernel": 3}
STEPS, SAMPLES = 5, 12
Row = dict[str, Any]


def batches(steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        X = torch.randn(SAMPLES, 5, generator=generator, dtype=torch.float64)
        yield X, torch.randint(3, (SAMPLES,), generator=generator)


def network() -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3), nn.Linear(3, 3)).double()
    model[3].requires_grad_(False)
    return model


def train(
    model: nn.Module, share: slice, parts: int, steps: int = STEPS, **options: Any
) -> list[Row]:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with talweg.Monitor(model, optimizer, F.cross_entropy, parts=parts, **options) as m:
        for X, y in batches(steps):
            loss = F.cross_entropy(model(X[share]), y[share])
            m.step((X[share], y[share]), loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return m.rows


def one_of_two(rank: int, folder: str) -> None:
    """All runs of one process; what it saw goes to a file."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "USE_LIBUV": "0"}
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    wrapped = nn.parallel.DistributedDataParallel
    half = slice(6 * rank, 6 * rank + 6)
    uneven = slice(0, 7) if rank == 0 else slice(7, 12)
    none = slice(0, 1 + rank)  # too few on rank 0 alone
    seen = {
        "joint": train(wrapped(network()), half, 3, every=EVERY, record=f"{folder}/{rank}.jsonl"),
        "alone": train(wrapped(network()), half, 3, every=EVERY, distributed=False),
        "uneven": train(wrapped(network()), uneven, 2, every=EVERY),
        "too few": train(wrapped(network()), none, 2, every=EVERY),
        "by time": train(wrapped(network()), half, 3, steps=60, overhead=0.5),
        "not wrapped": train(network(), slice(None), 3, every=EVERY, distributed=True),
    }
    try:
        bad = torch.ones(3), torch.ones(3 - rank)
        model = wrapped(network())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with talweg.Monitor(model, optimizer, F.cross_entropy, every={"gradient": 1}) as m:
            m.step(bad)
    except talweg.InputError as error:
        seen["error"] = str(error)  # type: ignore[assignment]
    Path(f"{folder}/{rank}.pickle").write_bytes(pickle.dumps(seen))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, list[Row]]], Path]:
    if not torch.distributed.is_available():
        pytest.skip("torch has no distributed part")
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(one_of_two, (str(folder),), nprocs=2)
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in (0, 1)], folder


Seen = tuple[list[dict[str, list[Row]]], Path]


def text(rows: list[Row]) -> list[str]:
    return [repr(row) for row in rows]  # nan equals nan, and every digit counts


@pytest.mark.parametrize("run", ["joint", "uneven", "too few", "by time", "not wrapped"])
def test_all_processes_hold_the_same_rows(run: str, seen: Seen) -> None:
    first, second = (found[run] for found in seen[0])
    assert text(first) == text(second)
    assert first


def test_two_processes_see_what_one_sees_of_the_joined_batch(seen: Seen) -> None:
    rows = seen[0][0]["joint"]
    alone = train(network(), slice(None), 6, every=EVERY)
    assert len(rows) == len(alone)
    keys = set()
    for row, expected in zip(rows, alone, strict=True):
        assert row.keys() == expected.keys()
        for key, value in expected.items():
            if key in ("units", "output_sizes") or key.startswith("kernel"):
                continue  # of the samples of rank 0
            keys.add(key)
            if isinstance(value, float) and math.isfinite(value):
                scale = max(abs(value), 1e-6)
                assert abs(row[key] - value) < 1e-9 * scale, (row["step"], key)
            elif isinstance(value, dict):
                assert row[key] == pytest.approx(value, rel=1e-9), key
            else:
                assert row[key] == value, key
    assert {"gradient_squared_error", "noise_error", "stability", "batch_loss"} <= keys
    assert rows[0]["batch_size"] == 12
    assert rows[0]["curvature_samples"] == 12


def test_the_kernel_is_that_of_rank_0(seen: Seen) -> None:
    joint, alone = seen[0][0]["joint"][0], seen[0][0]["alone"][0]
    assert joint["kernel_samples"] == 6
    assert joint["kernel_condition"] == alone["kernel_condition"]


def test_processes_that_measure_alone_see_their_own_samples(seen: Seen) -> None:
    first, second = (found["alone"][0] for found in seen[0])
    assert first["loss"] != second["loss"]
    assert first["batch_size"] == second["batch_size"] == 6


def test_batches_of_unequal_size_are_cut_to_the_smallest(seen: Seen) -> None:
    row = seen[0][0]["uneven"][0]
    assert row["batch_size"] == 2 * 4
    assert row["curvature_samples"] == 2 * 5
    assert "gradient_squared" not in seen[0][0]["too few"][0]


def test_rank_0_keeps_the_record(seen: Seen) -> None:
    found, folder = seen
    assert len(read_records(folder / "0.jsonl")) == len(found[0]["joint"])
    assert not (folder / "1.jsonl").exists()


def test_what_is_due_by_time_is_decided_together(seen: Seen) -> None:
    steps = {row["step"] for row in seen[0][0]["by time"]}
    assert len(steps) > 1
    assert all(step % 8 == 0 for step in steps)


def test_a_batch_that_one_process_cannot_use_stops_all(seen: Seen) -> None:
    errors = [found["error"] for found in seen[0]]
    assert "every process" in errors[0]
    assert "lengths [2, 3]" in errors[1]


def test_together_needs_a_process_group() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(talweg.InputError, match="distributed of Monitor"):
        talweg.Monitor(model, optimizer, F.cross_entropy, distributed=True)


class FullyShardedDataParallel(nn.Sequential):
    """Stands for the wrapper of that name, which needs processes to be made."""


def test_shards_are_refused() -> None:
    model = FullyShardedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(talweg.InputError, match="got FullyShardedDataParallel"):
        talweg.Monitor(model, optimizer, F.cross_entropy)


@pytest.mark.parametrize("m", [2, 3, 7])
def test_sums_say_what_the_gram_matrix_says(m: int) -> None:
    """Against leaving parts out of the Gram matrix one by one."""
    torch.manual_seed(m)
    g = torch.randn(m, 5, dtype=torch.float64) + 0.3
    gram = g @ g.T
    found = estimate_from_sums(g.square().sum(1), g @ g.sum(0), 4 * m)
    again = estimate(gram, 4 * m)
    for name in ("squared_norm", "squared_norm_error", "noise", "noise_error"):
        a, b = getattr(found, name), getattr(again, name)
        assert a == pytest.approx(b, rel=1e-12, nan_ok=True)
    off = float(gram.sum() - gram.trace()) / (m * (m - 1))
    assert found.squared_norm == pytest.approx(off, rel=1e-12)
    if m == 2:
        return
    subsets = [gram[k][:, k] for i in range(m) for k in [[j for j in range(m) if j != i]]]
    left_out = [float(s.sum() - s.trace()) / ((m - 1) * (m - 2)) for s in subsets]
    spread = float(torch.tensor(left_out, dtype=torch.float64).std())
    assert found.squared_norm_error == pytest.approx((m - 1) / m**0.5 * spread, rel=1e-12)
