"""`svd`: singular values and vectors.

With ``A = U diag(s) V^T`` and ``P = U^T dA V``, ``ds`` is the diagonal of ``P``, ``dU = U (F * (P S + S P^T))`` and
``dV = V (F * (S P + P^T S))``, with ``F_ij = 1 / ((s_j - s_i)(s_j + s_i))`` beside the diagonal; where ``A`` is not
square, what lies outside of the space of ``U``, or of ``V``, comes to that [1]_.

.. [1] J. Townsend, Differentiating the singular value decomposition, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.params import BOOL
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType, aval
from graphad.primitives.arithmetic import add, div, mul, sub
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
    no_derivative,
    on_diagonal,
    products_of_columns,
    stack,
    turned,
)
from graphad.primitives.reference import signs


def _shapes(a: Any, full: bool) -> list[tuple[int, ...]]:
    m, n = a.shape[-2:]
    least = min(m, n)
    return [(m, m if full else least), (least,), (n if full else least, n)]


def _type(a: OperandType, *, full: bool) -> tuple[Aval, ...]:
    check_matrix("svd", a)
    return tuple([aval((*a.shape[:-2], *shape), a.dtype) for shape in _shapes(a, full)])


def _finite(x: Array) -> Array:
    if not np.isfinite(x).all():
        raise np.linalg.LinAlgError
    return x


def _values(a: Any, *, full: bool) -> tuple[Array, ...]:
    """Singular values by NumPy."""
    del full
    a = np.asarray(a)
    return tuple(each_matrix(lambda x: np.linalg.svd(_finite(x), compute_uv=False), a, shapes=[(min(a.shape[-2:]),)]))


def _reference(a: Any, *, full: bool) -> tuple[Array, ...]:
    def decomposed(x: Array) -> tuple[Array, ...]:
        u, s, vt = np.linalg.svd(_finite(x), full_matrices=full)
        of_u, of_v = signs(u), signs(vt.T)
        k = min(len(of_u), len(of_v))
        of_v[:k] = of_u[:k]
        return u * of_u, s, vt * of_v[:, None]

    a = np.asarray(a)
    return tuple(each_matrix(decomposed, a, shapes=_shapes(a, full)))


def _jvp(tangents: Sequence[Ref], operands: Sequence[Ref], outputs: Sequence[Ref], *, full: bool) -> list[Ref]:
    (t,), (a,), (u, s, vt) = tangents, operands, outputs
    m, n = a.shape[-2:]
    if full and m != n:
        raise no_derivative(
            a,
            f"svd of {a.aval} with full matrices has no derivative, for the further columns may be any. Ask for "
            "full_matrices=False.",
        )
    v, ut, k = turned(vt), turned(u), min(m, n)
    moved = matmul(t, v)
    inner = matmul(ut, moved)
    off = not_(on_diagonal(inner))
    rows, columns = along_rows(s, k), along_columns(s, k)
    gaps = mul(select(off, sub(columns, rows), 1.0), add(columns, rows))
    across = turned(inner)
    of_u = masked(div(add(mul(inner, columns), mul(rows, across)), gaps), off)
    of_v = masked(div(add(mul(rows, inner), mul(across, columns)), gaps), off)
    du, dv = matmul(u, of_u), matmul(v, of_v)
    if m > n:
        du = add(du, _divided(sub(moved, matmul(u, inner)), s))
    if n > m:
        beside = matmul(turned(t), u)
        dv = add(dv, _divided(sub(beside, matmul(v, matmul(vt, beside))), s))
    return [du, products_of_columns(u, moved), turned(dv)]


def _divided(x: Ref, s: Ref) -> Ref:
    return div(x, along_columns(s, x.shape[-2]))


def _lowering(types: tuple[OperandType, ...], params: dict[str, Any]) -> Routine:
    sizes = stack(types[0]), *types[0].shape[-2:], int(params["full"])
    return Routine("svd", sizes, alone="svdvals", as_graph=partial(jacobi.svd, full=params["full"]))


def _samples(rng: np.random.Generator, dtype: Any) -> Any:
    shapes = [(1, 1), (4, 3), (2, 3, 3), (3, 4), (0, 0), (0, 3, 2), (2, 0, 3), (3, 0)]
    for full in (False, True):
        for sample in matrices(shapes, lambda x: x + 2 * _staircase(x), full=full)(rng, dtype):
            m, n = sample.operands[0].shape[-2:]
            yield sample._replace(differentiable=m == n or not full)


def _staircase(x: Array) -> Array:
    """A diagonal with singular values far from each other."""
    return np.eye(*x.shape[-2:]) * np.arange(1, x.shape[-1] + 1)


svd = Primitive(
    "svd",
    "``u, s, vt`` with ``a == (u * s) @ vt``, singular values descending; ``u`` and ``vt`` are square if ``full``. "
    "All nan, where an element is not finite.",
    _type,
    _reference,
    {"full": BOOL},
    jvp=_jvp,
    batch=lambda _size, _batched, a, *, full: svd(a, full=full),
    lowering=_lowering,
    samples=_samples,
    errors=matrix_errors({"full": False}, square=False),
    tolerance=256.0,
    multiple=True,
    alone=((1,), _values),
)
