"""The frame that the experiments hang in: what is stored, what is taken over, what is refused."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from talweg import InputError, MissingDependencyError
from talweg.experiments import Comparison, Section, number, row, run, write_overview

from .conftest import Fake

pq = pytest.importorskip("pyarrow.parquet")


def holds(section: Section) -> None:
    section.compare("loss", predicted=2.0, relation="<=", measured=1.0, source="E1", note="a note")
    section.table("rows", [{"step": 0, "loss": 0.5}, {"step": 1, "loss": math.inf}])


def draws(section: Section) -> None:
    section.compare("slope", predicted=None, relation="reported", measured=-0.5, source="lecture")
    with section.figure("curve") as figure:
        figure.subplots().plot([0, 1], [1, 0])


@pytest.mark.parametrize(
    ("relation", "predicted", "measured", "violated"),
    [
        ("<=", 1.0, 1.0, False),
        ("<=", 1.0, 1.0000001, True),
        ("<=", 1.0, math.nan, True),
        ("<=", math.nan, 1.0, True),
        ("<=", math.inf, 1.0, False),
        ("<=", None, 1.0, True),
        (">=", 1.0, 1.0, False),
        (">=", 1.0, 0.9999999, True),
        (">=", 1.0, math.nan, True),
        (">=", math.nan, 1.0, True),
        (">=", None, 1.0, True),
        ("reported", 1.0, 5.0, False),
        ("reported", None, math.nan, False),
    ],
)
def test_when_a_bound_is_broken(
    relation: str, predicted: float | None, measured: float, violated: bool
) -> None:
    comparison = Comparison("q", predicted, relation, measured, "s")  # type: ignore[arg-type]
    assert comparison.violated is violated
    assert row(comparison)[-1] == (
        "VIOLATED" if violated else "-" if relation == "reported" else "ok"
    )


def test_a_bound_broken_in_the_last_digits_is_printed_in_full() -> None:
    cells = row(Comparison("q", 0.1, "<=", math.nextafter(0.1, 1.0), "s"))
    assert cells[2:] == ("0.1", "<=", "0.10000000000000002", "VIOLATED")


def test_numbers_as_printed() -> None:
    values = [None, 3, 3.0, 0.1, 1e-12, math.nan, -math.inf, "text", True, 1234567.0]
    printed = ["-", "3", "3", "0.1", "1e-12", "nan", "-inf", "text", "True", "1.23457e+06"]
    assert [number(value) for value in values] == printed


def test_a_run_stores_records_tables_figures_and_a_page(fake: Fake, tmp_path: Path) -> None:
    fake.section("It holds", holds)
    fake.section("It draws", draws)
    outcome = run("lecture", tmp_path / "out", quick=True, seed=3)
    assert outcome.folder == tmp_path / "out" / "lecture"
    assert [record.title for record in outcome.records] == ["It holds", "It draws"]
    assert outcome.violated == ()
    assert outcome.taken_over == ()
    assert pq.read_table(outcome.folder / "rows.parquet").to_pydict() == {
        "step": [0, 1], "loss": [0.5, math.inf],
    }  # fmt: skip
    assert (outcome.folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    page = (outcome.folder / "index.md").read_text()
    assert "| loss [1] | E1 | 2 | <= | 1 | ok |" in page
    assert "[1] a note  \n" in page
    assert "![curve.png](curve.png)" in page
    assert "[rows.parquet](rows.parquet)" in page
    assert "Short form, seed 3" in page
    names = {path.name for path in outcome.folder.iterdir()}
    assert names == {
        "01_it_holds.json", "02_it_draws.json", "rows.parquet", "curve.png", "index.md"
    }  # fmt: skip


def test_finished_sections_are_taken_over_unchanged(fake: Fake, tmp_path: Path) -> None:
    fake.section("It holds", holds)
    fake.section("It draws", draws)
    first = run("lecture", tmp_path)
    second = run("lecture", tmp_path)
    assert fake.ran == ["It holds", "It draws"]
    assert second.taken_over == ("It holds", "It draws")
    assert second.records == first.records  # infinities included


@pytest.mark.parametrize("measured", [math.nan, math.inf])
def test_a_violation_is_still_one_when_taken_over(
    fake: Fake, tmp_path: Path, measured: float
) -> None:
    fake.section(
        "Breaks",
        lambda s: s.compare("q", predicted=1.0, relation="<=", measured=measured, source="T11"),
    )
    assert [c.quantity for c in run("lecture", tmp_path).violated] == ["q"]
    again = run("lecture", tmp_path)
    assert again.taken_over == ("Breaks",)
    assert [c.quantity for c in again.violated] == ["q"]


@pytest.mark.parametrize("lost", ["curve.png", "rows.parquet", "01_it_holds.json"])
def test_a_section_that_lost_a_file_is_run_again(fake: Fake, tmp_path: Path, lost: str) -> None:
    fake.section("It holds", holds)
    fake.section("It draws", draws)
    folder = run("lecture", tmp_path).folder
    (folder / lost).unlink()
    fake.ran.clear()
    run("lecture", tmp_path)
    assert fake.ran == ["It draws" if lost == "curve.png" else "It holds"]
    assert (folder / lost).is_file()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[1]",
        b'{"fingerprint": "0"}',
        b"\xff",
        b"[" * 100_000,
        b'{"float": 1%s}' % (b"0" * 400),
    ],
    ids=["empty", "cut", "list", "other", "no text", "nested", "too large a number"],
)
def test_a_damaged_record_is_run_again(fake: Fake, tmp_path: Path, damage: bytes) -> None:
    fake.section("It holds", holds)
    folder = run("lecture", tmp_path).folder
    (folder / "01_it_holds.json").write_bytes(damage)
    assert run("lecture", tmp_path).taken_over == ()
    assert fake.ran == ["It holds", "It holds"]


def test_other_settings_are_run_again(fake: Fake, tmp_path: Path) -> None:
    fake.section("It holds", holds)
    run("lecture", tmp_path)
    assert run("lecture", tmp_path, seed=1).taken_over == ()
    assert run("lecture", tmp_path, seed=1, quick=True).taken_over == ()
    assert run("lecture", tmp_path, seed=1, quick=True).taken_over == ("It holds",)
    assert run("lecture", tmp_path, seed=1, quick=True, fresh=True).taken_over == ()


def test_a_changed_source_is_run_again(fake: Fake, tmp_path: Path) -> None:
    fake.section("It holds", holds)
    run("lecture", tmp_path)
    assert fake.module.__file__ is not None
    Path(fake.module.__file__).write_text("first = 2\n")
    assert run("lecture", tmp_path).taken_over == ()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_loses_nothing_that_is_finished(
    fake: Fake, tmp_path: Path, raised: type[BaseException]
) -> None:
    stop = True

    def fails(section: Section) -> None:
        section.table("half", [{"a": 1}])
        if stop:
            raise raised
        section.compare("q", predicted=1.0, relation="<=", measured=0.0, source="T1")

    fake.section("It holds", holds)
    fake.section("It fails", fails)
    with pytest.raises(raised):
        run("lecture", tmp_path)
    stop = False
    fake.ran.clear()
    outcome = run("lecture", tmp_path)
    assert outcome.taken_over == ("It holds",)
    assert fake.ran == ["It fails"]


def test_a_figure_that_fails_leaves_no_file(fake: Fake, tmp_path: Path) -> None:
    def fails(section: Section) -> None:
        with section.figure("half") as figure:
            figure.subplots()
            raise RuntimeError

    fake.section("It fails", fails)
    with pytest.raises(RuntimeError):
        run("lecture", tmp_path)
    assert list((tmp_path / "lecture").iterdir()) == []


def test_two_sections_may_not_write_the_same_file(fake: Fake, tmp_path: Path) -> None:
    fake.section("One", holds)
    fake.section("Two", holds)
    with pytest.raises(InputError, match=r"rows.parquet is written by the sections 'One' and"):
        run("lecture", tmp_path)


def test_progress_and_finished_are_told(fake: Fake, tmp_path: Path) -> None:
    fake.section("It talks", lambda s: s.progress("step 5 of 9"))
    said: list[str] = []
    done: list[str] = []
    run("lecture", tmp_path, progress=said.append, finished=lambda r: done.append(r.title))
    assert said == ["lecture 1/1: It talks", "lecture 1/1: It talks: step 5 of 9"]
    assert done == ["It talks"]


def test_numpy_and_torch_scalars_are_stored_as_plain_numbers(fake: Fake, tmp_path: Path) -> None:
    import numpy as np
    import torch

    rows = [{"a": np.float64(0.5), "b": torch.tensor(2), "c": "x", "d": np.bool_(True)}]
    fake.section("Scalars", lambda s: s.table("rows", rows))
    first = run("lecture", tmp_path)
    assert first.records[0].tables["rows"] == [{"a": 0.5, "b": 2, "c": "x", "d": True}]
    assert run("lecture", tmp_path).records == first.records


def test_the_overview_links_every_page(fake: Fake, tmp_path: Path) -> None:
    fake.section("It holds", holds)
    outcome = run("lecture", tmp_path)
    text = write_overview(tmp_path, [outcome]).read_text()
    assert "[lecture](lecture/index.md) | 1 | 1 | 0 |" in text


def section(tmp_path: Path) -> Section:
    return Section("Title", tmp_path, True, 0, lambda text: None)


@pytest.mark.parametrize("name", ["", "a/b", "../a", "a.b", "a b", "\u00e4"])
def test_names_that_are_no_stems(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="letters, digits and underscores"):
        section(tmp_path).table(name, [{"a": 1}])
    with pytest.raises(InputError, match="letters, digits and underscores"):  # noqa: SIM117
        with section(tmp_path).figure(name):
            pass


def test_names_are_new_in_their_section(tmp_path: Path) -> None:
    made = section(tmp_path)
    made.table("a", [{"a": 1}])
    with pytest.raises(InputError, match="'a' was used before in 'Title'"):
        made.table("a", [{"a": 1}])


def test_rows_that_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one row"):
        section(tmp_path).table("a", [])
    with pytest.raises(InputError, match="row 0 has a, row 1 has b"):
        section(tmp_path).table("a", [{"a": 1}, {"b": 2}])


def test_relations_are_three(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got .<.\. Choose"):
        section(tmp_path).compare("q", predicted=1, relation="<", measured=1, source="s")  # type: ignore[arg-type]


@pytest.mark.parametrize("library", ["pyarrow", "matplotlib"])
def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    for module in (library, f"{library}.backends.backend_agg", f"{library}.parquet"):
        monkeypatch.setitem(sys.modules, module, None)

    def use() -> None:
        if library == "pyarrow":
            section(tmp_path).table("a", [{"a": 1}])
        with section(tmp_path).figure("a"):
            pass

    with pytest.raises(MissingDependencyError, match=rf"{library}.*pip install 'talweg\[repro"):
        use()


@pytest.mark.parametrize("name", ["nobody2000", "", "all"])
def test_an_experiment_that_does_not_exist(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="must be one of chatterjee2022, liu2020, xu2025, lecture"):
        run(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [-1, True, 1.0])
def test_a_seed_that_is_none(tmp_path: Path, seed: object) -> None:
    with pytest.raises(InputError, match="`seed` of"):
        run("lecture", tmp_path, seed=seed)  # type: ignore[arg-type]


def test_a_killed_process_is_taken_up_again(tmp_path: Path) -> None:
    """kill -9 while the second section runs; the first is not run again."""
    script = tmp_path / "killed.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from types import ModuleType
            from talweg.experiments import run

            out = Path(sys.argv[1])
            wait = len(sys.argv) > 2

            def first(section):
                (out / "log").open("a").write("first ")
                section.compare("q", predicted=1.0, relation="<=", measured=0.5, source="T1")
                section.table("rows", [{"a": 1.5}])

            def second(section):
                (out / "log").open("a").write("second ")
                section.table("half", [{"a": 1}])
                if wait:
                    (out / "ready").touch()
                    time.sleep(60)
                section.compare("p", predicted=1.0, relation=">=", measured=2.0, source="T1")

            module = ModuleType("talweg.experiments.lecture")
            module.__file__ = __file__
            module.SECTIONS = {"First": first, "Second": second}
            sys.modules[module.__name__] = module
            outcome = run("lecture", out)
            print(outcome.taken_over, len(outcome.violated))
            """
        )
    )
    process = subprocess.Popen([sys.executable, script, tmp_path, "wait"])
    try:
        limit = time.monotonic() + 60
        while not (tmp_path / "ready").exists():
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "('First',) 0\n"
    assert (tmp_path / "log").read_text() == "first second second "
