"""Where a ``SPEC`` points: its form, and whether its file or module can be found.

Nothing here loads torch or the specification, so that a mistyped name is told at once and not after
seconds of imports. Nor does anything become importable here: what a folder holds must not stand in
front of what torch imports.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from talweg._errors import SpecError

FORMS = "package.module:function or file.py:function"
RETURNS = "(model, X, y), or a dict with the keys model, X and y"
SETTINGS = ("loss", "label_smoothing", "target", "theorem", "polish", "attack", "seed")
"""Arguments of `talweg.certify` that the dict may hold."""
HELD_OUT = ("X_test", "y_test")
HELP = (
    f"{FORMS}; it returns {RETURNS}, and where wanted {', '.join(SETTINGS)} (as in "
    f"talweg.certify) or {' and '.join(HELD_OUT)} (rows held out)."
)
"""What `--help` says of ``SPEC``."""


@dataclass(frozen=True)
class Place:
    """What a specification names.

    Attributes:
        place: The file or module as written.
        name: The function's name.
        file: The file, or None where a module is named.
    """

    place: str
    name: str
    file: Path | None


def spec_place(spec: str) -> Place:
    """Split a specification and look its file or module up, without running either.

    Args:
        spec: ``package.module:function`` or ``file.py:function``.

    Raises:
        SpecError: It has another form, or there is no such file or module.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise SpecError(
            f"SPEC must be {FORMS}; got {spec!r}. Write for example train.py:problem, where "
            f"problem() returns {RETURNS}."
        )
    if place.endswith(".py") or os.sep in place or "/" in place:
        return Place(place, name, _file(spec, place))
    _require_module(spec, place)
    return Place(place, name, None)


def _file(spec: str, place: str) -> Path:
    path = Path(place).resolve()
    if not path.is_file() or path.suffix != ".py":
        raise SpecError(
            f"SPEC {spec!r} must name a Python file; there is no file {path}, or it does not end "
            "in .py. Check the path."
        )
    return path


def _require_module(spec: str, place: str) -> None:
    parts = place.split(".")
    if not all(part.isidentifier() for part in parts):
        raise SpecError(
            f"SPEC must be {FORMS}; {place!r} of {spec!r} is no module name. A file is named with "
            "its ending, as in train.py:problem."
        )
    # Only the first part: looking for the others would import it.
    if not _may_exist(parts[0]):
        raise SpecError(
            f"SPEC {spec!r} must name a module that can be imported; there is no module "
            f"{parts[0]}, neither installed nor in {os.getcwd()}. A file is named with its "
            "ending, as in train.py:problem."
        )


def _may_exist(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        here = PathFinder.find_spec(module, [os.getcwd()])
        return here is not None or importlib.util.find_spec(module) is not None
    except Exception:  # a finder that fails: the import itself will tell
        return True
