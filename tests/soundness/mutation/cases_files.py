"""Whole files: those that hold are valid, each spoilt one is refused for the right reason."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tests.soundness.mutation import materials
from tests.soundness.mutation.materials import SOFT, drafts, parts, saved, spoilt
from tests.soundness.mutation.registry import Checker, add, demand

CONFIRMED = "every claim is confirmed"
ASSUMING = f"{CONFIRMED}, under 2 assumptions that the claim names"
PATHS: dict[str, str] = {}
_answers: dict[str, tuple[str, str, str | None]] = {}


def judge(checker: Checker, path: str, verdict: str, reason: str, exact: bool = False) -> Any:
    """The verdict on a file, which is the expected one."""
    found = checker.check.check(path)
    fits = found.reason == reason if exact else reason in found.reason
    demand(found.verdict == verdict and fits, f"{found.verdict}: {found.reason}, not {reason}")
    return found


def _valid(name: str, checker: Checker) -> None:
    reason = ASSUMING if name.startswith("T9") else CONFIRMED
    found = judge(checker, PATHS[name], "valid", reason, exact=True)
    demand(found.claim == drafts()[name].tree()["claim"], "the sentence is not the stated one")


def _told(name: str, checker: Checker) -> None:
    verdict, reason, claim = _answers[name]
    whole = name.endswith(_WHOLE)  # their reason is known in full
    found = judge(checker, PATHS[name], verdict, reason, exact=whole)
    demand(found.claim == claim, "the claim of a refused file is its sentence")


def _lie(name: str, draft: Any, verdict: str, reason: str) -> None:
    PATHS[name] = saved(draft, f"lie{len(PATHS)}")
    _answers[name] = (verdict, reason, draft.tree()["claim"])
    if f"lie: {name}" not in _named:
        raise KeyError(f"the case {name!r} is not registered")


SLIGHT = 3e-6
_WHOLE = ("_upper", "_lower", "beta", "two doubts")
# draft, claim, factor, verdict, reason
STRONGER: tuple[tuple[str, str, float, str, str], ...] = (
    *((name, "residual_norm_upper", 1 - SLIGHT, "invalid",
       "disproved: residual_norm_upper is below the residual norm")
      for name in ("plain", "wide", "deep", "T4", "T7", "T9")),
    *((name, "sigma_min_lower", 1 + SLIGHT, "invalid",
       "disproved: sigma_min_lower contradicts a Rayleigh quotient of the kernel")
      for name in ("plain", "wide", "deep", "biases", "weights", "unbiased", "smoothed sum")),
    *((name, "jacobian_norm_upper", 1 - SLIGHT, "invalid",
       "disproved: jacobian_norm_upper contradicts a Rayleigh quotient of the kernel")
      for name in ("plain", "wide", "deep", "biases", "weights", "unbiased", "smoothed", "target")),
    ("smoothed", "initial_gap_upper", 1 - 1e-2, "invalid",
     "disproved: initial_gap_upper is below its value at the stored weights"),
    ("target", "initial_loss_upper", 1 - 1e-9, "invalid",
     "disproved: initial_loss_upper is below its value at the stored weights"),
    ("T9", "gradient_error_upper", 1 - SLIGHT, "incomplete",
     "gradient_error_upper is not confirmed"),
    ("T9 wide", "gradient_error_upper", 1 - SLIGHT, "incomplete",
     "gradient_error_upper is not confirmed"),
    ("T9 deep", "gradient_error_upper", 1 - SLIGHT, "incomplete",
     "gradient_error_upper is not confirmed"),
)  # fmt: skip
BETAS = ("plain", "wide", "deep", "deepest", "mixed", "first", "middle", "biases", "weights",
         "unbiased", "scaled", "soft", "leaky", "smoothed", "target")  # fmt: skip
SINGLES = (
    "far targets", "far inputs", "softplus", "softplus in the ball", "two doubts", "huge entries",
    "no sigma", "T9 silu", "T9 scale", "T9 two functions", "T9 first", "T9 dtype", "T9 inputs",
    "merged rows", "merged targets", "curved data", "label", "equal labels", "T9 unmerged",
    "rounded weights", "long name",
)  # fmt: skip
_named = {
    *(f"lie: {name} {key}" for name, key, *_ in STRONGER),
    *(f"lie: {name} beta" for name in BETAS),
    *(f"lie: {name}" for name in SINGLES),
}
_VALID = (
    "plain", "wide", "deep", "deepest", "mixed", "sine", "gelu_tanh", "first", "last", "middle",
    "biases", "weights", "unbiased", "linear", "scaled", "identity", "soft", "leaky", "T4", "T7",
    "T9", "T9 wide",
    "T9 deep", "smoothed", "smoothed sum", "target", "target sum", "F32", "F16", "BF16",
)  # fmt: skip
for _name in _VALID:
    add(f"valid: {_name}", partial(_valid, _name))
for _name in sorted(_named):
    add(_name, partial(_told, _name.removeprefix("lie: ")))


def prepare() -> None:
    """Writes all files."""
    for name, draft in drafts().items():
        PATHS[name] = saved(draft, f"valid{len(PATHS)}")
    for name, key, factor, verdict, reason in STRONGER:
        draft = spoilt(name)
        draft.claims[key] *= factor
        if name.startswith("T9") and key == "residual_norm_upper":
            draft.claims["gradient_error_upper"] *= 1.0
        _lie(f"{name} {key}", draft, verdict, reason)
    for name in BETAS:
        draft = spoilt(name)
        radius = draft.claims["jacobian_lipschitz_upper"][0][0]
        draft.claims["jacobian_lipschitz_upper"][0][1] *= 1 - SLIGHT
        _lie(f"{name} beta", draft, "incomplete",
             f"jacobian_lipschitz_upper is not confirmed at radius {radius!r}")  # fmt: skip
    _singles()


def _stored(draft: Any, name: str, values: Any) -> None:
    draft.arrays[name] = (*materials.encoded(values), values.shape)


def _singles() -> None:
    draft = spoilt("plain")
    _stored(draft, "targets", draft.problem.targets + 1)
    _lie("far targets", draft, "invalid", "disproved: residual_norm_upper")
    draft = spoilt("plain")
    _stored(draft, "inputs", 3 * draft.problem.inputs)
    _lie("far inputs", draft, "invalid", "disproved: residual_norm_upper")

    beyond = "a softplus is not shown to stay below its threshold on the ball"
    z, radius = _preactivations("soft").max(), drafts()["soft"].profile[0][0]
    for name, threshold in (("softplus", 2 * z), ("softplus in the ball", 2 * z + radius)):
        draft = spoilt("soft")
        draft.problem.operations[1]["parameters"] = {**SOFT, "threshold": float(threshold)}
        _lie(name, draft, "incomplete", beyond)

    draft = spoilt("plain")  # so little of everything that nothing is disproved
    draft.claims["jacobian_lipschitz_upper"] = [
        [radius, beta * (1 - SLIGHT)] for radius, beta in draft.profile
    ]
    radii = [radius for radius, _ in draft.profile]
    _lie("two doubts", draft, "incomplete", "; ".join(
        f"jacobian_lipschitz_upper is not confirmed at radius {radius!r}" for radius in radii
    ))  # fmt: skip
    draft = spoilt("plain")
    _stored(draft, "weights/0.weight", np.full(draft.arrays["weights/0.weight"][2], 1e300))
    _stored(draft, "inputs", np.full(draft.arrays["inputs"][2], 1e300) * np.eye(3))
    _lie("huge entries", draft, "invalid", "disproved")

    draft = spoilt("plain")
    draft.claims["sigma_min_lower"] *= 3
    draft.claims["jacobian_norm_upper"] *= 2
    draft.claims["step_size"] /= 5
    draft.claims["one_minus_rate"] /= 6
    draft.claims |= {"rate": 1.0, "halving_steps": draft.claims["halving_steps"] * 10}
    _lie("no sigma", draft, "invalid", "disproved: sigma_min_lower")
    _about_t9()
    _about_rows()
    for key in ("weights", "inputs", "targets"):
        for digit in "0f":
            draft = spoilt("plain")
            tree, blob = parts(draft)
            tree["hashes"][key] = digit * 64
            tree["claim"] = draft.sentence(tree["hashes"])
            PATHS[f"hash {key} {digit}"] = materials.bound(
                materials.canonical(tree), blob, f"hash-{key}-{digit}"
            )
    draft = spoilt("plain")
    tree, blob = parts(draft)
    tree["claim"] = tree["claim"].replace("zero", "almost zero", 1)
    PATHS["sentence"] = materials.bound(materials.canonical(tree), blob, "sentence")
    draft = spoilt("T9")
    draft.claims["gradient_error_upper"] *= 1 - SLIGHT
    draft.claims["jacobian_lipschitz_upper"] = [
        [radius, beta * (1 - SLIGHT)] for radius, beta in draft.profile
    ]
    PATHS["T9 two doubts"] = saved(draft, "two")
    draft = spoilt("plain")
    last, beta = draft.profile[-1]
    draft.claims["jacobian_lipschitz_upper"] = [
        [last * (1 + k / 8), beta * (1 - 1e-3)] for k in range(12)
    ]
    PATHS["many doubts"] = saved(draft, "many")
    draft = spoilt("plain")
    tree, _ = parts(draft)
    one, two = "weights/0.bias", "weights/2.weight"
    raw, other = draft.arrays[one], draft.arrays[two]
    draft.arrays[one], draft.arrays[two] = (other[0], *raw[1:]), (raw[0], *other[1:])
    PATHS["traded"] = materials.bound(materials.canonical(tree), draft.blob(), "traded")
    for rows, columns in ((2, 3), (4, 3), (3, 2), (3, 4), (3, 3)):
        draft = spoilt("plain")
        _stored(draft, "inputs", np.ones((rows, columns)) + np.arange(float(rows))[:, None])
        PATHS[f"shape {rows} {columns}"] = saved(
            draft, f"shape-{rows}-{columns}", leave_out=("inputs", "targets")
        )
    draft = spoilt("plain")
    tree, blob = parts(draft)
    tree["surprise" * 200] = 0
    PATHS["long name"] = materials.bound(materials.canonical(tree), blob, "long")
    _answers["long name"] = ("invalid", "unknown key 'surprise", None)


def _preactivations(name: str) -> Any:
    problem = drafts()[name].problem
    layer = problem.linear()[0]
    return problem.inputs @ problem.weights[layer["weight"]].T + problem.weights[layer["bias"]]


def _about_t9() -> None:
    one = "T9 speaks of one tanh or sigmoid behind a linear layer"
    none = "T9 does not speak of factors, nor of functions of the inputs"
    for name, operations, reason in (
        ("T9 silu", [("silu", 1)], one),
        ("T9 two functions", [("tanh", 1), ("tanh", 1)], one),
        ("T9 scale", [("tanh", 1), ("scale", 2)], none),
    ):
        draft = spoilt("T9")
        problem = draft.problem
        del problem.operations[1]
        for kind, at in operations:
            item = {"kind": "elementwise", "function": kind, "parameters": {}}
            if kind == "scale":
                item = {"kind": "scale", "numerator": 1.0, "denominator": 1.0}
            problem.operations.insert(at, item)
        _renamed(draft)
        problem.forward()
        _stored(draft, "targets", problem.values)
        _lie(name, draft, "invalid", reason)
    draft = spoilt("T9")
    draft.problem.operations.insert(
        0, {"kind": "elementwise", "function": "tanh", "parameters": {}}
    )
    _renamed(draft)
    draft.problem.forward()
    _stored(draft, "targets", draft.problem.values)
    _lie("T9 first", draft, "invalid", none)
    for name, array in (("T9 dtype", "weights/0.weight"), ("T9 inputs", "inputs")):
        draft = spoilt("T9")
        problem = draft.problem
        place = problem.weights if array in problem.weights else None
        values = place[array] if place is not None else problem.inputs
        values = values.astype("<f4").astype("<f8")
        if place is not None:
            place[array] = values
        else:
            problem.inputs = values
        problem.forward()
        draft.arrays[array] = (values.astype("<f4").tobytes(), "F32", values.shape)
        _stored(draft, "targets", problem.values)
        _lie(name, draft, "invalid", f"T9 speaks of a float64 program, and {array!r} is F32")
    draft = spoilt("T9 wide")
    draft.claims["gradient_error_upper"] *= 1 - 1e-2
    _lie("T9 unmerged", draft, "incomplete", "gradient_error_upper is not confirmed")


def _renamed(draft: Any) -> None:
    """The operations have moved, so the arrays have other names."""
    problem = draft.problem
    for index, operation in enumerate(problem.operations):
        if operation["kind"] == "linear":
            for key in ("weight", "bias"):
                old, new = operation[key], f"weights/{index}.{key}"
                if old is not None and old != new:
                    operation[key] = new
                    problem.weights[new] = problem.weights.pop(old)
                    draft.arrays[new] = draft.arrays.pop(old)


def _about_rows() -> None:
    draft = spoilt("wide")
    values = draft.problem.inputs.copy()
    values[-1] += 1
    _stored(draft, "inputs", values)
    _lie("merged rows", draft, "invalid", "disproved: residual_norm_upper")
    draft = spoilt("wide")
    values = draft.problem.targets.copy()
    values[-1, 1] = materials.larger(values[-1, 1])
    _stored(draft, "targets", values)
    _lie("merged targets", draft, "invalid",
         "rows 0 and 3 have equal inputs and different targets")  # fmt: skip
    draft = spoilt("linear")
    draft.problem.operations.insert(
        0, {"kind": "elementwise", "function": "tanh", "parameters": {}}
    )
    _renamed(draft)
    _lie("curved data", draft, "invalid", "disproved: residual_norm_upper")
    draft = spoilt("smoothed")
    draft.labels[1] = 0
    draft.arrays["targets"] = (draft.labels.astype("<i8").tobytes(), "I64", draft.labels.shape)
    _lie("label", draft, "invalid", "disproved: initial_gap_upper")
    draft = spoilt("smoothed sum")
    draft.labels[-1] = 1
    draft.arrays["targets"] = (draft.labels.astype("<i8").tobytes(), "I64", draft.labels.shape)
    _lie("equal labels", draft, "invalid", "rows 0 and 3 have equal inputs and different targets")
    draft = spoilt("F16")
    raw, dtype, shape = draft.arrays["weights/0.weight"]
    values = materials.decode(raw, dtype, shape) * 1.5
    draft.arrays["weights/0.weight"] = (values.astype("<f2").tobytes(), dtype, shape)
    _lie("rounded weights", draft, "invalid", "disproved")
