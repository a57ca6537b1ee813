"""Atomic updates that the machine has no instruction for, by compare-and-swap: `atomic` gives each as a function.

Numba's own ``cuda.atomic`` has sums, and the extremes and bits of integers, of 32 and 64 bits. (Its extremes of floats
pass over nan, ours give nan.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from graphad_kernels.cuda.combine import COMBINES
from graphad_kernels.scalar import bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16

_intrinsic: Any = intrinsic


@cache
def atomic(combine: str, dtype: str) -> Callable[[Any, Any, Any], None]:
    """``update(array, index, value)``, which makes ``array[index]`` the combination of itself and ``value``.

    The first element must lie at a multiple of four bytes; 16-bit floats are held as their bits.

    Parameters
    ----------
    combine
        One of sum, prod, max, min, and, or.
    dtype
        E.g. f32, bf16, i8, bool.
    """
    decode, encode = _HALVES.get(dtype) or _WORDS.get(dtype) or _integer(dtype)
    return _update(COMBINES[combine], decode, encode, 1 if dtype == "bool" else int(dtype.strip("bfiu")) // 8)


def _update(combine: Any, decode: Any, encode: Any, nbytes: int) -> Callable[[Any, Any, Any], None]:
    """Combine with what is thought to be there, until that is right: 0 at first, then what was found."""
    word: Any = np.uint64 if nbytes == 8 else np.uint32
    aligned, unused = (7, 0) if nbytes == 8 else (3, 32 - 8 * nbytes)

    @register_jitable
    def update(array: Any, index: Any, value: Any) -> None:
        byte = index * nbytes
        shift, mask = word(8 * (byte & aligned)), word(word(~word(0)) >> word(unused))
        thought = word(0)
        while True:
            new = word(encode(combine(value, decode(word((thought >> shift) & mask)))))
            wanted = word((thought & ~word(mask << shift)) | word((new & mask) << shift))
            found = _swap(array, byte & ~aligned, thought, wanted)
            if found == thought:
                return
            thought = found

    return update


@_intrinsic
def _swap(_typing: Any, array: Any, byte: Any, old: Any, new: Any) -> Any:
    """What the word at this byte of the array is; where that is ``old`` it becomes ``new``, in one piece."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [args[1]])
        pointer = builder.bitcast(place, args[2].type.as_pointer())
        return builder.extract_value(builder.cmpxchg(pointer, args[2], args[3], "monotonic", "monotonic"), 0)

    return old(array, types.intp, old, old), generate


@register_jitable
def _f32_of(bits: Any) -> Any:
    return np.uint32(bits).view(np.float32)


@register_jitable
def _f32_bits(x: Any) -> Any:
    return np.float32(x).view(np.uint32)


@register_jitable
def _f64_of(bits: Any) -> Any:
    return np.uint64(bits).view(np.float64)


@register_jitable
def _f64_bits(x: Any) -> Any:
    return np.float64(x).view(np.uint64)


@register_jitable
def _as_it_is(bits: Any) -> Any:
    return bits


@register_jitable
def _is_set(bits: Any) -> Any:
    return bits != 0


def _integer(dtype: str) -> tuple[Any, Any]:
    kind: Any = getattr(np, f"{'u' * (dtype[0] == 'u')}int{dtype[1:]}")

    @register_jitable
    def decode(bits: Any) -> Any:
        return kind(bits)

    return decode, _as_it_is


_HALVES: Final = {"f16": (f16_to_f32, f32_to_f16), "bf16": (bf16_to_f32, f32_to_bf16)}
_WORDS: Final = {"f32": (_f32_of, _f32_bits), "f64": (_f64_of, _f64_bits), "bool": (_is_set, _as_it_is)}
