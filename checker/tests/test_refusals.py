"""Refusals that a small slip in the code could drop: each is asked for alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classifier import EntropyDraft, smoothed_draft
from flint import arb, ctx
from generator import Draft, chain, encode

from talweg_check import _linear_algebra as algebra
from talweg_check import check
from talweg_check._arrays import PRECISION, exact
from talweg_check._cli import main
from talweg_check._file import StoredArray
from talweg_check._network import stages_of
from talweg_check._verdict import Incomplete


@pytest.mark.parametrize("shape", [(5, 4), (7, 4), (6, 3), (6, 5)])
def test_given_data_of_another_shape(shape: tuple[int, int], draft: Draft, tmp_path: Path) -> None:
    """The hash is that of the given data, so it alone does not tell."""
    values = np.arange(float(shape[0] * shape[1])).reshape(shape)
    draft.arrays["inputs"] = (*encode(values, "F64"), shape)
    path = draft.save(tmp_path / "a.talweg", leave_out=("inputs", "targets"))
    raw, dtype, of = draft.arrays["targets"]
    found = check(str(path), (StoredArray("F64", shape, values.tobytes()),
                              StoredArray(dtype, of, raw)))  # fmt: skip
    assert found.verdict == "invalid"
    assert found.reason == "the given data do not fit the model or 'counts'"


@pytest.mark.parametrize("factor", [1.001, 1e3, 1e12])
def test_a_step_far_too_large_for_a_cross_entropy(factor: float, tmp_path: Path) -> None:
    """The condition on the step is squared: its sign has to be asked for as well."""
    draft: EntropyDraft = smoothed_draft()
    draft.claims["step_size"] *= factor
    found = check(str(draft.save(tmp_path / "a.talweg")))
    assert (found.verdict, found.reason) == (
        "invalid", "the claims do not satisfy: eta M <= 2 epsilon",
    )  # fmt: skip


def test_a_file_of_objects_is_not_loaded(
    draft: Draft, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loading one would run what it says."""
    path = str(draft.save(tmp_path / "a.talweg", leave_out=("inputs", "targets")))
    objects = tmp_path / "x.npy"
    objects.write_bytes(b"\x80\x04]\x94.")  # an empty list, and nothing of NumPy
    assert main([path, "--inputs", str(objects), "--targets", str(objects)]) == 2
    assert "is not a readable .npy file" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.5, 0.9, 1.5])
@pytest.mark.parametrize("factor", [np.zeros_like, np.ones_like])
def test_norms_with_wrong_hints(share: float, factor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate of the eigenvalue and the factor may be anything."""
    eigvalsh = np.linalg.eigvalsh
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda hint: share * eigvalsh(hint))
    monkeypatch.setattr(algebra, "_cholesky", factor)
    matrix = exact(np.diag([5.0, 1.0]))
    with ctx.workprec(PRECISION):
        if share < 0.9:  # more bits than there are
            with pytest.raises(Incomplete, match="beyond the reach of 64 bits"):
                algebra.norm_upper(matrix)
        else:
            assert algebra.norm_upper(matrix) >= 5


@pytest.mark.parametrize("block", [1, 2, 3, 500])
@pytest.mark.parametrize("centre", [0, 2, 4])
def test_row_sums_across_blocks(block: int, centre: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No factor exists, so every row sum is as large as it looks, whichever block holds it."""
    monkeypatch.setattr(algebra, "BLOCK", block)
    star = np.eye(5)
    star[centre, :] = star[:, centre] = 0.375
    star[centre, centre] = 1
    with ctx.workprec(PRECISION):
        assert algebra.smallest_eigenvalue_lower(exact(star), 1.0) <= arb(0.25)


@pytest.mark.parametrize("behind", ["scale", "identity"])
def test_a_straight_function_behind_a_curved_one(behind: str) -> None:
    operations, weights = chain(np.random.default_rng(0), [3, 4, 2])
    item = {"kind": "elementwise", "function": behind, "parameters": {}}
    if behind == "scale":
        item = {"kind": "scale", "numerator": 3.0, "denominator": 2.0}
    stages = stages_of([*operations[:2], item, *operations[2:]], weights)
    assert [stage.curved for stage in stages] == [False, True, False]
