"""An independent checker for talweg certificates: own parser, own theorems, Arb arithmetic."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from talweg_check._check import Verdict, check

__all__ = ["Verdict", "check"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loads NumPy only when something is checked, so that the command line can go first."""
    if name in __all__:
        from talweg_check import _check

        return getattr(_check, name)
    raise AttributeError(f"module 'talweg_check' has no attribute {name!r}")
