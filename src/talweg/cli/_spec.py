"""Loading a ``SPEC``: ``package.module:function`` or ``file.py:function``.

The function takes no arguments and returns ``(model, X, y)``, or a dict with the keys ``model``,
``X``, ``y`` and settings of `talweg.certify`, and ``X_test``, ``y_test`` for rows that are held out
(only `talweg prescribe` looks at them). Its file is run as a Python file is: whatever it
imports and does, happens. What it prints goes to stderr, so that stdout holds the result alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from talweg._errors import InputError, SpecError, TalwegError
from talweg.cli._outcome import described
from talweg.cli._spec_place import HELD_OUT, RETURNS, SETTINGS, spec_place


@dataclass(frozen=True, eq=False)
class Problem:
    """What a specification returned.

    Attributes:
        model: The module, as returned.
        X: Inputs, as returned; checked later, with the model at hand.
        y: Targets, likewise.
        settings: Arguments of `talweg.certify` that the specification fixes.
        held_out: Inputs and targets that are not trained on, or None.
    """

    model: nn.Module
    X: Tensor
    y: Tensor
    settings: dict[str, Any] = field(default_factory=dict)
    held_out: tuple[Tensor, Tensor] | None = None


def load_problem(spec: str) -> Problem:
    """Import the specification's function, call it, and check what it returns.

    Args:
        spec: ``package.module:function`` (looked up from the current directory as well) or
            ``file.py:function`` (the file's directory is importable, as for ``python file.py``).

    Raises:
        SpecError: It does not import, names no such function, fails, or returns something else.
    """
    with contextlib.redirect_stdout(sys.stderr):
        return _checked(spec, _call(spec, _function(spec, *_module_and_name(spec))))


def load_family(spec: str, arguments: tuple[str, ...]) -> Callable[..., Problem]:
    """Import the specification's function, to be called with keyword arguments.

    Args:
        spec: As for `load_problem`; the function has defaults for its parameters, so that the same
            specification serves the other commands.
        arguments: Names that it must take.

    Returns:
        A function of these keywords that calls it and checks what it returns.

    Raises:
        SpecError: As `load_problem`, or the function does not take one of the arguments.
    """
    with contextlib.redirect_stdout(sys.stderr):
        function = _function(spec, *_module_and_name(spec))
    try:
        inspect.signature(function).bind(**dict.fromkeys(arguments))
    except TypeError as error:
        names = ", ".join(arguments)
        raise SpecError(
            f"SPEC {spec!r} must name a function that can be called with {names}: {error}. Give it "
            "these parameters, with defaults: def problem(width=256, seed=0)."
        ) from None

    def member(**values: Any) -> Problem:
        with contextlib.redirect_stdout(sys.stderr):
            return _checked(spec, _guarded(spec, "the function failed", lambda: function(**values)))

    return member


@contextlib.contextmanager
def any_model_run(spec: str, command: str) -> Iterator[None]:
    """Report what fails while a command runs any model on any data: most failures are theirs.

    Raises:
        InputError: Something that is no error of talweg's own was raised.
    """
    try:
        yield
    except (TalwegError, MemoryError, OSError):
        raise
    except Exception as error:
        first = described(error).splitlines()[0]
        raise InputError(
            f"SPEC {spec!r} must return a model that runs on X, dense real data, and settings of "
            f"the right type; {command} got {first}. Try model(X) and the loss by hand."
        ) from error


def _module_and_name(spec: str) -> tuple[ModuleType, str]:
    where = spec_place(spec)
    if where.file is not None:
        return _module_from_file(spec, where.place, where.file), where.name
    return _module(spec, where.place), where.name


def _module_from_file(spec: str, place: str, path: Path) -> ModuleType:
    _make_importable(str(path.parent))
    # A name of its own, so that a file called like an installed package does not shadow it.
    name = f"talweg_spec_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    definition = importlib.util.spec_from_file_location(name, path)
    if definition is None or definition.loader is None:
        raise SpecError(f"SPEC {spec!r}: {path} cannot be read as a Python module. Check the file.")
    module = importlib.util.module_from_spec(definition)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up here
    loader = definition.loader
    try:
        _guarded(spec, f"{place} does not import", lambda: loader.exec_module(module))
    except SpecError:
        del sys.modules[name]
        raise
    return module


def _module(spec: str, place: str) -> ModuleType:
    _make_importable(os.getcwd())
    module: ModuleType = _guarded(
        spec, f"module {place} does not import", lambda: importlib.import_module(place)
    )
    return module


def _make_importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _function(spec: str, module: ModuleType, name: str) -> Callable[..., Any]:
    missing = object()
    function = getattr(module, name, missing)
    if function is missing:
        own = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value)
            and value.__module__ == module.__name__
            and not key.startswith("_")
        ]
        known = f"it defines {', '.join(own)}" if own else "it defines no public function"
        raise SpecError(
            f"SPEC {spec!r} must name a function of its module; there is no {name!r}: {known}."
        )
    if not callable(function):
        raise SpecError(
            f"SPEC {spec!r} must name a function; {name!r} is a {type(function).__name__}. Put it "
            f"into a function that returns {RETURNS}."
        )
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise SpecError(
            f"SPEC {spec!r} must name a function that can be called without arguments: {error}. "
            "Give its parameters defaults."
        ) from None
    except ValueError:  # a callable without a signature: the call itself will tell
        pass
    return function


def _call(spec: str, function: Callable[..., Any]) -> Any:
    return _guarded(spec, "the function failed", function)


def _guarded(spec: str, happened: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # foreign code may raise anything, and exit too
        what = f"{described(error)}{_position(error)}"
        raise SpecError(f"SPEC {spec!r}: {happened}: {what}") from None


def _position(error: BaseException) -> str:
    """Where foreign code failed, as `` (file, line n)``; empty where no frame of it is known."""
    if isinstance(error, SyntaxError):
        return ""  # its own text ends with the file and the line
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen")
    ]
    inner = [frame for frame in frames if "site-packages" not in frame.filename]
    frames = [frame for frame in inner if Path(frame.filename).is_file()] or frames
    if not frames or "importlib" in Path(frames[-1].filename).parts:
        return ""
    return f" ({frames[-1].filename}, line {frames[-1].lineno})"


def _checked(spec: str, returned: Any) -> Problem:
    settings: dict[str, Any] = {}
    held_out: tuple[Any, ...] = (None, None)
    if isinstance(returned, Mapping):
        known = ("model", "X", "y", *SETTINGS, *HELD_OUT)
        unknown = sorted(str(key) for key in returned if key not in known)
        absent = [key for key in ("model", "X", "y") if key not in returned]
        if unknown or absent:
            wrong = f"lacks {', '.join(absent)}" if absent else f"has {', '.join(unknown)}"
            raise SpecError(
                f"SPEC {spec!r} must return {RETURNS}; the dict {wrong}. Further keys may be "
                f"{', '.join((*SETTINGS, *HELD_OUT))}."
            )
        held_out = tuple(returned.get(key) for key in HELD_OUT)
        parts = (returned["model"], returned["X"], returned["y"])
        settings = {key: returned[key] for key in SETTINGS if key in returned}
    elif isinstance(returned, tuple | list) and len(returned) == 3:
        parts = (returned[0], returned[1], returned[2])
    else:
        length = f" of length {len(returned)}" if isinstance(returned, tuple | list) else ""
        raise SpecError(
            f"SPEC {spec!r} must return {RETURNS}; it returned a {type(returned).__name__}"
            f"{length}. Change what the function returns."
        )
    model, X, y = parts
    if callable(model) and not isinstance(model, nn.Module):
        model = _guarded(spec, "the model's function failed", model)
    if not isinstance(model, nn.Module):
        raise SpecError(
            f"SPEC {spec!r} must return a torch.nn.Module as the model; it returned a "
            f"{type(model).__name__}. Return {RETURNS}, in this order."
        )
    if (held_out[0] is None) != (held_out[1] is None):
        raise SpecError(
            f"SPEC {spec!r} must return both X_test and y_test, or neither; one is missing. "
            "Held-out inputs need their targets."
        )
    tensors: list[tuple[str, Any]] = [("X", X), ("y", y)]
    if held_out[0] is not None:
        tensors += zip(HELD_OUT, held_out, strict=True)
    for name, value in tensors:
        if not isinstance(value, Tensor):
            raise SpecError(
                f"SPEC {spec!r} must return {name} as a torch.Tensor; it returned a "
                f"{type(value).__name__}. Use torch.as_tensor({name})."
            )
    return Problem(
        model, X, y, settings, None if held_out[0] is None else (held_out[0], held_out[1])
    )
