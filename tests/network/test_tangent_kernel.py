"""The fast kernel against a dense Jacobian, and what it must leave alone."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from talweg import _errors
from talweg.network import _kernel_sum
from talweg.network import _tangent_kernel as module
from talweg.network._graph import Elementwise, Linear, Network, Node, Scale
from talweg.network._sample_jacobian import SampleFunction, kernel_by_sample_jacobians
from talweg.network._tangent_kernel import tangent_kernel, tangent_kernel_of

# Relative to the largest entry: sums of a few hundred products of size one, so some hundred eps.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def reference_jacobian(model: nn.Module, X: Tensor) -> Tensor:
    """``J`` by one backward pass per output, ``(n, k, p)``, in float64 on a copy."""
    model = copy.deepcopy(model).double()
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for x in X.double() if X.is_floating_point() else X:
        for output in model(x[None]).flatten():
            g = torch.autograd.grad(output, parameters, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([t.flatten() for t in g]))
    return torch.stack(rows).view(len(X), -1, rows[0].numel())


def reference_kernel(model: nn.Module, X: Tensor, X2: Tensor | None = None) -> Tensor:
    left = reference_jacobian(model, X)
    right = left if X2 is None else reference_jacobian(model, X2)
    return torch.einsum("iop,jqp->iojq", left, right)


def assert_close(value: Tensor, expected: Tensor) -> None:
    assert value.shape == expected.shape
    error = (value.double() - expected).abs().max() / expected.abs().max()
    assert error <= TOLERANCE[value.dtype]


def chain(*widths: int, activation: type[nn.Module] = nn.Tanh, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for d_in, d_out in itertools.pairwise(widths):
        layers += [nn.Linear(d_in, d_out, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


def inputs(n: int, d: int, seed: int = 2) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def frozen(model: nn.Sequential, *names: str) -> nn.Sequential:
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


class Residual(nn.Module):
    """A module that is no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.second(x + torch.relu(self.first(x)))
        return output


def tied() -> nn.Sequential:
    model = chain(5, 5, 5, 2)
    model[2].weight = model[0].weight
    return model


CHAINS = {
    "one output": lambda: chain(5, 7, 6, 1),
    "several outputs": lambda: chain(5, 7, 6, 3),
    "no bias": lambda: chain(5, 7, 6, 3, bias=False),
    "one layer": lambda: chain(5, 3),
    "relu": lambda: chain(5, 9, 9, 2, activation=nn.ReLU),
    "nonlinear output": lambda: nn.Sequential(chain(5, 7, 3), nn.Sigmoid(), nn.Identity()),
    "nonlinear input": lambda: nn.Sequential(nn.Softplus(beta=3.0), chain(5, 7, 3)),
    "in place": lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)),
    "first frozen": lambda: frozen(chain(5, 7, 6, 3), "0.weight", "0.bias"),
    "middle frozen": lambda: frozen(chain(5, 7, 6, 3), "2.weight"),
    "last frozen": lambda: frozen(chain(5, 7, 6, 3), "4.weight", "4.bias"),
    "only last trains": lambda: frozen(
        chain(5, 7, 6, 3), "0.weight", "0.bias", "2.weight", "2.bias", "4.bias"
    ),
    "dropout in eval": lambda: nn.Sequential(
        nn.Linear(5, 6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 2)
    ).eval(),
}
OTHERS = {
    "residual": Residual,
    "tied": tied,
    "batch norm in eval": lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6)).eval(),
    "layer norm": lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 2)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*CHAINS, *OTHERS])
def test_full_kernel_is_the_product_of_dense_jacobians(name: str, dtype: torch.dtype) -> None:
    model = (CHAINS | OTHERS)[name]().to(dtype)
    X, X2 = inputs(6, 5).to(dtype), inputs(4, 5, seed=3).to(dtype)
    value = tangent_kernel(model, X)
    assert value.dtype == dtype
    assert_close(value, reference_kernel(model, X))
    assert torch.equal(value, value.permute(2, 3, 0, 1))
    assert_close(tangent_kernel(model, X, X2), reference_kernel(model, X, X2))


