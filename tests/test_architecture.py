"""Imports point one way: each room names the rooms that it may import, and there are no circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TALWEG = ROOT / "src" / "talweg"
CHECKER = ROOT / "checker" / "src" / "talweg_check"

ANY = frozenset({"_display", "_durable", "_errors"})
"""Rooms that every other room may import."""

ALLOWED: dict[str, set[str]] = {
    "_display": set(),
    "_durable": set(),
    "_errors": set(),
    "nn": set(),
    "enclosure": set(),
    "verified": {"enclosure"},
    "theory": {"enclosure"},
    "network": {"enclosure", "verified", "nn"},
    "cluster": {"enclosure", "verified", "network"},
    "certificate": {"enclosure", "verified", "theory", "network", "cluster", "nn"},
    "falsification": {"enclosure", "verified", "theory", "network", "certificate"},
    "_measurement": set(),
    "_output_loss": set(),
    "_measure": {"_measurement", "_output_loss", "network", "theory"},
    "monitor": {"theory", "network", "report", "_output_loss"},
    "prescribe": {"enclosure", "verified", "theory", "network", "certificate", "nn"},
    "init": {"prescribe"},
    "optim": {"enclosure", "verified", "theory", "network", "certificate"},
    "sweep": {"network", "nn"},
    "report": set(),
}
"""From the ground up. `cli` and `experiments` stand on top and are treated apart."""

FACADE = {
    "_errors", "_measure", "_measurement", "certificate", "falsification", "init", "monitor",
    "network", "nn", "optim", "prescribe", "sweep",
}  # fmt: skip
"""What `talweg/__init__.py` gathers the public names from."""

TOP = {"cli": "any room", "experiments": "the public names of every room but cli"}


def modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """Dotted name within the package, and syntax tree, of each of its files."""
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        yield ".".join(parts), ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """Every absolute module or name that the tree imports, at any depth, type checking included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room they reach into"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    """The room of a dotted name inside talweg: its first part."""
    return name.split(".")[0]


def arrows() -> set[tuple[str, str, str]]:
    """(importing module, its room, imported room) inside talweg, without a room's own imports."""
    found = set()
    for module, tree in modules(TALWEG):
        for name in imported(tree):
            parts = name.split(".")
            if parts[0] != "talweg":
                continue
            target = parts[1] if len(parts) > 1 else "__init__"
            if not ((TALWEG / target).is_dir() or (TALWEG / f"{target}.py").is_file()):
                target = "__init__"  # a name of the facade
            if target != room_of(module):
                found.add((module, room_of(module), target))
    return found


def test_every_room_is_on_the_plan() -> None:
    rooms = {room_of(module) for module, _ in modules(TALWEG)} - {"__init__"}
    assert rooms <= ALLOWED.keys() | TOP.keys()


def test_imports_point_one_way() -> None:
    wrong = []
    for module, room, target in sorted(arrows()):
        if room == "cli" and target != "cli":
            continue
        if room == "experiments" and target != "cli":
            continue  # its own rule below
        allowed = FACADE if room == "__init__" else ALLOWED.get(room, set()) | ANY
        if target not in allowed:
            wrong.append(f"{module} imports {target}")
    assert wrong == []


def test_experiments_use_public_names_alone() -> None:
    wrong = []
    for module, tree in modules(TALWEG):
        if room_of(module) != "experiments":
            continue
        for name in imported(tree):
            parts = name.split(".")
            if parts[0] != "talweg" or set(parts[1:2]) <= {"experiments", *ANY}:
                continue
            if any(part.startswith("_") and not part.startswith("__") for part in parts):
                wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_nothing_imports_the_command_line() -> None:
    assert [module for module, _, target in arrows() if target == "cli"] == []


def test_only_the_command_line_imports_the_search_for_violations() -> None:
    importers = {room for _, room, target in arrows() if target == "falsification"}
    assert importers <= {"__init__", "cli"}


def test_the_plan_has_no_circles() -> None:
    remaining = {room: set(targets) for room, targets in ALLOWED.items()}
    while remaining:
        floor = {room for room, targets in remaining.items() if not targets & remaining.keys()}
        assert floor, f"a circle among {sorted(remaining)}"
        remaining = {room: targets for room, targets in remaining.items() if room not in floor}


@pytest.mark.parametrize("package", [TALWEG, CHECKER], ids=["talweg", "talweg_check"])
def test_no_circle_of_modules(package: Path) -> None:
    trees = dict(modules(package))
    names = {name.removesuffix(".__init__") for name in trees}

    def targets(module: str, tree: ast.Module) -> set[str]:
        found = set()
        for name in imported(tree):
            head, _, rest = name.partition(".")
            if head != package.name:
                continue
            parts = rest.split(".")
            for end in range(len(parts), 0, -1):
                candidate = ".".join(parts[:end])
                if candidate in names:
                    found.add(candidate)
                    break
        return found - {module}

    graph = {
        name.removesuffix(".__init__"): targets(name.removesuffix(".__init__"), _at_import(tree))
        for name, tree in trees.items()
        if name != "__init__"  # the facade imports on first use
    }
    while graph:
        leaves = {name for name, found in graph.items() if not found & graph.keys()}
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {name: found for name, found in graph.items() if name not in leaves}


def _at_import(tree: ast.Module) -> ast.Module:
    """The tree without function bodies and type-checking blocks, which no import runs."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            node.body = [ast.Pass()]
            return node

        def visit_If(self, node: ast.If) -> ast.AST:
            typing_only = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return ast.Pass() if typing_only else self.generic_visit(node)

    return ast.fix_missing_locations(Strip().visit(tree))


def test_theory_does_not_need_torch() -> None:
    for module, tree in modules(TALWEG):
        if room_of(module) == "theory":
            heads = {name.split(".")[0] for name in imported(tree)}
            assert "torch" not in heads, f"{module} imports torch"


def test_the_checker_stands_apart() -> None:
    trees = list(modules(CHECKER))
    assert trees, "the checker is missing"
    for module, tree in trees:
        heads = {name.split(".")[0] for name in imported(tree)}
        assert not heads & {"talweg", "torch", "scipy", "safetensors", "ival"}, module
