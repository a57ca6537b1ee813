"""Windows: weights that fall off towards both ends, to multiply a sample with before a Fourier transform."""

from __future__ import annotations

import numpy as np

from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import default_float


def hanning(M: int) -> Array:
    """``0.5 - 0.5 cos(2 pi n / (M - 1))`` for n = 0 .. M - 1.

    >>> import graphad.numpy as gnp
    >>> gnp.hanning(3)
    Array([0., 1., 0.], dtype=float32)
    """
    return _window("hanning", M)


def hamming(M: int) -> Array:
    """``0.54 - 0.46 cos(2 pi n / (M - 1))`` for n = 0 .. M - 1.

    >>> import graphad.numpy as gnp
    >>> gnp.hamming(3)
    Array([0.08, 1.  , 0.08], dtype=float32)
    """
    return _window("hamming", M)


def blackman(M: int) -> Array:
    """``0.42 - 0.5 cos(2 pi n / (M - 1)) + 0.08 cos(4 pi n / (M - 1))`` for n = 0 .. M - 1.

    >>> import graphad.numpy as gnp
    >>> gnp.blackman(5).round(2)
    Array([-0.  ,  0.34,  1.  ,  0.34, -0.  ], dtype=float32)
    """
    return _window("blackman", M)


def bartlett(M: int) -> Array:
    """A triangle, from 0 up to 1 in the middle and down to 0.

    >>> import graphad.numpy as gnp
    >>> gnp.bartlett(5)
    Array([0. , 0.5, 1. , 0.5, 0. ], dtype=float32)
    """
    return _window("bartlett", M)


def _window(name: str, M: int) -> Array:
    """NumPy's: ``M`` is known, so that there is nothing to trace."""
    if not isinstance(M, (int, np.integer)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{source.where()}{name} takes a number of points that is known, got {type(M).__name__}.")
    return Array(getattr(np, name)(int(M)).astype(default_float().numpy))
