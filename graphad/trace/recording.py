"""`Trace`: the graph that a running Python function is recorded into.

One graph per trace. Tracers of an enclosing trace, and arrays, become captures (operands) of the inner one. Values have
examples, computed on demand, by which Python's own branches are decided (`graphad.trace.guards`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.config import config
from graphad.errors import TracerLeakError
from graphad.ir.builder import Builder
from graphad.ir.evaluate import conform
from graphad.ir.graph import Atom, Eqn, Graph, is_effectful
from graphad.ir.loc import Loc, format_loc
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, Literal, dtype_of, literal
from graphad.ir.verify import effects
from graphad.primitives.cast import convert
from graphad.primitives.collectives import names_of
from graphad.primitives.effects import guard
from graphad.primitives.layout import broadcast
from graphad.trace.array import Array, snapshot
from graphad.trace.device_array import DeviceArray
from graphad.trace.guard_sites import GuardSite
from graphad.trace.runs import written_out
from graphad.trace.source import where
from graphad.trace.trace_limits import WARN_EQUATIONS, Turns, grown

NDArray = np.ndarray[Any, Any]

#: The example of values without one: under vmap, in bodies of loops and custom rules, when tracing from shapes alone.
NO_EXAMPLE: Final = object()


class _State(threading.local):
    """The state of tracing in this thread.

    Attributes
    ----------
    stack
        The traces, innermost last.
    forced
        The observations that a retrace must repeat, each removed as it is made.
    sites
        The sites of these.
    derivatives
        The depth of nested derivatives.
    axes
        The named batch axes that the running function is mapped over, each with its size, the innermost last.
    """

    def __init__(self) -> None:
        self.stack: list[Trace] = []
        self.forced: list[Any] = []
        self.sites: Sequence[GuardSite] = ()
        self.derivatives = 0
        self.axes: tuple[tuple[str, int], ...] = ()


state: Final = _State()


def current() -> Trace | None:
    """The innermost running trace of this thread."""
    stack = state.stack
    return stack[-1] if stack else None


@contextmanager
def axes_in_scope(axes: tuple[tuple[str, int], ...]) -> Generator[None]:
    """Trace within the named batch axes ``axes``."""
    before, state.axes = state.axes, axes
    try:
        yield
    finally:
        state.axes = before


class Capture(NamedTuple):
    """A value that a traced function closes over, the input for it, and the object that is its key."""

    value: Any  # a tracer or an Array
    number: int
    original: Any


class Trace(Builder):
    """A graph that a running Python function is being recorded into.

    Attributes
    ----------
    name
        The traced function's name.
    region
        The graph becomes a region of an equation: guards stay outside, so their predicates are collected instead.
    path
        The graph is one path of a compiled function: its arguments vary from call to call.
    captures
        What the function closes over: tracers of enclosing traces and arrays, with the input for each.
    examples, varying
        Example values, computed on demand (`NO_EXAMPLE` where there is none), and whether these vary between calls.
    guards
        Of a region: (predicate, expected) in order.
    observed
        The observations by `bool` and `int`, by value number: a second one gives the same answer.
    sites
        The sites of the guards, in order.
    turns
        How often Python has observed a value, by line.
    next_warning
        The number of equations at which the trace is said to be long.
    constants
        Of the outermost trace: NumPy arrays that the function has used, by identity, and their snapshots.
    is_rule
        The graph is a custom rule's, without inputs for arrays of its own: small ones become literals.
    loop
        The function of `graphad.lax` of which the graph is a body, if it is one.
    branched
        `bool` or `int` was answered from an example: the graph may differ for other arguments.
    exact
        The values of Python floats, which are in float64 (`graphad.trace.exact`).
    handed
        Memory of arrays without axes that the function was passed untransformed: these vary between calls, so they are
        captured, and are no constants of programs compiled inside.
    """

    __slots__ = (
        "_owner", "_owner_upto", "_sources", "branched", "captures", "constants", "exact", "examples", "guards",
        "handed", "is_rule", "loop", "n_arguments", "name", "next_warning", "observed", "path", "region", "sites",
        "turns", "varying",
    )  # fmt: skip

    def __init__(self, name: str, region: bool = False, path: bool = False) -> None:
        super().__init__()
        self.name = name
        self.region = region
        self.path = path
        self.branched = False
        self.handed: set[int] = set()
        self.is_rule = False
        self.loop = ""
        self.n_arguments = 0
        self.captures: dict[Any, Capture] = {}
        self.constants: dict[int, tuple[NDArray, Array]] = {}
        self.examples: dict[int, Any] = {}
        self.varying: dict[int, bool] = {}
        self.guards: list[tuple[Atom, Literal]] = []
        self.observed: dict[int, Literal] = {}
        self.sites: list[GuardSite] = []
        self.turns: dict[Loc, Turns] = {}
        self.next_warning = min(WARN_EQUATIONS, config.max_equations)
        self.exact: set[int] = set()
        self._sources: dict[int, Any] = {}
        self._owner: dict[int, int] = {}
        self._owner_upto = 0

    def argument(self, a: Aval, source: Any = NO_EXAMPLE) -> int:
        """Append an input for an argument. ``source`` is where its example comes from: an outer tracer or an array."""
        number = self.input(a)
        self.n_arguments = number + 1
        self._sources[number] = source
        return number

    def follow(self, captures: Sequence[Any], constants: dict[int, tuple[NDArray, Array]], known: bool = False) -> None:
        """Make this the trace of a custom rule: it sees what its primal captured, with examples if ``known``."""
        self.is_rule = True
        self.constants = constants
        for x in captures:
            number = self.capture(x)
            if not known:
                self._sources[number] = NO_EXAMPLE

    def capture(self, x: Any) -> int:
        """The input that stands for ``x``: a tracer of an enclosing trace, an Array, or a NumPy array."""
        key = (x.builder, x.atom) if isinstance(x, Ref) else id(x._value if type(x) is Array else x)
        found = self.captures.get(key)
        if found is not None:
            return found.number
        value = Array(snapshot(x)) if isinstance(x, np.ndarray) else x
        number = self.input(value.aval)
        self.captures[key] = Capture(value, number, x)
        if isinstance(x, Ref) and x.atom in x.builder.exact:  # type: ignore[attr-defined]
            self.exact.add(number)
        self._sources[number] = value._value if type(value) is Array else value
        return number

    @property
    def on_devices(self) -> list[DeviceArray]:
        """The arguments, and what it closes over, that are on a device."""
        return [source for source in self._sources.values() if type(source) is DeviceArray]

    def constant(self, x: NDArray) -> Array:
        """``x`` as an Array: the same one at every use, as long as its contents stay the same."""
        found = self.constants.get(id(x))
        if found is None or not _same_bits(found[1]._value, x):
            found = self.constants[id(x)] = (x, Array(snapshot(x)))
        return found[1]

    def _append(
        self,
        primitive: Primitive,
        inputs: tuple[Atom, ...],
        params: tuple[Any, ...],
        regions: tuple[Graph, ...],
        out_avals: Sequence[Aval],
        key: tuple[Any, ...],
    ) -> tuple[int, ...]:
        if self.region and primitive is guard:
            self.guards.append((inputs[0], params[0]))
            return ()
        if len(self.eqns) >= self.next_warning:
            self.next_warning = grown(self, len(self.eqns))
        return Builder._append(self, primitive, inputs, params, regions, out_avals, key)

    def inline(self, graph: Graph, inputs: Sequence[Atom]) -> list[Atom]:
        """Append all equations of ``graph``: as they are, to a trace that has none yet and no other inputs."""
        if self.eqns or graph.effectful or len(graph.eqns) >= self.next_warning or list(inputs) != self.inputs:
            return super().inline(graph, inputs)
        return self.adopt(graph)

    def site_of(self, atom: Atom) -> GuardSite:
        """The site at which the running line observes ``atom``."""
        made = self.maker(atom)
        if made is None:
            return GuardSite(self.loc, "", ())
        return GuardSite(self.loc, made.primitive.name, tuple([a for a in made.inputs if isinstance(a, Literal)]))

    def turn(self, loc: Loc, atom: Atom) -> None:
        """Count an observation of ``atom``, by which loops that add no equations are noticed."""
        turns = self.turns.get(loc)
        if turns is None:
            turns = self.turns[loc] = Turns()
        turns.count += 1
        turns.atom = atom
        if turns.count >= turns.next_warning:
            turns.next_warning = grown(self, turns.count)

    # --- example values

    def example(self, atom: Atom) -> Any:
        """The value of ``atom`` on the example arguments, or `NO_EXAMPLE`. Each equation is evaluated at most once."""
        if type(atom) is not int:
            return np.asarray(atom.value)  # type: ignore[union-attr]
        if atom not in self.examples:
            for k in self._needed_for(atom):
                self._evaluate(k)
        return self.examples[atom]

    def _needed_for(self, number: int) -> list[int]:
        """Positions of the equations to evaluate for ``number``, in order; examples of inputs are fetched here."""
        self._index_owners()
        examples = self.examples
        needed: set[int] = set()
        todo = [number]
        while todo:
            a = todo.pop()
            if a in examples:
                continue
            k = self._owner.get(a)
            if k is None:
                self._fetch(a)
            elif k not in needed:
                needed.add(k)
                todo.extend([b for b in self.eqns[k].inputs if type(b) is int])
        return sorted(needed)

    def _fetch(self, number: int) -> None:
        """The example of an input, from its source."""
        source = self._sources[number]
        if isinstance(source, Ref):
            outer: Any = source.builder
            self.examples[number] = outer.example(source.atom)
            self.varying[number] = outer.varies(source.atom)
        else:
            self.examples[number] = source._value if type(source) is DeviceArray else source
            self.varying[number] = self.path and number < self.n_arguments

    def varies(self, atom: Atom) -> bool:
        """Whether ``atom``, whose example is known, can differ in another call of the compiled function."""
        return type(atom) is int and self.varying[atom]

    def made_at(self, atom: Atom) -> Loc:
        """The location of the equation that made ``atom``; None for inputs."""
        k = self._made_by(atom)
        return None if k is None else self.locs[k]

    def maker(self, atom: Atom) -> Eqn | None:
        """The equation that made ``atom``; None for inputs and literals."""
        k = self._made_by(atom)
        return None if k is None else self.eqns[k]

    def _made_by(self, atom: Atom) -> int | None:
        self._index_owners()
        return self._owner.get(atom) if isinstance(atom, int) else None

    def _index_owners(self) -> None:
        for k in range(self._owner_upto, len(self.eqns)):
            for o in self.eqns[k].outputs:
                self._owner[o] = k
        self._owner_upto = len(self.eqns)

    def _evaluate(self, k: int) -> None:
        primitive, inputs, params, outputs, regions = self.eqns[k]
        examples = self.examples
        values = [examples[a] if type(a) is int else a.value for a in inputs]  # type: ignore[union-attr]
        unknown = _answered_by_effects(self.eqns[k]) or (state.axes and names_of(self.eqns[k]))
        if unknown or any([v is NO_EXAMPLE for v in values]):
            for o in outputs:
                examples[o] = NO_EXAMPLE
            return
        varies = any([self.varying[a] for a in inputs if type(a) is int])
        if regions:
            results: Any = _region_runner[0](self.eqns[k], self.locs[k], [np.asarray(v) for v in values])
        else:
            with np.errstate(all="ignore"):
                results = primitive.evaluate(tuple(values), params)
            if not primitive.multiple:
                results = (results,)
        for o, r in zip(outputs, results, strict=True):
            examples[o] = conform(r, self.avals[o])
            self.varying[o] = varies

    def __repr__(self) -> str:
        return f"<trace of {self.name}, {len(self.eqns)} equations>"


RegionRunner = Callable[[Eqn, Loc, list[Any]], Sequence[Any]]
_region_runner: list[RegionRunner] = []


def set_region_runner(run: RegionRunner) -> None:
    """Register how equations with regions are evaluated for examples: a higher floor compiles long loops."""
    _region_runner[:] = [run]


def _answered_by_effects(eqn: Eqn) -> bool:
    """Whether results come from effects: what does something is not done for an example."""
    return is_effectful(eqn) and any([e.outputs for e in ([eqn] if eqn.primitive.effect else effects(eqn.regions[0]))])


def leaked(x: Ref) -> TracerLeakError:
    """The error for a tracer whose trace has ended."""
    trace: Any = x.builder
    loc = trace.made_at(x.atom)
    made = f"made at {format_loc(loc)}" if loc is not None else "an argument or captured value of it"
    return TracerLeakError(
        f"{where()}a traced value of type {x.aval} outlived the trace of {trace.name}; it was {made}. "
        "Return it from the function instead of storing it in a global, a closure or an attribute."
    )


def lift(trace: Trace | None, x: Any) -> Atom:
    """The atom of ``x`` in ``trace``: tracers of enclosing traces and arrays become captures."""
    if isinstance(x, Ref):
        if getattr(x, "exact", False):
            return _rounded(trace, x)
        if trace is not None and (x.builder, x.atom) in trace.captures:
            return trace.captures[x.builder, x.atom].number
        if x.builder is trace or type(x.atom) is not int:
            return x.atom
        if trace is None or x.builder not in state.stack:
            raise leaked(x)
        return trace.capture(x)
    assert trace is not None
    if type(x) is DeviceArray and (not trace.is_rule or id(x) in trace.captures):
        return trace.capture(x)  # also a scalar: reading its value would wait for the device
    value: Any = x._value if type(x) in (Array, DeviceArray) else x
    if not value.ndim:
        if any([id(value) in t.handed for t in state.stack]) and not trace.is_rule:
            return trace.capture(x)
        return literal(value[()], dtype_of(value.dtype))
    if not any(value.strides) or not value.size:
        # What has zero strides, as from numpy.zeros, or no elements, is one broadcast number, which becomes a literal.
        scalar = literal(value[(0,) * value.ndim] if value.size else 0, dtype_of(value.dtype))
        return trace.emit(broadcast, (scalar,), (value.shape, ()))[0]
    if trace.is_rule and id(value) not in trace.captures:
        number = written_out(trace, value)
        if number is not None:
            return number
    return trace.capture(x)


def _rounded(trace: Trace | None, x: Any) -> Atom:
    """A Python float in the default dtype."""
    number = lift(trace, x.wide)
    assert trace is not None, "`lift` has raised"
    return trace.emit(convert, (number,), (x.aval.dtype,))[0]


def _same_bits(x: NDArray, y: NDArray) -> bool:
    word = f"u{x.itemsize}"
    return x.dtype == y.dtype and np.array_equal(x.view(word), y.view(word))
