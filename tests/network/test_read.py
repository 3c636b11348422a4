"""Reading = model: structure, values and notes, and that nothing of the model changes."""

from __future__ import annotations

import copy
import math
import random
from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.network._data import check_data
from talweg.network._evaluate import build_module, evaluate_approx, set_parameters
from talweg.network._gate import gate
from talweg.network._graph import Elementwise, Linear, Network, Scale
from talweg.network._merge import merge_duplicates
from talweg.network._read import read
from talweg.nn import Scale as ScaleModule
from talweg.nn import Sin, SmoothLeakyReLU


def _inputs(n: int = 6, d: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _kinds(network: Network) -> list[str]:
    return [op.function if isinstance(op, Elementwise) else op.kind for op in network.operations]


def _agrees(model: nn.Module, X: Tensor) -> Network:
    """Read, gate, and compare the plain evaluation with a float64 copy of the model."""
    network = read(model, X)
    assert network.is_chain
    gate(model, network, X)
    live = copy.deepcopy(model).double()(X.double()).detach()
    live = live.reshape(len(X), network.output_dim)
    torch.testing.assert_close(evaluate_approx(network, X).detach(), live, rtol=1e-12, atol=1e-12)
    return network


ACTIVATIONS = [
    (nn.Tanh(), "tanh", {}),
    (nn.Sigmoid(), "sigmoid", {}),
    (nn.Softplus(2.5, 17.0), "softplus", {"beta": 2.5, "threshold": 17.0}),
    (nn.SiLU(), "silu", {}),
    (nn.GELU(), "gelu", {}),
    (nn.GELU(approximate="tanh"), "gelu_tanh", {}),
    (SmoothLeakyReLU(0.25), "smooth_leaky_relu", {"slope": 0.25}),
    (Sin(), "sin", {}),
]


@pytest.mark.parametrize(("module", "function", "parameters"), ACTIVATIONS)
def test_every_activation_module(module, function, parameters):
    network = _agrees(nn.Sequential(nn.Linear(3, 5), module, nn.Linear(5, 2)), _inputs())
    operation = network.operations[1]
    assert isinstance(operation, Elementwise)
    assert (operation.function, operation.parameters) == (function, parameters)
    assert operation.path == "1"
    assert (network.input_dim, network.output_dim, network.flat_output) == (3, 2, False)


class _Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.last = nn.Linear(5, 2)
        self.function = function

    def forward(self, x):
        return self.last(self.function(self.first(x)))


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (torch.tanh, "tanh"),
        (F.tanh, "tanh"),
        (lambda x: x.tanh(), "tanh"),
        (torch.sigmoid, "sigmoid"),
        (F.sigmoid, "sigmoid"),
        (torch.special.expit, "sigmoid"),
        (lambda x: x.sigmoid(), "sigmoid"),
        (torch.sin, "sin"),
        (lambda x: x.sin(), "sin"),
        (F.softplus, "softplus"),
        (lambda x: F.softplus(x, beta=3), "softplus"),
        (lambda x: F.softplus(x, 0.5, 30), "softplus"),
        (F.silu, "silu"),
        (F.gelu, "gelu"),
        (lambda x: F.gelu(x, approximate="tanh"), "gelu_tanh"),
    ],
)
def test_every_functional_form(function, kind):
    assert _kinds(_agrees(_Function(function), _inputs())) == ["linear", kind, "linear"]


@pytest.mark.parametrize(
    ("function", "constants"),
    [
        (lambda x: x / math.sqrt(5), (1.0, math.sqrt(5))),
        (lambda x: x * 3, (3.0, 1.0)),
        (lambda x: 0.1 * x, (0.1, 1.0)),
        (lambda x: torch.mul(x, 0.5), (0.5, 1.0)),
        (lambda x: x.mul(0.5), (0.5, 1.0)),
        (lambda x: x.div(3), (1.0, 3.0)),
        (lambda x: torch.div(x, 7.0), (1.0, 7.0)),
        (lambda x: -x, (-1.0, 1.0)),
        (lambda x: x / math.sqrt(x.shape[1]), (1.0, math.sqrt(5))),
        (lambda x: x / x.size(-1) ** 0.5, (1.0, 5**0.5)),
        (lambda x: x * (2 / x.size()[1]), (0.4, 1.0)),
        (ScaleModule(2.0, 3.0), (2.0, 3.0)),
    ],
)
def test_scales_keep_their_constants(function, constants):
    operation = _agrees(_Function(function), _inputs()).operations[1]
    assert isinstance(operation, Scale)
    assert (operation.numerator, operation.denominator) == constants


