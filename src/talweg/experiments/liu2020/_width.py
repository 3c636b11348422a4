"""The width that is certified before training, against the number of samples."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from talweg.experiments._record import Section
from talweg.experiments.liu2020._problems import (
    bounds_of,
    descend,
    generator,
    slope,
    sphere_inputs,
    twin_network,
)
from talweg.prescribe import Width, width_finder

DELTA = 0.1
"""Failure probability put into the published formula that asks for one."""


def certified_width(section: Section) -> None:
    """Smallest width tried at which `certify` proves convergence from the random start.

    Tanh, first layer trained, antisymmetric +-1 output weights, unit-length Gaussian inputs,
    labels +-1: nothing is trained before the proof.

    Args:
        section: Where results go.
    """
    d = 256 if section.quick else 784
    sizes = (4, 8, 16) if section.quick else (5, 10, 20, 40)
    resolution = 0.2 if section.quick else 0.05
    rows: list[dict[str, Any]] = []
    low = 16
    for n in sizes:
        inputs = sphere_inputs(n, d, section.seed + n)
        source = generator(section.seed + n + 1)
        targets = torch.sign(torch.randn(n, 1, generator=source, dtype=torch.float64))
        section.progress(f"n = {n}")
        found = width_finder(
            lambda width, seed: twin_network(d, width, seed), (inputs, targets), low=low,
            multiple=2, resolution=resolution, seeds=(section.seed + 7,), loss="half_sse",
            descent_steps=1, progress=section.progress,
        )  # fmt: skip
        rows.append(_row(section, inputs, targets, found))
        low = int(rows[-1]["certified_width"])
    section.table("certified_width", rows)
    samples = [float(r["n"]) for r in rows]
    section.compare(
        "exponent of n in the certified width", predicted=None, relation="reported",
        measured=slope(samples, [float(r["certified_width"]) for r in rows]), source="T11",
        note=f"fitted over n = {sizes[0]}..{sizes[-1]}, labels +-1 so that |y|^2 = n",
    )  # fmt: skip
    last = rows[-1]
    for column, work, note in (
        ("T3_estimate", "T3 (chatterjee2022)", "constant profile with the same sigma_0 and beta"),
        ("T5_estimate", "T5 (liu2020)", "published PL* ball with the same sigma_0 and beta"),
        ("oymak_soltanolkotabi_n2_over_d", "Oymak, Soltanolkotabi 2020",
         "order n^2 / d (parameters against n^2), at least 1; no constants, generic data"),
        ("du_n6_over_lambda4_delta3", "Du et al. 2019",
         f"order n^6 / (lambda_0^4 delta^3), delta = {DELTA}; no constants, ReLU kernel"),
    ):  # fmt: skip
        note += "; extrapolated with beta ~ width^(-1/2)" if column.startswith("T") else ""
        section.compare(f"certified width beside a published order, n = {last['n']}",
                        predicted=last[column], relation="reported",
                        measured=last["certified_width"], source=work, note=note)  # fmt: skip
    _figure(section, rows)


def _row(section: Section, inputs: Tensor, targets: Tensor, found: Width) -> dict[str, Any]:
    """What was certified, a run that obeys it, and what published theorems ask for."""
    n, d = inputs.shape
    if found.width is None:
        raise RuntimeError(f"no width was certified for n = {n}: {found.reason}")
    width, certificate = found.width, found.certificates[0]
    failed = [t.missing_factor for t in found.trials if not t.proved and t.missing_factor]
    model = twin_network(d, width, section.seed + 7)
    bounds = bounds_of(model, inputs)
    steps = 60 if section.quick else 200
    run = descend(bounds.function, targets, float(certificate.step_size or 0.0), steps, floor=1e-8)
    squared = run.worst_contraction(1e-8) ** 2
    section.compare(f"largest f_k+1 / f_k, n = {n}, width {width}", predicted=certificate.rate,
                    relation="<=", measured=squared, source="T11")  # fmt: skip
    section.compare(f"path length, n = {n}, width {width}", predicted=certificate.radius,
                    relation="<=", measured=run.path, source="T11")  # fmt: skip
    sigma, beta = bounds.sigma_min_lower, bounds.lipschitz.upper(0.0)
    kappa = bounds.jacobian_norm_upper / sigma
    # beta ~ width^(-1/2) turns the residual a theorem admits into the width it asks for
    lazy = width * (float(targets.norm()) / (sigma**2 / (2.0 * beta))) ** 2
    return {
        "n": n, "d": d, "certified_width": width, "widths_tried": len(found.trials),
        "nearest_missing_factor": min(failed, default=math.nan),
        "halving_steps": certificate.halving_steps, "sigma_0": sigma, "beta": beta,
        "T3_estimate": 4.0 * lazy, "T5_estimate": (6.75 * kappa) ** 2 * lazy,
        "oymak_soltanolkotabi_n2_over_d": max(n * n / d, 1.0),
        "du_n6_over_lambda4_delta3": _du(inputs),
    }  # fmt: skip


def _du(inputs: Tensor) -> float:
    """n^6 / (lambda_0^4 delta^3) with lambda_0 of the infinite-width ReLU kernel."""
    n = len(inputs)
    overlap = (inputs @ inputs.T).clamp(-1.0, 1.0)
    kernel = overlap * (math.pi - torch.arccos(overlap)) / (2.0 * math.pi)
    least = float(torch.linalg.eigvalsh(kernel)[0])
    return n**6 / (least**4 * DELTA**3)


def _figure(section: Section, rows: list[dict[str, Any]]) -> None:
    with section.figure("certified_width", width=7.6, height=5.0) as figure:
        axis = figure.subplots()
        n = [r["n"] for r in rows]
        for column, style, label in (
            ("certified_width", "o-", "certified before training (T11)"),
            ("T3_estimate", "v:", "constant profile (T3), extrapolated"),
            ("T5_estimate", "s:", "PL* in a ball as published (T5), extrapolated"),
            ("oymak_soltanolkotabi_n2_over_d", "x--",
             "Oymak, Soltanolkotabi 2020: order n^2/d, no constants"),
            ("du_n6_over_lambda4_delta3", "^--",
             "Du et al. 2019 (ReLU): order n^6/(lambda^4 delta^3)"),
        ):  # fmt: skip
            axis.plot(n, [r[column] for r in rows], style, label=label)
        axis.set(xscale="log", yscale="log", xlabel="samples n", ylabel="hidden width",
                 ylim=(0.5, None))  # fmt: skip
        axis.set_xticks(n, [str(value) for value in n])
        axis.minorticks_off()
        figure.legend(loc="outside upper center", fontsize=8, ncols=2)
