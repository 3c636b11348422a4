"""The campaign: runs the batches that are missing for the present code, and counts them.

Batches run in processes of their own. A finished batch is in the ledger within seconds, so an
interruption loses what is running and nothing else; the next start goes on from there.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.soundness import MODULES
from tests.soundness import ledger as ledgers
from tests.soundness.ledger import Entry
from tests.soundness.shard import Shard, Tally
from tests.soundness.source_hash import ROOT, code_hash

BATCH_LIMIT = 600  # seconds after which a batch counts as hanging
SAVE_EVERY = 5.0  # seconds


@dataclass(frozen=True)
class Placed:
    """A shard, where it is defined, and the hash of what it tests together with its questions."""

    shard: Shard
    module: str
    code: str


@cache
def placed() -> tuple[Placed, ...]:
    """All shards of the campaign, in the order of `MODULES`."""
    found = []
    for name in MODULES:
        for shard in _shards(name):
            found.append(Placed(shard, name, code_hash((*shard.under_test, name))))
    names = [item.shard.name for item in found]
    if len(set(names)) != len(names):
        raise ValueError(f"two shards have the same name among {sorted(names)}")
    return tuple(found)


def _shards(module: str) -> Sequence[Shard]:
    for folder in (ROOT / "checker" / "tests", ROOT):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    shards: Sequence[Shard] = importlib.import_module(module).SHARDS
    return shards


def run_batch(module: str, name: str, seed: int) -> tuple[Tally, float]:
    """The tally of one batch and its seconds; what it raises is a traceback of the tally.

    Seconds of the processor, those of child processes included: what else the machine does, and
    waiting, is not counted.
    """
    start = _processor_seconds()
    with contextlib.suppress(ValueError):  # outside the main thread there is no alarm
        signal.signal(signal.SIGALRM, _hanging)
        signal.alarm(BATCH_LIMIT)
    try:
        shard = next(shard for shard in _shards(module) if shard.name == name)
        tally = shard.batch(seed)
    except Exception:
        last = " | ".join(traceback.format_exc().strip().splitlines()[-4:])
        tally = Tally(tracebacks=(f"seed {seed}: {last}",))
    finally:
        signal.alarm(0)
    return tally, _processor_seconds() - start


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _hanging(signum: int, frame: object) -> None:
    raise TimeoutError(f"the batch takes longer than {BATCH_LIMIT} s")


class Campaign:
    """What is still to be done, and the ledger."""

    def __init__(self, chosen: Iterable[Placed], path: Path = ledgers.PATH) -> None:
        self.path = path
        self.entries = ledgers.load(path)
        self.todo = []
        for item in chosen:
            entry = self.entries.get(item.shard.name)
            if entry is None or entry.code != item.code:
                entry = Entry(item.code, ledgers.environment())
                self.entries[item.shard.name] = entry
            if entry.tally.cases < item.shard.goal:
                self.todo.append(item)
        self.running: dict[Future[tuple[Tally, float]], tuple[Placed, int]] = {}
        self.barren: dict[str, int] = {}
        self.saved = 0.0

    def run(self, workers: int, seconds: float) -> None:
        """Run batches until every goal is met or the time is over; interruptible."""
        deadline = time.monotonic() + seconds
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context)
        try:
            while True:
                while len(self.running) < workers and time.monotonic() < deadline:
                    job = self._next()
                    if job is None:
                        break
                    item, seed = job
                    future = pool.submit(run_batch, item.module, item.shard.name, seed)
                    self.running[future] = job
                if not self.running:
                    break
                done, _ = wait(self.running, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        tally, spent = future.result()
                    except BrokenProcessPool:
                        self._lost()
                        pool = ProcessPoolExecutor(workers, mp_context=context)
                        break
                    self._count(*self.running.pop(future), tally, spent)
        finally:
            ledgers.save(self.entries, self.path)
            pool.shutdown(wait=False, cancel_futures=True)

    def _lost(self) -> None:
        """A process died; every running batch is a suspect and is counted as a traceback."""
        for item, seed in self.running.values():
            line = f"seed {seed}: the process died while this batch or its neighbour ran"
            self._count(item, seed, Tally(tracebacks=(line,)), 0.0)
        self.running.clear()

    def _next(self) -> tuple[Placed, int] | None:
        """The next batch: of the first shard that would not reach its goal with what is running."""
        for item in self.todo:
            entry = self.entries[item.shard.name]
            mine = [seed for other, seed in self.running.values() if other == item]
            batches = len(entry.seeds)
            expected = entry.tally.cases * (1 + len(mine) / batches) if batches else 0
            if expected < item.shard.goal and (batches or not mine):
                return item, entry.next_seed(mine)
        return None

    def _count(self, item: Placed, seed: int, tally: Tally, spent: float) -> None:
        name = item.shard.name
        entry = self.entries[name]
        entry.add(seed, tally, spent)
        for line in itertools.chain(tally.violations, tally.tracebacks):
            _say(f"FOUND {name}: {line}")
        self.barren[name] = 0 if tally.cases else self.barren.get(name, 0) + 1
        if entry.tally.cases >= item.shard.goal or self.barren[name] >= 5:
            if item in self.todo:
                self.todo.remove(item)
            _say(f"{name}: {entry.tally.cases} cases, {entry.found} found, {entry.seconds:.0f} s")
        if time.monotonic() - self.saved > SAVE_EVERY:
            ledgers.save(self.entries, self.path)
            self.saved = time.monotonic()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
