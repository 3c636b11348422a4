"""What a recording is checked for, beyond the modules of `test_structured_kernel`."""

from __future__ import annotations

import pytest
import torch
from tests.network.test_structured_kernel import Module, case_of, normal
from tests.network.test_tangent_kernel import assert_close
from torch import Tensor, nn

from talweg.network._recorded_calls import NotRecorded
from talweg.network._recording_checks import CheckedRecording
from talweg.network._sample_jacobian import SampleFunction


def recording(model: nn.Module, X: Tensor) -> CheckedRecording:
    return CheckedRecording(SampleFunction(model.double(), None, "tangent_kernel"), X)


class Hidden(torch.autograd.Function):
    """Uses a weight where no torch function sees it: its values are those of the data alone."""

    @staticmethod
    def forward(_context: object, x: Tensor, _weight: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        wrong = torch.zeros(3, 4, dtype=gradient.dtype)
        wrong[1, 2] = gradient.sum()
        return gradient, wrong


@pytest.mark.parametrize("name", ["residual", "an unused parameter", "called twice"])
def test_a_pass_of_all_samples_serves_once(name: str) -> None:
    model, X = case_of(name)
    checked = recording(model, X[:2])
    first, second = (checked.forward(checked._X, slice(0, 2)) for _ in range(2))
    assert first is not second
    assert_close(first.values.detach(), second.values.detach())
    assert recording(model, X)._whole is None


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x - x.mean(0),
        lambda x: x.cumsum(0),
        lambda x: x.flip(0).cumsum(0),
        lambda x: x - x.max(0).values,
        lambda x: x * x.detach().std(0, correction=0).exp(),
        lambda x: x + x.flip(0) - x.flip(0).detach(),  # in the gradients alone
    ],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_samples_that_meet_are_refused(mix: object, place: str) -> None:
    def run(m: Module, x: Tensor) -> Tensor:
        if place == "before":
            return m.b(torch.tanh(m.a(mix(x))))  # type: ignore[operator]
        return m.b(mix(torch.tanh(m.a(x))))  # type: ignore[operator]

    model = Module(run, a=nn.Linear(4, 3), b=nn.Linear(3, 2))
    for n in (2, 5):
        with pytest.raises(NotRecorded):
            recording(model, normal(n, 4))


def test_a_use_that_no_function_shows_is_refused() -> None:
    """One entry of a weight's gradient is wrong: a random combination of columns tells."""
    model = Module(lambda m, x: Hidden.apply(m.a(x), m.a.weight), a=nn.Linear(4, 3))
    with pytest.raises(NotRecorded, match=r"a\.weight"):
        recording(model, normal(5, 4))


def test_a_buffer_that_counts_passes_does_not_reach_the_next_one() -> None:
    def run(m: Module, x: Tensor) -> Tensor:
        m.count = m.count + 1
        return m.a(x) * m.count

    model = Module(run, a=nn.Linear(4, 3))
    model.register_buffer("count", torch.ones(()))
    checked = recording(model, normal(5, 4))
    assert model.count == 1
    assert checked.outputs == 3
