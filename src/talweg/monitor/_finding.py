"""A finding: one thing that limits a run, the evidence, and the change to make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from talweg._display import Grid, Sheet, Shown


@dataclass(frozen=True, repr=False)
class Finding(Shown):
    """One finding of a diagnosis; never a proof.

    Attributes:
        kind: What it is: one of `KINDS`.
        certainty: How sure, from 0 to 1; below 1/2 it is a remark beside the point.
        seen: What was seen, with numbers.
        source: Where the theory stands, an id of docs/theory; empty where there is none.
        change: What to do.
        action: The same for a program: see docs/monitor.md.
        numbers: The measurements it rests on.
        steps: First and last step of each stretch of the run that shows it.
    """

    kind: str
    certainty: float
    seen: str
    source: str
    change: str
    action: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return (
            f"{KINDS[self.kind]} ({self.certainty:.0%} sure): {self.seen}. "
            f"{self.change}{f' (theory: {self.theory})' if self.source else ''}"
        )

    @property
    def theory(self) -> str:
        """The source and what it is about, in words; empty where no theory stands behind it."""
        about = THEORY.get(self.source)
        return self.source if about is None else f"{self.source}, {about}"

    def _sheet(self) -> Sheet:
        rows = [("certainty", f"{self.certainty:.0%}"), ("seen", self.seen)]
        rows.append(("change", self.change))
        if self.source:
            rows.append(("theory", self.theory))
        if self.steps:
            rows.append(("steps", ", ".join(f"{a:,} to {b:,}" for a, b in self.steps)))
        return Sheet(f"finding: {KINDS.get(self.kind, self.kind)}", rows, note=_MEASURED)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for records, reports and JSON; ``title`` is the kind in words."""
        return {
            "kind": self.kind,
            "title": KINDS[self.kind],
            "certainty": self.certainty,
            "seen": self.seen,
            "source": self.source,
            "change": self.change,
            "action": dict(self.action),
            "numbers": dict(self.numbers),
            "steps": [list(stretch) for stretch in self.steps],
        }


class Findings(tuple[Finding, ...], Shown):
    """Findings by evidence, which a notebook shows as a table and `print` as lines."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self) or "no findings"

    def _sheet(self) -> Sheet:
        columns = ("finding", "certainty", "seen", "change", "theory")
        rows = [
            (KINDS.get(f.kind, f.kind), f"{f.certainty:.0%}", f.seen, f.change, f.theory)
            for f in self
        ]
        title = "what limits the run" if rows else "no findings"
        return Sheet(title, grids=(Grid(columns, rows),), note=_MEASURED)


_MEASURED = "Measured, not proved."

THEORY: dict[str, str] = {
    "B3": "a Lipschitz constant of the Jacobian on a ball",
    "E1": "gradient descent under smoothness and PL",
    "E2": "stochastic gradients of bounded variance",
    "E3": "strict saddles",
    "F3": "equal inputs",
    "T11": "squared loss, sharp",
}
"""What the sources of findings are about: the titles of their pages in docs/theory."""

KINDS: dict[str, str] = {
    "conflicting_targets": "equal inputs with different targets",
    "frozen": "parameters that are not trained",
    "disconnected": "parameters that the loss does not reach",
    "symmetric": "units that are copies of each other",
    "target_scale": "targets of an unusual scale",
    "inputs": "badly scaled inputs",
    "rank_deficient": "fewer parameters than residuals",
    "dead_units": "dead units",
    "saturated_units": "saturated units",
    "exploding": "exploding outputs and gradients",
    "vanishing": "vanishing gradients",
    "step_too_large": "step too large",
    "saddle": "plateau at a saddle",
    "noise_floor": "noise floor reached",
    "step_too_small": "step too small",
    "converging": "converging",
    "unsure": "not sure",
}
"""Kinds of findings in the order of causes: what stands earlier explains what stands later."""


def ranked(findings: list[Finding]) -> Findings:
    """Findings by evidence: those more likely than not first, causes before their effects."""
    order = list(KINDS)
    return Findings(
        sorted(findings, key=lambda f: (f.certainty < 0.5, order.index(f.kind), -f.certainty))
    )
