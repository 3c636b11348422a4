"""The gate on graphs: wrong readings are caught, honest models of any size and scale pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.network.graphs import CASES, Forward, images, randomised, rows, sequences, tokens
from torch import Tensor, nn

from talweg._errors import ReadingError
from talweg.network import (
    Affine,
    AveragePool,
    Convolution,
    Linear,
    Network,
    Node,
    Normalize,
    Permute,
    Product,
    Scale,
    Shift,
    Slice,
    Standardize,
    Sum,
    gate,
    read,
)


def _case(name: str, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(3)
    model, X = randomised(CASES[name][0]()), CASES[name][1]()
    return model.to(dtype), X if X.dtype == torch.int64 else X.to(dtype)


def _changed(network: Network, kind: type, **values: Any) -> Network:
    """The network with other fields in the first operation of a kind."""
    at = next(t for t, op in enumerate(network.operations) if isinstance(op, kind))
    nodes = list(network.nodes)
    operation = nodes[at].operation
    new = {k: v(operation) if callable(v) else v for k, v in values.items()}
    nodes[at] = Node(dataclasses.replace(operation, **new), nodes[at].inputs)
    return dataclasses.replace(network, nodes=tuple(nodes))


WRONG: list[tuple[str, Callable[[Network], Network]]] = [
    ("conv2d", lambda n: _changed(n, Convolution, bias=None, bias_name=None, bias_trainable=False)),
    ("conv2d", lambda n: _changed(n, Convolution, weight=lambda op: op.weight.flip(-1))),
    ("average pooling", lambda n: _changed(n, AveragePool, kernel=(1, 1), padding=(0, 0))),
    ("layer norm", lambda n: _changed(n, Normalize, epsilon=1.001e-5)),
    ("layer norm", lambda n: _changed(n, Normalize, axes=2)),
    ("layer norm", lambda n: _changed(n, Affine, bias=lambda op: op.bias + 1e-9)),
    ("batch norm", lambda n: _changed(n, Standardize, epsilon=0.0)),
    ("batch norm", lambda n: _changed(n, Standardize, bias=lambda op: op.bias.sqrt())),
    ("attention", lambda n: _changed(n, Scale, denominator=2.0 + 1e-9)),
    ("attention", lambda n: _changed(n, Slice, start=8, stop=16)),
    ("attention", lambda n: _changed(n, Sum, signs=(1, -1))),
    ("attention by hand", lambda n: _changed(n, Scale, numerator=2.0)),
    ("sums and differences", lambda n: _changed(n, Sum, signs=(1, -1))),
    ("shifts", lambda n: _changed(n, Shift, weight=lambda op: op.weight.roll(1))),
    ("residual", lambda n: _changed(n, Linear, bias_trainable=False)),
    ("embedding with positions", lambda n: _changed(n, Shift, weight=lambda op: op.weight.flip(0))),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("name", "change"), WRONG)
def test_wrong_readings_are_caught(name, change, dtype):
    model, X = _case(name, dtype)
    with pytest.raises(ReadingError, match="model and reading must agree"):
        gate(model, change(read(model, X)), X)


def test_a_wrong_order_of_axes_is_caught():
    model, X = _case("views", torch.float64)
    network = read(model, X)
    wrong = _changed(network, Permute, axes=lambda op: (op.axes[0], op.axes[2], op.axes[1]))
    nodes = [wrong.nodes[t] for t in range(len(wrong.nodes))]
    with pytest.raises((ReadingError, RuntimeError)):
        gate(model, dataclasses.replace(wrong, nodes=tuple(nodes)), X)


def test_a_wrong_input_is_caught():
    model = Forward(
        lambda m, x: m.b(m.a(x) * x), a=nn.Linear(6, 6), b=nn.Linear(6, 2)
    ).double()  # fmt: skip
    X = rows().double()
    network = read(model, X)
    at = next(t for t, op in enumerate(network.operations) if isinstance(op, Product))
    nodes = list(network.nodes)
    nodes[at] = Node(nodes[at].operation, (1, 1))
    with pytest.raises(ReadingError, match="model and reading must agree"):
        gate(model, dataclasses.replace(network, nodes=tuple(nodes)), X)


def test_in_place_additions_that_reach_another_value_are_caught():
    def forward(m, x):
        h = m.a(x)
        g = h
        h += x
        return m.b(h) + m.b(g).tanh()

    model, X = Forward(forward, a=nn.Linear(6, 6), b=nn.Linear(6, 2)), rows()
    with pytest.raises(ReadingError, match="model and reading must agree"):
        gate(model, read(model, X), X)

    def overwriting(m, x):
        x += m.a(x)
        return m.b(x)

    model = Forward(overwriting, a=nn.Linear(6, 6), b=nn.Linear(6, 2))
    with pytest.raises(ReadingError, match=r"leave its input alone|have gradients"):
        gate(model, read(model, X), X)

    def saved(m, x):
        h = torch.tanh(m.a(x))
        h += x
        return m.b(h)

    model = Forward(saved, a=nn.Linear(6, 6), b=nn.Linear(6, 2))
    with pytest.raises(ReadingError, match="must have gradients; the backward pass"):
        gate(model, read(model, X), X)


def test_a_batch_that_matters_is_caught():
    class Centred(nn.Module):
        def forward(self, x):
            return x

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm, self.seen = nn.Linear(6, 6), nn.LayerNorm(6), [True]

        def forward(self, x):
            if self.seen[0]:  # set to False behind the reading's back
                return self.norm(self.a(x))
            return self.norm(self.a(x - x.mean(0)))

    model, X = Model(), rows()
    network = read(model, X)
    model.seen[0] = False
    with pytest.raises(ReadingError):
        gate(model, network, X)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize(
    "name", ["conv2d", "layer norm", "attention", "residual", "encoder layer", "embedding"]
)
def test_half_precision_models_pass(name, dtype):
    model, X = _case(name, dtype)
    gate(model, read(model, X), X)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_inputs_of_any_scale_pass(scale, offset):
    torch.manual_seed(1)
    for model, X in (
        (nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 8)), sequences),
        (nn.Sequential(nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.SiLU()), images),
        (nn.TransformerEncoderLayer(8, 2, 32, activation="gelu", batch_first=True), sequences),
    ):
        whole = nn.Sequential(model, nn.Flatten()).eval()
        data = scale * X(40) + offset
        gate(whole, read(whole, data), data)


def test_wide_and_deep_models_pass():
    torch.manual_seed(2)

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norm, self.a, self.b = (
                nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width),
            )  # fmt: skip

        def forward(self, x):
            return x + self.b(nn.functional.gelu(self.a(self.norm(x))))

    model = nn.Sequential(nn.Linear(6, 128), *(Block(128) for _ in range(8)), nn.Linear(128, 1))
    gate(model, read(model, rows(300)), rows(300))
    ones = torch.ones(300, 6)
    gate(model, read(model, ones), ones)


def test_nothing_of_the_model_changes():
    model, X = randomised(CASES["embedding"][0]()), tokens()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    gate(model, read(model, X), X)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
