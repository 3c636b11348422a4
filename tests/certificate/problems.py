"""Small problems whose certificates take a fraction of a second."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

import talweg
from talweg.certificate import Certificate


def problem(
    seed: int = 0, widths: tuple[int, ...] = (3, 12, 1), n: int = 5
) -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    """A tanh network and Gaussian data, float64."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for d_in, d_out in itertools.pairwise(widths):
        layer = nn.Linear(d_in, d_out, dtype=torch.float64)
        with torch.no_grad():
            for tensor in (layer.weight, layer.bias):
                noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(noise / d_in**0.5)
        layers += [layer, nn.Tanh()]
    X = torch.randn(n, widths[0], generator=generator, dtype=torch.float64)
    y = torch.randn(n, widths[-1], generator=generator, dtype=torch.float64)
    return nn.Sequential(*layers[:-1]), (X, y)


def proved(**options: Any) -> Certificate:
    """A certificate of the default problem, polished."""
    model, data = problem()
    settings: dict[str, Any] = {"polish": True, "attack": False} | options
    certificate = talweg.certify(model, data, **settings)
    assert certificate.status == "PROVED", certificate.reason
    return certificate
