"""NumPy semantics in front of primitives: promotion of dtypes, broadcasting of shapes, weak types.

The IR wants equal shapes and dtypes; the faces (`graphad.numpy`, `lax`, `nn`) call primitives through these functions.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from graphad.config import config
from graphad.errors import TracerBoolError
from graphad.ir.primitive import Primitive
from graphad.ir.types import BY_NUMPY, DType, Literal, b1, dtype_of, f32, f64, i32, i64, promote
from graphad.primitives.cast import convert
from graphad.primitives.layout import broadcast, reshape
from graphad.trace.array import Array, refuse_masked, to_array
from graphad.trace.device_array import DeviceArray
from graphad.trace.exact import Exact
from graphad.trace.keys import is_keys, refused
from graphad.trace.recording import Trace, current, lift, state
from graphad.trace.scalars import is_scalar, number, scalar_dtype
from graphad.trace.source import where
from graphad.trace.tracer import Tracer

Operand = Any  # Array | Tracer | a Python scalar
_ARRAYS = (Tracer, Array, DeviceArray, Exact)  # each is an Array to isinstance, which costs more
_NUMBERS = (float, int, np.float64, Exact)  # the weakly typed ones


def as_operand(x: Any, function: str = "") -> Array:
    """An Array or Tracer of ``x``; Python scalars and np.float64 scalars become weakly typed Arrays.

    Raises
    ------
    TypeError
        If ``x`` is neither array nor number; ``function`` is named in the message.
    """
    if type(x) in _ARRAYS:
        return x
    if isinstance(x, np.ndarray):
        refuse_masked(x)
        if state.stack:
            return state.stack[0].constant(x)
    if is_keys(x):
        raise refused(x, function or "an operation")
    try:
        return to_array(x)
    except TypeError as error:
        raise TypeError(f"{where()}{function + ': ' if function else ''}{error}") from error


def as_operands(function: str, *xs: Any) -> tuple[Any, ...]:
    """``xs`` as operands; Python scalars stay what they are."""
    return tuple([x if type(x) in _ARRAYS or is_scalar(x) else as_operand(x, function) for x in xs])


def is_number(x: Any) -> bool:
    """Whether ``x`` is a Python number, or the tracer of a Python float: it takes the dtype of other operands."""
    return is_scalar(x) or type(x) is Exact


def dtype_and_weakness(x: Any) -> tuple[DType, bool]:
    """Dtype and weakness of an operand, Python scalars included."""
    if type(x) is Tracer or type(x) is DeviceArray or type(x) is Exact:
        return x.aval.dtype, x.weak_type
    if type(x) is Array:
        return BY_NUMPY[x._value.dtype], x.weak_type
    if is_scalar(x):
        return scalar_dtype(x), type(x) is not bool
    return dtype_of(as_operand(x).dtype), False


def result_type(*xs: Any) -> tuple[DType, bool]:
    """The dtype that ``xs`` are promoted to, and whether it is weak."""
    return _promoted(tuple([dtype_and_weakness(x) for x in xs]), config.default_dtype_bits)


@lru_cache(4096)
def _promoted(pairs: tuple[tuple[DType, bool], ...], default_bits: int) -> tuple[DType, bool]:
    return promote([d for d, _ in pairs], [w for _, w in pairs], default_bits)


def cast(x: Any, dtype: DType, weak: bool = False, name: str = "") -> Array:
    """``x`` in ``dtype``; the result has the given weakness. A number is converted once, from all its digits.

    Raises
    ------
    TypeError
        If ``x`` is neither array nor number; ``name`` is the function in the message.
    OverflowError
        For a Python integer that an integer type does not hold.
    """
    if is_scalar(x):
        return Array(np.asarray(number(x, dtype, name).value), weak)
    operand: Any = as_operand(x, name)
    if type(operand) is Exact:
        return operand.cast(dtype, weak)  # pyright: ignore[reportReturnType]
    if operand.aval.dtype is not dtype:
        return with_weak(convert(operand, dtype=dtype), weak)
    if operand.weak_type == weak:
        return operand
    if type(operand) is Tracer:
        return Tracer(operand.builder, operand.atom, weak)  # pyright: ignore[reportReturnType]
    return operand.as_weak(weak)


def beside(name: str, *xs: Any) -> list[Array]:
    """``xs`` as operands, each in its own shape; numbers and weak scalars take the dtype that all are promoted to.

    Numbers are rounded only once, to that dtype.
    """
    operands = as_operands(name, *xs)
    loose = [type(x) in _NUMBERS or (type(x) in _ARRAYS and x.weak_type and not x.shape) for x in operands]
    if all(loose) or not any(loose):
        return [as_operand(x, name) for x in operands]
    dtype, _ = result_type(*operands)
    return [_yielding(x, dtype, name) if few else as_operand(x) for x, few in zip(operands, loose, strict=True)]


def _yielding(x: Any, dtype: DType, name: str) -> Array:
    """A number or weak scalar in the dtype of the other operands, weak."""
    if type(x) in _ARRAYS and dtype.is_integer and x.aval.dtype is i64 and dtype is not i64:
        # Only an integer that does not fit in 32 bits is an i64 by itself.
        if type(x) is Array:
            x = int(x._value)
        elif config.default_dtype_bits == 32:
            raise OverflowError(
                f"{where()}{name}: an integer that does not fit in 32 bits meets an array of {dtype.numpy}. "
                "Convert the array first: x.astype('int64')."
            )
    return cast(x, dtype, True, name)


def as_float(x: Any, name: str) -> Array:
    """``x`` as an operand of floating-point type: integers and bools become the default one."""
    dtype, weak = dtype_and_weakness(x)
    return as_operand(x, name) if dtype.is_float else cast(x, float_for(dtype), weak, name)


def as_floats(name: str, *xs: Any) -> list[Array]:
    """``xs`` as operands of one floating-point type, each in its own shape."""
    xs = as_operands(name, *xs)
    dtype, weak = result_type(*xs)
    return [cast(x, float_for(dtype), weak, name) for x in xs]


def float_for(dtype: DType) -> DType:
    """The floating-point type that functions such as `sin` give for ``dtype``."""
    if dtype.is_float:
        return dtype
    return f64 if dtype.bits == 64 and config.default_dtype_bits == 64 else f32


def as_number(x: Any, name: str) -> Array:
    """``x`` as an operand to calculate with: bools become int32."""
    x = as_operand(x, name)
    return cast(x, i32) if dtype_and_weakness(x)[0] is b1 else x


def default_float() -> DType:
    """The dtype of new arrays of floats."""
    return dtype_of(f"f{config.default_dtype_bits}")


def default_int() -> DType:
    """The dtype of new arrays of integers."""
    return dtype_of(f"i{config.default_dtype_bits}")


def canonical_dtype(dtype: Any) -> DType:
    """The `DType` a user means: Python's ``float`` and ``int`` are the default ones."""
    if dtype is float or (type(dtype) is str and dtype == "float"):  # np.dtype("float64") == "float" is true
        return default_float()
    if dtype is int or (type(dtype) is str and dtype == "int"):
        return default_int()
    try:
        return dtype_of(dtype)
    except TypeError as error:
        raise TypeError(f"{where()}{error}") from None


