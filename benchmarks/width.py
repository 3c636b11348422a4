"""The width at which gradient descent is certified before any training.

    python benchmarks/width.py [--layers first|both] [--seeds N ...] [--low M] [--high M]

Data: n = 100 Gaussian inputs in d = 784 dimensions, scaled to norm 1, labels +-1 by a fair coin.
Model: d-m-1 with tanh and no biases; m/2 hidden weight vectors drawn from N(0, I) and used twice,
with output weights +1/sqrt(m) and -1/sqrt(m), so that the output at the start is zero. First layer
trained, output weights frozen; or both trained. m counts all hidden units.

A width counts when `talweg.certify(..., attack=False)` says PROVED at the initial weights. For
each seed the smallest width tried that does so is printed, with the number of trials.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import torch
from torch import Tensor, nn

from talweg.prescribe import width_finder

SAMPLES, FEATURES = 100, 784
LIMIT = 7000


def data(seed: int) -> tuple[Tensor, Tensor]:
    """Inputs ``(100, 784)`` of norm 1 and targets +-1 ``(100, 1)``."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    y = 2.0 * torch.randint(0, 2, (SAMPLES, 1), generator=generator).to(torch.float64) - 1.0
    return X / X.norm(dim=1, keepdim=True), y


def family(width: int, seed: int, both: bool = False) -> nn.Module:
    """The antisymmetric network of `width` hidden units, duplicates counted."""
    generator = torch.Generator().manual_seed(1000 + seed)
    half = torch.randn(width // 2, FEATURES, generator=generator, dtype=torch.float64)
    first = nn.Linear(FEATURES, width, bias=False, device="meta")
    last = nn.Linear(width, 1, bias=False, device="meta")
    first.weight = nn.Parameter(torch.cat([half, half]))
    signs = torch.ones(1, width // 2, dtype=torch.float64) / math.sqrt(width)
    last.weight = nn.Parameter(torch.cat([signs, -signs], 1), requires_grad=both)
    return nn.Sequential(first, nn.Tanh(), last)


def main() -> int:
    """Print one line for each seed, then the median; exit code 1 where a seed is above 7,000."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", choices=("first", "both"), default="first")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--low", type=int, help="first width tried (4,000; both: 300)")
    parser.add_argument("--high", type=int, default=1 << 16)
    parser.add_argument("--resolution", type=float, default=0.01)
    chosen = parser.parse_args()
    both = chosen.layers == "both"
    low = chosen.low or (300 if both else 4000)
    print(f"{chosen.layers} trained; n = {SAMPLES}, d = {FEATURES}", flush=True)
    head = ("seed", "width", "fails at", "halving steps", "step (mse)", "radius", "trials", "s")
    print(("{:>6}" + "{:>14}" * 7).format(*head), flush=True)
    widths: list[int] = []
    for seed in chosen.seeds:
        begun = time.perf_counter()
        found = width_finder(
            lambda width, s: family(width, s, both), data, seeds=(seed,), low=low,
            high=chosen.high, multiple=2, resolution=chosen.resolution, descent_steps=1,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        if found.width is None:
            print(f"{seed:>6}  {found.reason} ({seconds:.0f} s)", flush=True)
            continue
        widths.append(found.width)
        failed = [t.width for t in found.trials if not t.proved and t.width < found.width]
        c = found.certificates[0]
        cells = (
            f"{found.width:,}", f"{max(failed):,}" if failed else "-", f"{c.halving_steps:,.0f}",
            f"{c.step_size:.3g}", f"{c.radius:.3g}", len(found.trials), f"{seconds:.0f}",
        )  # fmt: skip
        print(("{:>6}" + "{:>14}" * 7).format(seed, *cells), flush=True)
    if not widths:
        return 1
    print(
        f"median {statistics.median(widths):,.0f}, smallest {min(widths):,}, largest "
        f"{max(widths):,}, {len(widths)} of {len(chosen.seeds)} seeds certified"
    )
    good = len(widths) == len(chosen.seeds) and max(widths) <= LIMIT
    return 0 if both or good else 1


if __name__ == "__main__":
    raise SystemExit(main())
