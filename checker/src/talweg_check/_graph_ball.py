"""How far values, derivatives and cotangents of a graph move on the ball B(w0, R), as B6 has it.

At w0, D_t is at most `stretch` for each slot, and hat_ta >= |P_ta0|. On the ball
eta_t >= |v_t - v_t0|, delta_t >= |D_t - D_t0|, gamma_t >= |G_t - G_t0|, pi_ta >= |P_ta - P_ta0|,
and `growth` what a curved operation gains. Every one is an array (n,), one number for each sample.
"""

from __future__ import annotations

from functools import cache

from flint import arb

from talweg_check._arrays import Balls, full, root_upper
from talweg_check._graph import GraphNetwork, zeros
from talweg_check._graph_algebra import operator_norms_upper
from talweg_check._graph_start import Start


class Sizes:
    """Norms at w0 of single operations, and of paths from trained ones."""

    def __init__(self, net: GraphNetwork) -> None:
        self.net = net
        self.order = sorted(net.moves)
        self.g_norm = cache(self._g_norm)
        self.stretch = {
            t: net.kind(t).stretches(net.states[t])
            if any(e in net.moves for e in net.reads[t])
            else []
            for t in self.order
        }
        self.hat = {a: self._hat(a) for a in net.at}

    def _g_norm(self, t: int) -> Balls:
        g = self.net.g[t]
        return operator_norms_upper(g.reshape(*g.shape[:2], -1))

    def _hat(self, a: int) -> dict[int, Balls]:
        hat = {a: full(self.net.samples, 1)}
        for t in self.order:
            if t > a and t in self.net.reached[a]:
                hat[t] = zeros(self.net.samples)
                for slot, e in enumerate(self.net.reads[t]):
                    if e in hat:
                        hat[t] = hat[t] + self.stretch[t][slot] * hat[e]
        return hat


class Moved:
    """The quantities that hold on B(w0, R)."""

    def __init__(self, start: Start, sizes: Sizes, radius: arb) -> None:
        self.start, self.sizes, self.net, self.pairs = start, sizes, start.net, start.pairs
        self._forwards(radius)
        self._backwards()
        self.pi = {a: self._pi(a) for a in self.net.at}
        self.growth = {
            c: self.start.kind(c).growth(
                self.net.states[c], self.start.forms[c], self.gamma[c], self.ball[c]
            )
            for c in self.start.curved
        }

    def _forwards(self, radius: arb) -> None:
        """eta and delta, and what the curved operations keep of the ball."""
        nothing = zeros(self.net.samples)
        self.eta: dict[int, Balls] = {}
        self.delta: dict[int, list[Balls]] = {}
        self.ball: dict[int, Balls] = {}
        for t in self.sizes.order:
            etas = [self.eta.get(e, nothing) for e in self.net.reads[t]]
            found = self.net.kind(t).drift(self.net.states[t], etas, radius)
            self.eta[t], self.delta[t], self.ball[t] = found

    def _backwards(self) -> None:
        """gamma, from the output."""
        self.gamma = {t: zeros(self.net.samples) for t in self.sizes.order}
        for t in reversed(self.sizes.order):
            for slot, e in enumerate(self.net.reads[t]):
                if e in self.gamma:
                    delta = self.delta[t][slot]
                    reach = self.sizes.stretch[t][slot] + delta
                    self.gamma[e] = self.gamma[e] + self.gamma[t] * reach
                    if not all(entry == 0 for entry in delta):
                        self.gamma[e] = self.gamma[e] + self.sizes.g_norm(t) * delta

    def _pi(self, a: int) -> dict[int, Balls]:
        hat, pi = self.sizes.hat[a], {a: zeros(self.net.samples)}
        for t in hat:
            if t > a:
                pi[t] = zeros(self.net.samples)
                for slot, e in enumerate(self.net.reads[t]):
                    if e in hat:
                        delta = self.delta[t][slot]
                        reach = self.sizes.stretch[t][slot] + delta
                        pi[t] = pi[t] + reach * pi[e] + delta * hat[e]
        return pi

    def _size(self, a: int) -> Balls:
        """epsilon_a(R)."""
        e = self.net.reads[a][0]
        size: Balls = self.net.states[a][0]
        return size + self.net.parametric(a).slack * self.eta[e] if e in self.eta else size

    def _at(self, c: int, a: int) -> tuple[Balls, Balls]:
        """hat and pi of all inputs of c together."""
        parts = []
        for numbers in (self.sizes.hat[a], self.pi[a]):
            squares = [numbers[e] * numbers[e] for e in self.net.reads[c] if e in numbers]
            parts.append(root_upper(sum(squares[1:], squares[0])))
        return parts[0], parts[1]
