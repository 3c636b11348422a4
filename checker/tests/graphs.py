"""Graphs of operations in NumPy (also at complex weights), and certificate files about them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from classifier import SMOOTHING, EntropyDraft
from generator import Array, Draft, digest, encode, hexed
from reference import attack

from talweg_check._file import StoredArray
from talweg_check._graph import GraphNetwork
from talweg_check._graph_grammar import Graph, graph
from talweg_check._graph_lipschitz import GraphLipschitz

TRAINED = ("weight", "bias")


def _pad(x: Array, padding: list[int]) -> Array:
    lead = x.ndim - len(padding)
    return np.pad(x, [(0, 0)] * lead + [(p, p) for p in padding])


def _function(item: dict[str, Any], x: Array) -> Array:
    name, p = item["function"], item["parameters"]
    sigmoid = 1 / (1 + np.exp(-x))
    if name == "softplus":
        return np.log1p(np.exp(p["beta"] * x)) / p["beta"]
    if name == "smooth_leaky_relu":
        a = p["slope"]
        return a * x + (1 - a) * (np.log1p(np.exp(x)) - math.log(2))
    c = math.sqrt(2 / math.pi)
    return {
        "tanh": np.tanh, "sin": np.sin, "sigmoid": lambda x: sigmoid,
        "silu": lambda x: x * sigmoid, "identity": lambda x: x,
        "gelu_tanh": lambda x: x * (1 + np.tanh(c * (x + 0.044715 * x**3))) / 2,
    }[name](x)  # fmt: skip


def apply(item: dict[str, Any], xs: list[Array], weights: dict[str, Array]) -> Array:
    """One operation for (n, *shape), entry by entry where that is the definition."""
    kind, x = item["kind"], xs[0]
    w = weights[item["weight"]] if item.get("weight") else None
    b = weights[item["bias"]] if item.get("bias") else None
    if kind == "linear":
        return x @ w.T + (0 if b is None else b)
    if kind == "convolution":
        padded, groups = _pad(x, item["padding"]), item["groups"]
        out, per = len(w), w.shape[1]
        sizes = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, p, d, k, s in zip(
                x.shape[2:], item["padding"], item["dilation"], w.shape[2:], item["stride"],
                strict=True,
            )
        ]  # fmt: skip
        result = np.zeros((len(x), out, *sizes), dtype=np.result_type(x, w))
        for o in range(out):
            first = o // (out // groups) * per
            for at in itertools.product(*map(range, sizes)):
                window = tuple(
                    slice(i * s, i * s + d * (k - 1) + 1, d)
                    for i, s, d, k in zip(
                        at, item["stride"], item["dilation"], w.shape[2:], strict=True
                    )
                )
                seen = padded[(slice(None), slice(first, first + per), *window)]
                result[(slice(None), o, *at)] = (seen * w[o]).reshape(len(x), -1).sum(1)
        return result if b is None else result + b.reshape(-1, *[1] * len(sizes))
    if kind in ("affine", "shift"):
        spread = lambda v: v.reshape(*v.shape, *[1] * (x.ndim - 1 - item["axis"] - v.ndim))  # noqa: E731
        if kind == "shift":
            return x + spread(w)
        return x * spread(w) + (0 if b is None else spread(b))
    if kind == "standardize":
        shape = (-1, *[1] * (x.ndim - 2))
        return (x - w.reshape(shape)) / np.sqrt(b.reshape(shape) + item["epsilon"])
    if kind == "embedding":
        return w[x.real.astype(int)]
    if kind == "elementwise":
        return _function(item, x)
    if kind == "scale":
        return x * item["numerator"] / item["denominator"]
    if kind == "sum":
        return sum(sign * value for sign, value in zip(item["signs"], xs, strict=True))
    if kind == "product":
        return xs[0] * xs[1]
    if kind == "matrix_product":
        return xs[0] @ xs[1]
    if kind == "softmax":
        powers = np.exp(x - x.real.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
    if kind == "normalize":
        axes = tuple(range(x.ndim - item["axes"], x.ndim))
        centred = x - x.mean(axis=axes, keepdims=True)
        return centred / np.sqrt(
            (centred * centred).mean(axis=axes, keepdims=True) + item["epsilon"]
        )
    if kind == "average_pool":
        k, s, p = item["kernel"], item["stride"], item["padding"]
        padded, lead = _pad(x, p), x.ndim - len(k)
        sizes = [(size - window) // step + 1
                 for size, window, step in zip(padded.shape[lead:], k, s, strict=True)]  # fmt: skip
        result = np.zeros((*x.shape[:lead], *sizes), dtype=x.dtype)
        for at in itertools.product(*map(range, sizes)):
            window = tuple(
                slice(i * step, i * step + size) for i, step, size in zip(at, s, k, strict=True)
            )
            axes = tuple(range(lead, x.ndim))
            result[(..., *at)] = padded[(..., *window)].mean(axis=axes)
        return result
    if kind == "mean":
        return x.mean(axis=tuple(1 + axis for axis in item["axes"]))
    if kind == "concatenate":
        return np.concatenate(xs, axis=1 + item["axis"])
    if kind == "reshape":
        return x.reshape(len(x), *item["shape"])
    if kind == "permute":
        return x.transpose(0, *(1 + axis for axis in item["axes"]))
    assert kind == "slice"
    place = slice(item["start"], item["stop"], item["step"])
    return x[(slice(None),) * (1 + item["axis"]) + (place,)]


@dataclass
class Model:
    """Operations with their weights, and data."""

    input_shape: list[int]
    operations: list[dict[str, Any]]
    weights: dict[str, Array]
    inputs: Array
    targets: Array
    dtypes: dict[str, str] = field(default_factory=dict)

    def trained(self) -> list[str]:
        """The names of the trained arrays, each once."""
        names = [
            item[key] for item in self.operations for key in TRAINED if item.get(f"{key}_trainable")
        ]
        return list(dict.fromkeys(names))

    def flat(self) -> Array:
        return np.concatenate([self.weights[name].ravel() for name in self.trained()])

    def outputs(self, flat: Array, inputs: Array | None = None) -> Array:
        """(n, k) at trained parameters, which may be complex."""
        weights, position = dict(self.weights), 0
        for name in self.trained():
            shape, size = weights[name].shape, weights[name].size
            weights[name] = flat[position : position + size].reshape(shape)
            position += size
        values = [self.inputs if inputs is None else inputs]
        for item in self.operations:
            values.append(apply(item, [values[e] for e in item["inputs"]], weights))
        return values[-1]

    def jacobian(self, flat: Array) -> Array:
        """(n k, p), by complex steps: exact up to rounding."""
        columns = []
        for unit in np.eye(len(flat)):
            columns.append(self.outputs(flat + 1e-30j * unit).imag.ravel() / 1e-30)
        return np.stack(columns, axis=1)

    def second(self, flat: Array, step: float = 1e-4) -> Array:
        """(n k, p, p)."""
        slices = [
            (self.jacobian(flat + step * unit) - self.jacobian(flat - step * unit)) / (2 * step)
            for unit in np.eye(len(flat))
        ]
        return np.stack(slices, axis=1)

    def set(self, flat: Array) -> None:
        """Other trained parameters."""
        position = 0
        for name in self.trained():
            array = self.weights[name]
            self.weights[name] = flat[position : position + array.size].reshape(array.shape)
            position += array.size

    def polish(self, goal: float, steps: int = 60) -> Model:
        """Levenberg-Marquardt until |r| <= goal."""
        damping = 1e-2
        for _ in range(steps):
            w = self.flat()
            r = (self.outputs(w) - self.targets).ravel()
            size = np.linalg.norm(r)
            if size <= goal:
                break
            jacobian = self.jacobian(w)
            kernel = jacobian @ jacobian.T
            kernel += damping * size * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
            moved = w - jacobian.T @ np.linalg.solve(kernel, r)
            if np.linalg.norm(self.outputs(moved) - self.targets) < size:
                self.set(moved)
                damping /= 4
            else:
                damping *= 8
        return self

    def tree(self) -> dict[str, Any]:
        return {"input_shape": self.input_shape, "operations": hexed(self.operations)}

    def stored(self) -> dict[str, StoredArray]:
        """The weights as the checker reads them."""
        return {
            name: StoredArray("F64", array.shape, array.astype("<f8").tobytes())
            for name, array in self.weights.items()
        }

    def parameters(self) -> int:
        return sum(self.weights[name].size for name in self.trained())

    def graph(self) -> Graph:
        k = self.targets.shape[1]
        counts = {"samples": len(self.inputs), "outputs": k, "parameters": self.parameters()}
        return graph(self.tree(), self.stored(), counts)

    def network(self, multiplicity: Array | None = None, frame: Any = None) -> GraphNetwork:
        n = len(self.inputs)
        counts = np.ones(n, dtype=int) if multiplicity is None else multiplicity
        rows = self.inputs.reshape(n, -1).astype(float)
        return GraphNetwork(self.graph(), self.weights, rows, counts, frame)


class Build:
    """Writes a graph operation by operation; every method returns the new index."""

    def __init__(self, rng: np.random.Generator, input_shape: list[int]) -> None:
        self.rng, self.input_shape = rng, input_shape
        self.operations: list[dict[str, Any]] = []
        self.weights: dict[str, Array] = {}

    def add(self, kind: str, inputs: int | list[int], **keys: Any) -> int:
        read = [inputs] if isinstance(inputs, int) else inputs
        self.operations.append({"kind": kind, "inputs": read, **keys})
        return len(self.operations)

    def weighted(
        self, kind: str, inputs: int, weight: tuple[int, ...] | str,
        bias: tuple[int, ...] | str | None = None,
        trains: tuple[bool, bool] = (True, True), gain: float | None = None, **keys: Any,
    ) -> int:  # fmt: skip
        """A shape makes a new array, a name shares one."""
        t, names = len(self.operations), {}
        for key, wanted in (("weight", weight), ("bias", bias)):
            names[key] = wanted
            if isinstance(wanted, tuple):
                names[key] = f"weights/{t}.{key}"
                fan = math.prod(wanted[1:]) or 1
                scale = gain or 1 / math.sqrt(fan)
                self.weights[names[key]] = self.rng.uniform(-1, 1, wanted) * scale
        stated: dict[str, Any] = {"weight": names["weight"], "weight_trainable": trains[0]}
        if kind not in ("shift", "embedding"):
            stated["bias"] = names["bias"]
            stated["bias_trainable"] = trains[1] and names["bias"] is not None
        return self.add(kind, inputs, **stated, **keys)

    def linear(self, at: int, wide: int, high: int, bias: bool = True, **keys: Any) -> int:
        return self.weighted("linear", at, (high, wide), (high,) if bias else None, **keys)

    def act(self, at: int, function: str = "tanh", **parameters: float) -> int:
        return self.add("elementwise", at, function=function, parameters=parameters)

    def model(self, samples: int, outputs: int, inputs: Array | None = None) -> Model:
        if inputs is None:
            inputs = self.rng.normal(size=(samples, *self.input_shape))
        targets = self.rng.normal(size=(samples, outputs)) * 0.3
        return Model(self.input_shape, self.operations, self.weights, inputs, targets)


def attacked(model: Model, flat: Array, rng: np.random.Generator, starts: int = 3) -> float:
    """The largest u^T D2F[delta, v] found."""
    return attack(model.second(flat), rng, starts)


def _by(sizes: Any) -> str:
    return "x".join(str(size) for size in sizes)


def _words(item: dict[str, Any], shape: tuple[int, ...], training: str) -> str:
    """One operation in the sentence."""
    numbers = item.get("parameters") or {}
    inside = ", ".join(f"{key}={numbers[key]}" for key in sorted(numbers))
    words: dict[str, Callable[[], str]] = {
        "linear": lambda: f"linear {shape[1]}->{shape[0]} ({training})",
        "convolution": lambda: (
            f"convolution {_by(shape)} (stride {_by(item['stride'])}, padding "
            f"{_by(item['padding'])}, dilation {_by(item['dilation'])}, groups "
            f"{item['groups']}, {training})"
        ),
        "affine": lambda: f"affine {_by(shape)} at axis {item['axis']} ({training})",
        "shift": lambda: f"shift {_by(shape)} at axis {item['axis']} ({training})",
        "embedding": lambda: f"embedding {shape[0]}->{shape[1]} ({training})",
        "standardize": lambda: f"standardize {_by(shape)} (epsilon {item['epsilon']})",
        "elementwise": lambda: item["function"] + (f"({inside})" if inside else ""),
        "scale": lambda: f"scale({item['numerator']}/{item['denominator']})",
        "sum": lambda: f"sum({', '.join('-+'[sign > 0] for sign in item['signs'])})",
        "product": lambda: "product",
        "matrix_product": lambda: "matrix product",
        "softmax": lambda: "softmax",
        "normalize": lambda: f"normalize(axes {item['axes']}, epsilon {item['epsilon']})",
        "average_pool": lambda: (
            f"average pool(kernel {_by(item['kernel'])}, stride {_by(item['stride'])}, "
            f"padding {_by(item['padding'])})"
        ),
        "mean": lambda: f"mean(axes {', '.join(map(str, item['axes']))})",
        "concatenate": lambda: f"concatenate(axis {item['axis']})",
        "reshape": lambda: f"reshape({_by(item['shape'])})",
        "permute": lambda: f"permute({', '.join(map(str, item['axes']))})",
        "slice": lambda: (
            f"slice(axis {item['axis']}, {item['start']}:{item['stop']}:{item['step']})"
        ),
    }
    return words[item["kind"]]()


class _OfGraph:
    """What is different in a certificate about a graph."""

    problem: Any
    arrays: dict[str, tuple[bytes, str, tuple[int, ...]]]

    def prepare(self, model: Model) -> None:
        """Arrays and counts."""
        arrays = dict(model.weights) | {"inputs": model.inputs, "targets": model.targets}
        self.arrays = {}
        for name, array in arrays.items():
            if array.dtype == np.int64:
                self.arrays[name] = (array.astype("<i8").tobytes(), "I64", array.shape)
            else:
                dtype = model.dtypes.get(name, "F64")
                self.arrays[name] = (*encode(array, dtype), array.shape)
        k = int(model.outputs(model.flat()).shape[1])
        self.counts = {
            "samples": len(model.inputs), "outputs": k, "parameters": model.parameters(),
        }  # fmt: skip

    def at_start(self, inputs: Array) -> tuple[Array, Array]:
        rows = inputs.reshape(len(inputs), *self.problem.input_shape)
        flat = self.problem.flat()
        small = Model(self.problem.input_shape, self.problem.operations, self.problem.weights,
                      rows, rows)  # fmt: skip
        jacobian = small.jacobian(flat)
        return jacobian @ jacobian.T, small.outputs(flat)

    def bound(self, inputs: Array, counts: Array, frame: Any = None) -> GraphLipschitz:
        model = self.problem
        rows = inputs.reshape(len(inputs), -1).astype(float)
        network = GraphNetwork(model.graph(), model.weights, rows, counts, frame)
        return GraphLipschitz(network)

    def hashes(self) -> dict[str, str]:
        names = [item[key] for item in self.problem.operations for key in TRAINED if item.get(key)]
        named = [(*self.arrays[name], name) for name in dict.fromkeys(names)]
        result = {"weights": digest(named)}
        for name in ("inputs", "targets"):
            result[name] = digest([(*self.arrays[name], None)])
        return result

    def chain(self) -> str:
        """The sentence's list of operations, spelled out anew."""
        said, before = [f"input {_by(self.problem.input_shape)}"], set()
        for t, item in enumerate(self.problem.operations):
            states = []
            for key in TRAINED:
                name = item.get(key)
                if f"{key}_trainable" not in item:
                    continue
                state = "none" if name is None else "frozen"
                if item[f"{key}_trainable"]:
                    state = "trained, shared" if name in before else "trained"
                states.append(f"{key} {state}")
            before |= {item[key] for key in TRAINED if item.get(key)}
            shape = self.arrays[item["weight"]][2] if "weight" in item else ()
            words = _words(item, shape, ", ".join(states))
            if item["inputs"] != [t]:
                words += f" <- {', '.join(map(str, item['inputs']))}"
            said.append(words)
        return "; ".join(said)

    def tree(self) -> dict[str, Any]:
        return super().tree() | {"format": 2, "model": self.problem.tree()}  # type: ignore[misc]


