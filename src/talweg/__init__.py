"""talweg: proofs that gradient descent gets down.

A certificate says that gradient descent from *these* weights on *this* data with *this* step size
converges to zero training loss, at a stated rate, inside a stated ball; or it names the hypothesis
that could not be shown, with its margin.

    cert = talweg.certify(model, (X, y))
    cert.save("run.talweg")

Names are imported on first use, so that ``import talweg`` alone does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from talweg._errors import (
    CertificateFileError,
    ClusterError,
    InputError,
    MissingDependencyError,
    ReadingError,
    SpecError,
    TalwegError,
    UnsoundArithmeticError,
    UnsupportedModelError,
)

if TYPE_CHECKING:
    from talweg import init, nn, optim, prescribe, sweep
    from talweg._measure import measure
    from talweg._measurement import Measurement
    from talweg.certificate import Certificate, certify
    from talweg.falsification import Falsification, falsify
    from talweg.monitor import Finding, Monitor, diagnose
    from talweg.network import TangentKernel, tangent_kernel

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "CertificateFileError",
    "ClusterError",
    "Falsification",
    "Finding",
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
    "diagnose",
    "falsify",
    "init",
    "measure",
    "nn",
    "optim",
    "prescribe",
    "sweep",
    "tangent_kernel",
]

# Where each name that needs torch is defined; None stands for a public module of that name.
_LAZY: dict[str, str | None] = {
    "Certificate": "talweg.certificate",
    "Falsification": "talweg.falsification",
    "Finding": "talweg.monitor",
    "Measurement": "talweg._measurement",
    "Monitor": "talweg.monitor",
    "TangentKernel": "talweg.network",
    "certify": "talweg.certificate",
    "diagnose": "talweg.monitor",
    "falsify": "talweg.falsification",
    "init": None,
    "measure": "talweg._measure",
    "nn": None,
    "optim": None,
    "prescribe": None,
    "sweep": None,
    "tangent_kernel": "talweg.network",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'talweg' has no attribute {name!r}")
    home = _LAZY[name]
    if home is None:
        return importlib.import_module(f"talweg.{name}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
