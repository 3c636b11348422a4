"""The two grades of a check, and which one a certificate gets.

"arb": everything computed from the stored numbers is an Arb ball. "float64": linear algebra runs in
binary64 with rounding bounds, which takes what the machine's arithmetic does on trust
(`_float64`); it is for problems that Arb cannot do in reasonable time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from talweg_check._forms import FORMS
from talweg_check._grammar import Certificate
from talweg_check._verdict import Incomplete

ARB_LIMIT = 10_000  # residual entries; the kernel then takes some 8 GB
FLOAT64_LIMIT = 40_000  # residual entries; kernel and factor then take some 26 GB
CHOICES = ("auto", "arb", "float64")
ASSUMED = (
    ", float64-verified: linear algebra in binary64 with rounding bounds, assuming IEEE 754 "
    "binary64 rounding to nearest and products that are sums of products in some order"
)


@dataclass
class Grade:
    """What was asked for, and the grade that was chosen: None until the file has been read."""

    asked: str = "auto"
    name: str | None = None

    def choose(self, entries: int) -> str:
        """The grade for so many residual entries; Incomplete where there are too many."""
        self.name = self.asked
        if self.asked == "auto":
            self.name = "arb" if entries <= ARB_LIMIT else "float64"
        limit = ARB_LIMIT if self.name == "arb" else FLOAT64_LIMIT
        if entries > limit:
            raise Incomplete(
                f"the grade {self.name} of this checker takes at most {limit} residual entries"
            )
        return self.name

    def confirmed(self, certificate: Certificate) -> str:
        """The reason of a valid verdict: what is assumed in the claim, and in this check."""
        said = FORMS[certificate.loss.kind, certificate.theorem].grade
        return "every claim is confirmed" + said + (ASSUMED if self.name == "float64" else "")
