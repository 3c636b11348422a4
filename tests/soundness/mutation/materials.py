"""Certificates that hold, made once per process by the genuine checker's own test generator."""

from __future__ import annotations

import atexit
import copy
import math
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
_TESTS = str(ROOT / "checker" / "tests")
if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)

from classifier import EntropyDraft, smoothed_draft, target_draft  # noqa: E402
from generator import Draft, Problem, canonical, chain, decode, encode, make, write  # noqa: E402
from graph_reference import Dense, by_columns, matrix_of, table  # noqa: E402
from graphs import Build, GraphDraft, Model, apply  # noqa: E402
from reference import attack, lipschitz, second_derivative  # noqa: E402
from test_rounding import FloatDraft  # noqa: E402

__all__ = [
    "Build", "Dense", "GraphDraft", "Model", "apply", "attack", "by_columns", "canonical",
    "chain", "decode", "lipschitz", "matrix_of", "second_derivative", "table",
]  # fmt: skip
SOFT = {"beta": 2.0, "threshold": 20.0}


@cache
def folder() -> Path:
    """A folder that goes with the process; children leave without tidying up."""
    path = Path(tempfile.mkdtemp(prefix="talweg-mutation-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def file(name: str, data: bytes | None = None) -> str:
    """The path of a file, written when there is something to write."""
    path = folder() / name
    if data is not None:
        path.write_bytes(data)
    return str(path)


def _plain(problem: Problem, scaling: str = "mean", theorem: str = "T11") -> Draft:
    problem.targets = problem.targets + 1e-6  # the fit may have come out perfect
    return Draft(problem, theorem, scaling).measure().conclude()


def _slow(problem: Problem, theorem: str, scaling: str) -> Draft:
    """T4 or T7, whose radius is larger."""
    draft = Draft(problem, theorem, scaling).measure([1e-3])
    reach = 3 * draft.r / draft.sigma
    target = 0.3 * draft.r**2 * draft.coefficient if theorem == "T7" else None
    return draft.measure([reach / 2, reach]).conclude(target=target)


def _float(problem: Problem, scaling: str = "mean") -> FloatDraft:
    draft = FloatDraft(problem, "T9", scaling).measure([1e-3])
    draft.measure([8 * draft.r / draft.sigma])
    return draft.draw()


@cache
def drafts() -> dict[str, Draft]:
    """By name; not to be changed, see `spoilt`.

    Deep ones have two outputs: with one, the bound for graphs confirms what B3 does not.
    """
    half = [("tanh", {}), ("identity", {})]
    found: dict[str, Draft] = {
        "plain": _plain(make([3, 6, 1], samples=3)),
        "wide": _plain(make([3, 7, 2], "sigmoid", samples=3, repeats=1), "sum"),
        "deep": _plain(make([3, 5, 4, 2], samples=3, goal=1e-6), "half_sum"),
        "deepest": _plain(make([2, 4, 3, 3, 2], samples=3, goal=1e-7)),
        "mixed": _plain(make([3, 4, 4, 2], [("silu", {}), ("sigmoid", {})], samples=2, goal=1e-6)),
        "sine": _plain(make([3, 4, 1], "sin", samples=2)),
        "gelu_tanh": _plain(make([3, 4, 1], "gelu_tanh", samples=2)),
        "first": _plain(make([4, 8, 1], "gelu", samples=3, frozen=("2.weight", "2.bias"))),
        "last": _plain(make([4, 8, 1], samples=3, frozen=("0.weight", "0.bias"))),
        "middle": _plain(make([4, 5, 5, 1], samples=3, frozen=("2.weight", "2.bias"))),
        "biases": _plain(make([4, 5, 5, 2], samples=3, frozen=("0.bias", "2.bias", "4.bias"))),
        "weights": _plain(make([4, 8, 1], samples=2, frozen=("2.weight",))),
        "unbiased": _plain(make([4, 8, 1], samples=3, bias=False)),
        "linear": _plain(make([5, 1], samples=3)),
        "scaled": _plain(make([3, 6, 1], samples=3, scale=(3.0, 2.5))),
        "identity": _plain(make([3, 5, 4, 1], half, samples=3, goal=1e-6)),
        "soft": _plain(make([3, 6, 1], [("softplus", SOFT)], samples=3)),
        "leaky": _plain(make([3, 6, 1], [("smooth_leaky_relu", {"slope": 0.2})], samples=3)),
        "T4": _slow(make([3, 8, 1], samples=3, seed=3), "T4", "mean"),
        "T7": _slow(make([3, 9, 1], samples=3, goal=1e-2, seed=3), "T7", "sum"),
        "T9": _float(make([3, 6, 1], samples=3)),
        "T9 wide": _float(make([3, 6, 2], "sigmoid", samples=3, repeats=1), "half_sum"),
        "T9 deep": _float(make([3, 5, 4, 1], samples=3, bias=False), "sum"),
        "smoothed": smoothed_draft(widths=[3, 9, 3], samples=3),
        "smoothed sum": smoothed_draft("sum", widths=[3, 8, 2], samples=3, repeats=1),
        "target": target_draft(),
        "target sum": target_draft("sum"),
    }
    for dtype in ("F32", "F16", "BF16"):
        names = dict.fromkeys(["weights/0.weight", "weights/2.bias"], dtype)
        found[dtype] = _plain(make([3, 6, 1], samples=3, dtypes=names))
    return found


def spoilt(name: str) -> Any:
    """A copy of a draft that may be changed."""
    genuine = drafts()[name]
    result = copy.copy(genuine)
    result.claims = copy.deepcopy(genuine.claims)
    result.arrays, result.counts = dict(genuine.arrays), dict(genuine.counts)
    result.problem = copy.deepcopy(genuine.problem)
    if isinstance(genuine, EntropyDraft):
        result.labels = genuine.labels.copy()
    return result


def saved(draft: Draft, name: str, **options: Any) -> str:
    """The path of the file of a draft."""
    return str(draft.save(folder() / f"{name}.talweg", **options))


def bound(text: bytes, blob: bytes, name: str) -> str:
    """The path of a file with these two members."""
    return str(write(folder() / f"{name}.talweg", text, blob))


def parts(draft: Draft) -> tuple[Any, bytes]:
    """The tree of a draft, to be changed, and its arrays."""
    return copy.deepcopy(draft.tree()), draft.blob()


def encoded(values: Any) -> tuple[bytes, str]:
    """The bytes of binary64 numbers, and their dtype."""
    return encode(values, "F64")


def larger(x: float) -> float:
    """The next binary64."""
    return math.nextafter(x, math.inf)
