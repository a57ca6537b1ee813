"""`cholesky_tangent` and `cholesky_adjoint`: the derivative of a Cholesky factor, and its transpose.

With ``A = L L^T``, ``dL = L phi(L^-1 dA L^-T)``, where ``phi`` takes the lower triangle and half of the diagonal [1]_.
For a cotangent ``C`` of ``L``, that of ``A`` is ``phi(N)``, with ``N = M + M^T`` and ``M = L^-T phi(L^T C) L^-1``.

Each is linear in its second operand, and the other is its transpose. Along the factor both are differentiated as these
formulae:

- of ``T = L phi(P)``, ``dT = dL phi(P) - L phi(S + S^T)``, with ``S = L^-1 dL P``;
- of the adjoint, ``dN = L^-T (G + G^T) L^-1``, with ``G = phi(dL^T C) - dL^T N L``.

.. [1] I. Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527, 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64
from graphad.primitives.arithmetic import add, mul, sub
from graphad.primitives.layout import all_batched
from graphad.primitives.linalg.matrices import (
    Array,
    check_matrix,
    lower,
    masked,
    matmul,
    on_diagonal,
    stack,
    symmetric,
    turned,
)
from graphad.primitives.linalg.triangular_solve import solve


def _type(name: str, factor: OperandType, x: OperandType) -> Aval:
    check_matrix(name, factor, square=True)
    if (x.shape, x.dtype) != (factor.shape, factor.dtype):
        raise TypeError(f"{name} got {factor} and {x}; both operands must have one type.")
    return aval(factor.shape, factor.dtype)


def half_lower(x: Ref) -> Ref:
    """The lower triangle, with half of the diagonal."""
    triangle = lower(x)
    return sub(triangle, mul(masked(triangle, on_diagonal(x)), 0.5))


def _with_turned(x: Ref) -> Ref:
    return add(x, turned(x))


# ---------------------------------------------------------------------------------------------------------------------
# References


def _turned(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


def _half_lower(x: Array) -> Array:
    return np.tril(x, -1) + 0.5 * (np.tril(x) - np.tril(x, -1))


def _tangent(factor: Any, t: Any) -> Array:
    factor, t = np.tril(factor), np.asarray(t)
    left = solve(factor, np.tril(t) + _turned(np.tril(t, -1)), left=True, lower=True)
    both = solve(factor, _turned(left), left=True, lower=True)
    return (factor @ _half_lower(both)).astype(t.dtype)


def _adjoint(factor: Any, ct: Any) -> Array:
    factor, ct = np.tril(factor), np.tril(ct)
    left = solve(factor, _half_lower(_turned(factor) @ ct), left=True, lower=True, transposed=True)
    both = solve(factor, left, left=False, lower=True)
    return _half_lower(both + _turned(both)).astype(ct.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# As graphs


def _tangent_as_graph(factor: Ref, t: Ref) -> list[Ref]:
    left = solve(factor, symmetric(t), left=True, lower=True)
    both = solve(factor, turned(left), left=True, lower=True)
    return [matmul(lower(factor), half_lower(both))]


def _adjoint_as_graph(factor: Ref, ct: Ref) -> list[Ref]:
    left = half_lower(matmul(turned(lower(factor)), lower(ct)))
    left = solve(factor, left, left=True, lower=True, transposed=True)
    return [half_lower(_with_turned(solve(factor, left, left=False, lower=True)))]


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives by the factor


def _tangent_along(d: Ref, factor: Ref, _t: Ref, out: Ref) -> Ref:
    d = lower(d)
    half = solve(factor, out, left=True, lower=True)
    inner = matmul(solve(factor, d, left=True, lower=True), _with_turned(half))
    return sub(matmul(d, half), matmul(lower(factor), half_lower(_with_turned(inner))))


def _adjoint_along(d: Ref, factor: Ref, ct: Ref, out: Ref) -> Ref:
    of_rows = turned(lower(d))
    inner = matmul(of_rows, matmul(_with_turned(out), lower(factor)))
    both = _with_turned(sub(half_lower(matmul(of_rows, lower(ct))), inner))
    left = solve(factor, both, left=True, lower=True, transposed=True)
    return half_lower(solve(factor, left, left=False, lower=True))


# ---------------------------------------------------------------------------------------------------------------------


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype in (f32, f64):
        for k, shape in enumerate([(1, 1), (3, 3), (0, 0), (2, 0, 0), (0, 3, 3), (2, 3, 5, 5), (35, 35)]):
            n = shape[-1]
            factor, x = rng.normal(size=shape) / max(n, 1) + 2 * np.eye(n), rng.normal(size=shape)
            arrays = [y.astype(dtype.numpy) for y in (factor, x)]
            yield Sample((np.asfortranarray(arrays[0]) if k % 2 else arrays[0], arrays[1]))


_SHARED: Final[dict[str, Any]] = {
    "linear": (1,),
    "samples": _samples,
    "errors": (
        ErrorSample((aval((3,), f32), aval((3,), f32)), {}, "takes a matrix"),
        ErrorSample((aval((2, 3), f32), aval((2, 3), f32)), {}, "must be square"),
        ErrorSample((aval((3, 3), f32), aval((3, 3), f64)), {}, "must have one type"),
    ),
    "tolerance": 128.0,
}

cholesky_tangent = Primitive(
    "cholesky_tangent",
    "The derivative of the Cholesky factor ``factor`` along a matrix. Of both the lower triangle is read; above, the "
    "result is zero.",
    lambda factor, t: _type("cholesky_tangent", factor, t),
    _tangent,
    jvp=(_tangent_along, lambda d, factor, _t, _out: cholesky_tangent(factor, d)),
    transpose={1: lambda ct, factor, _t: cholesky_adjoint(factor, ct)},
    batch=lambda size, batched, *operands: cholesky_tangent(*all_batched(size, batched, operands)),
    lowering=lambda types, _params: Routine(
        "cholesky_tangent", (stack(types[0]), types[0].shape[-1]), as_graph=_tangent_as_graph
    ),
    **_SHARED,
)

cholesky_adjoint = Primitive(
    "cholesky_adjoint",
    "The cotangent of the matrix whose Cholesky factor is ``factor``, for one of the factor. Of both the lower "
    "triangle is read; above, the result is zero.",
    lambda factor, ct: _type("cholesky_adjoint", factor, ct),
    _adjoint,
    jvp=(_adjoint_along, lambda d, factor, _ct, _out: cholesky_adjoint(factor, d)),
    transpose={1: lambda ct, factor, _ct: cholesky_tangent(factor, ct)},
    batch=lambda size, batched, *operands: cholesky_adjoint(*all_batched(size, batched, operands)),
    lowering=lambda types, _params: Routine(
        "cholesky_adjoint", (stack(types[0]), types[0].shape[-1]), as_graph=_adjoint_as_graph
    ),
    **_SHARED,
)
