"""The mutants of a module of the checker: where, what, and a key that survives other edits."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType

from tests.soundness.mutation.operators import changes

PACKAGE = "talweg_check"
ROOT_BLOCK = 0  # the body of the module, which every case runs
Key = tuple[str, str, str, str, int]  # module, enclosing function, before, after, occurrence
Slot = tuple[ast.AST, str, int | None]

SPEECH = {"Invalid", "Incomplete", "Misuse", "write", "ArgumentParser", "add_argument", "TypeVar"}
STATEMENTS = {"require", "require_at_least", "require_power"}  # their last argument is a message
SKIPPED = {"annotation", "returns", "decorator_list", "type_params"}


@dataclass(frozen=True)
class Mutant:
    """One node replaced.

    Attributes:
        module: Dotted name.
        function: Qualified name of the innermost function or class; "" at the top.
        operator: The name of the change.
        before: The code around the node.
        after: The same code with the change.
        occurrence: How many mutants of this function before it read the same.
        line: For people.
        block: The innermost block of statements that holds the node.
        slot: The place in the tree of the module.
        node: What stands there instead.
    """

    module: str
    function: str
    operator: str
    before: str
    after: str
    occurrence: int
    line: int
    block: int
    slot: Slot
    node: ast.AST

    @property
    def key(self) -> Key:
        """What the list of equivalents calls it."""
        return (self.module, self.function, self.before, self.after, self.occurrence)

    def __str__(self) -> str:
        where = f"{self.module}:{self.line} {self.function or 'top'}"
        return f"{where} [{self.operator}] {self.before!r} -> {self.after!r} ({self.occurrence})"


@cache
def sources() -> dict[str, Path]:
    """The modules of the checker and their files, without those of its grade float64.

    That grade has no cases here yet: checker/tests/test_float64_*.py is what it has.
    """
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    names = {}
    for path in sorted(Path(folder).rglob("*.py")):
        if path.stem.startswith("_float64"):
            continue
        parts = path.relative_to(folder).with_suffix("").parts
        names[".".join([PACKAGE, *(part for part in parts if part != "__init__")])] = path
    return names


@cache
def tree(module: str) -> ast.Module:
    """The syntax of a module, one object for all its mutants."""
    return ast.parse(sources()[module].read_text(encoding="utf-8"))


@cache
def mutants(module: str) -> tuple[Mutant, ...]:
    """All mutants of a module, in the order of its lines."""
    return tuple(_Walk(module).all())


def mutated(mutant: Mutant) -> CodeType:
    """The code of the module with the change made; the shared tree is as before afterwards."""
    parent, field, at = mutant.slot
    old = _exchange(mutant.slot, mutant.node)
    try:
        return compile(tree(mutant.module), str(sources()[mutant.module]), "exec")
    finally:
        _exchange((parent, field, at), old)


def _exchange(slot: Slot, new: ast.AST) -> ast.AST:
    parent, field, at = slot
    if at is None:
        old: ast.AST = getattr(parent, field)
        setattr(parent, field, new)
    else:
        place = getattr(parent, field)
        old, place[at] = place[at], new
    return old


class _Walk:
    """Visits a tree and numbers its blocks of statements in the order of `instrumented`."""

    def __init__(self, module: str) -> None:
        self.module, self.root = module, tree(module)
        self.blocks = block_numbers(self.root)
        self.seen: dict[tuple[str, str, str], int] = {}

    def all(self) -> Iterator[Mutant]:
        yield from self._below(self.root, [], [], ROOT_BLOCK)

    def _below(
        self, node: ast.AST, above: list[ast.AST], names: list[str], block: int
    ) -> Iterator[Mutant]:
        for field, value in ast.iter_fields(node):
            if field in SKIPPED:
                continue
            inner = self.blocks.get((id(node), field), block)
            if isinstance(value, list):
                for at, child in enumerate(value):
                    if isinstance(child, ast.AST):
                        yield from self._one((node, field, at), child, above, names, inner)
            elif isinstance(value, ast.AST):
                yield from self._one((node, field, None), value, above, names, inner)

    def _one(
        self, slot: Slot, node: ast.AST, above: list[ast.AST], names: list[str], block: int
    ) -> Iterator[Mutant]:
        parents = [*above, slot[0]]
        if _is_left_alone(node, parents, self.module):
            return
        if not _is_message(node, slot, self.module):
            for operator, new in changes(node):
                if _is_superfluous(operator, node, parents):
                    continue
                before, after = self._texts(slot, node, new, parents)
                if before == after:
                    continue
                name = ".".join(names)
                count = self.seen.get((name, before, after), 0)
                self.seen[name, before, after] = count + 1
                line = next(x.lineno for x in (node, *parents[::-1]) if hasattr(x, "lineno"))
                yield Mutant(
                    self.module, name, operator, before, after, count, line, block, slot, new
                )
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names = [*names, node.name]
        yield from self._below(node, parents, names, block)

    def _texts(
        self, slot: Slot, node: ast.AST, new: ast.AST, parents: Sequence[ast.AST]
    ) -> tuple[str, str]:
        """The code of the smallest piece around the node that is long enough to be told apart."""
        piece: ast.AST = node
        for parent in reversed(parents):
            if isinstance(piece, (ast.expr, ast.stmt)) and len(_head(piece)) >= 16:
                break
            if isinstance(parent, (ast.Module, ast.FunctionDef, ast.ClassDef, ast.arguments)):
                break
            if isinstance(parent, ast.stmt) and isinstance(piece, ast.expr):
                compound = isinstance(parent, (ast.If, ast.For, ast.While, ast.With, ast.Try))
                if compound:
                    break
            if isinstance(parent, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
                break
            piece = parent
        if piece is node:
            return _head(node), _head(new)
        before = _head(piece)
        old = _exchange(slot, new)
        try:
            return before, _head(piece)
        finally:
            _exchange(slot, old)


def _head(node: ast.AST) -> str:
    """The code of a node, of a compound statement its first line."""
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    if isinstance(node, ast.comprehension):
        return ast.unparse(node).strip()
    return ast.unparse(node)


def _is_left_alone(node: ast.AST, parents: Sequence[ast.AST], module: str) -> bool:
    parent = parents[-1]
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # docstrings, and ... in protocols
    if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id
        if name.startswith("__") or name in ("Balls", "Jet", "Floats", "Counts", "Data"):
            return True
    if isinstance(node, ast.ClassDef) and any(
        isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases
    ):
        return True
    if isinstance(node, ast.Delete):
        return True  # of a name that is not used
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return True  # zips of lists whose lengths agree
    if isinstance(node, ast.ExceptHandler):
        return False
    return isinstance(parent, ast.Subscript) and _is_text(node)


def _is_superfluous(operator: str, node: ast.AST, parents: Sequence[ast.AST]) -> bool:
    """Changes that raise at the first use, or that stand beside one which is as telling."""
    parent = parents[-1]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        told = isinstance(parent, (ast.Compare, ast.Tuple, ast.List, ast.IfExp, ast.JoinedStr))
        in_table = any(isinstance(x, (ast.Assign, ast.AnnAssign)) for x in parents) and not any(
            isinstance(x, ast.FunctionDef) for x in parents
        )
        return not told and not in_table
    if operator == "element dropped":
        return isinstance(parent, ast.Subscript) or any(isinstance(x, ast.Dict) for x in parents)
    if operator == "constant" and isinstance(node, ast.Constant):
        if isinstance(parent, ast.UnaryOp) and _is_reshape(parents[-2]):
            return True  # NumPy takes any negative number for the rest
        subscript = isinstance(parent, (ast.Subscript, ast.Tuple)) and any(
            isinstance(x, ast.Subscript) for x in parents[-2:]
        )
        return subscript and isinstance(node.value, int) and node.value > 1
    return False


def _is_reshape(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "reshape"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))


def _is_message(node: ast.AST, slot: Slot, module: str) -> bool:
    """Text for people, and text whose every change raises at once."""
    parent, field, _ = slot
    if isinstance(node, ast.Raise):
        return False
    if isinstance(parent, ast.JoinedStr) or isinstance(node, ast.JoinedStr):
        return not module.endswith("._sentence")
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return False
    if isinstance(parent, ast.Call) and field == "args":
        function = parent.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in SPEECH or name in STATEMENTS:
            return True
    if isinstance(parent, ast.keyword) and parent.arg in ("prog", "description", "help", "metavar"):
        return True
    return isinstance(parent, (ast.Raise, ast.Assign, ast.Return, ast.FormattedValue))


def block_numbers(root: ast.Module) -> dict[tuple[int, str], int]:
    """A number for every list of statements, by the identity of its owner and the field."""
    numbers = {(id(root), "body"): ROOT_BLOCK}
    for node in ast.walk(root):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            own = not isinstance(node, (ast.Module, ast.ClassDef))
            if own and isinstance(statements, list) and statements:
                numbers[id(node), field] = len(numbers)
    return numbers


def instrumented(module: str, recorder: str) -> CodeType:
    """The code of the module in which every block begins by calling `recorder` (module, block)."""
    root = ast.parse(sources()[module].read_text(encoding="utf-8"))
    numbers = block_numbers(root)
    for node in list(ast.walk(root)):
        for field in ("body", "orelse", "finalbody"):
            number = numbers.get((id(node), field))
            if number:
                body = getattr(node, field)
                call = ast.Expr(
                    ast.Call(
                        ast.Name(recorder, ast.Load()),
                        [ast.Tuple([ast.Constant(module), ast.Constant(number)], ast.Load())],
                        [],
                    )
                )
                body.insert(0, call)
    return compile(ast.fix_missing_locations(root), str(sources()[module]), "exec")
