"""Certificates on scikit-learn digits: what is proved, how tight, and what each stage costs.

    python benchmarks/certificates.py [--slack-only] [--refinements] [--cases NAME ...]

Data: the first n digits, pixels / 16; one output: odd/even labels +-1, ten outputs: one-hot.
Models: PyTorch's default initialisation (seed 0), float32 drawn and converted to float64, tanh, all
parameters trained. `certify(polish=True)` from there, then `talweg-check` in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn

import talweg
from talweg.network import (
    FlatFunction,
    JacobianLipschitz,
    Linearization,
    linearize,
    lipschitz_attack_approx,
    read,
)

CASES: dict[str, tuple[tuple[int, ...], int]] = {
    "64-256-1": ((64, 256, 1), 200),
    "64-64-64-1": ((64, 64, 64, 1), 200),
    "64-512-1": ((64, 512, 1), 1000),
    "64-256-10": ((64, 256, 10), 100),
    "64-256-256-10": ((64, 256, 256, 10), 300),
}
SLACK_CASES = {**CASES, "64-64-64-64-1": ((64, 64, 64, 64, 1), 200)}
# Required and hoped for (docs/performance.md); the criterion of a float prototype fired at |r|.
LIMITS = {
    "64-256-1": (1.15, 1.1), "64-512-1": (1.15, 1.1), "64-256-10": (1.35, 1.2),
    "64-64-64-1": (1.65, 1.4), "64-64-64-64-1": (1.85, 1.5), "64-256-256-10": (1.95, 1.6),
}  # fmt: skip
PROTOTYPE_FIRED = {
    "64-256-1": 2.6e-4, "64-64-64-1": 1.5e-5, "64-512-1": 2.8e-5, "64-256-10": 1.8e-5,
    "64-256-256-10": 8.9e-8,
}  # fmt: skip


def digits(n: int, outputs: int) -> tuple[Tensor, Tensor]:
    """The first n digits, float64: inputs ``(n, 64)``, targets ``(n, outputs)``."""
    data = load_digits()
    X = torch.tensor(data.data[:n]) / 16.0
    label = torch.tensor(data.target[:n])
    if outputs == 1:
        return X, (2.0 * (label % 2) - 1.0).to(torch.float64).reshape(-1, 1)
    return X, nn.functional.one_hot(label, outputs).to(torch.float64)


def tanh_network(widths: tuple[int, ...], seed: int = 0) -> nn.Sequential:
    """PyTorch's default initialisation, drawn in float32."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for d_in, d_out in itertools.pairwise(widths):
            layers += [nn.Linear(d_in, d_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


def check(path: Path) -> dict[str, Any]:
    """The verdict of the independent checker, from a process of its own."""
    command = [sys.executable, "-m", "talweg_check", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.stdout else {"verdict": done.stderr, "seconds": 0.0}


def certificates(names: list[str], console: Console) -> None:
    """The main table."""
    table = Table(title="certify(polish=True) from PyTorch's default initialisation, tanh, digits")
    columns = (
        "case", "n", "p", "N", "status", "|r_0|", "fires at |r|", "prototype", "sigma_0", "beta",
        "R*", "step (mse)", "1 - rate", "slack", "kernel s", "eigen s", "Lipschitz s", "polish s",
        "attack s", "total s", "checker", "checker s",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            widths, n = CASES[name]
            X, y = digits(n, widths[-1])
            cert = talweg.certify(tanh_network(widths), (X, y), polish=True)
            checked: dict[str, Any] = {"verdict": "-", "seconds": 0.0}
            if cert.status == "PROVED":
                path = Path(folder) / f"{name}.talweg"
                cert.save(path)
                checked = check(path)
            seconds = cert.seconds
            sigma, beta = cert.sigma_min_lower or 0.0, cert.jacobian_lipschitz_upper or 0.0
            fires = sigma**2 / (2.0 * beta) if beta else 0.0
            table.add_row(
                name, str(n), str(cert.parameters), str(n * widths[-1]), cert.status,
                f"{cert.residual_norm:.2e}", f"{fires:.2e}", f"{PROTOTYPE_FIRED[name]:.1e}",
                f"{sigma:.4f}", f"{beta:.1f}", _e(cert.radius), _e(cert.step_size),
                _e(cert.one_minus_rate), f"{cert.slack:.3f}" if cert.slack else "-",
                *(f"{seconds.get(s, 0.0):.2f}" for s in
                  ("kernel", "eigenvalues", "lipschitz", "polish", "attack", "total")),
                str(checked.get("verdict")), f"{checked.get('seconds', 0.0):.1f}",
            )  # fmt: skip
            console.print(f"{name}: {cert.status}, checker {checked.get('verdict')}", style="dim")
    console.print(table)


def slack(names: list[str], console: Console) -> None:
    """Bound over attack at the initial weights, R -> 0."""
    table = Table(title="Slack of the Lipschitz bound at R -> 0, default initialisation")
    for column in ("case", "n", "bound", "attack", "slack", "required", "aim"):
        table.add_column(column, justify="right")
    for name in names:
        widths, n = SLACK_CASES[name]
        X, _ = digits(n, widths[-1])
        network = read(tanh_network(widths), X)
        bound = JacobianLipschitz(linearize(network, X)).upper(0.0)
        attack = lipschitz_attack_approx(FlatFunction(network, X), restarts=4).value
        required, aim = LIMITS[name]
        table.add_row(
            name, str(n), f"{bound:.2f}", f"{attack:.2f}", f"{bound / attack:.3f}",
            f"{required}", f"{aim}",
        )  # fmt: skip
    console.print(table)


class _Matrix(JacobianLipschitz):
    """|T|_2 also for two layers, hidden units not kept apart across the pair."""

    def _two_layer_pair(self) -> tuple[int, int] | None:
        return None


class _MaximaOverSamples(_Matrix):
    """As `_Matrix`, with every per-sample factor replaced by its maximum over the samples."""

    def _unit_norms(self, weights: Tensor, a: int, on_ball: Any) -> Tensor:
        return super()._unit_norms(weights.amax(0).expand_as(weights), a, on_ball)

    def _unit_norms_cheaply(self, weights: Tensor, a: int, on_ball: Any) -> Tensor:
        return super()._unit_norms_cheaply(weights.amax(0).expand_as(weights), a, on_ball)


class _MaximaOverUnits(_MaximaOverSamples):
    """As `_MaximaOverSamples`, and hidden units not kept apart inside an entry either."""

    def _largest_unit_norm(self, weights: Tensor, a: int, on_ball: Any) -> float:
        return super()._largest_unit_norm(weights.amax(1, keepdim=True), a, on_ball)


class _LayersAdded(_MaximaOverUnits):
    """As `_MaximaOverUnits`, with every layer moved by a whole unit at once: all of T summed."""

    def _upper(self, radius: float) -> float:
        return float(self.layer_matrix_upper(radius).sum())


REFINEMENTS: dict[str, type[JacobianLipschitz]] = {
    "norms and maxima": _LayersAdded,
    "+ layer matrix T": _MaximaOverUnits,
    "+ units apart in T": _MaximaOverSamples,
    "+ per-sample weights": _Matrix,
    "+ units apart across layers": JacobianLipschitz,
}


def refinements(names: list[str], console: Console) -> None:
    """What each refinement of the bound brings: slack with the ones before it."""
    table = Table(title="Slack, refinement by refinement")
    table.add_column("case")
    for title in REFINEMENTS:
        table.add_column(title, justify="right")
    for name in names:
        widths, n = SLACK_CASES[name]
        X, _ = digits(n, widths[-1])
        network = read(tanh_network(widths), X)
        state: Linearization = linearize(network, X)
        attack = lipschitz_attack_approx(FlatFunction(network, X), restarts=2).value
        table.add_row(
            name, *(f"{bound(state).upper(0.0) / attack:.3f}" for bound in REFINEMENTS.values())
        )
    console.print(table)


def _e(value: float | None) -> str:
    return "-" if value is None else f"{value:.3e}"


def main() -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slack-only", action="store_true", help="leave out the certificates")
    parser.add_argument(
        "--refinements", action="store_true", help="slack, refinement by refinement"
    )
    parser.add_argument("--cases", nargs="*", default=None, help="names such as 64-256-1")
    chosen = parser.parse_args()
    console = Console(width=260)
    if not chosen.slack_only:
        certificates([c for c in CASES if chosen.cases is None or c in chosen.cases], console)
    names = [c for c in SLACK_CASES if chosen.cases is None or c in chosen.cases]
    slack(names, console)
    if chosen.refinements:
        refinements(names, console)


if __name__ == "__main__":
    main()
