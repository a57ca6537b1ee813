"""`hessenberg`: Hessenberg forms, also as reflectors; `hessenberg_rate`, by which they are differentiated.

With ``A = Q H Q^T``, ``W = Q^T dQ`` is skew-symmetric and has a first column of zeros, as ``Q`` has the first column of
the identity, and ``dH = M + H W - W H`` with ``M = Q^T dA Q``. That ``dH`` is zero below the subdiagonal gives each
column of ``W`` from those before it, divided by an element on the subdiagonal of ``H``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.params import BOOL
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64
from graphad.primitives.arithmetic import add, sub
from graphad.primitives.layout import all_batched
from graphad.primitives.linalg import reflections
from graphad.primitives.linalg.matrices import (
    Array,
    check_matrix,
    each_matrix,
    matmul,
    matrices,
    matrix_errors,
    stack,
    turned,
)
from graphad.primitives.linalg.quasi_triangular import commutator, hessenberg_part

# ---------------------------------------------------------------------------------------------------------------------
# hessenberg_rate


def _rate_type(h: OperandType, m: OperandType, *, across: bool) -> Aval:
    del across
    check_matrix("hessenberg_rate", h, square=True)
    if m.shape != h.shape or m.dtype is not h.dtype:
        raise ValueError(f"hessenberg_rate got {h} and {m}; both must have one type.")
    return aval(h.shape, h.dtype)


def _rate_of(h: Array, m: Array, across: bool) -> Array:
    """Column by column: from the left, and of the transposed map from the right."""
    h, x, n = np.triu(h, -1), np.zeros_like(m), len(h)
    with np.errstate(all="ignore"):
        for j in reversed(range(1, n - 1)) if across else range(n - 2):
            if across:
                total = m[:, j] + h.T @ x[:, j] - x[:, j:] @ h[j, j:]
                x[j + 1 :, j - 1] = total[j + 1 :] / h[j, j - 1]
            else:
                total = m[:, j] + h @ x[:, j] - x[:, : j + 1] @ h[: j + 1, j]
                x[j + 2 :, j + 1] = total[j + 2 :] / h[j + 1, j]
    return x


def _rate_reference(h: Any, m: Any, *, across: bool) -> Array:
    h, m = np.asarray(h), np.asarray(m)
    out = np.zeros_like(h)
    for at in np.ndindex(*h.shape[:-2]):
        out[at] = _rate_of(h[at], m[at], across)
    return out


def _rate_by_form(s: Ref, h: Ref, _m: Ref, x: Ref, *, across: bool) -> Ref:
    change = hessenberg_part(s)
    if not across:
        return hessenberg_rate(h, commutator(change, sub(x, turned(x))), across=False)
    moved = commutator(turned(change), x)
    return hessenberg_rate(h, sub(moved, turned(moved)), across=True)


def _rate_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype in (f32, f64):
        for k, shape in enumerate([(1, 1), (3, 3), (2, 5, 5), (0, 0), (2, 0, 0), (0, 3, 3), (6, 6)]):
            h = (rng.normal(size=shape) + np.eye(shape[-1], k=-1) * 4).astype(dtype.numpy)
            m = rng.normal(size=shape).astype(dtype.numpy)
            for across in (False, True):
                yield Sample((h, np.asfortranarray(m) if k % 2 else m), {"across": across})


hessenberg_rate = Primitive(
    "hessenberg_rate",
    "The strict lower triangle of the skew-symmetric ``w``, with a first column of zeros, with which "
    "``m + h @ w - w @ h`` is zero below the subdiagonal, as ``h`` is. If ``across``: its transpose in ``m``.",
    _rate_type,
    _rate_reference,
    {"across": BOOL},
    jvp=(_rate_by_form, lambda s, h, _m, _x, *, across: hessenberg_rate(h, s, across=across)),
    linear=(1,),
    transpose={1: lambda ct, h, _m, *, across: hessenberg_rate(h, ct, across=not across)},
    batch=lambda size, batched, h, m, *, across: hessenberg_rate(*all_batched(size, batched, (h, m)), across=across),
    lowering=lambda types, params: Routine(
        "hessenberg_rate",
        (stack(types[0]), types[0].shape[-1], int(params["across"])),
        as_graph=partial(reflections.hessenberg_rate, **params),
    ),
    samples=_rate_samples,
    errors=(
        ErrorSample((aval((2, 3), f32), aval((2, 3), f32)), {"across": False}, "must be square"),
        ErrorSample((aval((3, 3), f32), aval((3, 2), f32)), {"across": True}, "must have one type"),
    ),
    tolerance=512.0,
)

# ---------------------------------------------------------------------------------------------------------------------
# hessenberg


def _type(a: OperandType) -> tuple[Aval, Aval]:
    check_matrix("hessenberg", a, square=True)
    return aval(a.shape, a.dtype), aval(a.shape, a.dtype)


def _reduced(a: Array, of_q: bool = False) -> tuple[Array, Array, Array, Array]:
    """By one reflector for each column; a column that has the form already is left alone. ``q`` is made if ``of_q``."""
    h, n = a.copy(), len(a)
    q, packed, taus = np.eye(n, dtype=a.dtype), np.zeros_like(a), np.zeros(max(n - 1, 0), a.dtype)
    for k in range(n - 2):
        x = h[k + 1 :, k].copy()
        if x[1:].any():
            beta = -np.copysign(np.linalg.norm(x), x[0])
            taus[k] = (beta - x[0]) / beta
            v = np.concatenate([[1], x[1:] / (x[0] - beta)]).astype(a.dtype)
            h[k + 1 :] -= taus[k] * np.outer(v, v @ h[k + 1 :])
            h[:, k + 1 :] -= taus[k] * np.outer(h[:, k + 1 :] @ v, v)
            if of_q:
                q[:, k + 1 :] -= taus[k] * np.outer(q[:, k + 1 :] @ v, v)
            packed[k + 2 :, k] = v[1:]
    return q, np.triu(h, -1), packed, taus


def _reference(a: Any) -> tuple[Array, ...]:
    a = np.asarray(a)
    return tuple(each_matrix(lambda x: _reduced(x, of_q=True)[:2], a, shapes=[a.shape[-2:]] * 2))


def _form(a: Any) -> tuple[Array, ...]:
    a = np.asarray(a)
    return tuple(each_matrix(lambda x: _reduced(x)[1], a, shapes=[a.shape[-2:]]))


def _jvp(tangents: Sequence[Ref], _operands: Any, outputs: Sequence[Ref]) -> list[Ref]:
    q, h = outputs
    m = matmul(turned(q), matmul(tangents[0], q))
    x = hessenberg_rate(h, m, across=False)
    w = sub(x, turned(x))
    return [matmul(q, w), hessenberg_part(add(m, commutator(h, w)))]


hessenberg = Primitive(
    "hessenberg",
    "``q, h`` with ``a == q @ h @ q.T`` and ``q.T @ q == 1``; ``h`` is upper triangular but for the elements just "
    "below the diagonal, which have LAPACK's signs, and the first column of ``q`` is that of the identity.",
    _type,
    _reference,
    jvp=_jvp,
    batch=lambda _size, _batched, a: hessenberg(a),
    lowering=lambda types, _params: Routine(
        "hessenberg",
        (stack(types[0]), types[0].shape[-1]),
        alone="hessenberg_form",
        as_graph=reflections.hessenberg,
    ),
    samples=matrices([(1, 1), (2, 2), (3, 3), (2, 4, 4), (0, 0), (2, 0, 0), (0, 3, 3), (7, 7)]),
    errors=matrix_errors({}, square=True),
    tolerance=256.0,
    multiple=True,
    alone=((1,), _form),
)

# ---------------------------------------------------------------------------------------------------------------------
# hessenberg_reflectors


def _reflectors_type(a: OperandType) -> tuple[Aval, Aval]:
    check_matrix("hessenberg_reflectors", a, square=True)
    return aval(a.shape, a.dtype), aval((*a.shape[:-2], max(a.shape[-1] - 1, 0)), a.dtype)


def _reflectors(a: Array) -> tuple[Array, Array]:
    _, h, packed, taus = _reduced(a)
    return h + packed, taus


def _reflectors_reference(a: Any) -> tuple[Array, ...]:
    a = np.asarray(a)
    n = a.shape[-1]
    return tuple(each_matrix(_reflectors, a, shapes=[(n, n), (max(n - 1, 0),)]))


hessenberg_reflectors = Primitive(
    "hessenberg_reflectors",
    "``packed, taus``: the ``h`` of `hessenberg` and, below its subdiagonal, the reflectors of which, from the second "
    "row on, ``q`` is the `householder_product`.",
    _reflectors_type,
    _reflectors_reference,
    nondifferentiable="lax.linalg.hessenberg gives reflectors, which have no derivatives here. Use "
    "scipy.linalg.hessenberg(a, calc_q=True), whose results have",
    batch=lambda _size, _batched, a: hessenberg_reflectors(a),
    lowering=lambda types, _params: Routine(
        "hessenberg_reflectors", (stack(types[0]), types[0].shape[-1]), as_graph=reflections.hessenberg_reflectors
    ),
    samples=matrices([(1, 1), (2, 2), (3, 3), (2, 4, 4), (0, 0), (2, 0, 0), (0, 3, 3), (7, 7)]),
    errors=matrix_errors({}, square=True),
    tolerance=256.0,
    multiple=True,
)
