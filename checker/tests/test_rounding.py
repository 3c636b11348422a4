"""T9: float64 descent. Every strengthened claim is found out; the rounding bound is measured."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from generator import Draft, Problem, make

from talweg_check import check
from talweg_check._arrays import PRECISION, exact
from talweg_check._forms import ASSUMED_OF_THE_RUN, FLOAT64_DESCENT
from talweg_check._network import Network, merged, stages_of
from talweg_check._rounding import Rounding

SLIGHTLY = 1e-5
THETA = 0.5


def rounding(problem: Problem) -> Rounding:
    inputs, _, counts = merged(problem.inputs, problem.targets)
    net = Network(stages_of(problem.operations, problem.weights), exact(inputs), counts)
    return Rounding(problem.operations, net, len(problem.inputs))


class FloatDraft(Draft):
    """A T9 certificate; radius, step and rates from s' = q sigma - int beta, floor from e."""

    def draw(self, theta: float = THETA) -> FloatDraft:
        lost = self.sigma * 2 * theta / (1 + theta)

        def reduced(x: float) -> float:
            return self.s_integral(x) - lost * x

        low, high = 0.0, self.profile[-1][0]
        assert reduced(high) > self.r
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if reduced(middle) < self.r else (low, middle)
        radius = high * (1 + 1e-9)
        top, bottom = self.jacobian + self.beta_integral(radius), self.s(radius)
        eta = (1 - 1e-9) / top**2
        step = eta / (2 * self.coefficient)
        with ctx.workprec(PRECISION):
            scale = arb(2) * arb(Fraction(self.coefficient).limit_denominator(10**9).numerator)
            scale /= Fraction(self.coefficient).limit_denominator(10**9).denominator
            bound = rounding(self.problem).error(arb(radius), arb(self.r), scale, arb(step))
            error = float(bound.upper()) * (1 + 1e-6)
        x = (1 + theta) * eta * bottom * (bottom - lost) * (1 - 1e-9)
        gain = 2 * x - x * x
        floor = (error / (theta * bottom)) ** 2 / (4 * self.coefficient) * (1 + 1e-9)
        start = self.coefficient * self.r**2
        decay = -math.log1p(-gain)
        self.claims: dict[str, Any] = {
            "residual_norm_upper": self.r, "sigma_min_lower": self.sigma,
            "jacobian_norm_upper": self.jacobian, "jacobian_lipschitz_upper": self.profile,
            "radius": radius, "step_size": step, "rate": math.nextafter(1 - gain, 2),
            "one_minus_rate": gain, "halving_steps": math.log(2) / decay * (1 + 1e-9),
            "theta": theta, "gradient_error_upper": error, "floor": floor,
            "steps_upper": float(math.ceil(math.log(start / floor) / decay * (1 + 1e-9))),
        }  # fmt: skip
        return self

    def sentence(self, hashes: dict[str, str]) -> str:
        c, n, k = self.claims, self.counts["samples"], self.counts["outputs"]
        words = {"mean": "mean", "sum": "sum", "half_sum": "half sum"}[self.scaling]
        return (
            "Gradient descent in float64, as run by the program of T9 (forward, backward and "
            "update in binary64, inner products in any order, with or without fused multiply-add), "
            f"on the full batch, started from the stored weights (sha256 {hashes['weights']}) on "
            f"the stored data (inputs sha256 {hashes['inputs']}, targets sha256 "
            f"{hashes['targets']}), training the {self.counts['parameters']} parameters of "
            f"[{self.chain()}], with constant step size {c['step_size']}, brings the training loss "
            f"({words} of squares over {n} samples and {k} outputs) down to the floor {c['floor']} "
            f"after at most {int(c['steps_upper'])} steps: until then every iterate stays within "
            f"Euclidean distance {c['radius']} of the start and the loss falls by at least the "
            f"fraction {c['one_minus_rate']} in every step; nothing is claimed about later "
            f"iterates. Assumed, not proved: {'; '.join(ASSUMED_OF_THE_RUN)}."
        )

    def tree(self) -> dict[str, Any]:
        tree = super().tree()
        tree["semantics"], tree["assumptions"] = FLOAT64_DESCENT, list(ASSUMED_OF_THE_RUN)
        return tree


