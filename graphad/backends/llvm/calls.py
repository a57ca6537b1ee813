"""Calls that an emitted program makes to routines of others: BLAS by address, and memcpy."""

from __future__ import annotations

from collections.abc import Mapping

from graphad.backends.llvm.text import Code, element_type, float_text
from graphad.backends.loops.ir import Gemm, Matrix, RoutineCall
from graphad.backends.loops.vectors import by_column, spacing
from graphad.errors import LoweringError, at
from graphad.ir.loc import format_loc
from graphad.ir.types import f32, f64


def product_routine(g: Gemm) -> str:
    """The BLAS routine that computes a product.

    Of a symmetric product ``?syrk`` computes the lower triangle. For a matrix and a vector ``?gemv`` is up to four
    times as fast as ``?gemm``, and slower by a fifth at most. Of products with nothing to sum it leaves the result as
    it is; ``?gemm`` makes it zero.
    """
    if g.dtype not in (f32, f64):
        message = f"a matrix product of {g.dtype} has no BLAS routine; cast its operands to f32 first."
        raise LoweringError(at(format_loc(g.loc), message))
    kind = "syrk" if g.symmetric else "gemv" if g.k and g.has_vector else "gemm"
    return ("d" if g.dtype is f64 else "s") + kind


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

    def plain(self, routine: str) -> None:
        """One call of a routine without arguments."""
        self.code.do(f"call void {self.externals[routine]}()")

    def kernel(self, routine: str, call: RoutineCall, pointers: Mapping[str, str]) -> None:
        """One call of a routine of the table."""
        args = [f"ptr {pointers[name]}" for name in (*call.reads, *call.writes)]
        args += [f"i64 {size}" for size in call.sizes]
        self.code.do(f"call void {self.externals[routine]}({', '.join(args)})")

    def product(self, routine: str, g: Gemm, pointers: Mapping[str, str], batch: str | None) -> str:
        """One call of the routine of `product_routine`; the pointer to its result.

        Fortran reads our row-major matrices transposed. ``batch`` is the register that counts the members of a batch.
        """
        arguments = self._syrk if g.symmetric else self._gemm
        if routine.endswith("gemv"):
            g, arguments = by_column(g), self._gemv
        a, b, c = (
            self._start(g, m, pointers, batch, step) for m, step in ((g.a, g.a_step), (g.b, g.b_step), (g.c, g.c_step))
        )
        args = arguments(g, a, b, c)
        self.code.do(f"call void {self.externals[routine]}({', '.join(f'ptr {text}' for text in args)})")
        return c

    def _syrk(self, g: Gemm, a: str, _: str, c: str) -> list[str]:
        """Arguments of ``?syrk``: our lower triangle is the upper one to Fortran."""
        letters = self._constant("i8", str(ord("U"))), self._letter(not g.a.transposed)
        left = a, self._leading(g.a, g.m if g.a.transposed else g.k)
        sizes = self._integer(g.n), self._integer(g.k)
        return [*letters, *sizes, self._number(g, 1.0), *left, self._number(g, 0.0), c, self._leading(g.c, g.n)]

    def _gemm(self, g: Gemm, a: str, b: str, c: str) -> list[str]:
        """Arguments of ``?gemm``, which is asked for ``C^T = B^T A^T``: ``transposed`` keeps its meaning."""
        left = b, self._leading(g.b, g.k if g.b.transposed else g.n)
        right = a, self._leading(g.a, g.m if g.a.transposed else g.k)
        letters = self._letter(g.b.transposed), self._letter(g.a.transposed)
        sizes = [self._integer(size) for size in (g.n, g.m, g.k)]
        return [*letters, *sizes, self._number(g, 1.0), *left, *right, self._number(g, 0.0), c, self._leading(g.c, g.n)]

    def _gemv(self, g: Gemm, a: str, b: str, c: str) -> list[str]:
        """Arguments of ``?gemv`` for a product with a column.

        Vectors are told with the distance of their elements, which must not be 0, not even between one and none.
        """
        height, width = (g.m, g.k) if g.a.transposed else (g.k, g.m)  # as Fortran sees what lies there
        sizes = self._letter(not g.a.transposed), self._integer(height), self._integer(width)
        steps = [self._integer(max(spacing(m), 1)) for m in (g.b, g.c)]
        operands = a, self._leading(g.a, height), b, steps[0]
        return [*sizes, self._number(g, 1.0), *operands, self._number(g, 0.0), c, steps[1]]

    def _letter(self, transposed: bool) -> str:
        return self._constant("i8", str(ord("T" if transposed else "N")))

    def _integer(self, value: int) -> str:
        return self._constant("i32", str(value))

    def _number(self, g: Gemm, value: float) -> str:
        return self._constant(element_type(g.dtype), float_text(value, g.dtype))

    def _leading(self, m: Matrix, least: int) -> str:
        # BLAS checks the leading dimension even of a matrix with a single row, or none.
        return self._integer(max(m.row_stride, least, 1))

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
