"""The core of the checker stays short, stands alone, and holds no tolerance.

`python checker/tests/test_core.py` prints its length, module by module.
"""

from __future__ import annotations

import ast
import io
import sys
import textwrap
import tokenize
from pathlib import Path

import pytest

import talweg_check

PACKAGE = Path(talweg_check.__file__).parent
# What a reader of T11 for a squared loss and a network of tanh reads, in this order.
CORE = (
    "_check", "_claims", "_network", "_activations", "_lipschitz", "_linear_algebra", "_arrays",
    "_verdict",
)  # fmt: skip
# Parts of other modules without which the argument for T11 is not whole: what the residual and the
# step are, that radii grow and claims are positive, that stored numbers are read exactly.
PARTS = {
    "_losses": ("Squared", "_squared"),
    "_grammar": ("_claim", "_profile"),
    "_file": ("StoredArray.values", "_require_subnormals"),
}
LIMIT = 600
SILENT = (
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
)  # fmt: skip


def source(module: str) -> str:
    return (PACKAGE / f"{module}.py").read_text(encoding="utf-8")


def code_lines(text: str) -> int:
    """Lines that hold a token of code: no blank lines, comments, docstrings or imports."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            first = node.body[0]
            if ast.get_docstring(node, clean=False) is not None and first.end_lineno is not None:
                lines.difference_update(range(first.lineno, first.end_lineno + 1))
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node.end_lineno is not None:
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def part(module: str, name: str) -> str:
    """The source of one class, function or method."""
    text = source(module)
    node: ast.AST = ast.parse(text)
    for word in name.split("."):
        (node,) = (item for item in ast.iter_child_nodes(node) if getattr(item, "name", "") == word)
    assert isinstance(node, (ast.ClassDef, ast.FunctionDef))
    return textwrap.dedent("\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])) + "\n"


def core() -> list[tuple[str, str]]:
    """What the core is made of, by name."""
    modules = [(module, source(module)) for module in CORE]
    return modules + [
        (f"{module}.{name}", part(module, name))
        for module, names in PARTS.items()
        for name in names
    ]


def test_a_line_of_code_is_one_with_code() -> None:
    text = '"""One.\n\nTwo.\n"""\n\nfrom a import (\n  b,\n)\n# three\nx = (\n    1,  # four\n)\n\n'
    assert code_lines(text + '\ndef f():\n    "Five."\n') == 4


def table() -> str:
    """Lines of code and of text, module by module."""
    rows = [(name, code_lines(text), text.count("\n")) for name, text in core()]
    rows.append(("together", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    every = sorted(PACKAGE.rglob("*.py"))
    for name, second in (("whole checker, grade arb", False), ("beside it, grade float64", True)):
        paths = [path for path in every if path.stem.startswith("_float64") == second]
        texts = [path.read_text(encoding="utf-8") for path in paths]
        rows.append((name, sum(map(code_lines, texts)), sum(text.count("\n") for text in texts)))
    return "\n".join(f"{name:26} {code:4} of code, {text:4} in all" for name, code, text in rows)


def test_the_core_can_be_read_in_one_sitting() -> None:
    assert sum(code_lines(text) for _, text in core()) <= LIMIT, table()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_of_talweg_or_torch_is_imported(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            assert name.partition(".")[0] not in ("talweg", "torch"), name


# Every number of the core beside -1, 0, 1 and 2, and why none of them is a tolerance: a hint may be
# anything, precision and blocks decide width, time and memory, and the rest belongs to a formula.
NUMBERS: dict[str, dict[float, str]] = {
    "_check": {500: "characters of a reason"},
    "_claims": {
        128: "bits; undecided asks for more",
        1024: "bits; undecided asks for more",
        8192: "bits; undecided is then 'incomplete'",
    },
    "_network": {300: "rows of a block of the kernel", 3: "an axis"},
    "_activations": {
        3: "tanh: f''' = q (4 - 6 q); and an index",
        4: "tanh: f''' = q (4 - 6 q)",
        6: "tanh: f''' = q (4 - 6 q)",
        16.0: "beyond it nothing turns, which the catalogue shows for each function",
        129: "ends of the pieces at first; every piece is enclosed",
        50: "halvings of the pieces; those left are all kept",
        20_000: "pieces from which the answer is 'incomplete'",
        100: "rows of a block",
    },
    "_lipschitz": {4: "t^2 + 4 s^2: the eigenvalue of a 2 x 2 matrix"},
    "_linear_algebra": {
        500: "rows of a block of the residual",
        53: "bits of a factor that is a hint; its residual is exact",
        30: "2^-30, by which a hint is raised; 2^30, half of 2^31",
        52: "bits to which a product is rounded upwards",
        31: "bits of whole numbers whose products fit into 62",
        1.01: "by which the estimate of a size is raised, so that those bits suffice",
        0.5: "a square root",
        20: "2^20 columns, so that the sums of squares stay below 2^62 as well",
        10: "bits dropped, upwards, before squares are summed",
        42: "2^42 = 2^62 / 2^20, the square of 2^31 after dropping them",
        62: "bits below which int64 adds without overflow",
        8: "steps of a power iteration that is a hint",
        1e-9: "keeps the hint of that iteration positive",
    },
    "_arrays": {128: "bits of Arb"},
    "_verdict": {},
}  # fmt: skip


@pytest.mark.parametrize("module", CORE)
def test_no_number_of_the_core_is_a_tolerance(module: str) -> None:
    found = {
        node.value
        for node in ast.walk(ast.parse(source(module)))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, (int, float))
        and not isinstance(node.value, bool)
    }
    assert found - {0, 1, 2} == set(NUMBERS[module])


def test_no_comparison_of_the_core_is_approximate() -> None:
    for module in CORE:
        for node in ast.walk(ast.parse(source(module))):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
            assert name not in ("isclose", "allclose", "finfo", "round")


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
