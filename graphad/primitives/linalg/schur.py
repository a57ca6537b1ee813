"""`schur`: orthogonal matrices that make others quasi-triangular; `schur_rate`, by which they are differentiated.

With ``A = Z T Z^T``, ``W = Z^T dZ`` is skew-symmetric, and ``dT = M + T W - W T`` with ``M = Z^T dA Z``. That ``dT``
has the form of ``T`` says as many linear equations as ``W`` has elements below the diagonal: ``dT`` is zero below the
diagonal blocks, which gives one small Sylvester equation for each pair of blocks, solved from the lower left corner
on; and in a block of two rows, the elements on the diagonal remain equal, as LAPACK's standard form has them. So there
are derivatives where all eigenvalues differ, and no block is a multiple of a rotation: then any rotation in its plane
gives it the same form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.params import BOOL
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64, i32
from graphad.primitives.arithmetic import add, sub
from graphad.primitives.layout import all_batched
from graphad.primitives.linalg.matrices import (
    Array,
    check_matrix,
    matmul,
    matrices,
    matrix_errors,
    stack,
    turned,
)
from graphad.primitives.linalg.quasi_triangular import (
    check_pairs,
    cleaned,
    commutator,
    pairs_of,
    quasi_upper,
    random_factor,
)
from graphad.primitives.reference import routine

# ---------------------------------------------------------------------------------------------------------------------
# schur_rate


def _rate_type(t: OperandType, pairs: OperandType, m: OperandType, *, across: bool) -> Aval:
    del across
    check_matrix("schur_rate", t, square=True)
    check_pairs("schur_rate", t, pairs)
    if m.shape != t.shape or m.dtype is not t.dtype:
        raise ValueError(f"schur_rate got {t} and {m}; both must have one type.")
    return aval(t.shape, t.dtype)


def _conditions(x: Array, pairs: Array) -> Array:
    """What must be zero: all below the diagonal blocks, and in blocks the difference on the diagonal."""
    found = np.tril(x, -1)
    for i in np.flatnonzero(pairs[: len(x) - 1]):
        found[i + 1, i] = x[i, i] - x[i + 1, i + 1]
    return found


def _rate_of(t: Array, pairs: Array, m: Array, across: bool) -> Array:
    """By the matrix of the equations."""
    t, n = cleaned(t, pairs), len(t)
    below = np.tril_indices(n, -1)
    columns, selected = [], []
    for i, j in zip(*below, strict=True):
        w = np.zeros_like(t)
        w[i, j], w[j, i] = 1, -1
        columns.append(_conditions(t @ w - w @ t, pairs)[below])
    for k in range(n * n):
        unit = np.zeros(n * n, t.dtype)
        unit[k] = 1
        selected.append(_conditions(unit.reshape(n, n), pairs)[below])
    matrix, reading = np.array(columns).T, np.array(selected).T
    if across:
        return -(reading.T @ np.linalg.solve(matrix.T, m[below])).reshape(n, n)
    found = np.zeros_like(t)
    found[below] = -np.linalg.solve(matrix, reading @ m.ravel())
    return found


def _rate_reference(t: Any, pairs: Any, m: Any, *, across: bool) -> Array:
    t, pairs, m = np.asarray(t), np.asarray(pairs), np.asarray(m)
    out = np.zeros_like(t)
    for at in np.ndindex(*t.shape[:-2]):
        if t.shape[-1] > 1:
            try:
                out[at] = _rate_of(t[at], pairs[at], m[at], across)
            except np.linalg.LinAlgError:
                out[at] = np.nan
    return out


def _rate_by_factor(s: Ref, t: Ref, pairs: Ref, _m: Ref, x: Ref, *, across: bool) -> Ref:
    change = quasi_upper(s, pairs)
    if not across:
        return schur_rate(t, pairs, commutator(change, sub(x, turned(x))), across=False)
    moved = commutator(turned(change), x)
    return schur_rate(t, pairs, sub(moved, turned(moved)), across=True)


def _rate_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype in (f32, f64):
        for k, shape in enumerate([(1, 1), (3, 3), (2, 5, 5), (0, 0), (2, 0, 0), (0, 3, 3), (6, 6)]):
            t, pairs = random_factor(rng, shape, dtype.numpy)
            m = rng.normal(size=shape).astype(dtype.numpy)
            for across in (False, True):
                yield Sample((t, pairs, np.asfortranarray(m) if k % 2 else m), {"across": across})


schur_rate = Primitive(
    "schur_rate",
    "The strict lower triangle of the skew-symmetric ``w`` with which ``m + t @ w - w @ t`` has the form of the "
    "quasi-triangular ``t``: zeros below its diagonal blocks, which begin where ``pairs`` is not zero if they have "
    "two rows, and these two equal elements on the diagonal. The transpose of this map of ``m`` if ``across``.",
    _rate_type,
    _rate_reference,
    {"across": BOOL},
    jvp=(_rate_by_factor, None, lambda s, t, pairs, _m, _x, *, across: schur_rate(t, pairs, s, across=across)),
    linear=(2,),
    transpose={2: lambda ct, t, pairs, _m, *, across: schur_rate(t, pairs, ct, across=not across)},
    batch=lambda size, batched, t, pairs, m, *, across: schur_rate(
        *all_batched(size, batched, (t, pairs, m)), across=across
    ),
    lowering=lambda types, params: Routine("schur_rate", (stack(types[0]), types[0].shape[-1], int(params["across"]))),
    samples=_rate_samples,
    errors=(
        ErrorSample((aval((2, 3), f32), aval((2,), i32), aval((2, 3), f32)), {"across": False}, "must be square"),
        ErrorSample((aval((3, 3), f32), aval((2,), i32), aval((3, 3), f32)), {"across": False}, "must be i32[3]"),
        ErrorSample((aval((3, 3), f32), aval((3,), i32), aval((3, 2), f32)), {"across": True}, "must have one type"),
    ),
    tolerance=512.0,
)

# ---------------------------------------------------------------------------------------------------------------------
# schur


def _type(a: OperandType) -> tuple[Aval, Aval]:
    check_matrix("schur", a, square=True)
    return aval(a.shape, a.dtype), aval(a.shape, a.dtype)


def _reference(a: Any) -> tuple[Array, ...]:
    a = np.asarray(a)
    return tuple(routine("schur", [a], [a.shape, a.shape], (stack(a), a.shape[-1])))


def _jvp(tangents: Sequence[Ref], _operands: Any, outputs: Sequence[Ref]) -> list[Ref]:
    z, t = outputs
    pairs = pairs_of(t)
    m = matmul(turned(z), matmul(tangents[0], z))
    x = schur_rate(t, pairs, m, across=False)
    w = sub(x, turned(x))
    return [matmul(z, w), quasi_upper(add(m, commutator(t, w)), pairs)]


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    """Matrices with real and with complex eigenvalues."""
    shapes = [(1, 1), (3, 3), (2, 4, 4), (0, 0), (2, 0, 0), (0, 3, 3), (6, 6)]
    yield from matrices(shapes, lambda x: x + np.diag(3.0 * np.arange(x.shape[-1])))(rng, dtype)
    yield from matrices([(2, 2), (5, 5)], lambda x: x + np.triu(2 + x))(rng, dtype)


schur = Primitive(
    "schur",
    "``z, t`` with ``a == z @ t @ z.T`` and ``z.T @ z == 1``; ``t`` is quasi-triangular: upper triangular but for one "
    "block of two rows for each pair of conjugate eigenvalues, with equal elements on its diagonal and the greater one "
    "above. Columns of ``z`` have signs as those of `eigh`. All nan, where an element is not finite.",
    _type,
    _reference,
    jvp=_jvp,
    batch=lambda _size, _batched, a: schur(a),
    lowering=lambda types, _params: Routine("schur", (stack(types[0]), types[0].shape[-1])),
    samples=_samples,
    errors=matrix_errors({}, square=True),
    tolerance=256.0,
    multiple=True,
)
