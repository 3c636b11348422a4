"""The four sections: local constants, contraction per step, step rules, far from lazy."""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
from torch import Tensor

from talweg.experiments._record import Section
from talweg.experiments.xu2025._not_lazy import FarRun, far_run, starts, summary
from talweg.experiments.xu2025._problems import Problem, build, suite
from talweg.experiments.xu2025._runs import Run, best_constant, run_rule
from talweg.optim import StepRule, enclosed_point, linear_network_bounds, step_quartic
from talweg.theory import (
    Status,
    linear_network_is_locally_pl,
    linear_network_smoothness_upper,
    linear_network_step_decreases,
)

RULES: tuple[StepRule, ...] = (
    "local_smoothness", "majorant", "exact", "shortened", "barzilai_borwein", "dai_yuan",
)  # fmt: skip
UNIT = 2.0**-53
STEPS = {
    "local_constants": (12, 120), "contraction": (10, 100), "rules": (300, 1200),
    "curves": (60, 200), "far": (5000, 20000),
}  # fmt: skip
"""Iterations at most, in the short and in the full form."""


def _most(section: Section, name: str) -> int:
    short, full = STEPS[name]
    return short if section.quick else full


def _examples(section: Section) -> list[Problem]:
    """One problem per loss, small and unbalanced at the start."""
    return [
        build("squared", (5, 8, 3), 0.3, 3.0, 10.0, seed=section.seed + 1),
        build("huber", (5, 8, 3), 0.3, 3.0, 10.0, seed=section.seed + 2),
        build("logistic", (5, 8, 3), 0.3, 3.0, 10.0, seed=section.seed + 3),
        build("cross_entropy", (5, 8, 3), 0.3, 3.0, 10.0, seed=section.seed + 4),
    ]


def local_constants(section: Section) -> None:
    """mu_t and L_t along runs, beside the PL ratio and the sharpness that were measured."""
    rows: list[dict[str, Any]] = []
    for problem in _examples(section):
        section.progress(f"local constants, {problem.kind}")
        rows += _constants_along(problem, _most(section, "local_constants"))
    section.table("local_constants", rows, show=False)
    for kind in dict.fromkeys(row["loss"] for row in rows):
        mine = [row for row in rows if row["loss"] == kind]
        section.compare(
            f"{kind}: least of PL ratio / mu_t along the run", predicted=1.0, relation=">=",
            measured=min(r["pl_ratio"] / r["mu_t"] for r in mine), source="D1",
            note="PL ratio |grad f|^2 / (2 (f - l*)), in floating point",
        )  # fmt: skip
        section.compare(
            f"{kind}: largest of sharpness / L_t along the run", predicted=1.0, relation="<=",
            measured=max(r["sharpness"] / r["smoothness"] for r in mine), source="D2",
            note="L_t = |G| + K (|W1|^2 + |W2|^2), the bound at the point itself",
        )  # fmt: skip
        section.compare(
            f"{kind}: PL ratio / mu_t at the last step", predicted=None, relation="reported",
            measured=mine[-1]["pl_ratio"] / mine[-1]["mu_t"], source="D1",
        )  # fmt: skip
    with section.figure("local_constants", width=9.0, height=6.0) as figure:
        for axes, kind in zip(
            figure.subplots(2, 2).flat, dict.fromkeys(r["loss"] for r in rows), strict=False
        ):
            mine = [row for row in rows if row["loss"] == kind]
            k = [row["step"] for row in mine]
            for name, label, style in (
                ("smoothness", "$L_t$, bound", "C3--"), ("sharpness", "sharpness, measured", "C3-"),
                ("pl_ratio", "PL ratio, measured", "C0-"), ("mu_t", r"$\mu_t$, bound", "C0--"),
            ):  # fmt: skip
                axes.semilogy(k, [row[name] for row in mine], style, label=label)
            axes.set(title=kind.replace("_", " "), xlabel="step", ylabel="curvature")
        figure.axes[0].legend(fontsize="small")


def _constants_along(problem: Problem, steps: int) -> list[dict[str, Any]]:
    loss, constants = problem.loss, problem.loss.constants.conclusion
    assert constants is not None
    first, second = problem.first.clone(), problem.second.clone()
    rows = []
    for step in range(steps):
        gap = loss.value(first @ second) - problem.infimum
        if gap < 1e-7 * problem.initial_gap:
            break
        bounds = linear_network_bounds(first, second)
        local = linear_network_is_locally_pl(bounds, pl_lower=constants.pl_lower).conclusion
        g = loss.gradient(first @ second)
        g1, g2 = g @ second.T, first.T @ g
        square = float(g1.square().sum() + g2.square().sum())
        norm = bounds.jacobian_norm_upper
        smooth = linear_network_smoothness_upper(
            norm,
            math.sqrt(square),
            float(g.norm()) * (1.0 + 1e-12),
            constants.smoothness_upper,
            0.0,
        )
        rows.append({
            "loss": problem.kind, "step": step, "gap": gap, "pl_ratio": square / (2.0 * gap),
            "mu_t": 0.0 if local is None else local.pl_lower,
            "sharpness": _sharpness(problem, first, second), "smoothness": smooth,
        })  # fmt: skip
        eta = 1.0 / smooth
        first, second = first - eta * g1, second - eta * g2
    return rows


