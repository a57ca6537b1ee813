"""LLVM text of a loop program: one function ``i64 @NAME(ptr %T)``, vector loops written out in explicit vectors.

``T`` is a table of pointers: inputs, outputs, the arena of temporaries (64-byte aligned), then the external routines
that `Emitted.externals` names. The result is 0, or ``ordinal + 1`` of the guard that did not hold.

Loops are vectorized explicitly (see `llvm.nest`), so the text goes straight to the code generator, without an optimiser
pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphad.backends import artifact
from graphad.backends.llvm.access import Place
from graphad.backends.llvm.calls import Calls, product_routine
from graphad.backends.llvm.nest import NestEmitter
from graphad.backends.llvm.text import Code, element_type, literal_constant
from graphad.backends.loops import memory
from graphad.backends.loops.contraction import contracted
from graphad.backends.loops.ir import Copy, Gemm, GuardStep, KernelCall, KernelProgram, LoopNest, Step
from graphad.backends.loops.vectors import as_loops, by_column
from graphad.backends.loops.visit import walk
from graphad.backends.routines import threads
from graphad.backends.routines.bodies import symbol_of

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
    program: KernelProgram, *, lanes_bytes: int, fma: bool = True, comments: bool = True, one_blas_thread: bool = True
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
        Whether products that do not gain by several threads of BLAS are kept to one.
    """
    steps = [_thin_product(s, fma) if isinstance(s, Gemm) and _is_thin(s) else s for s in program.steps]
    return _Emitter(replace(program, steps=tuple(steps)), lanes_bytes, comments, one_blas_thread).run()


def _thin_product(g: Gemm, fma: bool) -> LoopNest:
    return contracted(as_loops(g)) if fma else as_loops(g)


def _is_thin(g: Gemm) -> bool:
    """Whether a product is one of a vector with a matrix that lies in short rows, for which loops are better."""
    if not g.has_vector or 0 in (g.m, g.n, g.k, g.batch):
        return False
    column = by_column(g)
    return (column.m if column.a.transposed else column.k) in THIN


class _Emitter:
    """The frame of the function: the table of pointers, and the steps in order."""

    def __init__(self, program: KernelProgram, native: int, comments: bool, one_blas_thread: bool) -> None:
        self.program = program
        self.comments = comments
        self.buffers = {b.name: b for b in program.buffers}
        self.pointers: dict[str, str] = {}
        self.arena = memory.plan(program)
        self.code = Code()
        self.calls = Calls(self.code)
        self.nests = NestEmitter(self.code, native, self.buffers, self.pointers, comments)
        limited = [s for s in program.steps if one_blas_thread and isinstance(s, Gemm) and threads.needs_one(s)]
        self.to_limit = len(limited)  # products to come that are kept to one thread
        self.is_limited = False  # whether BLAS is kept to one thread here

    def run(self) -> Emitted:
        name = artifact.symbol_of(self.program.name)
        self.prologue()
        for step in self.program.steps:
            self.step(step)
        self.code.do("ret i64 0")
        head = [f"; {b.role} {b.name}: {b.dtype.name}[{b.size}]" for b in self.program.buffers] if self.comments else []
        head += [*self.calls.globals, *self.code.declarations, *self.code.functions]
        text = "\n".join([*head, f"define i64 @{name}(ptr %T) nounwind {{", "entry:", *self.code.lines, "}", ""])
        size = sum(1 for step in self.program.steps if isinstance(step, LoopNest) for _ in walk(step.body))
        return Emitted(text, name, tuple(self.calls.externals), self.arena.size, 0 if size > QUICK else 1)

    def prologue(self) -> None:
        """Read the table of pointers."""
        table = [b.name for b in self.program.buffers if b.role != "temporary"]
        for position, name in enumerate(table):
            self.pointers[name] = self._from_table(position, name)
        if self.arena.offsets:
            arena = self._from_table(len(table), "arena")
            for name, offset in self.arena.offsets.items():
                self.pointers[name] = self.code.let(f"getelementptr inbounds i8, ptr {arena}, i64 {offset}", name)
        routines = dict.fromkeys(_routine(s) for s in self.program.steps if isinstance(s, (Gemm, KernelCall)))
        if self.to_limit:
            routines |= dict.fromkeys((threads.ONE_THREAD, threads.OWN_THREADS))
        for position, routine in enumerate(routines, len(table) + 1):
            self.calls.externals[routine] = self._from_table(position, routine)

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
            case Gemm():
                self.product(step)
            case KernelCall():
                self.calls.kernel(_routine(step), step, self.pointers)
            case Copy(target=target, source=source):
                buffer = self.buffers[source]
                if buffer.size:
                    size = buffer.size * buffer.dtype.bits // 8
                    self.calls.copy(self.pointers[target], self.pointers[source], size)
            case GuardStep():
                self.guard(step)

    def cut(self) -> None:
        """Begin another basic block."""
        label = self.code.fresh("part")
        self.code.do(f"br label %{label}")
        self.code.start(label)

    def guard(self, g: GuardStep) -> None:
        dtype = self.buffers[g.buffer].dtype
        seen = self.nests.access.load_one(Place(self.pointers[g.buffer], "0", 0), dtype, "seen")
        holds = self.code.let(f"icmp eq {element_type(dtype)} {seen}, {literal_constant(g.expected, 1)}", "holds")
        leave, stay = self.code.fresh("leave"), self.code.fresh("stay")
        self.code.do(f"br i1 {holds}, label %{stay}, label %{leave}")
        self.code.start(leave)
        if self.is_limited:
            self.calls.plain(threads.OWN_THREADS)
        self.code.do(f"ret i64 {g.ordinal + 1}")
        self.code.start(stay)

    def product(self, g: Gemm) -> None:
        if 0 in (g.m, g.n, g.batch):
            return
        routine = _routine(g)
        is_limited = self.to_limit > 0 and threads.needs_one(g)
        if is_limited:
            self.limit(True)
        elif threads.gains_by_several(g):
            self.limit(False)
        if g.batch == 1:
            self.calls.product(routine, g, self.pointers, None)
        else:
            self.nests.repeat(
                str(g.batch), "batch", [], [], lambda at, _: self.calls.product(routine, g, self.pointers, at)
            )
        self.to_limit -= is_limited
        if not self.to_limit:
            self.limit(False)

    def limit(self, one: bool) -> None:
        """Keep BLAS to one thread from here on, or give it its own threads back."""
        if one != self.is_limited:
            self.calls.plain(threads.ONE_THREAD if one else threads.OWN_THREADS)
            self.is_limited = one


def _routine(step: Gemm | KernelCall) -> str:
    return symbol_of(step.kernel, step.dtype) if isinstance(step, KernelCall) else product_routine(step)