class GraphDraft(_OfGraph, Draft):
    """T11, T4 or T7 for a graph, in the making."""

    def __init__(self, model: Model, theorem: str = "T11", scaling: str = "mean") -> None:
        self.theorem, self.scaling, self.problem = theorem, scaling, model
        self.prepare(model)
        self.entries = self.counts["samples"] * self.counts["outputs"]
        self.coefficient = {"mean": 1 / self.entries, "sum": 1.0, "half_sum": 0.5}[scaling]

    def measure(self, radii: list[float] | None = None, pad: float = 1e-6) -> Draft:
        rows = self.problem.inputs
        self.problem.inputs = rows.reshape(len(rows), -1)
        try:
            return super().measure(radii, pad)
        finally:
            self.problem.inputs = rows


class GraphEntropyDraft(_OfGraph, EntropyDraft):
    """T4 with smoothed labels, T13 without, for a graph."""

    def __init__(self, model: Model, labels: Array, smoothing: float = SMOOTHING) -> None:
        self.theorem, self.scaling, self.problem = "T4" if smoothing else "T13", "mean", model
        self.labels, self.smoothing, self.unit = labels, smoothing, 1 / len(labels)
        self.prepare(model)
        self.k = self.counts["outputs"]
        self.arrays["targets"] = (labels.astype("<i8").tobytes(), "I64", labels.shape)
