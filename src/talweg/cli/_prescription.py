"""The work behind ``talweg prescribe``: call the finder, print what it found, and its price."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from talweg._display import Grid, Sheet, text_of
from talweg._errors import InputError, SpecError
from talweg.certificate import Certificate, certify
from talweg.cli._console import print_json, stdout_console
from talweg.cli._optimizers import OPTIMIZERS
from talweg.cli._outcome import DONE, NOT_PROVED
from talweg.cli._paths import require_writable_file
from talweg.cli._progress import Progress, progress_shown
from talweg.cli._spec import Problem, any_model_run, load_family, load_problem
from talweg.prescribe import (
    Outlook,
    certified_step,
    output_scale,
    train_until_proved,
    width_finder,
)

ENTROPIES = ("cross_entropy", "cross_entropy_sum")
Lines = list[tuple[str, str]]


def run_scale(
    spec: str, form: str, headroom: float, loss: str | None, out: Path | None, steps: int, *,
    quiet: bool = False, as_json: bool,
) -> int:  # fmt: skip
    """``talweg prescribe scale``; returns the exit code."""
    problem, name = _loaded(spec, loss, out)
    with _working(spec, "talweg prescribe scale", quiet=quiet) as progress:
        found = output_scale(
            problem.model, (problem.X, problem.y), form=form, headroom=headroom, loss=name,
            held_out=problem.held_out, descent_steps=steps, progress=progress,
        )  # fmt: skip
    return _finished(
        found.rows(), found.to_dict(), found.status, found.certificate, found.outlook, out,
        as_json, found.grids(),
    )  # fmt: skip


def run_width(
    spec: str, bounds: tuple[int, int, int], resolution: float, seeds: int, loss: str | None,
    out: Path | None, steps: int, *, quiet: bool = False, as_json: bool,
) -> int:  # fmt: skip
    """``talweg prescribe width``; returns the exit code."""
    if out is not None:
        require_writable_file(out, "--out of talweg prescribe")
    member = load_family(spec, ("width", "seed"))
    low, high, multiple = bounds
    first = member(width=low, seed=0)
    name = _loss_name(first, loss)
    data: dict[int, tuple[Tensor, Tensor]] = {}

    def pair(seed: int) -> tuple[Tensor, Tensor]:
        if seed not in data:
            problem = first if seed == 0 else member(width=low, seed=seed)
            data[seed] = problem.X, problem.y
        return data[seed]

    def family(width: int, seed: int) -> nn.Module:
        problem = member(width=width, seed=seed)
        X, y = pair(seed)
        if not (torch.equal(problem.X, X) and torch.equal(problem.y, y)):
            raise SpecError(
                f"SPEC {spec!r} must return the same X and y for every width; at width {width}, "
                f"seed {seed}, they differ from those at width {low}. Draw the data from its own "
                "generator."
            )
        return problem.model

    with _working(spec, "talweg prescribe width", quiet=quiet) as progress:
        found = width_finder(
            family, pair, low=low, high=high, multiple=multiple, resolution=resolution,
            seeds=range(seeds), loss=name, held_out=first.held_out, descent_steps=steps,
            progress=progress,
        )  # fmt: skip
    first_certificate = found.certificates[0] if found.certificates else None
    first_outlook = found.outlooks[0] if found.outlooks else None
    return _finished(
        found.rows(), found.to_dict(), found.status, first_certificate, first_outlook, out,
        as_json, found.grids(),
    )  # fmt: skip


def run_step(
    spec: str, loss: str | None, out: Path | None, steps: int, *,
    quiet: bool = False, as_json: bool,
) -> int:  # fmt: skip
    """``talweg prescribe step``; returns the exit code."""
    problem, name = _loaded(spec, loss, out)
    with _working(spec, "talweg prescribe step", quiet=quiet) as progress:
        found = certified_step(
            problem.model, (problem.X, problem.y), loss=name, held_out=problem.held_out,
            descent_steps=steps, progress=progress,
        )  # fmt: skip
    return _finished(
        found.rows(), found.to_dict(), found.status, found.certificate, found.outlook, out, as_json
    )


def run_train(
    spec: str, method: tuple[str, float | None, str], counts: tuple[int, int],
    loss: tuple[str | None, float | None], out: Path | None, steps: int, *,
    quiet: bool = False, as_json: bool,
) -> int:  # fmt: skip
    """``talweg prescribe train``; returns the exit code."""
    problem, name = _loaded(spec, loss[0], out, squared=False)
    smoothing = problem.settings.get("label_smoothing", 0.0) if loss[1] is None else loss[1]
    optimizer, lr, schedule = method
    rate = OPTIMIZERS[optimizer].full_batch_rate if lr is None else lr
    if not 0.0 < rate < float("inf"):
        raise InputError(
            f"--lr of talweg prescribe train must be a finite number > 0; got {rate!r}. For Adam "
            "1e-3 is usual."
        )
    max_steps, check_every = counts

    def build(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return OPTIMIZERS[optimizer].make(parameters, rate, full_batch=True)

    def cosine(made: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.CosineAnnealingLR(made, max_steps)

    with _working(spec, "talweg prescribe train", quiet=quiet) as progress:
        found = train_until_proved(
            problem.model, (problem.X, problem.y), build,
            scheduler=cosine if schedule == "cosine" else None, max_steps=max_steps,
            check_every=check_every, loss=name, label_smoothing=smoothing,
            held_out=problem.held_out, descent_steps=steps, progress=progress,
        )  # fmt: skip
    lines = found.rows()
    text = f"{optimizer}, learning rate {rate:g}, {schedule} over {max_steps:,} steps"
    lines.insert(2, ("optimiser", text))
    return _finished(
        lines, found.to_dict(), found.status, found.certificate, found.outlook, out, as_json,
        found.grids(),
    )  # fmt: skip


def run_init(
    spec: str, method: str, seed: int, loss: str | None, out: Path | None, steps: int, *,
    quiet: bool = False, as_json: bool,
) -> int:  # fmt: skip
    """``talweg prescribe init``; returns the exit code."""
    from talweg import init
    from talweg.prescribe import outlook_approx

    problem, name = _loaded(spec, loss, out)
    lines: Lines = []
    record: dict[str, Any] = {}
    with _working(spec, "talweg prescribe init", quiet=quiet) as progress:
        model, data = copy.deepcopy(problem.model), (problem.X, problem.y)
        progress("initialising")
        if method == "positive":
            settings: dict[str, Any] = {"data": data, "loss": name, "seed": seed}
            start = init.positive_(model, output_scale="certified", **settings)
            lines += start.rows()
            record["output_entry"] = start.output_entry
            if start.explicit is not None:
                record["explicit_output_entry"] = start.explicit.output_entry_upper
            certificate = start.certificate
        else:
            getattr(init, f"{method}_")(model, seed=seed)
            certificate = None
        if certificate is None:
            certificate = certify(model, data, loss=name, attack=False)  # type: ignore[arg-type]
        progress("measuring gradient descent")
        outlook = outlook_approx(
            model, data, certificate.step_size, loss=name, held_out=problem.held_out, steps=steps
        )
    head: Lines = [
        ("status", certificate.status),
        ("reason", certificate.reason),
        ("initialisation", f"{method}, seed {seed}"),
    ]
    if certificate.status != "PROVED" and certificate.advice is not None:
        head.append(("what to do", certificate.advice))
    factor = certificate.as_given.missing_factor
    known = factor is not None and factor < float("inf")
    text = _shown(factor, ".4g") if known else "none: no singular value was shown to be positive"
    lines.append(("missing factor", text))
    record |= {
        "status": certificate.status, "reason": certificate.reason, "method": method, "seed": seed,
        "missing_factor": factor, "halving_steps": certificate.halving_steps,
        "certificate": certificate.to_dict(), "outlook": vars(outlook),
    }  # fmt: skip
    return _finished(head + lines, record, certificate.status, certificate, outlook, out, as_json)


def _loaded(
    spec: str, loss: str | None, out: Path | None, *, squared: bool = True
) -> tuple[Problem, str]:
    if out is not None:
        require_writable_file(out, "--out of talweg prescribe")
    problem = load_problem(spec)
    return problem, _loss_name(problem, loss, squared=squared)


def _loss_name(problem: Problem, loss: str | None, *, squared: bool = True) -> str:
    """The loss chosen, else the specification's, else mse; a target has no place here."""
    if problem.settings.get("target") is not None:
        raise InputError(
            "talweg prescribe is for zero loss; SPEC sets target="
            f"{problem.settings['target']!r}. Leave the target out, or give it to talweg certify."
        )
    name = str(loss or problem.settings.get("loss", "mse"))
    if squared and name in ENTROPIES:
        raise InputError(
            f"this prescription must have a squared loss; SPEC sets loss={name!r}. For a "
            "cross-entropy with label smoothing there are `talweg prescribe train --loss "
            f"{name} --label-smoothing 0.1`, and `talweg certify`, which polishes a copy."
        )
    return name


