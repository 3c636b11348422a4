"""Cross-entropies: genuine files are confirmed, every stronger one is not."""

import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classifier import SMOOTHING, EntropyDraft, classifier, smoothed_draft, target_draft
from flint import arb
from generator import canonical, write

from talweg_check import check
from talweg_check._arrays import approx, matmul
from talweg_check._losses import CrossEntropy

DRAFTS = {"T4": smoothed_draft, "T13": target_draft}


@pytest.fixture(scope="session", params=DRAFTS)
def _genuine(request: pytest.FixtureRequest) -> EntropyDraft:
    return DRAFTS[request.param]()


@pytest.fixture
def draft(_genuine: EntropyDraft) -> EntropyDraft:
    """A certificate that every test may spoil."""
    result = copy.copy(_genuine)
    result.claims, result.counts = copy.deepcopy(_genuine.claims), dict(_genuine.counts)
    result.arrays, result.labels = dict(_genuine.arrays), _genuine.labels.copy()
    return result


def verdict(draft: EntropyDraft, path: Path) -> tuple[str, str]:
    found = check(str(draft.save(path / "a.talweg")))
    return found.verdict, found.reason


def test_the_genuine_file(draft: EntropyDraft, tmp_path: Path) -> None:
    assert verdict(draft, tmp_path) == ("valid", "every claim is confirmed")


@pytest.mark.parametrize("scaling", ["mean", "sum"])
@pytest.mark.parametrize("build", DRAFTS.values())
def test_scalings(build: Any, scaling: str, tmp_path: Path) -> None:
    assert verdict(build(scaling), tmp_path) == ("valid", "every claim is confirmed")


@pytest.mark.parametrize(
    "options", [{"widths": [4, 10, 2]}, {"widths": [4, 9, 8, 3]}, {"repeats": 2}]
)
def test_other_networks(options: dict[str, Any], tmp_path: Path) -> None:
    found = smoothed_draft(**options)
    assert verdict(found, tmp_path) == ("valid", "every claim is confirmed")


