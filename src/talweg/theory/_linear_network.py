"""D1: two-layer linear networks f(W1, W2) = l(W1 W2), their local constants and closed criterion.

W1 is d x h, W2 is h x m, G = grad l(W1 W2). The Jacobian of the product maps (E1, E2) to
E1 W2 + W1 E2, and its kernel maps G to W1 W1^T G + G W2^T W2, so that exactly

    sigma_min(J)^2 = sigma_d(W1)^2 + sigma_m(W2)^2,      |J|^2 = |W1|^2 + |W2|^2,

and w -> J(w) is 1-Lipschitz in the operator norm, with no smaller constant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, lower_bound, upper_bound
from talweg.theory._ball import DescentConvergence
from talweg.theory._bounds import NestedBallBound
from talweg.theory._composite import PREMISES as COMPOSITE_PREMISES
from talweg.theory._composite import composite_loss_converges
from talweg.theory._losses import HALF_SUM, SquaredLoss
from talweg.theory._singular_values import SingularValueProfile
from talweg.theory._squared import PREMISES as SQUARED_PREMISES
from talweg.theory._squared import SquaredLossConvergence, squared_loss_converges
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "D1 (xu2025, local PL constant)"

LINEAR_NETWORK_LIPSCHITZ = NestedBallBound.everywhere(1.0)
"""The Lipschitz constant of the Jacobian of (W1, W2) -> W1 W2: exactly 1, everywhere."""


@dataclass(frozen=True, slots=True)
class LinearNetworkBounds:
    """Bounds on the singular values of the two factors at one point.

    Args:
        first_sigma_lower: lower bound of the d-th singular value of W1 (d x h); 0 when h < d.
        second_sigma_lower: lower bound of the m-th singular value of W2 (h x m); 0 when h < m.
        first_norm_upper: upper bound of |W1|, the largest singular value.
        second_norm_upper: upper bound of |W2|.

    Raises:
        InputError: NaN, a negative norm, or a smallest singular value above the norm.
    """

    first_sigma_lower: float
    second_sigma_lower: float
    first_norm_upper: float
    second_norm_upper: float

    def __post_init__(self) -> None:
        call = "LinearNetworkBounds"
        for name in ("first", "second"):
            sigma = lower_bound(getattr(self, f"{name}_sigma_lower"), f"{name}_sigma_lower", call)
            norm = upper_bound(getattr(self, f"{name}_norm_upper"), f"{name}_norm_upper", call)
            if sigma > norm:
                raise InputError(
                    f"`{name}_norm_upper` of {call}() must be at least {name}_sigma_lower, because "
                    f"no singular value exceeds the norm; got {norm!r} against {sigma!r}. "
                    "One of the two is not the bound its name promises."
                )

    @property
    def kernel_lower(self) -> Interval:
        """sigma_d(W1)^2 + sigma_m(W2)^2; its lower end is the rigorous one."""
        first = Interval.point(max(self.first_sigma_lower, 0.0)).square()
        return first + Interval.point(max(self.second_sigma_lower, 0.0)).square()

    @property
    def sigma_min_lower(self) -> float:
        """Lower bound of sigma_min(J)."""
        return max(Interval.point(max(self.kernel_lower.lo, 0.0)).sqrt().lo, 0.0)

    @property
    def jacobian_norm_upper(self) -> float:
        """Upper bound of |J| = sqrt(|W1|^2 + |W2|^2)."""
        first = Interval.point(self.first_norm_upper).square()
        return (first + Interval.point(self.second_norm_upper).square()).sqrt().hi

    @property
    def profile(self) -> SingularValueProfile:
        """s(rho) = sigma_min(J) - rho."""
        return SingularValueProfile(self.sigma_min_lower, LINEAR_NETWORK_LIPSCHITZ)

    @property
    def lazy_radius_lower(self) -> float:
        """The radius sigma_min(J) beyond which nothing local (T4, T11) can speak."""
        return self.sigma_min_lower


@dataclass(frozen=True, slots=True)
class LocalPL:
    """What D1 proves at one point: 1/2 |grad f|^2 >= pl_lower (f - l*).

    Attributes:
        pl_lower: mu_t = mu (sigma_d(W1)^2 + sigma_m(W2)^2), from below.
        sigma_min_lower: sigma_min(J), from below.
    """

    pl_lower: float
    sigma_min_lower: float


def linear_network_is_locally_pl(
    bounds: LinearNetworkBounds, *, pl_lower: float, assumed: Iterable[str] = ()
) -> Verdict[LocalPL]:
    """A two-layer linear network is PL at a point whose factors have full rank (D1).

        1/2 |grad f(W1, W2)|^2 >= mu (sigma_d(W1)^2 + sigma_m(W2)^2) (f - l*).

    Source: D1; xu2025's local PL constant; proof in docs/theory/D1.md.

    Args:
        bounds: singular values of the factors at the point.
        pl_lower: mu, with 1/2 |grad l|^2 >= mu (l - l*), from below.
        assumed: premises only assumed, out of `pl_lower`, `singular_values`.

    Returns:
        PROVED with mu_t > 0, or UNDECIDED naming `pl_lower` or `singular_values`.

    Raises:
        InputError: NaN, or a name that is no premise.
    """
    call = "linear_network_is_locally_pl"
    mu = lower_bound(pl_lower, "pl_lower", call)
    trusted = assumed_names(assumed, ("pl_lower", "singular_values"), call)
    local = max((Interval.point(max(mu, 0.0)) * bounds.kernel_lower).lo, 0.0)
    hypotheses = [
        Hypothesis.above("pl_lower", "1/2 |grad l|^2 >= value (l - l*), value > 0", mu, 0.0),
        Hypothesis.above("singular_values", "sigma_d(W1)^2 + sigma_m(W2)^2 >= value > 0",
                         bounds.kernel_lower.lo, 0.0),
    ]  # fmt: skip
    if all(h.holds for h in hypotheses):
        hypotheses.append(Hypothesis.above("local_pl", "mu_t >= value > 0", local, 0.0))

    def conclusion() -> LocalPL:
        return LocalPL(local, bounds.sigma_min_lower)

    return decide(SOURCE, hypotheses, trusted, conclusion)


def linear_network_converges(
    initial_gap_upper: float,
    bounds: LinearNetworkBounds,
    *,
    pl_lower: float,
    smoothness_upper: float,
    epsilon: float,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[DescentConvergence]:
    """Gradient descent on l(W1 W2) reaches inf l in a ball, closed form of T4 (D1).

        sqrt(2 (f_0 - l*) / mu)  <  (1 - eps) (sigma_d(W1)^2 + sigma_m(W2)^2) / 2,

        eta <= 2 eps / M,   M = K (|J(w0)| + R*)^2 + sqrt(2 K (f_0 - l*)).

    Source: D1, which is T4 with the Jacobian's Lipschitz constant 1; proof in docs/theory/D1.md.

    Args:
        initial_gap_upper: upper bound of f_0 - l*.
        bounds: singular values of the factors at the start.
        pl_lower: mu of l as a function of W, from below.
        smoothness_upper: K of l, from above.
        epsilon: in (0, 1), the share of the descent given up to the step.
        step_size: the step to verify; None asks for the largest certified one.
        assumed: premises only assumed, as in `composite_loss_converges`.

    Returns:
        PROVED with the numbers of T1, or UNDECIDED naming `criterion`, `rate_positive`,
        `step_size`, `profile` (no factor has full rank) or a premise.

    Raises:
        InputError: NaN, a negative bound, epsilon outside (0, 1), a step that is not positive.
    """
    trusted = assumed_names(assumed, COMPOSITE_PREMISES, "linear_network_converges")
    profile = bounds.profile
    verdict = composite_loss_converges(
        initial_gap_upper,
        profile,
        profile.jacobian_norm(bounds.jacobian_norm_upper),
        LINEAR_NETWORK_LIPSCHITZ,
        pl_lower=pl_lower,
        smoothness_upper=smoothness_upper,
        epsilon=epsilon,
        step_size=step_size,
        assumed=trusted,
    )
    return Verdict(
        verdict.status, verdict.conclusion, verdict.hypotheses, "D1 with T4 (sharpens xu2025)"
    )


def linear_network_squared_converges(
    residual_norm_upper: float,
    bounds: LinearNetworkBounds,
    *,
    step_size: float | None = None,
    loss: SquaredLoss = HALF_SUM,
    assumed: Iterable[str] = (),
) -> Verdict[SquaredLossConvergence]:
    """Gradient descent on c |W1 W2 - Y|^2 reaches zero in a ball, closed form of T11 (D1).

        |W1 W2 - Y|  <  (sigma_d(W1)^2 + sigma_m(W2)^2) / 2,   eta <= 1 / (|J(w0)| + R*)^2.

    Source: D1, which is T11 with the Jacobian's Lipschitz constant 1; proof in docs/theory/D1.md.

    Args:
        residual_norm_upper: upper bound of the Frobenius norm |W1 W2 - Y| at the start.
        bounds: singular values of the factors at the start.
        step_size: learning rate on `loss` to verify; None asks for the largest certified one.
        loss: scaling of the loss.
        assumed: premises only assumed, as in `squared_loss_converges`.

    Returns:
        PROVED with the numbers of T11, or UNDECIDED naming the hypothesis.

    Raises:
        InputError: NaN, a negative norm, a step that is not finite and positive.
    """
    trusted = assumed_names(assumed, SQUARED_PREMISES, "linear_network_squared_converges")
    verdict = squared_loss_converges(
        residual_norm_upper,
        bounds.profile,
        bounds.jacobian_norm_upper,
        step_size=step_size,
        loss=loss,
        assumed=trusted,
    )
    return Verdict(
        verdict.status, verdict.conclusion, verdict.hypotheses, "D1 with T11 (sharpens xu2025)"
    )
