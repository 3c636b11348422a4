"""Several processes that train one model on shards of a batch, and measure as one.

Collective calls must come in the same order everywhere, or all processes wait for ever. So nothing
that a clock or a rounding error decides may decide about a collective call: what is due is decided
by rank 0 and told to the others, and Lanczos runs on rank 0 alone, which asks the others for one
Hessian product at a time and says when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.monitor._undisturbed import plain

T = TypeVar("T")
Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Processes:
    """The processes of one group, seen from one of them.

    Attributes:
        group: Their group.
        rank: Of this one within the group.
        count: How many they are, at least 2.
        device: Where the model is, and so where tensors are exchanged.
    """

    group: Any
    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the one that decides, logs and keeps records."""
        return self.rank == 0

    def told(self, value: T) -> T:
        """The value that rank 0 has."""
        box = [value]
        dist.broadcast_object_list(box, self._root, group=self.group, device=self.device)
        return box[0]

    def smallest(self, value: int) -> int:
        """The smallest of one whole number each."""
        box = torch.tensor(value, device=self.device)
        dist.all_reduce(box, dist.ReduceOp.MIN, group=self.group)
        return int(box)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of one tensor each; the given one is overwritten if it is contiguous."""
        tensor = tensor.contiguous()
        dist.all_reduce(tensor, group=self.group)
        return tensor

    def gathered(self, table: Tensor) -> Tensor:
        """The rows of one table each, rank after rank, on the table's device."""
        mine = table.to(self.device).contiguous()
        found = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(found, mine, group=self.group)
        return torch.cat(found).to(table.device)

    @contextmanager
    def joint(self, product: Product, like: Tensor) -> Iterator[Product | None]:
        """The mean of one symmetric operator each, as an operator that rank 0 may use freely.

        Args:
            product: v -> A v of this process, flat.
            like: A vector of its size, dtype and device.

        Yields:
            On rank 0 the mean operator; elsewhere None, after all that rank 0 asked for is done.
        """
        if self.leads:

            def asked(v: Tensor) -> Tensor:
                self._signal(1)
                dist.broadcast(v.contiguous(), self._root, group=self.group)
                return self.total(product(v)) / self.count

            try:
                yield asked
            finally:
                self._signal(0)
        else:
            v = torch.empty_like(like)
            while self._signal(0):
                dist.broadcast(v, self._root, group=self.group)
                self.total(product(v))
            yield None

    def _signal(self, value: int) -> int:
        box = torch.tensor(value, device=self.device)
        dist.broadcast(box, self._root, group=self.group)
        return int(box)

    @property
    def _root(self) -> int:
        return int(dist.get_global_rank(self.group, 0))


def processes_of(model: nn.Module, distributed: bool | None) -> Processes | None:
    """The processes that share the training of this model; None if there is one, or is to be.

    Args:
        model: The model as it is trained, with its wrappers.
        distributed: None: those of DistributedDataParallel, if the model is wrapped in it. True:
            all processes where it is not wrapped. False: none.

    Raises:
        InputError: True without an initialised process group, or parameters in shards, of which no
            process can evaluate the model alone.
    """
    sharded = {type(m).__name__ for m in model.modules()} & {"FullyShardedDataParallel"}
    sharded |= {type(p).__name__ for p in model.parameters()} & {"DTensor"}
    if sharded:
        raise InputError(
            "model of Monitor: parameters that every process holds whole are required; got "
            f"{' and '.join(sorted(sharded))}; measure a copy that is not sharded"
        )
    if distributed is False:
        return None
    ready = dist.is_available() and dist.is_initialized()
    if distributed and not ready:
        raise InputError(
            "distributed of Monitor: an initialised process group is required for True; got none; "
            "call torch.distributed.init_process_group first, or leave it None"
        )
    wrapper = _wrapper(model)
    if not ready or (wrapper is None and not distributed):
        return None
    group = wrapper.process_group if wrapper is not None else dist.group.WORLD
    count = dist.get_world_size(group)
    if count < 2:
        return None
    device = next((p.device for p in plain(model).parameters()), torch.device("cpu"))
    return Processes(group, dist.get_rank(group), count, device)


def _wrapper(model: nn.Module) -> nn.parallel.DistributedDataParallel | None:
    current: Any = model
    while isinstance(current, nn.Module):
        if isinstance(current, nn.parallel.DistributedDataParallel):
            return current
        current = getattr(current, "_orig_mod", None)
    return None
