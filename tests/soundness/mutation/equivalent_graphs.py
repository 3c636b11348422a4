"""The mutants of the modules of graphs that no input tells from the checker, as in `equivalent`."""

from __future__ import annotations

LISTED = """\
== _graph
-- Arb takes the floats of NumPy as they are: the same numbers.
GraphNetwork.__init__: exact(np.eye(self.outputs)) ==> np.eye(self.outputs)
-- No operation before a, and not a itself, reads what a moves.
GraphNetwork._reached: range(a + 1, self.last + 1) ==> range(a - 1, self.last + 1)
GraphNetwork._reached: range(a + 1, self.last + 1) ==> range(a, self.last + 1)
GraphNetwork._reached: range(a + 1, self.last + 1) ==> range(1, self.last + 1)
-- Index 0 reads nothing, and index 1 nothing but the input, which does not move.
GraphNetwork._pull_back: range(self.last, 0, -1) ==> range(self.last, 0 + -1, -1)
GraphNetwork._pull_back: range(self.last, 0, -1) ==> range(self.last, 1, -1)
-- What reads something that moves, moves, and leads to the output: the grammar requires that.
GraphNetwork._pull_back: e in self.moves and t in self.g ==> e in self.moves
-- Every array has a use.
GraphNetwork._terms: len(uses[name]) == 1 ==> len(uses[name]) <= 1
-- A value of a linear layer has an axis.
GraphNetwork._terms: len(kind.shape) == 1 ==> len(kind.shape) <= 1
-- The key of a layer is not read.
GraphNetwork._terms: Term([(t, '')], True) ==> Term([(t, 'X')], True)
-- Parts that are made again, or values that nobody asks for: time.
GraphNetwork._part: if group.start not in c.parts ==> if True
GraphNetwork.tangents: if t > final ==> if False
GraphNetwork.tangents: break ==> pass
-- What is no longer needed is kept, or looked for twice: memory and time.
GraphNetwork.tangents: set(self.reads[t]) ==> self.reads[t]
GraphNetwork.tangents: if e in found and readers[e] == t and (e not in kept) ==> if False
-- No reader comes behind the last one.
GraphNetwork.tangents: e in found and readers[e] == t and (e not in kept) ==> e in found and readers[e] <= t and (e not in kept)
-- Every value has the same number of samples.
GraphNetwork.tangents: self.values[0][part] ==> self.values[1][part]
== _graph_algebra
-- Two ways to the same norm: time. A pair of sizes is not 1, and sizes are positive.
operator_norms_upper: if min(size) == 1 ==> if False
operator_norms_upper: min(size) == 1 ==> min(size) <= 1
operator_norms_upper: min(size) == 1 ==> size == 1
operator_norms_upper: min(size) == 1 ==> max(size) == 1
-- Where k, a or b is 1, the least of the three norms is the one that is taken alone.
unfolded_norms_upper: if k == 1 or a == 1 or b == 1 ==> if False
unfolded_norms_upper: k == 1 or a == 1 or b == 1 ==> k == 1 and a == 1 and (b == 1)
unfolded_norms_upper: k == 1 or a == 1 or b == 1 ==> a == 1 or b == 1
unfolded_norms_upper: k == 1 or a == 1 or b == 1 ==> k == 1 or b == 1
unfolded_norms_upper: k == 1 or a == 1 or b == 1 ==> k == 1 or a == 1
-- Sizes are positive.
unfolded_norms_upper: k == 1 or a == 1 or b == 1 ==> k <= 1 or a == 1 or b == 1
unfolded_norms_upper: k == 1 or a == 1 or b == 1 ==> k == 1 or a <= 1 or b == 1
unfolded_norms_upper: k == 1 or a == 1 or b == 1 ==> k == 1 or a == 1 or b <= 1
unfolded_norms_upper: (k * a, b) if k == 1 else (k, a * b) ==> (k * a, b) if k <= 1 else (k, a * b)
-- 1 a is a.
unfolded_norms_upper: (k * a, b) if k == 1 else (k, a * b) ==> (a, b) if k == 1 else (k, a * b)
-- A hint: the difference is enclosed, and not finite here.
factor: np.nan_to_num(approx(square), nan=0, posinf=0, neginf=0) ==> np.nan_to_num(approx(square), nan=1, posinf=0, neginf=0)
factor: np.nan_to_num(approx(square), nan=0, posinf=0, neginf=0) ==> np.nan_to_num(approx(square), nan=0, posinf=1, neginf=0)
factor: np.nan_to_num(approx(square), nan=0, posinf=0, neginf=0) ==> np.nan_to_num(approx(square), nan=0, posinf=0, neginf=1)
-- A hint, of which LAPACK reads one triangle.
factor: hint / 2 + hint.T / 2 ==> hint / 2 + hint / 2
== _graph_ball
-- A term of zeros is added: time. What moves is not negative.
Moved._backwards: if not all((entry == 0 for entry in delta)) ==> if True
Moved._backwards: (entry == 0 for entry in delta) ==> (entry <= 0 for entry in delta)
-- No path leads from an operation to its own inputs.
Moved._pi: if t > a ==> if True
Moved._pi: t > a ==> t >= a
== _graph_columns
-- Arb takes floats of NumPy as they are.
SplitColumns.__init__: exact(np.linalg.eigh(square + np.diag(spread))[1][:, -few:]) ==> np.linalg.eigh(square + np.diag(spread))[1][:, -few:]
SplitColumns.__init__: exact(np.eye(len(self.v.T))) ==> np.eye(len(self.v.T))
-- A hint.
SplitColumns.__init__: np.where(np.isfinite(hint), hint, 0.0) ==> np.where(np.isfinite(hint), hint, 1.0)
SplitColumns.__init__: np.abs(hint).max() or 1.0 ==> np.abs(hint).max() or 2.0
== _graph_forms
-- There are no totals where the rows are not split.
Forms._from: if split is not None ==> if True #1
-- Working bits of Arb: a matter of width.
: BITS = 53 ==> BITS = 54
: BITS = 53 ==> BITS = 52
-- Two ways to the same norm: time.
Forms._gram: rows.shape[1] <= rows.shape[0] ==> rows.shape[1] < rows.shape[0]
Forms._gram: rows.shape[1] <= rows.shape[0] ==> rows.shape[1] > rows.shape[0]
Forms._gram: rows.shape[1] <= rows.shape[0] ==> rows.shape[1] <= rows.shape[1]
-- The order does not matter, and a list holds the same as its set.
Forms._from: sorted(heads | {e for c in bent for e in net.reads[c]}) ==> heads | {e for c in bent for e in net.reads[c]}
Forms._from: self._changes(part, pushed, set(bent), ends) ==> self._changes(part, pushed, bent, ends)
-- Directions are entries, whose square is no more than the cost, or trained numbers, whose square is counted beside it.
Forms._from: columns * columns ==> columns / columns
Forms._from: columns * columns ==> columns
Forms._from: columns * columns ==> columns #1
-- How many samples are held at a time: memory and time.
Forms._from: max(CHUNK // cost, 1) ==> 1
Forms._from: max(CHUNK // cost, 1) ==> max(CHUNK * cost, 1)
Forms._from: max(CHUNK // cost, 1) ==> max(CHUNK, 1)
Forms._from: max(CHUNK // cost, 1) ==> max(cost, 1)
Forms._from: max(CHUNK // cost, 1) ==> max(CHUNK // cost, 2)
-- Index 0 reads nothing, and index 1 nothing but the input, which does not move.
Forms._changes: range(net.last, 0, -1) ==> range(net.last, 0 + -1, -1)
Forms._changes: range(net.last, 0, -1) ==> range(net.last, 1, -1)
-- What is no longer needed is kept: memory.
Forms._changes: if t not in ends ==> if False
Forms._changes: found.pop(t, None) ==> pass
-- Only the first of the samples is read.
Forms._gram: self.net.values[self.net.reads[b][0]][i:i + 1] ==> self.net.values[self.net.reads[b][0]][i:]
Forms._gram: self.net.values[self.net.reads[b][0]][i:i + 1] ==> self.net.values[self.net.reads[b][0]][i:i + 2]
Forms._cotangent: self.net.g[b][i:i + 1] ==> self.net.g[b][i:]
Forms._cotangent: self.net.g[b][i:i + 1] ==> self.net.g[b][i:i + 2]
-- Nothing, of whatever value.
Forms._gram: full((columns, 0), 0) ==> full((columns, 0), 1)
Forms._gram: full((columns, 0), 0) ==> full((columns, 0), 1) #1
-- A list has an entry from the start, and there is a position.
Forms._gram: len(left) == 1 ==> len(left) <= 1
Forms._applied: g.shape[-1] == 1 ==> g.shape[-1] <= 1
-- Groups have no entries in common.
Forms._applied: phi[places[0][places[0] >= 0]] += gamma[0, 0] ==> phi[places[0][places[0] >= 0]] = gamma[0, 0]
-- Two ways to the same sum: time.
Forms._crossed: if positions <= c ==> if True
Forms._crossed: if positions <= c ==> if False
Forms._crossed: positions <= c ==> positions < c
Forms._crossed: positions <= c ==> positions > c
-- Arb takes whole numbers of NumPy as they are, and only the first of the samples is read.
Forms._places: exact(np.arange(1, entries(shape) + 1)) ==> np.arange(1, entries(shape) + 1)
Forms._from: self._rows(a, np.s_[i:i + 1]) ==> self._rows(a, np.s_[i:])
Forms._from: self._rows(a, np.s_[i:i + 1]) ==> self._rows(a, np.s_[i:i + 2])
-- How many samples are joined at a time: memory and time.
_Sum.add_on_weights: if half.size * len(self.halves) > CHUNK ==> if True
_Sum.add_on_weights: if half.size * len(self.halves) > CHUNK ==> if False
_Sum.add_on_weights: half.size * len(self.halves) > CHUNK ==> half.size * len(self.halves) >= CHUNK
_Sum.add_on_weights: half.size * len(self.halves) > CHUNK ==> half.size * len(self.halves) <= CHUNK
_Sum.add_on_weights: half.size * len(self.halves) ==> half.size / len(self.halves)
_Sum.add_on_weights: half.size * len(self.halves) ==> half.size
_Sum.add_on_weights: half.size * len(self.halves) ==> len(self.halves)
_Sum.add_on_weights: self._join() ==> pass
-- A sum has two axes or, by pairs of rows, three. Every entry of the whole is written.
_Sum.total: found.ndim == 2 ==> found.ndim <= 2
_Sum.total: full((count, c, count, c), 0) ==> full((count, c, count, c), 1)
-- The first of what is read is taken: time. Grams that nobody asks for: memory.
Forms._from: self._rows(b, np.s_[i:i + 1]) ==> self._rows(b, np.s_[i:])
Forms._from: self._rows(b, np.s_[i:i + 1]) ==> self._rows(b, np.s_[i:i + 2])
Forms._from: if split is not None ==> if True
== _graph_grammar
-- Whole numbers, and no others, are their own floor, which is never above.
Graph.require_inputs: numbers == np.floor(numbers) ==> numbers <= np.floor(numbers)
Graph.require_inputs: np.floor(numbers) ==> np.ceil(numbers)
Graph.require_inputs: np.floor(numbers) ==> np.rint(numbers)
== _graph_lipschitz
-- Bounds that nobody asks for: time.
_OnBall.table: if self._wholes(one, two) ==> if True
_OnBall.table: self.net.at[place:] ==> self.net.at[:]
-- b is not before a.
_OnBall.table: a != b ==> a < b
_OnBall._first: a != b ==> a < b
-- The least number is compared with itself.
_OnBall._entry: bounds[1:] ==> bounds[:]
== _graph_norms
-- Arb takes whole numbers and floats of NumPy, and its whole numbers as exponents, as they are.
block: matrix - exact(hint) ==> matrix - hint
union_norm_upper: int(np.frexp(np.abs(stack).max())[1]) ==> np.frexp(np.abs(stack).max())[1]
union_norm_upper: int(np.frexp(1.01 * size)[1]) ==> np.frexp(1.01 * size)[1]
union_norm_upper: float(np.sqrt(abs(np.linalg.eigvalsh(turned @ turned.T)[-1]))) ==> np.sqrt(abs(np.linalg.eigvalsh(turned @ turned.T)[-1]))
root_eigenvalue_upper: int(np.frexp(1.01 * float(np.abs(values).max()))[1]) ==> np.frexp(1.01 * float(np.abs(values).max()))[1]
root_eigenvalue_upper: float(np.abs(values).max()) ==> np.abs(values).max()
root_eigenvalue_upper: float(values[-1]) ==> values[-1]
root_eigenvalue_upper: exact(digits) * unit ==> digits * unit
root_eigenvalue_upper: arb(min(top, 2 ** 61)) + arb(int(error)) ==> arb(min(top, 2 ** 61)) + arb(error)
-- A matrix and its transpose have the same norm: time.
union_norm_upper: unit if len(unit) <= len(unit.T) else unit.T ==> unit
union_norm_upper: unit if len(unit) <= len(unit.T) else unit.T ==> unit.T
union_norm_upper: len(unit) <= len(unit.T) ==> len(unit) < len(unit.T)
union_norm_upper: len(unit) <= len(unit.T) ==> len(unit) > len(unit.T)
union_norm_upper: len(unit) <= len(unit.T) ==> len(unit) <= len(unit)
union_norm_upper: unit if len(unit) <= len(unit.T) else unit.T ==> unit if len(unit) <= len(unit.T) else unit
-- Longer whole numbers, or those of which more than one is left over, make rows that are refused as too long.
union_norm_upper: np.rint(scaled).clip(-2 ** 31, 2 ** 31) ==> np.rint(scaled).clip(-3 ** 31, 2 ** 31)
union_norm_upper: np.rint(scaled).clip(-2 ** 31, 2 ** 31) ==> np.rint(scaled).clip(-2 ** 32, 2 ** 31)
union_norm_upper: np.rint(scaled).clip(-2 ** 31, 2 ** 31) ==> np.rint(scaled).clip(-2 ** 31, 3 ** 31)
union_norm_upper: np.rint(scaled).clip(-2 ** 31, 2 ** 31) ==> np.rint(scaled).clip(-2 ** 31, 2 ** 32)
union_norm_upper: (np.abs(fractions) < 1).all ==> (np.abs(fractions) < 1).any
union_norm_upper: np.abs(fractions) < 1 ==> np.abs(fractions) <= 1
union_norm_upper: np.abs(fractions) ==> fractions
union_norm_upper: np.abs(fractions) < 1 ==> np.abs(fractions) < 2
-- Cut off instead of rounded, and one more, is above as well.
union_norm_upper: np.rint(fractions * FRACTION) ==> fractions * FRACTION
-- Sizes, estimates and factors are hints: any of them gives a bound.
root_eigenvalue_upper: 60 - int(np.frexp(1.01 * float(np.abs(values).max()))[1]) ==> 61 - int(np.frexp(1.01 * float(np.abs(values).max()))[1])
root_eigenvalue_upper: 60 - int(np.frexp(1.01 * float(np.abs(values).max()))[1]) ==> 59 - int(np.frexp(1.01 * float(np.abs(values).max()))[1])
root_eigenvalue_upper: 1.01 * float(np.abs(values).max()) ==> float(np.abs(values).max())
root_eigenvalue_upper: 1.01 * float(np.abs(values).max()) ==> 2.02 * float(np.abs(values).max())
root_eigenvalue_upper: np.rint(np.ldexp(hint, exponent)) ==> np.ldexp(hint, exponent)
root_eigenvalue_upper: max(float(values[-1]), 0.0) ==> float(values[-1])
root_eigenvalue_upper: 1 + 2.0 ** (-30) ==> 1 + 2.0 ** (-31)
root_eigenvalue_upper: 1 + 2.0 ** (-30) ==> 1 + 2.0 ** (-29)
root_eigenvalue_upper: np.rint(_cholesky(spread.astype(np.float64))) ==> _cholesky(spread.astype(np.float64))
-- What is cut off is enclosed, and nothing that remains can reach 2^63.
root_eigenvalue_upper: np.rint(np.ldexp(hint, exponent)).clip(-2.0 ** 61, 2.0 ** 61) ==> np.rint(np.ldexp(hint, exponent)).clip(-2.0 ** 62, 2.0 ** 61)
root_eigenvalue_upper: np.rint(np.ldexp(hint, exponent)).clip(-2.0 ** 61, 2.0 ** 61) ==> np.rint(np.ldexp(hint, exponent)).clip(-2.0 ** 60, 2.0 ** 61)
root_eigenvalue_upper: np.rint(np.ldexp(hint, exponent)).clip(-2.0 ** 61, 2.0 ** 61) ==> np.rint(np.ldexp(hint, exponent)).clip(-2.0 ** 61, 2.0 ** 62)
root_eigenvalue_upper: np.rint(np.ldexp(hint, exponent)).clip(-2.0 ** 61, 2.0 ** 61) ==> np.rint(np.ldexp(hint, exponent)).clip(-2.0 ** 61, 2.0 ** 60)
-- The number is below 2^60: the largest of the values, which are scaled by the largest of them.
root_eigenvalue_upper: min(top, 2 ** 61) ==> top
root_eigenvalue_upper: min(top, 2 ** 61) ==> min(top, 3 ** 61)
root_eigenvalue_upper: min(top, 2 ** 61) ==> min(top, 2 ** 62)
root_eigenvalue_upper: min(top, 2 ** 61) ==> min(top, 2 ** 60)
root_eigenvalue_upper: min(top, 2 ** 61) ==> top #1
root_eigenvalue_upper: min(top, 2 ** 61) ==> min(top, 3 ** 61) #1
root_eigenvalue_upper: min(top, 2 ** 61) ==> min(top, 2 ** 62) #1
root_eigenvalue_upper: min(top, 2 ** 61) ==> min(top, 2 ** 60) #1
== _graph_pairs
-- There is a position, and a group.
Pairs.split: self.positions(a) == 1 ==> self.positions(a) <= 1
Pairs.whole: self.groups(a) == 1 ==> self.groups(a) <= 1
Pairs.columned: self.positions(a) == self.positions(b) == 1 ==> self.positions(a) <= self.positions(b) == 1
Pairs.columned: self.positions(a) == self.positions(b) == 1 ==> self.positions(a) == self.positions(b) <= 1
-- The order does not matter.
Pairs.__init__: sorted(net.moves) ==> net.moves
-- b is not before a, and there is an output.
Pairs.maps: a != b and (not self.multiplied(a, b)) ==> a < b and (not self.multiplied(a, b))
Pairs.formed: self.net.outputs == 1 ==> self.net.outputs <= 1
Pairs.factored: self.net.outputs == 1 ==> self.net.outputs <= 1
Pairs.columned: self.net.outputs == 1 ==> self.net.outputs <= 1
Pairs.columned: a == b and self.by_weight(a) ==> a >= b and self.by_weight(a)
Pairs.groups: (1, 1, *self.net.kind(a).shape) ==> (1, 2, *self.net.kind(a).shape)
Pairs.groups: (1, 1, *self.net.kind(a).shape) ==> (2, 1, *self.net.kind(a).shape)
-- The same number from patches, of one sample or of more: time.
Pairs.positions: if isinstance(kind, Embedding) ==> if False
Pairs.positions: int(kind.patches(self.net.values[self.net.reads[a][0]][:1]).shape[2]) ==> kind.patches(self.net.values[self.net.reads[a][0]][:1]).shape[2]
Pairs.positions: self.net.values[self.net.reads[a][0]][:1] ==> self.net.values[self.net.reads[a][0]][:]
Pairs.positions: self.net.values[self.net.reads[a][0]][:1] ==> self.net.values[self.net.reads[a][0]][:2]
== _graph_rows
-- Arb takes floats of NumPy as they are.
SplitRows.__init__: exact(np.linalg.eigh(hint.T @ hint)[1][:, -DIRECTIONS:]) ==> np.linalg.eigh(hint.T @ hint)[1][:, -DIRECTIONS:]
SplitRows.__init__: exact(np.eye(len(v.T))) ==> np.eye(len(v.T))
-- A hint.
SplitRows.__init__: np.where(np.isfinite(hint), hint, 0.0) ==> np.where(np.isfinite(hint), hint, 1.0)
SplitRows.__init__: np.abs(hint).max() or 1.0 ==> np.abs(hint).max() or 2.0
-- The matrices are square.
_half: matrices.shape[1] ==> matrices.shape[2]
== _graph_start
-- The order does not matter.
Start._first_bound: sorted(set().union(*(chosen for _, chosen in self.nu))) ==> set().union(*(chosen for _, chosen in self.nu))
Start._first_bound: sorted({net.reads[b][0] for b in ends} | {e for c in self.bent for e in net.reads[c]}) ==> {net.reads[b][0] for b in ends} | {e for c in self.bent for e in net.reads[c]}
Start._first_bound: sorted({a for _, a in self.omega} | {a for a, _ in self.nu}) ==> {a for _, a in self.omega} | {a for a, _ in self.nu}
Start._measure: sorted(set().union(*chosen)) ==> set().union(*chosen)
-- A pair in the other order asks for nothing more.
Start.__init__: [(a, b) for place, a in enumerate(net.at) for b in net.at[place:] if pairs.factored(a, b)] ==> [(a, b) for place, a in enumerate(net.at) for b in net.at[:] if pairs.factored(a, b)]
-- Every entry is set afterwards.
Start._first_bound: full(net.samples, 0) ==> full(net.samples, 1)
Start._first_bound: full(net.samples, 0) ==> full(net.samples, 1) #1
-- How many samples are held at a time, or some of them twice: memory and time.
Start._first_bound: max(CHUNK // max(cost, 1), 1) ==> 1
Start._first_bound: CHUNK // max(cost, 1) ==> CHUNK * max(cost, 1)
Start._first_bound: CHUNK // max(cost, 1) ==> CHUNK
Start._first_bound: CHUNK // max(cost, 1) ==> max(cost, 1)
Start._first_bound: CHUNK // max(cost, 1) ==> CHUNK // cost
Start._first_bound: CHUNK // max(cost, 1) ==> CHUNK // 1
Start._first_bound: CHUNK // max(cost, 1) ==> CHUNK // min(cost, 1)
Start._first_bound: CHUNK // max(cost, 1) ==> CHUNK // max(cost, 2)
Start._first_bound: max(CHUNK // max(cost, 1), 1) ==> max(CHUNK // max(cost, 1), 2)
Start._first_bound: min(first + step, net.samples) ==> net.samples
-- A norm is computed again: time.
Start._measure: if e not in norms ==> if True
-- They are walked over like a list.
Start._measure: list(found.values()) ==> found.values()
-- The norm of a stack does not know the order of its blocks.
Start._measure: [rows[c] for c in sorted(s)] ==> [rows[c] for c in s]
-- Curved operations have one slot or two; for one the quotient is 0, which counts as 1.
Start._tau: np.zeros((2, count)) ==> np.zeros((3, count))
Start._tau: slots[:2] if len(slots) == 2 else () ==> slots[:2]
Start._tau: slots[:2] if len(slots) == 2 else () ==> slots[:2] if len(slots) <= 2 else ()
Start._tau: slots[:2] if len(slots) == 2 else () ==> slots[:2] if len(slots) >= 2 else ()
Start._tau: slots[:2] if len(slots) == 2 else () ==> slots[:] if len(slots) == 2 else ()
Start._tau: slots[:2] if len(slots) == 2 else () ==> slots[:3] if len(slots) == 2 else ()
-- The signs of numerator and denominator cancel.
Start._tau: squares[slot] += (approx(_flat(tangents[e])) ** 2).sum(axis=(1, 2)) ==> squares[slot] -= (approx(_flat(tangents[e])) ** 2).sum(axis=(1, 2))
-- Arb takes whole numbers of NumPy as they are.
coupled_norms_upper: exact(np.arange(1, width + 1)) ==> np.arange(1, width + 1)
-- Every entry is set afterwards.
coupled_norms_upper: result, missed = full((2, m), 0) ==> result, missed = full((2, m), 1)
-- Of the one tangent only the size of its patches is read.
coupled_norms_upper: kind.patches(tangents[0, :1]) ==> kind.patches(tangents[0, :])
coupled_norms_upper: kind.patches(tangents[0, :1]) ==> kind.patches(tangents[0, :2])
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
-- Where the bound is 0, what is divided by it is no number, which confirms nothing.
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
