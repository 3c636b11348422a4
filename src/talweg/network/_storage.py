"""Which parameters share memory.

Gradient descent on tensors that overlap is not gradient descent in the coordinates that the
parameter list names, so overlap is found by address, whatever names or views hide it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def byte_range(tensor: Tensor) -> tuple[int, int]:
    """First address of a strided tensor and one past its last byte; ``(0, 0)`` when it is empty."""
    if tensor.numel() == 0:
        return 0, 0
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()


def overlaps_itself(tensor: Tensor) -> bool:
    """Whether two entries may share memory, as in an expanded or overlapping strided view.

    Sorted by stride, each stride must exceed the extent of the dimensions before it; this is
    sufficient for distinct entries, and every tensor that torch allocates meets it.
    """
    steps = sorted(
        (step, size) for size, step in zip(tensor.shape, tensor.stride(), strict=True) if size > 1
    )
    extent = 0
    for step, size in steps:
        if step <= extent:
            return True
        extent += (size - 1) * step
    return False


def _addresses(tensor: Tensor) -> Tensor:
    """Address of every byte of every entry, ``(numel * itemsize,)`` int64."""
    offsets = torch.zeros((), dtype=torch.int64, device="cpu")
    for size, step in zip(tensor.shape, tensor.stride(), strict=True):
        offsets = offsets[..., None] + torch.arange(size, device="cpu") * step
    itemsize = tensor.element_size()
    return (
        tensor.data_ptr() + offsets.reshape(-1, 1) * itemsize + torch.arange(itemsize, device="cpu")
    ).reshape(-1)


def shared_bytes(first: Tensor, second: Tensor) -> bool:
    """Whether two strided tensors have a byte in common; interleaved views without one do not."""
    a, b = byte_range(first), byte_range(second)
    if first.device != second.device or max(a[0], b[0]) >= min(a[1], b[1]):
        return False
    return bool(torch.isin(_addresses(first), _addresses(second)).any())


def overlapping_pairs(named: Sequence[tuple[str, Tensor]]) -> Iterable[tuple[str, str]]:
    """Pairs of names of different tensors with memory in common, at least one of them trainable.

    Args:
        named: Distinct tensor objects with their names, strided, on any device.

    Yields:
        The two names, in order of address.
    """
    ordered = sorted(
        ((*byte_range(t), name, t) for name, t in named if t.numel()), key=lambda item: item[:3]
    )
    for index, (_, end, name, tensor) in enumerate(ordered):
        for start, _, other, candidate in ordered[index + 1 :]:
            if start >= end:
                break
            trainable = tensor.requires_grad or candidate.requires_grad
            if trainable and shared_bytes(tensor, candidate):
                yield name, other
