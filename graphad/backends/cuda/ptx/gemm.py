"""Matrix products as kernels, for devices without a library: tiles of both operands go through shared memory.

A block computes one tile of the result, each of its threads some neighbouring elements. Tiles are padded with 0 beyond
the edge of an operand. The 16-bit floats are widened on their way into shared memory and summed in f32; a result in 16
bits is rounded once, when it is stored. An epilogue is applied to the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from graphad.backends.cuda.ptx.entry import KernelText
from graphad.backends.cuda.ptx.group import SharedMemory, register_storage
from graphad.backends.cuda.ptx.kernel import GLOBAL, SHARED
from graphad.backends.cuda.ptx.scalar import DeviceAccess, DeviceScalars, when
from graphad.backends.llvm.access import Place
from graphad.backends.llvm.nest import NestEmitter
from graphad.backends.llvm.text import Code, constant, element_type, lanes_of, storage_type
from graphad.backends.loops.ir import Buffer, Gemm, Matrix, is_half
from graphad.errors import LoweringError, at
from graphad.ir.loc import format_loc
from graphad.ir.types import DType, b1, f32, i32, i64


class Tile(NamedTuple):
    """The tile of one block: rows and columns of the result, depth of a slice, and elements per thread."""

    rows: int
    columns: int
    depth: int
    own_rows: int
    own_columns: int

    @property
    def threads(self) -> int:
        return self.rows // self.own_rows * (self.columns // self.own_columns)


LARGE: Final = Tile(64, 64, 16, 4, 4)
SMALL: Final = Tile(16, 16, 16, 1, 1)
#: Elements of padding between rows of a tile in shared memory, so that a column is spread over the banks.
PAD: Final = 4


@dataclass(frozen=True, slots=True)
class GemmEntry:
    """How to launch a product: its pointers are to the first elements of a, b, c and, if there is one, the bias."""

    name: str
    blocks: int
    threads: int


class GemmKernels:
    """The entries for the products of a program; equal products share one."""

    def __init__(self, buffers: Mapping[str, Buffer]) -> None:
        self.buffers = buffers
        self.texts: list[KernelText] = []
        self._entries: dict[Gemm, GemmEntry] = {}

    def entry(self, g: Gemm) -> GemmEntry:
        """The entry that computes ``g``."""
        if g.dtype is b1:
            message = "a matrix product of bool has no kernel; cast its operands to i32 first."
            raise LoweringError(at(format_loc(g.loc), message))
        a, b, c = (replace(m, buffer=name, offset=0) for m, name in ((g.a, "a"), (g.b, "b"), (g.c, "c")))
        key = replace(g, a=a, b=b, c=c, loc=None)
        if key.bias is not None:
            key = replace(key, bias="bias", bias_offset=0)
        found = self._entries.get(key)
        if found is None:
            name = f"ga_gemm_{g.dtype}_{len(self._entries)}"
            emitter = _GemmEmitter(name, key, max([self.buffers[m.buffer].size for m in (g.a, g.b, g.c)]))
            self.texts.append(emitter.run())
            found = self._entries[key] = GemmEntry(name, emitter.blocks, emitter.tile.threads)
        return found


class _GemmEmitter:
    """The kernel of one product."""

    def __init__(self, name: str, g: Gemm, size: int) -> None:
        self.name = name
        self.g = g
        self.tile = LARGE if g.m >= LARGE.rows and g.n >= LARGE.columns else SMALL
        self.tiles_m, self.tiles_n = -(-g.m // self.tile.rows), -(-g.n // self.tile.columns)
        self.blocks = g.batch * self.tiles_m * self.tiles_n
        self.has_bias = g.bias is not None
        self.code = code = Code()
        for taken in ("entry", "a", "b", "c", "bias"):
            code.fresh(taken)
        self.dtype: DType = f32 if is_half(g.dtype) else g.dtype  # of the sums
        index_dtype = i32 if size + 64 * max(g.a.row_stride, g.b.row_stride, g.c.row_stride) < 1 << 31 else i64
        self.kind = element_type(index_dtype)
        self.scalars = DeviceScalars(code)
        self.access = DeviceAccess(code, self.scalars, index_dtype)
        self.nest = NestEmitter(code, 16, {}, {}, comments=False)
        self.nest.index_dtype = index_dtype
        self.shared = SharedMemory(f"{name}_shared")

    def run(self) -> KernelText:
        code, tile = self.code, self.tile
        thread, block = self._register("tid"), self._register("ctaid")
        block, column_tile = self._split(block, self.tiles_n)
        batch, row_tile = self._split(block, self.tiles_m)
        row0, column0 = self._times(row_tile, tile.rows), self._times(column_tile, tile.columns)
        starts = [self._times(batch, step) for step in (self.g.a_step, self.g.b_step, self.g.c_step)]
        own_y, own_x = self._split(thread, tile.columns // tile.own_columns)
        own_row, own_column = self._times(own_y, tile.own_rows), self._times(own_x, tile.own_columns)
        sums = self._sums(thread, row0, column0, starts, own_row, own_column)
        self._results(sums, self._plus(row0, own_row), self._plus(column0, own_column), starts[2])
        code.do("ret void")
        flags = f"{GLOBAL} noalias readonly"
        parameters = [f"{flags} %a", f"{flags} %b", f"{GLOBAL} noalias %c", *[f"{flags} %bias"] * self.has_bias]
        header = f"define ptx_kernel void @{self.name}({', '.join(parameters)}) #0"
        text = "\n".join([f'{header} "nvvm.maxntid"="{tile.threads}" {{', "entry:", *code.lines, "}"])
        return KernelText(text, tuple(self.shared.definition()), tuple(code.declarations), 0)

    # ---- index arithmetic; operands are registers or numbers

    def _register(self, name: str) -> str:
        text = self.code.call(f"llvm.nvvm.read.ptx.sreg.{name}.x", "i32", [], name)
        return self.scalars.cast(text, i32, self.nest.index_dtype, 1, name)

    def _split(self, text: str, by: int) -> tuple[str, str]:
        """Quotient and remainder."""
        if by == 1 or text == "0":
            return text, "0"
        rest = self.code.let(f"urem {self.kind} {text}, {by}", "rest")
        return self.code.let(f"udiv {self.kind} {text}, {by}", "whole"), rest

    def _times(self, text: str, by: int) -> str:
        if text == "0" or by == 0:
            return "0"
        return text if by == 1 else self.code.let(f"mul nsw {self.kind} {text}, {by}", "index")

    def _plus(self, a: str, b: str) -> str:
        if "0" in (a, b):
            return b if a == "0" else a
        return self.code.let(f"add nsw {self.kind} {a}, {b}", "index")

    def _within(self, *limits: tuple[str, int, int]) -> str | None:
        """Bounds checks of indices, for those limits that are no multiple of the tile."""
        tests = [
            self.code.let(f"icmp ult {self.kind} {text}, {limit}", "within")
            for text, limit, size in limits
            if limit % size
        ]
        if len(tests) < 2:
            return tests[0] if tests else None
        return self.code.let(f"and i1 {tests[0]}, {tests[1]}", "within")

    # ---- the product

    def _sums(
        self, thread: str, row0: str, column0: str, starts: list[str], own_row: str, own_column: str
    ) -> list[str]:
        """The elements of the product that this thread computes, row after row."""
        g, tile = self.g, self.tile
        kept = register_storage(g.dtype)
        size = kept.bits // 8
        left = self.shared.allocate(tile.depth * (tile.rows + PAD) * size)
        right = self.shared.allocate(tile.depth * (tile.columns + PAD) * size)
        count = tile.own_rows * tile.own_columns
        zero = [constant(0, self.dtype, 1)] * count
        kinds = [element_type(self.dtype)] * count

        def slice_(at: str, sums: list[str]) -> list[str]:
            k0 = self._times(at, tile.depth)
            self._stage(g.a, "%a", left, starts[0], row0, k0, g.m, tile.rows, thread, deep=not g.a.transposed)
            self._stage(g.b, "%b", right, starts[1], column0, k0, g.n, tile.columns, thread, deep=g.b.transposed)
            self._barrier()

            def step(k: str, sums: list[str]) -> list[str]:
                a = self._own(left, k, tile.rows, own_row, tile.own_rows)
                b = self._own(right, k, tile.columns, own_column, tile.own_columns)
                pairs = [(x, y) for x in a for y in b]
                return [self._multiply_add(x, y, s) for (x, y), s in zip(pairs, sums, strict=True)]

            sums = self.nest.repeat(str(min(tile.depth, g.k)), "k", kinds, sums, step)
            self._barrier()
            return sums

        return self.nest.repeat(str(-(-g.k // tile.depth)), "slice", kinds, zero, slice_) if g.k else zero

    def _stage(
        self, m: Matrix, pointer: str, target: str, start: str, first: str, k0: str, extent: int, width: int,
        thread: str, *, deep: bool,
    ) -> None:  # fmt: skip
        """Load ``width`` rows or columns of an operand into shared memory, ``depth`` elements of each.

        ``deep`` says that these elements are contiguous; then neighbouring threads load neighbours of them.
        """
        g, tile, code = self.g, self.tile, self.code
        kept = register_storage(g.dtype)
        for turn in range(width * tile.depth // tile.threads):
            number = self._plus(thread, str(turn * tile.threads))
            slow, fast = self._split(number, tile.depth if deep else width)
            own, k = (slow, fast) if deep else (fast, slow)
            row, depth = self._plus(first, own), self._plus(k0, k)
            within = self._within((row, extent, width), (depth, g.k, tile.depth))
            inner, outer = (depth, row) if deep else (row, depth)
            index = self._plus(start, self._plus(self._times(outer, m.row_stride), inner))
            if within is not None:
                index = code.let(f"select i1 {within}, {self.kind} {index}, {self.kind} 0", "index")
            value = self.access.load_one(Place(pointer, index, 0, None, GLOBAL), g.dtype, "element")
            if within is not None:
                kind = element_type(kept)
                value = code.let(f"select i1 {within}, {kind} {value}, {kind} {constant(0, kept, 1)}", "element")
            place = self._plus(self._times(k, width + PAD), own)
            self.access.store_one(Place(target, place, 0, None, SHARED), kept, value)

    def _own(self, source: str, k: str, width: int, first: str, count: int) -> list[str]:
        """Load the elements of a tile that this thread needs in step ``k``."""
        kept = register_storage(self.g.dtype)
        place = self._plus(self._times(k, width + PAD), first)
        if count == 1:
            return [self.access.load_one(Place(source, place, 0, None, SHARED), kept, "element")]
        element = storage_type(kept)
        pointer = self.access.address(Place(source, place, 0, None, SHARED), element)
        align = min(16, count * kept.bits // 8)
        whole = self.code.let(f"load {lanes_of(element, count)}, {SHARED} {pointer}, align {align}", "elements")
        return [self.scalars.lane(whole, element, count, lane) for lane in range(count)]

    def _multiply_add(self, a: str, b: str, c: str) -> str:
        if self.dtype.is_float:
            return self.scalars.fused(self.dtype, 1, a, b, c, "sum")
        kind = element_type(self.dtype)
        return self.code.let(f"add {kind} {self.code.let(f'mul {kind} {a}, {b}', 'product')}, {c}", "sum")

    def _barrier(self) -> None:
        self.code.call("llvm.nvvm.barrier.cta.sync.aligned.all", "void", [("i32", "0")])

    # ---- the result

    def _results(self, sums: list[str], row: str, column: str, start: str) -> None:
        """Store what lies within the result: the sum, or ``relu(sum + bias)``."""
        g, tile = self.g, self.tile
        for number, text in enumerate(sums):
            y, x = divmod(number, tile.own_columns)
            own_row, own_column = self._plus(row, str(y)), self._plus(column, str(x))
            within = self._within((own_row, g.m, tile.rows), (own_column, g.n, tile.columns))
            outer, inner = (own_column, own_row) if g.c.transposed else (own_row, own_column)
            index = self._plus(start, self._plus(self._times(outer, g.c.row_stride), inner))
            place = Place("%c", index, 0, None, GLOBAL)
            self._where(within, self._storing(place, own_column, text))

    def _storing(self, place: Place, column: str, text: str) -> Callable[[], None]:
        def store() -> None:
            value = text
            if self.has_bias:
                bias = self.access.load_one(Place("%bias", column, 0, None, GLOBAL), self.g.c_dtype, "bias")
                value = self.code.let(f"fadd {element_type(self.dtype)} {value}, {bias}", "biased")
            if self.g.relu:
                kind = element_type(self.dtype)
                negative = self.code.let(f"fcmp ole {kind} {value}, {self._number(0)}", "negative")
                value = self.code.let(f"select i1 {negative}, {kind} {self._number(0)}, {kind} {value}", "relu")
            self.access.store_one(place, self.g.c_dtype, value)

        return store

    def _where(self, condition: str | None, body: Callable[[], None]) -> None:
        if condition is None:
            body()
        else:
            when(self.code, condition, body)

    def _number(self, value: float) -> str:
        return constant(value, self.dtype, 1)
