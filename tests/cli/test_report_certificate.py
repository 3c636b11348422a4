"""``talweg report`` on certificates: who checked, what is refused, and what is measured beside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.certificate.problems import problem, proved
from tests.cli.conftest import Command
from tests.report.certificates import WORD
from tests.report.records import rows_of_descent, written

import talweg as library
from talweg import CertificateFileError, MissingDependencyError
from talweg.certificate import Document, read_document, write_document
from talweg.cli import _certificate_page, _checker, _stored_model
from talweg.cli._stored_model import measured_of

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certificate") / "a.talweg"
    proved().save(path)
    return path


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.talweg").write_bytes(stored.read_bytes())
    written(tmp_path / "run.jsonl", rows_of_descent())


def changed(path: Path, change: Change) -> None:
    """The same file with something else in it."""
    document = read_document(path)
    change(document.body, document.arrays)
    write_document(Document(document.body, document.arrays), path)


def shown(tmp_path: Path, name: str = "run.html") -> str:
    """The page without its scripts."""
    page = (tmp_path / name).read_text(encoding="utf-8")
    return page.split('<script type="application/json"')[0]


def test_a_certificate_is_checked_and_shown(talweg: Command, tmp_path: Path) -> None:
    done = talweg("report", "a.talweg", "--out", "a.html")
    assert done.code == 0, done.text
    assert done.out == "a.html: 1 certificate, a.talweg valid\n"
    page = shown(tmp_path, "a.html")
    assert f"{WORD}: confirmed by the independent checker" in page
    claim = read_document(tmp_path / "a.talweg").body["claim"]
    assert claim.replace(">", "&gt;") in page
    for title in ("spectrum at the start", "measured beside certified", "What each layer adds"):
        assert title in page


def test_what_was_not_checked_says_so(talweg: Command, tmp_path: Path) -> None:
    done = talweg("report", "a.talweg", "--no-check")
    assert done.code == 0, done.text
    assert "a.talweg not checked (--no-check)" in done.out
    page = shown(tmp_path)
    assert "Not checked" in page
    assert WORD not in page


def test_without_the_checker(
    talweg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(file: Path) -> None:
        raise MissingDependencyError("no checker")

    monkeypatch.setattr(_certificate_page, "checker_at_work", absent)
    done = talweg("report", "a.talweg", "--json")
    assert done.code == 0, done.text
    [record] = json.loads(done.out)["certificates"]
    assert record["verdict"] is None
    assert "talweg[check]" in record["reason"]
    assert WORD not in shown(tmp_path)


def test_a_claim_that_is_not_true(talweg: Command, tmp_path: Path) -> None:
    def larger_step(body: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
        body["claims"]["step_size"] = (10.0).hex()

    changed(tmp_path / "a.talweg", larger_step)
    done = talweg("report", "a.talweg")
    assert done.code == 1, done.text
    assert "a.talweg invalid (" in done.out
    page = shown(tmp_path)
    assert "INVALID" in page
    assert WORD not in page


def test_a_file_without_its_data(talweg: Command, tmp_path: Path) -> None:
    def unbound(body: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
        del arrays["inputs"], arrays["targets"]

    changed(tmp_path / "a.talweg", unbound)
    done = talweg("report", "a.talweg")
    assert done.code == 3, done.text
    page = shown(tmp_path)
    assert "Not confirmed" in page
    assert "the file leaves its data out" in page
    assert WORD not in page


def test_an_invalid_certificate_outweighs_an_undecided_one(
    talweg: Command, tmp_path: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {"a.talweg": 3, "b.talweg": 1, "c.talweg": 3}
    for name in codes:
        (tmp_path / name).write_bytes(stored.read_bytes())
    said = {"verdict": None, "reason": ""}
    monkeypatch.setattr(
        _certificate_page,
        "_checker",
        lambda file, check: nullcontext(lambda: (said, codes[file.name])),
    )
    monkeypatch.setattr(_certificate_page, "measured_of", lambda *_: {})
    assert talweg("report", *codes).code == 1
    assert talweg("report", "a.talweg", "c.talweg").code == 3


def test_certificates_and_records_on_one_page(
    talweg: Command, tmp_path: Path, stored: Path
) -> None:
    (tmp_path / "b.talweg").write_bytes(stored.read_bytes())
    done = talweg("report", "run.jsonl", "b.talweg", "a.talweg", "--no-check")
    assert done.code == 0, done.text
    assert done.out.startswith("run.html: 2 certificates and 1 run, b.talweg not checked")
    page = shown(tmp_path)
    assert page.index("1. b.talweg") < page.index("2. a.talweg") < page.index("3. run.jsonl")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _zip_of_text(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("certificate.json", "{}")


def _no_such_function(body: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
    body["model"][1]["function"] = "eval"


def _other_shape(body: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
    arrays["inputs"] = arrays["inputs"][:, :2].contiguous()


def _nan(body: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
    arrays["inputs"][0, 0] = float("nan")


def _frozen(body: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
    for op in body["model"]:
        if op["kind"] == "linear":
            op["weight_trainable"] = op["bias_trainable"] = False


def _not_a_claim(body: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
    body["claims"]["radius"] = "nan"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_text("hello"), "must be a .talweg file of format 1"),
        (lambda path: path.write_bytes(b""), "must be a .talweg file of format 1"),
        (lambda path: path.write_bytes(path.read_bytes()[:900]), "must be a .talweg file"),
        (_zip_of_text, "its members are"),
        (_pipe, "is no regular file"),
        (lambda path: path.unlink(), "a readable file is required"),
        (lambda path: changed(path, _no_such_function), "there is no function 'eval'"),
        (lambda path: changed(path, _other_shape), "the layers do not fit together"),
        (lambda path: changed(path, _nan), "not finite"),
        (lambda path: changed(path, _frozen), "nothing is trained"),
        (lambda path: changed(path, _not_a_claim), "a certificate of format 1 or 2 is required"),
        (lambda path: os.truncate(path, 2**30 + 1), "at most 1024 MiB is required"),
    ],
    ids=["text", "empty", "cut", "zip", "pipe", "absent", "function", "shape", "nan", "frozen",
         "claim", "huge"],
)  # fmt: skip
def test_a_malformed_file_is_one_message(
    talweg: Command, folder: Callable[[], set[str]], tmp_path: Path,
    damage: Callable[[Path], Any], words: str,
) -> None:  # fmt: skip
    damage(tmp_path / "a.talweg")
    before = folder()
    done = talweg("report", "a.talweg", "run.jsonl", "--no-check")
    assert done.code == 2, done.text
    assert words in " ".join(done.err.split())
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err
    assert done.out == ""
    assert folder() == before


def test_a_file_that_changes_meanwhile(
    talweg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = _certificate_page._verdict

    def change(file: Path, answer: Any) -> Any:
        with open(file, "ab") as stream:
            stream.write(b" ")
        return verdict(file, answer)

    monkeypatch.setattr(_certificate_page, "_verdict", change)
    done = talweg("report", "a.talweg")
    assert done.code == 2
    assert "was changed meanwhile" in done.err
    assert not (tmp_path / "run.html").exists()


def test_the_checker_ends_with_the_command(
    talweg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found while it works does not wait for it."""
    monkeypatch.setattr(
        _checker, "checker_command", lambda: [sys.executable, "-c", "import time; time.sleep(600)"]
    )
    changed(tmp_path / "a.talweg", _other_shape)
    begun = time.monotonic()
    done = talweg("report", "a.talweg")
    assert done.code == 2, done.text
    assert time.monotonic() - begun < 300


