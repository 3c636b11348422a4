"""PolyakStep: the formula, the cap, and what it says when f_star is no lower bound."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from talweg._errors import InputError
from talweg.optim import PolyakStep
from talweg.theory import polyak_steps_converge


def weights(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_on_a_parabola_the_step_is_half_the_newton_step() -> None:
    """f = 3 w^2 + 2, f* = 2: (f - f*) / |f'|^2 = 3 w^2 / 36 w^2 = 1/12, so w halves."""
    w = weights(5.0)
    optimizer = PolyakStep([w], 2.0)
    for k in range(1, 6):
        optimizer.zero_grad()
        loss = (3 * w**2 + 2).sum()
        loss.backward()
        assert optimizer.step(loss=loss) is loss
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1 / 12, rel=1e-14)
        assert w.item() == pytest.approx(5.0 * 0.5**k, rel=1e-14)


def test_a_closure_does_the_same_as_a_loss() -> None:
    a, b = weights(1.0, -2.0), weights(1.0, -2.0)
    one, two = PolyakStep([a], 0.0, scale=2.0), PolyakStep([b], 0.0, scale=2.0)

    def f(w: torch.Tensor) -> torch.Tensor:
        return (w**4).sum() + w[0] ** 2

    def closure() -> torch.Tensor:
        one.zero_grad()
        loss = f(a)
        loss.backward()
        return loss

    for _ in range(5):
        one.step(closure)
        two.zero_grad()
        loss = f(b)
        loss.backward()
        two.step(loss=float(loss.detach()))
    assert torch.equal(a, b)


def test_groups_share_the_norm_and_keep_their_own_cap_and_scale() -> None:
    a, b, c = weights(1.0), weights(2.0), weights(2.0)
    optimizer = PolyakStep(
        [{"params": [a]}, {"params": [b], "max_step": 0.01}, {"params": [c], "scale": 4.0}], 0.0
    )
    loss = (0.5 * a**2 + 0.5 * b**2 + 0.5 * c**2).sum()  # 4.5, |grad|^2 = 9
    loss.backward()
    optimizer.step(loss=loss)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.5, 0.01, 0.125])
    assert [a.item(), b.item(), c.item()] == pytest.approx([0.5, 1.98, 1.75])


@pytest.mark.parametrize("f_star", [0.0, -1.0, -100.0])
def test_capped_steps_obey_the_theorem_with_any_lower_bound(f_star: float) -> None:
    """f = 1/2 sum h x^2, L = 4, mu = 1/2."""
    h = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    w = weights(3.0, -2.0, 1.0)
    c = polyak_steps_converge(10.0, 4.0, 0.5, max_step=0.25).conclusion
    assert c is not None
    optimizer = PolyakStep([w], f_star, max_step=0.25)
    before = math.inf
    for _ in range(60):
        optimizer.zero_grad()
        loss = 0.5 * (h * w**2).sum()
        assert float(loss.detach()) <= c.loss_rate_upper * before * (1 + 1e-12) or before < 1e-25
        before = float(loss.detach())
        loss.backward()
        optimizer.step(loss=loss)
        assert 0 < optimizer.param_groups[0]["lr"] <= 0.25
    assert before < 1e-3


def test_for_a_convex_loss_no_step_leads_away_from_the_minimiser() -> None:
    """f = sum |x|^1.5, the classical statement with f* = 0; the gradient is not Lipschitz."""
    w = weights(4.0, -1.0, 0.25)
    optimizer = PolyakStep([w], 0.0)
    distance = float(w.detach().norm())
    for _ in range(100):
        optimizer.zero_grad()
        loss = (w.abs() ** 1.5).sum()
        loss.backward()
        optimizer.step(loss=loss)
        now = float(w.detach().norm())
        assert now <= distance * (1 + 1e-12)
        distance = now


