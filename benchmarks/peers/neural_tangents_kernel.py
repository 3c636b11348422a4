"""Time one neural-tangents method on one problem; runs in its own environment.

Called as ``python neural_tangents_kernel.py PROBLEM.npz METHOD {vmap|batch}``. Loads the weights
and inputs, compiles and warms up, prints ``ready``, then answers every line ``run`` on stdin with
the seconds of one evaluation, and every line ``save PATH`` by writing the kernel as ``(n, k, n,
k)``.
"""

from __future__ import annotations

import sys
import time

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402  (x64 must be set first)
import neural_tangents as nt  # noqa: E402


def mlp(weights, x):
    """A tanh network; weights ``(d_in, d_out)``, because a transpose here hides the layer.

    STRUCTURED_DERIVATIVES has a rule for ``dot_general`` on a parameter, none for one on the
    transpose of a parameter: with PyTorch's layout it is 200 times slower.
    """
    for weight, bias in weights[:-1]:
        x = jnp.tanh(x @ weight + bias)
    weight, bias = weights[-1]
    return x @ weight + bias


def main() -> None:
    problem = np.load(sys.argv[1])
    method = nt.NtkImplementation[sys.argv[2]]
    layers = int(problem["layers"])
    weights = [
        (jnp.asarray(problem[f"weight{t}"].T.copy()), jnp.asarray(problem[f"bias{t}"]))
        for t in range(layers)
    ]
    x = jnp.asarray(problem["x"])
    # trace_axes=() asks for all outputs; the batch axis is vectorised by the method or by vmap.
    vmap_axes = 0 if sys.argv[3] == "vmap" else None
    kernel = jax.jit(
        nt.empirical_ntk_fn(mlp, trace_axes=(), vmap_axes=vmap_axes, implementation=method)
    )
    value = kernel(x, None, weights).block_until_ready()
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        if command == "save":
            # (n, n, k, k) -> (n, k, n, k)
            np.save(path, np.asarray(value).transpose(0, 2, 1, 3))
            print("saved", flush=True)
            continue
        start = time.perf_counter()
        value = kernel(x, None, weights).block_until_ready()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
