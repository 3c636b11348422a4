"""Norms at the stored weights that the Lipschitz bound starts from, against exact elimination."""

from __future__ import annotations

from collections.abc import Callable, Container

import torch
from flint import arb, arb_mat
from tests.soundness.containment.network_curvature import (
    Rows,
    asked,
    norm_is_at_most,
    squared_norm_is_at_most,
)
from tests.soundness.containment.network_draws import Drawn, Rng, drawn, precisions
from tests.soundness.containment.network_linearization import stage_values
from tests.soundness.shard import Shard, Tally
from torch import Tensor

from talweg.network import linearize
from talweg.network._weight_norms import weight_norms


def _weight_norms(rng: Rng) -> Tally:
    case = drawn(rng, most=3, rows=2, wild=0.03, depth=int(rng.choice([2, 3, 3, 4])))
    norms = weight_norms(linearize(case.network, case.inputs, case.multiplicity))
    open_: list[tuple[str, int, float, Callable[[], bool | None]]] = []
    truth: dict[str, list[Rows]] = {}

    def ask(name: str, bounds: Tensor, kind: Callable[[float, Rows], bool | None]) -> None:
        for i, bound in enumerate(bounds.tolist()):
            open_.append((name, i, bound, lambda b=bound, i=i: kind(b, truth[name][i])))

    for stage in range(1, len(norms.cotangent_z)):
        ask(f"G{stage}", norms.cotangent_z[stage], norm_is_at_most)
        ask(f"Gh{stage}", norms.cotangent_h[stage], norm_is_at_most)
        ask(f"h{stage}", norms.hidden[stage], norm_is_at_most)
        ask(f"W{stage}", torch.tensor([norms.weight[stage]], dtype=torch.float64), norm_is_at_most)
    for (c, a), bounds in norms.b0.items():
        ask(f"B{c},{a}", bounds, norm_is_at_most)
    for (a, b), bounds in norms.nu0.items():
        ask(f"nu{a}|{b}", bounds, squared_norm_is_at_most)
    total = len(open_)
    wrong: list[str] = []
    for _ in precisions():
        truth = _true_norms(case, norms.nu0)
        remaining = []
        for question in open_:
            name, i, bound, decide = question
            right = decide()
            if right is None:
                remaining.append(question)
            elif not right:
                wrong.append(f"weight_norms {name}[{i}] = {bound} for {case.line()}")
        open_ = remaining
        if not open_:
            break
    return Tally(total - len(open_), tuple(wrong), counts={"undecided": len(open_)})


def _true_norms(case: Drawn, pairs: Container[tuple[int, int]]) -> dict[str, list[Rows]]:
    """The matrices whose norms are bounded, and the Q of ``nu_{a|b}``, for every sample."""
    names, values = stage_values(case)
    at = dict(zip(names, values, strict=True))
    n = len(case.inputs)
    linear = [op for op in case.reference.operations if op["kind"] == "linear"]
    depth, k = len(linear), case.network.output_dim
    weights = [arb_mat(0, 0), *(case.reference.arrays[op["weight"]] for op in linear)]
    curved = [False] + [
        any(op["kind"] == "elementwise" and op["function"] != "identity" for op in between)
        for between in _between(case)
    ]
    truth: dict[str, list[Rows]] = {}

    def rows_of(name: str, i: int, rows: int) -> Rows:
        width = len(at[name]) // (n * rows)
        flat = at[name][i * rows * width : (i + 1) * rows * width]
        return [list(flat[r * width : (r + 1) * width]) for r in range(rows)]

    for stage in range(1, depth + 1):
        truth[f"G{stage}"] = [rows_of(f"cotangent_z{stage}", i, k) for i in range(n)]
        truth[f"Gh{stage}"] = [rows_of(f"cotangent_h{stage}", i, k) for i in range(n)]
        truth[f"h{stage}"] = [rows_of(f"h{stage}", i, 1) for i in range(n)]
        truth[f"W{stage}"] = [weights[stage].tolist()]
    for i in range(n):
        first = [rows_of(f"first{stage}", i, 1)[0] for stage in range(depth + 1)]
        second = [rows_of(f"second{stage}", i, 1)[0] for stage in range(depth + 1)]
        for a in range(1, depth + 1):
            width = len(first[a])
            p = arb_mat(width, width, [int(r == s) for r in range(width) for s in range(width)])
            stack: dict[int, Rows] = {}  # Q_c = P^T diag(s_c) P
            for c in range(a, depth + 1):
                columns = list(zip(*rows_of(f"cotangent_h{c}", i, k), strict=True))
                if curved[c]:
                    size = [
                        abs(d) * sum((x * x for x in column), arb(0)).nonnegative_part().sqrt()
                        for d, column in zip(second[c], columns, strict=True)
                    ]
                    rows = p.tolist()
                    stack[c] = [
                        [
                            sum((s * r[x] * r[y] for s, r in zip(size, rows, strict=True)), arb(0))
                            for y in range(width)
                        ]
                        for x in range(width)
                    ]
                b_rows = [[d * x for x in row] for d, row in zip(first[c], p.tolist(), strict=True)]
                truth.setdefault(f"B{c},{a}", []).append(b_rows)
                if c < depth:
                    p = weights[c + 1] * arb_mat(b_rows)
            for b in range(a, depth + 1):
                q = [
                    [sum((stack[c][x][y] for c in stack if c >= b), arb(0)) for y in range(width)]
                    for x in range(width)
                ]
                if (a, b) in pairs:
                    truth.setdefault(f"nu{a}|{b}", []).append(q)
    return truth


def _between(case: Drawn) -> list[list[dict[str, object]]]:
    """The entrywise operations behind each linear one."""
    groups: list[list[dict[str, object]]] = []
    for op in case.reference.operations:
        if op["kind"] == "linear":
            groups.append([])
        elif groups:
            groups[-1].append(dict(op))
    return groups


def weight_norms_batch(seed: int) -> Tally:
    """`weight_norms` of random chains."""
    return asked(seed, 55, 8, _weight_norms, "weight_norms")


SHARDS = (
    Shard(
        "containment/network.weight_norms",
        ("talweg.network._weight_norms",),
        100_000,
        weight_norms_batch,
    ),
)
