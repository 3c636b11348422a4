"""Verified smallest eigenvalue against torch.linalg.eigvalsh: tightness and time, in one run.

    python benchmarks/verified_eigenvalue.py [--sizes 2000 5000] [--threads N]

Each matrix is Q diag(lambda) Q^T with a random orthogonal Q. Spectra: `log` has eigenvalues spaced
evenly in the logarithm, `two-level` has half of them at 1 and half at 1/condition. The gap is
(eigvalsh - bound) / eigvalsh; eigvalsh itself is only accurate to about n u |G|.
"""

from __future__ import annotations

import argparse
import time

import torch

from talweg.verified import smallest_eigenvalue_lower


def matrix(n: int, spectrum: str, condition: float, seed: int) -> torch.Tensor:
    """A symmetric positive definite matrix with a known spectrum, symmetrised exactly."""
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    if spectrum == "log":
        exponents = torch.linspace(0.0, 1.0, n, dtype=torch.float64)
    else:
        exponents = (torch.arange(n) >= n // 2).to(torch.float64)
    g = (q * condition**-exponents) @ q.T
    return 0.5 * (g + g.T)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 5000])
    parser.add_argument("--conditions", type=float, nargs="+", default=[1e4, 1e6, 1e8])
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(
        f"{'N':>6} {'spectrum':>10} {'condition':>10} {'gap':>9} {'ours s':>8} "
        f"{'eigvalsh s':>11} {'ratio':>6}"
    )
    for n in arguments.sizes:
        for spectrum in ("log", "two-level"):
            for condition in arguments.conditions:
                g = matrix(n, spectrum, condition, seed=n)
                start = time.perf_counter()
                bound = smallest_eigenvalue_lower(g)
                ours = time.perf_counter() - start
                start = time.perf_counter()
                smallest = float(torch.linalg.eigvalsh(g)[0])
                theirs = time.perf_counter() - start
                gap = (smallest - bound) / smallest
                print(
                    f"{n:>6} {spectrum:>10} {condition:>10.0e} {gap:>9.1e} {ours:>8.2f} "
                    f"{theirs:>11.2f} {ours / theirs:>6.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
