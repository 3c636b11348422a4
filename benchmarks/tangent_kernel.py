"""Tangent kernel of an MLP 784-512-512-10 (tanh), all outputs: talweg and its peers.

    make bench-peers                                    # once: the peer's environment
    python benchmarks/tangent_kernel.py                 # all cells; the slow methods at n=128 only
    python benchmarks/tangent_kernel.py --cells 128:float32 512:float64 --fast

All methods run in one go and take turns, so that a busy machine slows all of them; each is warmed
up (and compiled) before its first turn. A cell prints the smallest and the median seconds, the
ratio of both to talweg's, and the largest difference of the kernels relative to talweg's largest
entry. neural-tangents runs in `.venv-neural-tangents`, in a process that waits between its turns,
with each of its methods both vectorised over samples (`vmap_axes=0`) and not.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from talweg.network._tangent_kernel import tangent_kernel

HERE = Path(__file__).resolve().parent
PEER_PYTHON = HERE.parent / ".venv-neural-tangents" / "bin" / "python"
WIDTHS = (784, 512, 512, 10)
CELLS = ("128:float32", "128:float64", "512:float32", "512:float64")
TARGETS = {"128:float32": 3.0, "128:float64": 2.0, "512:float32": 2.0, "512:float64": 2.0}
STRUCTURED = ("STRUCTURED_DERIVATIVES vmap",)
SLOW = (
    "STRUCTURED_DERIVATIVES batch",
    "JACOBIAN_CONTRACTION vmap",
    "JACOBIAN_CONTRACTION batch",
    "NTK_VECTOR_PRODUCTS vmap",
    "NTK_VECTOR_PRODUCTS batch",
)


def problem(n: int, dtype: torch.dtype) -> tuple[nn.Sequential, Tensor]:
    """The network with PyTorch's initialisation and standard normal inputs, from seed 0."""
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for d_in, d_out in itertools.pairwise(WIDTHS):
        linear = nn.Linear(d_in, d_out)
        bound = d_in**-0.5
        with torch.no_grad():
            for parameter in linear.parameters():
                parameter.uniform_(-bound, bound, generator=generator)
        layers += [linear, nn.Tanh()]
    model = nn.Sequential(*layers[:-1]).to(dtype)
    return model, torch.randn(n, WIDTHS[0], generator=generator).to(dtype)


def torch_func_kernel(model: nn.Module, X: Tensor) -> Tensor:
    """The kernel as PyTorch's tutorial computes it: full Jacobians, then einsum."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def single(p: dict[str, Tensor], x: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(model, p, (x[None],))[0]
        return outputs

    jacobian = torch.func.vmap(torch.func.jacrev(single), (None, 0))(parameters, X)
    blocks = [j.flatten(2) for j in jacobian.values()]
    total: Tensor = sum(torch.einsum("Naf,Mbf->NaMb", j, j) for j in blocks)  # type: ignore[assignment]
    return total


class Peer:
    """One neural-tangents method on one problem, warmed up, in its own process."""

    def __init__(self, path: Path, method: str) -> None:
        self.process = subprocess.Popen(
            [PEER_PYTHON, HERE / "peers/neural_tangents_kernel.py", path, *method.split()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError("neural-tangents ended early (out of memory?)")
        return line

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)
        return self._answer()

    def run(self) -> float:
        return float(self._ask("run"))

    def kernel(self, path: Path) -> Tensor:
        self._ask(f"save {path}")
        return torch.from_numpy(np.load(path))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run_cell(cell: str, repeats: int, fast: bool) -> bool:
    """Print the table of one cell; return whether the target ratio was reached."""
    n, dtype = int(cell.split(":")[0]), getattr(torch, cell.split(":")[1])
    model, X = problem(n, dtype)
    ours = tangent_kernel(model, X)
    scale = ours.abs().max()
    times: dict[str, list[float]] = {"talweg.tangent_kernel": []}
    errors = {"talweg.tangent_kernel": 0.0}

    def record(name: str, value: Tensor) -> None:
        errors[name] = ((value - ours).abs().max() / scale).item()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        linear = [layer for layer in model if isinstance(layer, nn.Linear)]
        arrays = {f"weight{t}": m.weight.detach().numpy() for t, m in enumerate(linear)}
        arrays |= {f"bias{t}": m.bias.detach().numpy() for t, m in enumerate(linear)}
        np.savez(path, layers=len(linear), x=X.numpy(), **arrays)
        peers: dict[str, Peer] = {}
        for method in STRUCTURED:
            peers[f"neural-tangents {method}"] = Peer(path, method)
        for name, peer in peers.items():
            record(name, peer.kernel(Path(folder) / "kernel.npy"))
            times[name] = []
        for _ in range(repeats):
            for name, peer in peers.items():
                times[name].append(peer.run())
                # Ours after each of theirs: a turn each, under the same load.
                times["talweg.tangent_kernel"].append(seconds(lambda: tangent_kernel(model, X)))
        for peer in peers.values():
            peer.close()
        if n <= 128 and not fast:
            for method in SLOW:
                name = f"neural-tangents {method}"
                peer = Peer(path, method)
                times[name] = [peer.run()]
                record(name, peer.kernel(Path(folder) / "kernel.npy"))
                peer.close()
            name = "torch.func tutorial"
            times[name] = [seconds(lambda: record(name, torch_func_kernel(model, X)))]
    return report(cell, times, errors)


def report(cell: str, times: dict[str, list[float]], errors: dict[str, float]) -> bool:
    ours = times["talweg.tangent_kernel"]
    print(f"\nn = {cell.replace(':', ', ')}, N = {10 * int(cell.split(':')[0])}")
    print(f"  {'method':<46}{'min s':>10}{'median s':>10}{'x min':>8}{'x med':>8}{'diff':>10}")
    for name, t in times.items():
        low, median = min(t), statistics.median(t)
        ratios = f"{low / min(ours):8.2f}{median / statistics.median(ours):8.2f}"
        print(f"  {name:<46}{low:10.4f}{median:10.4f}{ratios}{errors[name]:10.1e}")
    theirs = {name: t for name, t in times.items() if name.startswith("neural-tangents")}
    best = min(theirs, key=lambda name: min(theirs[name]))
    ratio = min(theirs[best]) / min(ours)
    ratio_median = statistics.median(theirs[best]) / statistics.median(ours)
    reached = ratio >= TARGETS.get(cell, 0.0)
    print(
        f"  best of neural-tangents / talweg = {ratio:.2f} (min), {ratio_median:.2f} (median); "
        f"target {TARGETS.get(cell, 0.0):g}: {'reached' if reached else 'MISSED'}",
        flush=True,
    )
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="N:DTYPE")
    parser.add_argument("--repeats", type=int, default=0, help="turns (default 20 or 5)")
    parser.add_argument("--fast", action="store_true", help="leave out the slow methods")
    arguments = parser.parse_args()
    if not PEER_PYTHON.exists():
        print(f"{PEER_PYTHON} is missing: run `make bench-peers` first", file=sys.stderr)
        return 2
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    reached = [
        run_cell(cell, arguments.repeats or (20 if cell.startswith("128") else 5), arguments.fast)
        for cell in arguments.cells
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
