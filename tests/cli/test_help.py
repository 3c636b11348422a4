"""What ``--help`` says: whole sentences at 80 columns, the keys of SPEC, the exit codes."""

from __future__ import annotations

import pytest

from talweg.cli._spec_place import HELD_OUT, SETTINGS
from talweg_check._cli import main as check

from .conftest import Command

SPEC_COMMANDS = [
    "certify", "measure", "diagnose", "sweep", "check", "prescribe scale", "prescribe width",
    "prescribe step", "prescribe train", "prescribe init",
]  # fmt: skip


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")


@pytest.mark.parametrize("group", [[], ["prescribe"]])
def test_no_description_of_a_command_is_cut(talweg: Command, group: list[str]) -> None:
    done = talweg(*group, "--help")
    assert done.code == 0
    assert "Commands:" in done.out
    assert "Exit codes: 0" in " ".join(done.out.split())
    assert "..." not in done.out.replace("[ARGS]...", "")
    assert all(len(line) <= 80 for line in done.out.splitlines())


@pytest.mark.parametrize("command", SPEC_COMMANDS)
def test_the_help_of_spec_names_the_keys_of_the_dict(talweg: Command, command: str) -> None:
    words = " ".join(talweg(*command.split(), "--help").out.split())
    for key in ("model", "X", "y", *SETTINGS, *HELD_OUT):
        assert f"{key}," in words or f"{key} " in words, key
    assert "(rows held out)" in words


def test_the_checker_states_its_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        check(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    for text in ("Exit codes: 0 valid; 1 invalid; 2 misuse", "3 incomplete"):
        assert text in words
