"""Arguments that a caller gives up: the Arrays in them are deleted when the call has ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from graphad.trace.array import Array
from graphad.trace.device_array import DeviceArray
from graphad.trace.pytree import flatten
from graphad.trace.source import where


def given_up(args: tuple[Any, ...], kwargs: dict[str, Any], numbers: Collection[int], name: str) -> list[Array]:
    """The Arrays among the arguments with these numbers; NumPy's belong to the caller.

    Raises
    ------
    ValueError
        For an array that is passed a second time. ``name`` is that of the function.
    """
    taken: dict[int, Array] = {}
    kept = {id(x) for n, arg in enumerate(args) if n not in numbers for x in _leaves(arg)}
    kept.update([id(x) for x in _leaves(kwargs)] if kwargs else ())
    for n in numbers:
        for x in _leaves(args[n]):
            if type(x) is not Array and type(x) is not DeviceArray:
                continue
            if id(x) in taken or id(x) in kept:
                raise ValueError(
                    f"{where()}jit({name}): the array in argument {n}, which is donated, is passed a second "
                    "time in this call. Pass a copy, np.array(x), or do not donate it."
                )
            taken[id(x)] = x
    return list(taken.values())


def _leaves(tree: Any) -> Sequence[Any]:
    return (tree,) if type(tree) is Array else flatten(tree)[0]
