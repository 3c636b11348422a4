"""A small batch of every shard, and sabotage that the attacks must notice."""

from __future__ import annotations

from functools import partial

import pytest
from tests.soundness import falsification_instances
from tests.soundness.falsification import SHARDS, batch
from tests.soundness.falsification_power import LIES, Lie, honest, smallest_found
from tests.soundness.shard import Shard, Tally

from talweg.falsification._board import QUICK
from talweg.network import JacobianLipschitz


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(falsification_instances, "VARIANTS", 2)


@pytest.mark.parametrize("shard", SHARDS, ids=lambda shard: shard.name)
def test_nothing_is_found(shard: Shard) -> None:
    total = Tally()
    for seed in (1, 2, 3):
        if total.cases == 0:
            total += shard.batch(seed)
    assert total.violations == ()
    assert total.tracebacks == ()
    assert total.cases > 0
    assert total.counts["comparisons"] > 0


def test_a_batch_depends_on_its_seed_alone() -> None:
    run = partial(batch, 2, kind="T7")
    assert run() == run()


def test_betas_that_are_too_small_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    upper = JacobianLipschitz.upper
    monkeypatch.setattr(JacobianLipschitz, "upper", lambda self, radius: 0.5 * upper(self, radius))
    assert proved_violations("T11")


def test_steps_that_are_too_long_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times 1 / |J|^2, where descent diverges."""
    monkeypatch.setattr("talweg.theory._squared.largest_step_lower", lambda norm: 3.0 / norm**2)
    assert proved_violations("T11")


def proved_violations(kind: str) -> list[str]:
    """What the attacks themselves found, whatever the checker says."""
    total = batch(1, kind=kind) + batch(2, kind=kind)
    return [line for line in total.violations if "VIOLATED, proved" in line]


@pytest.mark.parametrize("lie", LIES[:3], ids=lambda lie: lie.name)
def test_lies_about_the_start_are_found_at_once(lie: Lie) -> None:
    found = smallest_found(honest("ordinary"), lie, QUICK)
    assert found is not None
    assert found[0] == 1e-5
