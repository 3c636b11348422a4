"""The public names are a contract: a change here is a change of the contract."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import talweg

PUBLIC = {
    "Certificate",
    "CertificateFileError",
    "ClusterError",
    "Falsification",
    "InputError",
    "Measurement",
    "MissingDependencyError",
    "Monitor",
    "ReadingError",
    "SpecError",
    "TalwegError",
    "TangentKernel",
    "UnsoundArithmeticError",
    "UnsupportedModelError",
    "__version__",
    "certify",
    "falsify",
    "init",
    "diagnose",
    "Finding",
    "measure",
    "nn",
    "optim",
    "prescribe",
    "sweep",
    "tangent_kernel",
}


def test_the_list_is_pinned() -> None:
    assert set(talweg.__all__) == PUBLIC
    assert len(talweg.__all__) == len(PUBLIC)
    assert dir(talweg) == sorted(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_name_resolves(name: str) -> None:
    assert getattr(talweg, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'bogus'"):
        talweg.bogus  # noqa: B018


def test_every_error_derives_from_the_base_class() -> None:
    errors = [
        value for name in PUBLIC if name.endswith("Error") for value in [getattr(talweg, name)]
    ]
    assert all(issubclass(error, talweg.TalwegError) for error in errors)


def test_version_is_that_of_the_distribution() -> None:
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    assert tomllib.loads(pyproject.read_text())["project"]["version"] == talweg.__version__


def test_importing_talweg_does_not_load_torch() -> None:
    code = "import sys, talweg, talweg.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
