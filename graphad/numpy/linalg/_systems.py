"""Systems of linear equations, inverses and determinants."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import prod as size_of
from typing import Any, NamedTuple

from graphad.api.custom import custom_jvp
from graphad.api.implicit import custom_linear_solve
from graphad.api.stop_gradient import stop_gradient
from graphad.numpy._create.counting import counted
from graphad.numpy._create.filled import zeros_like
from graphad.numpy._elementwise.arithmetic import abs as abs_
from graphad.numpy._elementwise.arithmetic import sign
from graphad.numpy._elementwise.exponential import log
from graphad.numpy._elementwise.logic import where
from graphad.numpy._index.diagonals import diagonal
from graphad.numpy._index.taking import take_along_axis
from graphad.numpy._precision import in_float32
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._shape.axes import matrix_transpose, moveaxis
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.reshaping import reshape
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._products import matmul
from graphad.primitives.linalg.lu import lu, lu_by_columns
from graphad.primitives.linalg.matrices import is_small
from graphad.primitives.linalg.triangular_solve import triangular_solve
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_floats, broadcast_shapes


class SlogdetResult(NamedTuple):
    """What `slogdet` gives."""

    sign: Array
    logabsdet: Array


def check_square(x: Array, name: str) -> None:
    """``x`` is a stack of square matrices."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"{source.where()}{name} takes square matrices, (..., n, n), not an array of shape {x.shape}.")


# ---------------------------------------------------------------------------------------------------------------------
# Systems


class Factors(NamedTuple):
    """``a[order] == l @ u`` for a stack of square matrices, with ``l`` and ``u`` in one."""

    packed: Array
    order: Array

    def solve(self, b: Array, transposed: bool = False) -> Array:
        """Columns ``x`` with ``a @ x == b``, or with the transposes of ``a``."""
        if not transposed:
            y = self._divided(self._moved(b), lower=True, transposed=False)
            return self._divided(y, lower=False, transposed=False)
        y = self._divided(b, lower=False, transposed=True)
        return self._moved(self._divided(y, lower=True, transposed=True), back=True)

    def _divided(self, b: Array, lower: bool, transposed: bool) -> Array:
        return triangular_solve(self.packed, b, left=True, lower=lower, transposed=transposed, unit=lower)

    def _moved(self, b: Array, back: bool = False) -> Array:
        """The rows ``b[order]``, or from there back, by a product: so they are written out as the factors are."""
        columns = counted(self.order, self.order.shape[-1:], 0)
        permutation = (self.order[..., None] == columns).astype(b.dtype)
        return matmul(matrix_transpose(permutation) if back else permutation, b)


class FactorsByColumns(NamedTuple):
    """``a[:, order] == l @ u`` for a stack of square matrices; ``places`` is the inverse of ``order``.

    Row-major matrices are factorized so as they lie in memory.
    """

    packed: Array
    order: Array
    places: Array

    def solve(self, b: Array, transposed: bool = False) -> Array:
        """Columns ``x`` with ``a @ x == b``, or with the transposes of ``a``."""
        if transposed:
            y = self._divided(take_along_axis(b, self.order[..., None], -2), lower=False, transposed=True)
            return self._divided(y, lower=True, transposed=True)
        y = self._divided(self._divided(b, lower=True, transposed=False), lower=False, transposed=False)
        return take_along_axis(y, self.places[..., None], -2)

    def _divided(self, b: Array, lower: bool, transposed: bool) -> Array:
        return triangular_solve(self.packed, b, left=True, lower=lower, transposed=transposed, unit=not lower)


def factors(a: Array) -> Factors | FactorsByColumns:
    """Of matrices whose derivatives are taken elsewhere."""
    if not is_small(a.shape):
        packed, _, order, places = lu_by_columns(stop_gradient(a))
        return FactorsByColumns(packed, order, places)
    packed, _, order = lu(stop_gradient(a))
    return Factors(packed, order)


