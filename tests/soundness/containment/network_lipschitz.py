"""The Lipschitz bound of the Jacobian (theory B3) against differences of Jacobians in Arb.

A case is a pair of points w, w' of the ball and a direction u of the outputs, together with the
direction v of the parameters that is worst for them: |u^T (J(w) - J(w'))| <= beta |u| |w - w'|.
Directions, points and u come from a float attack on the second derivative.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from flint import arb, arb_mat, ctx
from tests.soundness.chain_reference import exact
from tests.soundness.containment.draws import threads
from tests.soundness.containment.lipschitz_attack import (
    Direction,
    Floats,
    jacobians_approx,
    random_directions,
    second_derivative_approx,
    start_of,
    strongest,
)
from tests.soundness.containment.network_draws import Drawn, Rng, drawn, reference_of
from tests.soundness.shard import Shard, Tally

from talweg.network import (
    Elementwise,
    JacobianLipschitz,
    Linear,
    Network,
    Node,
    jacobian_lipschitz_upper,
    linearize,
)

RADII = (1e-9, 1e-6, 1e-3, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 1e3, 1e6, 1e9)
HUGE = (1e-300, 1e-100, 1e30, 1e100, 1e150, 1e200, 1e300)
EXTREME = 0.1
"""Share of chains with huge and tiny frozen weights; their balls are of every size."""

TIGHT = (0.5, 0.9, 0.99, 0.999999)
"""Quotients over beta that are counted: how close the attacks came."""

BITS = (160, 640, 2560)
INSIDE = 1.0 - 2.0**-40
"""Points are drawn in a ball smaller by this factor, so that rounding leaves them inside."""


class _Points:
    """Points w0 + R t with |t| <= 1, and the Jacobians there at the working precision."""

    def __init__(self, case: Drawn, radius: float) -> None:
        self._case = case
        self._start = start_of(case).tolist()
        self._radius = radius
        self._jacobians: dict[tuple[int, bytes], arb_mat] = {}

    def parameters(self, t: Floats) -> list[arb]:
        """w0 + R t."""
        r = arb(self._radius)
        return [arb(a) + r * b for a, b in zip(self._start, t.tolist(), strict=True)]

    def jacobian(self, t: Floats) -> arb_mat:
        """J(w0 + R t), not scaled."""
        key = ctx.prec, t.tobytes()
        if key not in self._jacobians:
            chain = self._case.reference.with_parameters(self.parameters(t))
            self._jacobians[key] = chain.jacobian(self._case.inputs.numpy())
        return self._jacobians[key]

    def excess(self, t: Floats, s: Floats, u: Floats, beta: float) -> tuple[arb, arb]:
        """|u^T (J - J')|^2 - (beta |u| |w - w'|)^2, and the second square."""
        difference = self.jacobian(t) - self.jacobian(s)
        k = self._case.network.output_dim
        roots = [m.sqrt() for m in self._case.weights]
        row = arb_mat(1, len(u), [x * roots[i // k] for i, x in enumerate(u.tolist())])
        change = sum((x * x for x in (row * difference).entries()), arb(0))
        distance = sum(
            ((arb(a) - b) ** 2 for a, b in zip(t.tolist(), s.tolist(), strict=True)), arb(0)
        )
        allowed = (exact(beta) * self._radius) ** 2 * distance
        allowed *= sum((arb(x) ** 2 for x in u.tolist()), arb(0))
        return change - allowed, allowed


def inside(t: Floats) -> bool:
    """Whether |t| <= 1, certainly."""
    with ctx.workprec(256):
        return bool(sum((arb(x) ** 2 for x in t.tolist()), arb(0)) <= 1)


def _extreme(rng: Rng) -> Drawn:
    """One unit a layer, weights over the whole range of floats, most of them frozen."""
    case = drawn(rng, depth=int(rng.integers(2, 6)), most=1, rows=1, wild=0.0, scales=False)
    nodes, trains = [], 0
    for node in case.network.nodes:
        op = node.operation
        if isinstance(op, Linear):
            first = not nodes
            weight = torch.full((1, 1), _magnitude(rng), dtype=torch.float64)
            bias = None if op.bias is None else torch.full_like(weight[0], _magnitude(rng))
            w = bool(rng.random() < 0.2) or (first and bias is None)
            b = bias is not None and bool(rng.random() < 0.3 or first)
            op = dataclasses.replace(
                op, weight=weight, bias=bias, weight_trainable=w, bias_trainable=b
            )
            trains += w + b
        nodes.append(Node(op, node.inputs))
    network = Network(tuple(nodes), 1, 1)
    return dataclasses.replace(case, network=network, reference=reference_of(network))


def _magnitude(rng: Rng) -> float:
    if rng.random() < 0.4:
        return float(rng.choice([0.0, 1.0, -1.0, 0.5]))
    return float(rng.choice([-1.0, 1.0])) * 10.0 ** float(rng.uniform(-300.0, 300.0))


def _case(rng: Rng) -> Drawn:
    """Chains for which the bound is often sharp, beside ordinary and extreme ones."""
    if rng.random() < EXTREME:
        return _extreme(rng)
    kind = int(rng.integers(6))
    if kind == 0:  # bilinear: the second derivative is constant
        return drawn(rng, depth=2, functions=("identity",), most=3, rows=3, wild=0.0)
    if kind == 1:  # few units, few samples
        return drawn(rng, depth=int(rng.integers(1, 5)), most=1, rows=1, wild=0.0)
    if kind == 2:
        return drawn(rng, depth=2, most=3, rows=2, wild=0.0)
    if kind == 3:
        return drawn(rng, depth=int(rng.integers(1, 4)), most=2, rows=2, wild=0.02)
    if kind == 4 and rng.random() < 0.2:
        return drawn(rng, depth=2, most=6, rows=5, wild=0.0)
    return drawn(rng, most=3, rows=3, wild=0.02)


def _bases(
    case: Drawn, rng: Rng, radius: float, at_start: Direction | None, p: int
) -> list[tuple[Floats, Direction | None]]:
    """Points t with the strongest direction there: the start, the most and the least curved."""
    start = start_of(case)
    known = [] if at_start is None else [at_start.delta]
    shell = [INSIDE * x for x in random_directions(rng, p, known)]
    shell.append(float(rng.random()) * shell[0])
    found: list[tuple[Floats, Direction | None]] = [(np.zeros(p), at_start)]
    candidates = []
    for t in shell[:: 2 if p > 20 else 1]:
        with np.errstate(all="ignore"):
            attack = strongest(second_derivative_approx(case, start + radius * t), rng, 1, 6)
        candidates.append((t, attack))
    candidates.sort(key=lambda pair: -(pair[1].value if pair[1] is not None else 0.0))
    return found + candidates[:1] + candidates[-1:]


def _partners(rng: Rng, t: Floats, attack: Direction | None) -> list[Floats]:
    """Other points of the ball: beside t along the worst direction, opposite, anywhere."""
    p = len(t)
    along = random_directions(rng, p)[0] if attack is None else attack.delta
    step = float(rng.choice([1e-3, 1e-6, 0.1]))
    found = [t * (1.0 - step) + (-step if along @ t > 0 else step) * INSIDE * along * 0.5]
    found.append(INSIDE * (-t if t.any() else along))
    found.append(-INSIDE * along)
    found += [INSIDE * float(rng.random()) * x for x in random_directions(rng, p)[:2]]
    return found


def _outputs(difference: Floats, attack: Direction | None, rng: Rng) -> list[Floats]:
    """Directions u: the best for this difference of Jacobians, the attack's, a random one."""
    found = [rng.standard_normal(len(difference))]
    if len(difference) == 1:
        return found  # the only one
    if attack is not None:
        found.append(attack.u)
    if np.isfinite(difference).all():
        found += list(np.linalg.svd(difference)[0].T[:2])
    return found


