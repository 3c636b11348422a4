"""Gradient descent in float64 from certified weights, against what the certificate claims.

    python benchmarks/envelope.py [--steps 1000] [--cases NAME ...]

From every certified weight, plain full-batch `torch.optim.SGD` with the certified step: each loss
is compared with the certified envelope f_0 rate^k, each iterate with the certified ball. Then one
well-conditioned case (kernel condition <= 1e3) runs until the envelope has fallen 1e6-fold. The
claim is about real arithmetic; that float64 obeys it here is an observation.
"""

from __future__ import annotations

import argparse
import math

import torch
from certificates import CASES, digits, tanh_network
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import talweg
from talweg import Certificate

FALL = 1e6


def well_conditioned() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Gaussian inputs of unit length in 200 dimensions, 40 rows, a 200-400-1 tanh network."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 200, generator=generator, dtype=torch.float64)
    y = torch.randn(40, 1, generator=generator, dtype=torch.float64)
    return tanh_network((200, 400, 1)), (X / X.norm(dim=1, keepdim=True), y)


def halving_steps_measured(losses: list[float]) -> float:
    """Steps per halving over the whole run."""
    fallen = math.log2(losses[0] / losses[-1]) if losses[-1] > 0.0 else math.inf
    return (len(losses) - 1) / fallen if fallen > 0.0 else math.inf


def run(
    model: nn.Module, data: tuple[Tensor, Tensor], certificate: Certificate, steps: int
) -> tuple[list[float], float, int, float]:
    """Losses, the greatest distance from the start, steps above the envelope, worst ratio to it."""
    X, y = data
    certificate.load_into_(model)
    parameters = list(model.parameters())
    start = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.SGD(parameters, lr=certificate.step_size)
    first = certificate.residual_norm**2 / y.numel()  # an upper bound of the loss at the start
    losses: list[float] = []
    farthest, above, worst = 0.0, 0, 0.0
    for k in range(steps + 1):
        loss = ((model(X) - y) ** 2).mean()
        losses.append(loss.item())
        envelope = first * math.exp(k * math.log1p(-certificate.one_minus_rate))
        above += losses[-1] > envelope
        worst = max(worst, losses[-1] / envelope)
        with torch.no_grad():
            moved = sum(
                float((p - s).square().sum()) for p, s in zip(parameters, start, strict=True)
            )
        farthest = max(farthest, math.sqrt(moved))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses, farthest, above, worst


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--cases", nargs="*", default=None, help="names such as 64-256-1")
    chosen = parser.parse_args()
    table = Table(title="float64 gradient descent with the certified step")
    for column in (
        "case", "steps", "steps above envelope", "largest loss/envelope", "farthest / R*",
        "certified halving", "measured halving", "envelope fell", "loss fell",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    problems: list[tuple[str, nn.Module, tuple[Tensor, Tensor], bool]] = [
        (name, tanh_network(widths), digits(n, widths[-1]), False)
        for name, (widths, n) in CASES.items()
        if chosen.cases is None or name in chosen.cases
    ]
    problems.append(("well-conditioned", *well_conditioned(), True))
    for name, model, data, long in problems:
        certificate = talweg.certify(model, data, polish=True, attack=False)
        if certificate.status != "PROVED":
            table.add_row(name, certificate.status)
            continue
        per_step = -math.log1p(-certificate.one_minus_rate)
        steps = math.ceil(math.log(FALL) / per_step) if long else chosen.steps
        if long:
            measured = talweg.measure(certificate.load_into_(model), data)
            name += f" (condition {measured.kernel_condition:.0f})"
        losses, farthest, above, worst = run(model, data, certificate, steps)
        table.add_row(
            name, f"{steps:,}", str(above), f"{worst:.6f}", f"{farthest / certificate.radius:.4f}",
            f"{certificate.halving_steps:,.0f}", f"{halving_steps_measured(losses):,.0f}",
            f"{math.exp(per_step * steps):.4g}x", f"{losses[0] / max(losses[-1], 1e-300):.4g}x",
        )  # fmt: skip
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
