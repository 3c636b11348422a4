"""Options that take one of a few names: their case, and one line for a name that is unknown."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, get_args, get_type_hints

import pytest
import typer

from talweg.cli._app import app

from .conftest import Command, WriteSpec


def choices(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    """Command and option of everything that takes one of a few names."""
    if hasattr(command, "commands"):
        return [
            found for name, one in command.commands.items() for found in choices(one, (*path, name))
        ]
    return [
        (path, parameter.opts[0])
        for parameter in command.params
        if "|" in (parameter.metavar or "")
    ]


CHOICES = choices(typer.main.get_command(app))


def enumerations(typer_app: typer.Typer) -> int:
    """Parameters of the commands' functions whose type is an enumeration."""
    hints = [
        hint
        for command in typer_app.registered_commands
        if command.callback is not None
        for hint in get_type_hints(command.callback).values()
    ]
    own = sum(
        isinstance(kind, type) and issubclass(kind, StrEnum)
        for hint in hints
        for kind in (get_args(hint) or (hint,))
    )
    groups = [group.typer_instance for group in typer_app.registered_groups]
    return own + sum(enumerations(group) for group in groups if group is not None)


def test_every_enumeration_is_a_choice() -> None:
    assert enumerations(app) == len(CHOICES) > 10


@pytest.mark.parametrize(("command", "option"), CHOICES)
def test_an_unknown_name_gets_one_line(
    talweg: Command, command: tuple[str, ...], option: str
) -> None:
    done = talweg(*command, "case.py:problem", option, "hinge")
    assert done.code == 2
    assert done.out == ""
    [line] = [line for line in done.err.splitlines() if "rror" in line]
    assert line.startswith(f"Error: Invalid value for '{option}': must be one of ")
    assert line.endswith("; got 'hinge'.")


def test_case_does_not_matter(talweg: Command, write_spec: WriteSpec) -> None:
    spec = write_spec("return network(), *data()")
    done = talweg("certify", spec, "--no-attack", "--loss", "SSE", "--theorem", "t4", "--json")
    assert done.code in (0, 1), done.text
    record = json.loads(done.out)
    assert record["loss"] == "sse"
    assert record["theorem"] == "T4"
    assert talweg("measure", spec, "--loss", "MSE").code == 0
