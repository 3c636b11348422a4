"""Running the command line inside the test process, and writing specifications for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from talweg.cli import _plain_progress, main

PREAMBLE = """
import torch
from torch import nn

def data(n=6, d=3, k=1):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.randn(n, k, generator=generator, dtype=torch.float64)
    return X, y

def network(d=3, k=1, width=32, activation=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(d, width), activation or nn.Tanh(), nn.Linear(width, k))
    return model.double()
"""


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


Command = Callable[..., Outcome]
WriteSpec = Callable[[str], str]


@pytest.fixture
def talweg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``talweg`` with arguments, in this process and from the current directory."""

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["talweg", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        printed = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, printed.out, printed.err)

    return run


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress however slow the machine is; who tests progress sets another value."""
    monkeypatch.setattr(_plain_progress, "PATIENCE", 1e6)


@pytest.fixture(autouse=True)
def import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays in `sys.path`: a specification's folder may hold a name of somebody else."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def write_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteSpec:
    """Write a file with a function ``problem`` and return its specification.

    The test runs in ``tmp_path`` as its current directory.
    """
    monkeypatch.chdir(tmp_path)

    def write(body: str, name: str = "case.py") -> str:
        lines = "\n".join("    " + line for line in body.strip().splitlines())
        (tmp_path / name).write_text(f"{PREAMBLE}\ndef problem():\n{lines}\n")
        return f"{name}:problem"

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[], set[str]]:
    """Names of the files in the working folder, without what importing leaves there."""
    return lambda: {
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
