"""The operators and methods of `Array`, and of the tracers that stand for one: a table, set on both classes.

Arrays live on the trace floor, and what their operators mean is said here. So this module registers upward: it sets the
table on the classes, and tells the trace floor which module `graphad.numpy` is (``set_namespace``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np

from graphad.api.devices import device_put
from graphad.ir.primitive import Primitive
from graphad.ir.types import literal
from graphad.numpy._create import data
from graphad.numpy._elementwise import arithmetic, comparison, extrema, integers, rounding
from graphad.numpy._index import diagonals, taking, updates
from graphad.numpy._reduce import averages, cumulative, sums
from graphad.numpy._reduce import extrema as extrema_over_axes
from graphad.numpy._shape import reshaping, resizing
from graphad.numpy._shape.axes import matrix_transpose, swapaxes, transpose
from graphad.numpy._sort import sorting
from graphad.numpy.linalg import _products
from graphad.primitives import elementwise as prims
from graphad.trace.array import Array
from graphad.trace.exact import Exact, exact
from graphad.trace.interop import array_namespace, set_namespace
from graphad.trace.keys import KeyArray
from graphad.trace.source import where
from graphad.trace.tracer import Tracer

Method = Callable[..., Any]

# ---------------------------------------------------------------------------------------------------------------------
# Operators of two operands


def _understood(y: Any) -> bool:
    """Whether an operator takes ``y``, or complains of it, rather than leaving it to the other's own operator."""
    return isinstance(y, (Array, np.ndarray, np.generic, bool, int, float, complex, list, tuple, dict, set)) or hasattr(
        y, "__array__"
    )


def _alike(x: Array, tracer: Tracer) -> bool:
    """Whether an Array is of a tracer's type."""
    a, value = tracer.aval, x._value
    return value.shape == a.shape and value.dtype == a.dtype.numpy and x.weak_type == tracer.weak_type


def _operator(function: Method, primitive: Primitive | None = None) -> tuple[Method, Method]:
    """The methods for ``x op y`` and ``y op x``.

    Two tracers of one float type, or one and an Array or a Python number, are the common case of traced code: these go
    straight to ``primitive``. ``function`` sees to everything else.
    """

    def forward(x: Any, y: Any) -> Any:
        if type(x) is Tracer and primitive is not None:
            a = x.aval
            if a.is_float:
                if type(y) is Tracer:
                    if y.aval is a and y.weak_type == x.weak_type:
                        result = x.__emit__(primitive, (x, y), ())
                        result.weak_type = x.weak_type
                        return result
                elif type(y) is float or type(y) is int:
                    result = x.__emit__(primitive, (x, literal(y, a.dtype)), ())
                    result.weak_type = x.weak_type
                    return result
                elif type(y) is Array and _alike(y, x):
                    result = x.__emit__(primitive, (x, y), ())
                    result.weak_type = x.weak_type
                    return result
        elif type(y) is Tracer and type(x) is Array and primitive is not None and y.aval.is_float and _alike(x, y):
            result = y.__emit__(primitive, (x, y), ())
            result.weak_type = y.weak_type
            return result
        return function(x, y) if _understood(y) else NotImplemented

    def reflected(x: Any, y: Any) -> Any:
        if type(x) is Tracer and (type(y) is float or type(y) is int) and primitive is not None:
            a = x.aval
            if a.is_float:
                result = x.__emit__(primitive, (literal(y, a.dtype), x), ())
                result.weak_type = x.weak_type
                return result
        return function(y, x) if _understood(y) else NotImplemented

    return forward, reflected


#: Name of the operator, the function that it means, and the primitive that the function is for equal float operands.
_BINARY: tuple[tuple[str, Method, Primitive | None], ...] = (
    ("add", arithmetic.add, prims.add),
    ("sub", arithmetic.subtract, prims.sub),
    ("mul", arithmetic.multiply, prims.mul),
    ("truediv", arithmetic.divide, prims.div),
    ("floordiv", arithmetic.floor_divide, None),
    ("mod", arithmetic.remainder, None),
    ("divmod", arithmetic.divmod, None),
    ("pow", arithmetic.power, None),
    ("matmul", _products.matmul, None),
    ("and", integers.bitwise_and, None),
    ("or", integers.bitwise_or, None),
    ("xor", integers.bitwise_xor, None),
    ("lshift", integers.left_shift, None),
    ("rshift", integers.right_shift, None),
)
_COMPARISONS: tuple[tuple[str, Method, Primitive], ...] = (
    ("eq", comparison.equal, prims.eq),
    ("ne", comparison.not_equal, prims.ne),
    ("lt", comparison.less, prims.lt),
    ("le", comparison.less_equal, prims.le),
    ("gt", comparison.greater, prims.gt),
    ("ge", comparison.greater_equal, prims.ge),
)


def _exact_operator(function: Method) -> tuple[Method, Method]:
    """As `_operator`, for Python floats: among numbers the result is that of Python, in float64."""

    def forward(x: Any, y: Any) -> Any:
        if _is_number(y):
            return _exactly(function(x.wide, y.wide if type(y) is Exact else y), x, y)
        return function(x, y) if _understood(y) else NotImplemented

    def reflected(x: Any, y: Any) -> Any:
        if _is_number(y):
            return _exactly(function(y.wide if type(y) is Exact else y, x.wide), x, y)
        return function(y, x) if _understood(y) else NotImplemented

    return forward, reflected


