"""`jit`: a function compiled as a whole, once per signature."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial, update_wrapper
from operator import is_
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, overload

import numpy as np

from graphad.api import branching
from graphad.api.donation import given_up
from graphad.api.functions import Arguments, Function, as_argnums, check_callable, name_of
from graphad.api.path import DevicePath, Path
from graphad.api.paths import PathTree, Recipe
from graphad.api.pickling import reduced
from graphad.api.placement import device_for, named, run_compiled
from graphad.api.stages import explained, shown, simplify
from graphad.api.static_arguments import StaticArguments
from graphad.api.tracing import loop_notes, trace_with_loops
from graphad.backends.outcome import Left
from graphad.config import config
from graphad.device import Device, parse
from graphad.ir.bounded import BoundedDict
from graphad.ir.graph import Graph
from graphad.primitives.control import jit as jit_primitive
from graphad.trace.array import Array
from graphad.trace.bind import Traced, any_tracer, emit_region, is_over_axes, note_float64, trace_function, type_of
from graphad.trace.device_array import DeviceArray
from graphad.trace.float0 import hidden
from graphad.trace.pytree import unflatten
from graphad.trace.recording import state
from graphad.trace.source import where
from graphad.trace.structures import opener
from graphad.trace.tracebacks import boundary, hide_frames

if TYPE_CHECKING:
    from graphad.backends.loops.explanation import Explanation

NDArray = np.ndarray[Any, Any]
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")

_MAX_ATTEMPTS = 8  # paths for containers that are tried, the latest first, before the call is looked at in full
_MAX_SIGNATURES = 1024  # of one function; of more, the oldest are compiled anew when they come again


class Jit(Generic[P, R]):
    """A compiled function; made by `jit`.

    Attributes
    ----------
    fun
        The Python function.
    device
        Where it runs; None: where its arguments are, or on ``config.default_device``.
    """

    def __init__(
        self,
        fun: Callable[P, R],
        static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = (),
        **settings: Any,
    ) -> None:
        check_callable(fun, "jit")
        update_wrapper(self, fun)
        self.fun = fun
        self.name = name_of(fun)
        self.settings = {k: v for k, v in settings.items() if v is not None}
        device = self.settings.get("default_device")
        self.device: Device | None = None if device is None else parse(device)
        self._options = {"static_argnums": static_argnums, "static_argnames": static_argnames, **self.settings}
        self._static = StaticArguments(fun, static_argnums, static_argnames, self.name)
        self._recipe = Recipe(self.name, self.settings, self.device)
        self._trees: BoundedDict[Hashable, PathTree] = BoundedDict(_MAX_SIGNATURES)
        self._regions: BoundedDict[Hashable, Traced] = BoundedDict(_MAX_SIGNATURES)
        self._calls: BoundedDict[Hashable, Path] = BoundedDict(_MAX_SIGNATURES)
        self._structured: BoundedDict[Hashable, tuple[Path, ...]] = BoundedDict(_MAX_SIGNATURES)
        self._latest: tuple[object, Callable[..., Any]] = None, fun

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            key, enter = self._latest
            if key is config.trace_key and not state.stack:
                result = enter(*args, **kwargs)
                return self._resumed(result, args, kwargs) if type(result) is Left else result
            return self._called(args, kwargs)
        except BaseException as error:  # costs nothing where there is none, unlike a `boundary`
            hide_frames(error)
            raise

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self: Jit[Concatenate[S, Q], R], instance: S, owner: type[S] | None = None) -> Callable[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method of ``instance`` where the function was compiled in a class body."""
        return self if instance is None else partial(self, instance)

    # --- the fast path: the latest call with arguments of these types

    def _resumed(self, left: Left, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call, after machine code has left it."""
        if left.failure is not None:
            return self._called(args, kwargs, left)
        signature = None if kwargs else _signature(args)
        found = None if signature is None else self._calls.get(signature)
        paths = self._structured.get(config.trace_key, ()) if found is None or found is left.path else (found,)
        for path in paths:
            result = left if path is left.path or path.call is None else path.call(*args, **kwargs)
            if type(result) is not Left:
                self._go_to(path)
                return result
            if result.failure is not None:
                return self._called(args, kwargs, result)
        return self._called(args, kwargs)

    def _go_to(self, path: Path) -> None:
        """Have the next call begin with ``path``."""
        assert path.call is not None, "it was entered"
        # Machine code looks at its arguments; what runs on a device is found by their types first.
        self._latest = config.trace_key, _unknown if type(path) is DevicePath else path.call

    def _remember(self, path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], arguments: Arguments) -> None:
        """Have the next call with arguments of these types go to ``path`` at once."""
        if config.disable_jit or len(arguments.leaves) != path.graph.n_inputs - len(path.captures):
            return  # the last: one is of float0
        flat = not kwargs and len(args) == len(arguments.leaves) and all(map(is_, args, arguments.leaves))
        if type(path) is DevicePath:
            placed = flat and any([type(x) is DeviceArray for x in args])  # others may belong on the CPU
            path.call = partial(_call_on_device, path) if placed else None
        elif not (self.device or parse(config.default_device)).is_host:  # others may belong on the default device
            return
        elif path.call is None:
            opened = None if flat else opener(arguments.treedef, *self._static.values(args, kwargs))
            path.enter(arguments, opened)
            if path.call is not None and not flat:
                known = self._structured.get(config.trace_key, ())
                self._structured[config.trace_key] = (path, *known[: _MAX_ATTEMPTS - 1])
        if path.call is not None:
            self._go_to(path)
            signature = _signature(args) if flat and not path.expected and not self._static else None
            if signature is not None:
                self._calls[signature] = path

    # --- binding and tracing

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any], left: Left | None = None) -> Any:
        """The call, whatever the arguments; ``left`` is a path that has been tried."""
        if config.disable_jit:
            return self.fun(*args, **kwargs)
        arguments, call, key = self._bind(args, kwargs)
        if state.stack:
            return self._call_in_trace(arguments, call, key)
        key = (key, device_for(arguments, (), self.device, self.name))
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = PathTree(self._recipe)
        path, results = tree.run(call, arguments, left)
        self._remember(path, args, kwargs, arguments)
        return path.pack(results)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Arguments, Callable[[Any], Any], Hashable]:
        """The dynamic arguments, the function of them alone, and the key of the signature."""
        call, dynamic, named, static = self._static.split(self.fun, args, kwargs)
        arguments = Arguments.of(dynamic, named)
        types = arguments.types()
        if types is None:  # float0, or what cannot be an argument
            arguments = Arguments.of(*hidden((dynamic, named)))
            types = tuple([type_of(x) for x in arguments.leaves])
        return arguments, call, (arguments.treedef, types, static, config.trace_key)

    def _call_in_trace(self, arguments: Arguments, call: Callable[[Any], Any], key: Hashable) -> Any:
        """Inside another trace: an equation with this function as its region."""
        key = (key, branching.epoch(), state.axes)
        traced = self._regions.get(key)
        if traced is None:
            traced = trace_with_loops(call, arguments.leaves, arguments.treedef, name=self.name, region=True)
            if not traced.branched and not traced.captures:
                self._regions[key] = traced._replace(examples={})
        else:
            note_float64(arguments.leaves, traced)
        operands = [*arguments.leaves, *traced.captures]
        if any_tracer(operands) or traced.graph.effectful or is_over_axes(traced.graph):
            return unflatten(traced.out_tree, emit_region(jit_primitive, (self.name,), traced, arguments.leaves))
        device = device_for(arguments, traced.captures, self.device, self.name)
        return unflatten(traced.out_tree, run_compiled(traced.graph, operands, device)[: traced.out_tree.num_leaves])

    # --- inspection

    @boundary
    def trace(self, *args: Any, **kwargs: Any) -> Traced:
        """Trace the function at these arguments, without compiling."""
        arguments, call, _ = self._bind(args, kwargs)
        return trace_function(call, arguments.leaves, arguments.treedef, name=self.name, path=True)

    @boundary
    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The simplified IR at these arguments."""
        with config.override(**self.settings):
            return simplify(self._program(args, kwargs)[0])

    @boundary
    def kernel_source(self, *args: Any, **kwargs: Any) -> str:
        """The compiled program at these arguments as readable, runnable Numba source."""
        with config.override(**self.settings):
            graph, device = self._program(args, kwargs)
            return shown(graph, device, "source")

    @boundary
    def explain(
        self, *args: Any, device: str | Device | None = None, architecture: str | None = None, **kwargs: Any
    ) -> Explanation:
        """What the compiled program does at these arguments; printed, it is a table of its steps.

        Parameters
        ----------
        device
            Which program; by default that of the device where a call would run. A GPU need not be there.
        architecture
            Of the GPU, such as ``"sm_80"``; by default that of the GPU that is there, or else ``"sm_90"``.
        """
        with config.override(**self.settings):
            with loop_notes() as notes:
                graph, place = self._program(args, kwargs)
            made = explained(graph, place if device is None else named(device), architecture)
            return replace(made, notes=(*made.notes, *notes))

    def _program(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Graph, Device]:
        """The graph that would be compiled for a call with these arguments, and the device."""
        arguments, call, _ = self._bind(args, kwargs)
        traced = trace_with_loops(call, arguments.leaves, arguments.treedef, name=self.name, path=True)
        return traced.graph, device_for(arguments, traced.captures, self.device, self.name)

    def __repr__(self) -> str:
        paths = sum(tree.count for tree in self._trees.values())
        return f"<compiled {self.name}: {len(self._trees)} signature(s), {paths} path(s)>"

    def _repr_html_(self) -> str:
        from html import escape  # start-up time: only notebooks need it

        graphs = [simplify(path.graph) for tree in self._trees.values() for path in tree.paths()]
        shown = [f"<details><summary>path {k}</summary>{g._repr_html_()}</details>" for k, g in enumerate(graphs)]
        return f"<code>{escape(repr(self))}</code>{''.join(shown)}"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return reduced(self, type(self), self.fun, self._options)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: Any) -> Self:
        return self


