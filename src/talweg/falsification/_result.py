"""What a search for a violation found, and what it tried."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text
from safetensors.torch import save as save_arrays
from torch import Tensor

from talweg._display import Grid, Sheet, Shown
from talweg._durable import durable

JSON_MEMBER, ARRAYS_MEMBER = "violation.json", "arrays.safetensors"


@dataclass(frozen=True, eq=False, repr=False)
class Violation(Shown):
    """A claim that is proved wrong.

    Attributes:
        attack: Which attack found it.
        statement: The broken claim in words.
        attained: What was attained, a float64 near the value.
        claimed: What was claimed.
        bits: Precision at which Arb proved the inequality.
        numbers: Step size, step index, distance: what else the counterexample consists of.
        arrays: The counterexample: displacement from the stored weights, directions.
    """

    attack: str
    statement: str
    attained: float
    claimed: float
    bits: int
    numbers: Mapping[str, float]
    arrays: Mapping[str, Tensor]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as a JSON-able dictionary, without the arrays."""
        return {
            "attack": self.attack,
            "statement": self.statement,
            "attained": self.attained,
            "claimed": self.claimed,
            "bits": self.bits,
            "numbers": dict(self.numbers),
        }

    def _sheet(self) -> Sheet:
        rows = [("statement", self.statement), ("attack", self.attack)]
        rows += [("attained", repr(self.attained)), ("claimed", repr(self.claimed))]
        rows += [(name, f"{value!r}") for name, value in self.numbers.items()]
        rows.append(("proved", f"by Arb at {self.bits} bits"))
        rows += [("array", f"{name}, {tuple(t.shape)}") for name, t in self.arrays.items()]
        return Sheet("a claim that is proved wrong", rows, tone="bad")

    def save(self, path: str | Path) -> None:
        """Write a zip of JSON and safetensors; the file appears whole or not at all.

        Args:
            path: Where to write; the folder exists.
        """
        text = {
            key: float(v).hex() if isinstance(v, float) else v for key, v in self.to_dict().items()
        }
        text["numbers"] = {key: float(v).hex() for key, v in self.numbers.items()}
        body = json.dumps(text, sort_keys=True, indent=1).encode("ascii")
        arrays = {name: t.detach().contiguous().clone() for name, t in self.arrays.items()}
        with durable(Path(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for member, content in ((JSON_MEMBER, body), (ARRAYS_MEMBER, save_arrays(arrays))):
                archive.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), content)


@dataclass(frozen=True)
class AttackResult:
    """How close one attack came.

    Attributes:
        attack: Its name.
        ratio: Largest attained over claimed for an upper bound, claimed over attained for a lower
            one; above 1 would be a violation. Float64, no bound. None where nothing was compared.
        points: Points, directions or steps compared.
        seconds: Time spent.
    """

    attack: str
    ratio: float | None
    points: int
    seconds: float


@dataclass(frozen=True, repr=False)
class Falsification(Shown):
    """The outcome of a search; that nothing was found proves nothing.

    Attributes:
        violation: The proved violation, or None.
        attacks: One line for each attack.
        points: Comparisons altogether.
        seconds: Time spent.
        rounds: Rounds of attacks that were finished.
        theorem: Of the certificate.
    """

    violation: Violation | None
    attacks: tuple[AttackResult, ...]
    points: int
    seconds: float
    rounds: int
    theorem: str

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return {
            "violation": None if self.violation is None else self.violation.to_dict(),
            "theorem": self.theorem,
            "attacks": [
                {
                    "attack": a.attack,
                    "ratio": a.ratio,
                    "points": a.points,
                    "seconds": round(a.seconds, 4),
                }
                for a in self.attacks
            ],
            "points": self.points,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 4),
        }

    def summary(self) -> str:
        """One sentence."""
        tried = f"{self.points} comparisons in {self.seconds:.1f} s"
        if self.violation is None:
            return f"no violation of {self.theorem}'s claims found: {tried}; this proves nothing"
        v = self.violation
        return (
            f"VIOLATED, proved at {v.bits} bits by attack {v.attack!r}: {v.statement} "
            f"(attained {v.attained!r}, claimed {v.claimed!r})"
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("attack", "closest ratio", "compared", "seconds"):
            table.add_column(column, justify="left" if column == "attack" else "right")
        for row in self._rows():
            table.add_row(*map(Text, row))  # brackets are no markup
        yield table
        yield Text(self.summary())

    def _sheet(self) -> Sheet:
        columns = ("attack", "closest ratio", "compared", "seconds")
        grid = Grid(columns, self._rows(), numbers=frozenset({1, 2, 3}))
        tone = "" if self.violation is None else "bad"
        return Sheet("search for a violation", grids=(grid,), note=self.summary(), tone=tone)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [
            (
                a.attack,
                "-" if a.ratio is None else f"{a.ratio:.9g}",
                str(a.points),
                f"{a.seconds:.2f}",
            )
            for a in self.attacks
        ]

    def __str__(self) -> str:
        lines = [f"{'attack':<24}{'closest ratio':>15}{'compared':>10}{'seconds':>9}"]
        lines += [f"{a:<24}{r:>15}{p:>10}{s:>9}" for a, r, p, s in self._rows()]
        return "\n".join([*lines, self.summary()])
