"""Progress where stderr is no terminal: which lines, when, and that ``--quiet`` has none."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from talweg.cli import _plain_progress
from talweg.cli._plain_progress import PlainProgress, plain_progress
from talweg.cli._progress import progress_shown
from talweg.experiments import Section

from .conftest import Command, WriteSpec

PROGRAM = [sys.executable, "-c", "from talweg.cli import main; main()"]
LINE = re.compile(r"talweg [a-z ]+: +\d+ s  [ -~]+")


class Clock:
    """Time that only passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Log:
    """Lines with a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_plain_progress, "PATIENCE", 5.0)
        self.clock, self.stream = Clock(), io.StringIO()
        self.progress = PlainProgress("talweg x", self.stream, self.clock)

    def after(self, seconds: float, stage: str | None = None) -> list[str]:
        """The lines that are new when so many seconds have passed, a tick in each half of them."""
        seen = len(self.lines)
        for _ in range(round(2 * seconds)):
            self.clock.now += 0.5
            self.progress.tick()
        if stage is not None:
            self.progress.say(stage)
        return self.lines[seen:]

    @property
    def lines(self) -> list[str]:
        return [line.removeprefix("talweg x: ").strip() for line in
                self.stream.getvalue().splitlines()]  # fmt: skip


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    return Log(monkeypatch)


def test_nothing_is_said_of_what_is_over_soon(log: Log) -> None:
    log.after(0, "one")
    log.after(2, "two")
    log.after(2)
    log.progress.close()
    assert log.lines == []


def test_a_stage_begins_lasts_and_ends(log: Log) -> None:
    assert log.after(0, "one") == []
    assert log.after(5) == ["5 s  one, for 5 s so far"]
    assert log.after(9) == []
    assert log.after(1) == ["15 s  one, for 15 s so far"]
    assert log.after(19) == []
    assert log.after(1) == ["35 s  one, for 35 s so far"]
    assert log.after(2, "two") == ["37 s  one: took 37 s"]
    assert log.after(3) == ["40 s  two, for 3 s so far"]  # five seconds after the last beginning
    log.progress.close()
    assert log.lines[-2:] == ["40 s  two, for 3 s so far", "40 s  finished"]


def test_a_short_stage_is_told_once(log: Log) -> None:
    log.after(6, "reading the model")
    log.after(1, "bounds for the weights as given")
    log.after(9, "writing the claim")
    log.progress.close()
    assert log.lines == [
        "6 s  reading the model",
        "11 s  bounds for the weights as given, for 4 s so far",
        "16 s  writing the claim",
        "16 s  finished",
    ]


def test_the_wait_grows_to_a_minute(log: Log) -> None:
    log.after(0, "one")
    told = [line.split(" s")[0] for line in log.after(300)]
    assert told == ["5", "15", "35", "75", "135", "195", "255"]


def test_stages_that_follow_each_other_at_once_do_not_flood(log: Log) -> None:
    log.after(10)
    for i in range(400):  # 200 seconds
        log.after(0.5, f"bounds after {i} steps, |r| = {1.5**-i:.3g}")
        log.progress.say(f"polishing {i}")
    begun = [line for line in log.lines if "took" not in line]
    assert 20 <= len(begun) <= 42  # two stages, each at most every ten seconds
    assert len(log.lines) <= 2 * len(begun)


def test_texts_that_differ_in_numbers_are_one_stage(log: Log) -> None:
    log.after(6, "3 of 1,000 trainings done")
    log.after(10, "17 of 1,000 trainings done")
    log.after(10, "29 of 1,000 trainings done")
    assert [line.split("  ")[1] for line in log.lines] == [
        "3 of 1,000 trainings done", "3 of 1,000 trainings done, for 10 s so far",
    ]  # fmt: skip
    assert log.after(10)[0].endswith("29 of 1,000 trainings done, for 30 s so far")


def test_text_of_strangers_stays_on_its_line(log: Log) -> None:
    log.after(6, "a\x1b[31m\nb\r" + "c" * 999)
    [line] = log.stream.getvalue().splitlines()
    assert line.isprintable()
    assert len(line) < 250


def test_a_stream_that_breaks_ends_the_lines_and_not_the_work(log: Log) -> None:
    log.stream.close()
    log.progress.say("one")
    log.clock.now += 10.0
    log.progress.tick()
    log.progress.close()


def test_lines_come_while_the_work_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("PATIENCE", "FIRST_REPEAT", "SPACING"):
        monkeypatch.setattr(_plain_progress, name, 0.02)
    monkeypatch.setattr(_plain_progress, "TICK", 0.01)
    before = threading.active_count()
    with plain_progress("talweg x") as say:
        say("long work")
        assert threading.Event().wait(0.3) is False
    assert threading.active_count() == before
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 4
    assert lines[-1].endswith("finished")


def test_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_plain_progress, "PATIENCE", 0.0)
    for quiet in (False, True):
        with progress_shown("talweg x", quiet=quiet) as say:
            say("one")
        assert bool(capsys.readouterr().err) is not quiet


@pytest.fixture
def commands(
    talweg: Command, write_spec: WriteSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[str]]:
    """Everything that can take long."""
    pytest.importorskip("pyarrow")
    spec = write_spec("return network(), *data()")
    small = write_spec("return network(width=5), *data()", "small.py")
    assert talweg("certify", spec, "--no-attack", "--out", "a.talweg").code == 0
    module = ModuleType("talweg.experiments.lecture")
    module.__file__ = None

    def section(section: Section) -> None:
        section.progress("training")

    module.SECTIONS = {"One": section}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return {
        "certify": [spec, "--json"],
        "check": ["a.talweg", "--json"],
        "falsify": ["a.talweg", "--seconds", "0.3", "--json"],
        "diagnose": [spec, "--steps", "20", "--json"],
        "report": ["a.talweg", "--no-check", "--json"],
        "reproduce": ["lecture", "--quick", "--json"],
        "sweep": [small, "--grid", "lr=0.01", "--steps", "10", "--json"],
        "prescribe train": [spec, "--max-steps", "300", "--descent-steps", "5", "--json"],
        "prescribe scale": [spec, "--descent-steps", "5", "--json"],
        "prescribe step": [spec, "--descent-steps", "5", "--json"],
        "prescribe init": [spec, "--descent-steps", "5", "--json"],
    }


def test_every_long_command_says_what_it_does(
    talweg: Command, commands: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_plain_progress, "PATIENCE", 0.0)
    for name, arguments in commands.items():
        done = talweg(*name.split(), *arguments)
        assert done.code in (0, 1), done.text
        json.loads(done.out)  # and nothing else
        lines = done.err.splitlines()
        assert len(lines) >= 2, name
        assert all(LINE.fullmatch(line) for line in lines), lines
        assert lines[0].startswith(f"talweg {name.split(' ')[0]}")
        assert lines[-1].endswith("finished")
        assert talweg(*name.split(), *arguments, "--quiet").err == ""


def test_a_terminal_that_cannot_redraw_gets_plain_lines(
    write_spec: WriteSpec, tmp_path: Path
) -> None:
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    spec = write_spec("return network(width=1), *data()")
    program = "from talweg.cli import _plain_progress, main\n_plain_progress.PATIENCE = 0.0\nmain()"
    seen: dict[str, str] = {}
    for term, extra in (("dumb", {}), ("xterm-256color", {"NO_COLOR": "1"})):
        ours, theirs = pty.openpty()
        environment: dict[str, Any] = {**os.environ, "TERM": term, **extra}
        environment.pop("FORCE_COLOR", None)
        subprocess.run(
            [sys.executable, "-c", program, "certify", spec], cwd=tmp_path, check=False,
            stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL, timeout=120.0,
            env=environment,
        )  # fmt: skip
        os.close(theirs)
        seen[term] = os.read(ours, 65536).decode()
        os.close(ours)
    assert "\x1b" not in seen["dumb"]
    assert "reading the model" in seen["dumb"]
    assert "\x1b[" in seen["xterm-256color"]  # the line is drawn again
    assert not re.search(r"\x1b\[(3[0-7]|9[0-7]|38|1;3[0-7])[;m]", seen["xterm-256color"])


@pytest.mark.parametrize("option", ["--out", "--output"])
def test_both_names_of_the_output(
    talweg: Command, write_spec: WriteSpec, tmp_path: Path, option: str
) -> None:
    spec = write_spec("return network(), *data()")
    assert talweg("certify", spec, "--no-attack", option, "a.talweg").code == 0
    assert talweg("report", "a.talweg", "--no-check", option, "b.html").code == 0
    assert talweg("prescribe", "step", spec, "--descent-steps", "5", option, "c.talweg").code == 1
    assert (tmp_path / "a.talweg").is_file()
    assert (tmp_path / "b.html").is_file()


def test_every_command_with_an_output_takes_both_names() -> None:
    import typer

    from talweg.cli._app import app

    def options(command: Any) -> list[list[str]]:
        if hasattr(command, "commands"):
            return [found for one in command.commands.values() for found in options(one)]
        return [parameter.opts for parameter in command.params if "--out" in parameter.opts]

    found = options(typer.main.get_command(app))
    assert len(found) == 11
    assert all(set(names) == {"--out", "--output"} for names in found)
