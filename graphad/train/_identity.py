"""The identity of a training, checked on resume: the numbers that an optimiser was made with, and checksums of data.

An optimiser is a pair of functions. What decides its steps is what these have closed over, so that is read: numbers by
their names, functions within, constants in their code. Nothing of it depends on the process or the address of anything.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, cast

import numpy as np

from graphad.trace.array import Array
from graphad.trace.pytree import Tree, flatten, path_text

NDArray = np.ndarray[Any, Any]
Named = list[list[str]]

_WHOLE_BYTES: Final = 64 << 20  # an array is checked whole up to this size, else by some of its rows
_ROWS: Final = 1024
_SHOWN: Final = 3  # differences that are named
_FUNCTION: Final = "function"
_NUMBERS: Final = (bool, int, float, complex, np.generic)


def parameters_of(optimizer: Any) -> Named:
    """What an optimiser was made with, as pairs of a name and a text, in the order in which its functions use it.

    >>> import graphad
    >>> [pair for pair in parameters_of(graphad.optim.sgd(0.1, momentum=0.9)) if pair[1] in ("0.1", "0.9")]
    [['trace.decay', '0.9'], ['scale_by_learning_rate.learning_rate', '0.1']]
    """
    seen: set[int] = set()
    return [[name, text] for part in (optimizer.init, optimizer.update) for name, text in _read("", part, seen)]


def checksums_of(data: Tree) -> Named:
    """The arrays of the data: their paths, and their types and checksums. Of large arrays only some rows are read.

    >>> checksums_of({"x": np.zeros((2, 3), np.float32)})
    [["['x']", 'float32[2, 3] a3c1ca20']]
    """
    return [[path_text(data, k), _array_text(np.asarray(leaf))] for k, leaf in enumerate(flatten(data)[0])]


def difference(before: Named, now: Named) -> str:
    """The differences, as text; empty if there are none.

    >>> difference([["scale.rate", "0.1"]], [["scale.rate", "0.2"]])
    'scale.rate was 0.1 and is 0.2'
    >>> difference([["scale", "function"]], [["scale", "function"], ["clip", "function"], ["clip.limit", "1.0"]])
    'clip is new, clip.limit is new'
    """
    if [name for name, _ in before] == [name for name, _ in now]:
        parts = [f"{n} was {old} and is {new}" for (n, old), (_, new) in zip(before, now, strict=True) if old != new]
    else:
        parts = [f"{name} is gone" for name, text in before if [name, text] not in now]
        parts += [f"{name} is new" for name, text in now if [name, text] not in before]
        parts = parts or ["the order is another"]
    return ", ".join(parts[:_SHOWN]) + (f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else "")


def _read(name: str, x: Any, seen: set[int]) -> Iterator[tuple[str, str]]:
    """What is in ``x``, called ``name``; every object is read once."""
    if x is None or isinstance(x, (*_NUMBERS, str)):
        yield name, repr(x.item() if isinstance(x, np.generic) else x)
    elif isinstance(x, (np.ndarray, Array)):
        yield name, _array_text(np.asarray(x))
    elif id(x) not in seen:
        seen.add(id(x))
        yield from _parts(name, x, seen)


def _parts(name: str, x: Any, seen: set[int]) -> Iterator[tuple[str, str]]:
    wrapped: Any = getattr(x, "__wrapped__", None)
    if isinstance(x, FunctionType):
        yield from _of_function(x, seen)
    elif isinstance(x, MethodType):
        yield from _read(name, x.__func__, seen)
        yield from _read(name, x.__self__, seen)
    elif isinstance(x, partial):
        yield from _read(name, x.func, seen)
        yield from _read(name, x.args, seen)
        yield from _read(name, x.keywords, seen)
    elif isinstance(x, Mapping):
        for key, value in cast("Mapping[Any, Any]", x).items():
            yield from _read(str(key), value, seen)
    elif isinstance(x, (tuple, list)):
        for value in cast("list[Any]", x):
            yield from _read(name, value, seen)
    elif is_dataclass(x) and not isinstance(x, type):
        for field in fields(x):
            yield from _read(f"{type(x).__name__}.{field.name}", getattr(x, field.name), seen)
    elif wrapped is not None:
        yield from _read(name, wrapped, seen)
    else:
        named = isinstance(x, (type, ModuleType))
        yield name, x.__name__ if named else type(x).__name__
        for key, value in getattr(x, "__dict__", {}).items():
            if isinstance(value, _NUMBERS) and not named:
                yield from _read(f"{type(x).__name__}.{key}", value, seen)


def _of_function(function: FunctionType, seen: set[int]) -> Iterator[tuple[str, str]]:
    """The function's name, what it has closed over, and if it is the user's its constants, defaults and globals."""
    owner, code = function.__qualname__.partition(".<locals>")[0], function.__code__
    yield owner, _FUNCTION
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        yield from _read(f"{owner}.{variable}", content, seen)
    if function.__module__.startswith("graphad."):  # what is fixed there does not tell one optimiser from another
        return
    for value in _floats(code):
        yield f"{owner}.constant", repr(value)
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield from _read(f"{owner}.default", value, seen)
    for variable in code.co_names:
        value = function.__globals__.get(variable)
        if isinstance(value, _NUMBERS):
            yield from _read(variable, value, seen)


def _floats(code: CodeType) -> Iterator[float]:
    """The floats in a function's code: ints are not all among its constants in every version of Python."""
    for constant in code.co_consts:
        if isinstance(constant, float):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _floats(constant)


def _array_text(x: NDArray) -> str:
    if x.nbytes > _WHOLE_BYTES and len(x) > _ROWS:
        rows = x[np.linspace(0, len(x) - 1, _ROWS).astype(np.int64)]
    else:
        rows = x
    contents = repr(rows.tolist()).encode() if x.dtype.hasobject else np.ascontiguousarray(rows).reshape(-1)
    checksum = zlib.crc32(contents if isinstance(contents, bytes) else contents.view(np.uint8).data)
    return f"{x.dtype}{list(x.shape)} {checksum:08x}"
