"""Cross-entropy through `certify`: what is claimed, that descent does it, and what is refused."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from tests.certificate.problems import problem
from torch import Tensor, nn

import talweg
from talweg import InputError
from talweg.certificate import Certificate, Document, differences, write_document
from talweg.certificate._cross_entropy import CrossEntropyObjective
from talweg.certificate._model_record import array_hash
from talweg.certificate._sentence import claim_sentence
from talweg.enclosure import Ball
from talweg.network import merge_duplicates
from talweg.theory import CrossEntropy
from talweg_check import check

Change = Callable[[dict[str, Any], dict[str, Tensor]], None]
SMOOTHED: dict[str, Any] = {"loss": "cross_entropy", "label_smoothing": 0.1}


def classes(
    seed: int = 0, widths: tuple[int, ...] = (3, 16, 3), n: int = 5
) -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    model, (X, _) = problem(seed, widths, n)
    generator = torch.Generator().manual_seed(seed)
    return model, (X, torch.randint(0, widths[-1], (n,), generator=generator))


def lifted(scale: float = 30.0) -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    """A last layer that starts near zero and counts ``scale`` times: T13 goes far."""
    model, data = classes(widths=(3, 24, 3), n=3)
    with torch.no_grad():
        for parameter in model[2].parameters():
            parameter.mul_(0.3 / scale)
    return nn.Sequential(*model, talweg.nn.Scale(scale)), data


def smoothed(name: str = "cross_entropy") -> Certificate:
    model, data = classes()
    options = {**SMOOTHED, "loss": name}
    certificate = talweg.certify(model, data, polish=True, attack=False, **options)
    assert certificate.status == "PROVED", certificate.reason
    return certificate


def targeted() -> Certificate:
    model, data = lifted()
    certificate = talweg.certify(model, data, loss="cross_entropy", target=0.6, attack=False)
    assert certificate.status == "PROVED", certificate.reason
    return certificate


@pytest.fixture(scope="module", params=[smoothed, targeted])
def certificate(request: pytest.FixtureRequest) -> Certificate:
    return request.param()


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy_sum"])
def test_descent_reaches_the_infimum_at_the_claimed_rate(name: Any) -> None:
    """In 40 digits, by the loss minus the entropy of the labels: no formula is shared."""
    certificate = smoothed(name)
    model, (X, y) = classes()
    certificate.load_into_(model)
    n, k = len(X), 3
    with mpmath.workdps(40):
        W, b, V, c = (mpmath.matrix(p.tolist()) for p in model.parameters())
        start = W.copy(), b.copy(), V.copy(), c.copy()
        inputs = [mpmath.matrix(row) for row in X.tolist()]
        a = mpf(0.1)
        labels = [[(1 - a) * (j == t) + a / k for j in range(k)] for t in y.tolist()]
        weight = mpf(1) / n if name == "cross_entropy" else mpf(1)
        infimum = -weight * sum(q * mpmath.log(q) for row in labels for q in row)
        step, last = mpf(certificate.step_size), None
        for _ in range(10):
            loss, gW, gb, gV, gc = mpf(0), W * 0, b * 0, V * 0, c * 0
            for x, q in zip(inputs, labels, strict=True):
                h = (W * x + b).apply(mpmath.tanh)
                z = V * h + c
                total = mpmath.log(sum(mpmath.exp(v) for v in z))
                loss -= weight * sum(q[j] * (z[j] - total) for j in range(k))
                g = mpmath.matrix([weight * (mpmath.exp(z[j] - total) - q[j]) for j in range(k)])
                gV, gc = gV + g * h.T, gc + g
                back = V.T * g
                d = mpmath.matrix([back[j] * (1 - h[j] ** 2) for j in range(len(h))])
                gW, gb = gW + d * x.T, gb + d
            gap = loss - infimum
            assert gap >= 0
            if last is not None:
                assert gap <= last * (1 - mpf(certificate.one_minus_rate))
            last = gap
            moved = sum(
                sum(v * v for v in now - then)
                for now, then in zip((W, b, V, c), start, strict=True)
            )
            assert moved <= mpf(certificate.radius) ** 2
            W, b, V, c = W - step * gW, b - step * gb, V - step * gV, c - step * gc


@pytest.mark.parametrize("scale", [10.0, 30.0, 100.0])
def test_the_target_is_reached_in_the_claimed_number_of_steps(scale: float) -> None:
    model, (X, y) = lifted(scale)
    loss = nn.CrossEntropyLoss()
    first = loss(model(X), y).item()
    target = {10.0: 0.95, 30.0: 0.5, 100.0: 0.1}[scale] * first
    certificate = talweg.certify(model, (X, y), loss="cross_entropy", target=target, attack=False)
    assert certificate.status == "PROVED", certificate.reason
    assert certificate.theorem == "T13"
    start = torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])
    optimizer = torch.optim.SGD(model.parameters(), lr=certificate.step_size)
    steps, value = 0, loss(model(X), y)
    while value.item() > target:
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        steps, before, value = steps + 1, value.item(), loss(model(X), y)
        assert steps <= certificate.steps
        assert value.item() <= before * (1 - certificate.one_minus_rate) * (1 + 1e-12)
        here = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        overshoot = float.fromhex(certificate.document.body["claims"]["overshoot_radius"])
        assert float((here - start).norm()) <= overshoot * (1 + 1e-9)
    assert steps > 0


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.98), st.floats(5.0, 200.0), st.integers(1, 2))
def test_no_proved_target_is_missed(seed: int, part: float, scale: float, repeats: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model, (X, y) = classes(seed, (2, 12, 2), 3)
    model.append(talweg.nn.Scale(scale))
    with torch.no_grad():
        model[2].weight.mul_(torch.rand(1, generator=generator, dtype=torch.float64) / scale)
    X, y = X.repeat(repeats, 1), y.repeat(repeats)
    loss = nn.CrossEntropyLoss(reduction="sum")
    target = part * loss(model(X), y).item()
    found = talweg.certify(model, (X, y), loss="cross_entropy_sum", target=target, attack=False)
    if found.status != "PROVED" or found.steps > 3000:
        return
    optimizer = torch.optim.SGD(model.parameters(), lr=found.step_size)
    for _ in range(int(found.steps)):
        value = loss(model(X), y)
        if value.item() <= target:
            break
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert loss(model(X), y).item() <= target


def test_the_losses_are_those_of_pytorch() -> None:
    """G plus the entropy of the labels, and the loss of T13, against torch's own definition."""
    model, (X, y) = classes()
    outputs = model(X)
    for name, reduction in (("cross_entropy", "mean"), ("cross_entropy_sum", "sum")):
        plain = talweg.certify(model, (X, y), loss=name, target=1e-3, attack=False)
        expected = nn.CrossEntropyLoss(reduction="sum")(outputs, y).item()
        assert plain.initial_loss == pytest.approx(expected, rel=1e-12)
        rounded = talweg.certify(model, (X, y), loss=name, label_smoothing=0.3, attack=False)
        q = [0.7 + 0.1, 0.1, 0.1]
        entropy = -len(X) * sum(v * math.log(v) for v in q)
        loss = nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.3)(outputs, y).item()
        assert rounded.initial_gap == pytest.approx(loss - entropy, rel=1e-10)
        factor = len(X) if reduction == "mean" else 1
        named = nn.CrossEntropyLoss(reduction=reduction)(outputs, y).item()
        met = talweg.certify(model, (X, y), loss=name, target=1.0001 * named, attack=False)
        assert "already at most the target" in met.reason
        assert named * factor == pytest.approx(expected)


