"""The report of one certificate file: its claim, who checked it, and the pictures behind it."""

# ruff: noqa: RUF001 - Greek letters and signs of the theory pages stand for themselves.

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from talweg.report._claim import VERDICT, Claim, clean, read_claim
from talweg.report._criterion import criterion_parts
from talweg.report._directed import lower, nearest, upper, whole
from talweg.report._envelope import envelope_parts, loss_name, until
from talweg.report._landscape import landscape_parts
from talweg.report._pieces import Card, Facts, Paragraph, Part, Report, Section, Table
from talweg.report._series import number, shown_name
from talweg.report._spectrum import kernel_parts

THEOREMS = {
    "T11": "convergence to zero loss, squared loss with sharp constants",
    "T4": "convergence of networks under a smooth output loss with the PL inequality",
    "T7": "a target loss is reached, with the constants of T11",
    "T9": "float64 descent as it runs, down to a floor",
    "T13": "a cross-entropy is brought down to a target",
}
MEANINGS: tuple[tuple[str, str, Callable[[Fraction], str]], ...] = (
    ("residual_norm_upper", "Norm of the residual at the start |r₀| ≤", upper),
    ("initial_gap_upper", "Summed loss above its infimum at the start G ≤", upper),
    ("pl_lower", "PL constant of the output loss μ ≥", lower),
    ("initial_loss_upper", "Summed loss at the start ≤", upper),
    ("sigma_min_lower", "Smallest singular value of the Jacobian σ_min ≥", lower),
    ("jacobian_norm_upper", "Largest singular value |J| ≤", upper),
    ("radius", "Radius R* ≤", upper),
    ("overshoot_radius", "Radius with the last step ≤", upper),
    ("step_size", "Step (lr of plain full-batch SGD)", lambda _: "as in the file"),
    ("epsilon", "Share of the descent given up ε", nearest),
    ("theta", "Relative error of the gradient allowed θ", nearest),
    ("gradient_error_upper", "Error of the gradient ≤", upper),
    ("one_minus_rate", "Gain in a step, 1 - rate ≥", lower),
    ("rate", "Rate: loss over the loss before ≤", lambda v: upper(v, 8)),
    ("halving_steps", "Steps that halve the loss ≤", whole),
    ("target_loss", "Target loss", upper),
    ("floor", "Floor of the loss ≤", upper),
    ("steps_upper", "Steps to the target or floor ≤", whole),
)
UNPROVED = "These are the numbers of the file, which nothing confirmed while this page was made."
ALL_STEPS = ("T11", "T4")
"""Theorems whose claim is about every step up to the one in the file, the others about this one.

The rates speak of the step in the file, so it is never rounded.
"""


def certificate_report(
    body: Mapping[str, Any],
    *,
    file: str = "certificate.talweg",
    check: Mapping[str, Any] | None = None,
    measured: Mapping[str, Any] | None = None,
    sha256: str | None = None,
) -> Report:
    """What a certificate file claims, as a report.

    The page calls the claim proved only where `check` says that the independent checker confirmed
    this very claim.

    Source: T11, T4, T7, T9, T13 for the criterion; B3, B6 for the layers.

    Args:
        body: The JSON object of a `.talweg` file, as parsed.
        file: Its path, for the command that checks it again.
        check: Answer of the checker in this call: "verdict" ("valid", "invalid", "incomplete", or
            None where it did not run), "reason", "claim", "grade", "seconds".
        measured: What was computed in floating point from the stored model, as far as it was:
            "eigenvalues" of the kernel, "layers" (see `share_parts`), "losses"
            (pairs of step and loss above the infimum), "landscape" (see `landscape_parts`),
            "left_out" (sentences).
        sha256: Of the whole file.

    Raises:
        InputError: `body` is not of the format, or too large to show.
    """
    name = clean(shown_name(file.replace("\\", "/").rsplit("/", 1)[-1]))
    claim = read_claim(body, name)
    verdict = Verdict(claim, check or {})
    found = measured or {}
    intro = "" if verdict.proved else UNPROVED
    sections = [
        Section("claim", "The claim", (verdict.card(),)),
        Section("criterion", "Why: the criterion", criterion_parts(claim), intro),
        Section("descent", "How fast", envelope_parts(claim, found, verdict.word), intro),
    ]
    slices = landscape_parts(claim, found, verdict.word)
    if slices:
        sections.append(Section("landscape", "A slice of the loss", slices))
    kernel = kernel_parts(claim, found, verdict.word)
    if kernel:
        sections.append(Section("kernel", "The kernel and the layers", kernel, intro))
    sections.append(Section("numbers", "The numbers of the file", (_numbers(claim),)))
    sections.append(Section("again", "Checking it again", _again(claim, file, sha256)))
    return Report("Certificate", name, _facts(claim, verdict), tuple(sections))


