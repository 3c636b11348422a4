"""`certify(scheduler=...)`: the claims of one machine, and every way in which a cluster fails."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.certificate.problems import problem
from tests.network.graphs import CASES as GRAPHS

import talweg
from talweg.certificate import Certificate, _damped_system, _polish, _preconditioned_system
from talweg.cluster import _cluster, _tasks, _tiles
from talweg_check import check

distributed = pytest.importorskip("distributed", reason="needs the extra dask")

SAME = 1e-6
"""Relative: the polish solves its systems with other roundings, and bounds by norms of rows."""


@pytest.fixture(autouse=True)
def nothing_large_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel on this machine is an error, until the test says `monkeypatch.undo()`."""

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("an N x N array on the client")

    monkeypatch.setattr("talweg.certificate._bounds.state_symmetric_kernel", forbidden)
    monkeypatch.setattr("talweg.certificate._bounds.state_kernel_ball", forbidden)
    monkeypatch.setattr(_damped_system, "kernel_at", forbidden)
    monkeypatch.setattr(_preconditioned_system, "kernel_at", forbidden)


def assert_same_claims(one: Certificate, other: Certificate, rel: float = SAME) -> None:
    assert other.status == one.status
    assert other.sigma_min_lower == pytest.approx(one.sigma_min_lower, rel=rel)
    assert other.jacobian_lipschitz_upper == pytest.approx(one.jacobian_lipschitz_upper, rel=rel)
    if one.step_size is not None:
        assert other.step_size == pytest.approx(one.step_size, rel=1e-4)


def assert_valid(certificate: Certificate, folder: Path) -> None:
    assert certificate.status == "PROVED", certificate.reason
    file = folder / "case.talweg"
    certificate.save(file)
    assert check(str(file)).verdict == "valid"


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("preconditioned_from", [3000, 1])
def test_a_polished_certificate_is_that_of_one_machine_and_checked(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, preconditioned_from: int
) -> None:
    monkeypatch.setattr(_polish, "CLUSTER_PRECONDITIONED_FROM", preconditioned_from)
    model, data = problem(widths=(3, 40, 1), n=12)
    said: list[str] = []
    found = talweg.certify(
        model, data, polish=True, attack=False, scheduler=address, progress=said.append
    )
    assert found.polished
    assert_valid(found, tmp_path)
    assert any(text.startswith("connecting to") for text in said)
    assert any("workers of a Dask cluster" in note for note in found.notes)
    monkeypatch.undo()
    monkeypatch.setattr(_polish, "PRECONDITIONED_FROM", preconditioned_from)
    one = talweg.certify(model, data, polish=True, attack=False)
    # Two polishes end near each other; at the same weights the bounds are the same.
    assert_same_claims(one, found, rel=1e-3)
    found.load_into_(model)
    assert_same_claims(talweg.certify(model, data, attack=False), found)


