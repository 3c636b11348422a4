"""The command line with hostile specifications and arguments, inside this process."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import random
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tests.soundness.hostile.specs import NAMES, file_of_all
from tests.soundness.shard import Shard, Tally

from talweg.cli import main

CODES = (0, 1, 2, 3, 130)
PATIENCE = 60.0  # seconds of one command on a problem of four samples
SLOW = ("fake_expanded",)


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    code: object
    out: str
    err: str
    seconds: float


@contextlib.contextmanager
def _apart(folder: Path) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """A folder, streams and global settings of their own, all put back."""
    streams = sys.stdout, sys.stderr, sys.argv, list(sys.path), os.getcwd()
    state = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    out, err = io.StringIO(), io.StringIO()
    sys.stdout, sys.stderr = out, err
    try:
        os.chdir(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield out, err
    finally:
        os.chdir(streams[4])
        sys.stdout, sys.stderr, sys.argv, sys.path[:] = *streams[:3], streams[3]
        torch.set_grad_enabled(state[0])
        torch.set_default_dtype(state[1])
        torch.set_num_threads(state[2])
        for name in [name for name in sys.modules if name.startswith("talweg_spec_")]:
            del sys.modules[name]


def outcome(arguments: list[str], folder: Path) -> Outcome:
    """Runs `talweg` with these arguments."""
    with _apart(folder) as (out, err):
        sys.argv = ["talweg", *arguments]
        start = time.perf_counter()
        code: object = "no exit"
        try:
            main()
        except SystemExit as ended:
            code = 0 if ended.code is None else ended.code
        seconds = time.perf_counter() - start
    gc.collect()
    return Outcome(code, out.getvalue(), err.getvalue(), seconds)


def complaints(done: Outcome, arguments: list[str]) -> list[str]:
    """What is wrong with the way a command ended."""
    found = []
    if done.code not in CODES:
        found.append(f"exit code {done.code!r}")
    if "Traceback" in done.err or "internal error" in done.err:
        found.append("a traceback")
    wants_json = arguments[-1] == "--json" and not arguments[-2].startswith("--")
    if wants_json and done.code in (0, 1, 3) and not _is_object(done.out):
        found.append("no JSON object on stdout")
    if done.code == 2:
        said = re.findall(r"^talweg: error: |^Error: ", done.err, flags=re.MULTILINE)
        if len(said) != 1:
            found.append(f"{len(said)} messages on stderr")
        if done.out:
            found.append("output beside an error")
    if done.seconds > PATIENCE:
        found.append(f"{done.seconds:.0f} s")
    return found


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def left_behind(folder: Path, before: set[str]) -> set[str]:
    """Files that are new in the folder."""
    return _files(folder) - before


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip


COMMANDS: dict[str, list[str]] = {
    "certify": ["certify", "{}", "--no-attack", "--no-polish", "--json"],
    "polish": ["certify", "{}", "--no-attack", "--out", "case.talweg"],
    "attack": ["certify", "{}", "--no-polish", "--attack", "--json"],
    "target": ["certify", "{}", "--no-attack", "--no-polish", "--target", "0.1"],
    "T9": ["certify", "{}", "--no-attack", "--no-polish", "--theorem", "T9"],
    "entropy": ["certify", "{}", "--no-attack", "--no-polish", "--loss", "cross_entropy",
                "--label-smoothing", "0.1"],
    "measure": ["measure", "{}", "--json"],
    "diagnose": ["diagnose", "{}", "--steps", "12", "--json"],
    "scale": ["prescribe", "scale", "{}", "--descent-steps", "2"],
    "step": ["prescribe", "step", "{}", "--descent-steps", "2", "--json"],
    "train": ["prescribe", "train", "{}", "--max-steps", "3", "--check-every", "2",
              "--descent-steps", "2"],
    "init": ["prescribe", "init", "{}", "--descent-steps", "2"],
    "width": ["prescribe", "width", "{}", "--low", "4", "--high", "8", "--seeds", "1",
              "--descent-steps", "2"],
    "sweep": ["sweep", "{}", "--grid", "lr=0.01", "--steps", "3", "--out", "sweep", "--json"],
    "against": ["check", "garbage.talweg", "--against", "{}"],
}  # fmt: skip


def _specified(seed: int, cases: int = 12) -> Tally:
    """Specifications times commands; a case is one command."""
    rng = random.Random(seed)
    pairs = [(name, command) for name in NAMES for command in COMMANDS if name not in SLOW]
    chosen = [pairs[(seed * cases + i) * 1009 % len(pairs)] for i in range(cases)]
    rng.shuffle(chosen)
    lines = [[part.format(f"specs.py:{name}") for part in COMMANDS[command]]
             for name, command in chosen]  # fmt: skip
    return run_all(lines)


def run_all(lines: list[list[str]]) -> Tally:
    """Every command line in a folder of its own that holds `specs.py`."""
    violations, tracebacks, counts = [], [], Counter[str]()
    for arguments in lines:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "specs.py").write_text(file_of_all(), encoding="utf-8")
            (folder / "garbage.talweg").write_bytes(bytes(range(256)) * 4)
            before = _files(folder)
            shown = " ".join(repr(part) if not part or " " in part else part for part in arguments)
            try:
                done = outcome(arguments, folder)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and "interrupt" not in shown:
                    raise
                tracebacks.append(f"talweg {shown[:200]}: {type(error).__name__}: {error}"[:400])
                continue
            found = complaints(done, arguments)
            new = left_behind(folder, before)
            if done.code in (2, 130) and new - {"sweep/manifest.json"}:  # whole, to be resumed
                found.append(f"left {sorted(new)[:3]}")
            if any(name.endswith((".tmp", ".part")) or Path(name).name[0] == "." for name in new):
                found.append(f"half a file: {sorted(new)[:3]}")
            counts[str(done.code)] += 1
            if found:
                last = done.err.strip().splitlines()[-3:]
                violations.append(
                    f"talweg {shown[:200]}: {', '.join(found)}; {' | '.join(last)}"[:600]
                )
    return Tally(len(lines), tuple(violations), tuple(tracebacks), dict(counts))


HOSTILE = (
    "", " ", "nan", "inf", "-inf", "-1", "0", "1e999", "1e-999", "9" * 400, "0x10", "1_000", "1.5",
    "abc", "None", "true", "\u0661", "\ud83d\ude00", "a" * 5000, "../..", "/", "/dev/zero",
    "/dev/null", "/dev/full", "/nonexistent/x", "specs.py", "specs.py:", ":fine", "specs.py:fine",
    "specs.py:no", "specs.py:fine:fine", "os:getcwd", "os.path:join", "builtins:exit",
    "builtins:input", "builtins:breakpoint", "sys:exit", "..:x", "a b:c", "specs:fine", "-", "--",
    "--json", "--help", "@specs.py", "%s", "{}", "garbage.talweg", ".", "~", "*",
    "\n", "\t", "\x1b[31m",
    "[red]", "lr=", "lr=nan", "lr=0", "lr=-1", "lr=inf", "lr=1e400", "lr=0:3", "lr=1,1", "=1",
    "seed=0:999999999999", "seed=5:1", "seed=-1", "lr=a", "scale=0", "init=none",
    "x=1", "lr=1e308",
)  # fmt: skip
SLOTS: dict[str, list[str]] = {
    "demo": ["--out", "--seed"],
    "certify": ["", "--out", "--loss", "--label-smoothing", "--target", "--theorem", "--seed"],
    "check": ["", "--against"],
    "measure": ["", "--loss"],
    "diagnose": ["", "--optimizer", "--lr", "--batch", "--steps", "--loss"],
    "reproduce": ["", "--out", "--seed"],
    "sweep": ["", "--grid", "--steps", "--record-every", "--loss", "--target", "--out", "--jobs"],
    "prescribe scale": ["", "--form", "--headroom", "--loss", "--out", "--descent-steps"],
    "prescribe width": ["", "--low", "--high", "--multiple", "--resolution", "--seeds"],
    "prescribe step": ["", "--loss", "--out", "--descent-steps"],
    "prescribe train": ["", "--optimizer", "--lr", "--schedule", "--max-steps", "--check-every"],
    "prescribe init": ["", "--method", "--seed", "--out"],
}  # fmt: skip
SAFE = {"--grid": "lr=0.01", "--steps": "2", "--descent-steps": "2", "--low": "4", "--high": "8",
        "--seeds": "1", "--max-steps": "3", "--check-every": "2"}  # fmt: skip


def line(command: str, slot: str, value: str) -> list[str]:
    """A command with one hostile argument among harmless ones."""
    arguments = command.split()
    if "" in SLOTS[command]:
        arguments.append(value if slot == "" else "specs.py:fine")
    for option in SLOTS[command]:
        if option and option != slot and option in SAFE:
            arguments += [option, SAFE[option]]
    if slot:
        arguments += [slot, value]
    if command == "certify":
        arguments += ["--no-attack", "--no-polish"]
    return arguments


def _long(command: str, slot: str, value: str) -> bool:
    """Legitimate work that takes too long for a campaign, or waits for a keyboard."""
    if command in ("demo", "reproduce"):
        return slot == "--out" or (slot == "--seed" and value not in ("", "abc", "nan", "1.5"))
    if value in ("builtins:input", "builtins:breakpoint"):
        return slot in ("", "--against")
    counts = ("--steps", "--max-steps", "--descent-steps", "--seeds", "--high", "--low", "--jobs")
    return (slot in (*counts, "--multiple") and value.strip("0123456789_") == "" != value
            ) or ("999999" in value and slot == "--grid")  # fmt: skip


def _argued(seed: int, cases: int = 25) -> Tally:
    """One hostile argument at a time; a case is one command."""
    every = [(command, slot, value) for command, slots in SLOTS.items() for slot in slots
             for value in HOSTILE if not _long(command, slot, value)]  # fmt: skip
    chosen = [every[(seed * cases + i) * 1009 % len(every)] for i in range(cases)]
    return run_all([line(*parts) for parts in chosen])


UNDER_TEST = ("talweg.cli",)
SHARDS: tuple[Shard, ...] = (
    Shard("hostile/cli.specs", UNDER_TEST, 600, _specified),
    Shard("hostile/cli.arguments", UNDER_TEST, 500, _argued),
)
