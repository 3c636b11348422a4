"""Hostile certificate files through the checker's reader and through talweg's own."""

from __future__ import annotations

import io
import json
import math
import random
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from tests.soundness.hostile.mutations import KINDS, Genuine, canonical, spliced
from tests.soundness.lies.drafts import genuine
from tests.soundness.shard import Shard, Tally

from talweg_check import check

PATIENCE = 10.0  # seconds for one file of a few kilobytes
BATCH = 1000
STRETCH = 0.1  # on small balls the betas grow by less than their pad: the checker decides alone
SQUARED = ("T11", "T4", "T7", "T9")
FORMS = (*SQUARED, "entropy T4", "entropy T13")
UNDER_TEST = ("talweg_check",)


@lru_cache(maxsize=1)
def valid_files() -> tuple[Genuine, ...]:
    """One valid file of every form, its claims at their last bits."""
    drafts = [genuine(form) for form in FORMS]
    return tuple(Genuine(canonical(draft.tree()), draft.blob()) for draft in drafts)


def _arrays(blob: bytes) -> dict[str, Any]:
    length = int.from_bytes(blob[:8], "little")
    data = blob[8 + length :]
    return {
        name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
        for name, entry in json.loads(blob[8 : 8 + length]).items()
    }


def _said(whole: bytes) -> tuple[Any, dict[str, Any]]:
    """What a lenient reader finds: the tree but for what is free, and the arrays."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        text, blob = (archive.read(name) for name in ("certificate.json", "arrays.safetensors"))
    tree = json.loads(text)
    return {k: v for k, v in tree.items() if k not in ("hints", "provenance")}, _arrays(blob)


def says_no_more(good: bytes, spoilt: bytes, stretch: float = 0.0) -> bool:
    """Whether the spoilt file says what the good one says, or something weaker.

    With `stretch` the listed radii may be larger by this share of themselves.
    """
    try:
        return _says_no_more(good, spoilt, stretch)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, zipfile.BadZipFile):
        return False  # not even a lenient reader makes sense of it


# Claims that the sentence does not state: upwards (1) or downwards (-1) they get weaker, and by so
# much the builders padded what they measured, so that a smaller change keeps them true. What only
# the proof uses is free: the checker decides its inequalities exactly, and the edge is lied about
# elsewhere.
PADDED = {
    "sigma_min_lower": (-1, 9.99e-7), "jacobian_norm_upper": (1, 9.99e-7),
    "residual_norm_upper": (1, 9.99e-7), "initial_gap_upper": (1, 9e-10),
    "initial_loss_upper": (1, 9e-14), "rate": (1, 0.0), "halving_steps": (1, 0.0),
    "pl_lower": (-1, 0.0), "gradient_error_upper": (1, 0.0),
    "radius": (1, 0.0), "one_minus_rate": (-1, 0.0),
}  # fmt: skip
FREE = ("epsilon", "theta")
BETAS = "jacobian_lipschitz_upper"


def _says_no_more(good: bytes, spoilt: bytes, stretch: float) -> bool:
    (tree, arrays), (other, more) = _said(good), _said(spoilt)
    one, two = tree.pop("claims"), other.pop("claims")
    if arrays != more or tree != other or set(one) != set(two):
        return False
    for key in set(one) - {BETAS, *FREE}:
        if key in PADDED:
            sign, slack = PADDED[key]
            before, after = float.fromhex(one[key]), float.fromhex(two[key])
            if not sign * after >= sign * before * (1 - sign * slack):
                return False
        elif one[key] != two[key]:
            return False
    return one[BETAS] == two[BETAS] or _covers(one[BETAS], two[BETAS], stretch)


def _covers(before: Any, after: Any, stretch: float) -> bool:
    """Whether each pair of a profile claims no more than the profile before it, less its pad."""

    def beta(radius: float) -> float:
        above = [float.fromhex(b) for r, b in before if float.fromhex(r) * (1 + stretch) >= radius]
        return above[0] * (1 - 9.99e-7) if above else math.inf

    return all(float.fromhex(b) >= beta(float.fromhex(r)) for r, b in after)


def _spoilt(kind: str, good: Genuine, rng: random.Random) -> bytes:
    if kind == "splices":
        return spliced(good, rng, valid_files())
    return rng.choice(KINDS[kind])(good, rng)


def _proved_weaker(spoilt: bytes, stretch: float = 0.0) -> bool:
    return any(says_no_more(file.whole, spoilt, stretch) for file in valid_files())


def batch(kind: str, look: Callable[[str], str], seed: int, cases: int = BATCH) -> Tally:
    """`cases` hostile files of one kind; a case is a file."""
    violations, tracebacks, counts = [], [], Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.talweg"
        for number in range(cases):
            rng = random.Random(f"{kind} {seed} {number}")
            good = rng.choice(valid_files())
            spoilt = _spoilt(kind, good, rng)
            path.write_bytes(spoilt)
            where = f"{kind} seed {seed} case {number}"
            start = time.perf_counter()
            try:
                found = look(str(path))
            except Exception as error:
                tracebacks.append(f"{where}: {type(error).__name__}: {error}"[:300])
                continue
            seconds = time.perf_counter() - start
            counts[found] += 1
            if found == "valid" and not _proved_weaker(spoilt):
                if _proved_weaker(spoilt, STRETCH):
                    counts["undecided"] += 1  # a beta on a ball a hair larger: true as far as known
                else:
                    violations.append(f"{where}: called valid, and it says something else")
            if seconds > PATIENCE:
                violations.append(f"{where}: took {seconds:.1f} s")
    return Tally(cases - counts["undecided"], tuple(violations), tuple(tracebacks), dict(counts))


def checked(path: str) -> str:
    """The verdict; anything but the three words is an error."""
    found = check(path)
    if found.verdict not in ("valid", "invalid", "incomplete"):
        raise ValueError(f"the verdict is {found.verdict!r}")
    if not found.reason or len(found.reason) > 600:
        raise ValueError("a verdict without a reason, or with one too long")
    return found.verdict


GOALS = {"bytes": 30_000, "text": 40_000, "arrays": 25_000, "zip": 25_000, "splices": 5_000}
SHARDS: tuple[Shard, ...] = tuple(
    Shard(f"hostile/checker.{kind}", UNDER_TEST, goal, partial(batch, kind, checked))
    for kind, goal in GOALS.items()
)
