"""`Transformed`: what `grad`, `vmap` and their like return, a function that pickles where the user's does."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from graphad.api.functions import Function, name_of
from graphad.api.pickling import reduced
from graphad.trace.tracebacks import hide_frames

P = ParamSpec("P")
R = TypeVar("R")


class Transformed(Generic[P, R]):
    """A function made of another one by a transformation.

    Parameters
    ----------
    run
        What calls do.
    fun
        The function that is transformed.
    make, options
        ``make(fun, **options)`` makes it again, in another process.
    name
        Its name; by default that of ``fun``.
    """

    __slots__ = ("__dict__", "__weakref__", "_fun", "_make", "_options", "_run")

    def __init__(
        self, run: Callable[P, R], fun: Function, make: Callable[..., Any], name: str | None = None, **options: Any
    ) -> None:
        self._run = run
        self._fun = fun
        self._make = make
        self._options = options
        doc = inspect.getdoc(fun)
        if name is None:
            self.__name__, self.__doc__ = name_of(fun), doc
        else:
            self.__name__ = f"{name}({name_of(fun)})"
            self.__doc__ = f"{name} of {name_of(fun)}.\n\n{doc or ''}".rstrip()
        self.__qualname__ = self.__name__
        self.__module__ = getattr(fun, "__module__", __name__)
        self.__wrapped__ = fun

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return self._run(*args, **kwargs)
        except BaseException as error:
            hide_frames(error)
            raise

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method of ``instance`` where the function was transformed in a class body."""
        return self if instance is None else partial(self, instance)

    def __repr__(self) -> str:
        return f"<function {self.__name__}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return reduced(self, self._make, self._fun, self._options)

    def __copy__(self) -> Transformed[P, R]:
        return self

    def __deepcopy__(self, _memo: Any) -> Transformed[P, R]:
        return self
