"""One refusal per test: what a trace hides or cannot hold is refused by name, with advice."""

from __future__ import annotations

import contextlib
import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from talweg._errors import InputError, TalwegError, UnsupportedModelError
from talweg.network._read import read
from talweg.nn import SmoothLeakyReLU


def _inputs() -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


def _model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def _refused(model: object, *words: str, error: type[TalwegError] = UnsupportedModelError) -> str:
    with pytest.raises(error) as caught:
        read(model, _inputs())
    text = str(caught.value)
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    if error is UnsupportedModelError:
        assert "Supported is" in text
    assert text.endswith((".", ")"))
    return text


class _Forward(nn.Module):
    """A model whose forward is a function of itself and the input."""

    def __init__(self, function, d_out=3):
        super().__init__()
        self.layer = nn.Linear(3, d_out)
        self.other = nn.Linear(d_out, 2)
        self.register_buffer("table", torch.ones(d_out))
        self.function = function

    def forward(self, x):
        return self.function(self, x)


# -- hooks, parametrizations, patches ------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (lambda m: m[0].register_forward_hook(lambda *a: None), "a forward hook"),
        (lambda m: m[0].register_forward_pre_hook(lambda *a: None), "a forward pre-hook"),
        (lambda m: m[0].register_full_backward_hook(lambda *a: None), "a backward hook"),
        (lambda m: m[0].register_full_backward_pre_hook(lambda *a: None), "a backward pre-hook"),
    ],
)
def test_module_hooks(register, words):
    model = _model()
    register(model)
    _refused(model, "module '0' (Linear)", words, "handle.remove()")


def test_hook_on_the_model_itself():
    model = _model()
    model.register_forward_hook(lambda *a: None)
    _refused(model, "the model itself (Sequential)", "a forward hook")


@pytest.mark.parametrize(
    "register",
    [
        nn.modules.module.register_module_forward_hook,
        nn.modules.module.register_module_forward_pre_hook,
        nn.modules.module.register_module_full_backward_hook,
        nn.modules.module.register_module_full_backward_pre_hook,
    ],
)
def test_global_hooks(register):
    handle = register(lambda *a: None)
    try:
        _refused(_model(), "a global module hook", "handle.remove()")
    finally:
        handle.remove()


def test_tensor_hooks():
    model = _model()
    model[2].weight.register_hook(lambda g: 2 * g)
    _refused(model, "parameter '2.weight' has a tensor hook", "handle.remove()")
    model = _model()
    model[0].bias.register_post_accumulate_grad_hook(lambda p: None)
    _refused(model, "parameter '0.bias' has a tensor hook")


def test_state_dict_hooks_do_not_matter():
    model = _model()
    model.register_state_dict_post_hook(lambda *a: None)
    model.register_load_state_dict_post_hook(lambda *a: None)
    assert read(model, _inputs()).output_dim == 2


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_old_weight_norm():
    model = _model()
    weight_norm(model[0])
    _refused(model, "module '0'", "weight_norm", "remove_weight_norm")


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
def test_old_spectral_norm():
    model = _model()
    spectral_norm(model[2])
    _refused(model, "module '2'", "spectral_norm", "remove_spectral_norm")


def test_pruning():
    model = _model()
    prune.l1_unstructured(model[0], "weight", amount=2)
    _refused(model, "module '0'", "pruning", "prune.remove")


@pytest.mark.parametrize(
    "apply",
    [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal],
)
def test_parametrizations(apply):
    model = _model()
    apply(model[0])
    _refused(model, "module '0' computes weight", "parametrize", "remove_parametrizations")


def test_forward_assigned_on_an_instance():
    model = _model()
    model[1].forward = torch.sigmoid
    _refused(model, "module '1' (Tanh) has a forward assigned on the instance", "del module")


def test_patched_class_forward(monkeypatch):
    original = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: 2 * original(self, x))
    _refused(_model(), "Linear.forward is not the original", "torch.nn.modules.linear")


def test_patched_functions(monkeypatch):
    original = torch.tanh
    monkeypatch.setattr(torch, "tanh", lambda x: 2 * original(x))
    _refused(_model(), "torch.tanh has been replaced", "Restore")
    monkeypatch.undo()
    monkeypatch.setattr(F, "linear", lambda *a: a[0])
    _refused(_model(), "torch.nn.functional.linear has been replaced")


