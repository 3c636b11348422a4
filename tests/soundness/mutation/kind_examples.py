"""Operations of every kind and shape, with what the sentence and the work bound say of them."""

from __future__ import annotations

from typing import Any

BOTH, NEITHER = {"weight": True, "bias": True}, {"weight": False, "bias": False}
FIRST, LAST = {"weight": True, "bias": False}, {"weight": False, "bias": True}


def _pool(kernel: list[int], stride: list[int], padding: list[int]) -> dict[str, Any]:
    return {"kind": "average_pool", "kernel": kernel, "stride": stride, "padding": padding}


def _act(function: str, **parameters: float) -> dict[str, Any]:
    return {"kind": "elementwise", "function": function, "parameters": parameters}


def _window(stride: list[int], padding: list[int], dilation: list[int], groups: int) -> Any:
    return {"kind": "convolution", "stride": stride, "padding": padding, "dilation": dilation,
            "groups": groups}  # fmt: skip


# Item, shapes of the inputs, shapes of the arrays, what trains, words, work.
KINDS: dict[str, tuple[Any, Any, Any, Any, str, int]] = {
    "linear": ({"kind": "linear"}, [(3,)], {"weight": (4, 3), "bias": (4,)}, BOTH,
               "linear 3->4 (weight trained, bias trained)", 0),
    "linear, rows": ({"kind": "linear"}, [(2, 3)], {"weight": (4, 3)}, {"weight": True},
                     "linear 3->4 (weight trained, bias none)", 0),
    "linear, many rows": ({"kind": "linear"}, [(2, 3, 2)], {"weight": (2, 2), "bias": (2,)}, BOTH,
                          "linear 2->2 (weight trained, bias trained)", 0),
    "linear, one entry": ({"kind": "linear"}, [(4, 1)], {"weight": (2, 1), "bias": (2,)}, BOTH,
                          "linear 1->2 (weight trained, bias trained)", 0),
    "linear, bias": ({"kind": "linear"}, [(2, 3)], {"weight": (2, 3), "bias": (2,)}, LAST,
                     "linear 3->2 (weight frozen, bias trained)", 0),
    "linear, weight": ({"kind": "linear"}, [(3,)], {"weight": (2, 3), "bias": (2,)}, FIRST,
                       "linear 3->2 (weight trained, bias frozen)", 0),
    "linear, frozen": ({"kind": "linear"}, [(3,)], {"weight": (5, 3), "bias": (5,)}, NEITHER,
                       "linear 3->5 (weight frozen, bias frozen)", 0),
    "convolution": (_window([2, 1], [1, 2], [1, 2], 2), [(4, 4, 5)],
                    {"weight": (4, 2, 3, 2), "bias": (4,)}, BOTH,
                    ("convolution 4x2x3x2 (stride 2x1, padding 1x2, dilation 1x2, groups 2, weight "
                    "trained, bias trained)"), 4 * 6 * 9 + 4 * 6 * 2 * 7),
    "convolution, plain": (_window([1, 1], [0, 0], [1, 1], 1), [(2, 3, 4)],
                           {"weight": (3, 2, 2, 2), "bias": (3,)}, LAST,
                           ("convolution 3x2x2x2 (stride 1x1, padding 0x0, dilation 1x1, groups 1, "
                           "weight frozen, bias trained)"), 2 * 12 + 2 * 4 * 6),
    "convolution, one axis": (_window([1], [0], [1], 1), [(2, 5)], {"weight": (3, 2, 3)},
                              {"weight": True},
                              ("convolution 3x2x3 (stride 1, padding 0, dilation 1, groups 1, "
                              "weight trained, bias none)"), 2 * 5 + 2 * 3 * 3),
    "convolution, sparse": (_window([3], [1], [1], 3), [(3, 6)],
                            {"weight": (3, 1, 2), "bias": (3,)}, BOTH,
                            ("convolution 3x1x2 (stride 3, padding 1, dilation 1, groups 3, weight "
                            "trained, bias trained)"), 3 * 8 + 3 * 2 * 3),
    "convolution, one position": (_window([1], [0], [2], 1), [(2, 3)], {"weight": (2, 2, 2)},
                                  {"weight": True},
                                  ("convolution 2x2x2 (stride 1, padding 0, dilation 2, groups 1, "
                                  "weight trained, bias none)"), 2 * 3 + 2 * 2 * 1),
    "convolution, mostly padding": (_window([2, 1], [2, 1], [1, 1], 1), [(1, 2, 3)],
                                    {"weight": (1, 1, 2, 3)}, {"weight": True},
                                    ("convolution 1x1x2x3 (stride 2x1, padding 2x1, dilation 1x1, "
                                    "groups 1, weight trained, bias none)"), 6 * 5 + 6 * 3 * 3),
    "convolution, alone": (_window([2], [3], [1], 1), [(1, 1)], {"weight": (2, 1, 3)},
                           {"weight": True},
                           ("convolution 2x1x3 (stride 2, padding 3, dilation 1, groups 1, weight "
                           "trained, bias none)"), 7 + 9),
    "convolution, first entry": (_window([2], [2], [1], 1), [(1, 2)], {"weight": (2, 1, 3)},
                                 {"weight": True},
                                 ("convolution 2x1x3 (stride 2, padding 2, dilation 1, groups 1, "
                                 "weight trained, bias none)"), 6 + 6),
    "convolution, last entry": (_window([2], [3], [1], 1), [(1, 2)], {"weight": (2, 1, 3)},
                                {"weight": True},
                                ("convolution 2x1x3 (stride 2, padding 3, dilation 1, groups 1, "
                                "weight trained, bias none)"), 8 + 9),
    "convolution, wide": (_window([1], [0], [1], 1), [(1, 4)], {"weight": (6, 1, 1)},
                          {"weight": True},
                          ("convolution 6x1x1 (stride 1, padding 0, dilation 1, groups 1, weight "
                          "trained, bias none)"), 4 + 4),
    "affine": ({"kind": "affine", "axis": 0}, [(3,)], {"weight": (3,), "bias": (3,)}, BOTH,
               "affine 3 at axis 0 (weight trained, bias trained)", 0),
    "affine, inside": ({"kind": "affine", "axis": 1}, [(2, 3, 2)], {"weight": (3,)},
                       {"weight": True}, "affine 3 at axis 1 (weight trained, bias none)", 0),
    "affine, two axes": ({"kind": "affine", "axis": 1}, [(2, 3, 2, 2)],
                         {"weight": (3, 2), "bias": (3, 2)}, BOTH,
                         "affine 3x2 at axis 1 (weight trained, bias trained)", 0),
    "affine, two positions": ({"kind": "affine", "axis": 0}, [(3, 2)], {"weight": (3,)},
                              {"weight": True},
                              "affine 3 at axis 0 (weight trained, bias none)", 0),
    "affine, frozen": ({"kind": "affine", "axis": 1}, [(2, 3)], {"weight": (3,), "bias": (3,)},
                       NEITHER, "affine 3 at axis 1 (weight frozen, bias frozen)", 0),
    "shift": ({"kind": "shift", "axis": 0}, [(3, 2)], {"weight": (3, 2)}, {"weight": True},
              "shift 3x2 at axis 0 (weight trained)", 0),
    "shift, inside": ({"kind": "shift", "axis": 1}, [(2, 3, 2)], {"weight": (3,)},
                      {"weight": True}, "shift 3 at axis 1 (weight trained)", 0),
    "standardize": ({"kind": "standardize", "epsilon": 0.25}, [(3, 2)],
                    {"weight": (3,), "bias": (3,)}, NEITHER, "standardize 3 (epsilon 0.25)", 0),
    "embedding": ({"kind": "embedding"}, [(3,)], {"weight": (4, 2)}, {"weight": True},
                  "embedding 4->2 (weight trained)", 4),
    "embedding, two axes": ({"kind": "embedding"}, [(2, 3)], {"weight": (3, 2)}, {"weight": True},
                            "embedding 3->2 (weight trained)", 3),
    "tanh": (_act("tanh"), [(4,)], {}, {}, "tanh", 0),
    "sin": (_act("sin"), [(2, 3)], {}, {}, "sin", 0),
    "silu": (_act("silu"), [(5,)], {}, {}, "silu", 0),
    "softplus": (_act("softplus", beta=1.5, threshold=30.0), [(3,)], {}, {},
                 "softplus(beta=1.5, threshold=30.0)", 0),
    "identity": (_act("identity"), [(2, 2)], {}, {}, "identity", 0),
    "scale": ({"kind": "scale", "numerator": -3.0, "denominator": 2.0}, [(2, 2)], {}, {},
              "scale(-3.0/2.0)", 0),
    "sum": ({"kind": "sum", "signs": [1, -1, 1]}, [(2, 2)] * 3, {}, {}, "sum(+, -, +)", 0),
    "difference": ({"kind": "sum", "signs": [-1, 1]}, [(3,)] * 2, {}, {}, "sum(-, +)", 0),
    "product": ({"kind": "product"}, [(2, 2), (2, 2)], {}, {}, "product", 0),
    "matrix product": ({"kind": "matrix_product"}, [(2, 2, 3), (2, 3, 4)], {}, {},
                       "matrix product", 0),
    "matrix product, alone": ({"kind": "matrix_product"}, [(3, 2), (2, 4)], {}, {},
                              "matrix product", 0),
    "softmax": ({"kind": "softmax"}, [(2, 4)], {}, {}, "softmax", 0),
    "softmax, one row": ({"kind": "softmax"}, [(3,)], {}, {}, "softmax", 0),
    "normalize": ({"kind": "normalize", "axes": 1, "epsilon": 0.25}, [(2, 5)], {}, {},
                  "normalize(axes 1, epsilon 0.25)", 0),
    "normalize, two axes": ({"kind": "normalize", "axes": 2, "epsilon": 0.5}, [(2, 2, 3)], {}, {},
                            "normalize(axes 2, epsilon 0.5)", 0),
    "average pool": (_pool([3, 2], [2, 1], [1, 0]), [(2, 4, 4)], {}, {},
                     "average pool(kernel 3x2, stride 2x1, padding 1x0)", 2 * 6 * 4 + 12 * 6),
    "average pool, one axis": (_pool([3], [1], [1]), [(2, 4)], {}, {},
                               "average pool(kernel 3, stride 1, padding 1)", 2 * 6 + 8 * 3),
    "average pool, no lead": (_pool([2, 3], [1, 2], [0, 1]), [(3, 5)], {}, {},
                              "average pool(kernel 2x3, stride 1x2, padding 0x1)", 3 * 7 + 6 * 6),
    "average pool, apart": (_pool([2], [3], [1]), [(3, 5)], {}, {},
                            "average pool(kernel 2, stride 3, padding 1)", 3 * 7 + 6 * 2),
    "average pool, alone": (_pool([3], [2], [3]), [(1,)], {}, {},
                            "average pool(kernel 3, stride 2, padding 3)", 7 + 9),
    "average pool, first entry": (_pool([3], [2], [2]), [(2,)], {}, {},
                                  "average pool(kernel 3, stride 2, padding 2)", 6 + 6),
    "average pool, last entry": (_pool([3], [2], [3]), [(2,)], {}, {},
                                 "average pool(kernel 3, stride 2, padding 3)", 8 + 9),
    "average pool, wide window": (_pool([3, 5], [1, 1], [0, 2]), [(1, 3, 2)], {}, {},
                                  "average pool(kernel 3x5, stride 1x1, padding 0x2)", 18 + 30),
    "average pool, remainder": (_pool([3], [2], [0]), [(4,)], {}, {},
                                "average pool(kernel 3, stride 2, padding 0)", 4 + 3),
    "average pool, close": (_pool([3], [1], [0]), [(4,)], {}, {},
                            "average pool(kernel 3, stride 1, padding 0)", 4 + 6),
    "mean": ({"kind": "mean", "axes": [2, 0]}, [(2, 3, 2)], {}, {}, "mean(axes 2, 0)", 0),
    "mean, all": ({"kind": "mean", "axes": [0]}, [(3,)], {}, {}, "mean(axes 0)", 0),
    "concatenate": ({"kind": "concatenate", "axis": 1}, [(2, 1), (2, 3), (2, 2)], {}, {},
                    "concatenate(axis 1)", 0),
    "concatenate, first axis": ({"kind": "concatenate", "axis": 0}, [(2, 2), (1, 2)], {}, {},
                                "concatenate(axis 0)", 0),
    "reshape": ({"kind": "reshape", "shape": [3, 2]}, [(6,)], {}, {}, "reshape(3x2)", 0),
    "reshape, flat": ({"kind": "reshape", "shape": [6]}, [(2, 1, 3)], {}, {}, "reshape(6)", 0),
    "permute": ({"kind": "permute", "axes": [2, 0, 1]}, [(2, 3, 4)], {}, {},
                "permute(2, 0, 1)", 0),
    "slice": ({"kind": "slice", "axis": 1, "start": 1, "stop": 5, "step": 2}, [(2, 5)], {}, {},
              "slice(axis 1, 1:5:2)", 0),
    "slice, whole": ({"kind": "slice", "axis": 0, "start": 0, "stop": 3, "step": 1}, [(3, 2)], {},
                     {}, "slice(axis 0, 0:3:1)", 0),
    "slice, first": ({"kind": "slice", "axis": 0, "start": 0, "stop": 1, "step": 4}, [(3, 2)], {},
                     {}, "slice(axis 0, 0:1:4)", 0),
}  # fmt: skip
