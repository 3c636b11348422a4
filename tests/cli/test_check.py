"""``talweg check``: the independent checker in its own process, and live objects beside a file."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import talweg.cli._checker as checker

Command = Callable[..., Any]
WriteSpec = Callable[..., str]


@pytest.fixture
def spec(write_spec: WriteSpec) -> str:
    return write_spec("return network(), *data()")


@pytest.fixture
def file(talweg: Command, write_spec: WriteSpec, spec: str) -> Path:
    """A certificate of polished weights, and ``polished.py`` with the model that holds them."""
    assert talweg("certify", spec, "--no-attack", "--out", "case.talweg").code == 0
    write_spec(
        "import talweg\n"
        "X, y = data()\n"
        "model = network()\n"
        "talweg.certify(model, (X, y), polish=True, attack=False).load_into_(model)\n"
        "return model, X, y",
        "polished.py",
    )
    return Path("case.talweg")


def test_a_valid_file(talweg: Command, file: Path) -> None:
    done = talweg("check", file)
    assert done.code == 0
    assert done.out.startswith("valid\n")
    assert "converges to zero training loss" in done.out
    record = json.loads(talweg("check", file, "--json").out)
    assert record["verdict"] == "valid"
    assert record.keys() >= {"verdict", "reason", "claim", "seconds"}


def test_the_grade_is_passed_on(talweg: Command, file: Path) -> None:
    """Small problems are checked in Arb unless told otherwise; the answer says which it was."""
    for options, grade in (((), "arb"), (("--grade", "float64"), "float64")):
        done = talweg("check", file, "--json", *options)
        record = json.loads(done.out)
        assert (done.code, record["verdict"], record["grade"]) == (0, "valid", grade)
        assert ("float64-verified" in record["reason"]) == (grade == "float64")
    done = talweg("check", file, "--grade", "float64")
    assert "float64-verified" in done.out
    assert talweg("check", file, "--grade", "exact").code == 2


def test_a_file_with_another_claim_is_invalid(talweg: Command, file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        body = json.loads(archive.read("certificate.json"))
        arrays = archive.read("arrays.safetensors")
    body["claims"]["sigma_min_lower"] = (2 * float.fromhex(body["claims"]["sigma_min_lower"])).hex()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "certificate.json", json.dumps(body, sort_keys=True, separators=(",", ":"))
        )
        archive.writestr("arrays.safetensors", arrays)
    done = talweg("check", file, "--json")
    assert done.code in (1, 3)
    assert json.loads(done.out)["verdict"] in ("invalid", "incomplete")
    assert "PROVED" not in done.text


def test_a_file_that_is_no_certificate(talweg: Command, tmp_path: Path) -> None:
    (tmp_path / "case.talweg").write_text("something else")
    done = talweg("check", tmp_path / "case.talweg", "--json")
    assert done.code == 1
    assert json.loads(done.out)["verdict"] == "invalid"
    assert "Traceback" not in done.text


def test_against_the_model_it_speaks_of(talweg: Command, file: Path) -> None:
    done = talweg("check", file, "--against", "polished.py:problem", "--json")
    record = json.loads(done.out)
    assert done.code == 0, done.text
    assert record["verdict"] == "valid"
    assert record["differences"] == []


def test_against_another_model(talweg: Command, file: Path, spec: str) -> None:
    done = talweg("check", file, "--against", spec)
    assert done.code == 1
    assert done.out.startswith("valid\n")
    assert "weights differ" in done.out
    assert "inputs differ" not in done.out


@pytest.mark.parametrize(
    ("code", "out", "expected", "verdict"),
    [
        (0, '{"verdict": "valid", "reason": "", "claim": "", "seconds": 1}', 0, "valid"),
        (3, '{"verdict": "incomplete", "reason": "unbound"}', 3, "incomplete"),
        (1, '{"verdict": "valid"}', 3, "incomplete"),  # code and verdict must agree
        (0, '{"verdict": "invalid"}', 3, "incomplete"),
        (0, "", 3, "incomplete"),
        (0, "[]", 3, "incomplete"),
        (-11, "", 3, "incomplete"),
    ],
)
def test_exit_code_and_verdict_must_agree(
    talweg: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    out: str,
    expected: int,
    verdict: str,
) -> None:
    end = f"os._exit({code})" if code >= 0 else f"os.kill(os.getpid(), {-code})"
    said = f"import os; print({out!r}, flush=True); {end}"
    monkeypatch.setattr(checker, "checker_command", lambda: [sys.executable, "-c", said])
    (tmp_path / "case.talweg").touch()
    done = talweg("check", tmp_path / "case.talweg", "--json")
    assert done.code == expected
    assert json.loads(done.out)["verdict"] == verdict


def test_without_the_checker_installed(
    talweg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(checker.shutil, "which", lambda _: None)
    (tmp_path / "case.talweg").touch()
    done = talweg("check", tmp_path / "case.talweg")
    assert done.code == 2
    assert "talweg[check]" in done.err
    monkeypatch.chdir(tmp_path)
    done = talweg("demo", "--out", tmp_path / "out")
    assert done.code == 2  # before any training
    assert "talweg[check]" in done.err


def test_a_file_whose_name_begins_with_a_dash(talweg: Command, file: Path) -> None:
    """The checker must not read the name as an option."""
    file.rename("--json.talweg")
    done = talweg("check", "--", "--json.talweg")
    assert done.code == 0, done.text
    assert done.out.startswith("valid\n")
