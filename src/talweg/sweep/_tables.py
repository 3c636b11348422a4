"""Tidy tables of a sweep: one row per run and recorded step, and one row per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow

from talweg.sweep._descend import Trajectories


def steps_table(
    trajectories: Trajectories, runs: Sequence[Mapping[str, Any]], first: int
) -> pyarrow.Table:
    """One row per run and recorded step, with the run's settings on each.

    Args:
        trajectories: The recorded points of one chunk.
        runs: Settings of its runs.
        first: Number of its first run within the sweep.
    """
    local = trajectories.run
    columns: dict[str, Any] = {"run": local + first}
    for name in runs[0]:
        # Through Arrow, so that a column has the same type in every chunk.
        columns[name] = pyarrow.array([run[name] for run in runs]).take(pyarrow.array(local))
    columns |= {
        "status": trajectories.status,
        "step": trajectories.step,
        "loss": trajectories.loss,
        "gradient_norm": trajectories.gradient_norm,
        "distance": trajectories.distance,
    }
    return pyarrow.table(columns)


def summary_table(steps: pyarrow.Table) -> pyarrow.Table:
    """One row per run: its settings, how and when it ended, and its losses.

    Args:
        steps: All rows of `steps_table`, sorted by run and step.
    """
    run = steps["run"].to_numpy()
    loss = steps["loss"].to_numpy()
    starts = np.flatnonzero(np.diff(run, prepend=run[0] - 1))
    ends = np.append(starts[1:], len(run)) - 1
    last = steps.take(pyarrow.array(ends))
    table = last.drop_columns(["loss", "step", "gradient_norm", "distance"])
    finite = np.where(np.isfinite(loss), loss, np.inf)
    for name, values in (
        ("last_step", last["step"]),
        ("initial_loss", loss[starts]),
        ("final_loss", loss[ends]),
        ("smallest_loss", np.minimum.reduceat(finite, starts)),
        ("final_gradient_norm", last["gradient_norm"]),
        ("distance", last["distance"]),
    ):
        table = table.append_column(name, values if hasattr(values, "chunks") else [values])
    return table
