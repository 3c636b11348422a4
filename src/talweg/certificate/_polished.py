"""A copy of the model trained until the theorem holds for it: the polish, as `certify` uses it.

Bounds for weights that are far from the criterion cost much and say little; there an estimate
decides where to look, and only what is proposed is bounded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from talweg.certificate._bounds import (
    GRAPH_SLACK,
    HOPELESS,
    Linearised,
    MeasuredBounds,
    Stopwatch,
    attacked_lipschitz,
    estimated_missing_factor,
    linearised,
)
from talweg.certificate._judgement import judged
from talweg.certificate._polish import Polish
from talweg.certificate._problem import Problem
from talweg.certificate._search import Outcome
from talweg.network import Network

Progress = Callable[[str], None]


def search_of(problem: Problem) -> Polish | None:
    """The search for better weights; None where the loss is least nowhere."""
    rows, goal = problem.objective.rows, problem.objective.polish_goal()
    if goal is None:
        return None
    return Polish(problem.network, rows.inputs, goal, rows.multiplicity, problem.cluster)


def hopeless_missing_factor(
    problem: Problem, search: Polish, watch: Stopwatch
) -> tuple[float, float] | None:
    """An estimate of the missing factor of the weights as given, where it is beyond all doubt.

    With it comes the Lipschitz constant that it was made with.

    None where the weights may meet the criterion, or where bounds are as cheap as this estimate.
    """
    begun = time.perf_counter()
    # What a target asks for may be far less than what the whole way to the minimum does.
    smallest = search.smallest_at_start() if problem.target is None else None
    if smallest is None or not smallest > 0.0:
        watch.add("polish", begun)
        return None
    factor, beta = estimated_missing_factor(
        problem.network, problem.objective, problem.theorem.budget, smallest
    )
    watch.add("polish", begun)
    # For a graph bounds cost more than all else; what needs infinitely much needs none of them.
    return (factor, beta) if factor >= HOPELESS and beta < math.inf else None


def estimated_reason(problem: Problem, missing: float) -> str:
    if missing == math.inf:
        return (
            f"{problem.theorem.id} asks for infinitely much at these weights (the loss is too "
            "large to be bounded, or for a Polyak-Lojasiewicz constant to be known); nothing else "
            "was bounded, because the claim is about polished weights. Call certify with "
            "polish=False for bounds."
        )
    return (
        f"the criterion of {problem.theorem.id} misses by a factor of about {missing:.3g} or more, "
        "an estimate in floating point; nothing was bounded so far from the criterion, "
        "because the claim is about polished weights. Call certify with polish=False for bounds."
    )


def polish_failed(problem: Problem) -> str:
    if problem.objective.polish_goal() is None:
        return " Polishing was not tried: a cross-entropy without label smoothing has no minimiser."
    if problem.target is None:
        return " Polishing did not reach weights at which the criterion holds."
    return (
        " Polishing aims at zero loss and met no weights above the target at which the criterion "
        "holds; leave `target` out to certify zero loss, or pass weights nearer to the target."
    )


def polished(
    problem: Problem, search: Polish, beta: float, say: Progress, watch: Stopwatch
) -> tuple[Network, MeasuredBounds, Outcome, float] | None:
    # What the search bounded last is what it proposes next, more often than not.
    last: tuple[Network, Linearised] | None = None

    # A graph's bound costs more than all the steps together: it is made for what is proposed only.
    estimated = not problem.network.is_chain

    def lipschitz(network: Network) -> float:
        nonlocal last
        if estimated:
            return GRAPH_SLACK * attacked_lipschitz(network, problem.objective)
        last = None  # let go of the one before, first
        last = network, linearised(network, problem.objective)
        return last[1][1].upper(0.0)

    begun = time.perf_counter()
    say("polishing: Levenberg-Marquardt steps")
    for proposal in search.steps(lipschitz=lipschitz, lipschitz_at_start=beta, estimated=estimated):
        watch.add("polish", begun)
        say(f"bounds after {proposal.steps} steps, |r| = {proposal.residual_norm:.3g}")
        known = last[1] if last is not None and last[0] is proposal.network else None
        bounds = problem.bounds(proposal.network, watch, known)
        outcome, reason = judged(problem, bounds, watch)
        if outcome.verdict.conclusion is not None and reason is None:
            return proposal.network, bounds, outcome, proposal.distance
        begun = time.perf_counter()
    watch.add("polish", begun)
    return None
