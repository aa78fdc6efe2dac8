"""`pydiff.elementwise`: one operation made of the text of an expression.

The text is parsed by Python's own parser. Of its tree nothing is run: every node that is understood is
written anew, as the body of a function of pydiff's operations; any other node is an error that says where
it stands. The operations fuse, differentiate and batch as they do everywhere.
"""

import ast
import difflib
import functools
import inspect
import keyword
import math
import operator
import textwrap
import types
import unicodedata

import numpy as np

from . import _C, functions, ops, pointwise, special
from ._C import Tensor, tensor
from ._dtypes import DTYPES

__all__ = ["elementwise"]

_float64 = DTYPES["float64"]
_CONSTANTS = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}
_PLAIN = {Tensor, float, int, bool}
_LONGEST = 60  # characters of an expression that a message shows

# ---- what may be called: (function, its operands, values of those at the end that may be left out)


@functools.cache
def _functions():
    found = {}
    for row in _C.op_table():
        name = row["name"]
        if row["family"] == "elementwise" and name in functions.CORE:
            found[name] = getattr(functions, name), ("input", "other")[: row["arity"]], ()
        elif name in functions.OF_SPECIAL:
            found[name] = getattr(special, name), ("input",), ()
    for name in ("clamp", "clip"):
        found[name] = getattr(functions, name), ("input", "min", "max"), (None, None)
    found["where"] = ops.where, ("condition", "input", "other"), ()
    for name in (
        "addcdiv addcmul copysign deg2rad fmax fmin fmod frac lerp logical_and logical_not logical_or logical_xor logit "
        "nan_to_num rad2deg signbit"
    ).split():
        function = getattr(pointwise, name)
        parameters = inspect.signature(function).parameters.values()
        defaults = tuple(p.default for p in parameters if p.default is not p.empty)
        found[name] = function, tuple(p.name for p in parameters), defaults
    for name in ("clamp_min", "clamp_max"):
        function = getattr(ops, name)
        found[name] = function, tuple(inspect.signature(function).parameters), ()
    for name, others in functions.ALIASES.items():
        if name in found:
            found.update(dict.fromkeys(others, found[name]))
    # Of nn.functional, which is not imported before it is needed.
    found["leaky_relu"] = _activation("leaky_relu"), ("input", "negative_slope"), (0.01,)
    found["softplus"] = _activation("softplus"), ("input", "beta", "threshold"), (1.0, 20.0)
    return found


def _activation(name):
    def activation(*operands):
        from .nn import functional

        return getattr(functional, name)(*operands)

    return activation


# ---- numbers
#
# A Python number beside a tensor takes the tensor's dtype. Numbers among themselves therefore stay Python
# numbers, in double precision: sqrt(2 / pi) * x of a float64 tensor x has all its digits.


def _of_numbers(function):
    """The function, which gives a number where all operands are numbers."""

    def called(*operands):
        for operand in operands:
            if isinstance(operand, Tensor):
                return function(*operands)
        result = function(*(v if v is None else tensor(v, device="cpu") for v in operands))
        if result.dtype.is_floating_point:
            exact = (v if v is None or isinstance(v, bool) else tensor(float(v), _float64, "cpu") for v in operands)
            result = function(*exact)
        return result.item()

    return called


def _arithmetic(function):
    """An operator that Python refuses for some numbers, such as 1 / 0: these have the value of floating point."""

    def computed(a, b):
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            return function(a, b)
        if function is operator.pow and isinstance(a, int) and isinstance(b, int) and a.bit_length() * abs(b) > 63:
            a = float(a)
        try:
            result = function(a, b)
            if not isinstance(result, complex):
                return result
        except ArithmeticError:
            pass
        with np.errstate(all="ignore"):
            return float(function(np.float64(a), np.float64(b)))

    return computed


def _real(number):
    """The number, as a float where it is too large for int64."""
    return float(number) if isinstance(number, int) and not -(2**63) <= number < 2**63 else number


