"""Three families of networks, each with a plain and a defective build."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}


@dataclass(frozen=True)
class Shape:
    """What a network is built from.

    Attributes:
        width: Hidden units, channels or the size of a token.
        depth: Hidden layers, or blocks of a transformer.
        activation: A key of `ACTIVATIONS`.
        plain: A transformer without residual connections and normalisation.
        cut: The gradient is cut in front of the last layer.
    """

    width: int
    depth: int
    activation: str
    plain: bool = False
    cut: bool = False


class Head(nn.Module):
    """A body and a last linear layer."""

    def __init__(self, body: nn.Module, features: int, outputs: int, shape: Shape) -> None:
        super().__init__()
        self.body, self.head, self.cut = body, nn.Linear(features, outputs), shape.cut

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return self.head(h.detach() if self.cut else h)


def mlp(example: Tensor, outputs: int, shape: Shape) -> nn.Module:
    """Linear layers with one activation."""
    layers: list[nn.Module] = [nn.Flatten()]
    size = example.numel()
    for _ in range(shape.depth):
        layers += [nn.Linear(size, shape.width), ACTIVATIONS[shape.activation]()]
        size = shape.width
    return Head(nn.Sequential(*layers), size, outputs, shape)


def convnet(example: Tensor, outputs: int, shape: Shape) -> nn.Module:
    """Convolutions with 3x3 kernels, a pooling by two, a linear layer."""
    layers: list[nn.Module] = []
    channels = example.shape[0]
    for index in range(shape.depth):
        layers += [nn.Conv2d(channels, shape.width, 3, padding=1), ACTIVATIONS[shape.activation]()]
        channels = shape.width
        if index == 0:
            layers.append(nn.AvgPool2d(2))
    size = channels * (example.shape[1] // 2) * (example.shape[2] // 2)
    return Head(nn.Sequential(*layers, nn.Flatten()), size, outputs, shape)


class Block(nn.Module):
    """Attention and two linear layers; with residual connections behind normalisation, or plain."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.width
        self.plain = shape.plain
        self.heads = 2 if d % 2 == 0 and d > 2 else 1
        self.norm1 = nn.Identity() if shape.plain else nn.LayerNorm(d)
        self.norm2 = nn.Identity() if shape.plain else nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.act = nn.Linear(d, 2 * d), ACTIVATIONS[shape.activation]()
        self.down = nn.Linear(2 * d, d)

    def attend(self, x: Tensor) -> Tensor:
        """Softmax attention."""
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).unbind(2)
        weights = torch.einsum("nthd,nshd->nhts", q, k) / (d // self.heads) ** 0.5
        mixed = torch.einsum("nhts,nshd->nthd", weights.softmax(-1), v)
        return self.out(mixed.reshape(n, t, d))

    def forward(self, x: Tensor) -> Tensor:
        keep = 0.0 if self.plain else 1.0
        x = keep * x + self.attend(self.norm1(x))
        return keep * x + self.down(self.act(self.up(self.norm2(x))))


class Pool(nn.Module):
    """The mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def transformer(example: Tensor, outputs: int, shape: Shape) -> nn.Module:
    """Tokens embedded linearly, blocks, the mean."""
    blocks = [Block(shape) for _ in range(shape.depth)]
    body = nn.Sequential(nn.Linear(example.shape[-1], shape.width), *blocks, Pool())
    return Head(body, shape.width, outputs, shape)


FAMILIES = {"MLP": mlp, "ConvNet": convnet, "transformer": transformer}
DEPTH = {"MLP": 3, "ConvNet": 3, "transformer": 2}
