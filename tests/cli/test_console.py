"""What goes to stdout: folded at words on a terminal, one line each when piped, brackets kept."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from talweg import Certificate
from talweg._display import Sheet, folded, text_of
from talweg.certificate._certificate import AsGiven
from talweg.cli._console import plain_text, print_lines, print_result

CLAIM = (
    "Gradient descent from the stored weights (sha256 "
    f"{'ab' * 32}), training the 40 parameters of [input 4; linear 4->8 (weight trained, bias "
    "trained); tanh; linear 8->1 (weight trained)], converges [/b] to zero training loss."
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """stdout as a terminal of 60 columns without colour; no fixture, as pytest sets stdout too."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    for name, value in {"COLUMNS": "60", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    return stream


def certificate() -> Certificate:
    given = AsGiven("PROVED", "shown", None)
    return Certificate(
        "PROVED", "shown", "T11", "mse", 5, 1, 40, given, claim=CLAIM, network=None, step_size=0.1
    )


def words(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m|[\u2500-\u257f\s]", "", text)


def test_a_claim_on_a_terminal_is_folded_at_words_and_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdout = terminal(monkeypatch)
    print_lines([f"claim: {CLAIM}", "[short]"])
    *lines, last = stdout.getvalue().splitlines()
    assert last == "[short]"
    assert " ".join(line.strip() for line in lines) == f"claim: {CLAIM}"
    assert all(len(line) <= 60 or len(line.strip().split()) == 1 for line in lines)
    assert all(line.startswith("  ") for line in lines[1:])


def test_a_certificate_on_a_terminal_keeps_its_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = terminal(monkeypatch)
    print_result(certificate())
    assert words(CLAIM) in words(stdout.getvalue()).replace("claim", "", 1)
    shown = io.StringIO()  # as a program does that prints it with rich
    Console(file=shown, width=60).print(certificate())
    assert words(CLAIM) in words(shown.getvalue()).replace("claim", "", 1)


def test_a_claim_is_one_line_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines([f"claim: {CLAIM}"])
    print_result(certificate())
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"claim: {CLAIM}"
    assert f"{'claim':<20} {CLAIM}" in others
    assert plain_text("[linear 4->8]") == "[linear 4->8]\n"


def test_rows_are_folded_below_their_text() -> None:
    sheet = Sheet("", [("reason", "one two three four five six seven")], note="eight nine")
    assert text_of(sheet).splitlines() == [
        "reason               one two three four five six seven", "eight nine",
    ]  # fmt: skip
    assert text_of(sheet, 40).splitlines() == [
        "reason               one two three four",
        "                     five six seven",
        "eight nine",
    ]
    assert folded("a" * 30 + " b", 20) == "a" * 30 + "\nb"