def canonical_shape(shape: Any, name: str) -> tuple[int, ...]:
    """``shape`` as a tuple of ints, none negative. A traced integer in it is observed, and guarded."""
    single = not hasattr(shape, "__len__") or (isinstance(shape, (Array, np.ndarray)) and not shape.ndim)
    given = (shape,) if single else tuple(shape)
    try:
        sizes = tuple([operator.index(n) for n in given])
    except TracerBoolError:
        raise
    except TypeError:
        traced = [n for n in given if isinstance(n, Tracer)]
        if traced:
            raise TypeError(f"{where()}{size_is_traced(name, traced[0])}") from None
        raise TypeError(f"{where()}{name} takes a shape of integers, got {shape!r}.") from None
    if any([n < 0 for n in sizes]):
        raise ValueError(f"{where()}{name} got shape {sizes}; sizes must not be negative.")
    return sizes


def size_is_traced(name: str, x: Any) -> str:
    """The hint for a traced value that is no integer in the place of a size."""
    return (
        f"{name} got a traced value of type {x.aval} as a size: shapes are known when a function is traced, and this "
        "would cut its derivative. Pass an int as a static argument (jit(f, static_argnums=...)), close over it, or "
        "take it from x.shape."
    )


def canonical_axis(axis: Any, ndim: int, name: str) -> int:
    """``axis`` counted from the front."""
    try:
        k = operator.index(axis)
    except TypeError:
        raise TypeError(f"{where()}{name} takes an integer as axis, got {axis!r}.") from None
    if not -ndim <= k < ndim:
        legal = f"-{ndim}..{ndim - 1}" if ndim else "none: it is a scalar"
        raise ValueError(f"{where()}{name} got axis {k} for an array of {ndim} axes; legal axes are {legal}.")
    return k % ndim


