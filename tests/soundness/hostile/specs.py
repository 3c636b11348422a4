"""Specifications that misbehave: they raise, lie, or return hostile tensors and models."""

from __future__ import annotations

PREAMBLE = """
import os, sys, warnings
import torch
from torch import nn
torch.set_num_threads(1)

def data(n=4, d=3, k=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.randn(n, k, generator=generator, dtype=torch.float64)
    return X.to(dtype), y.to(dtype)

def network(d=3, k=1, width=8, activation=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(d, width), activation or nn.Tanh(), nn.Linear(width, k))
    return model.double()

X, y = data()

class Odd(nn.Module):
    def __init__(self, body=None):
        super().__init__()
        self.body = network() if body is None else body
    def forward(self, x):
        return self.odd(self.body(x))

class Nasty(Exception):
    def __str__(self):
        raise RuntimeError("no text")

class Texts(Exception):
    def __str__(self):
        return 3

class Mine(torch.Tensor):
    pass
"""


def _model(change: str) -> str:
    return f"model = network(); {change}; return model, X, y"


def _odd(function: str) -> str:
    return f"model = Odd(); model.odd = {function}; return model, X, y"


# name -> body of the function; `X`, `y` are data that fit `network()`.
BODIES: dict[str, str] = {
    "raises": "raise ValueError('on purpose')",
    "raises_lines": "raise ValueError('one\\ntwo\\n\\nthree')",
    "raises_nothing": "raise Exception",
    "raises_bytes": "raise OSError(b'\\xff')",
    "raises_surrogate": "raise ValueError('\\ud800')",
    "raises_markup": "raise ValueError('[red]x[/red] [/] \\x1b[31m')",
    "raises_long": "raise ValueError('a' * 100_000)",
    "raises_unprintable": "raise Nasty",
    "raises_no_text": "raise Texts",
    "raises_group": "raise ExceptionGroup('g', [ValueError('a'), KeyError('b')])",
    "raises_base": "raise BaseException('base')",
    "raises_generator_exit": "raise GeneratorExit",
    "raises_interrupt": "raise KeyboardInterrupt",
    "raises_stop": "raise StopIteration",
    "raises_memory": "raise MemoryError",
    "raises_broken_pipe": "raise BrokenPipeError(32, 'Broken pipe')",
    "raises_not_found": "open('/nonexistent/file')",
    "raises_talweg": "import talweg; raise talweg.InputError('mine')",
    "raises_typer": "import typer; raise typer.Exit(0)",
    "raises_abort": "import typer; raise typer.Abort",
    "raises_click": "import click; raise click.UsageError('x')",
    "exits_0": "sys.exit(0)", "exits_text": "sys.exit('text')", "exits_9": "sys.exit(9)",
    "recurses": "return recurses()",
    "warns": "warnings.warn('careful'); return network(), X, y",
    "warns_error": "warnings.simplefilter('error'); return network(), X, y",
    "prints": "print('{}' * 1000); return network(), X, y",
    "closes_stdout": "sys.stdout = None; return network(), X, y",
    "grad_off": "torch.set_grad_enabled(False); return network(), X, y",
    "default_dtype": "torch.set_default_dtype(torch.float16); return network(), X, y",
    "generator": "yield network()",
    "awaits": "import asyncio; return asyncio.sleep(0)",
    "none": "return None", "number": "return 7", "text": "return 'abc'", "empty": "return ()",
    "four": "return network(), X, y, y", "nested": "return (network(), (X, y))",
    "itself": "return itself", "a_set": "return {1, 2, 3}", "a_dict": "return {'model': network()}",
    "keys": "return {1: 2, None: 3}", "classes": "return nn.Linear, X, y",
    "model_raises": "return (lambda: 1 / 0), X, y",
    "model_none": "return None, X, y", "model_tensor": "return X, X, y",
    "model_number": "return {'model': 3, 'X': X, 'y': y}",
    "lists": "return network(), X.tolist(), y.tolist()",
    "arrays": "return network(), X.numpy(), y.numpy()",
    "swapped": "return X, y, network()",
    "loss_hinge": "return dict(model=network(), X=X, y=y, loss='hinge')",
    "loss_none": "return dict(model=network(), X=X, y=y, loss=None)",
    "loss_list": "return dict(model=network(), X=X, y=y, loss=['mse'])",
    "target_text": "return dict(model=network(), X=X, y=y, target='small')",
    "target_nan": "return dict(model=network(), X=X, y=y, target=float('nan'))",
    "target_huge": "return dict(model=network(), X=X, y=y, target=1e308)",
    "target_tensor": "return dict(model=network(), X=X, y=y, target=torch.tensor(1.0))",
    "target_big_integer": "return dict(model=network(), X=X, y=y, target=10**400)",
    "theorem_list": "return dict(model=network(), X=X, y=y, theorem=[])",
    "theorem_t99": "return dict(model=network(), X=X, y=y, theorem='T99')",
    "polish_text": "return dict(model=network(), X=X, y=y, polish='maybe')",
    "polish_tensor": "return dict(model=network(), X=X, y=y, polish=torch.ones(2))",
    "attack_list": "return dict(model=network(), X=X, y=y, attack=[])",
    "seed_text": "return dict(model=network(), X=X, y=y, seed='a')",
    "seed_huge": "return dict(model=network(), X=X, y=y, seed=2**70)",
    "seed_float": "return dict(model=network(), X=X, y=y, seed=1.5)",
    "smoothing": "return dict(model=network(), X=X, y=y, label_smoothing=2.0)",
    "smoothing_text": "return dict(model=network(), X=X, y=y, loss='cross_entropy', "
                      "label_smoothing='a')",
    "held_out_one": "return dict(model=network(), X=X, y=y, X_test=X)",
    "held_out_odd": "return dict(model=network(), X=X, y=y, X_test=X[:, :1], y_test=y[:0])",
    "held_out_nan": "return dict(model=network(), X=X, y=y, X_test=X * float('nan'), y_test=y)",
    "no_rows": "return network(), X[:0], y[:0]",
    "no_features": "return nn.Sequential(nn.Linear(0, 1)).double(), X[:, :0], y",
    "no_outputs": "return nn.Sequential(nn.Linear(3, 0)).double(), X, y[:, :0]",
    "width_zero": "return nn.Sequential(nn.Linear(3, 0), nn.Linear(0, 1)).double(), X, y",
    "scalar": "return network(), torch.tensor(1.0), torch.tensor(1.0)",
    "vector": "return network(), X[0], y[0]", "three_axes": "return network(), X[None], y[None]",
    "integers": "return network(), X.long(), y.long()",
    "booleans": "return network(), X > 0, y > 0",
    "complex": "return network(), X.to(torch.complex128), y.to(torch.complex128)",
    "complex_model": "return network().to(torch.complex128), X, y",
    "sparse": "return network(), X.to_sparse(), y",
    "sparse_csr": "return network(), X.to_sparse_csr(), y",
    "sparse_y": "return network(), X, y.to_sparse()",
    "meta": "return network(), X.to('meta'), y.to('meta')",
    "meta_y": "return network(), X, y.to('meta')",
    "meta_model": "return network().to('meta'), X, y",
    "meta_huge": "return nn.Sequential(nn.Linear(10**6, 10**6, device='meta')), X, y",
    "fake_expanded": "return network(), X[:1].expand(10**7, 3), y[:1].expand(10**7, 1)",
    "expanded": "return network(), X[:1].expand(4, 3), y[:1].expand(4, 1)",
    "expanded_conflict": "return network(), X[:1].expand(4, 3), y",
    "transposed": "return network(), X.t().contiguous().t(), y",
    "strided": "return network(), X.repeat(1, 2)[:, ::2], y",
    "nested_tensor": "return network(), torch.nested.nested_tensor([X, X]), y",
    "quantized": "return network(), torch.quantize_per_tensor(X.float(), 0.1, 0, torch.quint8), y",
    "needs_grad": "return network(), X.clone().requires_grad_(), y.clone().requires_grad_()",
    "not_a_leaf": "return network(), X.clone().requires_grad_() * 2, y",
    "parameter": "return network(), nn.Parameter(X.clone()), nn.Parameter(y.clone())",
    "inference": "\n    with torch.inference_mode():\n        return network(), X * 2, y * 2",
    "subclass": "return network(), X.as_subclass(Mine), y.as_subclass(Mine)",
    "subclass_weight": "model = network(); model[0].weight = "
                       "nn.Parameter(model[0].weight.data.as_subclass(Mine)); return model, X, y",
    "conj": "return network(), X.to(torch.complex128).conj().real, y",
    "negative_view": "Z = torch.view_as_real(X.to(torch.complex128).conj()); "
                     "return network(), Z[..., 1], y",
    "half": "return network().half(), X.half(), y.half()",
    "bfloat": "return network().bfloat16(), X.bfloat16(), y.bfloat16()",
    "float8": "return network(), X.to(torch.float8_e4m3fn), y",
    "mixed": "return network(), X.float(), y.half()",
    "mixed_model": _model("model[0].float()"),
    "nan": "return network(), X * float('nan'), y", "inf": "return network(), X, y + float('inf')",
    "huge": "return network(), X * 1e308, y", "huge_y": "return network(), X, y * 1e308",
    "tiny": "return network(), X * 1e-320, y", "tiny_y": "return network(), X, y * 1e-320",
    "zeros": "return network(), X * 0, y * 0", "equal_rows": "return network(), X * 0 + 1, y",
    "negative_zero": "return network(), -X * 0, y * 0",
    "nan_weight": _model("model[0].weight.data[0, 0] = float('nan')"),
    "huge_weight": _model("model[0].weight.data *= 1e300"),
    "huge_both": _model("[p.data.mul_(1e200) for p in model.parameters()]"),
    "tiny_weight": _model("model[2].weight.data *= 1e-310"),
    "zero_weight": _model("model[2].weight.data *= 0"),
    "zero_model": _model("[p.data.zero_() for p in model.parameters()]"),
    "labels": "return network(k=3), X, torch.tensor([0, 1, 2, 0])",
    "labels_far": "return dict(model=network(k=3), X=X, y=torch.tensor([0, 1, 2, 3]), "
                  "loss='cross_entropy', target=0.5)",
    "labels_negative": "return dict(model=network(k=3), X=X, y=torch.tensor([0, -100, 2, 0]), "
                       "loss='cross_entropy', target=0.5)",
    "one_class": "return dict(model=network(k=1), X=X, y=torch.tensor([0, 0, 0, 0]), "
                 "loss='cross_entropy', target=0.5)",
    "frozen": _model("model.requires_grad_(False)"),
    "no_parameters": "return nn.Sequential(nn.Tanh()), X, X",
    "no_modules": "return nn.Sequential(), X, X",
    "identity": "return nn.Identity(), X, X", "bare_module": "return nn.Module(), X, y",
    "bare_linear": "return nn.Linear(3, 1).double(), X, y",
    "relu": "return network(activation=nn.ReLU()), X, y",
    "dropout": "return network(activation=nn.Dropout()), X, y",
    "batch_norm": "return network(activation=nn.BatchNorm1d(8)), X, y",
    "softmax": "return network(activation=nn.Softmax(dim=1)), X, y",
    "softplus_odd": "return network(activation=nn.Softplus(beta=float('nan'))), X, y",
    "softplus_zero": "return network(activation=nn.Softplus(beta=0)), X, y",
    "leaky_nan": "return network(activation=nn.LeakyReLU(float('nan'))), X, y",
    "lazy": "return nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(1)).double(), X, y",
    "shared": "layer = nn.Linear(3, 3).double(); "
              "return nn.Sequential(layer, nn.Tanh(), layer), X, X",
    "tied": "model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double(); "
            "model[2].weight = model[0].weight; return model, X, X",
    "viewed": "model = network(); model[2].weight = nn.Parameter(model[0].weight.data[:, :1].T); "
              "return model, X, y",
    "parametrized": "model = network(); "
                    "nn.utils.parametrizations.weight_norm(model[0]); return model, X, y",
    "orthogonal": _model("nn.utils.parametrizations.orthogonal(model[0])"),
    "spectral": _model("nn.utils.parametrizations.spectral_norm(model[0])"),
    "old_spectral": _model("nn.utils.spectral_norm(model[0])"),
    "pruned": "from torch.nn.utils import prune; model = network(); "
              "prune.l1_unstructured(model[0], 'weight', amount=0.5); return model, X, y",
    "hook": _model("model[1].register_forward_hook(lambda m, i, o: o * 2)"),
    "pre_hook": "model = network(); model.register_forward_pre_hook(lambda m, i: (i[0] * 2,)); "
                "return model, X, y",
    "backward_hook": "model = network(); model.register_full_backward_hook(lambda m, i, o: None); "
                     "return model, X, y",
    "grad_hook": _model("model[0].weight.register_hook(lambda g: g * 0)"),
    "patched_forward": _model("model[1].forward = lambda x: x * 3"),
    "scripted": "return torch.jit.script(network()), X, y",
    "traced": "return torch.jit.trace(network(), X), X, y",
    "parallel": "return nn.DataParallel(network()), X, y",
    "compiled": "return torch.compile(network()), X, y",
    "deep": "layers = [m for _ in range(30) for m in (nn.Linear(3, 3), nn.Tanh())]; "
            "return nn.Sequential(*layers).double(), X, X",
    "nested_deep": "model = network()\n    for _ in range(300):\n"
                   "        model = nn.Sequential(model)\n    return model, X, y",
    "own_cycle": _model("model.register_module('me', model)"),
    "no_grad_forward": _odd("torch.no_grad()(lambda z: z)"),
    "random_forward": _odd("lambda z: z + torch.rand_like(z)"),
    "branches": _odd("lambda z: z if z.sum() > 0 else -z"),
    "inplace": _odd("lambda z: z.mul_(2)"),
    "raises_forward": _odd("lambda z: 1 / 0"),
    "exits_forward": _odd("lambda z: sys.exit(0)"),
    "interrupts_forward": "model = Odd()\n    def odd(z):\n        raise KeyboardInterrupt\n"
                          "    model.odd = odd\n    return model, X, y",
    "prints_forward": _odd("lambda z: print('noise') or z"),
    "returns_tuple": _odd("lambda z: (z, z)"),
    "returns_none": _odd("lambda z: None"),
    "returns_float": _odd("lambda z: 1.0"),
    "trains_itself": "model = Odd()\n    def odd(z):\n"
                     "        model.body[0].weight.data.add_(1e-3)\n        return z\n"
                     "    model.odd = odd\n    return model, X, y",
    "two_inputs": "return nn.Bilinear(3, 3, 1).double(), X, y",
    "convolution": "return nn.Conv1d(3, 1, 1).double(), X, y",
    "embedding": "return nn.Embedding(3, 3), X.long().clamp(0, 2), y",
    "transformer": "return nn.TransformerEncoderLayer(3, 1, 4).double(), X, X",
    "buffer": "model = Odd(); model.register_buffer('b', torch.ones(1)); "
              "model.odd = lambda z: z + model.b; return model, X, y",
    "getattr_raises": "return type('M', (nn.Module,), {'__getattr__': lambda s, n: 1 / 0})(), X, y",
    "train_raises": _model("model.train = lambda mode=True: 1 / 0"),
    "parameters_raise": "model = network(); model.parameters = lambda recurse=True: 1 / 0; "
                        "return model, X, y",
    "deepcopy_raises": _model("model.lock = __import__('threading').Lock()"),
    "wants_device": "return network().to('cuda'), X, y",
    "fine": "return network(), X, y",
}  # fmt: skip
NAMES = tuple(BODIES)


def source(body: str, name: str = "problem") -> str:
    """A file with one function of that body, which may also be called with width and seed."""
    lines = "\n".join("    " + line if not line.startswith(" ") else line
                      for line in body.strip("\n").splitlines())  # fmt: skip
    return f"{PREAMBLE}\ndef {name}(width=8, seed=0):\n{lines}\n"


def file_of_all() -> str:
    """One file with every function under its name."""
    return "\n".join([PREAMBLE, *(source(body, name)[len(PREAMBLE) + 1 :]
                                  for name, body in BODIES.items())])  # fmt: skip
