"""The gate passes correct readings in every dtype and catches wrong ones, touching nothing."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from talweg._errors import ReadingError, UnsupportedModelError
from talweg.network._evaluate import set_parameters
from talweg.network._gate import gate
from talweg.network._graph import Elementwise, Network, Node, Scale
from talweg.network._read import read
from talweg.nn import SmoothLeakyReLU

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def _inputs(n: int = 20, d: int = 3) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def _model(dtype: torch.dtype = torch.float32, width: int = 16) -> nn.Sequential:
    model = nn.Sequential(
        nn.Linear(3, width), nn.GELU(), nn.Linear(width, width), nn.Softplus(2), nn.Linear(width, 2)
    )
    generator = torch.Generator().manual_seed(3)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=generator) / p.shape[-1] ** 0.5
    return model.to(dtype)


def _with_operation(network: Network, index: int, operation: Elementwise | Scale) -> Network:
    nodes = list(network.nodes)
    nodes[index] = Node(operation, nodes[index].inputs)
    return dataclasses.replace(network, nodes=tuple(nodes))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 16, 300])
def test_correct_readings_pass(dtype, width):
    model = _model(dtype, width)
    gate(model, read(model, _inputs(300)), _inputs(300))


@pytest.mark.parametrize("dtype", DTYPES)
def test_positive_weights_and_large_values_pass(dtype):
    model = nn.Sequential(
        nn.Linear(3, 64), SmoothLeakyReLU(0.5), nn.Linear(64, 64), SmoothLeakyReLU(0.5),
        nn.Linear(64, 64), SmoothLeakyReLU(0.5), nn.Linear(64, 1),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(4)
    for p in model.parameters():
        p.data = torch.rand(p.shape, generator=generator) / 8
    model.to(dtype)
    gate(model, read(model, _inputs()), _inputs())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softplus_across_its_threshold_passes(dtype):
    model = nn.Sequential(nn.Linear(1, 1), nn.Softplus(1.0, 20.0)).to(dtype)
    model[0].weight.data.fill_(1.0)
    model[0].bias.data.fill_(0.1)
    X = torch.linspace(19, 21, 2001, dtype=torch.float64)[:, None]
    gate(model, read(model, X), X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "wrong",
    [Elementwise("gelu_tanh", "1"), Elementwise("silu", "1"), Elementwise("identity", "1")],
)
def test_wrong_activations_are_caught(dtype, wrong):
    model = _model(dtype)
    network = _with_operation(read(model, _inputs()), 1, wrong)
    with pytest.raises(ReadingError, match=r"the reading gives .* difference .* tolerance"):
        gate(model, network, _inputs())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("beta", [2.0 + 1e-6, 2.0 - 1e-6])
def test_slightly_wrong_constants_are_caught(dtype, beta):
    model = _model(dtype)
    wrong = Elementwise("softplus", "3", {"beta": beta, "threshold": 20.0})
    with pytest.raises(ReadingError):
        gate(model, _with_operation(read(model, _inputs()), 3, wrong), _inputs())


def test_weights_that_changed_since_the_reading_are_caught():
    model = _model()
    network = read(model, _inputs())
    with torch.no_grad():
        model[2].bias[3] += 1e-3
    with pytest.raises(ReadingError, match="changed after it was read"):
        gate(model, network, _inputs())
    moved = set_parameters(network, {"2.bias": model[2].bias})
    gate(model, moved, _inputs())


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return 1.01 * g


class _Live(nn.Module):
    """Reads as its chain, since tracing takes another branch than a real call."""

    def __init__(self, live):
        super().__init__()
        self.chain = _model()
        self.live = live
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        if isinstance(x, Tensor):
            return self.live(self, x)
        return self.chain(x)


def _count(m, x):
    m.count += 1
    return m.chain(x)


def _decay(m, x):
    with torch.no_grad():
        m.chain[0].weight.mul_(0.5)
    return m.chain(x)


def _in_place(m, x):
    x *= 2
    return m.chain(x / 2)


def _raises(m, x):
    raise RuntimeError("no such luck")


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (lambda m, x: 1.001 * m.chain(x), r"at \("),
        (lambda m, x: m.chain(x) + 0 * x.sum() + 1e-3, "output at"),
        (lambda m, x: m.chain(x - x.mean(0)), "at"),
        (lambda m, x: _Backward.apply(m.chain(x)), "gradient of 'chain"),
        (lambda m, x: m.chain(x).detach(), "gradient of 'chain"),
        (lambda m, x: m.chain(x) * float("nan"), "not finite"),
        (lambda m, x: m.chain(x)[:, :1], r"returns \(20, 1\), the reading says \(20, 2\)"),
        (lambda m, x: (m.chain(x),), "returns tuple"),
        (lambda m, x: m.chain(x) + 1e-9 * torch.rand(()), "draws random numbers"),
        (_count, "changes parameter or buffer 'count'"),
        (_decay, "changes parameter or buffer 'chain.0.weight'"),
        (_in_place, "overwrites it"),
        (_raises, r"raised RuntimeError: no such luck.*Make model\(X\) work"),
    ],
)
def test_what_tracing_cannot_see_is_caught(live, words):
    model = _Live(live)
    network = read(model, _inputs())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    rng = torch.get_rng_state()
    with pytest.raises(ReadingError, match=words):
        gate(model, network, _inputs())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


def test_order_of_rows_matters():
    model = _Live(lambda m, x: m.chain(x) * torch.linspace(1, 2, len(x))[:, None])
    with pytest.raises(ReadingError, match=r"agree"):
        gate(model, read(model, _inputs()), _inputs())


def test_gradient_of_a_parameter_that_the_reading_lost():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.shift = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return self.layer(x) + self.shift if isinstance(x, Tensor) else self.layer(x)

    model = Model()
    with pytest.raises(ReadingError, match="gradient of 'shift'"):
        gate(model, read(model, _inputs()), _inputs())


def test_parameters_that_the_model_does_not_have():
    model = _model()
    network = read(nn.Sequential(nn.Identity(), *_model()), _inputs())
    with pytest.raises(ReadingError, match=r"has no '1.bias'"):
        gate(model, network, _inputs())


def test_overflow_is_named():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)).half()
    for p in model.parameters():
        p.data.fill_(60000.0)
    X = torch.ones(3, 1)
    with pytest.raises(ReadingError, match=r"not finite: torch\.float16 may overflow"):
        gate(model, read(model, X), X)


def test_autocast_is_refused():
    model = _model()
    network = read(model, _inputs())
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(UnsupportedModelError, match="autocast"),
    ):
        gate(model, network, _inputs())


def test_mode_and_grad_are_kept():
    model = _model()
    model[1].eval()
    model[0].weight.grad = torch.ones(16, 3)
    with torch.inference_mode():
        gate(model, read(model, _inputs()), _inputs())
    assert bool((model[0].weight.grad == 1).all())
    assert model[2].weight.grad is None
    assert model.training
    assert not model[1].training


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=6),
    st.sampled_from(DTYPES),
    st.integers(0, 2**31),
    st.floats(0.1, 2.0),
)
def test_no_false_alarms(dims, dtype, seed, gain):
    generator = torch.Generator().manual_seed(seed)
    activations = [nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.GELU(), SmoothLeakyReLU(0.3)]
    layers: list[nn.Module] = []
    for i, (d_in, d_out) in enumerate(pairwise(dims)):
        layers += [nn.Linear(d_in, d_out), activations[(seed + i) % 5]]
    model = nn.Sequential(*layers)
    for p in model.parameters():
        p.data = gain * torch.randn(p.shape, generator=generator) / p.shape[-1] ** 0.5
    model.to(dtype)
    X = torch.randn(8, dims[0], generator=generator)
    gate(model, read(model, X), X)
