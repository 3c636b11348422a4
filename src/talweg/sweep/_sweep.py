"""Many small trainings at once: a grid of runs, in chunks that are stored as they finish."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
import torch
from torch import Tensor, nn

from talweg._display import Grid, Sheet, Shown
from talweg._errors import InputError, MissingDependencyError
from talweg.sweep._chain import Chain
from talweg.sweep._checks import checked_data, copied_model, require_count
from talweg.sweep._chunk import LOSSES, Plan, store_chunk, train_chunk
from talweg.sweep._general import LossFunction
from talweg.sweep._grid import parse_grid
from talweg.sweep._progress import Progress, progress_of
from talweg.sweep._settings import settings_of
from talweg.sweep._shards import (
    SUMMARY,
    fingerprint,
    prepare,
    read_shard,
    shard_is_whole,
    shard_path,
    write_table,
)
from talweg.sweep._tables import summary_table

if TYPE_CHECKING:
    from os import PathLike

ENGINES = ("auto", "chain", "vmap")
SHOWN_RUNS = 12


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult(Shown):
    """The tables of a sweep.

    Attributes:
        steps: One row per run and recorded step, sorted: ``run``, the axes of the grid, ``status``
            (how the run ends: "finished" all its steps, "reached" the target, or "diverged" to a
            loss that is no finite number), ``step``, ``loss``, ``gradient_norm``, and ``distance``
            from the starting weights. The last row of a run is where it ended.
        summary: One row per run: ``run``, the axes, ``status``, ``last_step``, ``initial_loss``,
            ``final_loss``, ``smallest_loss`` (among the recorded ones), ``final_gradient_norm``,
            ``distance``.
        folder: Where the files are; None where nothing was stored.
        taken_over: Number of chunks that an earlier run had finished.
    """

    steps: pyarrow.Table
    summary: pyarrow.Table
    folder: Path | None
    taken_over: int

    def _sheet(self) -> Sheet:
        statuses = Counter(self.summary.column("status").to_pylist())
        ends = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
        rows = [("runs", f"{self.summary.num_rows:,}: {ends}")]
        rows.append(("recorded steps", f"{self.steps.num_rows:,}"))
        if self.folder is not None:
            rows.append(("folder", f"{self.folder} ({self.taken_over} chunks taken over)"))
        shown = [
            tuple(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values())
            for row in self.summary.slice(0, SHOWN_RUNS).to_pylist()
        ]
        grid = Grid(self.summary.column_names, shown, f"summary, the first {len(shown)} runs")
        return Sheet("talweg sweep", rows, (grid,))


class Sweep:
    """Full-batch gradient descent ``w <- w - lr grad f(w)`` for every point of a grid.

    The runs of a chunk are trained in one batch, with exact gradients: by batched formulas where
    the model is a `torch.nn.Sequential` of linear layers and common activations, by
    ``torch.func.vmap`` for any other module. A run that diverges is recorded as such and leaves the
    batch; the others go on as if it had not been there.

    The grid and ``chunk_size`` fix the chunks, and each chunk is computed on one thread, so the
    tables of an interrupted and resumed sweep, and of any number of jobs, are the same bit for bit
    on the same machine. Another ``chunk_size`` may change the last digits, because matrix routines
    may sum in another order in a batch of another size.

    Args:
        model: A module, or a function without arguments that returns one; it is copied. Its values
            matter for the initialisation "as_given" only.
        data: Inputs and targets.
        grid: Values by axis. "lr", step sizes, is required. "seed" (default 0) seeds the
            initialisation. "init" (default "default", PyTorch's) holds names of `INITIALISERS`
            ("lecun", "lecun_abs", "positive", "as_given"), or functions ``f(model, generator=...)``
            that fill the parameters in place, as those of `talweg.init` do. "scale" (default 1)
            multiplies the last linear layer's weights and bias. Any further axis is passed to the
            functions of "init" as a keyword argument.
        steps: Steps of each run.
        record_every: Steps between recorded points; by default about 100 points are recorded.
        loss: "mse" (mean over all entries), "sse", "half_sse", or a function of outputs and targets
            that returns a scalar.
        target: A run ends at the first point whose loss is at most this; None: it never does.
        dtype: Dtype to compute in. The default is float64.
        chunk_size: Runs trained together. The default 250 keeps a chunk of small networks in a
            processor's cache and its steps well above the cost of calling them.
        engine: "chain" for the batched formulas, "vmap" for automatic differentiation, "auto" for
            the former where the model allows it.

    Raises:
        InputError: An argument does not meet its requirement.

    Example:
        >>> sweep = Sweep(model, (X, y), {"seed": range(100), "lr": [0.01, 0.1]}, steps=1000)
        >>> result = sweep.run("out/sweep")
        >>> result.summary.group_by("lr").aggregate([("final_loss", "mean")])
    """

    def __init__(
        self,
        model: nn.Module | Callable[[], nn.Module],
        data: tuple[Tensor, Tensor],
        grid: Mapping[str, Any],
        *,
        steps: int,
        record_every: int | None = None,
        loss: str | LossFunction = "mse",
        target: float | None = None,
        dtype: torch.dtype = torch.float64,
        chunk_size: int = 250,
        engine: str = "auto",
    ) -> None:
        require_count("steps", steps)
        record_every = max(1, steps // 100) if record_every is None else record_every
        require_count("record_every", record_every)
        require_count("chunk_size", chunk_size)
        if not callable(loss) and loss not in LOSSES:
            raise InputError(
                f"`loss` of talweg.sweep.Sweep must be one of {', '.join(LOSSES)} or a function of "
                f"outputs and targets; got {loss!r}. Choose one of them."
            )
        if engine not in ENGINES:
            raise InputError(
                f"`engine` of talweg.sweep.Sweep must be one of {', '.join(ENGINES)}; got "
                f"{engine!r}. Leave it out."
            )
        if target is not None and not math.isfinite(target):
            raise InputError(
                f"`target` of talweg.sweep.Sweep must be a finite number or None; got {target!r}. "
                "Leave it out where no loss shall end a run."
            )
        twin = copied_model(model, dtype)
        X, y = checked_data(twin, data, dtype, squared=not callable(loss))
        self._plan = Plan(
            twin, X, y, parse_grid(grid), loss, steps, record_every, target, chunk_size, engine
        )
        if engine == "chain" and not isinstance(self._plan.objective(), Chain):
            raise InputError(
                "`engine` of talweg.sweep.Sweep can be 'chain' only for a torch.nn.Sequential of "
                "torch.nn.Linear and common activations, all trained, with a squared loss; this "
                f"{type(twin).__name__} is none. Leave it out."
            )

    @property
    def size(self) -> int:
        """Number of runs."""
        return self._plan.grid.size

    def run(
        self,
        folder: str | PathLike[str] | None = None,
        *,
        jobs: int | None = 1,
        progress: bool | Progress = False,
        fresh: bool = False,
    ) -> SweepResult:
        """Train what is not yet stored, and return the tables of all runs.

        With a folder, each finished chunk is one file that appears whole or not at all
        (``shards/chunk-00000.parquet``), so a sweep that was stopped in whatever way goes on where
        it was; ``summary.parquet`` is written at the end.

        Args:
            folder: Where the files go; None keeps everything in memory.
            jobs: Processes or threads, through joblib; -1 is one for each core. None takes what
                ``joblib.parallel_config`` says, which is also the way to another backend (threads,
                Dask, Ray). All workers must see ``folder``.
            progress: True for a bar on stderr (on a terminal only), or a function that is called
                with the numbers of finished and of all runs.
            fresh: Remove an earlier sweep's files from the folder first.

        Returns:
            The tables.

        Raises:
            InputError: ``folder`` holds a sweep of other settings; the message says which.
            MissingDependencyError: joblib is needed and not installed.
        """
        plan = self._plan
        with _one_thread(), progress_of(progress) as report:
            if folder is None:
                tables = list(self._in_memory(report))
                return _result(tables, None, 0)
            path = Path(folder)
            settings = settings_of(plan)
            mark = fingerprint(settings)
            prepare(path, settings, fresh=fresh)
            missing = [
                index
                for index in range(plan.chunks)
                if not shard_is_whole(shard_path(path, index), mark, index)
            ]
            done = self.size - sum(self._runs_of(index) for index in missing)
            report(done, self.size)
            for index in _stored(plan, missing, path, mark, jobs):
                done += self._runs_of(index)
                report(done, self.size)
        tables = [read_shard(shard_path(path, i), mark, i) for i in range(plan.chunks)]
        result = _result(tables, path, plan.chunks - len(missing))
        write_table(path / SUMMARY, result.summary)
        return result

    def _in_memory(self, report: Progress) -> Iterator[pyarrow.Table]:
        for index in range(self._plan.chunks):
            report(self._plan.bounds(index)[0], self.size)
            yield train_chunk(self._plan, index)
        report(self.size, self.size)

    def _runs_of(self, index: int) -> int:
        first, last = self._plan.bounds(index)
        return last - first


def _stored(
    plan: Plan, missing: list[int], folder: Path, mark: str, jobs: int | None
) -> Iterator[int]:
    """Store the missing chunks; each index as soon as its shard is there."""
    if jobs == 1 or not missing:
        for index in missing:
            yield store_chunk(plan, index, folder, mark)
        return
    try:
        import joblib
    except ImportError as error:
        raise MissingDependencyError(
            "`jobs` of talweg.sweep.Sweep.run needs joblib, which is not installed. "
            "Run: pip install 'talweg[reproduce]', or leave jobs at 1."
        ) from error
    tasks = (joblib.delayed(store_chunk)(plan, index, folder, mark) for index in missing)
    try:
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    except ValueError:  # a backend that only returns everything at the end
        parallel = joblib.Parallel(n_jobs=jobs)
    yield from parallel(tasks)


def _result(tables: list[pyarrow.Table], folder: Path | None, taken_over: int) -> SweepResult:
    steps = pyarrow.concat_tables(tables).combine_chunks()
    return SweepResult(steps, summary_table(steps), folder, taken_over)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
