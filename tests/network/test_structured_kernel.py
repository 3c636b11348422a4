"""Kernels from recorded layers against dense Jacobians, and what a recording must refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.network.test_tangent_kernel import assert_close, reference_kernel
from torch import Tensor, nn

from talweg import _errors
from talweg.network import _layer_plan, _tangent_kernel
from talweg.network._layer_rows import Matrix
from talweg.network._recorded_calls import NotRecorded
from talweg.network._recording_checks import CheckedRecording
from talweg.network._sample_jacobian import SampleFunction
from talweg.network._structured_kernel import kernel_by_layers
from talweg.network._tangent_kernel import tangent_kernel

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


class Module(nn.Module):
    """A module from its submodules and a function of them."""

    def __init__(
        self, run: Callable[[Module, Tensor], Tensor], **parts: nn.Module | Tensor
    ) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def normal(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(n: int = 5) -> Tensor:
    return normal(n, 3, 6, 6)


def with_statistics(model: nn.Sequential) -> nn.Sequential:
    model(images().float())
    return model.eval()


def frozen(model: nn.Module, *names: str) -> nn.Module:
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


def attention(m: Module, tokens: Tensor) -> Tensor:
    x = m.table(tokens) + m.place
    q, k, v = m.first(m.norm(x)).chunk(3, -1)
    return m.head((x + m.factor * m.second(F.scaled_dot_product_attention(q, k, v))).mean(1))


def head(width: int, k: int = 3) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(width, k)]


def no_gradient(layer: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(x)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    model[0].register_forward_hook(lambda _m, _i, output: 2 * output)
    return model


# Modules and inputs.
Case = Callable[[], tuple[nn.Module, Tensor]]
RECORDED: dict[str, Case] = {
    "convolutions": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 2, dilation=2), nn.Tanh(), *head(6),
        ),
        images(),
    ),
    "same padding, even window": lambda: (
        nn.Sequential(nn.Conv2d(3, 2, (2, 4), padding="same", bias=False), nn.Tanh(), *head(72)),
        images(),
    ),
    "groups and group norm": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 6, 3, groups=3, padding_mode="circular", padding=1), nn.GroupNorm(2, 6),
            nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.AdaptiveAvgPool2d(1), *head(6),
        ),
        images(),
    ),
    "batch norm in eval": lambda: (
        with_statistics(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), *head(16))
        ),
        images(),
    ),
    "one output": lambda: (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), *head(64, 1)), images(),
    ),
    "convolution over time": lambda: (
        nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv1d(4, 2, 2), *head(10)),
        normal(4, 3, 6),
    ),
    "several positions out": lambda: (
        nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2)),
        normal(4, 3, 4),
    ),
    "attention on tokens": lambda: (
        Module(
            attention, table=nn.Embedding(7, 8, padding_idx=0), place=normal(1, 4, 8),
            norm=nn.LayerNorm(8), first=nn.Linear(8, 24), second=nn.Linear(8, 8, bias=False),
            factor=normal(8), head=nn.Linear(8, 3),
        ),
        torch.arange(20).view(5, 4) % 7,
    ),
    "bilinear": lambda: (
        Module(lambda m, x: m.b(m.a(x, torch.tanh(x))), a=nn.Bilinear(3, 3, 4), b=nn.Linear(4, 2)),
        normal(5, 3),
    ),
    "residual": lambda: (
        Module(lambda m, x: m.c(x + m.b(torch.tanh(m.a(x)))), a=nn.Linear(4, 6),
               b=nn.Linear(6, 4), c=nn.Linear(4, 3)),
        normal(5, 4),
    ),
    "called twice": lambda: (
        Module(lambda m, x: m.b(m.a(torch.tanh(m.a(x))).flatten(1)),
               a=nn.Conv2d(3, 3, 3, padding=1), b=nn.Linear(108, 2)),
        images(),
    ),
    "weight shared by two kinds": lambda: (
        Module(lambda m, t: F.linear(torch.tanh(m.a(t)).mean(1), m.a.weight), a=nn.Embedding(7, 4)),
        torch.arange(12).view(4, 3) % 7,
    ),
    "frozen parts": lambda: (
        frozen(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), *head(64)),
            "0.weight", "1.bias", "4.bias",
        ),
        images(),
    ),
    "a hook on a layer": lambda: (hooked(), normal(5, 4)),
    "an unused parameter": lambda: (
        Module(lambda m, x: m.a(x), a=nn.Linear(4, 3), b=nn.Linear(4, 3)), normal(5, 4),
    ),
}  # fmt: skip
# Those that a recording must refuse.
OTHERS: dict[str, Case] = {
    "functional use": lambda: (
        Module(lambda m, x: m.a(x) @ m.w, a=nn.Linear(4, 3), w=normal(3, 2)), normal(5, 4),
    ),
    "a second, functional use": lambda: (
        Module(lambda m, x: m.a(x) * m.a.weight.sum(), a=nn.Linear(4, 3)), normal(5, 4),
    ),
    "weight norm": lambda: (
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Tanh()),
        normal(5, 4),
    ),
    "recurrent": lambda: (
        Module(lambda m, x: m.a(x)[0][:, -1], a=nn.RNN(4, 3, batch_first=True)),
        normal(3, 2, 4),
    ),
    "looks at values": lambda: (
        Module(lambda m, x: m.a(x) if x.sum() > 0 else 2 * m.a(x), a=nn.Linear(4, 3)),
        normal(5, 4),
    ),
    "samples meet in the inputs": lambda: (
        Module(lambda m, x: m.a(x - x.mean(0)), a=nn.Linear(4, 3)), normal(5, 4) + 1,
    ),
    "samples meet in the features": lambda: (
        Module(lambda m, x: m.b(torch.tanh(m.a(x)).cumsum(0)), a=nn.Linear(4, 3),
               b=nn.Linear(3, 2)),
        normal(5, 4),
    ),
    "samples meet without gradients": lambda: (
        Module(lambda m, x: m.a(x) * x.detach().std(0, correction=0).sum().exp(),
               a=nn.Linear(4, 3)),
        normal(5, 4),
    ),
    "no gradients inside": lambda: (
        Module(lambda m, x: m.b(torch.tanh(no_gradient(m.a, x))), a=nn.Linear(4, 3),
               b=nn.Linear(3, 2)),
        normal(5, 4),
    ),
}  # fmt: skip


def case_of(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    model, X = (RECORDED | OTHERS)[name]()
    return model.double(), X


def by_layers(model: nn.Module, X: Tensor, X2: Tensor | None = None, **options: object) -> Tensor:
    options = {"reduction": "full", "memory_budget": 2**30} | options
    recording = CheckedRecording(SampleFunction(model, None, "tangent_kernel"), X)
    return kernel_by_layers(recording, X, X2, **options)


@pytest.mark.parametrize("name", [*RECORDED, *OTHERS])
def test_every_module_gives_the_dense_kernel(name: str) -> None:
    model, X = case_of(name)
    expected = reference_kernel(model, X)
    value = tangent_kernel(model, X)
    assert_close(value, expected)
    assert torch.equal(value, value.permute(2, 3, 0, 1))
    assert_close(tangent_kernel(model, X, X[:2]), expected[:, :, :2])
    if name in RECORDED:
        assert_close(by_layers(model, X), expected)
    else:
        with pytest.raises(NotRecorded):
            by_layers(model, X)


@pytest.mark.parametrize("budget", [1, 20_000, 2**30])
@pytest.mark.parametrize(
    "name", ["convolutions", "attention on tokens", "called twice", "residual"]
)
def test_reductions_and_blocks(name: str, budget: int) -> None:
    model, X = case_of(name)
    X2 = X[:3].flip(0)
    for other in (None, X2):
        full = reference_kernel(model, X, other)
        trace = torch.einsum("iojo->ij", full)
        for reduction, expected in (
            ("full", full), ("trace", trace), ("mean_trace", trace / full.shape[1]),
        ):  # fmt: skip
            value = by_layers(model, X, other, reduction=reduction, memory_budget=budget)
            assert_close(value, expected)
    diagonal = torch.einsum("ioio->io", reference_kernel(model, X))
    assert_close(by_layers(model, X, reduction="diagonal", memory_budget=budget), diagonal)


@pytest.mark.parametrize("route", ["rows", "positions"])
@pytest.mark.parametrize("name", RECORDED)
def test_either_route_gives_the_same_kernel(
    name: str, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, X = case_of(name)
    planned = _layer_plan._route

    def forced(layer: object, n: int, k: int, **options: object) -> str:
        found = planned(layer, n, k, **options)  # type: ignore[arg-type]
        changes = found in ("rows", "positions") and options["weight"]
        return route if changes and layer.groups == 1 else found  # type: ignore[attr-defined]

    monkeypatch.setattr(_layer_plan, "_route", forced)
    for other in (None, X[:2]):
        full = reference_kernel(model, X, other)
        assert_close(by_layers(model, X, other), full)
        trace = by_layers(model, X, other, reduction="trace", memory_budget=20_000)
        assert_close(trace, torch.einsum("iojo->ij", full))


def test_images_of_many_positions() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.AvgPool2d(8), *head(8))
    X = normal(3, 1, 16, 16)
    assert_close(tangent_kernel(model, X.float()), reference_kernel(model, X))


@pytest.mark.parametrize("name", RECORDED)
def test_float32(name: str) -> None:
    model, X = case_of(name)
    expected = reference_kernel(model, X)
    X = X.float() if X.is_floating_point() else X
    assert_close(tangent_kernel(model.float(), X), expected)
    assert_close(tangent_kernel(model, X, dtype=torch.float32), expected)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)], (8, 16, 16)),
        ([nn.Conv2d(16, 8, (3, 5), padding=(1, 2), dilation=(2, 1))], (16, 9, 10)),
        ([nn.Conv2d(8, 8, 3), nn.Tanh(), nn.Conv2d(8, 16, 3, stride=(2, 1))], (8, 14, 14)),
        ([nn.Conv1d(8, 16, 9, stride=3, padding=4)], (8, 150)),
        ([nn.Conv3d(8, 8, 3, padding=1)], (8, 4, 8, 8)),
    ],
)
def test_few_channels_and_one_output_in_float32(
    layers: list[nn.Module], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows as the weight gradient of a grouped convolution, and through patches."""
    torch.manual_seed(3)
    width = nn.Sequential(*layers)(torch.zeros(1, *shape)).numel()
    model, X = nn.Sequential(*layers, nn.Tanh(), *head(width, 1)), normal(7, *shape).float()
    grouped: list[int] = []
    write = Matrix._write_grouped_rows

    def counted(layer: Matrix, *arguments: Tensor) -> None:
        grouped.append(1)
        write(layer, *arguments)

    monkeypatch.setattr(Matrix, "_write_grouped_rows", counted)
    expected = reference_kernel(model, X)
    assert_close(by_layers(model, X), expected)
    assert_close(by_layers(model, X, X[:2]), expected[:, :, :2])
    assert grouped
    monkeypatch.setattr(Matrix, "_is_faster_grouped", lambda _layer, _inputs: False)
    assert_close(by_layers(model, X), expected)


