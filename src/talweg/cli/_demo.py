"""``talweg demo``: an ordinary training run, watched until the theorem applies to it.

At each checkpoint of the run the rigorous bounds are computed on the weights as they are (no
polish), and the missing factor is reported: how many times too large the residual norm still is.
The first checkpoint where the theorem applies is the trapping time. At the end the weights are
certified, the file is checked by the independent checker in a process of its own, and plain
gradient descent is run from the certified weights, for a measured rate beside the certified one.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from talweg import __version__
from talweg._errors import MissingDependencyError
from talweg.certificate import Certificate, certify
from talweg.cli._certificate_page import certificate_page
from talweg.cli._checker import checker_command
from talweg.cli._console import (
    finite,
    plain_text,
    print_json,
    print_lines,
    print_result,
    table,
)
from talweg.cli._digits import (
    STEPS,
    TRAINING_ROWS,
    Digits,
    MeasuredDescent,
    descend,
    fresh_model,
    load_digits,
    one_thread,
    sign_errors,
    train,
)
from talweg.cli._outcome import NOT_PROVED
from talweg.cli._paths import make_writable_folder
from talweg.report import Report, demo_report, write

COMPARED_STEPS = 2000
"""Gradient descent steps per measured step size: about two seconds each."""
COMPARED_FACTORS = (1.0, 1.5, 2.5)
"""Step sizes over the certified one, which is about half of the stability limit 2/sharpness."""


@dataclass(frozen=True)
class Checkpoint:
    """The run at one step.

    Attributes:
        step: Adam steps taken.
        loss: Mean squared error.
        residual_norm: Upper bound of ``|r|``.
        sigma_min: Lower bound of the smallest singular value of the Jacobian.
        missing_factor: How many times ``|r|`` is too large, a float estimate; below 1 it is not.
        applies: Whether the theorem applies to these weights.
    """

    step: int
    loss: float
    residual_norm: float | None
    sigma_min: float | None
    missing_factor: float | None
    applies: bool


@one_thread()
def run_demo(out: Path, *, seed: int, as_json: bool) -> int:
    """Train, certify, check, compare; write certificate, reports and numbers into ``out``.

    Returns:
        The exit code: that of the checker where the certificate is PROVED, else 1.

    Raises:
        TalwegError: ``out`` cannot be written, or the checker or scikit-learn is missing.
    """
    begun = time.perf_counter()
    make_writable_folder(out, "--out of talweg demo")
    checker_command()  # a missing checker is better known now than after the training
    data, model = load_digits(), fresh_model(seed)
    printer = _Printer(quiet=as_json)
    printer.say(
        f"Handwritten digits, odd or even: {TRAINING_ROWS} training rows, 64-256-1 tanh network, "
        f"float64, {STEPS:,} steps of Adam, seed {seed}.",
        "At each checkpoint, rigorous bounds on the weights as they are, and how many times too "
        "large |r| still is (an estimate; where the theorem applies, it was proved).",
        "",
    )
    checkpoints = _watched_training(model, data, printer)
    certificate = certify(model, (data.X, data.y), loss="mse", polish=False, seed=seed)
    printer.say("")
    printer.show(certificate)
    record: dict[str, Any] = {
        "seed": seed,
        "checkpoints": [asdict(point) for point in checkpoints],
        "trapping_time": next((point.step for point in checkpoints if point.applies), None),
        "training_sign_errors": sign_errors(model, data.X, data.y),
        "held_out_sign_errors": sign_errors(model, data.X_held_out, data.y_held_out),
        "held_out_rows": len(data.X_held_out),
        "certificate": certificate.to_dict(),
        "checker": None,
        "descent": [],
    }
    code, file, page = NOT_PROVED, out / "digits.talweg", None
    if certificate.status == "PROVED":
        record["certificate"] = certificate.save(file).to_dict()
        page, code, answer = certificate_page(file, check=True)
        record["checker"] = {key: answer[key] for key in _ANSWERED} | {"exit_code": code}
        printer.say("", _checker_line(answer), "")
        descents = _compared_descents(model, data, certificate)
        record["descent"] = [asdict(one) for one in descents]
        printer.show(_descent_table(certificate, descents))
    elif file.exists():
        file.unlink()  # of an earlier demo: it would pass for this run's
    record["seconds"] = time.perf_counter() - begun
    record["versions"] = {
        "talweg": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    files = [file] if certificate.status == "PROVED" else []
    files += _page(out / "report.html", record, page, printer)
    _finish(record, printer, out, files)
    if as_json:
        print_json(record)
    return code


class _Printer:
    """Prints as the demo goes along, and keeps the plain text for the report file."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.text = ""

    def say(self, *lines: str) -> None:
        for line in lines:
            self.text += line + "\n"
            if not self._quiet:
                print_lines([line])

    def show(self, result: object) -> None:
        self.text += plain_text(result)
        if not self._quiet:
            print_result(result)