def _ask(case: Drawn, rng: Rng) -> Tally:
    total = Tally()
    p = case.network.trainable_parameters
    state = linearize(case.network, case.inputs, case.multiplicity)
    lipschitz = JacobianLipschitz(state)
    with np.errstate(all="ignore"):
        at_start = strongest(second_derivative_approx(case, start_of(case)), rng)
    extreme = len(case.inputs) == case.network.input_dim == 1 and rng.random() < 0.5
    for radius in rng.choice(RADII + HUGE if extreme else RADII, 2, replace=False).tolist():
        beta = lipschitz.upper(radius)
        if rng.random() < 0.02 and beta != jacobian_lipschitz_upper(state, radius):
            total += Tally(violations=(f"two values of beta({radius}) for {case.line()}",))
        if beta == np.inf:
            total += Tally(counts={"unbounded": 1})
            continue
        points = _Points(case, radius)
        for t, attack in _bases(case, rng, radius, at_start, p):
            partners = _partners(rng, t, attack)
            with np.errstate(all="ignore"):
                at = jacobians_approx(case, start_of(case) + radius * np.stack([t, *partners]))
                differences = at[0] - at[1:]
            for s, difference in zip(partners, differences, strict=True):
                if not (inside(t) and inside(s)):
                    total += Tally(counts={"outside": 1})
                    continue
                for u in _outputs(difference, attack, rng):
                    total += _decided(case, points, t, s, u, beta, radius)
    return total


