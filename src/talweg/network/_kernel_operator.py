"""The tangent kernel as an operator, for sizes at which the matrix does not fit.

    K v = J (J^T v)

with ``J^T v`` one backward pass and ``J u`` one forward-mode pass, in chunks of samples: memory of
a chunk and of one gradient, whatever n is; two passes through the model for each product.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

from talweg._errors import InputError
from talweg.network._isolate import left_as_found, plain_autograd
from talweg.network._sample_jacobian import DEFAULT_MEMORY_BUDGET, SampleFunction

Progress = Callable[[int, int], None]

# Numbers kept of one sample for each number it has in the model's largest activation are not known
# without running it; this many bytes of a chunk for each byte of a sample's inputs and outputs are
# a guess that serves images and tokens.
_EXPANSION = 256


class TangentKernelOperator(LinearOperator):  # type: ignore[misc]
    """``K = J J^T`` of all outputs on fixed inputs, ``(n k, n k)``, as a SciPy operator.

    Row ``i k + o`` is output o of sample i: the order of ``tangent_kernel(model, X).reshape(n k, n
    k)``, to which the operator is equal up to rounding. The model is looked at anew in every
    product: it must not change in between. Each sample is evaluated as a batch of its own (vmap).

    Source: liu2020's kernel; matrix-free as J (J^T v).

    Args:
        model: As in `tangent_kernel`.
        X: Inputs ``(n, ...)``.
        dtype: As in `tangent_kernel`.
        memory_budget: Bytes for a chunk of samples, roughly; the gradient of the size of the
            parameters comes on top.
        progress: Called as ``progress(done, n)`` after each chunk, n samples being one pass of
            two.

    Raises:
        InputError: As `tangent_kernel`; also if the model draws random numbers.
    """

    def __init__(
        self,
        model: nn.Module,
        X: Tensor,
        *,
        dtype: torch.dtype | None = None,
        memory_budget: int = DEFAULT_MEMORY_BUDGET,
        progress: Progress | None = None,
    ) -> None:
        if memory_budget <= 0:
            raise InputError(
                "memory_budget of TangentKernelOperator: a positive number of bytes is required; "
                f"got {memory_budget}; leave it out for {DEFAULT_MEMORY_BUDGET}"
            )
        self._function = SampleFunction(model, dtype, "TangentKernelOperator")
        self._X = self._function.inputs(X, "X")
        with left_as_found(model) as use, torch.no_grad():
            self._k = self._function.outputs(self._function.parameters, self._X[:1]).shape[1]
        if use.drew:
            raise InputError(
                "model of TangentKernelOperator: the outputs must be a fixed function of one "
                "sample; the forward pass draws random numbers; call model.eval() first"
            )
        each = _EXPANSION * self._function.dtype.itemsize * (self._X[0].numel() + self._k)
        self._chunk = max(1, memory_budget // each)
        self._progress = progress
        n = len(self._X) * self._k
        numpy_dtype = np.float32 if self._function.dtype == torch.float32 else np.float64
        super().__init__(numpy_dtype, (n, n))

    def _matvec(self, v: Any) -> Any:
        n, k = len(self._X), self._k
        given = torch.as_tensor(np.ascontiguousarray(v)).reshape(n, k)
        rows = given.to(self._X.device, self._function.dtype)
        with left_as_found(self._function.model), plain_autograd(), torch.no_grad():
            direction = self._transposed(rows)
            result = torch.cat([self._along(direction, chunk) for chunk in self._chunks("second")])
        return result.reshape(-1).cpu().numpy().astype(self.dtype, copy=False)

    # The kernel is symmetric.
    _rmatvec = _matvec

    def _chunks(self, which: str) -> Any:
        n = len(self._X)
        for start in range(0, n, self._chunk):
            stop = min(start + self._chunk, n)
            yield slice(start, stop)
            if self._progress is not None:
                self._progress(stop if which == "first" else n + stop, 2 * n)

    def _outputs(self, chunk: slice) -> Callable[[dict[str, Tensor]], Tensor]:
        data, function = self._X[chunk], self._function

        def outputs(parameters: dict[str, Tensor]) -> Tensor:
            values: Tensor = vmap(lambda x: function.outputs(parameters, x[None])[0])(data)
            return values

        return outputs

    def _transposed(self, rows: Tensor) -> dict[str, Tensor]:
        """``J^T v``, by parameter."""
        total = {name: torch.zeros_like(p) for name, p in self._function.parameters.items()}
        for chunk in self._chunks("first"):
            pull = vjp(self._outputs(chunk), self._function.parameters)[1]
            (gradient,) = pull(rows[chunk])
            for name, part in gradient.items():
                total[name] += part
        return total

    def _along(self, direction: dict[str, Tensor], chunk: slice) -> Tensor:
        """``J u`` on a chunk, ``(n, k)``."""
        result: Tensor = jvp(self._outputs(chunk), (self._function.parameters,), (direction,))[1]
        return result


def extreme_eigenvalues_approx(
    operator: TangentKernelOperator,
    *,
    count: int = 1,
    tolerance: float = 1e-6,
    max_iterations: int | None = None,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Smallest and largest eigenvalues by Lanczos iterations (SciPy's ``eigsh``): estimates.

    Neither end is a bound. The largest converge in a few products; the smallest of an
    ill-conditioned kernel may need as many as the matrix has rows, and those below ``eps`` times
    the largest are rounding errors.

    Args:
        operator: The kernel.
        count: How many at each end, fewer than half of the rows.
        tolerance: Relative accuracy asked of the iteration.
        max_iterations: Restarts of the iteration; by default SciPy's, ten times the rows.

    Returns:
        The smallest and the largest, both ascending, ``(count,)``.

    Raises:
        InputError: `count` does not fit, or the iteration did not converge in time.
    """
    rows = operator.shape[0]
    if not 0 < count < max(2, rows // 2):
        raise InputError(
            "count of extreme_eigenvalues_approx: a positive number below half of the "
            f"{rows} rows is required; got {count}; ask for fewer, or form the kernel"
        )
    start = np.random.default_rng(0).standard_normal(rows).astype(operator.dtype)
    found = []
    for end in ("SA", "LA"):
        try:
            values = eigsh(
                operator, k=count, which=end, tol=tolerance, maxiter=max_iterations, v0=start,
                return_eigenvectors=False,
            )  # fmt: skip
        except ArpackNoConvergence as error:
            raise InputError(
                f"max_iterations of extreme_eigenvalues_approx: enough for convergence to "
                f"{tolerance:g} is required; {len(error.eigenvalues)} of {count} came at the end "
                f"{end}; allow more, or ask for less accuracy with tolerance="
            ) from error
        found.append(np.sort(values))
    return found[0], found[1]
