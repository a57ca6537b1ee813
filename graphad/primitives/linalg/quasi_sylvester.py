"""`quasi_sylvester` and `quasi_sqrt`: Sylvester equations and square roots of quasi-triangular matrices.

Of ``P X + X Q = C``, ``dX`` solves the same equation with ``dC - dP X - X dQ`` on the right, and of ``R R = T``, ``dR``
solves ``R dR + dR R = dT``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.params import BOOL
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64, i32
from graphad.primitives.arithmetic import neg
from graphad.primitives.layout import all_batched
from graphad.primitives.linalg.matrices import Array, check_matrix, matmul, stack, turned
from graphad.primitives.linalg.quasi_triangular import (
    check_pairs,
    cleaned,
    diagonal_blocks,
    quasi_upper,
    random_factor,
    sylvester_by_kronecker,
)

# ---------------------------------------------------------------------------------------------------------------------
# quasi_sylvester


def _type(
    p: OperandType, p_pairs: OperandType, q: OperandType, q_pairs: OperandType, c: OperandType, *, across: bool
) -> Aval:
    del across
    for factor, pairs in ((p, p_pairs), (q, q_pairs)):
        check_matrix("quasi_sylvester", factor, square=True)
        check_pairs("quasi_sylvester", factor, pairs)
    fits = p.shape[:-2] == q.shape[:-2] and c.shape == (*p.shape[:-1], q.shape[-1])
    if not fits or not p.dtype is q.dtype is c.dtype:
        raise ValueError(
            f"quasi_sylvester got {p}, {q} and {c}; the last one has the rows of the first one and the columns of the "
            "second one, and leading axes and dtypes are alike."
        )
    return aval(c.shape, c.dtype)


def _solved(p: Array, q: Array, q_pairs: Array, c: Array, across: bool) -> Array:
    """Block column by block column: from the left, and with transposes from the right."""
    x = np.zeros_like(c)
    blocks = diagonal_blocks(q_pairs)
    for block in reversed(blocks) if across else blocks:
        if across:
            right = c[:, block] - x[:, block.stop :] @ q[block, block.stop :].T
            x[:, block] = sylvester_by_kronecker(p.T, q[block, block].T, right)
        else:
            right = c[:, block] - x[:, : block.start] @ q[: block.start, block]
            x[:, block] = sylvester_by_kronecker(p, q[block, block], right)
    return x


def _reference(*operands: Any, across: bool) -> Array:
    p, p_pairs, q, q_pairs, c = map(np.asarray, operands)
    out = np.empty(c.shape, c.dtype)
    for at in np.ndindex(*c.shape[:-2]):
        try:
            out[at] = _solved(cleaned(p[at], p_pairs[at]), cleaned(q[at], q_pairs[at]), q_pairs[at], c[at], across)
        except np.linalg.LinAlgError:
            out[at] = np.nan
    return out


def _by_left(s: Ref, p: Ref, p_pairs: Ref, q: Ref, q_pairs: Ref, _c: Ref, x: Ref, *, across: bool) -> Ref:
    change = quasi_upper(s, p_pairs)
    product = matmul(turned(change) if across else change, x)
    return neg(quasi_sylvester(p, p_pairs, q, q_pairs, product, across=across))


def _by_right(s: Ref, p: Ref, p_pairs: Ref, q: Ref, q_pairs: Ref, _c: Ref, x: Ref, *, across: bool) -> Ref:
    change = quasi_upper(s, q_pairs)
    product = matmul(x, turned(change) if across else change)
    return neg(quasi_sylvester(p, p_pairs, q, q_pairs, product, across=across))


def _lowering(types: tuple[OperandType, ...], params: dict[str, Any]) -> Routine:
    return Routine("quasi_sylvester", (stack(types[4]), *types[4].shape[-2:], int(params["across"])))


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype not in (f32, f64):
        return
    shapes = [(1, 1), (3, 2), (2, 2, 5), (0, 0), (0, 2, 3), (3, 0), (5, 4)]
    for k, (*leading, m, n) in enumerate(shapes):
        p, p_pairs = random_factor(rng, (*leading, m, m), dtype.numpy)
        q, q_pairs = random_factor(rng, (*leading, n, n), dtype.numpy)
        c = rng.normal(size=(*leading, m, n)).astype(dtype.numpy)
        for across in (False, True):
            yield Sample((p, p_pairs, q, q_pairs, np.asfortranarray(c) if k % 2 else c), {"across": across})


def _wrong(p: Any, pairs: Any, c: Any, message: str) -> ErrorSample:
    operands = aval(p, f32), aval(pairs, i32), aval((2, 2), f32), aval((2,), i32), c
    return ErrorSample(operands, {"across": False}, message)


quasi_sylvester = Primitive(
    "quasi_sylvester",
    "``x`` with ``p @ x + x @ q == c``, where ``p`` and ``q`` are quasi-triangular, both transposed if ``across``. nan "
    "where an eigenvalue of ``p`` is one of ``-q``.",
    _type,
    _reference,
    {"across": BOOL},
    jvp=(
        _by_left,
        None,
        _by_right,
        None,
        lambda s, p, p_pairs, q, q_pairs, _c, _x, *, across: quasi_sylvester(p, p_pairs, q, q_pairs, s, across=across),
    ),
    linear=(4,),
    transpose={
        4: lambda ct, p, p_pairs, q, q_pairs, _c, *, across: quasi_sylvester(
            p, p_pairs, q, q_pairs, ct, across=not across
        )
    },
    batch=lambda size, batched, *operands, across: quasi_sylvester(
        *all_batched(size, batched, operands), across=across
    ),
    lowering=_lowering,
    samples=_samples,
    errors=(
        _wrong((2, 3), (2,), aval((2, 2), f32), "must be square"),
        _wrong((3, 3), (2,), aval((3, 2), f32), "must be i32[3]"),
        _wrong((3, 3), (3,), aval((2, 2), f32), "the rows of the first one"),
        _wrong((3, 3), (3,), aval((3, 2), f64), "dtypes are alike"),
    ),
    tolerance=256.0,
)

# ---------------------------------------------------------------------------------------------------------------------
# quasi_sqrt


def _root_type(t: OperandType, pairs: OperandType) -> Aval:
    check_matrix("quasi_sqrt", t, square=True)
    check_pairs("quasi_sqrt", t, pairs)
    return aval(t.shape, t.dtype)


def _root_of_block(block: Array) -> Array:
    if len(block) == 1:
        return np.sqrt(block)
    mean, apart = np.mean(np.diag(block)), (block[0, 0] - block[1, 1]) / 2
    real = np.sqrt(mean + 1j * np.sqrt(-(apart**2) - block[0, 1] * block[1, 0])).real
    one = np.eye(2, dtype=block.dtype)
    return real * one + (block - mean * one) / (2 * real)


def _root(t: Array, pairs: Array) -> Array:
    """Block column by block column; J. Bjorck and S. Hammarling's recurrence."""
    t, r = cleaned(t, pairs), np.zeros_like(t)
    for block in diagonal_blocks(pairs):
        above = slice(0, block.start)
        r[block, block] = _root_of_block(t[block, block])
        r[above, block] = sylvester_by_kronecker(r[above, above], r[block, block], t[above, block])
    return r


