"""Convolution and correlation of sequences."""

from __future__ import annotations

from typing import Any

from graphad.numpy._shape.rearranging import flip
from graphad.numpy._typing import ArrayLike
from graphad.primitives import convolution
from graphad.primitives.layout import reshape
from graphad.primitives.shape import pad
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_number, cast, result_type, shape_text, with_weak


def convolve(a: ArrayLike, v: ArrayLike, mode: str = "full") -> Array:
    """``sum(a[i] * v[n - i])``: where they overlap at all (``full``), wholly (``valid``), or as long as the longer one.

    >>> import graphad.numpy as gnp
    >>> gnp.convolve(gnp.array([1.0, 2.0, 3.0]), gnp.array([1.0, 1.0]))
    Array([1., 3., 5., 3.], dtype=float32)
    """
    x, w = _operands("convolve", a, v)
    if w.shape[0] > x.shape[0]:
        x, w = w, x
    return _slide("convolve", x, flip(w, 0), mode)


def correlate(a: ArrayLike, v: ArrayLike, mode: str = "valid") -> Array:
    """``sum(a[n + i] * v[i])``; ``mode`` as for `convolve`.

    >>> import graphad.numpy as gnp
    >>> gnp.correlate(gnp.array([1.0, 2.0, 3.0]), gnp.array([0.0, 1.0]))
    Array([2., 3.], dtype=float32)
    """
    x, w = _operands("correlate", a, v)
    if w.shape[0] <= x.shape[0]:
        return _slide("correlate", x, w, mode)
    return flip(_slide("correlate", w, x, mode), 0)


def _operands(name: str, a: ArrayLike, v: ArrayLike) -> tuple[Any, Any]:
    """Both in one dtype."""
    operands = as_number(a, name), as_number(v, name)
    dtype, weak = result_type(*operands)
    for x in operands:
        if x.ndim != 1 or not x.shape[0]:
            raise ValueError(f"{source.where()}{name} got {shape_text(x)}; it takes sequences of at least one element.")
    x, w = (cast(x, dtype, weak) for x in operands)
    return x, w


def _slide(name: str, x: Any, w: Any, mode: str) -> Array:
    """``w``, the shorter one, moved along ``x``."""
    n = w.shape[0]
    sides = {"full": (n - 1, n - 1), "same": (n // 2, n - 1 - n // 2), "valid": (0, 0)}.get(mode)
    if sides is None:
        raise ValueError(f"{source.where()}{name} got mode={mode!r}; take 'full', 'same' or 'valid'.")
    padded: Any = pad(x, 0, low=(sides[0],), high=(sides[1],), interior=(0,))
    rows = [reshape(v, shape=(1, 1, v.shape[0])) for v in (padded, w)]
    slid = convolution.conv(*rows, strides=(1,), dilation=(1,), groups=1)
    return with_weak(reshape(slid, shape=(slid.shape[2],)), x.weak_type and w.weak_type)
