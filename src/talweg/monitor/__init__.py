"""Measurements of a running training, and what they say (E5)."""

from talweg.monitor._curvature import Extremes, extremes, hessian_product
from talweg.monitor._data import DataFacts, inspect_data
from talweg.monitor._diagnose import diagnose
from talweg.monitor._finding import KINDS, Finding, Findings
from talweg.monitor._gradients import GradientEstimate, estimate, gram_matrix
from talweg.monitor._monitor import Monitor
from talweg.monitor._optimizer import StepOperator, step_operator
from talweg.monitor._parquet import write_parquet
from talweg.monitor._records import read_records
from talweg.report import read_findings

__all__ = [
    "KINDS",
    "DataFacts",
    "Extremes",
    "Finding",
    "Findings",
    "GradientEstimate",
    "Monitor",
    "StepOperator",
    "diagnose",
    "estimate",
    "extremes",
    "gram_matrix",
    "hessian_product",
    "inspect_data",
    "read_findings",
    "read_records",
    "step_operator",
    "write_parquet",
]
