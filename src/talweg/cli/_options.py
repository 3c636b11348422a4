"""Arguments and options that several commands take, with the names of the losses."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from talweg.cli._choices import choice
from talweg.cli._spec_place import HELP as SPEC_HELP


class SquaredLoss(StrEnum):
    """Squared loss over all entries of the residual."""

    mse = "mse"
    sse = "sse"
    half_sse = "half_sse"


class CertifiedLoss(StrEnum):
    """A squared loss, or the softmax cross-entropy: mean over the samples, or sum."""

    mse = "mse"
    sse = "sse"
    half_sse = "half_sse"
    cross_entropy = "cross_entropy"
    cross_entropy_sum = "cross_entropy_sum"


class MeanLoss(StrEnum):
    """A mean over the batch."""

    mse = "mse"
    cross_entropy = "cross_entropy"


DEFAULT = "Loss; mse where nothing says otherwise."

Spec = Annotated[str, typer.Argument(metavar="SPEC", help=SPEC_HELP)]
SquaredLossOption = Annotated[SquaredLoss | None, choice(SquaredLoss, DEFAULT)]
CertifiedLossOption = Annotated[CertifiedLoss | None, choice(CertifiedLoss, DEFAULT)]
MeanLossOption = Annotated[
    MeanLoss | None, choice(MeanLoss, "Mean loss; chosen by the targets if not given.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
