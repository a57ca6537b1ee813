"""A compiled function as a tree of guarded paths.

Python's own branches on traced values become guards: each path is the program for one sequence of their outcomes. The
dispatcher runs the path that was right last; where a guard sees something else it walks on to the path for that, and
traces a new one where there is none.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad.api.functions import Arguments
from graphad.api.path import DevicePath, Path
from graphad.api.placement import device_for
from graphad.api.tracing import trace_with_loops
from graphad.backends.outcome import Answers, GuardFailure, Left
from graphad.config import config
from graphad.device import Device
from graphad.errors import PathsWarning, TooManyPathsError
from graphad.ir.builder import Builder
from graphad.ir.collector import without_collector
from graphad.ir.forks import renewed
from graphad.ir.graph import Atom, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import Literal
from graphad.primitives.effects import guard
from graphad.trace.guard_sites import GuardSite
from graphad.trace.guards import changed
from graphad.trace.recording import state

NDArray = np.ndarray[Any, Any]


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


class Recipe(NamedTuple):
    """How the paths of a function are made.

    Attributes
    ----------
    name
        The function's name, for errors.
    settings
        The settings under which it is traced.
    device
        Where it is to run; None: where its arguments are.
    """

    name: str
    settings: Mapping[str, Any]
    device: Device | None

    def make(
        self, call: Callable[[Any], Any], arguments: Arguments, forced: list[Literal], sites: Sequence[GuardSite]
    ) -> Path:
        """Trace and compile, with the first observations, made at ``sites``, forced to those of another path."""
        state.forced, state.sites = forced, sites
        try:
            with config.override(**self.settings):
                traced = trace_with_loops(call, arguments.leaves, arguments.treedef, name=self.name, path=True)
                device = device_for(arguments, traced.captures, self.device, self.name)
                return (Path if device.is_host else DevicePath)(traced, device)
        finally:
            state.forced, state.sites = [], ()


class PathTree:
    """The paths of a function for one signature."""

    __slots__ = ("__weakref__", "count", "lock", "recipe", "root")

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
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
        self, call: Callable[[Any], Any], arguments: Arguments, left: Left | None = None
    ) -> tuple[Path, Sequence[Any]]:
        """The path for these arguments, and its results.

        ``call`` is the function of the arguments' structure; ``left`` is a path that has been tried.
        """
        failed = None if left is None else left.failure
        path = self.root.latest() if left is None or failed is None else left.path
        leaves = arguments.leaves
        forced: list[Literal] = []
        sites: Sequence[GuardSite] = ()
        answers: Answers = ()
        tried: set[Path] = set()
        last = path
        while True:
            if path is None:
                path = self._add(call, arguments, forced, sites)
            if path in tried:
                # Two programs round one predicate differently: either branch is right, so the answer is this one.
                self._check_alike(path, last, len(forced))
                return path, path.evaluate(path.place(leaves), answers)
            outcome = path.run(path.place(leaves), answers) if failed is None else failed
            failed = None
            if type(outcome) is not GuardFailure:
                if path.expected:
                    self._remember(path)
                return path, outcome
            tried.add(path)
            answers = outcome.answers
            forced = [e for e, _ in path.expected[: outcome.ordinal]] + [outcome.observed]
            sites, last = path.sites[: outcome.ordinal + 1], path
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
    def _add(
        self, call: Callable[[Any], Any], arguments: Arguments, forced: list[Literal], sites: Sequence[GuardSite]
    ) -> Path:
        with self.lock:
            made_meanwhile = self._find(forced)  # by another thread
            if made_meanwhile is not None:
                return made_meanwhile
            path = self.recipe.make(call, arguments, list(forced), sites)
            if len(path.sites) < len(sites):
                raise changed(self.recipe.name, sites[len(path.sites)], None)
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
            raise changed(self.recipe.name, other.sites[count - 1], path.sites[count - 1])

    def _remember(self, path: Path) -> None:
        node = self.root
        for value, _ in path.expected:
            child = node.children[value]
            node.last = child
            node = child

    def _check_count(self, loc: Loc) -> None:
        """Warn, and at last refuse, where a function has very many paths: it branches on data, not on cases."""
        advice = (
            f"{format_loc(loc)}: {self.recipe.name} has been compiled along {self.count} paths through its Python "
            "branches. A branch that data decides anew in each call is better written as "
            "graphad.numpy.where(condition, a, b)."
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