def test_consecutive_scales_stay_separate():
    network = _agrees(_Function(lambda x: 0.1 * x / 3 * 7), _inputs())
    assert [(op.numerator, op.denominator) for op in network.operations[1:4]] == [
        (0.1, 1.0),
        (1.0, 3.0),
        (7.0, 1.0),
    ]


@pytest.mark.parametrize(
    "function",
    [
        nn.Identity(),
        nn.Flatten(),
        nn.Flatten(1, -1),
        nn.Dropout(0.0),
        nn.Dropout(0.5).eval(),
        lambda x: torch.flatten(x, 1),
        lambda x: x.flatten(1),
        lambda x: x.flatten(start_dim=1),
        lambda x: x.view(x.size(0), -1),
        lambda x: x.view(-1, 5),
        lambda x: x.reshape(x.shape[0], 5),
        lambda x: torch.reshape(x, (x.shape[0], -1)),
        lambda x: x.reshape(x.shape),
        lambda x: x.contiguous(),
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: F.dropout(x, 0.0),
        lambda x: x.squeeze(-1),
    ],
)
def test_layers_that_do_nothing(function):
    assert _kinds(_agrees(_Function(function), _inputs())) == ["linear", "linear"]


def test_dropped_layers_are_noted():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Dropout(0.1)).eval()
    notes = " ".join(_agrees(model, _inputs()).notes)
    assert "module '2': inactive Dropout" in notes
    assert "module '0': flatten" in notes


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.squeeze(-1),
        lambda x: x.squeeze(1),
        lambda x: torch.squeeze(x, -1),
        lambda x: torch.squeeze(x, dim=1),
        lambda x: x.flatten(),
        lambda x: torch.flatten(x),
        lambda x: x.view(-1),
        lambda x: x.reshape(x.shape[0]),
        lambda x: x[:, 0],
        lambda x: x[..., 0],
        nn.Flatten(0),
    ],
)
def test_flat_outputs_count_as_one(function):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1)
            self.function = function

        def forward(self, x):
            return torch.sigmoid(self.function(self.layer(x)))

    network = _agrees(Model(), _inputs())
    assert network.flat_output
    assert network.output_dim == 1
    assert any("shape (n,)" in note for note in network.notes)


def test_own_forward_with_functional_linear_nesting_and_reused_activation():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.W = nn.Parameter(torch.linspace(-1, 1, 12).reshape(4, 3))
            self.register_buffer("c", torch.linspace(0, 1, 4))
            self.body = nn.Sequential(
                OrderedDict(inner=nn.Sequential(nn.Linear(4, 4), nn.Tanh()), end=nn.Linear(4, 2))
            )
            self.act = nn.Tanh()

        def forward(self, x, mask=None, scale=2.0):
            if mask is not None:
                x = x * mask
            x = self.act(F.linear(x, self.W, self.c))
            return scale * self.act(self.body(x))

    network = _agrees(Model(), _inputs())
    first = network.operations[0]
    assert isinstance(first, Linear)
    assert (first.weight_name, first.bias_name) == ("W", "c")
    assert (first.weight_trainable, first.bias_trainable) == (True, False)
    assert network.parameter_names() == (
        "W", "body.inner.0.weight", "body.inner.0.bias", "body.end.weight", "body.end.bias",
    )  # fmt: skip


def test_frozen_parameters_are_constants_and_may_be_shared():
    shared = nn.Linear(3, 3).requires_grad_(False)
    network = _agrees(nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(3, 1, False)), _inputs())
    assert network.trainable_parameters == 3
    assert network.parameter_names() == ("3.weight",)


def test_model_that_is_one_layer():
    network = _agrees(nn.Linear(3, 2), _inputs())
    assert network.operations[0].path == ""
    assert network.parameter_names() == ("weight", "bias")


