"""The certificate file against the independent checker: every field strengthened or altered."""

from __future__ import annotations

import copy
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.certificate.problems import problem, proved

import talweg
from talweg import CertificateFileError
from talweg.certificate import Document, differences, read_document, write_document
from talweg.certificate._document import canonical
from talweg.certificate._model_record import array_hash, weights_hash
from talweg.certificate._sentence import claim_sentence
from talweg_check import check

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]
OPTIONS: dict[str, dict[str, Any]] = {"T11": {}, "T4": {"theorem": "T4"}, "T7": {"target": 1e-14}}
BEYOND_PAD = 1.0 + 1e-5  # claims are padded by 1e-6; the checker's own bounds lie within that


@pytest.fixture(scope="module", params=OPTIONS)
def certificate(request: pytest.FixtureRequest) -> talweg.Certificate:
    return proved(**OPTIONS[request.param])


def verdict_of(document: Document, path: Path) -> Any:
    write_document(document, path)
    return check(str(path))


def altered(certificate: talweg.Certificate, change: Change, *, sentence: bool = True) -> Document:
    document = certificate.document
    assert document is not None
    body, arrays = copy.deepcopy(document.body), {k: v.clone() for k, v in document.arrays.items()}
    change(body, arrays)
    if sentence:  # an honest forger composes the sentence anew
        body["claim"] = claim_sentence(body, arrays)
    return Document(body, arrays)


def test_the_genuine_file_is_valid(certificate: talweg.Certificate, tmp_path: Path) -> None:
    saved = certificate.save(tmp_path / "a.talweg")
    verdict = check(str(tmp_path / "a.talweg"))
    assert verdict.verdict == "valid", verdict.reason
    assert verdict.claim == certificate.claim
    assert saved.file == str(tmp_path / "a.talweg")
    again = read_document(tmp_path / "a.talweg")
    assert again.body == certificate.document.body
    assert all(torch.equal(again.arrays[k], v) for k, v in certificate.document.arrays.items())


STRENGTHEN = {
    "residual_norm_upper": 1 / BEYOND_PAD,
    "sigma_min_lower": BEYOND_PAD,
    "jacobian_norm_upper": 1 / BEYOND_PAD,
    "radius": 0.999,
    "step_size": 1.001,
    "one_minus_rate": 1.001,
    "steps_upper": 0.9,
    "overshoot_radius": 0.5,
    "target_loss": 0.5,
    "epsilon": 0.01,
}


def test_a_strengthened_number_is_refused(certificate: talweg.Certificate, tmp_path: Path) -> None:
    claims = certificate.document.body["claims"]
    for key in claims.keys() & STRENGTHEN.keys():

        def change(body: dict[str, Any], _: dict[str, torch.Tensor], key: str = key) -> None:
            value = float.fromhex(claims[key]) * STRENGTHEN[key]
            whole = float(math.floor(value)) if key == "steps_upper" else value
            body["claims"][key] = whole.hex()

        verdict = verdict_of(altered(certificate, change), tmp_path / "a.talweg")
        assert verdict.verdict in ("invalid", "incomplete"), key
        assert verdict.reason


def test_a_strengthened_rate_or_halving_count_is_refused(
    certificate: talweg.Certificate, tmp_path: Path
) -> None:
    for key, factor in (("rate", 0.9), ("halving_steps", 0.5)):

        def change(
            body: dict[str, Any], _: dict[str, torch.Tensor], key: str = key, factor: float = factor
        ) -> None:
            body["claims"][key] = (float.fromhex(body["claims"][key]) * factor).hex()

        verdict = verdict_of(altered(certificate, change), tmp_path / "a.talweg")
        assert verdict.verdict == "invalid", key


