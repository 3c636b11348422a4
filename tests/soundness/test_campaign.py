"""The bookkeeping of the campaign: counts, resumption, the identity of the code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.soundness import campaign, ledger, report, source_hash
from tests.soundness.campaign import Campaign, Placed
from tests.soundness.ledger import Entry
from tests.soundness.shard import Shard, Tally


def _batch(seed: int) -> Tally:
    if seed == 2:
        raise RuntimeError("seed two is unlucky")
    return Tally(cases=10, violations=("1 + 1 < 2",) if seed == 1 else (), counts={"seen": seed})


SHARDS = (Shard("toy/one", ("talweg.enclosure",), 60, _batch),)


def _place(code: str = "abc") -> Placed:
    return Placed(SHARDS[0], __name__, code)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def test_a_run_counts_every_seed_once_and_keeps_what_it_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    run = Campaign([_place()], path)
    for seed in range(7):
        tally, seconds = campaign.run_batch(__name__, "toy/one", seed)
        run._count(_place(), seed, tally, seconds)
    ledger.save(run.entries, path)
    entry = ledger.load(path)["toy/one"]
    assert entry.tally.cases == 60
    assert entry.seeds == set(range(7))
    assert entry.tally.counts == {"seen": 19}
    assert entry.tally.violations == ("1 + 1 < 2",)
    assert len(entry.tally.tracebacks) == 1
    assert "unlucky" in entry.tally.tracebacks[0]
    assert entry.found == 2
    assert not Campaign([_place()], path).todo
    assert report.shortcomings([_place()], ledger.load(path)) == [
        "toy/one: 2 violations or tracebacks"
    ]


def test_other_code_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    entry = Entry("abc", "here")
    entry.add(0, Tally(60), 1.0)
    ledger.save({"toy/one": entry}, path)
    again = Campaign([_place("other")], path)
    assert again.todo
    assert again.entries["toy/one"].tally.cases == 0
    assert "another state" in report.shortcomings([_place("other")], ledger.load(path))[0]


def test_the_smallest_missing_seed_comes_next() -> None:
    entry = Entry("abc", "here", seeds={0, 1, 3, 4, 7})
    assert entry.next_seed() == 2
    assert entry.next_seed([2, 5]) == 6
    with pytest.raises(ValueError, match="counted already"):
        entry.add(3, Tally(), 0.0)
    assert ledger._seeds(ledger._ranges(entry.seeds)) == entry.seeds


def test_two_processes_run_real_shards(tmp_path: Path) -> None:
    """Through the pool: goals are reached, the ledger is written, the second run has no work."""
    path = tmp_path / "ledger.json"
    shards = [item for item in campaign.placed() if item.shard.name.startswith("lies/")][:1]
    run = Campaign(shards, path)
    run.run(workers=1, seconds=60)
    assert not run.todo
    assert not Campaign(shards, path).todo


def test_the_hash_sees_code_and_not_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "talweg"
    package.mkdir()
    monkeypatch.setattr(source_hash, "SEARCHED", (tmp_path,))

    def hashed(below: str, above: str = "from talweg.below import x\n") -> str:
        (package / "below.py").write_text(below)
        (package / "above.py").write_text(above)
        source_hash._tree.cache_clear()
        source_hash._file.cache_clear()
        return source_hash.code_hash(["talweg.above"])

    try:
        first = hashed('"""Doc."""\nx = 1\n')
        assert hashed('"""Other."""\n# why\nx = 1\n') == first
        assert hashed('"""Doc."""\nx = 2\n') != first
        assert hashed('"""Doc."""\nx = 1\n', "from talweg import below\n") != first
        with pytest.raises(LookupError, match="no module"):
            source_hash.code_hash(["talweg.nowhere"])
    finally:
        source_hash._tree.cache_clear()
        source_hash._file.cache_clear()


def test_the_hash_of_a_room_follows_its_imports() -> None:
    closures = {room: source_hash.code_hash([f"talweg.{room}"]) for room in ("enclosure", "theory")}
    assert closures["enclosure"] != closures["theory"]
    assert all(len(code) == 16 for code in closures.values())


def test_the_page_shows_the_counts_of_the_ledger() -> None:
    text = report.PAGE.read_text(encoding="utf-8")
    assert report.with_counts(text, ledger.load()) == text


def test_nothing_in_the_ledger_is_wrong() -> None:
    assert [name for name, entry in ledger.load().items() if entry.found] == []
