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
from talweg.theory._cross_entropy import (
    SOFTMAX_SMOOTHNESS,
    CrossEntropy,
    cross_entropy_budget,
    cross_entropy_pl_lower,
    cross_entropy_target_reached,
)
from talweg.theory._duplicates import LossFloor, duplicates_bound_loss_below
from talweg.theory._increasing_activation import (
    IdentityActivation,
    IncreasingActivation,
    SmoothLeakyReLUActivation,
    TanhActivation,
)
from talweg.theory._inexact import FloorReached, inexact_step_lower, loss_floor_reached
from talweg.theory._inexact_squared import (
    largest_inexact_step_lower,
    squared_loss_floor_reached,
)
from talweg.theory._lecun_event import (
    ConvergenceProbability,
    lecun_initialisation_converges_with_probability,
    likeliest_lecun_box_approx,
)
from talweg.theory._linear_network import (
    LINEAR_NETWORK_LIPSCHITZ,
    LinearNetworkBounds,
    LocalPL,
    linear_network_converges,
    linear_network_is_locally_pl,
    linear_network_squared_converges,
)
from talweg.theory._linear_network_imbalance import (
    Imbalance,
    NotLazyConvergence,
    linear_network_converges_not_lazy,
)
from talweg.theory._linear_network_losses import (
    LINEAR_LOSS_CURVATURE,
    LinearLossKind,
    OutputLossConstants,
    linear_model_loss_is_pl,
)
from talweg.theory._linear_network_step import (
    GuaranteedStep,
    ObservedStep,
    StepQuartic,
    linear_network_smoothness_upper,
    linear_network_step_decreases,
    observed_step_contracts,
)
from talweg.theory._local_pl import LocalPLConvergence, local_pl_converges
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._losses import SquaredLoss
from talweg.theory._output_scaling import (
    OutputScaling,
    output_scale_threshold_upper,
    scaled_output_converges,
)
from talweg.theory._positive_initialisation import (
    ExplicitOutputEntry,
    PositiveNetwork,
    explicit_output_entry,
    positive_initialisation_descends,
    positive_initialisation_flow_converges,
)
from talweg.theory._profile import LowerProfile, Profile, ScaledProfile
from talweg.theory._run import RunContained, RunStep, run_stays_in_ball
from talweg.theory._saddle_escape import (
    QuadraticSaddleLeft,
    SaddleEscaped,
    SecondOrderPointFound,
    perturbation_escapes_saddle,
    perturbed_descent_finds_second_order_point,
    quadratic_saddle_left,
)
from talweg.theory._sine_well import SineWellConstants, sine_well_constants
from talweg.theory._singular_values import SingularValueProfile, singular_value_profile
from talweg.theory._smooth_pl import (
    SmoothPLConvergence,
    polyak_steps_converge,
    smooth_pl_descent_converges,
)
from talweg.theory._squared import SquaredLossConvergence, squared_loss_converges
from talweg.theory._squared_target import squared_loss_target_reached
from talweg.theory._stochastic_constant import (
    MeanSquaredGradient,
    NoiseFloor,
    mean_squared_gradient_bounded,
    noise_floor_reached,
)
from talweg.theory._stochastic_decreasing import (
    DecreasingStepsConvergence,
    DecreasingStepsGradient,
    decreasing_steps_converge,
    decreasing_steps_gradient_bounded,
)
from talweg.theory._stochastic_interpolation import (
    MinibatchConstants,
    StochasticConvergence,
    squared_loss_minibatch_constants,
    stochastic_descent_interpolates,
)
from talweg.theory._strict_minimum import (
    StrictMinimum,
    StrictMinimumReached,
    ball_holds_one_critical_point,
    gradient_descent_reaches_strict_minimum,
    squared_loss_curvature_lower,
    squared_loss_smoothness,
)
from talweg.theory._strict_saddle import (
    StrictSaddle,
    StuckAtSaddle,
    descent_stuck_at_saddle,
    strict_saddle_nearby,
)
from talweg.theory._target import TargetReached, target_loss_reached
from talweg.theory._trapping import (
    TrappingRadius,
    composite_loss_trapping_radius,
    squared_loss_trapping_radius,
)
from talweg.theory._verdict import Hypothesis, Status, Verdict

