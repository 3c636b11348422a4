"""``talweg measure``."""

from __future__ import annotations

import contextlib
import sys

from talweg import measure
from talweg.cli._console import print_json, print_result
from talweg.cli._outcome import DONE
from talweg.cli._spec import any_model_run, load_problem


def run_measure(
    spec: str, loss: str | None, label_smoothing: float | None = None, *, as_json: bool
) -> int:
    """Measure a specification and print the result, a table or one JSON object.

    Raises:
        TalwegError: As `load_problem` and `talweg.measure`.
    """
    problem = load_problem(spec)
    chosen = loss or problem.settings.get("loss", "mse")
    smoothing = problem.settings.get("label_smoothing", 0.0)
    if label_smoothing is not None:
        smoothing = label_smoothing
    with contextlib.redirect_stdout(sys.stderr), any_model_run(spec, "talweg measure"):
        result = measure(
            problem.model, (problem.X, problem.y), loss=chosen, label_smoothing=smoothing
        )
    if as_json:
        print_json(result.to_dict())
    else:
        print_result(result)
    return DONE
