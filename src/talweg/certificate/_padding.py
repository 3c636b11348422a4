"""The slack between what was computed and what is claimed, so that other enclosures confirm it."""

from __future__ import annotations

import math

from talweg.enclosure import Interval

PAD = 1e-6
"""Relative (docs/certificate-format.md)."""


def padded_up(value: float) -> float:
    """``value (1 + PAD)`` rounded up; inf stays inf.

    Args:
        value: An upper bound >= 0.
    """
    if not value < math.inf:
        return math.inf
    return (Interval.point(value) * (Interval.point(1.0) + PAD)).hi


def padded_down(value: float) -> float:
    """``value (1 - PAD)`` rounded down.

    Args:
        value: A lower bound >= 0.
    """
    return (Interval.point(value) * (Interval.point(1.0) - PAD)).lo