def test_a_strengthened_lipschitz_constant_is_refused(
    certificate: talweg.Certificate, tmp_path: Path
) -> None:
    def change(body: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
        pairs = body["claims"]["jacobian_lipschitz_upper"]
        pairs[0][1] = (float.fromhex(pairs[0][1]) / BEYOND_PAD).hex()

    verdict = verdict_of(altered(certificate, change), tmp_path / "a.talweg")
    assert verdict.verdict in ("invalid", "incomplete")


def test_a_differing_sentence_is_refused(certificate: talweg.Certificate, tmp_path: Path) -> None:
    def change(body: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
        body["claim"] = body["claim"].replace("the", "the the", 1)

    verdict = verdict_of(altered(certificate, change, sentence=False), tmp_path / "a.talweg")
    assert verdict.verdict == "invalid"
    assert "sentence" in verdict.reason or "claim" in verdict.reason


def test_a_changed_bit_in_any_array_is_refused(
    certificate: talweg.Certificate, tmp_path: Path
) -> None:
    for name in certificate.document.arrays:

        def change(_: dict[str, Any], arrays: dict[str, torch.Tensor], name: str = name) -> None:
            arrays[name].view(torch.int64).reshape(-1)[0] ^= 1

        verdict = verdict_of(altered(certificate, change), tmp_path / "a.talweg")
        assert verdict.verdict == "invalid", name
        assert "hash" in verdict.reason or "sha256" in verdict.reason


def test_a_changed_hash_is_refused(certificate: talweg.Certificate, tmp_path: Path) -> None:
    for name in ("weights", "inputs", "targets"):

        def change(body: dict[str, Any], _: dict[str, torch.Tensor], name: str = name) -> None:
            digest = body["hashes"][name]
            body["hashes"][name] = ("0" if digest[0] != "0" else "1") + digest[1:]

        assert verdict_of(altered(certificate, change), tmp_path / "a.talweg").verdict == "invalid"


def test_data_of_another_problem_rehashed_are_refused(
    certificate: talweg.Certificate, tmp_path: Path
) -> None:
    """Consistent hashes, wrong facts: the bounds themselves must fail."""

    def change(body: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
        arrays["targets"] = arrays["targets"] + 0.1
        body["hashes"]["targets"] = array_hash(arrays["targets"])

    verdict = verdict_of(altered(certificate, change), tmp_path / "a.talweg")
    assert verdict.verdict == "invalid"
    assert "residual" in verdict.reason


def test_permuted_weights_rehashed_are_refused(
    certificate: talweg.Certificate, tmp_path: Path
) -> None:
    def change(body: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
        name = body["model"][0]["weight"]
        arrays[name] = arrays[name].flip(0).contiguous()
        body["hashes"]["weights"] = weights_hash(arrays, body["model"])

    assert verdict_of(altered(certificate, change), tmp_path / "a.talweg").verdict != "valid"


ALTERATIONS: dict[str, Change] = {
    "format": lambda b, a: b.update(format=2),
    "theorem": lambda b, a: b.update(theorem="T12"),
    "semantics": lambda b, a: b.update(semantics="float32 Adam"),
    "unknown key": lambda b, a: b.update(extra=1),
    "unknown claim": lambda b, a: b["claims"].update(extra="0x1p0"),
    "missing claim": lambda b, a: b["claims"].pop("rate"),
    "assumption": lambda b, a: b.update(assumptions=["trust me"]),
    "infinite claim": lambda b, a: b["claims"].update(rate="inf"),
    "NaN claim": lambda b, a: b["claims"].update(rate="nan"),
    "negative radius": lambda b, a: b["claims"].update(radius=(-1.0).hex()),
    "decimal number": lambda b, a: b["claims"].update(rate=0.5),
    "unknown function": lambda b, a: b["model"][1].update(function="relu"),
    "missing operation": lambda b, a: b["model"].pop(1),
    "frozen flag": lambda b, a: b["model"][0].update(weight_trainable=False),
    "loss scaling": lambda b, a: b["loss"].update(scaling="sum"),
    "loss kind": lambda b, a: b["loss"].update(kind="huber"),
    "samples": lambda b, a: b["counts"].update(samples=4),
    "parameters": lambda b, a: b["counts"].update(parameters=3),
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_field_is_refused(
    certificate: talweg.Certificate, name: str, tmp_path: Path
) -> None:
    sentence = name in ("loss scaling", "samples")
    document = altered(certificate, ALTERATIONS[name], sentence=sentence)
    verdict = verdict_of(document, tmp_path / "a.talweg")
    assert verdict.verdict == "invalid", verdict.reason
    assert verdict.reason


def test_a_broken_archive_is_refused(certificate: talweg.Certificate, tmp_path: Path) -> None:
    path = tmp_path / "a.talweg"
    certificate.save(path)
    whole = path.read_bytes()
    (tmp_path / "short.talweg").write_bytes(whole[: len(whole) // 2])
    assert check(str(tmp_path / "short.talweg")).verdict == "invalid"
    with zipfile.ZipFile(path) as archive:
        raw = archive.read("certificate.json")
        arrays = archive.read("arrays.safetensors")
    for text in (raw + b" ", raw.replace(b'"format":1', b'"format":1,"format":1'), b"{}"):
        with zipfile.ZipFile(tmp_path / "b.talweg", "w") as archive:
            archive.writestr("certificate.json", text)
            archive.writestr("arrays.safetensors", arrays)
        assert check(str(tmp_path / "b.talweg")).verdict == "invalid"
        with pytest.raises(CertificateFileError):
            read_document(tmp_path / "b.talweg")


@pytest.mark.parametrize(
    ("offset", "new"),
    [(8, b"\x01"), (8, b"\x20"), (10, b"\x63"), (6, b"\xff"), (20, b"\xff\xff\xff\x7f" * 2)],
    ids=["encrypted", "patched", "method", "version", "sizes"],
)
def test_records_that_zipfile_refuses_in_its_own_ways(
    offset: int, new: bytes, certificate: talweg.Certificate, tmp_path: Path
) -> None:
    path = tmp_path / "a.talweg"
    certificate.save(path)
    whole = path.read_bytes()
    at = whole.rfind(b"PK\x01\x02") + offset
    path.write_bytes(whole[:at] + new + whole[at + len(new) :])
    with pytest.raises(CertificateFileError):
        read_document(path)


@pytest.mark.parametrize("change", [{"loss": 3}, {"model": None}, {"hashes": []}, {"claim": 1}])
def test_parts_of_another_kind_are_refused(
    change: dict[str, Any], certificate: talweg.Certificate, tmp_path: Path
) -> None:
    document = certificate.document
    assert document is not None
    write_document(Document({**document.body, **change}, document.arrays), tmp_path / "a.talweg")
    with pytest.raises(CertificateFileError, match="cannot be read"):
        read_document(tmp_path / "a.talweg")


def test_saving_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = proved()
    target = tmp_path / "a.talweg"
    target.write_bytes(b"old")

    def fail(*_: object, **__: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("talweg.certificate._document.save_arrays", fail)
    with pytest.raises(KeyboardInterrupt):
        certificate.save(target)
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.talweg"]


def test_saving_to_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CertificateFileError, match="must be a place that can be written"):
        proved().save(tmp_path / "no" / "a.talweg")


def test_canonical_json_is_what_the_format_says() -> None:
    assert canonical({"b": 1, "a": ["0x1p0"]}) == b'{"a":["0x1p0"],"b":1}'
    assert json.loads(canonical({"ä": "é"})) == {"ä": "é"}


def test_against_notices_one_bit(tmp_path: Path) -> None:
    model, (X, y) = problem()
    certificate = proved()
    certificate.load_into_(model)
    path = tmp_path / "a.talweg"
    certificate.save(path)
    assert differences(path, model, (X, y)) == []
    bent = X.clone()
    bent.view(torch.int64)[2, 1] ^= 1
    assert any(d.startswith("inputs differ") for d in differences(path, model, (bent, y)))
    moved = y.clone()
    moved.view(torch.int64)[0, 0] ^= 1
    assert any(d.startswith("targets differ") for d in differences(path, model, (X, moved)))
    with torch.no_grad():
        model[2].bias.view(torch.int64)[0] ^= 1
    assert any(d.startswith("weights differ") for d in differences(path, model, (X, y)))


def test_against_notices_another_activation(tmp_path: Path) -> None:
    model, data = problem()
    certificate = proved()
    certificate.load_into_(model)
    path = tmp_path / "a.talweg"
    certificate.save(path)
    model[1] = torch.nn.Sigmoid()
    assert any("operation 1" in d for d in differences(path, model, data))


def test_the_sentence_names_the_model_and_what_is_trained() -> None:
    """The hashes cover arrays only: the same weights under another model are another claim."""
    certificate = proved()
    assert "the 61 parameters of [linear 3->12 (weight trained, bias trained); tanh; " in (
        certificate.claim
    )

    def freeze(body: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
        body["model"][2].update(weight_trainable=False, bias_trainable=False)
        body["counts"]["parameters"] = 48

    def swap(body: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
        body["model"][1]["function"] = "sin"

    sentences = {altered(certificate, change).body["claim"] for change in (freeze, swap)}
    assert len(sentences | {certificate.claim}) == 3
