"""``talweg certify --scheduler``: the same answer from a cluster, one line where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from talweg.cluster import _cluster

distributed = pytest.importorskip("distributed", reason="needs the extra dask")

Command = Callable[..., Any]
WriteSpec = Callable[..., str]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with distributed.LocalCluster(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


def test_a_certificate_from_a_cluster(talweg: Command, write_spec: WriteSpec, address: str) -> None:
    spec = write_spec("return network(), *data()")
    options = ("certify", spec, "--no-attack", "--json")
    done = talweg(*options, "--scheduler", address, "--out", "case.talweg")
    assert done.code == 0, done.err
    assert done.err == ""
    record, one = json.loads(done.out), json.loads(talweg(*options).out)
    assert record["status"] == "PROVED"
    assert record["sigma_min_lower"] == pytest.approx(one["sigma_min_lower"], rel=1e-4)
    assert talweg("check", "case.talweg").code == 0


def test_nothing_answers(
    talweg: Command, write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cluster, "ANSWER", 0.3)
    spec = write_spec("return network(), *data()")
    done = talweg("certify", spec, "--scheduler", "tcp://127.0.0.1:9", "--out", "case.talweg")
    assert done.code == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert "`scheduler` of certify() must be the address of a Dask scheduler" in done.err
    assert not Path("case.talweg").exists()


def test_an_earlier_file_survives_a_lost_cluster(
    talweg: Command, write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    from talweg import ClusterError
    from talweg.cluster import TiledKernel

    def lost(*_: object) -> None:
        raise ClusterError("the scheduler is gone")

    monkeypatch.setattr(TiledKernel, "defect_rows", lost)
    spec = write_spec("return network(), *data()")
    Path("case.talweg").write_bytes(b"earlier")
    done = talweg("certify", spec, "--scheduler", address, "--out", "case.talweg")
    assert done.code == 2
    assert done.err == "talweg: error: the scheduler is gone\n"
    assert Path("case.talweg").read_bytes() == b"earlier"
