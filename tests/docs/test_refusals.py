"""`docs/refusals.md` and the messages in the code: each quotes the other, none is missing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.docs.pages import ROOT

SOURCE = ROOT / "src" / "talweg"
CHECKER = ROOT / "checker" / "src" / "talweg_check"
PAGE = (ROOT / "docs" / "refusals.md").read_text(encoding="utf-8")

GAP = "…"
READING = [
    "arrange", "attention", "builder", "call", "calls", "calls_layers", "calls_layout", "data",
    "evaluate", "gate", "genuine", "grammar", "isolate", "merge", "modules", "read", "refuse",
    "stored_layers", "trace", "value",
]  # fmt: skip
COVERED = [
    *(SOURCE / "network" / f"_{name}.py" for name in READING),
    *sorted((SOURCE / "certificate").glob("*.py")),
    *sorted((SOURCE / "cluster").glob("*.py")),
    *sorted((SOURCE / "prescribe").glob("*.py")),
    *(SOURCE / "cli" / f"_{name}.py" for name in ("spec", "spec_place", "paths")),
]
"""Files all of whose messages the page must quote."""

THEOREMS = ("squared", "composite", "target", "squared_target", "cross_entropy", "inexact_squared")
QUOTED = [SOURCE, CHECKER]
"""Where the page's quotations may come from."""

NO_REFUSAL = {
    "has no attribute", "unreachable", "in the profile is below its bound; please report",
    "steps went down by the share", "certified before training at width",
    "applies from iterate", "which is refused earlier; please report",
    "before it was moved to weights; please report",
    "a preconditioner was asked for before it was made; please report",
    "a kernel without trainable parameters was asked for; please report",
}  # fmt: skip
"""What no input produces, and reasons of a proof."""


def text_of(node: ast.expr) -> str:
    """The words of a string expression, with a gap for what is put in."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(text_of(v) if isinstance(v, ast.Constant) else GAP for v in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left) + text_of(right)
    return GAP


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and words of what is raised, refused or answered."""
    for node in ast.walk(tree):
        texts: list[ast.expr] = []
        if isinstance(node, ast.Call) and called(node) == "Answer":
            texts = node.args[1:2]
        elif isinstance(node, ast.Call) and called(node).endswith(("Error", "unsupported")):
            texts = node.args[:1]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name | ast.Attribute):
            target = node.targets[0]
            name = target.id if isinstance(target, ast.Name) else target.attr
            texts = [node.value] if name in ("reason", "hopeless") else []
        for text in map(text_of, texts):
            if len(text.replace(GAP, "").strip()) > 8:
                yield node.lineno, text


@cache
def quotations() -> tuple[str, ...]:
    """What stands between double backticks on the page."""
    return tuple(found.strip() for found in re.findall(r"``+(?!`)(.+?)``+", PAGE))


def matches(quotation: str, message: str) -> bool:
    """Whether the pieces of the quotation stand in the message, in this order."""
    place = 0
    for piece in filter(None, (part.strip() for part in quotation.split(GAP))):
        place = message.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return True


@pytest.mark.parametrize("file", COVERED, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_message_is_missing(file: Path) -> None:
    missing = [
        f"{line}: {message}"
        for line, message in messages(ast.parse(file.read_text(encoding="utf-8")))
        if not any(words in message for words in NO_REFUSAL)
        and not any(matches(quotation, message) for quotation in quotations())
    ]
    assert missing == []


def test_no_message_calls_things_by_internal_names() -> None:
    wrong = [
        f"{path.name}, {line}: {message}"
        for path in SOURCE.rglob("*.py")
        for line, message in messages(ast.parse(path.read_text(encoding="utf-8")))
        if re.search(r"of talweg's|of the gate\b", message)
    ]
    assert wrong == []


def test_every_quotation_is_in_the_code() -> None:
    words = {
        text_of(node)
        for folder in QUOTED
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr | ast.Constant)
    }
    invented = [q for q in quotations() if not any(matches(q, message) for message in words)]
    assert [q for q in invented if not q.startswith("T11 (…)")] == []


def test_no_hypothesis_is_missing() -> None:
    names = set()
    for theorem in THEOREMS:
        tree = ast.parse((SOURCE / "theory" / f"_{theorem}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in ("below", "above", "known"):
                names.add(text_of(node.args[0]))
    assert names
    assert {name for name in names if f"`{name}`" not in PAGE and name != GAP} == set()
