"""Ctrl-C: one line, exit code 130, no half-written file; and what a terminal sees."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talweg.cli._progress import progress_shown

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

Command = Callable[..., Any]
WriteSpec = Callable[..., str]
PROGRAM = [sys.executable, "-c", "from talweg.cli import main; main()"]
LIMIT = 120.0


def test_an_interrupt_while_polishing(
    write_spec: WriteSpec, tmp_path: Path, folder: Callable[[], set[str]]
) -> None:
    """A real process with stderr on a terminal: its progress says when polishing has begun."""
    # Deep and narrow: many polishing steps, each with its bounds, take far longer than the signal.
    spec = write_spec(
        "layers = [nn.Linear(3, 48)]\n"
        "for _ in range(6):\n"
        "    layers += [nn.Tanh(), nn.Linear(48, 48)]\n"
        "layers += [nn.Tanh(), nn.Linear(48, 1)]\n"
        "return nn.Sequential(*layers).double(), *data(n=150)"
    )
    before = folder()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "certify", spec, "--out", "case.talweg"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(theirs)
    seen, interrupted, begun = b"", False, time.monotonic()
    try:
        while time.monotonic() - begun < LIMIT:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
            if b"polishing" in seen and not interrupted:
                process.send_signal(signal.SIGINT)
                interrupted = True
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        os.close(ours)
    assert interrupted
    assert process.returncode == 130, seen
    assert out == b""
    assert b"talweg: interrupted; no file was left half-written" in seen
    assert b"Traceback" not in seen
    assert folder() == before


def test_an_interrupt_while_saving(
    talweg: Command,
    write_spec: WriteSpec,
    folder: Callable[[], set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = write_spec("return network(), *data()")
    before = folder()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    done = talweg("certify", spec, "--no-attack", "--out", "case.talweg")
    assert done.code == 130
    assert done.out == ""
    assert done.err == "talweg: interrupted; no file was left half-written\n"
    assert folder() == before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("certify SPEC", "before the end"),
        ("certify SPEC --out a.talweg", "no file was left half-written"),
        ("measure SPEC", "before the end"),
        ("prescribe step SPEC", "before the end"),
        ("prescribe step SPEC --out a.talweg", "half-written"),
        ("sweep SPEC --grid lr=1", "no file was left half-written"),
    ],
)
def test_files_are_spoken_of_only_where_they_are_written(
    talweg: Command, write_spec: WriteSpec, command: str, words: str
) -> None:
    spec = write_spec("raise KeyboardInterrupt")
    done = talweg(*command.replace("SPEC", spec).split())
    assert done.code == 130
    assert done.out == ""
    assert done.err.startswith("talweg: interrupted")
    assert done.err.endswith(f"{words}\n")
    assert done.err.count("\n") == 1


def test_a_terminal_sees_a_frame_and_no_colour_where_it_is_refused(
    write_spec: WriteSpec, tmp_path: Path
) -> None:
    spec = write_spec("return network(width=1), *data()")  # undecided at once: p < N
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "1"}
    environment.pop("FORCE_COLOR", None)
    done = subprocess.run(
        [*PROGRAM, "certify", spec],
        cwd=tmp_path, stdout=theirs, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        env=environment, check=False, timeout=LIMIT,
    )  # fmt: skip
    os.close(theirs)
    printed = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 1
    assert done.stderr == b""
    assert "UNDECIDED" in printed
    assert "\u2502" in printed  # the frame of a rich table
    assert not any(f"\x1b[{code}m" in printed for code in range(30, 38))


def test_an_interrupt_that_was_swallowed_is_raised_at_the_next_stage() -> None:
    before = signal.getsignal(signal.SIGINT)
    with progress_shown("talweg certify") as say:
        say("one")
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            say("two")
    assert signal.getsignal(signal.SIGINT) is before
