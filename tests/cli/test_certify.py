"""``talweg certify`` and ``talweg measure``: output, exit codes, settings, and the word PROVED."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
WriteSpec = Callable[..., str]

KEYS = {
    "status", "reason", "samples", "outputs", "parameters", "residual_norm", "sigma_min_lower",
    "jacobian_lipschitz_upper", "radius", "step_size", "rate", "one_minus_rate", "halving_steps",
    "slack", "as_given", "polished", "polish_distance", "seconds", "file",
}  # fmt: skip


@pytest.fixture
def spec(write_spec: WriteSpec) -> str:
    return write_spec("return network(), *data()")


def test_json_is_one_object_with_the_promised_keys(talweg: Command, spec: str) -> None:
    done = talweg("certify", spec, "--json", "--out", "case.talweg")
    record = json.loads(done.out)
    assert done.code == 0
    assert done.err == ""  # no progress where stderr is no terminal
    assert record.keys() >= KEYS
    assert record["status"] == "PROVED"
    assert record["polished"] is True
    assert record["polish_distance"] > 0
    assert record["as_given"]["status"] == "UNDECIDED"
    assert record["as_given"]["missing_factor"] > 1
    assert record["slack"] >= 1
    assert record["file"] == "case.talweg"
    assert Path("case.talweg").stat().st_size > 0


def test_plain_text_without_colour_or_frames(talweg: Command, spec: str) -> None:
    done = talweg("certify", spec, "--no-attack")
    assert done.code == 0
    assert done.err == ""
    assert "PROVED" in done.out
    assert "converges to zero training loss" in done.out
    assert "\x1b" not in done.out
    assert done.out.isascii()


def test_without_polish_nothing_is_proved_and_nothing_written(talweg: Command, spec: str) -> None:
    done = talweg("certify", spec, "--no-polish", "--no-attack", "--out", "case.talweg")
    assert done.code == 1
    assert "UNDECIDED" in done.out
    assert "missing factor" in done.out
    assert "PROVED" not in done.text
    assert "not written: case.talweg" in done.out
    assert not Path("case.talweg").exists()


def test_a_file_of_an_earlier_run_is_left_alone(talweg: Command, spec: str) -> None:
    Path("case.talweg").write_bytes(b"earlier")
    assert talweg("certify", spec, "--no-polish", "--no-attack", "--out", "case.talweg").code == 1
    assert Path("case.talweg").read_bytes() == b"earlier"


def test_settings_of_the_specification_and_their_override(
    talweg: Command, write_spec: WriteSpec
) -> None:
    spec = write_spec(
        "X, y = data()\n"
        "return dict(model=network(), X=X, y=y, loss='half_sse', polish=False, attack=False)"
    )
    done = talweg("certify", spec, "--json")
    record = json.loads(done.out)
    assert (done.code, record["loss"], record["slack"]) == (1, "half_sse", None)
    done = talweg("certify", spec, "--polish", "--loss", "sse", "--theorem", "T4", "--json")
    record = json.loads(done.out)
    assert (done.code, record["loss"], record["theorem"]) == (0, "sse", "T4")


def test_a_target_loss(talweg: Command, spec: str) -> None:
    done = talweg("certify", spec, "--target", "1e-9", "--no-attack", "--json")
    record = json.loads(done.out)
    assert done.code == 0
    assert record["theorem"] == "T7"
    assert record["target"] == 1e-9
    assert record["steps"] >= 1


def test_what_a_specification_prints_stays_out_of_the_json(
    talweg: Command, write_spec: WriteSpec
) -> None:
    spec = write_spec("print('loading')\nreturn network(), *data()")
    done = talweg("certify", spec, "--no-attack", "--json")
    assert json.loads(done.out)["status"] == "PROVED"
    assert "loading" in done.err


def test_a_specification_by_module_name(
    talweg: Command, write_spec: WriteSpec, tmp_path: Path
) -> None:
    (tmp_path / "some_package").mkdir()
    write_spec("return network(), *data()", "some_package/case_of_module.py")
    done = talweg("certify", "some_package.case_of_module:problem", "--no-attack", "--json")
    assert done.code == 0, done.err


def test_a_specification_imports_its_neighbours(
    talweg: Command, write_spec: WriteSpec, tmp_path: Path
) -> None:
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "neighbour_of_case.py").write_text("ROWS = 5\n")
    spec = write_spec(
        "import neighbour_of_case\nreturn network(), *data(neighbour_of_case.ROWS)",
        "apart/case.py",
    )
    done = talweg("certify", spec, "--no-attack", "--json")
    assert json.loads(done.out)["samples"] == 5


def test_the_same_seed_gives_the_same_numbers(talweg: Command, spec: str) -> None:
    first, second = (json.loads(talweg("certify", spec, "--seed", "3", "--json").out) for _ in "12")
    del first["seconds"], second["seconds"]
    assert first == second


def test_a_defect_of_talweg_is_not_passed_off_as_an_answer(
    talweg: Command, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talweg.cli._certify.certify", None)  # raises where talweg calls it
    done = talweg("certify", spec)
    assert done.code == 70
    assert "TypeError" in done.err
    assert "Traceback" in done.err
    assert "internal error" in done.err


def test_a_failure_of_foreign_code_is_misuse(
    talweg: Command, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("not ours")

    monkeypatch.setattr("talweg.cli._certify.certify", broken)
    done = talweg("certify", spec)
    assert done.code == 2
    assert "RuntimeError: not ours" in done.err
    assert "Traceback" not in done.err


def test_measure(talweg: Command, spec: str) -> None:
    done = talweg("measure", spec, "--json", "--loss", "sse")
    record = json.loads(done.out)
    assert done.code == 0
    assert record["loss_name"] == "sse"
    assert record["kernel_smallest"] > 0
    done = talweg("measure", spec)
    assert done.code == 0
    assert "PL ratio" in done.out
    assert "\x1b" not in done.out
    assert "PROVED" not in done.text


def test_version_and_help(talweg: Command) -> None:
    assert talweg("--version").out == "talweg 0.1.0\n"
    done = talweg("--help")
    assert done.code == 0
    for command in ("demo", "certify", "check", "measure"):
        assert command in done.out
