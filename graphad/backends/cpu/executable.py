"""A graph compiled: found on disk or lowered and emitted, loaded, and entered through a builtin function.

Machine code is an `Artifact`, kept by what the graph computes and shared by graphs that compute the same; what is shown
of a program (its loops, its source, the user's lines in them) belongs to the graph that it was asked for, and is made
when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from typing import Literal as OneOf
from weakref import WeakValueDictionary

import numpy as np

from graphad.backends.artifact import Artifact, symbol_of
from graphad.backends.boxes import Box, Input, Output
from graphad.backends.cpu import externals
from graphad.backends.cpu.entry.make import Program, make_entry
from graphad.backends.llvm import loader
from graphad.backends.llvm.library import object_key
from graphad.backends.outcome import (
    HOST_ERROR,
    OUT_OF_MEMORY,
    Answers,
    GuardFailure,
    GuardOutput,
    HostSlot,
    guard_error,
)
from graphad.backends.routines.host import HostRun, answers_so_far, flat_function
from graphad.config import config
from graphad.errors import LoweringError, at
from graphad.ir.digest import encode
from graphad.ir.forks import compiling
from graphad.ir.graph import Graph
from graphad.ir.loc import Loc, user_line
from graphad.ir.types import Aval, literal
from graphad.primitives import OWN
from graphad.primitives.callbacks import calls_the_host
from graphad.primitives.effects import printed_lines

if TYPE_CHECKING:
    from graphad.backends.cpu.emit import Emitted
    from graphad.backends.loops.ir import KernelProgram
    from graphad.backends.lower.fuse import Lowered

Engine = OneOf["llvm", "numba"]
NDArray = np.ndarray[Any, Any]


@dataclass(eq=False)
class _Code:
    """Code of a program in memory, shared by the executables of equal graphs."""

    artifact: Artifact
    loaded: loader.Executable | None
    routines: tuple[int, ...] = ()  # their addresses
    run: Callable[..., int] | None = None  # of the numba engine: arrays and callbacks to status


_codes: WeakValueDictionary[Hashable, _Code] = WeakValueDictionary()


class Executable:
    """A compiled graph; made by `compile_graph`. Calling it takes one array per input and gives a tuple of new arrays.

    Attributes
    ----------
    graph, name, engine, flush_denormals, passes, one_blas_thread
        What was compiled, and how.
    artifact
        What runs.
    run
        ``run(arrays) -> outputs | GuardFailure``; given the answers of a failure, it does not call for them again.
    """

    def __init__(self, graph: Graph, name: str, engine: Engine, flush_denormals: bool, passes: str) -> None:
        self.graph = graph
        self.name = name
        self.engine: Engine = engine
        self.flush_denormals = flush_denormals
        self.passes = passes
        self.one_blas_thread = config.one_blas_thread
        with compiling:
            self._code = self._find_code()
            self.artifact = self._code.artifact
            self._entry = self._plain_entry() if engine == "llvm" else self._run_numba
            self._bare = not (self.artifact.guards or self.artifact.prints)
            self._slots = self.lowered.calls if self.artifact.callbacks else ()

    def __call__(self, *arrays: Any) -> tuple[NDArray, ...]:
        outcome = self.run(arrays)
        if type(outcome) is GuardFailure:
            failed = self.lowered.guards[outcome.ordinal]  # with its line
            raise guard_error(self.name, failed.expected, outcome.observed, failed.loc)
        return outcome

    def run(self, arrays: Sequence[Any], answers: Answers = ()) -> Any:
        """The outputs, or the `GuardFailure` that ended the run; what the program prints is printed.

        ``answers`` are those of the run that this one takes the place of.
        """
        if self._slots:
            run = HostRun(self._slots, answers)
            with run.entered():
                outputs = self._entry(*arrays)
            if type(outputs) is GuardFailure:
                return outputs._replace(answers=tuple(run.answers))
        else:
            outputs = self._entry(*arrays)
        if self._bare or type(outputs) is GuardFailure:
            return outputs
        for p in self.artifact.prints:
            for line in printed_lines([outputs[k] for k in p.outputs], fmt=p.fmt, batch_axes=p.batch_axes):
                print(line)  # noqa: T201 - what the user asked for
        return outputs[: self.artifact.results]

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
        """A function that takes and gives boxed arrays, a builtin one unless it calls the host.

        None where a run needs more than the program.

        ``inputs`` and ``outputs`` are rows of `backends.boxes`, one for each of the graph; ``fallback`` gets the
        arguments of calls that do not fit them, and ``on_guard`` a `GuardFailure`.
        """
        made = self.artifact
        if made.prints or self._code.loaded is None or (made.guards and on_guard is None):
            return None
        observe = _observer(made.guards, self._sizes())

        def leave(status: int, seen: tuple[NDArray, ...], *_args: Any) -> Any:
            failure = observe(status, seen)
            if failure is None:
                return None
            assert on_guard is not None, "a program without guards does not leave early"
            return on_guard(failure._replace(answers=answers_so_far()) if made.callbacks else failure)

        predicates = [Output(a.dtype.numpy, a.shape) for a in made.outputs[made.results :]]
        program = self._program(
            tuple(inputs), (*outputs, *predicates), fallback,
            box=box, on_guard=leave, results=made.results, unpack=unpack,
        )  # fmt: skip
        entry = make_entry(program)
        return _calling_the_host(entry, self._slots) if self._slots else entry

    # ---- stages

    @cached_property
    def lowered(self) -> Lowered:
        """The loop program, and the meaning of its outputs."""
        return _compiler().lowered(self.graph, self.passes, self.name)

    @property
    def program(self) -> KernelProgram:
        """The loop program."""
        return self.lowered.program

    @cached_property
    def source(self) -> str:
        """The program as Numba source, whichever engine runs it."""
        return _compiler().numba_source(self.program)

    @cached_property
    def llvm(self) -> str:
        """The program as LLVM text."""
        return self._emitted(comments=True).text

    @cached_property
    def asm(self) -> str:
        """The program in the assembly language of this machine."""
        return _compiler().assembly(self._emitted(comments=False))

    def __repr__(self) -> str:
        return f"<Executable {self.name} ({self.engine}): {len(self.program.steps)} steps>"

    # ---- code

    def _find_code(self) -> _Code:
        key = self._key()
        code = _codes.get(key)
        if code is None:
            code = _codes[key] = self._compile(key)
        return code

    def _key(self) -> Hashable:
        """What the code depends on: a name on disk, or the graph, where its name would not say all.

        Of a graph that calls the host it is the text. The functions have no name that says what they compute, and the
        code knows none; a graph in a table would hold on to them.
        """
        if calls_the_host(self.graph):
            return self._draft() if self.engine == "llvm" else (self.source, self.lowered.outputs)
        foreign = _foreign_lowerings(self.graph)
        checked = config.verify >= 2  # as it is made, and so it is
        if self.engine == "llvm" and not (foreign or checked):
            return object_key("program", encode(self.graph), self.passes, str(config.trace_key), np.__version__)
        return self.graph, self.passes, self.engine, self.one_blas_thread, foreign

    def _compile(self, key: Hashable) -> _Code:
        if self.engine == "numba":
            about = _compiler().described(self.graph, self.lowered)
            return _Code(about, None, run=_compiler().compile_numba(self.program))
        if type(key) is str:
            name = f"program_{key}"  # neither it nor what is stored under the key has a name of the user's
            options = {"one_blas_thread": self.one_blas_thread}
            loaded = loader.find(
                key, symbol_of(name), lambda: _compiler().compiled(self.graph, self.passes, name, **options)
            )
        else:
            loaded = loader.find_text(*self._draft())
        return _Code(loaded.artifact, loaded, tuple([externals.address(r) for r in loaded.artifact.routines]))

    def _draft(self) -> tuple[Artifact, str, int]:
        """The artifact but for its code, and the text of that, under a name that is not the user's."""
        nameless = replace(self.lowered, program=replace(self.lowered.program, name="program"))
        return _compiler().draft(self.graph, nameless, one_blas_thread=self.one_blas_thread)

    def _emitted(self, *, comments: bool) -> Emitted:
        return _compiler().emitted(self.program, comments=comments, one_blas_thread=self.one_blas_thread)

    def _program(
        self, inputs: tuple[Input, ...], outputs: tuple[Output, ...], fallback: Callable[..., Any], **options: Any
    ) -> Program:
        code = self._code
        assert code.loaded is not None, "only loaded code is entered"
        return Program(
            self.name, code.loaded.address, inputs, outputs, fallback,
            arena_bytes=self.artifact.arena_bytes, extras=code.routines, flush_denormals=self.flush_denormals,
            keep=(code,), **options,
        )  # fmt: skip

    def _plain_entry(self) -> Callable[..., Any]:
        """The entry for NumPy arrays: the outputs of the program in a tuple, or a `GuardFailure`."""
        inputs = tuple([Input(a.dtype.numpy, a.shape) for a in self.graph.in_avals])
        outputs = tuple([Output(a.dtype.numpy, a.shape) for a in self.artifact.outputs])
        # The entry and what it falls back to know each other; neither knows the executable, which may go before.
        entries: list[Callable[..., Any]] = []
        accept = _acceptor(self.name, self.graph.in_avals)
        observe = _observer(self.artifact.guards, self._sizes())

        def fallback(*args: Any) -> Any:
            return entries[0](*accept(args))

        entries.append(make_entry(self._program(inputs, outputs, fallback, on_guard=observe, unpack=False)))
        return entries[0]

    def _run_numba(self, *args: Any) -> Any:
        """The same through the function of the numba engine."""
        arrays = _acceptor(self.name, self.graph.in_avals)(args)
        outputs = tuple([np.empty(a.shape, a.dtype.numpy) for a in self.artifact.outputs])
        assert self._code.run is not None, "this engine has a function to call"
        functions = [flat_function(number) for number in range(len(self._slots))]
        status = self._code.run([*arrays, *outputs], functions)
        return _observer(self.artifact.guards, self._sizes())(status, outputs) if status else outputs

    def _sizes(self) -> Callable[[], list[Loc]]:
        """The user's lines of the steps whose size is known at run time; the function does not keep the executable."""
        graph, passes, name = self.graph, self.passes, self.name
        return lambda: _compiler().sized_lines(graph, passes, name)


