"""Comparisons, `select`, logic and shifts: what has a boolean or integer result, and the choice between two values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphad.ir.primitive import Primitive
from graphad.ir.types import b1
from graphad.primitives.families import elementwise

_BITS_HAVE_NONE = "its operands are booleans or integers, which have no tangent"

# ---------------------------------------------------------------------------------------------------------------------
# Comparisons. A boolean has no tangent, so their rules are None for both operands.


def _comparison(name: str, symbol: str, numpy: Callable[..., Any], doc: str, dtypes: str = "fiu") -> Primitive:
    return elementwise(
        name,
        doc=doc,
        numpy=numpy,
        scalar=f"{{0}} {symbol} {{1}}",
        jvp=(None, None),
        dtypes=dtypes,
        out=b1,
        commutative=name in ("eq", "ne"),
    )


eq = _comparison("eq", "==", np.equal, "x == y; false where either is nan.", "fiub")
ne = _comparison("ne", "!=", np.not_equal, "x != y; true where either is nan.", "fiub")
lt = _comparison("lt", "<", np.less, "x < y; false where either is nan.")
le = _comparison("le", "<=", np.less_equal, "x <= y; false where either is nan.")
gt = _comparison("gt", ">", np.greater, "x > y; false where either is nan.")
ge = _comparison("ge", ">=", np.greater_equal, "x >= y; false where either is nan.")

is_finite = elementwise(
    "is_finite",
    doc="True where x is neither infinite nor nan.",
    numpy=np.isfinite,
    scalar="{0} * 0 == 0",  # not x - x, which is no zero where x is a product that is contracted with it
    jvp=(None,),
    out=b1,
)

select = elementwise(
    "select",
    doc="x where c holds, else y: select(c, x, y). The value not chosen has no influence, not even as nan.",
    numpy=np.where,
    scalar="select({0}, {1}, {2})",
    jvp=lambda tangents, operands, outputs: [_select_tangent(operands[0], *tangents[1:])],
    linear=(1, 2),
    transpose={1: lambda ct, c, x, y: select(c, ct, 0), 2: lambda ct, c, x, y: select(c, 0, ct)},
    dtypes="fiub",
    scalars_from=1,
)


def _select_tangent(c: Any, tx: Any, ty: Any) -> Any:
    """One `select` of both tangents; the missing one is zero."""
    if tx is None and ty is None:
        return None
    return select(c, 0 if tx is None else tx, 0 if ty is None else ty)


# ---------------------------------------------------------------------------------------------------------------------
# Logic: on booleans the connective, on integers the same on each bit


def _connective(name: str, symbol: str, numpy: Callable[..., Any], doc: str) -> Primitive:
    return elementwise(
        name,
        doc=doc,
        numpy=numpy,
        scalar=f"{{0}} {symbol} {{1}}",
        nondifferentiable=_BITS_HAVE_NONE,
        dtypes="biu",
        commutative=True,
    )


and_ = _connective("and", "&", np.bitwise_and, "x & y: of booleans, or of each bit.")
or_ = _connective("or", "|", np.bitwise_or, "x | y: of booleans, or of each bit.")
xor = _connective("xor", "^", np.bitwise_xor, "x ^ y: of booleans, or of each bit.")

not_ = elementwise(
    "not",
    doc="~x: of a boolean, or of each bit.",
    numpy=np.invert,
    scalar="~{0}",
    nondifferentiable=_BITS_HAVE_NONE,
    dtypes="biu",
)

# ---------------------------------------------------------------------------------------------------------------------
# Shifts. The count is read as an unsigned number, so a negative one is oversized; oversized shifts have a fixed result.


def _shift(name: str, scalar: str, numpy: Callable[..., Any], doc: str) -> Primitive:
    return elementwise(
        name, doc=doc, numpy=numpy, scalar=scalar, nondifferentiable=_BITS_HAVE_NONE, dtypes="iu", domain=(0, 8)
    )


def _unsigned(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.view(np.dtype(f"u{x.dtype.itemsize}"))


def _shift_left(x: Any, n: Any) -> np.ndarray:
    x, n = np.asarray(x), _unsigned(n)
    width = 8 * x.dtype.itemsize
    shifted = np.left_shift(_unsigned(x), np.minimum(n, width - 1)).view(x.dtype)
    return np.where(n < width, shifted, x.dtype.type(0))


def _shift_right_logical(x: Any, n: Any) -> np.ndarray:
    x, n = np.asarray(x), _unsigned(n)
    width = 8 * x.dtype.itemsize
    shifted = np.right_shift(_unsigned(x), np.minimum(n, width - 1)).view(x.dtype)
    return np.where(n < width, shifted, x.dtype.type(0))


def _shift_right_arithmetic(x: Any, n: Any) -> np.ndarray:
    x, n = np.asarray(x), _unsigned(n)
    width = 8 * x.dtype.itemsize
    signed = x.view(np.dtype(f"i{x.dtype.itemsize}"))
    return np.right_shift(signed, np.minimum(n, width - 1).astype(signed.dtype)).view(x.dtype)


shift_left = _shift("shift_left", "{0} << {1}", _shift_left, "x << n; 0 for n of the width or more.")
shift_right_logical = _shift(
    "shift_right_logical",
    "{0} >> {1}",
    _shift_right_logical,
    "x >> n filling with zeros; 0 for n of the width or more.",
)
shift_right_arithmetic = _shift(
    "shift_right_arithmetic",
    "ashr({0}, {1})",
    _shift_right_arithmetic,
    "x >> n filling with the top bit; all of that bit for n of the width or more.",
)
