"""The float64 program of T9 as PyTorch runs it, its iterates judged in Arb.

Iterates are float64 numbers, so Arb evaluates their losses and exact gradients without any growth
of balls. The rounding error of a step is what the claim `gradient_error_upper` bounds:

    |G - grad f(w)| + |w+ - (w - lr G)| / lr  <=  gradient_error_upper,    G as computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from flint import arb, ctx
from torch import Tensor
from torch.nn import functional

from talweg.falsification._board import PRECISIONS, Board, Effort, ratio_approx
from talweg.falsification._chain import FloatChain
from talweg.falsification._course import PATH, RADIUS, RATE, STATEMENTS, Course, Iterate
from talweg.falsification._descent import exact_cost
from talweg.falsification._exact import ExactChain, norm
from talweg.falsification._result import Violation
from talweg.falsification._stated import Layer, Stated

ROUNDING = "rounding of a step"
_ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": lambda x: x}


def attack_float64_program(
    found: Stated, chain: FloatChain, exact: ExactChain, board: Board, effort: Effort,
    generator: torch.Generator,
) -> None:  # fmt: skip
    """The run from w0, and single steps from further points of the ball."""
    board.say("running the float64 program")
    steps = max(3, min(20 * effort.exact_steps, int(effort.exact_seconds / exact_cost(found))))
    with board.timed(RATE, RADIUS, PATH), ctx.workprec(PRECISIONS[0]):
        _judge_run(found, chain, exact, board, steps)
    if board.over():
        return
    with board.timed(ROUNDING), ctx.workprec(PRECISIONS[0]):
        for _ in range(max(1, min(effort.restarts, steps))):
            x = torch.randn(chain.size, generator=generator, dtype=torch.float64)
            size = float(torch.rand((), generator=generator, dtype=torch.float64))
            w = chain.start() + x / x.norm() * (size * found.claims["radius"])
            _judge_rounding(found, exact, board, w, *_one_step(found, chain, w))
            if board.over():
                return


def _judge_run(
    found: Stated, chain: FloatChain, exact: ExactChain, board: Board, steps: int
) -> None:
    p, q = found.loss.factor
    start = exact.start()
    before, gradient = chain.start(), torch.empty(0)
    course, path = None, arb(0)
    for w, computed in _program(found, chain, steps):
        exact_w = _exactly(w)
        loss = found.loss.exact_value(exact.outputs(exact_w)) * p / q
        distance = norm([a - b for a, b in zip(exact_w, start, strict=True)])
        if course is None:
            course = Course(found, arb, certified=True, first=Iterate(loss, distance, path))
        else:
            path += norm([a - b for a, b in zip(exact_w, _exactly(before), strict=True)])
            for name, left, right in course.step(Iterate(loss, distance, path)):
                _compare(board, name, STATEMENTS[name], left, right, {
                    "step_size": found.claims["step_size"], "step": float(course.k),
                }, {"weights": w})  # fmt: skip
            _judge_rounding(found, exact, board, before, gradient, w)
        before, gradient = w, computed
        if not course.running or board.over():
            return


def _judge_rounding(
    found: Stated, exact: ExactChain, board: Board, w: Tensor, computed: Tensor, after: Tensor
) -> None:
    """One step, where the claim speaks of it."""
    p, q = found.loss.factor
    exact_w, exact_after, start = _exactly(w), _exactly(after), exact.start()
    outputs, gradient = exact.pull(exact_w, found.loss.exact_slope)
    distance = norm([a - b for a, b in zip(exact_w, start, strict=True)])
    residual = found.loss.exact_value(outputs).sqrt()
    if not distance <= arb(found.claims["radius"]):
        return
    if not residual <= arb(found.claims["residual_norm_upper"]):
        return
    lr, programmed = arb(found.claims["step_size"]), _exactly(computed)
    error = norm([c - g * p / q for c, g in zip(programmed, gradient, strict=True)])
    update = norm([
        b - (a - lr * c) for a, b, c in zip(exact_w, exact_after, programmed, strict=True)
    ])  # fmt: skip
    _compare(
        board, ROUNDING, "a float64 step is further from exact descent than gradient_error_upper",
        error + update / lr, arb(found.claims["gradient_error_upper"]),
        {"step_size": found.claims["step_size"]}, {"weights": w, "gradient": computed},
    )  # fmt: skip


def _compare(
    board: Board, name: str, statement: str, left: Any, right: Any,
    numbers: dict[str, float], arrays: dict[str, Tensor],
) -> None:  # fmt: skip
    board.compared(name, ratio_approx(left, right))
    if left > right and board.violation is None:
        board.violation = Violation(
            name, statement, float(left.mid()), float(right.mid()), PRECISIONS[0], numbers, arrays
        )


def _program(found: Stated, chain: FloatChain, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterates with the gradients computed there."""
    w = chain.start()
    for _ in range(steps + 1):
        gradient, after = _one_step(found, chain, w)
        yield w, gradient
        w = after


def _one_step(found: Stated, chain: FloatChain, w: Tensor) -> tuple[Tensor, Tensor]:
    """The flat gradient that backpropagation computes, and the weights after SGD's update."""
    leaves: list[Tensor] = []
    at = 0
    h, target = found.all_rows
    h = h.to(torch.float64)
    for op in found.operations:
        if not isinstance(op, Layer):
            h = _ACTIVATIONS[op.name](h)
            continue
        weight, bias = op.weight, op.bias
        if op.trains_weight:
            weight = _leaf(w[at : at + weight.numel()], weight, leaves)
            at += weight.numel()
        if op.trains_bias and bias is not None:
            bias = _leaf(w[at : at + bias.numel()], bias, leaves)
            at += bias.numel()
        h = functional.linear(h, weight, bias)
    p, q = found.loss.factor
    if q == h.numel():
        loss = functional.mse_loss(h, target)
    else:
        loss = functional.mse_loss(h, target, reduction="sum")
        loss = loss if p == q else 0.5 * loss
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [t.grad for t in leaves if t.grad is not None]
    with torch.no_grad():
        for leaf, part in zip(leaves, gradients, strict=True):
            leaf.add_(part, alpha=-found.claims["step_size"])  # what torch.optim.SGD does
    flat = torch.cat([part.reshape(-1) for part in gradients])
    return flat, torch.cat([leaf.detach().reshape(-1) for leaf in leaves])


def _leaf(part: Tensor, like: Tensor, leaves: list[Tensor]) -> Tensor:
    leaf = part.detach().clone().reshape(like.shape).requires_grad_(True)
    leaves.append(leaf)
    return leaf


def _exactly(w: Tensor) -> list[Any]:
    return [arb(x) for x in w.tolist()]
