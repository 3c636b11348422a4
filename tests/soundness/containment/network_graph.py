"""Graphs of every kind of operation (theory B6) against Arb: values, kernels, forms, Lipschitz.

A case of the Lipschitz bound is a point w of a ball and two directions: |D^2F(w)[x, y]| is at most
beta |x| |y|, and at most T_ab |x| |y| where they lie in the layers a and b. Points and directions
come from a float attack.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from flint import arb, arb_mat, ctx
from numpy.typing import NDArray
from tests.network.graph_dense import Dense, Quantities
from tests.network.random_graphs import Drawn, random_graph
from tests.soundness.chain_reference import exact
from tests.soundness.containment.draws import threads
from tests.soundness.containment.network_draws import bounded, enclosed
from tests.soundness.graph_reference import Array, Hyper, ReferenceGraph
from tests.soundness.shard import Shard, Tally
from torch import Tensor

from talweg.network import Network
from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network._graph_start import GraphStart, graph_start, reached
from talweg.network._graph_state import (
    GraphState,
    graph_jacobian_ball,
    graph_kernel_ball,
    graph_state,
)

Floats = NDArray[np.float64]
RADII = (0.0, 1e-9, 1e-6, 1e-3, 0.03, 0.1, 0.3, 1.0, 3.0, 30.0)
INSIDE = 1.0 - 2.0**-40
"""Points are drawn in a ball smaller by this factor, so that rounding leaves them inside."""

BITS = (160, 640)
TIGHT = (0.5, 0.9, 0.99, 0.999999)
"""Quotients over a bound that are counted: how close the attacks came."""

UNDER_TEST = (
    "talweg.network._graph_state", "talweg.network._graph_start", "talweg.network._graph_forms",
    "talweg.network._graph_lipschitz", "talweg.network.rules",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Case:
    """A random graph, its reference and its float twin."""

    seed: int
    graph: Drawn
    rng: random.Random

    @cached_property
    def reference(self) -> ReferenceGraph:
        return ReferenceGraph(self.graph.network)

    @cached_property
    def dense(self) -> Dense:
        return Dense(self.graph)

    @cached_property
    def state(self) -> GraphState:
        return graph_state(self.graph.network, self.graph.X, self.graph.multiplicity)

    @cached_property
    def start(self) -> Floats:
        return np.asarray(self.dense.function.start.numpy())

    def line(self) -> str:
        """Everything needed to draw it again."""
        return f"network_graph._case({self.seed})"

    def parameters(self, numbers: Sequence[Hyper]) -> dict[tuple[int, str], Array]:
        """One number for each entry of the trained tensors, handed to every use."""
        network, parts, start = self.graph.network, {}, 0
        for slot in network.trainable_slots():
            entries = np.empty(slot.tensor.numel(), dtype=object)
            entries[:] = numbers[start : start + len(entries)]
            parts[slot.name] = entries.reshape(tuple(slot.tensor.shape))
            start += len(entries)
        return {(t, field): parts[name] for t, field, name, _ in self.dense.slots}

    def outputs(
        self, own: Mapping[tuple[int, str], Array], shifts: Mapping[int, Array] | None = None
    ) -> Iterator[list[Hyper]]:
        """Row by row, scaled by the roots of the multiplicities."""
        for row, count in zip(
            self.graph.X.flatten(1).tolist(), self.graph.multiplicity.tolist(), strict=True
        ):
            last = self.reference.values(row, own, shifts)[-1]
            yield [y * arb(count).sqrt() for y in last.tolist()]

    def columns(self) -> list[list[arb]]:
        """Columns of the scaled Jacobian, two for each evaluation."""
        p = len(self.start)
        found: list[list[arb]] = []
        for j in range(0, p, 2):
            numbers = [
                Hyper(arb(x), int(i == j), int(i == j + 1))
                for i, x in enumerate(self.start.tolist())
            ]
            rows = [y for row in self.outputs(self.parameters(numbers)) for y in row]
            found.append([arb(0) + y.b for y in rows])
            if j + 1 < p:
                found.append([arb(0) + y.c for y in rows])
        return found


def _case(seed: int) -> _Case:
    """A random graph; one in four has tensors of other sizes, one in ten of extreme ones."""
    rng = random.Random(seed)
    graph = random_graph(seed, most=rng.randint(2, 7), samples=rng.choice([1, 2, 2, 3]))
    span = rng.choice([0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 100.0]) * (rng.random() < 0.35)
    if span:
        names = {slot.name: slot.tensor for slot in graph.network.slots()}
        for name, tensor in names.items():
            if not name.endswith("variance"):
                tensor.mul_(10.0 ** rng.uniform(-span, span))
    return _Case(seed, graph, rng)


# -- values and kernels ----------------------------------------------------------------------------


def _ask_values(case: _Case) -> Tally:
    state = case.state
    asked = [(f"node {t}", visit.value) for t, visit in enumerate(state.visits)]

    def answers() -> list[list[arb]]:
        rows = [case.reference.values(row, {}) for row in case.graph.X.flatten(1).tolist()]
        return [
            [y.a for row in rows for y in row[t].reshape(-1).tolist()]
            for t in range(len(state.visits))
        ]

    return enclosed("graph_state", asked, answers, case.line)


def _names(network: Network) -> list[str]:
    return [s.name for s in network.trainable_slots() for _ in range(s.tensor.numel())]


def _ask_kernels(case: _Case) -> Tally:
    state, network = case.state, case.graph.network
    order: dict[str, None] = {}
    for group in state.groups:
        for t in group:
            order.update(
                {s.name: None for s in network.nodes[t].operation.slots() if s.trainable}
            )  # fmt: skip
    names = _names(network)
    places = [i for name in order for i, own in enumerate(names) if own == name]

    def answers() -> list[list[arb]]:
        columns = case.columns()
        size = len(columns[0])
        jacobian = arb_mat(size, len(places), [columns[j][i] for i in range(size) for j in places])
        return [(jacobian * jacobian.transpose()).entries(), jacobian.entries()]

    asked = [("kernel", graph_kernel_ball(state)), ("jacobian", graph_jacobian_ball(state))]
    return enclosed("graph", asked, answers, case.line)


# -- forms at the stored weights -------------------------------------------------------------------


def _top(form: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Directions x, y of a form (N, p, q) that are worst, or nearly."""
    x, y = rng.standard_normal(form.shape[1]), rng.standard_normal(form.shape[2])
    for _ in range(int(rng.choice([0, 4, 20, 20]))):
        u = _unit(np.einsum("npq,p,q->n", form, x, y))
        x = _unit(np.einsum("npq,n,q->p", form, u, y))
        y = _unit(np.einsum("npq,n,p->q", form, u, x))
    return _unit(x), _unit(y)


