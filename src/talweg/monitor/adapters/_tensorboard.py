"""Rows as curves in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:
    from tensorboardX import SummaryWriter

from talweg.monitor.adapters._scalars import scalars


class TensorBoardLog:
    """A `log` for Monitor that writes the numbers of each row to TensorBoard.

        with TensorBoardLog("runs/1") as log, talweg.Monitor(model, optimizer, loss, log=log) as m:
            ...

    Args:
        target: A folder for event files, or an open writer of torch.utils.tensorboard or
            tensorboardX, which is left open.
        prefix: Put in front of every tag.
        nested: Whether to write the numbers by parameter and by module too.
    """

    def __init__(self, target: Any, prefix: str = "monitor/", nested: bool = True) -> None:
        self._owned = isinstance(target, str | Path)
        self.writer: Any = SummaryWriter(str(target)) if self._owned else target
        self.prefix, self.nested = prefix, nested

    def __call__(self, row: Mapping[str, Any]) -> None:
        for tag, value in scalars(row, self.prefix, self.nested).items():
            self.writer.add_scalar(tag, value, row["step"])

    def close(self) -> None:
        """Write what is buffered; close the writer if it was opened here."""
        self.writer.flush()
        if self._owned:
            self.writer.close()

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()
