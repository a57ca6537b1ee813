"""The text form of arguments: types of arrays in containers, as ``--args`` of the command line takes them.

| text                                    | argument                                                            |
|-----------------------------------------|---------------------------------------------------------------------|
| ``f32[8,64]``, ``i32[]``, ``float32[3]`` | an array of that type, without a value                              |
| ``f32[3]=0.5``                          | an array filled with that value: Python may branch on it            |
| ``1.5``                                 | a Python float: traced, weakly typed, with that value               |
| ``3``, ``True``, ``'relu'``             | a Python value that is compiled in                                  |
| ``None``                                | None                                                                |
| ``(a, b)``, ``[a, b]``, ``{w: a, b: c}`` | containers of these; names, strings and ints are keys               |
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.api.abstract import ShapeDtypeStruct
from graphad.errors import ParseError, did_you_mean
from graphad.ir.types import DTYPES, DType
from graphad.trace.bind import type_of
from graphad.tree_util import register_pytree_node

_DTYPES: Final[dict[str, DType]] = DTYPES | {d.numpy.name: d for d in DTYPES.values()}
_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<type>[A-Za-z_]\w*\s*\[[^\]]*\])
  | (?P<number>[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|(?:inf|nan)\b))
  | (?P<name>[A-Za-z_]\w*)
  | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
  | (?P<mark>[(){}\[\],:=])
  | (?P<end>$)
    )""",
    re.VERBOSE,
)
_WORDS: Final[dict[str, Any]] = {"None": None, "True": True, "False": False}


@dataclass(frozen=True, slots=True)
class Static:
    """A Python value among the arguments that is compiled in: a container without leaves to every transformation."""

    value: Any


register_pytree_node(Static, lambda static: ((), static), lambda static, _: static)


def parse_arguments(text: str, what: str = "arguments") -> tuple[Any, ...]:
    """Read positional arguments: `ShapeDtypeStruct`, NumPy arrays, floats and `Static` in containers.

    Parameters
    ----------
    text
        Arguments with commas between them.
    what
        What errors call the text.

    Raises
    ------
    ParseError
        The text does not follow the grammar; the message gives the column and shows the place.

    Examples
    --------
    >>> parse_arguments("f32[3], {scale: 2.0, layers: 3}")
    (ShapeDtypeStruct(shape=(3,), dtype=float32), {'scale': 2.0, 'layers': Static(value=3)})
    """
    reader = _Reader(text, what)
    return tuple(reader.items("the end", reader.tree)[0])


def format_arguments(*args: Any) -> str:
    """The text of the types of ``args``, which `parse_arguments` reads.

    Examples
    --------
    >>> format_arguments({"w": np.ones((3, 2)), "b": 1.5}, [None, 4])
    '{w: f64[3,2], b: 1.5}, [None, 4]'
    """
    return ", ".join(map(_format, args))


def _format(x: Any) -> str:
    match x:
        case None | bool() | int() | str():
            return repr(x)
        case float():
            return repr(float(x))
        case Static(value=value):
            return repr(value)
        case dict():
            keys = [k if isinstance(k, str) and k.isidentifier() and k not in _WORDS else repr(k) for k in x]
            return "{" + ", ".join(f"{k}: {_format(v)}" for k, v in zip(keys, x.values(), strict=True)) + "}"
        case list():
            return "[" + ", ".join(map(_format, x)) + "]"
        case tuple() if type(x) is tuple:
            return "(" + ", ".join(map(_format, x)) + ("," if len(x) == 1 else "") + ")"
        case ShapeDtypeStruct():
            return repr(x.aval)
        case _ if hasattr(x, "shape"):
            return repr(type_of(x).aval)
        case _:
            raise TypeError(f"a {type(x).__name__} has no text among arguments; tuples, lists and dicts of arrays have")


class _Token(NamedTuple):
    kind: str
    text: str
    column: int  # from 0


