"""How a primitive becomes loops, as data: what the ``lowering`` slot of a primitive holds.

The elementwise part is a *scalar expression* over a closed vocabulary (`SCALAR_OPS`). It is written as text, parsed
once at registration, and walked by every emitter alike: LLVM, Numba source, CUDA.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from graphad.ir.frozen import Frozen

# ---------------------------------------------------------------------------------------------------------------------
# Scalar expressions

#: Operators with their arity. Floats follow IEEE 754; integers wrap around; the fixed results of the partial ones:
#: ``quo`` and ``rem`` truncate toward zero, x quo 0 = 0, x rem 0 = x, INT_MIN quo -1 = INT_MIN, INT_MIN rem -1 = 0;
#: a shift by the width or more gives 0 (``ashr``: the sign); ``cast`` of a float to an integer saturates, nan to 0.
#: ``maximum`` and ``minimum`` return nan if either operand is nan. ``round`` goes to even. ``fma(a, b, c)`` is
#: ``a * b + c`` rounded once, of f32 and f64 alone; no other product is fused with a sum. ``popcount`` and ``clz``
#: count the ones among the bits, and the zeros above the highest one. ``pair0``/``pair1`` take the first/second result
#: of an operator with two.
ARITHMETIC: Final[dict[str, int]] = {
    "add": 2, "sub": 2, "mul": 2, "fma": 3, "div": 2, "quo": 2, "rem": 2, "neg": 1, "abs": 1, "sqrt": 1,
    "maximum": 2, "minimum": 2, "floor": 1, "ceil": 1, "round": 1, "trunc": 1,
    "and": 2, "or": 2, "xor": 2, "not": 1, "shl": 2, "lshr": 2, "ashr": 2,
    "popcount": 1, "clz": 1, "select": 3, "cast": 1, "bitcast": 1, "copysign": 2,
}  # fmt: skip
COMPARISONS: Final[dict[str, int]] = {"eq": 2, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2}
#: Elementary functions: each is one definition in ``graphad_kernels.math``.
ELEMENTARY: Final[dict[str, int]] = {
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1,
    "sinh": 1, "cosh": 1, "tanh": 1, "asinh": 1, "acosh": 1, "atanh": 1, "erf": 1, "erfc": 1, "erf_inv": 1, "cbrt": 1,
    "tanh_slope": 2,  # of x and tanh(x)
    "pow": 2, "atan2": 2, "hypot": 2, "nextafter": 2,
    "threefry2x32": 4,  # two results: the words of one block
}  # fmt: skip
PAIRS: Final[dict[str, int]] = {"pair0": 1, "pair1": 1}
SCALAR_OPS: Final[dict[str, int]] = {**ARITHMETIC, **COMPARISONS, **ELEMENTARY, **PAIRS}


class Arg(Frozen):
    """Operand number ``index`` of the primitive."""

    index: int


class Const(Frozen):
    """A number; it takes the dtype of the operands beside it."""

    value: bool | int | float


class Call(Frozen):
    """``op`` applied to ``args``."""

    op: str
    args: tuple[Scalar, ...]


Scalar = Arg | Const | Call

_BINARY: Final[dict[type, str]] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "quo", ast.Mod: "rem",
    ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor", ast.LShift: "shl", ast.RShift: "lshr",
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip
_UNARY: Final[dict[type, str]] = {ast.USub: "neg", ast.Invert: "not"}


def parse_scalar(text: str) -> Scalar:
    """Read a scalar expression; ``{0}`` is operand 0.

    ``+ - * / // % & | ^ ~ << >>`` and comparisons mean the operators of `SCALAR_OPS` (``//`` is ``quo``, ``>>`` is
    ``lshr``); everything else is a call.

    Examples
    --------
    >>> parse_scalar("select({0} > 0, {0}, 0)").op
    'select'
    """
    tree = ast.parse(re.sub(r"\{(\d+)\}", r"_\1", text), mode="eval")
    return _read(tree.body, text)


def _read(node: ast.expr, text: str) -> Scalar:
    match node:
        case ast.Name(id=name) if name.startswith("_"):
            return Arg(int(name[1:]))
        case ast.Constant(value=bool() | int() | float() as value):
            return Const(value)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return Call(_BINARY[type(op)], (_read(left, text), _read(right, text)))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _BINARY:
            return Call(_BINARY[type(op)], (_read(left, text), _read(right, text)))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return Call(_UNARY[type(op)], (_read(operand, text),))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if SCALAR_OPS.get(name) == len(args):
            return Call(name, tuple(_read(a, text) for a in args))
        case _:
            raise ValueError(f"{ast.unparse(node)!r} in {text!r} is outside the vocabulary {sorted(SCALAR_OPS)}")


# ---------------------------------------------------------------------------------------------------------------------
# Lowerings


class Map(Frozen):
    """Elementwise: one scalar expression per output, over operands of the output's shape (or scalar literals)."""

    results: tuple[Scalar, ...]


