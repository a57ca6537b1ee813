"""Arithmetic of each floating-point type: the arrays that represent its values, and how results are rounded.

Single and double precision are NumPy's own. Half precision, bfloat16 and the packed types are computed in a wider type
and rounded once. Payloads of nan results are NumPy's, not the hardware's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.instructions import rounding
from graphad.backends.cuda.emulator.ptx_types import PtxType

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Format:
    """One floating-point type: `load` gives doubles (or singles, if `single`), `store` the values of a register."""

    load: Callable[[Any], Array]
    store: Callable[[Array, str], Array]
    single: bool = False


def _half(x: Array, mode: str) -> Array:
    return rounding.narrow(x, np.float16, mode)


def _pairs(bits: Any, dtype: Any) -> Array:
    return np.ascontiguousarray(np.atleast_1d(bits)).view(dtype).reshape(-1, 2)


def _joined(pairs: Array, dtype: Any) -> Array:
    return np.ascontiguousarray(pairs).view(dtype)[:, 0]


def _bfloat_pairs(bits: Any) -> Array:
    return rounding.from_bfloat16(_pairs(bits, np.uint16)).astype(np.float64)


FORMATS = {
    "f16": Format(lambda x: np.asarray(x, np.float64), _half),
    "bf16": Format(lambda x: rounding.from_bfloat16(x).astype(np.float64), rounding.to_bfloat16),
    "f16x2": Format(
        lambda x: _pairs(x, np.float16).astype(np.float64), lambda x, mode: _joined(_half(x, mode), np.uint32)
    ),
    "bf16x2": Format(_bfloat_pairs, lambda x, mode: _joined(rounding.to_bfloat16(x, mode), np.uint32)),
    "f32x2": Format(
        lambda x: _pairs(x, np.float32), lambda x, _: _joined(np.asarray(x, np.float32), np.uint64), single=True
    ),
}
"""The types that NumPy does not compute with as they are."""


def lifted(function: Callable[..., Array], type_: PtxType, mode: str = "rn") -> Callable[..., Array]:
    """A function of doubles (of singles for f32x2), lifted to the values of a type's registers."""
    format_ = FORMATS[type_.name]

    def call(*operands: Any) -> Array:
        return format_.store(function(*[format_.load(operand) for operand in operands]), mode)

    return call


def flushing(type_: PtxType) -> Callable[[Any], Any]:
    """The function by which ``.ftz`` flushes the values of a type's registers."""
    if type_.name in {"f16x2", "f32x2"}:
        part = np.float16 if type_.name == "f16x2" else np.float32
        return lambda x: _joined(rounding.flush(_pairs(x, part)), type_.dtype)
    if type_.name in {"bf16", "bf16x2"}:
        return lambda x: _flush_bfloat(np.atleast_1d(x).view(np.uint16)).view(type_.dtype)
    return rounding.flush


def _flush_bfloat(bits: Array) -> Array:
    """Where the exponent's bits are zeros, keep the sign only."""
    return np.where(bits & np.uint16(0x7F80), bits, bits & np.uint16(0x8000))
