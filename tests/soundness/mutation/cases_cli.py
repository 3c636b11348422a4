"""The command line: exit codes, one line or one object, and data kept elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from tests.soundness.mutation import materials
from tests.soundness.mutation.materials import drafts, parts, saved, spoilt
from tests.soundness.mutation.registry import Checker, case, demand, refused

_paths: dict[str, str] = {}


def prepare() -> None:
    """Files with and without their data, and the data."""
    _paths["plain"] = saved(drafts()["plain"], "cli")
    lie = spoilt("plain")
    lie.claims["step_size"] *= 2
    _paths["lie"] = saved(lie, "cli-lie")
    for name in ("plain", "smoothed"):
        draft = drafts()[name]
        _paths[f"{name} bare"] = saved(draft, f"cli-{name}", leave_out=("inputs", "targets"))
        targets = draft.labels if name == "smoothed" else draft.problem.targets
        for key, array in (("x", draft.problem.inputs), ("y", targets)):
            path = materials.file(f"{name}-{key}.npy")
            np.save(path, array)
            _paths[f"{name} {key}"] = path
    for name, array in (
        ("vector", np.zeros(3)), ("cube", np.zeros((1, 1, 1))), ("big", np.zeros((2, 2), ">f8")),
        ("labels", np.zeros((2, 2), "<i8")), ("words", np.zeros((2, 2), "<i4")),
        ("scalar", np.zeros((), "<i8")),
        ("changed", drafts()["plain"].problem.targets * 2),
        ("wide", np.zeros((3, 5))), ("floats", np.zeros(3)),
    ):  # fmt: skip
        _paths[name] = materials.file(f"{name}.npy")
        np.save(_paths[name], array)
    _paths["pickled"] = materials.file("pickled.npy", b"\x80\x04]\x94.")  # an empty list
    _paths["nonsense"] = materials.file("nonsense.npy", b"nonsense")
    _paths["objects"] = materials.file("objects.npy")
    np.save(_paths["objects"], np.array([None]), allow_pickle=True)
    for kind in ("f2", "f4"):
        problem = drafts()["plain"].problem
        rounded = spoilt("plain")
        values = problem.inputs.astype(f"<{kind}")
        rounded.arrays["inputs"] = (values.tobytes(), {"f2": "F16", "f4": "F32"}[kind],
                                    values.shape)  # fmt: skip
        _paths[f"{kind} bare"] = saved(rounded, f"cli-{kind}", leave_out=("inputs", "targets"))
        _paths[f"{kind} x"] = materials.file(f"{kind}.npy")
        np.save(_paths[f"{kind} x"], values)
    tree, blob = parts(drafts()["plain"])
    tree["\u00e9"] = 0
    _paths["accent"] = materials.bound(materials.canonical(tree), blob, "cli-accent")


@contextlib.contextmanager
def outputs() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Both outputs, caught."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def call(checker: Checker, *words: str) -> tuple[int, str, str]:
    """Exit code and both outputs."""
    with outputs() as (out, err):
        code = checker.cli.main(list(words))
    return code, out.getvalue(), err.getvalue()


@case
def exit_codes_and_words(checker: Checker) -> None:
    claim = drafts()["plain"].tree()["claim"]
    said = call(checker, _paths["plain"])
    demand(said == (0, f"valid: every claim is confirmed\nproved: {claim}\n", ""), said)
    code, out, err = call(checker, _paths["lie"])
    lie = "invalid: the claims do not satisfy: eta sup|J|^2 <= 1 on the ball\nclaimed, NOT proved: "
    demand(code == 1 and out.startswith(lie) and err == "", out)
    code, out, err = call(checker, _paths["plain bare"])
    bare = "incomplete: unbound: the file leaves its data out, and none was given\nclaimed, NOT"
    demand(code == 3 and out.startswith(bare) and err == "", out)
    code, out, err = call(checker, _paths["nonsense"])
    demand(code == 1 and out.startswith("invalid: not a well") and out.count("\n") == 1, out)
    demand(checker.cli.CODES == {"valid": 0, "invalid": 1, "incomplete": 3}, "the exit codes")


@case
def one_object(checker: Checker) -> None:
    for name, code, verdict in (("plain", 0, "valid"), ("lie", 1, "invalid"),
                                ("plain bare", 3, "incomplete")):  # fmt: skip
        found, out, err = call(checker, _paths[name], "--json")
        record = json.loads(out)
        demand((found, err, out.count("\n")) == (code, "", 1), out)
        demand(sorted(record) == ["claim", "grade", "reason", "seconds", "verdict"], out)
        demand(record["grade"] == (None if code else "arb"), out)
        known = checker.check.check(_paths[name])
        demand((record["verdict"], record["reason"], record["claim"])
               == (verdict, known.reason, known.claim), out)  # fmt: skip
        demand(0 <= record["seconds"] < 100, out)
    times = iter((1.0, 3.23456))
    kept, checker.cli.time = (
        checker.cli.time,
        types.SimpleNamespace(perf_counter=lambda: next(times)),
    )
    try:
        _, out, _ = call(checker, _paths["lie"], "--json")
    finally:
        checker.cli.time = kept
    demand(json.loads(out)["seconds"] == 2.235, "milliseconds")


@case
def data_kept_elsewhere(checker: Checker) -> None:
    def given(file: str, x: str, y: str) -> list[str]:
        return [_paths[file], "--inputs", _paths[x], "--targets", _paths[y]]

    for name in ("plain", "smoothed"):
        code, out, _ = call(checker, *given(f"{name} bare", f"{name} x", f"{name} y"))
        demand(code == 0, out)
    for kind in ("f2", "f4"):
        code, out, _ = call(checker, *given(f"{kind} bare", f"{kind} x", "plain y"))
        demand(code == 1 and "disproved" in out, out)  # the hash is right
    code, out, _ = call(checker, *given("plain bare", "plain x", "changed"))
    demand(code == 1 and "the targets do not have the stated sha256" in out, out)
    code, out, _ = call(checker, *given("plain bare", "wide", "plain y"))
    demand(code == 1 and "the inputs do not have the stated sha256" in out, out)
    for name in ("wide", "cube", "labels"):
        code, out, _ = call(checker, *given("plain", name, "plain y"))
        demand(code == 1 and "the inputs do not have the stated sha256" in out, out)


@case
def misuse(checker: Checker) -> None:
    plain, x = _paths["plain"], _paths["plain x"]
    together = "talweg-check: --inputs and --targets must be given together\n"
    missing = materials.file("none.talweg")
    form = "must hold rows of little-endian float16, float32 or float64, or whole numbers: int64"
    for words, said in (
        ([missing], f"talweg-check: cannot read {missing}: No such file or directory\n"),
        ([str(materials.folder())], f"talweg-check: cannot read {materials.folder()}: Is a dir"),
        ([plain, "--inputs", x], together),
        ([plain, "--targets", x], together),
        *(([plain, "--inputs", _paths[name], "--targets", x],
           f"talweg-check: {_paths[name]} is not a readable .npy file (")
          for name in ("nonsense", "objects", "pickled")),
        ([plain, "--inputs", x, "--targets", missing],
         f"talweg-check: {missing} is not a readable .npy file (FileNotFoundError)\n"),
        *(([plain, "--inputs", _paths[name], "--targets", x],
           f"talweg-check: {_paths[name]} {form}\n")
          for name in ("vector", "big", "words", "scalar", "floats")),
    ):  # fmt: skip
        code, out, err = call(checker, *words)
        demand((code, out, err.count("\n")) == (2, "", 1) and err.startswith(said), (err, said))
    for words in ([], [plain, "more"], [plain, "--surprise"]):
        with outputs() as (_, err):
            try:
                checker.cli.main(words)
            except SystemExit as error:
                demand(error.code == 2, error.code)
                demand("usage: talweg-check " in err.getvalue(), err.getvalue())
            else:
                raise AssertionError(f"{words} is accepted")


@case
def a_crash_confirms_nothing(checker: Checker) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("x")

    checker.check.check, kept = broken, checker.check.check
    try:
        said = call(checker, _paths["plain"])
    finally:
        checker.check.check = kept
    words = "talweg-check: internal error (ZeroDivisionError('x')); nothing is confirmed\n"
    demand(said == (3, "", words), said)


class _Gone(io.StringIO):
    """An output whose reader has gone."""

    def __init__(self, at_flush: bool) -> None:
        super().__init__()
        self.at_flush = at_flush

    def write(self, text: str) -> int:
        if not self.at_flush:
            raise BrokenPipeError
        return super().write(text)

    def flush(self) -> None:
        if self.at_flush and self.getvalue():
            raise OSError(28, "no space left")


@case
def nobody_reads_the_output(checker: Checker) -> None:
    """The exit code speaks alone, and nothing is left to be flushed when the process ends."""
    for stream in (None, _Gone(False), _Gone(True)):
        kept, sys.stdout = sys.stdout, stream  # type: ignore[assignment]
        try:
            code = checker.cli.main([_paths["plain"]])
            left = sys.stdout
        finally:
            sys.stdout = kept
        demand(code == 0 and left is None, "the code, and no output")


@case
def nobody_reads_the_errors(checker: Checker) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, _Gone(False), closed):
        kept, sys.stderr = sys.stderr, stream  # type: ignore[assignment]
        try:
            code = checker.cli.main([materials.file("none.talweg")])
            other = checker.cli.main([_paths["plain"], "--inputs", _paths["plain x"]])
        finally:
            sys.stderr = kept
        demand((code, other) == (2, 2), "misuse all the same")


@case
def outputs_that_cannot_show_everything(checker: Checker) -> None:
    for encoding, shown in (("ascii", b"\\xe9"), ("latin-1", b"\xe9"), (None, b"\\xe9")):
        raw = io.BytesIO()

        class _Wrapped(io.TextIOWrapper):
            pass

        stream: Any = io.TextIOWrapper(raw, encoding=encoding or "ascii")
        if encoding is None:
            inner = stream
            stream = types.SimpleNamespace(write=inner.write, flush=inner.flush, encoding=None)
        kept, sys.stdout = sys.stdout, stream
        try:
            code = checker.cli.main([_paths["accent"]])
        finally:
            sys.stdout = kept
        text = raw.getvalue()
        demand(code == 1 and b"unknown key '" + shown + b"' in" in text, text)


@case
def threads_and_modules(checker: Checker) -> None:
    """BLAS runs in one thread unless told otherwise, and the entry points end with the code."""
    kept = os.environ.pop("OPENBLAS_NUM_THREADS", None)
    try:
        call(checker, _paths["plain"])
        demand(os.environ.get("OPENBLAS_NUM_THREADS") == "1", "one thread")
        os.environ["OPENBLAS_NUM_THREADS"] = "3"
        call(checker, _paths["plain"])
        demand(os.environ["OPENBLAS_NUM_THREADS"] == "3", "as told")
    finally:
        os.environ.pop("OPENBLAS_NUM_THREADS", None)
        if kept is not None:
            os.environ["OPENBLAS_NUM_THREADS"] = kept


@case
def entry_points(checker: Checker) -> None:
    words, sys.argv = sys.argv, ["talweg-check", _paths["lie"]]
    try:
        for name in ("talweg_check", "talweg_check._cli"):
            with outputs() as (out, _), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # the module is loaded already
                try:
                    runpy.run_module(name, run_name="__main__")
                except SystemExit as error:
                    demand(error.code == 1 and "invalid" in out.getvalue(), error.code)
                else:
                    raise AssertionError(f"{name} does not end the process")
    finally:
        sys.argv = words


@case
def public_names(checker: Checker) -> None:
    package = sys.modules["talweg_check"]
    demand(sorted(package.__all__) == ["Verdict", "check"], package.__all__)
    demand(package.check is checker.check.check, "the function")
    demand(package.Verdict is checker.check.Verdict, "the class")
    refused(lambda: package.surprise, AttributeError,
            "module 'talweg_check' has no attribute 'surprise'")  # fmt: skip
