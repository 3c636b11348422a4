"""The page of ``talweg demo``: a training, watched until the theorem applies to it."""

# ruff: noqa: RUF001 - the sign of the theory pages stands for itself.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from talweg.report._curves import curve, together, upright
from talweg.report._pieces import Card, Facts, Figure, Part, Report, Section, Table
from talweg.report._plot import layout, short
from talweg.report._series import number

Checkpoint = Mapping[str, Any]


def demo_report(record: Mapping[str, Any], certificate: Report | None) -> Report:
    """The demo's numbers as one page, with the page of its certificate in the middle.

    Args:
        record: What ``talweg demo`` writes to ``demo.json``: "checkpoints", "trapping_time",
            "certificate", "descent", "held_out_sign_errors", "held_out_rows".
        certificate: The report of the certificate file; None where nothing was proved.
    """
    points = [point for point in record["checkpoints"] if number(point["step"]) is not None]
    sections = [Section("training", "The training, watched", _training(points, record))]
    if certificate is not None:
        sections += certificate.sections
    descent = _steps(record)
    if descent:
        sections.append(Section("steps", "Larger steps than the certified one", descent))
    facts = certificate.facts if certificate is not None else _facts(record)
    return Report("Demo", "Handwritten digits, odd or even", facts, tuple(sections))


def _facts(record: Mapping[str, Any]) -> Facts:
    found = record["certificate"]
    return Facts((("Status", str(found["status"])), ("Theorem", str(found["theorem"]))))


def _training(points: Sequence[Checkpoint], record: Mapping[str, Any]) -> tuple[Part, ...]:
    trapped = record["trapping_time"]
    when = (
        "At no checkpoint does the theorem apply."
        if trapped is None
        else f"At step {trapped:,} the theorem applies for the first time: plain gradient descent "
        "from there goes to zero loss."
    )
    rows = tuple(
        (f"{point['step']:,}", *(_cell(point[key]) for key in _COLUMNS),
         "yes" if point["applies"] else "no")
        for point in points
    )  # fmt: skip
    table = Table(
        "At each checkpoint, bounds of the weights as they are",
        ("step", "loss", "|r| ≤", "σ_min ≥", "missing factor", "the theorem applies"),
        rows,
    )
    parts: list[Part] = [Card(when, _story(record), tone="remark")]
    known = [p for p in points if (f := number(p["missing_factor"])) is not None and f > 0]
    if len(known) > 1:
        parts.append(_missing(known, trapped, table))
        parts.append(_losses(points))
    else:
        parts.append(table)
    return tuple(parts)


_TRAINED = (
    "a 64-256-1 tanh network on 200 of scikit-learn's digits, with Adam; nothing in the training "
    "is special"
)
_WATCHED = (
    "rigorous bounds of the residual norm and of the smallest singular value of the Jacobian, on "
    "the weights as they are; the missing factor says how many times too large the residual is. "
    "These are talweg's own bounds; the independent checker read the certificate below"
)
_COLUMNS = ("loss", "residual_norm", "sigma_min", "missing_factor")


def _story(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    wrong, rows = 100 * record["held_out_sign_errors"], record["held_out_rows"]
    beside = (
        f"{wrong:.1f} % of {rows:,} held-out rows have the wrong sign; the certificate speaks of "
        "the training loss only"
    )
    return (
        ("What was trained", _TRAINED),
        ("What was watched", _WATCHED),
        ("Beside it", beside),
    )


def _missing(points: Sequence[Checkpoint], trapped: int | None, table: Table) -> Figure:
    first, last = points[0], points[-1]
    told = (
        f"The missing factor goes from {_cell(first['missing_factor'])} at step {first['step']:,} "
        f"to {_cell(last['missing_factor'])} at step {last['step']:,}."
    )
    made = layout("missing factor", log=True, limits=((1.0, "below: the theorem applies"),))
    if trapped is not None:
        made = together(made, upright(trapped, f"step {trapped:,}", left=True))
    return Figure(
        "missing", "How many times too large the residual is",
        "An estimate where the theorem does not apply; where it does, that was proved. " + told,
        told,
        (curve([p["step"] for p in points], [float(p["missing_factor"]) for p in points],
               "missing factor", 1, what="step", mode="lines+markers"),),
        made, table,
    )  # fmt: skip


def _losses(points: Sequence[Checkpoint]) -> Figure:
    told = (
        f"The training loss goes from {_cell(points[0]['loss'])} to {_cell(points[-1]['loss'])} "
        f"in {points[-1]['step']:,} steps of Adam."
    )
    values = [float(p["loss"]) if (number(p["loss"]) or 0.0) > 0 else math.nan for p in points]
    return Figure(
        "training-loss", "The training loss", "Mean squared error at the checkpoints. " + told,
        told,
        (curve([p["step"] for p in points], values, "loss", 3, what="step",
               mode="lines+markers"),),
        layout("loss", log=True),
        Table("Training loss", ("step", "loss"),
              tuple((f"{p['step']:,}", _cell(p["loss"])) for p in points)),
    )  # fmt: skip


def _steps(record: Mapping[str, Any]) -> tuple[Part, ...]:
    descents = record["descent"]
    if not descents:
        return ()
    certified = descents[0]["step_size"]
    halving = record["certificate"]["halving_steps"]
    rows = []
    for one in descents:
        ratio = one["step_size"] / certified
        measured = number(one["halving_steps"])
        rows.append((
            f"{one['step_size']:.3e}", f"{ratio:.3g}",
            f"{halving:,.0f}" if ratio == 1.0 and halving is not None else "no claim",
            "does not fall" if measured is None else f"{measured:,.0f}",
            _cell(one["loss_ratio"]),
        ))  # fmt: skip
    title = "Steps of gradient descent that halve the loss, certified and measured in float64"
    columns = ("step size", "over the certified one", "certified halving", "measured halving",
               "measured loss ratio")  # fmt: skip
    return (Table(title, columns, tuple(rows)),)


def _cell(value: Any) -> str:
    found = number(value)
    return "-" if found is None else short(found)
