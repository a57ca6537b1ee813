"""From a graph to code: what `cpu.executable` imports when nothing was found on disk, or when somebody looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphad.backends.artifact import Artifact
from graphad.backends.cpu.blocks import in_blocks
from graphad.backends.cpu.emit import Emitted, emit
from graphad.backends.cpu.parallel import in_parallel
from graphad.backends.cpu.short import short_loops_written_out
from graphad.backends.cpu.stacks import interleaved
from graphad.backends.llvm import native
from graphad.backends.llvm.library import host
from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import Counted, KernelProgram
from graphad.backends.loops.steps import every_step
from graphad.backends.lower.fuse import Lowered, lower
from graphad.backends.numba import source
from graphad.backends.traits import cpu_traits
from graphad.config import config
from graphad.ir.graph import Graph
from graphad.ir.loc import Loc
from graphad.passes import applied


def lowered(graph: Graph, passes: str, name: str) -> Lowered:
    """The loops of a graph, after the passes of a pipeline."""
    made = lower(applied(graph, passes), name, traits=cpu_traits(fma=host().fma))
    program = in_parallel(interleaved(in_blocks(short_loops_written_out(made.program))))
    if config.verify >= 2:
        check_program(program)
    return replace(made, program=program)


def sized_lines(graph: Graph, passes: str, name: str) -> list[Loc]:
    """The user's lines of the steps whose size is known at run time, in order."""
    steps = every_step(lowered(graph, passes, name).program.steps)
    return [s.loc for s in steps if isinstance(s, Counted)]


def emitted(program: KernelProgram, *, comments: bool, one_blas_thread: bool) -> Emitted:
    """LLVM text for this machine. Without comments it does not depend on the user's lines."""
    machine = host()
    return emit(
        program,
        lanes_bytes=machine.vector_bytes,
        fma=machine.fma,
        comments=comments,
        one_blas_thread=one_blas_thread,
        flushes=machine.x86,
    )


def draft(graph: Graph, loops: Lowered, *, one_blas_thread: bool) -> tuple[Artifact, str, int]:
    """The artifact but for its code; the text that is compiled for that, and with which effort."""
    made = emitted(loops.program, comments=False, one_blas_thread=one_blas_thread)
    about = described(graph, loops)
    about = replace(about, symbol=made.name, routines=made.externals, arena_bytes=made.arena_bytes)
    return about, made.text, made.opt


def compiled(graph: Graph, passes: str, name: str, *, one_blas_thread: bool) -> Artifact:
    """A `draft` with its code."""
    return native.finished(*draft(graph, lowered(graph, passes, name), one_blas_thread=one_blas_thread))


def described(graph: Graph, loops: Lowered) -> Artifact:
    """What an artifact says of the inputs and outputs of a program."""
    return Artifact(
        b"",
        loops.program.name,
        inputs=graph.in_avals,
        outputs=loops.outputs,
        results=loops.n_outputs,
        guards=tuple([replace(g, loc=None) for g in loops.guards]),
        prints=tuple([replace(p, loc=None) for p in loops.prints]),
        callbacks=tuple([c.signature for c in loops.calls]),
    )


def numba_source(program: KernelProgram) -> str:
    """The program as Numba source."""
    return source.source(program)


def compile_numba(program: KernelProgram) -> Callable[..., int]:
    """The program compiled by Numba: a function of arrays, and of callbacks if there are any, that gives a status."""
    run = source.compile_program(program)
    return lambda arrays, functions=(): run(*[source.bits_of(a) for a in arrays], *([functions] if functions else []))


def assembly(made: Emitted) -> str:
    """A program in the assembly language of this machine."""
    return native.assembly(made.text, made.opt)
