"""Functions that take arrays of random keys beside arrays of numbers: those that only move elements."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from graphad.api.vmap import vmap
from graphad.errors import KeyOperandError
from graphad.trace.keys import KeyArray, is_keys
from graphad.trace.pytree import flatten, tree_map, unflatten
from graphad.trace.source import where

P = ParamSpec("P")
R = TypeVar("R")


def of_keys(*names: str, joined: Callable[[Any], Any] = KeyArray) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that keys may be given to as the arguments ``names``: all of these or none.

    Parameters
    ----------
    names
        The parameters: arrays, or containers of arrays.
    joined
        Of a result for each word, along a last axis, the result for the keys.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:  # costs nothing where there are no keys
                return function(*args, **kwargs)
            except KeyOperandError as error:
                refusal = error
            return _over_words(function, names, args, kwargs, joined, refusal)

        return call

    return decorate


def _over_words(
    function: Callable[..., Any],
    names: tuple[str, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    joined: Callable[[Any], Any],
    refusal: KeyOperandError,
) -> Any:
    """``function`` of the first words of all keys, and of the second ones."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    given = {name: bound.arguments[name] for name in names}
    others = [value for name, value in bound.arguments.items() if name not in names]
    keys, treedef = flatten(given, is_keys)
    if any([is_keys(x) for x in flatten(others, is_keys)[0]]):
        raise refusal
    if not all([is_keys(x) for x in keys]):
        raise KeyOperandError(f"{where()}{function.__name__} got keys beside other arrays; give it one or the other.")

    def of_words(words: list[Any]) -> Any:
        bound.arguments.update(unflatten(treedef, words))
        return function(*bound.args, **bound.kwargs)

    found = vmap(of_words, in_axes=-1, out_axes=-1)([k._words for k in keys])
    return tree_map(joined, found)
