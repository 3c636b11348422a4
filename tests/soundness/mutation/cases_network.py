"""Networks against NumPy, the Lipschitz bound against its naive twin, rounding against the page."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation.cases_rules import touching
from tests.soundness.mutation.materials import Problem, attack, chain, lipschitz, second_derivative
from tests.soundness.mutation.registry import Checker, add, case, demand, precision, refused

NETS: dict[str, tuple[list[int], Any, dict[str, Any]]] = {
    "two layers": ([3, 5, 1], "tanh", {}),
    "three outputs": ([3, 4, 3], "sigmoid", {}),
    "no bias": ([3, 5, 1], "gelu", {"bias": False}),
    "first only": ([3, 5, 2], "tanh", {"frozen": ("2.weight", "2.bias")}),
    "last only": ([3, 5, 2], "tanh", {"frozen": ("0.weight", "0.bias")}),
    "weight frozen": ([3, 5, 2], "silu", {"frozen": ("2.weight",)}),
    "biases frozen": ([3, 4, 3, 1], "tanh", {"frozen": ("0.bias", "2.bias", "4.bias")}),
    "first bias only": ([3, 4, 3, 1], "tanh", {"frozen": ("0.weight", "2.bias")}),
    "three layers": ([3, 4, 5, 2], "tanh", {}),
    "middle frozen": ([3, 4, 5, 2], "sigmoid", {"frozen": ("2.weight", "2.bias")}),
    "two of three": ([3, 4, 5, 2], "tanh", {"frozen": ("4.weight", "4.bias")}),
    "outer of three": ([3, 4, 5, 1], "sigmoid", {"frozen": ("2.weight", "2.bias")}),
    "four layers": ([2, 3, 3, 3, 1], "tanh", {}),
    "sines": ([2, 3, 3, 1], "sin", {}),
    "second bias": ([3, 4, 3, 1], "tanh", {"frozen": ("2.weight",)}),
    "biases below": ([3, 4, 3, 1], "tanh", {"frozen": ("0.weight", "2.weight")}),
    "biases of two": ([3, 4, 3, 1], "tanh", {"frozen": ("0.weight", "0.bias", "2.weight")}),
    "curved output": ([3, 4, 2], "tanh", {"last": "sigmoid"}),
    "curved outputs": ([2, 3, 3, 2], "tanh", {"last": "tanh"}),
    "curved, one layer": ([3, 2], "tanh", {"last": "tanh"}),
    "curved, bias": ([3, 4, 2], "sigmoid", {"last": "tanh", "frozen": ("2.weight",)}),
    "linear": ([2, 3, 3, 1], "identity", {}),
    "linear first": ([2, 3, 3, 1], [("identity", {}), ("tanh", {})], {}),
    "linear last": ([2, 3, 3, 1], [("tanh", {}), ("identity", {})], {}),
}  # fmt: skip
RADII = (1e-9, 0.05, 0.7)
COUNTS = np.array([1, 3, 1, 2])
_problems: dict[str, Problem] = {}
_twins: dict[str, list[float]] = {}


def prepare() -> None:
    """The twins, which are dense and slow."""
    for name, (widths, function, options) in NETS.items():
        rng = np.random.default_rng(4)
        last = {key: value for key, value in options.items() if key == "last"}
        others = {key: value for key, value in options.items() if key != "last"}
        operations, weights = chain(rng, widths, function, **others)
        for function in last.values():
            operations.append({"kind": "elementwise", "function": function, "parameters": {}})
        weights = {key: 2 * value for key, value in weights.items()}
        inputs = rng.normal(size=(4, widths[0]))
        problem = Problem(operations, weights, inputs, np.zeros((4, widths[-1])))
        _problems[name] = problem
        _twins[name] = [lipschitz(problem, COUNTS, radius) for radius in RADII]


def network(checker: Checker, problem: Problem, counts: Any = COUNTS) -> Any:
    """As the checker builds it."""
    stages = checker.network.stages_of(problem.operations, problem.weights)
    return checker.network.Network(stages, checker.arrays.exact(problem.inputs), counts)


def _lipschitz(name: str, checker: Checker) -> None:
    with precision():
        bound = checker.lipschitz.JacobianLipschitz(network(checker, _problems[name]))
        for radius, twin in zip(RADII, _twins[name], strict=True):
            found = float(bound.upper(radius))
            demand(twin * (1 - 1e-7) <= found <= twin * (1 + 5e-3) + 1e-9,
                   f"{name}, radius {radius}: {found} beside {twin}")  # fmt: skip


def _kernel(name: str, checker: Checker) -> None:
    problem = _problems[name]
    root = np.sqrt(np.repeat(COUNTS, problem.targets.shape[1]))
    expected = root[:, None] * problem.kernel() * root
    with precision():
        net = network(checker, problem)
        for block in (None, 1, 3):
            found = net.kernel() if block is None else net.kernel(block)
            close = np.abs(checker.arrays.approx(found) - expected)
            demand((close <= 1e-12 * np.abs(expected).max()).all(), f"kernel, block {block}")
            demand(all(x.rad() < 1e-25 for x in found.ravel()), "a wide kernel")


for _name in NETS:
    add(f"lipschitz: {_name}", partial(_lipschitz, _name))
    add(f"kernel: {_name}", partial(_kernel, _name))


@case
def rough_norms_of_units(checker: Checker) -> None:
    """For one sample the rough bound is the norm, so nothing may be missing from it."""
    module = checker.lipschitz
    for name, layer in (("two layers", 1), ("three layers", 1), ("three layers", 2)):
        problem = _problems[name]
        one = Problem(problem.operations, problem.weights, problem.inputs[:1], problem.targets[:1])
        with precision():
            net = network(checker, one, np.array([3]))
            at = module._AtRadius(module.JacobianLipschitz(net), arb(0.75))
            units = at._product_units(layer)
            rough = list(units.bounds)
            for j, bound in enumerate(rough):
                units.sharpen(j)
                sharp = units.bounds[j]
                demand(bound >= sharp * (1 - 1e-6) and bound <= sharp * (1 + 1e-6), (bound, sharp))


@case
def overlaps_of_rows(checker: Checker) -> None:
    """(|<h, h'>| + e |h'| + |h| e' + e e')^2, whole and in pieces."""
    problem, module = _problems["two layers"], checker.network
    x = np.concatenate([problem.inputs, np.ones((4, 1))], axis=1)
    change = np.array([0.5, 0.0, 1.5, 0.25])
    size = np.linalg.norm(x, axis=1)
    moved = np.outer(change, size) + np.outer(size, change) + np.outer(change, change)
    expected = (np.abs(x @ x.T) + moved) ** 2
    kept = module.ROWS
    try:
        with precision():
            for rows in (kept, 1, 2, 3):
                module.ROWS = rows
                found = network(checker, problem).squared_overlaps(1, checker.arrays.exact(change))
                demand(found.shape == (4, 4) and found.dtype == np.float64, found.shape)
                demand((np.abs(found / expected - 1) < 1e-12).all(), f"{rows} rows at once")
    finally:
        module.ROWS = kept


@case
def curvature_is_not_forgotten(checker: Checker) -> None:
    """A stage is curved if any of its functions is."""
    rng = np.random.default_rng(8)
    operations, weights = chain(rng, [3, 4, 2], "tanh")
    straight = [{"kind": "scale", "numerator": 3.0, "denominator": 2.0},
                {"kind": "elementwise", "function": "identity", "parameters": {}}]  # fmt: skip
    for item in straight:
        several = [*operations[:2], item, *operations[2:]]
        stages = checker.network.stages_of(several, weights)
        demand([stage.curved for stage in stages] == [False, True, False], "curved stages")
        stages = checker.network.stages_of([operations[0], item, *operations[2:]], weights)
        demand([stage.curved for stage in stages] == [False, False, False], "straight stages")


@case
def residuals_with_multiplicities(checker: Checker) -> None:
    problem = _problems["three outputs"]
    targets = np.arange(12.0).reshape(4, 3)
    problem.forward()
    expected = float((COUNTS[:, None] * (problem.values - targets) ** 2).sum())
    with precision():
        found = network(checker, problem).squared_residual(checker.arrays.exact(targets))
        demand(abs(float(found) / expected - 1) < 1e-13, found)


@case
def merging(checker: Checker) -> None:
    merged, invalid = checker.network.merged, checker.verdict.Invalid
    inputs = np.array([[1.0, 0.0], [2.0, 3.0], [1.0, -0.0], [2.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    targets = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [1.0, 2.0]])
    x, y, counts = merged(inputs, targets)
    demand(x.tolist() == [[1, 0], [2, 3], [0, 1]], x)
    demand(y.tolist() == [[1, 2], [3, 4], [1, 2]] and counts.tolist() == [3, 2, 1], (y, counts))
    demand(counts.dtype == np.int64, counts.dtype)
    targets[4, 1] = 5
    refused(lambda: merged(inputs, targets), invalid,
            "rows 0 and 4 have equal inputs and different targets")  # fmt: skip
    labels = np.array([0, 1, 0, 1, 0, 2])
    demand(merged(inputs, labels)[1].tolist() == [0, 1, 2], "labels")
    labels[3] = 0
    refused(lambda: merged(inputs, labels), invalid,
            "rows 1 and 3 have equal inputs and different targets")  # fmt: skip


@case
def functions_of_the_data(checker: Checker) -> None:
    """Operations before the first layer belong to the data; those behind the last to the output."""
    rng = np.random.default_rng(8)
    operations, weights = chain(rng, [3, 4, 2], "tanh")
    for at, name in ((0, "tanh"), (len(operations) + 1, "sigmoid")):
        operations.insert(at, {"kind": "elementwise", "function": name, "parameters": {}})
    problem = Problem(operations, weights, rng.normal(size=(4, 3)), np.zeros((4, 2)))
    root = np.sqrt(np.repeat(COUNTS, 2))
    expected = root[:, None] * problem.kernel() * root
    with precision():
        net = network(checker, problem)
        demand([stage.curved for stage in net.stages] == [False, True, True], "curved stages")
        found = checker.arrays.approx(net.kernel())
        demand(np.abs(found - expected).max() < 1e-12 * np.abs(expected).max(), "the kernel")
        small = float(checker.lipschitz.JacobianLipschitz(net).upper(1e-9))
        tensor = root[:, None, None] * second_derivative(problem)
        lower = attack(tensor, rng, 3)
        demand(lower * (1 - 1e-6) <= small <= 6 * lower, (lower, small))


@case
def zero_sum_directions(checker: Checker) -> None:
    """The kernel of a cross-entropy, on vectors that sum to zero."""
    problem = _problems["three outputs"]
    for smoothing in ("0x0.0p+0", "0x1.0000000000000p-3"):
        stated = {"kind": "cross_entropy", "scaling": "sum", "label_smoothing": smoothing}
        loss = checker.losses.loss(stated, {"samples": 4, "outputs": 3})
        with precision():
            frame = checker.arrays.approx(loss.frame)
            demand(np.abs(frame.sum(1)).max() < 1e-15, "zero sums")
            demand(np.abs(frame @ frame.T - np.eye(2)).max() < 1e-15, "orthonormal")
            stages = checker.network.stages_of(problem.operations, problem.weights)
            inputs = checker.arrays.exact(problem.inputs)
            net = checker.network.Network(stages, inputs, COUNTS, loss.frame)
            found = checker.arrays.approx(net.kernel())
        whole = np.kron(np.diag(np.sqrt(COUNTS)), frame)
        expected = whole @ problem.kernel() @ whole.T
        demand(np.abs(found - expected).max() < 1e-12 * np.abs(expected).max(), "the kernel")


@case
def entropies(checker: Checker) -> None:
    """Summed losses and divergences at given outputs, tight on both sides."""
    from types import SimpleNamespace

    outputs = np.array([[0.5, -1.25, 2.0], [0.0, 0.0, 0.0], [-3.0, 1.0, 0.25]])
    labels, counts = np.array([2, 0, 1]), [1, 3, 2]
    with precision():
        exact = checker.arrays.exact
        net = SimpleNamespace(h=[None, exact(outputs)], counts=exact(np.array(counts)))
        for smoothing in ("0x0.0p+0", "0x1.0000000000000p-3", "0x1.0000000000000p+0"):
            stated = {"kind": "cross_entropy", "scaling": "mean", "label_smoothing": smoothing}
            loss = checker.losses.loss(stated, {"samples": 6, "outputs": 3})
            a = arb(float.fromhex(smoothing))
            total = arb(0)
            for row, label, count in zip(outputs.tolist(), labels.tolist(), counts, strict=True):
                weights = [arb(z).exp() for z in row]
                for c in range(3):
                    q = a / 3 + ((1 - a) if c == label else 0)
                    p = weights[c] / sum(weights)
                    if a > 0:
                        total += count * q * (q / p).log()
                    elif c == label:
                        total -= count * p.log()
            name = "initial_gap_upper" if a > 0 else "initial_loss_upper"
            near = float(total)
            up = near * (1 + 1e-15)
            demand(loss.doubts(net, labels, {name: up}) == [], "a true claim is doubted")
            words = f"disproved: {name} is below its value at the stored weights"
            refused(
                lambda n=name, x=near, f=loss: f.doubts(  # type: ignore[misc]
                    net, labels, {n: x * (1 - 1e-15)}
                ),
                checker.verdict.Invalid,
                words,
            )
    net.h[1] = net.h[1] + arb(0, 1e-3)
    with precision():
        doubts = loss.doubts(net, labels, {name: near})
        demand(doubts == [f"{name} is not confirmed"], doubts)
        loss = checker.losses.loss({"kind": "squared", "scaling": "sum"},
                                   {"samples": 3, "outputs": 1})  # fmt: skip
        doubt = ["residual_norm_upper is not confirmed"]
        for square, expected in ((arb(25), []), (touching(25, -1), []), (touching(25), doubt),
                                 (arb(25, 1), doubt)):  # fmt: skip
            wide = SimpleNamespace(squared_residual=lambda targets, s=square: s)
            found = loss.doubts(wide, labels, {"residual_norm_upper": 5.0})
            demand(found == expected, (square, found))


@case
def units_of_losses(checker: Checker) -> None:
    """How steps, targets and sentences of each loss are read."""
    counts = {"samples": 6, "outputs": 3}
    loss = checker.losses.loss
    for scaling, unit, words in (
        ("mean", (1, 9), "mean of squares over 6 samples and 3 outputs"),
        ("sum", (2, 1), "sum of squares over 6 samples and 3 outputs"),
        ("half_sum", (1, 1), "half sum of squares over 6 samples and 3 outputs"),
    ):
        found = loss({"kind": "squared", "scaling": scaling}, counts)
        demand(found.unit.as_integer_ratio() == unit and found.words == words, found)
        demand(found.kind == "squared" and found.frame is None, found)
    for scaling, unit in (("mean", (1, 6)), ("sum", (1, 1))):
        found = loss({"kind": "cross_entropy", "scaling": scaling,
                      "label_smoothing": "0x1.0000000000000p-2"}, counts)  # fmt: skip
        demand(found.unit.as_integer_ratio() == unit and found.scaling == scaling, found)
        demand(found.words == f"{scaling} of softmax cross-entropies over 6 samples and 3 classes, "
               "label smoothing 0.25", found.words)  # fmt: skip
        demand(found.smallest_label.as_integer_ratio() == (1, 12), found.smallest_label)
        demand((found.samples, found.classes) == (6, 3), found)


@case
def singular_values(checker: Checker) -> None:
    """Confirmed up to a hair, disproved beyond, and neither where the entries are wide."""

    def doubts(matrix: Any, low: float, high: float) -> list[str]:
        claims = {"sigma_min_lower": low, "jacobian_norm_upper": high}
        with precision():
            found: list[str] = checker.check._spectrum_doubts(matrix, claims)
            return found

    h = np.eye(4) - 0.5
    invalid = checker.verdict.Invalid
    low, high = "sigma_min_lower is not confirmed", "jacobian_norm_upper is not confirmed"
    more, less = 1 + 1e-10, 1 - 1e-10
    with precision():
        matrix = checker.arrays.exact(h @ np.diag([4.0, 9.0, 16.0, 25.0]) @ h)
        wide, none = matrix + arb(0, 1e-3), matrix + arb.nan()
        huge = matrix * arb(2) ** 3000
    demand(doubts(matrix, 2 * less, 5 * more) == [], "both are true")
    demand(doubts(matrix, 1e-3, 1e3) == [], "both are true by far")
    for one, two, name in ((2 * more, 6.0, "sigma_min_lower"), (2.5, 6.0, "sigma_min_lower"),
                           (1.0, 5 * less, "jacobian_norm_upper"),
                           (1.0, 3.5, "jacobian_norm_upper")):  # fmt: skip
        refused(lambda a=one, b=two: doubts(matrix, a, b), invalid,  # type: ignore[misc]
                f"disproved: {name} contradicts a Rayleigh quotient of the kernel")  # fmt: skip
    demand(doubts(wide, 2 * less, 5 * more) == [low, high], "wide entries decide nothing")
    demand(doubts(wide, 1.9, 5 * more) == [high], "they decide what is far away")
    demand(doubts(wide, 2 * less, 5.1) == [low], "they decide what is far away")
    for odd, top in ((huge, 1.0), (none, 1e9)):
        with contextlib.suppress(np.linalg.LinAlgError):  # which ends the check as incomplete
            demand(doubts(odd, 1.0, top) in ([low, high], [low]), "beyond binary64, or no numbers")
    with precision():
        four = checker.arrays.exact(np.array([[4.0]]))
    demand(doubts(four, 2.0, 2.0) == [low, high], "a tie disproves nothing")
    _hints(checker, matrix, doubts, (low, high))


def _hints(checker: Checker, matrix: Any, doubts: Any, words: tuple[str, str]) -> None:
    """Vectors of any length will do; a bound that meets the claim exactly is enough."""
    module, invalid = checker.check, checker.verdict.Invalid
    kept, eigh = module.smallest_eigenvalue_lower, np.linalg.eigh
    try:
        module.smallest_eigenvalue_lower = lambda kernel, shift, sign: arb(-37)
        demand(doubts(matrix, 1.0, 6.0) == list(words), "neither bound is good enough")
        module.smallest_eigenvalue_lower = lambda kernel, shift, sign: arb(1 if sign == 1 else -36)
        demand(doubts(matrix, 1.0, 6.0) == [], "both at equality")
        module.smallest_eigenvalue_lower = kept
        np.linalg.eigh = lambda hint: (eigh(hint)[0], 3 * eigh(hint)[1])  # type: ignore[assignment]
        demand(doubts(matrix, 1.0, 6.0) == [], "true by far")
        refused(lambda: doubts(matrix, 2.1, 6.0), invalid, "disproved: sigma_min_lower")
        refused(lambda: doubts(matrix, 1.0, 4.9), invalid, "disproved: jacobian_norm_upper")
    finally:
        module.smallest_eigenvalue_lower, np.linalg.eigh = kept, eigh
