"""Processes that are killed while the factor is computed: the claim does not change."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from tests.certificate.problems import problem

import talweg
from talweg.cluster import _cluster, _tiling

dask = pytest.importorskip("dask", reason="needs the extra dask")
distributed = pytest.importorskip("distributed", reason="needs the extra dask")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


def test_a_killed_worker_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "LOOK", 0.01)
    monkeypatch.setattr(_tiling, "LEAST_TILE", 1)
    monkeypatch.setattr(_tiling, "TILES", 8)
    model, data = problem(widths=(6, 120, 1), n=40)
    one = talweg.certify(model, data, polish=True, attack=False)
    assert one.status == "PROVED", one.reason
    one.load_into_(model)
    killed: dict[str, int] = {}
    # Workers that ask the lost one for a tile would wait half a minute for it.
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as watching,
    ):  # fmt: skip

        def kill(text: str) -> None:
            begun = text.startswith("factoring the kernel: ") and " 0 of" not in text
            if killed or not begun:
                return
            held = watching.has_what()
            victim = max(held, key=lambda address: len(held[address]))
            tiles = [key for key in held[victim] if str(key).startswith("factor-")]
            pid = watching.run(os.getpid, workers=[victim])[victim]
            if tiles:
                killed[victim] = len(tiles)
                os.kill(pid, signal.SIGKILL)

        found = talweg.certify(
            model, data, attack=False, scheduler=cluster.scheduler_address, progress=kill
        )
        deadline = time.monotonic() + 5.0
        while set(killed) & set(watching.nthreads()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert killed, "the factor was computed before anything was killed"
        assert not set(killed) & set(watching.nthreads())
    assert found.status == "PROVED", found.reason
    assert found.sigma_min_lower == pytest.approx(one.sigma_min_lower, rel=1e-6)
    assert found.step_size == pytest.approx(one.step_size, rel=1e-4)
    assert found.residual_norm == one.residual_norm


def test_a_lost_scheduler_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "LOOK", 0.05)
    monkeypatch.setattr(_cluster, "ANSWER", 2.0)
    model, data = problem()
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    )
    with cluster:

        def close(text: str) -> None:
            if text.startswith("bounds for"):
                cluster.close()

        with pytest.raises(talweg.ClusterError, match="Look at the"):
            talweg.certify(
                model, data, attack=False, scheduler=cluster.scheduler_address, progress=close
            )
