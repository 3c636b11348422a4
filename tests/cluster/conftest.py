"""One cluster of two threads in the test process, for all tests that need no processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from talweg.cluster import Cluster, _tiling, connected


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Of a scheduler with two workers in threads."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with distributed.LocalCluster(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def cluster(address: str) -> Iterator[Cluster]:
    """A connection to it."""
    with connected(address, lambda _: None) as found:
        yield found


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tiles in a row, the last one mostly smaller, whatever the problem."""
    monkeypatch.setattr(_tiling, "LEAST_TILE", 1)
    monkeypatch.setattr(_tiling, "TILES", 3)
