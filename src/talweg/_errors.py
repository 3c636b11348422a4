"""Every error that talweg raises on misuse.

TalwegError
├── InputError                 a malformed argument: shape, dtype, NaN, emptiness, unknown name
│   └── SpecError              a `SPEC` that does not import or returns something else
├── UnsupportedModelError      the model holds something whose ideal function talweg cannot read
├── ReadingError               the live model disagrees with talweg's reading of it
├── UnsoundArithmeticError     this machine's floating point breaks an assumption of the enclosures
├── CertificateFileError       a `.talweg` file is malformed, or cannot be written
├── ClusterError               the Dask cluster of `scheduler` was lost, or a task failed on it
└── MissingDependencyError     an optional package is needed; the message names the extra

A theorem that does not apply is an answer (`Verdict`), never an error.
"""

from __future__ import annotations


class TalwegError(Exception):
    """Base class of every error raised on purpose by talweg."""


class InputError(TalwegError, ValueError):
    """An argument does not meet its stated requirement."""


class SpecError(InputError):
    """A model specification could not be loaded or returned something else."""


class UnsupportedModelError(TalwegError, TypeError):
    """The model contains a module or operation outside the supported grammar."""


class ReadingError(TalwegError, RuntimeError):
    """The live model and talweg's reading of it compute different functions."""


class UnsoundArithmeticError(TalwegError, RuntimeError):
    """Floating point on this machine breaks an assumption that the enclosures rest on."""


class CertificateFileError(TalwegError, ValueError):
    """A certificate file is malformed or cannot be read or written."""


class MissingDependencyError(TalwegError, ImportError):
    """An optional dependency is not installed."""


class ClusterError(TalwegError, RuntimeError):
    """The cluster that was to compute a certificate was lost, or a task failed on it."""
