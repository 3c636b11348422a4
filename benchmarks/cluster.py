"""One certificate on this machine and on a cluster of worker processes beside each other.

    python benchmarks/cluster.py [--samples 1000] [--workers 2] [--threads 1] [--polish] [--kill]
    python benchmarks/cluster.py --memory

The problem is that of `benchmarks/large.py`: pairs of digits, 128-1024-1. Without `--polish` the
weights as drawn are bounded, which takes every step of a proof but its success. Worker processes
run on this machine, so that seconds tell what the cluster costs, not what it gains; memory per
worker tells what it gains. `--kill` kills a worker with SIGKILL in the first factorisation.

`--memory` compares the factorisation with `dask.array.linalg.cholesky` of the same tiles: the most
bytes of results held at a time, as the scheduler counts them, each once and with the copies that
workers keep of each other's tiles.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import psutil
import torch
from distributed import Client, LocalCluster, wait
from rich.console import Console
from rich.table import Table

import talweg
from talweg.cluster import TiledKernel, connected
from talweg.network import enclosed_kernel_terms, linearize, read, symmetric_kernel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.large import digit_pairs, wide_network

STAGES = ("kernel", "eigenvalues", "polish", "total")
COLUMNS = ("", "status", "sigma_0", "|J|", *(f"{stage} s" for stage in STAGES))


@contextmanager
def local_cluster(workers: int, threads: int) -> Iterator[LocalCluster]:
    """Worker processes that have loaded talweg, and give a lost worker up after two seconds."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        LocalCluster(
            n_workers=workers, threads_per_worker=threads, processes=True, dashboard_address=":0",
            memory_limit=0,
        ) as cluster,
    ):  # fmt: skip
        yield cluster


@contextmanager
def largest(sample: Callable[[], list[float]]) -> Iterator[list[float]]:
    """The entrywise largest of what is sampled every 20 ms while the block runs."""
    found: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            seen = sample()
            found[:] = [max(pair) for pair in zip(seen, found or [0.0] * len(seen), strict=False)]

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def resident(pids: list[int]) -> list[float]:
    """GiB of each process; 0 where it is gone."""
    sizes = []
    for pid in pids:
        try:
            sizes.append(psutil.Process(pid).memory_info().rss / 2**30)
        except psutil.NoSuchProcess:
            sizes.append(0.0)
    return sizes


def certificates(arguments: argparse.Namespace, console: Console) -> int:
    """The table; how many of its rows differ in status."""
    X, y = digit_pairs(arguments.samples)
    network = wide_network()
    options: dict[str, Any] = {"loss": "mse", "polish": arguments.polish, "attack": False}

    table = Table(title=f"N = {arguments.samples:,}, {arguments.workers} worker processes")
    for column in (*COLUMNS, "GiB client", "GiB workers"):
        table.add_column(column, justify="right")
    with largest(lambda: resident([os.getpid()])) as here:
        one = talweg.certify(network, (X, y), **options)
    table.add_row("one machine", *_shown(one), _gib(here), "-")
    with local_cluster(arguments.workers, arguments.threads) as cluster:
        with Client(cluster, set_as_default=False) as client:
            client.run(__import__, "talweg.cluster")
            pids = list(client.run(os.getpid).values())
        killed: list[float] = []

        def progress(text: str) -> None:
            begun = text.startswith("factoring the kernel: ") and " 0 of" not in text
            if arguments.kill and begun and not killed:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(time.perf_counter())

        base = resident([os.getpid()])
        with largest(lambda: resident([os.getpid(), *pids])) as memory:
            other = talweg.certify(
                network, (X, y), **options, scheduler=cluster.scheduler_address, progress=progress
            )
    name = "cluster, one killed" if killed else "cluster"
    table.add_row(name, *_shown(other), _gib(memory[:1]), _gib(memory[1:]))
    console.print(table)
    console.print(
        f"The client stood at {base[0]:.2f} GiB before the second row. Relative differences: "
        f"sigma_0 {_apart(one.sigma_min_lower, other.sigma_min_lower):.1e}, "
        f"beta {_apart(one.jacobian_lipschitz_upper, other.jacobian_lipschitz_upper):.1e}."
    )
    return int(one.status != other.status)


def _shown(certificate: talweg.Certificate) -> tuple[str, ...]:
    seconds = certificate.seconds
    document = certificate.document
    norm = "-" if document is None else document.body["claims"]["jacobian_norm_upper"]
    return (
        certificate.status, f"{certificate.sigma_min_lower:.9g}",
        norm if norm == "-" else f"{float.fromhex(norm):.9g}",
        *(f"{seconds.get(stage, 0.0):.1f}" for stage in STAGES),
    )  # fmt: skip


def _apart(a: float | None, b: float | None) -> float:
    return float("nan") if a is None or b is None else abs(a - b) / abs(a)


def _gib(sizes: list[float]) -> str:
    return ", ".join(f"{size:.2f}" for size in sizes)


def memory_of_factorisations(arguments: argparse.Namespace, console: Console) -> None:
    """Results in the memory of all workers, in units of the factor's lower triangle."""
    import dask.array

    X, _ = digit_pairs(arguments.samples)
    state = linearize(read(wide_network(), X), X)
    terms, _ = enclosed_kernel_terms(state)
    dense = symmetric_kernel(state).mid.numpy()
    table = Table(title=f"N = {arguments.samples:,}, in sizes of L")
    for column in ("factorisation", "tiles in a row", "once", "with copies", "seconds"):
        table.add_column(column, justify="right")
    with (
        local_cluster(arguments.workers, arguments.threads) as cluster,
        connected(cluster.scheduler_address, lambda _: None) as link,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        client.run(__import__, "talweg.cluster")
        kernel = TiledKernel(link, terms)
        step, count = kernel.tiling.edges[1], kernel.tiling.count
        lower = dask.array.linalg.cholesky(dask.array.from_array(dense, (step, step)), lower=True)

        def ours() -> object:
            return kernel.factor()

        def theirs() -> object:
            blocks = [lower.blocks[i, j] for i, j in kernel.tiling.lower()]
            futures = client.compute(blocks)
            wait(futures)
            return futures

        def held() -> list[float]:
            scheduler = cluster.scheduler
            once = sum(t.nbytes for t in list(scheduler.tasks.values()) if t.state == "memory")
            copies = sum(worker.nbytes for worker in list(scheduler.workers.values()))
            return [once / size, copies / size]

        size = 4.0 * arguments.samples**2
        for name, work in (("talweg", ours), ("dask.array", theirs)):
            before, begun = held(), time.perf_counter()
            with largest(held) as most:
                result = work()
            seconds = time.perf_counter() - begun
            sizes = (f"{m - b:.2f}" for m, b in zip(most, before, strict=True))
            table.add_row(name, str(count), *sizes, f"{seconds:.1f}")
            del result
            time.sleep(1.0)
    console.print(table)


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--polish", action="store_true")
    parser.add_argument("--kill", action="store_true", help="one of the workers, on the way")
    parser.add_argument("--memory", action="store_true", help="the second table instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=180)
    if arguments.memory:
        memory_of_factorisations(arguments, console)
        return 0
    return certificates(arguments, console)


if __name__ == "__main__":
    raise SystemExit(main())
