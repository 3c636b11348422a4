"""xu2025's sections on one small problem each: nothing predicted is contradicted."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("matplotlib")

from talweg.experiments import Section
from talweg.experiments.xu2025 import SECTIONS, _not_lazy, _problems, _sections, build, suite
from talweg.theory import Status


def section(title: str, folder: Path) -> Section:
    return Section(title, folder, quick=True, seed=0, progress=lambda text: None)


def test_suite_has_more_than_thirty_problems_and_every_loss() -> None:
    squared = len(_problems.SQUARED_SHAPES) * len(_problems.SQUARED_SETTINGS)
    general = 3 * len(_problems.GENERAL_SHAPES) * len(_problems.GENERAL_SETTINGS)
    assert squared + general == 54
    problems = suite(0, every=8)
    assert len({p.name for p in problems}) == 7
    assert {p.kind for p in problems} == {"squared", "huber", "logistic", "cross_entropy"}


@pytest.mark.parametrize("title", list(SECTIONS))
def test_no_bound_is_violated(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(_: Section) -> list[object]:
        return [build(kind, (2, 3, 2), 0.5, 2.0, 4.0, seed=3) for kind in ("squared", "logistic")]

    def thin(seed: int, *, every: int) -> list[object]:
        return one(here)[:1]

    far = _not_lazy.starts(0, quick=True)[:1]
    monkeypatch.setattr(_sections, "_examples", one)
    monkeypatch.setattr(_sections, "suite", thin)
    monkeypatch.setattr(_sections, "starts", lambda seed, *, quick: far)
    monkeypatch.setattr(_sections, "STEPS", dict.fromkeys(_sections.STEPS, (3, 3)))
    here = section(title, tmp_path)
    SECTIONS[title](here)
    assert here.comparisons
    assert not [c for c in here.comparisons if c.violated]
    assert here.figures
    assert all((tmp_path / name).is_file() for name in here.figures)


def test_a_broken_certificate_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = _not_lazy.far_run(_not_lazy.starts(0)[0], tolerance=1e-3, most=50)
    assert far is not None
    far.drifts.append(10.0 * far.claim.drift_upper)
    monkeypatch.setattr(_sections, "starts", lambda seed, *, quick: [far.problem])
    monkeypatch.setattr(_sections, "far_run", lambda *a, **k: far)
    here = section("not lazy", tmp_path)
    SECTIONS["not lazy"](here)
    assert [c.quantity for c in here.comparisons if c.violated] == [
        f"{far.problem.name}: largest drift of the imbalance"
    ]


def test_some_start_travels_beyond_the_lazy_radius() -> None:
    far = _not_lazy.far_run(_not_lazy.starts(0)[1], tolerance=1e-4, most=500)
    assert far is not None
    assert far.lazy_status is Status.UNDECIDED
    assert max(far.distances) > 1.5 * far.lazy_radius
