"""The scalar types of PTX: their width, the NumPy dtype of their values, and the meaning of their literals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class PtxType:
    """One type: ``dtype`` holds its values; bf16 and the packed types are held as their bits."""

    name: str
    kind: str
    """pred, bits, unsigned, signed, float, bfloat, packed (floats) or halves (integers)."""
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize

    @property
    def bits(self) -> int:
        return 8 * self.dtype.itemsize

    @property
    def is_integer(self) -> bool:
        return self.kind in {"bits", "unsigned", "signed"}

    @property
    def is_float(self) -> bool:
        return self.kind in {"float", "bfloat", "packed"}


def _table() -> dict[str, PtxType]:
    types = [PtxType("pred", "pred", np.dtype(np.bool_))]
    for bits in (8, 16, 32, 64):
        types.append(PtxType(f"b{bits}", "bits", np.dtype(f"u{bits // 8}")))
        types.append(PtxType(f"u{bits}", "unsigned", np.dtype(f"u{bits // 8}")))
        types.append(PtxType(f"s{bits}", "signed", np.dtype(f"i{bits // 8}")))
    types += [PtxType(f"f{bits}", "float", np.dtype(f"f{bits // 8}")) for bits in (16, 32, 64)]
    types.append(PtxType("bf16", "bfloat", np.dtype(np.uint16)))
    types += [PtxType(name, "packed", np.dtype(np.uint32)) for name in ("f16x2", "bf16x2")]
    types.append(PtxType("f32x2", "packed", np.dtype(np.uint64)))
    types += [PtxType(name, "halves", np.dtype(np.uint32)) for name in ("s16x2", "u16x2")]
    return {type_.name: type_ for type_ in types}


TYPES = _table()
"""Every type, by name."""

BITS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
"""Raw words, by their size in bytes."""

_INTEGER = re.compile(r"(-?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9]\d*)U?")
_FLOAT_BITS = re.compile(r"0[fF]([0-9a-fA-F]{8})|0[dD]([0-9a-fA-F]{16})")
_DECIMAL = re.compile(r"-?\d+\.\d*(?:[eE][+-]?\d+)?|-?\d+[eE][+-]?\d+")


def integer_literal(text: str) -> int | None:
    """The value of an integer literal, or None if `text` is none."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    digits = match[2]
    octal = len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567"
    value = int(digits, 8) if octal else int(digits, 0)
    return -value if match[1] else value


def literal(text: str, type_: PtxType) -> Any:
    """The NumPy scalar that the literal `text` is as an operand of a type, or None if it is no literal.

    >>> literal("0f3FC00000", TYPES["f32"]), literal("-1", TYPES["u16"]), literal("%r1", TYPES["u16"])
    (np.float32(1.5), np.uint16(65535), None)
    """
    if match := _FLOAT_BITS.fullmatch(text):
        raw = np.uint32(int(match[1], 16)) if match[1] else np.uint64(int(match[2], 16))
        if type_.kind == "float":
            return raw.view(np.float32 if match[1] else np.float64).astype(type_.dtype)
        return raw.astype(type_.dtype).view(type_.dtype)
    value = integer_literal(text)
    if value is None:
        return np.float64(text).astype(type_.dtype) if type_.kind == "float" and _DECIMAL.fullmatch(text) else None
    if type_.kind == "pred":
        return np.bool_(value)
    if type_.kind == "float":
        return np.float64(value).astype(type_.dtype)
    return BITS[type_.nbytes].type(value & ((1 << type_.bits) - 1)).view(type_.dtype)
