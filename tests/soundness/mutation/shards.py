"""The mutants of the checker as shards of the campaign, one for each of its modules."""

from __future__ import annotations

from functools import partial

from tests.soundness.mutation.census import census, stale
from tests.soundness.mutation.equivalent import EQUIVALENT
from tests.soundness.mutation.mutants import PACKAGE, mutants, sources
from tests.soundness.shard import Shard, Tally

SLICE = 20  # mutants of one batch


def batch(module: str, seed: int) -> Tally:
    """A slice of the mutants of a module; after the last slice comes the first again."""
    every = mutants(module)
    start = seed * SLICE % (-(-len(every) // SLICE) * SLICE)
    found = census(every[start : start + SLICE])
    old = stale(module) if start == 0 else []
    return Tally(
        found.killed,
        (
            *(f"survivor: {mutant}" for mutant in found.survivors),
            *(f"listed as equivalent, but no mutant: {line}" for line in old),
        ),
        counts={"killed": found.killed, "equivalent": found.equivalent},
    )


def _shard(module: str) -> Shard:
    goal = sum(mutant.key not in EQUIVALENT for mutant in mutants(module))
    under_test = (module, f"{PACKAGE}._check", f"{PACKAGE}._cli")
    return Shard(f"mutation/{module}", under_test, goal, partial(batch, module))


SHARDS = tuple(_shard(module) for module in sources() if mutants(module))
