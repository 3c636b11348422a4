"""Several reports on one page, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from talweg.report._pieces import Facts, Figure, Part, Report, Section


def joined_report(reports: Sequence[Report], *, title: str) -> Report:
    """One report with the sections of several, in order.

    Args:
        reports: At least one; a single one is returned as it is.
        title: Of the page.
    """
    if len(reports) == 1:
        return reports[0]
    sections: list[Section] = []
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


def _renamed(part: Part, mark: str) -> Part:
    return replace(part, name=f"{mark}-{part.name}") if isinstance(part, Figure) else part