def test_own_call():
    class Model(nn.Sequential):
        def __call__(self, x):
            return 2 * super().__call__(x)

    _refused(Model(nn.Linear(3, 2)), "runs its own __call__", "Put the code of __call__")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_in_place():
    model = _model()
    model.compile()
    _refused(model, "compiled in place", "not compiled")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrappers_name_the_inner_model():
    _refused(nn.DataParallel(_model()), "wrapped in DataParallel", "model.module")
    _refused(torch.compile(_model()), "wrapped in OptimizedModule", "model._orig_mod")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript():
    _refused(torch.jit.trace(_model(), _inputs()), "TorchScript", "original nn.Module")


def test_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _refused(_model(), "autocast is active for cpu", "outside torch.autocast")


# -- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [nn.Linear, nn.Tanh, nn.Dropout, SmoothLeakyReLU])
def test_subclasses_of_known_layers(base):
    subclass = type("Mine", (base,), {})
    module = subclass(3, 3) if base is nn.Linear else subclass()
    _refused(nn.Sequential(module), "module '0' is a Mine", f"subclass of {base.__name__}")


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.ReLU(), "SmoothLeakyReLU"),
        (nn.LeakyReLU(), "SmoothLeakyReLU"),
        (nn.PReLU(), "SmoothLeakyReLU"),
        (nn.ELU(), "Softplus"),
        (nn.SELU(), "Softplus"),
        (nn.Hardswish(), "SiLU"),
        (nn.Threshold(0.0, 0.0), "kink"),
        (nn.ReLU6(), "Tanh"),
        (nn.Hardtanh(), "Tanh"),
        (nn.Hardsigmoid(), "Sigmoid"),
        (nn.Softsign(), "second derivative"),
        (nn.MaxPool1d(2), "not smooth"),
        (nn.InstanceNorm1d(4), "LayerNorm"),
        (nn.RMSNorm(4), "LayerNorm"),
        (nn.LogSoftmax(dim=1), "put it into the loss"),
        (nn.Conv3d(1, 1, 1), "Conv1d or Conv2d"),
        (nn.ConvTranspose2d(1, 1, 1), "Conv1d or Conv2d"),
        (nn.LSTM(4, 4), "several times"),
        (nn.TransformerDecoderLayer(4, 1), "TransformerEncoderLayer"),
        (nn.Dropout3d(0.0), "torch.nn.Dropout"),
        (nn.AlphaDropout(0.0), "torch.nn.Dropout"),
        (nn.Mish(), "SiLU or GELU"),
        (nn.EmbeddingBag(2, 2), "Embedding and"),
        (nn.Fold(2, 2), "Replace it"),
    ],
)
def test_unsupported_layers_name_a_replacement(layer, words):
    text = _refused(
        nn.Sequential(nn.Linear(3, 4), nn.Sequential(layer)),
        f"module '1.0' is a {type(layer).__name__}",
    )
    assert words in text.split("Supported is")[0]


def test_batch_norm():
    layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    _refused(layers, "module '1'", "training mode", "model.eval()", "are supported")
    assert not read(layers.eval(), _inputs()).is_chain
    free = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval()
    _refused(free, "module '1' holds no running mean", "track_running_stats=True")
    layers[1].running_var.fill_(-1.0)
    _refused(layers, "'1.running_var' of the model must be variances", error=InputError)


def test_active_dropout():
    _refused(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1)), "module '1'", "active", ".eval()")
    _refused(_Forward(lambda m, x: F.dropout(m.layer(x))), "active Dropout", "training=self.train")


def test_settings_outside_the_grammar():
    def chain(layer):
        return nn.Sequential(nn.Linear(3, 2), layer)

    _refused(chain(nn.SiLU(inplace=True)), "module '1'", "inplace=False")
    _refused(chain(nn.Dropout(0.0, inplace=True)), "module '1'", "inplace=False")
    _refused(chain(nn.Softplus(-1.0)), "beta=-1.0", "positive finite beta")
    gelu = nn.GELU()
    gelu.approximate = "none "
    _refused(chain(gelu), "approximate='none '")
    leaky = SmoothLeakyReLU(0.5)
    leaky.slope = 1.5
    _refused(chain(leaky), "slope 1.5")


