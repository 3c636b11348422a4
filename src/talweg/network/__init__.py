"""Reading a model, and what is computed from the reading: kernel, Lipschitz bound, attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from talweg.network._attack import Attack, lipschitz_attack_approx
from talweg.network._data import Data, check_data
from talweg.network._descent import (
    half_squares_decrease_lower,
    half_squares_gradient_norm_upper,
    residual_ball,
    step_length_bounds,
)
from talweg.network._evaluate import (
    build_module,
    evaluate_approx,
    sequential_of,
    set_parameters,
)
from talweg.network._functional import FlatFunction
from talweg.network._gate import gate
from talweg.network._gauss_newton import gauss_newton_ball, gradient_norm_bound, jacobian_ball
from talweg.network._gradient_error import GradientError, rounding_not_covered
from talweg.network._graph import (
    Affine,
    AveragePool,
    Concatenate,
    Convolution,
    Elementwise,
    Embedding,
    Linear,
    MatrixProduct,
    Mean,
    Network,
    Node,
    Normalize,
    Operation,
    Parametric,
    Permute,
    Product,
    Reshape,
    Scale,
    Shift,
    Slice,
    Softmax,
    Standardize,
    Sum,
)
from talweg.network._jacobian_products import JacobianProducts
from talweg.network._kernel import symmetric_kernel
from talweg.network._kernel_terms import (
    KernelTerms,
    enclosed_kernel_terms,
    kernel_terms_approx,
    kernel_tile,
)
from talweg.network._linearization import (
    Linearization,
    kernel_ball,
    linearize,
    residual_norm_bound,
)
from talweg.network._lipschitz import JacobianLipschitz, jacobian_lipschitz_upper
from talweg.network._merge import ConflictingRows, MergedRows, merge_duplicates
from talweg.network._prepared_kernel import TangentKernel
from talweg.network._read import read
from talweg.network._shapes import value_shapes
from talweg.network._state import (
    LipschitzBound,
    NetworkState,
    network_state,
    state_kernel_ball,
    state_lipschitz,
    state_residual_norm_bound,
    state_symmetric_kernel,
)
from talweg.network._tangent_kernel import tangent_kernel, tangent_kernel_of

if TYPE_CHECKING:
    from talweg.network._kernel_operator import TangentKernelOperator, extreme_eigenvalues_approx

__all__ = [
    "Affine",
    "Attack",
    "AveragePool",
    "Concatenate",
    "ConflictingRows",
    "Convolution",
    "Data",
    "Elementwise",
    "Embedding",
    "FlatFunction",
    "GradientError",
    "JacobianLipschitz",
    "JacobianProducts",
    "KernelTerms",
    "Linear",
    "Linearization",
    "LipschitzBound",
    "MatrixProduct",
    "Mean",
    "MergedRows",
    "Network",
    "NetworkState",
    "Node",
    "Normalize",
    "Operation",
    "Parametric",
    "Permute",
    "Product",
    "Reshape",
    "Scale",
    "Shift",
    "Slice",
    "Softmax",
    "Standardize",
    "Sum",
    "TangentKernel",
    "TangentKernelOperator",
    "build_module",
    "check_data",
    "enclosed_kernel_terms",
    "evaluate_approx",
    "extreme_eigenvalues_approx",
    "gate",
    "gauss_newton_ball",
    "gradient_norm_bound",
    "half_squares_decrease_lower",
    "half_squares_gradient_norm_upper",
    "jacobian_ball",
    "jacobian_lipschitz_upper",
    "kernel_ball",
    "kernel_terms_approx",
    "kernel_tile",
    "linearize",
    "lipschitz_attack_approx",
    "merge_duplicates",
    "network_state",
    "read",
    "residual_ball",
    "residual_norm_bound",
    "rounding_not_covered",
    "sequential_of",
    "set_parameters",
    "state_kernel_ball",
    "state_lipschitz",
    "state_residual_norm_bound",
    "state_symmetric_kernel",
    "step_length_bounds",
    "symmetric_kernel",
    "tangent_kernel",
    "tangent_kernel_of",
    "value_shapes",
]


def __getattr__(name: str) -> Any:
    if name in ("TangentKernelOperator", "extreme_eigenvalues_approx"):
        # On first use: SciPy's solvers take longer to load than everything else here.
        from talweg.network import _kernel_operator

        return getattr(_kernel_operator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
