"""Matrix products in blocks: of their rows, of what they sum over, or of the members of a batch.

Blocks of what is summed over have their results added: so a long product of thin matrices, as that of the columns of
data with residuals, is computed in the pass that computes the residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from typing import Literal as OneOf

from graphad.backends.cpu.parallel.work import work_of
from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Gemm,
    Index,
    Let,
    Load,
    Loop,
    LoopNest,
    Matrix,
    Statement,
    Store,
)
from graphad.backends.loops.rewrites import Names
from graphad.backends.loops.vectors import by_column
from graphad.ir.types import f64, literal

Axis = OneOf["row", "sum", "batch"]

#: Fewer rows of a product with a matrix are no block: BLAS rearranges the other factor for each.
ROWS: Final = 64
#: So many blocks of rows there are at most.
_BLOCKS: Final = 16
#: Results of more elements are not added block by block.
_SUMMED: Final = 1 << 10


@dataclass(frozen=True, slots=True)
class Product:
    """A product, and the axis along which it is cut."""

    gemm: Gemm
    axis: Axis

    @property
    def results(self) -> set[str]:
        """The buffers whose values are known when all parts are."""
        return {self.gemm.c.buffer} if self.axis == "sum" else set()

    @property
    def extent(self) -> int:
        """How long the axis is."""
        g = self.gemm
        return {"row": g.m, "sum": g.k, "batch": g.batch}[self.axis]

    @property
    def least(self) -> int:
        """How much of the axis a block has at least."""
        if self.axis != "row" or self.gemm.has_vector:
            return 1
        return max(ROWS, self.gemm.m // (_BLOCKS * 16) * 16)

    @property
    def work(self) -> int:
        """That of a unit of the axis, in additions."""
        return max(work_of(self.gemm) // self.extent, 1)

    # ---- where it looks

    def strides(self) -> dict[str, int]:
        """How far the axis moves in each matrix; those in which it does not move are left out."""
        g = self.gemm
        if self.axis == "batch":
            found = {"a": g.a_step, "b": g.b_step, "c": g.c_step}
        elif self.axis == "row":
            found = {"a": 1 if g.a.transposed else g.a.row_stride, "c": g.c.row_stride}
        else:
            found = {"a": g.a.row_stride if g.a.transposed else 1, "b": 1 if g.b.transposed else g.b.row_stride}
        return {name: stride for name, stride in found.items() if stride}

    def as_loop(self, names: Names) -> Loop:
        """A loop over the axis that touches what the product touches, for analysis."""
        g, var = self.gemm, names.fresh("unit")
        body: list[Statement] = []
        for matrix, rows, columns, step, name in (
            (g.a, "row", "sum", g.a_step, "a"),
            (g.b, "sum", "column", g.b_step, "b"),
            (g.c, "row", "column", g.c_step, "c"),
        ):
            if name == "c" and self.axis == "sum":
                continue
            strides = {rows: 1 if matrix.transposed else matrix.row_stride}
            strides[columns] = matrix.row_stride if matrix.transposed else 1
            if g.batch > 1:
                strides["batch"] = step
            body += self._touch(matrix, strides, var, names, stores=name == "c")
        return Loop(var, self.extent, tuple(body), loc=g.loc)

    def _touch(
        self, matrix: Matrix, strides: Mapping[str, int], var: str, names: Names, *, stores: bool
    ) -> tuple[Statement, ...]:
        g = self.gemm
        extents = {"row": g.m, "sum": g.k, "column": g.n, "batch": g.batch}
        inner = {axis: names.fresh(axis) for axis in strides if axis != self.axis}
        terms = tuple([(inner.get(axis, var), stride) for axis, stride in strides.items()])
        at = Index(matrix.offset, terms)
        body: tuple[Statement, ...] = (
            Store(matrix.buffer, at, literal(0, g.dtype)) if stores else Load(names.fresh("t"), matrix.buffer, at),
        )
        for axis, name in inner.items():
            body = (Loop(name, extents[axis], body),)
        return body

    # ---- blocks

    def part(self, turns: int, place: Callable[[Matrix, int], Matrix], target: Matrix | None) -> Gemm:
        """So many units of the axis; ``place`` says where a matrix begins, in which the axis has a stride.

        ``target`` is where a part of a sum is stored.
        """
        g, strides = self.gemm, self.strides()
        a, b, c = (
            place(m, strides[name]) if name in strides else m for name, m in (("a", g.a), ("b", g.b), ("c", g.c))
        )
        g = replace(g, a=a, b=b, c=c if target is None else target)
        match self.axis:
            case "row":
                return replace(g, m=turns)
            case "sum":
                return replace(g, k=turns)
            case "batch":
                return replace(g, batch=turns)

    def sums(self, part: Buffer, names: Names) -> LoopNest:
        """The sums of what blocks have stored in ``part``, one behind the other."""
        g, size = self.gemm, self.gemm.m * self.gemm.n
        row, column, number, value, total = (names.fresh(n) for n in ("row", "column", "b", "t", "total"))
        at = Index(0, tuple(sorted([(number, size), (row, g.n), (column, 1)])))
        body: list[Statement] = [Load(value, part.name, at, loc=g.loc)]
        added = result = value
        if g.dtype is not f64:
            added, result = names.fresh("wide"), names.fresh("t")
            body.append(Let(added, f64, "cast", (value,), g.loc))
        carry = Carry(total, f64, "sum", literal(0.0, f64), added)
        behind: list[Statement] = [Loop(number, part.size // size, tuple(body), (carry,), loc=g.loc)]
        if g.dtype is f64:
            result = total
        else:
            behind.append(Let(result, g.dtype, "cast", (total,), g.loc))
        place = Index(g.c.offset, tuple(sorted([(row, g.c.row_stride), (column, 1)])))
        behind.append(Store(g.c.buffer, place, result, loc=g.loc))
        inner = Loop(column, g.n, tuple(behind), vector=g.n > 1, loc=g.loc)
        return LoopNest((Loop(row, g.m, (inner,), loc=g.loc),), g.loc)


def ways(g: Gemm) -> list[Product]:
    """The axes along which a product can be cut, the best one first."""
    if g.symmetric or g.is_fused or 0 in (g.m, g.n, g.k, g.batch):
        return []
    if g.batch > 1:
        return [Product(g, "batch")]
    if g.has_vector:
        g = by_column(g)
    rows, sums = Product(g, "row"), Product(g, "sum")
    found = [rows] if g.m >= 2 * rows.least else []
    if g.m * g.n <= _SUMMED and g.k >= 2:
        found.insert(0 if g.k > g.m else len(found), sums)
    return found