def test_flatten_of_the_batch():
    _refused(nn.Sequential(nn.Flatten(0), nn.Linear(15, 1)), "dimension 0", "Flatten(start_dim=1)")
    _refused(_Forward(lambda m, x: x.flatten()), "flattens", "Flatten(start_dim=1)")


def test_uninitialised_lazy_layers():
    _refused(nn.Sequential(nn.LazyLinear(3)), "parameter '0.weight'", "lazy", "model(X)")


def test_initialised_lazy_layers_are_linear():
    model = nn.Sequential(nn.LazyLinear(3))
    model(_inputs())
    assert read(model, _inputs()).input_dim == 3


# -- tensors -------------------------------------------------------------------------------------


def _with_weight(tensor: Tensor, requires_grad: bool = True) -> nn.Sequential:
    model = _model()
    model[0].weight = nn.Parameter(tensor, requires_grad=requires_grad)
    return model


def test_complex_meta_sparse_and_other_dtypes():
    _refused(_with_weight(torch.zeros(4, 3, dtype=torch.complex64)), "'0.weight'", "complex")
    _refused(_with_weight(torch.zeros(4, 3, device="meta")), "'0.weight'", "meta", "Load")
    _refused(_with_weight(torch.zeros(4, 3).to_sparse()), "'0.weight'", "sparse", "to_dense")
    eight = torch.zeros(4, 3).to(torch.float8_e4m3fn)
    _refused(_with_weight(eight), "'0.weight'", "float8_e4m3fn", "Convert it to float16")


def test_quantized():
    with contextlib.suppress(RuntimeError):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensor = torch.quantize_per_tensor(torch.zeros(4, 3), 0.1, 0, torch.qint8)
        _refused(_with_weight(tensor, requires_grad=False), "'0.weight'", "quantized", "float")


def test_inference_tensors():
    with torch.inference_mode():
        model = _model()
    _refused(model, "'0.weight'", "inference_mode")


def test_parameter_subclasses():
    class Mine(nn.Parameter):
        pass

    model = _model()
    model[0].weight = Mine(torch.zeros(4, 3))
    _refused(model, "'0.weight' is a Mine", "torch.nn.Parameter")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite(value):
    model = _model()
    with torch.no_grad():
        model[2].weight[1, 3] = value
    _refused(model, "parameter '2.weight'", "(1, 3)", str(value), error=InputError)


def test_mixed_dtypes():
    model = _model()
    model[2].double()
    _refused(model, "'2.weight' has dtype torch.float64", "'0.weight'", "model.double()")


def test_shared_memory_under_different_names():
    flat = torch.zeros(40)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    model[0].weight = nn.Parameter(flat[0:12].view(4, 3))
    model[2].weight = nn.Parameter(flat[11:23].view(3, 4))
    _refused(model, "'0.weight' and '2.weight' share memory", "clone()")
    model[2].weight = nn.Parameter(flat[12:24].view(3, 4))
    assert read(model, _inputs()).output_dim == 3
    model[2].weight = nn.Parameter(model[0].weight.data.T)
    _refused(model, "'0.weight' and '2.weight' share memory")


def test_shared_memory_with_a_buffer_and_across_storages():
    import numpy

    array = numpy.zeros((4, 3), dtype=numpy.float32)
    model = _with_weight(torch.from_numpy(array))
    model.register_buffer("copy", torch.from_numpy(array)[1])
    _refused(model, "'0.weight' and 'copy' share memory")


def test_interleaved_views_do_not_share():
    both = torch.zeros(4, 6)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 1))
    model[0].weight = nn.Parameter(both[:, :3])
    model.spare = nn.Module()
    model.spare.weight = nn.Parameter(both[:, 3:])
    del model._modules["spare"]
    model[2].bias = nn.Parameter(both[:, 3])
    assert read(model, _inputs()).output_dim == 1
    model[2].bias = nn.Parameter(both[:, 2])
    _refused(model, "'0.weight' and '2.bias' share memory")


def test_expanded_parameters():
    model = _with_weight(torch.zeros(1, 3).expand(4, 3))
    _refused(model, "'0.weight' has entries that share memory", "stride (0, 1)", "clone()")
    assert read(_with_weight(torch.zeros(1, 3).expand(4, 3), False), _inputs()).output_dim == 2


