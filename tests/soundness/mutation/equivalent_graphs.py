"""The mutants of the modules of graphs that no input tells from the checker, as in `equivalent`."""

from __future__ import annotations

LISTED = """\
== kinds._kind
-- Nobody changes the list.
Kind.__init__: self.shapes = list(shapes) ==> self.shapes = shapes
-- It is an integer already, and not True or False: that was required before.
whole: return int(value) ==> return value
== kinds._parametric
-- The norm is computed again: time.
Parametric.stretches: if not hasattr(self, '_stretch') ==> if True
-- What moves is not negative.
Parametric.drift: (entry == 0 for entry in eta) ==> (entry <= 0 for entry in eta)
-- True and False are the numbers 1 and 0.
Parametric.slack: int(self.trains['weight']) ==> self.trains['weight']
-- There is a position.
Parametric.coupling: positions == 1 ==> positions <= 1
-- Every entry is set afterwards.
Parametric.coupling: full((n, groups), 0) ==> full((n, groups), 1)
== kinds._rows
-- Gram matrices that are not used, and two ways to the same norm: time.
Rows.__init__: if self.few ==> if True
Rows.each: if self.few ==> if False
Rows.norms_upper: if self.few ==> if False
== kinds.affine
-- Nothing but the axis is read of it.
Standardize.__init__: {**item, 'axis': 0} ==> {'axis': 0}
== kinds.averages
-- Zeros beyond the last window, or counts of places there, which are not read.
AveragePool._padded: (d + 2 * p for d, p in zip(self.extents, self.padding, strict=True)) ==> (d + 3 * p for d, p in zip(self.extents, self.padding, strict=True))
AveragePool.stretches: 2 * self.padding[axis] ==> self.padding[axis]
AveragePool.stretches: 2 * self.padding[axis] ==> 3 * self.padding[axis]
AveragePool.stretches: 2 * self.padding[axis] ==> 1 * self.padding[axis]
-- It has one slot, whose number is not read.
AveragePool.run: self.push((), 0, values[0]) ==> self.push((), 1, values[0])
-- A set has no more entries than the list of which it was made.
Mean.__init__: len(axes) != len(self.axes) ==> len(axes) < len(self.axes)
== kinds.convolution
-- Counts of places beyond the last window, or zeros there, which are not read.
Convolution.overlap: 2 * self.padding[axis] ==> self.padding[axis]
Convolution.overlap: 2 * self.padding[axis] ==> 3 * self.padding[axis]
Convolution.overlap: 2 * self.padding[axis] ==> 1 * self.padding[axis]
Convolution._padded: (d + 2 * pad for d, pad in zip(self.extents, self.padding, strict=True)) ==> (d + 3 * pad for d, pad in zip(self.extents, self.padding, strict=True))
-- Arb takes the floats of NumPy as they are: the same numbers.
Convolution.stretch: exact(np.eye(size)) ==> np.eye(size)
== kinds.matrix_product
-- Batches of different lengths differ.
MatrixProduct.__init__: len(one) == len(two) >= 2 ==> len(one) >= len(two) >= 2
-- Slots are 0 and 1.
MatrixProduct._times: slot == 1 ==> slot >= 1
== kinds.normalize
-- Where the bound is 0 the drift refuses, as it asks for more.
Normalize.run: (bound > 0 for bound in least) ==> (bound >= 0 for bound in least)
== kinds.pointwise
-- The ball is symmetric about 0.
: centre + arb(0, radius) ==> centre - arb(0, radius)
== kinds.products
-- Nothing, of whatever value.
Bilinear.root: full((len(root), columns, 0), 0) ==> full((len(root), columns, 0), 1)
-- Both shapes are the same: that was required before.
Product.__init__: self.shape = shapes[0] ==> self.shape = shapes[1]
== kinds.softmax
-- The same number is taken off all entries of a row, which changes nothing.
Softmax.run: x - _mid(x.max(axis=-1, keepdims=True)) ==> x + _mid(x.max(axis=-1, keepdims=True))
Softmax.run: x - _mid(x.max(axis=-1, keepdims=True)) ==> x
Softmax.run: x.max(axis=-1, keepdims=True) ==> x.min(axis=-1, keepdims=True)
-- A matrix and its transpose have the same norm.
Softmax.form: np.moveaxis(g.reshape(*g.shape[:2], -1, s.shape[-1]), 1, 2) ==> np.moveaxis(g.reshape(*g.shape[:2], -1, s.shape[-1]), 1, 3)
== kinds.sums
-- A set of two or more shapes is not empty, and all of them are the same.
Sum.__init__: len(set(shapes)) != 1 ==> len(set(shapes)) > 1
Sum.__init__: (signs, shapes[0]) ==> (signs, shapes[1])
-- Signs are 1 and -1.
Sum.words: '+' if sign > 0 else '-' ==> '+' if sign >= 0 else '-'
Sum.push: self.signs[slot] > 0 ==> self.signs[slot] >= 0
-- NumPy takes tuples like lists, and its own integers as axes.
Concatenate.run: np.concatenate(list(values), axis=1 + self.axis) ==> np.concatenate(values, axis=1 + self.axis)
== kinds.views
-- NumPy takes its own integers as axes.
Permute.pull: (2 + int(axis) for axis in np.argsort(self.axes)) ==> (2 + axis for axis in np.argsort(self.axes))
"""  # noqa: E501