def _unit(x: Floats) -> Floats:
    norm = float(np.linalg.norm(x))
    return x / norm if 0.0 < norm < np.inf else np.eye(1, len(x))[0]


def _length(x: Floats) -> arb:
    return sum((arb(y) ** 2 for y in x.tolist()), arb(0))


def _ask_forms(case: _Case) -> Tally:
    """``|v Z_ab(x)|`` for each sample against the norm of Z, from the values and the weights."""
    start, dense = graph_start(case.state), case.dense
    at = dense.at(dense.function.start)
    rng = np.random.default_rng([case.seed, 1])
    total = Tally()
    pairs = sorted(start.by_value)
    case.rng.shuffle(pairs)
    for a, b in pairs[:6]:
        z = at.second[:, :, dense.shift_of(a)][:, :, :, dense.use[b]].numpy()
        i = int(rng.integers(len(z)))
        if not np.isfinite(z).all():
            continue
        x, v = _top(z[i], rng)
        bound = float(start.by_value[a, b][i])

        def excess(
            a: int = a, b: int = b, i: int = i, x: Floats = x, v: Floats = v, bound: float = bound
        ) -> list[arb]:
            own = _moved_weights(case, b, v)
            shift = np.empty(len(x), dtype=object)
            shift[:] = [Hyper(arb(0), arb(y)) for y in x.tolist()]
            rows = list(case.outputs(own, {a: shift.reshape(dense.shapes[a])}))
            square = sum(((arb(0) + y.d) ** 2 for y in rows[i]), arb(0))
            return [square - exact(bound) ** 2 * _length(x) * _length(v)]

        total += bounded(f"|Z {a},{b}|", [bound], excess, case.line)
    return total + _weight_forms(case, start, at.second, rng)


