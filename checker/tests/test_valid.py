"""Certificates that hold are confirmed."""

from pathlib import Path

import numpy as np
import pytest
from generator import Draft, Problem, make

from talweg_check import check

PROBLEMS = {
    "one output": lambda: make([4, 10, 1]),
    "three outputs": lambda: make([4, 12, 3]),
    "deep": lambda: make([4, 7, 7, 6, 1]),
    "three outputs, deep": lambda: make([4, 9, 8, 3]),
    "linear model": lambda: make([7, 1], samples=5),
    "no bias": lambda: make([6, 12, 1], bias=False),
    "first layer only": lambda: make([6, 12, 1], frozen=("2.weight", "2.bias")),
    "last layer only": lambda: make([6, 12, 1], frozen=("0.weight", "0.bias")),
    "middle frozen": lambda: make([6, 8, 8, 1], frozen=("2.weight", "2.bias")),
    "biases frozen": lambda: make([6, 8, 8, 1], frozen=("0.bias", "2.bias", "4.bias")),
    "scaled": lambda: make([4, 10, 1], scale=(3.0, 2.5)),
    "repeated rows": lambda: make([4, 12, 2], repeats=3),
    "mixed activations": lambda: make([4, 8, 8, 1], [("silu", {}), ("sin", {})]),
    "smooth leaky relu": lambda: make([5, 12, 1], [("smooth_leaky_relu", {"slope": 0.2})]),
    "softplus": lambda: make([5, 12, 1], [("softplus", {"beta": 2.0, "threshold": 20.0})]),
    **{
        name: lambda name=name: make([5, 14, 1], name, goal=1e-6)
        for name in ("sigmoid", "silu", "gelu", "gelu_tanh", "sin")
    },
    **{
        dtype: lambda dtype=dtype: make(
            [4, 10, 1], dtypes=dict.fromkeys(["weights/0.weight", "weights/2.bias"], dtype)
        )
        for dtype in ("F32", "F16", "BF16")
    },
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_networks(name: str, tmp_path: Path) -> None:
    problem = PROBLEMS[name]()
    verdict = check(str(Draft(problem).measure().conclude().save(tmp_path / "a.talweg")))
    assert (verdict.verdict, verdict.reason) == ("valid", "every claim is confirmed")


@pytest.mark.parametrize("scaling", ["mean", "sum", "half_sum"])
@pytest.mark.parametrize("theorem", ["T11", "T4", "T7"])
def test_theorems_and_scalings(theorem: str, scaling: str, tmp_path: Path) -> None:
    goal = 1e-2 if theorem == "T7" else 1e-5
    problem = make([4, 12, 1], goal=goal, seed=3)
    draft = Draft(problem, theorem, scaling).measure([1e-3])
    target = 0.3 * draft.r**2 * draft.coefficient if theorem == "T7" else None
    reach = 3 * draft.r / draft.sigma
    draft.measure([reach / 2, reach]).conclude(target=target)
    verdict = check(str(draft.save(tmp_path / "a.talweg")))
    assert (verdict.verdict, verdict.reason) == ("valid", "every claim is confirmed")


def test_the_certified_step_really_converges() -> None:
    """The generator's numbers describe what gradient descent does."""
    problem = make([4, 10, 1])
    draft = Draft(problem, scaling="sum").measure().conclude()
    step, gain = draft.claims["step_size"], draft.claims["one_minus_rate"]
    walk = Problem(problem.operations, dict(problem.weights), problem.inputs, problem.targets)
    losses = []
    for _ in range(200):
        residual = walk.residual()
        losses.append((residual**2).sum())
        walk.move(2 * step * residual)
    assert np.all(np.diff(losses) <= -gain * np.array(losses[:-1]) * (1 - 1e-6) + 1e-24)


def test_data_kept_elsewhere(tmp_path: Path) -> None:
    from talweg_check._cli import main

    draft = Draft(make([4, 10, 1])).measure().conclude()
    path = str(draft.save(tmp_path / "a.talweg", leave_out=("inputs", "targets")))
    np.save(tmp_path / "x.npy", draft.problem.inputs)
    np.save(tmp_path / "y.npy", draft.problem.targets)
    assert main([path]) == 3
    given = ["--inputs", str(tmp_path / "x.npy"), "--targets", str(tmp_path / "y.npy")]
    assert main([path, *given]) == 0
    np.save(tmp_path / "y.npy", draft.problem.targets * 2)
    assert main([path, *given]) == 1
