"""The pages of the documentation, their blocks of code, and what a reader has at hand there."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_A_TRAINING = """
import torch
import talweg
torch.manual_seed(0)
X, y = torch.randn(64, 4), torch.randn(64, 1)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loss_fn = torch.nn.MSELoss()
loader = [(X[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)] * 3
"""

SETUP = {
    "docs/monitor.md": _A_TRAINING,
    "docs/schedulers.md": _A_TRAINING,
}
"""Python that stands for what the text of a page supposes, run before its first block."""

BETWEEN = {
    ("README.md", 1): "model, X, y = problem()",
    ("README.md", 2): _A_TRAINING,
}
"""Python that runs before a block, by page and number of the block."""


def name_of(page: Path) -> str:
    """The page as the tables above name it."""
    return page.relative_to(ROOT).as_posix()


def parse(page: Path) -> Document:
    """The page with its Python blocks, each evaluated in the page's one namespace, and skips."""
    return Document.parse(str(page), PythonCodeBlockParser(), SkipParser())


def is_skip(example: Example) -> bool:
    """Whether it is an instruction to skip the next block, and no block."""
    return isinstance(example.parsed, tuple)


@cache
def shell_lines(page: Path) -> tuple[tuple[int, str], ...]:
    """Number and text of every line of the blocks marked `sh`, without empty ones."""

    def keep(example: Example) -> None:
        del example

    found = []
    for example in Document.parse(str(page), CodeBlockParser("sh", keep)):
        for offset, line in enumerate(example.parsed.splitlines(), 1):
            if line.split("#")[0].strip():
                found.append((example.line + offset, line))
    return tuple(found)
