"""Which pairs of trained operations have a second derivative, and by which maps it is bounded."""

from __future__ import annotations

import numpy as np

from talweg_check._graph import GraphNetwork
from talweg_check._graph_columns import ORDER
from talweg_check._graph_rows import COLUMNS
from talweg_check.kinds._kind import Curved, entries
from talweg_check.kinds.embedding import Embedding

FORMED = 2**21  # entries of all tangents up to which maps are formed for several outputs
DIRECTIONS = 5  # trained numbers by entry of the value up to which they bound together
Chosen = frozenset[int]


class Pairs:
    """Pairs of one graph.

    `weighted`: trained operations whose weight multiplies something that moves; `curved`:
    operations with a second derivative on what moves.
    """

    def __init__(self, net: GraphNetwork) -> None:
        self.net = net
        self.weighted = [
            b
            for b in net.at
            if net.parametric(b).trains["weight"]
            and net.parametric(b).overlap
            and net.reads[b][0] in net.moves
        ]
        self.curved = [
            c for c in sorted(net.moves)
            if net.kind(c).curved and all(e in net.moves for e in net.reads[c])
        ]  # fmt: skip

    def kind(self, c: int) -> Curved:
        """The operation with an index, which is curved."""
        found = self.net.kinds[c]
        if not isinstance(found, Curved):
            raise TypeError("the operation has no second derivative")
        return found

    def both(self, a: int, b: int) -> Chosen:
        """S: the curved operations reached from both."""
        return frozenset(self.net.reached[a] & self.net.reached[b] & set(self.curved))

    def multiplied(self, a: int, b: int) -> bool:
        """Whether the weight of b trains and multiplies what a moves."""
        return b in self.weighted and self.net.reads[b][0] in self.net.reached[a]

    def joined(self, a: int, b: int) -> bool:
        """Whether anything is to be bounded."""
        return bool(self.both(a, b)) or self.multiplied(a, b) or self.multiplied(b, a)

    def maps(self, a: int, b: int) -> list[tuple[int, int]]:
        """The (a, b) or (b, a) whose map Z bounds the pair, a not behind b."""
        found = [(a, b)]
        if a != b and not self.multiplied(a, b):
            found.append((b, a))
        return [(one, two) for one, two in found if self.formed(one)] if self.joined(a, b) else []

    def factored(self, a: int, b: int) -> bool:
        """Whether the pair is bounded by products of norms, a not behind b.

        Only for several outputs, and where no map is made or nothing curved follows: then a map
        counts every output alike.
        """
        if self.net.outputs == 1 or not self.joined(a, b):
            return False
        return not (self.both(a, b) and self.maps(a, b))

    def formed(self, a: int) -> bool:
        """Whether maps from a are made. The outputs count as they are, whatever their frame."""
        if self.net.outputs == 1:
            return True
        sizes = {t: entries(self.net.kind(t).shape) for t in self.net.at}
        own = self.trained_numbers(a) if self.narrow(a) else sizes[a]
        return bool(self.net.outputs * own * max(sizes.values()) <= FORMED)

    def by_weight(self, a: int) -> bool:
        """Whether those maps are bounded on the trained numbers of a, for all samples together."""
        most = DIRECTIONS * entries(self.net.kind(a).shape)
        return self.positions(a) > 1 and self.trained_numbers(a) <= most

    def narrow(self, a: int) -> bool:
        """Whether their tangents are those of the trained numbers, not of the value."""
        few = self.trained_numbers(a) <= entries(self.net.kind(a).shape)
        return self.by_weight(a) and (few or self.groups(a) > 1)

    def split(self, a: int) -> bool:
        """Whether those maps are bounded for all samples together by directions of the rows."""
        few = entries(self.net.kind(a).shape) <= COLUMNS
        return few and self.whole(a) and self.positions(a) == 1

    def columned(self, a: int, b: int) -> bool:
        """Whether that from a to b is bounded by directions of the columns of b, too.

        Only for several outputs, which are summed over there, and where one of both has several
        positions: otherwise it is hardly ever better.
        """
        if self.net.outputs == 1 or a > b or (a == b and self.by_weight(a)):
            return False
        if self.positions(a) == self.positions(b) == 1:
            return False
        rows = entries(self.net.kind(b).shape) // self.positions(b)
        return self.whole(b) and rows <= ORDER and (self.whole(a) or self.narrow(a))

    def whole(self, a: int) -> bool:
        """Whether the numbers of a are one matrix."""
        return not isinstance(self.net.parametric(a), Embedding) and self.groups(a) == 1

    def groups(self, a: int) -> int:
        """Groups of the numbers of a."""
        kind = self.net.parametric(a)
        return len(kind.unfolded(np.zeros((1, 1, *self.net.kind(a).shape)))[0, 0])

    def positions(self, a: int) -> int:
        """Positions of a group."""
        kind = self.net.parametric(a)
        if isinstance(kind, Embedding):
            return entries(kind.shapes[0])
        return int(kind.patches(self.net.values[self.net.reads[a][0]][:1]).shape[2])

    def trained_numbers(self, a: int) -> int:
        """How many numbers of a train, those that it shares included."""
        kind = self.net.parametric(a)
        return sum(entries(self.net.stored[kind.names[key]].shape) for key in kind.trained)
