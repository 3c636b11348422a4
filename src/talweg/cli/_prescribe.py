"""``talweg prescribe``: what to change so that training can be proved."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from talweg.cli._choices import choice
from talweg.cli._optimizers import Optimizer
from talweg.cli._options import CertifiedLossOption, Json, Quiet, Spec, SquaredLossOption
from talweg.cli._outcome import errors_reported
from talweg.cli._spec_place import HELP as SPEC_HELP
from talweg.cli._spec_place import spec_place

prescribe_app = typer.Typer(
    name="prescribe",
    help="What to change so that training can be proved. Output scale, width, step size, "
    "training, initial weights: each prints certified halving steps and the held-out error "
    "(X_test, y_test in the dict of SPEC). Exit codes: 0 certified; 1 not; 2 misuse.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Form(StrEnum):
    """How the output at the start is brought to zero."""

    offset = "offset"
    antisymmetric = "antisymmetric"


class Schedule(StrEnum):
    """Learning rate over the run."""

    cosine = "cosine"
    constant = "constant"


class Method(StrEnum):
    """Initialisations of chatterjee2022."""

    positive = "positive"
    lecun = "lecun"
    lecun_abs = "lecun_abs"
    conditional_positive = "conditional_positive"


Out = Annotated[Path | None, typer.Option("--out", "--output", help="Certificate file to write.")]
Steps = Annotated[
    int, typer.Option("--descent-steps", min=0, help="Steps of the measured gradient descent.")
]


@prescribe_app.command()
def scale(
    spec: Spec,
    form: Annotated[Form, choice(Form, "Subtract the start, or double the net.")] = (Form.offset),
    headroom: Annotated[
        float, typer.Option(help="Recommended scale over the smallest certified one, >= 1.")
    ] = 1.25,
    loss: SquaredLossOption = None,
    out: Out = None,
    descent_steps: Steps = 1000,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find the smallest output scale certified before training (T8)."""
    with errors_reported(writing=out is not None):
        spec_place(spec)
        from talweg.cli._prescription import run_scale

        code = run_scale(
            spec, form.value, headroom, loss, out, descent_steps, quiet=quiet, as_json=json
        )
        raise typer.Exit(code)


@prescribe_app.command()
def width(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help=f"{SPEC_HELP} The function takes width and seed, both with defaults: "
            "def problem(width=256, seed=0).",
        ),
    ],
    low: Annotated[int, typer.Option(min=1, help="First width tried.")] = 16,
    high: Annotated[int, typer.Option(min=1, help="Largest width tried.")] = 1 << 14,
    multiple: Annotated[int, typer.Option(min=1, help="Widths are multiples of this.")] = 1,
    resolution: Annotated[float, typer.Option(help="Relative, of the last bracket.")] = 0.01,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... are tried.")] = 3,
    loss: SquaredLossOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "--output", help="Certificate file to write, of seed 0."),
    ] = None,
    descent_steps: Steps = 1000,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find the smallest width tried that is certified for every seed.

    Certified is the start, before training.
    """
    with errors_reported(writing=out is not None):
        spec_place(spec)
        from talweg.cli._prescription import run_width

        code = run_width(
            spec,
            (low, high, multiple),
            resolution,
            seeds,
            loss,
            out,
            descent_steps,
            quiet=quiet,
            as_json=json,
        )
        raise typer.Exit(code)


@prescribe_app.command()
def step(
    spec: Spec,
    loss: SquaredLossOption = None,
    out: Out = None,
    descent_steps: Steps = 1000,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find the largest certified step size for the weights as given.

    The theorems are T11 and T4.
    """
    with errors_reported(writing=out is not None):
        spec_place(spec)
        from talweg.cli._prescription import run_step

        raise typer.Exit(run_step(spec, loss, out, descent_steps, quiet=quiet, as_json=json))


@prescribe_app.command()
def train(
    spec: Spec,
    optimizer: Annotated[Optimizer, choice(Optimizer, "Full batch.")] = Optimizer.adam,
    lr: Annotated[float | None, typer.Option(help="Learning rate; per optimiser.")] = None,
    schedule: Annotated[Schedule, choice(Schedule, "Of the learning rate.")] = Schedule.cosine,
    max_steps: Annotated[int, typer.Option(min=1, help="Optimiser steps at most.")] = 8000,
    check_every: Annotated[int, typer.Option(min=1, help="Steps between checks.")] = 250,
    loss: CertifiedLossOption = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Label smoothing of a cross-entropy, above 0.")
    ] = None,
    out: Out = None,
    descent_steps: Steps = 1000,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train until a proof holds.

    Found is the first iterate from which plain gradient descent is certified.
    """
    with errors_reported(writing=out is not None):
        spec_place(spec)
        from talweg.cli._prescription import run_train

        code = run_train(
            spec, (optimizer.value, lr, schedule.value), (max_steps, check_every),
            (loss, label_smoothing), out, descent_steps, quiet=quiet, as_json=json,
        )  # fmt: skip
        raise typer.Exit(code)


@prescribe_app.command("init")
def initial(
    spec: Spec,
    method: Annotated[Method, choice(Method, "Initialisation.")] = Method.positive,
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
    loss: SquaredLossOption = None,
    out: Out = None,
    descent_steps: Steps = 1000,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Initialise a copy of the model and certify it before training."""
    with errors_reported(writing=out is not None):
        spec_place(spec)
        from talweg.cli._prescription import run_init

        code = run_init(
            spec, method.value, seed, loss, out, descent_steps, quiet=quiet, as_json=json
        )
        raise typer.Exit(code)
