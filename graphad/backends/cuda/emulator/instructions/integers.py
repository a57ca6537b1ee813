"""Integer instructions.

Where PTX leaves results unspecified they are the hardware's: quotient and remainder by zero have all bits set, the
quotient of the least number by -1 wraps around.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError
from graphad.backends.cuda.emulator.instructions.decoder import Decoder, Step, Values
from graphad.backends.cuda.emulator.instructions.opcodes import compute, compute_into, opcode
from graphad.backends.cuda.emulator.machine.threads import Threads
from graphad.backends.cuda.emulator.ptx_types import BITS, TYPES, PtxType
from graphad.backends.cuda.emulator.syntax import Instruction

Array = np.ndarray[Any, np.dtype[Any]]


def sum_of(i: Instruction, d: Decoder) -> Step:
    """add, sub of integers, with and without carry."""
    if i.type().kind == "halves":
        return on_halves(np.add, i, d)
    type_ = i.integer()
    if i.has("cc") or i.opcode in {"addc", "subc"}:
        return carrying_sum(i, d, type_)
    target, a, b = i.operands
    ufunc = np.add if i.opcode == "add" else np.subtract
    if i.has("sat"):
        limits = np.iinfo(np.int32)

        def clamped(a: Array, b: Array) -> Array:
            return np.clip(ufunc(a, b, dtype=np.int64), limits.min, limits.max)

        return compute(clamped, d.target(target, type_), d.source(a, type_), d.source(b, type_))
    return compute_into(ufunc, d.target(target, type_), d.source(a, type_), d.source(b, type_))


def on_halves(ufunc: Any, i: Instruction, d: Decoder) -> Step:
    """add, min, max of both halves of words."""
    type_ = i.type()
    half = np.dtype(np.int16 if type_.name == "s16x2" else np.uint16)
    target, *operands = i.operands

    def function(*words: Array) -> Array:
        halves = [np.ascontiguousarray(np.atleast_1d(word)).view(half).reshape(-1, 2) for word in words]
        return ufunc(*halves).view(np.uint32).reshape(-1)

    return compute(function, d.target(target, type_), *[d.source(operand, type_) for operand in operands])


def carrying_sum(i: Instruction, d: Decoder, type_: PtxType) -> Step:
    """add.cc, addc, sub.cc, subc and their combinations: the carry flag is an unnamed register."""
    word = TYPES[f"u{type_.bits}"]
    sources = [d.source(operand, word) for operand in i.operands[1:]]
    flag = d.temporary(np.dtype(np.bool_), "%CC.CF")
    target = d.target(i.operands[0], word)
    takes, gives, subtracts = i.opcode.endswith("c"), i.has("cc"), i.opcode.startswith("sub")

    def step(values: Values, _: Threads) -> None:
        a, b = (values[source] for source in sources)
        carry = values[flag].astype(word.dtype) if takes else word.dtype.type(0)
        partial = a - b if subtracts else a + b
        result = partial - carry if subtracts else partial + carry
        if gives:
            over = (a < b) | (partial < carry) if subtracts else (partial < a) | (result < partial)
            values[flag][...] = over
        values[target][...] = result

    return step


def high_product(a: Array, b: Array, dtype: np.dtype[Any]) -> Array:
    """Upper half of the product of two integers of a type."""
    size = dtype.itemsize
    if size < 8:
        wide = np.dtype(f"{dtype.kind}{2 * size}")
        return (np.multiply(a, b, dtype=wide) >> wide.type(8 * size)).astype(dtype)
    x, y = (np.atleast_1d(z).view(np.uint64) for z in (a, b))
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    x_low, x_high, y_low, y_high = x & low, x >> half, y & low, y >> half
    middle = x_high * y_low + (x_low * y_low >> half)
    middle_low = (middle & low) + x_low * y_high
    high = x_high * y_high + (middle >> half) + (middle_low >> half)
    if dtype.kind == "i":
        high = high - np.where(x >> np.uint64(63), y, np.uint64(0)) - np.where(y >> np.uint64(63), x, np.uint64(0))
    return high.view(dtype)


def product_of(i: Instruction, d: Decoder) -> Step:
    """mul, mad of integers: lo, hi, wide."""
    type_ = i.integer()
    part = i.one_of("lo", "hi", "wide")
    if not part:
        raise EmulatorError("needs .lo, .hi or .wide")
    result = TYPES[f"{type_.name[0]}{2 * type_.bits}"] if part == "wide" else type_
    if i.opcode == "madc" or i.has("cc"):
        return carrying_product(i, d, type_, part)
    target, a, b, *c = i.operands
    sources = [d.source(a, type_), d.source(b, type_)]
    if i.opcode == "mad":
        sources.append(d.source(c.pop(), result))
    if c:
        raise EmulatorError("has too many operands")
    out = d.target(target, result)
    return _product_step(part, i.opcode == "mad", type_, result, out, sources)


def _product_step(part: str, adds: bool, type_: PtxType, result: PtxType, out: int, sources: list[int]) -> Step:
    dtype = result.dtype
    if not adds:
        if part == "lo":
            return compute_into(np.multiply, out, *sources)
        if part == "hi":
            return compute(lambda a, b: high_product(a, b, type_.dtype), out, *sources)
        return compute(lambda a, b: np.multiply(a, b, dtype=dtype), out, *sources)
    if part == "hi":
        return compute(lambda a, b, c: high_product(a, b, type_.dtype) + c, out, *sources)
    return compute(lambda a, b, c: np.multiply(a, b, dtype=dtype) + c, out, *sources)


def carrying_product(i: Instruction, d: Decoder, type_: PtxType, part: str) -> Step:
    """mad.cc, madc: a half of the product, added with the carry flag."""
    target, a, b, c = i.operands
    sources = [d.source(operand, type_) for operand in (a, b, c)]
    flag = d.temporary(np.dtype(np.bool_), "%CC.CF")
    out = d.target(target, type_)
    takes, gives, word = i.opcode == "madc", i.has("cc"), BITS[type_.nbytes]

    def step(values: Values, _: Threads) -> None:
        a, b, c = (values[source] for source in sources)
        half = high_product(a, b, type_.dtype) if part == "hi" else a * b
        x, y = np.atleast_1d(half).view(word), np.atleast_1d(c).view(word)
        partial = x + y
        result = partial + values[flag].astype(word) if takes else partial
        if gives:
            values[flag][...] = (partial < x) | (result < partial)
        values[out][...] = result.view(type_.dtype)

    return step


def magnitude(x: Array, type_: PtxType) -> Array:
    """Absolute values as unsigned numbers."""
    return np.abs(x).view(BITS[type_.nbytes]) if type_.kind == "signed" else x


def quotient(a: Array, b: Array, type_: PtxType) -> Array:
    """Quotient towards zero; by zero, all bits set."""
    x, y = magnitude(a, type_), magnitude(b, type_)
    result = x // np.where(y == 0, y.dtype.type(1), y)
    if type_.kind == "signed":
        result = np.where((a < 0) != (b < 0), -result, result)
    return np.where(y == 0, ~y.dtype.type(0), result).view(type_.dtype)


def remainder(a: Array, b: Array, type_: PtxType) -> Array:
    """Remainder with the sign of the dividend; by zero, all bits set."""
    x, y = magnitude(a, type_), magnitude(b, type_)
    result = x % np.where(y == 0, y.dtype.type(1), y)
    if type_.kind == "signed":
        result = np.where(a < 0, -result, result)
    return np.where(y == 0, ~y.dtype.type(0), result).view(type_.dtype)


@opcode("rem")
def quotient_of(i: Instruction, d: Decoder) -> Step:
    """div, rem of integers."""
    type_ = i.integer()
    target, a, b = i.operands
    function = quotient if i.opcode == "div" else remainder
    slots = d.source(a, type_), d.source(b, type_)
    return compute(lambda a, b: function(np.asarray(a), np.asarray(b), type_), d.target(target, type_), *slots)


def extremum_of(i: Instruction, d: Decoder) -> Step:
    """min, max of integers."""
    if i.type().kind == "halves":
        return on_halves(np.minimum if i.opcode == "min" else np.maximum, i, d)
    type_ = i.integer()
    target, a, b = i.operands
    ufunc = np.minimum if i.opcode == "min" else np.maximum
    slots = d.source(a, type_), d.source(b, type_)
    if not i.has("relu"):
        return compute_into(ufunc, d.target(target, type_), *slots)
    return compute(lambda a, b: np.maximum(ufunc(a, b), 0), d.target(target, type_), *slots)


def sign_of(i: Instruction, d: Decoder) -> Step:
    """abs, neg of integers."""
    type_ = i.integer()
    target, a = i.operands
    ufunc = np.abs if i.opcode == "abs" else np.negative
    return compute_into(ufunc, d.target(target, type_), d.source(a, type_))


_COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip

COMPARISON_NAMES = (*_COMPARISONS, "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")


def comparison(name: str, type_: PtxType) -> Any:
    """The function of a comparison: floats may be ordered (``lt``) or not (``ltu``, true of nan)."""
    if not type_.is_float:
        if name not in _COMPARISONS:
            raise EmulatorError(f"has no comparison .{name} of integers")
        return _COMPARISONS[name]
    if name == "num":
        return lambda a, b: ~(np.isnan(a) | np.isnan(b))
    if name == "nan":
        return lambda a, b: np.isnan(a) | np.isnan(b)
    if name == "ne":
        return lambda a, b: (a < b) | (a > b)
    if name == "neu":
        return np.not_equal
    if name in {"equ", "ltu", "leu", "gtu", "geu"}:
        ordered = _COMPARISONS[name[:2]]
        return lambda a, b: ordered(a, b) | np.isnan(a) | np.isnan(b)
    return _COMPARISONS[name]


def signed_view(type_: PtxType) -> PtxType:
    """Untyped words compare as unsigned numbers."""
    return TYPES[f"u{type_.bits}"] if type_.kind == "bits" else type_


@opcode("dp4a")
def dot_product(i: Instruction, d: Decoder) -> Step:
    """``dp4a``: the dot product of four bytes each, plus an accumulator."""
    left, right = i.type(0), i.type(1)
    target, a, b, c = i.operands
    result = TYPES["s32" if "signed" in {left.kind, right.kind} else "u32"]
    slots = d.source(a, TYPES["u32"]), d.source(b, TYPES["u32"]), d.source(c, result)

    def octets(x: Array, type_: PtxType) -> Array:
        return np.atleast_1d(x).view(np.int8 if type_.kind == "signed" else np.uint8).reshape(-1, 4).astype(np.int64)

    def dotted(a: Array, b: Array, c: Array) -> Array:
        return ((octets(a, left) * octets(b, right)).sum(axis=1) + c).astype(result.dtype)

    return compute(dotted, d.target(target, result), *slots)


@opcode("sad")
def absolute_difference(i: Instruction, d: Decoder) -> Step:
    """``sad``: the absolute difference of two numbers, plus a third."""
    type_ = i.integer()
    target, a, b, c = i.operands
    slots = [d.source(operand, type_) for operand in (a, b, c)]

    def differing(a: Array, b: Array, c: Array) -> Array:
        return np.maximum(a, b) - np.minimum(a, b) + c

    return compute(differing, d.target(target, type_), *slots)
