"""Hostile files through talweg's own readers: each answers, or refuses with an error of its own."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import pyarrow
import torch
from tests.soundness.hostile.files import batch
from tests.soundness.hostile.mutations import NASTY, replanted
from tests.soundness.shard import Shard, Tally
from torch import nn

from talweg import TalwegError
from talweg.certificate._against import differences
from talweg.certificate._document import read_document
from talweg.experiments._run import _stored
from talweg.experiments._store import write_json
from talweg.sweep._shards import prepare, read_shard, write_shard

MARK = "f" * 64
SETTINGS = {"grid": {"lr": [0.1, 0.2], "seed": [0, 1]}, "steps": 10, "loss": "mse", "target": None}


def _read(path: str) -> str:
    try:
        read_document(path)
    except TalwegError:
        return "refused"
    return "read"


@lru_cache(maxsize=1)
def _live() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 10), nn.Tanh(), nn.Linear(10, 1)).double()
        return model, torch.randn(6, 4).double(), torch.randn(6, 1).double()


def _compared(path: str) -> str:
    model, X, y = _live()
    try:
        found = differences(path, model, (X, y))
    except TalwegError:
        return "refused"
    if not found:
        raise ValueError("a file about another network speaks of this one")
    return "differs"


def _record(folder: Path) -> Path:
    path = folder / "record.json"
    (folder / "curve.png").write_bytes(b"")
    comparison = {"quantity": "rate", "predicted": 0.5, "relation": "<=",
                  "measured": float("inf"), "source": "T1"}  # fmt: skip
    write_json(path, {
        "fingerprint": MARK, "title": "t", "comparisons": [comparison], "tables": {},
        "figures": ["curve.png"], "data": [], "seconds": 1.5,
    })  # fmt: skip
    return path


def _manifest(folder: Path) -> Path:
    prepare(folder, SETTINGS, fresh=False)
    return folder / "manifest.json"


def _shard(folder: Path) -> Path:
    path = folder / "chunk.parquet"
    write_shard(path, pyarrow.table({"run": [0, 1], "loss": [0.5, 0.25]}), MARK, 0)
    return path


def _taken_over(path: Path) -> str:
    return "read" if _stored(path, MARK) is not None else "refused"


def _resumed(path: Path) -> str:
    try:
        prepare(path.parent, SETTINGS, fresh=False)
    except TalwegError:
        return "refused"
    return "read"


def _rows(path: Path) -> str:
    try:
        return "read" if read_shard(path, MARK, 0).num_rows >= 0 else "refused"
    except TalwegError:
        return "refused"


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], str]]] = {
    "record": (_record, _taken_over), "manifest": (_manifest, _resumed), "rows": (_shard, _rows),
}  # fmt: skip


def _spoilt(good: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut or noise; a JSON tree also replanted, nested or written otherwise."""
    kind = rng.randrange(7)
    at = rng.randrange(len(good))
    if kind == 0:
        return good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :]
    if kind == 1:
        return good[:at]
    if kind == 2:
        return good[:at] + rng.randbytes(8) + good[at:]
    if good[:1] != b"{" or kind == 3:
        end = min(len(good), at + rng.choice((1, 4, 16, 200)))
        return good[:at] + bytes(rng.choice((0, 255)) for _ in range(end - at)) + good[end:]
    if kind == 4:
        deep = rng.choice((b"[", b'{"a":')) * rng.choice((900, 5000, 200_000))
        return rng.choice((deep, b'{"fingerprint":' + deep, good[:-1] + b',"x":' + deep))
    tree = replanted(json.loads(good), rng)
    if kind == 5:
        tree = rng.choice((tree, {"float": tree}, {"float": rng.choice(NASTY)}, [tree],
                           {"float": 10**400}, {**tree, "settings": [[1, 2], ["a", 3]]}
                           if isinstance(tree, dict) else tree))  # fmt: skip
    text = json.dumps(tree)
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-16", "latin-1")), "replace")


def _files(name: str, seed: int, cases: int = 200) -> Tally:
    """`cases` damaged files of one kind; a case is a file."""
    build, look = READERS[name]
    tracebacks, counts = [], Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        path = build(Path(folder))
        good = path.read_bytes()
        for number in range(cases):
            path.write_bytes(_spoilt(good, random.Random(f"{name} {seed} {number}")))
            try:
                counts[look(path)] += 1
            except Exception as error:
                tracebacks.append(
                    f"{name} seed {seed} case {number}: {type(error).__name__}: {error}"[:300]
                )
    return Tally(cases, (), tuple(tracebacks), dict(counts))


def _any_kind(look: Callable[[str], str], cases: int, seed: int) -> Tally:
    kinds = ("bytes", "text", "arrays", "zip", "splices")
    total = Tally()
    for kind in kinds:
        total = total + batch(kind, look, seed, cases)
    return total


UNDER_TEST = ("talweg.certificate._document", "talweg.certificate._against")
SHARDS: tuple[Shard, ...] = (
    Shard("hostile/talweg.read_document", UNDER_TEST[:1], 10_000, partial(_any_kind, _read, 60)),
    Shard("hostile/talweg.differences", UNDER_TEST, 5_000, partial(_any_kind, _compared, 15)),
    Shard("hostile/experiments.record", ("talweg.experiments._run",), 5_000,
          partial(_files, "record")),
    Shard("hostile/sweep.manifest", ("talweg.sweep._shards",), 5_000, partial(_files, "manifest")),
    Shard("hostile/sweep.rows", ("talweg.sweep._shards",), 3_000, partial(_files, "rows")),
)  # fmt: skip
