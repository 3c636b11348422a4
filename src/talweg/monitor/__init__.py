"""Measurements of a running training, and what they say (E5)."""

from talweg.monitor._curvature import Extremes, extremes, hessian_product
from talweg.monitor._gradients import GradientEstimate, estimate, gram_matrix
from talweg.monitor._monitor import Monitor
from talweg.monitor._optimizer import StepOperator, step_operator
from talweg.monitor._records import read_records

__all__ = [
    "Extremes",
    "GradientEstimate",
    "Monitor",
    "StepOperator",
    "estimate",
    "extremes",
    "gram_matrix",
    "hessian_product",
    "read_records",
    "step_operator",
]
