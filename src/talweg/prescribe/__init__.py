"""What to change so that training can be proved: initialisation, scale, width, step, polish."""

from talweg.prescribe._certified_step import CertifiedStep, certified_step
from talweg.prescribe._initialisers import (
    conditional_positive_,
    lecun_,
    lecun_abs_,
    positive_,
)
from talweg.prescribe._outlook import Outlook, outlook_approx
from talweg.prescribe._output_layer import PositiveStart, certified_output_scale_
from talweg.prescribe._output_scale import ScaledOutput, ScaleOption, output_scale
from talweg.prescribe._trapping_watch import TrapCheck
from talweg.prescribe._twin import antisymmetric_twin
from talweg.prescribe._until_proved import TrainedUntilProved, train_until_proved
from talweg.prescribe._width import Width, WidthTrial, width_finder

__all__ = [
    "CertifiedStep",
    "Outlook",
    "PositiveStart",
    "ScaleOption",
    "ScaledOutput",
    "TrainedUntilProved",
    "TrapCheck",
    "Width",
    "WidthTrial",
    "antisymmetric_twin",
    "certified_output_scale_",
    "certified_step",
    "conditional_positive_",
    "lecun_",
    "lecun_abs_",
    "outlook_approx",
    "output_scale",
    "positive_",
    "train_until_proved",
    "width_finder",
]
