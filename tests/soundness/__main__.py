"""`python -m tests.soundness`: runs what is missing of the campaign, then prints its counts."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys

from tests.soundness import ledger
from tests.soundness.campaign import Campaign, Placed, placed
from tests.soundness.report import by_area, by_shard, shortcomings, write_counts


def main(words: list[str] | None = None) -> int:
    """Exit status: 0 when every goal is met for the present code and nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.soundness", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="shards to run, for example 'falsify/*'")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=180, help="no batch starts after this")
    parser.add_argument("--report", action="store_true", help="run nothing, print the counts")
    parser.add_argument("--shards", action="store_true", help="print one row per shard as well")
    parser.add_argument("--document", action="store_true", help="write the counts into the page")
    chosen = parser.parse_args(words)
    if chosen.workers < 1 or not chosen.minutes > 0:
        parser.error("--workers and --minutes must be positive")
    shards = [item for item in placed() if _wanted(item, chosen.patterns)]
    if not shards:
        parser.error(f"no shard is named like {' or '.join(chosen.patterns)}")
    if not chosen.report:
        campaign = Campaign(shards)
        print(f"{len(campaign.todo)} of {len(shards)} shards are not complete", file=sys.stderr)
        try:
            campaign.run(chosen.workers, 60 * chosen.minutes)
        except KeyboardInterrupt:
            print("interrupted; finished batches are in the ledger", file=sys.stderr)
            return 130
    entries = ledger.load()
    if chosen.document:
        write_counts(entries)
    shown = {name: entry for name, entry in entries.items() if _named(name, chosen.patterns)}
    if chosen.shards:
        print(by_shard(shown))
    print(by_area(shown))
    missing = shortcomings(shards, shown)
    print("\n".join(missing) if missing else "complete, nothing found")
    return 1 if missing else 0


def _wanted(item: Placed, patterns: list[str]) -> bool:
    return _named(item.shard.name, patterns)


def _named(name: str, patterns: list[str]) -> bool:
    return not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


if __name__ == "__main__":
    sys.exit(main())
