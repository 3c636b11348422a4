"""Certificates for classifiers on scikit-learn digits, 10 classes.

    python benchmarks/classification.py [--skip-smoothed] [--skip-target]

Data: the first n digits, all pixels / 16. Models: 64-w-10, tanh, all parameters trained.

1. Label smoothing 0.1: `certify(loss="cross_entropy", label_smoothing=0.1, polish=True)` from
   PyTorch's default initialisation, then `talweg-check` on the saved file (T4, to the infimum).
2. Plain cross-entropy, nothing polished: the smallest training loss that T13 proves gradient
   descent to reach from the initial weights, by width and output scale c (outputs times c). With
   "zero output" the last layer starts at 0, so that the loss starts at log 10.
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from certificates import check, digits, tanh_network
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn

import talweg
from talweg.certificate._bounds import Stopwatch
from talweg.certificate._entropy_theorems import EntropyTarget
from talweg.certificate._problem import Problem, checked_problem
from talweg.certificate._request import Request
from talweg.theory import CrossEntropy, singular_value_profile

CLASSES = 10
SMOOTHING = 0.1
SMOOTHED_CASES = ((200, 256), (100, 256))
TARGET_SAMPLES = 10
# (width, output scale, whether the last layer starts at zero)
TARGET_CASES = (
    (256, 1.0, False), (1024, 1.0, False), (256, 1.0, True), (1024, 1.0, True),
    (256, 10.0, True), (1024, 10.0, True), (256, 100.0, True), (1024, 100.0, True),
    (256, 1000.0, True),
)  # fmt: skip
FRACTIONS = (0.05, 0.2, 0.5, 1.0)
"""Radii of the profile, of the one at which it would vanish without growth."""


def labelled_digits(n: int) -> tuple[Tensor, Tensor]:
    """Inputs ``(n, 64)`` float64 and class indices ``(n,)``."""
    X, _ = digits(n, CLASSES)
    return X, torch.tensor(load_digits().target[:n]).long()


def smoothed(console: Console) -> None:
    """The first table."""
    table = Table(title=f"label smoothing {SMOOTHING}, mean of cross-entropies, polished, digits")
    columns = (
        "model", "n", "N = nk", "p", "status", "G (sum)", "mu_l", "sigma_0", "beta", "R*", "lr",
        "1 - rate", "certify s", "of which polish s", "checker", "checker s",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        for n, width in SMOOTHED_CASES:
            X, y = labelled_digits(n)
            model = tanh_network((64, width, CLASSES))
            cert = talweg.certify(
                model, (X, y), loss="cross_entropy", label_smoothing=SMOOTHING, polish=True,
                attack=False,
            )  # fmt: skip
            checked = _checked(cert, Path(folder))
            table.add_row(
                f"64-{width}-10", str(n), str(n * CLASSES), str(cert.parameters), cert.status,
                _e(cert.initial_gap), _e(cert.pl_constant), _e(cert.sigma_min_lower),
                _e(cert.jacobian_lipschitz_upper), _e(cert.radius), _e(cert.step_size),
                _e(cert.one_minus_rate), f"{cert.seconds['total']:.1f}",
                f"{cert.seconds.get('polish', 0.0):.1f}", checked["verdict"],
                f"{checked['seconds']:.1f}",
            )  # fmt: skip
            console.print(
                f"64-{width}-10, n = {n}: {cert.status} in {cert.seconds['total']:.1f} s, "
                f"{checked['verdict']} in {checked['seconds']:.1f} s"
            )
    console.print(table)


def targets(console: Console) -> None:
    """The second table."""
    table = Table(title=f"plain cross-entropy, n = {TARGET_SAMPLES} digits, mean loss, as given")
    columns = (
        "width", "scale c", "output layer", "loss at w0", "smallest loss proved", "part removed",
        "steps", "lr", "sigma_0^2 / 2 beta", "seconds", "checker", "checker s",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    X, y = labelled_digits(TARGET_SAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        for width, scale, zero in TARGET_CASES:
            begun = time.perf_counter()
            model = scaled_network(width, scale, zero)
            start, target = smallest_target(model, X, y)
            cert = None
            for room in (1e-6, 1e-3, 1e-2, 5e-2):  # certify chooses its own radii
                t = start - (start - target) * (1.0 - room)
                cert = talweg.certify(model, (X, y), loss="cross_entropy", target=t, attack=False)
                if cert.status == "PROVED":
                    break
            assert cert is not None
            seconds = time.perf_counter() - begun
            checked = _checked(cert, Path(folder))
            sigma, beta = cert.sigma_min_lower or 0.0, cert.jacobian_lipschitz_upper or math.inf
            proved = cert.status == "PROVED" and cert.target is not None
            table.add_row(
                str(width), f"{scale:g}", "zero" if zero else "default", f"{start:.6g}",
                f"{cert.target:.6g}" if proved else "-",
                f"{1.0 - cert.target / start:.2e}" if proved and cert.target else "-",
                _e(cert.steps), _e(cert.step_size), _e(sigma**2 / (2.0 * beta)),
                f"{seconds:.1f}", checked["verdict"], f"{checked['seconds']:.1f}",
            )  # fmt: skip
            console.print(
                f"width {width}, c = {scale:g}, {seconds:.0f} s: {start:.6g} to {cert.target:.6g}: "
                f"{cert.status}, {checked['verdict']}"
            )
    console.print(table)


def scaled_network(width: int, scale: float, zero: bool) -> nn.Sequential:
    """64-width-10, outputs times ``scale``."""
    model = copy.deepcopy(tanh_network((64, width, CLASSES)))
    last = model[-1]
    assert isinstance(last, nn.Linear)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    if scale != 1.0:
        model.append(talweg.nn.Scale(scale))
    return model


def smallest_target(model: nn.Module, X: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean loss at the start, and the least target that T13 proves on one fine profile."""
    problem = checked_problem(model, (X, y), Request("cross_entropy", 1.0, None, 0.0))
    assert isinstance(problem, Problem)
    bounds = problem.bounds(problem.network, Stopwatch())
    start = bounds.start["initial_loss_upper"] / len(X)
    end = bounds.sigma_min_lower / bounds.lipschitz_upper(0.0)
    pairs: list[tuple[float, float]] = []
    for fraction in FRACTIONS:
        pairs.append((fraction * end, bounds.lipschitz_upper(fraction * end)))
    profile = singular_value_profile(bounds.sigma_min_lower, pairs)
    loss = CrossEntropy("mean", len(X), CLASSES)

    def proved(target: float) -> bool:
        return EntropyTarget(loss, target).apply(bounds, profile).verdict.conclusion is not None

    low, high = -40.0, 0.0  # log10 of the part of the loss that is left ...
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if proved(start * 10.0**middle) else (middle, high)
    if high < -0.01:
        return start, start * 10.0**high
    low, high = -15.0, -1.0  # ... or of the part removed
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if proved(start * (1.0 - 10.0**middle)) else (low, middle)
    return start, start * (1.0 - 10.0**low)


def _checked(cert: talweg.Certificate, folder: Path) -> dict[str, Any]:
    if cert.status != "PROVED":
        return {"verdict": "-", "seconds": 0.0}
    path = folder / "one.talweg"
    cert.save(path)
    return check(path)


def _e(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skip-smoothed", action="store_true")
    parser.add_argument("--skip-target", action="store_true")
    options = parser.parse_args()
    console = Console(width=220)
    if not options.skip_smoothed:
        smoothed(console)
    if not options.skip_target:
        targets(console)


if __name__ == "__main__":
    main()
