"""Runs the cases against one mutant in a forked process with limits.

The parent has NumPy, flint and the materials in memory; a child throws its modules of the checker
away and imports them anew, one of them mutated.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import faulthandler
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn

from tests.soundness.mutation.mutants import (
    PACKAGE,
    ROOT_BLOCK,
    Mutant,
    instrumented,
    mutated,
    sources,
    tree,
)
from tests.soundness.mutation.registry import CASES, Checker
from tests.soundness.mutation.suite import prepare

RECORDER = "__enter_block__"
MEMORY = 3 * 2**30  # bytes beyond what the parent has mapped
SECONDS = 20  # of processor time, for one mutant
WAITING = 60  # seconds on the clock, for one mutant
SLACK = 10  # times the usual time of the selected cases, before a mutant counts as hanging


@dataclass(frozen=True)
class Outcome:
    """What killed a mutant; `killer` is None for a survivor."""

    killer: str | None
    message: str = ""


@dataclass(frozen=True)
class Coverage:
    """Per case: the blocks of the checker that it enters, and its seconds."""

    blocks: Mapping[str, frozenset[tuple[str, int]]]
    seconds: Mapping[str, float]

    def reaching(self, mutant: Mutant) -> list[str]:
        """The cases that enter the block of the mutant, the quickest first."""
        place = (mutant.module, mutant.block)
        chosen = [
            name
            for name, blocks in self.blocks.items()
            if mutant.block == ROOT_BLOCK or place in blocks
        ]
        return sorted(chosen, key=self.seconds.__getitem__)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the checker from given code."""

    def __init__(self, codes: Mapping[str, CodeType]) -> None:
        self.codes = codes

    def find_spec(
        self, fullname: str, path: object, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.codes:
            return None
        return importlib.util.spec_from_file_location(
            fullname,
            sources()[fullname],
            loader=self,
            submodule_search_locations=[str(sources()[fullname].parent)]
            if sources()[fullname].stem == "__init__"
            else None,
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.codes[module.__name__], module.__dict__)

    def get_code(self, fullname: str) -> CodeType:
        return self.codes[fullname]


@cache
def _genuine() -> dict[str, CodeType]:
    return {name: compile(tree(name), str(path), "exec") for name, path in sources().items()}


def _install(codes: Mapping[str, CodeType]) -> None:
    """Forgets these modules and has them imported from the given code next time."""
    for name in codes:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Finder(codes))


@cache
def _affected(module: str) -> frozenset[str]:
    """The module and all that import it, directly or not; the others stay as they are."""
    found = {module}
    while True:
        more = {name for name in sources() if not found.isdisjoint(_imported(name))} - found
        if not more:
            return frozenset(found)
        found |= more


@cache
def _imported(module: str) -> frozenset[str]:
    return frozenset(
        node.module
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module != PACKAGE
    )


@cache
def coverage() -> Coverage:
    """Every case once against the checker itself; raises where one fails."""
    prepare()
    _genuine()
    gc.collect()
    gc.freeze()  # children share these pages as long as nobody walks over them
    found = _in_child(_measure)
    if "failed" in found:
        raise AssertionError(f"the checker itself fails {found['failed']}: {found['message']}")
    return Coverage(
        {name: frozenset((m, b) for m, b in blocks) for name, blocks in found["blocks"].items()},
        found["seconds"],
    )


def _measure() -> dict[str, Any]:
    entered: set[tuple[str, int]] = set()
    setattr(builtins, RECORDER, entered.add)
    _install({name: instrumented(name, RECORDER) for name in sources()})
    blocks, seconds = {}, {}
    for name, case in CASES.items():
        entered.clear()
        start = time.process_time()
        try:
            case(Checker())
        except Exception:
            return {"failed": name, "message": traceback.format_exc(limit=-4)}
        seconds[name] = time.process_time() - start
        blocks[name] = list(entered)
    return {"blocks": blocks, "seconds": seconds}


_last_killer: dict[tuple[str, str], list[str]] = {}


def run(mutant: Mutant, at_most: float = SECONDS) -> Outcome:
    """The outcome of a mutant; cases that killed its neighbours go first."""
    known = coverage()
    names = known.reaching(mutant)
    favourites = _last_killer.setdefault((mutant.module, mutant.function), [])
    first = [name for name in reversed(favourites) if name in names]
    names = [*first, *(name for name in names if name not in first)]
    limit = 2 + SLACK * sum(known.seconds[name] for name in names)
    try:
        codes = {name: _genuine()[name] for name in _affected(mutant.module)}
        codes[mutant.module] = mutated(mutant)
    except (SyntaxError, ValueError, TypeError) as error:
        return Outcome("compilation", str(error))
    found = _in_child(lambda: _first_failure(codes, names), min(limit, at_most))
    killer = found["killer"]
    if killer in known.seconds:
        if killer in favourites:
            favourites.remove(killer)
        favourites.append(killer)
        del favourites[:-6]
    return Outcome(killer, found["message"])


def _first_failure(codes: Mapping[str, CodeType], names: Sequence[str]) -> dict[str, Any]:
    _install(codes)
    try:
        importlib.import_module(f"{PACKAGE}._check")
        importlib.import_module(f"{PACKAGE}._cli")
    except BaseException as error:
        return {"killer": "import", "message": repr(error)}
    for name in names:
        try:
            CASES[name](Checker())
        except BaseException as error:
            return {"killer": name, "message": f"{type(error).__name__}: {error}"[:300]}
    return {"killer": None, "message": ""}


def _in_child(work: Callable[[], dict[str, Any]], seconds: float | None = None) -> dict[str, Any]:
    """What `work` returns in a forked process; a process that dies is a kill as well."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
        child = os.fork()
    if child == 0:
        os.close(reading)
        _live(work, writing, seconds)
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if text:
        answer: dict[str, Any] = json.loads(text)
        return answer
    cause = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "no answer"
    return {"killer": f"process ({cause})", "message": ""}


def _live(work: Callable[[], dict[str, Any]], writing: int, seconds: float | None) -> NoReturn:
    try:
        faulthandler.disable()  # a mutant may well abort
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if seconds is not None:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, WAITING)  # one that waits uses no processor
            mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, hard))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("error")
            gc.disable()
            answer = work()
        _send(writing, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _send(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]
