"""One kernel as a ``@cuda.jit`` function: the point that a thread works on, and the collectives of its group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from math import prod
from typing import Final

from graphad.backends.cuda.program.ir import (
    WARP,
    Atomic,
    Axis,
    Barrier,
    Bundle,
    DeviceStatement,
    Kernel,
    Scan,
    ScanCombine,
    Spread,
    aligned,
)
from graphad.backends.cuda.program.scans import scan_steps
from graphad.backends.cuda.program.text import format_blocks
from graphad.backends.loops.ir import Buffer, Carry, Combine, Operand, Store, is_half
from graphad.backends.lower.scalars import identity_of
from graphad.backends.numba.nest import PLAIN_SUM, NestSource, is_widened
from graphad.backends.numba.scalar import Expressions, array_type, scalar_type
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import DTYPES, DType, Literal, b1, f64, literal

STATIC_SHARED: Final = 48 * 1024  # bytes that a kernel can declare
#: Atomic updates that Numba has for integers of 32 and 64 bits; for floats of these widths it has the first only.
_UPDATES: Final[dict[Combine, str]] = {"sum": "add", "max": "max", "min": "min", "and": "and_", "or": "or_"}
_COMBINES: Final = ("sum", "prod", "max", "min", "and", "or")
_GROUPS: Final = ("segment", "warp", "block")
#: The functions that the source may call.
DEVICE_FUNCTIONS: Final = frozenset(
    {"sqrt", "floor", "ceil", "trunc", "rint", "copysign", "fmod", "segment_mask"}
    | {f"{kind}_{c}" for kind in _GROUPS for c in _COMBINES}
    | {f"{kind}_scan_{c}" for kind in _GROUPS for c in (*_COMBINES, "logsumexp", "linear")}
    | {f"atomic_{c}_{dtype}" for c in _COMBINES for dtype in DTYPES}
    | {f"gemm_{d}{end}" for d in (*DTYPES, "f16_f32", "bf16_f32") for end in ("", "_bias", "_relu", "_bias_relu")}
)


class DeviceExpressions(Expressions):
    """Scalar operators on a device, and the names in `graphad_kernels.cuda` that the source calls."""

    def __init__(self) -> None:
        super().__init__()
        self.rounding: set[str] = set()
        self.group: set[str] = set()
        self.atomics: dict[str, tuple[str, str]] = {}

    def float_call(self, op: str, args: list[str]) -> str:
        name = {"round": "rint", "rem": "fmod"}.get(op, op)
        self.rounding.add(name)
        return f"{name}({', '.join(args)})"

    def together(self, group: int, block: int, what: str, *args: str) -> str:
        """A collective of ``group`` threads; that of a block works in shared memory, the last of ``args``."""
        if group == block > WARP:
            kind = "block"
        else:
            kind, args = ("warp", args) if group == WARP else ("segment", (*args, str(group)))
        self.group.add(f"{kind}_{what}")
        return f"{kind}_{what}({', '.join(args)})"

    def warp_barrier(self, group: int) -> str:
        """A barrier of threads of one warp."""
        if group == WARP:
            return "cuda.syncwarp()"
        self.group.add("segment_mask")
        return f"cuda.syncwarp(segment_mask({group}))"

    def update(self, array: str, at: str, value: str, combine: Combine, dtype: DType) -> str:
        """An atomic update of an element."""
        native = ("sum",) if dtype.is_float else _UPDATES
        if dtype.bits >= 32 and combine in native:
            return f"cuda.atomic.{_UPDATES[combine]}({array}, {at}, {value})"
        name = f"atomic_{combine}_{dtype.name}"
        self.atomics[name] = (combine, dtype.name)
        return f"{name}({array}, {at}, {value})"


def dynamic_shared(launch: Kernel | Bundle) -> int:
    """Bytes of dynamic shared memory of a launch, where there is more than a kernel can declare.

    The parts of a bundle declare theirs.
    """
    if isinstance(launch, Bundle) or launch.shared_bytes <= STATIC_SHARED:
        return 0
    copies = launch.threads // launch.group
    return sum([aligned(copies * b.size * b.dtype.bits // 8) for b in launch.shared])


class KernelSource(NestSource):
    """The lines of one kernel. ``writer`` is the condition under which a thread stores, None if it always does.

    A ``part`` of a bundle is a function that the bundle's kernel calls with the number of the block within the part,
    and if it ``varies``, with the number of threads that have a point.
    """

    def __init__(
        self,
        kernel: Kernel,
        buffers: Mapping[str, Buffer],
        reserved: Iterable[str],
        expressions: DeviceExpressions,
        *,
        part: bool = False,
        varies: bool = False,
    ) -> None:
        super().__init__({**buffers, **{b.name: b for b in kernel.shared}}, reserved, expressions)
        self.expressions: DeviceExpressions
        self.kernel = kernel
        self.part = part
        self.block = self.name("block", "index") if part else "cuda.blockIdx.x"
        self.units = self.name("units", "index") if varies else None
        self.counts = [name for name in (self.block if part else None, self.units) if name is not None]
        self.parameters = [self.name(name, "buffer") for name in kernel.parameters]
        self.axes = kernel.grid
        if kernel.lanes > 1:
            self.axes = (*kernel.grid[:-1], Axis("first", kernel.grid[-1].extent // kernel.lanes))
        moving = [a.var for a in self.axes if a.extent != 1]
        self.point = self.name(moving[0] if len(moving) == 1 else "point", "index")
        self.thread = self.name("thread", "index")
        self.writer: str | None = None
        self.live: str | None = None  # whether this thread has a point in this round of a scan; None: it has
        self.dynamic_shared = dynamic_shared(kernel)
        self.declared: list[str] = []  # memory by which the group combines values

    def function(self) -> str:
        """The text of the function, decorator included."""
        kernel = self.kernel
        depth = self.frame()
        begin = len(self.lines)
        if kernel.group > 1:
            self.writer = f"{self.thread} == 0"
        self.statements(kernel.body, depth)
        if len(self.lines) == begin:
            self.line(depth, "pass")
        self.lines[begin:begin] = self.declared
        where = f"  # {format_loc(kernel.loc)}" if format_loc(kernel.loc) else ""
        head = f"def {kernel.name}({', '.join([*self.counts, *self.parameters])}):{where}"
        return "\n".join(["@cuda.jit(device=True)" if self.part else "@cuda.jit", head, *self.lines, ""])

    # ---- the frame

    def frame(self) -> int:
        """The coordinates of this thread's point, and its group's shared memory; returns the indentation."""
        kernel = self.kernel
        several = f"{kernel.lanes} neighbouring points a thread" if kernel.lanes > 1 else "a thread for each point"
        several = several if kernel.group == 1 else f"{kernel.group} threads for each point"
        points = f"{kernel.points} point{'s' * (kernel.points != 1)}"
        all_threads = f"{points}, {several}: {format_blocks(kernel)}"
        self.line(1, f'"""{all_threads if self.units is None else several.capitalize()}."""')
        self.place_in_grid()
        self.place_shared()
        return self.place_point()

    def place_in_grid(self) -> None:
        kernel = self.kernel
        if kernel.group == kernel.threads:
            if kernel.points > 1:
                self.line(1, f"{self.point} = {self.block}")
            self.line(1, f"{self.thread} = cuda.threadIdx.x")
            return
        number = f"{self.block} * {kernel.threads} + cuda.threadIdx.x" if self.part else "cuda.grid(1)"
        if kernel.group > 1:
            number = f"({number}) // {kernel.group}" if self.part else f"{number} // {kernel.group}"
        self.line(1, f"{self.point} = {number}")
        if kernel.group > 1:
            self.line(1, f"{self.thread} = cuda.threadIdx.x % {kernel.group}")
        units = kernel.points // kernel.lanes
        if self.units is not None or units % (kernel.threads // kernel.group):
            self.line(1, f"if {self.point} >= {self.units or units}:")
            self.line(2, "return")

    def place_shared(self) -> None:
        """The group's own part of the arrays that each block has."""
        group, copies, start = self.kernel.group, self.kernel.threads // self.kernel.group, 0
        for b in self.kernel.shared:
            name, kind, itemsize = self.name(b.name, "buffer"), array_type(b.dtype), b.dtype.bits // 8
            if self.dynamic_shared:
                first, last = start // itemsize, start // itemsize + b.size
                mine = f" + cuda.threadIdx.x // {group} * {b.size}" if copies > 1 else ""
                text = f"cuda.shared.array(0, {kind})[{first}{mine} : {last}{mine}]"
            elif copies > 1:
                text = f"cuda.shared.array(({copies}, {b.size}), {kind})[cuda.threadIdx.x // {group}]"
            else:
                text = f"cuda.shared.array({b.size}, {kind})"
            self.line(1, f"{name} = {text}")
            start += aligned(copies * b.size * itemsize)

    def place_point(self) -> int:
        """The coordinates of the point; with several for a thread, the loop over them."""
        self.decode(self.axes, self.point, 1, None)
        lanes = self.kernel.lanes
        if lanes == 1:
            return 1
        var, first = self.name(self.kernel.grid[-1].var, "index"), f"{lanes} * {self.name('first', 'index')}"
        span = f"{first}, {first} + {lanes}" if self.axes[-1].extent > 1 else f"{lanes}"
        self.line(1, f"for {var} in range({span}):")
        return 2

    def decode(self, axes: Sequence[Axis], flat: str, depth: int, loc: Loc) -> None:
        """The coordinates of point number ``flat``, the last axis fastest."""
        self.fixed |= {a.var: 0 for a in axes if a.extent == 1}
        axes = [a for a in axes if a.extent != 1]
        if len(axes) == 1 and self.name(axes[0].var, "index") == flat:
            return
        rest = prod([a.extent for a in axes])
        for k, axis in enumerate(axes):
            rest //= axis.extent
            text = f"{flat} // {rest}" if rest > 1 else flat
            text += f" % {axis.extent}" if k else ""
            self.line(depth, f"{self.name(axis.var, 'index')} = {text}", loc)

    # ---- statements

    def statements(self, body: Iterable[DeviceStatement], depth: int) -> None:
        for stores, run in groupby(body, lambda s: isinstance(s, Store)):
            if stores and self.writer is not None:
                self.guarded_stores([s for s in run if isinstance(s, Store)], depth)
                continue
            for s in run:
                self.statement(s, depth)

    def guarded_stores(self, stores: Sequence[Store], depth: int) -> None:
        """Stores, under the condition that this thread makes them."""
        masks = {s.mask for s in stores}
        (mask,) = masks if len(masks) == 1 else (None,)
        condition = self.writer if mask is None else f"{self.writer} and {self.operand(mask)}"
        self.line(depth, f"if {condition}:", stores[0].loc)
        for s in stores:
            self.store(s if mask is None else replace(s, mask=None), depth + 1)

    def statement(self, s: DeviceStatement, depth: int) -> None:
        match s:
            case Spread():
                self.spread(s, depth)
            case Scan():
                self.scan(s, depth)
            case Barrier() if self.kernel.group > WARP:
                self.line(depth, "cuda.syncthreads()", s.loc)
            case Barrier():
                if self.kernel.group > 1:
                    self.line(depth, self.expressions.warp_barrier(self.kernel.group), s.loc)
            case _:
                super().statements((s,), depth)

    def store(self, s: Store, depth: int) -> None:
        """A store, or an atomic update."""
        if not isinstance(s, Atomic):
            super().store(s, depth)
            return
        if s.mask is not None:
            self.line(depth, f"if {self.operand(s.mask)}:", s.loc)
            depth += 1
        array, at = self.name(s.buffer, "buffer"), self.index(s.index, s.dynamic)
        dtype = self.buffers[s.buffer].dtype
        self.line(depth, self.expressions.update(array, at, self.operand(s.value), s.combine, dtype), s.loc)

    # ---- loops of the group

    def spread(self, s: Spread, depth: int) -> None:
        """A loop in which each thread takes every n-th point, and the reduction over the threads."""
        size = self.kernel.group
        rounds = -(-s.extent // size)
        running = [self.running(c, rounds) for c in s.carries]
        for c, name in zip(s.carries, running, strict=True):
            alone = size == 1 or c.init is identity_of(c.combine, c.dtype)
            start = self.operand(c.init if alone else _identity(c.combine, c.dtype))
            wide = is_widened(c) and rounds > PLAIN_SUM
            self.line(depth, f"{name} = np.float64({start})" if wide else f"{name} = {start}", s.loc)
        scans = [x for x in s.body if isinstance(x, Scan)]
        for x in scans:
            self.line(depth, f"{self.total(x)} = {self.operand(x.init)}", x.loc)
        outer, self.writer = self.writer, None
        if s.extent:
            self.rounds(s, scans, running, depth)
        self.writer, self.live = outer, None
        for c, name in zip(s.carries, running, strict=True):
            self.finish(c, name, rounds, depth, s.loc)
        for x in scans:
            if size > 1:
                self.line(depth, f"{self.define(x.exclusive, x.dtype)} = {self.total(x)}", x.loc)

    def rounds(self, s: Spread, scans: Sequence[Scan], running: Sequence[str], depth: int) -> None:
        """The loop over the points that this thread takes."""
        size, moving = self.kernel.group, [a.var for a in s.axes if a.extent != 1]
        backwards = s.reverse and bool(scans)
        at = self.name("_".join(moving) or "point", "index")
        if scans and size > 1:
            depth = self.in_step(s, at, depth)
        elif size == 1 and s.extent > 1:
            span = f"range({s.extent - 1}, -1, -1)" if backwards else f"range({s.extent})"
            self.line(depth, f"for {at} in {span}:", s.loc)
            depth += 1
        elif s.extent == size > 1:
            self.line(depth, f"{at} = {self.thread}", s.loc)
        elif size > 1:
            self.line(depth, f"for {at} in range({self.thread}, {s.extent}, {size}):", s.loc)
            depth += 1
        self.decode(s.axes, at, depth, s.loc)
        self.body(s.body, s.carries, running, depth, s.loc)
        for x in scans:
            if size == 1:
                self.line(depth, f"{self.total(x)} = {self.operand(x.inclusive)}", x.loc)

    def in_step(self, s: Spread, at: str, depth: int) -> int:
        """The head of a loop with the same number of rounds for all threads, those without a point too."""
        size, thread, last = self.kernel.group, self.thread, s.extent - 1
        point = thread
        if s.extent > size:
            first = self.name("start", "index")
            self.line(depth, f"for {first} in range(0, {s.extent}, {size}):", s.loc)
            depth, point = depth + 1, f"{first} + {thread}"
        if s.extent % size:
            self.writer = self.live = self.name("live", b1)
            self.line(depth, f"{self.live} = {point} < {s.extent}", s.loc)
            point = f"min({point}, {last})"
        if s.reverse:
            point = f"{last} - {point}" if point.startswith("min") or point == thread else f"{last} - ({point})"
        self.line(depth, f"{at} = {point}", s.loc)
        return depth

    def finish(self, c: Carry, running: str, rounds: int, depth: int, loc: Loc) -> None:
        """The value of a carry after its loop, in all threads of the group."""
        size, wide = self.kernel.group, is_widened(c) and rounds > PLAIN_SUM
        text = running
        if size > 1:
            args = [running, *self.parts(c.name, f64 if wide else c.dtype)]
            text = self.expressions.together(size, self.kernel.threads, _combination(c.combine, c.dtype), *args)
        if wide:
            text = f"np.float32({text})"
        if size > 1 and c.init is not identity_of(c.combine, c.dtype):
            text = self.combined(c, text, self.operand(c.init))
        else:
            text = self.expressions.rounded(text, c.dtype) if size > 1 else text
        name = self.name(c.name, c.dtype)
        if text != name:
            self.line(depth, f"{name} = {text}", loc)

    def following(self, c: Carry, running: str) -> str:
        text = super().following(c, running)
        return text if self.live is None else f"{text} if {self.live} else {running}"

    def parts(self, name: str, dtype: DType) -> list[str]:
        """An array for a value of each warp of the block, if the group has several."""
        warps = self.kernel.group // WARP
        if warps < 2:
            return []
        parts = self.name(f"{name}_parts", "buffer")
        self.declared.append(f"    {parts} = cuda.shared.array({warps}, {scalar_type(dtype)})")
        return [parts]

    # ---- scans

    def total(self, x: Scan) -> str:
        """The variable for the running value before this point."""
        return self.define(x.exclusive if self.kernel.group == 1 else f"{x.exclusive}_total", x.dtype)

    def scan(self, x: Scan, depth: int) -> None:
        """One step of a running combination."""
        total, size = self.total(x), self.kernel.group
        if size == 1:
            for step in scan_steps(x.combine, x.inclusive, x.dtype, x.exclusive, x.value, x.decay, x.loc):
                self.let(step, depth)
            return
        before, upto = (self.define(name, x.dtype) for name in (x.exclusive, x.inclusive))
        args = [] if x.decay is None else [self.unless_live(x.decay, literal(1, x.dtype))]
        args += [self.unless_live(x.value, _identity(x.combine, x.dtype)), total]
        args += [] if x.decay is None else self.parts(f"{x.exclusive}_decay", x.dtype)
        args += self.parts(x.exclusive, x.dtype)
        call = self.expressions.together(size, self.kernel.threads, f"scan_{_combination(x.combine, x.dtype)}", *args)
        self.line(depth, f"{before}, {upto}, {total} = {call}", x.loc)
        for name in (before, upto, total) if is_half(x.dtype) else ():
            self.line(depth, f"{name} = {self.expressions.rounded(name, x.dtype)}", x.loc)

    def unless_live(self, value: Operand, otherwise: Literal) -> str:
        """An operand, or in a thread without a point the identity."""
        text = self.operand(value)
        return text if self.live is None else f"{text} if {self.live} else {self.operand(otherwise)}"


def _identity(combine: ScanCombine, dtype: DType) -> Literal:
    """The identity of a combination: -0.0 for sums, as 0.0 would turn -0.0 into 0.0."""
    return literal(-0.0, dtype) if combine in ("sum", "linear") and dtype.is_float else identity_of(combine, dtype)


def _combination(combine: ScanCombine, dtype: DType) -> str:
    """The name of the combination in `graphad_kernels.cuda.group`; the maximum of booleans is a bitwise or."""
    return {"max": "or", "min": "and"}.get(combine, combine) if dtype is b1 else combine