def drawn(**options: Any) -> FloatDraft:
    widths = options.pop("widths", [4, 10, 1])
    scaling = options.pop("scaling", "mean")
    problem = make(widths, **options)
    for name in {"inputs", "targets"} & set(options.get("dtypes", {})):
        setattr(problem, name, getattr(problem, name).astype("f4").astype("f8"))
    draft = FloatDraft(problem, "T9", scaling)
    draft.measure([1e-3])
    draft.measure([8 * draft.r / draft.sigma])
    return draft.draw()


def verdict(draft: Draft, path: Path) -> tuple[str, str]:
    found = check(str(draft.save(path / "a.talweg")))
    return found.verdict, found.reason


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scaling": "sum"},
        {"scaling": "half_sum"},
        {"functions": "sigmoid"},
        {"repeats": 3},
        {"frozen": ("0.weight",), "samples": 5},
        {"widths": [4, 8, 8, 2], "samples": 4},
        {"bias": False},
    ],
)
def test_valid(options: dict[str, Any], tmp_path: Path) -> None:
    found, reason = verdict(drawn(**options), tmp_path)
    assert found == "valid", reason
    assert "2 assumptions" in reason


@pytest.mark.parametrize(
    ("key", "factor", "expected"),
    [
        ("residual_norm_upper", 1 - SLIGHTLY, "invalid"),
        ("sigma_min_lower", 1 + SLIGHTLY, "invalid"),
        ("jacobian_norm_upper", 1 - SLIGHTLY, "invalid"),
        ("radius", 1 - SLIGHTLY, "invalid"),
        ("step_size", 1 + SLIGHTLY, "invalid"),
        ("rate", 1 - SLIGHTLY, "invalid"),
        ("one_minus_rate", 1 + SLIGHTLY, "invalid"),
        ("halving_steps", 1 - SLIGHTLY, "invalid"),
        ("floor", 1 - SLIGHTLY, "invalid"),
        ("theta", 1 + SLIGHTLY, "invalid"),
        ("theta", 1 - SLIGHTLY, "invalid"),
        ("theta", 2.0, "invalid"),
        ("floor", 1e30, "invalid"),
        ("gradient_error_upper", 1 - SLIGHTLY, "incomplete"),
        ("gradient_error_upper", 1e-3, "incomplete"),
        ("gradient_error_upper", 1 + SLIGHTLY, "invalid"),  # the floor no longer follows
    ],
)
def test_a_claim_strengthened_slightly(
    key: str, factor: float, expected: str, tmp_path: Path
) -> None:
    draft = drawn()
    draft.claims[key] *= factor
    found, reason = verdict(draft, tmp_path)
    assert found == expected, reason
    assert key.split("_")[0] in reason or "do not satisfy" in reason or "disproved" in reason


def test_a_smaller_step_has_a_larger_error(tmp_path: Path) -> None:
    """The claim is about one step: u |w| / lr grows as the step shrinks."""
    draft = drawn()
    draft.claims["step_size"] *= 1e-9
    gain = draft.claims["one_minus_rate"] * 1e-9 * (1 - 1e-3)
    draft.claims |= {
        "one_minus_rate": gain, "rate": math.nextafter(1 - gain, 2),
        "halving_steps": draft.claims["halving_steps"] * 2e9,
        "steps_upper": math.ceil(draft.claims["steps_upper"] * 2e9) * 1.0,
    }  # fmt: skip
    found, reason = verdict(draft, tmp_path)
    assert found == "incomplete"
    assert "gradient_error_upper" in reason


