"""Time one way to a tangent kernel in PyTorch: talweg and its peers, by `turns`.

Called as ``python torch_kernels.py NETWORK N K DTYPE METHOD``. nngeometry needs its own
environment; it has two ways, the Gram matrix itself and the Jacobian followed by one product.
"""

from __future__ import annotations

import sys

import torch
from networks import inputs, network
from turns import serve


def talweg(model, X):
    """The library's own."""
    from talweg import tangent_kernel

    return lambda: tangent_kernel(model, X)


def prepared(model, X):
    """The library's own, recorded and checked before the clock starts, as a peer is compiled."""
    from talweg import TangentKernel

    kernel = TangentKernel(model, X[:2])
    return lambda: kernel(X)


def sample_jacobians(model, X):
    """``(n k, p)`` per-sample Jacobians, flat, and one product."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def single(p, x):
        return torch.func.functional_call(model, p, (x[None],))[0]

    def kernel():
        blocks = torch.func.vmap(torch.func.jacrev(single), (None, 0))(parameters, X)
        J = torch.cat([block.flatten(2) for block in blocks.values()], dim=2)
        n, k = J.shape[:2]
        J = J.flatten(0, 1)
        return (J @ J.T).view(n, k, n, k)

    return kernel


def tutorial(model, X):
    """PyTorch's tutorial: full Jacobians, then einsum, one parameter after the other."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def single(p, x):
        return torch.func.functional_call(model, p, (x[None],))[0]

    def kernel():
        jacobian = torch.func.vmap(torch.func.jacrev(single), (None, 0))(parameters, X)
        blocks = [j.flatten(2) for j in jacobian.values()]
        return sum(torch.einsum("Naf,Mbf->NaMb", j, j) for j in blocks)

    return kernel


def _backend(model, X):
    from nngeometry.backend import TorchHooksJacobianBackend
    from nngeometry.layercollection import LayerCollection
    from torch.utils.data import DataLoader, TensorDataset

    backend = TorchHooksJacobianBackend(
        model=model, layer_collection=LayerCollection.from_model(model)
    )
    return backend, DataLoader(TensorDataset(X), batch_size=len(X))


def nngeometry_gram(model, X):
    """nngeometry's own Gram matrix, (k, n, k, n)."""
    backend, loader = _backend(model, X)
    return lambda: backend.get_gram_matrix(loader).permute(1, 0, 3, 2)


def nngeometry_jacobian(model, X):
    """nngeometry's Jacobian (k, n, p) and one product."""
    backend, loader = _backend(model, X)

    def kernel():
        J = backend.get_jacobian(loader)
        k, n = J.shape[:2]
        J = J.flatten(0, 1)
        return (J @ J.T).view(k, n, k, n).permute(1, 0, 3, 2)

    return kernel


METHODS = {
    f.__name__: f
    for f in (
        talweg, prepared, sample_jacobians, tutorial, nngeometry_gram, nngeometry_jacobian,
    )
}  # fmt: skip


def main() -> None:
    name, n, k, dtype, method = sys.argv[1:]
    kind = getattr(torch, dtype)
    model = network(name, int(k)).to(kind)
    X = inputs(name, int(n)).to(kind)
    METHODS[method](model, X[:2])()  # what a first call imports and looks up
    serve(METHODS[method](model, X), lambda value: value.detach().numpy())


if __name__ == "__main__":
    main()
