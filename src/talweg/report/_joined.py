"""Several reports on one page, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from talweg.report._pieces import Facts, Figure, Part, Report, Section, Table


def joined_report(reports: Sequence[Report], *, title: str) -> Report:
    """One report with the sections of several, in order, and their numbers side by side in front.

    Args:
        reports: At least one; a single one is returned as it is.
        title: Of the page.
    """
    if len(reports) == 1:
        return reports[0]
    sections: list[Section] = []
    tables = _side_by_side(reports)
    if tables:
        sections.append(Section("side-by-side", "Side by side", tables))
    for index, report in enumerate(reports, start=1):
        mark = f"part{index}"
        sections.append(
            Section(mark, f"{index}. {report.title}", (report.facts,), f"{report.kind}.")
        )
        sections += [
            Section(
                f"{mark}-{section.anchor}", f"{index}. {section.title}",
                tuple(_renamed(part, mark) for part in section.parts), section.intro,
            )
            for section in report.sections
        ]  # fmt: skip
    facts = Facts(tuple((f"{i}. {r.kind}", r.title) for i, r in enumerate(reports, start=1)))
    return Report("Report", title, facts, tuple(sections))


def _side_by_side(reports: Sequence[Report]) -> tuple[Part, ...]:
    """For each kind that comes more than once, what stands at the top of its pages."""
    kinds: dict[str, list[tuple[int, Report]]] = {}
    for index, report in enumerate(reports, start=1):
        kinds.setdefault(report.kind, []).append((index, report))
    tables: list[Part] = []
    for kind, found in kinds.items():
        if len(found) == 1:
            continue
        names = list(dict.fromkeys(name for _, r in found for name, _ in r.facts.items))
        rows = tuple(
            (f"{index}. {r.title}", *(dict(r.facts.items).get(name, "") for name in names))
            for index, r in found
        )
        tables.append(Table(f"{kind}s in numbers", (kind.lower(), *names), rows))
    return tuple(tables)


def _renamed(part: Part, mark: str) -> Part:
    return replace(part, name=f"{mark}-{part.name}") if isinstance(part, Figure) else part
