"""Reductions over windows."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

from graphad import numpy as gnp
from graphad.ir.primitive import Primitive
from graphad.lax import _elementwise as elementwise
from graphad.numpy._typing import ArrayLike
from graphad.primitives import shape as shapes
from graphad.primitives import windows
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, cast, dtype_and_weakness, with_weak

#: ``"SAME"``, ``"VALID"``, or (low, high) for each axis.
Padding = str | Sequence[tuple[int, int]]

_SUM, _MAX, _MIN = (
    (windows.window_sum, gnp.add),
    (windows.window_max, gnp.maximum),
    (windows.window_min, gnp.minimum),
)
_COMBINATIONS: Final[dict[Any, tuple[Primitive, Callable[..., Array]]]] = {
    elementwise.add: _SUM, gnp.add: _SUM, operator.add: _SUM,
    elementwise.max: _MAX, gnp.maximum: _MAX,
    elementwise.min: _MIN, gnp.minimum: _MIN,
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

    ``computation`` is `graphad.lax.add`, `max` or `min`, or what `graphad.numpy` calls them.

    >>> import graphad.lax as lax, graphad.numpy as gnp
    >>> reduce_window(gnp.arange(5.0), 0.0, lax.add, (2,), (2,), "VALID")
    Array([1., 5.], dtype=float32)
    """
    x = as_operand(operand, "lax.reduce_window")
    found = _COMBINATIONS.get(computation)
    if found is None:
        raise TypeError(
            f"{source.where()}lax.reduce_window got computation={computation!r}; it takes lax.add, lax.max and lax.min."
        )
    primitive, combine = found
    init = cast(as_operand(init_value, "lax.reduce_window"), dtype_and_weakness(x)[0])
    params = window_params(
        "lax.reduce_window", x.shape, window_dimensions, window_strides, padding, base_dilation, window_dilation
    )
    padded: Any = shapes.pad(x, init, **params.padding)
    return with_weak(combine(primitive(padded, **params.windows), init), False)


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
    wide = tuple([max(n - 1, 0) * g + min(n, 1) for n, g in zip(shape, gaps, strict=True)])
    sides = paddings(name, wide, sizes, by, padding, dilation)
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
