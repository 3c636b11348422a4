"""A kernel prepared once: the present weights' kernel, and anew where the calls are others."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.network.test_structured_kernel import (
    OTHERS,
    RECORDED,
    Module,
    case_of,
    images,
    normal,
)
from tests.network.test_tangent_kernel import assert_close, chain, reference_kernel
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from talweg import TangentKernel, _errors, tangent_kernel
from talweg.network import _tangent_kernel
from talweg.network._recording_checks import CheckedRecording

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of samples of the recordings that were checked, in order."""
    seen: list[int] = []

    class Counted(CheckedRecording):
        def __init__(self, function: object, X: Tensor) -> None:
            seen.append(len(X))
            super().__init__(function, X)  # type: ignore[arg-type]

    monkeypatch.setattr(_tangent_kernel, "CheckedRecording", Counted)
    return seen


def moved(model: nn.Module) -> None:
    """A step in place, as an optimiser makes it."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("name", [*RECORDED, *OTHERS])
def test_every_module_gives_the_kernel_of_its_present_weights(name: str, checks: list[int]) -> None:
    model, X = case_of(name)
    kernel = TangentKernel(model, X[:2])
    for _ in range(2):
        assert_close(kernel(X), reference_kernel(model, X))
        assert_close(kernel(X, X[:3]), reference_kernel(model, X, X[:3]))
        value = kernel(X)
        assert torch.equal(value, value.permute(2, 3, 0, 1))
        moved(model)
    if name in RECORDED:
        assert checks == [2]


@pytest.mark.parametrize("reduction", ["full", "trace", "mean_trace", "diagonal"])
def test_reductions_budgets_and_dtypes(reduction: str) -> None:
    model, X = case_of("convolutions")
    for options in ({}, {"memory_budget": 20_000}):
        value = TangentKernel(model, X[:2])(X, reduction=reduction, **options)
        assert torch.equal(value, tangent_kernel(model, X, reduction=reduction, **options))
    model.float()
    kernel = TangentKernel(model, X[:2], dtype=torch.float64)
    assert_close(kernel(X), reference_kernel(model, X))
    assert next(model.parameters()).dtype == torch.float32


def test_chains_are_read_at_every_evaluation(checks: list[int]) -> None:
    model, X = chain(5, 7, 3).double(), normal(6, 5)
    kernel = TangentKernel(model, X[:2])
    moved(model)
    assert_close(kernel(X), reference_kernel(model, X))
    model[2] = nn.Linear(7, 4).double()
    assert_close(kernel(X), reference_kernel(model, X))
    assert not checks
    model.append(nn.LayerNorm(4).double())  # no longer a plain chain
    assert_close(kernel(X), reference_kernel(model, X))
    assert checks == [6]


def test_parameters_replaced_are_seen(checks: list[int]) -> None:
    model, X = case_of("convolutions")
    kernel = TangentKernel(model, X[:2])
    before = kernel(X)
    model[0].weight = nn.Parameter(2 * model[0].weight.detach())
    assert_close(kernel(X), reference_kernel(model, X))
    model.load_state_dict({name: 0.5 * value for name, value in model.state_dict().items()})
    assert_close(kernel(X), reference_kernel(model, X))
    assert not torch.equal(kernel(X), before)
    assert checks == [2]


def test_what_is_compared_prepares_anew(checks: list[int]) -> None:
    def run(m: Module, x: Tensor) -> Tensor:
        hidden = torch.tanh(m.a(x)) if m.bounded else m.a(x)
        return m.b(m.drop(hidden))

    model = Module(run, a=nn.Linear(4, 6), b=nn.Linear(6, 3), drop=nn.Dropout(0.0)).double()
    model.bounded, X = True, normal(5, 4)
    kernel = TangentKernel(model, X[:2])
    assert_close(kernel(X), reference_kernel(model, X))
    changes = [
        lambda: model.a.bias.requires_grad_(False),
        lambda: model.a.bias.requires_grad_(True),
        lambda: setattr(model, "bounded", False),  # another function, the same calls
        lambda: model.eval(),
        lambda: setattr(model, "b", nn.Linear(6, 2).double()),
        lambda: model.a.register_forward_hook(lambda _m, _i, output: 2 * output),
    ]
    for count, change in enumerate(changes, start=2):
        change()
        for _ in range(2):
            assert_close(kernel(X), reference_kernel(model, X))
        assert len(checks) == count


def test_samples_of_another_shape_prepare_anew(checks: list[int]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    kernel = TangentKernel(model, images(2))
    X = normal(3, 3, 8, 5)
    assert_close(kernel(X), reference_kernel(model, X))
    assert_close(kernel(images(3)), reference_kernel(model, images(3)))
    assert checks == [2, 3, 3]


def test_a_branch_that_comes_to_mix_samples_is_seen() -> None:
    def run(m: Module, x: Tensor) -> Tensor:
        y = m.a(x)
        return y + y.mean(0) if m.mixes else y

    model = Module(run, a=nn.Linear(4, 3)).double()
    model.mixes, X = False, normal(5, 4)
    kernel = TangentKernel(model, X)
    assert_close(kernel(X), reference_kernel(model, X))
    model.mixes = True
    assert_close(kernel(X), tangent_kernel(model, X))
    model.mixes = False
    assert_close(kernel(X), reference_kernel(model, X))


def test_one_sample_tells_nothing_of_several(checks: list[int]) -> None:
    model, X = case_of("convolutions")
    kernel = TangentKernel(model, X[:1])
    assert_close(kernel(X[:1]), reference_kernel(model, X[:1]))
    assert checks == [1]
    assert_close(kernel(X), reference_kernel(model, X))
    assert checks == [1, 5]
    assert_close(kernel(X[:1]), reference_kernel(model, X[:1]))
    assert checks == [1, 5]


def test_no_tensor_is_held() -> None:
    """So neither weights that were replaced nor the graph of a pass outlive an evaluation."""
    model, X = case_of("residual")
    kernel = TangentKernel(model, X)
    kernel(X)
    waiting, seen = [kernel._prepared], 0
    while waiting:
        one = waiting.pop()
        seen += 1
        assert not isinstance(one, Tensor | GradientEdge)
        if isinstance(one, list | tuple | set):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif type(one).__module__.startswith("talweg"):
            waiting.extend(vars(one).values())
    assert seen > 50


@pytest.mark.parametrize("name", ["convolutions", "residual"])
def test_the_module_is_left_as_it_was(name: str) -> None:
    model, X = case_of(name)
    kernel, state = TangentKernel(model, X), torch.get_rng_state()
    before = [(name, p, p.clone()) for name, p in model.named_parameters()]
    value = kernel(X)
    assert not value.requires_grad
    for (name, p), (name_before, same, copy) in zip(model.named_parameters(), before, strict=True):
        assert name == name_before
        assert p is same
        assert p.grad is None
        assert torch.equal(p, copy)
    assert torch.equal(torch.get_rng_state(), state)


def test_misuse_is_refused() -> None:
    model, X = case_of("residual")
    kernel = TangentKernel(model, X)
    dropping = Module(lambda m, x: F.dropout(m.a(x), training=m.drops), a=nn.Linear(4, 3)).double()
    dropping.drops = True
    frozen = Module(lambda m, x: m.a(x), a=nn.Linear(4, 3)).double().requires_grad_(False)
    cases = [
        ("at least one sample", lambda: TangentKernel(model, X[:0])),
        ("at least one sample", lambda: TangentKernel(chain(4, 3), X[:0].float())),
        ("dtype of the parameters", lambda: TangentKernel(chain(4, 3), X)),
        ("floating dtype", lambda: TangentKernel(model, X, dtype=torch.int64)),
        ("trainable", lambda: TangentKernel(frozen, X)),
        ("random", lambda: TangentKernel(dropping, X)),
        ("dtype of the parameters", lambda: kernel(X.float())),
        ("finite", lambda: kernel(X * float("nan"))),
        ("reduction", lambda: kernel(X, reduction="mean")),  # type: ignore[arg-type]
        ("every sample with itself", lambda: kernel(X, X, reduction="diagonal")),
        ("memory_budget", lambda: kernel(X, memory_budget=0)),
    ]
    for message, call in cases:
        with pytest.raises(_errors.InputError, match=message) as caught:
            call()
        assert "of TangentKernel: " in str(caught.value)


def test_draws_that_begin_later_are_refused() -> None:
    model = Module(lambda m, x: F.dropout(m.a(x), training=m.drops), a=nn.Linear(4, 3)).double()
    model.drops, X = False, normal(5, 4)
    kernel = TangentKernel(model, X)
    model.drops = True
    with pytest.raises(_errors.InputError, match="random"):
        kernel(X)