def test_shared_parameters_are_refused_where_only_chains_are_covered():
    layer = nn.Linear(3, 3)
    network = read(nn.Sequential(layer, nn.Tanh(), layer), _inputs())
    with pytest.raises(UnsupportedModelError, match="each with parameters of its own"):
        _ = network.chain_operations


# -- what forward does ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda m, x: m.layer(x) if x.sum() > 0 else x, ("branches", "Make the path fixed")),
        (lambda m, x: next(iter([m.layer(row) for row in x])), ("branches", "Make the path fixed")),
        (lambda m, x: m.layer(x).relu(), ("calls relu", "SmoothLeakyReLU")),
        (lambda m, x: F.relu(m.layer(x)), ("calls relu", "SmoothLeakyReLU")),
        (lambda m, x: F.leaky_relu(m.layer(x)), ("calls leaky_relu", "SmoothLeakyReLU")),
        (lambda m, x: m.layer(x).clamp(0, 1), ("calls clamp", "Tanh")),
        (lambda m, x: F.max_pool1d(m.layer(x), 2), ("max_pool1d",)),
        (lambda m, x: x + m.other(x), ("a sum on values (n, 3) and (n, 2)", "broadcast")),
        (lambda m, x: x + 1.0, ("adds or subtracts 1.0", "Linear's bias")),
        (lambda m, x: 1 - m.layer(x), ("adds or subtracts 1", "Linear's bias")),
        (lambda m, x: torch.add(x, x, alpha=2), ("calls add with arguments",)),
        (lambda m, x: torch.cat([x, m.layer(x)]), ("along dimension 0", "which is the batch")),
        (lambda m, x: torch.cat([x, m.other(x)[:, 0]], 1), ("names the dimension 1", "(n,)")),
        (lambda m, x: torch.stack([x, x], 0), ("along dimension 0", "which is the batch")),
        (lambda m, x: m.layer.weight.data.mul_(2), ("reads 'data' of the weight", "as they")),
        (lambda m, x: m.layer(x) * m.other(x), ("a product on values (n, 3) and (n, 2)",)),
        (lambda m, x: m.layer(x) / x, ("scales by", "Python numbers")),
        (lambda m, x: m.layer(x) * m.layer.weight[0], ("takes the part 0", "as they are stored")),
        (lambda m, x: m.other(x) * m.table, ("combines values (n, 2) with 'table'", "repeated")),
        (lambda m, x: m.layer(x) / x.shape[0], ("scales by", "do not depend on the batch")),
        (lambda m, x: m.layer(x) * 0, ("scales by 0", "nonzero")),
        (lambda m, x: m.layer(x) / math.inf, ("scales by inf",)),
        (lambda m, x: 1.0 / m.layer(x), ("something other than the activations",)),
        (lambda m, x: m.layer(x).tanh_(), ("calls tanh_", "in place")),
        (lambda m, x: m.layer(x).mul_(2), ("calls mul_", "in place")),
        (lambda m, x: F.silu(m.layer(x), inplace=True), ("inplace=False",)),
        (lambda m, x: m.layer(x.detach()), ("calls detach", "requires_grad=False")),
        (lambda m, x: m.layer(x).data, ("attribute 'data'", "requires_grad=False")),
        (lambda m, x: m.layer(x.float()), ("calls float",)),
        (lambda m, x: m.layer(x - x.mean(0)), ("along dimension 0", "which is the batch")),
        (lambda m, x: m.layer(x).mean(), ("averages over all entries", "Name the axes")),
        (lambda m, x: m.layer(x).sum(), ("averages over all entries", "Name the axes")),
        (lambda m, x: m.layer(x)[:3], ("takes the part", "Keep the batch whole")),
        (lambda m, x: m.layer(x)[0], ("takes the part", "Keep the batch whole")),
        (lambda m, x: m.layer(x)[:, [0, 1]], ("takes the part", "whole numbers")),
        (lambda m, x: m.layer(x)[:, 3], ("takes the part 3", "inside their size")),
        (lambda m, x: m.layer(x)[:, 3:], ("takes the part",)),
        (lambda m, x: m.layer(x)[None], ("takes the part",)),
        (lambda m, x: m.layer(x).unsqueeze(0), ("along dimension 0", "which is the batch")),
        (lambda m, x: m.layer(x).T, ("attribute 'T'",)),
        (lambda m, x: m.layer(x).mT, ("along dimension -2", "which is the batch")),
        (lambda m, x: m.layer(x).transpose(0, 1), ("along dimension 0", "which is the batch")),
        (lambda m, x: m.layer(x).permute(1, 0), ("permutes values (n, 3)", "keep the batch")),
        (lambda m, x: m.layer(x).movedim(0, 1), ("along dimension 0", "which is the batch")),
        (lambda m, x: m.layer(x).chunk(2), ("along dimension 0", "which is the batch")),
        (lambda m, x: m.layer(x).split([1, 1], 1), ("into parts of sizes [1, 1]", "add up")),
        (lambda m, x: m.layer(x).split(0, 1), ("splits by 0",)),
        (lambda m, x: m.layer(x).chunk(0, 1), ("cuts into 0 chunks",)),
        (lambda m, x: m.layer(x).narrow(1, 2, 2), ("takes 2 entries from 2 on", "Stay inside")),
        (lambda m, x: m.layer(x).unflatten(1, (2, 2)), ("unflattens dimension 1",)),
        (lambda m, x: m.layer(x).softmax(0), ("along dimension 0", "which is the batch")),
        (lambda m, x: F.softmax(m.layer(x), -1, dtype=torch.float64), ("a softmax in torch.flo",)),
        (lambda m, x: m.layer(x) @ x, ("multiplies values (n, 3) and (n, 3)", "mixes the samples")),
        (lambda m, x: m.layer(x) ** 3, ("raises to the power 3", "as products")),
        (lambda m, x: F.layer_norm(m.layer(x), (2,)), ("normalises the last axes (2,)",)),
        (lambda m, x: F.layer_norm(x, (3,), eps=0.0), ("normalises with eps=0.0",)),
        (lambda m, x: F.group_norm(m.layer(x), 2), ("normalises 2 groups",)),
        (
            lambda m, x: F.batch_norm(x, m.table, m.table, training=True),
            ("batch_norm with training=True",),
        ),
        (lambda m, x: F.conv1d(x, m.layer.weight), ("a convolution over 1 axes",)),
        (lambda m, x: F.avg_pool1d(x, 2), ("pools over 1 axes of values (n, 3)",)),
        (
            lambda m, x: F.scaled_dot_product_attention(x, x, x),
            ("attends over values (n, 3)", "would be the samples"),
        ),
        (
            lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
            ("an attention with a mask",),
        ),
        (lambda m, x: m.layer(x)[..., None].flatten(0, 1), ("flattens from dimension 0 to 1",)),
        (lambda m, x: m.layer(x)[:, None], ("returns values of shape (n, 1, 3)", "Flatten()")),
        (lambda m, x: m.layer(x).squeeze(), ("squeeze with dimension None", "squeeze(-1)")),
        (lambda m, x: m.layer(x).squeeze(0), ("squeeze with dimension 0", "squeeze(-1)")),
        (lambda m, x: m.layer(x).view(-1), ("reshapes",)),
        (lambda m, x: m.layer(x).view(-1, 1), ("reshapes values (n, 3) to (-1, 1)",)),
        (lambda m, x: m.layer(x).view(x.shape[0], 2, -1), ("reshapes values (n, 3) to ('n'",)),
        (lambda m, x: m.layer(x).view(5, 3), ("reshapes",)),
        (lambda m, x: m.layer(x).view(torch.int32), ("reshapes",)),
        (lambda m, x: x @ m.layer.weight.T, ("reads 'T' of the weight", "no mask, transpose")),
        (lambda m, x: F.linear(x, m.layer.weight * 2), ("weights or numbers alone", "no mask")),
        (lambda m, x: F.linear(x, torch.ones(2, 3)), ("no parameter or buffer", "Register it")),
        (lambda m, x: x @ m.layer.weight, ("calls matmul", "linear(x")),
        (lambda m, x: torch.einsum("ni,oi->no", x, m.layer.weight), ("calls einsum", "by @")),
        (
            lambda m, x: F.linear(m.layer.weight, m.layer.weight),
            ("weights or numbers alone", "calls linear"),
        ),
        (lambda m, x: torch.div(m.layer(x), 2, rounding_mode="floor"), ("rounds a quotient",)),
        (lambda m, x: torch.tanh(m.layer(x), out=x), ("calls tanh", "arguments")),
        (lambda m, x: (m.layer(x), x), ("returns several values", "one tensor")),
        (lambda m, x: {"y": m.layer(x)}, ("returns several values", "one tensor")),
        (lambda m, x: None, ("returns no activations", "one tensor")),
        (lambda m, x: x, ("applies no operation",)),
        (lambda m, x: m.table, ("returns no activations",)),
        (lambda m, x: m.other(x) if m.layer(x) is None else x, ("applies no operation",)),
        (lambda m, x: m.layer(x, x), ("'layer'", "not called on the activations alone")),
        (lambda m, x: m.missing(x), ("could not be traced", "AttributeError")),
        (lambda m, x: m.layer(x).register_hook(print), ("could not be traced",)),
        (lambda m, x: m.layer(x).retain_grad(), ("calls retain_grad",)),
        (lambda m, x: len(x) * m.layer(x), ("could not be traced",)),
        (lambda m, x: m.layer(m.layer.weight), ("'layer'", "not called on the activations alone")),
        (lambda m, x: nn.Linear(3, 2)(x), ("not registered as a submodule", "nn.ModuleList")),
    ],
)
def test_forwards_without_a_reading(function, words):
    _refused(_Forward(function), *words)