@pytest.mark.usefixtures("small_tiles")
def test_bounds_with_several_outputs_and_equal_rows(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (X, y) = problem(widths=(3, 16, 2), n=7)
    X, y = torch.cat([X, X[:3], X[:1]]), torch.cat([y, y[:3], y[:1]])
    found = talweg.certify(model, (X, y), attack=False, scheduler=address)
    monkeypatch.undo()
    one = talweg.certify(model, (X, y), attack=False)
    assert found.notes[:-1] == one.notes  # the last one says where the bounds are from
    assert found.status == one.status == "UNDECIDED"
    assert_same_claims(one, found)
    assert found.as_given.missing_factor == pytest.approx(one.as_given.missing_factor, rel=1e-5)


@pytest.mark.usefixtures("small_tiles")
def test_a_cross_entropy(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, (X, _) = problem(widths=(3, 40, 3), n=4)
    labels = torch.tensor([0, 1, 2, 1])
    options: dict[str, Any] = {"loss": "cross_entropy", "label_smoothing": 0.2, "attack": False}
    found = talweg.certify(model, (X, labels), polish=True, scheduler=address, **options)
    assert_valid(found, tmp_path)
    found.load_into_(model)
    monkeypatch.undo()
    assert_same_claims(talweg.certify(model, (X, labels), **options), found, rel=1e-4)


def test_what_float32_cannot_factor_is_factored_in_float64(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_polish, "CLUSTER_PRECONDITIONED_FROM", 1)
    monkeypatch.setattr(
        _preconditioned_system.PreconditionedSystem, "_factored", lambda self, kernel, damping: None
    )
    model, data = problem()
    certificate = talweg.certify(model, data, polish=True, attack=False, scheduler=address)
    assert certificate.status == "PROVED", certificate.reason


def test_a_singular_kernel_is_undecided(address: str) -> None:
    model, (X, y) = problem(n=5)
    with torch.no_grad():
        model[0].weight.zero_()  # equal hidden values for every row
    certificate = talweg.certify(model, (X, y), attack=False, scheduler=address)
    assert certificate.status == "UNDECIDED"
    assert certificate.sigma_min_lower is not None
    assert certificate.sigma_min_lower <= 1e-6


# Refusals.


def certify(scheduler: Any, **options: Any) -> Certificate:
    model, data = problem()
    return talweg.certify(model, data, attack=False, scheduler=scheduler, **options)


@pytest.mark.parametrize("scheduler", ["", 8786, object()])
def test_no_address(scheduler: Any) -> None:
    with pytest.raises(talweg.InputError, match=r"`scheduler` of certify.. must be the address"):
        certify(scheduler)


@pytest.mark.parametrize("scheduler", ["somewhere", "tcp://127.0.0.1:9", "http://localhost:8786"])
def test_nothing_answers(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "ANSWER", 0.3)
    with pytest.raises(talweg.InputError, match="that answers, such as"):
        certify(scheduler)


def test_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "ANSWER", 0.3)
    with (
        distributed.LocalCluster(processes=False, n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(talweg.InputError, match=r"must have a worker; .* has none after"),
    ):
        certify(empty.scheduler_address)


def _by_thread() -> str:
    return "here" if threading.current_thread() is threading.main_thread() else "there"


def _missing() -> str:
    raise ModuleNotFoundError("No module named 'talweg'")


def test_another_talweg_on_the_workers(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "code_digest", _by_thread)
    with pytest.raises(talweg.InputError, match=r"the same talweg as the client; .* other sources"):
        certify(address)


def test_a_worker_that_joined_late_with_another_talweg(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tiles, "code_digest", _by_thread)
    with pytest.raises(talweg.ClusterError, match=r"the sources of one are there, not here"):
        certify(address)


def test_workers_without_talweg(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "code_digest", _missing)
    with pytest.raises(talweg.InputError, match=r"must have this talweg installed"):
        certify(address)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(talweg.MissingDependencyError, match=r"pip install 'talweg\[dask\]'"):
        certify("tcp://127.0.0.1:8786")


def test_a_graph_is_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.LayerNorm(5), torch.nn.Linear(5, 1))
    X = GRAPHS["linear on sequences"][1]()[:, 0, :6].double()
    with pytest.raises(talweg.InputError, match="goes with a chain of linear layers"):
        talweg.certify(model.double(), (X, X[:, :1]), scheduler="tcp://127.0.0.1:9")


def test_a_worker_with_unsound_arithmetic(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsound() -> None:
        raise talweg.UnsoundArithmeticError("no subnormals here")

    monkeypatch.setattr(_tasks, "require_sound_arithmetic", unsound)
    monkeypatch.setattr(_tasks._checked, "done", False, raising=False)
    monkeypatch.setattr(_tasks, "_checked", type(_tasks._checked)())
    with pytest.raises(talweg.UnsoundArithmeticError, match="no subnormals here"):
        certify(address)


def test_every_worker_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "LOOK", 0.05)
    monkeypatch.setattr(_cluster, "PATIENCE", 0.2)
    with distributed.LocalCluster(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0"
    ) as cluster:

        def leave(text: str) -> None:
            if text.startswith("bounds for"):
                cluster.scale(0)

        model, data = problem()
        with pytest.raises(talweg.ClusterError, match="all of them have been gone"):
            talweg.certify(
                model, data, attack=False, scheduler=cluster.scheduler_address, progress=leave
            )


def test_an_interrupt_leaves_no_task_behind(address: str) -> None:
    def interrupted(text: str) -> None:
        if text.startswith("bounds for"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        certify(address, progress=interrupted)
    with distributed.Client(address, set_as_default=False) as client:
        left = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    assert left == 0