@pytest.mark.parametrize("change", [-1.0, 0.5])
def test_the_number_of_steps(change: float, tmp_path: Path) -> None:
    draft = drawn()
    draft.claims["steps_upper"] += change * (draft.claims["steps_upper"] * 1e-3 // 1 + 1)
    draft.claims["steps_upper"] += 0.5 if change == 0.5 else 0.0
    assert verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize("name", ["weights/0.weight", "inputs", "targets"])
def test_another_dtype_is_not_this_program(name: str, tmp_path: Path) -> None:
    draft = drawn(dtypes={name: "F32"})
    found, reason = verdict(draft, tmp_path)
    assert found == "invalid"
    assert "float64 program" in reason


@pytest.mark.parametrize("options", [{"functions": "sin"}, {"scale": (2.0, 3.0)}])
def test_programs_without_a_bound(options: dict[str, Any], tmp_path: Path) -> None:
    good = drawn()
    draft = FloatDraft(make([4, 10, 1], **options), "T9").measure([1e-3])
    draft.claims = dict(good.claims)
    draft.claims["residual_norm_upper"] = good.claims["residual_norm_upper"]
    with ctx.workprec(PRECISION), pytest.raises(Exception, match="T9"):
        rounding(draft.problem)
    assert verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize("assumptions", [[], list(ASSUMED_OF_THE_RUN[:1]), ["none"]])
def test_the_assumptions_cannot_be_left_out(assumptions: list[str], tmp_path: Path) -> None:
    draft = drawn()
    whole = draft.tree

    def without() -> dict[str, Any]:
        return {**whole(), "assumptions": assumptions}

    draft.tree = without  # type: ignore[method-assign]
    found, reason = verdict(draft, tmp_path)
    assert found == "invalid"
    assert "assumptions" in reason


def test_a_t9_claim_cannot_pose_as_one_about_real_arithmetic(tmp_path: Path) -> None:
    draft = drawn()
    whole = draft.tree
    real = "real-arithmetic full-batch gradient descent on the exact stored weights"
    draft.tree = lambda: {**whole(), "semantics": real}  # type: ignore[method-assign]
    assert verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize("functions", ["tanh", "sigmoid"])
@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("fitted", [False, True])
def test_numpy_rounds_within_the_bound(functions: str, size: float, fitted: bool) -> None:
    """The gradient of 1/2 |r|^2 by backpropagation in NumPy, against the same in Arb."""
    problem = make([5, 12, 7, 2], functions, samples=8, goal=1e9)
    problem.weights = {name: size * w for name, w in problem.weights.items()}
    if fitted:
        problem.forward()
        problem.targets = problem.values.copy()
    names = [op["weight"] for op in problem.linear()]

    def gradients(number: Any) -> list[Any]:
        w = {name: number(value) for name, value in problem.weights.items()}
        h, taken = number(problem.inputs), []
        for i, name in enumerate(names):
            taken.append(h)
            h = h @ w[name].T + w[name.removesuffix("weight") + "bias"]
            if i < len(names) - 1:
                h = apply(h, number)
        g, found = h - number(problem.targets), []
        for i in reversed(range(len(names))):
            found += [g.T @ taken[i], g.sum(0)]
            back = taken[i]
            slope = 1 - back * back if functions == "tanh" else back * (1 - back)
            g = (g @ w[names[i]]) * slope if i else g
        return found

    def apply(z: Any, number: Any) -> Any:
        if number is np.asarray:
            return np.tanh(z) if functions == "tanh" else 1 / (1 + np.exp(-z))
        one = (lambda x: x.tanh()) if functions == "tanh" else (lambda x: 1 / (1 + (-x).exp()))
        return np.frompyfunc(one, 1, 1)(z)

    with ctx.workprec(300):
        pairs = zip(gradients(np.asarray), gradients(exact), strict=True)
        error = sum((((exact(a) - b) ** 2).sum() for a, b in pairs), arb(0)).abs_upper().sqrt()
        r = arb(float(np.linalg.norm(problem.residual())) * (1 + 1e-9) + 1e-12)
        huge = arb(2) ** 300  # no update: its rounding, divided by the step, vanishes
        bound = rounding(problem).error(arb(0), r, arb(1), huge)
        assert error <= bound
        assert bound <= error * 1e7 + arb(10) ** -9