__all__ = [
    "LINEAR_LOSS_CURVATURE",
    "LINEAR_NETWORK_LIPSCHITZ",
    "SOFTMAX_SMOOTHNESS",
    "CompositeGradientBound",
    "CompositeSmoothness",
    "ConvergenceProbability",
    "CrossEntropy",
    "DecreasingStepsConvergence",
    "DecreasingStepsGradient",
    "DescentConvergence",
    "ExplicitOutputEntry",
    "FloorReached",
    "FlowConvergence",
    "GuaranteedStep",
    "Hypothesis",
    "IdentityActivation",
    "Imbalance",
    "IncreasingActivation",
    "JacobianNormBound",
    "LinearLossKind",
    "LinearNetworkBounds",
    "LocalPL",
    "LocalPLConvergence",
    "LossFloor",
    "LowerProfile",
    "MeanSquaredGradient",
    "MinibatchConstants",
    "NestedBallBound",
    "NoiseFloor",
    "NotLazyConvergence",
    "ObservedStep",
    "OutputLossConstants",
    "OutputScaling",
    "PositiveNetwork",
    "Profile",
    "QuadraticSaddleLeft",
    "RadiusBound",
    "RunContained",
    "RunStep",
    "SaddleEscaped",
    "ScaledProfile",
    "SecondOrderPointFound",
    "SineWellConstants",
    "SingularValueProfile",
    "SmoothLeakyReLUActivation",
    "SmoothPLConvergence",
    "SquaredLoss",
    "SquaredLossConvergence",
    "Status",
    "StepQuartic",
    "StochasticConvergence",
    "StrictMinimum",
    "StrictMinimumReached",
    "StrictSaddle",
    "StuckAtSaddle",
    "TanhActivation",
    "TargetReached",
    "TrappingRadius",
    "Verdict",
    "ball_holds_one_critical_point",
    "chatterjee_criterion",
    "chatterjee_criterion_with_steps",
    "composite_loss_converges",
    "composite_loss_target_reached",
    "composite_loss_trapping_radius",
    "cross_entropy_budget",
    "cross_entropy_pl_lower",
    "cross_entropy_target_reached",
    "decreasing_steps_converge",
    "decreasing_steps_gradient_bounded",
    "descent_stuck_at_saddle",
    "duplicates_bound_loss_below",
    "explicit_output_entry",
    "gradient_descent_converges_in_ball",
    "gradient_descent_reaches_strict_minimum",
    "gradient_flow_converges_in_ball",
    "inexact_step_lower",
    "initial_gap_from_gradient_upper",
    "largest_inexact_step_lower",
    "lecun_initialisation_converges_with_probability",
    "likeliest_lecun_box_approx",
    "linear_model_loss_is_pl",
    "linear_network_converges",
    "linear_network_converges_not_lazy",
    "linear_network_is_locally_pl",
    "linear_network_smoothness_upper",
    "linear_network_squared_converges",
    "linear_network_step_decreases",
    "local_pl_converges",
    "loss_floor_reached",
    "mean_squared_gradient_bounded",
    "noise_floor_reached",
    "observed_step_contracts",
    "output_scale_threshold_upper",
    "perturbation_escapes_saddle",
    "perturbed_descent_finds_second_order_point",
    "polyak_steps_converge",
    "positive_initialisation_descends",
    "positive_initialisation_flow_converges",
    "quadratic_saddle_left",
    "run_stays_in_ball",
    "scaled_output_converges",
    "sine_well_constants",
    "singular_value_profile",
    "smooth_pl_descent_converges",
    "squared_loss_converges",
    "squared_loss_curvature_lower",
    "squared_loss_floor_reached",
    "squared_loss_minibatch_constants",
    "squared_loss_smoothness",
    "squared_loss_target_reached",
    "squared_loss_trapping_radius",
    "steps_to_shrink_upper",
    "stochastic_descent_interpolates",
    "strict_saddle_nearby",
    "target_loss_reached",
]
