"""A graph compiled: lowered, emitted, loaded, and entered through a builtin function.

Machine code is shared by equal graphs; what is shown of a program (its loops, its source, the user's lines in them)
belongs to the graph that it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast
from typing import Literal as OneOf
from weakref import WeakValueDictionary

import numpy as np

from graphad.backends.cpu import emit as emit_llvm
from graphad.backends.cpu.entry.make import Box, Input, Output, Program, make_entry
from graphad.backends.llvm import native
from graphad.backends.loops.ir import KernelProgram
from graphad.backends.lower.fuse import Lowered, lower
from graphad.backends.numba import source as emit_numba
from graphad.backends.outcome import GuardFailure, guard_error
from graphad.backends.routines import addresses
from graphad.config import config
from graphad.errors import LoweringError
from graphad.ir.forks import compiling
from graphad.ir.graph import Graph
from graphad.ir.types import Aval, literal
from graphad.primitives.effects import printed_lines

Engine = OneOf["llvm", "numba"]
NDArray = np.ndarray[Any, Any]


@dataclass(eq=False)
class _Code:
    """Loaded code of a program, shared by the executables of equal graphs."""

    run: Callable[..., int] | None  # of the numba engine: flat arrays to status
    loaded: native.Executable | None
    arena_bytes: int
    extras: tuple[int, ...]


_codes: WeakValueDictionary[Hashable, _Code] = WeakValueDictionary()


class Executable:
    """A compiled graph; made by `compile_graph`. Calling it takes one array per input and gives a tuple of new arrays.

    Attributes
    ----------
    graph, name, engine, flush_denormals, one_blas_thread
        What was compiled, and how.
    run
        ``run(arrays) -> outputs | GuardFailure``.
    """

    def __init__(self, graph: Graph, name: str, engine: Engine, flush_denormals: bool) -> None:
        self.graph = graph
        self.name = name
        self.engine: Engine = engine
        self.flush_denormals = flush_denormals
        self.one_blas_thread = config.one_blas_thread
        with compiling:
            self._code = self._find_code()
            self._entry = self._plain_entry() if engine == "llvm" else self._run_numba
            self._bare = not (self.lowered.guards or self.lowered.prints)

    def __call__(self, *arrays: Any) -> tuple[NDArray, ...]:
        outcome = self.run(arrays)
        if type(outcome) is GuardFailure:
            failed = self.lowered.guards[outcome.ordinal]
            raise guard_error(self.name, failed.expected, outcome.observed, failed.loc)
        return outcome

    def run(self, arrays: Sequence[Any]) -> Any:
        """The outputs, or the `GuardFailure` that ended the run; what the program prints is printed."""
        outputs = self._entry(*arrays)
        if self._bare or type(outputs) is GuardFailure:
            return outputs
        for p in self.lowered.prints:
            for line in printed_lines([outputs[k] for k in p.outputs], fmt=p.fmt, lanes=p.lanes):
                print(line)  # noqa: T201 - what the user asked for
        return outputs[: self.lowered.n_outputs]

    def entry(
        self,
        inputs: Sequence[Input],
        outputs: Sequence[Output],
        *,
        box: Box,
        fallback: Callable[..., Any],
        on_guard: Callable[..., Any] | None = None,
        unpack: bool = True,
    ) -> Callable[..., Any] | None:
        """A builtin function that takes and gives boxed arrays; None where a run needs more than the program.

        ``inputs`` and ``outputs`` are rows of `cpu.entry.make`, one for each of the graph; ``fallback`` gets the
        arguments of calls that do not fit them, and ``on_guard`` a `GuardFailure` and the arguments.
        """
        lowered = self.lowered
        if lowered.prints or self._code.loaded is None or (lowered.guards and on_guard is None):
            return None
        observe = _observer(lowered)

        def leave(status: int, seen: tuple[NDArray, ...], *args: Any) -> Any:
            assert on_guard is not None, "a program without guards does not leave early"
            return on_guard(observe(status, seen), *args)

        predicates = [Output(a.dtype.numpy, a.shape) for a in lowered.outputs[lowered.n_outputs :]]
        program = self._program(
            tuple(inputs), (*outputs, *predicates), fallback,
            box=box, on_guard=leave, results=lowered.n_outputs, unpack=unpack,
        )  # fmt: skip
        return make_entry(program)

    # ---- what it looks like

    @cached_property
    def lowered(self) -> Lowered:
        """The loop program, and the meaning of its outputs."""
        return lower(self.graph, self.name)

    @property
    def program(self) -> KernelProgram:
        """The loop program."""
        return self.lowered.program

    @cached_property
    def source(self) -> str:
        """The program as Numba source, whichever engine runs it."""
        return emit_numba.source(self.program)

    @cached_property
    def llvm(self) -> str:
        """The program as LLVM text."""
        return self._emitted(comments=True).text

    @cached_property
    def asm(self) -> str:
        """The program in the assembly language of this machine."""
        emitted = self._emitted(comments=False)
        return native.assembly(emitted.text, emitted.opt)

    def __repr__(self) -> str:
        return f"<Executable {self.name} ({self.engine}): {len(self.program.steps)} steps>"

    # ---- code

    def _find_code(self) -> _Code:
        key = (self.graph, self.engine, self.one_blas_thread)
        code = _codes.get(key)
        if code is None:
            code = _codes[key] = self._compile()
        return code

    def _compile(self) -> _Code:
        if self.engine == "numba":
            return _Code(emit_numba.compile_program(self.program), None, 0, ())
        # Without comments the text, and so its place in the cache on disk, does not depend on the user's lines.
        emitted = self._emitted(comments=False)
        loaded = native.load(emitted.text, emitted.name, emitted.opt)
        return _Code(None, loaded, emitted.arena_bytes, tuple([addresses.routine(r) for r in emitted.externals]))

    def _emitted(self, *, comments: bool) -> emit_llvm.Emitted:
        width = native.host().vector_bytes
        return emit_llvm.emit(self.program, lanes_bytes=width, comments=comments, one_blas_thread=self.one_blas_thread)

    def _program(
        self, inputs: tuple[Input, ...], outputs: tuple[Output, ...], fallback: Callable[..., Any], **options: Any
    ) -> Program:
        code = self._code
        assert code.loaded is not None, "only loaded code is entered"
        return Program(
            self.name, code.loaded.address, inputs, outputs, fallback,
            arena_bytes=code.arena_bytes, extras=code.extras, flush_denormals=self.flush_denormals,
            keep=(code,), **options,
        )  # fmt: skip

    def _plain_entry(self) -> Callable[..., Any]:
        """The entry for NumPy arrays: the outputs of the program in a tuple, or a `GuardFailure`."""
        inputs = tuple([Input(a.dtype.numpy, a.shape) for a in self.graph.in_avals])
        outputs = tuple([Output(a.dtype.numpy, a.shape) for a in self.lowered.outputs])
        # The entry and what it falls back to know each other; neither knows the executable, which may go before.
        entries: list[Callable[..., Any]] = []
        accept = _acceptor(self.name, self.graph.in_avals)
        observe = _observer(self.lowered)

        def fallback(*args: Any) -> Any:
            return entries[0](*accept(args))

        entries.append(make_entry(self._program(inputs, outputs, fallback, on_guard=observe, unpack=False)))
        return entries[0]

    def _run_numba(self, *args: Any) -> Any:
        """The same through the function of the numba engine."""
        arrays = _acceptor(self.name, self.graph.in_avals)(args)
        outputs = tuple([np.empty(a.shape, a.dtype.numpy) for a in self.lowered.outputs])
        assert self._code.run is not None, "this engine has a function to call"
        status = self._code.run(*[emit_numba.bits_of(a) for a in (*arrays, *outputs)])
        return _observer(self.lowered)(status, outputs) if status else outputs


def _acceptor(name: str, avals: tuple[Aval, ...]) -> Callable[[Sequence[Any]], list[NDArray]]:
    """Brings arguments into the form that programs read: native, aligned, without gaps."""

    def accept(args: Sequence[Any]) -> list[NDArray]:
        if len(args) != len(avals):
            raise TypeError(f"{name} takes {len(avals)} arrays, but {len(args)} were given.")
        arrays: list[NDArray] = []
        for k, (x, a) in enumerate(zip(args, avals, strict=True)):
            array = np.asarray(x)
            if array.shape != a.shape or array.dtype.newbyteorder("=") != a.dtype.numpy:
                shown = f"{array.dtype}[{','.join(map(str, array.shape))}]"
                raise TypeError(f"{name}: argument {k} must be {a}, but is {shown}. Compile it for that, or convert.")
            arrays.append(np.require(array, a.dtype.numpy, ("C_CONTIGUOUS", "ALIGNED")).reshape(a.shape))
        return arrays

    return accept


def _observer(lowered: Lowered) -> Callable[..., GuardFailure]:
    """What a run that ended early comes to."""

    def observe(status: int, outputs: tuple[NDArray, ...], *_args: Any) -> GuardFailure:
        failed = lowered.guards[status - 1]
        return GuardFailure(status - 1, literal(outputs[failed.output][()], failed.expected.dtype))

    return observe


def compile_graph(
    graph: Graph, *, engine: Engine | None = None, flush_denormals: bool | None = None, name: str | None = None
) -> Executable:
    """Compile ``graph`` as one program.

    Parameters
    ----------
    graph
        What to compile; its regions become part of the program.
    engine
        ``"llvm"`` or ``"numba"``; by default `config.engine`.
    flush_denormals
        Treat denormal numbers as zero; by default `config.flush_denormals`. The numba engine never does.
    name
        The program's name; by default that of the graph.

    Raises
    ------
    LoweringError
        Where an equation has no compiled form; the message names it and the user's line.
    """
    engine = engine or cast("Engine", config.engine)
    if engine not in ("llvm", "numba"):
        raise LoweringError(f"there is no engine {engine!r}; choose 'llvm' or 'numba'")
    flush = config.flush_denormals if flush_denormals is None else flush_denormals
    return Executable(graph, name or graph.name, engine, flush)
