"""The rounding of a float64 run, against the recursion of the page with coarse constants.

With u = 2^-8, an underflow of 2^-12 and a library error of 2^-6 every term of the bound counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation.materials import Problem, chain
from tests.soundness.mutation.registry import Checker, add, case, demand, precision

UNIT, DUST, LIBRARY = 2.0**-8, 2.0**-12, 2.0**-6
SAMPLES = 5
NETS: dict[str, tuple[list[int], Any, dict[str, Any]]] = {
    "tanh": ([3, 4, 2], "tanh", {}),
    "sigmoid": ([3, 4, 2], "sigmoid", {}),
    "deep": ([2, 3, 4, 1], [("tanh", {}), ("sigmoid", {})], {}),
    "no bias": ([3, 4, 2], "tanh", {"bias": False}),
    "identity": ([3, 4, 2], "identity", {}),
    "frozen": ([3, 4, 3, 2], "tanh", {"frozen": ("0.weight", "2.bias")}),
    "frozen too": ([3, 4, 3, 2], "sigmoid", {"frozen": ("0.bias", "2.weight")}),
}
QUESTIONS = ((0.3, 0.7, 1.0, 0.5), (0.0, 0.2, 0.25, 2.0**-52), (1.5, 2.0, 3.0, 2.0**-50))
_problems: dict[str, Problem] = {}


def prepare() -> None:
    """Networks with weights of size one."""
    for name, (widths, function, options) in NETS.items():
        rng = np.random.default_rng(9)
        operations, weights = chain(rng, widths, function, **options)
        inputs = rng.normal(size=(4, widths[0]))
        _problems[name] = Problem(operations, weights, inputs, np.zeros((4, widths[-1])))


def gamma(count: int) -> float:
    """count u / (1 - count u)."""
    return count * UNIT / (1 - count * UNIT)


@dataclass
class Layer:
    """d_{l-1}, d_l, omega, Phi, |b|, R_l, R^b_l, lambda, and whether tanh, sigmoid or neither."""

    wide: int
    high: int
    omega: float
    phi: float
    bias: float | None
    moves: float
    shifts: float
    steep: float
    name: str
    weight_trains: bool
    bias_trains: bool
    output: float


def layers(problem: Problem, radius: float) -> list[Layer]:
    """The layers of a chain with at most one function behind each."""
    value, found = problem.inputs, []
    operations = [*problem.operations, {"kind": "linear"}]
    for at, item in enumerate(operations[:-1]):
        if item["kind"] != "linear":
            continue
        weight = problem.weights[item["weight"]]
        bias = problem.weights[item["bias"]] if item["bias"] else None
        behind = operations[at + 1]
        name = behind["function"] if behind["kind"] == "elementwise" else "identity"
        value = value @ weight.T + (0 if bias is None else bias)
        apply: Any = {"tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
        value = apply.get(name, lambda x: x)(value)
        found.append(Layer(
            weight.shape[1], weight.shape[0], float(np.linalg.norm(weight, 2)),
            float(np.linalg.norm(weight)), None if bias is None else float(np.linalg.norm(bias)),
            radius * item["weight_trainable"], radius * item["bias_trainable"],
            {"sigmoid": 0.25}.get(name, 1.0), name, item["weight_trainable"],
            item["bias_trainable"], float(np.linalg.norm(value, axis=1).max()),
        ))  # fmt: skip
    return found


def page(
    problem: Problem, radius: float, residual: float, two_c: float, step: float
) -> tuple[float, float]:
    """e and the largest magnitude, by the recursion of theory page T9."""
    chained = layers(problem, radius)
    first = float(np.linalg.norm(problem.inputs, axis=1).max())
    sizes, errors, eta, peak = [first], [0.0], 0.0, first
    for x in chained:
        h, a = sizes[-1], errors[-1]
        eta = x.steep * (
            x.omega * eta + radius * math.sqrt(x.weight_trains * h * h + x.bias_trains)
        )
        m = x.wide + (x.bias is not None)
        sums = (x.phi + x.moves) * (h + a) + (x.bias + x.shifts if x.bias is not None else 0)
        b = (x.omega + x.moves) * a + gamma(m) * sums + m * x.high * DUST
        sizes.append(x.output + eta)
        more = LIBRARY * (sizes[-1] + x.steep * b) + x.high * DUST if x.name != "identity" else 0.0
        errors.append(x.steep * b + more)
        peak = max(peak, sums)
    dust = DUST * (1 + 1 / two_c)
    root = math.sqrt(SAMPLES) * residual  # of sum_i |r_i|
    constant = (1 + gamma(6)) * errors[-1] + chained[-1].high * dust
    slope, back, blocks, exact = gamma(6), 1.0, 0.0, 0.0
    for level in range(len(chained) - 1, -1, -1):
        x, h, a, above = chained[level], sizes[level], errors[level], errors[level + 1]
        if x.name != "identity":
            t = above * (1 + above)
            if x.name == "tanh":
                t = above * (2 + above) + gamma(2) * (1 + (1 + above) ** 2) + DUST
            t += gamma(3) * (x.steep + t)
            constant = x.steep * constant + t * constant + x.high * dust
            slope = x.steep * slope + t * (back + slope)
            back *= x.steep
        cells, n = x.wide * x.high, SAMPLES
        if x.weight_trains:
            fixed = n * (constant * (h + a) * (1 + gamma(n)) + cells * dust)
            per = slope * (h + a) * (1 + gamma(n)) + back * (a + gamma(n) * (h + a))
            blocks += (fixed + per * root) ** 2
            exact += (root * back * h) ** 2
        if x.bias_trains:
            fixed, per = n * constant * (1 + gamma(n)), slope * (1 + gamma(n)) + back * gamma(n)
            blocks += (fixed + per * root) ** 2
            exact += (root * back) ** 2
        w, f = x.omega + x.moves, gamma(x.high) * (x.phi + x.moves)
        constant = w * constant + f * constant + cells * dust
        slope = w * slope + f * (back + slope)
        back *= w
        peak = max(peak, (x.phi + x.moves + 1) * (constant + (slope + back + 1) * residual))
    trained = [
        problem.weights[item[key]]
        for item in problem.linear() for key in ("weight", "bias")
        if item[f"{key}_trainable"]
    ]  # fmt: skip
    size = math.sqrt(sum(float((w * w).sum()) for w in trained))
    count = sum(w.size for w in trained)
    gradient = two_c * math.sqrt(blocks)
    stored = ((size + radius) * 2.0**-53 + 2 * count * DUST) / step
    total = gradient + stored + gamma(3) * (two_c * math.sqrt(exact) + gradient)
    return total, peak


@contextmanager
def coarse(checker: Checker, **more: Any) -> Iterator[Any]:
    """The module with coarse constants."""
    module = checker.rounding
    changes = {"gamma": lambda count: arb(gamma(count)), "DUST": arb(DUST),
               "LIBRARY": arb(LIBRARY)} | more  # fmt: skip
    kept = {name: getattr(module, name) for name in changes}
    try:
        for name, value in changes.items():
            setattr(module, name, value)
        yield module
    finally:
        for name, value in kept.items():
            setattr(module, name, value)


def made(checker: Checker, problem: Problem) -> Any:
    """The sizes at w0."""
    network = checker.network
    stages = network.stages_of(problem.operations, problem.weights)
    net = network.Network(stages, checker.arrays.exact(problem.inputs), np.ones(4, dtype=np.int64))
    return checker.rounding.Rounding(problem.operations, net, SAMPLES)


def _bound(name: str, checker: Checker) -> None:
    problem = _problems[name]
    with precision():
        sizes = made(checker, problem)
        for numbers in QUESTIONS:
            twin, peak = page(problem, *numbers)
            balls = [arb(x) for x in numbers]
            with coarse(checker):
                found = float(sizes.error(*balls))
            demand(abs(found / twin - 1) < 1e-7, f"{name}, {numbers}: {found} beside {twin}")
            limit = max(peak, twin, numbers[2], 1 / numbers[2], numbers[3])
            with coarse(checker, HUGE=arb(limit * (1 + 1e-7))):
                demand(sizes.error(*balls) < 1e300, "a bound where everything is small enough")
            with coarse(checker, HUGE=arb(limit * (1 - 1e-7))):
                demand(not sizes.error(*balls) < 1e300, "no bound where something is too large")


for _name in NETS:
    add(f"rounding: {_name}", partial(_bound, _name))


@case
def rounding_of_large_numbers(checker: Checker) -> None:
    """Each magnitude on its own may be too large; equality is too large."""
    problem = _problems["tanh"]
    with precision():
        sizes = made(checker, problem)
        usual = [0.1, 0.5, 1.0, 0.5]
        for at, value in ((0, 1e3), (1, 1e3), (2, 1e6), (2, 1e-6), (3, 1e6)):
            numbers = list(usual)
            numbers[at] = value
            balls = [arb(x) for x in numbers]
            twin, peak = page(problem, *numbers)
            limit = max(peak, twin, numbers[2], 1 / numbers[2], numbers[3])
            with coarse(checker, HUGE=arb(limit * (1 - 1e-7))):
                demand(not sizes.error(*balls) < 1e300, "too large")
            with coarse(checker, HUGE=arb(limit * (1 + 1e-7))):
                demand(sizes.error(*balls) < 1e300, "small enough")
        with coarse(checker, HUGE=arb(10) ** 6):
            numbers = [arb(x) for x in (0.0, 0.0, 1.0, 1e6)]
            demand(not sizes.error(*numbers) < 1e300, "equal is too large")


@case
def weights_are_rounded_when_stored(checker: Checker) -> None:
    """With a tiny step (|w0| + R) u / step is all that is left."""
    with precision():
        for name, problem in _problems.items():
            trained = [
                problem.weights[item[key]]
                for item in problem.linear() for key in ("weight", "bias")
                if item[f"{key}_trainable"]
            ]  # fmt: skip
            size = math.sqrt(sum(float((w * w).sum()) for w in trained))
            sizes = made(checker, problem)
            found = sizes.error(arb(0.5), arb(0.25), arb(1), arb(2) ** -73)
            demand(abs(float(found) / ((size + 0.5) * 2.0**20) - 1) < 1e-12, name)


@case
def constants_of_binary64(checker: Checker) -> None:
    """As the page of the format states the assumptions."""
    module = checker.rounding
    demand(arb(2) ** -50 == module.LIBRARY and arb(2) ** -1000 == module.DUST, "as assumed")
    demand(arb(2) ** 400 == module.HUGE, "far from overflow")
    with precision():
        for count in (1, 3, 2**20):
            found = module.gamma(count)
            demand(found.overlaps(arb(count) / (arb(2) ** 53 - count)), count)
            demand(float(found.rad()) < 1e-40 * count, found)
