"""One operation at a time with random data, and its derivatives by automatic differentiation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from tests.network.random_graphs import ADDERS, INPUTS, ROWS, Builder
from torch import Tensor
from torch.func import jacfwd, jacrev, vmap

from talweg.enclosure import Ball
from talweg.network._apply import applied_approx
from talweg.network._graph import Operation, Parametric, Shape
from talweg.network.rules import RULES, Rule, Visit

SAMPLES = 2


@dataclass(frozen=True, eq=False)
class Case:
    """An operation with what it reads.

    Attributes:
        operation: The operation.
        shapes: Shapes of what it reads, without the batch.
        shape: Shape of its value.
        inputs: What it reads, ``(n, *shape)`` each.
        generator: For everything random that a test wants.
    """

    operation: Operation
    shapes: tuple[Shape, ...]
    shape: Shape
    inputs: tuple[Tensor, ...]
    generator: torch.Generator

    @cached_property
    def rule(self) -> Rule:
        return RULES[self.operation.kind](self.operation, self.shapes, self.shape)

    @cached_property
    def visit(self) -> Visit:
        return self.rule.visit(tuple(Ball.exact(x) for x in self.inputs))

    @property
    def parameters(self) -> tuple[Tensor | None, Tensor | None]:
        if not isinstance(self.operation, Parametric):
            return None, None
        return self.operation.weight, self.operation.bias

    @cached_property
    def sizes(self) -> list[int]:
        return [x[0].numel() for x in self.inputs]

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def split(self, joined: Tensor) -> list[Tensor]:
        """``(..., d_1 + d_2)`` -> ``(..., *shape)`` for each input."""
        parts = torch.split(joined, self.sizes, -1)
        return [p.reshape(*p.shape[:-1], *s) for p, s in zip(parts, self.shapes, strict=True)]

    def joined(self, parts: Sequence[Tensor], lead: int) -> Tensor:
        """The inverse of `split`, `lead` axes kept."""
        return torch.cat([p.reshape(*p.shape[:lead], -1) for p in parts], -1)

    def value(self, inputs: Sequence[Tensor], weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """By torch, ``(n, *shape)``."""
        return applied_approx(self.operation, inputs, weight, bias)

    def _flat(self, joined: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        parts = [p[None] for p in self.split(joined)]
        return self.value(parts, weight, bias)[0].reshape(-1)

    def slopes_at(self, inputs: Sequence[Tensor], weight: Tensor | None) -> Tensor:
        """``(n, d_out, d_1 + d_2)``."""
        _, bias = self.parameters
        return vmap(jacfwd(lambda x: self._flat(x, weight, bias)))(self.joined(inputs, 1))

    def second_at(self, inputs: Sequence[Tensor]) -> Tensor:
        """``(n, d_out, D, D)``, D the entries of all inputs."""
        # Forward over reverse: torch gets forward over forward wrong for its layer_norm.
        one = jacfwd(jacrev(lambda x: self._flat(x, *self.parameters)))
        return vmap(one)(self.joined(inputs, 1))


def cases(kind: str, count: int) -> list[Case]:
    """Random operations of one kind.

    Args:
        kind: A key of the rules.
        count: How many.
    """
    found: list[Case] = []
    seed = 0
    while len(found) < count:
        seed += 1
        rng = random.Random(1000 * seed + len(kind))
        shape = rng.choice(INPUTS)
        b = Builder(rng, shape)
        place = 0
        if rng.random() < 0.5:  # so that there are other values to read
            ADDERS["scale"](b, 0)
            place = 1
        at = ADDERS[kind](b, place)
        if at is None:
            continue
        node = b.nodes[-1]
        shapes = tuple(b.shapes[e] for e in node.inputs)
        if kind == "embedding":
            inputs: tuple[Tensor, ...] = (
                torch.randint(0, ROWS, (SAMPLES, *shape), generator=b.torch).to(torch.float64),
            )
        else:
            inputs = tuple(b.normal(SAMPLES, *b.shapes[e]) for e in node.inputs)
        found.append(Case(node.operation, shapes, b.shapes[at], inputs, b.torch))
    return found


def trilinear(form: Tensor, generator: torch.Generator, *, starts: int = 4) -> float:
    """A strong lower estimate of ``sup |form[u, x, y]|`` over unit vectors; form ``(k, p, q)``."""
    _, p, q = form.shape
    if not form.numel() or float(form.abs().amax()) == 0.0:
        return 0.0
    x = torch.randn(starts, p, generator=generator, dtype=torch.float64)
    y = torch.randn(starts, q, generator=generator, dtype=torch.float64)
    value = torch.zeros(starts, dtype=torch.float64)
    for _ in range(30):
        u = _unit(torch.einsum("kpq,sp,sq->sk", form, x, y))
        x = _unit(torch.einsum("kpq,sk,sq->sp", form, u, y))
        image = torch.einsum("kpq,sk,sp->sq", form, u, x)
        before, value = value, image.norm(dim=1)
        y = _unit(image)
        if float((value - before).abs().amax()) <= 1e-6 * float(value.amax()):
            break
    return float(value.amax())


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-300)
