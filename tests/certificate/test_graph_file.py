"""Certificates of graphs: format 2, its file, the model it goes into, the descent it covers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.network.graphs import CASES, Forward, randomised
from torch import Tensor, nn

import talweg
from talweg import CertificateFileError, InputError
from talweg.certificate import Document, differences, network_of, read_document, write_document
from talweg.certificate._model_record import (
    array_hash,
    as_read,
    format_of,
    model_and_weights,
    stored,
    weights_hash,
)
from talweg.certificate._sentence import claim_sentence
from talweg.cli._stored_model import measured_of
from talweg.network import evaluate_approx, read


def _images() -> tuple[nn.Module, Tensor]:
    """A convolution and a layer used twice, with a frozen bias."""
    torch.manual_seed(4)
    layer = nn.Linear(16, 16)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), layer, nn.Tanh(), layer, nn.Linear(16, 1)
    ).double()
    model[0].bias.requires_grad_(False)
    return model, torch.randn(3, 1, 4, 4, dtype=torch.float64)


def _words() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 1)
    ).double()
    return model, torch.tensor([[0, 1, 2], [3, 4, 0], [2, 2, 1], [0, 1, 2]])


@pytest.fixture(scope="module", params=[_images, _words], ids=["images", "words"])
def proved(request: pytest.FixtureRequest) -> tuple[Any, nn.Module, Tensor, Tensor]:
    model, X = request.param()
    y = model(X).detach() + 1e-5 * torch.linspace(1.0, 2.0, len(X)).double()[:, None]
    y = y if X.dtype != torch.int64 else torch.cat([y[:3], y[:1]])
    certificate = talweg.certify(model, (X, y), attack=False)
    assert certificate.status == "PROVED", certificate.reason
    return certificate, model, X, y


def test_the_file_says_what_was_read(proved, tmp_path: Path) -> None:
    certificate, model, X, y = proved
    certificate.save(tmp_path / "a.talweg")
    document = read_document(tmp_path / "a.talweg")
    body, arrays = document.body, document.arrays
    assert body["format"] == 2
    assert body["model"]["input_shape"] == list(X.shape[1:])
    assert arrays["inputs"].shape == X.shape
    assert arrays["inputs"].dtype == X.dtype
    assert body["counts"]["parameters"] == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    assert body["claim"] == certificate.claim == claim_sentence(body, arrays)
    assert body["hashes"]["weights"] == weights_hash(arrays, body["model"])
    network = network_of(body["model"], arrays, X[0].numel())
    assert torch.equal(evaluate_approx(network, X), evaluate_approx(read(model, X), X))
    assert differences(tmp_path / "a.talweg", model, (X, y)) == []
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters())[0] += 1.0
    [words] = differences(tmp_path / "a.talweg", other, (X, y))
    assert words.startswith("weights differ")


def test_the_page_of_a_graph(proved) -> None:
    certificate, model, X, _ = proved
    found = measured_of(certificate.document, "a.talweg")
    distinct, counts = torch.unique(X, dim=0, return_counts=True)
    if X.is_floating_point():
        kernel = talweg.tangent_kernel(copy.deepcopy(model), distinct)[:, 0, :, 0].detach()
        expected = torch.linalg.eigvalsh(kernel * (counts[:, None] * counts).sqrt())
        assert torch.allclose(torch.tensor(found["eigenvalues"], dtype=torch.float64), expected)
    assert len(found["eigenvalues"]) == len(distinct)
    assert len(found["losses"]) > 1
    assert found["losses"][-1][1] < found["losses"][0][1]


def test_descent_from_the_certified_weights(proved) -> None:
    certificate, model, X, y = proved
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    with pytest.raises(InputError, match=r"cert\.load_into_"):
        talweg.optim.CertifiedGD(other.named_parameters(), certificate)
    certificate.load_into_(other)
    optimiser = talweg.optim.CertifiedGD(other.named_parameters(), certificate)
    for _ in range(3):
        loss = (other(X) - y).square().mean()
        assert loss.item() <= optimiser.loss_envelope()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert optimiser.steps == 3


def test_what_does_not_speak_of_graphs_yet(proved) -> None:
    certificate, model, X, y = proved
    with pytest.raises(InputError, match="about a chain, format 1; got format 2"):
        talweg.falsify(certificate, seconds=1.0)
    answer = talweg.certify(model, (X, y), theorem="T9", attack=False)
    assert answer.status == "UNDECIDED"
    assert "the network is a graph, and T9 speaks of chains" in answer.reason


def test_equal_samples_are_found_whatever_their_shape() -> None:
    model, X = _images()
    X = torch.cat([X, X[:1]])
    y = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    answer = talweg.certify(model, (X, y), attack=False)
    assert answer.status == "REFUTED"
    assert "rows 0, 3 have equal inputs" in answer.reason


CHANGES: dict[str, Callable[[dict[str, Any], dict[str, Tensor]], None]] = {
    "its format is 3": lambda b, a: b.update(format=3),
    "its model cannot be read": lambda b, a: b.update(format=1),
    "its model cannot be read ": lambda b, a: b["model"].pop("input_shape"),
    "its model cannot be read  ": lambda b, a: b["model"]["operations"][0].pop("inputs"),
    "its model cannot be read   ": lambda b, a: b["model"].update(input_shape=[0]),
}


@pytest.mark.parametrize("words", CHANGES)
def test_files_that_are_no_graph(words: str, proved, tmp_path: Path) -> None:
    document = proved[0].document
    body, arrays = copy.deepcopy(document.body), dict(document.arrays)
    CHANGES[words](body, arrays)
    write_document(Document(body, arrays), tmp_path / "b.talweg")
    with pytest.raises(CertificateFileError, match=words.strip()):
        read_document(tmp_path / "b.talweg")


BROKEN: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "an unknown kind": lambda ops: ops[0].update(kind="pooling"),
    "an unknown setting": lambda ops: ops[0].update(colour=1),
    "a value that comes later": lambda ops: ops[0].update(inputs=[3]),
    "too many values": lambda ops: ops[-1].update(inputs=[0, 1]),
    "no values": lambda ops: ops[-1].update(inputs=[]),
    "an index that is no integer": lambda ops: ops[-1].update(inputs=["1"]),
    "a missing array": lambda ops: ops[-1].update(weight="weights/99.weight"),
    "a bias of another shape": lambda ops: ops[-1].update(bias=ops[0]["weight"]),
    "no operation": lambda ops: ops.clear(),
    "an output that is no row": lambda ops: ops.pop(),
}


@pytest.mark.parametrize("change", BROKEN)
def test_graphs_that_do_not_fit_together(change: str, proved) -> None:
    document = proved[0].document
    body = copy.deepcopy(document.body)
    BROKEN[change](body["model"]["operations"])
    if change == "an output that is no row":
        body["model"]["operations"] = body["model"]["operations"][:1]
    with pytest.raises(CertificateFileError, match=r"those of 'a\.talweg' do not"):
        measured_of(Document(body, document.arrays), "a.talweg")


def test_certified_numbers_are_loaded_into_shared_and_frozen_tensors() -> None:
    model = Forward(
        lambda m, x: m.b(torch.tanh(m.a(torch.tanh(m.a(x))) + m.c)),
        a=nn.Linear(8, 8), b=nn.Linear(8, 1), c=torch.randn(8),
    ).double()  # fmt: skip
    torch.manual_seed(6)
    X = torch.randn(3, 8, dtype=torch.float64)
    y = model(X).detach() + 1e-6
    certificate = talweg.certify(model, (X, y), attack=False)
    assert certificate.status == "PROVED", certificate.reason
    other = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.zero_()
    certificate.load_into_(other)
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in other.state_dict().items())


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_independent_checker_reads_the_same_network(name: str, tmp_path: Path) -> None:
    """Grammar, sentence, hashes and values of every kind of operation, by its own code."""
    pytest.importorskip("talweg_check._graph")
    import numpy as np
    from flint import ctx

    from talweg_check import _check as checker

    torch.manual_seed(0)
    model, X = randomised(CASES[name][0]()).double(), CASES[name][1]()
    X = X if X.dtype == torch.int64 else X.double()
    network = read(model, X)
    if network.is_chain:
        return
    y = torch.zeros(len(X), network.output_dim, dtype=torch.float64)
    record, arrays = model_and_weights(network)
    arrays |= {"inputs": stored(as_read(network, X)), "targets": y}
    numbers = (
        "residual_norm_upper", "sigma_min_lower", "jacobian_norm_upper", "radius", "step_size",
        "rate", "one_minus_rate", "halving_steps",
    )  # fmt: skip
    body: dict[str, Any] = {
        "format": format_of(network), "theorem": "T11",
        "semantics": "real-arithmetic full-batch gradient descent on the exact stored weights",
        "model": record, "loss": {"kind": "squared", "scaling": "mean"},
        "hashes": {
            "weights": weights_hash(arrays, record), "inputs": array_hash(arrays["inputs"]),
            "targets": array_hash(y),
        },
        "claims": {key: (0.5).hex() for key in numbers}
        | {"jacobian_lipschitz_upper": [[(0.5).hex(), (0.5).hex()]]},
        "counts": {
            "samples": len(X), "outputs": network.output_dim,
            "parameters": network.trainable_parameters,
        },
        "assumptions": [], "hints": {}, "provenance": {},
    }  # fmt: skip
    body["claim"] = claim_sentence(body, arrays)
    write_document(Document(body, arrays), tmp_path / "a.talweg")
    certificate = checker.parsed(*checker.read(str(tmp_path / "a.talweg")))
    checker.require_sentence(certificate)
    certificate = checker.bound(certificate, None)
    with ctx.workprec(checker.PRECISION):
        theirs = dict(certificate.arrays)
        labels = certificate.loss.targets(theirs.pop("targets"), certificate.counts)
        values = checker.stored_numbers(certificate, theirs)
        inputs, _, counts = checker.merged(values["inputs"], labels)
        net = checker.network(certificate, values, inputs, counts)
    outputs = np.asarray(net.values[-1], dtype=object).astype(float).reshape(len(inputs), -1)
    ours = evaluate_approx(network, torch.as_tensor(np.asarray(inputs, dtype=float)))
    assert (torch.as_tensor(outputs) - ours).abs().max() <= 1e-12 * ours.abs().max()
