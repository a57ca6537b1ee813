"""``cvt`` and its relatives: between integers, floats of all widths, and packed pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError
from graphad.backends.cuda.emulator.instructions import rounding
from graphad.backends.cuda.emulator.instructions.decoder import Decoder, Step
from graphad.backends.cuda.emulator.instructions.formats import FORMATS
from graphad.backends.cuda.emulator.instructions.opcodes import compute, opcode
from graphad.backends.cuda.emulator.machine.memory import WINDOW, WINDOWS
from graphad.backends.cuda.emulator.ptx_types import TYPES, PtxType
from graphad.backends.cuda.emulator.syntax import Instruction

Array = np.ndarray[Any, np.dtype[Any]]
Convert = Callable[[Any], Array]

_TO_INTEGRAL: dict[str, Callable[[Array], Array]] = {
    "rni": np.rint,
    "rzi": np.trunc,
    "rmi": np.floor,
    "rpi": np.ceil,
}
_MODES = ("rn", "rz", "rm", "rp")


@opcode("cvt")
def convert(i: Instruction, d: Decoder) -> Step:
    """``cvt``; registers may be wider than the type."""
    result, given = i.type(0), i.type(1)
    if result.kind == "packed":
        return _convert_pair(i, d, result, given)
    target, source = i.operands
    function = conversion(i, result, given)
    slots = d.target(target, result, wider=True), d.source(source, given, wider=True)
    return compute(function, *slots)


def conversion(i: Instruction, result: PtxType, given: PtxType) -> Convert:
    """The function of a ``cvt`` between two types."""
    integral, mode = i.one_of(*_TO_INTEGRAL), i.one_of(*_MODES)
    flushes, saturates, clips = i.has("ftz"), i.has("sat"), i.has("relu")
    if not given.is_float:
        if clips or (flushes and not result.is_float):
            raise EmulatorError("has .ftz or .relu, which conversions of integers do not have")
        if result.is_float:
            if not mode:
                raise EmulatorError("needs .rn, .rz, .rm or .rp")
            return _from_integer(result, given, mode, saturates)
        return _between_integers(result, given, saturates)
    if not result.is_float:
        if not integral:
            raise EmulatorError("needs .rni, .rzi, .rmi or .rpi")
        return _to_integer(result, given, _TO_INTEGRAL[integral], flushes)
    narrows = result.nbytes < given.nbytes or (result.nbytes == 2 and result.name != given.name)
    if narrows and not mode:
        raise EmulatorError("needs .rn, .rz, .rm or .rp")
    return _between_floats(result, given, integral, mode or "rn", flushes, saturates, clips)


def _between_integers(result: PtxType, given: PtxType, saturates: bool) -> Convert:
    if not saturates:
        return lambda x: np.asarray(x).astype(result.dtype)
    mine, theirs = np.iinfo(result.dtype), np.iinfo(given.dtype)
    low, high = max(int(mine.min), int(theirs.min)), min(int(mine.max), int(theirs.max))
    return lambda x: np.clip(x, given.dtype.type(low), given.dtype.type(high)).astype(result.dtype)


def _from_integer(result: PtxType, given: PtxType, mode: str, saturates: bool) -> Convert:
    def split(x: Any) -> tuple[Array, Array]:
        """Two doubles whose sum is exactly the integer."""
        wide = np.atleast_1d(x).astype(np.int64 if given.kind == "signed" else np.uint64)
        return (wide >> 32).astype(np.float64) * 2.0**32, (wide & 0xFFFFFFFF).astype(np.float64)

    def converted(x: Any) -> Array:
        if result.name == "f64":
            nearest, error = rounding.two_sum(*split(x))
            value = nearest if mode == "rn" else rounding.directed(nearest, error, mode)
        elif result.name == "bf16":
            value = _to_bfloat16(rounding.odd_sum(*split(x)), mode)
        else:
            value = rounding.narrow(rounding.odd_sum(*split(x)), result.dtype.type, mode)
        return rounding.saturate(value) if saturates else value

    if mode == "rn" and result.name in {"f32", "f64"} and not saturates:
        return lambda x: np.asarray(x).astype(result.dtype)
    return converted


def _to_bfloat16(x: Array, mode: str) -> Array:
    if mode not in {"rn", "rz"}:
        raise EmulatorError(f"does not round to bf16 in the mode .{mode}")
    return rounding.to_bfloat16(x, mode)


def load(given: PtxType, x: Any) -> Array:
    """The function that converts values of a floating-point type to double."""
    exact = rounding.from_bfloat16(x) if given.name == "bf16" else x
    return np.asarray(exact, np.float64)


def _to_integer(result: PtxType, given: PtxType, integral: Callable[[Array], Array], flushes: bool) -> Convert:
    """Saturating; nan becomes 0."""
    limits = np.iinfo(result.dtype)
    low, high = float(limits.min), float(limits.max)
    # 2**63 - 1 and 2**64 - 1 are no doubles.
    inside = high if result.bits < 64 else np.nextafter(high, 0.0)

    def converted(x: Any) -> Array:
        given_value = rounding.flush(x) if flushes and given.name == "f32" else x
        whole = integral(np.atleast_1d(load(given, given_value)))
        number = np.where(np.isnan(whole), 0.0, np.clip(whole, low, inside)).astype(result.dtype)
        return np.where(whole >= high, limits.max, number).astype(result.dtype) if result.bits == 64 else number

    return converted


def _between_floats(
    result: PtxType, given: PtxType, integral: str, mode: str, flushes: bool, saturates: bool, clips: bool
) -> Convert:
    def converted(x: Any) -> Array:
        value = np.atleast_1d(load(given, rounding.flush(x) if flushes and given.name == "f32" else x))
        if integral:
            value = _TO_INTEGRAL[integral](value)
        if saturates:
            value = rounding.saturate(value)
        if clips:
            value = np.where(np.isnan(value), value, np.maximum(value, 0.0))
        if result.name == "bf16":
            return _to_bfloat16(value, mode)
        if result.name == "f64":
            return value
        single = rounding.narrow(value, result.dtype.type, mode)
        return rounding.flush(single) if flushes and result.name == "f32" else single

    return converted


def _convert_pair(i: Instruction, d: Decoder, result: PtxType, given: PtxType) -> Step:
    """``cvt.rn.f16x2.f32 d, a, b``: b into the lower half, a into the upper."""
    target, upper, lower = i.operands
    mode, clips = i.one_of("rn", "rz"), i.has("relu")
    if given.name != "f32" or result.name == "f32x2" or not mode:
        raise EmulatorError("is supported as .rn or .rz from .f32 to .f16x2 and .bf16x2")
    slots = d.source(upper, given), d.source(lower, given)
    store = FORMATS[result.name].store

    def packed(upper: Any, lower: Any) -> Array:
        pairs = np.stack(np.broadcast_arrays(np.atleast_1d(lower), upper), axis=1).astype(np.float64)
        if clips:
            pairs = np.where(np.isnan(pairs), pairs, np.maximum(pairs, 0.0))
        return store(pairs, mode)

    return compute(packed, d.target(target, result), *slots)


@opcode("isspacep")
def is_in_space(i: Instruction, d: Decoder) -> Step:
    """Whether a generic address lies in a space."""
    name = i.one_of(*WINDOWS, "global")
    target, address = i.operands
    slots = d.target(target, TYPES["pred"]), d.source(address, TYPES["u64"])
    if name == "global":
        return compute(lambda a: a < np.uint64(WINDOW), *slots)
    base = np.uint64(WINDOWS[name])
    return compute(lambda a: (a >= base) & (a < base + np.uint64(WINDOW)), *slots)


@opcode("cvta")
def convert_address(i: Instruction, d: Decoder) -> Step:
    """Between addresses in one space and generic ones."""
    type_ = i.type()
    if type_.bits != 64:
        raise EmulatorError("is supported for 64-bit addresses")
    back, name = i.has("to"), i.one_of(*WINDOWS, "global", "const", "param")
    if name == "param" or not name:
        raise EmulatorError("is not supported for this space")
    base = np.uint64(WINDOWS.get(name, 0))
    target, source = i.operands
    slots = d.target(target, TYPES["u64"]), d.source(source, TYPES["u64"])
    return compute(lambda a: a - base if back else a + base, *slots)
