"""Settings of layers beyond chains that have no reading, each refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.network.graphs import Forward, images, rows, sequences, tokens
from torch import Tensor, nn

from talweg._errors import InputError, TalwegError, UnsupportedModelError
from talweg.network import read, rounding_not_covered


def _refused(
    model: nn.Module, X: Tensor, *words: str, error: type[TalwegError] = UnsupportedModelError
) -> None:
    with pytest.raises(error) as caught:
        read(model.eval(), X)
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


IMAGE_LAYERS: list[tuple[Any, tuple[str, ...]]] = [
    (lambda: nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"), ("padding_mode='circular'",)),
    (lambda: nn.Conv2d(3, 2, 2, padding="same"), ("pads by 'same'", "odd kernel")),
    (lambda: nn.Conv2d(4, 2, 3), ("a convolution on values (n, 3, 6, 6)", "do not fit")),
    (lambda: nn.Conv2d(3, 2, 7), ("a convolution on values (n, 3, 6, 6)", "do not fit")),
    (lambda: nn.Conv1d(3, 2, 3), ("a convolution over 1 axes on values (n, 3, 6, 6)",)),
    (lambda: nn.AvgPool2d(3, padding=1, count_include_pad=False), ("leaves its padding",)),
    (lambda: nn.AvgPool2d(4, ceil_mode=True), ("ceil_mode=True", "do not fit (n, 3, 6, 6)")),
    (lambda: nn.AvgPool2d(2, divisor_override=3), ("divisor_override=3",)),
    (lambda: nn.AvgPool1d(2), ("pools over 1 axes",)),
    (lambda: nn.AdaptiveAvgPool2d(4), ("to the output size (4, 4)", "unequal size")),
    (lambda: nn.LayerNorm(5), ("normalises the last axes (5,)",)),
    (lambda: nn.GroupNorm(2, 4), ("normalises 2 groups of channels of values (n, 3, 6, 6)",)),
    (lambda: nn.BatchNorm2d(3, track_running_stats=False), ("holds no running mean",)),
    (lambda: nn.BatchNorm1d(3), ("a BatchNorm1d on values (n, 3, 6, 6)",)),
    (lambda: nn.Softmax(dim=0), ("along dimension 0", "which is the batch")),
    (lambda: nn.Unflatten(0, (2, 3)), ("along dimension 0", "which is the batch")),
    (lambda: nn.Softmax(), ("names the dimension None",)),
]


@pytest.mark.parametrize(("layer", "words"), IMAGE_LAYERS)
def test_layers_on_images(layer, words):
    _refused(nn.Sequential(layer(), nn.Flatten()), images(), *words)


def _encoder(**settings: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 12, **{"batch_first": True, **settings})


def _with(module: nn.Module, **attributes: Any) -> nn.Module:
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


class _Mine(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


SEQUENCE_LAYERS: list[tuple[Any, tuple[str, ...]]] = [
    (lambda: _encoder(activation="gelu", batch_first=False), ("batch_first=False",)),
    (lambda: _encoder(), ("activation relu", 'activation="gelu"')),
    (
        lambda: _with(_encoder(activation="gelu"), linear1=_Mine(8, 12)),
        ("module '0.linear1' was replaced by a _Mine",),
    ),
    (
        lambda: _with(_encoder(activation="gelu"), linear1=nn.Identity()),
        ("module '0.linear1' was replaced by a Identity",),
    ),
    (
        lambda: nn.TransformerEncoder(
            _encoder(activation="gelu"), 1, nn.RMSNorm(8), enable_nested_tensor=False
        ),
        ("module '0.norm' is a RMSNorm",),
    ),
]


@pytest.mark.parametrize(("layer", "words"), SEQUENCE_LAYERS)
def test_layers_on_sequences(layer, words):
    _refused(nn.Sequential(layer(), nn.Flatten()), sequences(), *words)


ATTENTIONS: list[tuple[dict[str, Any], Any, tuple[str, ...]]] = [
    ({"batch_first": False}, lambda m, x: m.a(x, x, x)[0], ("has batch_first=False",)),
    ({"add_bias_kv": True}, lambda m, x: m.a(x, x, x)[0], ("adds a bias to its keys",)),
    ({"add_zero_attn": True}, lambda m, x: m.a(x, x, x)[0], ("adds a row of zeros",)),
    ({"kdim": 8, "vdim": 4}, lambda m, x: m.a(x, x, x)[0], ("has kdim or vdim",)),
    ({}, lambda m, x: m.a(x, x, 2 * x)[0], ("of one tensor to another", "self-attention")),
    ({}, lambda m, x: m.a(x, x, x, attn_mask=m.mask)[0], ("with a mask",)),
    ({}, lambda m, x: m.a(x, x, x, is_causal=True)[0], ("with a mask",)),
    ({}, lambda m, x: m.a(x, x, x)[1], ("returns no activations (AttentionWeights)",)),
    ({}, lambda m, x: m.a(x, x, x), ("returns several values (tuple)",)),
    ({}, lambda m, x: m.a(x, x)[0], ("with arguments that have no reading",)),
    ({}, lambda m, x: m.a(x[:, 0], x[:, 0], x[:, 0])[0], ("of one tensor to another",)),
]


@pytest.mark.parametrize(("settings", "forward", "words"), ATTENTIONS)
def test_attention(settings, forward, words):
    attention = nn.MultiheadAttention(8, 2, **{"batch_first": True, **settings})
    model = Forward(
        lambda m, x: forward(m, x),
        a=attention, mask=torch.zeros(4, 4),
    )  # fmt: skip
    _refused(model, sequences(), *words)


def test_active_dropout_in_attention():
    model = Forward(
        lambda m, x: m.a(x, x, x)[0].flatten(1),
        a=nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True),
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="draws dropout"):
        read(model.train(), sequences())
    with pytest.raises(UnsupportedModelError, match="is an active Dropout"):
        read(nn.Sequential(_encoder(activation="gelu"), nn.Flatten()).train(), sequences())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"padding_idx": 0}, "padding_idx=0"),
        ({"max_norm": 1.0}, "max_norm=1.0"),
        ({"scale_grad_by_freq": True}, "scale_grad_by_freq=True"),
        ({"sparse": True}, "sparse=True"),
    ],
)
def test_embeddings(settings, words):
    model = nn.Sequential(nn.Embedding(7, 3, **settings), nn.Flatten(), nn.Linear(15, 1))
    _refused(model, tokens(), "module '0' is an Embedding with", words)


def test_whole_inputs_are_for_embeddings_alone():
    table = nn.Sequential(nn.Embedding(4, 3), nn.Flatten())
    _refused(table, tokens().clamp(max=3).float(), "no int64 inputs", "of dtype int64")
    words = "computes with the inputs, which are torch.int64"
    _refused(nn.Sequential(nn.Linear(5, 1)), tokens(), words, error=InputError)
    _refused(table, tokens() + 1, "from 0 to 3", "got 1 to", error=InputError)
    _refused(table, tokens() - 1, "from 0 to 3", "got -1 to", error=InputError)
    first = Forward(lambda m, x: m.a(x[:, 1:]).flatten(1), a=nn.Embedding(7, 3))
    _refused(first, tokens(), words, error=InputError)
    functional = Forward(lambda m, x: F.embedding(x, m.a, padding_idx=1), a=torch.randn(7, 3))
    _refused(functional, tokens(), "an embedding with padding_idx")
    _refused(table, tokens() + 2**53, "whole numbers below 2^53", error=InputError)


def test_parameters_that_do_not_stand_beside_each_other_are_refused():
    def added(shape: tuple[int, ...]) -> nn.Module:
        return Forward(lambda m, x: (x + m.w).flatten(1), w=nn.Parameter(torch.zeros(shape)))

    for shape in ((), (3,), (6, 4, 8), (1, 1, 4, 8), (2, 4, 8)):
        _refused(added(shape), sequences(), "combines values (n, 4, 8) with 'w'", "repeated")
    wide = Forward(lambda m, x: x[:, :, :1] + m.w, w=nn.Parameter(torch.zeros(8)))
    _refused(wide, sequences(), "combines values (n, 4, 1) with 'w' of shape (8,)")
    same = Forward(lambda m, x: F.layer_norm(x, (6,), m.w, m.w), w=nn.Parameter(torch.ones(6)))
    _refused(same, rows(), "uses 'w' as weight and as bias")


def test_bilinear_layers_on_sequences():
    model = Forward(lambda m, x: m.b(x, x).flatten(1), b=nn.Bilinear(8, 8, 2))
    _refused(model, sequences(), "is bilinear in values (n, 4, 8) and (n, 4, 8)")


def test_replaced_inner_methods(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(nn.Conv2d, "_conv_forward", lambda self, x, w, b: x)
        _refused(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), images(), "Conv2d._conv_forward")
    encoder = _encoder(activation="gelu")
    encoder._ff_block = lambda x: x
    _refused(nn.Sequential(encoder, nn.Flatten()), sequences(), "has a _ff_block assigned")
    monkeypatch.setattr(F, "layer_norm", lambda *a: a[0])
    _refused(nn.Sequential(nn.LayerNorm(6)), rows(), "layer_norm has been replaced")


def test_t9_does_not_speak_of_graphs():
    model = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4)).double()
    reason = rounding_not_covered(read(model, rows().double()))
    assert reason is not None
    assert "a graph" in reason
