"""Reading a model, and what is computed from the reading: kernel, Lipschitz bound, attack."""

from talweg.network._attack import Attack, lipschitz_attack_approx
from talweg.network._data import Data, check_data
from talweg.network._evaluate import build_module, evaluate_approx, set_parameters
from talweg.network._functional import FlatFunction
from talweg.network._gate import gate
from talweg.network._graph import Elementwise, Linear, Network, Node, Operation, Scale
from talweg.network._linearization import (
    Linearization,
    kernel_ball,
    linearize,
    residual_norm_bound,
)
from talweg.network._lipschitz import JacobianLipschitz, jacobian_lipschitz_upper
from talweg.network._merge import ConflictingRows, MergedRows, merge_duplicates
from talweg.network._read import read
from talweg.network._tangent_kernel import tangent_kernel, tangent_kernel_of

__all__ = [
    "Attack",
    "ConflictingRows",
    "Data",
    "Elementwise",
    "FlatFunction",
    "JacobianLipschitz",
    "Linear",
    "Linearization",
    "MergedRows",
    "Network",
    "Node",
    "Operation",
    "Scale",
    "build_module",
    "check_data",
    "evaluate_approx",
    "gate",
    "jacobian_lipschitz_upper",
    "kernel_ball",
    "linearize",
    "lipschitz_attack_approx",
    "merge_duplicates",
    "read",
    "residual_norm_bound",
    "set_parameters",
    "tangent_kernel",
    "tangent_kernel_of",
]
