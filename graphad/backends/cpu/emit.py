"""LLVM text of a loop program: one function ``i64 @NAME(ptr %T)``, vector loops written out in explicit vectors.

``T`` is a table of pointers: inputs, outputs, the arena of temporaries (64-byte aligned), then the external routines
that `Emitted.externals` names. The result is 0, ``ordinal + 1`` of the guard that did not hold, or `HOST_ERROR`.

Loops are vectorized explicitly (see `llvm.nest`), so the text goes straight to the code generator, without an optimiser
pipeline.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from graphad_kernels.routines import ROUTINES

from graphad.backends import artifact
from graphad.backends.cpu import signals
from graphad.backends.cpu.entry.spec import FLUSH_BITS
from graphad.backends.cpu.jobs import Jobs, external
from graphad.backends.cpu.one_thread import gains_by_several, needs_one
from graphad.backends.cpu.pool import RUN_BLOCKS
from graphad.backends.cpu.turns import products_with_threads
from graphad.backends.llvm.access import Place
from graphad.backends.llvm.calls import Calls
from graphad.backends.llvm.mirror import mirror
from graphad.backends.llvm.nest import NestEmitter
from graphad.backends.llvm.text import Code, element_type, literal_constant
from graphad.backends.loops import memory
from graphad.backends.loops.contraction import contracted
from graphad.backends.loops.ir import (
    Copy,
    Counted,
    Gemm,
    GuardStep,
    HostCall,
    KernelProgram,
    Loop,
    LoopNest,
    Repeat,
    RepeatWhile,
    RoutineCall,
    Step,
    While,
)
from graphad.backends.loops.steps import every_step, mapped_steps
from graphad.backends.loops.vectors import as_loops, by_column
from graphad.backends.loops.visit import walk
from graphad.backends.outcome import HOST_ERROR, INTERRUPTED
from graphad.backends.routines import threads
from graphad.backends.routines.host import HOST_CALL

#: Programs of more statements are compiled without the code generator's optimisations.
QUICK = 4000

#: Straight-line code is cut into basic blocks of so many statements. Without optimisations, LLVM takes twice as long
#: for one block of 34,000, and what it generates is twice as long and half as fast. With them, it merges the blocks.
BLOCK = 1000

#: Of ?gemv's time, a matrix of 3,000 to 300,000 rows of so many elements times a vector takes 0.45 to 0.9 in loops
#: where 4 does not divide the number, else 0.7 to 1.1, from either side, in both precisions. With 8 or 48 elements some
#: of these products take 1.5 times as much, with 64 up to 3.5.
THIN = range(9, 33)


@dataclass(frozen=True, slots=True)
class Emitted:
    """LLVM text, and what is needed to compile, load and call it."""

    text: str
    name: str
    externals: tuple[str, ...]  # routines whose addresses follow the arena in the table
    arena_bytes: int
    opt: int  # level of the code generator


def emit(
    program: KernelProgram,
    *,
    lanes_bytes: int,
    fma: bool = True,
    comments: bool = True,
    one_blas_thread: bool = True,
    flushes: bool = False,
) -> Emitted:
    """Translate ``program`` for a machine with native vectors of ``lanes_bytes`` bytes.

    Parameters
    ----------
    program
        A program that `check_program` accepts.
    lanes_bytes
        16, 32 or 64.
    fma
        Whether the machine multiplies and adds in one operation: for products that become loops here.
    comments
        Whether to note the user's lines.
    one_blas_thread
        Whether what does not gain by several threads of BLAS is kept to one.
    flushes
        Whether programs may run with denormals flushed by a mode of the CPU (x86), in which neither the host nor LAPACK
        is called.
    """
    steps = mapped_steps(program.steps, lambda s: _thin_product(s, fma) if isinstance(s, Gemm) and _is_thin(s) else s)
    return _Emitter(replace(program, steps=steps), lanes_bytes, comments, one_blas_thread, flushes).run()


def _thin_product(g: Gemm, fma: bool) -> LoopNest:
    return contracted(as_loops(g)) if fma else as_loops(g)


def _is_thin(g: Gemm) -> bool:
    """Whether a product is one of a vector with a matrix that lies in short rows, for which loops are better."""
    if not g.has_vector or 0 in (g.m, g.n, g.k, g.batch):
        return False
    column = by_column(g)
    return (column.m if column.a.transposed else column.k) in THIN


class _Emitter(Jobs):
    """The frame of the function: the table of pointers, and the steps in order."""

    def __init__(
        self,
        program: KernelProgram,
        native: int,
        comments: bool,
        one_blas_thread: bool,
        flushes: bool,
        in_turn: bool = False,
    ) -> None:
        self.program = program
        self.native, self.in_turn = native, in_turn
        self.comments = comments
        self.flushes = flushes
        self.buffers = {b.name: b for b in program.buffers}
        self.pointers: dict[str, str] = {}
        self.arena = memory.plan(program)
        self.code = Code()
        self.calls = Calls(self.code)
        self.nests = NestEmitter(self.code, native, self.buffers, self.pointers, comments)
        self.one_blas_thread = one_blas_thread
        self.blocks: list[str] = []  # allocated where the code now stands
        self.depth = 0  # of steps that run several times
        self.to_limit = sum(map(needs_one, program.steps)) if one_blas_thread else 0  # steps to come
        self.is_limited = False  # whether BLAS is kept to one thread here
        self.handed = ""  # the table of buffers for the host
        self.context = ""  # the table of a parallel step
        self.functions = 0  # of parallel steps, so far
        self.sized = 0  # `Counted` steps behind the code so far
        self.worked = ""  # where the operations since the last look for signals are counted
        self.modes = "", ""  # where the CPU's mode is kept: ours, and that for the host and LAPACK

    def run(self) -> Emitted:
        name = artifact.symbol_of(self.program.name)
        self.prologue()
        for step in self.program.steps:
            self.step(step)
        self.code.do("ret i64 0")
        head = [f"; {b.role} {b.name}: {b.dtype.name}[{b.size}]" for b in self.program.buffers] if self.comments else []
        head += [*self.calls.globals, *self.code.declarations, *self.code.functions]
        text = "\n".join([*head, f"define i64 @{name}(ptr %T) nounwind {{", "entry:", *self.code.lines, "}", ""])
        return Emitted(text, name, tuple(self.calls.externals), self.arena.size, self.effort())

    def effort(self) -> int:
        """The level of the code generator: none for long straight-line code, but for what runs many times some."""
        nests = [s for s in every_step(self.program.steps) if isinstance(s, LoopNest)]
        size = sum(1 for nest in nests for _ in walk(nest.body))
        return 0 if size > QUICK else 1

    def within(self, body: KernelProgram) -> _Emitter:
        """The emitter of a turn of a parallel step."""
        return _Emitter(body, self.native, self.comments, one_blas_thread=False, flushes=self.flushes, in_turn=True)

    def arena_pointer(self, position: int) -> str:
        """Where temporaries are; ``position`` is that of the arena in the table."""
        return self.own_memory(self.arena.size) if self.in_turn else self._from_table(position, "arena")

    def prologue(self) -> None:
        """Read the table of pointers."""
        table = [b.name for b in self.program.buffers if b.role in ("input", "output")]
        for position, name in enumerate(table):
            self.pointers[name] = self._from_table(position, name)
        steps = list(every_step(self.program.steps))
        routines = dict.fromkeys(external(s) for s in steps if isinstance(s, (Gemm, RoutineCall, HostCall)))
        if self.one_blas_thread and (any(map(needs_one, steps)) or products_with_threads(steps)):
            routines |= dict.fromkeys((threads.ONE_THREAD, threads.OWN_THREADS))
        if self.in_turn or any([isinstance(s, Counted) or (isinstance(s, Repeat) and s.parallel) for s in steps]):
            routines |= dict.fromkeys((memory.ALLOCATE, memory.RELEASE))
        looks = signals.look(self.program.steps)
        if looks:
            routines |= dict.fromkeys((signals.TAKE, signals.HANDLE, signals.GIVE))
            self.nests.on_turn = self.look_within
        if any([isinstance(s, Repeat) and s.parallel for s in steps]):
            routines[RUN_BLOCKS] = None
        for position, routine in enumerate(routines, len(table) + 1):
            self.calls.externals[routine] = self._from_table(position, routine)
        if self.arena.offsets:
            arena = self.arena_pointer(len(table))
            for name, offset in self.arena.offsets.items():
                self.pointers[name] = self.code.let(f"getelementptr inbounds i8, ptr {arena}, i64 {offset}", name)
        if looks:
            self.worked = self.code.let("alloca i64", "worked")
            self.code.do(f"store i64 0, ptr {self.worked}")
        calls = [s for s in steps if isinstance(s, HostCall)]
        if calls:
            most = max([len(s.reads) + len(s.writes) for s in calls])
            self.handed = self.code.let(f"alloca [{most} x ptr]", "handed")
        self.make_room(steps)
        if self.flushes and any([isinstance(s, HostCall) or _calls_lapack(s) for s in steps]):
            self.modes = self.code.let("alloca i32", "mode"), self.code.let("alloca i32", "host.mode")

    def _from_table(self, position: int, name: str) -> str:
        slot = self.code.let(f"getelementptr inbounds ptr, ptr %T, i64 {position}", "slot")
        return self.code.let(f"load ptr, ptr {slot}", name)

    def step(self, step: Step) -> None:
        self.nests.note(step.loc)
        match step:
            case LoopNest(body=body):
                for first in range(0, len(body), BLOCK):
                    if first:
                        self.cut()
                    self.nests.statements(body[first : first + BLOCK])
            case Gemm() | RoutineCall():
                self.limited(step)
            case Copy(target=target, source=source):
                buffer = self.buffers[source]
                if buffer.size:
                    size = buffer.size * buffer.dtype.bits // 8
                    self.calls.copy(self.pointers[target], self.pointers[source], size)
            case GuardStep():
                self.guard(step)
            case Repeat(parallel=True):
                self.parallel(step)
            case Repeat():
                self.repeat(step)
            case RepeatWhile():
                self.repeat_while(step)
            case Counted():
                self.counted(step)
            case HostCall():
                self.host(step)

    def cut(self) -> None:
        """Begin another basic block."""
        label = self.code.fresh("part")
        self.code.do(f"br label %{label}")
        self.code.start(label)

    def guard(self, g: GuardStep) -> None:
        dtype = self.buffers[g.buffer].dtype
        seen = self.nests.access.load_one(Place(self.pointers[g.buffer], "0", 0), dtype, "seen")
        holds = self.code.let(f"icmp eq {element_type(dtype)} {seen}, {literal_constant(g.expected, 1)}", "holds")
        self.leave_unless(holds, g.ordinal + 1)

    def leave_unless(self, holds: str, status: int) -> None:
        """Leave the program with ``status`` where the bit ``holds`` is false."""
        leave, stay = self.code.fresh("leave"), self.code.fresh("stay")
        self.code.do(f"br i1 {holds}, label %{stay}, label %{leave}")
        self.code.start(leave)
        if self.is_limited:
            self.calls.plain(threads.OWN_THREADS)
        for block in self.blocks:
            self.code.do(f"call void {self.calls.externals[memory.RELEASE]}(ptr {block})")
        self.code.do(f"ret i64 {status}")
        self.code.start(stay)

    # ---- signals

    def look_within(self, loop: Loop | While) -> None:
        """Look for signals in a turn of a loop of statements, if it may be long and it is time."""
        if signals.look_within(loop):
            self.look(signals.operations(loop.body))

    def look_after(self, step: Repeat | RepeatWhile) -> None:
        if signals.each_turn_looks(step):
            self.look(signals.operations(step.body))

    def look(self, operations: int) -> None:
        """Count operations, and look for signals if there are many since the last time."""
        code, at = self.code, self.worked
        late, after = code.fresh("late"), code.fresh("on")
        count = code.let(f"add nsw i64 {code.let(f'load i64, ptr {at}', 'count')}, {operations}", "count")
        code.do(f"store i64 {count}, ptr {at}")
        is_late = code.let(f"icmp sgt i64 {count}, {signals.OFTEN}", "late")
        code.do(f"br i1 {is_late}, label %{late}, label %{after}")
        code.start(late)
        code.do(f"store i64 0, ptr {at}")
        take, handle, give = (self.calls.externals[name] for name in (signals.TAKE, signals.HANDLE, signals.GIVE))
        state = code.let(f"call i32 {take}()", "state")
        raised = code.let(f"call i32 {handle}()", "raised")
        code.do(f"call void {give}(i32 {state})")
        self.leave_unless(code.let(f"icmp eq i32 {raised}, 0", "holds"), INTERRUPTED)
        code.do(f"br label %{after}")
        code.start(after)

    # ---- calls

    def host(self, call: HostCall) -> None:
        """Call the host: with BLAS's own threads, and with denormals that are no zeros, as Python expects."""
        code, was_limited = self.code, self.is_limited
        self.limit(False)
        for k, name in enumerate((*call.reads, *call.writes)):
            place = code.let(f"getelementptr inbounds ptr, ptr {self.handed}, i64 {k}", "place")
            code.do(f"store ptr {self.pointers[name]}, ptr {place}")
        with self.with_denormals():
            called = f"call i64 {self.calls.externals[HOST_CALL]}(i64 {call.slot}, ptr {self.handed})"
            status = code.let(called, "status")
        self.leave_unless(code.let(f"icmp eq i64 {status}, 0", "holds"), HOST_ERROR)
        if self.depth:  # the next turn begins as this one did
            self.limit(was_limited)

    def limited(self, step: Gemm | RoutineCall) -> None:
        """A step that may call BLAS: with one thread if that is better, or with its own if these are."""
        is_limited = self.to_limit > 0 and needs_one(step) and not self.depth
        if is_limited:
            self.limit(True)
        elif gains_by_several(step) and not self.depth:
            self.limit(False)
        if isinstance(step, Gemm):
            self.product(step)
        else:
            self.routine(step)
        self.to_limit -= is_limited
        if not self.to_limit and not self.depth:
            self.limit(False)

    def product(self, g: Gemm) -> None:
        assert not g.is_fused, "products of a CPU have no epilogue"
        if 0 in (g.m, g.n, g.batch):
            return
        if g.batch == 1:
            self.one_product(g, None)
        else:
            self.nests.repeat(str(g.batch), "batch", [], [], lambda at, _: self.one_product(g, at))

    def one_product(self, g: Gemm, batch: str | None) -> None:
        """That of a batch whose number is in the register ``batch``."""
        result = self.calls.product(external(g), g, self.pointers, batch)
        if g.symmetric:
            mirror(self.nests, result, g.dtype, g.n, g.c.row_stride)

    def routine(self, call: RoutineCall) -> None:
        """LAPACK scales what is very small, and must find it: it is called with denormals that are no zeros."""
        with self.with_denormals() if _calls_lapack(call) else nullcontext():
            self.calls.kernel(external(call), call, self.pointers)

    @contextmanager
    def with_denormals(self) -> Generator[None]:
        """What is emitted meanwhile runs with denormals that are no zeros, as the host and LAPACK expect."""
        code, (mode, plain) = self.code, self.modes
        if self.flushes:
            code.call("llvm.x86.sse.stmxcsr", "void", [("ptr", mode)])
            bits = code.let(f"load i32, ptr {mode}", "bits")
            code.do(f"store i32 {code.let(f'and i32 {bits}, {~FLUSH_BITS}', 'bits')}, ptr {plain}")
            code.call("llvm.x86.sse.ldmxcsr", "void", [("ptr", plain)])
        yield
        if self.flushes:
            code.call("llvm.x86.sse.ldmxcsr", "void", [("ptr", mode)])

    def limit(self, one: bool) -> None:
        """Keep BLAS to one thread from here on, or give it its own threads back."""
        if one != self.is_limited:
            self.calls.plain(threads.ONE_THREAD if one else threads.OWN_THREADS)
            self.is_limited = one


def _calls_lapack(step: Step) -> bool:
    return isinstance(step, RoutineCall) and bool(ROUTINES[step.routine].lapack)
