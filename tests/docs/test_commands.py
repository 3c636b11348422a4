"""Every command on the pages exists: options, files, targets and extras; the quickstart's run."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.docs.pages import PAGES, ROOT, name_of, parse, shell_lines

from talweg.cli import main
from talweg.cli._app import app

INLINE = re.compile(r"(?<!`)`((?:talweg|python|make|pip) [^`\n]+)`(?!`)")
PLACEHOLDER = re.compile(r"[{}]|\.\.\.")
OTHERS = {"mkdocs", "pytest", "zensical"}
"""Modules of other projects that the pages name."""
QUICKSTART = ROOT / "docs" / "quickstart.md"


def commands() -> list[tuple[str, str]]:
    """Place and text of each command, of the blocks and of the running text."""
    found = []
    for page in PAGES:
        found += [(f"{name_of(page)}:{number}", line) for number, line in shell_lines(page)]
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
        found += [
            (name_of(page), command)
            for command in dict.fromkeys(INLINE.findall(text))
            if not PLACEHOLDER.search(command)
        ]
    return found


def test_there_are_commands() -> None:
    assert len(commands()) > 50


@pytest.mark.parametrize(
    ("place", "command"), commands(), ids=lambda text: text.split("#")[0].strip()
)
def test_a_command_exists(place: str, command: str) -> None:
    for part in re.split(r"&&|\|\|?", command.split(" #")[0]):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        if words:
            CHECKS[words[0]](words[1:], ":" in place)


def _talweg(arguments: list[str], whole: bool) -> None:
    """Parse without running; running text may name a command without its arguments."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        assert name in command.commands, f"talweg has no command {name}"
        command = command.commands[name]
    if hasattr(command, "commands"):
        assert not whole, "a group of commands needs one of them"
        return
    try:
        command.make_context(command.name, arguments)
    except Exception as error:  # typer may bring its own copy of click
        if whole or type(error).__name__ != "MissingParameter":
            raise


def _python(arguments: list[str], _: bool) -> None:
    if arguments[0] == "-m":
        module = ROOT.joinpath(*arguments[1].split("."))
        known = module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
        assert known or arguments[1] in sys.stdlib_module_names | OTHERS, arguments[1]
    else:
        assert (ROOT / arguments[0]).is_file(), arguments[0]


def _make(arguments: list[str], _: bool) -> None:
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "Makefile", ROOT / "benchmarks" / "peers.mk")
    )
    for target in (word for word in arguments if "=" not in word):
        assert re.search(rf"^{re.escape(target)}:", text, re.M), target


def _pip(arguments: list[str], _: bool) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert arguments[0] == "install"
    for word in arguments[1:]:
        extra = re.fullmatch(r"(?:talweg|\.)\[([\w,]+)\]", word)
        if extra is not None:
            assert set(extra[1].split(",")) <= project["optional-dependencies"].keys(), word


def _dask(arguments: list[str], whole: bool) -> None:
    assert arguments[0] in ("scheduler", "worker"), arguments[0]
    assert not whole or arguments[0] == "scheduler" or len(arguments) > 1, (
        "a worker needs an address"
    )


CHECKS: dict[str, Callable[[list[str], bool], None]] = {
    "talweg": _talweg,
    "python": _python,
    "python3": _python,
    "dask": _dask,
    "make": _make,
    "pip": _pip,
}


def test_the_quickstart_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    first = next(iter(parse(QUICKSTART)))
    (tmp_path / "train.py").write_text(first.parsed, encoding="utf-8")
    ran = 0
    for number, line in shell_lines(QUICKSTART):
        words = shlex.split(line, comments=True)
        if words[0] != "talweg":
            continue
        expected = re.search(r"# exit code (\d+)", line)
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = int(expected[1]) if expected else 0
        assert (ended.value.code or 0) == code, f"line {number}: {printed.out}{printed.err}"
        ran += 1
    assert ran >= 3
