"""What is built: both wheels hold their package and nothing else, are typed and complete."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = {
    "talweg": (ROOT, ROOT / "src" / "talweg"),
    "talweg_check": (ROOT / "checker", ROOT / "checker" / "src" / "talweg_check"),
}
EXTRAS = {
    "check", "dask", "demo", "docs", "lightning", "lint", "report", "reproduce", "tensorboard",
    "test", "transformers",
}  # fmt: skip
"""At least these; what a message names must be among them."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the wheel and the source distribution of each project."""
    pytest.importorskip("hatchling", reason="pip install 'talweg[test]'")
    folders = {}
    for name, (project, _) in PROJECTS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(folders[name])]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    return folders


def wheel(built: dict[str, Path], name: str) -> zipfile.ZipFile:
    [path] = built[name].glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")
    return zipfile.ZipFile(path)


def metadata(built: dict[str, Path], name: str) -> Message:
    with wheel(built, name) as archive:
        [member] = [m for m in archive.namelist() if m.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(member))


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_holds_its_package_and_nothing_else(built: dict[str, Path], name: str) -> None:
    _, package = PROJECTS[name]
    expected = {
        f"{name}/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with wheel(built, name) as archive:
        held = {m for m in archive.namelist() if ".dist-info/" not in m}
        licences = [m for m in archive.namelist() if m.endswith("licenses/LICENSE")]
    assert held == expected
    assert f"{name}/py.typed" in held
    assert len(licences) == 1


def test_the_page_is_in_the_wheel(built: dict[str, Path]) -> None:
    with wheel(built, "talweg") as archive:
        held = set(archive.namelist())
    assert {f"talweg/report/templates/page.{end}" for end in ("html", "css", "js")} <= held


@pytest.mark.parametrize("name", PROJECTS)
def test_metadata(built: dict[str, Path], name: str) -> None:
    found = metadata(built, name)
    project = tomllib.loads((PROJECTS[name][0] / "pyproject.toml").read_text())["project"]
    assert found["Name"].replace("-", "_") == name
    assert found["Version"] == project["version"]
    assert found["License-Expression"] == "MIT"
    assert found["Requires-Python"] == ">=3.11"
    assert found["Summary"]
    assert found["Author"] == "talweg authors"
    assert found["Description-Content-Type"] == "text/markdown"
    assert len(str(found.get_payload())) > 1000
    classifiers = found.get_all("Classifier")
    assert classifiers is not None
    assert "Typing :: Typed" in classifiers
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in classifiers


def test_extras(built: dict[str, Path]) -> None:
    assert set(metadata(built, "talweg").get_all("Provides-Extra") or ()) >= EXTRAS


def test_both_have_one_version() -> None:
    versions = {
        tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
        for project, _ in PROJECTS.values()
    }
    import talweg_check

    assert versions == {talweg_check.__version__}


def test_the_checker_needs_neither_torch_nor_talweg(built: dict[str, Path]) -> None:
    needed = metadata(built, "talweg_check").get_all("Requires-Dist")
    assert needed is not None
    assert sorted(line.split(">")[0].strip() for line in needed) == ["numpy", "python-flint"]


@pytest.mark.parametrize("name", PROJECTS)
def test_a_source_distribution_builds_the_same_wheel(built: dict[str, Path], name: str,
                                                     tmp_path: Path) -> None:  # fmt: skip
    [path] = built[name].glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "w")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    [again] = (tmp_path / "w").glob("*.whl")
    with zipfile.ZipFile(again) as one, wheel(built, name) as other:
        assert {m: one.getinfo(m).CRC for m in one.namelist()} == {
            m: other.getinfo(m).CRC for m in other.namelist()
        }


def test_every_extra_that_a_message_names_exists(built: dict[str, Path]) -> None:
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        for extras in re.findall(r"talweg\[([\w,]+)\]", path.read_text(encoding="utf-8")):
            named |= set(extras.split(","))
    assert named <= set(metadata(built, "talweg").get_all("Provides-Extra") or ())
    assert "report" in named
