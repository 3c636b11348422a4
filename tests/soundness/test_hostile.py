"""Hostile files, arguments and specifications: a sample of each shard, and that it can fail."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import tests.soundness.hostile.commands as commands
import tests.soundness.hostile.files as files
import tests.soundness.hostile.processes as processes
import tests.soundness.hostile.readers as readers
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.soundness.hostile.mutations import container
from tests.soundness.shard import Shard, Tally

from talweg_check import check

IN_PROCESS = [*files.SHARDS, *readers.SHARDS]


def nothing_wrong(tally: Tally) -> None:
    assert tally.violations == ()
    assert tally.tracebacks == ()
    assert tally.cases > 0


@pytest.mark.parametrize("kind", files.GOALS)
def test_files_through_the_checker(kind: str) -> None:
    nothing_wrong(files.batch(kind, files.checked, 0, cases=150))


@pytest.mark.parametrize("shard", readers.SHARDS, ids=lambda shard: shard.name)
def test_files_through_the_readers(shard: Shard) -> None:
    nothing_wrong(shard.batch(0))


@given(st.binary(max_size=300), st.binary(max_size=300))
@settings(max_examples=100, deadline=None, database=None, derandomize=True)
def test_members_of_noise(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, blob: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.talweg"
    path.write_bytes(container(text, blob))
    assert check(str(path)).verdict == "invalid"


LINES = [
    ["certify", "specs.py:fine", "--no-attack", "--no-polish", "--json"],
    ["certify", "specs.py:exits_forward", "--no-attack"],
    ["certify", "specs.py:raises_unprintable"],
    ["certify", "specs.py:raises_generator_exit"],
    ["certify", "specs.py:theorem_list"],
    ["certify", "specs.py:nested_tensor"],
    ["certify", "specs.py:getattr_raises"],
    ["measure", "specs.py:sparse"],
    ["measure", "specs.py:raises_forward", "--json"],
    ["sweep", "specs.py:fine", "--grid", "lr=nan"],
    ["check", "garbage.talweg", "--against", "specs.py:fine"],
    ["check", "/dev/zero"],
    ["certify", "a" * 5000],
    ["reproduce", ""],
    ["demo", "--seed", "nan"],
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line)[:50])
def test_commands(line: list[str]) -> None:
    nothing_wrong(commands.run_all([line]))


@pytest.mark.parametrize("name", ["a pipe without a writer", "/dev/zero", "stderr closed"])
def test_processes(name: str) -> None:
    assert processes.run(name)[0] is None


def test_a_verdict_that_ignores_the_file_would_be_noticed() -> None:
    tally = files.batch("text", lambda path: "valid", 0, cases=40)
    assert len(tally.violations) > 20


def test_a_reader_that_raises_would_be_noticed() -> None:
    def raises(path: str) -> str:
        raise KeyError(path)

    assert len(files.batch("bytes", raises, 0, cases=5).tracebacks) == 5


def test_a_wrong_exit_would_be_noticed(tmp_path: Path) -> None:
    done = partial(commands.Outcome, out="", seconds=0.0)
    assert commands.complaints(done(code=70, err="Traceback"), ["certify", "x"])
    assert commands.complaints(done(code=2, err=""), ["certify", "x"])
    assert commands.complaints(done(code=0, err=""), ["certify", "x", "--json"])
    assert not commands.complaints(done(code=2, err="talweg: error: x\n"), ["certify", "x"])


def test_weaker_claims_are_told_from_others() -> None:
    good = files.valid_files()[0]
    tree = good.tree
    assert files.says_no_more(good.whole, good.whole)
    for key, value, expected in (("rate", "0x1.0000000000000p+0", True),
                                 ("rate", "0x1.0000000000000p-9", False),
                                 ("step_size", "0x1.0000000000000p-30", False)):  # fmt: skip
        other = {**tree, "claims": {**tree["claims"], key: value}}
        text = files.canonical(other)
        assert files.says_no_more(good.whole, container(text, good.blob)) is expected