def _calling_the_host(entry: Callable[..., Any], slots: Sequence[HostSlot]) -> Callable[..., Any]:
    """``entry`` with a run around each call, which knows the functions."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with HostRun(slots).entered():
            return entry(*args, **kwargs)

    return call


def _compiler() -> Any:
    from graphad.backends.cpu import compiler  # late: what was found on disk needs none

    return compiler


def _acceptor(name: str, avals: tuple[Aval, ...]) -> Callable[[Sequence[Any]], list[NDArray]]:
    """Brings arguments into the form that programs read: native byte order, aligned, C-contiguous."""

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


def _observer(guards: Sequence[GuardOutput], sizes: Callable[[], list[Loc]]) -> Callable[..., Any]:
    """The outcome of a run that failed a guard; nothing if it is the host that failed, whose run has the error."""

    def observe(status: int, outputs: tuple[NDArray, ...], *_args: Any) -> GuardFailure | None:
        if status <= OUT_OF_MEMORY:
            where = user_line(sizes()[OUT_OF_MEMORY - status])
            raise MemoryError(at(where, "the loop has more turns than there is memory for what its derivative reads"))
        if status == HOST_ERROR:
            return None
        failed = guards[status - 1]
        return GuardFailure(status - 1, literal(outputs[failed.output][()], failed.expected.dtype))

    return observe


def _foreign_lowerings(graph: Graph) -> tuple[Any, ...]:
    """The lowerings that are not as graphad has them: the names of their primitives do not say what is compiled."""
    used = dict.fromkeys(e.primitive for e in graph.eqns)
    regions = [region for e in graph.eqns for region in e.regions]
    found = [p.lowering for p in used if p not in OWN or OWN[p] is not p.lowering]
    return (*found, *[lowering for region in regions for lowering in _foreign_lowerings(region)])


def compile_graph(
    graph: Graph,
    *,
    engine: Engine | None = None,
    flush_denormals: bool | None = None,
    name: str | None = None,
    passes: str = "",
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
    passes
        The text of a pipeline that the graph goes through first.

    Raises
    ------
    LoweringError
        Where an equation has no compiled form; the message names it and the user's line.
    """
    engine = engine or cast("Engine", config.engine)
    if engine not in ("llvm", "numba"):
        raise LoweringError(f"there is no engine {engine!r}; choose 'llvm' or 'numba'")
    flush = config.flush_denormals if flush_denormals is None else flush_denormals
    return Executable(graph, name or graph.name, engine, flush, passes)
