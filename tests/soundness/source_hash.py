"""The identity of the code under test: a hash over the syntax trees of all modules it is made of.

Comments, docstrings and layout do not count; everything that runs does.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Where a module of the project may lie; everything else is a dependency and is not followed.
SEARCHED = (ROOT / "src", ROOT / "checker" / "src", ROOT / "checker" / "tests", ROOT)
OURS = ("talweg", "talweg_check", "tests")


def code_hash(modules: Iterable[str]) -> str:
    """The first 16 hex digits of a sha256 over the modules and all of ours that they import.

    Args:
        modules: Dotted names; a package stands for its ``__init__`` and what that imports.

    Raises:
        LookupError: A name is no module of the project.
    """
    waiting, seen = list(modules), {}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        path = _file(name)
        if path is None:
            raise LookupError(f"{name!r} is no module of the project")
        seen[name], imported = _tree(path, name)
        waiting += [found for found in imported if found not in seen and _file(found) is not None]
    state = hashlib.sha256()
    for name in sorted(seen):
        state.update(f"{name}\n{seen[name]}\n".encode())
    return state.hexdigest()[:16]


@cache
def _file(name: str) -> Path | None:
    parts = name.split(".")
    for folder in SEARCHED:
        if folder == ROOT and parts[0] != "tests":
            continue
        stem = folder.joinpath(*parts)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


@cache
def _tree(path: Path, name: str) -> tuple[str, tuple[str, ...]]:
    """The hash of one module without its docstrings, and the modules that it may import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            imported.append(base)
            imported += [f"{base}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _without_docstring(node)
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    # `import talweg` alone names the whole package; one that reaches into a room names that room.
    return digest, tuple(sorted({found for found in imported if found not in OURS[:1]}))


def _without_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> None:
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:]
