"""chatterjee2022: the positive initialisation, its constants, and its probability.

Every section trains many small networks at once and sets the measured losses beside what a
certificate, the explicit formula of theorem 2.1 (P1) or theorem 2.8 (P3) says of them.
"""

from __future__ import annotations

from talweg.experiments import SectionFunction
from talweg.experiments.chatterjee2022._curves import (
    loss_by_initialisation,
    loss_by_width,
    sweep_of_output_scale,
)
from talweg.experiments.chatterjee2022._output_scale import table_of_output_scales
from talweg.experiments.chatterjee2022._probability import lecun_event

__all__ = ["SECTIONS"]

SECTIONS: dict[str, SectionFunction] = {
    "Training loss by initialisation": loss_by_initialisation,
    "Training loss at larger widths": loss_by_width,
    "Sweep over the output scale": sweep_of_output_scale,
    "Output scale: formula, certificate, practice": table_of_output_scales,
    "Probability of the LeCun event": lecun_event,
}
"""Title to function, in the order in which they run."""