def test_the_initial_weights_are_undecided_with_a_reason() -> None:
    model, data = classes()
    answer = talweg.certify(model, data, attack=False, **SMOOTHED)
    assert answer.status == "UNDECIDED"
    assert "pl_lower" in answer.reason or "criterion" in answer.reason
    far = talweg.certify(model, data, loss="cross_entropy", target=1e-3, attack=False)
    assert far.status == "UNDECIDED"
    assert "criterion" in far.reason
    assert far.as_given.missing_factor > 1.0
    met = talweg.certify(model, data, loss="cross_entropy", target=50.0, attack=False)
    assert "already at most the target" in met.reason


def test_polishing_has_nothing_to_aim_at_without_smoothing() -> None:
    model, data = classes()
    answer = talweg.certify(
        model, data, loss="cross_entropy", target=1e-3, polish=True, attack=False
    )
    assert answer.status == "UNDECIDED"
    assert "has no minimiser" in answer.reason


def test_equal_rows() -> None:
    model, (X, y) = classes()
    twice = (torch.cat([X, X[:2]]), torch.cat([y, y[:2]]))
    merged = talweg.certify(model, twice, polish=True, attack=False, **SMOOTHED)
    assert merged.status == "PROVED", merged.reason
    assert any("7 rows hold 5 distinct inputs" in note for note in merged.notes)
    y = twice[1].clone()
    y[5] = (y[5] + 1) % 3
    for options in (SMOOTHED, {"loss": "cross_entropy", "target": 0.1}):
        answer = talweg.certify(model, (twice[0], y), **options)
        assert answer.status == "UNDECIDED"
        assert "rows 0, 5 have equal inputs and different labels" in answer.reason


