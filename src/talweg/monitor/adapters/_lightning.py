"""A Monitor as a callback of Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback
from torch import Tensor

from talweg.monitor._monitor import Monitor, Row
from talweg.monitor._undisturbed import Loss
from talweg.monitor.adapters._scalars import scalars


class LightningCallback(Callback):
    """Watches ``trainer.fit``; the measurements are in ``callback.monitor.rows`` afterwards.

        watch = LightningCallback(F.cross_entropy, overhead=0.02)
        lightning.pytorch.Trainer(callbacks=[watch]).fit(module, loader)
        watch.monitor.findings()

    The batch is measured when it arrives, on its device and before `training_step`; with gradient
    accumulation each of its batches is one step of the Monitor. The loss is asked for, and not
    taken from `training_step`, because that may log and update metrics, which measuring must not.

    Args:
        loss_fn: ``loss_fn(module(inputs), targets)`` -> mean loss, for batches
            ``(inputs, targets)``.
        loss_of: ``loss_of(module, batch)`` -> mean loss, for other batches; `module` is the
            LightningModule.
        optimizer: Index of the optimiser to watch.
        log: True: rows go to the loggers of the trainer, as scalars "monitor/...". False: nowhere.
            Or any function of a row.
        options: Further arguments of Monitor.

    Raises:
        InputError: when the training starts, for what Monitor does not accept.
    """

    def __init__(
        self,
        loss_fn: Callable[..., Tensor] | None = None,
        *,
        loss_of: Loss | None = None,
        optimizer: int = 0,
        log: bool | Callable[[Row], None] = True,
        **options: Any,
    ) -> None:
        self.monitor: Monitor | None = None
        self._optimizer, self._log = optimizer, log
        self._options = {"loss_fn": loss_fn, "loss_of": loss_of, **options}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin a Monitor; an earlier one of this callback is forgotten."""
        log = self._log if callable(self._log) else None

        def to_loggers(row: Row) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(scalars(row), step=trainer.global_step)

        model = trainer.strategy.model  # with the wrapper of distributed training
        self.monitor = Monitor(
            pl_module if model is None else model,
            trainer.optimizers[self._optimizer],
            log=to_loggers if self._log is True else log,
            **self._options,
        )
        self.monitor.__enter__()

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure what is due."""
        del trainer, pl_module, batch_idx
        if self.monitor is not None:
            self.monitor.step(batch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the Monitor; its rows stay."""
        del trainer, pl_module
        if self.monitor is not None:
            self.monitor.__exit__()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the Monitor when the training is interrupted."""
        del exception
        self.on_train_end(trainer, pl_module)
