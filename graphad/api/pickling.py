"""How compiled functions are pickled: as the function and the options. What they have compiled is compiled anew."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from graphad.api.functions import Function, name_of
from graphad.trace.source import where


def reduced(compiled: Any, fun: Function, options: dict[str, Any]) -> str | tuple[Any, ...]:
    """What ``compiled.__reduce__`` returns.

    A function that was decorated where it was defined is found again under its name; otherwise its class is called
    with the function and the options.

    Raises
    ------
    TypeError
        For a function that no module has under a name.
    """
    name: str = getattr(fun, "__qualname__", "")
    if "<" in name:  # <lambda>, f.<locals>.g
        raise TypeError(
            f"{where()}{compiled!r} cannot be pickled: {name_of(fun)} was made while the program ran, and pickle finds "
            "functions by their names in modules. Define it with def at the top of a module and compile that."
        )
    found: Any = sys.modules.get(getattr(fun, "__module__", ""))
    for part in name.split("."):
        found = getattr(found, part, None)
    return name if found is compiled else (_compile_again, (type(compiled), fun, options))


def _compile_again(make: Callable[..., Any], fun: Function, options: dict[str, Any]) -> Any:
    return make(fun, **options)
