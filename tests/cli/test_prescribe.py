"""``talweg prescribe``: what it prints, exit codes, and one message on bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
WriteSpec = Callable[..., str]

HELD_OUT = """
X, y = data(5)
X_test, y_test = data(9)
return {"model": network(), "X": X, "y": y, "X_test": X_test, "y_test": y_test}
"""
PAIRED = """
model = nn.Sequential(nn.Linear(3, width, bias=False), nn.Tanh(), nn.Linear(width, 1, bias=False))
model = model.double()
half = torch.randn(
    width // 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
)
ones = torch.ones(1, width // 2, dtype=torch.float64)
with torch.no_grad():
    model[0].weight.copy_(torch.cat([half, half]))
    model[2].weight.copy_(torch.cat([ones, -ones], 1))
X, y = data(3)
return model, X, 0.1 * y
"""


@pytest.fixture
def spec(write_spec: WriteSpec) -> str:
    return write_spec(HELD_OUT)


def lines(text: str) -> dict[str, str]:
    return {line[:20].strip(): line[21:] for line in text.splitlines() if len(line) > 21}


def test_scale(talweg: Command, spec: str) -> None:
    done = talweg("prescribe", "scale", spec, "--out", "s.talweg", "--descent-steps", "20")
    assert done.code == 0, done.text
    assert done.err == ""
    shown = lines(done.out)
    assert shown["status"] == "PROVED"
    assert "certified" in shown["smallest scale"]
    assert shown["price"].startswith("lazy training")
    assert "halving steps <=" in shown
    assert "mean squared" in shown["held-out error"]
    assert Path("s.talweg").is_file()
    assert talweg("check", "s.talweg").code == 0


def test_scale_as_json(talweg: Command, spec: str) -> None:
    done = talweg("prescribe", "scale", spec, "--form", "antisymmetric", "--json")
    record = json.loads(done.out)
    assert done.code == 0
    assert record["status"] == "PROVED"
    assert record["form"] == "antisymmetric"
    assert record["halving_steps"] > 0
    assert record["outlook"]["held_out_error"] > 0


def test_width(talweg: Command, write_spec: WriteSpec) -> None:
    write_spec("return network(), *data()")
    body = "\n".join("    " + line for line in PAIRED.strip().splitlines())
    path = Path("case.py")
    path.write_text(path.read_text() + f"\ndef wide(width=64, seed=0):\n{body}\n")
    done = talweg(
        "prescribe", "width", "case.py:wide", "--low", "4", "--high", "4096", "--multiple", "2",
        "--seeds", "2", "--resolution", "0.2", "--descent-steps", "10", "--out", "w.talweg",
    )  # fmt: skip
    assert done.code == 0, done.text
    assert talweg("check", "w.talweg").code == 0
    assert lines(done.out)["status"] == "PROVED"
    assert "no held-out rows given" in done.out
    assert "smallest width" in done.out


def test_width_needs_a_function_of_width_and_seed(talweg: Command, spec: str) -> None:
    done = talweg("prescribe", "width", spec)
    assert done.code == 2
    assert "width, seed" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_step_of_untrained_weights_is_undecided(talweg: Command, spec: str) -> None:
    done = talweg("prescribe", "step", spec, "--out", "s.talweg")
    assert done.code == 1
    shown = lines(done.out)
    assert shown["status"] == "UNDECIDED"
    assert "PROVED" not in done.text
    assert "talweg prescribe train" in shown["what to do"]
    assert "float estimate" in shown["2 / sharpness"]
    assert "not written" in shown["file"]
    assert not Path("s.talweg").exists()


def test_train(talweg: Command, spec: str) -> None:
    done = talweg(
        "prescribe", "train", spec, "--max-steps", "3000", "--descent-steps", "5", "--json"
    )
    record = json.loads(done.out)
    assert done.code == 0
    assert record["status"] == "PROVED"
    assert 0 < record["trapping_time"] <= 3000
    assert record["halving_steps"] > 0
    assert record["outlook"]["held_out_error"] > 0


def test_train_that_is_too_short(talweg: Command, spec: str) -> None:
    done = talweg("prescribe", "train", spec, "--max-steps", "5", "--optimizer", "sgd")
    assert done.code == 1
    assert lines(done.out)["trapping time"] == "none"
    assert "PROVED" not in done.text


@pytest.mark.parametrize("method", ["lecun", "lecun_abs", "conditional_positive"])
def test_init_that_proves_nothing(talweg: Command, spec: str, method: str) -> None:
    done = talweg("prescribe", "init", spec, "--method", method, "--descent-steps", "5")
    assert done.code == 1
    shown = lines(done.out)
    assert shown["initialisation"] == f"{method}, seed 0"
    assert shown["what to do"]
    assert "inf" not in shown["missing factor"]
    assert "held-out error" in shown


def test_positive_init_is_certified(talweg: Command, write_spec: WriteSpec) -> None:
    spec = write_spec("X, y = data(3)\nreturn network(width=4), X, y")
    done = talweg("prescribe", "init", spec, "--descent-steps", "5")
    assert done.code == 0, done.text
    shown = lines(done.out)
    assert shown["status"] == "PROVED"
    assert float(shown["output entries"]) > 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scale", "nowhere.py:problem"), "no file"),
        (("train", "SPEC", "--lr", "-1"), "--lr"),
        (("scale", "SPEC", "--headroom", "0.1"), "headroom"),
        (("step", "SPEC", "--out", "missing/s.talweg"), "--out"),
        (("init", "SPEC", "--method", "zeros"), "zeros"),
    ],
)
def test_bad_input_is_one_message(
    talweg: Command, spec: str, arguments: tuple[str, ...], message: str
) -> None:
    done = talweg("prescribe", *(spec if a == "SPEC" else a for a in arguments))
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_a_target_has_no_place_here(talweg: Command, write_spec: WriteSpec) -> None:
    spec = write_spec('X, y = data()\nreturn {"model": network(), "X": X, "y": y, "target": 0.1}')
    done = talweg("prescribe", "scale", spec)
    assert done.code == 2
    assert "zero loss" in done.err


CLASSES = """
X, _ = data(6)
y = torch.tensor([0, 1, 2, 0, 1, 2])
return {"model": network(k=3), "X": X, "y": y, "X_test": X, "y_test": y,
        "loss": "cross_entropy", "label_smoothing": 0.1}
"""


def test_classes_until_proved(talweg: Command, write_spec: WriteSpec) -> None:
    spec = write_spec(CLASSES)
    method = ("--lr", "0.03", "--max-steps", "1500", "--descent-steps", "20")
    done = talweg("prescribe", "train", spec, *method, "--out", "c.talweg")
    assert done.code == 0, done.text
    shown = lines(done.out)
    assert shown["status"] == "PROVED"
    assert "that T4 certifies" in shown["trapping time"]
    assert "loss above its infimum" in shown["measured"]
    assert "cross-entropy, no smoothing" in shown["held-out error"]
    assert talweg("check", "c.talweg").code == 0


@pytest.mark.parametrize("command", ["scale", "step", "init"])
def test_what_is_for_squared_losses_names_what_is_not(
    talweg: Command, write_spec: WriteSpec, command: str
) -> None:
    done = talweg("prescribe", command, write_spec(CLASSES))
    assert done.code == 2, done.text
    assert "prescribe train --loss cross_entropy --label-smoothing" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_classes_without_smoothing(talweg: Command, write_spec: WriteSpec) -> None:
    done = talweg("prescribe", "train", write_spec(CLASSES), "--label-smoothing", "0")
    assert done.code == 2
    assert "must be above 0 and at most 1 for a cross-entropy" in done.err


def test_half_of_the_held_out_rows_is_refused(talweg: Command, write_spec: WriteSpec) -> None:
    spec = write_spec('X, y = data()\nreturn {"model": network(), "X": X, "y": y, "X_test": X}')
    done = talweg("prescribe", "scale", spec)
    assert done.code == 2
    assert "X_test and y_test" in done.err


def test_certify_leaves_held_out_rows_aside(talweg: Command, spec: str) -> None:
    assert talweg("certify", spec, "--no-attack").code == 0


@pytest.mark.parametrize("command", ["scale", "init", "step", "train"])
def test_a_model_that_cannot_be_copied_is_bad_input(
    talweg: Command, write_spec: WriteSpec, command: str
) -> None:
    """What foreign code raises while it is copied or trained is no defect of talweg."""
    spec = write_spec(
        """
class Single(nn.Sequential):
    def __deepcopy__(self, memo):
        raise TypeError("there is only one")

model = Single(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
X, y = data(5)
return model, X, y
"""
    )
    done = talweg("prescribe", command, spec, "--descent-steps", "2")
    assert done.code == 2, done.text
    assert "there is only one" in done.err
    assert "Traceback" not in done.err
