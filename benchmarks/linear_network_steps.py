"""Untuned certified steps of two-layer linear networks against the best constant step of a grid.

Run: python benchmarks/linear_network_steps.py [--quick] [--rules] [--part i/k]

Iterations to bring f - l* below 1e-8 of its start. The constant step is the best of 20, spaced
logarithmically over [0.2, 100] / L_0 (a factor 1.39), chosen with hindsight for each problem. The
`certified` column is log(certified contraction) against log(measured contraction) over the run:
how many times more was measured than proved, from

    gap   decrease enclosed / enclosed gap l(W) - l* (D2, observed_step_contracts), as it runs
    mu_t  decrease enclosed and D1's local PL constant alone, as it runs
    D3    (last table) claimed before the run, for gradient descent with the step D3 allows

`travel` is the largest distance from the start over the lazy radius sigma_min(J(w_0)), beyond which
no local theorem can speak; a run with travel > 1 is not lazy.
"""

from __future__ import annotations

import argparse
import math
import statistics

import torch

from talweg.experiments.xu2025 import Run, best_constant, not_lazy, run_rule, suite
from talweg.optim import linear_network_bounds

TOLERANCE = 1e-8
MOST = 3000
RULES = ("dai_yuan", "barzilai_borwein", "shortened", "exact", "majorant", "local_smoothness")


def looseness(run: Run, which: str) -> float:
    """log measured / log certified over the whole run; inf where nothing was certified."""
    proved = sum(
        math.log(c.contraction_upper if which == "gap" else c.pl_contraction_upper)
        if (c.contraction_upper if which == "gap" else c.pl_contraction_upper) > 0.0
        else math.log(run.gaps[i + 1] / run.gaps[i])
        for i, c in enumerate(run.certificates)
    )
    return math.log(run.gaps[-1] / run.gaps[0]) / proved if proved < 0.0 else math.inf


def summary(name: str, values: list[float]) -> str:
    return f"{name}: median {statistics.median(values):.3f}, maximum {max(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every eighth problem")
    parser.add_argument("--rules", action="store_true", help="the other rules too")
    parser.add_argument("--part", default="1/1", help="i/k: the i-th of k parts of the suite")
    options = parser.parse_args()
    part, parts = (int(number) for number in options.part.split("/"))
    torch.set_num_threads(1)
    problems = suite(0, every=8 if options.quick else 1)[part - 1 :: parts]
    rules = RULES if options.rules else RULES[:1]
    ratios: dict[str, list[float]] = {rule: [] for rule in rules}
    loose: dict[str, list[float]] = {"gap": [], "mu_t": []}
    travels: list[float] = []
    uncertified = 0
    print(f"{'problem':58s} constant " + " ".join(f"{r[:9]:>9s}" for r in rules)
          + "   ratio  certified: gap    mu_t   travel")  # fmt: skip
    for problem in problems:
        constant, _ = best_constant(problem, tolerance=TOLERANCE, most=MOST)
        counts = []
        for rule in rules:
            run = run_rule(problem, rule, tolerance=TOLERANCE, most=MOST, certify=rule == RULES[0])
            if rule == RULES[0]:
                uncertified += sum(not c.decrease_lower > 0.0 for c in run.certificates)
                radius = linear_network_bounds(problem.first, problem.second).lazy_radius_lower
                travels.append(max(run.distances) / radius if radius > 0.0 else math.inf)
                for key, values in loose.items():
                    values.append(looseness(run, key))
            counts.append(run.steps)
            base = min(constant, MOST)
            ratios[rule].append(run.steps / base)
        print(f"{problem.name:58s} {constant:8.0f} " + " ".join(f"{c:9.0f}" for c in counts)
              + f"  {ratios[RULES[0]][-1]:6.3f}  {loose['gap'][-1]:13.3f} {loose['mu_t'][-1]:7.2f} "
              f"{travels[-1]:8.2f}",
              flush=True)  # fmt: skip
    print(f"\n{len(problems)} problems; grid never reached counts as {MOST}")
    for rule in rules:
        print(summary(f"iterations, {rule} / best constant", ratios[rule]))
    print(summary("log measured / log certified, enclosed gap", loose["gap"]))
    print(summary("log measured / log certified, mu_t alone", loose["mu_t"]))
    far = [i for i, travel in enumerate(travels) if travel > 1.0]
    print(f"\nnot lazy: {len(far)} of {len(problems)} runs travel beyond the lazy radius")
    for key, values in loose.items():
        print(summary(f"log measured / log certified there, {key}", [values[i] for i in far]))
    print(f"steps whose decrease was not certified: {uncertified}")
    print("\nNot lazy (D3), before the run: imbalanced starts")
    rows = not_lazy(0)
    for row in rows:
        print("  " + "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                               for k, v in row.items()))  # fmt: skip
    d3 = [float(row["log measured / log certified"]) for row in rows]
    print(summary("log measured / log certified, D3", d3))


if __name__ == "__main__":
    main()
