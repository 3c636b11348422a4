"""`python -m tests.soundness.mutation [MODULE ...]`: mutants, killed, equivalent, survivors."""

from __future__ import annotations

import argparse
import sys
import time

from tests.soundness.mutation.census import census, stale
from tests.soundness.mutation.mutants import PACKAGE, mutants, sources


def main(words: list[str] | None = None) -> int:
    """Exit status: 0 when every mutant is killed or listed, and the list is up to date."""
    parser = argparse.ArgumentParser(prog="python -m tests.soundness.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as _lipschitz; all without")
    parser.add_argument("--list-survivors", action="store_true")
    parser.add_argument("--follow", action="store_true", help="print survivors at once, to stderr")
    parser.add_argument("--keys", action="store_true", help="print survivors as keys")
    parser.add_argument("--killers", action="store_true", help="print which case kills how many")
    options = parser.parse_args(words)
    known = {name.removeprefix(f"{PACKAGE}."): name for name in sources()}
    unknown = [name for name in options.modules if name not in known]
    if unknown:
        parser.error(f"no module {unknown[0]!r}; there are {', '.join(known)}")
    bad = 0
    print(f"{'module':18}{'mutants':>9}{'killed':>9}{'equivalent':>12}{'survivors':>11}{'s':>7}")
    for short, name in known.items():
        if options.modules and short not in options.modules:
            continue
        start = time.perf_counter()
        found = census(mutants(name), sys.stderr if options.follow else None)
        bad += len(found.survivors)
        print(
            f"{short:18}{len(mutants(name)):9}{found.killed:9}{found.equivalent:12}"
            f"{len(found.survivors):11}{time.perf_counter() - start:7.0f}",
            flush=True,
        )
        if options.list_survivors or options.keys:
            for mutant in found.survivors:
                print(f"    {mutant.key!r}," if options.keys else f"  {mutant}", flush=True)
        if options.killers:
            for killer, count in sorted(found.killers.items(), key=lambda item: -item[1]):
                print(f"  {count:5} {killer}")
    out_of_date = stale()
    for line in out_of_date:
        print(f"listed as equivalent, but no mutant: {line}")
    return 1 if bad or out_of_date else 0


if __name__ == "__main__":
    sys.exit(main())
