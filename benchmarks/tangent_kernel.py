"""Tangent kernels of four networks, all outputs: talweg and its peers.

    make bench-peers                                  # once: the peers' environments
    python benchmarks/tangent_kernel.py               # the table
    python benchmarks/tangent_kernel.py --quick       # the smallest cell of each network
    python benchmarks/tangent_kernel.py --threads 1   # on a busy machine
    python benchmarks/tangent_kernel.py --cells convnet:128:10:float32

The networks (`peers/networks.py`): an MLP 784-512-512-k and a residual MLP 784-256-(2 blocks)-k
with tanh, a ConvNet of three convolutions (the last two of stride 2) and a residual ConvNet of
five, on images of 3 x 16 x 16, with ReLU. Every method runs in a process of its own
(neural-tangents and nngeometry in their own environments), is compiled and warmed up, and then
takes turns with the others, so that a busy machine slows all of them. talweg comes twice:
`tangent_kernel`, which records and checks the module in every call, and `TangentKernel`, which has
done so before the clock starts, as neural-tangents has compiled. A cell prints the smallest
seconds and the smallest CPU seconds (of all threads: what a busy machine disturbs less), the ratios
of both to those of `tangent_kernel`, the peak resident memory of the process (libraries included),
and the largest difference of the kernels relative to the largest entry; below, and in the table at
the end, the ratio of the best peer to either of talweg's. Methods that would take longer than
`--limit` seconds by the cell before are left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
from networks import inputs, network

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
PYTHON = {
    "torch": sys.executable,
    "nngeometry": HERE.parent / ".venv-nngeometry" / "bin" / "python",
    "neural-tangents": HERE.parent / ".venv-neural-tangents" / "bin" / "python",
}
PATIENCE = 3.0  # seconds of an evaluation that is not repeated
TALWEG = "talweg.tangent_kernel"
PREPARED = "talweg.TangentKernel, prepared"
OURS = (TALWEG, PREPARED)
NT = "neural-tangents"
# Name, environment, arguments. neural-tangents without vmap_axes is 10 to 100 times slower on every
# network here, and is left out.
METHODS = {
    TALWEG: ("torch", "talweg"),
    PREPARED: ("torch", "prepared"),
    "per-sample Jacobians, one product": ("torch", "sample_jacobians"),
    "torch.func tutorial": ("torch", "tutorial"),
    "nngeometry, Jacobian, one product": ("nngeometry", "nngeometry_jacobian"),
    "nngeometry, Gram matrix": ("nngeometry", "nngeometry_gram"),
    f"{NT} STRUCTURED_DERIVATIVES": (NT, "STRUCTURED_DERIVATIVES vmap"),
    f"{NT} JACOBIAN_CONTRACTION": (NT, "JACOBIAN_CONTRACTION vmap"),
    f"{NT} NTK_VECTOR_PRODUCTS": (NT, "NTK_VECTOR_PRODUCTS vmap"),
}
TORCH_PEERS = ("per-sample Jacobians, one product", "torch.func tutorial")
AIMS = {"mlp": 3.0, "resmlp": 3.0, "convnet": 1.5, "resconv": 1.5}
SIZES = {
    "mlp": ((16, 10), (128, 10), (512, 10)),
    "resmlp": ((16, 10), (128, 10), (512, 10)),
    "convnet": ((32, 10), (96, 10), (256, 1)),
    "resconv": ((32, 10), (96, 10), (256, 1)),
}


ENVIRONMENT: dict[str, str] = {}  # what --threads adds for every worker


@dataclass
class Cell:
    """One network, numbers of samples and outputs, and a dtype."""

    name: str
    n: int
    k: int
    dtype: str

    @classmethod
    def of(cls, text: str) -> Cell:
        name, n, k, dtype = text.split(":")
        return cls(name, int(n), int(k), dtype)

    def write(self, path: Path) -> None:
        """The parameters and inputs for a worker that has no PyTorch."""
        kind = getattr(torch, self.dtype)
        model = network(self.name, self.k).to(kind)
        layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        arrays = {f"weight{t}": m.weight.detach().numpy() for t, m in enumerate(layers)}
        arrays |= {f"bias{t}": m.bias.detach().numpy() for t, m in enumerate(layers)}
        x = inputs(self.name, self.n).to(kind).numpy()
        np.savez(path, name=self.name, layers=len(layers), x=x, **arrays)


@dataclass
class Worker:
    """One method on one cell, in its own process."""

    method: str
    cell: Cell
    problem: Path
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: float = 0.0
    difference: float = float("nan")

    def start(self) -> None:
        environment, arguments = METHODS[self.method]
        cell = self.cell
        if environment == NT:
            script = [PEERS / "neural_tangents_kernel.py", self.problem, *arguments.split()]
        else:
            script = [PEERS / "torch_kernels.py", cell.name, str(cell.n), str(cell.k), cell.dtype]
            script.append(arguments)
        self.process = subprocess.Popen(
            [PYTHON[environment], "-W", "ignore", *script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | ENVIRONMENT,
        )  # fmt: skip

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self.method} ended early (out of memory?)")
        return line

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def run_cell(cell: Cell, methods: list[str], repeats: int) -> dict[str, Worker]:
    """All methods on one cell: warm-up one after the other, then turns."""
    workers = {}
    with tempfile.TemporaryDirectory() as folder:
        problem, saved = Path(folder) / "problem.npz", Path(folder) / "kernel.npy"
        cell.write(problem)
        reference: np.ndarray | None = None
        for method in methods:
            worker = Worker(method, cell, problem)
            worker.start()
            try:
                first, cpu = map(float, worker.answer().removeprefix("ready ").split())
            except RuntimeError as error:
                print(f"  {error}")
                worker.close()
                continue
            workers[method] = worker
            if first > PATIENCE:  # what a first evaluation adds does not matter any more
                worker.seconds.append(first)
                worker.cpu.append(cpu)
            worker.ask(f"save {saved}")
            kernel = np.load(saved)
            reference = kernel if reference is None else reference
            worker.difference = np.abs(kernel - reference).max() / np.abs(reference).max()
        for _ in range(repeats):
            for worker in workers.values():
                if worker.seconds and worker.seconds[0] > PATIENCE:
                    continue
                wall, cpu = map(float, worker.ask("run").split())
                worker.seconds.append(wall)
                worker.cpu.append(cpu)
        for worker in workers.values():
            worker.memory = float(worker.ask("memory"))
            worker.close()
    return workers


def report(cell: Cell, workers: dict[str, Worker]) -> bool:
    """Print one cell; return whether `tangent_kernel` reaches the aim."""
    ours, cpu = min(workers[TALWEG].seconds), min(workers[TALWEG].cpu)
    print(f"\n{cell.name}, n = {cell.n}, k = {cell.k}, {cell.dtype}")
    print(f"  {'method':<42}{'s':>9}{'ratio':>8}{'CPU s':>9}{'ratio':>8}{'MiB':>7}{'diff':>9}")
    for name, worker in workers.items():
        low, least = min(worker.seconds), min(worker.cpu)
        print(
            f"  {name:<42}{low:9.4f}{low / ours:8.2f}{least:9.4f}{least / cpu:8.2f}"
            f"{worker.memory:7.0f}{worker.difference:9.0e}"
        )
    peers = [m for m in workers if m not in OURS]
    best = min(peers, key=lambda m: min(workers[m].seconds))
    best_cpu = min(min(workers[m].cpu) for m in peers)
    aim, reached = AIMS[cell.name], []
    for name in OURS:
        ratio = min(workers[best].seconds) / min(workers[name].seconds)
        in_cpu = best_cpu / min(workers[name].cpu)
        reached.append(ratio >= aim)
        print(
            f"  best peer / {name} = {ratio:.2f}, in CPU s {in_cpu:.2f} ({best}); "
            f"aim {aim:g}: {'reached' if reached[-1] else 'MISSED'}",
            flush=True,
        )
    return reached[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", metavar="NETWORK:N:K:DTYPE")
    parser.add_argument("--quick", action="store_true", help="the smallest cells, float32")
    parser.add_argument("--repeats", type=int, default=4, help="turns")
    parser.add_argument("--limit", type=float, default=1.5, help="seconds of a peer's evaluation")
    parser.add_argument("--threads", type=int, default=0, help="of every method (default: free)")
    arguments = parser.parse_args()
    if arguments.threads:
        ENVIRONMENT["OMP_NUM_THREADS"] = str(arguments.threads)
        if arguments.threads == 1:  # XLA knows one thread or all
            ENVIRONMENT["XLA_FLAGS"] = (
                "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            )
    missing = [str(python) for python in PYTHON.values() if not Path(python).exists()]
    if missing:
        print(f"{', '.join(missing)} missing: run `make bench-peers` first", file=sys.stderr)
        return 2
    if arguments.cells:
        cells = [Cell.of(text) for text in arguments.cells]
    else:
        cells = [
            Cell(name, n, k, dtype)
            for name, sizes in SIZES.items()
            for dtype in (("float32",) if arguments.quick else ("float32", "float64"))
            for n, k in (sizes[:1] if arguments.quick else sizes)
        ]
    threads = arguments.threads or torch.get_num_threads()
    print(f"{threads} threads, torch {torch.__version__}", flush=True)
    reached = []
    rate: dict[tuple[str, str], float] = {}  # seconds per entry of the kernel, when last seen
    summary = []
    for cell in cells:
        entries = float(cell.n * cell.k) ** 2
        expected = {m: rate.get((cell.name, m), 0.0) * entries for m in METHODS}
        allowed = max(arguments.limit, min(t for m, t in expected.items() if m not in OURS))
        methods = [m for m in METHODS if m in OURS or expected[m] <= allowed]
        workers = run_cell(cell, methods, arguments.repeats)
        for method, worker in workers.items():
            rate[cell.name, method] = min(worker.seconds) / entries
        reached.append(report(cell, workers))
        times = {m: min(w.seconds) for m, w in workers.items()}
        best_nt = min((t for m, t in times.items() if m.startswith(NT)), default=float("nan"))
        best_nng = min((t for m, t in times.items() if m.startswith("nng")), default=float("nan"))
        row = [*(times[m] for m in OURS), best_nt, best_nng]
        row += [times.get(m, float("nan")) for m in TORCH_PEERS]
        best = min(t for m, t in times.items() if m not in OURS)
        cpu = {m: min(w.cpu) for m, w in workers.items()}
        best_cpu = min(t for m, t in cpu.items() if m not in OURS)
        ratios = [f"{best / times[m]:.2f} | {best_cpu / cpu[m]:.2f}" for m in OURS]
        summary.append(
            f"| {cell.name} | {cell.n} | {cell.k} | {cell.dtype} | "
            + " | ".join("-" if t != t else f"{t:.4f}" for t in row)
            + f" | {' | '.join(ratios)} |"
        )
    print("\n| network | n | k | dtype | tangent_kernel s | prepared s ", end="")
    print("| neural-tangents s | nngeometry s | per-sample Jacobians s | tutorial s ", end="")
    print("| best peer / tangent_kernel | CPU s | best peer / prepared | CPU s |")
    print("|" + "---|" * 14)
    print("\n".join(summary))
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
