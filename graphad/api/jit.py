"""`jit`: a function compiled as a whole, once per signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from functools import partial, update_wrapper
from html import escape
from typing import Any, overload

import numpy as np

from graphad.api.functions import Arguments, Function, as_argnums, call_with, check_callable, name_of
from graphad.api.paths import Path, PathTree
from graphad.api.pickling import reduced
from graphad.api.stages import compiled, simplify
from graphad.config import config
from graphad.ir.graph import Graph
from graphad.ir.types import Literal
from graphad.primitives.control import jit as jit_primitive
from graphad.trace.array import Array, to_array
from graphad.trace.bind import Traced, any_tracer, emit_region, trace_function, type_of
from graphad.trace.pytree import flatten, unflatten
from graphad.trace.recording import state
from graphad.trace.source import where

NDArray = np.ndarray[Any, Any]


class Jit:
    """A compiled function; made by `jit`.

    Attributes
    ----------
    fun
        The Python function.
    """

    def __init__(
        self,
        fun: Function,
        static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = (),
        **settings: Any,
    ) -> None:
        check_callable(fun, "jit")
        update_wrapper(self, fun)
        self.fun = fun
        self.name = name_of(fun)
        self.settings = {k: v for k, v in settings.items() if v is not None}
        self._options = {"static_argnums": static_argnums, "static_argnames": static_argnames, **self.settings}
        self._static = _StaticArguments(fun, static_argnums, static_argnames, self.name)
        self._trees: dict[Hashable, PathTree] = {}
        self._regions: dict[Hashable, Traced] = {}
        self._fast: dict[Hashable, Path] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs and not state.stack:
            result = self._call_fast(args)
            if result is not _MISS:
                return result
        if config.disable_jit:
            return self.fun(*args, **kwargs)
        arguments, call, key = self._bind(args, kwargs)
        if state.stack:
            return self._call_in_trace(arguments, call, key)
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = PathTree(self._make_path, self.name)
        arrays = [x._value if type(x) is Array else to_array(x)._value for x in arguments.leaves]
        path, results = tree.run(arrays, (call, arguments))
        self._note_fast(args, kwargs, path)
        return path.pack(results)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method of ``instance`` where the function was compiled in a class body."""
        return self if instance is None else partial(self, instance)

    # --- the short way: positional arrays and floats, one path without guards

    def _signature(self, args: tuple[Any, ...]) -> tuple[list[Any], list[NDArray]] | None:
        signature: list[Any] = []
        arrays: list[NDArray] = []
        for x in args:
            kind = type(x)
            if kind is Array:
                value = x._value
                signature.append((value.dtype, value.shape, x.weak_type))
                arrays.append(value)
            elif kind is float:
                signature.append(float)
                arrays.append(np.array(x, _FLOATS[config.default_dtype_bits]))
            elif kind is np.ndarray:
                signature.append((x.dtype, x.shape, None))
                arrays.append(x)
            else:
                return None
        return signature, arrays

    def _call_fast(self, args: tuple[Any, ...]) -> Any:
        found = self._signature(args)
        if found is None:
            return _MISS
        signature, arrays = found
        signature.append(config.trace_key)
        path = self._fast.get(tuple(signature))
        return _MISS if path is None else path.pack(path.run(arrays))

    def _note_fast(self, args: tuple[Any, ...], kwargs: dict[str, Any], path: Path) -> None:
        if path.expected or kwargs or self._static or config.disable_jit:
            return
        found = self._signature(args)
        if found is not None:
            self._fast[(*found[0], config.trace_key)] = path

    # --- binding and tracing

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Arguments, Callable[[Any], Any], Hashable]:
        """The dynamic arguments, the function of them alone, and the key of the signature."""
        call, dynamic, named, static = self._static.split(self.fun, args, kwargs)
        arguments = Arguments.of(dynamic, named)
        types = tuple([type_of(x) for x in arguments.leaves])
        return arguments, call, (arguments.treedef, types, static, config.trace_key)

    def _make_path(self, bound: Any, forced: list[Literal]) -> Path:
        """Trace and compile, the first observations forced to what another path's guards have seen."""
        call, arguments = bound
        state.forced = forced
        try:
            with config.override(**self.settings):
                return Path(trace_function(call, arguments.leaves, arguments.treedef, name=self.name, path=True))
        finally:
            state.forced = []

    def _call_in_trace(self, arguments: Arguments, call: Callable[[Any], Any], key: Hashable) -> Any:
        """Inside another trace: an equation with this function as its region."""
        traced = self._regions.get(key)
        if traced is None:
            traced = trace_function(call, arguments.leaves, arguments.treedef, name=self.name, region=True)
            if not traced.branched and not traced.captures:
                self._regions[key] = traced._replace(examples={})
        operands = [*arguments.leaves, *traced.captures]
        if any_tracer(operands):
            return unflatten(traced.out_tree, emit_region(jit_primitive, (self.name,), traced, arguments.leaves))
        n_results = len(traced.graph.outputs) - len(traced.expected)
        arrays = [to_array(x)._value for x in operands]
        results = compiled(traced.graph)(*arrays)[:n_results]
        return unflatten(traced.out_tree, [Array(r, w) for r, w in zip(results, traced.graph.weak, strict=False)])

    # --- looking inside

    def trace(self, *args: Any, **kwargs: Any) -> Traced:
        """Trace the function at these arguments, without compiling."""
        arguments, call, _ = self._bind(args, kwargs)
        return trace_function(call, arguments.leaves, arguments.treedef, name=self.name, path=True)

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The simplified IR at these arguments."""
        with config.override(**self.settings):
            return simplify(self.trace(*args, **kwargs).graph)

    def kernel_source(self, *args: Any, **kwargs: Any) -> str:
        """The compiled program at these arguments as readable, runnable Numba source."""
        with config.override(**self.settings):
            return compiled(self.trace(*args, **kwargs).graph).source

    def __repr__(self) -> str:
        paths = sum(tree.count for tree in self._trees.values())
        return f"<compiled {self.name}: {len(self._trees)} signature(s), {paths} path(s)>"

    def _repr_html_(self) -> str:
        graphs = [simplify(path.graph) for tree in self._trees.values() for path in tree.paths()]
        shown = [f"<details><summary>path {k}</summary>{g._repr_html_()}</details>" for k, g in enumerate(graphs)]
        return f"<code>{escape(repr(self))}</code>{''.join(shown)}"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return reduced(self, self.fun, self._options)

    def __copy__(self) -> Jit:
        return self

    def __deepcopy__(self, _memo: Any) -> Jit:
        return self


class DonatingJit(Jit):
    """A compiled function that uses up some of its arguments; made by `jit` with ``donate_argnums``."""

    def __init__(self, fun: Function, donate_argnums: int | Sequence[int] = (), **options: Any) -> None:
        super().__init__(fun, **options)
        self._donated = (donate_argnums,) if isinstance(donate_argnums, int) else tuple(donate_argnums)
        self._options["donate_argnums"] = self._donated
        if both := {*self._donated} & {*self._static.argnums}:
            raise ValueError(f"{where()}jit({self.name}): arguments {sorted(both)} are both static and donated")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.stack or config.disable_jit:  # part of a larger program, or of none
            return super().__call__(*args, **kwargs)
        donated = self._taken(args, kwargs)
        result = super().__call__(*args, **kwargs)
        for x in donated:
            x.delete()
        return result

    def _taken(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
        """The Arrays among the donated arguments; NumPy's belong to the caller."""
        numbers = as_argnums(self._donated, len(args), "jit", self.name)
        taken: dict[int, Array] = {}
        kept = {id(x) for x in flatten(([a for n, a in enumerate(args) if n not in numbers], kwargs))[0]}
        for n in numbers:
            for x in flatten(args[n])[0]:
                if type(x) is not Array:
                    continue
                if id(x) in taken or id(x) in kept:
                    raise ValueError(
                        f"{where()}jit({self.name}): the array in argument {n}, which is donated, is passed a second "
                        "time in this call. Pass a copy, np.array(x), or do not donate it."
                    )
                taken[id(x)] = x
        return list(taken.values())


