"""Increasing activations with sigma(0) = 0, as the two bounds that P1 asks of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from flint import arb

from talweg._errors import InputError
from talweg.theory._arb import float_above, float_below


class IncreasingActivation(Protocol):
    """A C^1 function with ``sigma(0) = 0`` and ``sigma' > 0``, bounded on [-reach, reach]."""

    def magnitude_upper(self, reach: float) -> float:
        """Upper bound of max |sigma(u)| over |u| <= reach; inf where none is known."""
        ...

    def slope_lower(self, reach: float) -> float:
        """Lower bound of min sigma'(u) over |u| <= reach; 0 where none is known."""
        ...


@dataclass(frozen=True, slots=True)
class SmoothLeakyReLUActivation:
    """``sigma(u) = a u + (1 - a)(log(1 + e^u) - log 2)``, slopes between a and 1.

    Convex with sigma(0) = 0, so 0 <= sigma(u) + sigma(-u) and |sigma| is largest at the right end;
    sigma' increases, so it is smallest at the left end.

    Source: chatterjee2022; proof of the bounds in docs/theory/P4.md.

    Args:
        slope: a, strictly between 0 and 1, taken as its binary64 value.

    Raises:
        InputError: slope outside (0, 1).
    """

    slope: float

    def __post_init__(self) -> None:
        a = self.slope
        if isinstance(a, bool) or not isinstance(a, int | float) or not 0.0 < a < 1.0:
            raise InputError(
                "`slope` of SmoothLeakyReLUActivation() must be strictly between 0 and 1; got "
                f"{a!r}. Pass the slope of talweg.nn.SmoothLeakyReLU."
            )

    def magnitude_upper(self, reach: float) -> float:
        """``sigma(reach)``, rounded up.

        Args:
            reach: >= 0.
        """
        if not reach < math.inf:
            return math.inf
        a, u = arb(self.slope), arb(reach)
        # log(1 + e^u) - log 2 = log(1 + (e^u - 1) / 2) loses nothing near zero
        return max(float_above(a * u + (1 - a) * (u.expm1() / 2).log1p()), 0.0)

    def slope_lower(self, reach: float) -> float:
        """``a + (1 - a) / (1 + e^reach)``, rounded down, never below a.

        Args:
            reach: >= 0.
        """
        if not reach < math.inf:
            return self.slope
        a, decayed = arb(self.slope), (-arb(reach)).exp()
        return max(float_below(a + (1 - a) * decayed / (1 + decayed)), self.slope)


@dataclass(frozen=True, slots=True)
class TanhActivation:
    """``sigma = tanh``; its slope 1 / cosh^2 is smallest at both ends and has no positive floor."""

    def magnitude_upper(self, reach: float) -> float:
        """``tanh(reach)``, rounded up, at most 1.

        Args:
            reach: >= 0.
        """
        return min(float_above(arb(reach).tanh()), 1.0) if reach < math.inf else 1.0

    def slope_lower(self, reach: float) -> float:
        """``1 / cosh(reach)^2``, rounded down.

        Args:
            reach: >= 0.
        """
        if not reach < math.inf:
            return 0.0
        root = arb(reach).sech()
        return max(float_below(root * root), 0.0)


@dataclass(frozen=True, slots=True)
class IdentityActivation:
    """``sigma(u) = u``: a deep linear network."""

    def magnitude_upper(self, reach: float) -> float:
        """The reach itself.

        Args:
            reach: >= 0.
        """
        return reach

    def slope_lower(self, reach: float) -> float:
        """One.

        Args:
            reach: ignored.
        """
        return 1.0