def _choose(condition, a, b):
    if any(isinstance(v, Tensor) for v in (condition, a, b)):
        return ops.where(condition, a, b)
    return a if condition else b


def _invert(a):
    return not a if isinstance(a, bool) else ~a


# A name of a helper starts with a character that no name in an expression can have. The second function is
# what serves numbers too; the first is for where all operands are tensors.
_HELPERS = {
    "$div": (operator.truediv, _arithmetic(operator.truediv)),
    "$floordiv": (operator.floordiv, _arithmetic(operator.floordiv)),
    "$mod": (operator.mod, _arithmetic(operator.mod)),
    "$pow": (operator.pow, _arithmetic(operator.pow)),
    "$where": (ops.where, _choose),
    "$invert": (operator.invert, _invert),
}
_BY_HELPER = {ast.Div: "$div", ast.FloorDiv: "$floordiv", ast.Mod: "$mod", ast.Pow: "$pow"}
_NUMERIC = {"div": "$div", "floor_divide": "$floordiv", "remainder": "$mod", "pow": "$pow", "where": "$where"}
for _name in tuple(_NUMERIC):
    _NUMERIC.update(dict.fromkeys(functions.ALIASES.get(_name, ()), _NUMERIC[_name]))
_DIRECT = (ast.Add, ast.Sub, ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
#: What is said of a node that is refused.
_REFUSED = {
    ast.Attribute: ("no attributes", "the name of the function alone: sin(x)"),
    ast.Subscript: ("no subscripts: an expression sees one element of each operand", "indexing the operand before"),
    ast.Lambda: ("no lambda", "the expression alone"),
    ast.BoolOp: ("no 'and' and 'or', which ask for one truth value", "(x > 0) & (y > 0), with | for 'or'"),
    ast.Not: ("no 'not', which asks for one truth value", "~(x > 0)"),
    ast.MatMult: ("no matrix product: it is not elementwise", "pydiff.matmul, outside the expression"),
    ast.NamedExpr: ("no ':='", "'s = sin(x); s * s'"),
    ast.Tuple: ("a tuple stands only at the end, for several results", "'s = sin(x); s, s * s'"),
    ast.Expr: ("a value that nothing uses", "'s = sin(x); s * s', or parentheses around several lines"),
    ast.AugAssign: ("no assignment but name = value", "a new name for the new value"),
}


def _fail(what, got, hint, kind=ValueError):
    raise kind(f"[elementwise] {what}; got {got}; try {hint}") from None


class _Translator:
    """Writes the tree of an expression anew."""

    def __init__(self, text, names, shift):
        self.text, self.shift = text, shift
        self.lines = text.split("\n")
        self.given = names is not None
        self.operands = list(names or ())
        self.values = {}  # names that were assigned, and whether they were used
        self.constants = {}  # those of them that depend on no operand
        self.seen = {}  # operands in the expression, and where they first stand
        # What the new tree refers to: where all operands are tensors, and where some are numbers.
        self.direct, self.globals = {"__builtins__": {}}, {"__builtins__": {}}

    def where(self, node):
        line = self.lines[node.lineno - 1]
        column = len(line.encode()[: node.col_offset].decode()) + 1
        if len(self.lines) > 1:
            return f"line {node.lineno}, column {column}"
        return f"column {column + self.shift}"

    def refuse(self, what, node, hint):
        source = ast.get_source_segment(self.text, node) or type(node).__name__
        _fail(what, f"{_short(source)} at {self.where(node)}", hint)

    def refuse_kind(self, node, kind=None):
        what, hint = _REFUSED.get(
            kind or type(node), (f"no {type(node).__name__} here", "operators and functions of names and numbers")
        )
        self.refuse(what, node, hint)

    def helper(self, name, *arguments):
        self.direct[name], self.globals[name] = _HELPERS[name]
        return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])

    def folded(self, node):
        """The node, or its value where nothing in it depends on operands."""
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr) and not isinstance(part, ast.Constant):
                if not (isinstance(part, ast.Name) and part.id.startswith("$")):
                    return node
        value = eval(_compiled(ast.Expression(node), "eval"), self.globals)
        return ast.Constant(_real(value))

    # ---- expressions

    def expression(self, node):
        method = getattr(self, "on_" + type(node).__name__, None)
        if method is None:
            self.refuse_kind(node)
        return method(node)

    def on_Constant(self, node):
        value = node.value
        if not isinstance(value, (bool, int, float)):
            self.refuse("a constant that is no real number", node, "a number, such as 0.5")
        return ast.Constant(_real(value))

    def on_Name(self, node):
        name = node.id
        if name in self.values:
            self.values[name] = True
            return self.constants.get(name) or ast.Name(name, ast.Load())
        if name not in self.operands:
            if name in _CONSTANTS:
                return ast.Constant(_CONSTANTS[name])
            if self.given:
                known = [*self.operands, *self.values]
                hint = self.similar(name, known, "one of " + ", ".join(known))
                self.refuse("a name that is not among the operands", node, hint)
            if name in _functions():
                hint = f"{_usage(name)}, or names=… for an operand of this name"
                self.refuse("a function that is not called", node, hint)
            self.operands.append(name)
        place = node.lineno, node.col_offset
        self.seen[name] = min(place, self.seen.get(name, place))
        return ast.Name(name, ast.Load())

    def on_BinOp(self, node):
        kind = type(node.op)
        if kind not in _BY_HELPER and kind not in _DIRECT:
            if kind in _REFUSED:
                self.refuse_kind(node, kind)
            self.refuse("an operator that there is not", node, "one of + - * / // % ** & | ^")
        left, right = self.expression(node.left), self.expression(node.right)
        if kind in _BY_HELPER:
            return self.folded(self.helper(_BY_HELPER[kind], left, right))
        return self.numeric(ast.BinOp(left, kind(), right), node)

    def numeric(self, new, node):
        """Folded, where Python's own operators may complain."""
        try:
            return self.folded(new)
        except TypeError:
            self.refuse("an operator that does not take these numbers", node, "whole numbers or comparisons")

    def on_UnaryOp(self, node):
        if isinstance(node.op, ast.Not):
            self.refuse_kind(node, ast.Not)
        operand = self.expression(node.operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(node.op, ast.USub):
            return self.folded(ast.UnaryOp(ast.USub(), operand))
        return self.numeric(self.helper("$invert", operand), node)

    def on_Compare(self, node):
        for operation in node.ops:
            if not isinstance(operation, _COMPARISONS):
                self.refuse("a comparison that is not elementwise", node, "one of < <= > >= == !=")
        values = [self.expression(v) for v in (node.left, *node.comparators)]
        result = None
        for k, operation in enumerate(node.ops):
            left, right = values[k], values[k + 1]
            if k + 1 < len(node.ops) and not isinstance(right, (ast.Name, ast.Constant)):
                # What stands between two signs is computed once.
                name = f"$between{len(self.globals)}.{node.col_offset}.{node.lineno}.{k}"
                right = ast.NamedExpr(ast.Name(name, ast.Store()), right)
                values[k + 1] = ast.Name(name, ast.Load())
            one = ast.Compare(left, [type(operation)()], [right])
            one = self.folded(one) if isinstance(left, ast.Constant) else one
            result = one if result is None else self.folded(ast.BinOp(result, ast.BitAnd(), one))
        return result

    def on_IfExp(self, node):
        # In the order in which they are written, which is not that in which Python computes them.
        a, condition, b = (self.expression(v) for v in (node.body, node.test, node.orelse))
        return self.folded(self.helper("$where", condition, a, b))

    def on_Call(self, node):
        if not isinstance(node.func, ast.Name):
            self.refuse_kind(node.func)
        name = node.func.id
        if name in self.operands and (self.given or name not in _functions()) or name in self.values:
            self.refuse("an operand is called as if it were a function", node, f"{name}*(…) for a product")
        if name not in _functions():
            other = f"one of pydiff's elementwise functions, such as sin or where, or {name}*(…) for a product"
            self.refuse("an unknown function", node, self.similar(name, _functions(), other))
        _, parameters, defaults = _functions()[name]
        required = len(parameters) - len(defaults)
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            self.refuse("no * and ** before operands", node, _usage(name))
        if len(node.args) > len(parameters):
            self.refuse(f"{name} takes {_count(required, len(parameters))}", node, _usage(name))
        given = dict(zip(parameters, node.args))
        for k in node.keywords:
            if k.arg not in parameters or k.arg in given:
                what = "has no operand" if k.arg not in parameters else "is given twice the operand"
                self.refuse(f"{name} {what} {k.arg!r}", node, _usage(name))
            given[k.arg] = k.value
        arguments = []
        for k, parameter in enumerate(parameters):
            if parameter in given:
                value = given[parameter]
                optional = k >= required and defaults[k - required] is None
                empty = optional and isinstance(value, ast.Constant) and value.value is None
                arguments.append(ast.Constant(None) if empty else self.expression(value))
            elif k >= required:
                arguments.append(ast.Constant(defaults[k - required]))
            else:
                self.refuse(f"{name} takes {_count(required, len(parameters))}", node, _usage(name))
        if name in ("clamp", "clip") and all(isinstance(a, ast.Constant) and a.value is None for a in arguments[1:]):
            self.refuse(f"{name} without a bound", node, _usage(name))
        if name in _NUMERIC:
            return self.folded(self.helper(_NUMERIC[name], *arguments))
        key = "$" + name + "()"
        self.direct[key] = _functions()[name][0]
        self.globals[key] = _of_numbers(self.direct[key])
        try:
            return self.folded(ast.Call(ast.Name(key, ast.Load()), arguments, []))
        except (TypeError, ValueError) as error:
            self.refuse(f"{name} of these numbers cannot be computed ({error})", node, "other numbers")

    @staticmethod
    def similar(name, known, other):
        return " or ".join(difflib.get_close_matches(name, known, 3)) or other

    # ---- statements

    def statements(self, body):
        """The body of the function, and how many results it has; None for one that is no tuple."""
        new, targets = [], {}
        for node in body[:-1]:
            if not isinstance(node, ast.Assign):
                self.refuse_kind(node, type(node) if type(node) in _REFUSED else None)
            target = node.targets[0]
            if len(node.targets) > 1 or not isinstance(target, ast.Name):
                self.refuse("an assignment to something else than one name", node, "'s = sin(x); s * s'")
            name = target.id
            value = self.expression(node.value)
            if name in self.operands or name in self.values or name in _CONSTANTS:
                self.refuse("a name is assigned that has a value", node, f"another name than {name!r}")
            self.values[name], targets[name] = False, node
            if isinstance(value, ast.Constant):
                self.constants[name] = value
            else:
                new.append(ast.Assign([ast.Name(name, ast.Store())], value))
        last = body[-1]
        if not isinstance(last, ast.Expr):
            if isinstance(last, ast.Assign):
                self.refuse("the last part gives no result", last, "the value alone, 's = sin(x); s * s'")
            self.refuse_kind(last)
        several = isinstance(last.value, ast.Tuple)
        results = last.value.elts if several else [last.value]
        if not results:
            self.refuse("no result", last, "an expression such as 'a*x + sin(y)'")
        results = [self.expression(v) for v in results]
        for name, used in self.values.items():
            if not used:
                self.refuse("a value that nothing uses", targets[name], f"leaving {name!r} out, or using it")
        new.append(ast.Return(ast.Tuple(results, ast.Load()) if several else results[0]))
        return new, several


def _usage(name):
    _, parameters, defaults = _functions()[name]
    first = len(parameters) - len(defaults)
    shown = [p if k < first else f"{p}={defaults[k - first]}" for k, p in enumerate(parameters)]
    return f"{name}({', '.join(shown)})"


def _count(low, high):
    if low == high:
        return f"{low} operand" + ("s" if low != 1 else "")
    return f"{low} to {high} operands"


def _short(text):
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def _compiled(tree, mode):
    return compile(ast.fix_missing_locations(tree), "<elementwise>", mode)


def _operand_names(names):
    """`names` as a list, or None where they are to be found in the expression."""
    if names is None:
        return None
    parts = names.replace(",", " ").split() if isinstance(names, str) else names
    try:
        found = list(parts)
    except TypeError:
        _fail("names is no text and no sequence of texts", type(names).__name__, "names='x, y'", TypeError)
    if not found:
        _fail("no operands", f"names={names!r}", "names='x, y'")
    for k, name in enumerate(found):
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            _fail("an operand that is no name", repr(name), "names='x, y'")
        found[k] = unicodedata.normalize("NFKC", name)  # as the parser does it
    twice = [name for k, name in enumerate(found) if name in found[:k]]
    if twice:
        _fail("an operand comes twice in names", repr(twice[0]), "each name once")
    return found


def _translate(expression, names):
    """(function of tensors, function of tensors and numbers, names of operands, whether a tuple is returned)."""
    text = textwrap.dedent("\n".join(expression.splitlines())).strip()
    if not text:
        _fail("an empty expression", repr(expression), "'a*x + sin(y)'")
    shift = len(expression) - len(expression.lstrip()) if "\n" not in text else 0
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        column = (error.offset or 1) + shift
        place = f"line {error.lineno}, column {column}" if "\n" in text else f"column {column}"
        _fail(f"a syntax error at {place}: {error.msg}", _short(expression), "Python's notation, 'a*x + sin(y)'")
    except (ValueError, RecursionError, MemoryError) as error:
        _fail(f"the expression cannot be parsed: {error}", _short(expression), "a shorter one")
    if not body:
        _fail("an empty expression", repr(expression), "'a*x + sin(y)'")
    translator = _Translator(text, names, shift)
    try:
        body, several = translator.statements(body)
        operands = names or sorted(translator.seen, key=translator.seen.get)
        if not translator.seen:
            _fail("no operands: the expression has no names", _short(text), "a name for what changes, 'a*x'")
        unused = [name for name in operands if name not in translator.seen]
        if unused:
            _fail("an operand that the expression does not use", ", ".join(unused), "names without it")
        arguments = ast.arguments([], [ast.arg(name) for name in operands], None, [], [], None, [])
        function = ast.FunctionDef("$function", arguments, body, [])
        function.type_params = []  # since Python 3.12
        scope = translator.globals
        exec(_compiled(ast.Module([function], []), "exec"), scope)
    except SyntaxError as error:  # of a name that Python keeps for itself
        _fail(str(error.msg), _short(text), "another name")
    except OverflowError:
        _fail("a number beyond double precision", _short(text), "a smaller one")
    except (RecursionError, MemoryError):
        _fail("the expression is nested too deeply", _short(text), "intermediate values, 's = x + 1; s * s'")
    function = scope["$function"]
    return types.FunctionType(function.__code__, translator.direct), function, tuple(operands), several


class ElementwiseOp:
    """What `pydiff.elementwise` returns: a function of tensors and numbers that keeps its expression.

    >>> import pydiff as pd
    >>> op = pd.elementwise("x*y + 1", name="fma1")
    >>> op.__name__, op.expression, op.names
    ('fma1', 'x*y + 1', ('x', 'y'))
    """

    def __init__(self, expression, names, name):
        self._direct, self._function, self.names, self._several = _translate(expression, names)
        self.expression = expression.strip()
        self._given_name = name
        self.__name__ = self.__qualname__ = name or "elementwise"
        head = f"{self.__name__}({', '.join(self.names)})"
        self.__doc__ = f"{head}, element by element:\n\n" + textwrap.indent(textwrap.dedent(expression).strip(), "    ")
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in self.names])

    def __call__(self, *operands, **named):
        if named or len(operands) != len(self.names):
            operands = self._bound(operands, named)
        for operand in operands:
            if not isinstance(operand, Tensor):
                break
        else:
            if not self._several:
                return self._direct(*operands)
        operands = [v if type(v) in _PLAIN else self._operand(k, v) for k, v in enumerate(operands)]
        result = self._function(*operands)
        if self._several:
            return tuple(self._tensor(v, operands) for v in result)
        return self._tensor(result, operands)

    def _bound(self, operands, named):
        try:
            return self.__signature__.bind(*operands, **named).args
        except TypeError as error:
            got = len(operands) + len(named)
            shown = ", ".join(self.names)
            raise TypeError(
                f"[{self.__name__}] expected {_count(len(self.names), len(self.names))}: {shown}; got {got} ({error}); "
                f"try {self.__name__}({shown})"
            ) from None

    def _operand(self, k, value):
        if isinstance(value, np.ndarray):
            return tensor(value)
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, (Tensor, float, int)):
            return value
        raise TypeError(
            f"[{self.__name__}] operand {self.names[k]!r} is no tensor and no number; got {type(value).__name__}; "
            "try pydiff.tensor(…)"
        )

    @staticmethod
    def _tensor(value, operands):
        """A result that is a number, where only numbers made it, as a tensor."""
        if isinstance(value, Tensor):
            return value
        return tensor(value, device=next((v.device for v in operands if isinstance(v, Tensor)), None))

    def __repr__(self):
        name = f", name={self._given_name!r}" if self._given_name else ""
        return f"elementwise({self.expression!r}, names={', '.join(self.names)!r}{name})"

    def __reduce__(self):
        return elementwise, (self.expression, self.names, self._given_name)


