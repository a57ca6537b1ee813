"""LLVM IR as text: types, constants, and a function under construction.

Values have a *register* type (what arithmetic sees) and a *storage* type (what lies in memory): bool is ``i1`` in
registers and a byte in memory; f16 and bf16 are computed with as ``float`` and rounded after every operation.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Final, NamedTuple

from graphad.ir.types import DType, Literal, b1, f64

_REGISTER: Final[dict[str, str]] = {"bool": "i1", "f16": "float", "bf16": "float", "f32": "float", "f64": "double"}
_STORAGE: Final[dict[str, str]] = {"bool": "i8", "f16": "half", "bf16": "i16", "f32": "float", "f64": "double"}
_SUFFIX: Final[dict[str, str]] = {"half": "f16", "float": "f32", "double": "f64", "ptr": "p0"}


class Val(NamedTuple):
    """A value: its LLVM text, dtype and lane count (1: the same in every lane, held as a scalar)."""

    text: str
    dtype: DType
    lanes: int


def lanes_of(element: str, lanes: int) -> str:
    """``element``, or a vector of it."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


def element_type(dtype: DType) -> str:
    """Register type of one element."""
    return _REGISTER.get(dtype.name) or f"i{dtype.bits}"


@cache
def register_type(dtype: DType, lanes: int) -> str:
    """Type that a value of ``dtype`` has in registers."""
    return lanes_of(element_type(dtype), lanes)


def storage_type(dtype: DType) -> str:
    """Type that one element of ``dtype`` has in memory."""
    return _STORAGE.get(dtype.name) or f"i{dtype.bits}"


def suffix(element: str, lanes: int) -> str:
    """How the name of an overloaded intrinsic spells a type, e.g. ``v16f32``."""
    name = _SUFFIX.get(element, element)
    return name if lanes == 1 else f"v{lanes}{name}"


def float_text(value: float, dtype: DType) -> str:
    """A float constant; LLVM writes those of every width as the bits of a double, which must then be exact."""
    if dtype is not f64:
        value = float(dtype.numpy.type(value))
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def constant(value: float | int | bool, dtype: DType, lanes: int) -> str:
    """A constant of register type, without the type before it."""
    if dtype.is_float:
        text = float_text(float(value), dtype)
    elif dtype is b1:
        text = "true" if value else "false"
    else:
        text = str(int(value))
    return text if lanes == 1 else f"splat ({element_type(dtype)} {text})"


def literal_constant(lit: Literal, lanes: int) -> str:
    """`constant` of a typed literal."""
    return constant(lit.item(), lit.dtype, lanes)


def offsets_text(stride: int, lanes: int, element: str = "i64") -> str:
    """The constant vector ``<0, stride, 2*stride, ...>``."""
    return "<" + ", ".join(f"{element} {stride * lane}" for lane in range(lanes)) + ">"


class Code:
    """One function under construction: its lines, fresh names, and the declarations and functions that it needs."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declarations: dict[str, None] = {}  # ordered, without repeats
        self.functions: dict[str, None] = {}  # definitions that it calls, likewise
        self.block = "entry"
        self._counts: dict[str, int] = {}

    def fresh(self, hint: str) -> str:
        """A name not used before, made from ``hint`` (an identifier, so a dot keeps the made names apart)."""
        count = self._counts.get(hint, 0)
        self._counts[hint] = count + 1
        return f"{hint}.{count}" if count else hint

    def let(self, text: str, hint: str = "v") -> str:
        """Append an instruction with a result; returns the result."""
        name = "%" + self.fresh(hint)
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Append an instruction without a result."""
        self.lines.append(f"  {text}")

    def start(self, label: str) -> None:
        """Start the basic block ``label``."""
        self.lines.append(f"{label}:")
        self.block = label

    def call(self, name: str, result: str, args: list[tuple[str, str]], hint: str = "v", flags: str = "") -> str:
        """Call the intrinsic ``name``, declared on the way, on ``args`` of (type, text)."""
        self.declarations[f"declare {result} @{name}({', '.join(t for t, _ in args)})"] = None
        text = f"call {flags}{result} @{name}({', '.join(f'{t} {a}' for t, a in args)})"
        if result != "void":
            return self.let(text, hint)
        self.do(text)
        return ""

    def splat(self, text: str, element: str, lanes: int) -> str:
        """A vector with the scalar ``text`` in every lane."""
        vector = f"<{lanes} x {element}>"
        one = self.let(f"insertelement {vector} poison, {element} {text}, i64 0", "one")
        return self.let(f"shufflevector {vector} {one}, {vector} poison, <{lanes} x i32> zeroinitializer", "splat")

    def shuffle(self, text: str, element: str, lanes: int, picks: list[int]) -> str:
        """The vector of the lanes ``picks`` of ``text``."""
        vector = f"<{lanes} x {element}>"
        mask = ", ".join(f"i32 {p}" for p in picks)
        return self.let(f"shufflevector {vector} {text}, {vector} poison, <{len(picks)} x i32> <{mask}>", "lanes")
