"""Watch a training: measure what the theory says matters, within a share of the time."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.monitor._arguments import require_one_loss, require_ranges
from talweg.monitor._budget import Budget
from talweg.monitor._data import inspect_data
from talweg.monitor._ending import last_look
from talweg.monitor._finding import Findings
from talweg.monitor._findings import findings
from talweg.monitor._history import History
from talweg.monitor._infimum import telling
from talweg.monitor._known_losses import KnownLosses
from talweg.monitor._looking import Looking
from talweg.monitor._looks import batch_size, first
from talweg.monitor._loss_form import pair_loss, require_mean
from talweg.monitor._processes import processes_of
from talweg.monitor._records import RecordFile
from talweg.monitor._structure import ModelFacts, inspect_model
from talweg.monitor._undisturbed import Loss, plain
from talweg.report import LiveView, run_report, write

KINDS = {"gradient": 0.5, "curvature": 0.3, "units": 0.1, "updates": 0.1, "kernel": 0.1}
"""The measurements and their weights in the overhead: the first two carry the diagnosis."""
DECIDED_EVERY = 8
"""Steps after which rank 0 tells the other processes what is due; telling makes them wait."""
CONCLUDED = 100_000_000
"""Parameters up to which findings are worked out unasked at the end: a few seconds of comparing."""
Row = dict[str, Any]


class Monitor:
    """Measures a run while it trains, and leaves the training bit for bit as it would have been.

        with talweg.Monitor(model, optimizer, loss_fn) as m:
            for X, y in loader:
                m.step((X, y))                      # the fresh batch, before the optimiser's step
                optimizer.zero_grad()
                loss = loss_fn(model(X), y)
                loss.backward()
                optimizer.step()

    Each call of `step` may measure one of: the gradient and its noise from micro-batches, the
    curvature against the optimiser's stability limit, dead and saturated units, the conditioning
    of the tangent kernel, and the next update's size by layer; which, and how often, follows from
    `overhead`. What it costs is in ``m.overhead``. `.grad`, `.training`, buffers and torch's
    generators are left alone. A loss that `step` is told costs nothing and is kept more often. When
    the block ends, or `close` is called, there is one last look whatever the budget says.

    A batch that the weights have not seen makes the estimates unbiased, so call `step` before the
    optimiser's step. If it is first called after one, the rows say ``"fresh": False``.

    Source: E5. f - f* is honest: f* is a lower bound that you give, 0 unless you say otherwise,
    never a minimum seen so far.

    Args:
        model: Any module, also compiled or wrapped for distributed training.
        optimizer: The optimiser that trains it.
        loss_fn: ``loss_fn(outputs, targets)`` -> mean loss, for batches ``(inputs, targets)``.
            Class weights and ignored labels of `torch.nn.CrossEntropyLoss` and `NLLLoss` count.
        loss_of: ``loss_of(model, batch)`` -> mean loss, for batches of another form; then give no
            `loss_fn`.
        f_star: A lower bound of the loss. None is 0, which suits squared losses and cross-entropy,
            and the entropy of the labels for a `torch.nn.CrossEntropyLoss` that smooths them.
        overhead: Time that measurements may take, as a share of the time of all else.
        every: Fixed periods in steps for some of the kinds "gradient", "curvature", "units",
            "updates", "kernel", whatever they cost; 0 switches one off.
        parts: Micro-batches per batch, at least 2; standard errors need 3.
        curvature_samples: Samples of the batch that curvature is measured on.
        lanczos_steps: Hessian products per look at curvature.
        kernel_samples: Samples of the batch that the tangent kernel is measured on.
        log: Called with each row, a dict of numbers.
        record: A file to append the rows to, as JSON lines; if it ends in ``.parquet``, the lines
            are in a file ``.jsonl`` beside it, and the table is written when the Monitor ends.
        live: Whether to show the run on stderr as it goes: a panel on a terminal, elsewhere a line
            now and then.
        seed: Of Lanczos' start vectors.
        distributed: Whether processes that train together measure together: all hold the same
            rows, rank 0 logs and keeps the record. None: if `model` is wrapped in
            DistributedDataParallel. Each must then call `step` equally often.

    Raises:
        InputError: an argument out of range, no trained parameter, a `loss_fn` whose reduction is
            no mean, both or neither of `loss_fn` and `loss_of`, or `distributed` without a process
            group.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_fn: Callable[..., Tensor] | None = None,
        *,
        loss_of: Loss | None = None,
        f_star: float | None = None,
        overhead: float = 0.05,
        every: Mapping[str, int] | None = None,
        parts: int = 4,
        curvature_samples: int = 64,
        lanczos_steps: int = 8,
        kernel_samples: int = 16,
        log: Callable[[Row], None] | None = None,
        record: str | Path | None = None,
        live: bool = False,
        seed: int = 0,
        distributed: bool | None = None,
    ) -> None:
        require_one_loss(loss_fn, loss_of)
        require_mean(loss_fn, "Monitor")
        require_ranges(f_star, parts, curvature_samples, lanczos_steps, kernel_samples)
        self.model, self.optimizer = model, optimizer
        self.names = [n for n, p in plain(model).named_parameters() if p.requires_grad]
        if not self.names:
            raise InputError(
                "model of Monitor: a module with at least one parameter that requires a gradient "
                "is required; got none; unfreeze one"
            )
        self.f_star = 0.0 if f_star is None else float(f_star)
        told = telling(loss_fn, self._take_infimum) if f_star is None else loss_fn
        self.loss: Loss
        if loss_of is not None:
            self.loss = loss_of
        elif told is not None:
            self.loss = pair_loss(told)
        self.processes = processes_of(model, distributed)
        self._looking = Looking(
            model, optimizer, self.loss, loss_fn, self.names, parts, curvature_samples,
            lanczos_steps, kernel_samples, seed, self.processes,
        )  # fmt: skip
        self.log = log
        self.budget = Budget(KINDS, overhead, every)
        self.rows: list[Row] = []
        self.steps = 0
        self.optimizer_steps = 0
        self.fresh = True
        self._known = KnownLosses()
        self._batch: Any = None
        self._told_at = self._looked_at = 0  # optimiser steps at the last call of `step`, and look
        self._closed = False
        self._record = record
        self._file: RecordFile | None = None
        self._live = LiveView(title="talweg Monitor") if live and self._leads else None
        self._before: list[Tensor] | None = None
        self._begun = 0.0
        self._start: ModelFacts | None = None
        self._handles: list[Any] = []

    def _take_infimum(self, value: float) -> None:
        self.f_star = value

    def __enter__(self) -> Monitor:
        self._start = inspect_model(self.model, self.optimizer)
        if self._record is not None and self._leads:
            self._file = RecordFile(self._record)
        self._handles = [
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._end(details)

    def close(self) -> None:
        """End the watching, with one last look; the end of the block does it too.

        Where the budget decides what is measured, the loss, the curvature and the units of the last
        batch are looked at once more, with the weights as they are now, whatever it costs; not in
        several processes, and not where the block ends by an error. Calling it again does nothing.
        """
        self._end(())

    def _end(self, details: tuple[object, ...]) -> None:
        if self._closed:
            return
        self._closed = True
        for handle in self._handles:
            handle.remove()
        self._handles, self._before = [], None
        try:
            self._last_look(failed=any(detail is not None for detail in details))
            self._conclude()
        finally:
            self._batch = None
            if self._file is not None:
                self._file.close()
                self._file = None
            if self._live is not None:
                self._live.__exit__(*details)

    def step(self, batch: Any, loss: Tensor | float | None = None) -> Row | None:
        """Measure what is due at this step.

        Args:
            batch: The fresh batch, ``(inputs, targets)`` or what `loss_of` takes.
            loss: Its loss, if it is known already: kept in the row, and now and then in a row of
                its own, at next to no cost.

        Returns:
            The row of this step, or None if nothing was due.

        Raises:
            InputError: `loss` is no single number.
        """
        start = time.perf_counter()
        if self.steps == 0:
            self.fresh = self.optimizer_steps == 0
        kinds = self._due()
        row: Row = {"step": self.steps, "fresh": self.fresh}
        kept = self._known.take(self.steps, loss, looked=bool(kinds))
        kept = kept and (bool(kinds) or self.processes is None)  # a mean makes processes wait
        if loss is not None and kept:
            row["batch_loss"] = self._mean(loss)
        self._batch, self._told_at = batch, self.optimizer_steps
        if kinds:
            self._looked_at = self.optimizer_steps
        if self.processes is not None and kinds:
            batch = first(batch, self._common_size(batch))
        begun = start
        for kind in kinds:
            row |= self._look(kind, batch)
            now = time.perf_counter()
            if kind == "updates":  # charged when the step is done
                self._begun = now - begun
            else:
                self.budget.charge(kind, now - begun, self.steps)
            begun = now
        if kinds or kept:
            self._keep(row)
        self.budget.charge(None, time.perf_counter() - begun)
        self.steps += 1
        return row if kinds or kept else None

    @property
    def overhead(self) -> float:
        """Seconds that measuring took per second of everything else."""
        return self.budget.overhead

    def findings(self, data: Iterable[Any] | None = None) -> Findings:
        """What limits the run so far, by evidence; see `diagnose`.

        They are also appended to the record, if there is one: a report of it shows the last.

        Args:
            data: Batches of inputs and targets, read once: for findings about the data.
        """
        facts = inspect_data(data) if data is not None else None
        model = inspect_model(self.model, self.optimizer)
        if self._start is not None:
            model = model.since(self._start)
        held = self.budget.held_back(self.steps)
        found = findings(History(tuple(self.rows), self.f_star), model, facts, held)
        self._note(found)
        return found

    def report(self, path: str | Path, data: Iterable[Any] | None = None) -> Path:
        """Write what was seen so far as one HTML file that needs nothing else.

        Args:
            path: The file to write or to replace.
            data: As of `findings`.

        Returns:
            The path.

        Raises:
            InputError: the file cannot be written.
            MissingDependencyError: the extra ``report`` is not installed.
        """
        found = [finding.to_dict() for finding in self.findings(data)]
        name = type(plain(self.model)).__name__
        title = f"{name} with {type(self.optimizer).__name__}"
        made = run_report(self.rows, found, title=title, f_star=self.f_star, overhead=self.overhead)
        return write(made, path)

    def _look(self, kind: str, batch: Any) -> Row:
        if kind == "updates":
            self._before = [p.detach().clone() for p in self._trained()]
            return {}
        row = self._looking.at(kind, batch, self.f_star)
        if self.processes is not None:
            row = self.processes.told(row)
        return row

    @property
    def _leads(self) -> bool:
        return self.processes is None or self.processes.leads

    def _due(self) -> list[str]:
        if self.processes is None:
            return self.budget.due(self.steps)
        if self.budget.shares and self.steps % DECIDED_EVERY == 0:
            return self.processes.told(self.budget.due(self.steps))
        return self.budget.scheduled(self.steps)

    def _mean(self, loss: Tensor | float) -> float:
        value = torch.as_tensor(loss, dtype=torch.float64).detach()
        if self.processes is None:
            return float(value)
        return float(self.processes.total(value.to(self.processes.device))) / self.processes.count

    def _common_size(self, batch: Any) -> int:
        """Samples that every process has, so that all parts are of one size."""
        assert self.processes is not None
        try:
            own = batch_size(batch)
        except InputError:
            self.processes.smallest(-1)  # the others must not wait
            raise
        found = self.processes.smallest(own)
        if found < 0:
            raise InputError(
                "batch of Monitor.step: tensors with one common first dimension are required in "
                "every process; got something else in another one; see its error"
            )
        return found

    def _trained(self) -> list[Tensor]:
        return [p for p in plain(self.model).parameters() if p.requires_grad]

    def _before_step(self, *details: object) -> None:
        self.optimizer_steps += 1

    def _after_step(self, *details: object) -> None:
        if self._before is None:
            return
        start = time.perf_counter()
        ratios = {}
        for name, old, new in zip(self.names, self._before, self._trained(), strict=True):
            moved, size = float((new.detach() - old).norm()), float(old.norm())
            ratios[name] = moved / size if size > 0 else (math.inf if moved > 0 else 0.0)
        self._before = None
        self._keep({"step": self.steps - 1, "update_ratios": ratios})
        seconds = self._begun + time.perf_counter() - start
        self.budget.charge("updates", seconds, self.steps - 1)

    def _keep(self, row: Row) -> None:
        self.rows.append(row)
        if self._file is not None:
            self._file.append(row)
        if self._live is not None:
            self._live.update(row, self.overhead)
        if self.log is not None and self._leads:
            self.log(row)

    def _last_look(self, *, failed: bool) -> None:
        """The loss as it is at the end, and what the budget may have held back."""
        if self.processes is not None or not self.steps:  # one that failed would not answer
            return
        if self._known.last is not None:
            step, loss = self._known.last
            self._keep({"step": step, "fresh": self.fresh, "batch_loss": self._mean(loss)})
        if failed or self.optimizer_steps == self._looked_at:
            return
        moved = self.optimizer_steps > self._told_at
        step = self.steps if moved else self.steps - 1
        row = last_look(self.budget, self._look, self._batch, step, self.steps)
        if row is not None:
            self._keep(row)

    def _conclude(self) -> None:
        """Findings at the end of the run, for the record and the terminal."""
        wanted = self._file is not None or self._live is not None
        if self.rows and wanted and sum(p.numel() for p in self._trained()) <= CONCLUDED:
            try:
                self.findings()
            except Exception as error:  # noqa: BLE001 - a diagnosis must not end a training
                warnings.warn(
                    f"Monitor could not conclude: {error!r}", RuntimeWarning, stacklevel=3
                )

    def _note(self, found: Findings) -> None:
        if not self.rows:
            return
        last = max(self.steps - 1, int(self.rows[-1]["step"]))
        row: Row = {"step": last, "findings": [f.to_dict() for f in found]}
        if self._file is not None:
            self._file.append(row)
        elif self._record is not None and self._leads and Path(self._record).exists():
            file = RecordFile(self._record)
            file.append(row)
            file.close()
        if self._live is not None:
            self._live.update(row)
