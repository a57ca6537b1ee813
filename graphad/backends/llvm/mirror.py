"""The other triangle of a symmetric matrix: square blocks, transposed in registers."""

from __future__ import annotations

from typing import Final

from graphad.backends.llvm.rounds import Rounds
from graphad.backends.llvm.text import element_type, lanes_of
from graphad.backends.llvm.tiles import columns
from graphad.ir.types import DType

#: Rows and columns of a block. Larger ones meet the same places of a cache again where rows are a power of two apart.
BLOCK: Final = 8


def mirror(nests: Rounds, matrix: str, dtype: DType, n: int, row_stride: int) -> None:
    """Copy the lower triangle of an n by n matrix in row-major order, at the pointer ``matrix``, to the upper one."""
    emitter, blocks = _Mirror(nests, matrix, dtype, row_stride), n // BLOCK
    if blocks > 1:
        nests.repeat(str(blocks - 1), "top", [], [], lambda top, _: emitter.row(top), step=BLOCK, begin=str(BLOCK))
    if blocks:
        nests.repeat(str(blocks), "top", [], [], lambda top, _: emitter.diagonal(top), step=BLOCK)
    rest = n - blocks * BLOCK
    if rest:
        nests.repeat(str(rest), "row", [], [], lambda row, _: emitter.elements(row), begin=str(blocks * BLOCK))


class _Mirror:
    """Emits the copies of blocks, and of the elements of the last rows."""

    def __init__(self, nests: Rounds, matrix: str, dtype: DType, row_stride: int) -> None:
        self.nests, self.code, self.matrix, self.row_stride = nests, nests.code, matrix, row_stride
        self.element, self.align = element_type(dtype), dtype.bits // 8

    def row(self, top: str) -> None:
        """The blocks in the rows from ``top`` on, left of the diagonal."""
        count = self.code.let(f"sdiv i64 {top}, {BLOCK}", "blocks")

        def block(left: str) -> None:
            self.store(left, top, columns(self.code, self.loaded(top, left), self.element, BLOCK))

        self.nests.repeat(count, "left", [], [], lambda left, _: block(left), step=BLOCK)

    def diagonal(self, top: str) -> None:
        """A block on the diagonal: in each row, what is right of the diagonal comes from the transposed block."""
        rows = self.loaded(top, top)
        transposed = columns(self.code, rows, self.element, BLOCK)
        kind, merged = lanes_of(self.element, BLOCK), list[str]()
        for k, (row, other) in enumerate(zip(rows, transposed, strict=True)):
            mask = ", ".join([f"i32 {lane if lane <= k else BLOCK + lane}" for lane in range(BLOCK)])
            merged.append(self.code.let(f"shufflevector {kind} {row}, {kind} {other}, <{BLOCK} x i32> <{mask}>", "row"))
        self.store(top, top, merged)

    def elements(self, row: str) -> None:
        """A single row, element by element."""

        def copy(column: str) -> None:
            value = self.code.let(f"load {self.element}, ptr {self.at(row, column)}", "element")
            self.code.do(f"store {self.element} {value}, ptr {self.at(column, row)}")

        trips = self.code.let(f"add nsw i64 {row}, 1", "trips")
        self.nests.repeat(trips, "column", [], [], lambda column, _: copy(column))

    def loaded(self, top: str, left: str) -> list[str]:
        """The rows of the block at ``top``, ``left``."""
        kind = lanes_of(self.element, BLOCK)
        return [self.code.let(f"load {kind}, ptr {p}, align {self.align}", "row") for p in self.rows(top, left)]

    def store(self, top: str, left: str, rows: list[str]) -> None:
        kind = lanes_of(self.element, BLOCK)
        for row, pointer in zip(rows, self.rows(top, left), strict=True):
            self.code.do(f"store {kind} {row}, ptr {pointer}, align {self.align}")

    def rows(self, top: str, left: str) -> list[str]:
        """Pointers to the rows of a block."""
        first = self.at(top, left)
        offsets = [k * self.row_stride for k in range(BLOCK)]
        return [self.code.let(f"getelementptr inbounds {self.element}, ptr {first}, i64 {k}", "at") for k in offsets]

    def at(self, row: str, column: str) -> str:
        start = self.code.let(f"mul nsw i64 {row}, {self.row_stride}", "start")
        position = self.code.let(f"add nsw i64 {start}, {column}", "position")
        return self.code.let(f"getelementptr inbounds {self.element}, ptr {self.matrix}, i64 {position}", "at")
