"""Counts killed, equivalent and surviving mutants, module by module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from tests.soundness.mutation.equivalent import EQUIVALENT
from tests.soundness.mutation.mutants import Mutant, mutants, sources
from tests.soundness.mutation.sandbox import run


@dataclass
class Census:
    """What became of some mutants."""

    killed: int = 0
    equivalent: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    killers: dict[str, int] = field(default_factory=dict)


def census(chosen: Sequence[Mutant], follow: TextIO | None = None) -> Census:
    """Runs every mutant that is not listed as equivalent; `follow` hears of survivors at once."""
    found = Census()
    for mutant in chosen:
        if mutant.key in EQUIVALENT:
            found.equivalent += 1
            continue
        outcome = run(mutant)
        if outcome.killer is None:
            found.survivors.append(mutant)
            if follow is not None:
                print(repr(mutant.key), file=follow, flush=True)
        else:
            found.killed += 1
            found.killers[outcome.killer] = found.killers.get(outcome.killer, 0) + 1
    return found


def stale(chosen: str | None = None) -> list[str]:
    """Entries of the list of equivalents that are no mutants any more, of one module or of all."""
    modules = sources() if chosen is None else [chosen]
    present = {mutant.key for module in modules for mutant in mutants(module)}
    return [
        repr(key)
        for key in EQUIVALENT
        if key not in present and (chosen is None or key[0] == chosen)
    ]
