"""Rigorous arithmetic: every result is a set that holds the exact answer."""

from talweg.enclosure._ball import Ball, cat, stack
from talweg.enclosure._directed import (
    add_down,
    add_up,
    div_down,
    div_up,
    exact_float64,
    gamma,
    matmul_upper,
    mul_down,
    mul_up,
    norm_upper,
    row_norms_upper,
    sqrt_down,
    sqrt_up,
    sub_down,
    sub_up,
    sum_lower,
    sum_nonnegative_upper,
    sum_upper,
)
from talweg.enclosure._elementary import ArithmeticBackend, arithmetic_backend
from talweg.enclosure._elementwise import activation_names, elementwise, elementwise_orders
from talweg.enclosure._matmul import gram, matmul
from talweg.enclosure._scalar import Interval, certainly_at_most, certainly_less
from talweg.enclosure._sentinel import require_sound_arithmetic

__all__ = [
    "ArithmeticBackend",
    "Ball",
    "Interval",
    "activation_names",
    "add_down",
    "add_up",
    "arithmetic_backend",
    "cat",
    "certainly_at_most",
    "certainly_less",
    "div_down",
    "div_up",
    "elementwise",
    "elementwise_orders",
    "exact_float64",
    "gamma",
    "gram",
    "matmul",
    "matmul_upper",
    "mul_down",
    "mul_up",
    "norm_upper",
    "require_sound_arithmetic",
    "row_norms_upper",
    "sqrt_down",
    "sqrt_up",
    "stack",
    "sub_down",
    "sub_up",
    "sum_lower",
    "sum_nonnegative_upper",
    "sum_upper",
]
