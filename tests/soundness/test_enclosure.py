"""A sample of the containment shards of the enclosures, and proof that they can fail."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tests.soundness.containment import (
    enclosure_ball,
    enclosure_directed,
    enclosure_elementwise,
    enclosure_interval,
    enclosure_layout,
    enclosure_matmul,
    enclosure_sentinel,
)
from tests.soundness.containment.record import QUESTIONS, answers

from talweg.enclosure import (
    Ball,
    Interval,
    _ball,
    _directed,
    _elementary,
    _elementwise,
    _matmul,
    _scalar,
    _sentinel,
)
from talweg.enclosure._pointwise import STANDARD

MODULES = (
    *(enclosure_ball, enclosure_directed, enclosure_elementwise, enclosure_interval),
    *(enclosure_layout, enclosure_matmul, enclosure_sentinel),
)
ROUTINES = sorted(s.name.removeprefix("containment/") for m in MODULES for s in m.SHARDS)


@pytest.mark.parametrize("routine", ROUTINES)
def test_no_question_is_answered_wrongly(routine: str) -> None:
    tally = answers(routine, 0, 1 if "pieces" in routine else 2)
    tally = tally if tally.cases else answers(routine, 1, 6)
    assert tally.violations == ()
    assert tally.tracebacks == ()
    assert tally.cases > 0
    assert routine in QUESTIONS


def _same(x: Any, *_: Any) -> Any:
    return x


def _smaller(rad: torch.Tensor) -> torch.Tensor:
    return rad.mul_(1.0 - 2.0**-50)


def _standard(kind: str, **changes: Any) -> dict[str, Any]:
    return STANDARD | {kind: dataclasses.replace(STANDARD[kind], **changes)}


NO_TURNS = ((), (), ())
FLAT = (0.5, 0.3, 0.3)
SABOTAGE: list[tuple[str, object, str, Any]] = [
    ("add_up", _directed, "step_", _same),
    ("sub_down", _directed, "step_", _same),
    ("mul_down", _directed, "step_", _same),
    ("div_up", _directed, "step_", _same),
    ("sqrt_up", _directed, "step_", _same),
    ("sqrt_down", _directed, "step_", _same),
    ("sum_upper", _directed, "gamma", lambda k: 0.0),
    ("sum_lower", _directed, "gamma", lambda k: 0.0),
    ("sum_nonnegative_upper", _directed, "growth", lambda k: 1.0 - 2.0**-52),
    ("norm_upper", _directed, "growth", lambda k: 1.0 - 2.0**-50),
    ("row_norms_upper", _directed, "growth", lambda k: 1.0 - 2.0**-50),
    ("matmul_upper", _directed, "growth", lambda k: 1.0 - 2.0**-51),
    ("gamma", _scalar, "div_up_float", lambda a, b: a / b),
    ("exact_float64", _directed, "_EXACT_DTYPES", (torch.int64, *_directed._EXACT_DTYPES)),
    ("Ball.add", _ball, "lift_", _smaller),
    ("Ball.sub", _ball, "lift_", _smaller),
    ("Ball.mul", _ball, "lift_", _smaller),
    ("Ball.div", _ball, "lift_", _smaller),
    ("Ball.sum", _directed, "gamma", lambda k: 0.0),
    ("Ball.square", _directed, "mul_up", torch.mul),
    ("Ball.sqrt", _directed, "sqrt_up", lambda x: x.sqrt() * (1.0 - 2.0**-51)),
    ("Ball.neg", Ball, "__neg__", _same),
    ("Ball.upper", _directed, "add_up", torch.add),
    ("Ball.lower", _directed, "sub_down", torch.sub),
    ("Ball.magnitude_upper", _directed, "add_up", torch.add),
    ("Ball.magnitude_lower", _directed, "sub_down", torch.sub),
    ("Ball.contains", torch, "sign", torch.zeros_like),
    ("Ball.inflate", _directed, "add_up", torch.add),
    ("Ball.symmetrized", _ball, "lift_", _smaller),
    ("Ball.from_bounds", _directed, "sub_up", torch.sub),
    ("Ball.T", Ball, "T", property(lambda self: self.reshape(self.shape[::-1]))),
    ("matmul", _directed, "gamma", lambda k: 0.0),
    ("matmul", _matmul, "lift_", _smaller),
    ("gram", _directed, "gamma", lambda k: 0.0),
    ("Interval.add", _scalar, "_sum_is_exact", lambda *_: True),
    ("Interval.mul", _scalar, "mul_up_float", lambda a, b: a * b),
    ("Interval.div", _scalar, "_ray_down", lambda a, b: a / b if b else -1e308),
    ("Interval.sqrt", _scalar, "sqrt_up_float", lambda a: a**0.5),
    ("Interval.square", Interval, "mignitude", property(lambda self: abs(self.lo))),
    ("enclose.exp.python-flint", _elementary, "_float_above", lambda x: float(x.mid())),
    ("elementwise.silu.crival.balls", _elementwise, "STANDARD", _standard("silu", turns=NO_TURNS)),
    ("elementwise.gelu.crival.balls", _elementwise, "STANDARD", _standard("gelu", sup=FLAT)),
    ("elementwise.tanh.crival.points", _elementwise, "TAIL_RADIUS", 0.0),
    ("elementwise.tanh.python-flint.balls", _elementwise, "STANDARD", _standard("tanh", tail=15.0)),
    ("elementwise.smooth_leaky_relu.crival.points", _elementwise, "LOG_2", Interval.point(0.69)),
    ("require_sound_arithmetic", _sentinel, "_multiplies_exactly", lambda device: True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("routine", "owner", "name", "fault"), SABOTAGE, ids=[f"{s[0]}-{s[2]}" for s in SABOTAGE]
)
def test_a_wrong_bound_is_found(
    routine: str, owner: object, name: str, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, fault)
    for seed in range(40):
        tally = answers(f"enclosure.{routine}", seed, 4)
        if tally.violations:
            return
    pytest.fail(f"nothing wrong was found in {routine}")
