"""Which exact route each layer of a recorded network takes into the kernel.

For a matrix layer with o outputs, c inputs and P positions, n samples and k outputs of the network,
a pair of samples costs, in multiplications,

    positions = 1   gram        k^2 o + c              (G G'^T) * (H H'^T)
    positions > 1   rows        k^2 o c + k o c P / n  J J'^T, with J formed once
                    positions   P^2 c + k o P^2 + k^2 o P   H^T H', then G on both sides

and the same with ``k^2`` replaced by k for a trace. Layers whose parameters are used once take the
cheapest; a parameter used twice has its rows summed over its uses before the product.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from talweg.network._layer_rows import Matrix, Scale

# Parameters of fewer entries share one product: a product with a short inner dimension is slow.
_SMALL = 2048

# Writing and reading one number of the intermediate array of the positions route costs as much as
# this many multiplications; measured on 2 cores.
_TRAFFIC = 24


@dataclass(frozen=True)
class Use:
    """Parameter `name` as the ``weight`` or ``bias`` of call number `call`."""

    name: str
    call: int
    role: str


@dataclass(frozen=True)
class Item:
    """A part of the kernel.

    Attributes:
        route: ``output``, ``gram``, ``positions`` or ``rows``.
        call: Number of the call, for all routes but ``rows``.
        weight, bias: Whether the call's weight and bias take part, for all routes but ``rows``.
        pieces: For ``rows``: the uses of each parameter, whose rows are summed.
    """

    route: str
    call: int = -1
    weight: bool = False
    bias: bool = False
    pieces: tuple[tuple[Use, ...], ...] = ()


Layer = Matrix | Scale


def plan(
    layers: list[Layer], sizes: dict[str, int], samples: int, outputs: int, last: int, sums: str
) -> list[Item]:
    """Routes for all recorded parameters.

    Args:
        layers: The geometry of each call, in order.
        sizes: Entries of each trainable parameter.
        samples: n.
        outputs: k.
        last: Number of the call whose output is the network's own, or -1.
        sums: ``full``, ``trace`` or ``diagonal``: which entries of the kernel are wanted.
    """
    uses: dict[str, list[Use]] = defaultdict(list)
    for number, layer in enumerate(layers):
        if layer.weight is not None:
            uses[layer.weight].append(Use(layer.weight, number, "weight"))
        if layer.bias is not None:
            uses[layer.bias].append(Use(layer.bias, number, "bias"))
    items: list[Item] = []
    settled: set[str] = set()
    for number, layer in enumerate(layers):
        if not isinstance(layer, Matrix):
            continue
        own = [name for name in (layer.weight, layer.bias) if name is not None]
        once = [name for name in own if len(uses[name]) == 1]
        weight = layer.weight in once
        route = _route(layer, samples, outputs, weight=weight, last=number == last, sums=sums)
        if route == "rows" or not once or len(once) < len(own):
            continue
        items.append(Item(route, number, weight, layer.bias in once))
        settled.update(once)
    small: list[tuple[Use, ...]] = []
    for name, found in uses.items():
        if name in settled:
            continue
        if sizes[name] < _SMALL:
            small.append(tuple(found))
        else:
            items.append(Item("rows", pieces=(tuple(found),)))
    if small:
        items.append(Item("rows", pieces=tuple(small)))
    return items


def _route(layer: Matrix, n: int, k: int, *, weight: bool, last: bool, sums: str) -> str:
    o, c, P = layer.outputs, layer.inputs, layer.positions
    if layer.groups > 1:
        return "rows"
    tokens = layer.kind == "embedding"
    if P == 1 and not tokens:
        return "output" if last else "gram"
    if sums == "diagonal":
        return "positions" if tokens else "rows"
    if not weight:
        return "rows"
    trace = sums == "trace"
    pairs = k if trace else k * k
    rows = pairs * o * c + k * o * c * P / n
    h = P * P * (1 if tokens else c)
    if trace:
        positions = h + k * o * P * P + _TRAFFIC * P * P
    else:
        positions = h + k * o * P * P + k * k * o * P + _TRAFFIC * k * o * P
    return "positions" if positions < rows else "rows"
