"""The reference documents every public name, and the navigation holds every page."""

from __future__ import annotations

import importlib
import re

import pytest
from tests.docs.pages import PAGES, ROOT

FOLDER = ROOT / "docs" / "api"
DOCUMENTED = {
    found
    for page in FOLDER.glob("*.md")
    for found in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.M)
}
ROOMS = ["talweg", *(f"talweg.{name}" for name in ("monitor", "optim", "prescribe", "theory"))]
ELSEWHERE = {
    "talweg.__version__",
    *(f"talweg.{name}" for name in ("init", "optim", "prescribe")),  # rooms with pages of their own
    *(f"talweg.monitor.{name}" for name in ("Finding", "Monitor", "diagnose")),  # on the first page
}


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_documented(room: str) -> None:
    names = {f"{room}.{name}" for name in importlib.import_module(room).__all__}
    assert names - DOCUMENTED - ELSEWHERE == set()


def test_the_navigation_holds_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"- ([\w/-]+\.md)$", navigation, re.M)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]]
    assert sorted(listed) == sorted(pages)
