"""The ledger: what the campaign has counted, shard by shard, for which state of the code."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.soundness.shard import Tally

PATH = Path(__file__).with_name("ledger.json")
KEPT = 20  # lines of violations that a shard keeps; all are counted


@dataclass
class Entry:
    """The counts of one shard.

    Attributes:
        code: Hash of the code under test and of the questions.
        environment: Versions of what ran below.
        seeds: Seeds whose batches are counted.
        tally: Their sum.
        found: Number of violations and tracebacks, also of those not kept as lines.
        seconds: Processor time of the batches, child processes included.
    """

    code: str
    environment: str
    seeds: set[int] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    found: int = 0
    seconds: float = 0.0

    def add(self, seed: int, tally: Tally, seconds: float) -> None:
        """Count the batch of one seed."""
        if seed in self.seeds:
            raise ValueError(f"seed {seed} is counted already")
        self.seeds.add(seed)
        total = self.tally + tally
        self.tally = Tally(
            total.cases, total.violations[:KEPT], total.tracebacks[:KEPT], total.counts
        )
        self.found += len(tally.violations) + len(tally.tracebacks)
        self.seconds += seconds

    def next_seed(self, running: Iterable[int] = ()) -> int:
        """The smallest seed that is neither counted nor running."""
        taken = self.seeds.union(running)
        return next(seed for seed in range(len(taken) + 1) if seed not in taken)


def environment() -> str:
    """Versions of Python and of the libraries that carry the arithmetic, and the processor."""
    names = ("torch", "numpy", "python-flint", "crival")
    said = [f"{name} {_version(name)}" for name in names]
    return ", ".join([f"Python {platform.python_version()}", *said, platform.machine()])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def load(path: Path = PATH) -> dict[str, Entry]:
    """The entries by shard; none where there is no ledger yet."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["format"] != 1:
        raise ValueError(f"{path.name} has format {stored['format']}; this campaign writes 1")
    return {name: _entry(item) for name, item in stored["shards"].items()}


def save(entries: dict[str, Entry], path: Path = PATH) -> None:
    """Write the ledger; the old one stays until the new one is whole."""
    shards = {
        name: {
            "code": entry.code,
            "environment": entry.environment,
            "seeds": _ranges(entry.seeds),
            "cases": entry.tally.cases,
            "found": entry.found,
            "violations": list(entry.tally.violations),
            "tracebacks": list(entry.tally.tracebacks),
            "counts": dict(sorted(entry.tally.counts.items())),
            "seconds": round(entry.seconds, 1),
        }
        for name, entry in sorted(entries.items())
    }
    text = json.dumps({"format": 1, "shards": shards}, indent=1, ensure_ascii=True) + "\n"
    whole = path.with_suffix(".new")
    whole.write_text(text, encoding="utf-8")
    os.replace(whole, path)


def _entry(item: dict[str, object]) -> Entry:
    tally = Tally(
        int(str(item["cases"])),
        tuple(map(str, _list(item["violations"]))),
        tuple(map(str, _list(item["tracebacks"]))),
        {str(k): int(v) for k, v in _dict(item["counts"]).items()},
    )
    return Entry(
        str(item["code"]), str(item["environment"]), _seeds(str(item["seeds"])), tally,
        int(str(item["found"])), float(str(item["seconds"])),
    )  # fmt: skip


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("the ledger holds something else where a list belongs")
    return value


def _dict(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise TypeError("the ledger holds something else where an object belongs")
    return value


def _ranges(seeds: set[int]) -> str:
    """{0, 1, 2, 5} as "0-2,5"."""
    pieces: list[list[int]] = []
    for seed in sorted(seeds):
        if pieces and pieces[-1][1] == seed - 1:
            pieces[-1][1] = seed
        else:
            pieces.append([seed, seed])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pieces)


def _seeds(text: str) -> set[int]:
    result: set[int] = set()
    for piece in filter(None, text.split(",")):
        first, _, last = piece.partition("-")
        result.update(range(int(first), int(last or first) + 1))
    return result
