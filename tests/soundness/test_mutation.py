"""A sample of the mutation campaign: what it counts can be trusted, and it can fail."""

from __future__ import annotations

import ast
import random

import pytest
from tests.soundness.mutation.census import census, stale
from tests.soundness.mutation.equivalent import EQUIVALENT
from tests.soundness.mutation.mutants import Mutant, mutants, sources
from tests.soundness.mutation.sandbox import coverage, run

SAMPLE = 40


def _mutant(module: str, function: str, before: str, after: str) -> Mutant:
    (found,) = (
        mutant
        for mutant in mutants(f"talweg_check.{module}")
        if (mutant.function, mutant.before, mutant.after) == (function, before, after)
    )
    return found


def test_the_checker_itself_answers_every_question() -> None:
    assert len(coverage().seconds) > 700


def test_every_module_is_reached() -> None:
    entered = {module for blocks in coverage().blocks.values() for module, _ in blocks}
    silent = {"talweg_check", "talweg_check._forms", "talweg_check._verdict", "talweg_check.kinds"}
    assert set(sources()) - entered <= silent | {"talweg_check.__main__"}


@pytest.mark.parametrize(
    ("module", "function", "before", "after"),
    [
        ("_claims", "require", "if not holds", "if False"),
        ("_verdict", "", "", ""),
    ],
)
def test_a_crude_mutant_is_killed(module: str, function: str, before: str, after: str) -> None:
    if not function:
        assert mutants(f"talweg_check.{module}") == ()  # nothing to mutate
        return
    assert run(_mutant(module, function, before, after)).killer is not None


def test_a_mutant_that_never_ends_is_killed() -> None:
    mutant = _mutant("_claims", "require", "if not holds", "if False")
    body = ast.parse("while True:\n    pass").body[0]
    endless = Mutant(**{**vars(mutant), "node": body})
    assert run(endless, 0.5).killer == "process (SIGPROF)"


def test_a_change_without_consequences_survives() -> None:
    """The sandbox does not kill whatever it is given."""
    mutant = _mutant("_claims", "require", "if not holds", "if False")
    parent, field, at = mutant.slot
    place = getattr(parent, field)
    same = place if at is None else place[at]
    assert run(Mutant(**{**vars(mutant), "node": same})).killer is None


def test_a_sample_of_all_mutants_is_killed() -> None:
    every = [
        mutant for module in sources() for mutant in mutants(module) if mutant.key not in EQUIVALENT
    ]
    found = census(random.Random(0).sample(every, SAMPLE))
    assert found.survivors == []
    assert found.killed == SAMPLE


def test_the_list_of_equivalents_is_up_to_date() -> None:
    assert stale() == []
    assert all(reason.endswith(".") for reason in EQUIVALENT.values())


def test_keys_are_unique() -> None:
    for module in sources():
        keys = [mutant.key for mutant in mutants(module)]
        assert len(set(keys)) == len(keys)