def solved(a: Array, b: Array, make: Callable[[Array, bool], Array], symmetric: bool = False) -> Array:
    """``make(b, transposed)`` as the solution of systems with the square matrices ``a``, and differentiated as that."""
    return custom_linear_solve(
        lambda x: matmul(a, x),
        b,
        lambda _, y: make(y, False),
        None if symmetric else lambda _, y: make(y, True),
        symmetric=symmetric,
    )


def stacks_alike(a: Array, b: Array, name: str) -> tuple[Array, Array]:
    """Matrices and right sides with the same leading axes."""
    check_square(a, name)
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ValueError(
            f"{source.where()}{name} got matrices of shape {a.shape} and right sides of shape {b.shape}; these must be "
            f"(..., {a.shape[-1]}, k), or one vector of {a.shape[-1]} elements."
        )
    leading = broadcast_shapes([a.shape[:-2], b.shape[:-2]], name)
    return broadcast_to(a, (*leading, *a.shape[-2:])), broadcast_to(b, (*leading, *b.shape[-2:]))


@in_float32
def solve(a: ArrayLike, b: ArrayLike) -> Array:
    """The ``x`` with ``a @ x == b``.

    Parameters
    ----------
    a
        Square matrices, ``(..., n, n)``. Singular ones give infinities or nan.
    b
        One vector, ``(n,)``, or columns, ``(..., n, k)``.

    Returns
    -------
    Array
        Of the shape of ``b``, with the leading axes of both.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> gnp.linalg.solve(gnp.array([[2.0, 0.0], [1.0, 4.0]]), gnp.array([2.0, 9.0]))
    Array([1., 2.], dtype=float32)
    """
    a, b = as_floats("solve", a, b)
    column = b[:, None] if b.ndim == 1 else b
    matrices, right = stacks_alike(a, column, "solve")
    found = solved(matrices, right, factors(matrices).solve)
    return found[..., 0] if b.ndim == 1 else found


@in_float32
def inv(a: ArrayLike) -> Array:
    """The inverses of square matrices; singular ones give infinities or nan.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.inv(gnp.array([[2.0, 0.0], [0.0, 4.0]]))
    Array([[0.5 , 0.  ],
           [0.  , 0.25]], dtype=float32)
    """
    x = as_float(a, "inv")
    check_square(x, "inv")
    return solve(x, identities(x))


def identities(x: Any) -> Any:
    """Identity matrices of the shape of ``x``."""
    row, column = (counted(x, x.shape, x.ndim - k) for k in (2, 1))
    return (row == column).astype(x.dtype)


@in_float32
def tensorsolve(a: ArrayLike, b: ArrayLike, axes: tuple[int, ...] | None = None) -> Array:
    """The ``x`` with ``tensordot(a, x, x.ndim) == b``, where ``axes`` of ``a`` are moved to its end first.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.tensorsolve(gnp.eye(4).reshape(2, 2, 4), gnp.ones((2, 2)))
    Array([1., 1., 1., 1.], dtype=float32)
    """
    a, b = as_floats("tensorsolve", a, b)
    if axes is not None:
        a = moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    shape = a.shape[b.ndim :]
    if size_of(shape) != b.size:
        raise ValueError(
            f"{source.where()}tensorsolve got a of shape {a.shape} and b of shape {b.shape}; the axes of a behind "
            f"those of b must have {b.size} elements together, but have {size_of(shape)}."
        )
    return reshape(solve(reshape(a, (b.size, b.size)), reshape(b, (b.size,))), shape)


@in_float32
def tensorinv(a: ArrayLike, ind: int = 2) -> Array:
    """The inverse of ``a`` as the matrix that its first ``ind`` axes and the others are rows and columns of.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.tensorinv(gnp.eye(4).reshape(4, 2, 2), ind=1).shape
    (2, 2, 4)
    """
    x = as_float(a, "tensorinv")
    if not 0 < ind <= x.ndim:
        raise ValueError(f"{source.where()}tensorinv takes ind from 1 to {x.ndim} for this array, not {ind}.")
    rows, columns = x.shape[:ind], x.shape[ind:]
    if size_of(rows) != size_of(columns):
        raise ValueError(
            f"{source.where()}tensorinv got an array of shape {x.shape}: its first {ind} axes have {size_of(rows)} "
            f"elements, the others {size_of(columns)}; they must be as many."
        )
    return reshape(inv(reshape(x, (size_of(rows), -1))), (*columns, *rows))


