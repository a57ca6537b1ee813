"""How many lanes a vector loop has, and what it accesses by tiles."""

from __future__ import annotations

from collections.abc import Mapping

from graphad.backends.llvm.tiles import Tiles, tiles_of
from graphad.backends.loops import memory
from graphad.backends.loops.ir import Buffer, Let, Load, Loop, Position, Store, While, is_half
from graphad.backends.loops.visit import walk
from graphad.ir.types import DType

#: Bodies of at most so many statements are unrolled to 4 native vectors, then 2, then 1: unrolling hides the latency of
#: the polynomials, but takes registers.
FOUR_VECTORS, TWO_VECTORS = 300, 3000
#: The same of bodies that access tiles: matrices are many registers.
TILES_OF_TWO = 150
#: Beyond so many lanes, only the text gets longer.
MOST_LANES = 64
#: A body of more statements whose loop is short (in native vectors) is emitted once, in one vector under a dynamic
#: mask: compiling it takes longer than running it, so that separate copies for blocks and a tail do not pay.
ONE_COPY, SHORT_LOOP = 40, 32


class Widths:
    """Decides for vectors of ``native`` bytes; ``buffers`` are those of the program."""

    def __init__(self, native: int, buffers: Mapping[str, Buffer]) -> None:
        self.native = native
        self.buffers = buffers

    def lanes(self, loop: Loop, extent: int) -> int:
        """Lanes for ``extent`` iterations: 1, 2 or 4 native vectors of the widest dtype; fewer for short loops."""
        size, native = self._measure(loop)
        if any(
            [isinstance(s, (Loop, While)) and any([c.combine == "last" for c in s.carries]) for s in walk(loop.body)]
        ):
            return max(memory.LANE_BYTES * native // self.native, 2)
        vectors = 4 if size <= FOUR_VECTORS else 2 if size <= TWO_VECTORS else 1
        if size > ONE_COPY and loop.extent <= SHORT_LOOP * native:
            vectors = 1
        elif vectors > 1 and self.tiles(loop, native):
            vectors = 2 if size <= TILES_OF_TWO else 1
        count = min(native * vectors, MOST_LANES)
        while count // 2 >= extent and count > 2:
            count //= 2
        return count

    def one_copy(self, loop: Loop) -> bool:
        """Whether blocks and tail share one copy of the body; small vectors have no masked accesses."""
        size, native = self._measure(loop)
        if any([isinstance(s, (Loop, While)) for s in walk(loop.body)]) and size > ONE_COPY:
            return loop.extent > self.lanes(loop, loop.extent) and self.native >= 32
        return size > ONE_COPY and loop.extent <= SHORT_LOOP * native and self.native >= 32

    def tiles(self, loop: Loop, lanes: int) -> Tiles:
        """What a vector loop accesses by tiles, each row of which is a native vector or less."""
        return tiles_of(loop.body, loop.var, self.buffers, min(self._measure(loop)[1], lanes))

    def _measure(self, loop: Loop) -> tuple[int, int]:
        """The number of statements in a loop, and how many elements of its widest dtype a native vector has."""
        bits = max((_register_bits(c.dtype) for c in loop.carries), default=8)
        size = 0
        for s in walk(loop.body):
            size += 1
            match s:
                case Let(dtype=dtype) | Position(dtype=dtype):
                    bits = max(bits, _register_bits(dtype))
                case Load(buffer=buffer) | Store(buffer=buffer):
                    bits = max(bits, _register_bits(self.buffers[buffer].dtype))
                case Loop(carries=carries) | While(carries=carries):
                    bits = max(bits, *(_register_bits(c.dtype) for c in carries), 8)
        return size, self.native * 8 // bits


def _register_bits(dtype: DType) -> int:
    return 32 if is_half(dtype) else dtype.bits
