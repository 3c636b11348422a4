"""A bound on what rounding does to one step of training in binary64 (T9), restated.

The run: full-batch gradient descent by backpropagation, every number binary64, rounded to nearest;
a sum of m products may be taken in any order and with or without fused multiply-add, so it is off
by at most gamma(m) times the sum of absolute values (gamma(m) = m u / (1 - m u), u = 2^-53), plus
`DUST` per product for underflow. Assumed: tanh and the logistic function come out within `LIBRARY`
of their value. The step done is w - step (grad f(w) + e), and `Rounding.error` bounds |e| for every
binary64 w within `radius` of w0 at which |F(w) - y| is at most the stated residual.

Only maxima over the samples are used. What grows with the residual r_i of sample i is kept apart
from what does not: a pair (fixed, per) stands for fixed + per |r_i|, and sum_i |r_i| is at most
sqrt(n) |r|. Everything from the output gradient backwards is in units of 2c, for the loss c |r|^2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flint import arb, fmpq

from talweg_check._arrays import largest, norms_upper
from talweg_check._grammar import Certificate
from talweg_check._linear_algebra import norm_upper
from talweg_check._network import Network
from talweg_check._verdict import Invalid

LIBRARY = arb(2) ** -50
DUST = arb(2) ** -1000
HUGE = arb(2) ** 400
STEEPEST = {"tanh": arb(1), "sigmoid": arb(0.25)}


def gamma(count: int) -> arb:
    """count u / (1 - count u)."""
    share = arb(count) / arb(2) ** 53
    return share / (1 - share)


@dataclass
class _Floor:
    """One linear layer with the activation behind it, as far as sizes go, at w0."""

    name: str | None
    wide: int
    high: int
    stretch: arb  # operator norm of the weight
    entries: arb  # Frobenius norm of the weight
    shift: arb | None  # norm of the bias
    trains_weight: bool
    trains_bias: bool
    output: arb  # largest |h| over the samples


class Rounding:
    """Sizes at w0 and the recursion over them; refuses programs that it cannot bound."""

    def __init__(
        self,
        operations: Sequence[Mapping[str, Any]],
        net: Network,
        samples: int,
    ) -> None:
        self.samples, self.parameters = samples, 0
        self.input = largest(norms_upper(net.h[0], 1))
        self.floors: list[_Floor] = []
        squares = arb(0)
        for operation in operations:
            if operation["kind"] == "linear":
                level = len(self.floors) + 1
                weight, bias = net.stages[level].weight, net.stages[level].bias
                entries = (weight * weight).sum()
                shift = None
                if operation["bias"] is not None:
                    shift = (bias * bias).sum()
                    if operation["bias_trainable"]:
                        squares += shift
                        self.parameters += len(bias)
                if operation["weight_trainable"]:
                    squares += entries
                    self.parameters += weight.size
                self.floors.append(_Floor(
                    None, weight.shape[1], weight.shape[0], norm_upper(weight), entries.sqrt(),
                    None if shift is None else shift.sqrt(), operation["weight_trainable"],
                    operation["bias_trainable"], largest(norms_upper(net.h[level], 1)),
                ))  # fmt: skip
            elif operation["kind"] != "elementwise" or not self.floors:
                raise Invalid("T9 does not speak of factors, nor of functions of the inputs")
            elif operation["function"] != "identity":
                if operation["function"] not in STEEPEST or self.floors[-1].name is not None:
                    raise Invalid("T9 speaks of one tanh or sigmoid behind a linear layer")
                self.floors[-1].name = operation["function"]
        self.weights = squares.sqrt()

    def error(self, radius: arb, residual: arb, two_c: arb, step: arb) -> arb:
        """A bound of |e|, on the scale of the gradient of the loss; nan when there is none."""
        inward, off, peak = self._values(radius)
        n = self.samples
        spread = arb(n).sqrt() * residual
        dust = DUST * (1 + 1 / two_c)
        fixed = off[-1] * (1 + gamma(6)) + self.floors[-1].high * dust
        per, back = gamma(6), arb(1)
        wrong, right = arb(0), arb(0)  # squared norms: of the error, of the gradient
        for level in range(len(self.floors) - 1, -1, -1):
            floor = self.floors[level]
            if floor.name is not None:
                steep, a = STEEPEST[floor.name], off[level + 1]
                if floor.name == "tanh":
                    slip = a * (2 + a) + gamma(2) * (1 + (1 + a) ** 2) + DUST
                else:
                    slip = a * (1 + a)
                slip += gamma(3) * (steep + slip)
                fixed = fixed * (steep + slip) + floor.high * dust
                per = per * (steep + slip) + slip * back
                back = steep * back
            h, a = inward[level], off[level]
            cells = floor.wide * floor.high
            if floor.trains_weight:
                reach = (h + a) * (1 + gamma(n))
                per_here = per * reach + back * (a + gamma(n) * (h + a))
                wrong += (n * (fixed * reach + cells * dust) + spread * per_here) ** 2
                right += (spread * back * h) ** 2
            if floor.trains_bias:
                per_here = per * (1 + gamma(n)) + back * gamma(n)
                wrong += (n * fixed * (1 + gamma(n)) + spread * per_here) ** 2
                right += (spread * back) ** 2
            moved = radius if floor.trains_weight else arb(0)
            blur = gamma(floor.high) * (floor.entries + moved)
            stretch = floor.stretch + moved
            fixed = fixed * (stretch + blur) + cells * dust
            per = per * (stretch + blur) + blur * back
            back = back * stretch
            sums = (floor.entries + moved + 1) * (fixed + (per + back + 1) * residual)
            peak = peak.max(sums)
        wrong, right = two_c * wrong.sqrt(), two_c * right.sqrt()
        stored = (self.weights + radius) / arb(2) ** 53 + 2 * self.parameters * DUST
        total = wrong + stored / step + gamma(3) * (right + wrong)
        if all(size < HUGE for size in (peak, two_c, 1 / two_c, step, total)):
            return total
        return arb("nan")

    def _values(self, radius: arb) -> tuple[list[arb], list[arb], arb]:
        """|h| and the error of the computed h, from the input upwards; and the largest sum."""
        sizes, errors, drift, peak = [self.input], [arb(0)], arb(0), self.input
        for floor in self.floors:
            h, a = sizes[-1], errors[-1]
            steep = arb(1) if floor.name is None else STEEPEST[floor.name]
            moved_w = radius if floor.trains_weight else arb(0)
            moved_b = radius if floor.trains_bias else arb(0)
            moving = h**2 * int(floor.trains_weight) + int(floor.trains_bias)
            drift = steep * (floor.stretch * drift + radius * moving.sqrt())
            terms = floor.wide + (floor.shift is not None)
            sums = (floor.entries + moved_w) * (h + a)
            if floor.shift is not None:
                sums += floor.shift + moved_b
            error = (floor.stretch + moved_w) * a
            error = steep * (error + gamma(terms) * sums + terms * floor.high * DUST)
            sizes.append(floor.output + drift)
            if floor.name is not None:
                error += LIBRARY * (sizes[-1] + error) + floor.high * DUST
            errors.append(error)
            peak = peak.max(sums)
        return sizes, errors, peak


def gradient_error_doubts(certificate: Certificate, net: Network) -> list[str]:
    """The doubt about gradient_error_upper, if it is claimed; Invalid where T9 does not apply."""
    if certificate.theorem != "T9":
        return []
    for name, array in certificate.arrays.items():
        if array.dtype != "F64":
            raise Invalid(f"T9 speaks of a float64 program, and {name!r} is {array.dtype}")
    claim = {name: arb(value) for name, value in certificate.claims.items()}
    rounding = Rounding(certificate.operations, net, certificate.counts["samples"])
    unit = arb(fmpq(certificate.loss.unit.numerator, certificate.loss.unit.denominator))
    error = rounding.error(claim["radius"], claim["residual_norm_upper"], unit, claim["step_size"])
    return (
        [] if error <= claim["gradient_error_upper"] else ["gradient_error_upper is not confirmed"]
    )
