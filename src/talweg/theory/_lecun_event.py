"""P3: how likely LeCun's random weights satisfy P1, as a logarithm, because it is tiny.

The entries of W_2..W_L are independent Gaussians N(0, 1/fan_in), W_1 and the biases are zero. P1
holds on the event that every hidden entry lies in [low, high] and every output entry is above
A(low, high); its probability is a product.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from flint import arb

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arb import float_above, float_below, log_normal_box_lower, log_normal_tail_lower
from talweg.theory._arguments import assumed_names, positive
from talweg.theory._positive_initialisation import (
    PositiveNetwork,
    explicit_output_entry,
    input_premises,
)
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "P3 (chatterjee2022, thm 2.8)"
PREMISES = ("gram_eigenvalue_lower", "input_entry_upper", "initial_loss_upper")


@dataclass(frozen=True, slots=True)
class ConvergenceProbability:
    """What P3 proves: convergence to zero loss with at least this probability over the weights.

    Attributes:
        log_probability_lower: lower bound of the natural logarithm of the probability.
        low: every hidden entry of the event is at least this; None for L = 2.
        high: and at most this; None for L = 2.
        output_entry: and every output entry above this A.
        radius: R of P1 on the event.
    """

    log_probability_lower: float
    low: float | None
    high: float | None
    output_entry: float
    radius: float


def lecun_initialisation_converges_with_probability(
    network: PositiveNetwork,
    *,
    low: float | None = None,
    high: float | None = None,
    epsilon: float = 0.0,
    radius: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[ConvergenceProbability]:
    """LeCun weights above a zero first layer bring the loss to zero with at least a probability.

        P >= prod_{l=2}^{L-1} [Phi(high sqrt(d_{l-1})) - Phi(low sqrt(d_{l-1}))]^{d_l d_{l-1}}
            * [1 - Phi(A sqrt(d_{L-1}))]^{d_{L-1}},     A = A(low, high) of P1,

    over the weights: W_1 = 0, zero biases, entries of W_2..W_L independent N(0, 1/fan_in). W_1 is
    trained.

    Any box is valid, so the supremum over boxes is bounded by any search: see
    `likeliest_lecun_box_approx`. The flow converges (epsilon = 0), and with epsilon in (0, 1)
    descent with every step that T1 allows.

    Source: P3, chatterjee2022 theorem 2.8 with P1's explicit A. The upper sides of the hidden
    entries are bounded too, because A depends on them.

    Args:
        network: the ingredients; its hidden_low and hidden_high are replaced by the box.
        low: lower end of the box, > 0; None for L = 2.
        high: upper end, > low; None for L = 2.
        epsilon: as in `explicit_output_entry`.
        radius: as in `explicit_output_entry`; None: low / 2, and the best one for L = 2.
        assumed: premises only assumed, out of `gram_eigenvalue_lower`, `input_entry_upper`,
            `initial_loss_upper`. The box is none: that the hidden entries lie in it is the event
            whose probability is bounded.

    Returns:
        PROVED with the probability, or UNDECIDED naming a premise, `output_entry` (no finite A) or
        `probability` (below every float).

    Raises:
        InputError: a box given at L = 2 or missing above, low >= high, low <= 0.
    """
    call = "lecun_initialisation_converges_with_probability"
    boxed = _boxed(network, low, high, call)
    trusted = assumed_names(assumed, PREMISES, call)
    hypotheses = [
        *input_premises(network),
        Hypothesis.known("initial_loss_upper", "0 <= S(w0) <= value < inf",
                         network.initial_loss_upper),
    ]  # fmt: skip
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)
    chosen = _default_radius(boxed) if radius is None else radius
    explicit = explicit_output_entry(boxed, epsilon=epsilon, radius=chosen)
    entry = explicit.output_entry_upper
    hypotheses.append(Hypothesis.known("output_entry", "A(low, high) <= value < inf", entry))
    if not hypotheses[-1].holds:
        return decide(SOURCE, hypotheses, trusted)
    log_probability = _log_probability_lower(boxed, entry)
    hypotheses.append(
        Hypothesis.above("probability",
                         "log P >= value > -inf for independent N(0, 1/fan_in) in W_2..W_L",
                         log_probability, -math.inf)
    )  # fmt: skip

    def conclusion() -> ConvergenceProbability:
        return ConvergenceProbability(
            log_probability, boxed.hidden_low, boxed.hidden_high, entry, explicit.radius
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)


_GRID = 16
_ROUNDS = 5


def likeliest_lecun_box_approx(
    network: PositiveNetwork, *, epsilon: float = 0.0
) -> tuple[float, float]:
    """A box (low, high) at which the probability of P3 is nearly largest; a search, no bound.

    Log-log grids, each around the best point of the one before; every point is evaluated by the
    theorem itself.

    Args:
        network: the ingredients, L >= 3.
        epsilon: as in `explicit_output_entry`.

    Returns:
        low and high, 0 < low < high.

    Raises:
        InputError: L = 2, where there is no box.
    """
    if len(network.widths) == 1:
        raise InputError(
            "`network` of likeliest_lecun_box_approx() must have hidden matrices W_2..W_(L-1); got "
            "two layers. Call lecun_initialisation_converges_with_probability(network) directly."
        )
    scale = 1.0 / math.sqrt(max(network.widths[:-1]))
    middle = (math.log(scale), 0.0)  # log low, log log(high / low)
    half = (12.0, 4.0)
    best, best_value = (scale, 3.0 * scale), -math.inf
    for _ in range(_ROUNDS):
        for i in range(_GRID + 1):
            for j in range(_GRID + 1):
                point = (middle[0] + half[0] * (2 * i / _GRID - 1),
                         middle[1] + half[1] * (2 * j / _GRID - 1))  # fmt: skip
                low = math.exp(point[0])
                high = low * math.exp(min(math.exp(point[1]), 600.0))
                if not low < high < math.inf:
                    continue
                boxed = replace(network, hidden_low=low, hidden_high=high)
                explicit = explicit_output_entry(boxed, epsilon=epsilon, radius=low / 2.0)
                entry = explicit.output_entry_upper
                value = _log_probability_lower(boxed, entry)
                if value > best_value:
                    best, best_value, centre = (low, high), value, point
        if best_value == -math.inf:
            break
        middle, half = centre, (half[0] * 4.0 / _GRID, half[1] * 4.0 / _GRID)
    return best


def _default_radius(network: PositiveNetwork) -> float | None:
    """low / 2, at which the search for a box is affordable; None, the best one, for L = 2."""
    return None if network.hidden_low is None else network.hidden_low / 2.0


def _log_probability_lower(network: PositiveNetwork, entry: float) -> float:
    """The logarithm of P3's product, rounded down; -inf where a factor underflows everything."""
    total = Interval.point(0.0)
    low, high = network.hidden_low, network.hidden_high
    if low is not None and high is not None:
        for fan_in, units in pairwise(network.widths):
            # the box in units of the standard deviation, rounded inward
            one = log_normal_box_lower(_scaled_up(low, fan_in), _scaled_down(high, fan_in))
            if one == -math.inf:
                return one
            total = total + Interval.point(one) * (fan_in * units)
    fan_in = network.widths[-1]
    tail = log_normal_tail_lower(_scaled_up(entry, fan_in))
    if tail == -math.inf:
        return tail
    return min((total + Interval.point(tail) * fan_in).lo, 0.0)


def _scaled_up(entry: float, fan_in: int) -> float:
    return float_above(arb(entry) * arb(fan_in).sqrt()) if entry < math.inf else math.inf


def _scaled_down(entry: float, fan_in: int) -> float:
    return float_below(arb(entry) * arb(fan_in).sqrt()) if entry < math.inf else math.inf


def _boxed(
    network: PositiveNetwork, low: float | None, high: float | None, call: str
) -> PositiveNetwork:
    if len(network.widths) == 1:
        if low is not None or high is not None:
            raise InputError(
                f"`low` and `high` of {call}() must be left out for two layers, which have no "
                f"hidden matrix; got {low!r} and {high!r}. Call it without them."
            )
        return network
    if low is None or high is None:
        raise InputError(
            f"`low` and `high` of {call}() must be given for {len(network.widths) + 1} layers; got "
            f"{low!r} and {high!r}. Take them from likeliest_lecun_box_approx(network)."
        )
    bottom, top = positive(low, "low", call), positive(high, "high", call)
    if not bottom < top:
        raise InputError(
            f"`low` of {call}() must be below `high`; got {low!r} and {high!r}. A box without "
            "interior has probability zero."
        )
    return replace(network, hidden_low=bottom, hidden_high=top)
