"""Certificates of every architecture, and of deep chains, against the independent checker."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from examples.pinn_poisson import problem as pinn
from torch import Tensor, nn

import talweg
from talweg.certificate import Document, write_document
from talweg.certificate._sentence import claim_sentence
from talweg_check import check

Problem = tuple[nn.Module, Tensor, Tensor]


def _data(n: int, shape: tuple[int, ...], k: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return X, 0.5 * torch.randn(n, k, generator=generator, dtype=torch.float64)


class Residual(nn.Module):
    """x + tanh(W x + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.layer(x))


class Encoder(nn.Module):
    """Attention and two layers behind it, normalised first, over three tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 4)
        self.place = nn.Parameter(0.1 * torch.randn(3, 4))
        self.norm, self.attention = nn.LayerNorm(4), nn.MultiheadAttention(4, 2, batch_first=True)
        self.up, self.out = nn.Linear(4, 6), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.place
        z = self.norm(x)
        x = x + self.attention(z, z, z, need_weights=False)[0]
        return self.out(torch.tanh(self.up(x)).mean(1))


def _convolutional(k: int) -> Problem:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, k),
    )  # fmt: skip
    return model, *_data(3, (1, 4, 4), k)


def _residual() -> Problem:
    model = nn.Sequential(nn.Linear(3, 8), Residual(8), Residual(8), nn.Linear(8, 1))
    return model, *_data(4, (3,), 1)


def _deep() -> Problem:
    layers: list[nn.Module] = [nn.Linear(3, 10), nn.Tanh()]
    for _ in range(2):
        layers += [nn.Linear(10, 10), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(10, 1)), *_data(4, (3,), 1)


def _pinn() -> Problem:
    found = pinn()
    return found["model"], found["X"][::4], found["y"][::4]  # type: ignore[return-value,index]


BUILDS: dict[str, Callable[[], Problem]] = {
    "convolutional": lambda: _convolutional(1),
    "two outputs": lambda: _convolutional(2),
    "residual": _residual,
    "encoder": lambda: (Encoder(), *_data(2, (3, 2), 1)),
    "physics": _pinn,
    "deep chain": _deep,
}
# The rows of a normalisation are kept apart by the checker, so that its bound is well below.
LOOSE = ("encoder",)


@pytest.fixture(scope="module", params=BUILDS)
def certificate(request: pytest.FixtureRequest) -> tuple[str, talweg.Certificate]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, X, y = BUILDS[request.param]()
    found = talweg.certify(model.double(), (X, y), polish=True, attack=False)
    assert found.status == "PROVED", found.reason
    return request.param, found


def test_the_file_is_valid(certificate: tuple[str, talweg.Certificate], tmp_path: Path) -> None:
    certificate[1].save(tmp_path / "a.talweg")
    verdict = check(str(tmp_path / "a.talweg"))
    assert verdict.verdict == "valid", verdict.reason


def test_two_percent_less_are_not(
    certificate: tuple[str, talweg.Certificate], tmp_path: Path
) -> None:
    name, found = certificate
    document = found.document
    assert document is not None
    body = copy.deepcopy(document.body)
    pairs = body["claims"]["jacobian_lipschitz_upper"]
    body["claims"]["jacobian_lipschitz_upper"] = [
        [radius, (0.98 * float.fromhex(beta)).hex()] for radius, beta in pairs
    ]
    body["claim"] = claim_sentence(body, document.arrays)
    write_document(Document(body, document.arrays), tmp_path / "b.talweg")
    verdict = check(str(tmp_path / "b.talweg"))
    if name not in LOOSE:
        assert verdict.verdict == "incomplete"
        assert "jacobian_lipschitz_upper is not confirmed" in verdict.reason
