"""Ranges of derivatives over intervals: what they are, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from flint import arb

from talweg_check._catalogue import _extremes, function
from talweg_check._entrywise import PLAIN

SAMPLES = 4001


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("radius", [1e-9, 0.05, 0.5, 1.5, 3.0, 7.0])
def test_ranges_are_those_of_the_samples(name: str, radius: float) -> None:
    """A certificate whose bound was made from the range is confirmed only if it is no wider here.

    The sine's derivatives reach 1 and -1 by turns: an interval around one crest has no trough.
    """
    kind = {"kind": "elementwise", "function": name, "parameters": {}}
    f = function(kind)
    rng = np.random.default_rng(7)
    for centre in rng.uniform(-9.0, 9.0, size=8):
        ball = np.array([arb(centre, radius)], dtype=object)
        points = np.linspace(centre - radius, centre + radius, SAMPLES)
        jets = list(f.jet(np.array([arb(x) for x in points], dtype=object)))
        room = 1e-12 + 40.0 * (2.0 * radius / SAMPLES) ** 2
        for found, values in zip(f.ranges(ball), jets[1:3], strict=True):
            low, high = float(found[0].lower()), float(found[0].upper())
            least, most = min(map(float, values)), max(map(float, values))
            assert low <= least + 1e-15
            assert high >= most - 1e-15
            assert low >= least - room
            assert high <= most + room


@pytest.mark.parametrize("exponent", [70, 10**6, 10**15])
def test_the_range_of_a_sine_far_out_fits_in_memory(exponent: int) -> None:
    """A number of a file may have any exponent; the integer next to it is not written out."""
    f = function({"kind": "elementwise", "function": "sin", "parameters": {}})
    huge = arb(2) ** exponent
    x = np.array([huge, -huge, arb(huge, 1), arb(0, huge)], dtype=object)
    thin = np.array([arb(m, 1 / huge) for m in (0, 1, 1 / huge, -1 / huge)], dtype=object)
    for place in (0, 1, 2, -5):
        near = np.array([arb.pi() * place / 2, *(thin + arb.pi() * place / 2)], dtype=object)
        assert all(abs(ball) <= 1 + 1e-6 for bound in f.ranges(near) for ball in bound)
    for places, value in ((thin[:1], 1), (thin[1:2], -1), (1 + thin[2:], -1)):
        assert all(ball == value for ball in _extremes(places))
    for bound in f.ranges(x):
        assert all(ball.contains(1) and ball.contains(-1) for ball in bound[2:])
        assert all(abs(ball) <= 1 + 1e-6 for ball in bound)
