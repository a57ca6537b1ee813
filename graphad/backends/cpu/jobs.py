"""Steps whose turns threads share out, in LLVM text: a turn is a function of its own, the step a call of the pool."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from graphad.backends import artifact
from graphad.backends.cpu.parallel.work import nanoseconds
from graphad.backends.cpu.pool import RUN_BLOCKS
from graphad.backends.cpu.turns import Turns
from graphad.backends.llvm.calls import product_routine
from graphad.backends.loops import memory
from graphad.backends.loops.ir import Gemm, HostCall, KernelProgram, Repeat, RoutineCall, Step
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step
from graphad.backends.routines.compiled import symbol_of
from graphad.backends.routines.host import HOST_CALL

#: Temporaries of a turn up to so many bytes are on the stack, of which some threads have little.
_ON_STACK: Final = 1 << 16


def external(step: Gemm | RoutineCall | HostCall) -> str:
    """The external routine that a step calls."""
    if isinstance(step, HostCall):
        return HOST_CALL
    return symbol_of(step.routine, step.dtype) if isinstance(step, RoutineCall) else product_routine(step)


class Jobs(Turns):
    """What the emitter of a program does for parallel steps.

    Attributes
    ----------
    context
        The table of pointers that a turn is handed, laid out as that of a program.
    functions
        How many turns have a function so far.
    """

    program: KernelProgram
    context: str
    functions: int
    allocated = ""  # the memory of a turn that is too large for the stack

    def within(self, body: KernelProgram) -> Jobs:
        """The emitter of a turn, whose steps are those of ``body``."""
        raise AssertionError("the emitter of a program does")

    def prologue(self) -> None:
        """Read the table of pointers."""
        raise AssertionError("the emitter of a program does")

    def make_room(self, steps: Iterable[Step]) -> None:
        """Allocate a table for the parallel ones among ``steps``, if there are any."""
        sizes = [_table_size(s) for s in steps if isinstance(s, Repeat) and s.parallel]
        if sizes:
            self.context = self.code.let(f"alloca [{max(sizes)} x ptr]", "context")

    def parallel(self, step: Repeat) -> None:
        """Have the turns run by whoever is free."""
        code = self.code
        names = sorted(_touched(step))
        inner = self.within(self.turn_of(step, names))
        name = f"{artifact.symbol_of(self.program.name)}.{self.functions}"
        self.functions += 1
        text = inner.function(step, name)
        code.functions |= dict.fromkeys([*inner.code.functions, text])
        code.declarations |= inner.code.declarations
        self.calls.globals |= inner.calls.globals
        own = ["null"]  # where the table of a program has its temporaries, a turn has none
        handed = [self.pointers[n] for n in names] + own + [self.calls.externals[r] for r in inner.calls.externals]
        for k, pointer in enumerate(handed):
            place = code.let(f"getelementptr inbounds ptr, ptr {self.context}, i64 {k}", "place")
            code.do(f"store ptr {pointer}, ptr {place}")
        self.enter(step)
        job = f"ptr @{name}, ptr {self.context}, i64 {step.extent}, i64 {nanoseconds(step)}"
        code.do(f"call void {self.calls.externals[RUN_BLOCKS]}({job})")
        self.leave([], [])

    def turn_of(self, step: Repeat, names: list[str]) -> KernelProgram:
        """The steps of a turn as a program, which is handed the buffers ``names``."""
        seen = {w.name for w in step.windows}
        table = [replace(self.buffers[n], role="input") for n in names]
        own = [self.buffers[n] for n in step.private]
        windows = [b for b in self.program.buffers if b.name in seen]
        return KernelProgram(self.program.name, (*table, *own, *windows), step.body)

    def function(self, step: Repeat, name: str) -> str:
        """The text of a turn: ``void @NAME(ptr %T, i64 %turn)``."""
        assert self.code.fresh("turn") == "turn"  # no other value or label has the name
        self.nests.vars[step.var], self.nests.extents[step.var] = "%turn", step.extent
        self.prologue()
        self.windows(step, "%turn")
        for inner in step.body:
            self.step(inner)
        if self.allocated:
            self.code.do(f"call void {self.calls.externals[memory.RELEASE]}(ptr {self.allocated})")
        self.code.do("ret void")
        head = f"define private void @{name}(ptr %T, i64 %turn) nounwind {{"
        return "\n".join([head, "entry:", *self.code.lines, "}"])

    def own_memory(self, size: int) -> str:
        """So many bytes for the temporaries of a turn: on the stack, if they are few."""
        code = self.code
        if size <= _ON_STACK:
            return code.let(f"alloca [{size} x i8], align {memory.ALIGNMENT}", "arena")
        allocate = f"{self.calls.externals[memory.ALLOCATE]}(i64 {size + memory.ALIGNMENT})"
        self.allocated = code.let(f"call ptr {allocate}", "block")
        missing, there = code.fresh("missing"), code.fresh("there")
        none = code.let(f"icmp eq ptr {self.allocated}, null", "none")
        code.do(f"br i1 {none}, label %{missing}, label %{there}")
        code.start(missing)
        code.call("llvm.trap", "void", [])  # as the system would end the process for its stack
        code.do("unreachable")
        code.start(there)
        code.declarations["declare ptr @llvm.ptrmask.p0.i64(ptr, i64)"] = None
        behind = code.let(f"getelementptr i8, ptr {self.allocated}, i64 {memory.ALIGNMENT - 1}", "at")
        return code.let(f"call ptr @llvm.ptrmask.p0.i64(ptr {behind}, i64 {-memory.ALIGNMENT})", "arena")


def _touched(step: Repeat) -> set[str]:
    return (buffers_read(step) | buffers_written(step)) - {*step.private}


def _table_size(step: Repeat) -> int:
    """How many pointers a turn is handed: buffers, a place for the arena, routines, and two for memory."""
    routines = {external(s) for s in every_step(step.body) if isinstance(s, (Gemm, RoutineCall))}
    return len(_touched(step)) + 1 + len(routines) + 2
