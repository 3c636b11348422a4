"""Refusal of malformed numbers, before a theorem looks at them.

NaN is always refused. An infinite upper bound is an honest "nothing is known" and leads to
UNDECIDED; an infinite lower bound, or a negative norm, can only be a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from talweg._errors import InputError


def upper_bound(value: float, name: str, call: str) -> float:
    """`value` as a float >= 0, possibly inf.

    Args:
        value: an upper bound of a nonnegative quantity.
        name: the argument's name, for the message.
        call: the function's name, for the message.

    Raises:
        InputError: NaN, negative, or not a number.
    """
    x = _float(value, name, call)
    if not x >= 0.0:
        raise _refusal(name, call, "a number >= 0 (inf when no bound is known)", value)
    return x


def lower_bound(value: float, name: str, call: str) -> float:
    """`value` as a float below inf, possibly negative or -inf.

    Args:
        value: a lower bound of a real quantity.
        name: the argument's name, for the message.
        call: the function's name, for the message.

    Raises:
        InputError: NaN, +inf, or not a number.
    """
    x = _float(value, name, call)
    if not x < math.inf:
        raise _refusal(name, call, "a number below inf", value)
    return x


def positive(value: float, name: str, call: str) -> float:
    """`value` as a finite float > 0.

    Args:
        value: a step size, a constant.
        name: the argument's name, for the message.
        call: the function's name, for the message.

    Raises:
        InputError: anything else.
    """
    x = _float(value, name, call)
    if not 0.0 < x < math.inf:
        raise _refusal(name, call, "a finite number > 0", value)
    return x


def fraction(value: float, name: str, call: str) -> float:
    """`value` as a float strictly between 0 and 1.

    Args:
        value: the share given up to the step size.
        name: the argument's name, for the message.
        call: the function's name, for the message.

    Raises:
        InputError: anything else.
    """
    x = _float(value, name, call)
    if not 0.0 < x < 1.0:
        raise _refusal(name, call, "strictly between 0 and 1", value)
    return x


def assumed_names(names: Iterable[str], allowed: tuple[str, ...], call: str) -> frozenset[str]:
    """The set of hypotheses that the caller assumes.

    Args:
        names: argument names.
        allowed: the premises of the theorem.
        call: the function's name, for the message.

    Raises:
        InputError: a name that is no premise of the theorem.
    """
    chosen = frozenset((names,) if isinstance(names, str) else names)
    if not chosen <= frozenset(allowed):
        raise _refusal("assumed", call, f"names out of {allowed}", sorted(chosen - set(allowed)))
    return chosen


def _float(value: object, name: str, call: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refusal(name, call, "a float", value)
    try:
        x = float(value)
    except OverflowError:
        raise _refusal(name, call, "a float", value) from None
    if math.isnan(x) or (isinstance(value, int) and x != value):
        raise _refusal(name, call, "a number that a float holds exactly, not NaN", value)
    return x


def _refusal(name: str, call: str, requirement: str, got: object) -> InputError:
    return InputError(
        f"`{name}` of {call}() must be {requirement}; got {got!r} of type {type(got).__name__}. "
        "Pass a bound on the side that the name says (_upper, _lower)."
    )
