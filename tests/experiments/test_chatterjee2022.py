"""chatterjee2022: the trainer against autograd, and that no bound is broken in the quick form."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy.stats import binom
from torch import nn

pytest.importorskip("pyarrow")
pytest.importorskip("matplotlib")

from talweg.experiments import Section
from talweg.experiments.chatterjee2022 import SECTIONS
from talweg.experiments.chatterjee2022 import _output_scale as output_scale
from talweg.experiments.chatterjee2022 import _probability as probability
from talweg.experiments.chatterjee2022._certified import certified_runs, compare_with_certificates
from talweg.experiments.chatterjee2022._probability import (
    MEASURABLE,
    Case,
    binomial_limits,
    event_count,
)
from talweg.experiments.chatterjee2022._starts import RANDOM, positive, stable_step, started
from talweg.experiments.chatterjee2022._training import gaussian_data, network, train
from talweg.init import positive_


def section(folder: Path, title: str = "any") -> Section:
    return Section(title, folder, quick=True, seed=0, progress=lambda text: None)


def test_the_sections_are_those_of_the_paper() -> None:
    assert list(SECTIONS) == [
        "Training loss by initialisation",
        "Training loss at larger widths",
        "Sweep over the output scale",
        "Output scale: formula, certificate, practice",
        "Probability of the LeCun event",
    ]


def test_many_runs_are_those_of_torch_sgd() -> None:
    data = gaussian_data(4, 6, 1)
    starts = [positive(2.0), *RANDOM.values()]
    models = [started(start, 6, (5, 3), 0.1, seed) for start in starts for seed in (0, 1)]
    lr = torch.tensor([0.01 * (i + 1) for i in range(len(models))], dtype=torch.float64)
    before = [p.clone() for m in models for p in m.parameters()]
    runs = train(models, data, lr, 30, every=10)
    assert runs.steps == (0, 10, 20, 30)
    after = [p for m in models for p in m.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))  # left alone
    for index, model in enumerate(models):
        start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        descent = torch.optim.SGD(model.parameters(), lr=float(lr[index]))
        for step in range(31):
            loss = nn.functional.mse_loss(model(data[0]), data[1])
            if step % 10 == 0:
                measured = float(runs.losses[step // 10, index])
                assert measured == pytest.approx(float(loss.detach()), rel=1e-9)
            if step < 30:
                descent.zero_grad()
                loss.backward()
                descent.step()
        moved = nn.utils.parameters_to_vector(model.parameters()).detach() - start
        assert float(runs.distance[index]) == pytest.approx(float(moved.norm()), rel=1e-9)


def test_a_diverging_run_harms_no_other() -> None:
    data = gaussian_data(4, 6, 1)
    models = [started(positive(2.0), 6, (5,), 0.1, 0)] * 2
    alone = train(models[:1], data, torch.tensor([1e-3]), 50)
    both = train(models, data, torch.tensor([1e-3, 1e6]), 50)
    assert torch.equal(both.losses[:, 0], alone.losses[:, 0])
    assert float(both.losses[-1, 1]) == math.inf


def test_the_stability_limit_is_that_of_the_kernel() -> None:
    data = gaussian_data(4, 6, 1)
    model = started(positive(2.0), 6, (5, 3), 0.1, 0)
    jacobian = torch.func.jacrev(
        lambda p: torch.func.functional_call(model, p, (data[0],)).flatten()
    )(dict(model.named_parameters()))
    whole = torch.cat([j.flatten(1) for j in jacobian.values()], 1)
    largest = float(torch.linalg.eigvalsh((whole @ whole.T).detach())[-1])
    assert stable_step(model, data) == pytest.approx(4 / (2 * largest), rel=1e-9)


def test_a_broken_envelope_is_seen(tmp_path: Path) -> None:
    data = gaussian_data(4, 8, 1)
    model = network(8, (4,), 0.1)
    positive_(model, output_scale="certified", data=data, tolerance=0.5)
    found = certified_runs([model], data, 20, every=1, progress=lambda text: None)
    assert found is not None
    honest, broken = section(tmp_path), section(tmp_path)
    compare_with_certificates(honest, found, "here")
    assert not [c for c in honest.comparisons if c.violated]
    found.runs.losses[3] = 1.01 * found.envelope[3]
    found.runs.distance[0] = 2.0 * float(found.certificates[0].radius or 0.0)
    compare_with_certificates(broken, found, "here")
    assert len([c for c in broken.comparisons if c.violated]) == 2


def test_the_table_of_output_scales_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_scale, "QUICK_ROUNDS", 1)
    setting = output_scale.Setting(3, 8, output_scale.SLOPES[0])
    data = gaussian_data(output_scale.SAMPLES, setting.inputs, 2000)
    row = output_scale._line(section(tmp_path), setting, data)
    assert row["status"] == "PROVED"
    assert float(str(row["formula_over_certified"])) >= output_scale.AIM
    assert float(str(row["works"])) <= float(str(row["certified"]))


def test_rows_short_of_the_aim_are_counted_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_scale, "QUICK_ROUNDS", 1)
    setting = output_scale.Setting(2, 8, output_scale.SLOPES[0])
    found = section(tmp_path)
    rows = output_scale._table(found, "rows", [setting], "")
    counted = next(c for c in found.comparisons if "formula / certified" in c.quantity)
    ratio = float(str(rows[0]["formula_over_certified"]))
    assert ratio < output_scale.AIM
    assert (counted.predicted, counted.measured, counted.relation) == (1.0, 0.0, "reported")
    assert f"depth 2, width 8: {ratio:.3g}" in counted.note


@pytest.mark.parametrize("case", MEASURABLE[:2])
def test_the_closed_form_is_within_the_limits_of_counting(case: Case) -> None:
    found = case.probability().conclusion
    assert found is not None
    hits = event_count(case, found, 50_000, seed=7)
    low, high = binomial_limits(hits, 50_000)
    assert low <= math.exp(found.log_probability_lower) <= high


def test_limits_are_those_of_the_binomial_law() -> None:
    low, high = binomial_limits(30, 100)
    assert binom.sf(29, 100, low) == pytest.approx(1e-6, rel=1e-3)
    assert binom.cdf(30, 100, high) == pytest.approx(1e-6, rel=1e-3)
    assert binomial_limits(0, 10)[0] == 0.0
    assert binomial_limits(10, 10)[1] == 1.0


def test_a_quick_section_breaks_no_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probability, "MEASURABLE", MEASURABLE[:1])
    monkeypatch.setattr(probability, "USUAL", probability.USUAL[:1])
    title = "Probability of the LeCun event"
    found = section(tmp_path, title)
    SECTIONS[title](found)
    assert [c for c in found.comparisons if c.violated] == []
    assert [c for c in found.comparisons if c.relation != "reported"]
    assert (tmp_path / "lecun_event.png").stat().st_size > 10_000
    assert (tmp_path / "lecun_event.parquet").is_file()
