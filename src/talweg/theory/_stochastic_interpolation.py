"""T10: stochastic gradient descent where every batch can be fitted at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import (
    assumed_names,
    fraction,
    lower_bound,
    positive,
    upper_bound,
)
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._singular_values import SingularValueProfile
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T10 (liu2020, SGD under interpolation)"
PREMISES = (
    "initial_loss_upper", "pl_lower", "smoothness_upper", "batch_smoothness_upper",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StochasticConvergence:
    """What T10 proves about w_{k+1} = w_k - eta grad f_B(w_k), tau the first exit from the ball.

    Attributes:
        step_size: eta.
        one_minus_rate_lower: delta = eta (2 mu - eta L L_B) >= eta mu, from below.
        loss_rate_upper: E[f(w_k) 1{tau > k}] <= rate^k f(w0).
        exit_probability_upper: bounds P(tau < inf). On {tau = inf} the iterates converge almost
            surely to a point with f = 0.
        expected_path_upper: bounds the expected path length inside the ball.
        halving_steps_upper: after so many steps E[f 1{tau > k}] is at most half; may be inf.
    """

    step_size: float
    one_minus_rate_lower: float
    loss_rate_upper: float
    exit_probability_upper: float
    expected_path_upper: float
    halving_steps_upper: float


@dataclass(frozen=True, slots=True)
class MinibatchConstants:
    """Constants of 1/2 |r|^2 on B(w0, R) under uniform minibatches, for T10.

    Attributes:
        initial_loss_upper: f(w0) = 1/2 |r_0|^2.
        pl_lower: mu = s(R)^2.
        smoothness_upper: L = sigma_max^2 + beta (|r_0| + sigma_max R); grad f is L-Lipschitz and
            |grad f|^2 <= 2 L f.
        batch_smoothness_upper: L_B, with |grad f_B|^2 <= 2 L_B f_B for every batch.
        radius: R.
    """

    initial_loss_upper: float
    pl_lower: float
    smoothness_upper: float
    batch_smoothness_upper: float
    radius: float


def stochastic_descent_interpolates(
    initial_loss_upper: float,
    pl_lower: float,
    smoothness_upper: float,
    batch_smoothness_upper: float,
    radius: float,
    *,
    failure_probability: float,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[StochasticConvergence]:
    """Stochastic gradient descent converges linearly inside a ball, with high probability (T10).

    Batches are fresh and i.i.d., with E f_B = f. On the whole ball B(w0, R), for every batch:
    f_B >= 0, |grad f_B|^2 <= 2 L_B f_B, 1/2 |grad f|^2 >= mu f, grad f is L-Lipschitz, and
    |grad f|^2 <= 2 L f, which smoothness on a ball does not imply. If

        eta <= mu / (L L_B),     2 sqrt(2 L_B f(w0)) / ((2 mu - eta L L_B) R) <= p,

    then E[f(w_k) 1{tau > k}] <= (1 - delta)^k f(w0) with delta = eta (2 mu - eta L L_B) >= eta mu,
    and P(tau < inf) <= p.

    Source: T10; liu2020 for the rate, with the exit from the ball accounted for and the factor
    2 mu - eta L L_B kept where it is usually bounded by mu; proof in docs/theory/T10.md.

    Args:
        initial_loss_upper: upper bound of f(w0).
        pl_lower: mu.
        smoothness_upper: L, for both of its inequalities, on the whole ball and not only where
            f <= f(w0): SGD leaves that set.
        batch_smoothness_upper: L_B, for every batch; the premise of this name also says that the
            batches are i.i.d., f_B >= 0 and E f_B = f.
        radius: R, > 0, finite.
        failure_probability: p in (0, 1), the risk of leaving the ball that is accepted; no
            default, because it is the user's.
        step_size: the step to verify; None asks for mu / (L L_B), which has the best rate.
        assumed: premises only assumed: names of the first four arguments.

    Returns:
        PROVED with the numbers, or UNDECIDED naming the hypothesis: a premise, `step_size`,
        `rate_positive` or `criterion` (the exit probability).

    Raises:
        InputError: NaN, a negative bound, failure_probability outside (0, 1), a radius or step
            that is not finite and positive, or mu above L or L_B, which no loss has.
    """
    call = "stochastic_descent_interpolates"
    f0 = upper_bound(initial_loss_upper, "initial_loss_upper", call)
    mu = lower_bound(pl_lower, "pl_lower", call)
    smooth = upper_bound(smoothness_upper, "smoothness_upper", call)
    batch = upper_bound(batch_smoothness_upper, "batch_smoothness_upper", call)
    ball = positive(radius, "radius", call)
    risk = fraction(failure_probability, "failure_probability", call)
    step = None if step_size is None else positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)
    if mu > min(smooth, batch):
        raise InputError(
            f"`pl_lower` of {call}() must be at most smoothness_upper and batch_smoothness_upper, "
            "because 2 mu f <= |grad f|^2 <= 2 L f and |grad f|^2 <= E |grad f_B|^2 <= 2 L_B f; "
            f"got {mu!r} against {smooth!r} and {batch!r}. One of them is not the bound its name "
            "promises."
        )

    hypotheses = [
        Hypothesis.known("initial_loss_upper", "0 <= f(w0) <= value < inf", f0),
        Hypothesis.above("pl_lower", "1/2 |grad f|^2 >= value f on B(w0, R), value > 0", mu, 0.0),
        Hypothesis.known("smoothness_upper",
                         "grad f is value-Lipschitz and |grad f|^2 <= 2 value f on B(w0, R), "
                         "value < inf", smooth),
        Hypothesis.known("batch_smoothness_upper",
                         "batches are fresh and i.i.d., E f_B = f, and f_B >= 0, "
                         "|grad f_B|^2 <= 2 value f_B on B(w0, R), value < inf", batch),
    ]  # fmt: skip
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    curvature = Interval.point(smooth) * batch  # L L_B
    largest = max((Interval.point(mu) / curvature).lo, 0.0)
    eta = largest if step is None else step
    decay = 2.0 * Interval.point(mu) - Interval.point(eta) * curvature  # 2 mu - eta L L_B
    delta = min(max((Interval.point(eta) * decay).lo, 0.0), 1.0)
    hypotheses += [
        Hypothesis.below("step_size", "0 < eta <= mu / (L L_B)", eta, largest, strict=False),
        Hypothesis.above("rate_positive", "eta (2 mu - eta L L_B) > 0", delta, 0.0),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    reach = (2.0 * Interval.point(batch) * f0).clip_nonnegative().sqrt()  # it may underflow
    path = (2.0 * reach / decay).hi
    leaving = (Interval.point(path) / Interval.point(ball)).hi
    hypotheses.append(
        Hypothesis.below("criterion", "2 sqrt(2 L_B f(w0)) / ((2 mu - eta L L_B) R) <= p",
                         leaving, risk, strict=False)
    )  # fmt: skip

    def conclusion() -> StochasticConvergence:
        return StochasticConvergence(
            step_size=eta,
            one_minus_rate_lower=delta,
            loss_rate_upper=(1.0 - Interval.point(delta)).hi,
            exit_probability_upper=leaving,
            expected_path_upper=path,
            halving_steps_upper=steps_to_shrink_upper(2.0, delta),
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)


def squared_loss_minibatch_constants(
    residual_norm_upper: float,
    profile: SingularValueProfile,
    jacobian_norm_upper: float,
    sample_norm_upper: float,
    *,
    samples: int,
    batch: int,
    radius: float,
) -> MinibatchConstants:
    """What T10 asks of 1/2 |r|^2 when f_B = (n / b) sum_{i in B} 1/2 |r_i|^2, |B| = b.

    With sigma = |J(w0)| + int_0^R beta and the same growth for the Jacobians J_i of single samples,

        mu = s(R)^2,   L = sigma^2 + beta(R) (|r_0| + sigma R),
        L_B = (n / b) min{ sigma^2, b max_i sup |J_i|^2 }.

    The b samples of a batch are distinct (drawn without replacement inside the batch, uniformly;
    batches are independent of each other). For b = 1 this is the usual uniform sampling.

    Source: T10; proof in docs/theory/T10.md.

    Args:
        residual_norm_upper: upper bound of |r_0|.
        profile: s, with the Lipschitz constants of J on balls.
        jacobian_norm_upper: upper bound of |J(w0)|.
        sample_norm_upper: upper bound of max_i |J_i(w0)|, J_i the k x p Jacobian of sample i.
        samples: n.
        batch: b, distinct samples per batch, 1 <= b <= n.
        radius: R, > 0, finite.

    Returns:
        The constants; mu is 0 and the others may be inf where the profile says nothing.

    Raises:
        InputError: NaN, a negative bound, counts that are not 1 <= b <= n.
    """
    call = "squared_loss_minibatch_constants"
    r0 = Interval.point(upper_bound(residual_norm_upper, "residual_norm_upper", call))
    j0 = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    row = upper_bound(sample_norm_upper, "sample_norm_upper", call)
    ball = positive(radius, "radius", call)
    whole = all(isinstance(c, int) and not isinstance(c, bool) for c in (samples, batch))
    if not (whole and 1 <= batch <= samples <= 2**53):
        raise InputError(
            f"`samples` and `batch` of {call}() must be ints with 1 <= batch <= samples; got "
            f"{samples!r} and {batch!r}. A batch holds distinct samples."
        )
    beta = Interval.point(profile.lipschitz.upper(ball))
    sigma = Interval.point(profile.jacobian_norm(j0).upper(ball))
    single = Interval.point(profile.jacobian_norm(row).upper(ball))
    rows = (batch * single.square()).minimum(sigma.square())  # bounds |J_B|^2
    return MinibatchConstants(
        initial_loss_upper=(r0.square() / 2.0).hi,
        pl_lower=max(Interval.point(profile.value_lower(ball)).square().lo, 0.0),
        smoothness_upper=(sigma.square() + beta * (r0 + sigma * ball)).hi,
        batch_smoothness_upper=(Interval.ratio(samples, batch) * rows).hi,
        radius=ball,
    )
