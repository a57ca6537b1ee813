"""Collectives of the threads of a group: barriers, reductions, scans.

Within a warp, values move by shuffles; among the warps of a block through shared memory. All threads of a group must
take part.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphad.backends.cuda.program.ir import aligned
from graphad.backends.cuda.ptx.scalar import DeviceScalars, when
from graphad.backends.cuda.ptx.scan import Part, ScanParts
from graphad.backends.llvm.reduce import Accumulators
from graphad.backends.llvm.text import Code, element_type, storage_type
from graphad.backends.loops.ir import Carry, is_half
from graphad.ir.types import DType, f32

WARP = 32
STATIC_SHARED = 48 * 1024
"""Bytes of shared memory that a kernel can declare; what needs more must be asked for when it is launched."""


class SharedMemory:
    """The layout of shared memory in an entry of the module, in the order of allocation."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.size = 0
        self._used = 0  # bytes of the current overlay

    def allocate(self, nbytes: int) -> str:
        """The address, a constant of type ``ptr addrspace(3)``, of so many bytes aligned to 16."""
        offset = self._used
        self._used += aligned(nbytes)
        self.size = max(self.size, self._used)
        return f"getelementptr (i8, ptr addrspace(3) @{self.symbol}, i32 {offset})"

    def overlay(self) -> None:
        """Allocate from the start again, for blocks that use nothing of what was allocated so far."""
        self._used = 0

    @property
    def dynamic_bytes(self) -> int:
        """Dynamic shared memory of the launch."""
        return self.size if self.size > STATIC_SHARED else 0

    def definition(self) -> list[str]:
        """The line that declares it."""
        if not self.size:
            return []
        if self.dynamic_bytes:
            return [f"@{self.symbol} = external addrspace(3) global [0 x i8], align 16"]
        return [f"@{self.symbol} = internal addrspace(3) global [{self.size} x i8] poison, align 16"]


