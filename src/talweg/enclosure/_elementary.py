"""Elementary functions of intervals of floats: crival where it is installed, Arb otherwise.

The C libraries behind torch, NumPy and Python promise no correct rounding, so no value of theirs
is used. `crival` (module `ival`) returns the tightest float interval around
{f(x) : lo <= x <= hi}, from correctly rounded functions (CORE-MATH). Where it is missing, each end
is evaluated by Arb (`python-flint`) at 100 bits and rounded outward: sound and slow.

Trust: the environment variable IVAL_LIBRARY makes crival load another binary, and is refused. A
crival that found its library outside its own package is passed over for Arb. The library's SHA-256
is available from `arithmetic_backend()` for the record.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import os
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from talweg._errors import InputError, MissingDependencyError, UnsoundArithmeticError

INCREASING = ("exp", "log", "log1p", "tanh")
DECREASING = ("erfc",)
FUNCTIONS = (*INCREASING, *DECREASING, "sin", "cos")

_ARB_BITS = 100
_ARB_LOCK = threading.Lock()  # flint's precision is one global setting


@dataclass(frozen=True)
class ArithmeticBackend:
    """What evaluates the elementary functions.

    Args:
        name: "crival" or "python-flint".
        version: version of the library.
        sha256: digest of the shared library (empty for python-flint).
    """

    name: str
    version: str
    sha256: str


def refuse_redirected_library() -> None:
    """Raise when IVAL_LIBRARY is set.

    Raises:
        UnsoundArithmeticError: the variable is set, even to an empty file name.
    """
    value = os.environ.get("IVAL_LIBRARY")
    if value is not None:
        raise UnsoundArithmeticError(
            "The environment variable IVAL_LIBRARY must not be set: it makes crival load another "
            f"binary than the one in its package; got {value!r}. Unset it and start again."
        )


def arithmetic_backend() -> ArithmeticBackend:
    """The library that evaluates elementary functions in this process.

    Raises:
        UnsoundArithmeticError: IVAL_LIBRARY is set.
        MissingDependencyError: neither crival nor python-flint is installed.
    """
    refuse_redirected_library()
    module = _crival()
    if module is None:
        return ArithmeticBackend("python-flint", str(_flint().__version__), "")
    digest = hashlib.sha256(Path(module.library_path).read_bytes()).hexdigest()
    return ArithmeticBackend("crival", str(module.version()), digest)


def enclose(name: str, lo: Tensor, hi: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Floats around {f(x) : lo <= x <= hi}, elementwise.

    Args:
        name: one of `FUNCTIONS`.
        lo: float64 CPU tensor, finite.
        hi: the same shape, >= lo; None for the points lo.

    Returns:
        Lower and upper bounds, tensors of the same shape.

    Raises:
        InputError: an unknown name.
        UnsoundArithmeticError: the library returned NaN, an empty or an inverted interval.
    """
    if name not in FUNCTIONS:
        raise InputError(
            f"`name` of enclose(name, lo, hi) must be one of {', '.join(FUNCTIONS)}; got {name!r}."
            " Choose one of these."
        )
    below = np.ascontiguousarray(lo.detach().numpy())
    above = below if hi is None else np.ascontiguousarray(hi.detach().numpy())
    module = _crival()
    bottom, top = (
        _by_arb(name, below, above) if module is None else _by_crival(module, name, below, above)
    )
    if not bool(np.all(bottom <= top)):
        raise UnsoundArithmeticError(
            f"enclose({name!r}, ...) requires intervals from the elementary library; got NaN or "
            "an empty interval. Check the inputs for NaN, and the installation of "
            f"{'python-flint' if module is None else 'crival'}."
        )
    return torch.from_numpy(bottom), torch.from_numpy(top)


@cache
def _crival() -> ModuleType | None:
    refuse_redirected_library()
    try:
        module = importlib.import_module("ival")
    except (ImportError, OSError):
        return None
    home = Path(str(module.__file__)).resolve().parent
    return module if Path(module.library_path).resolve().parent == home else None


def _flint() -> ModuleType:
    try:
        return importlib.import_module("flint")
    except ImportError as error:
        raise MissingDependencyError(
            "Enclosures of activations require `crival` or `python-flint`; got neither. "
            "Install one: `pip install crival`, or `pip install python-flint`."
        ) from error


def _by_crival(
    module: ModuleType, name: str, lo: np.ndarray[Any, Any], hi: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    shape = lo.shape
    image = getattr(module, name)(module.Interval(lo.reshape(-1), hi.reshape(-1)))
    return np.asarray(image.lo).reshape(shape), np.asarray(image.hi).reshape(shape)


def _by_arb(
    name: str, lo: np.ndarray[Any, Any], hi: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    flint = _flint()
    bottom, top = np.empty_like(lo), np.empty_like(hi)
    with _ARB_LOCK, flint.ctx.workprec(_ARB_BITS):
        for i, (a, b) in enumerate(zip(lo.ravel().tolist(), hi.ravel().tolist(), strict=True)):
            x, y = flint.arb(a), flint.arb(b)
            if name in ("sin", "cos"):
                image = getattr(x.union(y), name)()
                ends = (image, image)
            elif name == "erfc":
                ends = (y.erfc(), x.erfc())
            else:
                ends = (getattr(x, name)(), getattr(y, name)())
            bottom.flat[i], top.flat[i] = _float_below(ends[0]), _float_above(ends[1])
    if name in ("sin", "cos", "tanh"):
        bottom, top = np.maximum(bottom, -1.0), np.minimum(top, 1.0)
    elif name in ("exp", "erfc"):
        bottom = np.maximum(bottom, 0.0)
    return bottom, top


def _float_below(x: Any) -> float:
    """A float <= every number of the Arb ball x; the conversion is within one float of x."""
    return math.nextafter(float(x.lower()), -math.inf)


def _float_above(x: Any) -> float:
    """A float >= every number of the Arb ball x."""
    return math.nextafter(float(x.upper()), math.inf)
