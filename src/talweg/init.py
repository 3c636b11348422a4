"""Initialisations of chatterjee2022: the positive one, which can be proved, and its companions.

    start = talweg.init.positive_(model, output_scale="certified", data=(X, y))
    start.output_entry, start.certificate

Every function changes an `nn.Sequential` of Linear layers and activations in place, and draws from
a seed or a generator alone.
"""

from talweg.prescribe import (
    PositiveStart,
    certified_output_scale_,
    conditional_positive_,
    lecun_,
    lecun_abs_,
    positive_,
)

__all__ = [
    "PositiveStart",
    "certified_output_scale_",
    "conditional_positive_",
    "lecun_",
    "lecun_abs_",
    "positive_",
]
