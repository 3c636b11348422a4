"""The notebooks run as they stand, and their stored outputs are those of such a run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="pip install 'talweg[test]'")
nbclient = pytest.importorskip("nbclient", reason="pip install 'talweg[test]'")
pytest.importorskip("ipykernel", reason="pip install 'talweg[test]'")

ROOT = Path(__file__).resolve().parents[2]
SAID = {
    "certify_your_model": ["UNDECIDED", "PROVED", "valid", "this proves nothing", "every claim"],
    "why_does_it_stall": ["step too small", "dead units", "noise floor reached"],
}
"""What a reader is to see: words that the outputs hold, whatever the last digits are."""
MOST_BYTES = 100_000
PATIENCE = 120  # seconds for one cell


def read(name: str) -> Any:
    return nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)


def outputs(notebook: Any) -> list[Any]:
    return [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        # A library may say on stderr what it likes.
        if not (output.output_type == "stream" and output.name == "stderr")
    ]


def texts(found: list[Any]) -> str:
    return "\n".join(
        str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
        for output in found
    )


@pytest.fixture
def sockets() -> Iterator[str]:
    """A folder with a short name: that of a socket has at most some hundred letters."""
    with tempfile.TemporaryDirectory(prefix="nb-") as folder:
        yield folder


def test_every_notebook_is_listed() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.ipynb")} == SAID.keys()


@pytest.mark.parametrize("name", SAID)
def test_stored_outputs(name: str) -> None:
    path = ROOT / "examples" / f"{name}.ipynb"
    assert path.stat().st_size < MOST_BYTES
    notebook = read(name)
    found = outputs(notebook)
    assert [o for o in found if o.output_type == "error"] == []
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))  # run once, from top to bottom
    assert all(words in texts(found) for words in SAID[name])
    stored = json.dumps(notebook)
    assert "<script" not in stored
    assert "/tmp/" not in stored
    assert "/home/" not in stored


@pytest.mark.parametrize("name", SAID)
def test_it_runs(name: str, tmp_path: Path, sockets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_client.manager import AsyncKernelManager

    # No kernel, profile or socket of whoever runs the tests.
    for variable in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", sockets)
    notebook = read(name)
    stored = outputs(read(name))
    client = nbclient.NotebookClient(
        notebook, timeout=PATIENCE, resources={"metadata": {"path": str(tmp_path)}},
        km=AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel"),
    )  # fmt: skip
    client.execute(cleanup_kc=True)  # raises where a cell does
    found = outputs(notebook)
    assert all(words in texts(found) for words in SAID[name])
    assert [o.output_type for o in found] == [o.output_type for o in stored]
