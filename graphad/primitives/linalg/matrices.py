"""What rules of factorizations are written with: products, triangles and diagonals of stacks of matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import Any, Final

import numpy as np

from graphad.errors import DifferentiationError, LoweringError, at
from graphad.ir.loc import user_line
from graphad.ir.primitive import ErrorSample, Sample, SampleMaker
from graphad.ir.ref import Ref
from graphad.ir.types import DType, OperandType, aval, f32, f64, i32
from graphad.primitives.arithmetic import add, mul
from graphad.primitives.cast import convert
from graphad.primitives.comparison import eq, ge, gt, le, lt, select
from graphad.primitives.contract import dot_general
from graphad.primitives.families_shape import Array, Shape, builder_of
from graphad.primitives.layout import broadcast, positions, reduce_sum, transpose

#: Matrices of no more rows and columns are written out, element by element (the pass `unroll_matrices`)...
SMALL: Final = 8
#: ...and of so many in long stacks: 1.7 to 9 times as fast as LAPACK with 12 rows, value or gradient, for up to two
#: or three seconds of compiling (the gradient of an inverse). QR stops at 8.
SMALL_IN_STACKS: Final = 12
LONG_STACK: Final = 256
#: Where there is no LAPACK, graphs stand for routines on matrices of so many rows and columns at most (the pass
#: `routines_as_graphs`): they take as many turns.
LARGEST: Final = 128

# ---------------------------------------------------------------------------------------------------------------------
# Types


def check_matrix(name: str, a: OperandType, square: bool = False) -> None:
    """``a`` is a stack of matrices of f32 or f64, square ones if so."""
    if len(a.shape) < 2:
        raise TypeError(f"{name} got {a}; it takes a matrix, or a stack of them along leading axes.")
    check_float(name, a)
    if square and a.shape[-1] != a.shape[-2]:
        raise ValueError(f"{name} got {a}; the matrices must be square.")


def check_float(name: str, a: OperandType) -> None:
    """``a`` is of f32 or f64."""
    if a.dtype not in (f32, f64):
        raise TypeError(f"{name} got {a}; convert it to float32 or float64 first.")


def check_size(routine: str, a: Ref, n: int) -> None:
    """Raise if matrices of ``n`` rows and columns are too large for the graph of a routine."""
    if n > LARGEST:
        problem = f"the routine {routine!r} needs LAPACK for more than {LARGEST} rows and columns, and here are {n}"
        raise LoweringError(at(user_line(a.builder.loc), f"{problem}; run this function with device='cpu'."))


def split_at(n: int) -> int:
    """How many of ``n`` rows, more than `SMALL`, belong to the first of two blocks: a multiple of `SMALL`."""
    return (n // 2 + SMALL - 1) // SMALL * SMALL if n > 2 * SMALL else SMALL


def stack(a: OperandType) -> int:
    """The number of matrices in a stack."""
    return prod(a.shape[:-2])


def most_rows(leading: Shape) -> int:
    """How many rows and columns matrices may have to be written out, in a stack of this shape."""
    return SMALL_IN_STACKS if prod(leading) >= LONG_STACK else SMALL


def is_small(shape: Shape) -> bool:
    """Whether the square matrices of a stack of this shape are written out."""
    return shape[-1] <= most_rows(shape[:-2])


def by_elements(*operands: OperandType | Ref, most: int | None = None) -> bool:
    """Whether the pass `unroll_matrices` writes a factorization of such operands out, of ``most`` rows or columns."""
    shape, sides = operands[0].shape, [n for a in operands for n in a.shape[-2:]]
    return min(sides) > 0 and max(sides) <= (most or most_rows(shape[:-2])) and 0 not in shape


def no_derivative(a: Ref, problem: str) -> DifferentiationError:
    """The error for a derivative that does not exist, with the line of what is differentiated."""
    return DifferentiationError(at(user_line(a.builder.loc), problem))


def matrix_errors(params: dict[str, Any], square: bool) -> tuple[ErrorSample, ...]:
    """Wrong calls of a primitive of one stack of matrices."""
    found = [
        ErrorSample((aval((3,), f32),), params, "takes a matrix"),
        ErrorSample((aval((3, 3), i32),), params, "convert it to float32"),
    ]
    return (*found, ErrorSample((aval((2, 3), f32),), params, "must be square")) if square else tuple(found)


# ---------------------------------------------------------------------------------------------------------------------
# References


def each_matrix(
    function: Callable[..., Any], a: Array, shapes: Sequence[Shape], dtypes: Sequence[Any] = ()
) -> list[Array]:
    """The results of a function of NumPy for each matrix of a stack; nan where it finds that there are none."""
    leading = a.shape[:-2]
    outs = [np.empty((*leading, *s), d) for s, d in zip(shapes, dtypes or [a.dtype] * len(shapes), strict=True)]
    for place in np.ndindex(*leading):
        try:
            found = function(a[place])
        except np.linalg.LinAlgError:
            found = [np.nan] * len(outs)
        for out, x in zip(outs, found if isinstance(found, (tuple, list)) else [found], strict=True):
            out[place] = x
    return outs


# ---------------------------------------------------------------------------------------------------------------------
# Algebra


def turned(x: Ref) -> Ref:
    """The transposes."""
    n = x.ndim
    return transpose(x, perm=(*range(n - 2), n - 1, n - 2))


def matmul(x: Ref, y: Ref) -> Ref:
    """The products of two stacks of equal length."""
    n = x.ndim
    leading = tuple(range(n - 2))
    return dot_general(x, y, contract=((n - 1,), (n - 2,)), batch=(leading, leading))


def _places(x: Ref) -> tuple[Ref, Ref]:
    """The row and the column of each element."""
    builder = builder_of([x])
    return positions(builder, x.shape, x.ndim - 2), positions(builder, x.shape, x.ndim - 1)


def masked(x: Ref, kept: Ref) -> Ref:
    """``x``, with zeros where nothing is kept."""
    return select(kept, x, 0.0)


def lower(x: Ref, strict: bool = False) -> Ref:
    """The lower triangles, with or without the diagonal."""
    return masked(x, (gt if strict else ge)(*_places(x)))


def upper(x: Ref, strict: bool = False) -> Ref:
    """The upper triangles, with or without the diagonal."""
    return masked(x, (lt if strict else le)(*_places(x)))


def on_diagonal(x: Ref) -> Ref:
    """Where an element is on the diagonal."""
    return eq(*_places(x))


def identity(like: Ref, m: int, n: int) -> Ref:
    """A stack as long as ``like`` of matrices with ones on their diagonals."""
    shape = (*like.shape[:-2], m, n)
    rows, columns = (positions(like.builder, shape, len(shape) - k) for k in (2, 1))
    return convert(eq(rows, columns), dtype=like.dtype)


def diagonal(x: Ref) -> Ref:
    """The diagonals of square matrices."""
    return reduce_sum(masked(x, on_diagonal(x)), axes=(x.ndim - 1,))


def products_of_columns(x: Ref, y: Ref) -> Ref:
    """The products of each column of ``x`` with that of ``y``: the diagonals of ``x.T @ y``."""
    return reduce_sum(mul(x, y), axes=(x.ndim - 2,))


def along_rows(x: Ref, n: int) -> Ref:
    """Matrices of ``n`` columns, each of which is ``x``."""
    return broadcast(x, shape=(*x.shape, n), dims=tuple(range(x.ndim)))


def along_columns(x: Ref, n: int) -> Ref:
    """Matrices of ``n`` rows, each of which is ``x``."""
    shape = (*x.shape[:-1], n, x.shape[-1])
    return broadcast(x, shape=shape, dims=(*range(x.ndim - 1), x.ndim))


def scaled_columns(x: Ref, by: Ref) -> Ref:
    """``x`` times diagonal matrices."""
    return mul(x, along_columns(by, x.shape[-2]))


def scaled_rows(x: Ref, by: Ref) -> Ref:
    """Diagonal matrices times ``x``."""
    return mul(along_rows(by, x.shape[-1]), x)


def symmetric(x: Ref) -> Ref:
    """The symmetric matrices with these lower triangles."""
    return add(lower(x), turned(lower(x, strict=True)))


# ---------------------------------------------------------------------------------------------------------------------
# Samples


def matrices(shapes: Iterable[Shape], make: Callable[[Array], Array] = lambda x: x, **params: Any) -> SampleMaker:
    """Samples of stacks of random matrices, each made of normal numbers by ``make``; every other is not contiguous."""
    listed = tuple(shapes)

    def samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
        if dtype in (f32, f64):
            for k, shape in enumerate(listed):
                x = make(rng.normal(size=shape)).astype(dtype.numpy)
                yield Sample((np.asfortranarray(x) if k % 2 else x,), params)

    return samples


def positive_definite(x: Array) -> Array:
    """A matrix that is positive definite in its lower triangle, with something else above."""
    n = x.shape[-1]
    a = x @ np.swapaxes(x, -1, -2) + n * np.eye(n)
    return np.tril(a) + np.triu(x, 1)
