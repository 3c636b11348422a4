"""Planted lies are found and proved, honest certificates survive, misuse is refused."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from tests.soundness.falsification_power import (
    LIES,
    THOROUGH,
    another_loss,
    honest,
    search,
    smallest_found,
    told,
)
from torch import Tensor, nn

import talweg
from talweg.certificate import Certificate, Document
from talweg.falsification import Search, Violation
from talweg.falsification._board import QUICK

NAMED = {lie.name: lie for lie in LIES}


@pytest.fixture(scope="module")
def problem() -> tuple[nn.Module, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        X = torch.randn(3, 2, generator=generator, dtype=torch.float64)
        return model, X, model(X)


def certified(problem: tuple[nn.Module, Tensor, Tensor], kind: str) -> Certificate:
    model, X, outputs = problem
    arguments: dict[str, Any] = {"attack": False}
    y: Tensor = outputs + 1e-3
    if kind == "T13":
        y = torch.tensor([0, 1, 1])
        loss = float(nn.functional.cross_entropy(outputs, y))
        arguments |= {"loss": "cross_entropy", "target": 0.9999 * loss}
    elif kind == "entropy T4":
        model = copy.deepcopy(model)
        assert isinstance(model, nn.Sequential)
        with torch.no_grad():
            model[-1].weight.mul_(1e-4)
            model[-1].bias.zero_()
        y = torch.tensor([0, 1, 1])
        arguments |= {"loss": "cross_entropy_sum", "label_smoothing": 1.0}
    elif kind == "T7":
        arguments["target"] = 1e-8
    else:
        arguments["theorem"] = kind
    found = talweg.certify(model, (X, y), **arguments)
    assert found.status == "PROVED", found.reason
    return found


@pytest.mark.parametrize("kind", ["T11", "T4", "T7", "T9", "entropy T4", "T13"])
def test_nothing_is_found_against_an_honest_certificate(
    problem: tuple[nn.Module, Tensor, Tensor], kind: str
) -> None:
    found = Search(certified(problem, kind), effort=QUICK).run(rounds=1)
    assert found.violation is None, found.summary()
    assert found.rounds == 1
    assert all(a.ratio is None or a.ratio <= 1.0 for a in found.attacks)
    names = {a.attack for a in found.attacks}
    assert {"sigma_min at w0", "Lipschitz constant", "descent: rate", "descent: radius"} <= names
    assert ("rounding of a step" in names) == (kind == "T9")


@pytest.mark.parametrize(
    ("name", "lie", "size"),
    [
        ("linear", "residual_norm_upper -", 1e-5),
        ("linear", "sigma_min_lower +", 1e-5),
        ("linear", "jacobian_norm_upper -", 1e-5),
        ("linear", "one_minus_rate +", 1e-4),
        ("linear", "rate -", 1e-4),
        ("product", "jacobian_lipschitz_upper -", 1e-4),
        ("product", "radius -", 0.05),
        ("product", "step_size +", 0.2),
        ("ordinary", "jacobian_lipschitz_upper -", 0.1),
        ("ordinary", "one_minus_rate +", 0.1),
        ("ordinary", "step_size beyond divergence", 0.05),
        ("linear", "step_size beyond divergence", 0.05),
    ],
)
def test_a_lie_where_the_claim_is_sharp(name: str, lie: str, size: float) -> None:
    """Found at this size or a smaller one, and never at none: the truth passes."""
    found = smallest_found(honest(name), NAMED[lie], THOROUGH)
    assert found is not None
    assert found[0] <= size
    assert search(honest(name)).violation is None


@pytest.mark.parametrize("scaling", ["sum", "mean"])
def test_numbers_meant_for_another_scaling(scaling: str) -> None:
    assert search(another_loss(honest("linear"), scaling), THOROUGH).violation is not None


@pytest.mark.parametrize(
    ("kind", "key", "factor"),
    [
        ("T7", "steps_upper", 1e-3), ("T7", "overshoot_radius", 1e-3), ("T13", "rate", 0.999),
        ("T13", "initial_loss_upper", 0.999), ("T13", "sigma_min_lower", 1.01),
        ("entropy T4", "initial_gap_upper", 0.99), ("entropy T4", "one_minus_rate", 3.0),
        ("T9", "gradient_error_upper", 1e-4), ("T9", "one_minus_rate", 4.0),
        ("T9", "steps_upper", 0.1), ("T4", "radius", 0.02),
    ],
)  # fmt: skip
def test_a_lie_about_every_theorem(
    problem: tuple[nn.Module, Tensor, Tensor], kind: str, key: str, factor: float
) -> None:
    document = certified(problem, kind).document
    assert document is not None
    body = copy.deepcopy(document.body)
    value = float.fromhex(body["claims"][key]) * factor
    if key == "steps_upper":
        value = float(max(1, int(value)))
    body["claims"][key] = value.hex()
    if key == "overshoot_radius":  # only a radius as small makes an iterate leave it
        body["claims"]["radius"] = value.hex()
    found = Search(Document(body, document.arrays), effort=THOROUGH).run(rounds=1)
    assert found.violation is not None, str(found)
    assert found.violation.bits >= 256


def test_the_same_seed_tries_the_same(problem: tuple[nn.Module, Tensor, Tensor]) -> None:
    certificate = certified(problem, "T11")
    runs = [Search(certificate, seed=5, effort=QUICK).run(rounds=1) for _ in range(2)]
    one, two = ([(a.attack, a.ratio, a.points) for a in run.attacks] for run in runs)
    assert one == two


def test_a_violation_is_saved_whole(tmp_path: Path) -> None:
    violation = search(told(honest("product"), NAMED["jacobian_lipschitz_upper -"], 0.1)).violation
    assert violation is not None
    assert violation.attained > violation.claimed
    violation.save(tmp_path / "hit.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["hit.zip"]
    with zipfile.ZipFile(tmp_path / "hit.zip") as archive:
        record = json.loads(archive.read("violation.json"))
        arrays = load(archive.read("arrays.safetensors"))
    assert record["attack"] == "Lipschitz constant"
    assert float.fromhex(record["claimed"]) == violation.claimed
    assert set(arrays) == {"displacement", "u", "v", "d"}
    assert torch.equal(arrays["v"], violation.arrays["v"])


def test_a_violation_without_arrays_is_saved(tmp_path: Path) -> None:
    Violation("a", "b", 2.0, 1.0, 256, {}, {}).save(tmp_path / "hit.zip")
    with zipfile.ZipFile(tmp_path / "hit.zip") as archive:
        assert load(archive.read("arrays.safetensors")) == {}


def test_a_file_and_a_certificate(
    problem: tuple[nn.Module, Tensor, Tensor], tmp_path: Path
) -> None:
    certificate = certified(problem, "T11").save(tmp_path / "one.talweg")
    stages: list[str] = []
    for given in (certificate, tmp_path / "one.talweg", str(tmp_path / "one.talweg")):
        found = talweg.falsify(given, seconds=0.3, progress=stages.append)
        assert found.violation is None
        assert "this proves nothing" in str(found)
        assert found.to_dict()["violation"] is None
    assert "following gradient descent" in stages


def test_gradients_may_be_off(problem: tuple[nn.Module, Tensor, Tensor]) -> None:
    certificate = certified(problem, "T11")
    with torch.no_grad():
        assert Search(certificate, effort=QUICK).run(rounds=1).violation is None


def test_nothing_to_attack(problem: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, X, outputs = problem
    undecided = talweg.certify(model, (X, outputs + 1e3), attack=False)
    with pytest.raises(talweg.InputError, match="must hold a claim; this one is UNDECIDED"):
        talweg.falsify(undecided)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_seconds_out_of_range(seconds: float) -> None:
    with pytest.raises(talweg.InputError, match="`seconds` of falsify must be a positive number"):
        talweg.falsify("any", seconds=seconds)


def test_seed_out_of_range() -> None:
    with pytest.raises(talweg.InputError, match="`seed` of falsify must be an integer from 0"):
        talweg.falsify("any", seed=-1)


def without_data(document: Document) -> None:
    del document.arrays["inputs"], document.arrays["targets"]  # type: ignore[attr-defined]


def without_a_claim(document: Document) -> None:
    del document.body["claims"]["radius"]


def with_an_unknown_function(document: Document) -> None:
    document.body["model"][1]["function"] = "relu"


def with_an_unknown_theorem(document: Document) -> None:
    document.body["theorem"] = "T99"


def with_weights_that_do_not_fit(document: Document) -> None:
    document.arrays["weights/2.weight"] = torch.ones(1, 3, dtype=torch.float64)


def with_an_entry_that_is_not_finite(document: Document) -> None:
    document.arrays["inputs"] = torch.full_like(document.arrays["inputs"], torch.inf)


def with_fewer_targets(document: Document) -> None:
    document.arrays["targets"] = document.arrays["targets"][:2]


def with_flat_inputs(document: Document) -> None:
    document.arrays["inputs"] = document.arrays["inputs"].flatten()


def with_counts_that_are_words(document: Document) -> None:
    document.body["counts"]["samples"] = "three"


def with_a_scale_by_zero(document: Document) -> None:
    zero = (0.0).hex()
    document.body["model"][1] = {"kind": "scale", "numerator": zero, "denominator": zero}


def with_labels_that_are_numbers(document: Document) -> None:
    document.body["theorem"] = "T4"
    document.body["claims"] |= dict.fromkeys(("initial_gap_upper", "pl_lower", "epsilon"), "0x1p-3")
    document.body["loss"] = {"kind": "cross_entropy", "scaling": "sum", "label_smoothing": "0x1p-1"}


def with_a_program_of_something_else(document: Document) -> None:
    document.body["theorem"] = "T9"
    names = ("theta", "gradient_error_upper", "floor", "steps_upper")
    document.body["claims"] |= dict.fromkeys(names, "0x1p-3")
    document.body["model"][1]["function"] = "silu"


def with_a_list_for_an_object(document: Document) -> None:
    document.body["claims"] = [1, 2, 3]


def with_an_infinite_claim(document: Document) -> None:
    document.body["claims"]["radius"] = "inf"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_data, "must hold its data"),
        (without_a_claim, "needs the claims"),
        (with_an_unknown_function, "unknown function 'relu'"),
        (with_an_unknown_theorem, "theorem 'T99'"),
        (with_weights_that_do_not_fit, "do not fit together"),
        (with_an_infinite_claim, "not a finite number"),
        (with_an_entry_that_is_not_finite, "an entry that is not finite"),
        (with_fewer_targets, "must be a certificate of format 1"),
        (with_flat_inputs, "must be a certificate of format 1"),
        (with_counts_that_are_words, "must be counted"),
        (with_a_scale_by_zero, "divides by zero"),
        (with_labels_that_are_numbers, "no labels"),
        (with_a_program_of_something_else, "has no silu"),
        (with_a_list_for_an_object, "must be a certificate of format 1"),
    ],
)
def test_files_that_are_no_certificates(change: Callable[[Document], None], message: str) -> None:
    document = honest("ordinary")
    broken = Document(copy.deepcopy(document.body), dict(document.arrays))
    change(broken)
    with pytest.raises(talweg.TalwegError, match=message):
        Search(broken)
