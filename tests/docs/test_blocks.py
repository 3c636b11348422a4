"""Every Python block of the README and the pages runs, in order, in one namespace per page.

A block that cannot run is marked in the page, with the reason:
``<!-- skip: next "reason" -->``. Each is reported as a skipped test.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import SkipTest

import pytest
from tests.docs.pages import BETWEEN, PAGES, SETUP, is_skip, name_of, parse

WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
SKIPPED = [
    (name_of(page), example.line, example.parsed[1])
    for page in WITH_PYTHON
    for example in parse(page)
    if is_skip(example)
]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    name, document = name_of(page), parse(page)
    exec(SETUP.get(name, ""), document.namespace)
    ran = 0
    blocks = 0
    for example in document:
        if not is_skip(example):
            exec(BETWEEN.get((name, blocks), ""), document.namespace)
            blocks += 1
            stem = _named_file(example.parsed, tmp_path)
            if stem is not None:  # a later block may import it, and no other test shall
                monkeypatch.setitem(sys.modules, stem, None)
                monkeypatch.delitem(sys.modules, stem)
        try:
            example.evaluate()
        except SkipTest:
            continue
        ran += not is_skip(example)
    assert ran + sum(page_ == name for page_, _, _ in SKIPPED) == blocks
    assert ran > 0


@pytest.mark.parametrize(("page", "line", "reason"), SKIPPED)
def test_a_block_that_cannot_run_says_why(page: str, line: int, reason: str | None) -> None:
    assert reason is not None, f"{page}, line {line}: a skipped block needs a reason"
    assert len(reason) > 20, f"{page}, line {line}: a skipped block needs a reason"
    pytest.skip(f"{page}, line {line}: {reason}")


def test_code_has_a_language() -> None:
    """A fence without one would pass unseen."""
    bare = []
    for page in PAGES:
        inside = False
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if line.lstrip().startswith("```"):
                inside = not inside
                if inside and line.strip() not in ("```python", "```sh", "```text"):
                    bare.append(f"{name_of(page)}:{number}")
    assert bare == []


def _named_file(source: str, folder: Path) -> str | None:
    """Write a block that begins with ``# name.py`` to that file, as its reader would."""
    first = str(source).splitlines()[0]
    if not (first.startswith("# ") and first.endswith(".py")):
        return None
    path = folder / first.removeprefix("# ")
    path.write_text(str(source), encoding="utf-8")
    return path.stem
