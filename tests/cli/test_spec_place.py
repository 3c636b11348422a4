"""Where a specification points: told before torch is loaded, and nothing of it is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from talweg import SpecError
from talweg.cli._spec_place import spec_place

PROGRAM = """
import sys
from talweg.cli import main

commands = [
    "certify absent.py:problem", "certify case.py", "measure no_such_module:problem",
    "diagnose absent.py:problem", "sweep absent.py:problem --grid lr=1",
    "check a.talweg --against absent.py:problem", "prescribe scale absent.py:problem",
    "prescribe width absent.py:problem", "prescribe step absent.py:problem",
    "prescribe train absent.py:problem", "prescribe init absent.py:problem",
]
for command in commands:
    sys.argv = ["talweg", *command.split()]
    try:
        main()
    except SystemExit as end:
        print(command, end.code, "torch" in sys.modules, "numpy" in sys.modules)
"""


def test_a_place_that_is_not_there_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "case.py").touch()
    (tmp_path / "a.talweg").touch()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True,
        timeout=120.0,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 11
    assert all(line.endswith(" 2 False False") for line in lines), lines
    errors = done.stderr.splitlines()
    assert len(errors) == 11
    assert all(line.startswith("talweg: error: SPEC ") for line in errors), errors


def test_nothing_is_run_and_nothing_becomes_importable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec_of_a_test.py").write_text("raise SystemExit('it ran')\n")
    before = list(sys.path)
    assert spec_place("spec_of_a_test.py:problem").file == tmp_path.resolve() / "spec_of_a_test.py"
    assert spec_place("spec_of_a_test:problem").file is None
    assert (
        spec_place("xml.no_such_part:problem").place == "xml.no_such_part"
    )  # the import will tell
    assert sys.path == before
    assert "spec_of_a_test" not in sys.modules


def test_colons_before_the_last_belong_to_the_place(tmp_path: Path) -> None:
    file = tmp_path / "a:b.py"
    file.touch()
    assert spec_place(f"{file}:problem").name == "problem"
    with pytest.raises(SpecError, match="there is no file"):
        spec_place(f"{tmp_path}/b:a.py:problem")