@pytest.mark.parametrize("name", ["several outputs", "one layer", "last frozen", "residual"])
def test_reductions_are_those_of_the_full_kernel(name: str) -> None:
    model = (CHAINS | OTHERS)[name]().double()
    X, X2 = inputs(6, 5).double(), inputs(4, 5, seed=3).double()
    for second in (None, X2):
        trace = torch.einsum("iojo->ij", reference_kernel(model, X, second))
        assert_close(tangent_kernel(model, X, second, reduction="trace"), trace)
        assert_close(tangent_kernel(model, X, second, reduction="mean_trace"), trace / 3)
    diagonal = torch.einsum("ioio->io", reference_kernel(model, X))
    assert_close(tangent_kernel(model, X, reduction="diagonal"), diagonal)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("outputs", [1, 3])
def test_panels_of_any_size_give_the_same_kernel(
    rows: int, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kernel_sum, "PANEL_ROWS", rows)
    model, X = chain(5, 7, 6, outputs).double(), inputs(7, 5).double()
    assert_close(tangent_kernel(model, X), reference_kernel(model, X))
    assert_close(tangent_kernel(model, X, X[:3]), reference_kernel(model, X, X[:3]))


@pytest.mark.parametrize("budget", [1, 5000, 2**30])
def test_fallback_chunks_give_the_same_kernel(budget: int) -> None:
    model, X = Residual().double(), inputs(7, 5).double()
    expected = reference_kernel(model, X)
    assert_close(tangent_kernel(model, X, memory_budget=budget), expected)
    assert_close(tangent_kernel(model, X, X[:3], memory_budget=budget), expected[:, :, :3])
    trace = tangent_kernel(model, X, reduction="trace", memory_budget=budget)
    assert_close(trace, torch.einsum("iojo->ij", expected))


def test_fallback_takes_modules_that_vmap_refuses() -> None:
    class Branching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y if y.sum().item() > 0 else 2 * y

    model, X = Branching(5, 3).double(), inputs(4, 5).double()
    assert_close(tangent_kernel(model, X), reference_kernel(model, X))


def test_convolutions_and_token_inputs_go_through_the_fallback() -> None:
    conv = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).double()
    images = inputs(3, 16).view(3, 1, 4, 4).double()
    assert_close(tangent_kernel(conv, images), reference_kernel(conv, images))
    tokens = torch.tensor([[0, 1], [2, 0]])
    embedding = nn.Sequential(nn.Embedding(3, 4), nn.Flatten(), nn.Linear(8, 2)).double()
    assert_close(tangent_kernel(embedding, tokens), reference_kernel(embedding, tokens))


def test_flattened_images_go_through_the_chain() -> None:
    model, images = nn.Sequential(nn.Flatten(), chain(16, 5, 2)), inputs(3, 16).view(3, 1, 4, 4)
    assert module.stages_of_sequential(model, images) is not None
    assert_close(tangent_kernel(model, images), reference_kernel(model, images))


def test_requested_dtype_converts_without_touching_the_module() -> None:
    for model in (chain(5, 7, 3), Residual()):
        value = tangent_kernel(model, inputs(4, 5), dtype=torch.float64)
        assert value.dtype == torch.float64
        assert_close(value, reference_kernel(model, inputs(4, 5)))
        assert next(model.parameters()).dtype == torch.float32


def test_network_kernel_matches_the_module_it_stands_for() -> None:
    model, X = chain(5, 7, 3).double(), inputs(4, 5).double()
    model[2].bias.requires_grad_(False)
    first, last = (
        Linear(m.weight, m.bias, True, m.bias.requires_grad, "", f"{t}.weight", f"{t}.bias")
        for t, m in ((0, model[0]), (2, model[2]))
    )
    scale = Scale(1.0, 4.0, "")
    operations = (first, Elementwise("tanh", ""), last, scale)
    nodes = tuple(Node(o, (t,)) for t, o in enumerate(operations))
    network = Network(nodes, 5, 3)
    assert_close(tangent_kernel_of(network, X), reference_kernel(model, X) / 16)
    branching = Network((*nodes, Node(scale, (0,))), 5, 3)
    with pytest.raises(_errors.UnsupportedModelError, match="branches"):
        tangent_kernel_of(branching, X)


