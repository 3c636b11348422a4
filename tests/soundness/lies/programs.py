"""Certificates by a program with one fault: what it computes of the network at w0 is too good.

A fault gives another problem than the one that is stored. Of the four claims about w0, each that it
makes stronger than the truth is planted alone, in its own lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
from flint import ctx
from generator import Draft, Problem, make
from tests.soundness.lies.drafts import concluded, copied, problem_with
from tests.soundness.lies.planted import INCOMPLETE, INVALID, Group

from talweg_check._arrays import PRECISION, exact
from talweg_check._lipschitz import JacobianLipschitz
from talweg_check._network import Network, merged, stages_of

MARGIN = 1e-5  # a fault that gains less is not planted; the builders pad by 1e-6
SHOWN = {
    "residual_norm_upper": "^disproved: residual_norm_upper ",
    "sigma_min_lower": "^disproved: sigma_min_lower ",
    "jacobian_norm_upper": "^disproved: jacobian_norm_upper ",
    "jacobian_lipschitz_upper": "^jacobian_lipschitz_upper is not confirmed at radius ",
}
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class AtStart:
    """What a program finds: residual norm, extreme singular values, betas at the listed radii."""

    r: float
    sigma: float
    jacobian: float
    betas: tuple[float, ...]


@lru_cache(maxsize=1)
def network() -> Draft:
    """Two outputs, repeated rows, three layers, two activations, a scale and two frozen parts."""
    problem = make(
        [4, 9, 9, 2], [("silu", {}), ("tanh", {})], samples=5, repeats=2, goal=1e-7,
        frozen=("3.weight", "0.bias"), scale=(3.0, 2.5),
    )  # fmt: skip
    bias = problem.linear()[-1]["bias"]  # a residual well above what floats lose
    problem.weights[bias] = problem.weights[bias] + 1e-6 * np.arange(1, 3)
    return Draft(problem).measure()


def found(problem: Problem, radii: list[float], merge: bool = True) -> AtStart:
    """What an honest program finds for this problem."""
    inputs, targets, counts = problem.inputs, problem.targets, np.ones(len(problem.inputs), int)
    if merge:
        inputs, targets, counts = merged(inputs, targets)
    small = Problem(problem.operations, problem.weights, inputs, targets)
    root = np.sqrt(counts)[:, None] * np.ones(targets.shape[1])
    spectrum = np.linalg.eigvalsh(root.ravel()[:, None] * small.kernel() * root.ravel())
    with ctx.workprec(PRECISION):
        stages = stages_of(problem.operations, problem.weights)
        bound = JacobianLipschitz(Network(stages, exact(inputs), counts))
        betas = tuple(float(bound.upper(radius).upper()) for radius in radii)
    r = float(np.linalg.norm(root * small.residual()))
    return AtStart(r, math.sqrt(max(spectrum[0], 0)), math.sqrt(spectrum[-1]), betas)


def _ops(draft: Draft, index: int, **fields: Any) -> Problem:
    problem = problem_with(draft)
    problem.operations[index] = problem.operations[index] | fields
    return problem


def _weights(draft: Draft, **changed: Array) -> Problem:
    problem = problem_with(draft)
    problem.weights |= {
        name.replace("_", "/", 1).replace("_", "."): w for name, w in changed.items()
    }
    return problem


def _every(draft: Draft, change: Callable[[Array], Array]) -> Problem:
    return problem_with(draft, weights={k: change(w) for k, w in draft.problem.weights.items()})


def _data(draft: Draft, rows: Any, name: str = "both") -> Problem:
    inputs, targets = draft.problem.inputs, draft.problem.targets
    return problem_with(
        draft, inputs=inputs if name == "targets" else inputs[rows],
        targets=targets if name == "inputs" else targets[rows],
    )  # fmt: skip


def _one_output(draft: Draft, kept: slice) -> Problem:
    problem = problem_with(draft, targets=draft.problem.targets[:, kept])
    last = problem.linear()[-1]
    for key in ("weight", "bias"):
        problem.weights[last[key]] = problem.weights[last[key]][kept]
    return problem


def _without(draft: Draft, kind: str) -> Problem:
    kept = [o for o in draft.problem.operations if o["kind"] != kind]
    return problem_with(draft, operations=kept)


def _stepped(draft: Draft) -> Problem:
    problem = problem_with(draft)
    problem.move(0.5 * problem.residual() / draft.jacobian**2)
    return problem


PROBLEMS: dict[str, Callable[[Draft], Problem]] = {
    "weight 0 left out of the kernel": lambda d: _ops(d, 0, weight_trainable=False),
    "weight 6 left out of the kernel": lambda d: _ops(d, 6, weight_trainable=False),
    "bias 3 left out of the kernel": lambda d: _ops(d, 3, bias_trainable=False),
    "bias 6 left out of the kernel": lambda d: _ops(d, 6, bias_trainable=False),
    "frozen weight counted as trained": lambda d: _ops(d, 3, weight_trainable=True),
    "frozen bias counted as trained": lambda d: _ops(d, 0, bias_trainable=True),
    "silu read as identity": lambda d: _ops(d, 2, function="identity"),
    "silu read as gelu": lambda d: _ops(d, 2, function="gelu"),
    "silu read as sin": lambda d: _ops(d, 2, function="sin"),
    "silu read as sigmoid": lambda d: _ops(d, 2, function="sigmoid"),
    "tanh read as identity": lambda d: _ops(d, 5, function="identity"),
    "tanh read as sigmoid": lambda d: _ops(d, 5, function="sigmoid"),
    "tanh read as silu": lambda d: _ops(d, 5, function="silu"),
    "scale upside down": lambda d: _ops(d, 1, numerator=2.5, denominator=3.0),
    "second scale upside down": lambda d: _ops(d, 4, numerator=2.5, denominator=3.0),
    "scale twice": lambda d: _ops(d, 1, numerator=9.0, denominator=6.25),
    "scales forgotten": lambda d: _without(d, "scale"),
    "activations forgotten": lambda d: _without(d, "elementwise"),
    "activation before scale": lambda d: problem_with(
        d, operations=[d.problem.operations[i] for i in (0, 2, 1, 3, 4, 5, 6)]),
    "biases read as zero": lambda d: _every(d, lambda w: w if w.ndim == 2 else 0 * w),
    "square weight transposed": lambda d: _weights(
        d, weights_3_weight=d.problem.weights["weights/3.weight"].T),
    "weights truncated to two decimals": lambda d: _every(d, lambda w: np.trunc(w * 100) / 100),
    "weights after a step": _stepped,
    "weights doubled": lambda d: _every(d, lambda w: 2 * w),
    "weights halved": lambda d: _every(d, lambda w: w / 2),
    "units of layer 0 reversed": lambda d: _weights(
        d, weights_0_weight=d.problem.weights["weights/0.weight"][::-1]),
    "first row left out": lambda d: _data(d, slice(1, None)),
    "last row left out": lambda d: _data(d, slice(None, 4)),
    "repeated rows left out": lambda d: _data(d, slice(None, 5)),
    "repeated rows counted three times": lambda d: _data(d, [0, 1, 2, 3, 4, 0, 1, 0, 1]),
    "every second row": lambda d: _data(d, slice(None, None, 2)),
    "rows of X reversed": lambda d: _data(d, [4, 3, 2, 1, 0, 4, 3], "inputs"),
    "last output left out": lambda d: _one_output(d, slice(None, 1)),
    "first output left out": lambda d: _one_output(d, slice(1, None)),
    "inputs centred": lambda d: problem_with(
        d, inputs=d.problem.inputs - d.problem.inputs.mean(axis=0)),
    "inputs normalised": lambda d: problem_with(
        d, inputs=d.problem.inputs / np.linalg.norm(d.problem.inputs, axis=1, keepdims=True)),
    "inputs tenfold": lambda d: problem_with(d, inputs=10 * d.problem.inputs),
    "features reversed": lambda d: problem_with(d, inputs=d.problem.inputs[:, ::-1]),
    "targets are what the network says": lambda d: problem_with(
        d, targets=d.problem.residual() * 0.5 + d.problem.targets),
}  # fmt: skip

# Which claims a fault strengthens: residual norm, smallest and largest singular value, betas.
STRONGER: dict[str, str] = {
    "weight 0 left out of the kernel": "jb", "weight 6 left out of the kernel": "jb",
    "bias 3 left out of the kernel": "jb", "bias 6 left out of the kernel": "j",
    "frozen weight counted as trained": "s", "frozen bias counted as trained": "s",
    "silu read as identity": "s", "silu read as gelu": "s", "silu read as sin": "sj",
    "silu read as sigmoid": "jb", "tanh read as identity": "sb", "tanh read as sigmoid": "jb",
    "tanh read as silu": "jb", "scale upside down": "jb", "second scale upside down": "jb",
    "scale twice": "s", "scales forgotten": "jb", "activations forgotten": "sb",
    "activation before scale": "jb", "biases read as zero": "j", "square weight transposed": "j",
    "weights truncated to two decimals": "jb", "weights after a step": "r",
    "weights doubled": "s", "weights halved": "jb", "units of layer 0 reversed": "j",
    "first row left out": "rjb", "last row left out": "rjb", "repeated rows left out": "rjb",
    "repeated rows counted three times": "s", "every second row": "rsjb",
    "rows of X reversed": "jb", "last output left out": "rsjb", "first output left out": "rsjb",
    "inputs centred": "sjb", "inputs normalised": "jb", "inputs tenfold": "s",
    "features reversed": "j", "targets are what the network says": "r",
}  # fmt: skip
LETTERS = dict(zip("rsjb", SHOWN, strict=True))


@cache
def _truth() -> AtStart:
    draft = network()
    return found(draft.problem, [radius for radius, _ in draft.profile])


@cache
def _told(name: str) -> AtStart:
    draft = network()
    return found(PROBLEMS[name](draft), [radius for radius, _ in draft.profile])


def _stronger(truth: AtStart, told: AtStart) -> list[str]:
    """The claims that a program strengthens."""
    better = {
        "residual_norm_upper": 0 < told.r < truth.r * (1 - MARGIN),
        "sigma_min_lower": told.sigma > truth.sigma * (1 + MARGIN),
        "jacobian_norm_upper": told.jacobian < truth.jacobian * (1 - MARGIN),
        "jacobian_lipschitz_upper": told.betas[-1] > 0
        and any(a < b * (1 - MARGIN) for a, b in zip(told.betas, truth.betas, strict=True)),
    }
    return [claim for claim, holds in better.items() if holds]


def planted(base: Callable[[], Draft], told: Callable[[], AtStart], claim: str) -> Draft:
    """A certificate with one of the claims as the program tells it."""
    draft, said = copied(base()), told()
    if claim == "residual_norm_upper":
        draft.r = said.r
    elif claim == "sigma_min_lower":
        draft.sigma = said.sigma
    elif claim == "jacobian_norm_upper":
        draft.jacobian = said.jacobian
    else:
        draft.profile = [
            [radius, beta] for (radius, _), beta in zip(draft.profile, said.betas, strict=True)
        ]
    return concluded(draft)


def networks(seed: int) -> Group:
    """Another problem than the one stored; the seed is not used."""
    del seed
    group = Group("programs", {"": lambda: concluded(copied(network()))})
    for name, letters in STRONGER.items():
        for claim in (LETTERS[letter] for letter in letters):
            verdict = INCOMPLETE if claim == "jacobian_lipschitz_upper" else INVALID
            group.add(f"{name}: {claim}", partial(_planted, name, claim), SHOWN[claim], verdict)
    return group


def _planted(name: str, claim: str) -> Draft:
    if claim not in _stronger(_truth(), _told(name)):
        raise ValueError(f"the fault {name!r} makes no stronger {claim}")
    return planted(network, partial(_told, name), claim)
