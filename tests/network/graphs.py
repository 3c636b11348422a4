"""Models beyond chains, one or more for every kind of operation, with inputs for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talweg.nn import Scale, Sin, SmoothLeakyReLU


class Forward(nn.Module):
    """A model whose forward is a function of itself and the input, over named parts."""

    def __init__(self, function: Callable, **parts: object) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def randomised(model: nn.Module) -> nn.Module:
    """Every parameter and statistic drawn away from the symmetric values of its initialisation."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def images(n: int = 6, channels: int = 3, size: int = 6) -> Tensor:
    return torch.randn(n, channels, size, size)


def sequences(n: int = 6, length: int = 4, width: int = 8) -> Tensor:
    return torch.randn(n, length, width)


def rows(n: int = 6, width: int = 6) -> Tensor:
    return torch.randn(n, width)


def tokens(n: int = 6, length: int = 5) -> Tensor:
    return torch.randint(0, 7, (n, length))


def _head(width: int, outputs: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(width, outputs))


def _of_rows(function: Callable, outputs: int, **parts: object) -> nn.Module:
    """Two hidden layers, then a function of their outputs of width 6, then a linear layer."""
    return Forward(
        lambda m, x: m.last(function(m, m.first(x))),
        first=nn.Sequential(nn.Linear(6, 6), nn.Tanh()), last=nn.Linear(outputs, 2), **parts,
    )  # fmt: skip


def _of_matrices(function: Callable, outputs: int, **parts: object) -> nn.Module:
    """A linear layer on sequences (4, 8), a function of it, then a linear layer on all entries."""
    return Forward(
        lambda m, x: m.last(function(m, m.first(x)).flatten(1)),
        first=nn.Linear(8, 8), last=nn.Linear(outputs, 2), **parts,
    )  # fmt: skip


def _attention(m: nn.Module, x: Tensor) -> Tensor:
    return x + m.attention(x, x, x, need_weights=False)[0]


def _attention_with_weights(m: nn.Module, x: Tensor) -> Tensor:
    y, _ = m.attention(x, x, x)
    return y


def _by_hand(m: nn.Module, x: Tensor) -> Tensor:
    n, length, width = x.shape
    q, k, v = m.qkv(x).chunk(3, dim=-1)
    q, k, v = (t.view(n, length, 2, width // 2).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / (width // 2) ** 0.5
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, width)


def _library_attention(m: nn.Module, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).split(8, dim=2)
    return F.scaled_dot_product_attention(q, k, v) + F.scaled_dot_product_attention(
        q, k, v, scale=0.5
    )


def _encoder(**settings: object) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 12, 0.1, batch_first=True, **settings)


def _add_in_place(m: nn.Module, x: Tensor) -> Tensor:
    h = m.a(x)
    h += x
    return m.b(h)


def _parts(m: nn.Module, x: Tensor) -> Tensor:
    a, b = x[:, 1:3], x[:, :, ::2]
    c, d = x.select(1, -1), x.narrow(2, 2, 3)
    e = x.unbind(1)[2]
    f = x[:, None, -1, 3:5, None][:, 0, :, 0]
    return torch.cat((a.flatten(1), b.flatten(1), c, d.flatten(1), e, x[:, 0], f), dim=1)


def _views(m: nn.Module, x: Tensor) -> Tensor:
    y = x.unflatten(2, (2, 4)).permute(0, 3, 1, 2).movedim(1, 2).swapaxes(1, -1)
    y = y.reshape(x.size(0), -1, 4).mT.unsqueeze(1).squeeze(1).view(-1, 4, 8)
    return torch.stack([y, x], dim=2).contiguous()


def _shared(m: nn.Module, x: Tensor) -> Tensor:
    return m.last(torch.tanh(m.layer(torch.tanh(m.layer(x)))))


