"""Instructions on the bits of words: logic, shifts, fields, permutations, counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.instructions.decoder import Decoder, Step
from graphad.backends.cuda.emulator.instructions.opcodes import compute, compute_into, opcode
from graphad.backends.cuda.emulator.ptx_types import BITS, TYPES
from graphad.backends.cuda.emulator.syntax import Instruction

Array = np.ndarray[Any, np.dtype[Any]]


@opcode("and", "or", "xor")
def logic(i: Instruction, d: Decoder) -> Step:
    """Bitwise, or of predicates."""
    type_ = i.integer(predicates=True)
    target, a, b = i.operands
    ufunc = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[i.opcode]
    slots = d.source(a, type_), d.source(b, type_)
    return compute_into(ufunc, d.target(target, type_), *slots)


@opcode("not")
def complement(i: Instruction, d: Decoder) -> Step:
    """Bitwise, or of a predicate."""
    type_ = i.integer(predicates=True)
    target, a = i.operands
    return compute_into(np.invert, d.target(target, type_), d.source(a, type_))


@opcode("cnot")
def logical_not(i: Instruction, d: Decoder) -> Step:
    """1 for 0, else 0."""
    type_ = i.integer()
    target, a = i.operands
    return compute(lambda a: a == 0, d.target(target, type_), d.source(a, type_))


@opcode("shl", "shr")
def shift(i: Instruction, d: Decoder) -> Step:
    """A clamping shift: by the width or more it gives zeros, or copies of the sign."""
    type_ = i.integer()
    target, a, b = i.operands
    slots = d.source(a, type_), d.source(b, TYPES["u32"])
    dtype, most = type_.dtype, type_.bits - 1
    ufunc = np.left_shift if i.opcode == "shl" else np.right_shift
    keeps_sign = type_.kind == "signed" and i.opcode == "shr"

    def shifted(a: Array, b: Array) -> Array:
        result = ufunc(a, np.minimum(b, most).astype(dtype))
        if keeps_sign or not np.any(b > most):
            return result
        return np.where(b > most, dtype.type(0), result)

    return compute(shifted, d.target(target, type_), *slots)


@opcode("shf")
def funnel_shift(i: Instruction, d: Decoder) -> Step:
    """Shift of two concatenated words: the upper word of a left shift, the lower of a right one."""
    word = i.integer()
    target, low, high, amount = i.operands
    slots = [d.source(operand, TYPES["u32"]) for operand in (low, high, amount)]
    left, wraps = i.one_of("l", "r") == "l", i.one_of("wrap", "clamp") == "wrap"

    def shifted(low: Array, high: Array, amount: Array) -> Array:
        count = (amount & np.uint32(31) if wraps else np.minimum(amount, 32)).astype(np.uint64)
        joined = np.left_shift(high, 32, dtype=np.uint64) | low
        if left:
            return ((joined << count) >> np.uint64(32)).astype(np.uint32)
        return (joined >> count).astype(np.uint32)

    return compute(shifted, d.target(target, TYPES[f"u{word.bits}"]), *slots)


def reverse_bits(x: Array) -> Array:
    """Bits from the last to the first."""
    octets = np.ascontiguousarray(np.atleast_1d(x)).view(np.uint8).reshape(-1, x.dtype.itemsize)[:, ::-1]
    bits = np.unpackbits(octets, axis=1)
    return np.packbits(bits[:, ::-1], axis=1)[:, ::-1].copy().view(x.dtype)[:, 0]


def highest_bit(x: Array) -> Array:
    """Position of the highest bit set, -1 where there is none."""
    bits = 8 * x.dtype.itemsize
    for distance in (1, 2, 4, 8, 16, 32):
        if distance < bits:
            x = x | (x >> x.dtype.type(distance))
    return np.bitwise_count(x).astype(np.int32) - 1


@opcode("popc")
def count_bits(i: Instruction, d: Decoder) -> Step:
    """Population count."""
    type_ = TYPES[f"u{i.integer().bits}"]
    target, a = i.operands
    return compute(np.bitwise_count, d.target(target, TYPES["u32"]), d.source(a, type_))


@opcode("clz")
def leading_zeros(i: Instruction, d: Decoder) -> Step:
    """Zeros above the highest bit set."""
    type_ = TYPES[f"u{i.integer().bits}"]
    target, a = i.operands
    most = type_.bits - 1
    return compute(lambda a: most - highest_bit(np.atleast_1d(a)), d.target(target, TYPES["s32"]), d.source(a, type_))


@opcode("brev")
def bit_reverse(i: Instruction, d: Decoder) -> Step:
    """Bits from the last to the first."""
    type_ = TYPES[f"u{i.integer().bits}"]
    target, a = i.operands
    return compute(reverse_bits, d.target(target, type_), d.source(a, type_))


@opcode("bfind")
def find_highest(i: Instruction, d: Decoder) -> Step:
    """Position of the highest bit that differs from the sign, or the shift that brings it to the top; -1 if none."""
    type_ = i.integer()
    target, a = i.operands
    as_shift, unsigned, most = i.has("shiftamt"), BITS[type_.nbytes], type_.bits - 1

    def found(a: Array) -> Array:
        x = np.atleast_1d(a)
        if type_.kind == "signed":
            x = np.where(x < 0, ~x, x)
        position = highest_bit(x.view(unsigned))
        return np.where((position >= 0) & as_shift, most - position, position).view(np.uint32)

    return compute(found, d.target(target, TYPES["u32"]), d.source(a, type_))


@opcode("bfe")
def extract_field(i: Instruction, d: Decoder) -> Step:
    """The field of c bits from position b, extended by zeros or by its sign."""
    type_ = i.integer()
    target, a, b, c = i.operands
    slots = d.source(a, type_), d.source(b, TYPES["u32"]), d.source(c, TYPES["u32"])
    width, dtype = type_.bits, type_.dtype

    def extracted(a: Array, b: Array, c: Array) -> Array:
        start, length = (b & np.uint32(0xFF)).astype(np.int64), (c & np.uint32(0xFF)).astype(np.int64)
        end = np.minimum(start + length, width)
        left, right = width - end, width - np.maximum(end - start, 0)
        shifted = np.left_shift(a, np.minimum(left, width - 1).astype(dtype))
        field = np.right_shift(shifted, np.minimum(right, width - 1).astype(dtype))
        if dtype.kind == "i":  # past the end of the word, bits are the sign
            field = np.where((start >= width) & (length > 0), np.right_shift(a, dtype.type(width - 1)), field)
            return np.where(length == 0, dtype.type(0), field)
        return np.where((length == 0) | (start >= width), dtype.type(0), field)

    return compute(extracted, d.target(target, type_), *slots)


@opcode("bfi")
def insert_field(i: Instruction, d: Decoder) -> Step:
    """The low d bits of a put into b from position c."""
    type_ = TYPES[f"u{i.integer().bits}"]
    target, a, b, c, length = i.operands
    slots = d.source(a, type_), d.source(b, type_), d.source(c, TYPES["u32"]), d.source(length, TYPES["u32"])
    width, dtype = type_.bits, type_.dtype

    def ones(count: Array) -> Array:
        full = ~dtype.type(0)
        return np.where(count >= width, full, ~np.left_shift(full, np.minimum(count, width - 1).astype(dtype)))

    def inserted(a: Array, b: Array, c: Array, length: Array) -> Array:
        start, end = c & np.uint32(0xFF), (c & np.uint32(0xFF)) + (length & np.uint32(0xFF))
        mask = ones(end) & ~ones(start)
        return (b & ~mask) | (np.left_shift(a, np.minimum(start, width - 1).astype(dtype)) & mask)

    return compute(inserted, d.target(target, type_), *slots)


@opcode("lop3")
def logic_of_three(i: Instruction, d: Decoder) -> Step:
    """Any logical function of three words: bit 4a+2b+c of the table is its value."""
    i.integer()
    target, a, b, c, table = i.operands
    slots = [d.source(operand, TYPES["u32"]) for operand in (a, b, c)]
    bits = int(table, 0)

    def looked_up(a: Array, b: Array, c: Array) -> Array:
        result = np.uint32(0) & a & b & c
        for row in range(8):
            if bits >> row & 1:
                term = (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
                result = result | term
        return result

    return compute(looked_up, d.target(target, TYPES["u32"]), *slots)


_PERMUTATIONS = {
    "f4e": [(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 6)],
    "b4e": [(0, 7, 6, 5), (1, 0, 7, 6), (2, 1, 0, 7), (3, 2, 1, 0)],
    "rc8": [(0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)],
    "ecl": [(0, 1, 2, 3), (1, 1, 2, 3), (2, 2, 2, 3), (3, 3, 3, 3)],
    "ecr": [(0, 0, 0, 0), (0, 1, 1, 1), (0, 1, 2, 2), (0, 1, 2, 3)],
    "rc16": [(0, 1, 0, 1), (2, 3, 2, 3), (0, 1, 0, 1), (2, 3, 2, 3)],
}


@opcode("prmt")
def permute(i: Instruction, d: Decoder) -> Step:
    """Four of the eight bytes of two words, each as it is or as its replicated sign."""
    i.integer()
    target, a, b, selector = i.operands
    slots = [d.source(operand, TYPES["u32"]) for operand in (a, b, selector)]
    mode = i.one_of(*_PERMUTATIONS)

    def permuted(a: Array, b: Array, selector: Array) -> Array:
        joined = np.atleast_1d(np.left_shift(b, 32, dtype=np.uint64) | a)
        if mode:
            choice = np.array(_PERMUTATIONS[mode], np.uint64)[np.atleast_1d(selector) & 3]
        else:
            shifts = np.array([0, 4, 8, 12], np.uint64)
            choice = (np.atleast_1d(selector).astype(np.uint64)[:, None] >> shifts) & np.uint64(0xF)
        octets = (joined[:, None] >> (np.uint64(8) * (choice & np.uint64(7)))).astype(np.uint8)
        signs = np.where(octets >> 7, np.uint8(0xFF), np.uint8(0))
        return np.where(choice & np.uint64(8), signs, octets).astype(np.uint8).view(np.uint32)[:, 0]

    return compute(permuted, d.target(target, TYPES["u32"]), *slots)
