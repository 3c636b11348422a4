"""Data sets of the bench: those of the development half, and others for the score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Task:
    """Inputs of size one, and labels or targets of size one.

    Attributes:
        X: ``(n, ...)`` float32.
        y: ``(n,)`` int64 labels, or ``(n, 1)`` float32 targets.
    """

    X: Tensor
    y: Tensor

    @property
    def labels(self) -> bool:
        """Whether targets are labels."""
        return not self.y.is_floating_point()

    @property
    def outputs(self) -> int:
        """Outputs that a network needs."""
        return int(self.y.max()) + 1 if self.labels else 1

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy or mean squared error."""
        return F.cross_entropy(outputs, targets) if self.labels else F.mse_loss(outputs, targets)


def _task(X: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> Task:
    X = (X - X.mean(0)) / np.maximum(X.std(0), 0.3 * X.std())
    inputs = torch.tensor(X, dtype=torch.float32).reshape(len(X), *shape)
    if y.dtype.kind in "iu":
        return Task(inputs, torch.tensor(y, dtype=torch.int64))
    return Task(inputs, torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None])


def _digits(shape: tuple[int, ...], *, moments: bool) -> Task:
    X, y = datasets.load_digits(return_X_y=True)
    if moments:  # how far the ink lies from the middle, a smooth function
        place = np.arange(8) - 3.5
        ink = X.reshape(-1, 8, 8)
        y = np.einsum("nij,i,j->n", ink, place, place) / X.sum(1)
    return _task(X[:1000], y[:1000], shape)


def _table(name: str, shape: tuple[int, ...]) -> Task:
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    return _task(X, y, shape)


def _teacher(shape: tuple[int, ...], seed: int) -> Task:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((800, int(np.prod(shape))))
    a, b = rng.standard_normal((2, X.shape[1])) / X.shape[1] ** 0.5
    return _task(X, np.sin(2 * X @ a) + (X @ b) ** 2 / 2, shape)


def _teacher_of_waves(seed: int) -> Task:
    """Two waves that modulate one another, in 16 dimensions."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((700, 16))
    a, b = rng.standard_normal((2, 16)) / 4
    return _task(X, np.cos(X @ a) * (1 + X @ b), (16,))


def _shells(seed: int) -> Task:
    """Which of three shells a point in ten dimensions lies in."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((600, 10)) * np.array([1.5, 1.5, 1.5] + [0.7] * 7)
    square = np.square(X).sum(1)
    return _task(X, np.searchsorted(np.quantile(square, [1 / 3, 2 / 3]), square), (10,))


def _photographs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """8x8 patches of two photographs, (n, 3, 8, 8), and which one each is from."""
    rng = np.random.default_rng(seed)
    patches, label = [], []
    for index, name in enumerate(("china.jpg", "flower.jpg")):
        image = datasets.load_sample_image(name) / 255.0
        for _ in range(count):
            i, j = rng.integers(0, 400), rng.integers(0, 600)
            patches.append(image[i : i + 8, j : j + 8].transpose(2, 0, 1))
            label.append(index)
    return np.array(patches), np.array(label)


def _patches(*, regression: bool) -> Task:
    """Which photograph, or how bright the middle is beside the rim."""
    X, y = _photographs(500, 5)
    if regression:
        grey = X.mean(1)
        y = grey[:, 2:6, 2:6].mean((1, 2)) - grey.mean((1, 2))
    return _task(X, y, (3, 8, 8))


def _sides() -> Task:
    """How much brighter the left of a patch is than its right."""
    X, _ = _photographs(350, 21)
    grey = X.mean(1)
    return _task(X, grey[:, :, :4].mean((1, 2)) - grey[:, :, 4:].mean((1, 2)), (3, 8, 8))


def _quadrants() -> Task:
    """In which quarter of a noisy image a bright spot lies."""
    rng = np.random.default_rng(37)
    centres = rng.uniform(0, 7, (700, 2))
    i, j = np.mgrid[:8, :8]
    square = (i - centres[:, 0, None, None]) ** 2 + (j - centres[:, 1, None, None]) ** 2
    X = 2 * np.exp(-square / 3) + 0.3 * rng.standard_normal((700, 8, 8))
    down, right = (centres > 3.5).T.astype(np.int64)
    return _task(X.reshape(700, 64), 2 * down + right, (1, 8, 8))


def _sequences(*, regression: bool) -> Task:
    """Ten tokens of six numbers: which of two directions is stronger, or a product of means."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((900, 10, 6))
    a, b = rng.standard_normal((2, 6))
    one, two = np.maximum(X @ a, 0).mean(1), np.maximum(X @ b, 0).mean(1)
    y = one * two if regression else (one / one.mean() > two / two.mean()).astype(np.int64)
    return _task(X.reshape(900, 60), y, (10, 6))


def _tokens(*, regression: bool) -> Task:
    """Eight tokens of five numbers: the mean product of two directions, its sign or a root."""
    rng = np.random.default_rng(23)
    X = rng.standard_normal((700, 8, 5))
    a, b = rng.standard_normal((2, 5)) / 5**0.5
    product = ((X @ a) * (X @ b)).mean(1)
    size = np.sqrt(np.square(X @ a).mean(1))
    y = size if regression else (product > np.median(product)).astype(np.int64)
    return _task(X.reshape(700, 40), y, (8, 5))


DEV = {
    "MLP": {"digits": lambda: _digits((64,), moments=False),
            "moment": lambda: _digits((64,), moments=True),
            "breast cancer": lambda: _table("breast_cancer", (30,)),
            "teacher": lambda: _teacher((20,), 3)},
    "ConvNet": {"digits": lambda: _digits((1, 8, 8), moments=False),
                "moment": lambda: _digits((1, 8, 8), moments=True),
                "patches": lambda: _patches(regression=False),
                "brightness": lambda: _patches(regression=True)},
    "transformer": {"digits": lambda: _digits((8, 8), moments=False),
                    "moment": lambda: _digits((8, 8), moments=True),
                    "directions": lambda: _sequences(regression=False),
                    "product": lambda: _sequences(regression=True)},
}  # fmt: skip
TEST = {
    "MLP": {"shells": lambda: _shells(31), "waves": lambda: _teacher_of_waves(29)},
    "ConvNet": {"quadrants": _quadrants, "sides": _sides},
    "transformer": {"sign": lambda: _tokens(regression=False),
                    "size": lambda: _tokens(regression=True)},
}  # fmt: skip
