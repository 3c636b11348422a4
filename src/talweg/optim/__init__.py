"""Optimisers with a theorem behind their step: `torch.optim.Optimizer` subclasses."""

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
from talweg.optim._perturbed import PerturbedGD
from talweg.optim._polyak import PolyakStep

__all__ = [
    "ArmijoGD",
    "CertifiedGD",
    "LinearModelLoss",
    "LinearNetworkGD",
    "LinearStepCertificate",
    "PerturbedGD",
    "PolyakStep",
    "RunCertificate",
    "StepRule",
    "certify_run",
    "enclosed_point",
    "gap_upper",
    "imbalance",
    "linear_network_bounds",
    "parameters_of",
    "step_quartic",
]
