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
    diagonal_blocks,
    quasi_upper,
    random_factor,
    sylvester_by_kronecker,
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


def _rate_of(t: Array, pairs: Array, m: Array, across: bool) -> Array:
    """Block column by block column: from the left, and of the transposed map from the right."""
    t, x, n = cleaned(t, pairs), np.zeros_like(m), len(t)
    blocks = diagonal_blocks(pairs)
    if across:
        for block in blocks:
            if block.stop - block.start == 2:
                p, q = block.start, block.stop - 1
                x[p, p] = -m[q, p] / (2 * (t[p, q] + t[q, p]))
                x[q, q] = -x[p, p]
    for block in reversed(blocks) if across else blocks:
        below = slice(block.stop, n)
        if across:
            right = -m[below, block] - t[block, below].T @ x[block, block] + x[below, below] @ t[block, below].T
            x[below, block] = sylvester_by_kronecker(t[below, below].T, -t[block, block].T, right)
        else:
            right = x[below, : block.start] @ t[: block.start, block] - m[below, block]
            x[below, block] = sylvester_by_kronecker(t[below, below], -t[block, block], right)
    for block in () if across else blocks:
        if block.stop - block.start == 2:
            p, q = block.start, block.stop - 1
            w = np.tril(x, -1) - np.tril(x, -1).T
            change = m + t @ w - w @ t
            x[q, p] = (change[q, q] - change[p, p]) / (2 * (t[p, q] + t[q, p]))
    return x


def _rate_reference(t: Any, pairs: Any, m: Any, *, across: bool) -> Array:
    t, pairs, m = np.asarray(t), np.asarray(pairs), np.asarray(m)
    out = np.zeros_like(t)
    for at in np.ndindex(*t.shape[:-2]):
        try:
            with np.errstate(all="ignore"):
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


def _type(a: OperandType) -> tuple[Aval, ...]:
    check_matrix("schur", a, square=True)
    return aval(a.shape, a.dtype), aval(a.shape, a.dtype), aval(a.shape[:-1], i32)


def _reference(a: Any) -> tuple[Array, ...]:
    a = np.asarray(a)
    return tuple(routine("schur", [a], [a.shape, a.shape, a.shape[:-1]], (stack(a), a.shape[-1])))


def _jvp(tangents: Sequence[Ref], _operands: Any, outputs: Sequence[Ref]) -> list[Ref | None]:
    z, t, pairs = outputs
    m = matmul(turned(z), matmul(tangents[0], z))
    x = schur_rate(t, pairs, m, across=False)
    w = sub(x, turned(x))
    return [matmul(z, w), quasi_upper(add(m, commutator(t, w)), pairs), None]


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    """Matrices with real and with complex eigenvalues."""
    shapes = [(1, 1), (3, 3), (2, 4, 4), (0, 0), (2, 0, 0), (0, 3, 3), (6, 6)]
    yield from matrices(shapes, lambda x: x + np.diag(3.0 * np.arange(x.shape[-1])))(rng, dtype)
    yield from matrices([(2, 2), (5, 5)], lambda x: x + np.triu(2 + x))(rng, dtype)


schur = Primitive(
    "schur",
    "``z, t, pairs`` with ``a == z @ t @ z.T`` and ``z.T @ z == 1``; ``t`` is quasi-triangular: upper triangular but "
    "for one block of two rows for each pair of conjugate eigenvalues, with equal elements on its diagonal and the "
    "greater one above. ``pairs`` is 1 where a block begins. Columns of ``z`` have signs as those of `eigh`. All nan, "
    "where an element is not finite.",
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