def test_a_wrong_lower_bound_is_named() -> None:
    w = weights(0.1)
    loss = (w**2).sum()
    loss.backward()
    with pytest.raises(InputError, match=r"`f_star` of PolyakStep\(\) must be a lower bound"):
        PolyakStep([w], 0.5).step(loss=loss)
    assert w.item() == 0.1
    optimizer = PolyakStep([w], 0.5, slack=0.5)
    optimizer.step(loss=loss)
    assert optimizer.param_groups[0]["lr"] == 0.0
    assert w.item() == 0.1


def test_a_critical_point_above_the_bound_stays() -> None:
    w = weights(0.0)
    loss = (w**2).sum() + 1.0
    loss.backward()
    optimizer = PolyakStep([w], 0.0)
    optimizer.step(loss=loss)
    assert w.item() == 0.0
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_tiny_gradients_do_not_overflow_silently() -> None:
    w = weights(1.0)
    w.grad = torch.tensor([1e-200], dtype=torch.float64)
    with pytest.raises(InputError, match="Set max_step"):
        PolyakStep([w], 0.0).step(loss=1.0)
    PolyakStep([w], 0.0, max_step=2.0).step(loss=1.0)
    assert w.item() == 1.0 - 2e-200


def test_a_state_dict_and_a_copy_keep_the_lower_bound() -> None:
    w = weights(1.0)
    optimizer = PolyakStep([w], -3.0, scale=2.0, max_step=0.7, slack=1e-6)
    other = PolyakStep([w], 5.0)
    other.load_state_dict(optimizer.state_dict())
    for one in (other, copy.deepcopy(optimizer)):
        assert one.state_dict()["polyak"] == {"f_star": -3.0, "slack": 1e-6}
        assert one.param_groups[0]["scale"] == 2.0
        assert one.param_groups[0]["max_step"] == 0.7
    with pytest.raises(InputError, match="polyak"):
        other.load_state_dict(torch.optim.SGD([w], lr=0.1).state_dict())


@pytest.mark.parametrize("name", ["f_star", "scale", "max_step", "slack"])
@pytest.mark.parametrize("bad", [math.nan, -math.inf, "1", None, True])
def test_bad_options_are_refused(name: str, bad: Any) -> None:
    options = {"f_star": 0.0, "scale": 1.0, "max_step": 1.0, "slack": 0.0, name: bad}
    with pytest.raises(InputError, match=f"`{name}` of PolyakStep"):
        PolyakStep([weights(1.0)], options.pop("f_star"), **options)


@pytest.mark.parametrize(("name", "bad"), [("scale", 0.0), ("max_step", -1.0), ("slack", -1e-9)])
def test_options_out_of_range_are_refused(name: str, bad: float) -> None:
    with pytest.raises(InputError, match=f"`{name}` of PolyakStep"):
        PolyakStep([weights(1.0)], 0.0, **{name: bad})
    if name != "slack":
        with pytest.raises(InputError, match=f"`{name}` of PolyakStep"):
            PolyakStep([{"params": [weights(1.0)], name: bad}], 0.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf, "1", True, torch.ones(2), 1j])
def test_bad_losses_are_refused(loss: Any) -> None:
    w = weights(1.0)
    w.grad = torch.ones_like(w)
    with pytest.raises(InputError, match="loss"):
        PolyakStep([w], 0.0).step(loss=loss)
    assert w.item() == 1.0


def test_the_loss_is_needed_exactly_once() -> None:
    w = weights(1.0)
    optimizer = PolyakStep([w], 0.0)
    w.grad = torch.ones_like(w)
    with pytest.raises(InputError, match="got neither"):
        optimizer.step()
    with pytest.raises(InputError, match="got both"):
        optimizer.step(lambda: 1.0, loss=1.0)
    with pytest.raises(InputError, match="one real number; got NoneType"):
        optimizer.step(lambda: None)
    w.grad = torch.tensor([math.inf], dtype=torch.float64)
    with pytest.raises(InputError, match="must be finite"):
        optimizer.step(loss=1.0)
