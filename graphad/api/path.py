"""One way through a compiled function: its program, and how a call enters it.

A `Path` is made once, from a trace. It runs on flat arrays, of which the dispatcher makes results (`run`, `pack`), and
from the first call on through machine code that takes what the user passes (`call`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import ne
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from graphad.api.functions import Arguments
from graphad.api.placement import memories_of, on_device
from graphad.api.stages import compiled, compiled_for, run_graph
from graphad.backends.outcome import GuardFailure
from graphad.device import Device, Memory
from graphad.ir.graph import Graph
from graphad.ir.loc import Loc
from graphad.ir.types import Aval, Literal, aval, f32, f64
from graphad.primitives.effects import guard
from graphad.trace.array import Array
from graphad.trace.bind import Spec, Traced, type_of, values_of
from graphad.trace.device_array import any_on_device
from graphad.trace.guard_sites import GuardSite
from graphad.trace.pytree import TreeDef, unflatten
from graphad.trace.structures import Opener, builder

if TYPE_CHECKING:
    from graphad.backends.cpu.executable import Executable
    from graphad.backends.cuda.run.executable import DeviceExecutable


class Path:
    """One way through the function: its program, and what its guards expect."""

    __slots__ = (
        "attempt", "call", "captures", "executable", "expected", "graph", "out_tree", "single", "sites", "types",
        "weak",
    )  # fmt: skip

    executable: Executable | DeviceExecutable
    captures: tuple[Any, ...]

    def __init__(self, traced: Traced) -> None:
        self.graph: Graph = traced.graph
        self._compile(traced.captures)
        self.expected: list[tuple[Literal, Loc]] = [
            (e.params[0], loc) for e, loc in zip(self.graph.eqns, self.graph.locs, strict=True) if e.primitive is guard
        ]
        self.sites: Sequence[GuardSite] = traced.sites
        self.call: Callable[..., Any] | None = None  # from the arguments to results
        self.attempt: Callable[..., Any] | None = None  # the same, or `MISFIT`
        self.types: Sequence[Spec] = ()  # of the arguments that `call` takes
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
        self,
        arguments: Arguments,
        opened: Opener | None,
        otherwise: Callable[..., Any],
        guarded: Callable[..., Any],
    ) -> None:
        """Make `call`, for arguments of these types, if machine code does what it takes.

        Parameters
        ----------
        arguments
            Some of these types.
        opened
            Finds the leaves in what is passed; None if all are, by position.
        otherwise, guarded
            Get the arguments of calls that do not fit, and a `GuardFailure` with those of calls that leave at a guard.
        """
        make = getattr(self.executable, "entry", None)
        self.types = [type_of(x) for x in arguments.leaves]
        rows = [_accepted(s, a) for s, a in zip(self.types, self.graph.in_avals, strict=False)]
        if make is None or None in rows:
            return
        from graphad.backends.cpu.entry.make import Box, Input, Output  # late: start-up time

        inputs = [Input(*row) for row in rows if row is not None]
        inputs += [Input(x.dtype, x.shape, bound=x) for x in self.captures]
        outputs = [Output(a.dtype.numpy, a.shape, w) for a, w in zip(self.graph.out_avals, self.weak, strict=True)]
        box = Box(Array, "_value", "weak_type")
        if opened is None and (self.single or _is_flat(self.out_tree)):
            self.call = make(inputs, outputs, box=box, fallback=otherwise, on_guard=guarded, unpack=self.single)
            return
        entry = make(inputs, outputs, box=box, fallback=_nothing, on_guard=_as_it_is, unpack=False)
        if entry is None:
            return
        built = builder(self.out_tree)

        def attempt(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            leaves = args if opened is None and not kwargs else None if opened is None else opened(args, kwargs)
            results = None if leaves is None else entry(*leaves)
            if type(results) is tuple:
                return built(results)
            if results is not None:
                return guarded(results, *args, **kwargs)
            return MISFIT if leaves is None else self.copying(leaves, guarded, args, kwargs)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = attempt(args, kwargs)
            return otherwise(*args, **kwargs) if result is MISFIT else result

        self.call, self.attempt = call, attempt

    def copying(
        self, leaves: Sequence[Any], guarded: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The results for arguments that are laid out as no program reads them; `MISFIT` if it is not that.

        Such are arrays with gaps, or of the other byte order, and arrays with zero strides, as of `zeros`.
        """
        if len(leaves) != len(self.types) or any_on_device(leaves):
            return MISFIT
        try:
            if any(map(ne, map(type_of, leaves), self.types)):
                return MISFIT
        except TypeError:  # one is no array
            return MISFIT
        results = self.run(self.place(leaves))
        return guarded(results, *args, **kwargs) if type(results) is GuardFailure else self.pack(results)

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


#: Not a result: the arguments are of other types or of another structure.
MISFIT: Final = object()


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