@pytest.mark.parametrize(
    ("what", "heavy"),
    [
        ("a.talweg", ["torch._dynamo", "sympy", "scipy.sparse.linalg", "talweg.theory"]),
        ("run.jsonl", ["torch", "scipy", "numpy"]),
    ],
)
def test_what_takes_long_to_load_is_not(tmp_path: Path, what: str, heavy: list[str]) -> None:
    """Compilers and solvers take longer to load than the page takes to be made."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from talweg.cli._report import run_report_command\n"
        f"run_report_command([Path({what!r})], Path('run.html'), check=False, as_json=False)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr


def test_the_spectrum_lies_between_the_bounds(stored: Path) -> None:
    document = read_document(stored)
    values = sorted(measured_of(document, "a")["eigenvalues"])
    claims = {k: float.fromhex(v) for k, v in document.body["claims"].items() if isinstance(v, str)}
    assert len(values) == 5
    assert values[0] >= claims["sigma_min_lower"] ** 2 * (1 - 1e-9)
    assert values[-1] <= claims["jacobian_norm_upper"] ** 2 * (1 + 1e-9)
    assert values[0] == pytest.approx(claims["sigma_min_lower"] ** 2, rel=1e-4)


def test_rows_that_occur_twice_count_once(tmp_path: Path) -> None:
    model, (X, y) = problem()
    twice = torch.cat([X, X[:2]]), torch.cat([y, y[:2]])
    made = library.certify(model, twice, polish=True, attack=False)
    assert made.document is not None
    values = measured_of(made.document, "a")["eigenvalues"]
    assert len(values) == 5
    assert min(values) == pytest.approx(made.sigma_min_lower**2, rel=1e-4)


def test_classes(tmp_path: Path) -> None:
    """On the directions that sum to zero; the loss above its infimum starts at the gap."""
    model, (X, _) = problem(0, (3, 16, 3), 5)
    labels = torch.tensor([0, 1, 2, 0, 1])
    made = library.certify(
        model, (X, labels), loss="cross_entropy", label_smoothing=0.1, polish=True, attack=False
    )
    assert made.document is not None, made.reason
    found = measured_of(made.document, "a")
    assert len(found["eigenvalues"]) == 5 * 2
    assert min(found["eigenvalues"]) == pytest.approx(made.sigma_min_lower**2, rel=1e-4)
    assert found["losses"][0][1] == pytest.approx(made.initial_gap / 5, rel=1e-4)


def test_measured_steps_stay_below_the_bound(stored: Path) -> None:
    document = read_document(stored)
    losses = measured_of(document, "a")["losses"]
    gain = float.fromhex(document.body["claims"]["one_minus_rate"])
    r0 = float.fromhex(document.body["claims"]["residual_norm_upper"])
    assert len(losses) == _stored_model.STEPS + 1
    assert all(loss <= r0**2 / 5 * (1 - gain) ** step * (1 + 1e-9) for step, loss in losses)


def test_a_step_that_diverges_is_not_followed(stored: Path) -> None:
    document = read_document(stored)
    document.body["claims"]["step_size"] = (10.0).hex()
    losses = measured_of(document, "a")["losses"]
    assert len(losses) < 50
    assert losses[-1][1] > 1e6


@pytest.mark.parametrize("limit", ["MOST_EIGENVALUES", "MOST_STEP_WORK", "MOST_ROWS"])  # fmt: skip
def test_what_is_too_large_is_left_out(
    stored: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stored_model, limit, 1)
    found = measured_of(read_document(stored), "a")
    assert found["left_out"]
    assert all("left out, 5 samples, 1 outputs" in text for text in found["left_out"])


def test_numbers_that_overflow_are_left_out(stored: Path) -> None:
    document = read_document(stored)
    document.arrays["inputs"].mul_(1e300)
    document.arrays["weights/0.weight"].mul_(1e300)
    document.body["model"][1] = {
        "kind": "scale", "numerator": (1e300).hex(), "denominator": (1.0).hex()
    }  # fmt: skip
    measured_of(document, "a")


def test_a_document_whose_parts_are_of_other_types(stored: Path) -> None:
    document = read_document(stored)
    document.body["model"] = [3]
    with pytest.raises(CertificateFileError, match="model and data fit together"):
        measured_of(document, "a")
