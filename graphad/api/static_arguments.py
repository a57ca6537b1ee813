"""Static arguments of compiled functions: Python values that are compiled in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from graphad.api.functions import Function, as_argnums, call_with, name_of
from graphad.trace.source import where
from graphad.trace.static_keys import StaticKey


class StaticArguments:
    """Which arguments are Python values compiled in, by position and by name."""

    def __init__(self, fun: Function, argnums: int | Sequence[int], argnames: str | Sequence[str], name: str) -> None:
        self.name = name
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        names = (argnames,) if isinstance(argnames, str) else tuple(argnames)
        self.argnums, self.argnames = _complete(fun, numbers, names)

    def __bool__(self) -> bool:
        return bool(self.argnums or self.argnames)

    def values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[int, Any], dict[str, Any]]:
        """The static ones among the arguments, by position and by name."""
        if not self:
            return {}, {}
        numbers = as_argnums([n for n in self.argnums if -len(args) <= n < len(args)], len(args), "jit", self.name)
        return {n: args[n] for n in numbers}, {n: v for n, v in kwargs.items() if n in self.argnames}

    def split(
        self, fun: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Callable[[Any], Any], tuple[Any, ...], dict[str, Any], Hashable]:
        """The function of the dynamic arguments alone, those arguments, and the static ones as a key."""
        if not self:
            return call_with(fun), args, kwargs, ()
        fixed, fixed_named = self.values(args, kwargs)
        for which, value in [*fixed.items(), *fixed_named.items()]:
            self._check_hashable(which, value)
        dynamic = tuple([a for i, a in enumerate(args) if i not in fixed])
        named = {n: v for n, v in kwargs.items() if n not in fixed_named}

        def call(tree: Any) -> Any:
            given, given_named = tree
            it = iter(given)
            full = [fixed[i] if i in fixed else next(it) for i in range(len(args))]
            return fun(*full, **given_named, **fixed_named)

        return call, dynamic, named, StaticKey((tuple(fixed.items()), frozenset(fixed_named.items())))

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