def test_layer_forward_called_directly():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return self.layer.forward(x)

    assert _agrees(Model(), _inputs()).parameter_names() == ("layer.weight", "layer.bias")


def test_disconnected_parameters_are_noted():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Linear(3, 2)
            self.spare = nn.Linear(4, 5)
            self.loss = nn.CrossEntropyLoss()
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.used(x)

    network = _agrees(Model(), _inputs())
    assert any(
        "2 trainable tensors (25 numbers)" in n and "spare.weight" in n for n in network.notes
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_keep_dtype_and_values_and_are_copies(dtype):
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)).to(dtype)
    network = _agrees(model, _inputs(dtype=dtype))
    first = network.operations[0]
    assert isinstance(first, Linear)
    assert first.weight.dtype == dtype
    assert torch.equal(first.weight, model[0].weight)
    assert not first.weight.requires_grad
    before = first.weight.clone()
    with torch.no_grad():
        model[0].weight.add_(1)
    assert torch.equal(first.weight, before)


def test_data_may_have_another_dtype_than_the_weights():
    model = nn.Sequential(nn.Linear(3, 2))
    gate(model, read(model, _inputs(dtype=torch.float64)), _inputs(dtype=torch.float64))


def test_nothing_changes():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.0), nn.Tanh(), nn.Linear(4, 1))
            self.register_buffer("steps", torch.tensor(3))
            self.features = None

        def forward(self, x):
            self.features = self.net[2](self.net[0](x))
            return self.net[3](self.features)

    model = Model()
    model.net[3].eval()
    model(_inputs()).sum().backward()
    state = copy.deepcopy(model.state_dict())
    grads = [p.grad.clone() for p in model.parameters()]
    versions = [p._version for p in model.parameters()]
    features = model.features
    attributes = {name: dict(vars(m)) for name, m in model.named_modules()}
    flags = [(m.training, len(m._forward_hooks)) for m in model.modules()]
    random.seed(5)
    rng, python_rng = torch.get_rng_state(), random.getstate()
    with torch.no_grad():
        gate(model, read(model, _inputs()), _inputs())
    assert torch.equal(rng, torch.get_rng_state())
    assert python_rng == random.getstate()
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True))
    assert versions == [p._version for p in model.parameters()]
    assert flags == [(m.training, len(m._forward_hooks)) for m in model.modules()]
    assert model.features is features
    assert attributes == {name: dict(vars(m)) for name, m in model.named_modules()}
    assert all(p.requires_grad for p in model.parameters())


def test_reads_inside_inference_mode():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    with torch.inference_mode():
        X = _inputs()
        gate(model, read(model, X), X)


def test_another_default_device_does_not_matter():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    X = _inputs()
    with torch.device("meta"):
        gate(model, read(model, X), X)
        merge_duplicates(*_tensors(check_data(X, X, 3)))


def _tensors(data):
    return data.inputs, data.targets


def test_width_of_a_weight_may_scale():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x):
            x = self.layer(x / math.sqrt(self.layer.weight.shape[1]))
            return x / self.layer.weight.size(0) / self.layer.out_features

    scales = [op for op in _agrees(Model(), _inputs()).operations if isinstance(op, Scale)]
    assert [op.denominator for op in scales] == [math.sqrt(3), 4.0, 4.0]


def test_width_mismatch_names_both_shapes():
    with pytest.raises(InputError, match=r"(?s)module '0' 4 features.*\(2, 4\).*come with 3"):
        read(nn.Sequential(nn.Linear(4, 2)), _inputs())
    with pytest.raises(InputError, match=r"module '1' 6 features.*come with 5"):
        read(nn.Sequential(nn.Linear(3, 5), nn.Linear(6, 1)), _inputs())


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), (2, 0)])
def test_inputs_must_be_a_batch_of_rows(shape):
    with pytest.raises(InputError, match=r"X of .*must.*shape \("):
        read(nn.Linear(3, 2), torch.zeros(shape))


