"""What an experiment leaves behind: comparisons of predicted and measured, tables, figures.

An experiment is a list of named sections. A finished section is written as a whole (data and
figures first, its record last), so an interrupted run is taken up at the first unfinished one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from talweg._display import Sheet, Shown
from talweg._durable import durable
from talweg._errors import InputError, MissingDependencyError
from talweg.experiments._sheets import comparison_sheet, record_sheet
from talweg.experiments._store import write_parquet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Relation = Literal["<=", ">=", "reported"]
Progress = Callable[[str], None]
_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Shown):
    """One measured number beside what theory says of it.

    Attributes:
        quantity: What was measured, in words.
        predicted: The theorem's number; None where there is none.
        relation: "<=" or ">=" where a theorem bounds the measured number by the predicted one;
            "reported" where the two only stand side by side.
        measured: The number of this run.
        source: Id of the theorem, or key of the work.
        note: What a reader must know to read the line.
    """

    quantity: str
    predicted: float | None
    relation: Relation
    measured: float
    source: str
    note: str = ""

    @property
    def violated(self) -> bool:
        """Whether a bound is broken; NaN on either side breaks it, and so does no prediction."""
        if self.relation == "reported":
            return False
        if self.predicted is None:
            return True
        if self.relation == "<=":
            return not self.measured <= self.predicted
        return not self.measured >= self.predicted

    def _sheet(self) -> Sheet:
        return comparison_sheet(self)


@dataclass(repr=False)
class Section(Shown):
    """Where the function of one section puts its results.

    Attributes:
        title: Its name, also the stem of its record.
        folder: Where tables and figures go; exists.
        quick: Whether the short form was asked for.
        seed: Base seed; add to it, never draw from a global generator.
        progress: Called with a short text.
        comparisons: The lines of "predicted | measured" so far.
        tables: Rows of the tables that are printed, by name.
        figures: File names of the figures.
        data: File names of all tables, printed or not.
    """

    title: str
    folder: Path
    quick: bool
    seed: int
    progress: Progress
    comparisons: list[Comparison] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)

    def compare(
        self, quantity: str, *, predicted: float | None, relation: Relation, measured: float,
        source: str, note: str = "",
    ) -> None:  # fmt: skip
        """Record one line of "predicted | measured".

        Args:
            quantity: What was measured, in words and with its unit.
            predicted: The theorem's number; None where there is none.
            relation: How the measured number must stand to the predicted one; "<=" and ">=" make
                the experiment fail where they do not hold.
            measured: The number of this run.
            source: Id of the theorem, or key of the work.
            note: What a reader must know to read the line.

        Raises:
            InputError: ``relation`` is none of the three.
        """
        if relation not in get_args(Relation):
            raise InputError(
                f"`relation` of Section.compare({quantity!r}) must be one of "
                f"{', '.join(get_args(Relation))}; got {relation!r}. Choose one of them."
            )
        given = None if predicted is None else float(predicted)
        self.comparisons.append(
            Comparison(quantity, given, relation, float(measured), source, note)
        )

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], *, show: bool = True) -> None:
        """Save a tidy table as Parquet; a shown one is also printed.

        Args:
            name: Stem of the file; letters, digits and underscores.
            rows: One mapping of column to number, text or None per row, the same columns each.
            show: Whether it is printed; long data is only saved.

        Raises:
            InputError: The name is malformed or taken, there are no rows, or their columns differ.
            MissingDependencyError: pyarrow is not installed.
        """
        file = self._free("table", name, f"{name}.parquet", self.data)
        listed = [{key: _plain(value) for key, value in row.items()} for row in rows]
        if not listed:
            raise InputError(
                f"`rows` of Section.table({name!r}) must hold at least one row; got none. Leave "
                "the call out where there is nothing to save."
            )
        odd = next((i for i, row in enumerate(listed) if row.keys() != listed[0].keys()), None)
        if odd is not None:
            raise InputError(
                f"`rows` of Section.table({name!r}) must have the same columns each; row 0 has "
                f"{', '.join(listed[0])}, row {odd} has {', '.join(listed[odd])}. Use None where a "
                "number is missing."
            )
        write_parquet(self.folder / file, listed)
        self.data.append(file)
        if show:
            self.tables[name] = listed

    @contextmanager
    def figure(self, name: str, *, width: float = 6.4, height: float = 4.2) -> Iterator[Figure]:
        """A matplotlib figure, saved as PNG when the block ends without an error.

        Args:
            name: Stem of the file; letters, digits and underscores.
            width: Inches.
            height: Inches.

        Yields:
            The figure; make axes with ``figure.subplots()``.

        Raises:
            InputError: The name is malformed or taken.
            MissingDependencyError: matplotlib is not installed.
        """
        file = self._free("figure", name, f"{name}.png", self.figures)
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependencyError(
                "Figures of an experiment need matplotlib, which is not installed. "
                "Run: pip install 'talweg[reproduce]'"
            ) from error
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with durable(self.folder / file) as temporary:
            figure.savefig(temporary, dpi=150, format="png")
        self.figures.append(file)

    def _sheet(self) -> Sheet:
        return record_sheet(self)

    def _free(self, kind: str, name: str, file: str, taken: list[str]) -> str:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"`name` of Section.{kind} must consist of letters, digits and underscores; got "
                f"{name!r}. It becomes the stem of a file."
            )
        if file in taken:
            raise InputError(
                f"`name` of Section.{kind} must be new in its section; {name!r} was used before in "
                f"{self.title!r}. Choose another name."
            )
        return file


SectionFunction = Callable[[Section], None]


@dataclass(frozen=True, repr=False)
class Record(Shown):
    """A finished section, as it is printed and stored.

    Attributes:
        title: Its name.
        comparisons: The lines of "predicted | measured".
        tables: Rows of the tables that are printed, by name.
        figures: File names of the figures, in the experiment's folder.
        data: File names of all tables, likewise.
        seconds: Wall-clock time of the run that made it.
    """

    title: str
    comparisons: tuple[Comparison, ...]
    tables: dict[str, list[dict[str, Any]]]
    figures: tuple[str, ...]
    data: tuple[str, ...]
    seconds: float

    @property
    def violated(self) -> tuple[Comparison, ...]:
        """The comparisons whose bound is broken."""
        return tuple(c for c in self.comparisons if c.violated)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file of the section but its record."""
        return (*self.data, *self.figures)

    def _sheet(self) -> Sheet:
        return record_sheet(self)


def _plain(value: Any) -> Any:
    """Scalars of NumPy and torch as Python's own, which Parquet and JSON both hold."""
    item = getattr(value, "item", None)
    return item() if callable(item) else value