def _weight_forms(case: _Case, start: GraphStart, second: Tensor, rng: Any) -> Tally:
    """``|v Z_ab(E_a x)|`` over all samples against the norm of the stacked maps."""
    total = Tally()
    norms = {**start.by_weight, **start.by_rows}
    pairs = sorted(norms)
    case.rng.shuffle(pairs)
    for a, b in pairs[:6]:
        (e,) = case.graph.network.nodes[a].inputs
        if a != b and e > 0 and reached(case.state, b)[e - 1]:
            continue  # what b moves is multiplied by a: Z_ab is not the whole of that pair
        form = second[:, :, case.dense.use[a]][:, :, :, case.dense.use[b]].flatten(0, 1).numpy()
        if not np.isfinite(form).all():
            continue
        x, v = _top(form, rng)
        bound = float(norms[a, b])

        def excess(
            a: int = a, b: int = b, x: Floats = x, v: Floats = v, bound: float = bound
        ) -> list[arb]:
            rows = case.outputs(_moved_weights(case, b, v, (a, x)))
            square = sum(((arb(0) + y.d) ** 2 for row in rows for y in row), arb(0))
            return [square - exact(bound) ** 2 * _length(x) * _length(v)]

        total += bounded(f"|Z {a},{b} E|", [bound], excess, case.line)
    return total


def _moved_weights(
    case: _Case, b: int, v: Floats, first: tuple[int, Floats] | None = None
) -> dict[tuple[int, str], Array]:
    """The trained tensors of node b, moved by the second infinitesimal times v.

    Those of another or the same node, `first`, are moved by the first one.
    """
    own: dict[tuple[int, str], Array] = {}
    places = {b: 0} if first is None else {b: 0, first[0]: 0}
    for t, field, name, shape in case.dense.slots:
        if t not in places:
            continue
        stored = _stored(case.graph.network, name)
        here = slice(places[t], places[t] + len(stored))
        nothing = [0.0] * len(stored)
        one = first[1][here].tolist() if first is not None and t == first[0] else nothing
        two = v[here].tolist() if t == b else nothing
        entries = np.empty(len(stored), dtype=object)
        entries[:] = [
            Hyper(arb(w), arb(x), arb(y)) for w, x, y in zip(stored, one, two, strict=True)
        ]
        own[t, field] = entries.reshape(tuple(shape))
        places[t] += len(stored)
    return own


def _stored(network: Network, name: str) -> list[float]:
    tensor = next(slot.tensor for slot in network.trainable_slots() if slot.name == name)
    return [float(x) for x in tensor.double().reshape(-1).tolist()]


# -- the Lipschitz bound ---------------------------------------------------------------------------


def _blocks(case: _Case) -> list[list[int]]:
    """Positions in w of each group of layers."""
    names = _names(case.graph.network)
    found = []
    for group in case.state.groups:
        slots = [s for t in group for s in case.graph.network.nodes[t].operation.slots()]
        own = {s.name for s in slots if s.trainable}
        found.append([i for i, name in enumerate(names) if name in own])
    return found


def _whole(case: _Case, at: Quantities) -> Floats:
    """Second derivatives by the weights, ``(N, p, p)``."""
    p = len(case.start)
    spread = torch.stack([case.dense.by_use(e) for e in torch.eye(p, dtype=torch.float64)])
    own = at.second[:, :, : case.dense.parameters, : case.dense.parameters].flatten(0, 1)
    return np.asarray(torch.einsum("nab,pa,qb->npq", own, spread, spread).numpy())


