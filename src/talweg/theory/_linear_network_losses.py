"""D4: losses of a linear model W -> X W, with their PL and smoothness constants proved.

    l(W) = weight * sum_i phi(x_i^T W; y_i) + (ridge / 2) |W|^2,     X n x d, W d x m.

    kind            phi(z; y)                                        0 <= D^2 phi <= kappa
    squared         1/2 |z - y|^2                                    = 1
    huber           sum_j h(z_j - y_j), h(t) = t^2/2 or |t| - 1/2    1
    logistic        sum_j log(1 + e^(-y_j z_j)), y_j = +-1           1/4
    cross_entropy   log sum_j e^(z_j) - <q, z>, q in the simplex     1/2

    K = weight kappa |X|^2 + ridge;    mu = weight sigma^2 + ridge (squared), ridge (the others),

sigma the min(n, d)-th singular value of X.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, lower_bound, positive, upper_bound
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "D4 (losses of xu2025's setting)"

LinearLossKind = Literal["squared", "huber", "logistic", "cross_entropy"]

LINEAR_LOSS_CURVATURE: dict[LinearLossKind, float] = {
    "squared": 1.0, "huber": 1.0, "logistic": 0.25, "cross_entropy": 0.5,
}  # fmt: skip
"""kappa, the largest eigenvalue of D^2 phi: each an exact float."""


@dataclass(frozen=True, slots=True)
class OutputLossConstants:
    """What D4 proves of l: 1/2 |grad l|^2 >= pl (l - l*), and grad l is smoothness-Lipschitz.

    Attributes:
        pl_lower: mu.
        smoothness_upper: K.
        convexity_lower: l is strongly convex with this constant; 0 where that was not shown
            (squared loss without ridge and with n < d).
        curvature_upper: kappa.
    """

    pl_lower: float
    smoothness_upper: float
    convexity_lower: float
    curvature_upper: float


def linear_model_loss_is_pl(
    kind: LinearLossKind,
    data_norm_upper: float,
    *,
    data_sigma_lower: float = 0.0,
    full_column_rank: bool = False,
    ridge: float = 0.0,
    weight: float = 1.0,
    assumed: Iterable[str] = (),
) -> Verdict[OutputLossConstants]:
    """A loss of a linear model is PL and smooth as a function of W (D4).

    Source: D4; proofs in docs/theory/D4.md.

    Args:
        kind: "squared", "huber" (threshold 1), "logistic" or "cross_entropy" (any targets in the
            simplex, label-smoothed or not).
        data_norm_upper: upper bound of the operator norm |X|.
        data_sigma_lower: lower bound of the min(n, d)-th singular value of X; only the squared
            loss uses it.
        full_column_rank: whether data_sigma_lower speaks of d <= n columns, which makes the
            squared loss strongly convex and not only PL. Say True only for such data: wide data
            with a ridge have mu = ridge.
        ridge: >= 0, a float taken as exact.
        weight: > 0, a float taken as exact.
        assumed: premises only assumed, out of `data_norm_upper`, `data_sigma_lower`.

    Returns:
        PROVED with the constants, or UNDECIDED naming `data_norm_upper` or `pl_lower` (no ridge,
        and a loss that is not squared or data without full rank).

    Raises:
        InputError: unknown kind, NaN, negative ridge or norm, weight not positive, a singular
            value above the norm.
    """
    call = "linear_model_loss_is_pl"
    if kind not in get_args(LinearLossKind):
        raise InputError(
            f"`kind` of {call}() must be one of {', '.join(get_args(LinearLossKind))}; got "
            f"{kind!r}. Choose one of these."
        )
    norm = upper_bound(data_norm_upper, "data_norm_upper", call)
    sigma = max(lower_bound(data_sigma_lower, "data_sigma_lower", call), 0.0)
    lam = lower_bound(upper_bound(ridge, "ridge", call), "ridge", call)
    w = positive(weight, "weight", call)
    trusted = assumed_names(assumed, ("data_norm_upper", "data_sigma_lower"), call)
    if sigma > norm:
        raise InputError(
            f"`data_norm_upper` of {call}() must be at least data_sigma_lower, because no singular "
            f"value exceeds the norm; got {norm!r} against {sigma!r}. One of the two is not the "
            "bound its name promises."
        )
    kappa = LINEAR_LOSS_CURVATURE[kind]
    smooth = (Interval.point(w) * kappa * Interval.point(norm).square() + lam).hi
    fitted = Interval.point(w) * Interval.point(sigma).square()
    mu = max((fitted + lam).lo, lam) if kind == "squared" else lam
    convex = mu if full_column_rank or kind != "squared" else lam
    if kind == "squared" and not full_column_rank and lam > 0.0:
        mu = lam  # with a ridge and n < d, directions outside the row space see the ridge alone
    hypotheses = [
        Hypothesis.known("data_norm_upper", "|X| <= value < inf", norm),
        Hypothesis.above("pl_lower", "mu >= value > 0", mu, 0.0),
    ]

    def conclusion() -> OutputLossConstants:
        return OutputLossConstants(mu, smooth, convex, kappa)

    return decide(SOURCE, hypotheses, trusted, conclusion)
