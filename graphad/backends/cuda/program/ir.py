"""What runs on a device: kernels over a grid of threads, matrix products, copies and guards. Plain data.

``KernelProgram -> DeviceProgram`` is `schedule`; ``DeviceProgram -> text`` is `ptx.emit` and `cuda.numba.source`. A
`Kernel` is one launch, or with others part of one, a `Bundle`. Its ``grid`` is what the program loops over outermost,
run by all threads at once:

- with ``group`` 1, each thread runs ``body`` for one point of the grid (or for ``lanes`` neighbouring ones: then every
  access of its body has stride 0 or 1 along the last axis, and those with stride 1 are vector accesses);
- with a larger group, that many threads run ``body`` together for one point. Statements outside a `Spread` loop are run
  by all of them alike (only the first one stores); a `Spread` loop shares its iterations out among them.

Walk of one example, softmax of ``x: f32[64,48]`` (compare `graphad.backends.loops.ir`)::

    kernel softmax_0(in0, out0) shared tmp0: f32[48] group 32 threads 128
      for i in 64 grid:
        spread j in 48, s1: f32 = max(-inf, t0):
          t0 = in0[48*i + j]
        spread j in 48, s5: f32 = sum(0.0, t4):
          t2 = in0[48*i + j]
          t4: f32 = exp(sub(t2, s1))
          tmp0[j] = t4
        barrier
        spread j in 48:
          t6 = tmp0[j]
          t7: f32 = div(t6, s5)
          out0[48*i + j] = t7
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Final
from typing import Literal as OneOf

from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Combine,
    Copy,
    Counted,
    Gemm,
    GuardStep,
    HostCall,
    Let,
    Load,
    Loop,
    Operand,
    Position,
    Repeat,
    RepeatWhile,
    Step,
    Store,
    While,
)
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step, read_in_turns, written_in_turns
from graphad.backends.loops.visit import walk
from graphad.ir.frozen import light
from graphad.ir.loc import Loc
from graphad.ir.types import DType

#: Bytes of shared memory that every block can have without asking for more.
MOST_SHARED: Final = 48 * 1024
#: Threads of a warp.
WARP: Final = 32


@dataclass(frozen=True, slots=True)
class Axis:
    """A loop variable and its extent."""

    var: str
    extent: int


@dataclass(frozen=True, slots=True)
class Barrier:
    """All threads of the group get here before any goes on; what they wrote before can be read after."""

    loc: Loc = field(default=None, compare=False)


@light
class Atomic(Store):
    """An atomic update: ``buffer[at] = combine(buffer[at], value)``, where ``mask`` holds.

    ``combine`` is any but ``last``. The order of updates to one element is not fixed. (It is a `Store` so that loops
    hold it and rewrites carry it along; emitters look for it first.)
    """

    combine: Combine = "sum"


#: How a `Scan` combines: as carries do (but for ``last``), or by an operator of scans alone.
ScanCombine = Combine | OneOf["logsumexp", "linear"]


@dataclass(frozen=True, slots=True)
class Scan:
    """Running combination over the iterations of the `Spread` loop around (which holds it directly).

    ``inclusive`` is the combination of ``init`` and the ``value`` of all iterations up to this one, ``exclusive`` that
    without this one's. After the loop, ``exclusive`` is the name of the total. With ``linear``, which alone has a
    ``decay``, ``inclusive = decay * exclusive + value``.
    """

    exclusive: str
    inclusive: str
    dtype: DType
    combine: ScanCombine
    init: Operand
    value: Operand
    decay: Operand | None = None
    loc: Loc = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Spread:
    """A loop over the points of ``axes`` (the last moves fastest), shared out among the threads of the group.

    Thread ``t`` of ``g`` takes points ``t, t + g, ...``. Carries (never ``last``) are combined over the group in a
    fixed order; afterwards all its threads hold the result. With ``reverse`` the points are taken from the last to the
    first, which matters to a `Scan` alone.
    """

    axes: tuple[Axis, ...]
    body: tuple[DeviceStatement, ...]
    carries: tuple[Carry, ...] = ()
    reverse: bool = False
    loc: Loc = field(default=None, compare=False)

    @property
    def extent(self) -> int:
        """How many points."""
        return prod([a.extent for a in self.axes])


#: Statements of a kernel. A `Loop` is run by each thread on its own, and holds no `Spread`, `Scan` or `Barrier`.
DeviceStatement = Let | Position | Load | Store | Loop | While | Spread | Scan | Atomic | Barrier


@dataclass(frozen=True, slots=True)
class Kernel:
    """A step: one launch.

    Attributes
    ----------
    name
        Unique in the program; an identifier.
    parameters
        The buffers it is handed, as pointers to global memory, in this order.
    shared
        Buffers that each group has a copy of, in shared memory.
    grid
        Axes whose points run at once, the last one fastest. All are independent of each other.
    body
        Run for every point.
    group
        Threads for one point: 1, a power of two up to 32, or the whole block.
    lanes
        Neighbouring points of the last axis for one thread: 1, 2 or 4. More than 1 only with ``group`` 1, and then it
        divides the last extent, and all offsets and strides of accesses that move.
    threads
        Threads in a block; a multiple of 32 and of ``group``.
    """

    name: str
    parameters: tuple[str, ...]
    shared: tuple[Buffer, ...]
    grid: tuple[Axis, ...]
    body: tuple[DeviceStatement, ...]
    group: int = 1
    lanes: int = 1
    threads: int = 128
    loc: Loc = field(default=None, compare=False)

    @property
    def points(self) -> int:
        """Points of the grid."""
        return prod([a.extent for a in self.grid])

    @property
    def blocks(self) -> int:
        """Blocks to launch."""
        needed = self.points // self.lanes * self.group
        return -(-needed // self.threads)

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block: its groups' buffers, and a slot per warp for reductions."""
        copies = self.threads // self.group
        buffers = sum([aligned(copies * b.size * b.dtype.bits // 8) for b in self.shared])
        spreads = [s for s in self.body if isinstance(s, Spread)]
        values = sum([len(s.carries) for s in spreads])
        values += sum([2 + 2 * (x.decay is not None) for s in spreads for x in s.body if isinstance(x, Scan)])
        return buffers + (values * aligned(8 * self.group // WARP) if self.group > WARP else 0)

    @property
    def parts(self) -> tuple[Kernel, ...]:
        """The kernels of the launch: this one."""
        return (self,)

    @property
    def ranges(self) -> tuple[tuple[Kernel, range], ...]:
        """The kernels of the launch, each with its blocks."""
        return ((self, range(self.blocks)),)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A step: several kernels in one launch, each by a range of its blocks.

    No part touches what another one writes. To whoever launches it, it is a kernel.

    Attributes
    ----------
    name
        Unique in the program, among the names of kernels too.
    parts
        At least one. The first has the first of the blocks. All have blocks of one size.
    """

    name: str
    parts: tuple[Kernel, ...]
    loc: Loc = field(default=None, compare=False)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The buffers that some part is handed, in the order in which they appear first."""
        return tuple(dict.fromkeys([name for part in self.parts for name in part.parameters]))

    @property
    def threads(self) -> int:
        """Threads in a block."""
        return self.parts[0].threads if self.parts else 0

    @property
    def blocks(self) -> int:
        """Blocks to launch."""
        return sum([part.blocks for part in self.parts])

    @property
    def ranges(self) -> tuple[tuple[Kernel, range], ...]:
        """Every part that has any with its blocks."""
        found: list[tuple[Kernel, range]] = []
        first = 0
        for part in self.parts:
            if part.blocks:
                found.append((part, range(first, first + part.blocks)))
            first += part.blocks
        return tuple(found)


def aligned(nbytes: int) -> int:
    """``nbytes`` rounded up to an alignment that suits any buffer."""
    return -(-nbytes // 16) * 16


#: Loops of steps are run by the host: it launches what is inside, turn by turn.
DeviceStep = Kernel | Bundle | Gemm | Copy | GuardStep | HostCall | Repeat | RepeatWhile | Counted


@dataclass(frozen=True, slots=True)
class DeviceProgram:
    """Steps in order over buffers in global memory: inputs first, then outputs, temporaries and windows."""

    name: str
    buffers: tuple[Buffer, ...]
    steps: tuple[DeviceStep, ...]

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All kernels, those in bundles and in loops too."""
        return tuple([k for s in self.launches for k in s.parts])

    @property
    def launches(self) -> tuple[Kernel | Bundle, ...]:
        """The steps that are launches of kernels, those in loops too."""
        return tuple([s for s in every_step(self.steps) if isinstance(s, (Kernel, Bundle))])


def reads(step: Step | DeviceStep) -> set[str]:
    """Names of the buffers in global memory that a step reads."""
    match step:
        case Kernel() | Bundle():
            found = {s.buffer for k in step.parts for s in walk(k.body) if isinstance(s, (Load, Atomic))}
            return found.intersection(step.parameters)
        case Repeat() | RepeatWhile() | Counted():
            return read_in_turns(step, reads)
        case _:
            return buffers_read(step)


def writes(step: Step | DeviceStep) -> set[str]:
    """Names of the buffers in global memory that a step writes."""
    if isinstance(step, (Kernel, Bundle)):
        found = {s.buffer for k in step.parts for s in walk(k.body) if isinstance(s, Store)}
        return found.intersection(step.parameters)
    if isinstance(step, (Repeat, RepeatWhile, Counted)):
        return written_in_turns(step, writes)
    return buffers_written(step)
