"""Checking that a result can be written before the long work starts."""

from __future__ import annotations

import tempfile
from pathlib import Path

from talweg._errors import InputError


def require_writable_file(path: Path, option: str, example: str = "a.talweg") -> None:
    """Check that ``path`` can be created or replaced.

    A temporary file is made beside it and removed, which is what saving will do; permissions
    alone do not tell on every file system.

    Raises:
        InputError: The folder is missing or not writable, or ``path`` is no regular file.
    """
    requirement = f"{option} must name a file that can be written"
    if path.is_dir():
        raise InputError(f"{requirement}; {path} is a folder. Add a file name: {path / example}")
    if path.exists() and not path.is_file():
        raise InputError(f"{requirement}; {path} is no regular file. Choose another path.")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{requirement}; there is no folder {folder}. Create it first.")
    _try_to_write(folder, requirement)


def make_writable_folder(folder: Path, option: str) -> None:
    """Create ``folder`` where it is missing, and check that files can be made in it.

    Raises:
        InputError: It cannot be created, is no folder, or nothing can be written into it.
    """
    requirement = f"{option} must name a folder that can be written to"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{requirement}; {folder} cannot be made: {error.strerror}. Choose another path."
        ) from None
    _try_to_write(folder, requirement)


def _try_to_write(folder: Path, requirement: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{requirement}; nothing can be written into {folder.resolve()}: {error.strerror}. "
            "Choose another path."
        ) from None
