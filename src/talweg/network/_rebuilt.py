"""A graph as a module: the nodes are run one by one, the tensors are its parameters."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from talweg.network._graph import Network, Node, Parametric


class GraphModule(nn.Module):
    """Runs a network that is no chain, in float64, with the parameter names of its model.

    A reading of it gives the nodes back. Frozen tensors are parameters without gradient, whether
    they were parameters or buffers of the model.

    Args:
        network: Any network.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        for slot in network.slots():
            owner, leaf = self._owner(slot.name)
            if leaf not in owner._parameters:
                with torch.inference_mode(False):
                    value = slot.tensor.detach().to(torch.float64, copy=True)
                    owner.register_parameter(leaf, nn.Parameter(value, slot.trainable))
        self._talweg_network = dataclasses.replace(
            network, nodes=tuple(map(_hollow, network.nodes))
        )

    @property
    def graph(self) -> Network:
        """The network with the shapes of its tensors alone."""
        return self._talweg_network  # no name that a part of a model is likely to have

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        """The module that holds a tensor of this name, made where it is missing, and its leaf."""
        *path, leaf = name.split(".")
        owner: nn.Module = self
        for part in path:
            child = owner._modules.get(part)
            if child is None:
                child = nn.Module()
                owner.add_module(part, child)
            owner = child
        return owner, leaf

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(n, k)``, or ``(n,)`` where the model returned these, of ``(n, *shape)``."""
        from talweg.network._evaluate import evaluated_with

        y = evaluated_with(self._talweg_network, x, dict(self.named_parameters()))
        return y.reshape(-1) if self._talweg_network.flat_output else y


def _hollow(node: Node) -> Node:
    """The node with the shapes of its tensors alone; their values are the module's parameters."""
    operation = node.operation
    if not isinstance(operation, Parametric):
        return node
    bias = None if operation.bias is None else operation.bias.to("meta")
    hollow = dataclasses.replace(operation, weight=operation.weight.to("meta"), bias=bias)
    return Node(hollow, node.inputs)
