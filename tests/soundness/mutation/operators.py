"""Small changes of one syntax node: what stands in its place, and the name of the change.

Every function maps a node to (operator, replacement) pairs. A replacement shares subtrees with the
original; it is never changed itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

Change = tuple[str, ast.AST]

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq, ast.LtE, ast.GtE),
    ast.NotEq: (ast.Eq, ast.Lt, ast.Gt),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
# Names whose meaning has a side or a direction.
TWINS = {
    "lower": ("upper",),
    "upper": ("lower",),
    "abs_upper": ("abs_lower", "mid"),
    "magnitude": ("upper", "lower"),
    "root_upper": ("magnitude",),
    "largest": ("_smallest_of",),
    "min": ("max",),
    "max": ("min",),
    "all": ("any",),
    "any": ("all",),
    "floor": ("ceil", "rint"),
    "ceil": ("floor",),
    "union": ("intersection",),
    "expm1": ("exp",),
    "log1p": ("log",),
    "sin": ("cos",),
    "cos": ("sin",),
    "tanh": ("sin",),
    "erf": ("erfc",),
}
# Calls of one argument, or methods without any, that may be left out.
WRAPPERS = {
    "lower", "upper", "magnitude", "abs_upper", "root_upper", "abs", "sqrt", "mid", "rint", "floor",
    "ceil", "sorted", "float", "int", "exp", "log", "exact", "transpose", "sum", "largest",
    "triu", "tril", "list", "set", "reversed", "bytes", "isfinite", "union", "hull", "nextafter",
    "min", "max", "clip", "nan_to_num", "replace", "rational",
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[Change]:
    """All changes of this node itself, not of what lies below it."""
    handler = _HANDLERS.get(type(node))
    if handler is not None:
        for name, new in handler(node):
            yield name, ast.fix_missing_locations(ast.copy_location(new, node))


def _compare(node: ast.Compare) -> Iterator[Change]:
    for at, operator in enumerate(node.ops):
        sides = ([node.left, *node.comparators])[at : at + 2]
        for new in COMPARISONS[type(operator)]:
            ordered = isinstance(new(), (ast.Lt, ast.LtE, ast.Gt, ast.GtE))
            if isinstance(operator, (ast.Eq, ast.NotEq)) and ordered and any(map(_wordy, sides)):
                continue
            ops = [*node.ops[:at], new(), *node.ops[at + 1 :]]
            yield "comparison", ast.Compare(node.left, ops, node.comparators)
    for at in range(len(node.ops) if len(node.ops) > 1 else 0):
        kept = [node.left, *node.comparators]
        part = ast.Compare(kept[1 - at], [node.ops[1 - at]], [kept[2 - at]])
        yield "comparison dropped", part


def _wordy(node: ast.expr) -> bool:
    """Whether a comparison with it says nothing about order."""
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, (int, float)) or isinstance(node.value, bool)
    return isinstance(node, (ast.JoinedStr, ast.Tuple, ast.List, ast.ListComp))


def _arithmetic(node: ast.BinOp) -> Iterator[Change]:
    if any(isinstance(x, ast.JoinedStr) or _is_text(x) for x in (node.left, node.right)):
        return
    new = ARITHMETIC.get(type(node.op))
    if new is not None:
        yield "arithmetic", ast.BinOp(node.left, new(), node.right)
    if not isinstance(node.op, ast.Pow):  # the product with the exponent is change enough
        yield "left only", node.left
    if not isinstance(node.op, (ast.Pow, ast.LShift, ast.RShift)):
        yield "right only", node.right


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))


def _boolean(node: ast.BoolOp) -> Iterator[Change]:
    new = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield "and/or", ast.BoolOp(new, node.values)
    for at in range(len(node.values)):
        rest = [*node.values[:at], *node.values[at + 1 :]]
        yield "operand dropped", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _unary(node: ast.UnaryOp) -> Iterator[Change]:
    if not isinstance(node.op, ast.UAdd):
        yield "sign dropped", node.operand


def _constant(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield "constant", ast.Constant(value + 1)
        if value > 1:
            yield "constant", ast.Constant(value - 1)
    elif isinstance(value, float):
        yield "constant", ast.Constant(value * 2 if value else 1.0)
    elif isinstance(value, str):
        yield "text", ast.Constant(value + "X")
    elif isinstance(value, bytes):
        yield "text", ast.Constant(b"X" + value[1:])


def _choice(node: ast.IfExp) -> Iterator[Change]:
    yield "always", node.body
    yield "never", node.orelse


def _call(node: ast.Call) -> Iterator[Change]:
    name = _name(node.func)
    if name in WRAPPERS and not node.keywords and not any(
        isinstance(x, (ast.Starred, ast.GeneratorExp)) for x in node.args
    ):  # fmt: skip
        for argument in node.args:
            yield "call dropped", argument
    if name in WRAPPERS and isinstance(node.func, ast.Attribute):
        base = node.func.value
        if not (isinstance(base, ast.Name) and base.id in ("np", "math", "os", "arb")):
            yield "method dropped", base
    if name == "range":
        bounds = node.args
        if len(bounds) == 1:
            yield "range", ast.Call(node.func, [_plus(bounds[0], -1)], [])
            yield "range", ast.Call(node.func, [ast.Constant(1), bounds[0]], [])
        else:
            yield "range", ast.Call(node.func, [_plus(bounds[0], 1), *bounds[1:]], [])
            yield "range", ast.Call(node.func, [bounds[0], _plus(bounds[1], -1), *bounds[2:]], [])
    if name in ("cumsum", "sum", "reduce") and node.keywords:
        kept = [k for k in node.keywords if k.arg != "initial"]
        if len(kept) < len(node.keywords):
            yield "initial dropped", ast.Call(node.func, node.args, kept)


def _plus(node: ast.expr, change: int) -> ast.expr:
    return ast.BinOp(node, ast.Add(), ast.Constant(change))


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def _load(node: ast.Name) -> Iterator[Change]:
    if isinstance(node.ctx, ast.Load):
        for twin in TWINS.get(node.id, ()):
            if not twin.startswith("_"):
                yield "side", ast.Name(twin, node.ctx)


def _attribute(node: ast.Attribute) -> Iterator[Change]:
    if isinstance(node.ctx, ast.Load):
        for twin in TWINS.get(node.attr, ()):
            yield "side", ast.Attribute(node.value, twin, node.ctx)
        if node.attr == "T":
            yield "transpose dropped", node.value
        if node.attr == "inf":
            yield "direction", ast.UnaryOp(ast.USub(), node)


def _slice(node: ast.Slice) -> Iterator[Change]:
    if node.lower is not None:
        yield "slice", ast.Slice(None, node.upper, node.step)
        if not isinstance(node.lower, ast.Constant):
            yield "slice", ast.Slice(_plus(node.lower, 1), node.upper, node.step)
    if node.upper is not None:
        yield "slice", ast.Slice(node.lower, None, node.step)
        if not isinstance(node.upper, ast.Constant):
            yield "slice", ast.Slice(node.lower, _plus(node.upper, -1), node.step)
    if node.step is not None:
        yield "slice", ast.Slice(node.lower, node.upper, None)


def _branch(node: ast.If) -> Iterator[Change]:
    yield "always", ast.If(ast.Constant(True), node.body, node.orelse)
    yield "never", ast.If(ast.Constant(False), node.body, node.orelse)


def _expression(node: ast.Expr) -> Iterator[Change]:
    yield "statement dropped", ast.Pass()


def _raise(node: ast.Raise) -> Iterator[Change]:
    yield "statement dropped", ast.Pass()


def _jump(node: ast.stmt) -> Iterator[Change]:
    yield "statement dropped", ast.Pass()


def _assign(node: ast.Assign) -> Iterator[Change]:
    if not isinstance(node.targets[0], (ast.Name, ast.Tuple)):
        yield "statement dropped", ast.Pass()


def _augmented(node: ast.AugAssign) -> Iterator[Change]:
    yield "statement dropped", ast.Pass()
    new = ARITHMETIC.get(type(node.op))
    if new is not None:
        yield "arithmetic", ast.AugAssign(node.target, new(), node.value)
    yield "plain assignment", ast.Assign([node.target], node.value)


def _return(node: ast.Return) -> Iterator[Change]:
    if node.value is not None and not (
        isinstance(node.value, ast.Constant) and node.value.value is None
    ):
        yield "returns nothing", ast.Return(None)


def _comprehension(node: ast.comprehension) -> Iterator[Change]:
    if node.ifs:
        yield "filter dropped", ast.comprehension(node.target, node.iter, [], node.is_async)


def _sequence(node: ast.Tuple | ast.List) -> Iterator[Change]:
    """An element left out, where the sequence is data and not a pack of values."""
    if isinstance(node.ctx, ast.Load) and all(
        _is_text(x) or isinstance(x, (ast.Tuple, ast.Attribute)) for x in node.elts
    ):
        for at in range(len(node.elts)):
            rest = [*node.elts[:at], *node.elts[at + 1 :]]
            yield "element dropped", type(node)(rest, node.ctx)


def _mapping(node: ast.Dict) -> Iterator[Change]:
    for at in range(len(node.keys)):
        keys, values = [*node.keys[:at], *node.keys[at + 1 :]], [*node.values]
        del values[at]
        yield "entry dropped", ast.Dict(keys, values)


_HANDLERS = {
    ast.Compare: _compare, ast.BinOp: _arithmetic, ast.BoolOp: _boolean, ast.UnaryOp: _unary,
    ast.Constant: _constant, ast.IfExp: _choice, ast.Call: _call, ast.Name: _load,
    ast.Attribute: _attribute, ast.Slice: _slice, ast.If: _branch, ast.Expr: _expression,
    ast.Raise: _raise, ast.Continue: _jump, ast.Break: _jump, ast.Delete: _jump,
    ast.Assign: _assign, ast.AugAssign: _augmented, ast.Return: _return,
    ast.comprehension: _comprehension, ast.Tuple: _sequence, ast.List: _sequence,
    ast.Dict: _mapping,
}  # fmt: skip