class AffineDim(Frozen):
    """One coordinate of the operand: ``offset + sum(step * output coordinate dim)`` over ``terms`` of (dim, step)."""

    offset: int
    terms: tuple[tuple[int, int], ...] = ()


class View(Frozen):
    """A re-reading of operand 0: for each of its axes, where in it the output's element lies. No data moves."""

    index: tuple[AffineDim, ...]


class Reshape(Frozen):
    """The same elements in row-major order under another shape."""


class Iota(Frozen):
    """The output's coordinate along ``axis``."""

    axis: int


class Piece(Frozen):
    """Operand ``operand`` lies in the output at ``offsets + steps * coordinate`` (parts outside are cut off)."""

    operand: int
    offsets: tuple[int, ...]
    steps: tuple[int, ...]


class Pieces(Frozen):
    """The output is laid out from pieces; what none covers is operand ``fill`` (a scalar)."""

    pieces: tuple[Piece, ...]
    fill: int | None = None


class Reduce(Frozen):
    """Operand 0 combined over ``axes``: ``sum prod max min and or``, or ``argmax argmin`` over the one axis."""

    combine: str
    axes: tuple[int, ...]


class Window(Frozen):
    """Operand 0 combined over windows, as `Reduce` does; positions are those in the operand, in row-major order."""

    combine: str
    window: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]


class Scan(Frozen):
    """Running ``combine`` along ``axis``: ``sum prod max min logsumexp`` of operand 0, or ``linear``.

    ``linear`` is ``y[i] = operand0[i] * y[i-1] + operand1[i]``.
    """

    combine: str
    axis: int
    reverse: bool


class Contract(Frozen):
    """``dot_general``: batch axes lead, then the free axes of the left and of the right operand."""

    contract: tuple[tuple[int, ...], tuple[int, ...]]
    batch: tuple[tuple[int, ...], tuple[int, ...]]


class Convolve(Frozen):
    """``conv``: see `graphad.primitives.convolution`."""

    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class Gather(Frozen):
    """Reads at indices; see the primitive ``gather`` for the meaning of its params."""


class Scatter(Frozen):
    """Writes at indices, ``combine`` being ``set add mul min max``; see the primitives ``scatter_*``."""

    combine: str


class DynamicSlice(Frozen):
    """A block of operand 0 at starts; see the primitive ``dynamic_slice``."""

    batch: int


class DynamicUpdate(Frozen):
    """Operand 1 in place of a block of operand 0; see the primitive ``dynamic_update_slice``."""

    batch: int


class Routine(Frozen):
    """The routine of that name in ``graphad_kernels.routines``, with so many ``sizes``.

    Operands and results are row-major, in the order of its row; ``last_axis`` is moved to their end for it. ``alone``
    is the routine of the same sizes that gives those results that `Primitive.alone` names, where no other is read.
    ``as_graph`` makes the results of other primitives, for machines without the routine: it takes a `Ref` for each
    operand and gives one for each result, or None where a pass writes all out by elements.
    """

    name: str
    sizes: tuple[int, ...]
    last_axis: int | None = None
    alone: str | None = None
    as_graph: Callable[..., Sequence[Any] | None] | None = None


class Inline(Frozen):
    """A region that lowers as its body in place."""


class Repeat(Frozen):
    """A region that runs ``length`` times; see the primitive ``scan``."""

    length: int
    reverse: bool
    n_consts: int
    n_carry: int


class While(Frozen):
    """Two regions, of which the second runs as long as the first says so; see the primitive ``while``."""

    n_test_consts: int
    n_body_consts: int


class Counted(Frozen):
    """A region with loops of a length known only when it runs; see the primitive ``counted``."""


class Branch(Frozen):
    """Regions of which one runs; see the primitive ``cond``."""

    n_chosen: int
    n_own: tuple[int, ...]


class Effect(Frozen):
    """Neither a value nor a loop: the program's frame deals with it (guards exit early, prints happen on the host)."""


class Host(Frozen):
    """A function of the host is called with the operands, and its results are copied back."""


class Barrier(Frozen):
    """The operands, each computed and in memory before anything that reads a result."""


Lowering = (
    Map | View | Reshape | Iota | Pieces | Reduce | Window | Scan | Contract | Convolve
    | Gather | Scatter | DynamicSlice | DynamicUpdate | Routine | Inline | Repeat | While | Counted | Branch
    | Effect | Host | Barrier
)  # fmt: skip
