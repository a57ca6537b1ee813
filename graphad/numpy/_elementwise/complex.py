"""Real and imaginary part. There are no complex arrays, so these are simple."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.numpy._elementwise.logic import everywhere
from graphad.numpy._elementwise.trigonometric import arctan2, rad2deg
from graphad.numpy._typing import ArrayLike
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_operand, broadcast_to, cast, dtype_and_weakness


def real(x: ArrayLike, /) -> Array:
    """The real part: x itself.

    >>> import graphad.numpy as gnp
    >>> gnp.real(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return as_operand(x, "real")


def imag(x: ArrayLike, /) -> Array:
    """The imaginary part: zeros.

    >>> import graphad.numpy as gnp
    >>> gnp.imag(gnp.ones(2))
    Array([0., 0.], dtype=float32)
    """
    return _zeros(as_operand(x, "imag"))


def conjugate(x: ArrayLike, /) -> Array:
    """The complex conjugate: x itself.

    >>> import graphad.numpy as gnp
    >>> gnp.conjugate(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return as_operand(x, "conjugate")


def angle(x: ArrayLike, deg: bool = False) -> Array:
    """The angle of x in the complex plane: 0 of positive, pi of negative numbers; in degrees if ``deg``.

    >>> import graphad.numpy as gnp
    >>> gnp.angle(gnp.array([1.0, -1.0]))
    Array([0.       , 3.1415927], dtype=float32)
    """
    x = as_float(x, "angle")
    result = arctan2(_zeros(x), x)
    return rad2deg(result) if deg else result


def isreal(x: ArrayLike, /) -> Array:
    """Whether the imaginary part is 0: everywhere.

    >>> import graphad.numpy as gnp
    >>> gnp.isreal(gnp.ones(2))
    Array([ True,  True], dtype=bool)
    """
    return everywhere(True, as_operand(x, "isreal"))


def iscomplex(x: ArrayLike, /) -> Array:
    """Whether the imaginary part is not 0: nowhere.

    >>> import graphad.numpy as gnp
    >>> gnp.iscomplex(gnp.ones(2))
    Array([False, False], dtype=bool)
    """
    return everywhere(False, as_operand(x, "iscomplex"))


def isrealobj(x: Any) -> bool:
    """Whether x is of a real dtype.

    >>> isrealobj(1.0)
    True
    """
    return not np.iscomplexobj(x)


def iscomplexobj(x: Any) -> bool:
    """False: graphad computes with real numbers.

    >>> import graphad.numpy as gnp
    >>> gnp.iscomplexobj(gnp.zeros(1))
    False
    """
    return np.iscomplexobj(x) if isinstance(x, (np.ndarray, complex)) else False


def _zeros(x: Array) -> Array:
    return broadcast_to(cast(0, *dtype_and_weakness(x)), x.shape)


conj = conjugate
