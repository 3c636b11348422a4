"""Runs the bench and prints the confusion table.

Every healthy set-up is tuned first: of five learning rates the one with the smallest final loss. A
planted fault counts only where it hurts: where the final loss is at least twice the healthy one
(1.2 times and 0.1 of the starting loss, where noise or labels keep it from zero). The repair
changes what the first finding says, and trains twice as long; it has worked where the loss, half
way or in the end, is 1.5 times the healthy one or less, or a tenth of the starting loss above it.
For vanishing gradients it also goes back to the usual depth, for noise the batch is enlarged and
the healthy run is one on the same noisy data.

A tuned run that keeps more than half of its starting loss is not healthy: such set-ups are left
out, and counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, replace
from functools import cache
from pathlib import Path

import torch
from benchmarks.faults.families import DEPTH, Shape
from benchmarks.faults.planted import FAULTS, followed
from benchmarks.faults.tasks import DEV, TEST
from benchmarks.faults.training import Setup, clean_loss, train, watch
from rich.console import Console
from rich.table import Table

RATES = (0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Case:
    """Where a set-up comes from."""

    half: str
    family: str
    task: str
    optimizer: str
    width: int
    activation: str
    seed: int


@cache
def _task(half: str, family: str, name: str):
    return {"dev": DEV, "test": TEST}[half][family][name]()


@cache
def healthy(case: Case) -> tuple[Setup, float, float]:
    """The tuned set-up, the loss at its start and at its end."""
    shape = Shape(case.width, DEPTH[case.family], case.activation)
    task = _task(case.half, case.family, case.task)
    first = Setup(case.family, task, shape, case.optimizer, RATES[0], case.seed)
    losses = {lr: train(replace(first, lr=lr)) for lr in RATES}
    best = min(RATES, key=lambda lr: losses[lr])
    setup = replace(first, lr=best)
    return setup, clean_loss(setup, setup.build()[0]), losses[best]


def run(job: tuple[Case, str, bool]) -> dict[str, object]:
    """One run: a healthy one where the fault is ""."""
    case, fault, repair = job
    torch.set_num_threads(1)
    setup, start, end = healthy(case)
    found: dict[str, object] = {"case": case.__dict__, "fault": fault, "start": start, "end": end}
    if not fault:
        findings, loss = watch(setup)
        return found | {"kinds": [(f.kind, round(f.certainty, 3)) for f in findings],
                        "loss": loss, "words": [str(f) for f in findings]}  # fmt: skip
    broken = FAULTS[fault].plant(setup)
    if broken is None:
        return found | {"skipped": "does not exist here"}
    findings, loss = watch(broken)
    units = start / max(clean_loss(broken, broken.build()[0]), 1e-30) if "targets" in fault else 1.0
    found |= {"kinds": [(f.kind, round(f.certainty, 3)) for f in findings], "loss": loss * units,
              "words": [str(f) for f in findings]}  # fmt: skip
    if not (loss * units > 2 * end or loss * units > 1.2 * end + 0.1 * (start - end)):
        return found | {"skipped": "does not hurt"}
    if repair and FAULTS[fault].repairable:
        fixed = replace(followed(broken, findings[0]), steps=2 * broken.steps)
        after = train(fixed, looks=2)  # a tuned step may diverge after the time it was tuned for
        if broken.noise:  # the healthy run of the same data; "or": the batch is followed
            end = train(replace(setup, noise=broken.noise, steps=fixed.steps), looks=2)
        found |= {"repaired": after, "works": after <= max(1.5 * end, end + 0.1 * (start - end))}
    return found


def jobs(half: str, quick: bool, repair: bool) -> Iterator[tuple[Case, str, bool]]:
    """The runs of one half."""
    tasks = {"dev": DEV, "test": TEST}[half]
    names = {
        "dev": ("SGD", "momentum", "Adam", "AdamW"),
        "test": ("SGD", "Nesterov", "Adam", "AdamW"),
    }[half]
    widths = {"dev": (32,), "test": (20, 48)}[half]
    for family in tasks:
        # Transformers take most of the time: two seeds.
        seeds = range(1 if quick else 4 if half == "test" and family != "transformer" else 2)
        for place, task in enumerate(tasks[family]):
            # Half of the optimisers for each task of the development half.
            optimizers = names[place % 2 :: 2] if half == "dev" else names
            for index, optimizer in enumerate(optimizers):
                odd = (index + place) % 2 == 1
                for width in widths:
                    for seed in seeds:
                        own = seed if half == "dev" else 200 + seed
                        activation = ("relu", "tanh")[(place // 2 + seed + widths.index(width)) % 2]
                        if family == "transformer" and activation == "tanh":
                            activation = "gelu"
                        case = Case(half, family, task, optimizer, width, activation, own)
                        yield case, "", repair
                        if seed or (half == "test" and (width == widths[0]) != odd):
                            continue
                        for fault in FAULTS:
                            yield case, fault, repair


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=("dev", "test"), default="test")
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--no-repair", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fault", default=None, help="only this one ('' for healthy runs)")
    parser.add_argument("--family", default=None)
    parser.add_argument(
        "--out", type=Path, default=None, help="keeps a line per run; those in it are not run again"
    )
    parser.add_argument("--show", type=Path, default=None, help="print such a file instead")
    chosen = parser.parse_args()
    todo = [
        job
        for job in jobs(chosen.half, chosen.quick, not chosen.no_repair)
        if chosen.fault in (None, job[1]) and chosen.family in (None, job[0].family)
    ]
    begun = time.perf_counter()
    if chosen.show is not None:
        show(_kept(chosen.show))
        return 0
    results = _kept(chosen.out) if chosen.out is not None and chosen.out.exists() else []
    known = {(tuple(r["case"].values()), r["fault"]) for r in results}
    todo = [job for job in todo if (astuple(job[0]), job[1]) not in known]
    with ProcessPoolExecutor(chosen.workers) as pool:
        for count, result in enumerate(pool.map(run, todo, chunksize=20), 1):
            results.append(result)
            if chosen.out is not None:
                with chosen.out.open("a") as file:
                    file.write(json.dumps(result) + "\n")
            if sys.stderr.isatty():
                print(f"\r{count}/{len(todo)}", end="", file=sys.stderr)
    show(results)
    print(f"{len(results)} runs, {time.perf_counter() - begun:.0f} s for {len(todo)} of them")
    return 0


def _kept(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def show(results: list[dict[str, object]]) -> None:
    """The table of faults, and the counts."""
    console = Console(width=170)
    total = Counter(hopeless=sum(not _learnt(r) for r in results))
    results = [r for r in results if _learnt(r)]
    table = Table(
        "planted", "looked for", "runs", "first", "first two", "repaired", "first finding otherwise"
    )
    rows = defaultdict(list)
    for result in results:
        rows[result["fault"]].append(result)
    for fault in FAULTS:
        hurt = [r for r in rows[fault] if "skipped" not in r]
        kind = FAULTS[fault].kind
        first = sum(r["kinds"][0][0] == kind for r in hurt)
        two = sum(kind in [k for k, _ in r["kinds"][:2]] for r in hurt)
        tried = [r for r in hurt if "works" in r]
        works = sum(r["works"] for r in tried)
        others = Counter(r["kinds"][0][0] for r in hurt if r["kinds"][0][0] != kind)
        total.update(runs=len(hurt), first=first, two=two, tried=len(tried), works=works,
                     skipped=len(rows[fault]) - len(hurt))  # fmt: skip
        table.add_row(fault, kind, str(len(hurt)), str(first), str(two), f"{works}/{len(tried)}",
                      ", ".join(f"{k} {c}" for k, c in others.most_common()))  # fmt: skip
    console.print(table)
    fine = rows[""]
    alarms = [r for r in fine if r["kinds"][0][0] not in ("converging", "unsure")]
    kinds = Counter(r["kinds"][0][0] for r in fine)
    for words, part, whole in (
        ("planted cause first", total["first"], total["runs"]),
        ("among the first two", total["two"], total["runs"]),
        ("repaired by the first finding", total["works"], total["tried"]),
        ("false alarms on healthy runs", len(alarms), len(fine)),
    ):
        if whole:
            print(f"{words}: {part}/{whole} = {part / whole:.1%}")
    print(f"{total['skipped']} faults did not exist or did not hurt; healthy: {dict(kinds)}")
    print(f"{total['hopeless']} runs left out: the tuned run keeps over half of its loss")


def _learnt(result: dict[str, object]) -> bool:
    return result["end"] <= 0.5 * result["start"]


if __name__ == "__main__":
    sys.exit(main())
