"""The scalar operators of loop programs on NumPy's scalars: an oracle that shares nothing with the emitters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special
from graphad_kernels.scalar import fma

from graphad.ir.lowering import ELEMENTARY
from graphad.ir.types import DType
from graphad.primitives.cast import convert
from graphad.primitives.reference import kernel

Scalar = Any


def _quo(a: Scalar, b: Scalar) -> int:
    if b == 0:
        return 0
    return abs(int(a)) // abs(int(b)) * (1 if (a < 0) == (b < 0) else -1)


def _rem(a: Scalar, b: Scalar) -> Scalar:
    if not np.issubdtype(a.dtype, np.integer):
        return np.fmod(a, b)
    return a if b == 0 else int(a) - int(b) * _quo(a, b)


def _unsigned(a: Scalar) -> int:
    return int(a) % (1 << (a.dtype.itemsize * 8))


def _shift(op: str, a: Scalar, b: Scalar) -> int:
    bits = a.dtype.itemsize * 8
    by, unsigned = _unsigned(b), _unsigned(a)
    signed = unsigned - (1 << bits) if unsigned >> (bits - 1) else unsigned
    match op:
        case "shl":
            return unsigned << by if by < bits else 0
        case "lshr":
            return unsigned >> by if by < bits else 0
        case _:
            return signed >> min(by, bits - 1)


_OPS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "fma": fma, "div": np.divide, "quo": _quo, "rem": _rem,
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "maximum": np.maximum, "minimum": np.minimum,
    "floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "select": lambda c, a, b: a if c else b, "copysign": np.copysign,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "cbrt": np.cbrt, "atan2": np.arctan2,
    "hypot": np.hypot, "nextafter": np.nextafter, "tanh_slope": lambda x, _: 1 / np.cosh(x) ** 2,
    "popcount": lambda a: _unsigned(a).bit_count(), "clz": lambda a: a.itemsize * 8 - _unsigned(a).bit_length(),
    "erf": scipy.special.erf, "erfc": scipy.special.erfc, "erf_inv": scipy.special.erfinv,
    "threefry2x32": kernel("threefry2x32"),
    "pow": lambda a, b: np.power(np.atleast_1d(a), np.atleast_1d(b))[0],  # of scalars NumPy takes -inf ** 0.5 for nan
    "pair0": lambda pair: pair[0], "pair1": lambda pair: pair[1],
}  # fmt: skip

COMBINE = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "and": "and", "or": "or"}


def apply(op: str, dtype: DType, args: Sequence[Scalar]) -> Scalar:
    """One scalar operator on NumPy scalars."""
    if op in ELEMENTARY and dtype.bits == 16:
        args = [np.float32(a) for a in args]
    if op == "threefry2x32":
        return _OPS[op](*args)
    if op == "cast":
        return np.asarray(convert.evaluate((np.asarray(args[0]),), (dtype,)))[()]
    if op == "bitcast":
        return np.asarray(args[0]).view(dtype.numpy)[()]
    result = _shift(op, *args) if op in ("shl", "lshr", "ashr") else _OPS[op](*args)
    if dtype.is_integer and isinstance(result, int):
        wrapped = result % (1 << dtype.bits)
        if dtype.kind == "i" and wrapped >= 1 << (dtype.bits - 1):
            wrapped -= 1 << dtype.bits
        result = wrapped
    return dtype.numpy.type(result)
