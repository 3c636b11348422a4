"""Many small trainings at once: seeds, initialisations, scales and step sizes in one batch."""

from talweg._errors import MissingDependencyError

try:
    import pyarrow as _pyarrow  # noqa: F401
except ImportError as error:
    raise MissingDependencyError(
        "talweg.sweep needs pyarrow, which is not installed. Run: pip install 'talweg[reproduce]'"
    ) from error

from talweg.sweep._starts import INITIALISERS
from talweg.sweep._sweep import Sweep, SweepResult

__all__ = ["INITIALISERS", "Sweep", "SweepResult"]
