"""Arrays made longer at the ends of their axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from graphad.ir.types import f32, f64, literal
from graphad.numpy._create.data import array as make_array
from graphad.numpy._elementwise.rounding import floor, rint
from graphad.numpy._functional import apply_along_axis
from graphad.numpy._reduce.averages import mean
from graphad.numpy._reduce.extrema import max as max_
from graphad.numpy._reduce.extrema import min as min_
from graphad.numpy._reduce.quantiles import median
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._shape.rearranging import flip
from graphad.numpy._typing import ArrayLike
from graphad.primitives import shape as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axis, cast, dtype_and_weakness, shape_text, with_weak

PadFunction = Callable[[Any, tuple[int, int], int, dict[str, Any]], Any]
Pairs = list[tuple[int, int]]

#: The modes, with the option that each takes.
_OPTIONS: Final[Mapping[str, str]] = {
    "constant": "constant_values", "edge": "", "empty": "", "linear_ramp": "end_values", "maximum": "stat_length",
    "mean": "stat_length", "median": "stat_length", "minimum": "stat_length", "reflect": "reflect_type",
    "symmetric": "reflect_type", "wrap": "",
}  # fmt: skip
_STATISTICS: Final[Mapping[str, Callable[..., Any]]] = {
    "maximum": max_,
    "mean": mean,
    "median": median,
    "minimum": min_,
}


def pad(array: ArrayLike, pad_width: Any, mode: str | PadFunction = "constant", **options: Any) -> Array:
    """``array`` with elements more before and after along each axis.

    Parameters
    ----------
    array
        What to pad.
    pad_width
        How many: a number, ``(before, after)``, one such pair for each axis, or a dict from axes to these.
    mode
        What they are: ``"constant"``; ``"empty"`` (zeros); ``"edge"`` (the nearest element); ``"linear_ramp"`` (evenly
        spaced from the edge to an end value); ``"maximum"``, ``"minimum"``, ``"mean"`` or ``"median"`` of the axis;
        ``"reflect"`` or ``"symmetric"`` (mirrored, without or with the edge); ``"wrap"`` (periodic). Or a function
        ``(vector, (before, after), axis, options) -> vector`` of the vectors along each axis, padded with zeros: it
        returns them filled, for arrays are not written to.
    **options
        ``constant_values`` and ``end_values``, a number or pairs as in ``pad_width``, by default 0; ``stat_length``, of
        how many elements at each end the statistic is, by default of all; ``reflect_type``, ``"even"``, or ``"odd"`` to
        mirror in the point at the edge. For a function whatever it takes.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> gnp.pad(gnp.arange(1, 3), (1, 2))
    Array([0, 1, 2, 0, 0], dtype=int32)
    >>> gnp.pad(gnp.array([2.0, 4.0]), 2, mode="linear_ramp")
    Array([0., 1., 2., 4., 2., 0.], dtype=float32)
    """
    x: Any = as_operand(array, "pad")
    widths = _widths(pad_width, x)
    if callable(mode):
        return _by_function(x, widths, mode, options)
    if mode not in _OPTIONS:
        *names, last = map(repr, _OPTIONS)
        raise ValueError(f"{source.where()}pad got mode={mode!r}; it takes {', '.join(names)} and {last}.")
    unknown = [name for name in options if name != _OPTIONS[mode]]
    if unknown:
        takes = f"only {_OPTIONS[mode]}=" if _OPTIONS[mode] else "no option"
        raise ValueError(f"{source.where()}pad got {unknown[0]}= with mode={mode!r}, which takes {takes}.")
    if mode in ("constant", "empty"):
        return _constant(x, widths, options.get("constant_values", 0))
    for k, pair in enumerate(widths):
        if any(pair) and not x.shape[k]:
            raise ValueError(
                f"{source.where()}pad got mode={mode!r} for {shape_text(x)}: axis {k} has no elements to go on from. "
                "Give mode='constant'."
            )
    if mode == "linear_ramp":
        return _ramps(x, widths, options.get("end_values", 0))
    if mode in _STATISTICS:
        return _statistics(x, widths, _STATISTICS[mode], options.get("stat_length"))
    return _repeated(x, widths, mode, options.get("reflect_type", "even"))


# ---------------------------------------------------------------------------------------------------------------------
# Options


def _widths(pad_width: Any, x: Any) -> Pairs:
    """The numbers of elements before and after along each axis."""
    if isinstance(pad_width, dict):
        each: Any = [(0, 0)] * x.ndim
        for axis, width in pad_width.items():
            each[canonical_axis(axis, x.ndim, "pad")] = (width, width) if isinstance(width, int) else tuple(width)
        pad_width = each
    pairs = _integer_pairs(pad_width, x, "widths")
    if any([n < 0 for pair in pairs for n in pair]):
        raise ValueError(f"{source.where()}pad takes widths >= 0, got {pad_width}: write a slice to cut.")
    return pairs


def _integer_pairs(given: Any, x: Any, what: str) -> Pairs:
    """``given``, repeated to two integers for each axis of ``x``."""
    try:
        pairs = np.broadcast_to(np.asarray(given), (x.ndim, 2))
    except ValueError:
        raise ValueError(
            f"{source.where()}pad got {what} {given} for {shape_text(x)}: give (before, after), or one such pair "
            f"for each of the {x.ndim} axes."
        ) from None
    if pairs.dtype.kind not in "iu":
        raise TypeError(f"{source.where()}pad got {what} {given}: give integers.")
    return [(int(a), int(b)) for a, b in pairs]


def _along(x: Any, k: int, part: slice | np.ndarray[Any, Any]) -> Any:
    """The elements along axis ``k`` that ``part`` selects."""
    return x[(slice(None),) * k + (part,)]


# ---------------------------------------------------------------------------------------------------------------------
# Modes


def _constant(x: Any, widths: Pairs, constant_values: Any) -> Any:
    dtype, weak = dtype_and_weakness(x)
    listed = isinstance(constant_values, (list, tuple))
    value: Any = make_array(constant_values, dtype) if listed else cast(constant_values, dtype, name="pad")
    if value.ndim:
        return _each_side(x, widths, broadcast_to(value, (x.ndim, 2)))
    low, high = (tuple([pair[side] for pair in widths]) for side in (0, 1))
    if type(value) is Array:
        value = literal(value._value[()], dtype)
    return with_weak(prims.pad(x, value, low=low, high=high, interior=(0,) * x.ndim), weak)


def _each_side(x: Any, widths: Pairs, values: Any) -> Any:
    """A constant of its own for each side of each axis."""
    for k, pair in enumerate(widths):
        for side, n in enumerate(pair):
            only = [(0, 0)] * x.ndim
            only[k] = (n, 0) if side == 0 else (0, n)
            x = _constant(x, only, values[k, side])
    return x


def _ramps(x: Any, widths: Pairs, end_values: Any) -> Any:
    """Evenly spaced numbers between the edges and the end values; of integers rounded down, as by `linspace`."""
    dtype, weak = dtype_and_weakness(x)
    working = dtype if dtype.is_float and dtype.bits >= 32 else f32 if dtype.is_float else f64
    listed = isinstance(end_values, (list, tuple))
    ends: Any = make_array(end_values, working) if listed else cast(end_values, working, name="pad")
    ends = broadcast_to(ends, (x.ndim, 2))

    def ramp(end: Any, edge: Any, n: int, k: int) -> Any:
        steps = np.arange(n, dtype=working.numpy).reshape([-1 if axis == k else 1 for axis in range(x.ndim)])
        found = end + steps * ((cast(edge, working) - end) / n)
        return cast(floor(found) if dtype.is_integer else found, dtype, weak)

    for k, (low, high) in enumerate(widths):
        parts = [x]
        if low:
            parts.insert(0, ramp(ends[k, 0], _along(x, k, slice(0, 1)), low, k))
        if high:
            parts.append(flip(ramp(ends[k, 1], _along(x, k, slice(-1, None)), high, k), k))
        x = concatenate(parts, k)
    return x


def _statistics(x: Any, widths: Pairs, statistic: Callable[..., Any], stat_length: Any) -> Any:
    """A statistic of the elements at either end, in the dtype of the array: of integers rounded."""
    dtype, weak = dtype_and_weakness(x)
    lengths = None if stat_length is None else _integer_pairs(stat_length, x, "stat_length")
    if lengths is not None and any([n < 1 for pair in lengths for n in pair]):
        raise ValueError(f"{source.where()}pad got stat_length {stat_length}: a statistic is of at least one element.")

    def repeated(part: Any, n: int, k: int) -> Any:
        if dtype.is_integer and statistic in (mean, median):  # whose result in float32 has not the digits of integers
            part = cast(part, f64)
        found = statistic(part, axis=k, keepdims=True)
        found = cast(rint(found) if dtype.is_integer else found, dtype, weak)
        return broadcast_to(found, (*x.shape[:k], n, *x.shape[k + 1 :]))

    for k, (low, high) in enumerate(widths):
        n = x.shape[k]
        first, last = (n, n) if lengths is None else [min(m, n) for m in lengths[k]]
        parts = [x]
        if low:
            parts.insert(0, repeated(_along(x, k, slice(0, first)), low, k))
        if high:
            parts.append(repeated(_along(x, k, slice(n - last, n)), high, k))
        x = concatenate(parts, k)
    return x


def _repeated(x: Any, widths: Pairs, mode: str, reflect_type: str) -> Any:
    """Elements of the array again, or with ``reflect_type="odd"`` mirrored in the points at the edges."""
    if reflect_type not in ("even", "odd"):
        raise ValueError(f"{source.where()}pad got reflect_type={reflect_type!r}; it takes 'even' and 'odd'.")
    for k, (low, high) in enumerate(widths):
        if not (low or high):
            continue
        if reflect_type == "odd" and x.shape[k] > 1:
            skip = 1 if mode == "reflect" else 0
            before = flip(_odd_continuation(flip(x, k), k, low, skip), k)
            x = concatenate([before, x, _odd_continuation(x, k, high, skip)], k)
        else:
            # NumPy knows where each element comes from.
            kind: Any = mode
            x = _along(x, k, np.pad(np.arange(x.shape[k]), (low, high), mode=kind))
    return x


def _odd_continuation(x: Any, k: int, n: int, skip: int) -> Any:
    """The ``n`` elements that follow ``x``: it mirrored in its last point, that mirrored in its last one, and so on.

    ``skip`` is 1 if the points that are mirrored in are not repeated.
    """
    parts = [_along(x, k, slice(0, 0))]
    while n > 0:
        last = _along(x, k, slice(-1, None))
        x = cast(2 * last - flip(x, k), *dtype_and_weakness(x))
        parts.append(_along(x, k, slice(skip, skip + n)))
        n -= parts[-1].shape[k]
    return concatenate(parts, k)


def _by_function(x: Any, widths: Pairs, function: PadFunction, options: dict[str, Any]) -> Any:
    dtype, weak = dtype_and_weakness(x)
    padded = _constant(x, widths, 0)

    def filled(vector: Any, k: int) -> Any:
        found = function(vector, widths[k], k, options)
        if found is None:
            raise TypeError(
                f"{source.where()}pad: the function returned None. Arrays are not written to: return the vector, "
                "such as vector.at[:before].set(value)."
            )
        found = as_operand(found, "pad")
        if found.shape != vector.shape:
            raise ValueError(
                f"{source.where()}pad: the function got a vector {shape_text(vector)} and returned "
                f"{shape_text(found)}: keep its length."
            )
        return cast(found, dtype, weak)

    for k in range(x.ndim):
        padded = apply_along_axis(filled, k, padded, k)
    return padded
