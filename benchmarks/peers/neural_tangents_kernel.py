"""Time one neural-tangents method on one network; runs in its own environment, by `turns`.

Called as ``python neural_tangents_kernel.py PROBLEM.npz METHOD {vmap|batch}``. The problem holds
the network's name, its inputs and its parameters in PyTorch's layout.
"""

from __future__ import annotations

import sys

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402  (x64 must be set first)
import neural_tangents as nt  # noqa: E402
from turns import serve  # noqa: E402


def dense(parameters, x):
    """Weights ``(d_in, d_out)``, because a transpose here hides the layer.

    STRUCTURED_DERIVATIVES has a rule for ``dot_general`` on a parameter, none for one on the
    transpose of a parameter: with PyTorch's layout it is 200 times slower.
    """
    weight, bias = parameters
    return x @ weight + bias


def conv(parameters, x, stride=1):
    """A 3 by 3 convolution with padding 1, channels last, the layout that XLA is fast with."""
    weight, bias = parameters
    return (
        jax.lax.conv_general_dilated(
            x, weight, (stride, stride), ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        + bias
    )  # fmt: skip


def mlp(p, x):
    x = jnp.tanh(dense(p[0], x))
    x = jnp.tanh(dense(p[1], x))
    return dense(p[2], x)


def resmlp(p, x):
    x = dense(p[0], x)
    for block in (1, 3):
        x = x + dense(p[block + 1], jnp.tanh(dense(p[block], x)))
    return dense(p[5], jnp.tanh(x))


def convnet(p, x):
    x = jax.nn.relu(conv(p[0], x))
    x = jax.nn.relu(conv(p[1], x, 2))
    x = jax.nn.relu(conv(p[2], x, 2))
    return dense(p[3], x.reshape(len(x), -1))


def resconv(p, x):
    x = conv(p[0], x)
    for block in (1, 3):
        x = x + conv(p[block + 1], jax.nn.relu(conv(p[block], jax.nn.relu(x))))
    x = jax.nn.relu(x)
    n, h, w, c = x.shape
    x = x.reshape(n, h // 4, 4, w // 4, 4, c).mean((2, 4))
    return dense(p[5], x.reshape(n, -1))


def layers(problem):
    """(weight, bias) of each layer, turned from PyTorch's layout into channels last."""
    found = []
    channels = 0
    for t in range(int(problem["layers"])):
        weight, bias = problem[f"weight{t}"], problem[f"bias{t}"]
        if weight.ndim == 4:
            channels = len(weight)
            weight = weight.transpose(2, 3, 1, 0)
        else:
            if channels:  # flattened images: (o, c h w) to (o, h w c)
                weight = weight.reshape(len(weight), channels, -1).transpose(0, 2, 1)
                weight = weight.reshape(len(weight), -1)
            weight = weight.T
        found.append((jnp.asarray(weight.copy()), jnp.asarray(bias)))
    return found


def main() -> None:
    problem = np.load(sys.argv[1])
    method = nt.NtkImplementation[sys.argv[2]]
    function = {"mlp": mlp, "resmlp": resmlp, "convnet": convnet, "resconv": resconv}[
        str(problem["name"])
    ]
    x = problem["x"]
    x = jnp.asarray(x.transpose(0, 2, 3, 1).copy() if x.ndim == 4 else x)
    parameters = layers(problem)
    # trace_axes=() asks for all outputs; the batch axis is vectorised by the method or by vmap.
    vmap_axes = 0 if sys.argv[3] == "vmap" else None
    kernel = jax.jit(
        nt.empirical_ntk_fn(function, trace_axes=(), vmap_axes=vmap_axes, implementation=method),
        static_argnums=1,
    )
    compiled = kernel.lower(x, None, parameters).compile()
    serve(
        lambda: compiled(x, parameters).block_until_ready(),
        # (n, n, k, k) -> (n, k, n, k)
        lambda value: np.asarray(value).transpose(0, 2, 1, 3),
    )


if __name__ == "__main__":
    main()