STRONGER = {
    "initial_gap_upper": 1 - 1e-5, "initial_loss_upper": 1 - 1e-5, "pl_lower": 1.01,
    "sigma_min_lower": 1 + 1e-5, "jacobian_norm_upper": 1 - 1e-5, "radius": 1 - 1e-5,
    "step_size": 1.2, "one_minus_rate": 1 + 1e-5, "rate": 0.5, "halving_steps": 1 - 1e-5,
    "target_loss": 1 - 1e-5, "overshoot_radius": 1 - 1e-5, "epsilon": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("key", STRONGER)
def test_a_stronger_claim(key: str, draft: EntropyDraft, tmp_path: Path) -> None:
    if key in draft.claims:
        draft.claims[key] *= STRONGER[key]
        assert verdict(draft, tmp_path)[0] == "invalid"


def test_a_smaller_beta(draft: EntropyDraft, tmp_path: Path) -> None:
    draft.claims["jacobian_lipschitz_upper"][0][1] *= 1 - 3e-6
    assert verdict(draft, tmp_path)[0] == "incomplete"


@pytest.mark.parametrize("change", [-1.0, 0.5])
def test_the_number_of_steps(change: float, tmp_path: Path) -> None:
    found = target_draft()
    found.claims["steps_upper"] += change
    assert verdict(found, tmp_path)[0] == "invalid"


@pytest.mark.parametrize("size", [5e-324, 1e-160, 1e160, 1.7e308])
@pytest.mark.parametrize("key", sorted(STRONGER))
def test_extreme_claims_get_a_verdict(
    key: str, size: float, draft: EntropyDraft, tmp_path: Path
) -> None:
    weaker = {"halving_steps": 1, "rate": 1, "one_minus_rate": -1, "step_size": -1, "pl_lower": -1}
    if key in draft.claims:
        draft.claims[key] = size
        found = verdict(draft, tmp_path)[0]
        assert found != "valid" or weaker.get(key, 0) * (size - 1) > 0


def test_another_label(draft: EntropyDraft, tmp_path: Path) -> None:
    draft.labels[1] = (draft.labels[1] + 1) % draft.k
    draft.arrays["targets"] = (draft.labels.astype("<i8").tobytes(), "I64", draft.labels.shape)
    found, reason = verdict(draft, tmp_path)
    assert found == "invalid"
    assert "disproved" in reason


@pytest.mark.parametrize("label", [-1, 3, 2**62])
def test_a_label_that_is_no_class(label: int, draft: EntropyDraft, tmp_path: Path) -> None:
    draft.labels[0] = label
    draft.arrays["targets"] = (draft.labels.astype("<i8").tobytes(), "I64", draft.labels.shape)
    assert verdict(draft, tmp_path) == ("invalid", "a label is not one of the classes")


@pytest.mark.parametrize(
    ("dtype", "shape"), [("<f8", (-1,)), ("<f8", (-1, 1)), ("<i8", (-1, 1)), ("<i8", (1, -1))]
)
def test_labels_of_another_form(
    dtype: str, shape: tuple[int, ...], draft: EntropyDraft, tmp_path: Path
) -> None:
    array = draft.labels.astype(dtype).reshape(shape)
    kind = {"<f8": "F64", "<i8": "I64"}[dtype]
    draft.arrays["targets"] = (array.tobytes(), kind, array.shape)
    assert verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize("name", ["weights/0.weight", "weights/2.bias", "inputs"])
def test_integers_where_numbers_belong(name: str, draft: EntropyDraft, tmp_path: Path) -> None:
    raw, _, shape = draft.arrays[name]
    draft.arrays[name] = (raw, "I64", shape)
    assert verdict(draft, tmp_path)[0] == "invalid"


@pytest.mark.parametrize(
    "loss",
    [
        {"label_smoothing": (SMOOTHING * (1 + 1e-6)).hex()},
        {"label_smoothing": (SMOOTHING / 2).hex()},
        {"label_smoothing": (1.0 + 2.0**-52).hex()},
        {"label_smoothing": "-0x0.0p+0"},
        {"label_smoothing": "nan"},
        {"label_smoothing": SMOOTHING},
        {"scaling": "half_sum"},
        {"kind": "squared"},
        {"kind": "hinge"},
        {"temperature": "0x1.0p+0"},
    ],
)
def test_another_loss(loss: dict[str, Any], draft: EntropyDraft, tmp_path: Path) -> None:
    tree = draft.tree()
    tree["loss"] |= loss
    if "label_smoothing" in loss:  # the sentence follows where it can
        stated = f"label smoothing {SMOOTHING}"
        try:
            other = f"label smoothing {float.fromhex(loss['label_smoothing'])}"
        except TypeError:
            other = stated
        tree["claim"] = tree["claim"].replace(stated, other)
    path = write(tmp_path / "a.talweg", canonical(tree), draft.blob())
    assert check(str(path)).verdict == "invalid"


@pytest.mark.parametrize("theorem", ["T4", "T13", "T11", "T7"])
def test_another_theorem(theorem: str, draft: EntropyDraft, tmp_path: Path) -> None:
    if theorem != draft.theorem:
        tree = draft.tree() | {"theorem": theorem}
        path = write(tmp_path / "a.talweg", canonical(tree), draft.blob())
        assert check(str(path)).verdict == "invalid"


@pytest.mark.parametrize("smoothing", [0.0, SMOOTHING])
def test_smoothing_and_theorem_belong_together(smoothing: float, tmp_path: Path) -> None:
    """The rules themselves refuse it, whatever the sentence says."""
    found = target_draft() if smoothing else smoothed_draft()
    found.smoothing = smoothing
    state, reason = verdict(found, tmp_path)
    assert state == "invalid"
    assert "label_smoothing" in reason


def test_equal_inputs_with_different_labels(tmp_path: Path) -> None:
    found = smoothed_draft(repeats=2)
    found.labels[-1] = (found.labels[-1] + 1) % found.k
    found.arrays["targets"] = (found.labels.astype("<i8").tobytes(), "I64", found.labels.shape)
    state, reason = verdict(found, tmp_path)
    assert state == "invalid"
    assert "rows 1 and 6" in reason


def test_labels_kept_elsewhere(tmp_path: Path) -> None:
    from talweg_check._cli import main

    found = smoothed_draft()
    path = str(found.save(tmp_path / "a.talweg", leave_out=("inputs", "targets")))
    np.save(tmp_path / "x.npy", found.problem.inputs)
    np.save(tmp_path / "y.npy", found.labels.astype(np.int64))
    given = ["--inputs", str(tmp_path / "x.npy"), "--targets", str(tmp_path / "y.npy")]
    assert main([path]) == 3
    assert main([path, *given]) == 0
    np.save(tmp_path / "y.npy", np.roll(found.labels, 1).astype(np.int64))
    assert main([path, *given]) == 1


def test_the_frame_spans_the_zero_sum_vectors() -> None:
    for k in range(2, 8):
        frame = CrossEntropy(Fraction(1), "sum", "", 1, k, Fraction(0)).frame
        assert np.allclose(approx(matmul(frame, frame.T)), np.eye(k - 1))
        assert all(row.sum().contains(arb(0)) for row in frame)


def test_descent_does_what_the_draft_claims() -> None:
    """The generator's numbers describe what gradient descent does."""
    problem, labels = classifier([4, 14, 3])
    draft = EntropyDraft(problem, labels, scaling="sum").measure().conclude()
    from classifier import smoothed

    q, gaps = smoothed(labels, 3, SMOOTHING), []
    for _ in range(100):
        problem.forward()
        e = np.exp(problem.values)
        p = e / e.sum(axis=1, keepdims=True)
        gaps.append((q * np.log(q / p)).sum())
        problem.move(draft.claims["step_size"] * (p - q))
    gain = draft.claims["one_minus_rate"]
    assert np.all(np.diff(gaps) <= -gain * np.array(gaps[:-1]) + 1e-13)
