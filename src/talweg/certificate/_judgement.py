"""The theorem evaluated on bounds, and what speaks against it although it holds."""

from __future__ import annotations

import time

from talweg.certificate._bounds import MeasuredBounds, Stopwatch
from talweg.certificate._problem import Problem
from talweg.certificate._search import Outcome, evaluate_theorem
from talweg.theory import TargetReached


def judged(
    problem: Problem, bounds: MeasuredBounds, watch: Stopwatch
) -> tuple[Outcome, str | None]:
    """The theorem's outcome, and a reason to discard it even if it holds."""
    begun = time.perf_counter()
    outcome = evaluate_theorem(bounds, problem.theorem)
    reason = None
    conclusion = outcome.verdict.conclusion
    if isinstance(conclusion, TargetReached) and conclusion.steps_upper == 0.0:
        reason = (
            f"the loss at these weights is already at most the target {problem.target!r}: there is "
            "nothing to prove. Choose a smaller target."
        )
    elif conclusion is not None:
        path = bounds.lipschitz.nonideal_path(outcome.lipschitz[-1][0])
        if path is not None:
            reason = (
                f"softplus at {path!r} is not its ideal function on the whole ball: an input can "
                "pass the threshold beyond which PyTorch returns the input itself. Raise "
                "`threshold`."
            )
    watch.add("lipschitz", begun)
    return outcome, reason


def explained(outcome: Outcome) -> str:
    verdict = outcome.verdict
    if verdict.conclusion is not None:
        return f"the criterion of {outcome.theorem} holds."
    return verdict.reason
