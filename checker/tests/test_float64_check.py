"""The grade float64 as a whole: it agrees with the grade arb, refuses lies, and says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classifier import smoothed_draft
from flint import arb
from generator import Draft, make

from talweg_check import _float64_check as float64
from talweg_check import _float64_sentinel as sentinel
from talweg_check import _grades as grades
from talweg_check import check
from talweg_check._cli import main
from talweg_check._float64_spectrum import Kernel64
from talweg_check._verdict import Incomplete

REASON = (
    "every claim is confirmed, float64-verified: linear algebra in binary64 with rounding bounds, "
    "assuming IEEE 754 binary64 rounding to nearest and products that are sums of products in some "
    "order"
)
PROBLEMS = {
    "one output": lambda: make([4, 10, 1]),
    "three outputs": lambda: make([4, 12, 3]),
    "no bias": lambda: make([6, 12, 1], bias=False),
    "repeated rows": lambda: make([4, 12, 2], repeats=3),
    "scaled": lambda: make([4, 10, 1], scale=(3.0, 2.5)),
    "sigmoid": lambda: make([5, 14, 1], "sigmoid", goal=1e-6),
    "sin": lambda: make([5, 14, 1], "sin", goal=1e-6),
    "softplus": lambda: make([5, 12, 1], [("softplus", {"beta": 2.0, "threshold": 20.0})]),
    "F32": lambda: make([4, 10, 1], dtypes={"weights/0.weight": "F32"}),
    "first layer only": lambda: make([6, 12, 1], frozen=("2.weight", "2.bias")),
    "last layer only": lambda: make([6, 12, 1], frozen=("0.weight", "0.bias")),
    "linear model": lambda: make([7, 1], samples=5),
    "wide inputs": lambda: make([20, 10, 1]),
}


@pytest.fixture(autouse=True)
def _trusted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentinels take half a second each time; they have tests of their own."""
    if "sentinel" not in request.node.name:
        monkeypatch.setattr(float64, "require_sound_arithmetic", lambda: None)


def _verdict(draft: Draft, path: Path) -> tuple[str, str]:
    found = check(str(draft.save(path / "a.talweg")), grade="float64")
    assert found.grade in (None, "float64")
    return found.verdict, found.reason


@pytest.mark.parametrize("name", PROBLEMS)
def test_both_grades_agree(name: str, tmp_path: Path) -> None:
    path = str(Draft(PROBLEMS[name]()).measure().conclude().save(tmp_path / "a.talweg"))
    other = check(path)
    assert (other.verdict, other.reason, other.grade) == (
        "valid",
        "every claim is confirmed",
        "arb",
    )
    mine = check(path, grade="float64")
    assert (mine.verdict, mine.reason, mine.grade) == ("valid", REASON, "float64")
    assert mine.claim == other.claim


