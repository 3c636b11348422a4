"""Bad input through the command line: the exit code, one message that helps, no file left."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
WriteSpec = Callable[..., str]


@pytest.fixture
def refused(
    talweg: Command, write_spec: WriteSpec, folder: Callable[[], set[str]]
) -> Callable[..., str]:
    """Certify a specification that must be refused; return the message."""

    def run(body: str, *parts: str, code: int = 2) -> str:
        spec = write_spec(body)
        before = folder()
        done = talweg("certify", spec, "--out", "case.talweg")
        assert done.code == code, done.text
        assert "Traceback" not in done.text
        assert "PROVED" not in done.text
        assert folder() == before
        if code == 2:
            assert done.out == ""
            assert done.err.startswith("talweg: error: ")
            assert done.err.count("\n") == 1
        for part in parts:
            assert part in done.text
        return str(done.text)

    return run


Refused = Callable[..., str]


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("name", ["X", "y"])
def test_data_that_is_not_finite(refused: Refused, name: str, value: str) -> None:
    refused(
        f"X, y = data()\n{name}[4, 0] = float('{value}')\nreturn network(), X, y",
        f"{name} of ",
        "must be finite",
        "row 4, column 0",
        value,
    )


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_not_finite(refused: Refused, value: str) -> None:
    refused(
        f"model = network()\nmodel[0].weight.data[1, 2] = float('{value}')\nreturn model, *data()",
        "0.weight",
        value,
    )


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("X, y = data()\nreturn network(d=4), X, y", ["X of", "4 features", "(n, 3)"]),
        ("X, y = data()\nreturn network(k=2), X, y", ["y of", "(n, 2)", "(6, 1)"]),
        (
            "X, y = data()\nreturn network(), X, y[:5]",
            ["y of", "one row for each row of X", "(5, 1)"],
        ),
        ("X, y = data()\nreturn network(), X[0], y[0]", ["X of", "at least one axis more"]),
    ],
    ids=["features", "outputs", "rows", "one sample"],
)
def test_shapes_that_do_not_match(refused: Refused, body: str, parts: Sequence[str]) -> None:
    refused(body, *parts)


def test_empty_data(refused: Refused) -> None:
    refused("X, y = data()\nreturn network(), X[:0], y[:0]", "at least one sample", "(0, 3)")


@pytest.mark.parametrize("name", ["X", "y"])
def test_integer_data(refused: Refused, name: str) -> None:
    hint = "one_hot" if name == "y" else "X.to(torch.float32)"
    refused(
        f"X, y = data()\n{name} = {name}.round().long()\nreturn network(), X, y",
        f"{name} of",
        "torch.int64",
        hint,
    )


def test_fewer_parameters_than_residuals(refused: Refused) -> None:
    message = refused("return network(d=3, k=1, width=2), *data(n=40)", code=1)
    assert "UNDECIDED" in message
    assert "p = 11 " in message
    assert "N = 40 " in message


def test_equal_inputs_with_different_targets(refused: Refused) -> None:
    message = refused("X, y = data()\nX[5] = X[2]\nreturn network(), X, y", code=1)
    assert "REFUTED" in message
    assert "zero loss impossible: rows 2, 5" in message


def test_equal_inputs_with_equal_targets_are_merged_and_reported(
    talweg: Command, write_spec: WriteSpec
) -> None:
    spec = write_spec("X, y = data()\nX[5], y[5] = X[2], y[2]\nreturn network(), X, y")
    done = talweg("certify", spec, "--no-attack", "--json")
    record = json.loads(done.out)
    assert done.code == 0
    assert record["status"] == "PROVED"
    assert record["samples"] == 6
    assert any("6 rows hold 5 distinct inputs" in note for note in record["notes"])


@pytest.mark.parametrize(
    ("activation", "name", "instead"),
    [
        ("nn.ReLU()", "ReLU", "GELU"),
        ("nn.LeakyReLU()", "LeakyReLU", "SmoothLeakyReLU"),
        ("nn.MaxPool1d(1)", "MaxPool1d", "not smooth"),
    ],
)
def test_activations_that_are_not_smooth(
    refused: Refused, activation: str, name: str, instead: str
) -> None:
    refused(f"return network(activation={activation}), *data()", "'1'", name, instead)


def test_batch_norm_in_training_mode(refused: Refused) -> None:
    refused(
        "return network(activation=nn.BatchNorm1d(32)), *data()",
        "'1'",
        "BatchNorm1d in training mode",
        "model.eval()",
    )


def test_active_dropout(refused: Refused) -> None:
    refused("return network(activation=nn.Dropout(0.5)), *data()", "'1'", "Dropout", "model.eval()")


def test_shared_parameters(refused: Refused) -> None:
    refused(
        "layer = nn.Linear(3, 3).double()\n"
        "model = nn.Sequential(layer, nn.Tanh(), nn.Linear(3, 3).double())\n"
        "model[2].weight = nn.Parameter(layer.weight.detach())\n"
        "return model, *data(k=3)",
        "'0.weight' and '2.weight' share memory",
        "its own storage",
    )


def test_a_module_that_is_not_supported(refused: Refused) -> None:
    message = refused(
        "return nn.Sequential(nn.LSTM(3, 1)).double(), *data()", "'0'", "LSTM", "Linear", "Tanh"
    )
    problem, remedy, listed = map(message.index, ("a LSTM", "Write the recurrence", "Supported"))
    assert problem < remedy < listed


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("case.py", ["package.module:function or file.py:function"]),
        ("absent.py:problem", ["there is no file"]),
        ("no_such_package.module:problem", ["there is no module no_such_package"]),
        ("talweg.no_such:problem", ["does not import", "talweg.no_such"]),
        ("no-name:problem", ["is no module name", "train.py:problem"]),
        ("broken.py:problem", ["broken.py does not import", "SyntaxError", "line 1"]),
        ("raises.py:problem", ["does not import", "ZeroDivisionError", "raises.py, line 1"]),
        ("exits.py:problem", ["does not import", "SystemExit"]),
        ("case.py:absent", ["there is no 'absent'", "problem"]),
        ("case.py:VALUE", ["must name a function", "int"]),
        ("case.py:wants", ["without arguments", "'x'"]),
        ("case.py:fails", ["the function failed", "ValueError: on purpose", "line 5"]),
        ("case.py:nothing", ["must return (model, X, y)", "NoneType"]),
        ("case.py:pair", ["must return (model, X, y)", "length 2"]),
        ("case.py:swapped", ["torch.nn.Module as the model", "in this order"]),
        ("case.py:array", ["X as a torch.Tensor", "list", "torch.as_tensor(X)"]),
        ("case.py:lacks", ["lacks y"]),
        ("case.py:more", ["has epochs"]),
    ],
)
def test_specifications_that_do_not_load(
    talweg: Command, write_spec: WriteSpec, tmp_path: Path, spec: str, parts: Sequence[str]
) -> None:
    write_spec("pass", "unused.py")  # moves into the folder
    (tmp_path / "broken.py").write_text("def problem(:\n")
    (tmp_path / "raises.py").write_text("1 / 0\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "case.py").write_text(
        "import torch\n"
        "VALUE = 3\n"
        "def problem(): return None\n"
        "def wants(x): return x\n"
        "def fails(): raise ValueError('on purpose')\n"
        "def nothing(): pass\n"
        "def pair(): return torch.zeros(2), torch.zeros(2)\n"
        "def swapped(): return torch.zeros(2), torch.zeros(2), torch.nn.Tanh()\n"
        "def array(): return torch.nn.Tanh(), [1.0], torch.zeros(1)\n"
        "def lacks(): return {'model': torch.nn.Tanh(), 'X': torch.zeros(1, 1)}\n"
        "def more(): return {'model': 0, 'X': 0, 'y': 0, 'epochs': 1}\n"
    )
    done = talweg("certify", spec)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("talweg: error: SPEC ")
    assert done.err.count("\n") <= 4  # a syntax error quotes its line
    assert "Traceback" not in done.err
    for part in parts:
        assert part in done.err


@pytest.mark.parametrize(
    ("out", "part"),
    [
        ("absent/case.talweg", "there is no folder absent"),
        (".", "is a folder"),
        ("case.py/case.talweg", "there is no folder case.py"),
        ("/dev/null", "no regular file"),
    ],
)
def test_output_that_cannot_be_written_is_refused_before_the_work(
    talweg: Command, write_spec: WriteSpec, folder: Callable[[], set[str]], out: str, part: str
) -> None:
    spec = write_spec("raise RuntimeError('the work has begun')")
    before = folder()
    done = talweg("certify", spec, "--out", out)
    assert done.code == 2
    assert done.out == ""
    assert "--out of talweg certify must name a file that can be written" in done.err
    assert part in done.err
    assert folder() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["certify"],
        ["certify", "case.py:problem", "--loss", "hinge"],
        ["certify", "case.py:problem", "--target", "small"],
        ["certify", "case.py:problem", "--bogus"],
        ["bogus"],
    ],
)
def test_usage_errors(talweg: Command, arguments: Sequence[str]) -> None:
    done = talweg(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Error: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("target", ["0", "-1", "inf", "nan"])
def test_a_target_that_is_no_positive_number(
    talweg: Command, write_spec: WriteSpec, target: str
) -> None:
    done = talweg("certify", write_spec("return network(), *data()"), "--target", target)
    assert done.code == 2
    assert done.out == ""
    assert "`target` of certify() must be a finite number > 0" in done.err


def test_check_of_a_file_that_is_not_there(talweg: Command, tmp_path: Path) -> None:
    done = talweg("check", tmp_path / "absent.talweg")
    assert done.code == 2
    assert "there is no file" in done.err


def test_a_model_that_exits_is_not_proved(refused: Refused) -> None:
    """Exit code 0 means proved; a model must not be able to say so."""
    refused(
        "import sys\n"
        "class Leaves(nn.Module):\n"
        "    def forward(self, x):\n"
        "        sys.exit(0)\n"
        "return Leaves(), *data()",
        "sys.exit(0)",
    )


def test_a_model_whose_own_code_fails(refused: Refused) -> None:
    refused(
        "model = network()\nmodel.parameters = lambda recurse=True: 1 / 0\nreturn model, *data()",
        "ZeroDivisionError",
        "case.py, line",
    )


@pytest.mark.parametrize(
    ("error", "part"),
    [
        ("GeneratorExit", "GeneratorExit"),
        ("BaseException('base')", "base"),
        ("type('E', (Exception,), {'__str__': lambda s: 1 / 0})", "cannot be read"),
        ("type('E', (Exception,), {'__str__': lambda s: 3})", "cannot be read"),
    ],
)
def test_errors_that_are_hard_to_catch_or_to_print(refused: Refused, error: str, part: str) -> None:
    refused(f"raise {error}", "the function failed", part)


@pytest.mark.parametrize("setting", ["loss=['mse']", "theorem=[]", "theorem=11"])
def test_settings_of_another_type(refused: Refused, setting: str) -> None:
    name = setting.partition("=")[0]
    refused(
        f"X, y = data()\nreturn dict(model=network(), X=X, y=y, {setting})",
        f"`{name}` of certify() must be",
    )


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_data(refused: Refused) -> None:
    refused(
        "X, y = data()\nreturn network(), torch.nested.as_nested_tensor([X, X]), y",
        "a dense tensor",
    )


@pytest.mark.parametrize(
    "body",
    [
        "X, y = data()\nreturn network(), X.to_sparse(), y",
        "X, y = data()\nreturn network(), X.long(), y",
        "X, y = data()\nreturn network(k=0), X, y[:, :0]",
        "model = network()\nmodel.forward = lambda x: 1 / 0\nreturn model, *data()",
    ],
    ids=["sparse", "integers", "no outputs", "fails"],
)
def test_measure_of_what_does_not_run(talweg: Command, write_spec: WriteSpec, body: str) -> None:
    done = talweg("measure", write_spec(body))
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("talweg: error: ")
    assert "Traceback" not in done.err
    assert done.err.count("\n") == 1
