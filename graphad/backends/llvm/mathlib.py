"""The elementary functions as LLVM text, for any number of lanes.

Each function of `graphad_kernels.math` is traced once on symbolic vectors. The text has no fast-math flags: a fused
multiply-add is where the source says `fma`, so that the results are bitwise those of Numba, and the same for every
number of lanes.

>>> symbol("exp", "f32", 16)
'ga_exp_f32x16'
>>> declaration("sin", "f64", 4)
'declare <4 x double> @ga_sin_f64x4(<4 x double>) nounwind willreturn memory(none)'
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

from graphad_kernels.math import FUNCTIONS, SLOW_PATHS

from graphad.backends.llvm.tracing import LLVM_TYPES, Vector, Writer, vector_type
from graphad.ir.types import DType

_ATTRIBUTES: Final = "nounwind willreturn memory(none)"
_SYMBOL: Final = re.compile(r"ga_(\w+)_([fu]\d+)x(\d+)")


class Signature(NamedTuple):
    """LLVM types of a function: of each parameter, and of what it returns."""

    parameters: tuple[str, ...]
    result: str


def symbol(name: str, dtype: DType | str, lanes: int) -> str:
    """The linker's name of an elementary function for vectors of ``lanes`` elements (1: a scalar)."""
    return f"ga_{name}_{_dtype_name(dtype)}x{lanes}"


@cache
def signature(name: str, dtype: DType | str, lanes: int) -> Signature:
    """Parameter and result types; a function with two results returns a struct ``{vector, vector}``.

    >>> signature("threefry2x32", "u32", 8).result
    '{<8 x i32>, <8 x i32>}'
    """
    vector = vector_type(LLVM_TYPES[_dtype_name(dtype)], lanes)
    arity = len(inspect.signature(_function(name, _dtype_name(dtype))).parameters)
    return Signature((vector,) * arity, f"{{{vector}, {vector}}}" if name == "threefry2x32" else vector)


def declaration(name: str, dtype: DType | str, lanes: int) -> str:
    """The declaration with which a module calls the function."""
    parameters, result = signature(name, dtype, lanes)
    return f"declare {result} @{symbol(name, dtype, lanes)}({', '.join(parameters)}) {_ATTRIBUTES}"


def definition(symbol_name: str, *, fma: bool = True, linkage: str = "", attributes: str = "") -> str:
    """A module that defines this symbol.

    Parameters
    ----------
    symbol_name
        As `symbol` makes it. The module may call further symbols: see `symbols_in`.
    fma
        Whether the target has fused multiply-add instructions.
    linkage, attributes
        Further keywords of the definition in LLVM: ``internal``, ``noinline``.
    """
    found = _SYMBOL.fullmatch(symbol_name)
    if found is None:
        raise ValueError(f"{symbol_name!r} is no elementary function; names are like {symbol('exp', 'f32', 16)!r}")
    name, dtype, lanes = found[1], found[2], int(found[3])
    function = _function(name, dtype)
    parameters, result = signature(name, dtype, lanes)
    writer = Writer(lanes, fma, lambda slow, kind: (symbol(slow, kind, 1), declaration(slow, kind, 1)))
    arguments = [Vector(writer, f"%a{i}", dtype) for i in range(len(parameters))]
    returned = function(*arguments)
    if isinstance(returned, Vector):
        last = returned.text
    else:
        pair = writer.line(f"insertvalue {result} poison, {parameters[0]} {returned[0].text}, 0")
        last = writer.line(f"insertvalue {result} {pair}, {parameters[1]} {returned[1].text}, 1")
    heading = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(parameters))
    words = ("define", linkage, f"{result} @{symbol_name}({heading})", _ATTRIBUTES, attributes, "{")
    return "\n".join(
        (
            *sorted(writer.outside),
            " ".join(filter(None, words)),
            "entry:",
            *writer.allocas,
            *writer.lines,
            f"  ret {result} {last}",
            "}",
            "",
        )
    )


def symbols_in(text: str) -> list[str]:
    """The elementary functions that a module declares but does not define, in order of appearance."""
    declared = re.findall(r"^declare [^@]*@(ga_\w+)\(", text, re.MULTILINE)
    return list(dict.fromkeys(name for name in declared if _SYMBOL.fullmatch(name)))


def is_slow_path(symbol_name: str) -> bool:
    """Whether this is the slow path of another function, which calls it for rare arguments."""
    found = _SYMBOL.fullmatch(symbol_name)
    return found is not None and (found[1], found[2]) in SLOW_PATHS


def _dtype_name(dtype: DType | str) -> str:
    return dtype if isinstance(dtype, str) else dtype.name


def _function(name: str, dtype: str) -> Callable[..., Any]:
    key = (name, dtype)
    found = FUNCTIONS.get(key) or SLOW_PATHS.get(key)
    if found is None:
        known = sorted(d for n, d in FUNCTIONS if n == name)
        raise ValueError(f"there is no elementary function {name} for {dtype}; {name} exists for {known or 'no dtype'}")
    return found