class DonatingJit(Jit[P, R]):
    """A compiled function that deletes some of its arguments; made by `jit` with ``donate_argnums``."""

    def __init__(self, fun: Callable[P, R], donate_argnums: int | Sequence[int] = (), **options: Any) -> None:
        super().__init__(fun, **options)
        self._donated = (donate_argnums,) if isinstance(donate_argnums, int) else tuple(donate_argnums)
        self._options["donate_argnums"] = self._donated
        self._numbers: dict[int, Sequence[int]] = {}  # of the donated arguments, by how many are passed
        if both := {*self._donated} & {*self._static.argnums}:
            raise ValueError(f"{where()}jit({self.name}): arguments {sorted(both)} are both static and donated")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if state.stack or config.disable_jit:  # part of a larger program, or of none
                return super().__call__(*args, **kwargs)
            numbers = self._numbers.get(len(args))
            if numbers is None:
                numbers = self._numbers[len(args)] = as_argnums(self._donated, len(args), "jit", self.name)
            donated = given_up(args, kwargs, numbers, self.name)
            result = super().__call__(*args, **kwargs)
            for x in donated:
                x.delete()
            return result
        except BaseException as error:
            hide_frames(error)
            raise


def _unknown(*_args: Any, **_kwargs: Any) -> Left:
    return _UNKNOWN


