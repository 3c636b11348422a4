"""A search for a violation of a certificate: float64 looks for it, Arb decides."""

from talweg.falsification._result import AttackResult, Falsification, Violation
from talweg.falsification._search import Search, falsify

__all__ = ["AttackResult", "Falsification", "Search", "Violation", "falsify"]
