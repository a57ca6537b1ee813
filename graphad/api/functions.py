"""What all transformations need of the user's function: its arguments as leaves, its name, checks of `argnums`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from graphad.errors import DifferentiationError
from graphad.ir.types import b1
from graphad.trace.bind import Traced, trace_function, type_of
from graphad.trace.pytree import TreeDef, flatten
from graphad.trace.source import where

Function = Callable[..., Any]


class Arguments(NamedTuple):
    """The arguments of a call, flattened: ``(args, kwargs)`` as one pytree."""

    leaves: list[Any]
    treedef: TreeDef
    counts: list[int]  # leaves of each positional argument

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: dict[str, Any]) -> Arguments:
        leaves, treedef = flatten((tuple(args), kwargs))
        return cls(leaves, treedef, [len(flatten(a)[0]) for a in args])

    def mask(self, argnums: Sequence[int]) -> list[bool]:
        """One bit per leaf: it belongs to one of the positional arguments ``argnums``."""
        marks: list[bool] = []
        for i, n in enumerate(self.counts):
            marks.extend([i in argnums] * n)
        return marks + [False] * (len(self.leaves) - len(marks))


def name_of(f: Function) -> str:
    """The name of a function, as it shows in graphs and errors."""
    name = getattr(f, "__name__", None) or getattr(getattr(f, "func", None), "__name__", None)
    name = name or type(f).__name__
    return "lambda" if name == "<lambda>" else name


def copy_name(wrapper: Any, f: Function, prefix: str) -> Any:
    """Give ``wrapper`` the docstring of ``f`` and the name ``prefix(f)``."""
    name = name_of(f)
    wrapper.__name__ = f"{prefix}({name})"
    wrapper.__doc__ = f"{prefix} of {name}.\n\n{inspect.getdoc(f) or ''}".rstrip()
    wrapper.__wrapped__ = f
    return wrapper


def call_with(f: Function) -> Callable[[Any], Any]:
    """``f`` on one pytree ``(args, kwargs)``."""

    def call(tree: Any) -> Any:
        args, kwargs = tree
        return f(*args, **kwargs)

    return call


def trace_call(f: Function, arguments: Arguments, **options: Any) -> Traced:
    """Trace ``f`` on these arguments."""
    return trace_function(call_with(f), arguments.leaves, arguments.treedef, name=name_of(f), **options)


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


def check_float_inputs(arguments: Arguments, mask: Sequence[bool], transform: str, name: str) -> None:
    """Derivatives are taken with respect to floats: everything else is an error that names the argument."""
    for k, (x, marked) in enumerate(zip(arguments.leaves, mask, strict=True)):
        if marked:
            dtype = type_of(x).aval.dtype
            if not dtype.is_float:
                kind = "boolean" if dtype is b1 else "integer"
                at = argument_text(arguments, k)
                raise DifferentiationError(
                    f"{where()}{transform}({name}) needs floating point inputs, but {at} is {type_of(x).aval}: "
                    f"{kind} values have no derivative. Write 3.0 for 3, or x.astype(float); with allow_int=True the "
                    "derivative is float0."
                )


def argument_text(arguments: Arguments, k: int) -> str:
    """Which argument leaf number ``k`` belongs to, in words."""
    start = 0
    for i, n in enumerate(arguments.counts):
        if k < start + n:
            return f"argument {i}" + (f" (leaf {k - start})" if n > 1 else "")
        start += n
    return f"keyword argument leaf {k - start}"