def test_unregistered_layers():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(3, 2)]

        def forward(self, x):
            return self.layers[0](x)

    _refused(Model(), "not registered as a submodule", "nn.ModuleList")


def _no_grad(m, x):
    with torch.no_grad():
        return m.layer(x)


def _autocast(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return m.layer(x)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, g):
        return g


def test_modes_and_custom_functions_inside_forward():
    _refused(_Forward(_no_grad), "without gradients", "requires_grad_(False)")
    _refused(_Forward(_autocast), "autocast in its forward")
    custom = _Forward(lambda m, x: _StraightThrough.apply(m.layer(x)))
    _refused(custom, "custom autograd.Function", "plain torch")


def _count(m, x):
    m.table += 1
    return m.layer(x)


def _rebind(m, x):
    m.table = m.table + 1
    return m.layer(x)


def _clip(m, x):
    m._parameters["scale"].data.mul_(0.5)
    return m.layer(x)


def _set(m, x):
    m.flag = not m.flag
    return m.layer(x)


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (_count, "'table'"),
        (_rebind, "'table'"),
        (_clip, "'scale'"),
        (_set, "attribute 'flag'"),
    ],
)
def test_forwards_that_change_their_state(function, word):
    model = _Forward(function)
    model.flag = True
    model.scale = nn.Parameter(torch.ones(2))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    _refused(model, "changes", word, "fixed function")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.flag is True


