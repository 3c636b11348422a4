"""The commands: each parses its arguments and hands over to a module of its own."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from talweg import __version__
from talweg.cli._choices import choice
from talweg.cli._optimizers import BatchOptimizer
from talweg.cli._options import (
    CertifiedLossOption,
    Json,
    MeanLossOption,
    Quiet,
    Spec,
    SquaredLossOption,
)
from talweg.cli._outcome import errors_reported
from talweg.cli._prescribe import prescribe_app
from talweg.cli._spec_place import HELP as SPEC_HELP
from talweg.cli._spec_place import spec_place

app = typer.Typer(
    name="talweg",
    help="Proofs that gradient descent gets down. Exit codes: 0 proved, valid or done; "
    "1 not proved or invalid; 2 misuse or bad input; 3 incomplete check.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # usage errors stay plain text, one message, wherever they are read
    pretty_exceptions_enable=False,
)


class Theorem(StrEnum):
    """Which theorem shall carry the claim; with a target, T7 takes the place of T11."""

    T11 = "T11"
    T4 = "T4"
    T9 = "T9"


class Grade(StrEnum):
    """Arithmetic of the independent checker."""

    auto = "auto"
    arb = "arb"
    float64 = "float64"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"talweg {__version__}")
        raise typer.Exit


@app.callback()
def _talweg(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Proofs that gradient descent gets down."""


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "--output", help="Folder for the files it writes.")
    ] = Path("out"),
    seed: Annotated[int, typer.Option(help="Seed of the initial weights.")] = 0,
    json: Json = False,
) -> None:
    """Train on digits until a proof holds; certify, check, report."""
    with errors_reported(writing=True):
        from talweg.cli._demo import run_demo

        raise typer.Exit(run_demo(out, seed=seed, as_json=json))


@app.command()
def certify(
    spec: Spec,
    out: Annotated[
        Path | None, typer.Option("--out", "--output", help="Certificate file to write.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
    polish: Annotated[
        bool | None,
        typer.Option(
            "--polish/--no-polish",
            help="Where the weights as given cannot be certified, train a copy until it can "
            "(on unless SPEC says otherwise).",
        ),
    ] = None,
    attack: Annotated[
        bool | None,
        typer.Option(
            "--attack/--no-attack",
            help="Search for the slack of the Lipschitz bound (on unless SPEC says otherwise).",
        ),
    ] = None,
    loss: CertifiedLossOption = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Label smoothing of a cross-entropy; 0 needs a target.")
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(help="Target loss instead of zero (theorem T7; T13 for a cross-entropy)."),
    ] = None,
    theorem: Annotated[Theorem | None, choice(Theorem, "Theorem; T11 by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the attack.")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Dask scheduler, such as tcp://host:8786, whose workers hold the kernel; without "
            "it this machine does.",
        ),
    ] = None,
) -> None:
    """Prove that gradient descent reaches zero training loss.

    It starts from the weights and uses the data that SPEC returns.
    """
    with errors_reported(writing=out is not None):
        spec_place(spec)
        from talweg.cli._certify import run_certify

        given = {
            "polish": polish,
            "attack": attack,
            "loss": loss and loss.value,
            "label_smoothing": label_smoothing,
            "target": target,
            "theorem": theorem and theorem.value,
            "seed": seed,
            "scheduler": scheduler,
        }
        chosen = {key: value for key, value in given.items() if value is not None}
        raise typer.Exit(run_certify(spec, out, chosen, quiet=quiet, as_json=json))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .talweg certificate.")],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help=f"Also compare the file with the live model and data of SPEC. {SPEC_HELP}",
        ),
    ] = None,
    grade: Annotated[
        Grade | None,
        choice(Grade, "The checker's arithmetic; without it the size of the problem decides."),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Check a certificate with the independent checker.

    It is another program, in a process of its own.
    """
    with errors_reported():
        from talweg.cli._check import run_check

        raise typer.Exit(run_check(file, against, grade and grade.value, quiet=quiet, as_json=json))


@app.command()
def falsify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .talweg certificate.")],
    seconds: Annotated[float, typer.Option(help="How long to search.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "--output",
            help="File for the counterexample, a zip of JSON and safetensors, if any.",
        ),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Search for a violation of a certificate's claims.

    One that is found is proved. Exit code 0 where none was found, which proves nothing; 1 where
    one was.
    """
    with errors_reported(writing=out is not None):
        from talweg.cli._falsify import run_falsify

        raise typer.Exit(
            run_falsify(file, out, seconds=seconds, seed=seed, quiet=quiet, as_json=json)
        )


@app.command()
def measure(
    spec: Spec,
    json: Json = False,
    loss: CertifiedLossOption = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Label smoothing of a cross-entropy.")
    ] = None,
) -> None:
    """Measure PL ratio, kernel spectrum and curvature, without proof.

    The numbers are floats without bounds on their error.
    """
    with errors_reported():
        spec_place(spec)
        from talweg.cli._measure import run_measure

        raise typer.Exit(run_measure(spec, loss and loss.value, label_smoothing, as_json=json))