class Group:
    """Emits collectives of ``size`` threads into ``code``; ``member`` is the number of this thread, an i32."""

    def __init__(self, code: Code, scalars: DeviceScalars, shared: SharedMemory, size: int, member: str) -> None:
        self.code = code
        self.scalars = scalars
        self.accumulators = Accumulators(code, scalars)
        self.shared = shared
        self.size = size
        self.member = member
        self.width = min(size, WARP)  # threads of the group in one warp
        self.warps = -(-size // WARP)

    def barrier(self) -> None:
        """Wait for all threads of the group; their writes are visible afterwards."""
        if self.warps > 1:
            self.code.call("llvm.nvvm.barrier.cta.sync.aligned.all", "void", [("i32", "0")])
        elif self.size > 1:
            self.code.call("llvm.nvvm.bar.warp.sync", "void", [("i32", "-1")])

    def is_first(self) -> str:
        """Whether this is the thread that stores uniform values."""
        return self.code.let(f"icmp eq i32 {self.member}, 0", "first")

    # ---- shuffles

    def shuffle(self, mode: str, text: str, dtype: DType, by: str, clamp: int) -> str:
        """A value of another thread of the warp: ``bfly``, ``up`` or ``idx``, as PTX defines them."""
        element, let = element_type(dtype), self.code.let
        if dtype.bits == 64:
            word = let(f"bitcast double {text} to i64", "word") if dtype.is_float else text
            high = let(f"lshr i64 {word}, 32", "high")
            halves = [let(f"trunc i64 {part} to i32", "half") for part in (word, high)]
            low, high = (let(f"zext i32 {self._exchange(mode, h, by, clamp)} to i64", "half") for h in halves)
            high = let(f"shl i64 {high}, 32", "high")
            word = let(f"or disjoint i64 {high}, {low}", "word")
            return let(f"bitcast i64 {word} to double", "other") if dtype.is_float else word
        if element == "i32":
            return self._exchange(mode, text, by, clamp)
        if element == "float":
            other = self._exchange(mode, let(f"bitcast float {text} to i32", "word"), by, clamp)
            return let(f"bitcast i32 {other} to float", "other")
        other = self._exchange(mode, let(f"zext {element} {text} to i32", "word"), by, clamp)
        return let(f"trunc i32 {other} to {element}", "other")

    def _exchange(self, mode: str, text: str, by: str, clamp: int) -> str:
        args = [("i32", "-1"), ("i32", text), ("i32", by), ("i32", str(clamp))]
        return self.code.call(f"llvm.nvvm.shfl.sync.{mode}.i32", "i32", args, "other")

    def _clamp(self, last: int) -> int:
        """The clamp operand of ``shfl``: segments of ``width`` threads, and ``last`` as the last thread reachable."""
        return ((WARP - self.width) << 8) | last

    # ---- reductions

    def combine_all(self, carries: Sequence[Carry], parts: Sequence[str]) -> list[str]:
        """For each carry, the reduction of the values of all threads, in a fixed order."""
        totals = [self._combine_warp(c, text) for c, text in zip(carries, parts, strict=True)]
        if self.warps == 1:
            return totals
        slots = [self._slots(register_storage(c.dtype), self.warps) for c in carries]
        warp, lane = self._warp_and_lane()
        for c, total, slot in zip(carries, totals, slots, strict=True):
            # All threads of a warp hold the same value; one of them writes it.
            self._write_where(self.code.let(f"icmp eq i32 {lane}, 0", "speaks"), slot, warp, c.dtype, total)
        self.barrier()
        return [self._combine_slots(c, slot) for c, slot in zip(carries, slots, strict=True)]

    def _combine_warp(self, c: Carry, text: str) -> str:
        distance = self.width // 2
        while distance:
            other = self.shuffle("bfly", text, c.dtype, str(distance), WARP - 1)
            text = self.scalars.combine(c.combine, c.dtype, 1, other, text)
            distance //= 2
        if c.combine in ("max", "min") and c.dtype.is_float:  # threads may hold 0.0 or -0.0: make it uniform
            text = self.shuffle("idx", text, c.dtype, "0", self._clamp(WARP - 1))
        return text

    def _combine_slots(self, c: Carry, slot: str) -> str:
        total = self._read(slot, "0", c.dtype)
        for warp in range(1, self.warps):
            total = self.scalars.combine(c.combine, c.dtype, 1, self._read(slot, str(warp), c.dtype), total)
        return total

    # ---- scans

    def scan(self, parts: ScanParts, part: Part, running: str, turn: str) -> tuple[str, str, str]:
        """A scan along the threads of a group.

        Parameters
        ----------
        parts
            How parts combine.
        part
            Of this thread.
        running
            The running value before this round of the group.
        turn
            An i32 that counts the rounds of the loop around the scan.

        Returns
        -------
        exclusive, inclusive, total
            The running value before this thread's part, after it, and after that of the last thread.
        """
        warp, lane = self._warp_and_lane()
        within, distance = part, 1
        while distance < self.width:
            before = self._shuffled("up", within, parts.dtype, str(distance), 0)
            far = self.code.let(f"icmp uge i32 {lane}, {distance}", "far")
            within = self._chosen(far, parts.dtype, parts.joined(within, before), within)
            distance *= 2
        earlier = self._shuffled("up", within, parts.dtype, "1", 0)
        if self.warps == 1:
            whole = self._shuffled("idx", within, parts.dtype, str(self.width - 1), WARP - 1)
            start, total = running, parts.applied(whole, running)
        else:
            start, total = self._scan_warps(parts, within, running, turn, warp, lane)
        is_start = self.code.let(f"icmp eq i32 {lane}, 0", "is_start")
        (exclusive,) = self._chosen(is_start, parts.dtype, (start,), (parts.applied(earlier, start),))
        return exclusive, parts.applied(within, start), total

    def _scan_warps(
        self, parts: ScanParts, within: Part, running: str, turn: str, warp: str, lane: str
    ) -> tuple[str, str]:
        """The running value before this warp, and the total. Double-buffered slots make one barrier suffice."""
        dtype = parts.dtype
        slots = [self._slots(register_storage(dtype), 2 * self.warps) for _ in within]
        odd = self.code.let(f"and i32 {turn}, 1", "odd")
        base = self.code.let(f"mul i32 {odd}, {self.warps}", "base")
        mine = self.code.let(f"add i32 {base}, {warp}", "mine")
        last = self.code.let(f"icmp eq i32 {lane}, {WARP - 1}", "last")
        for place, text in zip(slots, within, strict=True):
            self._write_where(last, place, mine, dtype, text)
        self.barrier()
        start = total = running
        for k in range(self.warps):
            place = self.code.let(f"add i32 {base}, {k}", "place") if k else base
            total = parts.applied(tuple([self._read(s, place, dtype) for s in slots]), total)
            if k + 1 < self.warps:
                past = self.code.let(f"icmp ugt i32 {warp}, {k}", "past")
                (start,) = self._chosen(past, dtype, (total,), (start,))
        return start, total

    def _shuffled(self, mode: str, part: Part, dtype: DType, by: str, last: int) -> Part:
        return tuple([self.shuffle(mode, text, dtype, by, self._clamp(last)) for text in part])

    def _chosen(self, condition: str, dtype: DType, a: Part, b: Part) -> Part:
        kind = element_type(dtype)
        rows = [f"select i1 {condition}, {kind} {x}, {kind} {y}" for x, y in zip(a, b, strict=True)]
        return tuple([self.code.let(row, "chosen") for row in rows])

    # ---- shared memory

    def _warp_and_lane(self) -> tuple[str, str]:
        if self.warps == 1:
            return "0", self.member
        lane = self.code.let(f"and i32 {self.member}, {WARP - 1}", "lane")
        return self.code.let(f"lshr i32 {self.member}, {WARP.bit_length() - 1}", "warp"), lane

    def _slots(self, dtype: DType, count: int) -> str:
        return self.shared.allocate(count * dtype.bits // 8)

    def _address(self, slots: str, place: str, dtype: DType) -> str:
        element = storage_type(register_storage(dtype))
        return self.code.let(f"getelementptr {element}, ptr addrspace(3) {slots}, i32 {place}", "slot")

    def _write_where(self, condition: str, slots: str, place: str, dtype: DType, text: str) -> None:
        kept = register_storage(dtype)
        raw = self.scalars.stored(text, kept, 1)

        def write() -> None:
            self.code.do(f"store {storage_type(kept)} {raw}, ptr addrspace(3) {self._address(slots, place, dtype)}")

        when(self.code, condition, write)

    def _read(self, slots: str, place: str, dtype: DType) -> str:
        kept = register_storage(dtype)
        raw = self.code.let(f"load {storage_type(kept)}, ptr addrspace(3) {self._address(slots, place, dtype)}", "part")
        return self.scalars.loaded(raw, kept, 1)


def register_storage(dtype: DType) -> DType:
    """The dtype that stores a value exactly as it is in registers."""
    return f32 if is_half(dtype) else dtype
