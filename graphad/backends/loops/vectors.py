"""Products of a matrix with a vector: in one form, and as loops."""

from __future__ import annotations

from dataclasses import replace

from graphad.backends.loops.ir import Carry, Gemm, Index, Let, Load, Loop, LoopNest, Matrix, Statement, Store
from graphad.ir.types import literal


def by_column(g: Gemm) -> Gemm:
    """The same product of a matrix with a column, for a row times a matrix is the matrix, transposed, times a column.

    >>> from graphad.ir.types import f32
    >>> row = Gemm(f32, 1, 5, 3, Matrix("x", 0, 3), Matrix("m", 0, 5), Matrix("y", 0, 5))
    >>> product = by_column(row)
    >>> product.m, product.n, product.a.buffer, product.a.transposed, product.b.buffer
    (5, 1, 'm', True, 'x')
    """
    if g.n == 1:
        return g
    a, b = replace(g.b, transposed=not g.b.transposed), replace(g.a, transposed=not g.a.transposed)
    c = replace(g.c, row_stride=1)
    return replace(g, m=g.n, n=1, a=a, b=b, c=c, a_step=g.b_step, b_step=g.a_step)


def spacing(column: Matrix) -> int:
    """The distance of the elements of a matrix with one column."""
    return 1 if column.transposed else column.row_stride


def as_loops(g: Gemm) -> LoopNest:
    """A product with a vector as loops, the inner or the outer one of vectors: that in whose order the matrix lies."""
    g = by_column(g)
    along, across = (g.a.row_stride, 1) if g.a.transposed else (1, g.a.row_stride)

    def at(m: Matrix, step: int, **strides: int) -> Index:
        return Index(m.offset, (*((("batch", step),) if g.batch > 1 else ()), *strides.items()))

    body: list[Statement] = [
        Load("factor", g.a.buffer, at(g.a, g.a_step, row=across, column=along), loc=g.loc),
        Load("element", g.b.buffer, at(g.b, g.b_step, column=spacing(g.b)), loc=g.loc),
        Let("product", g.dtype, "mul", ("factor", "element"), g.loc),
    ]
    total = Carry("total", g.dtype, "sum", literal(0.0, g.dtype), "product")
    terms = Loop("column", g.k, tuple(body), (total,), vector=not g.a.transposed, loc=g.loc)
    store = Store(g.c.buffer, at(g.c, g.c_step, row=spacing(g.c)), "total", loc=g.loc)
    nest = Loop("row", g.m, (terms, store), vector=g.a.transposed, loc=g.loc)
    return LoopNest((Loop("batch", g.batch, (nest,), loc=g.loc) if g.batch > 1 else nest,), g.loc)
