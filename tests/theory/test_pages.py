"""The pages of docs/theory: all of them listed, every name on them exists, every link leads."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "theory"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.stem != "README")


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\)", (FOLDER / "README.md").read_text(), re.M)
    assert all(name == target for name, target in listed)
    assert sorted(name for name, _ in listed) == [path.stem for path in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_names_and_links_of_a_page(page: Path) -> None:
    text = page.read_text()
    for name in set(re.findall(r"`(talweg(?:\.\w+)+)`", text)):
        owner, _, attribute = name.rpartition(".")
        module = importlib.import_module(owner)
        assert hasattr(module, attribute), name
    for link in re.findall(r"\]\(([^)#\s]+\.md)\)", text):
        assert (FOLDER / link).is_file(), link