_MISS = object()
_FLOATS = {32: np.dtype(np.float32), 64: np.dtype(np.float64)}


class _StaticArguments:
    """Which arguments are Python values compiled in, by position and by name."""

    def __init__(self, fun: Function, argnums: int | Sequence[int], argnames: str | Sequence[str], name: str) -> None:
        self.name = name
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        names = (argnames,) if isinstance(argnames, str) else tuple(argnames)
        self.argnums, self.argnames = _complete(fun, numbers, names)

    def __bool__(self) -> bool:
        return bool(self.argnums or self.argnames)

    def split(
        self, fun: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Callable[[Any], Any], tuple[Any, ...], dict[str, Any], Hashable]:
        """The function of the dynamic arguments alone, those arguments, and the static ones as a key."""
        if not self:
            return call_with(fun), args, kwargs, ()
        numbers = as_argnums([n for n in self.argnums if -len(args) <= n < len(args)], len(args), "jit", self.name)
        fixed = {n: args[n] for n in numbers}
        fixed_named = {n: v for n, v in kwargs.items() if n in self.argnames}
        for which, value in [*fixed.items(), *fixed_named.items()]:
            self._check_hashable(which, value)
        dynamic = tuple([a for i, a in enumerate(args) if i not in fixed])
        named = {n: v for n, v in kwargs.items() if n not in fixed_named}

        def call(tree: Any) -> Any:
            given, given_named = tree
            it = iter(given)
            full = [fixed[i] if i in fixed else next(it) for i in range(len(args))]
            return fun(*full, **given_named, **fixed_named)

        types = tuple([type(v) for v in (*fixed.values(), *fixed_named.values())])  # 1 and 1.0 and True are equal
        return call, dynamic, named, (tuple(fixed.items()), tuple(sorted(fixed_named.items())), types)

    def _check_hashable(self, which: int | str, value: Any) -> None:
        try:
            hash(value)
        except TypeError as error:
            raise TypeError(
                f"{where()}jit({self.name}): static argument {which!r} is a {type(value).__name__}, which does not "
                "hash; static arguments are compared between calls. Pass a tuple for a list, or do not make it static."
            ) from error


