"""The rules of each layer kind, one file per kind.

A linear kind gives `value`, `cotangent`, `extended_input` (its share of the tangent
kernel) and `weight_norm_upper`; a pointwise kind gives its `jet` (value and two derivatives on a
ball) and says whether it is curved. The chain rule over layers is in `_stage_form`,
`_linearization` and `_lipschitz`.
"""

from talweg.network.layers import elementwise, linear, scale

__all__ = ["elementwise", "linear", "scale"]
