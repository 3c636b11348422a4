"""A Monitor inside the Trainer of transformers.

Callbacks of that Trainer do not see batches. What its documentation offers for them is to subclass
and override `training_step`, so this is a subclass, and a mixin for other subclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import Trainer

from talweg._errors import InputError
from talweg.monitor._monitor import Monitor, Row
from talweg.monitor.adapters._scalars import scalars


class TrainerMixin:
    """Watches ``train``; put it in front of any subclass of Trainer.

        class Watched(TrainerMixin, Seq2SeqTrainer): ...

    The measured loss is ``model(**batch).loss``, unless ``monitor["loss_of"]`` says otherwise. Each
    call of `training_step` is one step of the Monitor, so with gradient accumulation there are
    several per update. After training, ``trainer.monitor.rows`` and ``.findings()`` remain.

    Args:
        args: Of the Trainer.
        monitor: Arguments of Monitor. Its "log" may also be True, which is the default (rows go to
            ``trainer.log`` as scalars "monitor/...", without those by parameter) or False.
        kwargs: Of the Trainer.
    """

    def __init__(self, *args: Any, monitor: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.monitor: Monitor | None = None
        self._monitor_options = dict(monitor or {})
        super().__init__(*args, **kwargs)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does, with a new Monitor."""
        self.monitor = None
        try:
            return super().train(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._end()

    def training_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Measure what is due, then step as the Trainer does."""
        model.train()  # as the Trainer's own step does; an evaluation may have come before
        self._monitor_of(model).step(self._prepare_inputs(inputs))  # type: ignore[attr-defined]
        return super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def _monitor_of(self, model: nn.Module) -> Monitor:
        outer: Any = self.optimizer  # type: ignore[attr-defined]
        optimizer = getattr(outer, "optimizer", outer)  # without accelerate's wrapper
        if self.monitor is not None and self.monitor.optimizer is optimizer:
            return self.monitor
        self._end()  # where the Trainer began anew, as it does to find a batch size
        options = {"loss_of": _loss_of, "log": True, **self._monitor_options}
        if options["log"] is True:
            options["log"] = self._log_row
        self.monitor = Monitor(model, optimizer, **options | {"log": options["log"] or None})
        return self.monitor.__enter__()

    def _end(self) -> None:
        if self.monitor is not None:
            self.monitor.__exit__()

    def _log_row(self, row: Row) -> None:
        found = scalars(row, nested=False)
        if found:
            self.log(found)  # type: ignore[attr-defined]


class MonitoredTrainer(TrainerMixin, Trainer):
    """The Trainer of transformers with a Monitor: ``MonitoredTrainer(..., monitor={...})``."""


def _loss_of(model: nn.Module, batch: Any) -> Tensor:
    outputs = model(**batch)
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    if not isinstance(loss, Tensor):
        raise InputError(
            "monitor of MonitoredTrainer: outputs with a loss are required; got "
            f"{type(loss).__name__} for model(**batch).loss; pass labels, or "
            "monitor={'loss_of': ...}"
        )
    return loss