@app.command()
def diagnose(
    spec: Spec,
    quiet: Quiet = False,
    json: Json = False,
    optimizer: Annotated[BatchOptimizer, choice(BatchOptimizer, "Optimiser of the trial.")] = (
        BatchOptimizer.sgd
    ),
    lr: Annotated[
        float | None,
        typer.Option(help="Its step size; 0.1 for sgd, 0.01 for momentum, else 0.001."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 64,
    steps: Annotated[int, typer.Option(min=10, help="Length of the trial.")] = 400,
    loss: MeanLossOption = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Label smoothing of a cross-entropy.")
    ] = None,
) -> None:
    """Train a copy for a while and say what limits it, without proof.

    The likeliest cause comes first.
    """
    with errors_reported():
        spec_place(spec)
        from talweg.cli._diagnose import run_diagnose

        raise typer.Exit(
            run_diagnose(
                spec, optimizer.value, lr, batch, steps, loss and loss.value, label_smoothing,
                quiet=quiet, as_json=json,
            )
        )  # fmt: skip


@app.command()
def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Certificates (.talweg), folders of `talweg reproduce`, and records of a Monitor; "
            "several records are compared.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "--output", help="HTML file to write.")] = Path(
        "run.html"
    ),
    check: Annotated[
        bool,
        typer.Option("--check/--no-check", help="Give certificates to the independent checker."),
    ] = True,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write certificates, reproductions and runs as one HTML file.

    Exit code of the checker where it does not confirm a certificate; the page is written and says
    so.
    """
    with errors_reported(writing=True):
        from talweg.cli._report import run_report_command

        raise typer.Exit(run_report_command(files, out, check=check, quiet=quiet, as_json=json))


@app.command()
def watch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A record of a Monitor.")],
    once: Annotated[
        bool, typer.Option("--once", help="Print what is there and end, instead of following.")
    ] = False,
) -> None:
    """Follow a run that another process records, until Ctrl-C."""
    with errors_reported():
        from talweg.cli._watch import run_watch

        raise typer.Exit(run_watch(file, once=once))


@app.command()
def reproduce(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="chatterjee2022, liu2020, xu2025, lecture or all."),
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="The short form: about a minute each.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", "--output", help="Folder for data, figures and pages.")
    ] = Path("out/reproduce"),
    seed: Annotated[int, typer.Option(help="Base seed of everything random.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run again what an earlier run had finished.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Reproduce a source's theorems and figures.

    Predicted stands beside measured. Exit code 1 where a measured number breaks a bound. What an
    interrupted run had finished is taken over.
    """
    with errors_reported(writing=True):
        from talweg.cli._reproduce import run_reproduce

        code = run_reproduce(
            source, out, quick=quick, seed=seed, fresh=fresh, quiet=quiet, as_json=json
        )
        raise typer.Exit(code)


@app.command()
def sweep(
    spec: Spec,
    grid: Annotated[
        list[str],
        typer.Option(
            metavar="AXIS=VALUES",
            help="Repeatable: lr=0.01,0.1 (required), seed=0:100, init=lecun,positive "
            "(also default, lecun_abs, conditional_positive, as_given), scale=1,2 (factor of the "
            "last linear layer).",
        ),
    ],
    steps: Annotated[int, typer.Option(help="Gradient descent steps of each training.")] = 1000,
    record_every: Annotated[
        int | None, typer.Option(help="Steps between recorded points (100 points by default).")
    ] = None,
    loss: SquaredLossOption = None,
    target: Annotated[float | None, typer.Option(help="Loss at which a training ends.")] = None,
    out: Annotated[Path, typer.Option("--out", "--output", help="Folder for the tables.")] = Path(
        "out/sweep"
    ),
    jobs: Annotated[int, typer.Option(help="Processes; -1 is one for each core.")] = 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove what an earlier sweep left in the folder.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train at every point of a grid of seeds, scales and step sizes.

    Initialisations can be an axis too.

    What an interrupted sweep had finished is taken over; a folder with other settings is refused.
    """
    with errors_reported(writing=True):
        spec_place(spec)
        from talweg.cli._sweep import run_sweep

        given = {
            "steps": steps,
            "record_every": record_every,
            "loss": loss and loss.value,
            "target": target,
        }
        chosen = {key: value for key, value in given.items() if value is not None}
        raise typer.Exit(
            run_sweep(spec, out, grid, chosen, jobs=jobs, fresh=fresh, quiet=quiet, as_json=json)
        )


app.add_typer(prescribe_app)


def main() -> None:
    """Entry point of the command ``talweg``."""
    # Python has None where a stream was closed; the exit code then speaks alone.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    with errors_reported(may_exit=True):
        app()
