"""Random chains for the tests of the rigorous part, and their dense twins in plain float64."""

from __future__ import annotations

import torch
from torch import Tensor

from talweg.network import Elementwise, FlatFunction, Linear, Network, Node, Operation, Scale

CASES: dict[str, dict[str, object]] = {
    "two layers": {"widths": (3, 5, 1)},
    "two layers, three outputs": {"widths": (3, 4, 3)},
    "three layers": {"widths": (2, 4, 5, 1)},
    "four layers, two outputs": {"widths": (3, 4, 3, 4, 2)},
    "no bias": {"widths": (3, 4, 4, 2), "bias": False},
    "sigmoid": {"widths": (3, 5, 3, 1), "function": "sigmoid"},
    "silu": {"widths": (3, 5, 3, 2), "function": "silu"},
    "sin": {"widths": (2, 5, 1), "function": "sin"},
    "softplus": {"widths": (2, 4, 4, 1), "function": "softplus"},
    "gelu": {"widths": (2, 4, 1), "function": "gelu"},
    "curved output": {"widths": (2, 4, 2), "tail": ("tanh",)},
    "scaled": {"widths": (2, 4, 4, 1), "scale": True},
    "frozen first": {"widths": (2, 4, 4, 1), "frozen": (0,)},
    "frozen middle": {"widths": (2, 4, 3, 2), "frozen": (1,)},
    "frozen last": {"widths": (2, 4, 1), "frozen": (1,)},
    "biases only": {"widths": (2, 4, 1), "frozen_weights": True},
    "activations in a row": {"widths": (2, 4, 1), "tail": ("tanh", "sigmoid")},
    "one layer": {"widths": (3, 2)},
    "one curved layer": {"widths": (3, 2), "tail": ("sin",)},
}


def chain(name: str, seed: int = 0, gain: float = 1.0) -> Network:
    """A network of `CASES` with Gaussian weights, reproducible by seed."""
    case = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    widths: tuple[int, ...] = case["widths"]  # type: ignore[assignment]
    frozen: tuple[int, ...] = case.get("frozen", ())  # type: ignore[assignment]
    operations: list[Operation] = []
    last = len(widths) - 2
    for index in range(len(widths) - 1):
        d_in, d_out = widths[index], widths[index + 1]
        weight = torch.randn(d_out, d_in, generator=generator, dtype=torch.float64)
        bias = torch.randn(d_out, generator=generator, dtype=torch.float64) * 0.3
        trains = index not in frozen
        with_bias = bool(case.get("bias", True))
        operations.append(
            Linear(
                weight * gain / d_in**0.5,
                bias if with_bias else None,
                trains and not case.get("frozen_weights", False),
                trains and with_bias,
                str(len(operations)),
                f"{index}.weight",
                f"{index}.bias" if with_bias else None,
            )
        )
        if index < last:
            operations.append(_activation(str(case.get("function", "tanh")), len(operations)))
            if case.get("scale"):
                operations.append(Scale(1.7, 3.0, str(len(operations))))
    for function in case.get("tail", ()):  # type: ignore[attr-defined]
        operations.append(_activation(function, len(operations)))
    nodes = tuple(Node(op, (t,)) for t, op in enumerate(operations))
    return Network(nodes, widths[0], widths[-1])


def _activation(function: str, position: int) -> Elementwise:
    constants = {"beta": 1.5, "threshold": 60.0} if function == "softplus" else {}
    return Elementwise(function, str(position), constants)


def inputs(network: Network, n: int, seed: int = 1) -> Tensor:
    """Gaussian rows ``(n, d)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, network.input_dim, generator=generator, dtype=torch.float64)


def reference_jacobian(function: FlatFunction, w: Tensor) -> Tensor:
    """Dense Jacobian ``(N, p)`` by automatic differentiation."""
    return torch.func.jacrev(function)(w).reshape(-1, len(w))