def _complete(
    fun: Function, argnums: tuple[int, ...], argnames: tuple[str, ...]
) -> tuple[tuple[int, ...], frozenset[str]]:
    """Names for the positions and positions for the names, so that a static argument may be passed either way."""
    try:
        signature = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return argnums, frozenset(argnames)
    parameters = [p.name for p in signature if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    unknown = set(argnames) - {p.name for p in signature}
    if unknown and all([p.kind is not p.VAR_KEYWORD for p in signature]):
        raise ValueError(
            f"{where()}jit({name_of(fun)}): static_argnames names {sorted(unknown)}, but the arguments are {parameters}"
        )
    names = {*argnames, *[parameters[n] for n in argnums if -len(parameters) <= n < len(parameters)]}
    numbers = {*argnums, *[parameters.index(n) for n in argnames if n in parameters]}
    return tuple(sorted(numbers)), frozenset(names)


@overload
def jit(
    fun: Function,
    *,
    static_argnums: int | Sequence[int] = ...,
    static_argnames: str | Sequence[str] = ...,
    donate_argnums: int | Sequence[int] = ...,
) -> Jit: ...
@overload
def jit(
    fun: None = None,
    *,
    static_argnums: int | Sequence[int] = ...,
    static_argnames: str | Sequence[str] = ...,
    donate_argnums: int | Sequence[int] = ...,
) -> Callable[[Function], Jit]: ...
def jit(
    fun: Function | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    donate_argnums: int | Sequence[int] = (),
) -> Any:
    """Compile a function: it is traced once per signature and runs as one program.

    Parameters
    ----------
    fun
        A function of arrays, numbers and containers of these. Python `if` and `while` on their values are allowed.
    static_argnums, static_argnames
        Arguments that are Python values compiled in; they must be hashable.
    donate_argnums
        Positional arguments that the caller gives up: the Arrays in them are deleted when the call is done, which frees
        their memory, and later uses raise `DeletedArrayError`. NumPy arrays stay what they are.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.jit(lambda x: gnp.sin(x) * 2)(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    options: dict[str, Any] = {"static_argnums": static_argnums, "static_argnames": static_argnames}

    def wrap(f: Function) -> Jit:
        return Jit(f, **options) if donate_argnums == () else DonatingJit(f, donate_argnums, **options)

    return wrap if fun is None else wrap(fun)


def block_until_ready(tree: Any) -> Any:
    """Wait for the arrays of a pytree: on the CPU every result is ready when it is returned.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.block_until_ready({"x": gnp.array([1.0])})
    {'x': Array([1.], dtype=float32)}
    """
    for leaf in flatten(tree)[0]:
        if hasattr(leaf, "block_until_ready"):
            leaf.block_until_ready()
    return tree