_UNKNOWN: Final = Left(None)


def _call_on_device(path: Path, *args: Any) -> Any:
    return path.pack(path.run(path.place(args)))


def _signature(args: tuple[Any, ...]) -> Hashable:
    """The types of arrays and floats, and the settings in force; None for other arguments."""
    signature: list[Any] = []
    for x in args:
        kind = type(x)
        if kind is Array:
            signature.append((x._value.dtype, x._value.shape, x.weak_type))
        elif kind is float or kind is np.float64:
            signature.append(kind)
        elif kind is np.ndarray:
            signature.append((x.dtype, x.shape, None))
        elif kind is DeviceArray:
            signature.append((x.aval, x.weak_type, x.device))
        else:
            return None
    return (*signature, config.trace_key)


@overload
def jit(
    fun: Callable[P, R],
    *,
    static_argnums: int | Sequence[int] = ...,
    static_argnames: str | Sequence[str] = ...,
    donate_argnums: int | Sequence[int] = ...,
    device: str | Device | None = ...,
) -> Jit[P, R]: ...
@overload
def jit(
    fun: None = None,
    *,
    static_argnums: int | Sequence[int] = ...,
    static_argnames: str | Sequence[str] = ...,
    donate_argnums: int | Sequence[int] = ...,
    device: str | Device | None = ...,
) -> Callable[[Callable[P, R]], Jit[P, R]]: ...
@boundary
def jit(
    fun: Function | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    donate_argnums: int | Sequence[int] = (),
    device: str | Device | None = None,
) -> Any:
    """Compile a function: it is traced once per signature (the latest 1024 are kept) and runs as one program.

    Parameters
    ----------
    fun
        A function of arrays, numbers and containers of these. Python `if` and `while` on their values are allowed.
    static_argnums, static_argnames
        Arguments that are Python values compiled in; they must be hashable.
    donate_argnums
        Positional arguments that the caller gives up: the Arrays in them are deleted when the call is done, which frees
        their memory, and later uses raise `DeletedArrayError`. NumPy arrays stay what they are.
    device
        Where it runs, and where its results are: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"cuda:emulated"``. By default
        where those of its arguments are that belong to a device (see `device_put`), else on ``config.default_device``.
        A compiled function that is called inside of another is part of that one, and runs where that runs.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.jit(lambda x: gnp.sin(x) * 2)(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    options: dict[str, Any] = {"static_argnums": static_argnums, "static_argnames": static_argnames}
    options["default_device"] = None if device is None else named(device).name

    def wrap(f: Function) -> Jit[..., Any]:
        return Jit(f, **options) if donate_argnums == () else DonatingJit(f, donate_argnums, **options)

    return wrap if fun is None else wrap(fun)
