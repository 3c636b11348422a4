"""A thousand small trainings: talweg.sweep and a plain PyTorch loop, and a kill in the middle.

    python benchmarks/sweep.py                    # 1,000 trainings of 2,000 steps
    python benchmarks/sweep.py --depth 4 --steps 500 --jobs 2

The network of chatterjee2022's experiments: equal widths, smooth leaky ReLU, mean squared loss,
full batch, n = d samples, float64. The plain loop (nn.Module, autograd, torch.optim.SGD) runs one
training after each chunk of the sweep, under the same load and on one thread as well; its time for
all trainings is that of these few scaled linearly, since one training costs what another does. The
sweep's time holds everything: drawing the weights, recording 100 points with gradient norm and
distance, writing the files. No run diverges or ends early, so no work is left out. Then the same
sweep is killed with SIGKILL in a process of its own, run again, and its files are compared.
"""

from __future__ import annotations

import argparse
import copy
import math
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from talweg.nn import SmoothLeakyReLU
from talweg.sweep import Sweep, SweepResult

TARGET = 50.0


def data(width: int) -> tuple[Tensor, Tensor]:
    """Standard normal inputs of expected length 1 and targets, from seed 0."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
    return X, torch.randn(width, 1, generator=generator, dtype=torch.float64)


def network(width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), SmoothLeakyReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def make_sweep(arguments: argparse.Namespace) -> Sweep:
    grid = {
        "seed": range(arguments.trainings // 4), "init": ["lecun", "lecun_abs"],
        "lr": [0.01, 0.02],
    }  # fmt: skip
    return Sweep(
        network(arguments.width, arguments.depth), data(arguments.width), grid,
        steps=arguments.steps, chunk_size=arguments.chunk_size,
    )  # fmt: skip


@dataclass
class Turn:
    """One training by the plain loop."""

    seed: int
    lr: float
    seconds: float
    cpu: float
    loss: float


def plain_training(arguments: argparse.Namespace, seed: int, lr: float) -> Turn:
    """The loop that everybody writes, from the weights of "lecun"."""
    model = network(arguments.width, arguments.depth).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                draws = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
                layer.weight.copy_(draws / math.sqrt(layer.in_features))
                layer.bias.zero_()
    X, y = data(arguments.width)
    loss_function = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    for _ in range(arguments.steps):
        optimizer.zero_grad()
        loss_function(model(X), y).backward()
        optimizer.step()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    return Turn(seed, lr, seconds, cpu, float(loss_function(model(X), y).detach()))


def timed_sweep(
    arguments: argparse.Namespace, folder: Path
) -> tuple[float, float, list[Turn], SweepResult]:
    """Seconds and CPU seconds of the sweep, the plain trainings in between, and the tables."""
    plain: list[Turn] = []

    def in_between(done: int, total: int) -> None:
        if done < total:
            plain.append(plain_training(arguments, len(plain), (0.01, 0.02)[len(plain) % 2]))

    begun, cpu_begun = time.perf_counter(), time.process_time()
    result = make_sweep(arguments).run(folder, progress=in_between)
    seconds = time.perf_counter() - begun - sum(turn.seconds for turn in plain)
    cpu = time.process_time() - cpu_begun - sum(turn.cpu for turn in plain)
    return seconds, cpu, plain, result


def largest_difference(plain: list[Turn], result: SweepResult) -> float:
    """Of the final losses, relative."""
    final = {
        (row["seed"], row["lr"]): row["final_loss"]
        for row in result.summary.to_pylist()
        if row["init"] == "lecun"
    }
    return max(abs(turn.loss / final[turn.seed, turn.lr] - 1.0) for turn in plain)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".parquet", ".json")
    }


def killed_and_resumed(arguments: argparse.Namespace, folder: Path) -> tuple[int, int]:
    """Chunks that were there after a SIGKILL in the middle, and chunks in all."""
    command = [sys.executable, __file__, "--worker", str(folder)]
    for name in ("trainings", "steps", "width", "depth", "chunk_size"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    process = subprocess.Popen(command)
    chunks = -(-arguments.trainings // arguments.chunk_size)
    while len(list(folder.glob("shards/chunk-*.parquet"))) < chunks // 2:
        if process.poll() is not None:
            raise RuntimeError("the sweep ended before it could be killed")
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return make_sweep(arguments).run(folder).taken_over, chunks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=1000, help="a multiple of 4")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--width", type=int, default=10)
    parser.add_argument("--depth", type=int, default=3, help="linear layers")
    parser.add_argument("--chunk-size", type=int, default=250)
    parser.add_argument("--jobs", type=int, default=1, help="also time this many processes")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.worker is not None:
        make_sweep(arguments).run(arguments.worker)
        return 0
    warm = copy.copy(arguments)
    warm.steps, warm.trainings = 20, 4
    make_sweep(warm).run()
    plain_training(warm, 0, 0.01)
    n, steps = arguments.trainings, arguments.steps
    print(
        f"{n} trainings of {steps} steps, depth {arguments.depth}, width = n = d = "
        f"{arguments.width}, one thread, torch {torch.__version__}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ours, cpu, plain, result = timed_sweep(arguments, folder / "whole")
        theirs = statistics.median(turn.seconds for turn in plain) * n
        their_cpu = statistics.median(turn.cpu for turn in plain) * n
        ratio, difference = theirs / ours, largest_difference(plain, result)
        ends = set(result.summary["status"].to_pylist())
        columns = f"{'seconds':>10}{'CPU s':>10}{'us/step':>10}"
        print(f"  {'':<34}{columns}")
        for name, wall, processor in (
            (f"talweg.sweep, all {n}", ours, cpu),
            (f"plain loop, median of {len(plain)} times {n}", theirs, their_cpu),
        ):
            print(f"  {name:<34}{wall:10.2f}{processor:10.2f}{wall / n / steps * 1e6:10.2f}")
        print(f"  ratio {ratio:.1f} in seconds, {their_cpu / cpu:.1f} in CPU seconds")
        print(f"  how the runs end: {', '.join(sorted(ends))}")
        print(f"  largest relative difference of final losses: {difference:.1e}", flush=True)
        taken_over, chunks = killed_and_resumed(arguments, folder / "killed")
        same = files(folder / "killed") == files(folder / "whole")
        print(
            f"  killed with SIGKILL, {taken_over} of {chunks} chunks taken over: files "
            f"{'identical' if same else 'DIFFER'}"
        )
        if arguments.jobs != 1:
            begun = time.perf_counter()
            make_sweep(arguments).run(folder / "jobs", jobs=arguments.jobs)
            seconds = time.perf_counter() - begun
            also = files(folder / "jobs") == files(folder / "whole")
            print(
                f"  {arguments.jobs} processes: {seconds:.2f} s with their start, ratio "
                f"{theirs / seconds:.1f}: files {'identical' if also else 'DIFFER'}"
            )
            same = same and also
    reached = ratio >= TARGET and same and ends == {"finished"} and difference < 1e-9
    print(f"  target {TARGET:g}: {'reached' if reached else 'MISSED'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