def canonical_axes(axis: Any, ndim: int, name: str) -> tuple[int, ...]:
    """``axis`` (None for all, an int, or several) as a tuple of distinct axes counted from the front."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple([canonical_axis(a, ndim, name) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))])
    if len(set(axes)) < len(axes):
        raise ValueError(f"{where()}{name} got axis={axis}, which names an axis twice.")
    return axes


def with_weak(x: Any, weak: bool) -> Array:
    """A fresh result of a primitive, marked weak or not (in place: nobody else has it yet)."""
    x.weak_type = weak
    return x


def broadcast_shapes(shapes: Sequence[tuple[int, ...]], name: str) -> tuple[int, ...]:
    """The common shape, by NumPy's rules; the error says how to make the axes line up."""
    try:
        return _broadcast_shapes(tuple(shapes))
    except ValueError:
        raise TypeError(_mismatch(shapes, name)) from None


_broadcast_shapes = lru_cache(4096)(lambda shapes: np.broadcast_shapes(*shapes))


def _mismatch(shapes: Sequence[tuple[int, ...]], name: str) -> str:
    shown = " and ".join(str(s).replace(" ", "") for s in shapes)
    text = f"{where()}{name} got shapes {shown}, which do not broadcast: axes are aligned from the last one backwards."
    if len(shapes) == 2:
        for (long, short), letter in (((shapes[0], shapes[1]), "y"), ((shapes[1], shapes[0]), "x")):
            if len(short) == 1 and len(long) == 2 and long[0] == short[0]:
                return f"{text} Write {letter}[:, None] to repeat {letter} along axis 1."
    return f"{text} Use reshape, x[:, None] or x.T to line the axes up."


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Array:
    """``x`` broadcast to ``shape`` (NumPy's rules; ``x`` is an Array or Tracer that broadcasts to it)."""
    have = x.shape
    if have == shape:
        return x
    weak = x.weak_type
    lead = len(shape) - len(have)
    kept = tuple([i for i, n in enumerate(have) if n == shape[lead + i]])
    if len(kept) < len(have):
        x = reshape(x, shape=tuple([have[i] for i in kept]))
    return with_weak(broadcast(x, shape=shape, dims=tuple([lead + i for i in kept])), weak)


def promoted(name: str, *xs: Any, to_float: bool = False) -> tuple[list[Any], DType, bool]:
    """``xs`` in one dtype and one shape. Scalars stay Literals, so that they cost no equation.

    Parameters
    ----------
    name
        The function, for errors.
    to_float
        Integers and bools become the default float type (as `sin` and `divide` need).
    """
    xs = as_operands(name, *xs)
    dtype, weak = result_type(*xs)
    if to_float and not dtype.is_float:
        dtype = float_for(dtype)
    shapes = [x.shape for x in xs if type(x) in _ARRAYS]
    first = shapes[0] if shapes else ()
    shape = first if all([s == first for s in shapes]) else broadcast_shapes(shapes, name)
    trace = current() if any([isinstance(x, Tracer) for x in xs]) else None
    return [_fit(x, dtype, shape, trace, name) for x in xs], dtype, weak


def _fit(x: Any, dtype: DType, shape: tuple[int, ...], trace: Trace | None, name: str) -> Any:
    if is_scalar(x):
        return number(x, dtype, name)
    weak = x.weak_type
    x = _yielding(x, dtype, name) if weak and dtype.is_integer and not x.shape else cast(x, dtype, weak)
    if x.shape == shape:
        return x
    if trace is not None and not isinstance(x, Tracer):
        # Broadcast in the graph, so that the constant is the small array and not the large one.
        x = Tracer(trace, lift(trace, x), x.weak_type)
    return broadcast_to(x, shape)


def elementwise(primitive: Primitive, *xs: Any, to_float: bool = False, name: str = "") -> Array:
    """Call an elementwise primitive on operands of any dtypes and shapes that fit together.

    The result is weak if all operands are. ``name`` is that of the function, where it is not the primitive's.
    """
    fast = _same_tracers(xs)
    if fast is not None and (not to_float or fast[0].aval.is_float):
        return with_weak(primitive(*xs), fast[0].weak_type)
    operands, _, weak = promoted(name or primitive.name, *xs, to_float=to_float)
    if all([type(x) is Literal for x in operands]):
        operands = [Array(np.asarray(x.value), weak) for x in operands]
    return with_weak(primitive(*operands), weak)


def _same_tracers(xs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """``xs`` if they are tracers of one type: the fast path."""
    first = xs[0]
    if type(first) is not Tracer:
        return None
    for x in xs:
        if type(x) is not Tracer or x.aval is not first.aval or x.weak_type != first.weak_type:
            return None
    return xs


def shape_text(x: Any) -> str:
    """Dtype and shape of an operand for messages: ``f32[8,3]``."""
    return repr(x.aval)