def elementwise(expression, names=None, name=None):
    """An elementwise operation made of an expression: one fused kernel, its derivatives found automatically.

    Arguments:
        expression: text in Python's notation. It may have numbers, names, `+ - * / // % **`, `& | ^ ~`,
            comparisons, `a if c else b`, and calls of pydiff's elementwise functions, such as `sin(x)`,
            `where(c, a, b)`, `clamp(x, 0, 1)`. `pi`, `e`, `inf` and `nan` are constants, unless they are
            among `names`. Values may be named, and several be returned: `"s = sin(x); s*s, s*y"`.
        names: of the operands, in their order: `"x, y, a"` or a sequence. By default those in the
            expression, as they come in it.
        name: what the operation is called where it is printed, and in messages.

    Returns:
        a function of tensors, arrays and numbers, which broadcast and promote as in any operation. It
        works on every device, under `grad`, `jvp` and `vmap`, and can be pickled.

    Raises:
        ValueError: the expression has something else in it, or `names` does not fit it; at once, not when
            the operation is called.

    >>> import pydiff as pd
    >>> op = pd.elementwise("a*x + sin(y)")
    >>> op
    elementwise('a*x + sin(y)', names='a, x, y')
    >>> op(2.0, pd.tensor([1.0, 2.0]), pd.tensor([0.0])).tolist()
    [2.0, 4.0]
    >>> swish = pd.elementwise("x * sigmoid(beta*x)", names="x, beta", name="swish")
    >>> pd.grad(swish)(pd.tensor(0.0), 1.0).item()
    0.5
    """
    if not isinstance(expression, str):
        _fail("the expression is no text", type(expression).__name__, "elementwise('a*x + sin(y)')", TypeError)
    if name is not None and (not isinstance(name, str) or not name):
        _fail("the name is no text", repr(name), "name='my_op'", TypeError)
    return ElementwiseOp(expression, _operand_names(names), name)
