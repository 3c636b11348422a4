"""Planted lies: every group is as large as it says, its controls are valid, its lies found out."""

from __future__ import annotations

import pytest
import tests.soundness.lies.drafts as drafts
from tests.soundness.lies.catalogue import GROUPS, SHARDS
from tests.soundness.lies.planted import Group, judged

import talweg_check._claims as claims
import talweg_check._squared_rules as squared_rules

SAMPLE = 6  # lies of each group


@pytest.fixture(scope="module", params=GROUPS)
def group(request: pytest.FixtureRequest) -> Group:
    build, _ = GROUPS[request.param]
    return build(0)


def test_a_group_holds_as_many_lies_as_it_says(group: Group) -> None:
    assert len(group.lies) == GROUPS[group.name][1]
    assert len({lie.name for lie in group.lies}) == len(group.lies)


def test_lies_are_found_out(group: Group) -> None:
    step = len(group.lies) // SAMPLE + 1
    tally = judged(group, group.lies[len(group.name) % step :: step])
    assert tally.violations == ()
    assert tally.tracebacks == ()
    assert tally.cases >= SAMPLE // 2


def test_there_are_many_lies() -> None:
    assert sum(shard.goal for shard in SHARDS) >= 1000


def test_an_inequality_that_always_holds_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that skips its exact inequalities accepts lies, and the judge says so."""
    build, _ = GROUPS["last_bit"]
    group = build(0)
    for module in (claims, squared_rules):
        monkeypatch.setattr(module, "require", lambda holds, statement: None)
    wanted = [lie for lie in group.lies if lie.name.startswith("T11: ") and "unit" not in lie.name]
    tally = judged(group, wanted)
    assert any("valid (every claim is confirmed)" in line for line in tally.violations)


def test_a_control_that_is_no_certificate_would_be_noticed() -> None:
    draft = drafts.genuine("T11")
    draft.claims["step_size"] *= 2
    tally = judged(Group("sabotage", {"": lambda: draft}))
    assert len(tally.violations) == 1