def test_too_few_parameters_for_the_zero_sum_directions() -> None:
    model, (X, y) = classes(widths=(2, 2, 2), n=30)
    answer = talweg.certify(model, (X, y), **SMOOTHED)
    assert answer.status == "UNDECIDED"
    assert "p = 12" in answer.reason
    assert "N = 30" in answer.reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "cross_entropy"}, "`target`"),
        ({**SMOOTHED, "target": 1.0}, "`target`"),
        ({**SMOOTHED, "label_smoothing": 1.5}, "`label_smoothing`"),
        ({**SMOOTHED, "label_smoothing": math.nan}, "`label_smoothing`"),
        ({**SMOOTHED, "label_smoothing": True}, "`label_smoothing`"),
        ({"loss": "mse", "label_smoothing": 0.1}, "`label_smoothing`"),
        ({**SMOOTHED, "theorem": "T11"}, "`theorem`"),
        ({"loss": "cross_entropy", "target": 0.1, "theorem": "T4"}, "`theorem`"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    model, data = classes()
    with pytest.raises(InputError, match=message):
        talweg.certify(model, data, **options)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda y: y.double(), "class indices"),
        (lambda y: y[:, None], "class indices"),
        (lambda y: y.int(), "int64"),
        (lambda y: y - 5, "from 0 to 2"),
        (lambda y: y + 3, "from 0 to 2"),
        (lambda y: y[:3], "one row for each"),
        (lambda y: y.tolist(), "class indices"),
    ],
)
def test_bad_labels(bad: Callable[[Tensor], Any], message: str) -> None:
    model, (X, y) = classes()
    with pytest.raises(InputError, match=message):
        talweg.certify(model, (X, bad(y)), **SMOOTHED)


@pytest.mark.parametrize("smoothing", [5e-324, 1e-300, 1e-16, 1.0])
def test_extreme_smoothings_get_an_answer(smoothing: float, tmp_path: Path) -> None:
    model, data = classes(widths=(3, 12, 2), n=1)
    options = {**SMOOTHED, "label_smoothing": smoothing}
    answer = talweg.certify(model, data, polish=True, attack=False, **options)
    if answer.status == "PROVED":
        answer.save(tmp_path / "a.talweg")
        verdict = check(str(tmp_path / "a.talweg"))
        assert verdict.verdict == "valid", verdict.reason
    assert answer.status == "UNDECIDED" or smoothing >= 1e-16


def test_one_output_is_no_classifier() -> None:
    model, (X, y) = classes(widths=(3, 5, 1))
    with pytest.raises(InputError, match="at least two outputs"):
        talweg.certify(model, (X, y * 0), **SMOOTHED)


def test_the_kernel_has_the_spectrum_on_zero_sum_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    full = factor @ factor.T
    X = torch.eye(2, dtype=torch.float64)
    rows = merge_duplicates(X, torch.eye(2, 3, dtype=torch.float64))
    objective = CrossEntropyObjective(
        "cross_entropy", CrossEntropy("mean", 2, 3), 0.1, rows, torch.tensor([0, 1])
    )
    centred = objective.kernel(Ball.exact(0.5 * (full + full.T)))
    basis = torch.linalg.svd(torch.eye(3, dtype=torch.float64) - 1 / 3)[0][:, :2]
    frame = torch.block_diag(basis, basis)
    expected = torch.linalg.eigvalsh(frame.T @ full @ frame)
    found = torch.linalg.eigvalsh(centred.mid)
    assert torch.allclose(found[[0, -1]], expected[[0, -1]], rtol=1e-12)
    assert torch.allclose(found.sum() - expected.sum(), expected.mean() * 2, rtol=1e-12)


# --- the file ---


def altered(certificate: Certificate, change: Change) -> Document:
    document = certificate.document
    assert document is not None
    body, arrays = copy.deepcopy(document.body), {k: v.clone() for k, v in document.arrays.items()}
    change(body, arrays)
    body["claim"] = claim_sentence(body, arrays)  # an honest forger composes the sentence anew
    return Document(body, arrays)


def verdict_of(document: Document, path: Path) -> Any:
    write_document(document, path / "a.talweg")
    return check(str(path / "a.talweg"))


def test_the_genuine_file_is_valid(certificate: Certificate, tmp_path: Path) -> None:
    certificate.save(tmp_path / "a.talweg")
    verdict = check(str(tmp_path / "a.talweg"))
    assert (verdict.verdict, verdict.reason) == ("valid", "every claim is confirmed")
    assert verdict.claim == certificate.claim


STRONGER = {
    "initial_gap_upper": -1, "initial_loss_upper": -1, "pl_lower": 1, "sigma_min_lower": 1,
    "jacobian_norm_upper": -1, "radius": -1, "step_size": 1, "one_minus_rate": 1, "rate": -1,
    "halving_steps": -1, "target_loss": -1, "overshoot_radius": -1, "epsilon": -1,
}  # fmt: skip


