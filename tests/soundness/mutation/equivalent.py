"""Mutants that no input tells from the checker, or that change a hint or the time alone.

Under the reason: enclosing function, a colon, the code before and after. A trailing "#1" means the
second mutant of that function that reads so. No line numbers: edits elsewhere leave keys alone.
"""

from __future__ import annotations

from tests.soundness.mutation.equivalent_graphs import LISTED as OF_GRAPHS
from tests.soundness.mutation.mutants import PACKAGE, Key

LISTED = """\
== _activations
-- The size of a piece of work, or a wider search for turning points: the same ranges.
: ROWS = 100 ==> ROWS = 101
: ROWS = 100 ==> ROWS = 99
: REACH = 16.0 ==> REACH = 32.0
derivative_bounds: if len(x) > ROWS ==> if False
-- Both ends were moved outwards by a unit in the last place, which the ball of a turning point does not exceed: it counts either way.
Function.ranges: low <= float(point.upper()) ==> low < float(point.upper())
Function.ranges: float(point.upper()) ==> point.upper()
Function.ranges: float(point.upper()) ==> float(point)
Function.ranges: float(point.upper()) ==> float(point.lower())
Function.ranges: high >= float(point.lower()) ==> high > float(point.lower())
Function.ranges: float(point.lower()) ==> point.lower()
Function.ranges: float(point.lower()) ==> float(point)
Function.ranges: float(point.lower()) ==> float(point.upper())
-- How finely zeros are isolated, and when the search gives up: sharpness and time.
_turning_points: np.linspace(-reach, reach, 129) ==> np.linspace(-reach, reach, 130)
_turning_points: np.linspace(-reach, reach, 129) ==> np.linspace(-reach, reach, 128)
_turning_points: range(50) ==> range(50 + -1)
_turning_points: range(50) ==> range(1, 50)
_turning_points: range(50) ==> range(51)
_turning_points: range(50) ==> range(49)
_turning_points: len(pieces) > 20000 ==> len(pieces) >= 20000
_turning_points: len(pieces) > 20000 ==> len(pieces) > 20001
_turning_points: len(pieces) > 20000 ==> len(pieces) > 19999
-- The value behind the last function is computed and not used.
derivative_bounds: if index + 1 < len(chain) ==> if True
derivative_bounds: index + 1 < len(chain) ==> index + 1 <= len(chain)
derivative_bounds: index + 1 < len(chain) ==> index - 1 < len(chain)
derivative_bounds: index + 1 < len(chain) ==> index < len(chain)
derivative_bounds: index + 1 < len(chain) ==> 1 < len(chain)
-- The ball slope * (value - centre) is symmetric about 0 up to its own rounding, which is outward.
derivative_bounds: middle + slope * (value - centre) ==> middle - slope * (value - centre)
== _arrays
-- Working bits of Arb: a matter of width.
: PRECISION = 128 ==> PRECISION = 129
: PRECISION = 128 ==> PRECISION = 127
== _binding
-- A mapping is walked by its keys.
bound: list(graph.trains) ==> graph.trains
== _catalogue
-- Softplus has one turning point, at 0, which every reach holds.
function: REACH / numbers['beta'] ==> REACH * numbers['beta']
function: REACH / numbers['beta'] ==> REACH
function: REACH / numbers['beta'] ==> numbers['beta']
-- The ball holds an integer.
_extreme: first == last and abs(first) < 2 ** 64 ==> first >= last and abs(first) < 2 ** 64
-- Nothing, as often as one likes.
_Sine.__post_init__: [np.empty(0, dtype=object)] * 3 ==> [np.empty(0, dtype=object)]
_Sine.__post_init__: [np.empty(0, dtype=object)] * 3 ==> [np.empty(0, dtype=object)] * 4
_Sine.__post_init__: [np.empty(0, dtype=object)] * 3 ==> [np.empty(0, dtype=object)] * 2
-- No function here turns beyond 4, and gelu_tanh not beyond 3.2: a reach above that is time.
function: REACH / 4 if operation['function'] == 'gelu_tanh' else REACH ==> REACH / 4
function: REACH / 4 if operation['function'] == 'gelu_tanh' else REACH ==> 4 if operation['function'] == 'gelu_tanh' else REACH
function: REACH / 4 if operation['function'] == 'gelu_tanh' else REACH ==> REACH / 5 if operation['function'] == 'gelu_tanh' else REACH
function: REACH / 4 if operation['function'] == 'gelu_tanh' else REACH ==> REACH / 3 if operation['function'] == 'gelu_tanh' else REACH
== _chain
-- There is an output.
Chain.gains_from_graph: self.outputs == 1 ==> self.outputs <= 1
-- They are floats already: the grammar read them.
Chain.as_graph: {k: float(v).hex() for k, v in item['parameters'].items()} ==> {k: v.hex() for k, v in item['parameters'].items()}
== _check
-- Arb takes the floats of NumPy as they are: the same numbers.
_spectrum_doubts: float(values[end]) ==> values[end]
_spectrum_doubts: exact(vectors[:, [end]]) ==> vectors[:, [end]]
-- Decides whether a bound is worth computing: where it is hopeless it also fails.
_spectrum_doubts: bool(np.isfinite(shift)) and shift > target ==> shift > target
_spectrum_doubts: np.isfinite(shift) ==> shift
== _claims
-- Digits that are tried before the question counts as undecided.
require_at_least: (128, 1024, 8192) ==> (129, 1024, 8192)
require_at_least: (128, 1024, 8192) ==> (127, 1024, 8192)
require_at_least: (128, 1024, 8192) ==> (128, 1025, 8192)
require_at_least: (128, 1024, 8192) ==> (128, 1023, 8192)
require_at_least: (128, 1024, 8192) ==> (128, 1024, 8193)
require_at_least: (128, 1024, 8192) ==> (128, 1024, 8191)
== _entropy_rules
-- For gap 0 the inequality holds: a divergence is not negative, and 0 where the two numbers agree.
t4_entropy: if gap > 0 ==> if True
t4_entropy: gap > 0 ==> gap >= 0
-- reach is positive: s(radius) > 0 and epsilon < 1 were required before.
t4_entropy: reach >= 0 and reach ** 2 * mu >= 2 * gap ==> reach > 0 and reach ** 2 * mu >= 2 * gap
-- The smoothing is not negative.
t13: loss.smoothing == 0 ==> loss.smoothing <= 0
-- A leap of 0 fails the second inequality, whose right side is positive.
t13: leap >= 0 and leap ** 2 >= (n.eta * n.jacobian(n.radius)) ** 2 * start ==> leap > 0 and leap ** 2 >= (n.eta * n.jacobian(n.radius)) ** 2 * start
-- A denominator is at least 1.
t13: steps.denominator == 1 ==> steps.denominator <= 1
== _file
-- ZIP_STORED is 0, and no method has a negative number.
_members: info.compress_type != zipfile.ZIP_STORED ==> info.compress_type > zipfile.ZIP_STORED
-- A comment makes the file longer than the closing records are.
_members: archive.comment or end > position + directory + len(_ends(position, directory)) ==> end > position + directory + len(_ends(position, directory))
-- It is 2 or 16.
_arrays: 'one or two' if axes == 2 else f'1 to {axes}' ==> 'one or two' if axes <= 2 else f'1 to {axes}'
-- A view of the same bytes hashes and reads like a copy.
_arrays: bytes(data[begin:end]) ==> data[begin:end]
-- No array ends beyond the data: that was required before.
_arrays: position != len(data) ==> position < len(data)
== _entrywise
-- Stands for a parameter that is not there, and has to be positive.
entrywise: numbers.get('beta', 1) ==> numbers.get('beta', 2)
-- The grammar keeps the parameters in alphabetical order already.
said: sorted(item['parameters']) ==> item['parameters']
== _grammar
-- There are formats 1 and 2 only.
certificate: top['format'] == 1 ==> top['format'] <= 1
-- Negative numbers were refused by the operand before.
_claim: value == 0 and name not in MAY_BE_ZERO ==> value <= 0 and name not in MAY_BE_ZERO
-- What is no string is not among the names either.
_form: not isinstance(theorem, str) or theorem not in names ==> theorem not in names
== _linear_algebra
-- How a residual is cut into blocks, and bits of a hint.
: BLOCK = 500 ==> BLOCK = 501
: BLOCK = 500 ==> BLOCK = 499
: BITS = 53 ==> BITS = 54
: BITS = 53 ==> BITS = 52
-- left does not exceed top.
smallest_eigenvalue_lower: left == top ==> left >= top
-- A matrix and its transpose have the same norm: time.
_whole: hint.T @ hint if len(hint) > len(hint.T) else hint @ hint.T ==> hint.T @ hint
_whole: hint.T @ hint if len(hint) > len(hint.T) else hint @ hint.T ==> hint @ hint.T
_whole: len(hint) > len(hint.T) ==> len(hint) >= len(hint.T)
_whole: len(hint) > len(hint.T) ==> len(hint) <= len(hint.T)
_whole: len(hint) > len(hint.T) ==> len(hint) > len(hint)
_whole_norm_upper: matrix if len(matrix) <= len(matrix.T) else matrix.T ==> matrix
_whole_norm_upper: matrix if len(matrix) <= len(matrix.T) else matrix.T ==> matrix.T
_whole_norm_upper: len(matrix) <= len(matrix.T) ==> len(matrix) < len(matrix.T)
_whole_norm_upper: len(matrix) <= len(matrix.T) ==> len(matrix) > len(matrix.T)
_whole_norm_upper: len(matrix) <= len(matrix.T) ==> len(matrix) <= len(matrix)
_whole_norm_upper: matrix if len(matrix) <= len(matrix.T) else matrix.T ==> matrix if len(matrix) <= len(matrix.T) else matrix
-- Sizes, estimates and factors are hints: any of them gives a bound.
scaled_norms_upper: np.abs(approx(matrix)) ==> approx(matrix)
_whole: 1.01 * abs(square) ** 0.5 ==> 2.02 * abs(square) ** 0.5
_whole: abs(square) ** 0.5 ==> square ** 0.5
_whole: int(np.frexp(1.01 * abs(square) ** 0.5)[1]) - 31 ==> int(np.frexp(1.01 * abs(square) ** 0.5)[1]) - 30
_whole: np.rint(np.ldexp(hint, -surplus)) ==> np.ldexp(hint, -surplus)
_whole_norm_upper: 1 + 2.0 ** (-30) ==> 1 + 2.0 ** (-31)
_whole_norm_upper: 1 + 2.0 ** (-30) ==> 1 + 2.0 ** (-29)
_whole_norm_upper: np.rint(_cholesky(spread.astype(np.float64))) ==> _cholesky(spread.astype(np.float64))
-- Longer whole numbers make rows that are refused as too long.
_whole: np.rint(np.ldexp(hint, -surplus)).clip(-2 ** 31, 2 ** 31) ==> np.rint(np.ldexp(hint, -surplus)).clip(-2 ** 32, 2 ** 31)
_whole: np.rint(np.ldexp(hint, -surplus)).clip(-2 ** 31, 2 ** 31) ==> np.rint(np.ldexp(hint, -surplus)).clip(-2 ** 31, 2 ** 32)
-- The first test keeps the second from wrapping around; with up to 2^21 columns or 32 bits it cannot.
_gram: len(rows.T) < 2 ** 20 ==> len(rows.T) <= 2 ** 20
_gram: len(rows.T) < 2 ** 20 ==> len(rows.T) < 2 ** 21
_gram: len(rows.T) < 2 ** 20 ==> len(rows.T) < 2 ** 19
_gram: rows.min() > -2 ** 31 ==> rows.min() >= -2 ** 31
_gram: rows.min() > -2 ** 31 ==> rows.min() > -2 ** 32
_gram: rows.max() < 2 ** 31 ==> rows.max() <= 2 ** 31
_gram: rows.max() < 2 ** 31 ==> rows.max() < 2 ** 32
-- More than rounding misses: sharpness.
scaled_norms_upper: arb(int(np.count_nonzero(digits))).sqrt() / 2 ==> arb(int(np.count_nonzero(digits))).sqrt() * 2
scaled_norms_upper: arb(int(np.count_nonzero(digits))).sqrt() / 2 ==> arb(int(np.count_nonzero(digits))).sqrt()
scaled_norms_upper: arb(int(np.count_nonzero(digits))).sqrt() ==> arb(int(np.count_nonzero(digits)))
scaled_norms_upper: arb(int(np.count_nonzero(digits))).sqrt() / 2 ==> arb(int(np.count_nonzero(digits))).sqrt() / 1
-- Bits of the fixed-point numbers, which are rounded up at any size below 2^53.
scaled_norms_upper: _whole_above(floats_above(weights * scale), 31) ==> _whole_above(floats_above(weights * scale), 30)
nonnegative_product_upper: _whole_above(left, 52) ==> _whole_above(left, 53)
nonnegative_product_upper: _whole_above(left, 52) ==> _whole_above(left, 51)
nonnegative_product_upper: _whole_above(floats_above(right), 52) ==> _whole_above(floats_above(right), 53)
nonnegative_product_upper: _whole_above(floats_above(right), 52) ==> _whole_above(floats_above(right), 51)
-- A number of NumPy in the place of one of Python or of Arb: the same.
_whole: int(np.frexp(1.01 * abs(square) ** 0.5)[1]) ==> np.frexp(1.01 * abs(square) ** 0.5)[1]
_whole: exact(digits) * unit ==> digits * unit
_whole_norm_upper: float(np.linalg.eigvalsh(gram.astype(np.float64))[-1]) ==> np.linalg.eigvalsh(gram.astype(np.float64))[-1]
_whole_norm_upper: int(min(max(0.0, hint), 2.0 ** 62)) ==> min(max(0.0, hint), 2.0 ** 62)
_whole_above: int(np.frexp(numbers.max())[1]) ==> np.frexp(numbers.max())[1]
-- An integer that is above the number all the same.
_whole_above: np.floor(np.ldexp(numbers, exponent)) ==> np.ldexp(numbers, exponent)
_whole_above: np.floor(np.ldexp(numbers, exponent)) ==> np.ceil(np.ldexp(numbers, exponent))
_whole_above: np.floor(np.ldexp(numbers, exponent)) ==> np.rint(np.ldexp(numbers, exponent))
_whole_above: np.floor(np.ldexp(numbers, exponent)) + 1 ==> np.floor(np.ldexp(numbers, exponent)) + 2
-- The vector is a hint: any positive one gives a bound.
perron_roots_upper: np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=1) ==> np.nan_to_num(x / x.max(axis=0), nan=2, posinf=1, neginf=1)
perron_roots_upper: np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=1) ==> np.nan_to_num(x / x.max(axis=0), nan=1, posinf=2, neginf=1)
perron_roots_upper: np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=1) ==> np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=2)
perron_roots_upper: np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=1).clip(1e-09, 1) ==> np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=1).clip(2e-09, 1)
perron_roots_upper: np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=1).clip(1e-09, 1) ==> np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=1).clip(1e-09, 2)
-- NumPy's factor is lower triangular already, and any matrix will do.
_cholesky: np.tril(np.asarray(np.linalg.cholesky(hint), dtype=np.float64)) ==> np.asarray(np.linalg.cholesky(hint), dtype=np.float64)
-- A factor of finite digits is finite, and `_fixed_point` looks at the others itself.
_cholesky: factor if np.isfinite(factor).all() else np.zeros_like(hint) ==> factor
_cholesky: np.isfinite(factor).all ==> np.isfinite(factor).any
-- Bits and rounding of a hint, whose residual is computed from the integers themselves.
_fixed_point: int(np.frexp(np.abs(hint).max())[1]) ==> np.frexp(np.abs(hint).max())[1]
_fixed_point: np.abs(hint).max ==> hint.max
_fixed_point: np.rint(np.ldexp(hint, exponent)) ==> np.ldexp(hint, exponent)
== _lipschitz
-- The ball arb(0, radius) is symmetric.
: centre + arb(0, radius) ==> centre - arb(0, radius)
-- Norms that nobody asks for, or that were known: time.
JacobianLipschitz._from_stage: range(a + 1, last) ==> range(a - 1, last)
JacobianLipschitz._from_stage: range(a + 1, last) ==> range(a, last)
JacobianLipschitz._from_stage: range(a + 1, last) ==> range(1, last)
JacobianLipschitz._from_stage: {('nu', b): self.curved(b) for b in range(a, last + 1) if self.curved(b) > [a]} ==> {('nu', b): self.curved(b) for b in range(a, last + 1)}
JacobianLipschitz._from_stage: range(a, last + 1) ==> range(a, last + 2)
JacobianLipschitz._from_stage: self.curved(b) > [a] ==> self.curved(b) >= [a]
JacobianLipschitz._from_stage: net.samples if stages else 0 ==> net.samples
JacobianLipschitz._from_stage: net.samples if stages else 0 ==> net.samples if stages else 1
-- The entry of stage 0 keeps the place and is not read.
_AtRadius.__init__: [self.net.d1[0]] ==> [self.net.d1[1]]
-- True and False are the numbers 1 and 0.
_AtRadius.__init__: int(stage.trains_bias) ==> stage.trains_bias
-- Every entry is written afterwards.
_AtRadius.table: full((len(trained), len(trained)), 0) ==> full((len(trained), len(trained)), 1)
-- Where the weight is frozen the rows are ones, and the other bound of the two is the same without it.
_AtRadius._overlapping: self.eta[a - 1] * self.stages[a].trains_weight ==> self.eta[a - 1]
-- a does not exceed b.
_AtRadius._product: a == b - 1 ==> a >= b - 1
_AtRadius._curvature: a == b and (not self.base.curved(b + 1)) ==> a >= b and (not self.base.curved(b + 1))
_AtRadius._curvature: one if a == b else one.min(self._weighted_norm(weights * self.hat[a], b)) ==> one.min(self._weighted_norm(weights * self.hat[a], b))
_AtRadius._curvature: one if a == b else one.min(self._weighted_norm(weights * self.hat[a], b)) ==> one if a >= b else one.min(self._weighted_norm(weights * self.hat[a], b))
_AtRadius._nu: a == b and (not self.base.curved(b + 1)) ==> a >= b and (not self.base.curved(b + 1))
-- Without curved stages the general way gives 0.
_AtRadius._curvature: if not self.base.curved(b) ==> if False
-- A sum of terms of one sign, of whose absolute value the root is taken.
_AtRadius._nu: moved + largest(self.s[c], axis=1) * p * p ==> moved - largest(self.s[c], axis=1) * p * p
-- A NumPy integer in the place of Python's.
_largest_over_units: int(np.argmax(approx(values))) ==> np.argmax(approx(values))
== _losses
-- Arb takes the floats of NumPy as they are: the same numbers.
Squared.doubts: net.squared_residual(exact(targets)) ==> net.squared_residual(targets)
-- The end of a ball that holds logarithms is no binary64, so there is no tie.
CrossEntropy.doubts: stated >= total ==> stated > total
CrossEntropy.doubts: stated < total ==> stated <= total
-- The sign is looked at as well as the number, and either refuses what is negative.
_cross_entropy: 0 <= smoothing <= 1 ==> smoothing <= 1
_cross_entropy: math.copysign(1, smoothing) < 0 ==> math.copysign(1, smoothing) <= 0
_cross_entropy: math.copysign(1, smoothing) ==> math.copysign(2, smoothing)
_cross_entropy: math.copysign(1, smoothing) < 0 ==> math.copysign(1, smoothing) < 1
== _network
-- Arb takes the floats of NumPy as they are: the same numbers.
Network.__init__: exact(np.eye(self.outputs)) ==> np.eye(self.outputs)
Network.propagators: exact(np.eye(len(self.stages[a].weight))) ==> np.eye(len(self.stages[a].weight))
-- The product with the identity is the matrix itself: time.
Network.propagators: matmul(step, result[c - 1]) if c > a + 1 else step ==> matmul(step, result[c - 1])
Network.propagators: matmul(step, result[c - 1]) if c > a + 1 else step ==> matmul(step, result[c - 1]) if c >= a + 1 else step
Network.propagators: matmul(step, result[c - 1]) if c > a + 1 else step ==> matmul(step, result[c - 1]) if c > a - 1 else step
Network.propagators: matmul(step, result[c - 1]) if c > a + 1 else step ==> matmul(step, result[c - 1]) if c > a else step
Network.propagators: matmul(step, result[c - 1]) if c > a + 1 else step ==> matmul(step, result[c - 1]) if c > 1 else step
-- NumPy reads every negative size as the one to be found out.
Network._kernel_part: (len(grams), self.directions, -1, self.directions) ==> (len(grams), self.directions, -2, self.directions)
-- At most the first column of these ones is taken.
Network.__init__: (self.samples, 1) ==> (self.samples, 2)
-- True and False are the numbers 1 and 0.
Network.__init__: int(stage.trains_bias) ==> stage.trains_bias
-- Blocks of another size, or entries that are computed twice: the same kernel.
Network.kernel: 300 ==> 301
Network.kernel: 300 ==> 299
Network.kernel: max(block // k, 1) ==> 1
Network.kernel: max(block // k, 1) ==> max(block * k, 1)
Network.kernel: max(block // k, 1) ==> max(block, 1)
Network.kernel: max(block // k, 1) ==> max(k, 1)
Network.kernel: max(block // k, 1) ==> max(block // k, 2)
Network.kernel: range(0, top + 1, step) ==> range(0, top + 2, step)
Network.kernel: np.s_[top:top + step] ==> np.s_[:top + step]
Network.kernel: np.s_[top:top + step] ==> np.s_[top:]
Network.kernel: left:left + step ==> :left + step
Network.kernel: left:left + step ==> left:
-- Stage 0 has no layer, and what it trains is not asked.
stages_of: Stage(None, None, False, False, []) ==> Stage(None, None, True, False, [])
stages_of: Stage(None, None, False, False, []) ==> Stage(None, None, False, True, [])
== _rounding
-- True and False are the numbers 1 and 0.
Rounding._values: int(floor.trains_weight) ==> floor.trains_weight
Rounding._values: int(floor.trains_bias) ==> floor.trains_bias
-- The end of a ball of inexact arithmetic is no binary64, so there is no tie.
gradient_error_doubts: error <= claim['gradient_error_upper'] ==> error < claim['gradient_error_upper']
== _squared_rules
-- For missing = 0 the other inequality holds.
t7: missing <= 0 or missing ** 2 <= rho_squared ==> missing < 0 or missing ** 2 <= rho_squared
-- A leap of 0 fails the second inequality, whose right side is positive.
t7: leap >= 0 and leap ** 2 >= (n.eta * n.jacobian(n.radius)) ** 2 * rho_squared ==> leap > 0 and leap ** 2 >= (n.eta * n.jacobian(n.radius)) ** 2 * rho_squared
-- A denominator is at least 1.
t7: steps.denominator == 1 ==> steps.denominator <= 1
t9: steps.denominator == 1 ==> steps.denominator <= 1
-- Where the residual is small enough the power is asked to be below a number above 1, which holds.
t7: if residual ** 2 > rho_squared ==> if True
t7: residual ** 2 > rho_squared ==> residual ** 2 >= rho_squared
"""  # noqa: E501


def _read(listed: str) -> dict[Key, str]:
    found: dict[Key, str] = {}
    module = reason = ""
    for line in listed.splitlines():
        if line.startswith("== "):
            module = f"{PACKAGE}.{line[3:]}"
        elif line.startswith("-- "):
            reason = line[3:]
        else:
            function, change = line.split(": ", 1)
            before, after = change.split(" ==> ")
            after, _, occurrence = after.partition(" #")
            found[module, function, before, after, int(occurrence or 0)] = reason
    return found


EQUIVALENT = _read(LISTED + OF_GRAPHS)
