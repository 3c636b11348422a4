"""Random certificates under attack: certified by talweg, checked, and searched for a violation.

A case is a certificate with status PROVED that was attacked. `python -m
tests.soundness.falsification --power` prints which planted lies the attacks find.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path

import numpy as np
from tests.soundness.falsification_instances import family
from tests.soundness.instances import KINDS, certified
from tests.soundness.shard import Shard, Tally

from talweg.certificate import Certificate
from talweg.falsification import Search
from talweg.falsification._board import QUICK, Effort
from talweg_check import check

UNDER_TEST = ("talweg.certificate", "talweg.falsification", "talweg_check")
LONGER = replace(QUICK, float_steps=200)
"""Of the first certificate of each family: descent is followed until it is near its end."""

GOALS = {
    "T11": 3000, "T4": 1600, "T7": 1600, "T9": 1300, "entropy T4": 1300, "entropy T13": 1300,
}  # fmt: skip


def attacked(certificate: Certificate, seed: int, words: str, effort: Effort) -> Tally:
    """One certificate checked and attacked, briefly."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.talweg"
        certificate.save(path)
        verdict = check(str(path))
    counts = {f"checked {verdict.verdict}": 1}
    violations = []
    if verdict.verdict == "invalid":
        violations.append(f"{words}: the checker calls it invalid: {verdict.reason}")
    found = Search(certificate, seed=seed, effort=effort).run(rounds=1)
    counts["comparisons"] = found.points
    if found.violation is not None:
        violations.append(f"{words}: {found.summary()} {dict(found.violation.numbers)}")
    return Tally(1, tuple(violations), (), counts)


def batch(seed: int, *, kind: str) -> Tally:
    """A family of certificates, and one more about a network of another generator."""
    total = Tally()
    rest = iter([certified(_seed_of(kind, seed))]) if seed % 8 == 0 else iter(())
    for index, certificate in enumerate(chain(family(kind, seed), rest)):
        words = f"{kind} seed {seed} number {index}"
        if certificate is None or certificate.status != "PROVED":
            total += Tally(counts={"not proved": 1})
            continue
        try:
            total += attacked(certificate, seed, words, QUICK if index else LONGER)
        except Exception:
            last = " | ".join(traceback.format_exc().strip().splitlines()[-4:])
            total += Tally(tracebacks=(f"{words}: {last}",))
    return total


def _seed_of(kind: str, seed: int) -> int:
    """A seed of `instances.instance` that draws this kind."""
    return next(
        one
        for one in count(seed << 20)
        if KINDS[int(np.random.default_rng(one).integers(len(KINDS)))] == kind
    )


SHARDS = tuple(
    Shard(f"falsify/{kind.replace(' ', '-')}", UNDER_TEST, goal, partial(batch, kind=kind))
    for kind, goal in GOALS.items()
)


if __name__ == "__main__":
    from tests.soundness.falsification_power import report

    if sys.argv[1:] != ["--power"]:
        sys.exit("usage: python -m tests.soundness.falsification --power")
    report()
