"""Models beyond chains: the reading computes what the live model computes, in every form of it."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.network.graphs import CASES, Forward, images, randomised, rows, sequences
from torch import nn

from talweg.certificate import network_of
from talweg.certificate._model_record import (
    as_read,
    format_of,
    model_and_weights,
    stored,
    weights_hash,
)
from talweg.certificate._model_sentence import model_sentence
from talweg.network import (
    FlatFunction,
    Network,
    build_module,
    evaluate_approx,
    gate,
    read,
    set_parameters,
)

CHAINS = {"rows of images"}
NAMES = sorted(CASES)


def _case(name: str, dtype: torch.dtype = torch.float64, seed: int = 0):
    torch.manual_seed(seed)
    model, X = CASES[name][0](), CASES[name][1]()
    model = randomised(model).to(dtype)
    return model, X if X.dtype == torch.int64 else X.to(dtype)


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-12 * other.abs().max())


def _records(network: Network) -> tuple[object, str]:
    model, arrays = model_and_weights(network)
    return model, weights_hash(arrays, model)


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_the_live_model(name):
    model, X = _case(name)
    network = read(model, X)
    assert network.is_chain == (name in CHAINS)
    live = model(X)
    reading = FlatFunction(network, as_read(network, X))
    w = reading.start.requires_grad_()
    values = reading(w)
    assert _close(evaluate_approx(network, X), live.reshape(len(X), -1))
    assert _close(values.detach(), live.detach().reshape(len(X), -1))
    signs = torch.randn(values.shape, dtype=torch.float64)
    parameters = dict(model.named_parameters())
    [ours] = torch.autograd.grad(values, w, signs)
    theirs = torch.autograd.grad(
        live.reshape(len(X), -1), [parameters[n] for n in network.parameter_names()], signs
    )
    assert _close(ours, torch.cat([t.reshape(-1) for t in theirs]))
    assert set(network.parameter_names()) == {n for n, p in parameters.items() if p.requires_grad}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_gate_lets_honest_models_pass(name, dtype):
    for seed in range(3):
        model, X = _case(name, dtype, seed)
        gate(model, read(model, X), X)


@pytest.mark.parametrize("name", NAMES)
def test_the_module_of_a_reading_reads_back(name):
    model, X = _case(name, torch.float32)
    network = read(model, X)
    module = build_module(network)
    rows_of_X = as_read(network, X)
    exact = rows_of_X if X.dtype == torch.int64 else rows_of_X.double()
    again = read(module, exact)
    gate(module, again, exact)
    assert model_and_weights(again)[0] == model_and_weights(network)[0]
    assert torch.equal(evaluate_approx(again, X), evaluate_approx(network, X))
    assert again.flat_output == network.flat_output
    assert module(exact).shape == model(X).shape
    if not network.is_chain:
        assert again.parameter_names() == network.parameter_names()


@pytest.mark.parametrize("name", NAMES)
def test_the_record_of_a_network_is_rebuilt(name):
    model, X = _case(name)
    network = read(model, X)
    record, arrays = model_and_weights(network)
    assert format_of(network) == (1 if name in CHAINS else 2)
    again = network_of(record, arrays, network.input_dim)
    assert model_and_weights(again)[0] == record
    assert weights_hash(model_and_weights(again)[1], record) == weights_hash(arrays, record)
    assert again.trainable_parameters == network.trainable_parameters
    assert torch.equal(evaluate_approx(again, X), evaluate_approx(network, X))
    sentence = model_sentence(record, arrays)
    assert sentence == model_sentence(record, {n: stored(t) for n, t in arrays.items()})
    assert sentence.startswith("linear" if name in CHAINS else "input ")


@pytest.mark.parametrize("name", ["attention", "tied table", "batch norm"])
def test_other_parameters(name):
    model, X = _case(name)
    network = read(model, X)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.7)
    moved = set_parameters(network, {n: p.detach() for n, p in other.named_parameters()})
    assert _close(evaluate_approx(moved, X), other(X).detach())
    assert _records(moved) == _records(read(other, X))


# -- what is read into what ----------------------------------------------------------------------


def _kinds(model: nn.Module, X: torch.Tensor) -> list[str]:
    return [op.kind for op in read(model.eval(), X).operations]


def test_views_leave_no_trace_where_they_cancel():
    model = Forward(
        lambda m, x: m.b(torch.tanh(m.a(x).view(-1, 2, 3).reshape(x.shape[0], 6))),
        a=nn.Linear(6, 6), b=nn.Linear(6, 2),
    )  # fmt: skip
    assert read(model, rows()).is_chain
    assert _kinds(model, rows()) == ["linear", "elementwise", "linear"]


def test_images_that_are_flattened_first_are_rows():
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    network = read(model, images())
    assert network.is_chain
    assert network.input_shape == (108,)
    assert network.notes == ("inputs (n, 3, 6, 6) read as rows (n, 108)",)


def test_dead_operations_do_not_enter():
    def forward(m, x):
        m.c(x)
        return m.b(m.a(x))

    model = Forward(forward, a=nn.Linear(6, 3), b=nn.Linear(3, 2), c=nn.Linear(6, 2))
    network = read(model, rows())
    assert network.is_chain
    assert network.parameter_names() == ("a.weight", "a.bias", "b.weight", "b.bias")
    assert "do not reach the output" in network.notes[0]
    gate(model, network, rows())


def test_shared_parameters_count_once():
    model, X = _case("shared layer")
    network = read(model, X)
    assert network.shared_parameters() == {"layer.weight", "layer.bias"}
    assert network.trainable_parameters == 42 + 14
    record, arrays = model_and_weights(network)
    assert isinstance(record, dict)
    assert [op["weight"] for op in record["operations"] if op["kind"] == "linear"] == [
        "weights/0.weight", "weights/0.weight", "weights/4.weight",
    ]  # fmt: skip
    assert len(arrays) == 4
    assert "(weight trained, shared, bias trained, shared)" in model_sentence(record, arrays)


def test_a_frozen_layer_used_twice_stays_a_chain():
    model = Forward(lambda m, x: m.b(m.a(torch.tanh(m.a(x)))), a=nn.Linear(6, 6), b=nn.Linear(6, 1))
    model.a.requires_grad_(False)
    assert read(model, rows()).is_chain


def test_attention_weights_are_for_nothing():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    kinds = _kinds(Forward(lambda m, x: m.a(x, x, x)[0].flatten(1), a=attention), sequences())
    assert kinds.count("matrix_product") == 2
    assert kinds.count("softmax") == 1


def test_the_sentence_of_a_graph():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(2, eps=0.5)
            self.last = nn.Linear(18, 2)

        def forward(self, x):
            y = self.norm(self.conv(x))
            return self.last(nn.functional.avg_pool2d(y - y.tanh(), 2).flatten(1))

    record, arrays = model_and_weights(read(Model().eval(), images()))
    assert model_sentence(record, arrays) == (
        "input 3x6x6; convolution 2x3x3x3 (stride 1x1, padding 1x1, dilation 1x1, groups 1, weight "
        "trained, bias none); standardize 2 (epsilon 0.5); affine 2 at axis 0 (weight trained, "
        "bias trained); tanh; sum(+, -) <- 3, 4; average pool(kernel 2x2, stride 2x2, padding 0x0)"
        "; reshape(18); linear 18->2 (weight trained, bias trained)"
    )
