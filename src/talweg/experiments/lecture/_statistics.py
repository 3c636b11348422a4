"""What many independent runs say about an expectation, on the side that is fair to a bound.

A theorem bounds an expectation; a finite sample scatters around it, above the bound too where the
bound is sharp. What is compared with the bound is therefore a lower confidence limit: a value above
the bound would then contradict the theorem.
"""

from __future__ import annotations

import numpy as np

from talweg.experiments.lecture._functions import Array

DEVIATIONS = 5.0
"""Standard errors below the mean; the true mean is lower with probability 3e-7 (normal law)."""
LEVEL = 3e-7
"""The same probability for counts."""
MEAN_NOTE = "measured: mean of independent runs minus 5 standard errors"
COUNT_NOTE = "measured: lower confidence limit of the fraction (Clopper-Pearson, level 3e-7)"


def mean_and_error(values: Array) -> tuple[float, float]:
    """Mean and standard error of independent values.

    Args:
        values: (n,), one per run.
    """
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def mean_lower_limit(values: Array) -> float:
    """Lower confidence limit of the expectation.

    Args:
        values: (n,), one per run.
    """
    mean, error = mean_and_error(values)
    return mean - DEVIATIONS * error


def fraction_lower_limit(hits: int, runs: int) -> float:
    """Lower confidence limit of a probability.

    Args:
        hits: how often it happened.
        runs: out of how many.
    """
    from scipy.stats import beta

    return 0.0 if hits == 0 else float(beta.ppf(LEVEL, hits, runs - hits + 1))


def fitted_slope(x: Array, y: Array) -> float:
    """Least-squares slope of log y against log x.

    Args:
        x: positive.
        y: positive, as many.
    """
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
