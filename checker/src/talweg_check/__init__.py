"""An independent checker for talweg certificates: own parser, own theorems, Arb arithmetic."""

from talweg_check._check import Verdict, check

__all__ = ["Verdict", "check"]
__version__ = "0.1.0"
