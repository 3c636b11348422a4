"""The groups of lies as shards."""

from __future__ import annotations

from collections.abc import Callable

from tests.soundness.lies.archives import archives, arrays
from tests.soundness.lies.bindings import bindings
from tests.soundness.lies.claims import hairs, last_bit
from tests.soundness.lies.conclusions import conclusions
from tests.soundness.lies.planted import UNDER_TEST, Group, judged
from tests.soundness.lies.programs import networks
from tests.soundness.lies.sentences import sentences
from tests.soundness.lies.shortcuts import shortcuts
from tests.soundness.lies.trees import trees
from tests.soundness.shard import Shard

# How many lies each holds, so that the list of shards costs nothing; a test counts them.
GROUPS: dict[str, tuple[Callable[[int], Group], int]] = {
    "last_bit": (last_bit, 63),
    "hairs": (hairs, 32),
    "programs": (networks, 73),
    "shortcuts": (shortcuts, 72),
    "conclusions": (conclusions, 175),
    "bindings": (bindings, 99),
    "sentences": (sentences, 167),
    "trees": (trees, 363),
    "archives": (archives, 86),
    "arrays": (arrays, 74),
}


def _shard(name: str, build: Callable[[int], Group], goal: int) -> Shard:
    return Shard(f"lies/{name}", UNDER_TEST, goal, lambda seed: judged(build(seed)))


SHARDS: tuple[Shard, ...] = tuple(
    _shard(name, build, goal) for name, (build, goal) in GROUPS.items()
)
