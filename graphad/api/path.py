"""One way through a compiled function: its program, and how a call enters it.

A `Path` is made once, from a trace. It runs on flat arrays, of which the dispatcher makes results (`run`, `pack`), and
from the first call on through machine code that takes what the user passes (`call`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import ne
from typing import Any, Final

import numpy as np

from graphad.api.functions import Arguments
from graphad.api.placement import memories_of, on_device
from graphad.api.stages import compiled, run_graph
from graphad.backends.boxes import Box, Input, Output
from graphad.backends.outcome import Answers, GuardFailure, Left
from graphad.backends.targets import Executable
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


class Path:
    """One way through the function: its program, and what its guards expect. It runs on arrays of the host."""

    __slots__ = (
        "call", "captures", "device", "executable", "expected", "graph", "misfit", "out_tree", "single", "sites",
        "types", "weak",
    )  # fmt: skip

    captures: tuple[Any, ...]

    def __init__(self, traced: Traced, device: Device) -> None:
        self.graph: Graph = traced.graph
        self.device = device
        self.executable: Executable = compiled(self.graph, device)
        self._capture(traced.captures)
        self.expected: list[tuple[Literal, Loc]] = [
            (e.params[0], loc) for e, loc in zip(self.graph.eqns, self.graph.locs, strict=True) if e.primitive is guard
        ]
        self.sites: Sequence[GuardSite] = traced.sites
        self.call: Callable[..., Any] | None = None  # from the arguments, as they are passed, to results or `Left`
        self.misfit = Left(self)
        self.types: Sequence[Spec] = ()  # of the arguments that `call` takes
        self.out_tree: TreeDef = traced.out_tree
        self.weak: tuple[bool, ...] = traced.graph.weak
        self.single = traced.out_tree.num_nodes == 1 and traced.out_tree.num_leaves == 1

    def _capture(self, captures: Sequence[Any]) -> None:
        self.captures = tuple([np.asarray(x, order="C") for x in captures])

    def place(self, leaves: Sequence[Any]) -> list[Any]:
        """The arguments as `run` takes them."""
        return values_of(leaves, self.graph.in_avals)

    def enter(self, arguments: Arguments, opened: Opener | None) -> None:
        """Make `call`, for arguments of these types, if machine code does what it takes.

        Parameters
        ----------
        arguments
            Some of these types.
        opened
            Finds the leaves in what is passed; None if all are, by position.
        """
        make = getattr(self.executable, "entry", None)
        self.types = [type_of(x) for x in arguments.leaves]
        rows = [_accepted(s, a) for s, a in zip(self.types, self.graph.in_avals, strict=False)]
        if make is None or None in rows:
            return
        inputs = [Input(*row) for row in rows if row is not None]
        inputs += [Input(x.dtype, x.shape, bound=x) for x in self.captures]
        outputs = [Output(a.dtype.numpy, a.shape, w) for a, w in zip(self.graph.out_avals, self.weak, strict=True)]
        options = {"box": Box(Array, "_value", "weak_type"), "on_guard": partial(Left, self)}
        if opened is None and (self.single or _is_flat(self.out_tree)):
            fallback = self._copying_to_one if self.single else self._copying
            self.call = make(inputs, outputs, fallback=fallback, unpack=self.single, **options)
            return
        entry = make(inputs, outputs, fallback=self._copying, unpack=False, **options)
        self.call = None if entry is None else self._around(entry, opened)

    def _around(self, entry: Callable[..., Any], opened: Opener | None) -> Callable[..., Any]:
        """``entry`` with containers opened before and built after it."""
        built, misfit = builder(self.out_tree), self.misfit

        def call(*args: Any, **kwargs: Any) -> Any:
            leaves = opened(args, kwargs) if opened is not None else None if kwargs else args
            results = misfit if leaves is None else entry(*leaves)
            return built(results) if type(results) is tuple else results

        return call

    def _copying(self, *leaves: Any, **named: Any) -> tuple[Array, ...] | Left:
        """The flat results for leaves that the entry does not take as they are.

        If their types are right, it is their layout that programs do not read: strided, of the other byte order, or
        with zero strides (as those of `zeros`).
        """
        if named or len(leaves) != len(self.types) or any_on_device(leaves):
            return self.misfit
        try:
            if any(map(ne, map(type_of, leaves), self.types)):
                return self.misfit
        except TypeError:  # one is no array
            return self.misfit
        results = self.run(self.place(leaves))
        return Left(self, results) if type(results) is GuardFailure else self._boxed(results)

    def _copying_to_one(self, *leaves: Any, **named: Any) -> Array | Left:
        results = self._copying(*leaves, **named)
        return results if isinstance(results, Left) else results[0]

    def run(self, arrays: Sequence[Any], answers: Answers = ()) -> Any:
        """The flat results, or the `GuardFailure` that says this is not the path for these arguments.

        ``answers`` are those that another path's callbacks gave before it turned out to be the wrong one.
        """
        return self.executable.run((*arrays, *self.captures), answers)

    def evaluate(self, arrays: Sequence[Any], answers: Answers = ()) -> Sequence[Any]:
        """What `run` gives, evaluated with NumPy and without checking guards."""
        return run_graph(self.graph, [*arrays, *self.captures], answers)

    def pack(self, results: Sequence[Any]) -> Any:
        """The results as the function returns them."""
        boxed = self._boxed(results)
        return boxed[0] if self.single else unflatten(self.out_tree, boxed)

    def _boxed(self, results: Sequence[Any]) -> tuple[Array, ...]:
        return tuple([Array(r, w) for r, w in zip(results, self.weak, strict=True)])


def _accepted(s: Spec, a: Aval) -> tuple[Any, ...] | None:
    """The fields of `Input` for an argument of type ``s`` whose graph input has type ``a``; None if the entry cannot
    check such arguments itself.
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


#: A mark that no array has.
_NOTHING: Final = object()
#: The type of an np.float64.
_DOUBLE: Final = Spec(aval((), f64), True)


class DevicePath(Path):
    """A path whose program runs on a device with memory of its own, which it has in place of arrays."""

    __slots__ = ()

    def _capture(self, captures: Sequence[Any]) -> None:
        avals = self.graph.in_avals[self.graph.n_inputs - len(captures) :]
        self.captures = tuple(memories_of(captures, avals, self.device, self.graph.name))

    def place(self, leaves: Sequence[Any]) -> list[Memory]:
        return memories_of(leaves, self.graph.in_avals[: len(leaves)], self.device, self.graph.name)

    def evaluate(self, arrays: Sequence[Memory], answers: Answers = ()) -> list[Memory]:
        graph = self.graph
        given = on_device([*arrays, *self.captures], graph.in_avals, (False,) * graph.n_inputs)
        results = run_graph(graph, [x._value for x in given], answers)
        return memories_of(results, graph.out_avals, self.device, graph.name)

    def pack(self, results: Sequence[Memory]) -> Any:
        return unflatten(self.out_tree, on_device(results, self.graph.out_avals, self.weak))
