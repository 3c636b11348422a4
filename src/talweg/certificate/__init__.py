"""From a model and data to a claim, and the file that carries it.

Names are imported on first use: who only reads a file loads neither the solvers nor the theorems.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from talweg.certificate._against import differences
    from talweg.certificate._certificate import AsGiven, Certificate
    from talweg.certificate._certify import certify
    from talweg.certificate._document import Document, read_document, write_document
    from talweg.certificate._rebuild import network_of
    from talweg.certificate._run import RunCertificate, certify_run, parameters_of

__all__ = [
    "AsGiven",
    "Certificate",
    "Document",
    "RunCertificate",
    "certify",
    "certify_run",
    "differences",
    "network_of",
    "parameters_of",
    "read_document",
    "write_document",
]

_HOMES = {
    "AsGiven": "_certificate",
    "Certificate": "_certificate",
    "Document": "_document",
    "RunCertificate": "_run",
    "certify": "_certify",
    "certify_run": "_run",
    "differences": "_against",
    "network_of": "_rebuild",
    "parameters_of": "_run",
    "read_document": "_document",
    "write_document": "_document",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
