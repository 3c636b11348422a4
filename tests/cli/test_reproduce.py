"""``talweg reproduce``, with small experiments in the place of the real ones."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from talweg.experiments import NAMES, Section

pytest.importorskip("pyarrow")
pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

Command = Callable[..., Any]


def good(section: Section) -> None:
    section.compare("loss", predicted=2.0, relation="<=", measured=1.5, source="E1", note="noted")
    section.compare("slope", predicted=None, relation="reported", measured=-0.5, source="lecture")
    section.table("steps", [{"width": 10, "steps": 20}])


def bad(section: Section) -> None:
    section.compare("rate", predicted=0.5, relation=">=", measured=math.nan, source="T11")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    monkeypatch.chdir(tmp_path)

    def put(*functions: Callable[[Section], None], names: tuple[str, ...] = NAMES) -> None:
        for name in names:
            module = ModuleType(f"talweg.experiments.{name}")
            module.__file__ = None
            module.SECTIONS = {  # type: ignore[attr-defined]
                f"Section {i}": function for i, function in enumerate(functions, start=1)
            }
            monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


def test_bounds_that_hold(talweg: Command, install: Callable[..., None], tmp_path: Path) -> None:
    install(good)
    done = talweg("reproduce", "lecture", "--quick", "--out", "o")
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "quantity source predicted relation measured result" in lines
    assert "loss [1] E1 2 <= 1.5 ok" in lines
    assert "slope lecture - reported -0.5 -" in lines
    assert "[1] noted" in lines
    assert "width steps" in lines
    assert "10 20" in lines
    assert any(line.startswith("lecture: 1 bounds checked, all hold; ") for line in lines)
    assert "0 figures and 1 data files in o/lecture" in lines
    assert (tmp_path / "o" / "lecture" / "index.md").is_file()


def test_a_bound_that_is_broken(talweg: Command, install: Callable[..., None]) -> None:
    install(good, bad)
    done = talweg("reproduce", "lecture")
    assert (done.code, done.err) == (1, "")
    assert "VIOLATED: lecture, Section 2: rate must be >= 0.5 (T11); measured nan" in done.out
    assert "2 bounds checked, 1 VIOLATED" in done.out
    again = talweg("reproduce", "lecture")
    assert again.code == 1
    assert "2 of 2 sections were taken over from an earlier run" in again.out
    assert "taken over" not in talweg("reproduce", "lecture", "--fresh").out


def test_all(talweg: Command, install: Callable[..., None], tmp_path: Path) -> None:
    install(good)
    install(bad, names=("xu2025",))
    done = talweg("reproduce", "all", "--out", "o")
    assert done.code == 1
    assert done.out.count("VIOLATED: ") == 1
    assert "VIOLATED: xu2025, Section 1: rate" in done.out
    overview = (tmp_path / "o" / "index.md").read_text()
    assert all(f"[{name}]({name}/index.md)" in overview for name in NAMES)


def test_json(talweg: Command, install: Callable[..., None]) -> None:
    def talks(section: Section) -> None:
        sys.stdout.write("stray")
        good(section)

    install(talks, bad)
    done = talweg("reproduce", "liu2020", "--json", "--seed", "4")
    assert done.code == 1
    assert done.out.count("\n") == 1
    record = json.loads(done.out)
    assert record["seed"] == 4
    assert record["violated"] == [
        {"experiment": "liu2020", "section": "Section 2", "quantity": "rate"}
    ]
    first, second = record["experiments"][0]["sections"]
    assert first["comparisons"][0] == {
        "quantity": "loss", "predicted": 2.0, "relation": "<=", "measured": 1.5, "source": "E1",
        "note": "noted", "violated": False,
    }  # fmt: skip
    assert first["tables"] == {"steps": [{"width": 10, "steps": 20}]}
    assert first["data"] == ["steps.parquet"]
    assert second["comparisons"][0]["measured"] is None
    assert second["comparisons"][0]["violated"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "must be one of chatterjee2022, liu2020, xu2025, lecture, all; got 'nobody'"),
        (["lecture", "--seed", "-1"], "--seed of talweg reproduce"),
        (["lecture", "--out", "file"], "--out of talweg reproduce must name a folder"),
        ([], "Missing argument 'SOURCE'"),
    ],
)
def test_misuse(
    talweg: Command, install: Callable[..., None], arguments: list[str], message: str
) -> None:
    install(good)
    Path("file").touch()
    done = talweg("reproduce", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert "Traceback" not in done.err


def test_an_interrupt(talweg: Command, install: Callable[..., None]) -> None:
    stop = True

    def interrupted(section: Section) -> None:
        if stop:
            raise KeyboardInterrupt
        good(section)

    install(bad, interrupted)
    done = talweg("reproduce", "lecture")
    assert done.code == 130
    assert "rate" in done.out  # what is finished was shown
    stop = False
    done = talweg("reproduce", "lecture")
    assert done.code == 1
    assert "1 of 2 sections were taken over" in done.out


def test_progress_on_a_terminal_leaves_piped_results_alone(tmp_path: Path) -> None:
    script = tmp_path / "fake.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from types import ModuleType
            from talweg.cli import main

            def first(section):
                section.progress("step 5 of 9")
                time.sleep(0.3)
                section.compare("q", predicted=1.0, relation="<=", measured=0.5, source="T1")

            module = ModuleType("talweg.experiments.lecture")
            module.__file__ = None
            module.SECTIONS = {"First [1]": first, "Second": first}
            sys.modules[module.__name__] = module
            main()
            """
        )
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, script, "reproduce", "lecture"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}, check=False, timeout=120,
    )  # fmt: skip
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    printed = done.stdout.decode()
    assert done.returncode == 0, seen
    assert "step 5 of 9" in seen
    assert "predicted" not in seen
    assert printed.count("predicted") == 2
    assert "First [1]\n" in printed
    assert "\x1b" not in printed