@pytest.mark.parametrize(
    ("function", "parameters", "reference"),
    [
        ("sigmoid", {}, nn.Sigmoid()),
        ("softplus", {"beta": 2.0}, nn.Softplus(beta=2.0)),
        ("silu", {}, nn.SiLU()),
        ("gelu", {}, nn.GELU()),
        ("gelu_tanh", {}, nn.GELU(approximate="tanh")),
        ("identity", {}, nn.Identity()),
    ],
)
def test_network_activations(
    function: str, parameters: dict[str, float], reference: nn.Module
) -> None:
    first, last = chain(5, 7, 2).double()[::2]
    model, X = nn.Sequential(first, reference, last), inputs(4, 5).double()
    operations = (
        Linear(first.weight, first.bias, True, True, "", "0.weight", "0.bias"),
        Elementwise(function, "", parameters),
        Linear(last.weight, last.bias, True, True, "", "2.weight", "2.bias"),
    )
    network = Network(tuple(Node(o, (t,)) for t, o in enumerate(operations)), 5, 2)
    assert_close(tangent_kernel_of(network, X), reference_kernel(model, X))


@pytest.mark.parametrize("name", ["relu", "residual", "batch norm in eval"])
def test_nothing_is_left_behind(name: str) -> None:
    model = (CHAINS | OTHERS)[name]()
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    random = torch.get_rng_state()
    X = inputs(4, 5).requires_grad_()
    value = tangent_kernel(model, X)
    assert not value.requires_grad
    assert X.grad is None
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[key]) for key, v in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(random, torch.get_rng_state())


def test_hooked_modules_are_not_read_as_chains() -> None:
    model, X = chain(5, 7, 3).double(), inputs(4, 5).double()
    model[0].register_forward_hook(lambda _module, _inputs, output: 2 * output)
    assert_close(tangent_kernel(model, X), reference_kernel(model, X))


def test_misuse_is_refused() -> None:
    model, X = chain(5, 7, 3), inputs(4, 5)
    cases = [
        ("dtype of the parameters", lambda: tangent_kernel(model, X.double())),
        ("at least one sample", lambda: tangent_kernel(model, X[:0])),
        ("finite", lambda: tangent_kernel(model, X * float("nan"))),
        ("reduction", lambda: tangent_kernel(model, X, reduction="mean")),  # type: ignore[arg-type]
        ("every sample with itself", lambda: tangent_kernel(model, X, X, reduction="diagonal")),
        ("floating dtype", lambda: tangent_kernel(model, X, dtype=torch.int64)),
        ("memory_budget", lambda: tangent_kernel(model, X, memory_budget=0)),
        ("BatchNorm1d at 1", lambda: tangent_kernel(nn.Sequential(model, nn.BatchNorm1d(3)), X)),
        ("Dropout at 1", lambda: tangent_kernel(nn.Sequential(model, nn.Dropout()), X)),
        ("trainable", lambda: tangent_kernel(copy.deepcopy(model).requires_grad_(False), X)),
        ("trainable", lambda: tangent_kernel(Residual().requires_grad_(False), X)),
    ]
    for message, call in cases:
        with pytest.raises(_errors.InputError, match=message):
            call()


def test_fallback_and_chain_agree() -> None:
    model, X = chain(5, 7, 6, 3).double(), inputs(6, 5).double()
    function = SampleFunction(model, None, "tangent_kernel")
    slow = kernel_by_sample_jacobians(function, X, None, reduction="full", memory_budget=2**20)
    assert_close(tangent_kernel(model, X), slow)
