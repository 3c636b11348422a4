"""Exit codes, one JSON object, one line on misuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from generator import Draft

from talweg_check._cli import main


def test_valid(draft: Draft, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(draft.save(tmp_path / "a.talweg"))
    assert main([path]) == 0
    out = capsys.readouterr().out
    assert out.startswith("valid: ")
    assert draft.tree()["claim"] in out
    assert main([path, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert sorted(record) == ["claim", "grade", "reason", "seconds", "verdict"]
    assert record["verdict"] == "valid"
    assert record["claim"] == draft.tree()["claim"]


def test_invalid(draft: Draft, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft.claims["step_size"] *= 2
    path = str(draft.save(tmp_path / "a.talweg"))
    assert main([path, "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"] == "invalid"
    assert "eta" in record["reason"]
    assert main([path]) == 1
    assert "NOT proved" in capsys.readouterr().out


def test_incomplete(draft: Draft, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(draft.save(tmp_path / "a.talweg", leave_out=("inputs", "targets")))
    assert main([path, "--json"]) == 3
    assert "unbound" in json.loads(capsys.readouterr().out)["reason"]


def test_misuse(draft: Draft, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(draft.save(tmp_path / "a.talweg"))
    (tmp_path / "x.npy").write_bytes(b"nonsense")
    npy = str(tmp_path / "x.npy")
    calls = [
        [str(tmp_path / "none.talweg")],
        [str(tmp_path)],
        [path, "--inputs", npy],
        [path, "--inputs", npy, "--targets", npy],
        [path, "--inputs", str(tmp_path / "y.npy"), "--targets", npy],
    ]
    for call in calls:
        assert main(call) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
    with pytest.raises(SystemExit) as error:
        main([])
    assert error.value.code == 2


@pytest.mark.parametrize("closed", ["", ">&-", "| true", ">/dev/full"])
def test_a_closed_output_does_not_change_the_exit_code(
    closed: str, draft: Draft, tmp_path: Path
) -> None:
    path = draft.save(tmp_path / "a.talweg")
    check = f"{sys.executable} -m talweg_check {path} {closed}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", check], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stderr_does_not_turn_misuse_into_invalid(tmp_path: Path) -> None:
    check = f"{sys.executable} -m talweg_check {tmp_path / 'none'} 2>&-"
    assert subprocess.run(["bash", "-c", check], capture_output=True).returncode == 2


@pytest.mark.parametrize("role", ["file", "data"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder"])
def test_what_is_no_regular_file_is_not_opened(
    role: str, kind: str, draft: Draft, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe would wait for a writer, and /dev/zero has no end."""
    place = kind if kind.startswith("/") else str(tmp_path / kind)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        Path(place).mkdir()
    good = str(draft.save(tmp_path / "a.talweg"))
    arguments = [place] if role == "file" else [good, "--inputs", place, "--targets", place]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_imports_neither_torch_nor_talweg() -> None:
    code = (
        "import sys, talweg_check._cli\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('torch', 'talweg', 'safetensors')])"
    )
    source = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": source}
    )
    assert done.stdout.strip() == "[]", done.stderr
