"""Scalar operators and memory accesses for NVPTX, where they differ from the CPU's.

There is no library of vector functions, so elementary functions are called lane by lane; NVPTX has no exact ``frem``;
and vector accesses must be aligned to their size.
"""

from __future__ import annotations

from collections.abc import Callable

from graphad.backends.cuda.ptx.functions import REMAINDER
from graphad.backends.llvm.access import Access, Lanes, Place
from graphad.backends.llvm.scalar import Scalars
from graphad.backends.llvm.text import Code, constant, element_type, lanes_of, storage_type
from graphad.backends.loops.ir import Let, is_half
from graphad.ir.types import DType, Literal, f16, f32, f64, i64


class DeviceScalars(Scalars):
    """Operators of one thread; the declarations of ``code`` say which functions they call."""

    in_vectors = False

    def __init__(self, code: Code) -> None:
        super().__init__(code, 16)
        self._halves: dict[str, str] = {}  # of values of f16, the stored bits that they were loaded from

    def lane(self, text: str, element: str, lanes: int, lane: int) -> str:
        """One lane of a value."""
        return text if lanes == 1 else self.code.let(f"extractelement <{lanes} x {element}> {text}, i64 {lane}", "lane")

    def gather(self, parts: list[str], element: str) -> str:
        """A value from its lanes."""
        if len(parts) == 1:
            return parts[0]
        whole = "poison"
        for lane, part in enumerate(parts):
            row = f"insertelement <{len(parts)} x {element}> {whole}, {element} {part}, i64 {lane}"
            whole = self.code.let(row, "lanes")
        return whole

    def by_lane(self, args: list[str], element: str, lanes: int, function: Callable[[list[str]], str]) -> list[str]:
        """``function`` of every lane of ``args``."""
        return [function([self.lane(a, element, lanes, k) for a in args]) for k in range(lanes)]

    def elementary(self, s: Let, args: list[str], lanes: int) -> str:
        """Calls of the function for one element."""
        dtype = f32 if is_half(s.dtype) else s.dtype
        element = element_type(dtype)
        results = self.by_lane(args, element, lanes, lambda parts: self._call(s, dtype, parts, 1))
        if s.op != "threefry2x32":
            return self.gather(results, element)
        if lanes == 1:
            return results[0]
        kind, pair = lanes_of(element, lanes), "poison"
        for n in (0, 1):
            row = [self.code.let(f"extractvalue {{ {element}, {element} }} {r}, {n}", "word") for r in results]
            word = self.gather(row, element)
            pair = self.code.let(f"insertvalue {{ {kind}, {kind} }} {pair}, {kind} {word}, {n}", "pair")
        return pair

    def arithmetic(self, s: Let, args: list[str], literals: list[Literal | None], lanes: int) -> str:
        """Operators whose operands and result have one dtype."""
        if s.op != "rem" or not s.dtype.is_float:
            return super().arithmetic(s, args, literals, lanes)
        dtype = f32 if is_half(s.dtype) else s.dtype

        def remainder(parts: list[str]) -> str:
            # In f64 for all: a remainder is exact, so it has the dtype of its operands.
            wide = [("double", self.cast(part, dtype, f64, 1)) for part in parts]
            return self.cast(self.code.call(REMAINDER, "double", wide, s.name), f64, dtype, 1)

        kind = element_type(dtype)
        return self.gather(self.by_lane(args, kind, lanes, remainder), kind)

    def _shift(self, op: str, dtype: DType, lanes: int, args: list[str], by: Literal | None, hint: str) -> str:
        """Shifts of 64 bits take their amount modulo 64 before it is compared: LLVM turns a select between 0 and a
        shift into the machine's clamping shift, but passes it only the lower half of the amount.
        """
        if dtype.bits < 64 or op == "ashr" or (by is not None and 0 <= by.item() < 64):
            return super()._shift(op, dtype, lanes, args, by, hint)
        kind, (value, amount) = lanes_of("i64", lanes), args
        small = self.code.let(f"icmp ult {kind} {amount}, {constant(64, dtype, lanes)}", "small")
        within = self.code.let(f"and {kind} {amount}, {constant(63, dtype, lanes)}", "within")
        shifted = self.code.let(f"{op} {kind} {value}, {within}", hint)
        choice = f"select {lanes_of('i1', lanes)} {small}, {kind} {shifted}, {kind} {constant(0, dtype, lanes)}"
        return self.code.let(choice, hint)

    def stored(self, a: str, dtype: DType, lanes: int) -> str:
        """A register value as storage type. For f16 by calls: LLVM would turn operations between two conversions into
        f16 arithmetic, which flushes the denormals of f16 along with those of f32.
        """
        if dtype is not f16:
            return super().stored(a, dtype, lanes)
        if a in self._halves:
            return self._halves[a]
        parts = self.by_lane(
            [a], "float", lanes, lambda p: self.code.call("llvm.nvvm.f2h.rn", "i16", [("float", p[0])], "half")
        )
        words = lanes_of("i16", lanes)
        return self.code.let(f"bitcast {words} {self.gather(parts, 'i16')} to {lanes_of('half', lanes)}", "half")

    def loaded(self, a: str, dtype: DType, lanes: int, hint: str = "v") -> str:
        """A value of storage type as register type."""
        if dtype is not f16:
            return super().loaded(a, dtype, lanes, hint)
        words = self.code.let(f"bitcast {lanes_of('half', lanes)} {a} to {lanes_of('i16', lanes)}", "bits")
        parts = self.by_lane(
            [words],
            "i16",
            lanes,
            lambda p: self.code.call("llvm.convert.from.fp16.f32", "float", [("i16", p[0])], hint),
        )
        result = self.gather(parts, "float")
        self._halves[result] = a
        return result


