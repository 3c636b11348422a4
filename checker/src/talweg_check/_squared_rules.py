"""The theorems about squared losses beside T11, for the numbers of a certificate.

In the terms of `_claims`: s(x) = sigma_min_lower - int_0^x beta, eta the step on |r|^2 / 2.
"""

from __future__ import annotations

from fractions import Fraction

from talweg_check._claims import Numbers, contraction, require, require_power


def beta_at(n: Numbers, x: Fraction) -> Fraction:
    """beta(x): the value of the first piece that reaches x."""
    return next(beta for end, beta in n.pieces if x <= end)


def t4(n: Numbers) -> None:
    """General descent: the gradient of f has modulus |J|^2 + |r| beta; f contracts by 1 - delta."""
    epsilon, residual = n.claims["epsilon"], n.claims["residual_norm_upper"]
    require(epsilon < 1, "epsilon < 1")
    require(
        (1 - epsilon) * n.s_integral(n.radius) >= residual,
        "(1 - epsilon) int_0^radius s >= residual_norm_upper",
    )
    smoothness = n.jacobian(n.radius) ** 2 + residual * beta_at(n, n.radius)
    require(n.eta * smoothness <= 2 * epsilon, "eta M <= 2 epsilon")
    delta = 2 * (1 - epsilon) * n.eta * n.s(n.radius) ** 2
    require(
        n.claims["one_minus_rate"] <= delta, "one_minus_rate <= 2 (1 - epsilon) eta s(radius)^2"
    )


def t7(n: Numbers) -> None:
    """T11 down to |r| = rho with c rho^2 = target_loss; the last step may leave the ball.

    It ends within R + eta sup|J| rho, where s must still be nonnegative and beta be listed.
    """
    overshoot, steps = n.claims["overshoot_radius"], n.claims["steps_upper"]
    residual = n.claims["residual_norm_upper"]
    rho_squared = 2 * n.claims["target_loss"] / n.unit
    require(overshoot <= n.pieces[-1][0], "overshoot_radius lies within the listed radii")
    missing = residual - n.s_integral(n.radius)
    require(
        missing <= 0 or missing**2 <= rho_squared, "int_0^radius s >= residual_norm_upper - rho"
    )
    contraction(n)
    leap = overshoot - n.radius
    require(
        leap >= 0 and leap**2 >= (n.eta * n.jacobian(n.radius)) ** 2 * rho_squared,
        "overshoot_radius >= radius + eta sup|J| rho",
    )
    require(n.s(overshoot) >= 0, "s(overshoot_radius) >= 0")
    require(steps.denominator == 1, "steps_upper is an integer")
    if residual**2 > rho_squared:
        # (1 - q)^steps |r_0| <= rho, squared
        q = n.eta * n.s(n.radius) ** 2
        ratio = rho_squared / residual**2
        require_power(q, 2 * steps, ratio, "steps_upper is large enough")


def t9(n: Numbers) -> None:
    """T11 with a gradient that is off by at most theta of itself, as long as |r| is large enough.

    sigma_min_lower shrinks by q = (1 - theta)/(1 + theta) in s', not in s; an absolute error e of
    the gradient of the loss is below theta of it while the loss exceeds e^2 / (4 c theta^2 s^2).
    """
    theta, residual = n.claims["theta"], n.claims["residual_norm_upper"]
    error, floor, steps = (
        n.claims[name] for name in ("gradient_error_upper", "floor", "steps_upper")
    )
    require(theta < 1, "theta < 1")
    lost = n.sigma * 2 * theta / (1 + theta)  # (1 - q) sigma
    bottom = n.s(n.radius)
    require(bottom - lost > 0, "s'(radius) > 0")
    require(
        n.s_integral(n.radius) - lost * n.radius >= residual,
        "int_0^radius s' >= residual_norm_upper",
    )
    require(n.eta * n.jacobian(n.radius) ** 2 <= 1, "eta sup|J|^2 <= 1 on the ball")
    x = (1 + theta) * n.eta * bottom * (bottom - lost)
    require(n.claims["one_minus_rate"] <= 2 * x - x * x, "one_minus_rate <= 2 x - x^2")
    require(
        2 * n.unit * floor * (theta * bottom) ** 2 >= error**2,
        "floor >= (gradient_error_upper / (theta s(radius)))^2 / (4 c)",
    )
    require(steps.denominator == 1, "steps_upper is an integer")
    start = n.unit * residual**2 / 2
    require(floor < start, "floor is below the loss at the start")
    # (1 - gain)^steps f(w0) <= floor
    require_power(n.claims["one_minus_rate"], steps, floor / start, "steps_upper is large enough")
