"""The trapping time of Adam on digits: the first iterate from which gradient descent is certified.

    python benchmarks/trapping_time.py [--steps N] [--seeds N ...]

Data, model and optimiser of `talweg demo`: the first 200 of scikit-learn's digits, odd or even,
64-256-1 with tanh, float64, PyTorch's default initialisation, Adam on the mean squared error, the
learning rate falling to zero along a cosine over the given number of steps. Training stops at the
check after the trapping time.
"""

from __future__ import annotations

import argparse
import time

import torch
from sklearn.datasets import load_digits
from torch import nn

from talweg.prescribe import train_until_proved

ROWS = 200


def main() -> int:
    """Print one line for each seed; exit code 1 where none was certified."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    pixels, digit = load_digits(return_X_y=True)
    X = torch.as_tensor(pixels, dtype=torch.float64) / 16.0
    y = 1.0 - 2.0 * (torch.as_tensor(digit) % 2).to(torch.float64)[:, None]
    head = ("seed", "trapping time", "rejected", "|r| <=", "halving steps", "held-out wrong", "s")
    print(("{:>6}" + "{:>16}" * 6).format(*head), flush=True)
    proved = True
    for seed in chosen.seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 1)).double()
        begun = time.process_time()
        found = train_until_proved(
            model, (X[:ROWS], y[:ROWS]), max_steps=chosen.steps, held_out=(X[ROWS:], y[ROWS:])
        )
        seconds = time.process_time() - begun
        proved = proved and found.status == "PROVED"
        if found.outlook is None or found.outlook.held_out_wrong is None:
            print(f"{seed:>6}  {found.reason}", flush=True)
            continue
        cells = (
            f"{found.trapping_time:,}", ", ".join(map(str, found.rejected)) or "-",
            f"{found.certificate.residual_norm:.3g}", f"{found.certificate.halving_steps:,.0f}",
            f"{100.0 * found.outlook.held_out_wrong:.1f} %", f"{seconds:.1f}",
        )  # fmt: skip
        print(("{:>6}" + "{:>16}" * 6).format(seed, *cells), flush=True)
    return 0 if proved else 1


if __name__ == "__main__":
    raise SystemExit(main())
