"""Calls that an emitted program makes to routines of others: BLAS by address, and memcpy."""

from __future__ import annotations

from collections.abc import Mapping

from graphad.backends.llvm.text import Code, element_type, float_text
from graphad.backends.loops.ir import Gemm, KernelCall, Matrix


class Calls:
    """Emits calls into ``code``.

    ``externals`` maps the routines in the program's table to the registers that hold their addresses; ``globals`` are
    the constants that Fortran wants to be handed by reference.
    """

    def __init__(self, code: Code) -> None:
        self.code = code
        self.externals: dict[str, str] = {}
        self.globals: dict[str, None] = {}

    def copy(self, target: str, source: str, size: int) -> None:
        """Copy ``size`` bytes between buffers that do not overlap."""
        args = [("ptr", target), ("ptr", source), ("i64", str(size)), ("i1", "false")]
        self.code.call("llvm.memcpy.p0.p0.i64", "void", args)

    def kernel(self, routine: str, call: KernelCall, pointers: Mapping[str, str]) -> None:
        """One call of a hand-written body."""
        args = [f"ptr {pointers[name]}" for name in (*call.reads, *call.writes)]
        args += [f"i64 {size}" for size in call.sizes]
        self.code.do(f"call void {self.externals[routine]}({', '.join(args)})")

    def gemm(self, routine: str, g: Gemm, pointers: Mapping[str, str], batch: str | None) -> None:
        """One call of Fortran ``?gemm``. Fortran reads our row-major matrices transposed, so it is asked for
        ``C^T = B^T A^T``: operands change places, and ``transposed`` keeps its meaning.

        ``batch`` is the register that counts the members of a batch.
        """
        element = element_type(g.dtype)
        left = (self._letter(g.b), g.b, self._start(g, g.b, pointers, batch, g.b_step), g.n, g.k)
        right = (self._letter(g.a), g.a, self._start(g, g.a, pointers, batch, g.a_step), g.k, g.m)
        result = self._start(g, g.c, pointers, batch, g.c_step)
        sizes = [self._constant("i32", str(v)) for v in (g.n, g.m, g.k)]
        factors = [self._constant(element, float_text(v, g.dtype)) for v in (g.alpha, g.beta)]
        operands = [
            text
            for _, matrix, start, rows, columns in (left, right)
            for text in (start, self._leading(matrix, columns if matrix.transposed else rows))
        ]
        args = [left[0], right[0], *sizes, factors[0], *operands, factors[1], result, self._leading(g.c, g.n)]
        self.code.do(f"call void {self.externals[routine]}({', '.join(f'ptr {a}' for a in args)})")

    def _letter(self, m: Matrix) -> str:
        return self._constant("i8", str(ord("T" if m.transposed else "N")))

    def _leading(self, m: Matrix, least: int) -> str:
        # BLAS checks the leading dimension even of a matrix with a single row, or none.
        return self._constant("i32", str(max(m.row_stride, least, 1)))

    def _start(self, g: Gemm, m: Matrix, pointers: Mapping[str, str], batch: str | None, each: int) -> str:
        index = str(m.offset)
        if batch is not None and each:
            index = self.code.let(f"mul nsw i64 {batch}, {each}", "member")
            if m.offset:
                index = self.code.let(f"add nsw i64 {index}, {m.offset}", "member")
        if index == "0":
            return pointers[m.buffer]
        element, base = element_type(g.dtype), pointers[m.buffer]
        return self.code.let(f"getelementptr inbounds {element}, ptr {base}, i64 {index}", "at")

    def _constant(self, kind: str, text: str) -> str:
        safe = text.replace("-", "minus")
        name = f"@const.{kind}.{safe}"
        self.globals[f"{name} = private unnamed_addr constant {kind} {text}"] = None
        return name