@pytest.mark.parametrize(
    "noise",
    [lambda: float(torch.rand(())), random.random, lambda: __import__("numpy").random.rand()],
)
def test_random_forwards(noise):
    model = _Forward(lambda m, x: m.layer(x) * (1 + float(noise())))
    state, python_state = torch.get_rng_state(), random.getstate()
    _refused(model, "random numbers", "eval()")
    assert torch.equal(state, torch.get_rng_state())
    assert python_state == random.getstate()


def test_models_that_cannot_be_copied():
    model = _model()
    model.log = (line for line in ())
    _refused(model, "copy.deepcopy", "without loggers")


def test_required_second_argument():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x, mask):
            return self.layer(x)

    _refused(Model(), "could not be traced", "mask", "one tensor")


def test_buffers_that_require_gradients():
    model = _Forward(lambda m, x: F.linear(x, m.layer.weight, m.table))
    model.table.requires_grad_()
    _refused(model, "'table' requires a gradient but is a buffer", "nn.Parameter")


def test_no_module_at_all():
    _refused(nn.Linear, "must be a torch.nn.Module instance", "the class Linear", error=InputError)
    _refused(lambda x: x, "must be a torch.nn.Module instance", "function", error=InputError)


def test_shape_of_functional_weights():
    _refused(_Forward(lambda m, x: F.linear(x, m.table)), "'table' has shape (3,)", "(d_out, d_in)")
    bad = _Forward(lambda m, x: F.linear(x, m.other.weight, m.table))
    _refused(bad, "its bias has shape (3,)")
    flat = _Forward(lambda m, x: m.other(m.layer(x).squeeze(-1)), d_out=1)
    _refused(flat, "shape (n,)")
