"""A compiled function as a tree of guarded paths.

Python's own branches on traced values become guards: each path is the program for one sequence of their outcomes. The
dispatcher runs the path that was right last; where a guard sees something else it walks on to the path for that, and
traces a new one where there is none.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from graphad.api.functions import Arguments
from graphad.api.placement import memories_of, on_device
from graphad.api.stages import compiled, compiled_for, run_graph
from graphad.backends.outcome import GuardFailure
from graphad.config import config
from graphad.device import Device, Memory
from graphad.errors import PathsWarning, TooManyPathsError
from graphad.ir.builder import Builder
from graphad.ir.collector import without_collector
from graphad.ir.forks import renewed
from graphad.ir.graph import Atom, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import Aval, Literal, aval, f32, f64
from graphad.primitives.effects import guard
from graphad.trace.array import Array
from graphad.trace.bind import Spec, Traced, type_of, values_of
from graphad.trace.guards import changed
from graphad.trace.places import Place
from graphad.trace.pytree import TreeDef, unflatten
from graphad.trace.structures import builder, opener

if TYPE_CHECKING:
    from graphad.backends.cpu.executable import Executable
    from graphad.backends.cuda.run.executable import DeviceExecutable

NDArray = np.ndarray[Any, Any]


class Path:
    """One way through the function: its program, and what its guards expect."""

    __slots__ = ("call", "captures", "executable", "expected", "graph", "out_tree", "places", "single", "weak")

    executable: Executable | DeviceExecutable
    captures: tuple[Any, ...]

    def __init__(self, traced: Traced) -> None:
        self.graph: Graph = traced.graph
        self._compile(traced.captures)
        self.expected: list[tuple[Literal, Loc]] = [
            (e.params[0], loc) for e, loc in zip(self.graph.eqns, self.graph.locs, strict=True) if e.primitive is guard
        ]
        self.places: Sequence[Place] = traced.places
        self.call: Callable[..., Any] | None = None  # from positional arguments to results
        self.out_tree: TreeDef = traced.out_tree
        self.weak: tuple[bool, ...] = traced.graph.weak
        self.single = traced.out_tree.num_nodes == 1 and traced.out_tree.num_leaves == 1

    def _compile(self, captures: Sequence[Any]) -> None:
        self.executable = compiled(self.graph)
        self.captures = tuple([np.asarray(x, order="C") for x in captures])

    def place(self, leaves: Sequence[Any]) -> list[Any]:
        """The arguments as `run` takes them."""
        return values_of(leaves, self.graph.in_avals)

    def enter(
        self, arguments: Arguments, flat: bool, otherwise: Callable[..., Any], guarded: Callable[..., Any]
    ) -> None:
        """Make `call`, for arguments of these types, if machine code does what it takes.

        Parameters
        ----------
        arguments
            Some of these types; ``flat`` if they are leaves, handed over by position.
        otherwise, guarded
            Get the arguments of calls that do not fit, and a `GuardFailure` with those of calls that leave at a guard.
        """
        make = getattr(self.executable, "entry", None)
        rows = [_accepted(type_of(x), a) for x, a in zip(arguments.leaves, self.graph.in_avals, strict=False)]
        opened = opener(arguments.treedef)
        if make is None or opened is None or None in rows:
            return
        from graphad.backends.cpu.entry.make import Box, Input, Output  # late: start-up time

        inputs = [Input(*row) for row in rows if row is not None]
        inputs += [Input(x.dtype, x.shape, bound=x) for x in self.captures]
        outputs = [Output(a.dtype.numpy, a.shape, w) for a, w in zip(self.graph.out_avals, self.weak, strict=True)]
        box = Box(Array, "_value", "weak_type")
        if flat and (self.single or _is_flat(self.out_tree)):
            self.call = make(inputs, outputs, box=box, fallback=otherwise, on_guard=guarded, unpack=self.single)
            return
        entry = make(inputs, outputs, box=box, fallback=_nothing, on_guard=_as_it_is, unpack=False)
        if entry is None:
            return
        built = builder(self.out_tree)

        def call(*args: Any, **kwargs: Any) -> Any:
            leaves = opened(args, kwargs)
            results = None if leaves is None else entry(*leaves)
            if type(results) is tuple:
                return built(results)
            return otherwise(*args, **kwargs) if results is None else guarded(results, *args, **kwargs)

        self.call = call

    def run(self, arrays: Sequence[Any]) -> Any:
        """The flat results, or the `GuardFailure` that says this is not the path for these arguments."""
        return self.executable.run((*arrays, *self.captures))

    def evaluate(self, arrays: Sequence[Any]) -> Sequence[Any]:
        """What `run` gives, by NumPy, guards left alone."""
        return run_graph(self.graph, [*arrays, *self.captures])

    def pack(self, results: Sequence[Any]) -> Any:
        """The results as the function returns them."""
        if self.single:
            return Array(results[0], self.weak[0])
        return unflatten(self.out_tree, [Array(r, w) for r, w in zip(results, self.weak, strict=True)])


def _accepted(s: Spec, a: Aval) -> tuple[Any, ...] | None:
    """What is taken for an argument of type ``s`` that the graph has as one of type ``a``, as `Input` says it.

    None: that takes more than a look at the argument.
    """
    dtype = a.dtype.numpy
    if s.exact:  # a Python float; no array is one
        return (dtype, a.shape, False, _NOTHING, True) if a.dtype in (f32, f64) else None
    if not s.weak:
        return (dtype, a.shape, True, False, False)
    number = not a.shape and s == type_of({"b": True, "i": 0, "f": 0.0}.get(s.aval.dtype.kind, s))
    return (dtype, a.shape, False, True, number or (np.float64 if s == _DOUBLE else False))


def _is_flat(treedef: TreeDef) -> bool:
    """Whether it is a tuple of leaves."""
    return treedef.type is tuple and treedef.num_leaves == treedef.num_nodes - 1


def _nothing(*_args: Any) -> None:
    return None


def _as_it_is(failure: GuardFailure, *_args: Any) -> GuardFailure:
    return failure


#: The mark of no array.
_NOTHING: Final = object()
#: The type of an np.float64.
_DOUBLE: Final = Spec(aval((), f64), True)


class DevicePath(Path):
    """A path whose program runs on a device: in place of arrays it has memory there."""

    __slots__ = ("device",)

    def __init__(self, traced: Traced, device: Device) -> None:
        self.device = device
        super().__init__(traced)

    def _compile(self, captures: Sequence[Any]) -> None:
        self.executable = compiled_for(self.graph, self.device)
        avals = self.graph.in_avals[self.graph.n_inputs - len(captures) :]
        self.captures = tuple(memories_of(captures, avals, self.device, self.graph.name))

    def place(self, leaves: Sequence[Any]) -> list[Memory]:
        return memories_of(leaves, self.graph.in_avals[: len(leaves)], self.device, self.graph.name)

    def evaluate(self, arrays: Sequence[Memory]) -> list[Memory]:
        graph = self.graph
        given = on_device([*arrays, *self.captures], graph.in_avals, (False,) * graph.n_inputs)
        results = run_graph(graph, [x._value for x in given])
        return memories_of(results, graph.out_avals, self.device, graph.name)

    def pack(self, results: Sequence[Memory]) -> Any:
        return unflatten(self.out_tree, on_device(results, self.graph.out_avals, self.weak))


class Node:
    """A place in the tree: either a path ends here, or a guard follows, with one child per outcome."""

    __slots__ = ("children", "last", "path")

    def __init__(self) -> None:
        self.path: Path | None = None
        self.children: dict[Literal, Node] = {}
        self.last: Node | None = None

    def latest(self) -> Path | None:
        """The path that was taken last from here."""
        node: Node | None = self
        while node is not None and node.path is None:
            node = node.last
        return None if node is None else node.path


class PathTree:
    """The paths of a function for one signature.

    Parameters
    ----------
    make
        Traces and compiles the function on given arguments, its first observations, made at given places, forced to
        given values.
    name
        The function's name, for errors.
    """

    __slots__ = ("__weakref__", "count", "lock", "make", "name", "root")

    def __init__(self, make: Callable[[Any, list[Literal], Sequence[Place]], Path], name: str) -> None:
        self.make = make
        self.name = name
        self.root = Node()
        self.count = 0
        self.lock = threading.RLock()
        renewed(self)

    def paths(self) -> Iterator[Path]:
        """All paths, in no particular order."""
        nodes = [self.root]
        while nodes:
            node = nodes.pop()
            nodes.extend(node.children.values())
            if node.path is not None:
                yield node.path

    def run(
        self, leaves: Sequence[Any], arguments: Any, failed: tuple[Path, GuardFailure] | None = None
    ) -> tuple[Path, Sequence[Any]]:
        """The path for these arguments, and its results.

        ``leaves`` are the arrays and numbers among the arguments; ``failed`` is a path that has been tried.
        """
        path = self.root.latest() if failed is None else failed[0]
        forced: list[Literal] = []
        places: Sequence[Place] = ()
        tried: set[Path] = set()
        last = path
        while True:
            if path is None:
                path = self._add(arguments, forced, places)
            if path in tried:
                # Two programs round one predicate differently: either branch is right, so the answer is this one.
                self._check_alike(path, last, len(forced))
                return path, path.evaluate(path.place(leaves))
            outcome = path.run(path.place(leaves)) if failed is None else failed[1]
            failed = None
            if type(outcome) is not GuardFailure:
                if path.expected:
                    self._remember(path)
                return path, outcome
            tried.add(path)
            forced = [e for e, _ in path.expected[: outcome.ordinal]] + [outcome.observed]
            places, last = path.places[: outcome.ordinal + 1], path
            loc = path.expected[outcome.ordinal][1]
            path = self._find(forced)
            if path is None:
                self._check_count(loc)

    def _find(self, observations: Sequence[Literal]) -> Path | None:
        """The path that was taken last among those that begin with these observations."""
        node: Node | None = self.root
        for value in observations:
            node = node.children.get(value) if node is not None else None
        return node.latest() if node is not None else None

    @without_collector  # once for all stages: it would look through what each leaves to the next
    def _add(self, arguments: Any, forced: list[Literal], places: Sequence[Place]) -> Path:
        with self.lock:
            made_meanwhile = self._find(forced)  # by another thread
            if made_meanwhile is not None:
                return made_meanwhile
            path = self.make(arguments, list(forced), places)
            if len(path.places) < len(places):
                raise changed(self.name, places[len(path.places)], None)
            node = self.root
            for value, _ in path.expected:
                node = node.children.setdefault(value, Node())
            node.path = path
            self.count += 1
            self._remember(path)
            return path

    def _check_alike(self, path: Path, other: Path | None, count: int) -> None:
        """Refuse to run a path whose guards do not hold, unless another has guards that say the same."""
        assert other is not None, "a path that was tried has failed"
        if _predicates(path, count) != _predicates(other, count):
            raise changed(self.name, other.places[count - 1], path.places[count - 1])

    def _remember(self, path: Path) -> None:
        node = self.root
        for value, _ in path.expected:
            child = node.children[value]
            node.last = child
            node = child

    def _check_count(self, loc: Loc) -> None:
        """Warn, and at last refuse, where a function has very many paths: it branches on data, not on cases."""
        advice = (
            f"{format_loc(loc)}: {self.name} has been compiled along {self.count} paths through its Python branches. "
            "A branch that data decides anew in each call is better written as graphad.numpy.where(condition, a, b)."
        )
        if self.count >= config.max_paths:
            raise TooManyPathsError(f"{advice} The limit is config.max_paths = {config.max_paths}.")
        if self.count == config.warn_paths:
            warnings.warn(advice, PathsWarning, stacklevel=4)


def _predicates(path: Path, count: int) -> tuple[Graph, list[bytes]]:
    """What the first guards of a path look at: the graph of that alone, and the bytes of the captures it reads."""
    graph = path.graph
    builder = Builder()
    value: dict[int, Atom] = {k: builder.input(a) for k, a in enumerate(graph.in_avals)}
    looked_at: list[Atom] = []
    for eqn in graph.eqns:
        inputs = tuple([value[a] if isinstance(a, int) else a for a in eqn.inputs])
        if eqn.primitive is guard:
            looked_at.append(inputs[0])
        elif eqn.outputs:
            value.update(
                zip(eqn.outputs, builder.copy(eqn, inputs, [graph.avals[o] for o in eqn.outputs]), strict=True)
            )
        if len(looked_at) == count:
            break
    read = {a for eqn in builder.close(looked_at).eqns for a in eqn.inputs if isinstance(a, int) and a < graph.n_inputs}
    read |= {a for a in looked_at if isinstance(a, int) and a < graph.n_inputs}
    n_arguments = graph.n_inputs - len(path.captures)
    captures = [path.captures[k - n_arguments] for k in sorted(read) if k >= n_arguments]
    captured = [x.tobytes() for x in captures if isinstance(x, np.ndarray)]  # memory of a device is not read back
    return builder.close(looked_at, inputs=sorted(read)), captured
