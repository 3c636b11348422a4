"""A recording that was checked before, used again at other weights.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from talweg.network._recorded_calls import NotRecorded
from talweg.network._recording import Geometry, Pass, Recording
from talweg.network._recording_checks import CheckedRecording
from talweg.network._sample_jacobian import SampleFunction

Setting = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a check found out, and under which settings; no tensor of the module is held.

    Attributes:
        geometry: How the module uses its parameters.
        functions: All torch functions of a forward pass, in order.
        setting: As `_setting` gives it.
    """

    geometry: Geometry
    functions: list[Callable[..., Any]]
    setting: Setting

    @staticmethod
    def of(recording: CheckedRecording, X: Tensor) -> Prepared:
        """What is known from a checked recording of samples X."""
        functions = recording.functions
        return Prepared(recording.geometry, functions, _setting(recording.function, X))

    def serves(self, function: SampleFunction, X: Tensor, X2: Tensor | None) -> bool:
        """Whether modes, parameters and samples are of the kind that was checked."""
        several = max(len(X), 0 if X2 is None else len(X2)) > 1
        if several and self.geometry.single:
            return False
        data = [X] if X2 is None else [X, X2]
        return all(_setting(function, one) == self.setting for one in data)


class PreparedRecording(Recording):
    """Passes at the present weights, compared with what was prepared.

    Args:
        function: The module on copies of its tensors.
        prepared: What was found out before.
    """

    def __init__(self, function: SampleFunction, prepared: Prepared) -> None:
        leaves = {name: p.detach().requires_grad_() for name, p in function.parameters.items()}
        super().__init__(function, leaves, prepared.geometry)
        self._functions = prepared.functions

    def forward(self, X: Tensor, samples: slice) -> Pass:
        """As `Recording.forward`; the torch functions called are compared as well."""
        whole = super().forward(X, samples)
        if whole.functions != self._functions:
            raise NotRecorded("the functions called are not those prepared")
        return whole


def _setting(function: SampleFunction, X: Tensor) -> Setting:
    """What is compared before a pass: two of these are equal, or the module is checked anew."""
    shapes = {name: p.shape for name, p in function.parameters.items()}
    devices = {X.device, *(p.device for p in function.parameters.values())}
    return shapes, function.modes, devices, function.dtype, X.dtype, X.shape[1:]
