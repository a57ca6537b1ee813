"""Statements and loops in LLVM text, with explicit vectorization.

A vector loop becomes a loop over blocks of lanes and one tail under a constant mask. Uniform values (the same in all
lanes) stay scalar; in inner loops, varying values are vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from graphad.backends.llvm.access import Access, Lanes, Place
from graphad.backends.llvm.reduce import Accumulators, chunk_size
from graphad.backends.llvm.rounds import Rounds
from graphad.backends.llvm.scalar import Scalars, operand_text
from graphad.backends.llvm.text import (
    Code,
    Val,
    constant,
    element_type,
    offsets_text,
    register_type,
)
from graphad.backends.llvm.tiles import NO_TILES, Tile
from graphad.backends.llvm.widths import Widths
from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Index,
    Let,
    Load,
    Loop,
    Operand,
    Position,
    Statement,
    Store,
    While,
    index_range,
    stride_of,
)
from graphad.errors import LoweringError
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import EXTENT, DType, i32, i64

#: A round of a loop: from its number and the carried values to the next carried values.
Body = Callable[[str, list[str]], list[str]]


class NestEmitter(Rounds):
    """Emits the bodies of loop nests into ``code``.

    Its state is the values, loop variables and indices in scope, and the lanes of the enclosing vector loop.
    """

    def __init__(
        self, code: Code, native: int, buffers: dict[str, Buffer], pointers: dict[str, str], comments: bool
    ) -> None:
        self.code = code
        self.native = native
        self.comments = comments
        self.buffers = buffers
        self.pointers = pointers
        self.kinds: dict[str, str] = {}  # types of the pointers that are not plain ones
        self.index_dtype: DType = i64  # loops count in it, and indices are computed in it
        self.scalars = Scalars(code, native)
        self.widths = Widths(native, buffers)
        self.accumulators = Accumulators(code, self.scalars)
        self.access = Access(code, self.scalars)
        self.values: dict[str, Val] = {}
        self.vars: dict[str, str] = {}  # loop variable -> its value, in a vector loop of lane 0
        self.extents: dict[str, int] = {}
        self.scope: dict[object, str] = {}  # indices and splats computed where the code now stands
        self.vector: str | None = None  # the variable that runs over the lanes
        self.lanes = Lanes(1, 1)
        self.count = ""  # what `EXTENT` stands for
        self.tiles = NO_TILES  # of the vector loop
        self.bounds: dict[str, int] = {}  # vector loops whose lanes are masked from here on
        self.line = ""
        self.on_turn: Callable[[Loop | While], None] = lambda _: None

    def note(self, loc: Loc) -> None:
        """Note the user's line that the next instructions come from."""
        if self.comments and loc is not None and (text := format_loc(loc)) != self.line:
            self.line = text
            self.code.lines.append(f"  ; {text}")

    @property
    def index_type(self) -> str:
        """The LLVM type of loop counters."""
        return element_type(self.index_dtype)

    # ---- statements

    def statements(self, body: Iterable[Statement]) -> None:
        for s in body:
            self.note(s.loc)
            match s:
                case Let():
                    self.let(s)
                case Load():
                    self.load(s)
                case Store():
                    self.store(s)
                case Position():
                    self.position(s)
                case Loop():
                    self.loop(s)
                case While():
                    self.while_loop(s)

    def operand(self, value: Operand, lanes: int) -> Val:
        """An operand in ``lanes`` lanes; uniform values are broadcast."""
        if not isinstance(value, str):
            return operand_text(value, lanes)
        val = self.values[value]
        if val.lanes == lanes:
            return val
        if val.lanes > 1:
            raise LoweringError(f"{value} differs from lane to lane where one value is needed: see `check_program`.")
        key = ("splat", val.text, lanes)
        if key not in self.scope:
            self.scope[key] = self.code.splat(val.text, element_type(val.dtype), lanes)
        return Val(self.scope[key], val.dtype, lanes)

    def let(self, s: Let) -> None:
        lanes = 1
        for a in s.args:
            if type(a) is str:
                lanes = max(lanes, self.values[a].lanes)
        args = [self.operand(a, lanes) for a in s.args]
        literals = [None if isinstance(a, str) else a for a in s.args]
        self.values[s.name] = self.scalars.operator(s, args, literals, lanes)

    def place(self, buffer: str, index: Index, dynamic: str | None) -> Place:
        """The place of an access; a uniform dynamic position is part of the index."""
        text, offsets = self.index(index), None
        if dynamic is not None:
            val = self.values[dynamic]
            if val.lanes > 1:
                offsets = val.text
            else:
                more = self.scalars.cast(val.text, i64, self.index_dtype, 1, "dynamic")
                text = more if text == "0" else self.code.let(f"add nsw {self.index_type} {text}, {more}", "index")
        stride, kind = stride_of(index, self.vector), self.kinds.get(buffer, "ptr")
        if self.buffers[buffer].private and self.vector is not None:
            text, stride = self._once(f"mul nsw {self.index_type} {text}, {self.lanes.count}"), 1
        return Place(self.pointers[buffer], text, stride, offsets, kind)

    def index(self, index: Index) -> str:
        """The value of an affine index, for lane 0."""
        kind, fixed, parts = self.index_type, index.offset, []
        for var, stride in index.terms:
            value = self.vars[var]
            if not value.startswith("%"):
                fixed += stride * int(value)
            elif stride:
                parts.append(value if stride == 1 else self._once(f"mul nsw {kind} {value}, {stride}"))
        if not parts:
            return str(fixed)
        total = parts[0]
        for part in parts[1:]:
            total = self._once(f"add nsw {kind} {total}, {part}")
        return self._once(f"add nsw {kind} {total}, {fixed}") if fixed else total

    def _once(self, instruction: str) -> str:
        found = self.scope.get(instruction)
        if found is None:
            found = self.scope[instruction] = self.code.let(instruction, "index")
        return found

    def load(self, s: Load) -> None:
        dtype = self.buffers[s.buffer].dtype
        if s.name in self.tiles.read:
            text = self.tiles.load(s, self.access, self.place_of, self.buffers[s.buffer], self.lanes.count)
            self.values[s.name] = Val(text, dtype, self.lanes.count)
            return
        place = self.place(s.buffer, s.index, s.dynamic)
        if place.stride or place.dynamic is not None:
            text = self.access.load(place, dtype, self.lanes_of(s.buffer), s.name)
            self.values[s.name] = Val(text, dtype, self.lanes.count)
        else:
            self.values[s.name] = Val(self.access.load_one(place, dtype, s.name), dtype, 1)

    def store(self, s: Store) -> None:
        dtype = self.buffers[s.buffer].dtype
        if (s.buffer, s.index) in self.tiles.written:
            value = self.operand(s.value, self.lanes.count).text
            self.tiles.store(s, value, self.access, self.place_of, self.buffers[s.buffer], self.lanes.count)
            return
        place = self.place(s.buffer, s.index, s.dynamic)
        if place.stride or place.dynamic is not None:
            value = self.operand(s.value, self.lanes.count).text
            mask = None if s.mask is None else self.operand(s.mask, self.lanes.count).text
            self.access.store(place, dtype, value, self.lanes_of(s.buffer), mask)
            return
        value = self.operand(s.value, 1).text
        if s.mask is None:
            self.access.store_one(place, dtype, value)
            return
        write, after = self.code.fresh("write"), self.code.fresh("after")
        self.code.do(f"br i1 {self.operand(s.mask, 1).text}, label %{write}, label %{after}")
        self.code.start(write)
        self.access.store_one(place, dtype, value)
        self.code.do(f"br label %{after}")
        self.code.start(after)

    def place_of(self, tile: Tile) -> Place:
        """The place of the first column of a tile."""
        return self.place(tile.buffer, tile.first, None)

    def lanes_of(self, buffer: str) -> Lanes:
        """The lanes of an access: of a private buffer all, for there is room for all."""
        return Lanes(self.lanes.count, self.lanes.count) if self.buffers[buffer].private else self.lanes

    def position(self, s: Position) -> None:
        """A coordinate as a number: computed in i32 where it fits, which converts to floats much faster."""
        stride = stride_of(s.index, self.vector)
        low, high = index_range(s.index, self.extents)
        span = abs(stride) * self.lanes.count  # what lanes beyond the extent may count up to
        counted = i32 if low - span >= -(1 << 31) and high + span < 1 << 31 else i64
        text = self.scalars.cast(self.index(s.index), self.index_dtype, counted, 1, s.name)
        if not stride:
            self.values[s.name] = Val(self.scalars.cast(text, counted, s.dtype, 1, s.name), s.dtype, 1)
            return
        count = self.lanes.count
        if text.startswith("%"):
            base = self.code.splat(text, element_type(counted), count)
        else:
            base = constant(int(text), counted, count)
        steps = offsets_text(stride, count, element_type(counted))
        lanes = self.code.let(f"add {register_type(counted, count)} {base}, {steps}", s.name)
        self.values[s.name] = Val(self.scalars.cast(lanes, counted, s.dtype, count, s.name), s.dtype, count)

    # ---- loops

    def loop(self, loop: Loop) -> None:
        self.extents[loop.var] = loop.extent
        if loop.vector and self.vector is None and 1 < loop.extent < EXTENT:
            self.vector_loop(loop)
        else:
            self.plain_loop(loop)
        del self.extents[loop.var]

    def plain_loop(self, loop: Loop) -> None:
        """A loop that is not vectorized; within a vector loop its carries are vectors."""
        lanes = self.lanes.count
        carried = [self.operand(c.init, lanes).text for c in loop.carries]
        if loop.extent == EXTENT:
            carried = self.counted_rounds(loop, carried, lanes)
        elif loop.extent == 1:
            carried = self.round(loop, "0", carried, lanes)
        elif loop.extent > 1:
            carried = self.rounds(loop, loop.extent, carried, lanes)
        for c, text in zip(loop.carries, carried, strict=True):
            self.values[c.name] = Val(text, c.dtype, lanes)

    def vector_loop(self, loop: Loop) -> None:
        """Blocks of lanes, then one masked tail; carries start at their identity."""
        count = self.widths.lanes(loop, loop.extent)
        blocks, tail = divmod(loop.extent, count)
        self.vector, self.lanes = loop.var, Lanes(count, count)
        carried = [self.accumulators.identity(c, count) for c in loop.carries]
        if tail and self.widths.one_copy(loop):
            self.bounds[loop.var] = loop.extent
            carried, tail = self.rounds(loop, blocks + 1, carried, count), 0
            del self.bounds[loop.var]
        elif blocks == 1:
            carried = self.round(loop, "0", carried, count)
        elif blocks:
            carried = self.rounds(loop, blocks, carried, count)
        if tail:
            fewer = min(self.widths.lanes(loop, tail), count)
            carried = [self.accumulators.narrow(c, t, count, fewer) for c, t in zip(loop.carries, carried, strict=True)]
            count, self.lanes = fewer, Lanes(fewer, tail)
            carried = self.round(loop, str(loop.extent - tail), carried, count)
        self.vector, self.lanes, self.tiles = None, Lanes(1, 1), NO_TILES
        for c, text in zip(loop.carries, carried, strict=True):
            total = self.accumulators.narrow(c, text, count, 1)
            first = self.operand(c.init, 1).text
            self.values[c.name] = Val(self.scalars.combine(c.combine, c.dtype, 1, total, first), c.dtype, 1)

    def rounds(self, loop: Loop, count: int, carried: list[str], lanes: int) -> list[str]:
        """``count`` rounds of a loop."""
        step = self.lanes.count if loop.var == self.vector else 1

        def body(at: str, values: list[str]) -> list[str]:
            return self.round(loop, at, values, lanes)

        return self.chunked(loop.carries, loop.var, count, carried, lanes, body, step)

    def chunked(
        self, carries: Sequence[Carry], hint: str, count: int, carried: list[str], lanes: int, body: Body, step: int = 1
    ) -> list[str]:
        """``count`` rounds; long float sums are blocked, each chunk from 0, which keeps the rounding error small."""
        types = [register_type(c.dtype, lanes) for c in carries]
        chunk, kind = chunk_size(carries, count), self.index_type
        if chunk is None:
            return self.repeat(str(count), hint, types, carried, body, step)

        def outer(at: str, values: list[str]) -> list[str]:
            start = self.code.let(f"mul nsw {kind} {at}, {chunk}", "start")
            trips = str(chunk)
            if count % chunk:
                rest = self.code.let(f"sub nsw {kind} {count}, {start}", "rest")
                last = self.code.let(f"icmp slt {kind} {rest}, {chunk}", "last")
                trips = self.code.let(f"select i1 {last}, {kind} {rest}, {kind} {chunk}", "trips")
            zero = [self.accumulators.restart(c, v, lanes) for c, v in zip(carries, values, strict=True)]
            begin = start if step == 1 else self.code.let(f"mul nsw {kind} {start}, {step}", "begin")
            parts = self.repeat(trips, hint, types, zero, body, step, begin)
            return [
                self.accumulators.resume(c, part, v, lanes) for c, part, v in zip(carries, parts, values, strict=True)
            ]

        return self.repeat(str(-(-count // chunk)), "chunk", types, carried, outer)

    def round(self, loop: Loop, at: str, carried: list[str], lanes: int) -> list[str]:
        """The body once, at ``loop.var = at``; returns the next carried values."""
        if loop.reverse and loop.var != self.vector:
            if loop.extent == EXTENT:
                last = self.code.let(f"sub nsw i64 {self.count}, 1", "last")
                at = self.code.let(f"sub nsw i64 {last}, {at}", "back")
            elif loop.extent > 1:
                at = self.code.let(f"sub nsw {self.index_type} {loop.extent - 1}, {at}", "back")
        self.vars[loop.var] = at
        self.on_turn(loop)
        for c, text in zip(loop.carries, carried, strict=True):
            self.values[c.name] = Val(text, c.dtype, lanes)
        outer, self.scope = self.scope, dict(self.scope)
        if loop.var == self.vector:
            are_plain = self.lanes.whole and not self.bounds and not self.kinds
            self.tiles = self.widths.tiles(loop, lanes) if are_plain else NO_TILES
        if loop.var in self.bounds:
            self.lanes = Lanes(lanes, lanes, self.below(at, self.bounds[loop.var], lanes))
        self.statements(loop.body)
        following = [self._next(loop, c, text, lanes) for c, text in zip(loop.carries, carried, strict=True)]
        self.scope = outer
        return following

    def below(self, at: str, bound: int, lanes: int) -> str:
        """The mask of the lanes below ``bound`` in the block that begins ``at``, a vector of i1."""
        kind = f"<{lanes} x {self.index_type}>"
        first = self.code.splat(at, self.index_type, lanes)
        lane = self.code.let(f"add nsw {kind} {first}, {offsets_text(1, lanes, self.index_type)}", "lane")
        return self.code.let(f"icmp slt {kind} {lane}, {constant(bound, self.index_dtype, lanes)}", "live")

    def _next(self, loop: Loop, c: Carry, running: str, lanes: int) -> str:
        values = [self.operand(value, lanes).text for value in c.reads]
        if c.combine == "last":
            return values[0]
        live = self.lanes.mask if loop.var == self.vector and not self.lanes.whole else None
        return self.accumulators.following(c, running, values, lanes, live)