def test_every_claim_is_refused_when_strengthened(certificate: Certificate, tmp_path: Path) -> None:
    claims = certificate.document.body["claims"]
    for key in claims.keys() & STRONGER.keys():

        def change(body: dict[str, Any], _: dict[str, Tensor], key: str = key) -> None:
            # A whole number has room up to the next one; the rate may have rounded up to 1.
            value = float.fromhex(claims[key])
            margin = {"halving_steps": 1.0 / value, "rate": 0.5}.get(key, 1e-5)
            value *= 1.0 + STRONGER[key] * margin
            body["claims"][key] = value.hex()

        verdict = verdict_of(altered(certificate, change), tmp_path)
        assert verdict.verdict in ("invalid", "incomplete"), key


def test_fewer_steps_are_refused(tmp_path: Path) -> None:
    def change(body: dict[str, Any], _: dict[str, Tensor]) -> None:
        steps = float.fromhex(body["claims"]["steps_upper"])
        body["claims"]["steps_upper"] = math.floor(steps * 0.999 - 1).__float__().hex()

    assert verdict_of(altered(targeted(), change), tmp_path).verdict == "invalid"


def test_another_label_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    """A less likely one: the loss at w0 is then above what is claimed."""
    document = certificate.document
    assert document is not None
    model, _ = lifted() if certificate.theorem == "T13" else classes()
    outputs = certificate.load_into_(model)(document.arrays["inputs"])
    row = int((outputs.amax(1) - outputs.amin(1)).argmax())
    unlikely = int(outputs[row].argmin())
    assert int(document.arrays["targets"][row]) != unlikely

    def change(body: dict[str, Any], arrays: dict[str, Tensor]) -> None:
        arrays["targets"][row] = unlikely
        body["hashes"]["targets"] = array_hash(arrays["targets"])

    verdict = verdict_of(altered(certificate, change), tmp_path)
    assert verdict.verdict == "invalid"
    assert "disproved" in verdict.reason


ALTERED: dict[str, Change] = {
    "smoothing": lambda b, a: b["loss"].update(label_smoothing=(0.101).hex()),
    "less smoothing": lambda b, a: b["loss"].update(label_smoothing=(0.0999).hex()),
    "no smoothing": lambda b, a: b["loss"].update(label_smoothing=(0.0).hex()),
    "negative smoothing": lambda b, a: b["loss"].update(label_smoothing=(-0.0).hex()),
    "smoothing beyond one": lambda b, a: b["loss"].update(label_smoothing=(1.5).hex()),
    "scaling": lambda b, a: b["loss"].update(scaling="sum"),
    "kind": lambda b, a: b.update(loss={"kind": "squared", "scaling": "mean"}, theorem="T11"),
    "label beyond the classes": lambda b, a: _relabel(b, a, 3),
    "negative label": lambda b, a: _relabel(b, a, -1),
    "labels as numbers": lambda b, a: _retype(b, a, "targets", torch.float64),
}


def _relabel(body: dict[str, Any], arrays: dict[str, Tensor], label: int) -> None:
    arrays["targets"][0] = label
    body["hashes"]["targets"] = array_hash(arrays["targets"])


def _retype(body: dict[str, Any], arrays: dict[str, Tensor], name: str, dtype: torch.dtype) -> None:
    arrays[name] = arrays[name].to(dtype)
    body["hashes"][name] = array_hash(arrays[name])


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_loss_is_refused(name: str, tmp_path: Path) -> None:
    verdict = verdict_of(altered(smoothed(), ALTERED[name]), tmp_path)
    assert verdict.verdict == "invalid", verdict.reason


def test_a_target_claim_with_smoothing_is_refused(tmp_path: Path) -> None:
    for name in ("smoothing", "scaling", "kind", "labels as numbers"):
        assert verdict_of(altered(targeted(), ALTERED[name]), tmp_path).verdict == "invalid"


def test_integers_are_no_inputs(tmp_path: Path) -> None:
    def change(body: dict[str, Any], arrays: dict[str, Tensor]) -> None:
        _retype(body, arrays, "inputs", torch.int64)

    assert verdict_of(altered(smoothed(), change), tmp_path).verdict == "invalid"


def test_against_compares_the_labels(tmp_path: Path) -> None:
    model, (X, y) = classes()
    certificate = smoothed()
    certificate.load_into_(model)
    path = tmp_path / "a.talweg"
    certificate.save(path)
    assert differences(path, model, (X, y)) == []
    moved = y.clone()
    moved[2] = (moved[2] + 1) % 3
    assert [d[:14] for d in differences(path, model, (X, moved))] == ["targets differ"]
    with pytest.raises(InputError, match="class indices"):
        differences(path, model, (X, y.double()))
