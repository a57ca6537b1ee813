"""`eigh`: eigenvectors and eigenvalues of symmetric matrices.

With ``A V = V diag(w)`` and ``P = V^T dA V``, ``dw`` is the diagonal of ``P``, for which one product is enough, and
``dV = V K`` with ``K_ij = P_ij / (w_j - w_i)`` beside the diagonal: the component of ``dV`` along its own eigenvector
is zero [1]_.

.. [1] M. B. Giles, An extended collection of matrix derivative results for forward and reverse mode automatic
   differentiation, Oxford University Computing Laboratory, report 08/01, 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType, aval
from graphad.primitives.arithmetic import div, sub
from graphad.primitives.comparison import not_, select
from graphad.primitives.linalg import jacobi
from graphad.primitives.linalg.matrices import (
    Array,
    along_columns,
    along_rows,
    check_matrix,
    each_matrix,
    masked,
    matmul,
    matrices,
    matrix_errors,
    on_diagonal,
    products_of_columns,
    stack,
    symmetric,
    turned,
)
from graphad.primitives.reference import signs


def _type(a: OperandType) -> tuple[Aval, Aval]:
    check_matrix("eigh", a, square=True)
    return aval(a.shape, a.dtype), aval(a.shape[:-1], a.dtype)


def _whole(a: Array) -> Array:
    """The symmetric matrix with this lower triangle."""
    whole = np.tril(a) + np.tril(a, -1).T
    if not np.isfinite(whole).all():
        raise np.linalg.LinAlgError
    return whole


def decomposed(a: Array) -> tuple[Array, Array]:
    """Eigenvectors and eigenvalues by NumPy."""
    w, v = np.linalg.eigh(_whole(a))
    return v * signs(v), w


def values_of(a: Any) -> tuple[Array, ...]:
    """Eigenvalues by NumPy, of stacks."""
    a = np.asarray(a)
    return tuple(each_matrix(lambda x: np.linalg.eigvalsh(_whole(x)), a, shapes=[a.shape[-1:]]))


def _reference(a: Any) -> tuple[Array, ...]:
    a = np.asarray(a)
    return tuple(each_matrix(decomposed, a, shapes=[a.shape[-2:], a.shape[-1:]]))


def _jvp(tangents: Sequence[Ref], _operands: Any, outputs: Sequence[Ref]) -> list[Ref]:
    v, w = outputs
    moved = matmul(symmetric(tangents[0]), v)
    return [moved_vectors(v, w, moved), products_of_columns(v, moved)]


def moved_vectors(v: Ref, w: Ref, moved: Ref) -> Ref:
    """``dV``, where ``moved`` is ``dA V``."""
    n = w.shape[-1]
    inner = matmul(turned(v), moved)
    off = not_(on_diagonal(inner))
    gaps = select(off, sub(along_columns(w, n), along_rows(w, n)), 1.0)
    return matmul(v, masked(div(inner, gaps), off))


eigh = Primitive(
    "eigh",
    "``v, w`` with ``a @ v == v * w`` and ``v.T @ v == 1``, eigenvalues ascending, of symmetric ``a``, of which the "
    "lower triangle is read. All nan, where an element is not finite.",
    _type,
    _reference,
    jvp=_jvp,
    batch=lambda _size, _batched, a: eigh(a),
    lowering=lambda types, _params: Routine(
        "eigh", (stack(types[0]), types[0].shape[-1]), alone="eigvalsh", as_graph=jacobi.eigh
    ),
    samples=matrices(
        [(1, 1), (3, 3), (2, 4, 4), (0, 0), (2, 0, 0), (0, 3, 3), (7, 7)],
        lambda x: x + np.diag(3.0 * np.arange(x.shape[-1])),
    ),
    errors=matrix_errors({}, square=True),
    tolerance=256.0,
    multiple=True,
    alone=((1,), values_of),
)
