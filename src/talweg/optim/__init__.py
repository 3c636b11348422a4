"""Optimisers with a theorem behind their step, and a scheduler with a rule from the theory."""

from talweg.certificate import RunCertificate, certify_run, parameters_of
from talweg.optim._armijo import ArmijoGD
from talweg.optim._certified import CertifiedGD
from talweg.optim._linear_model_gap import (
    gap_upper,
)
from talweg.optim._linear_model_loss import (
    LinearModelLoss,
)
from talweg.optim._linear_network import (
    LinearNetworkGD,
    LinearStepCertificate,
)
from talweg.optim._linear_network_enclosures import (
    enclosed_point,
    imbalance,
    linear_network_bounds,
    step_quartic,
)
from talweg.optim._linear_network_steps import (
    StepRule,
)
from talweg.optim._noise_floor import NoiseFloorScheduler
from talweg.optim._perturbed import PerturbedGD
from talweg.optim._polyak import PolyakStep
from talweg.optim._stochastic_polyak import StochasticPolyakStep

__all__ = [
    "ArmijoGD",
    "CertifiedGD",
    "LinearModelLoss",
    "LinearNetworkGD",
    "LinearStepCertificate",
    "NoiseFloorScheduler",
    "PerturbedGD",
    "PolyakStep",
    "RunCertificate",
    "StepRule",
    "StochasticPolyakStep",
    "certify_run",
    "enclosed_point",
    "gap_upper",
    "imbalance",
    "linear_network_bounds",
    "parameters_of",
    "step_quartic",
]
