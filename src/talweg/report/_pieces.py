"""What a report is made of: sections of figures, cards, tables and paragraphs, as plain values.

A report of another kind (a certificate, an experiment) is another function that puts these pieces
together; the frame, the style and the rules about reading it aloud or on paper stay the same.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: What it is about.
        columns: Heads of the columns; the first column names the rows.
        rows: Cells, as many as columns.
    """

    form: ClassVar[str] = "table"
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Paragraph:
    """A sentence or two.

    Attributes:
        text: Plain text.
        strong: Whether it must not be overlooked.
    """

    form: ClassVar[str] = "paragraph"
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and values that stand beside each other.

    Attributes:
        items: (name, value).
    """

    form: ClassVar[str] = "facts"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Card:
    """One statement with what it rests on.

    Attributes:
        title: The statement in a few words.
        items: (name, text), such as ("Seen", "...").
        share: A certainty from 0 to 1, drawn as a bar.
        share_text: The same in words.
        tone: "likely", "remark" or "good"; it only adds to what the words say.
    """

    form: ClassVar[str] = "card"
    title: str
    items: tuple[tuple[str, str], ...]
    share: float | None = None
    share_text: str = ""
    tone: str = "remark"


@dataclass(frozen=True)
class Figure:
    """A plot, with what it shows in words and in numbers for those who cannot see it.

    Attributes:
        name: Unique in the report; letters, digits and hyphens.
        title: Its heading.
        caption: What is drawn and how to read it.
        alternative: What can be seen, in one or two sentences.
        traces: Plotly traces as dicts; colours are names such as "@1" (see `talweg.report._plot`).
        layout: Plotly layout as a dict.
        table: The numbers, or some of them.
        height: In pixels.
        wide: Whether it takes the whole width.
    """

    form: ClassVar[str] = "figure"
    name: str
    title: str
    caption: str
    alternative: str
    traces: tuple[Mapping[str, Any], ...]
    layout: Mapping[str, Any] = field(default_factory=dict)
    table: Table | None = None
    height: int = 320
    wide: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture that was made elsewhere, held by the page itself.

    Attributes:
        title: Its heading.
        content: Of a PNG file.
        alternative: What it shows, in a sentence.
    """

    form: ClassVar[str] = "picture"
    title: str
    content: bytes
    alternative: str

    @property
    def address(self) -> str:
        """The content as an address that loads nothing."""
        return "data:image/png;base64," + base64.b64encode(self.content).decode()


Part = Table | Paragraph | Facts | Card | Figure | Picture


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading of its own and a place in its contents.

    Attributes:
        anchor: Unique in the report; letters, digits and hyphens.
        title: Its heading.
        parts: What it holds, in order.
        intro: A sentence in front.
    """

    anchor: str
    title: str
    parts: tuple[Part, ...]
    intro: str = ""


@dataclass(frozen=True)
class Report:
    """A whole report: one page that needs nothing else; see `talweg.report.render`.

    Attributes:
        kind: Of which kind, such as "Run report".
        title: Of this one.
        facts: The few numbers that stand at the top.
        sections: In order.
    """

    kind: str
    title: str
    facts: Facts
    sections: tuple[Section, ...]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures in order."""
        return tuple(p for s in self.sections for p in s.parts if isinstance(p, Figure))
