"""What `talweg-check` takes, in time and memory, at 200, 1000 and 3000 residual entries.

    python benchmarks/checker.py [--quick] [--cases NAME ...] [--keep FOLDER]

Models: PyTorch's default initialisation (seed 0) in float64, tanh, all parameters trained. Data:
the first n digits (pixels / 16), or n Gaussian rows of length about one where there are not enough.
Nothing is trained: the targets are the model's own outputs plus noise of 1e-11, so that `certify`
proves every case at once, and what the checker has to do is that of any certificate of the shape.

Each file is checked in a process of its own, by one thread: wall time, the CPU time of that process
(user and system) and its peak resident memory. `--keep` leaves the certificates in FOLDER and takes
them from there the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from certificates import digits, tanh_network
from rich.console import Console
from rich.table import Table
from torch import Tensor

import talweg

NOISE = 1e-11
LIMITS = {200: 10.0, 1000: 180.0, 3000: 900.0}  # seconds, by residual entries
MEMORY_LIMIT = 8.0  # GiB


@dataclass(frozen=True)
class Case:
    """One network and how many rows of data."""

    widths: tuple[int, ...]
    rows: int
    quick: bool = False

    @property
    def name(self) -> str:
        return "-".join(map(str, self.widths)) + f" n={self.rows}"

    @property
    def entries(self) -> int:
        return self.rows * self.widths[-1]


CASES = (
    Case((64, 256, 1), 200, quick=True),
    Case((64, 2048, 1), 200),
    Case((64, 64, 64, 1), 200, quick=True),
    Case((64, 128, 128, 1), 200),
    Case((64, 64, 64, 64, 1), 200),
    Case((64, 256, 10), 20, quick=True),
    Case((64, 512, 1), 1000, quick=True),
    Case((64, 64, 64, 1), 1000),
    Case((64, 128, 128, 1), 1000),
    Case((64, 256, 10), 100, quick=True),
    Case((64, 1024, 1), 3000),
    Case((64, 128, 128, 1), 3000),
    Case((64, 256, 256, 10), 300),
)


def data(case: Case) -> tuple[Tensor, Tensor]:
    """Inputs, and the outputs of the untrained model with a little noise."""
    generator = torch.Generator().manual_seed(0)
    X, _ = digits(case.rows, 1)
    if len(X) < case.rows:
        X = torch.randn(case.rows, case.widths[0], generator=generator, dtype=torch.float64)
        X = X / case.widths[0] ** 0.5
    with torch.no_grad():
        y = tanh_network(case.widths)(X)
    noise = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return X, y + NOISE * noise


def certificate_file(case: Case, folder: Path) -> tuple[Path, float]:
    """A proved certificate, and the seconds that it took (0: it was there)."""
    path = folder / f"{case.name.replace(' ', '-')}.talweg"
    if path.exists():
        return path, 0.0
    start = time.perf_counter()
    certificate = talweg.certify(tanh_network(case.widths), data(case), attack=False)
    if certificate.status != "PROVED":
        raise SystemExit(f"{case.name} is {certificate.status}: {certificate}")
    certificate.save(path)
    return path, time.perf_counter() - start


@dataclass(frozen=True)
class Cost:
    """One run of the checker."""

    verdict: str
    seconds: float
    cpu_seconds: float
    peak_gib: float


LAUNCHER = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 2**10
print(json.dumps([done.stdout, used.ru_utime + used.ru_stime, used.ru_maxrss * unit]))
"""
"""A small parent: Linux counts the memory of a parent as if its child had used it."""


def checked(path: Path) -> Cost:
    """The verdict of `talweg-check` in its own process, and what the process took."""
    command = [sys.executable, "-P", "-m", "talweg_check", str(path), "--json"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *command],
        stdout=subprocess.PIPE, text=True, env=environment, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    said, cpu_seconds, peak = json.loads(done.stdout)
    record = json.loads(said) if said else {"verdict": "no answer"}
    if record["verdict"] != "valid":
        sys.stderr.write(f"{path.name}: {record.get('reason')}\n")
    return Cost(record["verdict"], seconds, cpu_seconds, peak / 2**30)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="the cases of a minute or two")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="cases whose name begins so")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="of the certificates")
    options = parser.parse_args()
    cases = [case for case in CASES if case.quick or not options.quick]
    if options.cases:
        cases = [case for case in CASES if case.name.startswith(tuple(options.cases))]
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table(title="talweg-check, one thread")
    for column in (
        "case", "N", "parameters", "certify s", "verdict", "s", "CPU s", "limit s", "peak GiB",
    ):  # fmt: skip
        table.add_column(column, justify="right", no_wrap=True)
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for case in cases:
            path, made = certificate_file(case, folder)
            cost, limit = checked(path), LIMITS[case.entries]
            parameters = sum(p.numel() for p in tanh_network(case.widths).parameters())
            within = cost.cpu_seconds <= limit and cost.peak_gib <= MEMORY_LIMIT
            failed |= not (within and cost.verdict == "valid")
            table.add_row(
                case.name, str(case.entries), str(parameters), f"{made:.1f}", cost.verdict,
                f"{cost.seconds:.1f}", f"{cost.cpu_seconds:.1f}", f"{limit:.0f}",
                f"{cost.peak_gib:.2f}",
            )  # fmt: skip
            console.print(f"{case.name}: {cost}", style="dim")
    console.print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
