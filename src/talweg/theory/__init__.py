"""Theorems about gradient descent, one function each: bounds in, `Verdict` out.

Everything here is a pure function of numbers. The numbers are one-sided bounds (`_upper`,
`_lower`), and every conclusion says on which side it lies; arithmetic in between rounds outward.
"""

from talweg.theory._ball import (
    DescentConvergence,
    FlowConvergence,
    gradient_descent_converges_in_ball,
    gradient_flow_converges_in_ball,
)
from talweg.theory._bounds import JacobianNormBound, NestedBallBound, RadiusBound
from talweg.theory._chatterjee import chatterjee_criterion, chatterjee_criterion_with_steps
from talweg.theory._composite import (
    CompositeGradientBound,
    CompositeSmoothness,
    composite_loss_converges,
    composite_loss_target_reached,
    initial_gap_from_gradient_upper,
)
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._losses import SquaredLoss
from talweg.theory._profile import LowerProfile, Profile, ScaledProfile
from talweg.theory._singular_values import SingularValueProfile, singular_value_profile
from talweg.theory._squared import SquaredLossConvergence, squared_loss_converges
from talweg.theory._squared_target import squared_loss_target_reached
from talweg.theory._target import TargetReached, target_loss_reached
from talweg.theory._verdict import Hypothesis, Status, Verdict

__all__ = [
    "CompositeGradientBound",
    "CompositeSmoothness",
    "DescentConvergence",
    "FlowConvergence",
    "Hypothesis",
    "JacobianNormBound",
    "LowerProfile",
    "NestedBallBound",
    "Profile",
    "RadiusBound",
    "ScaledProfile",
    "SingularValueProfile",
    "SquaredLoss",
    "SquaredLossConvergence",
    "Status",
    "TargetReached",
    "Verdict",
    "chatterjee_criterion",
    "chatterjee_criterion_with_steps",
    "composite_loss_converges",
    "composite_loss_target_reached",
    "gradient_descent_converges_in_ball",
    "gradient_flow_converges_in_ball",
    "initial_gap_from_gradient_upper",
    "singular_value_profile",
    "squared_loss_converges",
    "squared_loss_target_reached",
    "steps_to_shrink_upper",
    "target_loss_reached",
]
