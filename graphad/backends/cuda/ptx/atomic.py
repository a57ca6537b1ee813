"""Atomic read-modify-write: the machine's instruction where there is one, else a compare-and-swap loop.

For elements narrower than a word the whole word is swapped: buffers must end with a whole word.
"""

from __future__ import annotations

from typing import Final

from graphad.backends.cuda.ptx.scalar import DeviceAccess, DeviceScalars
from graphad.backends.llvm.access import Place
from graphad.backends.llvm.text import Code, element_type, storage_type
from graphad.backends.loops.ir import Combine
from graphad.ir.types import DType, f64

_SIGNED: Final = {"sum": "add", "max": "max", "min": "min", "and": "and", "or": "or"}
_UNSIGNED: Final = {**_SIGNED, "max": "umax", "min": "umin"}
_ORDER: Final = 'syncscope("device") monotonic'


class Atomics:
    """Emits atomic updates of global memory into ``code``.

    With ``flush_denormals``, sums of f32 may take denormals as 0: the machine's instruction always does ("atom" in the
    PTX ISA).
    """

    def __init__(self, code: Code, scalars: DeviceScalars, access: DeviceAccess, flush_denormals: bool) -> None:
        self.code = code
        self.scalars = scalars
        self.access = access
        self.flush_denormals = flush_denormals

    def update(self, place: Place, dtype: DType, combine: Combine, value: str) -> None:
        """``place = combine(place, value)``."""
        instruction = self._instruction(dtype, combine)
        if instruction is None:
            self._swap(place, dtype, combine, value)
        else:
            element = element_type(dtype)
            address = f"{place.kind} {self.access.address(place, element)}"
            self.code.let(f"atomicrmw {instruction} {address}, {element} {value} {_ORDER}", "old")

    def _instruction(self, dtype: DType, combine: Combine) -> str | None:
        if dtype.bits < 32:
            return None
        if dtype.is_float:  # the machine's max and min drop nan
            exact = dtype is f64 or self.flush_denormals
            return "fadd" if combine == "sum" and exact else None
        return (_SIGNED if dtype.kind == "i" else _UNSIGNED).get(combine)

    def _swap(self, place: Place, dtype: DType, combine: Combine, value: str) -> None:
        """A compare-and-swap loop; the first guess of the old value is 0, the next is the value found."""
        code, let = self.code, self.code.let
        word = f"i{max(dtype.bits, 32)}"
        pointer, shift = self._word_of(place, dtype)
        before, loop, after = code.block, code.fresh("swap"), code.fresh("after")
        code.do(f"br label %{loop}")
        code.start(loop)
        found = "%" + code.fresh("found")
        start = len(code.lines)
        thought = "%" + code.fresh("thought")
        updated = self.scalars.combine(combine, dtype, 1, value, self._extract(thought, dtype, word, shift))
        wanted = self._insert(thought, updated, dtype, word, shift)
        pair = let(f"cmpxchg {pointer}, {word} {thought}, {word} {wanted} {_ORDER} monotonic", "pair")
        code.do(f"{found} = extractvalue {{ {word}, i1 }} {pair}, 0")
        done = let(f"extractvalue {{ {word}, i1 }} {pair}, 1", "done")
        code.do(f"br i1 {done}, label %{after}, label %{loop}")
        code.lines.insert(start, f"  {thought} = phi {word} [ 0, %{before} ], [ {found}, %{code.block} ]")
        code.start(after)

    def _word_of(self, place: Place, dtype: DType) -> tuple[str, str | None]:
        """Type and address of the word that is swapped, and the element's bit offset in it (None: it is the word)."""
        let, kind = self.code.let, place.kind
        address = self.access.address(place, storage_type(dtype))
        if dtype.bits >= 32:
            return f"{kind} {address}", None
        number = let(f"ptrtoint {kind} {address} to i64", "number")
        byte = let(f"and i64 {number}, 3", "byte")
        back = let(f"sub i64 0, {byte}", "back")
        aligned = let(f"getelementptr i8, {kind} {address}, i64 {back}", "word")
        narrow = let(f"trunc i64 {byte} to i32", "byte")
        return f"{kind} {aligned}", let(f"shl i32 {narrow}, 3", "shift")

    def _extract(self, text: str, dtype: DType, word: str, shift: str | None) -> str:
        let, raw = self.code.let, storage_type(dtype)
        if shift is not None:
            moved = let(f"lshr {word} {text}, {shift}", "moved")
            text, word = let(f"trunc {word} {moved} to i{dtype.bits}", "piece"), f"i{dtype.bits}"
        if raw != word:
            text = let(f"bitcast {word} {text} to {raw}", "raw")
        return self.scalars.loaded(text, dtype, 1)

    def _insert(self, text: str, value: str, dtype: DType, word: str, shift: str | None) -> str:
        let, raw = self.code.let, storage_type(dtype)
        piece, narrow = self.scalars.stored(value, dtype, 1), f"i{dtype.bits}"
        if raw != narrow:
            piece = let(f"bitcast {raw} {piece} to {narrow}", "piece")
        if shift is None:
            return piece
        wide = let(f"zext {narrow} {piece} to {word}", "wide")
        moved = let(f"shl {word} {wide}, {shift}", "moved")
        hole = let(f"shl {word} {(1 << dtype.bits) - 1}, {shift}", "hole")
        kept = let(f"xor {word} {hole}, -1", "kept")
        rest = let(f"and {word} {text}, {kept}", "rest")
        return let(f"or disjoint {word} {rest}, {moved}", "joined")
