"""How small a lie the attacks find: true certificates with one number changed, sizes growing.

Two certificates are sharp: a network whose last layer alone is trained (J is constant, descent
contracts at exactly the stated rate in the long run) and a product of two weights (the Lipschitz
constant is exactly 1). The third is an ordinary small network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

import talweg
from talweg.certificate import Document
from talweg.falsification import Falsification, Search
from talweg.falsification._board import QUICK, Effort

Body = dict[str, Any]
SIZES = (1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9)
THOROUGH = Effort(restarts=16, iterations=60, exact_seconds=0.5, exact_steps=60, float_steps=400)


@dataclass(frozen=True)
class Lie:
    """A family of lies; `tell` changes the claims by a relative size."""

    name: str
    tell: Callable[[Body, float], None]


def scaled(key: str, sign: int) -> Lie:
    """A claim times 1 + sign size."""

    def tell(body: Body, size: float) -> None:
        claims = body["claims"]
        claims[key] = (float.fromhex(claims[key]) * (1.0 + sign * size)).hex()

    return Lie(f"{key} {'+' if sign > 0 else '-'}", tell)


def _smaller_beta(body: Body, size: float) -> None:
    claims = body["claims"]
    claims["jacobian_lipschitz_upper"] = [
        [radius, (float.fromhex(beta) * (1.0 - size)).hex()]
        for radius, beta in claims["jacobian_lipschitz_upper"]
    ]


def _diverging_step(body: Body, size: float) -> None:
    """Just beyond 2 / |J|^2, where gradient descent diverges; the claim allows 1 / |J|^2."""
    claims = body["claims"]
    claims["step_size"] = (float.fromhex(claims["step_size"]) * 2.0 * (1.0 + size)).hex()


LIES = (
    scaled("residual_norm_upper", -1),
    scaled("sigma_min_lower", 1),
    scaled("jacobian_norm_upper", -1),
    Lie("jacobian_lipschitz_upper -", _smaller_beta),
    scaled("one_minus_rate", 1),
    scaled("rate", -1),
    scaled("radius", -1),
    scaled("step_size", 1),
    scaled("halving_steps", -1),
    Lie("step_size beyond divergence", _diverging_step),
)


def told(document: Document, lie: Lie, size: float) -> Document:
    """The document with one lie; its form, hashes and sentence no longer fit, nobody looks."""
    body = copy.deepcopy(document.body)
    lie.tell(body, size)
    return Document(body, document.arrays)


def another_loss(document: Document, scaling: str) -> Document:
    """The document with its numbers meant for another scaling of the loss."""
    body = copy.deepcopy(document.body)
    body["loss"]["scaling"] = scaling
    return Document(body, document.arrays)


@cache
def honest(name: str) -> Document:
    """One of the three certificates: "linear", "product", "ordinary"."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if name == "product":
        model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
        X = torch.ones(1, 1, dtype=torch.float64)
    else:
        model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()
        X = drawn(3, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(drawn(*parameter.shape))
        if name == "product":
            model[0].weight.fill_(1.0)
            model[1].weight.fill_(0.7)
        outputs = model(X)
    if name == "linear":
        for parameter in model[0].parameters():
            parameter.requires_grad_(False)
    residual = {"linear": 1.0, "product": 0.2, "ordinary": 1e-3}[name] * drawn(*outputs.shape)
    found = talweg.certify(model, (X, outputs + residual), loss="half_sse", attack=False)
    if found.document is None:
        raise RuntimeError(f"{name}: {found.reason}")
    return found.document


def search(document: Document, effort: Effort = QUICK) -> Falsification:
    """One round of all attacks."""
    return Search(document, effort=effort).run(rounds=1)


def smallest_found(document: Document, lie: Lie, effort: Effort) -> tuple[float, str] | None:
    """The smallest listed size at which a lie is proved one, and the attack that did it."""
    for size in SIZES:
        found = search(told(document, lie, size), effort)
        if found.violation is not None:
            return size, found.violation.attack
    return None


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Lie, certificate, smallest size found by a quick and by a thorough round."""
    for lie in LIES:
        for name in ("linear", "product", "ordinary"):
            cells = [
                "-" if hit is None else f"{hit[0]:g} ({hit[1]})"
                for hit in (smallest_found(honest(name), lie, e) for e in (QUICK, THOROUGH))
            ]
            yield lie.name, name, cells[0], cells[1]


def report() -> None:
    """Print the table."""
    print(f"{'lie':<30}{'certificate':<13}{'quick':<36}thorough")
    for lie, name, quick, thorough in rows():
        print(f"{lie:<30}{name:<13}{quick:<36}{thorough}", flush=True)
    for name in ("linear", "product", "ordinary"):
        for scaling in ("sum", "mean"):
            found = search(another_loss(honest(name), scaling), THOROUGH)
            hit = "not found" if found.violation is None else found.violation.attack
            print(f"{name}: numbers for half the sum, read as {scaling}: {hit}")
