"""One kernel as LLVM text: the point of the grid that a thread works on, and the statements of its body.

The statements of loop programs are emitted as for the CPU (`llvm.nest`), with pointers into global and shared memory
and 32-bit indices where these suffice. With ``lanes``, a thread's neighbouring points are the lanes of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod

from graphad.backends.cuda.program.ir import Atomic, Axis, Barrier, DeviceStatement, Kernel, Scan, Spread
from graphad.backends.cuda.ptx.atomic import Atomics
from graphad.backends.cuda.ptx.group import Group, SharedMemory
from graphad.backends.cuda.ptx.lines import LocatedCode, SourceLines
from graphad.backends.cuda.ptx.scalar import DeviceAccess, DeviceScalars, when
from graphad.backends.cuda.ptx.scan import ScanParts
from graphad.backends.llvm.access import Lanes
from graphad.backends.llvm.nest import NestEmitter
from graphad.backends.llvm.reduce import Accumulators
from graphad.backends.llvm.text import Val, element_type, register_type
from graphad.backends.loops.ir import Buffer, Carry, Index, Load, Loop, Position, Store
from graphad.backends.loops.visit import walk
from graphad.ir.loc import Loc
from graphad.ir.types import DType, i32, i64

GLOBAL, SHARED = "ptr addrspace(1)", "ptr addrspace(3)"


class KernelEmitter(NestEmitter):
    """A `NestEmitter` for the body of a kernel; its further state is how the threads share the work.

    Parameters
    ----------
    kernel
        What to emit.
    buffers
        Of the program, by name.
    code
        The function that it becomes part of.
    parameters
        Pointers to the buffers that it is handed.
    shared
        Where memory of its blocks lies.
    lines
        The collector of the user's lines, and the scope of this function in it; None: without lines.
    flush_denormals
        Whether float32 operations flush denormals to 0, as operands and as results.
    """

    def __init__(
        self,
        kernel: Kernel,
        buffers: Mapping[str, Buffer],
        code: LocatedCode,
        parameters: Mapping[str, str],
        shared: SharedMemory,
        lines: tuple[SourceLines, int | None] | None,
        flush_denormals: bool,
    ) -> None:
        self.code: LocatedCode
        everything = {**buffers, **{b.name: b for b in kernel.shared}}
        super().__init__(code, 16, everything, {}, lines is not None)
        self.lines, self.line_scope = lines or (None, None)
        self.kernel = kernel
        self.index_dtype: DType = i32 if _fits_32_bits(kernel, everything) else i64
        self.scalars: DeviceScalars = DeviceScalars(code)
        self.accumulators = Accumulators(code, self.scalars)
        self.access: DeviceAccess = DeviceAccess(code, self.scalars, self.index_dtype)
        self.atomics = Atomics(code, self.scalars, self.access, flush_denormals)
        self.shared = shared
        self.pointers.update(parameters)
        self.kinds.update(dict.fromkeys(parameters, GLOBAL))
        self.writer: str | None = None  # the condition under which this thread stores; None: always
        self.turn = "0"  # number of the round of the `Spread` loop around
        self.running: dict[str, str] = {}  # of each scan in that loop

    def run(self, block: str, units: str | None = None) -> None:
        """Emit the kernel, for the block with this number within it, and the end of the function.

        ``units`` is how many threads have a point, where that is not known from the kernel.
        """
        kernel, code = self.kernel, self.code
        self.note(kernel.loc)
        unit, in_block, member = self.place_in_grid(block, units)
        self.group = Group(code, self.scalars, self.shared, kernel.group, member)
        self.place_shared(in_block)
        self.place_point(unit)
        if kernel.group > 1:
            self.writer = self.group.is_first()
        self.statements(kernel.body)
        code.do("ret void")

    def note(self, loc: Loc) -> None:
        super().note(loc)
        if self.lines is not None and self.line_scope is not None and loc is not None:
            self.code.location = self.lines.location(self.line_scope, loc)

    # ---- the frame

    def place_in_grid(self, block: str, units: str | None) -> tuple[str, str, str]:
        """The index of this thread's point, of its group in the block, and of the thread in the group."""
        kernel, code = self.kernel, self.code
        thread = code.call("llvm.nvvm.read.ptx.sreg.tid.x", "i32", [], "thread")
        if kernel.group == kernel.threads:
            return self.scalars.cast(block, i32, self.index_dtype, 1, "unit"), "0", thread
        in_block, member = thread, "0"
        if kernel.group > 1:
            member = code.let(f"and i32 {thread}, {kernel.group - 1}", "member")
            in_block = code.let(f"lshr i32 {thread}, {kernel.group.bit_length() - 1}", "group")
        per_block, kind = kernel.threads // kernel.group, self.index_type
        wide = [self.scalars.cast(text, i32, self.index_dtype, 1, "wide") for text in (block, in_block)]
        first = code.let(f"mul nuw nsw {kind} {wide[0]}, {per_block}", "first_unit")
        unit = code.let(f"add nuw nsw {kind} {first}, {wide[1]}", "unit")
        count = kernel.points // kernel.lanes
        if units is not None or count % per_block:
            inside, outside = code.fresh("inside"), code.fresh("outside")
            test = code.let(f"icmp ult {kind} {unit}, {units or count}", "is_inside")
            code.do(f"br i1 {test}, label %{inside}, label %{outside}")
            code.start(outside)
            code.do("ret void")
            code.start(inside)
        return unit, in_block, member

    def place_shared(self, in_block: str) -> None:
        """Give each group of the block its own copy of the shared buffers."""
        copies = self.kernel.threads // self.kernel.group
        for b in self.kernel.shared:
            nbytes = b.size * b.dtype.bits // 8
            base = self.shared.allocate(nbytes * copies)
            if copies > 1:
                offset = self.code.let(f"mul nuw nsw i32 {in_block}, {nbytes}", "copy")
                base = self.code.let(f"getelementptr i8, {SHARED} {base}, i32 {offset}", b.name)
            self.pointers[b.name], self.kinds[b.name] = base, SHARED

    def place_point(self, unit: str) -> None:
        """The coordinates of this thread's point; those of its lanes lie side by side along the last axis."""
        axes, lanes = self.kernel.grid, self.kernel.lanes
        if lanes == 1:
            self.decode(axes, unit)
            return
        last = axes[-1]
        self.decode((*axes[:-1], Axis(last.var, last.extent // lanes)), unit)
        first = self.vars[last.var]
        self.vars[last.var] = self.code.let(f"mul nuw nsw {self.index_type} {first}, {lanes}", last.var)
        self.extents[last.var] = last.extent
        self.vector, self.lanes = last.var, Lanes(lanes, lanes)

    def decode(self, axes: tuple[Axis, ...], flat: str) -> None:
        """The coordinates of point number ``flat``, the last axis fastest."""
        rest = prod([a.extent for a in axes])
        kind = self.index_type
        for axis in reversed(axes):
            self.extents[axis.var] = axis.extent
            rest //= axis.extent
            if axis.extent == 1:
                self.vars[axis.var] = "0"
            elif rest == 1:
                self.vars[axis.var] = flat
            else:
                self.vars[axis.var] = self.code.let(f"urem {kind} {flat}, {axis.extent}", axis.var)
                flat = self.code.let(f"udiv {kind} {flat}, {axis.extent}", "rest")

    # ---- statements

    def statements(self, body: Iterable[DeviceStatement]) -> None:
        for s in body:
            self.note(s.loc)
            match s:
                case Spread():
                    self.spread(s)
                case Scan():
                    self.scan(s)
                case Atomic():
                    self.atomic(s)
                case Barrier():
                    self.group.barrier()
                case _:
                    super().statements((s,))

    def loop(self, loop: Loop) -> None:
        """A loop of this thread alone."""
        self.extents[loop.var] = loop.extent
        self.plain_loop(loop)
        del self.extents[loop.var]

    def store(self, s: Store) -> None:
        """A store: by every thread within a `Spread` loop, else by the first thread of the group."""
        if self.writer is None:
            super().store(s)
        else:
            self.when_writer(lambda: super(KernelEmitter, self).store(s))

    def when_writer(self, body: Callable[[], None]) -> None:
        """Emit ``body``, which makes no value that is used later, for the threads that store."""
        assert self.writer is not None
        outer, self.scope = self.scope, dict(self.scope)
        when(self.code, self.writer, body)
        self.scope = outer

    def atomic(self, s: Atomic) -> None:
        if self.writer is None:
            self.update(s)
        else:
            self.when_writer(lambda: self.update(s))

    def update(self, s: Atomic) -> None:
        """One atomic update for every lane."""
        dtype, count = self.buffers[s.buffer].dtype, self.lanes.count
        place = self.place(s.buffer, s.index, s.dynamic)
        value = self.operand(s.value, count).text
        mask = None if s.mask is None else self.operand(s.mask, count).text
        for lane in range(count):
            one = self.scalars.lane(value, element_type(dtype), count, lane)
            at = self.access.place_of(place, lane, count)
            if mask is None:
                self.atomics.update(at, dtype, s.combine, one)
                continue
            where = self.scalars.lane(mask, "i1", count, lane)
            when(self.code, where, lambda at=at, one=one: self.atomics.update(at, dtype, s.combine, one))

    # ---- loops of the group

    def spread(self, s: Spread) -> None:
        """Full rounds, in which every thread takes one point, and a tail in which only some do."""
        size, lanes = self.kernel.group, self.lanes.count
        alone = size == 1
        begin = [self.operand(c.init, lanes).text if alone else self.accumulators.identity(c, 1) for c in s.carries]
        scans = [x for x in s.body if isinstance(x, Scan)]
        outer_writer, self.writer = self.writer, None
        carried = self.rounds_of(s, scans, begin)
        self.writer = outer_writer
        if not alone and s.carries:
            carried = self.group.combine_all(s.carries, carried)
            first = [self.operand(c.init, 1).text for c in s.carries]
            carried = [
                self.scalars.combine(c.combine, c.dtype, 1, text, init)
                for c, text, init in zip(s.carries, carried, first, strict=True)
            ]
        for c, text in zip(s.carries, carried, strict=True):
            self.values[c.name] = Val(text, c.dtype, lanes)
        for scan in scans:
            self.values[scan.exclusive] = Val(self.running[scan.exclusive], scan.dtype, lanes)

    def rounds_of(self, s: Spread, scans: list[Scan], begin: list[str]) -> list[str]:
        """The carried values after all rounds: those of the loop, then the running values of scans."""
        full, tail = divmod(s.extent, self.kernel.group)
        lanes = self.lanes.count
        carries = (*s.carries, *[Carry(x.exclusive, x.dtype, "last", x.init, x.inclusive) for x in scans])
        carried = [*begin, *[self.operand(x.init, lanes).text for x in scans]]

        def body(at: str, values: list[str]) -> list[str]:
            return self.spread_round(s, scans, self.point(at), at, values, None)

        if full == 1:
            carried = body("0", carried)
        elif full:
            carried = self.chunked(carries, s.axes[-1].var if s.axes else "point", full, carried, lanes, body)
        if tail:
            carried = self.tail_round(s, scans, carried, full, tail)
        for scan, text in zip(scans, carried[len(s.carries) :], strict=True):
            self.running[scan.exclusive] = text
        return carried[: len(s.carries)]

    def point(self, at: str) -> str:
        """The point that this thread takes in round ``at``."""
        size, kind = self.kernel.group, self.index_type
        if size == 1:
            return at
        member = self.scalars.cast(self.group.member, i32, self.index_dtype, 1, "member")
        if not at.startswith("%"):
            return self.code.let(f"add nuw nsw {kind} {member}, {int(at) * size}", "point") if int(at) else member
        first = self.code.let(f"mul nuw nsw {kind} {at}, {size}", "first_point")
        return self.code.let(f"add nuw nsw {kind} {first}, {member}", "point")

    def tail_round(self, s: Spread, scans: list[Scan], carried: list[str], full: int, tail: int) -> list[str]:
        """The last round, for the first ``tail`` threads; in a scan the others take part with the identity."""
        code, kind = self.code, self.index_type
        live = code.let(f"icmp ult i32 {self.group.member}, {tail}", "live")
        point = self.point(str(full))
        if scans:
            point = code.let(f"select i1 {live}, {kind} {point}, {kind} {s.extent - 1}", "point")
            return self.spread_round(s, scans, point, str(full), carried, live)
        before, some, after = code.block, code.fresh("tail"), code.fresh("after")
        code.do(f"br i1 {live}, label %{some}, label %{after}")
        code.start(some)
        updated = self.spread_round(s, scans, point, str(full), carried, None)
        end = code.block
        code.do(f"br label %{after}")
        code.start(after)
        joined = []
        for c, old, new in zip(s.carries, carried, updated, strict=True):
            kind = register_type(c.dtype, 1)
            joined.append(code.let(f"phi {kind} [ {old}, %{before} ], [ {new}, %{end} ]", c.name))
        return joined

    def spread_round(
        self, s: Spread, scans: list[Scan], point: str, at: str, carried: list[str], live: str | None
    ) -> list[str]:
        """The body at one point. Threads for which ``live`` is false store nothing, and keep their carries."""
        outer, self.scope = self.scope, dict(self.scope)
        if s.reverse and s.extent > 1:
            point = self.code.let(f"sub nuw nsw {self.index_type} {s.extent - 1}, {point}", "back")
        self.decode(s.axes, point)
        lanes = self.lanes.count
        for c, text in zip(s.carries, carried, strict=False):
            self.values[c.name] = Val(text, c.dtype, lanes)
        for scan, text in zip(scans, carried[len(s.carries) :], strict=True):
            self.running[scan.exclusive] = text
        self.turn, self.writer = at, live
        self.statements(s.body)
        following = [self.following(c, text) for c, text in zip(s.carries, carried, strict=False)]
        self.writer = None
        self.scope = outer
        return [*following, *[self.running[scan.exclusive] for scan in scans]]

    def following(self, c: Carry, running: str) -> str:
        """The next value of a carry; in a thread without a point it stays as it is."""
        lanes = self.lanes.count
        values = [self.operand(value, lanes).text for value in c.reads]
        return self.accumulators.following(c, running, values, lanes, self.writer)

    def scan(self, s: Scan) -> None:
        """One step of a running combination, by all threads of the group."""
        running, parts = self.running[s.exclusive], ScanParts(self.code, self.scalars, s)
        value = self.operand(s.value, 1).text
        decay = None if s.decay is None else self.operand(s.decay, 1).text
        if self.kernel.group == 1:
            exclusive, inclusive = running, parts.step(running, value, decay)
            total = inclusive
        else:
            part = parts.of_point(value, decay)
            if self.writer is not None:
                kind = element_type(s.dtype)
                rows = [f"{kind} {x}, {kind} {y}" for x, y in zip(part, parts.of_none(), strict=True)]
                part = tuple([self.code.let(f"select i1 {self.writer}, {row}", "live") for row in rows])
            turn = self.scalars.cast(self.turn, self.index_dtype, i32, 1, "turn") if "%" in self.turn else self.turn
            exclusive, inclusive, total = self.group.scan(parts, part, running, turn)
        self.values[s.exclusive] = Val(exclusive, s.dtype, 1)
        self.values[s.inclusive] = Val(inclusive, s.dtype, 1)
        self.running[s.exclusive] = total


def _fits_32_bits(kernel: Kernel, buffers: Mapping[str, Buffer]) -> bool:
    """Whether all counts and indices of a kernel, sums on the way included, are below 2**31."""
    extents = {a.var: a.extent for a in kernel.grid}
    counts = [kernel.points * kernel.group + kernel.threads]
    indices: list[Index] = []
    for s in walk(kernel.body):
        match s:
            case Loop(var=var, extent=extent):
                extents[var] = max(extent, extents.get(var, 0))
            case Spread(axes=axes):
                extents |= {a.var: max(a.extent, extents.get(a.var, 0)) for a in axes}
                counts.append(s.extent + kernel.group)
            case Position(index=index) | Load(index=index) | Store(index=index) | Atomic(index=index):
                indices.append(index)
            case _:
                pass
    counts += [buffers[name].size for name in kernel.parameters]
    counts += [abs(i.offset) + sum([abs(stride) * extents[var] for var, stride in i.terms]) for i in indices]
    return max(counts) < 1 << 31
