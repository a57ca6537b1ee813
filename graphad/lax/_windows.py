"""Reductions over windows."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

from graphad import numpy as gnp
from graphad.ir.primitive import Primitive
from graphad.lax import _elementwise as elementwise
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives import shape as shapes
from graphad.primitives import windows
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, broadcast_to, cast, dtype_and_weakness, shape_text, with_weak

#: ``"SAME"``, ``"VALID"``, or (low, high) for each axis.
Padding = str | Sequence[tuple[int, int]]

#: What has a primitive that reduces windows at once.
_COMBINATIONS: Final[dict[Any, Primitive]] = {
    elementwise.add: windows.window_sum, gnp.add: windows.window_sum, operator.add: windows.window_sum,
    elementwise.max: windows.window_max, gnp.maximum: windows.window_max,
    elementwise.min: windows.window_min, gnp.minimum: windows.window_min,
}  # fmt: skip


def reduce_window(
    operand: ArrayLike,
    init_value: ArrayLike,
    computation: Callable[..., Any],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Padding,
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Array:
    """The elements of each window combined, beginning with ``init_value``, which is the padding too.

    Parameters
    ----------
    computation
        An associative function of two arrays, element by element: `graphad.lax.add`, `mul`, `max`, `bitwise_or`,
        `graphad.numpy.logaddexp`, or one of your own. Which neighbours it combines first is not specified.
    window_dimensions, window_strides
        One entry for each axis.
    padding
        ``"SAME"``, ``"VALID"``, or (low, high) for each axis.
    base_dilation, window_dilation
        The distance of the elements of the operand, and of those of a window, along each axis.

    Examples
    --------
    >>> import graphad.lax as lax, graphad.numpy as gnp
    >>> reduce_window(gnp.arange(5.0), 0.0, lax.add, (2,), (2,), "VALID")
    Array([1., 5.], dtype=float32)
    >>> reduce_window(gnp.arange(1.0, 5.0), 1.0, lax.mul, (3,), (1,), "VALID")
    Array([ 6., 24.], dtype=float32)
    """
    if not callable(computation):
        raise TypeError(
            f"{source.where()}lax.reduce_window takes a function of two arrays as computation, got {computation!r}; "
            "write lax.add, lax.mul, lax.max, lax.min or one of your own."
        )
    x = as_operand(operand, "lax.reduce_window")
    init = cast(init_value, dtype_and_weakness(x)[0], name="lax.reduce_window")
    if init.ndim:
        raise TypeError(f"{source.where()}lax.reduce_window takes a scalar init_value, got {shape_text(init)}.")
    params = window_params(
        "lax.reduce_window", x.shape, window_dimensions, window_strides, padding, base_dilation, window_dilation
    )
    padded: Any = shapes.pad(x, init, **params.padding)
    primitive = _COMBINATIONS.get(computation)
    combine = _checked(computation)
    found = primitive(padded, **params.windows) if primitive else _combined(combine, padded, **params.windows)
    return with_weak(combine(found, broadcast_to(init, found.shape)), False)


def _checked(computation: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """``computation``, held to give an array like the two that it takes."""

    def combine(x: Any, y: Any) -> Any:
        result: Any = as_operand(computation(x, y), "lax.reduce_window")
        if result.aval is not x.aval:
            raise TypeError(
                f"{source.where()}lax.reduce_window: the computation makes {result.aval} of two operands {x.aval}. "
                "It must work element by element and keep the dtype."
            )
        return result

    return combine


def _combined(
    combine: Callable[[Any, Any], Any],
    x: Any,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Any:
    """The elements of each window combined, axis by axis."""
    for axis, (length, stride, gap) in enumerate(zip(window, strides, dilation, strict=True)):
        places = max(x.shape[axis] - (length - 1) * gap, 0)
        x = _combined_along(combine, x, axis, length, gap) if places else x
        x = shapes.slice_axis(x, axis, 0, places, stride)
    return x


def _combined_along(combine: Callable[[Any, Any], Any], x: Any, axis: int, length: int, gap: int) -> Any:
    """Windows along one axis, at every place: of twice the length from two that adjoin, while there are digits left."""

    def from_place(windows: Any, elements: int, places: int) -> Any:
        """``windows`` that begin ``elements`` further on."""
        return shapes.slice_axis(windows, axis, elements * gap, elements * gap + places)

    places = x.shape[axis] - (length - 1) * gap
    result, covered = None, 0
    run, size = x, 1  # windows of `size` elements
    while True:
        if length & size:
            rest = from_place(run, covered, places)
            result, covered = rest if result is None else combine(result, rest), covered + size
        if covered == length:
            return result
        remaining = run.shape[axis] - size * gap
        run, size = combine(from_place(run, 0, remaining), from_place(run, size, remaining)), 2 * size


class WindowParams:
    """The params of the two equations that a reduction over windows becomes: of ``pad``, then of the window."""

    __slots__ = ("padding", "windows")

    def __init__(self, padding: dict[str, tuple[int, ...]], windows: dict[str, tuple[int, ...]]) -> None:
        self.padding, self.windows = padding, windows


def window_params(
    name: str,
    shape: tuple[int, ...],
    window: Sequence[int],
    strides: Sequence[int] | None,
    padding: Padding,
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> WindowParams:
    """The arguments of windows over ``shape``, checked and made plain."""
    rank = len(shape)
    sizes, by, gaps, dilation = (
        (1,) * rank if given is None else tuple(map(operator.index, given))
        for given in (window, strides, base_dilation, window_dilation)
    )
    for what, given in (("window", sizes), ("strides", by), ("base dilation", gaps), ("window dilation", dilation)):
        if len(given) != rank or min(given, default=1) < 1:
            raise ValueError(
                f"{source.where()}{name} got {what} {given} for {rank} axes; give a positive one for each."
            )
    sides = paddings(name, shape, sizes, by, padding, dilation)  # JAX names paddings for the operand without gaps
    low, high = tuple([lo for lo, _ in sides]), tuple([hi for _, hi in sides])
    return WindowParams(
        {"low": low, "high": high, "interior": tuple([g - 1 for g in gaps])},
        {"window": sizes, "strides": by, "dilation": dilation},
    )


def paddings(
    name: str,
    shape: tuple[int, ...],
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
) -> list[tuple[int, int]]:
    """(low, high) for each axis. ``SAME`` gives one window per stride, ``SAME_LOWER`` puts an odd rest before."""
    if not isinstance(padding, str):
        sides = [(operator.index(lo), operator.index(hi)) for lo, hi in padding]
        if len(sides) != len(shape):
            raise ValueError(f"{source.where()}{name} got {len(sides)} paddings for {len(shape)} axes.")
        return sides
    kind = padding.upper()
    if kind == "VALID":
        return [(0, 0)] * len(shape)
    if kind not in ("SAME", "SAME_LOWER"):
        raise ValueError(f"{source.where()}{name} got padding={padding!r}; take 'SAME', 'VALID' or (low, high) pairs.")
    sides = []
    for n, w, s, d in zip(shape, window, strides, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (w - 1) * d + 1 - n, 0)
        first = total // 2 if kind == "SAME" else total - total // 2
        sides.append((first, total - first))
    return sides


# ---------------------------------------------------------------------------------------------------------------------
# Pooling


def max_pool(
    inputs: ArrayLike, window_shape: Sequence[int], strides: Sequence[int] | None = None, padding: Padding = "VALID"
) -> Array:
    """The greatest element of each window. Axes: batch (any number, or none), then those of the window, then channels.

    >>> import graphad.numpy as gnp
    >>> max_pool(gnp.arange(4.0).reshape(4, 1), (2,), (2,))
    Array([[1.],
           [3.]], dtype=float32)
    """
    return _pool("max_pool", inputs, -inf, elementwise.max, window_shape, strides, padding)


def min_pool(
    inputs: ArrayLike, window_shape: Sequence[int], strides: Sequence[int] | None = None, padding: Padding = "VALID"
) -> Array:
    """The least element of each window; axes as for `max_pool`.

    >>> import graphad.numpy as gnp
    >>> min_pool(gnp.arange(4.0).reshape(4, 1), (2,), (2,))
    Array([[0.],
           [2.]], dtype=float32)
    """
    return _pool("min_pool", inputs, inf, elementwise.min, window_shape, strides, padding)


@in_float32
def avg_pool(
    inputs: ArrayLike,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window; axes as for `max_pool`. ``count_include_pad``: padding counts as elements that are 0.

    >>> import graphad.numpy as gnp
    >>> avg_pool(gnp.arange(4.0).reshape(4, 1), (2,), (2,))
    Array([[0.5],
           [2.5]], dtype=float32)
    """
    total = _pool("avg_pool", inputs, 0.0, elementwise.add, window_shape, strides, padding)
    if count_include_pad:
        count = 1
        for n in window_shape:
            count *= operator.index(n)
        return total / count
    ones = gnp.ones_like(as_operand(inputs, "avg_pool")[..., :1])
    return total / _pool("avg_pool", ones, 0.0, elementwise.add, window_shape, strides, padding)


def _pool(
    name: str,
    inputs: ArrayLike,
    init: float,
    combine: Callable[..., Any],
    window: Sequence[int],
    strides: Sequence[int] | None,
    padding: Padding,
) -> Array:
    x = as_operand(inputs, f"nn.{name}")
    lead = x.ndim - len(window) - 1
    if lead < 0:
        raise ValueError(
            f"{source.where()}nn.{name} got {x.ndim} axes for a window of {len(window)}; add one for the channels."
        )
    steps = (1,) * len(window) if strides is None else tuple(strides)
    sides = padding if isinstance(padding, str) else [*[(0, 0)] * lead, *padding, (0, 0)]
    return reduce_window(x, init, combine, (*[1] * lead, *window, 1), (*[1] * lead, *steps, 1), sides)
