"""How transformed functions are pickled: as the function and the options. What they have compiled is compiled anew."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Callable
from typing import Any, Final

from graphad.api.functions import Function, name_of
from graphad.trace.source import where

_PYTHONS_OWN: Final = (pickle.Pickler, pickle._Pickler)


def reduced(
    transformed: Any, make: Callable[..., Any], fun: Function, options: dict[str, Any], state: Any = None
) -> str | tuple[Any, ...]:
    """What ``transformed.__reduce__`` returns.

    A function that was decorated where it was defined is found again under its name; otherwise it is
    ``make(fun, **options)``.

    Raises
    ------
    TypeError
        For a function that no module has under a name.
    """
    original = inspect.unwrap(fun)
    name: str = getattr(original, "__qualname__", "")
    if "<" in name and not _is_by_value():  # <lambda>, f.<locals>.g
        raise TypeError(
            f"{where()}{transformed!r} cannot be pickled: {name_of(original)} was made while the program ran, and "
            "pickle finds functions by their names in modules. Define it with def at the top of a module and transform "
            "that."
        )
    found: Any = sys.modules.get(getattr(original, "__module__", ""))
    for part in name.split("."):
        found = getattr(found, part, None)
    return name if found is transformed else (_make_again, (make, fun, options), *([state] if state else []))


def _make_again(make: Callable[..., Any], fun: Function, options: dict[str, Any]) -> Any:
    return make(fun, **options)


def _is_by_value() -> bool:
    """Whether the pickler at work pickles functions by value, as cloudpickle does."""
    frame = sys._getframe(2)
    while frame is not None:
        at_work = frame.f_locals.get("self")
        if isinstance(at_work, _PYTHONS_OWN):
            return type(at_work) not in _PYTHONS_OWN
        frame = frame.f_back
    return False
