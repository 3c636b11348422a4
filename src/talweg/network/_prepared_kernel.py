"""A tangent kernel that is prepared once and evaluated as the weights move.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from talweg.network._prepared_recording import Prepared
from talweg.network._sample_jacobian import DEFAULT_MEMORY_BUDGET, Reduction
from talweg.network._tangent_kernel import check_call, kernel_of, prepared_on

_CALL = "TangentKernel"


class TangentKernel:
    """The tangent kernel of one model, recorded and checked once, evaluated as its weights move.

    For a training loop or a monitor: ``kernel = TangentKernel(model, X[:2])`` once, ``kernel(X)``
    as often as wanted. An evaluation gives what `tangent_kernel` gives at the weights that the
    model has then, changed in place or replaced, without the checks made before:

    * Checked when the object is made, on the first and the last sample of `X`, alone and together
      (`tangent_kernel` does so at every call): that samples do not meet, in values and in
      gradients, and that the gradients of all parameters are those that the recorded calls give.
    * Compared at every evaluation: names and shapes of the trainable parameters; the training mode
      of every module; dtype and shape of a sample; the torch functions that the forward pass calls,
      in order; and of those that take trainable parameters the kinds, names, options and shapes.
      That inputs are finite, that no module mixes samples by its kind and mode (batch
      normalisation, dropout) and that no random number is drawn, is checked at every evaluation.

    Where anything compared differs (another branch of the forward pass, a parameter frozen, another
    mode), the object prepares itself anew on the inputs of that evaluation, and keeps that. What
    cannot be recorded takes per-sample Jacobians at every evaluation, as in `tangent_kernel`.
    What is compared does not tell of a module that comes to mix samples while its torch functions
    and their order stay the same, such as a ``softmax`` along another dimension; `tangent_kernel`
    sees that. A plain chain of linear and elementwise layers needs none of this, and is read at
    every evaluation.

    Source: as `tangent_kernel`. Floating point: no entry is a bound.

    Args:
        model: Any module whose outputs for one sample depend on that sample only. It is referred
            to, not copied.
        X: Samples ``(n, ...)`` to prepare with; two are enough. With one alone nothing is known of
            several together, and the first evaluation of several prepares anew.
        dtype: Floating dtype to compute in; by default that of the parameters.

    Raises:
        InputError: as `tangent_kernel`.
    """

    def __init__(self, model: nn.Module, X: Tensor, *, dtype: torch.dtype | None = None) -> None:
        check_call(_CALL, "full", dtype, None, DEFAULT_MEMORY_BUDGET)
        self._model, self._dtype = model, dtype
        self._prepared: Prepared | None = prepared_on(_CALL, model, X, dtype)

    def __call__(
        self,
        X: Tensor,
        X2: Tensor | None = None,
        *,
        reduction: Reduction = "full",
        memory_budget: int = DEFAULT_MEMORY_BUDGET,
    ) -> Tensor:
        """The kernel at the model's present weights.

        Args:
            X: Inputs ``(n, ...)``.
            X2: Second inputs ``(m, ...)``; by default `X`, and the kernel is exactly symmetric.
            reduction: As in `tangent_kernel`.
            memory_budget: As in `tangent_kernel`.

        Returns:
            As `tangent_kernel`.

        Raises:
            InputError: as `tangent_kernel`.
        """
        check_call(_CALL, reduction, self._dtype, X2, memory_budget)
        kernel, self._prepared = kernel_of(
            _CALL, self._model, X, X2, reduction=reduction, dtype=self._dtype,
            memory_budget=memory_budget, prepared=self._prepared,
        )  # fmt: skip
        return kernel
