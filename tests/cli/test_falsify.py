"""``talweg falsify``: exit codes, what is printed, what is written, and Ctrl-C."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talweg.falsification import Search

Command = Callable[..., Any]
WriteSpec = Callable[..., str]


@pytest.fixture
def file(talweg: Command, write_spec: WriteSpec) -> Path:
    spec = write_spec("return network(), *data()")
    assert talweg("certify", spec, "--no-attack", "--out", "case.talweg").code == 0
    return Path("case.talweg")


def with_a_lie(file: Path) -> Path:
    """The same file with a beta that is half of what it was."""
    with zipfile.ZipFile(file) as archive:
        body = json.loads(archive.read("certificate.json"))
        arrays = archive.read("arrays.safetensors")
    pairs = body["claims"]["jacobian_lipschitz_upper"]
    body["claims"]["jacobian_lipschitz_upper"] = [
        [radius, (0.3 * float.fromhex(beta)).hex()] for radius, beta in pairs
    ]
    lying = Path("lying.talweg")
    with zipfile.ZipFile(lying, "w") as archive:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        archive.writestr("certificate.json", text)
        archive.writestr("arrays.safetensors", arrays)
    return lying


def test_no_violation(talweg: Command, file: Path, folder: Callable[[], set[str]]) -> None:
    before = folder()
    done = talweg("falsify", file, "--seconds", "0.5", "--out", "hit.zip")
    assert done.code == 0, done.text
    assert "no violation of T11's claims found" in done.out
    assert "this proves nothing" in done.out
    assert done.err == ""
    assert folder() == before


def test_as_json(talweg: Command, file: Path) -> None:
    done = talweg("falsify", file, "--seconds", "0.5", "--json")
    record = json.loads(done.out)
    assert done.code == 0
    assert record["violation"] is None
    assert record["file"] is None
    assert record["interrupted"] is False
    assert {"attack", "ratio", "points", "seconds"} == set(record["attacks"][0])


def test_a_violation(talweg: Command, file: Path) -> None:
    lying = with_a_lie(file)
    done = talweg("falsify", lying, "--seconds", "60", "--out", "hit.zip")
    assert done.code == 1
    assert "VIOLATED, proved at 256 bits by attack 'Lipschitz constant'" in done.out
    assert "counterexample: hit.zip" in done.out
    with zipfile.ZipFile("hit.zip") as archive:
        assert archive.namelist() == ["violation.json", "arrays.safetensors"]
    record = json.loads(talweg("falsify", lying, "--seconds", "60", "--json").out)
    assert record["violation"]["attack"] == "Lipschitz constant"
    assert record["violation"]["attained"] > record["violation"]["claimed"]


def test_an_interrupt_prints_what_was_tried(
    talweg: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Search.run

    def interrupted(self: Search, **_: object) -> None:
        run(self, seconds=0.3)
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "run", interrupted)
    done = talweg("falsify", file)
    assert done.code == 130
    assert "descent: rate" in done.out
    assert "no violation of T11's claims found" in done.out
    assert "interrupted" in done.err
    record = json.loads(talweg("falsify", file, "--json").out)
    assert record["interrupted"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.talweg",), "there is no file none.talweg"),
        (("case.py",), "must be a .talweg file of format 1"),
        (("case.talweg", "--seconds", "0"), "--seconds of talweg falsify must be"),
        (("case.talweg", "--seconds", "nan"), "--seconds of talweg falsify must be"),
        (("case.talweg", "--seed", "-1"), "--seed of talweg falsify must be"),
        (("case.talweg", "--out", "none/hit.zip"), "there is no folder none"),
    ],
)
def test_misuse(talweg: Command, file: Path, arguments: tuple[str, ...], message: str) -> None:
    done = talweg("falsify", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
