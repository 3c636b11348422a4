"""Options that take one of a few names, in whatever case they are written."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import typer


def choice(kind: type[StrEnum], text: str) -> Any:
    """An option for `typing.Annotated` whose value is a member of ``kind``.

    typer's own choices report an unknown name as an invalid value with a value error, one inside
    the other; here the reader gets the names and what came.

    Args:
        kind: Its values are the names, which must differ in more than case.
        text: The option's help.
    """
    return typer.Option(parser=_member_of(kind), metavar=f"[{'|'.join(kind)}]", help=text)


def _member_of(kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    members = {member.value.casefold(): member for member in kind}

    def parse(value: str) -> StrEnum:
        member = members.get(str(value).strip().casefold())
        if member is None:
            raise typer.BadParameter(f"must be one of {', '.join(kind)}; got {str(value)!r}.")
        return member

    return parse