def _decided(
    case: Drawn, points: _Points, t: Floats, s: Floats, u: Floats, beta: float, radius: float
) -> Tally:
    if not beta >= 0.0:
        return Tally(1, (f"beta({radius}) = {beta} for {case.line()}",))
    for bits in BITS:
        with ctx.workprec(bits):
            excess, allowed = points.excess(t, s, u, beta)
            if excess <= 0:
                quotient = (excess + allowed) / allowed if allowed > 0 else arb(0)
                return Tally(1, counts={f"above {x}": int(quotient > x * x) for x in TIGHT})
            if excess > 0:
                hexes = [[x.hex() for x in v.tolist()] for v in (t, s, u)]
                found = f"beta({radius.hex()}) = {beta.hex()}: excess {excess} of {allowed}"
                return Tally(1, (f"{found} at t, s, u = {hexes} for {case.line()}",))
    return Tally(counts={"undecided": 1})


def lipschitz_batch(seed: int, count: int = 4) -> Tally:
    """Pairs of points in two balls around each of `count` chains."""
    rng = np.random.default_rng([seed, 31])
    total = Tally()
    with threads(int(seed % 32 == 31)):
        for _ in range(count):
            case = _case(rng)
            try:
                total += _ask(case, rng)
            except Exception as error:
                total += Tally(tracebacks=(f"JacobianLipschitz: {error!r} for {case.line()}",))
    return total


def ideal_batch(seed: int, count: int = 6) -> Tally:
    """`nonideal_path` None: no softplus of the ball is driven beyond its threshold."""
    rng = np.random.default_rng([seed, 32])
    total = Tally()
    functions = ("softplus", "softplus", "softplus", "tanh", "identity")
    with threads(int(seed % 32 == 31)):
        for _ in range(count):
            case = drawn(rng, functions=functions, wild=0.0, most=3)
            try:
                total += _ask_ideal(case, rng)
            except Exception as error:
                total += Tally(tracebacks=(f"nonideal_path: {error!r} for {case.line()}",))
    return total


def _ask_ideal(case: Drawn, rng: Rng) -> Tally:
    total = Tally()
    operations = case.network.operations
    softplus = [
        (t, op)
        for t, op in enumerate(operations)
        if isinstance(op, Elementwise) and op.function == "softplus"
    ]
    lipschitz = JacobianLipschitz(linearize(case.network, case.inputs, case.multiplicity))
    radius = float(rng.choice([0.0, 1e-3, 0.1, 1.0, 3.0]))
    for _ in range(4):  # towards the largest ball for which something is claimed
        if not (radius > 0.0 and softplus) or lipschitz.nonideal_path(2.0 * radius) is not None:
            break
        radius *= 2.0
    path = lipschitz.nonideal_path(radius)
    if not softplus or path is not None:
        wrong = () if softplus else (f"nonideal_path = {path} without a softplus {case.line()}",)
        return Tally(0, wrong if path is not None else (), counts={"refused": 1})
    points = _Points(case, radius)
    p = case.network.trainable_parameters
    with np.errstate(all="ignore"):
        gradients = [x for x in jacobians_approx(case, start_of(case)[None])[0] if (x != 0.0).any()]
    known = [x for x in gradients if np.isfinite(x).all()][:3]
    known += list(rng.choice([-1.0, 1.0], (4, p)))
    with ctx.workprec(BITS[0]):
        for t in [INSIDE * x for x in random_directions(rng, p, known)[3:]]:
            if not inside(t):
                continue
            chain = case.reference.with_parameters(points.parameters(t))
            states = chain.states(case.inputs.numpy())
            for position, op in softplus:
                beta, threshold = op.parameters["beta"], op.parameters["threshold"]
                total += _below(
                    [beta * x for x in states[position].entries()],
                    threshold,
                    f"nonideal_path({radius}) = None at t={t} for {case.line()}",
                )
    return total


def _below(values: Sequence[arb], threshold: float, line: str) -> Tally:
    """One case for each value that is certainly below the threshold, or certainly not."""
    above = sum(bool(x >= threshold) for x in values)
    below = sum(bool(x < threshold) for x in values)
    return Tally(
        above + below,
        (line,) if above else (),
        counts={"undecided": len(values) - above - below},
    )


SHARDS = (
    Shard(
        "containment/network.JacobianLipschitz",
        ("talweg.network._lipschitz",),
        100_000,
        lipschitz_batch,
    ),
    Shard(
        "containment/network.nonideal_path",
        ("talweg.network._lipschitz",),
        100_000,
        ideal_batch,
    ),
)