@contextmanager
def _working(spec: str, command: str, *, quiet: bool) -> Iterator[Progress]:
    # A forward that prints would otherwise end up in the middle of the JSON. Models are copied and
    # trained here before they are read, so that what they raise may be anything.
    with contextlib.redirect_stdout(sys.stderr), any_model_run(spec, command):  # noqa: SIM117
        with progress_shown(command, quiet=quiet) as progress:
            yield progress


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _finished(
    lines: Lines, record: dict[str, Any], status: str, certificate: Certificate | None,
    outlook: Outlook | None, out: Path | None, as_json: bool, grids: Sequence[Grid] = (),
) -> int:  # fmt: skip
    """Print lines, price and tables, or the record; save the certificate; the exit code."""
    proved = status == "PROVED"
    if certificate is not None and certificate.status == "PROVED":
        lines += [
            ("certified step", f"{certificate.step_size:.6g} (lr of plain full-batch SGD)"),
            ("halving steps <=", f"{certificate.halving_steps:,.0f} (certified)"),
        ]
        if out is not None:
            certificate = certificate.save(out)
            lines.append(("file", str(out)))
            record["file"] = str(out)
    elif out is not None:
        lines.append(("file", f"not written: {out} (only a proved claim is stored)"))
    if outlook is not None:
        lines += outlook.rows()
    if as_json:
        print_json(record)
    else:
        width = stdout_console().width if sys.stdout.isatty() else None
        stdout_console().print(text_of(Sheet("", lines, grids), width), soft_wrap=True)
    return DONE if proved else NOT_PROVED
