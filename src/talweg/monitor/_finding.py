"""A finding: one thing that limits a run, the evidence, and the change to make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One finding of a diagnosis; never a proof.

    Attributes:
        kind: What it is: one of `KINDS`.
        certainty: How sure, from 0 to 1; below 1/2 it is a remark beside the point.
        seen: What was seen, with numbers.
        source: Where the theory stands: ids of docs/theory.
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
            f"{self.change} [{self.source}]"
        )

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


def ranked(findings: list[Finding]) -> tuple[Finding, ...]:
    """Findings by evidence: those more likely than not first, causes before their effects."""
    order = list(KINDS)
    return tuple(
        sorted(findings, key=lambda f: (f.certainty < 0.5, order.index(f.kind), -f.certainty))
    )
