"""The lines of the trusted code that docs/soundness.md names are those that a command counts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_lines_of_the_checker() -> None:
    command = [sys.executable, "checker/tests/test_core.py"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    counts = {name: int(n) for name, n in re.findall(r"^(.*?)\s+(\d+) of code", printed, re.M)}
    page = (ROOT / "docs/soundness.md").read_text()
    for name in ("together", "whole checker, grade arb", "beside it, grade float64"):
        assert re.search(rf"\b{counts[name]:,} lines\b", page), f"{name}: {counts[name]:,} lines"