def _ask_lipschitz(case: _Case) -> Tally:
    total = Tally()
    lipschitz = GraphLipschitz(case.state)
    rng = np.random.default_rng([case.seed, 2])
    blocks = _blocks(case)
    top: Floats | None = None
    for radius in case.rng.sample(RADII, 2):
        matrix: Tensor = lipschitz.layer_matrix_upper(radius)
        beta = lipschitz.upper(radius)
        steps = [rng.standard_normal(len(case.start))] + ([] if top is None else [top, -top])
        for step in steps[: 1 if radius == 0.0 else 2]:
            t = INSIDE * _unit(step)
            w = torch.from_numpy(case.start + radius * t)
            form = _whole(case, case.dense.at(w))
            if not np.isfinite(form).all():
                total += Tally(counts={"overflow": 1})
                continue
            x, y = _top(form, rng)
            top = x
            total += _decided(case, radius, t, x, y, beta, "beta")
            for _ in range(3):
                g, h = rng.integers(len(blocks), size=2).tolist()
                part = form[:, blocks[g]][:, :, blocks[h]]
                left, right = _top(part, rng)
                x, y = np.zeros(len(case.start)), np.zeros(len(case.start))
                x[blocks[g]], y[blocks[h]] = left, right
                name = f"T[{g}, {h}]"
                total += _decided(case, radius, t, x, y, float(matrix[g, h]), name)
    return total


def _decided(
    case: _Case, radius: float, t: Floats, x: Floats, y: Floats, bound: float, name: str
) -> Tally:
    if bound == np.inf:
        return Tally(counts={"unbounded": 1})
    where = f"{name}({radius.hex()}) = {bound.hex()}"
    if not bound >= 0.0:
        return Tally(1, (f"{where} for {case.line()}",))
    for bits in BITS:
        with ctx.workprec(bits):
            numbers = [
                Hyper(arb(w) + arb(radius) * arb(s), arb(a), arb(b))
                for w, s, a, b in zip(
                    case.start.tolist(), t.tolist(), x.tolist(), y.tolist(), strict=True
                )
            ]
            rows = case.outputs(case.parameters(numbers))
            square = sum(((arb(0) + o.d) ** 2 for row in rows for o in row), arb(0))
            allowed = exact(bound) ** 2 * _length(x) * _length(y)
            if square <= allowed:
                quotient = square / allowed if allowed > 0 else arb(0)
                return Tally(1, counts={f"above {q}": int(quotient > q * q) for q in TIGHT})
            if square > allowed:
                hexes = [[z.hex() for z in v.tolist()] for v in (t, x, y)]
                found = f"{where}: {square} above {allowed}"
                return Tally(1, (f"{found} at t, x, y = {hexes} for {case.line()}",))
    return Tally(counts={"undecided": 1})


# -- batches ---------------------------------------------------------------------------------------


def _batch(seed: int, stream: int, count: int, ask: Any) -> Tally:
    total = Tally()
    with threads(int(seed % 32 == 31)):
        for j in range(count):
            case = _case(1_000_000 * stream + 100 * seed + j)
            try:
                total += ask(case)
            except Exception as error:
                total += Tally(tracebacks=(f"{ask.__name__}: {error!r} for {case.line()}",))
    return total


def values_batch(seed: int) -> Tally:
    """Every node of some graphs."""
    return _batch(seed, 1, 120, _ask_values)


def kernels_batch(seed: int) -> Tally:
    """Kernel and Jacobian of some graphs."""
    return _batch(seed, 2, 60, _ask_kernels)


def forms_batch(seed: int) -> Tally:
    """Maps from values to derivatives by weights, of some graphs."""
    return _batch(seed, 3, 60, _ask_forms)


def lipschitz_batch(seed: int) -> Tally:
    """Points of two balls around each of some graphs."""
    return _batch(seed, 4, 30, _ask_lipschitz)


SHARDS = (
    Shard("containment/network.graph_values", UNDER_TEST, 100_000, values_batch),
    Shard("containment/network.graph_kernels", UNDER_TEST, 100_000, kernels_batch),
    Shard("containment/network.graph_forms", UNDER_TEST, 10_000, forms_batch),
    Shard("containment/network.GraphLipschitz", UNDER_TEST, 30_000, lipschitz_batch),
)
