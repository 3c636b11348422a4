"""``talweg watch``, and the live views of diagnose and Monitor, on real terminals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.cli.conftest import Command, WriteSpec
from tests.report.records import FINDINGS, HEADER, rows_of_descent, written

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

PROGRAM = [sys.executable, "-c", "from talweg.cli import main; main()"]
LIMIT = 100.0


def on_terminal(
    command: Sequence[str], folder: Path, then: Callable[[subprocess.Popen[bytes], str], None],
    stdout: bool = True,
) -> tuple[int, str, str]:  # fmt: skip
    """Exit code, what the terminal got, and stdout if that is a pipe.

    Args:
        command: What to run.
        folder: Where.
        then: Called with the process and the screen so far whenever that grew.
        stdout: Whether stdout is the terminal too, like stderr.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stderr=theirs,
        stdout=theirs if stdout else subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "90", "LINES": "30"},
    )  # fmt: skip
    os.close(theirs)
    seen, begun = b"", time.monotonic()
    try:
        while time.monotonic() - begun < LIMIT:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
            then(process, seen.decode("utf-8", "replace"))
        out = process.communicate(timeout=30)[0]
    finally:
        os.close(ours)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode, seen.decode("utf-8", "replace"), (out or b"").decode()


def test_once(talweg: Command, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [*rows_of_descent(3), {"step": 10, "findings": FINDINGS}])
    done = talweg("watch", path, "--once")
    assert done.code == 0, done.text
    assert done.out.startswith("step 10: loss ")
    assert "Step too small, 75% sure" in done.out
    assert done.out.count("\n") == 1
    assert talweg("watch", written(path, []), "--once").out == "step 0\n"


@pytest.mark.parametrize("flag", [[], ["--once"]])
def test_bad_input_is_one_message(talweg: Command, tmp_path: Path, flag: list[str]) -> None:
    (tmp_path / "x").write_text("hello\n")
    for name, words in (("absent", "a readable file"), ("x", "a record of a Monitor")):
        done = talweg("watch", tmp_path / name, *flag)
        assert done.code == 2, done.text
        assert f"FILE of talweg watch: {words} is required" in done.err
        assert done.out == ""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_follows_a_file_until_it_is_interrupted(tmp_path: Path, end: int) -> None:
    path = tmp_path / "run.jsonl"
    rows = rows_of_descent(5)
    path.write_text(json.dumps(HEADER) + "\n" + json.dumps(rows[0]) + "\n")
    grown = sent = False

    def then(process: subprocess.Popen[bytes], screen: str) -> None:
        nonlocal grown, sent
        if "1 looks" in screen and not grown:
            with path.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows[1:])
            grown = True
        if "5 looks" in screen and not sent:
            process.send_signal(end)
            sent = True

    code, screen, _ = on_terminal([*PROGRAM, "watch", str(path)], tmp_path, then)
    assert code == 0, screen
    assert "5 looks" in screen
    assert "Traceback" not in screen
    assert screen.rstrip().endswith("\x1b[?25h")


def test_diagnose_shows_the_run_and_keeps_json_clean(write_spec: WriteSpec, tmp_path: Path) -> None:
    spec = write_spec("X, y = data(64)\nreturn network(), X, y")
    command = [*PROGRAM, "diagnose", spec, "--steps", "40", "--json"]
    code, screen, out = on_terminal(command, tmp_path, lambda *_: None, stdout=False)
    assert code == 0, screen
    assert "talweg diagnose" in screen
    assert "of 40" in screen
    assert "PL ratio" in screen
    assert screen.rstrip().endswith("\x1b[?25h")
    assert json.loads(out)["findings"][0]["title"]


LIVE = """
import sys, time, torch, talweg
from torch import nn
model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss = nn.functional.mse_loss
with talweg.Monitor(model, optimizer, loss, every={"gradient": 1}, live=True) as m:
    for step in range(int(sys.argv[1])):
        m.step((torch.randn(8, 3), torch.randn(8, 2)))
        print("row", step)
        if step == 3 and sys.argv[2] == "fail":
            raise RuntimeError("on purpose")
        time.sleep(0.02)
"""


@pytest.mark.parametrize("how", ["fail", "interrupt"])
def test_a_monitor_leaves_the_terminal_clean(how: str, tmp_path: Path) -> None:
    sent = False

    def then(process: subprocess.Popen[bytes], screen: str) -> None:
        nonlocal sent
        if how == "interrupt" and "row 3" in screen and not sent:
            process.send_signal(signal.SIGINT)
            sent = True

    count = "100000" if how == "interrupt" else "8"
    code, screen, _ = on_terminal([sys.executable, "-c", LIVE, count, how], tmp_path, then)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen)
    assert code != 0
    assert "talweg Monitor" in plain
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h") == 1
    last = {"fail": "RuntimeError: on purpose", "interrupt": "KeyboardInterrupt"}
    assert plain.split("╯")[-1].strip().splitlines()[-1] == last[how]
    assert "row 2" in plain  # what the program prints goes above the panel