def _sharpness(problem: Problem, first: Tensor, second: Tensor) -> float:
    """The largest eigenvalue of the Hessian, from forward derivatives of the gradient."""
    d, h = first.shape

    def gradient(flat: Tensor) -> Tensor:
        w1, w2 = flat[: d * h].reshape(d, h), flat[d * h :].reshape(h, -1)
        g = problem.loss.gradient(w1 @ w2)
        return torch.cat([(g @ w2.T).reshape(-1), (w1.T @ g).reshape(-1)])

    hessian = torch.func.jacfwd(gradient)(torch.cat([first.reshape(-1), second.reshape(-1)]))
    return float(torch.linalg.eigvalsh(hessian)[-1])


def contraction(section: Section) -> None:
    """Every step's certified contraction and gain against the measured ones."""
    rows: list[dict[str, Any]] = []
    chosen: tuple[StepRule, ...] = ("local_smoothness", "dai_yuan")
    for problem in _examples(section):
        for rule in chosen:
            section.progress(f"contraction, {problem.kind}, {rule}")
            run = run_rule(
                problem, rule, tolerance=1e-7, most=_most(section, "contraction"), certify=True
            )
            found = _contractions(problem, rule, run)
            rows += found
            for name, key in (("enclosed gap", "certified"), ("mu_t alone", "certified_mu_t")):
                section.compare(
                    f"{problem.kind}, {rule}: worst of measured / certified contraction, {name}",
                    predicted=1.0, relation="<=", measured=max(r["least"] / r[key] for r in found),
                    source="D2" if key == "certified" else "D1",
                    note="measured from below: the rounding of f and l* is taken off",
                )  # fmt: skip
            certified = sum(math.log(r["certified"]) for r in found if r["certified"] > 0.0)
            section.compare(
                f"{problem.kind}, {rule}: log measured / log certified, whole run", predicted=None,
                relation="reported", measured=math.log(run.gaps[-1] / run.gaps[0]) / certified,
                source="D2",
            )  # fmt: skip
        section.compare(
            f"{problem.kind}: least of measured / guaranteed gain, gradient step with the quartic",
            predicted=1.0, relation=">=", measured=_gain_ratio(problem), source="D2",
            note="the guarantee is known before the step; measured from above",
        )  # fmt: skip
    section.table("contraction", rows, show=False)
    with section.figure("contraction", width=9.0, height=6.0) as figure:
        kinds = list(dict.fromkeys(r["loss"] for r in rows))
        for axes, kind in zip(figure.subplots(2, 2).flat, kinds, strict=False):
            mine = [r for r in rows if r["loss"] == kind and r["rule"] == "dai_yuan"]
            k = [r["step"] for r in mine]
            for key, label, style in (
                ("certified_mu_t", r"certified, $\mu_t$", "C1."),
                ("certified", "certified, enclosed gap", "C0x"), ("measured", "measured", "C2+"),
            ):  # fmt: skip
                axes.semilogy(k, [max(1.0 - r[key], 1e-6) for r in mine], style, label=label)
            axes.set(title=kind.replace("_", " "), xlabel="step", ylabel="1 - contraction")
        figure.axes[0].legend(fontsize="small")


def _contractions(problem: Problem, rule: str, run: Run) -> list[dict[str, Any]]:
    value = abs(problem.infimum) + run.gaps[0]
    rows = []
    for k, c in enumerate(run.certificates):
        error = 64.0 * UNIT * value  # of f - l* in floating point, generously
        before, after = run.gaps[k], run.gaps[k + 1]
        rows.append({
            "loss": problem.kind, "rule": rule, "step": k, "step_size": c.step_size, "gap": before,
            "measured": after / before, "least": max(after - error, 0.0) / (before + error),
            "certified": c.contraction_upper, "certified_mu_t": c.pl_contraction_upper,
            "mu_t": c.local_pl_lower, "descent_constant": c.descent_constant_lower,
        })  # fmt: skip
    return rows


def _gain_ratio(problem: Problem) -> float:
    """Steps to the quartic's minimum: least of (measured + rounding) / guaranteed gain."""
    loss, worst = problem.loss, math.inf
    first, second = problem.first.clone(), problem.second.clone()
    for _ in range(8):
        quartic = step_quartic(loss, enclosed_point(loss, first, second))
        eta = quartic.minimiser_approx()
        verdict = linear_network_step_decreases(quartic, eta, local_pl_lower=0.0)
        if verdict.conclusion is None:
            break
        before = loss.value(first @ second)
        g = loss.gradient(first @ second)
        g1, g2 = g @ second.T, first.T @ g
        first, second = first - eta * g1, second - eta * g2
        gain = before - loss.value(first @ second) + 64.0 * UNIT * abs(before)
        worst = min(worst, gain / verdict.conclusion.decrease_lower)
    return worst


