"""A few instances of every differential test."""

from __future__ import annotations

import pytest
from tests.soundness.containment.record import Record
from tests.soundness.differential import (
    attacks,
    backends,
    certificates,
    devices,
    on_arb,
    storage,
    threads,
)
from tests.soundness.instances import certified, instance


@pytest.mark.parametrize(
    "question", [certificates, attacks, threads, storage, on_arb, backends, devices]
)
def test_nothing_is_found(question: object) -> None:
    record = Record()
    for seed in (0, 1):
        question(seed, record)  # type: ignore[operator]
    tally = record.tally()
    assert tally.violations == ()
    assert tally.tracebacks == ()


def test_an_instance_is_a_function_of_its_seed() -> None:
    one, two = instance(7), instance(7)
    assert one.description == two.description
    assert one.X.equal(two.X)
    assert one.y.equal(two.y)


def test_most_instances_are_proved() -> None:
    assert sum(certified(seed) is not None for seed in range(8)) >= 4


@pytest.mark.parametrize(
    ("seed", "answer"),
    [
        (3819, "valid"),  # a row of zeros beside inputs of 2^-36
        (5530, "valid"),  # a frozen layer of zeros
        (4040, "incomplete, then valid with 2048 bits"),  # saturated units
        (4726, "incomplete, condition number beyond doubles"),
    ],
)
def test_what_the_campaign_found_incomplete(seed: int, answer: str) -> None:
    record = Record()
    certificates(seed, record)
    tally = record.tally()
    assert answer in tally.counts
    assert tally.violations == ()
