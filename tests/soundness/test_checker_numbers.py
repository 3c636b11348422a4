"""A small batch of every shard about the checker, and proofs that the fuzz can fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from flint import arb
from tests.soundness.containment import (
    checker_activations,
    checker_file,
    checker_linear_algebra,
    checker_lipschitz,
    checker_losses,
    checker_network,
    checker_rounding,
    checker_theorems,
)
from tests.soundness.shard import Shard

MODULES = (
    checker_activations, checker_file, checker_linear_algebra, checker_lipschitz, checker_losses,
    checker_network, checker_rounding, checker_theorems,
)  # fmt: skip
SHARDS: Sequence[Shard] = [shard for module in MODULES for shard in module.SHARDS]


@pytest.mark.parametrize("shard", SHARDS, ids=lambda shard: shard.name)
def test_one_batch_finds_nothing(shard: Shard) -> None:
    tally = shard.batch(0)
    assert tally.cases > 50
    assert tally.violations == ()
    assert tally.tracebacks == ()


def _shrunk(balls: Any) -> Any:
    return np.frompyfunc(lambda x: x.abs_upper() * (1 - arb(2) ** -20), 1, 1)(balls)


def _named(name: str) -> Shard:
    return next(shard for shard in SHARDS if shard.name == f"containment/checker.{name}")


def _below(numbers: Any, bits: int) -> tuple[Any, int]:
    """Like `_whole_above`, but rounded down."""
    exponent = bits - int(np.frexp(numbers.max())[1])
    return np.floor(np.ldexp(numbers, exponent)), exponent


ALGEBRA = "talweg_check._linear_algebra"
SABOTAGE = [
    ("norm_upper", f"{ALGEBRA}.root_upper", lambda x: arb(0)),
    ("norm_upper", f"{ALGEBRA}._gram", lambda rows: np.zeros((len(rows), len(rows)), np.int64)),
    ("norm_upper", f"{ALGEBRA}._whole_norm_upper", lambda matrix: arb(int(abs(matrix).max()))),
    ("scaled_norms_upper", f"{ALGEBRA}.root_upper", lambda x: arb(0)),
    ("scaled_norms_upper", f"{ALGEBRA}._whole_above", _below),
    ("scaled_norms_upper", f"{ALGEBRA}.floats_above", lambda balls: abs(balls.astype(float))),
    ("perron_roots_upper", "talweg_check._linear_algebra.root_upper", lambda x: _shrunk(x) * 0),
    ("derivative_bounds", "talweg_check._activations.magnitude", _shrunk),
    ("rounding_error", "talweg_check._rounding.gamma", lambda count: arb(0)),
    ("rule_squared_T11", "talweg_check._claims.require", lambda holds, statement: None),
]


@pytest.mark.parametrize(
    ("name", "target", "wrong"), SABOTAGE,
    ids=[f"{name}-{target.rpartition('.')[2]}" for name, target, _ in SABOTAGE],
)  # fmt: skip
def test_a_wrong_bound_is_found(name: str, target: str, wrong: Any) -> None:
    with patch(target, wrong):
        tally = _named(name).batch(1)
    assert tally.violations
