"""Which rule goes with which kind of loss and theorem.

Each raises Invalid where an inequality between the stated numbers is false.
"""

from __future__ import annotations

from collections.abc import Callable

from talweg_check._claims import Numbers, require_rule, t11
from talweg_check._entropy_rules import t4_entropy, t13
from talweg_check._grammar import Certificate
from talweg_check._squared_rules import t4, t7, t9

RULES: dict[tuple[str, str], Callable[[Numbers], None]] = {
    ("squared", "T11"): t11,
    ("squared", "T4"): t4,
    ("squared", "T7"): t7,
    ("squared", "T9"): t9,
    ("cross_entropy", "T4"): t4_entropy,
    ("cross_entropy", "T13"): t13,
}


def require_theorem(certificate: Certificate) -> None:
    """Raises Invalid unless the theorem follows from the claims about the network at w0."""
    require_rule(certificate, RULES[certificate.loss.kind, certificate.theorem])