def test_one_sample() -> None:
    for name in ("convolutions", "attention on tokens", "several positions out"):
        model, X = case_of(name)
        assert_close(by_layers(model, X[:1]), reference_kernel(model, X[:1]))


def test_samples_in_another_dimension() -> None:
    model = Module(
        lambda m, x: m.b(torch.tanh(m.a(x.transpose(0, 1)))).mean(0),
        a=nn.Linear(4, 5), b=nn.Linear(5, 2),
    ).double()  # fmt: skip
    X = normal(3, 6, 4)
    assert_close(by_layers(model, X), reference_kernel(model, X))


def test_many_outputs_of_few_samples() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), *head(32, 40)).double()
    assert_close(by_layers(model, images(2)), reference_kernel(model, images(2)))


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_left_as_it_was(fails: bool) -> None:
    def run(m: Module, x: Tensor) -> Tensor:
        m.seen = m.a(x)
        if m.breaks:
            raise KeyError("broken")
        return m.b(torch.relu_(m.seen))

    model = Module(run, a=nn.Linear(4, 3), b=nn.Linear(3, 2)).double().train()
    model.breaks = fails
    X, state = normal(5, 4), torch.get_rng_state()
    before = {name: p.clone() for name, p in model.named_parameters()}
    attributes = set(vars(model))
    if fails:
        with pytest.raises(KeyError):
            tangent_kernel(model, X)
    else:
        tangent_kernel(model, X)
    assert set(vars(model)) == attributes
    assert model.training
    assert torch.equal(X, normal(5, 4))
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])
        assert p.requires_grad
        assert p.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_random_modules_are_refused() -> None:
    model = Module(lambda m, x: F.dropout(m.a(x), 0.5, training=True), a=nn.Linear(4, 3)).double()
    state = torch.get_rng_state()
    with pytest.raises(_errors.InputError, match="random"):
        tangent_kernel(model, normal(5, 4))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_chain_beyond_its_budget_goes_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    X = normal(9, 4)
    monkeypatch.setattr(_tangent_kernel, "kernel_of_stages", None)
    assert_close(tangent_kernel(model, X, memory_budget=3000), reference_kernel(model, X))


def test_works_where_gradients_are_off() -> None:
    model, X = case_of("convolutions")
    with torch.no_grad():
        assert_close(tangent_kernel(model, X), reference_kernel_with_gradients(model, X))


def reference_kernel_with_gradients(model: nn.Module, X: Tensor) -> Tensor:
    with torch.enable_grad():
        return reference_kernel(model, X)


def test_what_a_pass_keeps_of_a_sample_leaves_the_weights_out() -> None:
    """Autograd keeps transposed weights for a batch as well, once; they are no sample's."""
    model = Module(
        lambda m, x: m.out(x + m.inner(x)), inner=nn.Linear(64, 64), out=nn.Linear(64, 2)
    )
    recording = CheckedRecording(
        SampleFunction(model.double(), None, "tangent_kernel"), normal(3, 64)
    )
    assert recording.geometry.bytes_kept <= 8 * 3 * 64


def test_gradients_of_unlike_size_are_told_apart() -> None:
    model, X = case_of("residual")
    recording = CheckedRecording(SampleFunction(model, None, "tangent_kernel"), X)
    assert [layer.positions for layer in recording.layers] == [1, 1, 1]  # type: ignore[union-attr]
    assert recording.geometry.last == 2