@st.composite
def chains(draw):
    """A random chain in a random dtype, with weights of moderate size, and its inputs."""
    dims = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    torch_seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(torch_seed)
    dtype = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
    layers: list[nn.Module] = []
    extra = [a[0] for a in ACTIVATIONS] + [
        ScaleModule(0.5, 3.0), nn.Identity(), nn.Flatten(), nn.Dropout(0.3).eval(),
    ]  # fmt: skip
    for d_in, d_out in pairwise(dims):
        layer = nn.Linear(d_in, d_out, bias=draw(st.booleans()))
        for parameter in layer.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator).to(dtype)
            parameter.requires_grad_(draw(st.booleans()))
        layers.append(layer)
        layers += [copy.deepcopy(m) for m in draw(st.lists(st.sampled_from(extra), max_size=3))]
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(layers)))
        layers = [nn.Sequential(*layers[:cut]), *layers[cut:]]
    X = torch.randn(draw(st.integers(1, 5)), dims[0], generator=generator).to(dtype)
    return nn.Sequential(*layers), X


@settings(max_examples=60, deadline=None)
@given(chains())
def test_random_chains_read_as_themselves(case):
    model, X = case
    network = _agrees(model, X)
    assert network.parameter_names() == tuple(
        n for n, p in model.named_parameters() if p.requires_grad
    )
    assert network.trainable_parameters == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    rebuilt = build_module(network)
    again = _agrees(rebuilt, X.double())
    assert _kinds(again) == _kinds(network)
    torch.testing.assert_close(
        evaluate_approx(again, X), evaluate_approx(network, X), rtol=1e-14, atol=0.0
    )


def test_built_module_is_flat_where_the_model_was():
    model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    rng = torch.get_rng_state()
    rebuilt = build_module(read(model, _inputs()))
    assert torch.equal(rng, torch.get_rng_state())
    assert rebuilt(_inputs().double()).shape == (6,)
    assert all(p.dtype == torch.float64 for p in rebuilt.parameters())


def test_set_parameters_replaces_by_name():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
    network = read(model, _inputs())
    new = set_parameters(network, {"0.weight": torch.full((2, 3), 0.1, dtype=torch.float64)})
    first, old = new.operations[0], network.operations[0]
    assert isinstance(first, Linear)
    assert isinstance(old, Linear)
    assert first.weight.dtype == torch.float64
    assert bool((first.weight == 0.1).all())
    assert first.bias is old.bias
    assert torch.equal(old.weight, model[0].weight)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nope": torch.zeros(1)}, "'nope'.*Known are 0.bias, 0.weight"),
        ({"0.weight": torch.zeros(3, 2)}, r"shape \(2, 3\); got torch.float32, \(3, 2\)"),
        ({"0.weight": torch.zeros(2, 3, dtype=torch.int64)}, "float tensor.*got torch.int64"),
        ({"0.bias": torch.tensor([0.0, math.nan])}, r"entry \(1,\) is nan"),
    ],
)
def test_set_parameters_refuses(values, message):
    network = read(nn.Sequential(nn.Linear(3, 2)), _inputs())
    with pytest.raises(InputError, match=message):
        set_parameters(network, values)


def test_modules_of_talweg_are_smooth_and_refuse_bad_constants():
    x = torch.tensor([-1e4, -40.0, -1.0, 0.0, 1.0, 40.0, 1e4], dtype=torch.float64)
    y = SmoothLeakyReLU(0.25)(x)
    tail = x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))
    torch.testing.assert_close(y, 0.25 * x + 0.75 * (tail - math.log(2)), rtol=1e-14, atol=1e-15)
    assert y[3] == 0
    x.requires_grad_()
    (slope,) = torch.autograd.grad(SmoothLeakyReLU(0.25)(x).sum(), x, create_graph=True)
    assert slope[0] == 0.25
    assert slope[-1] == 1.0
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    assert bool(torch.isfinite(curvature).all())
    for slope_ in (0, 1.0, -0.1, math.nan, "a"):
        with pytest.raises(InputError, match="strictly between 0 and 1"):
            SmoothLeakyReLU(slope_)
    for factor in (0, math.inf, math.nan, "a"):
        with pytest.raises(InputError, match="finite nonzero"):
            ScaleModule(factor)
    assert repr(ScaleModule(1, 3)) == "Scale(numerator=1.0, denominator=3.0)"
    assert repr(SmoothLeakyReLU(0.5)) == "SmoothLeakyReLU(slope=0.5)"
