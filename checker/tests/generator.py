"""Small networks trained in NumPy until they can be certified, and certificate files for them."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flint import ctx
from numpy.typing import NDArray

from talweg_check._arrays import PRECISION, exact
from talweg_check._lipschitz import JacobianLipschitz
from talweg_check._network import Network, merged, stages_of

Array = NDArray[np.float64]
_erf = np.vectorize(math.erf, otypes=[float])
SEMANTICS = "real-arithmetic full-batch gradient descent on the exact stored weights"


def _gelu_tanh(x: Array) -> tuple[Array, Array]:
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return x * (1 + t) / 2, (1 + t) / 2 + x / 2 * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)


def _gelu(x: Array) -> tuple[Array, Array]:
    phi = (1 + _erf(x / math.sqrt(2))) / 2
    return x * phi, phi + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def activation(name: str, x: Array, p: dict[str, float]) -> tuple[Array, Array]:
    """f(x) and f'(x) in floating point."""
    s = _sigmoid(x)
    if name == "tanh":
        return np.tanh(x), 1 - np.tanh(x) ** 2
    if name == "sigmoid":
        return s, s * (1 - s)
    if name == "silu":
        return x * s, s + x * s * (1 - s)
    if name == "gelu":
        return _gelu(x)
    if name == "gelu_tanh":
        return _gelu_tanh(x)
    if name == "sin":
        return np.sin(x), np.cos(x)
    if name == "softplus":
        return np.log1p(np.exp(p["beta"] * x)) / p["beta"], _sigmoid(p["beta"] * x)
    if name == "smooth_leaky_relu":
        a = p["slope"]
        return a * x + (1 - a) * (np.log1p(np.exp(x)) - math.log(2)), a + (1 - a) * s
    return x, np.ones_like(x)


@dataclass
class Problem:
    """A chain of operations with weights, and data."""

    operations: list[dict[str, Any]]
    weights: dict[str, Array]
    inputs: Array
    targets: Array
    dtypes: dict[str, str] = field(default_factory=dict)

    def forward(self) -> tuple[list[Array], list[Array]]:
        """Layer inputs of the linear operations and cotangents (n, k, d) of their outputs."""
        value, taken, slopes = self.inputs, [], []
        for operation in self.operations:
            if operation["kind"] == "linear":
                taken.append(value)
                value = value @ self.weights[operation["weight"]].T
                if operation["bias"]:
                    value = value + self.weights[operation["bias"]]
                slopes.append(None)
            elif operation["kind"] == "scale":
                factor = operation["numerator"] / operation["denominator"]
                value = value * factor
                slopes.append(np.full(value.shape, factor))
            else:
                value, slope = activation(operation["function"], value, operation["parameters"])
                slopes.append(slope)
        self.values = value
        cotangent = np.broadcast_to(np.eye(value.shape[1]), (len(value), *[value.shape[1]] * 2))
        cotangents = []
        for operation, slope in zip(self.operations[::-1], slopes[::-1], strict=True):
            if slope is None:
                cotangents.append(cotangent)
                cotangent = cotangent @ self.weights[operation["weight"]]
            else:
                cotangent = cotangent * slope[:, None, :]
        return taken, cotangents[::-1]

    def linear(self) -> list[dict[str, Any]]:
        return [operation for operation in self.operations if operation["kind"] == "linear"]

    def kernel(self) -> Array:
        """J J^T over all rows as stored."""
        taken, cotangents = self.forward()
        n, k = self.values.shape
        total = np.zeros((n * k, n * k))
        for operation, h, g in zip(self.linear(), taken, cotangents, strict=True):
            flat = g.reshape(n * k, -1)
            gram = operation["weight_trainable"] * (h @ h.T) + operation["bias_trainable"]
            total += (flat @ flat.T) * np.kron(gram, np.ones((k, k)))
        return total

    def move(self, direction: Array) -> None:
        """w <- w - J^T direction, direction (n, k)."""
        taken, cotangents = self.forward()
        for operation, h, g in zip(self.linear(), taken, cotangents, strict=True):
            step = np.einsum("ik,ikd->id", direction, g)
            if operation["weight_trainable"]:
                self.weights[operation["weight"]] = self.weights[operation["weight"]] - step.T @ h
            if operation["bias_trainable"]:
                self.weights[operation["bias"]] = self.weights[operation["bias"]] - step.sum(0)

    def residual(self) -> Array:
        self.forward()
        return self.values - self.targets

    def polish(self, goal: float, steps: int = 60) -> None:
        """Levenberg-Marquardt in function space until |r| <= goal."""
        damping = 1e-2
        for _ in range(steps):
            r = self.residual()
            size = np.linalg.norm(r)
            if size <= goal:
                return
            kernel = self.kernel()
            kernel += damping * size * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
            before = dict(self.weights)
            self.move(np.linalg.solve(kernel, r.ravel()).reshape(r.shape))
            if np.linalg.norm(self.residual()) < size:
                damping /= 4
            else:
                self.weights, damping = before, damping * 8

    def rounded(self) -> None:
        """Round the weights to the dtypes in which they will be stored."""
        for name, array in self.weights.items():
            self.weights[name] = decode(*encode(array, self.dtypes.get(name, "F64")), array.shape)