def steps(section: Section) -> None:
    """Iterations of every rule against the best constant step of a grid."""
    tolerance, most = 1e-8, _most(section, "rules")
    rows: list[dict[str, Any]] = []
    for problem in suite(section.seed, every=8 if section.quick else 3):
        section.progress(f"step rules, {problem.name}")
        constant, size = best_constant(problem, tolerance=tolerance, most=most)
        row: dict[str, Any] = {"problem": problem.name, "constant": constant, "constant_step": size}
        for rule in RULES:
            row[rule] = run_rule(problem, rule, tolerance=tolerance, most=most).steps
        rows.append(row)
    section.table("step_rules", [{k: _plain(v) for k, v in row.items()} for row in rows])
    for rule in RULES:
        ratios = [min(row[rule], most) / min(row["constant"], most) for row in rows]
        for name, value in (("median", statistics.median(ratios)), ("largest", max(ratios))):
            section.compare(
                f"iterations, {rule} / best of 20 constant steps, {name}", predicted=None,
                relation="reported", measured=value, source="D2",
                note=f"{len(rows)} problems; a run that did not finish counts as {most}",
            )  # fmt: skip
    with section.figure("step_rules", width=7.5, height=0.28 * len(rows) + 1.5) as figure:
        axes = figure.subplots()
        for rule, marker in zip(RULES, "v^xs+o", strict=True):
            ratios = [min(row[rule], most) / min(row["constant"], most) for row in rows]
            label = rule.replace("_", " ")
            axes.semilogx(ratios, range(len(rows)), marker, label=label, markersize=5)
        axes.axvline(1.0, color="0.5", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [row["problem"] for row in rows], fontsize=6)
        axes.tick_params(axis="x", which="minor", labelbottom=False)
        axes.set_xlabel("iterations / iterations of the best constant step")
        figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    _curves(section)


def _curves(section: Section) -> None:
    problem = _examples(section)[0]
    with section.figure("step_rules_loss") as figure:
        axes = figure.subplots()
        for rule in RULES:
            run = run_rule(problem, rule, tolerance=1e-8, most=_most(section, "curves"))
            axes.semilogy([g / run.gaps[0] for g in run.gaps], label=rule.replace("_", " "))
        axes.set(xlabel="step", ylabel="(f - l*) / (f_0 - l*)")
        axes.legend(fontsize="small")


def _plain(value: Any) -> Any:
    """A count that was not reached is text in the table."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def far_from_lazy(section: Section) -> None:
    """D3 on runs that leave every ball the local theorems could use."""
    runs: list[FarRun] = []
    for problem in starts(section.seed, quick=section.quick):
        section.progress(f"not lazy, {problem.name}")
        run = far_run(problem, tolerance=1e-7, most=_most(section, "far"))
        if run is not None:
            runs.append(run)
    section.table("not_lazy", [summary(run) for run in runs])
    for run in runs:
        name, claim = run.problem.name, run.claim
        error = 64.0 * UNIT * (abs(run.problem.infimum) + run.gaps[0])
        worst = max((b - error) / (a + error) for a, b in zip(run.gaps, run.gaps[1:], strict=False))
        checks = (
            ("worst contraction of a step", claim.loss_rate_upper, "<=", worst),
            ("least sigma_d(W1)^2 + sigma_m(W2)^2", claim.kernel_lower, ">=", min(run.kernels)),
            ("largest sqrt(|W1|^2 + |W2|^2)", claim.jacobian_norm_upper, "<=", max(run.norms)),
            ("largest drift of the imbalance", claim.drift_upper, "<=", max(run.drifts)),
            ("length of the path", claim.path_length_upper, "<=", run.path),
        )  # fmt: skip
        for text, predicted, relation, measured in checks:
            section.compare(f"{name}: {text}", predicted=predicted, relation=relation,  # type: ignore[arg-type]
                            measured=measured, source="D3")  # fmt: skip
        section.compare(
            f"{name}: distance travelled / lazy radius", predicted=None, relation="reported",
            measured=max(run.distances) / run.lazy_radius, source="D3",
            note="T4 applies here" if run.lazy_status is Status.PROVED else "T4 does not apply",
        )  # fmt: skip
    if not runs:
        return
    run = max(runs, key=lambda r: max(r.distances) / r.lazy_radius)
    with section.figure("not_lazy", width=9.0, height=3.8) as figure:
        left, right = figure.subplots(1, 2)
        k = range(len(run.gaps))
        left.semilogy(k, [g / run.gaps[0] for g in run.gaps], label="measured")
        left.semilogy(
            k, [run.claim.loss_rate_upper**i for i in k], "--", label="D3, before the run"
        )
        left.set(xlabel="step", ylabel="(f - l*) / (f_0 - l*)", ylim=(1e-8, 2.0))
        left.legend()
        right.plot(k, [x / run.lazy_radius for x in run.distances],
                   label="distance / lazy radius")  # fmt: skip
        right.plot(range(0, len(run.gaps), 10), [x / run.claim.kernel_lower for x in run.kernels],
                   label="kernel / c of D3")  # fmt: skip
        right.axhline(1.0, color="0.5", linewidth=0.8)
        right.set(xlabel="step", ylabel="ratio")
        right.legend()
        figure.suptitle(run.problem.name, fontsize="medium")