class Verdict:
    """What may be said of the claim after this call's check.

    Args:
        claim: What the file states.
        check: The checker's answer; empty where it did not run.
    """

    def __init__(self, claim: Claim, check: Mapping[str, Any]) -> None:
        self.claim, self.check = claim, check
        self.verdict = check.get("verdict")
        if self.verdict == "valid" and check.get("claim") != claim.sentence:
            self.verdict = "incomplete"  # it read another file than this page was made from
            self.check = {**check, "reason": "the checker confirmed another claim than this one"}

    @property
    def proved(self) -> bool:
        """Whether the checker confirmed this claim in this call."""
        return self.verdict == "valid"

    @property
    def word(self) -> str:
        """What the numbers of the file may be called."""
        return "certified" if self.proved else "claimed"

    @property
    def status(self) -> str:
        """In few words."""
        if self.proved:
            return f"{VERDICT}, under assumptions" if self.claim.assumptions else VERDICT
        words = {"invalid": "INVALID", "incomplete": "Not confirmed"}
        return words.get(str(self.verdict), "Not checked")

    def card(self) -> Card:
        """The claim, with what was found about it."""
        claim = self.claim
        items = [("Claim" if self.proved else "The file claims", claim.sentence)]
        items.append(("Theorem", f"{claim.theorem}: {THEOREMS[claim.theorem]}"))
        items.append(("About", claim.semantics))
        items += [("Assumed, not shown", text) for text in claim.assumptions]
        if not claim.assumptions:
            items.append(("Assumptions", "none beside the stored numbers"))
        items.append(("Check", self._said()))
        titles = {
            "valid": f"{self.status}: confirmed by the independent checker",
            "invalid": "INVALID: the independent checker rejects this file",
            "incomplete": "Not confirmed: the independent checker reached no verdict",
        }
        title = titles.get(str(self.verdict), "Not checked: this is what the file says of itself")
        return Card(title, tuple(items), tone="good" if self.proved else "likely")

    def _said(self) -> str:
        seconds = number(self.check.get("seconds"))
        took = "" if seconds is None else f" It took {seconds:.2f} s."
        reason = clean(str(self.check.get("reason") or ""))
        # What the check itself assumes stands in its reason.
        graded = f" In its words: {reason}." if self.check.get("grade") == "float64" else ""
        if self.proved:
            return (
                "talweg-check, which shares no code with talweg, read this file in a process of "
                f"its own while this page was made and confirmed every number of the claim.{took}"
                f"{graded}"
            )
        if self.verdict in ("invalid", "incomplete"):
            return f"talweg-check: {self.verdict}{': ' + reason if reason else ''}.{took}"
        return (
            f"The claim was not checked while this page was made{': ' + reason if reason else ''}. "
            "The command below checks it."
        )


def _facts(claim: Claim, verdict: Verdict) -> Facts:
    known = claim.numbers
    items = [
        ("Status", verdict.status),
        ("Theorem", claim.theorem),
        ("Samples × outputs", f"{claim.samples:,} × {claim.outputs:,}"),
        ("Parameters", f"{claim.parameters:,}"),
        (f"{verdict.word.capitalize()} step" + (", up to" if claim.theorem in ALL_STEPS else ""),
         repr(float(known["step_size"]))),
        ("Stays within", upper(known.get("overshoot_radius", known["radius"]))),
        ("Halves within", f"{whole(known['halving_steps'])} steps"),
    ]  # fmt: skip
    if claim.goal is not None:
        what = "Floor" if "floor" in known else "Target"
        items.append((f"{what} within", f"{whole(known['steps_upper'])} steps"))
    return Facts(tuple(items))


def _numbers(claim: Claim) -> Table:
    rows = []
    for key, text, printed in MEANINGS:
        if key not in claim.numbers:
            continue
        value = claim.numbers[key]
        exact = repr(float(value))
        rows.append((text, printed(value), exact))
    title = (
        f"Bounds, rounded to the safe side; the rate is that of the {loss_name(claim)}, "
        f"{until(claim)}"
    )
    return Table(title, ("number", "rounded", "in the file"), tuple(rows))


def _again(claim: Claim, file: str, sha256: str | None) -> tuple[Part, ...]:
    # As it is: with anything left out it would name another file. A dash would begin an option.
    path = shlex.quote(f"./{file}" if file.startswith("-") else file)
    hashes = [("the file", sha256)] if sha256 else []
    hashes += [(what, claim.hashes[what]) for what in ("weights", "inputs", "targets")]
    parts: list[Part] = [
        Facts((("The independent checker", f"talweg-check {path}"),
               ("Against a live model and data", f"talweg check {path} --against SPEC"))),
        Paragraph(
            "The checker, talweg-check, is a package of its own and needs neither talweg nor "
            "torch. Whether the claim speaks of your model is what the second command answers."
        ),
        Table("sha256", ("of", "hash"), tuple(hashes)),
    ]  # fmt: skip
    if claim.provenance:
        parts.append(Card("Where it comes from, as the file says; nobody checks this",
                          claim.provenance))  # fmt: skip
    return tuple(parts)
