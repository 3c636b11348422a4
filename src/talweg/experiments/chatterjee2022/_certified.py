"""Certified runs beside their certificate: loss under the envelope, weights inside the ball."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import talweg
from talweg import Certificate
from talweg.experiments import Section
from talweg.experiments.chatterjee2022._training import Runs, train

ROUNDING = 1e-20
"""The certificate speaks of real arithmetic; below this share of the first loss the squared
rounding errors of float64 are no longer negligible, and nothing is compared."""


@dataclass(frozen=True, eq=False)
class CertifiedRuns:
    """Runs from certified starts at their certified step size.

    Attributes:
        certificates: One for each run, all PROVED.
        runs: Their losses.
        envelope: Certified losses ``rate^k f_0`` at the same steps, ``(T, S)``.
    """

    certificates: tuple[Certificate, ...]
    runs: Runs
    envelope: Tensor


def certified_runs(
    models: Sequence[nn.Sequential],
    data: tuple[Tensor, Tensor],
    steps: int,
    *,
    every: int,
    progress: Callable[[str], None],
) -> CertifiedRuns | None:
    """Certify every model and train those that are proved; None where none is.

    Args:
        models: Starts of one architecture.
        data: ``(X, y)``.
        steps: How many.
        every: Of the record.
        progress: Told now and then.
    """
    pairs = [(model, talweg.certify(model, data, attack=False)) for model in models]
    proved = [(model, cert) for model, cert in pairs if cert.status == "PROVED"]
    if not proved:
        return None
    certificates = tuple(cert for _, cert in proved)
    lr = torch.tensor([cert.step_size for cert in certificates], dtype=torch.float64)
    runs = train([m for m, _ in proved], data, lr, steps, every=every, progress=progress)
    rate = torch.tensor([cert.rate for cert in certificates], dtype=torch.float64)
    k = torch.tensor(runs.steps, dtype=torch.float64).unsqueeze(1)
    envelope = rate.unsqueeze(0) ** k * runs.losses[0]
    return CertifiedRuns(certificates, runs, envelope)


def compare_with_certificates(section: Section, found: CertifiedRuns, where: str) -> None:
    """Record that the losses stay under the envelope, and the weights inside the ball.

    Args:
        section: Where to record.
        found: The runs.
        where: In which setting, in words.
    """
    losses, envelope = found.runs.losses[1:], found.envelope[1:]  # record 0 is f_0 on both sides
    above = envelope > ROUNDING * found.runs.losses[0]
    section.compare(
        f"largest loss / certified envelope, {where}", predicted=1.0, relation="<=",
        measured=float((losses / envelope)[above].max()), source="T11",
        note=f"{len(found.certificates)} certified runs, {found.runs.steps[-1]} steps, while the "
        f"envelope is above {ROUNDING:g} of the first loss",
    )  # fmt: skip
    radius = torch.tensor([cert.radius for cert in found.certificates], dtype=torch.float64)
    section.compare(
        f"largest |w_K - w_0| / certified radius, {where}", predicted=1.0, relation="<=",
        measured=float((found.runs.distance / radius).max()), source="T11",
    )  # fmt: skip
