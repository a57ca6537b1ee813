"""Operators on floats that Numba has for the CPU as NumPy's functions, and for devices not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from numba.extending import intrinsic

from graphad_kernels.instructions import call_instruction

_intrinsic: Any = intrinsic


def _unary(name: str) -> Callable[[Any], Any]:
    @_intrinsic
    def operator(_typing: Any, x: Any) -> Any:
        return x(x), lambda _context, builder, _signature, args: call_instruction(builder, name, args)

    return operator


def _binary(name: str) -> Callable[[Any, Any], Any]:
    @_intrinsic
    def operator(_typing: Any, x: Any, y: Any) -> Any:
        return x(x, y), lambda _context, builder, _signature, args: call_instruction(builder, name, args)

    return operator


sqrt, floor, ceil, trunc, rint = map(_unary, ("sqrt", "floor", "ceil", "trunc", "rint"))
copysign, fmod = map(_binary, ("copysign", "fmod"))

NAMES: Final = ("sqrt", "floor", "ceil", "trunc", "rint", "copysign", "fmod")
