"""The kinds of params an equation can hold. Every param slot of a primitive has one of these; none is a float."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from graphad.ir.types import DTYPES, EXTENT, Aval, DType, Literal, aval, format_literal, parse_literal


class ParamKind(NamedTuple):
    """How params of a kind are recognised, printed and read back, and how they are encoded in a key of the cache."""

    name: str
    check: Callable[[Any], bool]
    format: Callable[[Any], str]
    parse: Callable[[str, Mapping[str, Any]], Any]  # (text, named rules) -> value
    plain: Callable[[Any], Any] = lambda x: x  # of plain values only; see `graphad.ir.digest`


def _is_int(x: Any) -> bool:
    return type(x) is int


def _is_ints(x: Any) -> bool:
    return type(x) is tuple and all(type(i) is int for i in x)


def _is_nested(x: Any) -> bool:
    return type(x) is tuple and all(_is_ints(i) for i in x)


def _python(text: str, _rules: Mapping[str, Any]) -> Any:
    return ast.literal_eval(text)


def _compact(x: Any) -> str:
    return repr(x).replace(", ", ",").replace(str(EXTENT), "n")


def _sizes(text: str, _rules: Mapping[str, Any]) -> Any:
    return ast.literal_eval(text.replace("n", str(EXTENT)))


def parse_aval(text: str) -> Aval:
    """Read ``f32[3,4]``."""
    name, bracket, dims = text.strip().partition("[")
    if name not in DTYPES or not bracket or not dims.endswith("]"):
        raise ValueError(f"{text!r} is not a type; write e.g. f32[3,4], with one of {', '.join(DTYPES)}")
    shape = tuple([EXTENT if d.strip() == "n" else int(d) for d in dims[:-1].split(",") if d.strip()])
    if math.prod([max(n, 1) for n in shape]) >= 2**63:
        raise ValueError(f"{text} is no type: an array has fewer than 2**63 elements")
    return aval(shape, DTYPES[name])


def _avals_from(text: str, _rules: Mapping[str, Any]) -> tuple[Aval, ...]:
    inner = text.strip()[1:-1].strip()
    return tuple(parse_aval(part + "]") for part in inner.split("]")[:-1] for part in [part.lstrip(", ")])


def _no_key(function: Any) -> Any:
    raise TypeError(f"a program that calls {function} cannot be named by what it computes")


def _rule_from(text: str, rules: Mapping[str, Any]) -> Any:
    name = text.strip().removeprefix("@")
    if name not in rules:
        raise ValueError(f"the text names rule @{name}; pass it: parse_graph(text, rules={{{name!r}: rule}})")
    return rules[name]


INT: Final = ParamKind("int", _is_int, _compact, _sizes)
BOOL: Final = ParamKind("bool", lambda x: type(x) is bool, repr, _python)
STR: Final = ParamKind("str", lambda x: type(x) is str, repr, _python)
INTS: Final = ParamKind("ints", _is_ints, _compact, _sizes)
STRS: Final = ParamKind("tuple of strs", lambda x: type(x) is tuple and all(type(i) is str for i in x), repr, _python)
NESTED: Final = ParamKind("tuple of ints", _is_nested, _compact, _python)
DTYPE: Final = ParamKind(
    "dtype", lambda x: type(x) is DType, lambda d: d.name, lambda t, _: DTYPES[t.strip()], lambda d: d.name
)
LITERAL: Final = ParamKind(
    "literal",
    lambda x: type(x) is Literal,
    format_literal,
    lambda t, _: parse_literal(t.strip()),
    lambda x: x.order,
)
AVALS: Final = ParamKind(
    "avals",
    lambda x: type(x) is tuple and all(type(i) is Aval for i in x),
    lambda x: "(" + ", ".join(map(repr, x)) + ")",
    _avals_from,
    lambda x: tuple([(i.dtype.name, *i.shape) for i in x]),
)
#: A rule of a custom derivative: an object compared by identity, printed by the name the printer gave it. What is
#: compiled does not depend on it.
RULE: Final = ParamKind(
    "rule", lambda x: hasattr(x, "rule_name"), lambda r: f"@{r.rule_name}", _rule_from, lambda _: None
)
#: A function of the host that the program calls. What it computes has no key: such programs are kept by their text.
HOST: Final = ParamKind(
    "host function", lambda x: hasattr(x, "rule_name"), lambda r: f"@{r.rule_name}", _rule_from, _no_key
)
#: The kinds of objects that a text has by name.
NAMED: Final = (RULE, HOST)
