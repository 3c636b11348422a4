"""Rigorous bounds at stored weights for the prescriptions: residual, spectrum, profile."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from talweg._errors import InputError
from talweg.enclosure import Interval, require_sound_arithmetic
from talweg.network import (
    ConflictingRows,
    LipschitzBound,
    MergedRows,
    Network,
    NetworkState,
    check_data,
    gate,
    merge_duplicates,
    network_state,
    read,
    state_kernel_ball,
    state_lipschitz,
    state_residual_norm_bound,
)
from talweg.theory import SingularValueProfile, SquaredLoss, singular_value_profile
from talweg.verified import psd_largest_eigenvalue_upper, smallest_eigenvalue_lower

PROFILE_FRACTIONS = (0.125, 0.25, 0.5, 1.0)
"""Of the radius where s would vanish without growth of beta; `certify` nests the same ones."""

MAX_SHRINKS = 6
"""Of the last radius, each by the first fraction, where beta grows fast."""

SCALINGS = {"mse": "mean", "sse": "sum", "half_sse": "half_sum"}


@dataclass(frozen=True, eq=False)
class WeightBounds:
    """Bounds at the stored weights of one network on one data set.

    Attributes:
        network: The reading of the model.
        rows: The distinct rows of the data.
        state: The linearization on them.
        residual_norm_upper: ``|F(w0) - y|``.
        sigma_min_lower: Smallest singular value of the Jacobian; 0 where none was shown.
        jacobian_norm_upper: Largest singular value of the Jacobian.
        lipschitz: Lipschitz constants of the Jacobian on balls.
    """

    network: Network
    rows: MergedRows
    state: NetworkState
    residual_norm_upper: float
    sigma_min_lower: float
    jacobian_norm_upper: float
    lipschitz: LipschitzBound

    def profile(self) -> SingularValueProfile:
        """The profile s on the longest ball on which it is surely positive, or nearly so."""
        sigma = self.sigma_min_lower
        beta = self.lipschitz.upper(0.0)
        if not (sigma > 0.0 and beta < math.inf):
            return singular_value_profile(sigma, [(1.0, beta)])
        if beta == 0.0:  # it may vanish at the start alone (tanh at zero)
            beta = self.lipschitz.upper(1.0)
        end = sigma / beta if beta > 0.0 else 1e6
        for _ in range(MAX_SHRINKS):
            inner = PROFILE_FRACTIONS[0] * end
            if self.lipschitz.upper(inner) * inner <= sigma:
                break
            end = inner
        pairs: list[tuple[float, float]] = []
        for part in PROFILE_FRACTIONS:
            value = self.lipschitz.upper(part * end)
            if pairs:
                value = max(value, pairs[-1][1])
            if not value < math.inf:
                break
            pairs.append((part * end, value))
            if value * part * end > 2.0 * sigma:
                break
        return singular_value_profile(sigma, pairs or [(PROFILE_FRACTIONS[0] * end, math.inf)])


def weight_bounds(model: nn.Module, X: Tensor, y: Tensor) -> WeightBounds:
    """Read the model, check the data, and bound residual, spectrum and curvature.

    Args:
        model: A feed-forward chain.
        X: Inputs ``(n, d)``.
        y: Targets ``(n, k)`` or ``(n,)``.

    Raises:
        InputError: Data is malformed, or equal rows have different targets.
        UnsupportedModelError: The model holds something that talweg cannot read.
        ReadingError: The live model and the reading of it disagree.
        UnsoundArithmeticError: This machine's floating point breaks an assumption.
    """
    network = read(model, X)
    data = check_data(X, y, network)
    gate(model, network, X)
    require_sound_arithmetic(data.inputs.device)
    rows = merge_duplicates(data.inputs, data.targets)
    if isinstance(rows, ConflictingRows):
        shown = ", ".join(f"rows {i} and {j}" for i, j in rows.pairs[:3])
        raise InputError(
            f"equal inputs in X must have equal targets for zero loss to exist; {shown} do not. "
            "Merge such rows into one with the mean target."
        )
    state = network_state(network, rows.inputs, rows.multiplicity)
    kernel = state_kernel_ball(state)
    smallest = smallest_eigenvalue_lower(kernel)
    largest = psd_largest_eigenvalue_upper(kernel)
    return WeightBounds(
        network,
        rows,
        state,
        state_residual_norm_bound(state, rows.targets),
        Interval.point(smallest).sqrt().lo if 0.0 < smallest < math.inf else 0.0,
        Interval.point(largest).sqrt().hi if 0.0 <= largest < math.inf else math.inf,
        state_lipschitz(state),
    )


def squared_loss(name: str, entries: int, call: str) -> SquaredLoss:
    """The scaling of a squared loss by its name.

    Args:
        name: "mse", "sse" or "half_sse".
        entries: Samples times outputs.
        call: The function that was called, for the message.

    Raises:
        InputError: Unknown name.
    """
    if name not in SCALINGS:
        raise InputError(
            f"`loss` of {call}() must be one of {', '.join(SCALINGS)}; got {name!r}. The "
            "prescriptions are for squared losses; for a cross-entropy with label smoothing there "
            "are train_until_proved, and certify with polish=True."
        )
    return SquaredLoss(SCALINGS[name], entries if name == "mse" else 1)  # type: ignore[arg-type]


def checked_pair(data: object, name: str, call: str) -> tuple[Tensor, Tensor]:
    """A pair of tensors, as `data` and `held_out` are.

    Args:
        data: What was passed.
        name: The argument's name.
        call: The function's name.

    Raises:
        InputError: It is no pair of tensors.
    """
    if isinstance(data, tuple | list) and len(data) == 2:
        X, y = data
        if isinstance(X, Tensor) and isinstance(y, Tensor):
            return X, y
    raise InputError(
        f"`{name}` of {call}() must be a pair (X, y) of tensors; got {type(data).__name__}. Pass "
        "inputs and targets together."
    )