def _root_reference(t: Any, pairs: Any) -> Array:
    t, pairs = np.asarray(t), np.asarray(pairs)
    out = np.empty(t.shape, t.dtype)
    for at in np.ndindex(*t.shape[:-2]):
        try:
            with np.errstate(all="ignore"):
                out[at] = _root(t[at], pairs[at])
        except np.linalg.LinAlgError:
            out[at] = np.nan
        if np.isnan(np.diagonal(out[at])).any():
            out[at] = np.nan
    return out


def _root_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype in (f32, f64):
        for shape in [(1, 1), (3, 3), (2, 5, 5), (0, 0), (2, 0, 0), (0, 3, 3), (6, 6)]:
            yield Sample(random_factor(rng, shape, dtype.numpy))
        t, pairs = random_factor(rng, (2, 3, 3), dtype.numpy)
        t[0, 2, 2] = -1
        yield Sample((t, pairs), differentiable=False)


quasi_sqrt = Primitive(
    "quasi_sqrt",
    "The quasi-triangular ``r`` with ``r @ r == t`` whose eigenvalues have no negative real parts, of quasi-triangular "
    "``t``. All nan, where an eigenvalue is a negative number.",
    _root_type,
    _root_reference,
    jvp=(
        lambda s, _t, pairs, r: quasi_sylvester(r, pairs, r, pairs, quasi_upper(s, pairs), across=False),
        None,
    ),
    batch=lambda size, batched, t, pairs: quasi_sqrt(*all_batched(size, batched, (t, pairs))),
    lowering=lambda types, _params: Routine("quasi_sqrt", (stack(types[0]), types[0].shape[-1])),
    samples=_root_samples,
    errors=(
        ErrorSample((aval((2, 3), f32), aval((2,), i32)), {}, "must be square"),
        ErrorSample((aval((3, 3), f32), aval((2,), i32)), {}, "must be i32[3]"),
    ),
    tolerance=256.0,
)
