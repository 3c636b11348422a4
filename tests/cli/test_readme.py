"""What the README tells a newcomer to type works as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[2] / "README.md"


def test_it_starts_with_the_two_commands() -> None:
    lines = [line for line in README.read_text().splitlines() if line.startswith("make ")]
    assert [line.split()[1] for line in lines[:2]] == ["demo", "test"]


def test_the_example_specification(
    talweg: Callable[..., Any], write_spec: Callable[..., str], tmp_path: Path
) -> None:
    write_spec("pass", "unused.py")  # moves into the folder
    blocks = re.findall(r"```python\n# train\.py\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / "train.py").write_text(blocks[0])
    done = talweg("certify", "train.py:problem", "--no-attack", "--out", "run.talweg")
    assert done.code == 0, done.text
    assert talweg("check", "run.talweg").code == 0
    assert talweg("check", "run.talweg", "--against", "train.py:problem").code == 1  # polished
    assert talweg("measure", "train.py:problem").code == 0
