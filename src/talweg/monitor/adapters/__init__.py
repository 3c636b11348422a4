"""Monitors for training loops of other libraries, and a log for TensorBoard.

    from talweg.monitor.adapters import LightningCallback, MonitoredTrainer, TensorBoardLog

Each name loads its library on first use; ``import talweg`` loads none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from talweg._errors import MissingDependencyError
from talweg.monitor.adapters._scalars import scalars

if TYPE_CHECKING:
    from talweg.monitor.adapters._lightning import LightningCallback
    from talweg.monitor.adapters._tensorboard import TensorBoardLog
    from talweg.monitor.adapters._transformers import MonitoredTrainer, TrainerMixin

__all__ = ["LightningCallback", "MonitoredTrainer", "TensorBoardLog", "TrainerMixin", "scalars"]

# Where each name is defined: the module is called after its library, and so is the extra.
_LAZY = {
    "LightningCallback": "lightning",
    "MonitoredTrainer": "transformers",
    "TensorBoardLog": "tensorboard",
    "TrainerMixin": "transformers",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'talweg.monitor.adapters' has no attribute {name!r}")
    library = _LAZY[name]
    try:
        value = getattr(importlib.import_module(f"talweg.monitor.adapters._{library}"), name)
    except ImportError as error:
        raise MissingDependencyError(
            f"talweg.monitor.adapters.{name} needs {library}, which is not installed or does not "
            f"load ({error}). Run: pip install 'talweg[{library}]'"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