def _is_number(y: Any) -> bool:
    """A Python number, or the tracer of one."""
    kind = type(y)
    if kind is Tracer:
        return y.weak_type and not y.shape and y.aval.dtype.is_integer
    return kind is Exact or kind is float or kind is int or kind is bool


def _exactly(result: Any, *operands: Any) -> Any:
    return tuple([exact(r, *operands) for r in result]) if type(result) is tuple else exact(result, *operands)


# ---------------------------------------------------------------------------------------------------------------------
# Methods


def _iterate(x: Any) -> Iterator[Any]:
    if not x.ndim:
        raise TypeError(f"{where()}iteration over a scalar: {x.aval} has no axis.")
    return (x[k] for k in range(x.shape[0]))


def _reshape(x: Any, *shape: Any, order: str = "C") -> Array:
    """`graphad.numpy.reshape`, the sizes as one tuple or one by one."""
    return reshaping.reshape(x, shape[0] if len(shape) == 1 else shape, order)


def _transpose(x: Any, *axes: Any) -> Array:
    """`graphad.numpy.transpose`, the axes as one tuple or one by one."""
    return transpose(x, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None)


def _without_out(function: Method) -> Method:
    """``function`` as ``np.sum(x)`` calls the method of its name: with an ``out``, which must be None."""

    @wraps(function)
    def method(x: Any, *args: Any, out: None = None, **kwargs: Any) -> Any:
        if out is not None:
            raise TypeError(f"{where()}{function.__name__} cannot write to out=: arrays are immutable. Use its result.")
        return function(x, *args, **kwargs)

    return method


def _itself(x: Any) -> Any:
    """The array itself: nobody can change it."""
    return x


def _to_device(x: Any, device: Any, /, *, stream: None = None) -> Array:
    """`graphad.device_put`, as the array API standard has it."""
    if stream is not None:
        raise ValueError(f"{where()}to_device: graphad's programs have a stream of their own; pass stream=None")
    return device_put(x, device)


_METHODS: dict[str, Method] = {
    "__neg__": arithmetic.negative,
    "__pos__": arithmetic.positive,
    "__abs__": arithmetic.abs,
    "__invert__": integers.bitwise_not,
    "__getitem__": updates.getitem,
    "__round__": rounding.round,
    "__iter__": _iterate,
    "__array_namespace__": array_namespace,
    "all": _without_out(sums.all),
    "any": _without_out(sums.any),
    "argmax": _without_out(extrema_over_axes.argmax),
    "argmin": _without_out(extrema_over_axes.argmin),
    "argsort": sorting.argsort,
    "astype": data.astype,
    "diagonal": diagonals.diagonal,
    "clip": extrema.clip,
    "conj": _itself,
    "copy": _itself,
    "cumprod": _without_out(cumulative.cumprod),
    "cumsum": _without_out(cumulative.cumsum),
    "dot": _products.dot,
    "flatten": reshaping.ravel,
    "max": _without_out(extrema_over_axes.max),
    "mean": _without_out(averages.mean),
    "min": _without_out(extrema_over_axes.min),
    "prod": _without_out(sums.prod),
    "ravel": reshaping.ravel,
    "repeat": resizing.repeat,
    "reshape": _reshape,
    "round": rounding.round,
    "sort": sorting.sort,
    "squeeze": reshaping.squeeze,
    "std": _without_out(averages.std),
    "sum": _without_out(sums.sum),
    "swapaxes": swapaxes,
    "take": taking.take,
    "to_device": _to_device,
    "trace": diagonals.trace,
    "transpose": _transpose,
    "var": _without_out(averages.var),
}
_PROPERTIES: dict[str, Method] = {
    "at": updates.UpdateAt,
    "T": transpose,
    "mT": matrix_transpose,
    "real": _itself,
}


def _install(cls: type) -> None:
    for name, function, primitive in _BINARY:
        forward, reflected = _operator(function, primitive)
        setattr(cls, f"__{name}__", forward)
        setattr(cls, f"__r{name}__", reflected)
    for name, function, primitive in _COMPARISONS:
        setattr(cls, f"__{name}__", _operator(function, primitive)[0])
    for name, function in _METHODS.items():
        setattr(cls, name, function)
    for name, function in _PROPERTIES.items():
        setattr(cls, name, property(function))


def _install_exact() -> None:
    for name, function, _ in _BINARY:
        forward, reflected = _exact_operator(function)
        setattr(Exact, f"__{name}__", forward)
        setattr(Exact, f"__r{name}__", reflected)
    for name, function, _ in _COMPARISONS:
        setattr(Exact, f"__{name}__", _exact_operator(function)[0])
    for name, function in {"neg": arithmetic.negative, "pos": arithmetic.positive, "abs": arithmetic.abs}.items():
        setattr(Exact, f"__{name}__", lambda x, f=function: exact(f(x.wide), x))


def _install_on_keys() -> None:
    for name in ("flatten", "ravel", "repeat", "reshape", "squeeze", "swapaxes", "take", "transpose"):
        setattr(KeyArray, name, _METHODS[name])
    for name in ("T", "mT"):
        setattr(KeyArray, name, property(_PROPERTIES[name]))


_install(Array)
_install(Tracer)
_install_exact()
_install_on_keys()
set_namespace(sys.modules[__name__.rpartition(".")[0]])
