"""The kinds of operation of a graph, by their names in the file."""

from __future__ import annotations

from talweg_check.kinds._kind import Kind
from talweg_check.kinds.affine import Affine, Shift, Standardize
from talweg_check.kinds.averages import AveragePool, Mean
from talweg_check.kinds.convolution import Convolution
from talweg_check.kinds.embedding import Embedding
from talweg_check.kinds.linear import Linear
from talweg_check.kinds.matrix_product import MatrixProduct
from talweg_check.kinds.normalize import Normalize
from talweg_check.kinds.pointwise import Elementwise, Scale
from talweg_check.kinds.products import Product
from talweg_check.kinds.softmax import Softmax
from talweg_check.kinds.sums import Concatenate, Sum
from talweg_check.kinds.views import Permute, Reshape, Slice

KINDS: dict[str, type[Kind]] = {
    "linear": Linear,
    "convolution": Convolution,
    "affine": Affine,
    "shift": Shift,
    "embedding": Embedding,
    "standardize": Standardize,
    "elementwise": Elementwise,
    "scale": Scale,
    "sum": Sum,
    "product": Product,
    "matrix_product": MatrixProduct,
    "softmax": Softmax,
    "normalize": Normalize,
    "average_pool": AveragePool,
    "mean": Mean,
    "concatenate": Concatenate,
    "reshape": Reshape,
    "permute": Permute,
    "slice": Slice,
}
