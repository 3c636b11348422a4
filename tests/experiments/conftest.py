"""A small experiment in the place of a real one, with a log of what was run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from talweg.experiments import Section


@dataclass
class Fake:
    """Sections that stand in for ``talweg.experiments.lecture``, and the titles that were run."""

    module: ModuleType
    ran: list[str] = field(default_factory=list)

    def section(self, title: str, function: Callable[[Section], None]) -> None:
        """Add a section; running it is logged."""

        def logged(section: Section) -> None:
            self.ran.append(title)
            function(section)

        self.module.SECTIONS[title] = logged


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    source = tmp_path / "lecture_source.py"
    source.write_text("first = 1\n")
    module = ModuleType("talweg.experiments.lecture")
    module.__file__ = str(source)
    module.SECTIONS = {}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "talweg.experiments.lecture", module)
    return Fake(module)
