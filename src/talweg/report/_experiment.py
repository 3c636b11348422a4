"""The report of a reproduced source: its sections, measured beside predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from talweg._errors import InputError
from talweg.report._claim import VERDICT, clean
from talweg.report._pieces import Facts, Paragraph, Part, Picture, Report, Section, Table
from talweg.report._series import shown_name

PNG = b"\x89PNG\r\n\x1a\n"
MOST_SECTIONS = 100
MOST_ROWS = 200
MOST_COLUMNS = 40
MOST_PICTURES = 60
LARGEST_PICTURE = 4 * 2**20


def experiment_report(sections: Sequence[Mapping[str, Any]], *, title: str) -> Report:
    """What an experiment found, as a report.

    Args:
        sections: Each with "title"; "comparisons", rows of text under "columns", the last one the
            result; "notes" to them; "tables", rows of text by name, heads first; "pictures",
            contents of PNG files by name; "violated", how many bounds are broken; "bounds", how
            many there are; "seconds".
        title: Of the page.

    Raises:
        InputError: There is no section, or more than a page can hold, or a picture is no PNG.
    """
    if not 0 < len(sections) <= MOST_SECTIONS:
        raise InputError(
            f"sections of experiment_report: from 1 to {MOST_SECTIONS} are required; got "
            f"{len(sections)}; make several pages"
        )
    bounds, violated, seconds = (
        sum(s[key] for s in sections) for key in ("bounds", "violated", "seconds")
    )
    facts = [
        ("Sections", f"{len(sections)}"), ("Bounds compared", f"{bounds:,}"),
        ("Bounds broken", f"{violated:,}"), ("Time it took", _seconds(seconds)),
    ]  # fmt: skip
    made = [
        Section(f"section{i}", clean(str(s["title"]), 120), _parts(s))
        for i, s in enumerate(sections, start=1)
    ]
    return Report("Reproduction", shown_name(title), Facts(tuple(facts)), tuple(made))


def _parts(section: Mapping[str, Any]) -> tuple[Part, ...]:
    parts: list[Part] = []
    if section["violated"]:
        parts.append(Paragraph(
            f"{section['violated']} of {section['bounds']} bounds are broken: see the rows called "
            "VIOLATED.", strong=True))  # fmt: skip
    if section["comparisons"]:
        parts.append(_table("Measured beside predicted", section["columns"],
                            section["comparisons"]))  # fmt: skip
    parts += [
        Paragraph(f"[{i}] {clean(note.replace(VERDICT, 'proved, as recorded'), 1000)}")
        for i, note in enumerate(section["notes"], start=1)
    ]
    for name, (columns, *rows) in section["tables"].items():
        parts.append(_table(shown_name(name), columns, rows))
    pictures = section["pictures"]
    if len(pictures) > MOST_PICTURES:
        parts.append(Paragraph(f"Only {MOST_PICTURES} of {len(pictures)} figures are shown."))
    for name, content in list(pictures.items())[:MOST_PICTURES]:
        if len(content) > LARGEST_PICTURE or not content.startswith(PNG):
            raise InputError(
                f"pictures of experiment_report: PNG files of at most {LARGEST_PICTURE // 2**20} "
                f"MiB are required; {shown_name(name)!r} is none; run the experiment again"
            )
        words = (
            f"Figure {shown_name(name)} of the section {clean(str(section['title']), 120)}; its "
            "numbers are in the tables of this section and in the data files beside it."
        )
        parts.append(Picture(shown_name(name), content, words))
    parts.append(Paragraph(f"It took {_seconds(section['seconds'])}."))
    return tuple(parts)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    shown = [
        tuple(clean(cell.replace(VERDICT, "proved, as recorded")) for cell in row[:MOST_COLUMNS])
        for row in rows[:MOST_ROWS]
    ]
    if len(rows) > MOST_ROWS:
        title += f", the first {MOST_ROWS} of {len(rows):,} rows"
    return Table(title, tuple(shown_name(c) for c in columns[:MOST_COLUMNS]), tuple(shown))


def _seconds(value: float) -> str:
    return f"{value:,.1f} s"