def _tied(m: nn.Module, x: Tensor) -> Tensor:
    return F.linear(torch.tanh(m.table(x)).mean(1), m.table.weight)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "linear on sequences": (lambda: _of_matrices(lambda m, x: x, 32), sequences),
    "conv2d": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Tanh(),
            nn.Conv2d(4, 6, (2, 1), groups=2, bias=False), nn.SiLU(), _head(36),
        ),
        images,
    ),
    "conv2d same and dilation": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 3, 3, padding="same", dilation=2, groups=3), nn.GELU(),
            nn.Conv2d(3, 2, 2, padding="valid"), _head(50),
        ),
        images,
    ),
    "conv1d": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 5, 3, padding=(2,), dilation=2), nn.Sigmoid(), _head(40)
        ),
        sequences,
    ),
    "functional convolutions": (
        lambda: Forward(
            lambda m, x: m.last(F.conv2d(F.conv2d(x, m.w, m.b, 1, 1), m.v).flatten(1)),
            w=nn.Parameter(torch.zeros(2, 3, 3, 3)), b=nn.Parameter(torch.zeros(2)),
            v=torch.randn(3, 2, 2, 2), last=nn.Linear(75, 2),
        ),
        images,
    ),
    "average pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 2, 1), nn.AvgPool2d(3, 2, padding=1), nn.Tanh(),
            nn.AvgPool2d((3, 1), ceil_mode=True), _head(6),
        ),
        images,
    ),
    "average pooling 1d": (
        lambda: nn.Sequential(nn.Linear(8, 8), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(2), _head(8)),
        sequences,
    ),
    "adaptive pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d((3, None)), nn.Tanh(),
            nn.AdaptiveAvgPool2d(1), _head(4),
        ),
        images,
    ),
    "functional pooling": (
        lambda: Forward(
            lambda m, x: m.last(F.adaptive_avg_pool2d(F.avg_pool2d(m.a(x), 2), (1, 3)).flatten(1)),
            a=nn.Conv2d(3, 2, 1), last=nn.Linear(6, 2),
        ),
        images,
    ),
    "residual": (
        lambda: Forward(
            lambda m, x: m.b(x + torch.tanh(m.a(x))), a=nn.Linear(6, 6), b=nn.Linear(6, 2)
        ),
        rows,
    ),
    "residual in place": (
        lambda: Forward(_add_in_place, a=nn.Linear(6, 6), b=nn.Linear(6, 2)), rows,
    ),
    "sums and differences": (
        lambda: _of_rows(
            lambda m, x: torch.add(x, m.a(x)).sub(torch.sub(m.b(x), x)) - m.a(x), 6,
            a=nn.Linear(6, 6), b=nn.Linear(6, 6),
        ),
        rows,
    ),
    "heads of one number": (
        lambda: Forward(
            lambda m, x: m.a(x).squeeze(-1) - m.b(x)[:, 0], a=nn.Linear(6, 1), b=nn.Linear(6, 1)
        ),
        rows,
    ),
    "shifts": (
        lambda: _of_matrices(
            lambda m, x: (m.c - (torch.tanh(x + m.a) - m.b)) + m.d + m.e, 32,
            a=nn.Parameter(torch.zeros(1, 4, 8)), b=torch.randn(8),
            c=nn.Parameter(torch.zeros(4, 1)), d=nn.Parameter(torch.zeros(1)),
            e=nn.Parameter(torch.zeros(1, 1, 8)),
        ),
        sequences,
    ),
    "factors": (
        lambda: _of_matrices(
            lambda m, x: m.c * (torch.tanh(x * m.a) * m.b), 32,
            a=nn.Parameter(torch.ones(4, 8)), b=torch.randn(1, 4, 1), c=nn.Parameter(torch.ones(8)),
        ),
        sequences,
    ),
    "channel factors": (
        lambda: Forward(
            lambda m, x: m.last((m.conv(x) * m.gain + m.shift).flatten(1)),
            conv=nn.Conv2d(3, 2, 3), gain=nn.Parameter(torch.ones(2, 1, 1)),
            shift=nn.Parameter(torch.ones(1, 2, 1, 4)), last=nn.Linear(32, 2),
        ),
        images,
    ),
    "joins": (
        lambda: Forward(
            lambda m, x: m.last(torch.cat([x, m.a(x).tanh(), m.b(x)], -1)),
            a=nn.Linear(6, 3), b=nn.Linear(6, 2), last=nn.Linear(11, 2),
        ),
        rows,
    ),
    "layer norm": (
        lambda: nn.Sequential(
            nn.Linear(8, 8), nn.LayerNorm(8), nn.Tanh(), nn.LayerNorm((4, 8), bias=False),
            nn.LayerNorm(8, elementwise_affine=False, eps=0.1), _head(32),
        ),
        sequences,
    ),
    "functional layer norm": (
        lambda: _of_rows(lambda m, x: F.layer_norm(x, (6,), m.w, m.b), 6,
                         w=nn.Parameter(torch.ones(6)), b=nn.Parameter(torch.ones(6))),
        rows,
    ),
    "group norm": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.GroupNorm(4, 4, affine=False),
            _head(64),
        ),
        images,
    ),
    "group norm on rows": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.GroupNorm(2, 6), nn.Linear(6, 1)), rows,
    ),
    "batch norm": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.BatchNorm2d(4, affine=False),
            _head(64),
        ),
        images,
    ),
    "batch norm 1d": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)), rows,
    ),
    "batch norm on sequences": (
        lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(8, 3), _head(12)), sequences,
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 4), nn.Tanh(), _head(20)), tokens,
    ),
    "embedding with positions": (
        lambda: Forward(
            lambda m, x: m.last(torch.tanh(m.table(x) + m.positions).mean(dim=1)),
            table=nn.Embedding(7, 4), positions=nn.Parameter(torch.zeros(5, 4)),
            last=nn.Linear(4, 2),
        ),
        tokens,
    ),
    "bilinear": (
        lambda: Forward(
            lambda m, x: m.c(m.a(x), m.b(x)),
            a=nn.Linear(6, 3), b=nn.Linear(6, 4), c=nn.Bilinear(3, 4, 2),
        ),
        rows,
    ),
    "products": (
        lambda: _of_rows(lambda m, x: (x * m.a(x)) + x**2 - m.a(x).square().pow(2), 6,
                         a=nn.Linear(6, 6)),
        rows,
    ),
    "matrix products": (
        lambda: _of_matrices(
            lambda m, x: torch.bmm(x @ x.mT, x).matmul(x.transpose(1, 2)), 16
        ),
        sequences,
    ),
    "softmax": (
        lambda: _of_matrices(
            lambda m, x: F.softmax(x, dim=-1) * torch.softmax(x, 1) + m.s(x), 32, s=nn.Softmax(2)
        ),
        sequences,
    ),
    "softmax at the end": (lambda: nn.Sequential(nn.Linear(6, 3), nn.Softmax(dim=1)), rows),
    "means": (
        lambda: _of_matrices(
            lambda m, x: torch.cat(
                [x.mean(1), torch.mean(x, -1), x.sum(2), x.mean((1, 2), keepdim=True)[:, 0]], 1
            ), 17,
        ),
        sequences,
    ),
    "attention": (
        lambda: _of_matrices(
            _attention, 32, attention=nn.MultiheadAttention(8, 2, batch_first=True)
        ),
        sequences,
    ),
    "attention with weights": (
        lambda: _of_matrices(
            _attention_with_weights, 32,
            attention=nn.MultiheadAttention(8, 4, bias=False, batch_first=True),
        ),
        sequences,
    ),
    "attention by hand": (lambda: _of_matrices(_by_hand, 32, qkv=nn.Linear(8, 24)), sequences),
    "library attention": (
        lambda: _of_matrices(_library_attention, 32, qkv=nn.Linear(8, 24)), sequences,
    ),
    "encoder layer": (lambda: nn.Sequential(_encoder(activation="gelu"), _head(32)), sequences),
    "encoder layer, norm first": (
        lambda: nn.Sequential(_encoder(activation=nn.Tanh(), norm_first=True), _head(32)),
        sequences,
    ),
    "encoder": (
        lambda: nn.Sequential(
            nn.TransformerEncoder(
                _encoder(activation=F.silu), 2, nn.LayerNorm(8), enable_nested_tensor=False
            ),
            _head(32),
        ),
        sequences,
    ),
    "parts": (lambda: _of_matrices(_parts, 70), sequences),
    "views": (lambda: _of_matrices(_views, 64), sequences),
    "flatten, unflatten": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (2, 3)), nn.Linear(3, 2), nn.Tanh(), nn.Flatten(1, 2), nn.Linear(4, 1),
            nn.Flatten(0),
        ),
        rows,
    ),
    "shared layer": (
        lambda: Forward(_shared, layer=nn.Linear(6, 6), last=nn.Linear(6, 2)), rows,
    ),
    "tied table": (lambda: Forward(_tied, table=nn.Embedding(7, 4)), tokens),
    "activations on images": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 2, 1), SmoothLeakyReLU(0.1), Sin(), nn.Softplus(), Scale(1.0, 3.0),
            nn.Dropout2d(0.5), nn.Identity(), _head(72),
        ),
        images,
    ),
    "rows of images": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(108, 4), nn.Tanh(), nn.Linear(4, 2)), images,
    ),
}  # fmt: skip
