"""Every single claim, strengthened, is found out."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generator import Draft, canonical, encode, make, write

from talweg_check import check

INVALID = {
    "residual_norm_upper": 0.999, "sigma_min_lower": 1.001, "jacobian_norm_upper": 0.999,
    "radius": 0.999, "step_size": 1.001, "one_minus_rate": 1.001, "halving_steps": 0.999,
    "rate": 1 - 1e-3,
}  # fmt: skip


def _verdict(draft: Draft, path: Path) -> tuple[str, str]:
    verdict = check(str(draft.save(path / "a.talweg")))
    return verdict.verdict, verdict.reason


@pytest.mark.parametrize("key", INVALID)
def test_a_stronger_claim_is_invalid(key: str, draft: Draft, tmp_path: Path) -> None:
    draft.claims[key] *= INVALID[key]
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "invalid"
    assert "disproved" in reason or "do not satisfy" in reason


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_smaller_beta_is_not_confirmed(index: int, draft: Draft, tmp_path: Path) -> None:
    for pair in draft.claims["jacobian_lipschitz_upper"][: index + 1]:
        pair[1] *= 1 - 3e-6
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "incomplete"
    assert "jacobian_lipschitz_upper" in reason


def test_a_radius_beyond_the_list(draft: Draft, tmp_path: Path) -> None:
    draft.claims["radius"] = draft.claims["jacobian_lipschitz_upper"][-1][0] * 1.0001
    assert _verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize("up", [False, True])
def test_the_step_is_exact_to_the_last_bit(up: bool, draft: Draft, tmp_path: Path) -> None:
    """The largest binary64 that satisfies the inequality is valid, the next one is not."""
    c = draft.claims
    radius, total, start = Fraction(c["radius"]), Fraction(c["jacobian_norm_upper"]), Fraction(0)
    for end, beta in c["jacobian_lipschitz_upper"]:
        total += Fraction(beta) * max(min(radius, Fraction(end)) - start, 0)
        start = Fraction(end)
    limit = Fraction(draft.entries, 2) / total**2
    step = float(limit)
    if Fraction(step) > limit:
        step = math.nextafter(step, 0)
    c["step_size"] = math.nextafter(step, 1e9) if up else step
    assert _verdict(draft, tmp_path)[0] == ("invalid" if up else "valid")


@pytest.mark.parametrize(
    ("key", "factor"),
    [("epsilon", 1.01), ("epsilon", 0.99), ("step_size", 1.001), ("one_minus_rate", 1.001)],
)
def test_t4(key: str, factor: float, tmp_path: Path) -> None:
    draft = Draft(make([4, 10, 1]), "T4").measure([1e-3])
    draft.measure([3 * draft.r / draft.sigma]).conclude()
    draft.claims[key] *= factor
    assert _verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target_loss", lambda x: x * 0.99),
        ("steps_upper", lambda x: x - 1),
        ("steps_upper", lambda x: x + 0.5),
        ("overshoot_radius", lambda x: x * 0.999),
        ("overshoot_radius", lambda x: x * 100),
        ("radius", lambda x: x * 0.99),
    ],
)
def test_t7(key: str, value: Any, tmp_path: Path) -> None:
    draft = Draft(make([4, 12, 1], goal=1e-2, seed=3), "T7").measure([1e-3])
    reach = 3 * draft.r / draft.sigma
    draft.measure([reach]).conclude(target=0.3 * draft.r**2 * draft.coefficient)
    draft.claims[key] = value(draft.claims[key])
    assert _verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize("name", ["weights/0.weight", "weights/2.bias", "inputs", "targets"])
def test_a_changed_byte(name: str, draft: Draft, tmp_path: Path) -> None:
    tree, blob = draft.tree(), bytearray(draft.blob())
    raw = draft.arrays[name][0]
    blob[blob.find(raw) + len(raw) // 2] ^= 1
    verdict = check(str(write(tmp_path / "a.talweg", canonical(tree), bytes(blob))))
    assert verdict.verdict == "invalid"
    assert "sha256" in verdict.reason


def test_no_byte_of_the_members_can_change(draft: Draft, tmp_path: Path) -> None:
    path = draft.save(tmp_path / "a.talweg")
    good, rng = path.read_bytes(), np.random.default_rng(0)
    start = good.find(b"{")
    end = good.find(b"PK\x01\x02")
    for _ in range(300):
        spoilt = bytearray(good)
        spoilt[rng.integers(start, end)] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        assert check(str(path)).verdict == "invalid"


@pytest.mark.parametrize("size", [1e-320, 1e-160, 1e160, 1e308])
@pytest.mark.parametrize("name", ["weights/0.weight", "weights/2.weight", "inputs", "targets"])
def test_extreme_numbers_get_a_verdict(
    name: str, size: float, draft: Draft, tmp_path: Path
) -> None:
    shape = draft.arrays[name][2]
    draft.arrays[name] = (*encode(np.full(shape, size), "F64"), shape)
    assert _verdict(draft, tmp_path)[0] != "valid"


@pytest.mark.parametrize("size", [5e-324, 1e-160, 1e160, 1.7e308])
@pytest.mark.parametrize("key", sorted(INVALID))
def test_extreme_claims_get_a_verdict(key: str, size: float, draft: Draft, tmp_path: Path) -> None:
    draft.claims[key] = size
    verdict = check(str(draft.save(tmp_path / "a.talweg")))
    weaker = {"halving_steps": 1, "rate": 1, "one_minus_rate": -1, "step_size": -1}
    if verdict.verdict == "valid":
        assert weaker.get(key, 0) * (size - 1) > 0
        assert key != "rate" or size >= 1


@pytest.mark.parametrize("key", ["weights", "inputs", "targets"])
def test_a_changed_hash(key: str, draft: Draft, tmp_path: Path) -> None:
    tree = draft.tree()
    wrong = tree["hashes"] | {key: "0" * 64}
    tree["claim"], tree["hashes"] = draft.sentence(wrong), wrong
    verdict = check(str(write(tmp_path / "a.talweg", canonical(tree), draft.blob())))
    assert verdict.verdict == "invalid"
    assert "sha256" in verdict.reason


@pytest.mark.parametrize("name", ["weights/0.weight", "inputs", "targets"])
def test_other_arrays_with_their_right_hashes(name: str, draft: Draft, tmp_path: Path) -> None:
    shape = draft.arrays[name][2]
    values = np.frombuffer(draft.arrays[name][0], "<f8").reshape(shape).copy()
    values[0, 0] += 1e-3
    draft.arrays[name] = (*encode(values, "F64"), shape)
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "invalid"
    assert "disproved" in reason


def test_another_array_name_in_the_hash(draft: Draft, tmp_path: Path) -> None:
    """Two arrays of the same shape cannot trade places."""
    names = ["weights/0.bias", "weights/2.weight"]
    one, two = (draft.arrays[name] for name in names)
    tree = draft.tree()
    draft.arrays[names[0]] = (two[0], "F64", one[2])
    draft.arrays[names[1]] = (one[0], "F64", two[2])
    verdict = check(str(write(tmp_path / "a.talweg", canonical(tree), draft.blob())))
    assert verdict.verdict == "invalid"


@pytest.mark.parametrize(
    ("old", "new"),
    [("zero training loss", "zero test loss"), ("any constant", "any"), ("mean", "sum"),
     ("6 samples", "7 samples"), ("distance", "distance "), (".", "")],
)  # fmt: skip
def test_a_changed_sentence(old: str, new: str, draft: Draft, tmp_path: Path) -> None:
    tree = draft.tree()
    tree["claim"] = tree["claim"].replace(old, new, 1)
    verdict = check(str(write(tmp_path / "a.talweg", canonical(tree), draft.blob())))
    assert verdict.verdict == "invalid"
    assert "sentence" in verdict.reason


@pytest.mark.parametrize(
    ("key", "value"),
    [("theorem", "T4"), ("theorem", "T12"), ("format", 2), ("format", True), ("format", "1"),
     ("semantics", "float64 gradient descent"), ("assumptions", ["trust me"]),
     ("loss", {"kind": "squared", "scaling": "half_sum"}),
     ("loss", {"kind": "cross_entropy", "scaling": "mean"}),
     ("counts", {"samples": 5, "outputs": 1, "parameters": 61}),
     ("counts", {"samples": 6, "outputs": 1, "parameters": 60}),
     ("counts", {"samples": 6, "outputs": 2, "parameters": 61})],
)  # fmt: skip
def test_a_changed_field(key: str, value: Any, draft: Draft, tmp_path: Path) -> None:
    tree = draft.tree() | {key: value}
    assert draft.counts == {"samples": 6, "outputs": 1, "parameters": 61}
    verdict = check(str(write(tmp_path / "a.talweg", canonical(tree), draft.blob())))
    assert verdict.verdict == "invalid"


@pytest.mark.parametrize(
    ("index", "change"),
    [(1, {"function": "sigmoid"}), (1, {"function": "identity"}), (1, {"function": "relu"}),
     (0, {"weight": "weights/2.weight"}), (0, {"bias": None, "bias_trainable": False}),
     (0, {"weight_trainable": False}), (0, {"weight_trainable": 1}),
     (1, {"parameters": {"beta": "0x1.0p+0"}})],
)  # fmt: skip
def test_a_changed_operation(index: int, change: Any, draft: Draft, tmp_path: Path) -> None:
    tree = draft.tree()
    tree["model"][index] = tree["model"][index] | change
    verdict = check(str(write(tmp_path / "a.talweg", canonical(tree), draft.blob())))
    assert verdict.verdict == "invalid"


def test_equal_inputs_with_different_targets(tmp_path: Path) -> None:
    problem = make([4, 12, 1], repeats=2)
    draft = Draft(problem).measure().conclude()
    changed = problem.targets.copy()
    changed[-1] += 1e-13
    draft.arrays["targets"] = (*encode(changed, "F64"), changed.shape)
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "invalid"
    assert "rows 1 and 7" in reason


def test_multiplicities_count(tmp_path: Path) -> None:
    """The numbers of the distinct rows alone do not certify the data with repeated rows."""
    problem = make([4, 12, 1], repeats=3)
    draft = Draft(problem)
    n = len(problem.inputs) - 3
    lean = Draft(type(problem)(problem.operations, problem.weights, problem.inputs[:n],
                               problem.targets[:n])).measure().conclude()  # fmt: skip
    draft.claims = lean.claims
    verdict, _ = _verdict(draft, tmp_path)
    assert verdict == "invalid"


def test_softplus_beyond_its_threshold(tmp_path: Path) -> None:
    problem = make([5, 12, 1], [("softplus", {"beta": 2.0, "threshold": 20.0})])
    draft = Draft(problem).measure().conclude()
    problem.operations[1]["parameters"]["threshold"] = 0.5
    verdict, reason = _verdict(draft, tmp_path)
    problem.operations[1]["parameters"]["threshold"] = 20.0
    assert verdict == "incomplete"
    assert "softplus" in reason


def test_fewer_parameters_than_outputs_have_no_sigma_min(tmp_path: Path) -> None:
    problem = make([2, 1], samples=5)
    draft = Draft(problem).measure([1e-3])
    draft.sigma, draft.r = 1.0, float(np.linalg.norm(problem.residual()) * 1.01)
    draft.profile = [[10 * draft.r, 1e-3 / draft.r]]
    draft.conclude()
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "invalid"
    assert "sigma_min_lower" in reason
