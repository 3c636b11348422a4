"""The standing counts of the ledger as Markdown, for the terminal and for docs/soundness.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.soundness.campaign import Placed
from tests.soundness.ledger import Entry
from tests.soundness.source_hash import ROOT

PAGE = ROOT / "docs" / "soundness.md"
BEGIN, END = "<!-- counts: begin -->\n", "<!-- counts: end -->\n"
LIMIT = 1200  # seconds that a shard may take


def by_area(entries: Mapping[str, Entry]) -> str:
    """One row per area: shards, cases, the smallest number of cases in a shard, what was found."""
    areas: dict[str, list[Entry]] = {}
    for name, entry in sorted(entries.items()):
        areas.setdefault(name.partition("/")[0], []).append(entry)
    rows = [
        "| area | shards | cases | fewest in a shard | found | minutes of one core |",
        "|---|---|---|---|---|---|",
    ]
    for area, group in areas.items():
        rows.append(_row(area, group))
    rows.append(_row("all", list(entries.values())))
    return "\n".join(rows) + "\n"


def _row(name: str, group: Sequence[Entry]) -> str:
    cases = [entry.tally.cases for entry in group]
    found = sum(entry.found for entry in group)
    minutes = sum(entry.seconds for entry in group) / 60
    return (
        f"| {name} | {len(group)} | {sum(cases):,} | {min(cases, default=0):,} | {found} "
        f"| {minutes:.1f} |"
    )


def by_shard(entries: Mapping[str, Entry]) -> str:
    """One row per shard, with its further counters."""
    rows = ["| shard | cases | found | seconds | further |", "|---|---|---|---|---|"]
    for name, entry in sorted(entries.items()):
        further = Counter(dict(entry.tally.counts))
        said = ", ".join(f"{key} {count:,}" for key, count in sorted(further.items()))
        rows.append(
            f"| {name} | {entry.tally.cases:,} | {entry.found} | {entry.seconds:.0f} | {said} |"
        )
    return "\n".join(rows) + "\n"


def shortcomings(shards: Sequence[Placed], entries: Mapping[str, Entry]) -> list[str]:
    """What keeps the campaign from being complete and clean for the present code."""
    result = []
    for item in shards:
        name = item.shard.name
        entry = entries.get(name)
        if entry is None:
            result.append(f"{name}: not run")
            continue
        if entry.code != item.code:
            result.append(f"{name}: counted for another state of the code ({entry.code})")
        elif entry.tally.cases < item.shard.goal:
            result.append(f"{name}: {entry.tally.cases:,} of {item.shard.goal:,} cases")
        if entry.found:
            result.append(f"{name}: {entry.found} violations or tracebacks")
        if entry.seconds > LIMIT:
            result.append(f"{name}: took {entry.seconds:.0f} s, more than {LIMIT}")
    known = {item.shard.name for item in shards}
    result += [f"{name}: no longer a shard" for name in sorted(set(entries) - known)]
    return result


def write_counts(entries: Mapping[str, Entry], page: Path = PAGE) -> None:
    """Put the table of areas between the two markers of the page."""
    page.write_text(with_counts(page.read_text(encoding="utf-8"), entries), encoding="utf-8")


def with_counts(text: str, entries: Mapping[str, Entry]) -> str:
    """The page with the present table between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page lacks the two markers between which the counts stand")
    return before + BEGIN + by_area(entries) + END + after