class DeviceAccess(Access):
    """Loads and stores of one thread, in 1, 2 or 4 lanes."""

    def __init__(self, code: Code, scalars: DeviceScalars, index_dtype: DType) -> None:
        super().__init__(code, scalars)
        self.scalars: DeviceScalars = scalars
        self.index_dtype = index_dtype
        self.index_type = element_type(index_dtype)

    def load(self, place: Place, dtype: DType, lanes: Lanes, hint: str) -> str:
        """A value in lanes: one access where its elements lie side by side."""
        if place.dynamic is not None or place.stride != 1:
            parts = [self.load_one(self.place_of(place, k, lanes.count), dtype, hint) for k in range(lanes.count)]
            return self.scalars.gather(parts, element_type(dtype))
        element = storage_type(dtype)
        kind, align = lanes_of(element, lanes.count), lanes.count * dtype.bits // 8
        pointer = self.address(place, element)
        raw = self.code.let(f"load {kind}, {place.kind} {pointer}, align {align}", hint)
        return self.scalars.loaded(raw, dtype, lanes.count, hint)

    def store(self, place: Place, dtype: DType, value: str, lanes: Lanes, mask: str | None) -> None:
        """Store a value in lanes, where ``mask`` holds if one is given."""
        if place.dynamic is None and place.stride == 1 and mask is None:
            element = storage_type(dtype)
            kind, align = lanes_of(element, lanes.count), lanes.count * dtype.bits // 8
            raw = self.scalars.stored(value, dtype, lanes.count)
            self.code.do(f"store {kind} {raw}, {place.kind} {self.address(place, element)}, align {align}")
            return
        for k in range(lanes.count):
            one = self.scalars.lane(value, element_type(dtype), lanes.count, k)
            where = None if mask is None else self.scalars.lane(mask, "i1", lanes.count, k)
            self.store_where(self.place_of(place, k, lanes.count), dtype, one, where)

    def store_where(self, place: Place, dtype: DType, value: str, where: str | None) -> None:
        """Store a scalar where a condition holds."""
        if where is None:
            self.store_one(place, dtype, value)
        else:
            when(self.code, where, lambda: self.store_one(place, dtype, value))

    def place_of(self, place: Place, lane: int, lanes: int) -> Place:
        """Where one lane of an access lies."""
        index = place.index
        if lane and place.stride:
            index = self._add(index, str(lane * place.stride))
        if place.dynamic is not None:
            offset = self.scalars.lane(place.dynamic, "i64", lanes, lane)
            index = self._add(index, self.scalars.cast(offset, i64, self.index_dtype, 1, "dynamic"))
        return Place(place.pointer, index, 0, None, place.kind)

    def _add(self, a: str, b: str) -> str:
        return self.code.let(f"add nsw {self.index_type} {a}, {b}", "index")


def when(code: Code, condition: str, body: Callable[[], None]) -> None:
    """Emit ``body``, which makes no value that is used later, to be run where ``condition`` holds."""
    some, after = code.fresh("some"), code.fresh("after")
    code.do(f"br i1 {condition}, label %{some}, label %{after}")
    code.start(some)
    body()
    code.do(f"br label %{after}")
    code.start(after)
