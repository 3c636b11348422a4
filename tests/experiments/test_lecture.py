"""The lecture's experiments: quick sections break no bound, and a false bound would be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("matplotlib")

from talweg.experiments import Section
from talweg.experiments.lecture import SECTIONS
from talweg.experiments.lecture._floor import stationary_gaps
from talweg.experiments.lecture._functions import quadratic
from talweg.experiments.lecture._statistics import (
    fitted_slope,
    fraction_lower_limit,
    mean_lower_limit,
)
from talweg.theory import noise_floor_reached


@pytest.mark.parametrize("title", list(SECTIONS))
def test_a_quick_section_breaks_no_bound(title: str, tmp_path: Path) -> None:
    section = Section(title, tmp_path, quick=True, seed=0, progress=lambda text: None)
    SECTIONS[title](section)
    assert [c for c in section.comparisons if c.violated] == []
    assert [c for c in section.comparisons if c.relation != "reported"]
    for name in section.figures:
        assert (tmp_path / name).stat().st_size > 10000
    for name in section.data:
        assert (tmp_path / name).is_file()


def test_limits_are_below_the_truth_and_close_to_it() -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(size=10000)
    assert 0.9 < mean_lower_limit(values) < 1.0
    assert 0.05 < fraction_lower_limit(1000, 10000) < 0.1
    assert fraction_lower_limit(0, 10) == 0.0
    x = np.array([1.0, 2.0, 4.0])
    assert fitted_slope(x, 3.0 * x**-0.5) == pytest.approx(-0.5)


def test_a_floor_that_is_too_low_would_be_noticed() -> None:
    """The parabola's floor is exact: four fifths of it is refuted by the same measurement."""
    land, eta = quadratic((8.0,), "parabola"), 0.5 / 8.0
    c = noise_floor_reached(0.0, 8.0, 8.0, 1.0, step_size=eta).conclusion
    assert c is not None
    low = mean_lower_limit(stationary_gaps(land, eta, 2000, 5))
    assert 0.8 * c.floor_upper < low <= c.floor_upper
