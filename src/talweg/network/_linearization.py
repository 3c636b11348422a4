"""Values, cotangents and the tangent kernel at the stored weights, as enclosures.

With multiplicities m_i the outputs of row i are multiplied by sqrt(m_i), so the residuals are those
of the unmerged data set up to a rotation and

    K = J J^T = sum_l (G_l G_l^T) o (H~_{l-1} H~_{l-1}^T)          (theory B2; J is never formed)

with G_l = dF/dz_l stacked over (sample, output) and H~ the extended inputs. Layers whose parameters
are frozen have no term.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.enclosure import Ball, gram, norm_upper
from talweg.network._graph import Network
from talweg.network._stage_form import StageForm, stage_form
from talweg.network.layers import linear


@dataclass(frozen=True, eq=False)
class Linearization:
    """A network at its stored weights on n rows; lists are indexed by the stage, 0 for the input.

    Attributes:
        form: The stages.
        root: ``sqrt(m_i)``, ball ``(n,)``.
        z: ``z[l]`` ``(n, d_l)``; ``z[0]`` is the input batch.
        h: ``h[l]`` ``(n, d_l)``; ``h[L]`` are the outputs, not scaled by the root.
        first: ``psi_l'(z_l)``, ``(n, d_l)``.
        second: ``psi_l''(z_l)``, ``(n, d_l)``.
        extended: ``extended[l]`` the extended input of stage l, ``(n, c_l)``; ``[0]`` unused.
        cotangent_h: ``dF/dh_l``, ``(n, k, d_l)``, scaled by the root; ``[0]`` unused.
        cotangent_z: ``dF/dz_l``, ``(n, k, d_l)``, scaled by the root; ``[0]`` unused.
        network: What was evaluated.
        counts: The multiplicities, ``(n,)``.
    """

    form: StageForm
    root: Ball
    z: tuple[Ball, ...]
    h: tuple[Ball, ...]
    first: tuple[Ball, ...]
    second: tuple[Ball, ...]
    extended: tuple[Ball, ...]
    cotangent_h: tuple[Ball, ...]
    cotangent_z: tuple[Ball, ...]
    network: Network
    counts: Tensor

    @property
    def depth(self) -> int:
        """Number L of stages."""
        return len(self.form.stages)

    @property
    def outputs(self) -> Ball:
        """``(n, k)``, not scaled by the root."""
        return self.h[-1]

    @property
    def residual_dim(self) -> int:
        """Number N of residual entries, rows times outputs."""
        n, k = self.h[-1].shape
        return n * k


def linearize(network: Network, X: Tensor, multiplicity: Tensor | None = None) -> Linearization:
    """Evaluate a chain and its cotangents on every row, as enclosures.

    Args:
        network: A chain.
        X: Inputs ``(n, d)``, floating point, read exactly.
        multiplicity: ``(n,)`` integers >= 1, how often each row stands in the data; None is 1.

    Returns:
        The linearization, on the device of ``X``.
    """
    form = stage_form(network)
    x = Ball.exact(X)
    counts = torch.ones(len(X), device=X.device) if multiplicity is None else multiplicity
    root = Ball.exact(counts.to(torch.float64)).sqrt()

    value, first_0, second_0 = form.entry.jet(x)
    z, h, first, second = [x], [value], [first_0], [second_0]
    extended = [value[:, :0]]
    for stage in form.stages:
        extended.append(linear.extended_input(stage.linear, h[-1]))
        z.append(linear.value(stage.linear, h[-1]))
        value, d1, d2 = stage.pointwise.jet(z[-1])
        h.append(value)
        first.append(d1)
        second.append(d2)

    n, k = h[-1].shape
    identity = Ball.exact(torch.eye(k, dtype=torch.float64, device=X.device).expand(n, k, k))
    g_h = identity * root.reshape(n, 1, 1)
    cotangent_h, cotangent_z = [g_h], [g_h * first[-1].reshape(n, 1, k)]
    for position in range(len(form.stages) - 1, 0, -1):
        g_h = linear.cotangent(form.stages[position].linear, cotangent_z[0])  # (n, k, d_{l-1})
        d1 = first[position]
        cotangent_h.insert(0, g_h)
        cotangent_z.insert(0, g_h * d1.reshape(n, 1, d1.shape[1]))
    unused = identity[:, :, :0]
    return Linearization(
        form, root, tuple(z), tuple(h), tuple(first), tuple(second), tuple(extended),
        (unused, *cotangent_h), (unused, *cotangent_z), network, counts,
    )  # fmt: skip


def kernel_ball(state: Linearization) -> Ball:
    """Enclosure of the tangent kernel, ``(N, N)`` with a symmetric midpoint; N = n k.

    Row ``i k + o`` belongs to output o of sample i.
    """
    n, k = state.h[-1].shape
    total: Ball | None = None
    for position in range(1, state.depth + 1):
        if not state.form.stages[position - 1].is_trainable:
            continue
        g = state.cotangent_z[position].reshape(n * k, -1)
        outputs = gram(g, bound="norms")
        inputs = gram(state.extended[position], bound="norms")
        if k > 1:
            inputs = inputs.reshape(n, 1, n, 1)
            term = (outputs.reshape(n, k, n, k) * inputs).reshape(n * k, n * k)
        else:
            term = outputs * inputs
        total = term if total is None else total + term
    if total is None:
        zeros = torch.zeros(n * k, n * k, dtype=torch.float64, device=state.h[-1].device)
        return Ball.exact(zeros)
    return total.symmetrized()


def residual_norm_bound(state: Linearization, targets: Tensor) -> float:
    """Upper bound of ``|F(w0) - y|`` over the unmerged data.

    Args:
        state: The linearization.
        targets: ``(n, k)`` targets of the merged rows, read exactly.
    """
    n, _ = state.h[-1].shape
    residual = (state.h[-1] - Ball.exact(targets)) * state.root.reshape(n, 1)
    return float(norm_upper(residual.magnitude_upper()))
