"""Running an experiment section by section, and taking over what an earlier run finished.

A section is taken over only where its record was made by the same code (the sources of talweg and
of the experiment), of the same version, with the same settings, and where every file it names is
still there. Everything else is run again.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from talweg import __version__
from talweg._display import Sheet, Shown
from talweg._errors import InputError
from talweg.experiments._index import index_page
from talweg.experiments._record import Comparison, Progress, Record, Section, SectionFunction
from talweg.experiments._sheets import outcome_sheet
from talweg.experiments._store import fingerprint, read_json, write_json, write_text

NAMES = ("chatterjee2022", "liu2020", "xu2025", "lecture")
"""The experiments, one for each source."""

_TALWEG = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, repr=False)
class Outcome(Shown):
    """A finished experiment.

    Attributes:
        name: Its name.
        folder: Where its records, tables and figures are.
        records: One for each section, in order.
        taken_over: Titles of the sections that an earlier run had finished.
        seconds: Wall-clock time of this run.
    """

    name: str
    folder: Path
    records: tuple[Record, ...]
    taken_over: tuple[str, ...]
    seconds: float

    @property
    def violated(self) -> tuple[Comparison, ...]:
        """The comparisons of all sections whose bound is broken."""
        return tuple(c for record in self.records for c in record.violated)

    def _sheet(self) -> Sheet:
        return outcome_sheet(self)


def run(
    name: str,
    out: Path | str,
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    fresh: bool = False,
    finished: Callable[[Record], None] | None = None,
) -> Outcome:
    """Run one experiment; what an interrupted run had finished is not run again.

    Args:
        name: One of `NAMES`.
        out: Folder under which the experiment's own folder ``<name>`` is made.
        quick: The short form: smaller problems, about a minute.
        seed: Base seed of everything random in it.
        progress: Called with a short text now and then.
        fresh: Run every section anew.
        finished: Called with each section's record as soon as there is one, run or taken over.

    Returns:
        The records of all sections. A broken bound is part of the answer, not an error.

    Raises:
        InputError: There is no such experiment, or two of its sections write the same file.
        MissingDependencyError: A library of the extra ``reproduce`` is not installed.
    """
    if name not in NAMES:
        raise InputError(
            f"`name` of talweg.experiments.run must be one of {', '.join(NAMES)}; got {name!r}. "
            "Choose one of them."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(
            f"`seed` of talweg.experiments.run must be an integer from 0 on; got {seed!r}. "
            "Pass for example 0."
        )
    begun = time.perf_counter()
    module = importlib.import_module(f"talweg.experiments.{name}")
    sections: Mapping[str, SectionFunction] = module.SECTIONS
    folder = Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "name": name, "quick": quick, "seed": seed, "talweg": __version__,
        "torch": version("torch"), "source": _sources(module),
    }  # fmt: skip
    records: list[Record] = []
    taken_over: list[str] = []
    owners: dict[str, str] = {}
    for index, (title, function) in enumerate(sections.items(), start=1):
        path = folder / f"{index:02d}_{_stem(title)}.json"
        mark = fingerprint({**settings, "title": title})
        record = None if fresh else _stored(path, mark)
        if record is None:
            where = f"{name} {index}/{len(sections)}: {title}"
            record = _run_section(function, title, folder, quick, seed, progress, where)
            _claim(record, owners)
            write_json(path, {"fingerprint": mark, **asdict(record)})
        else:
            _claim(record, owners)
            taken_over.append(title)
        records.append(record)
        if finished is not None:
            finished(record)
    form = "Short form" if quick else "Full form"
    page = index_page(name, records, f"{form}, seed {seed}, talweg {__version__}")
    write_text(folder / "index.md", page)
    seconds = time.perf_counter() - begun
    return Outcome(name, folder, tuple(records), tuple(taken_over), seconds)


def write_overview(out: Path | str, outcomes: Sequence[Outcome]) -> Path:
    """Write a page that links the pages of several experiments.

    Returns:
        Its path, ``<out>/index.md``.
    """
    lines = ["# Reproduced", "", "| experiment | sections | bounds | broken | seconds |"]
    lines.append("|---|---|---|---|---|")
    for o in outcomes:
        bounds = sum(c.relation != "reported" for r in o.records for c in r.comparisons)
        lines.append(
            f"| [{o.name}]({o.name}/index.md) | {len(o.records)} | {bounds} | {len(o.violated)} | "
            f"{sum(r.seconds for r in o.records):.1f} |"
        )
    path = Path(out) / "index.md"
    write_text(path, "\n".join([*lines, ""]))
    return path


def _run_section(
    function: SectionFunction, title: str, folder: Path, quick: bool, seed: int,
    progress: Progress | None, where: str,
) -> Record:  # fmt: skip
    def report(text: str) -> None:
        if progress is not None:
            progress(f"{where}: {text}" if text else where)

    report("")
    begun = time.perf_counter()
    section = Section(title, folder, quick, seed, report)
    function(section)
    return Record(
        title=title,
        comparisons=tuple(section.comparisons),
        tables=section.tables,
        figures=tuple(section.figures),
        data=tuple(section.data),
        seconds=time.perf_counter() - begun,
    )


def _claim(record: Record, owners: dict[str, str]) -> None:
    """Refuse two sections that write the same file: the second would replace the first's."""
    for file in record.files:
        if file in owners:
            raise InputError(
                f"Names of tables and figures must be new in their experiment; {file} is written "
                f"by the sections {owners[file]!r} and {record.title!r}. Rename one of them."
            )
        owners[file] = record.title


def _stored(path: Path, mark: str) -> Record | None:
    """The stored record, if it was made with the same settings and its files are there."""
    body = read_json(path)
    if body is None or body.pop("fingerprint", None) != mark:
        return None
    if body.keys() != {f.name for f in fields(Record)}:
        return None
    try:
        record = Record(
            title=body["title"],
            comparisons=tuple(Comparison(**comparison) for comparison in body["comparisons"]),
            tables=dict(body["tables"]),
            figures=tuple(body["figures"]),
            data=tuple(body["data"]),
            seconds=float(body["seconds"]),
        )
        whole = all((path.parent / file).is_file() for file in record.files)
        record.violated  # noqa: B018 - raises where a comparison holds no numbers
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None
    return record if whole else None


def _stem(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60] or "section"


def _sources(module: ModuleType) -> str:
    """SHA-256 over talweg's sources and the experiment's own: a theorem that changed counts."""
    digest = hashlib.sha256(_talweg_sources().encode())
    file = module.__file__
    if file is not None:
        path = Path(file).resolve()
        if not path.is_relative_to(_TALWEG):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _talweg_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(_TALWEG.rglob("*.py")):
        digest.update(path.relative_to(_TALWEG).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
