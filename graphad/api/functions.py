"""The user's function, for all transformations: its arguments as leaves, its name, checks of `argnums`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from graphad.api.tracing import trace_with_loops
from graphad.errors import DifferentiationError
from graphad.ir.types import b1
from graphad.trace.bind import Spec, Traced, type_of
from graphad.trace.keys import hidden_axes
from graphad.trace.pytree import TreeDef, flatten, unflatten
from graphad.trace.source import where

Function = Callable[..., Any]


class Arguments(NamedTuple):
    """The arguments that a transformation transforms, flattened: ``(args, kwargs)`` as one pytree."""

    leaves: list[Any]
    treedef: TreeDef
    counts: list[int]  # leaves of each positional argument
    positions: Sequence[int]  # of the positional arguments, in the call

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: dict[str, Any]) -> Arguments:
        leaves, treedef = flatten((tuple(args), kwargs))
        return cls(leaves, treedef, [len(flatten(a)[0]) for a in args], range(len(args)))

    def types(self) -> tuple[Spec, ...] | None:
        """The types of the leaves; None if one has none."""
        try:
            return tuple([type_of(x) for x in self.leaves])
        except TypeError:
            return None

    @classmethod
    def chosen(cls, args: Sequence[Any], argnums: Sequence[int]) -> Arguments:
        """Of the positional arguments ``argnums`` alone."""
        return cls.of([args[i] for i in argnums], {})._replace(positions=argnums)


def name_of(f: Function) -> str:
    """The name of a function, as it shows in graphs and errors."""
    name = getattr(f, "__name__", None) or getattr(getattr(f, "func", None), "__name__", None)
    name = name or type(f).__name__
    return "lambda" if name == "<lambda>" else name


def call_with(f: Function) -> Callable[[Any], Any]:
    """``f`` on one pytree ``(args, kwargs)``."""

    def call(tree: Any) -> Any:
        args, kwargs = tree
        return f(*args, **kwargs)

    return call


def with_chosen(f: Function, argnums: Sequence[int], args: Sequence[Any], kwargs: dict[str, Any]) -> Function:
    """``f`` as a function of a tuple of its arguments ``argnums``; it gets the others as they are."""

    def call(values: Sequence[Any]) -> Any:
        full = list(args)
        for i, v in zip(argnums, values, strict=True):
            full[i] = v
        return f(*full, **kwargs)

    return call


class Aux:
    """The auxiliary results of a function: arrays are results of the trace, other objects are kept as they are."""

    def __init__(self, transform: str, name: str) -> None:
        self.transform = transform
        self.name = name
        self.kept: dict[int, Any] = {}
        self.treedef: TreeDef | None = None

    def split(self, pair: Any) -> tuple[Any, list[Any]]:
        """The value, and the arrays and numbers among the auxiliary results."""
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                f"{where()}{self.transform}({self.name}, has_aux=True): {self.name} must return a pair (value, aux)"
            )
        leaves, self.treedef = flatten(pair[1])
        self.kept = {k: x for k, x in enumerate(leaves) if not _is_array(x)}
        return pair[0], [x for k, x in enumerate(leaves) if k not in self.kept]

    def joined(self, arrays: Sequence[Any]) -> Any:
        """The auxiliary results as the function returned them, with ``arrays`` in the places of their arrays."""
        assert self.treedef is not None, "the function has run"
        it = iter(arrays)
        return unflatten(
            self.treedef, [self.kept[k] if k in self.kept else next(it) for k in range(self.treedef.num_leaves)]
        )


def _is_array(x: Any) -> bool:
    """Whether ``x`` is an array or a number that a graph can have as a result."""
    try:
        type_of(x)
    except TypeError:
        return False
    return True


def arrays_in(tree: Any) -> list[Any]:
    """The leaves of what is passed untransformed."""
    try:
        return flatten(tree)[0]
    except RecursionError:  # a list that contains itself
        return []


def trace_floats(
    call: Function, arguments: Arguments, name: str, aux: Aux | None = None, beside: Sequence[Any] = ()
) -> Traced:
    """Trace ``call``, which takes the arguments as one tuple, as a function of their float leaves.

    The other leaves have no derivative and are passed untransformed, as are those ``beside`` the arguments. The graph's
    inputs are the float leaves, then the captures; of ``aux`` it has the arrays.
    """
    marks = [type_of(x).aval.is_float for x in arguments.leaves]

    def call_with_floats(floats: Sequence[Any]) -> Any:
        it = iter(floats)
        leaves = [next(it) if m else x for m, x in zip(marks, arguments.leaves, strict=True)]
        result = call(unflatten(arguments.treedef, leaves)[0])
        return result if aux is None else aux.split(result)

    floats = [x for m, x in zip(marks, arguments.leaves, strict=True) if m]
    beside = [*beside, *[x for m, x in zip(marks, arguments.leaves, strict=True) if not m]]
    return trace_with_loops(call_with_floats, floats, flatten([0] * len(floats))[1], name=name, beside=beside)


def check_callable(f: Any, transform: str) -> None:
    """Refuse what is not a function."""
    if not callable(f):
        raise TypeError(f"{where()}{transform} takes a function, not {type(f).__name__}")


def as_argnums(argnums: int | Sequence[int], n_args: int, transform: str, name: str) -> tuple[int, ...]:
    """``argnums`` as non-negative ints; negative ones count from the end."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    fixed: list[int] = []
    for n in numbers:
        if not isinstance(n, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{where()}{transform}({name}): argnums must be an int or a tuple of ints, not {argnums!r}")
        if not -n_args <= n < n_args:
            raise ValueError(
                f"{where()}{transform}({name}): argnums={argnums!r}, but the call has {n_args} positional "
                f"argument{'s' if n_args != 1 else ''}. Arguments to differentiate are passed by position."
            )
        fixed.append(n % n_args)
    return tuple(fixed)


def check_float_inputs(arguments: Arguments, transform: str, name: str) -> None:
    """Derivatives are taken with respect to floats: everything else is an error that names the argument."""
    for k, x in enumerate(arguments.leaves):
        dtype = type_of(x).aval.dtype
        if not dtype.is_float:
            if hidden_axes(unflatten(arguments.treedef, arguments.leaves))[k]:
                raise DifferentiationError(
                    f"{where()}{transform}({name}) needs floating point inputs, but {argument_text(arguments, k)} is a "
                    "random key, which has no derivative. Differentiate by other arguments: argnums says which."
                )
            kind = "boolean" if dtype is b1 else "integer"
            at = argument_text(arguments, k)
            raise DifferentiationError(
                f"{where()}{transform}({name}) needs floating point inputs, but {at} is {type_of(x).aval}: "
                f"{kind} values have no derivative. Write 3.0 for 3, or x.astype(float); with allow_int=True the "
                "derivative is float0."
            )


def argument_text(arguments: Arguments, k: int) -> str:
    """The text that names the argument to which leaf number ``k`` belongs."""
    start = 0
    for i, n in zip(arguments.positions, arguments.counts, strict=True):
        if k < start + n:
            return f"argument {i}" + (f" (leaf {k - start})" if n > 1 else "")
        start += n
    return f"keyword argument leaf {k - start}"
