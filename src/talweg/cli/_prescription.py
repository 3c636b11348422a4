"""The work behind ``talweg prescribe``: call the finder, print what it found, and its price."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from talweg._errors import InputError, SpecError
from talweg.certificate import Certificate, certify
from talweg.cli._console import (
    Progress,
    plain_text,
    print_json,
    progress_on_terminal,
    stdout_console,
    table,
)
from talweg.cli._optimizers import OPTIMIZERS
from talweg.cli._outcome import DONE, NOT_PROVED
from talweg.cli._paths import require_writable_file
from talweg.cli._spec import Problem, any_model_run, load_family, load_problem
from talweg.prescribe import (
    Outlook,
    certified_step,
    output_scale,
    train_until_proved,
    width_finder,
)

Lines = list[tuple[str, str]]


def run_scale(
    spec: str, form: str, headroom: float, loss: str | None, out: Path | None, steps: int, *,
    as_json: bool,
) -> int:  # fmt: skip
    """``talweg prescribe scale``; returns the exit code."""
    problem, name = _loaded(spec, loss, out)
    with _working(spec, "talweg prescribe scale") as progress:
        found = output_scale(
            problem.model, (problem.X, problem.y), form=form, headroom=headroom, loss=name,
            held_out=problem.held_out, descent_steps=steps, progress=progress,
        )  # fmt: skip
    lines: Lines = [
        ("status", found.status),
        ("reason", found.reason),
        ("form", _FORMS[form]),
        ("threshold", f"{found.threshold_upper:.6g} (|y| / int s; any larger scale, strictly)"),
        ("formula", f"{found.formula_scale:.6g} (2 beta |y| / sigma_0^2)"),
    ]
    if found.smallest_scale is not None and found.smallest_certificate is not None:
        halving = found.smallest_certificate.halving_steps or float("inf")
        text = f"{found.smallest_scale:.9g} (certified; halving steps {halving:,.0f})"
        lines.append(("smallest scale", text))
        lines.append(("recommended scale", f"{found.scale:.9g}"))
    if form == "offset" and found.scale is not None:
        text = (
            "y + c F(w0), rounded to float64: off by at most "
            f"{found.target_rounding_upper:.3g} in norm; predictions subtract c F(w0)"
        )
        lines.append(("targets", text))
    record = found.to_dict()
    extra = ""
    if found.options:
        made = table(
            "scale", "step size", "certified halving", "radius", title="What other scales buy (T8)"
        )
        for option in found.options:
            made.add_row(
                f"{option.scale:.4g}", f"{option.step_size:.3e}", f"{option.halving_steps:,.0f}",
                f"{option.radius:.3g}",
            )  # fmt: skip
        extra = "\n" + plain_text(made)
    return _finished(
        lines, record, found.status, found.certificate, found.outlook, out, as_json, extra
    )


def run_width(
    spec: str, bounds: tuple[int, int, int], resolution: float, seeds: int, loss: str | None,
    steps: int, *, as_json: bool,
) -> int:  # fmt: skip
    """``talweg prescribe width``; returns the exit code."""
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

    with _working(spec, "talweg prescribe width") as progress:
        found = width_finder(
            family, pair, low=low, high=high, multiple=multiple, resolution=resolution,
            seeds=range(seeds), loss=name, held_out=first.held_out, descent_steps=steps,
            progress=progress,
        )  # fmt: skip
    lines: Lines = [("status", found.status), ("reason", found.reason)]
    if found.width is not None:
        lines.append(("width", f"{found.width:,} (smallest tried that does for every seed)"))
    lines.append(("note", "no claim about widths between those tried: weights differ for each"))
    each = table("seed", "smallest width", "missing factor", "certified halving", "held-out error")
    for i, (seed, width) in enumerate(found.per_seed.items()):
        factors = [
            t.missing_factor for t in found.trials if (t.seed, t.width) == (seed, width)
        ] or [None]
        certificate = found.certificates[i] if found.certificates else None
        outlook = found.outlooks[i] if found.outlooks else None
        halving = None if certificate is None else certificate.halving_steps
        each.add_row(
            str(seed), _shown(width, ",d"), _shown(factors[0], ".4g"), _shown(halving, ",.0f"),
            _shown(None if outlook is None else outlook.held_out_error, ".4g"),
        )  # fmt: skip
    tried = table("width", "seed", "certified", "missing factor")
    for trial in found.trials:
        verdict = "yes" if trial.proved else "no"
        tried.add_row(
            f"{trial.width:,}", str(trial.seed), verdict, _shown(trial.missing_factor, ".5g")
        )
    extra = "\n" + plain_text(each) + "\n" + plain_text(tried)
    first_certificate = found.certificates[0] if found.certificates else None
    first_outlook = found.outlooks[0] if found.outlooks else None
    return _finished(
        lines, found.to_dict(), found.status, first_certificate, first_outlook, None, as_json, extra
    )


def run_step(spec: str, loss: str | None, out: Path | None, steps: int, *, as_json: bool) -> int:
    """``talweg prescribe step``; returns the exit code."""
    problem, name = _loaded(spec, loss, out)
    with _working(spec, "talweg prescribe step") as progress:
        found = certified_step(
            problem.model, (problem.X, problem.y), loss=name, held_out=problem.held_out,
            descent_steps=steps, progress=progress,
        )  # fmt: skip
    lines: Lines = [("status", found.status), ("reason", found.reason)]
    if found.step_size is not None:
        halving = f"halving steps {found.halving_steps:,.0f}"
        lines.append(("largest step", f"{found.step_size:.9g} ({found.theorem}), {halving}"))
    if found.best_rate_step is not None:
        halving = f"halving steps {found.best_rate_halving_steps:,.0f}"
        lines.append(("fastest certified", f"{found.best_rate_step:.9g} (T11), {halving}"))
    lines += [
        ("2 / sharpness", _shown(found.stability_limit_approx, ".6g") + " (float estimate)"),
        ("2 / |J|^2", _shown(found.gauss_newton_limit_approx, ".6g") + " (float estimate)"),
    ]
    return _finished(
        lines, found.to_dict(), found.status, found.certificate, found.outlook, out, as_json
    )


def run_train(
    spec: str, method: tuple[str, float | None, str], counts: tuple[int, int], loss: str | None,
    out: Path | None, steps: int, *, as_json: bool,
) -> int:  # fmt: skip
    """``talweg prescribe train``; returns the exit code."""
    problem, name = _loaded(spec, loss, out)
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

    with _working(spec, "talweg prescribe train") as progress:
        found = train_until_proved(
            problem.model, (problem.X, problem.y), build,
            scheduler=cosine if schedule == "cosine" else None, max_steps=max_steps,
            check_every=check_every, loss=name, held_out=problem.held_out, descent_steps=steps,
            progress=progress,
        )  # fmt: skip
    when = found.trapping_time
    from_there = "the first iterate that T11 certifies; plain gradient descent is certified from it"
    lines: Lines = [
        ("status", found.status),
        ("reason", found.reason),
        ("optimiser", f"{optimizer}, learning rate {rate:g}, {schedule} over {max_steps:,} steps"),
        ("trapping time", "none" if when is None else f"{when:,} ({from_there})"),
    ]
    shown = table("step", "|r|", "missing factor", title="Checks (float estimates)")
    for check in found.checks:
        shown.add_row(
            f"{check.step:,}", f"{check.residual_norm:.3g}", f"{check.missing_factor:.4g}"
        )
    extra = "\n" + plain_text(shown) if found.checks else ""
    return _finished(
        lines, found.to_dict(), found.status, found.certificate, found.outlook, out, as_json, extra
    )


def run_init(
    spec: str, method: str, seed: int, loss: str | None, out: Path | None, steps: int, *,
    as_json: bool,
) -> int:  # fmt: skip
    """``talweg prescribe init``; returns the exit code."""
    from talweg import init
    from talweg.prescribe import outlook_approx

    problem, name = _loaded(spec, loss, out)
    lines: Lines = []
    record: dict[str, Any] = {}
    with _working(spec, "talweg prescribe init") as progress:
        model, data = copy.deepcopy(problem.model), (problem.X, problem.y)
        if progress is not None:
            progress("initialising")
        if method == "positive":
            settings: dict[str, Any] = {"data": data, "loss": name, "seed": seed}
            start = init.positive_(model, output_scale="certified", **settings)
            lines.append(("output entries", f"{start.output_entry:.6g}"))
            record["output_entry"] = start.output_entry
            if start.explicit is not None:
                explicit = start.explicit.output_entry_upper
                lines.append(("explicit formula", f"{explicit:.6g} (chatterjee2022, theorem 2.1)"))
                record["explicit_output_entry"] = explicit
            certificate = start.certificate
        else:
            getattr(init, f"{method}_")(model, seed=seed)
            certificate = None
        if certificate is None:
            certificate = certify(model, data, loss=name, attack=False)  # type: ignore[arg-type]
        if progress is not None:
            progress("measuring gradient descent")
        outlook = outlook_approx(
            model, data, certificate.step_size, loss=name, held_out=problem.held_out, steps=steps
        )
    head: Lines = [
        ("status", certificate.status),
        ("reason", certificate.reason),
        ("initialisation", f"{method}, seed {seed}"),
    ]
    factor = certificate.as_given.missing_factor
    lines.append(("missing factor", _shown(factor, ".4g")))
    record |= {
        "status": certificate.status, "reason": certificate.reason, "method": method, "seed": seed,
        "missing_factor": factor, "halving_steps": certificate.halving_steps,
        "certificate": certificate.to_dict(), "outlook": vars(outlook),
    }  # fmt: skip
    return _finished(head + lines, record, certificate.status, certificate, outlook, out, as_json)


_FORMS = {
    "offset": "c (F(w) - F(w0))",
    "antisymmetric": "c (G(w1) - G(w2)) / sqrt 2, twice as wide",
}


def _loaded(spec: str, loss: str | None, out: Path | None) -> tuple[Problem, str]:
    if out is not None:
        require_writable_file(out, "--out of talweg prescribe")
    problem = load_problem(spec)
    return problem, _loss_name(problem, loss)


def _loss_name(problem: Problem, loss: str | None) -> str:
    """The loss chosen, else the specification's, else mse; a target has no place here."""
    if problem.settings.get("target") is not None:
        raise InputError(
            "talweg prescribe is for zero loss; SPEC sets target="
            f"{problem.settings['target']!r}. Leave the target out."
        )
    return str(loss or problem.settings.get("loss", "mse"))


@contextmanager
def _working(spec: str, command: str) -> Iterator[Progress | None]:
    # A forward that prints would otherwise end up in the middle of the JSON. Models are copied and
    # trained here before they are read, so that what they raise may be anything.
    with contextlib.redirect_stdout(sys.stderr), any_model_run(spec, command):  # noqa: SIM117
        with progress_on_terminal() as progress:
            yield progress


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _finished(
    lines: Lines, record: dict[str, Any], status: str, certificate: Certificate | None,
    outlook: Outlook | None, out: Path | None, as_json: bool, extra: str = "",
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
        text = "\n".join(f"{label:<20} {value}" for label, value in lines) + "\n" + extra
        stdout_console().print(text.rstrip("\n"), soft_wrap=True, markup=False)
    return DONE if proved else NOT_PROVED