def encode(array: Array, dtype: str) -> tuple[bytes, str]:
    if dtype == "BF16":
        bits = array.astype("<f4").view("<u4")
        return ((bits + 0x8000) >> 16).astype("<u2").tobytes(), dtype
    return array.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).tobytes(), dtype


def decode(raw: bytes, dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype == "BF16":
        numbers = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    else:
        numbers = np.frombuffer(raw, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])
    return numbers.astype(float).reshape(shape)


def chain(
    rng: np.random.Generator,
    widths: list[int],
    functions: str | list[tuple[str, dict[str, float]]] = "tanh",
    bias: bool = True,
    frozen: tuple[str, ...] = (),
    scale: tuple[float, float] | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """linear, function, linear, ...; `frozen` holds names such as '0.weight'."""
    operations: list[dict[str, Any]] = []
    weights: dict[str, Array] = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        at = len(operations)
        weight, offset = f"weights/{at}.weight", f"weights/{at}.bias"
        weights[weight] = rng.uniform(-1, 1, (fan_out, fan_in)) / math.sqrt(fan_in)
        if bias:
            weights[offset] = rng.uniform(-1, 1, fan_out) / math.sqrt(fan_in)
        operations.append({
            "kind": "linear", "weight": weight, "bias": offset if bias else None,
            "weight_trainable": f"{at}.weight" not in frozen,
            "bias_trainable": bias and f"{at}.bias" not in frozen,
        })  # fmt: skip
        if layer < len(widths) - 2:
            if scale is not None:
                operations.append({"kind": "scale", "numerator": scale[0], "denominator": scale[1]})
            if isinstance(functions, str):
                name, parameters = functions, {}
            else:
                name, parameters = functions[layer % len(functions)]
            operations.append({"kind": "elementwise", "function": name, "parameters": parameters})
    return operations, weights


def make(
    widths: list[int],
    functions: object = "tanh",
    samples: int = 6,
    repeats: int = 0,
    dtypes: dict[str, str] | None = None,
    seed: int = 0,
    goal: float = 1e-5,
    **options: object,
) -> Problem:
    """A trained problem; `repeats` rows of the data occur twice."""
    rng = np.random.default_rng(seed)
    operations, weights = chain(rng, widths, functions, **options)  # type: ignore[arg-type]
    inputs = rng.normal(size=(samples, widths[0]))
    targets = 0.3 * rng.normal(size=(samples, widths[-1]))
    problem = Problem(operations, weights, inputs, targets, dtypes or {})
    if dtypes:  # the targets are what the stored weights give, up to a little
        problem.rounded()
        problem.forward()
        problem.targets = problem.values + 1e-6 * rng.normal(size=targets.shape)
    else:
        problem.polish(goal)
    if repeats:
        problem.inputs = np.concatenate([problem.inputs, problem.inputs[:repeats]])
        problem.targets = np.concatenate([problem.targets, problem.targets[:repeats]])
    return problem


def digest(items: list[tuple[bytes, str, tuple[int, ...], str | None]]) -> str:
    state = hashlib.sha256()
    for raw, dtype, shape, name in items:
        if name is not None:
            state.update(name.encode() + b"\n")
        state.update(f"{dtype}\n({','.join(str(size) for size in shape)})\n".encode())
        state.update(raw)
    return state.hexdigest()


def hexed(value: Any) -> Any:
    """Floats as hex strings, inside lists and objects."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, dict):
        return {key: hexed(item) for key, item in value.items()}
    return [hexed(item) for item in value] if isinstance(value, (list, tuple)) else value


class Draft:
    """A certificate in the making; every part may be spoilt before `save`."""

    def __init__(self, problem: Problem, theorem: str = "T11", scaling: str = "mean") -> None:
        self.problem, self.theorem, self.scaling = problem, theorem, scaling
        arrays = dict(problem.weights) | {"inputs": problem.inputs, "targets": problem.targets}
        self.arrays = {
            name: (*encode(array, problem.dtypes.get(name, "F64")), array.shape)
            for name, array in arrays.items()
        }
        n, k = problem.targets.shape
        parameters = 0
        for operation in problem.linear():
            parameters += operation["weight_trainable"] * problem.weights[operation["weight"]].size
            if operation["bias"]:
                parameters += operation["bias_trainable"] * problem.weights[operation["bias"]].size
        self.counts = {"samples": n, "outputs": k, "parameters": parameters}
        self.entries = n * k
        self.coefficient = {"mean": 1 / self.entries, "sum": 1.0, "half_sum": 0.5}[scaling]

    def measure(self, radii: list[float] | None = None, pad: float = 1e-6) -> Draft:
        """The claims about w0, padded."""
        inputs, targets, counts = merged(self.problem.inputs, self.problem.targets)
        root = np.sqrt(counts)[:, None] * np.ones(targets.shape[1])
        kernel, values = self.at_start(inputs)
        spectrum = np.linalg.eigvalsh(root.ravel()[:, None] * kernel * root.ravel())
        self.r = float(np.linalg.norm(root * (values - targets)) * (1 + pad) + 1e-14)
        self.sigma = float(math.sqrt(max(spectrum[0], 0)) * (1 - pad))
        self.jacobian = float(math.sqrt(spectrum[-1]) * (1 + pad))
        with ctx.workprec(PRECISION):
            self.lipschitz = self.bound(inputs, counts)
            if radii is None:
                guess = 1.1 * self.r / self.sigma
                radii = [guess / 2, guess, 1.6 * guess]
            betas = [float(self.lipschitz.upper(radius).upper()) for radius in radii]
            betas = np.maximum.accumulate(betas).tolist()  # from radius to radius it may waver
        self.profile = [
            [radius, beta * (1 + pad)] for radius, beta in zip(radii, betas, strict=True)
        ]
        return self

    def at_start(self, inputs: Array) -> tuple[Array, Array]:
        """The kernel and the outputs for these rows."""
        small = Problem(self.problem.operations, self.problem.weights, inputs, inputs)
        return small.kernel(), small.values

    def bound(self, inputs: Array, counts: Array, frame: Any = None) -> Any:
        """The checker's own bound of the Lipschitz constant."""
        stages = stages_of(self.problem.operations, self.problem.weights)
        return JacobianLipschitz(Network(stages, exact(inputs), counts, frame))

    def s(self, x: float) -> float:
        return self.sigma - self.beta_integral(x)

    def beta_integral(self, x: float) -> float:
        total = start = 0.0
        for end, beta in self.profile:
            total += beta * max(min(x, end) - start, 0)
            start = end
        return total

    def s_integral(self, x: float) -> float:
        grid = sorted({0.0, x, *(end for end, _ in self.profile if end < x)})
        pieces = itertools.pairwise(grid)
        return sum((b - a) * (self.s(a) + self.s(b)) / 2 for a, b in pieces)

    def conclude(self, epsilon: float = 0.5, target: float | None = None) -> Draft:
        """Radius, step and rate."""
        rho = 0.0 if target is None else math.sqrt(target / self.coefficient)
        factor = 1 - epsilon if self.theorem == "T4" else 1.0
        low, high = 0.0, self.profile[-1][0]
        if factor * self.s_integral(high) < self.r - rho or self.s(high) <= 0:
            raise ValueError("the criterion does not hold")
        for _ in range(200):
            middle = (low + high) / 2
            if factor * self.s_integral(middle) < self.r - rho:
                low = middle
            else:
                high = middle
        radius = high * (1 + 1e-9)
        top, bottom = self.jacobian + self.beta_integral(radius), self.s(radius)
        beta = next(beta for end, beta in self.profile if radius <= end)
        if self.theorem == "T4":
            eta = 2 * epsilon / (top**2 + self.r * beta) * (1 - 1e-9)
            gain = 2 * (1 - epsilon) * eta * bottom**2 * (1 - 1e-9)
        else:
            eta = (1 - 1e-9) / top**2
            q = eta * bottom**2
            gain = (2 * q - q * q) * (1 - 1e-9)
        self.claims: dict[str, Any] = {
            "residual_norm_upper": self.r, "sigma_min_lower": self.sigma,
            "jacobian_norm_upper": self.jacobian, "jacobian_lipschitz_upper": self.profile,
            "radius": radius, "step_size": eta / (2 * self.coefficient),
            "rate": math.nextafter(1 - gain, 2), "one_minus_rate": gain,
            "halving_steps": math.log(2) / -math.log1p(-gain) * (1 + 1e-9),
        }  # fmt: skip
        if self.theorem == "T4":
            self.claims["epsilon"] = epsilon
        if self.theorem == "T7":
            assert target is not None
            q = eta * bottom**2
            self.claims["target_loss"] = target
            self.claims["overshoot_radius"] = (radius + eta * top * rho) * (1 + 1e-9)
            self.claims["steps_upper"] = float(
                max(math.ceil(math.log(self.r / rho) / -math.log1p(-q)), 1)
            )
        return self

    def hashes(self) -> dict[str, str]:
        named = []
        for operation in self.problem.linear():
            for name in (operation["weight"], operation["bias"]):
                if name:
                    raw, dtype, shape = self.arrays[name]
                    named.append((raw, dtype, shape, name))
        result = {"weights": digest(named)}
        for name in ("inputs", "targets"):
            raw, dtype, shape = self.arrays[name]
            result[name] = digest([(raw, dtype, shape, None)])
        return result

    def chain(self) -> str:
        words = []
        for operation in self.problem.operations:
            if operation["kind"] == "linear":
                d_out, d_in = self.arrays[operation["weight"]][2]
                state = {True: "trained", False: "frozen"}
                bias = state[operation["bias_trainable"]] if operation["bias"] else "none"
                weight = state[operation["weight_trainable"]]
                words.append(f"linear {d_in}->{d_out} (weight {weight}, bias {bias})")
            elif operation["kind"] == "scale":
                words.append(f"scale({operation['numerator']}/{operation['denominator']})")
            else:
                inside = ", ".join(f"{k}={v}" for k, v in sorted(operation["parameters"].items()))
                words.append(operation["function"] + (f"({inside})" if inside else ""))
        return "; ".join(words)

    def sentence(self, hashes: dict[str, str]) -> str:
        c = self.claims
        n, k = self.counts["samples"], self.counts["outputs"]
        words = {"mean": "mean", "sum": "sum", "half_sum": "half sum"}[self.scaling]
        begin = (
            "Gradient descent in real arithmetic on the full batch, started from the stored "
            f"weights (sha256 {hashes['weights']}) on the stored data (inputs sha256 "
            f"{hashes['inputs']}, targets sha256 {hashes['targets']}), training the "
            f"{self.counts['parameters']} parameters of [{self.chain()}], with "
        )
        loss = f"({words} of squares over {n} samples and {k} outputs)"
        if self.theorem == "T7":
            return begin + (
                f"constant step size {c['step_size']}, reaches a training loss of at most "
                f"{c['target_loss']} {loss} after at most {int(c['steps_upper'])} steps: until "
                f"then every iterate stays within Euclidean distance {c['overshoot_radius']} of "
                "the start."
            )
        return begin + (
            f"any constant step size in (0, {c['step_size']}], converges to zero training loss "
            f"{loss}: every iterate stays within Euclidean distance {c['radius']} of the start, "
            f"and with step size {c['step_size']} the loss falls by at least the fraction "
            f"{c['one_minus_rate']} in every step."
        )

    def tree(self) -> dict[str, Any]:
        hashes = self.hashes()
        return {
            "format": 1, "theorem": self.theorem, "semantics": SEMANTICS,
            "claim": self.sentence(hashes), "model": hexed(self.problem.operations),
            "loss": {"kind": "squared", "scaling": self.scaling}, "hashes": hashes,
            "claims": hexed(self.claims), "counts": self.counts, "assumptions": [],
            "hints": {}, "provenance": {"made_by": "a test"},
        }  # fmt: skip

    def blob(self, leave_out: tuple[str, ...] = ()) -> bytes:
        """safetensors bytes, the widest dtypes first."""
        order = sorted(
            (name for name in self.arrays if name not in leave_out),
            key=lambda name: (-{"F64": 8, "F32": 4}.get(self.arrays[name][1], 2), name),
        )
        header, position = {}, 0
        for name in order:
            raw, dtype, shape = self.arrays[name]
            header[name] = {
                "dtype": dtype, "shape": list(shape),
                "data_offsets": [position, position + len(raw)],
            }  # fmt: skip
            position += len(raw)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        body = b"".join(self.arrays[name][0] for name in order)
        return len(text).to_bytes(8, "little") + text + body

    def save(self, path: Path, leave_out: tuple[str, ...] = ()) -> Path:
        return write(path, canonical(self.tree()), self.blob(leave_out))


def canonical(tree: Any) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def write(path: Path, text: bytes, blob: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("certificate.json"), text)
        archive.writestr(zipfile.ZipInfo("arrays.safetensors"), blob)
    return path