@pytest.mark.parametrize("seed", range(6))
def test_small_random_certificates(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    widths = [int(rng.integers(2, 9)), int(rng.integers(12, 30)), int(rng.integers(1, 4))]
    draft = Draft(make(widths, samples=5, seed=seed, goal=1e-6)).measure().conclude()
    assert _verdict(draft, tmp_path)[0] == "valid"


@pytest.mark.parametrize("theorem", ["T4", "T7"])
def test_other_theorems(theorem: str, tmp_path: Path) -> None:
    problem = make([4, 12, 1], goal=1e-2 if theorem == "T7" else 1e-5, seed=3)
    draft = Draft(problem, theorem).measure([1e-3])
    target = 0.3 * draft.r**2 * draft.coefficient if theorem == "T7" else None
    reach = 3 * draft.r / draft.sigma
    draft.measure([reach / 2, reach]).conclude(target=target)
    assert _verdict(draft, tmp_path) == ("valid", REASON)


LIES = {
    "residual_norm_upper": 1 - 3e-6, "sigma_min_lower": 1 + 3e-6, "jacobian_norm_upper": 1 - 3e-6,
}  # fmt: skip


@pytest.mark.parametrize("key", LIES)
def test_a_slightly_stronger_claim(key: str, tmp_path: Path) -> None:
    """What else is claimed is weakened, so that only the measured number is at fault."""
    draft = Draft(make([4, 10, 1])).measure().conclude()
    draft.claims[key] *= LIES[key]
    draft.claims["radius"] *= 1 + 1e-4
    draft.claims["step_size"] *= 1 - 1e-4
    draft.claims["one_minus_rate"] *= 1 - 1e-3
    draft.claims["halving_steps"] *= 1 + 1e-2
    draft.claims["rate"] = 1.0
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == ("invalid" if key == "residual_norm_upper" else "incomplete")
    assert key in reason
    assert check(str(tmp_path / "a.talweg")).verdict == "invalid"


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_smaller_beta_is_not_confirmed(index: int, draft: Draft, tmp_path: Path) -> None:
    for pair in draft.claims["jacobian_lipschitz_upper"][: index + 1]:
        pair[1] *= 0.98  # the vectors of Collatz' bound go on improving from radius to radius
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "incomplete"
    assert f"at radius {draft.claims['jacobian_lipschitz_upper'][index][0]!r}" in reason


def test_multiplicities_count(tmp_path: Path) -> None:
    """The numbers of the distinct rows alone do not certify the data with repeated rows."""
    problem = make([4, 12, 1], repeats=3)
    draft, n = Draft(problem), len(problem.inputs) - 3
    lean = Draft(type(problem)(problem.operations, problem.weights, problem.inputs[:n],
                               problem.targets[:n])).measure().conclude()  # fmt: skip
    draft.claims = lean.claims
    assert _verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize("kind", ["nan", "noise", "none", "zeros"])
def test_a_wrong_factor_makes_it_incomplete(
    kind: str, draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factor = Kernel64._factor

    def wrong(self: Kernel64, shift: float, sign: float) -> np.ndarray | None:
        good = factor(self, shift, sign)
        if good is None or kind == "none":
            return None
        if kind == "nan":
            good[3, 1] = np.nan
            return good
        noise = good + 1e-2 * np.tril(np.random.default_rng(0).normal(size=good.shape))
        return {"noise": noise, "zeros": 0 * good}[kind]

    monkeypatch.setattr(Kernel64, "_factor", wrong)
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "incomplete"
    assert "sigma_min_lower is not confirmed" in reason


@pytest.mark.parametrize("bound", [np.nan, np.inf])
def test_an_indeterminate_bound_confirms_nothing(
    bound: float, draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(float64.JacobianLipschitz64, "upper", lambda *_: bound)
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "incomplete"
    assert "jacobian_lipschitz_upper" in reason


@pytest.mark.parametrize(("high", "found"), [(1 - 1e-6, "valid"), (1 + 1e-6, "incomplete")])
def test_a_residual_is_confirmed_from_above(
    high: float, found: str, draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    square = draft.claims["residual_norm_upper"] ** 2
    bounds = arb(square * 0.9), arb(square * high)
    monkeypatch.setattr(float64.Network64, "squared_residual", lambda *_: bounds)
    assert _verdict(draft, tmp_path)[0] == found


@pytest.mark.parametrize("size", [1e-320, 1e-160, 1e160, 1e308])
@pytest.mark.parametrize("name", ["weights/0.weight", "weights/2.weight", "inputs", "targets"])
def test_extreme_numbers_get_a_verdict(
    name: str, size: float, draft: Draft, tmp_path: Path
) -> None:
    shape = draft.arrays[name][2]
    draft.arrays[name] = (np.full(shape, size).tobytes(), "F64", shape)
    assert _verdict(draft, tmp_path)[0] != "valid"


def test_deep_chains_are_not_spoken_of(tmp_path: Path) -> None:
    draft = Draft(make([4, 7, 7, 6, 1])).measure().conclude()
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "incomplete"
    assert "one hidden layer" in reason


def test_other_losses_and_theorems_are_not_spoken_of(tmp_path: Path) -> None:
    path = str(smoothed_draft().save(tmp_path / "a.talweg"))
    assert check(path).verdict == "valid"
    found = check(path, grade="float64")
    assert (found.verdict, found.reason) == (
        "incomplete", "the grade float64 speaks of squared losses under T11, T4, T7 only",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "asked", "outcome"),
    [
        ((6, 6), "auto", "arb"), ((5, 6), "auto", "float64"), ((5, 5), "auto", None),
        ((5, 6), "arb", None), ((9, 5), "float64", None), ((9, 6), "float64", "float64"),
    ],
)  # fmt: skip
def test_the_number_of_entries_decides(
    limits: tuple[int, int], asked: str, outcome: str | None, draft: Draft, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(grades, "ARB_LIMIT", limits[0])
    monkeypatch.setattr(grades, "FLOAT64_LIMIT", limits[1])
    found = check(str(draft.save(tmp_path / "a.talweg")), grade=asked)
    if outcome is None:
        assert found.verdict == "incomplete"
        assert "takes at most 5 residual entries" in found.reason
    else:
        assert (found.verdict, found.grade) == ("valid", outcome)


def test_the_limits() -> None:
    assert (grades.ARB_LIMIT, grades.FLOAT64_LIMIT) == (10_000, 40_000)


def test_a_lack_of_memory_is_said(
    draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(float64, "_free_bytes", lambda: 2**28)
    assert _verdict(draft, tmp_path) == (
        "incomplete", "this check needs some 0.5 GiB of memory, and 0.2 GiB are free",
    )  # fmt: skip
    monkeypatch.setattr(float64, "_free_bytes", lambda: None)
    assert _verdict(draft, tmp_path)[0] == "valid"
    monkeypatch.setattr(float64, "_free_bytes", lambda: 2**36)
    with pytest.raises(Incomplete, match=r"some \d\d\d\d?\.\d GiB"):
        float64._require_memory(200_000, 1, [10, 1])


def test_json_names_the_grade(
    draft: Draft, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(draft.save(tmp_path / "a.talweg"))
    for option in ("float64", "arb"):
        assert main([path, "--json", "--grade", option]) == 0
        record: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert record["grade"] == option
        assert ("float64-verified" in record["reason"]) == (option == "float64")
    (tmp_path / "a.talweg").write_bytes(b"nothing")
    assert main([path, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["grade"] is None
    with pytest.raises(SystemExit) as error:
        main([path, "--grade", "exact"])
    assert error.value.code == 2


def test_the_sentinels_pass_here() -> None:
    sentinel.require_sound_arithmetic()


def _single(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float64)


def _short_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums in pieces that are rounded to 45 bits."""
    result = a @ b
    unit = np.ldexp(1.0, np.frexp(result)[1] - 45)
    return np.rint(result / unit) * unit


def _strassen(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One step of Strassen's method where the sizes are even."""
    if a.ndim < 2 or b.ndim < 2 or any(size % 2 for size in (*a.shape, *b.shape)):
        return a @ b
    m, k, n = a.shape[0] // 2, a.shape[1] // 2, b.shape[1] // 2
    p, q, r, s = a[:m, :k], a[:m, k:], a[m:, :k], a[m:, k:]
    t, u, v, w = b[:k, :n], b[:k, n:], b[k:, :n], b[k:, n:]
    m1, m2, m3 = (p + s) @ (t + w), (r + s) @ t, p @ (u - w)
    m4, m5, m6, m7 = s @ (v - t), (p + q) @ w, (r - p) @ (t + u), (q - s) @ (v + w)
    return np.block([[m1 + m4 - m5 + m7, m3 + m5], [m2 + m4, m1 - m2 + m3 + m6]])


def _sliced(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Emulation with 48 bits below the largest entry of each row."""
    top = np.frexp(np.abs(a).max(axis=-1, keepdims=True))[1]
    return np.ldexp(np.rint(np.ldexp(a, 48 - top)), top - 48) @ b


def _flushed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    result = a @ b
    return np.where(np.abs(result) < 2.0**-1022, 0.0, result)


def _lost_entry(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Right but for one entry of large products."""
    result = a @ b
    if result.ndim == 2 and len(result) > 1000:
        result[700, 13] += 1
    return result


@pytest.mark.parametrize(
    "product", [_single, _short_sum, _strassen, _sliced, _flushed, _lost_entry]
)
def test_the_sentinels_find_wrong_products(product: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel, "_product", product)
    with np.errstate(all="ignore"), pytest.raises(Incomplete, match="arithmetic cannot be used"):
        sentinel.require_sound_arithmetic()


def test_a_failing_sentinel_confirms_nothing(
    draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinel, "_rounds", lambda: False)
    verdict, reason = _verdict(draft, tmp_path)
    assert verdict == "incomplete"
    assert "rounded to nearest" in reason