def _watched_training(model: torch.nn.Module, data: Digits, printer: _Printer) -> list[Checkpoint]:
    points: list[Checkpoint] = []
    columns = ("step", "loss", "|r| <=", "sigma_min >=", "missing factor")
    row = "{:>8}{:>14}{:>14}{:>16}{:>20}  {}"
    printer.say(row.format(*columns, "").rstrip())

    def at(step: int, loss: float) -> None:
        cert = certify(model, (data.X, data.y), loss="mse", polish=False, attack=False)
        applies = cert.status == "PROVED"
        factor = cert.as_given.missing_factor
        point = Checkpoint(step, loss, cert.residual_norm, cert.sigma_min_lower, factor, applies)
        remark = "<- the theorem applies from here" if applies else ""
        if applies and any(earlier.applies for earlier in points):
            remark = "applies"
        points.append(point)
        cells = [_short(x) for x in (loss, point.residual_norm, point.sigma_min, factor)]
        printer.say(row.format(f"{step:,}", *cells, remark).rstrip())

    train(model, data, at)
    return points


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _compared_descents(
    model: torch.nn.Module, data: Digits, certificate: Certificate
) -> list[MeasuredDescent]:
    step = certificate.step_size
    if step is None:
        return []
    return [descend(model, data, factor * step, COMPARED_STEPS) for factor in COMPARED_FACTORS]


def _descent_table(certificate: Certificate, descents: list[MeasuredDescent]) -> Table:
    made = table(
        "step size",
        "/ certified",
        "certified halving",
        "measured halving",
        "measured loss ratio",
        title=f"Steps of gradient descent that halve the loss, certified and measured in float64 "
        f"(second half of {COMPARED_STEPS:,} steps)",
    )
    for factor, one in zip(COMPARED_FACTORS, descents, strict=True):
        certified = certificate.halving_steps if factor == 1.0 else None
        made.add_row(
            f"{one.step_size:.3e}",
            f"{factor:g}",
            "no claim" if certified is None else f"{certified:,.0f}",
            "does not fall" if one.halving_steps is None else f"{one.halving_steps:,.0f}",
            f"{one.loss_ratio:.3g}",
        )
    return made


_ANSWERED = ("verdict", "reason", "claim", "grade", "seconds")


def _checker_line(answer: Mapping[str, Any]) -> str:
    seconds = answer["seconds"]
    took = f" in {seconds:.1f} s" if isinstance(seconds, int | float) else ""
    reason = answer["reason"]
    return f"Independent checker (separate process): {answer['verdict']}{took}" + (
        f"; {reason}" if reason else ""
    )


def _page(
    path: Path, record: dict[str, Any], certificate: Report | None, printer: _Printer
) -> list[Path]:
    """Write the page; without the packages that draw it, say so and go on."""
    try:
        return [write(demo_report(record, certificate), path)]
    except MissingDependencyError as error:
        path.unlink(missing_ok=True)  # of an earlier demo
        printer.say("", f"No {path.name}: {error}")
        return []


def _finish(record: dict[str, Any], printer: _Printer, out: Path, files: list[Path]) -> None:
    trapped, held_out = record["trapping_time"], record["held_out_sign_errors"]
    when = (
        "does not apply at any checkpoint" if trapped is None else f"applies from step {trapped:,}"
    )
    report, numbers = out / "report.txt", out / "demo.json"
    named = ", ".join(map(str, [*files, report, numbers]))
    page = next((path for path in files if path.suffix == ".html"), None)
    printer.say(
        "",
        f"Trapping time: the theorem {when}.",
        f"Wrong sign: {100 * record['training_sign_errors']:.1f} % of the training rows, "
        f"{100 * held_out:.1f} % of {record['held_out_rows']:,} held-out rows. "
        "The certificate speaks of the training loss only.",
        f"{record['seconds']:.0f} s in all. Files: {named}",
        *([] if page is None else [f"The report, for a browser: {page.resolve().as_uri()}"]),
    )
    _write(report, printer.text)
    _write(numbers, json.dumps(finite(record), indent=2, allow_nan=False) + "\n")


def _write(path: Path, text: str) -> None:
    """Write through a temporary name, so that an interrupted run leaves no half-written file."""
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