# ---------------------------------------------------------------------------------------------------------------------
# Determinants


def _eliminated(x: Array) -> tuple[Array, Array]:
    """The diagonal that elimination leaves, and the sign of its permutation."""
    packed, pivots, *_ = lu(x) if is_small(x.shape) else lu_by_columns(x)
    moved = sum_(pivots != counted(pivots, pivots.shape[-1:], 0), axis=-1)
    return diagonal(packed, axis1=-2, axis2=-1), where(moved % 2 == 1, -1.0, 1.0).astype(x.dtype)


def _by_halves(combine: Callable[[Any, Any], Any], x: Array) -> Array:
    """All that lies along the last axis, combined: one half of it with the other, again and again.

    It is written out, for in which order a reduction goes depends on what else there is to loop over: the determinant
    of a matrix is to have the same digits alone and in a stack.
    """
    rest = None
    while x.shape[-1] > 1:
        half, is_odd = divmod(x.shape[-1], 2)
        if is_odd:
            rest = x[..., -1:] if rest is None else combine(rest, x[..., -1:])
        x = combine(x[..., :half], x[..., half : 2 * half])
    return (x if rest is None else combine(x, rest))[..., 0]


@custom_jvp
def _slogdet(x: Array) -> tuple[Array, Array]:
    on_diagonal, parity = _eliminated(x)
    if not x.shape[-1]:
        return parity, zeros_like(parity)
    return parity * _by_halves(operator.mul, sign(on_diagonal)), _by_halves(operator.add, log(abs_(on_diagonal)))


@_slogdet.defjvp
def _slogdet_jvp(primals: tuple[Array], tangents: tuple[Array]) -> Any:
    (x,), (t,) = primals, tangents
    signs, logs = _slogdet(x)
    rate = sum_(diagonal(solve(x, t), axis1=-2, axis2=-1), axis=-1)
    return (signs, logs), (zeros_like(signs), rate)


@in_float32
def slogdet(a: ArrayLike, *, method: str | None = None) -> SlogdetResult:
    """The sign of the determinants of square matrices, and the logarithm of their size: 0 and -inf of singular ones.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.slogdet(gnp.array([[0.0, 1.0], [1.0, 0.0]]))
    SlogdetResult(sign=Array(-1., dtype=float32), logabsdet=Array(0., dtype=float32))
    """
    if method not in (None, "lu"):
        raise ValueError(f"{source.where()}slogdet takes method='lu', or None, not {method!r}.")
    x = as_float(a, "slogdet")
    check_square(x, "slogdet")
    return SlogdetResult(*_slogdet(x))


@custom_jvp
def _det(x: Array) -> Array:
    on_diagonal, parity = _eliminated(x)
    return parity * _by_halves(operator.mul, on_diagonal) if x.shape[-1] else parity


@_det.defjvp
def _det_jvp(primals: tuple[Array], tangents: tuple[Array]) -> Any:
    (x,), (t,) = primals, tangents
    value = _det(x)
    return value, value * sum_(diagonal(solve(x, t), axis1=-2, axis2=-1), axis=-1)


@in_float32
def det(a: ArrayLike) -> Array:
    """The determinants of square matrices.

    Up to 3 x 3 they are written out, with derivatives of every order. The derivative of larger ones is made of the
    inverse, and is nan where a matrix is singular.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.det(gnp.array([[1.0, 2.0], [3.0, 4.0]]))
    Array(-2., dtype=float32)
    """
    x = as_float(a, "det")
    check_square(x, "det")
    n = x.shape[-1]
    if n == 1:
        return x[..., 0, 0]
    if n == 2:
        return x[..., 0, 0] * x[..., 1, 1] - x[..., 0, 1] * x[..., 1, 0]
    if n == 3:
        a, b, c = (x[..., 0, k] for k in range(3))
        d, e, f = (x[..., 1, k] for k in range(3))
        g, h, i = (x[..., 2, k] for k in range(3))
        return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return _det(x)
