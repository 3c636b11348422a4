"""Networks that can be certified, trained once per run."""

import copy

import numpy as np
import pytest
from generator import Draft, Problem, chain


def make(
    widths: list[int],
    functions: object = "tanh",
    samples: int = 6,
    repeats: int = 0,
    dtypes: dict[str, str] | None = None,
    seed: int = 0,
    goal: float = 1e-5,
    **options: object,
) -> Problem:
    """A trained problem; `repeats` rows of the data occur twice."""
    rng = np.random.default_rng(seed)
    operations, weights = chain(rng, widths, functions, **options)  # type: ignore[arg-type]
    inputs = rng.normal(size=(samples, widths[0]))
    targets = 0.3 * rng.normal(size=(samples, widths[-1]))
    problem = Problem(operations, weights, inputs, targets, dtypes or {})
    if dtypes:  # the targets are what the stored weights give, up to a little
        problem.rounded()
        problem.forward()
        problem.targets = problem.values + 1e-6 * rng.normal(size=targets.shape)
    else:
        problem.polish(goal)
    if repeats:
        problem.inputs = np.concatenate([problem.inputs, problem.inputs[:repeats]])
        problem.targets = np.concatenate([problem.targets, problem.targets[:repeats]])
    return problem


@pytest.fixture(scope="session")
def _trained() -> Draft:
    return Draft(make([4, 10, 1])).measure().conclude()


@pytest.fixture
def draft(_trained: Draft) -> Draft:
    """A small T11 certificate that every test may spoil."""
    result = copy.copy(_trained)
    result.claims = copy.deepcopy(_trained.claims)
    result.arrays = dict(_trained.arrays)
    result.counts = dict(_trained.counts)
    return result