class _Reader:
    """A cursor on the tokens of a text."""

    def __init__(self, text: str, what: str) -> None:
        self.text = text
        self.what = what
        self.pos = 0
        self.token = self.scan()

    def error(self, message: str, column: int | None = None) -> ParseError:
        column = self.token.column if column is None else column
        return ParseError(f"{self.what}, column {column + 1}: {message}\n  {self.text}\n  {' ' * column}^")

    # -- tokens

    def scan(self) -> _Token:
        found = _TOKEN.match(self.text, self.pos)
        if found is None:
            column = self.pos + len(self.text[self.pos :]) - len(self.text[self.pos :].lstrip())
            raise self.error(f"{self.text[column]!r} has no meaning here", column)
        kind = str(found.lastgroup)
        self.pos = found.end()
        return _Token(kind, found[kind], found.start(kind))

    def take(self) -> _Token:
        token = self.token
        self.token = self.scan()
        return token

    def accept(self, mark: str) -> bool:
        """Step over ``mark`` if it is next."""
        if self.token.kind != "mark" or self.token.text != mark:
            return False
        self.take()
        return True

    # -- the grammar

    def items(self, closing: str, item: Callable[[], Any]) -> tuple[list[Any], bool]:
        """Items with commas between them up to ``closing``, and whether a comma was the last thing before it."""
        found: list[Any] = []
        comma = False
        while not (self.at_end() if closing == "the end" else self.accept(closing)):
            if found and not comma:
                raise self.error(f"expected , or {closing}")
            if self.at_end():
                raise self.error(f"expected {closing} before the end")
            found.append(item())
            comma = self.accept(",")
        return found, comma

    def at_end(self) -> bool:
        return self.token.kind == "end"

    def tree(self) -> Any:
        """One argument, or one part of it."""
        if self.accept("("):
            found, comma = self.items(")", self.tree)
            return found[0] if len(found) == 1 and not comma else tuple(found)
        if self.accept("["):
            return self.items("]", self.tree)[0]
        if self.accept("{"):
            return dict(self.items("}", self.pair)[0])
        kind, text, column = token = self.take()
        match kind:
            case "type":
                return self.array(token)
            case "number":
                value = _number(text)
                return Static(value) if isinstance(value, int) else value
            case "string":
                return Static(ast.literal_eval(text))
            case "name" if text in _WORDS:
                value = _WORDS[text]
                return None if value is None else Static(value)
            case "name" if text in _DTYPES:
                raise self.error(f"{text} needs a shape: {text}[] for a scalar, {text}[3,4] for a matrix", column)
            case _:
                what = repr(text) if text else "the end"
                raise self.error(f"expected an argument such as f32[3,4], 1.5 or (f32[], i32[2]), not {what}", column)

    def pair(self) -> tuple[Any, Any]:
        kind, text, column = self.take()
        if kind not in ("name", "string", "number"):
            raise self.error("expected a key: a name, a string or an int", column)
        if not self.accept(":"):
            raise self.error(f"expected : and a value after the key {text}")
        key = text if kind == "name" else ast.literal_eval(text) if kind == "string" else _number(text)
        return key, self.tree()

    def array(self, token: _Token) -> Any:
        """A type, and the value that may follow it."""
        name, _, rest = token.text.partition("[")
        name, dims = name.strip(), rest[:-1]
        if name not in _DTYPES:
            raise self.error(f"there is no dtype {name}. {did_you_mean(name, _DTYPES)}", token.column)
        sizes = [d.strip() for d in dims.split(",")] if dims.strip() else []
        if not all(d.isdecimal() for d in sizes):
            raise self.error(f"[{dims}] is not a shape; write e.g. {name}[3,4], or {name}[] for a scalar", token.column)
        shape, dtype = tuple(map(int, sizes)), _DTYPES[name].numpy
        if not self.accept("="):
            return ShapeDtypeStruct(shape, dtype)
        kind, text, column = self.take()
        if kind != "number" and text not in ("True", "False"):
            raise self.error("expected a number after =, which fills the array", column)
        value = _number(text) if kind == "number" else text == "True"
        if isinstance(value, float) and dtype.kind in "biu":
            raise self.error(f"an array of {name} cannot hold {text}", column)
        try:
            return np.full(shape, value, dtype)
        except OverflowError:
            raise self.error(f"an array of {name} cannot hold {text}", column) from None


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
