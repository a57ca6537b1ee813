"""Threads together: a value combined over all threads of a warp or a block, and running combinations along them.

All threads of the group call these functions at once, and all get the same bits, whatever the order in time. A warp is
the 32 threads that run in step and trade values by shuffles; ``segment_...`` works on the ``width`` (a power of two)
neighbouring threads of a warp that this thread is among. Warps of a block trade values through ``parts``, an array in
shared memory with an element for each warp; every reduction of a kernel needs its own.

A sum over each row by a warp is::

    s = np.float32(0.0)
    for j in range(thread, 48, 32):
        s = s + x[48 * i + j]
    s = warp_sum(s)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import cuda as numba_cuda
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from graphad_kernels.cuda.combine import add, both, either, multiply
from graphad_kernels.numba_math import compiled
from graphad_kernels.scalar import maximum, minimum

cuda: Any = numba_cuda  # whose declarations are not those of the words that kernels use
WARP = 32
_intrinsic: Any = intrinsic
_WHOLE_WARP = 0xFFFFFFFF
_WORD, _LONG = ir.IntType(32), ir.IntType(64)

TEXTS: Final[dict[Any, Callable[..., Any]]] = {}
"""Functions whose text depends on the types of their arguments -> what gives the text for Numba's types."""


def _by_types(function: Any) -> Callable[[Any], Any]:
    def declare(text: Any) -> Any:
        TEXTS[function] = text
        return overload(function, strict=False)(text)

    return declare


# ---------------------------------------------------------------------------------------------------------------------
# Shuffles of values of any scalar type. (Numba's own are of four types, and do not say whether there was a thread.)


@_intrinsic
def _from_thread(_typing: Any, mask: Any, value: Any, lane: Any) -> Any:
    """The value of the thread number ``lane`` of the warp."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        mask, value, lane = args
        return _moved(builder, 0, mask, value, lane, ir.Constant(_WORD, WARP - 1))[0]

    return value(types.uint32, value, types.int32), generate


@_intrinsic
def _from_partner(_typing: Any, mask: Any, value: Any, distance: Any) -> Any:
    """The value of the thread whose number differs in the bit ``distance``."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        mask, value, distance = args
        return _moved(builder, 3, mask, value, distance, ir.Constant(_WORD, WARP - 1))[0]

    return value(types.uint32, value, types.int32), generate


@_intrinsic
def _from_below(_typing: Any, mask: Any, value: Any, distance: Any, width: Any) -> Any:
    """The value of the thread ``distance`` below, and whether there is one in this segment."""
    result = types.Tuple((value, types.boolean))

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        mask, value, distance, width = args
        clamp = builder.shl(builder.sub(ir.Constant(_WORD, WARP), width), ir.Constant(_WORD, 8))
        return context.make_tuple(builder, result, _moved(builder, 1, mask, value, distance, clamp))

    return result(types.uint32, value, types.int32, types.int32), generate


def _moved(builder: Any, mode: int, mask: Any, value: Any, where: Any, clamp: Any) -> tuple[Any, Any]:
    """What a shuffle finds, word by word, and whether there was anything to find."""
    kind = value.type
    real = isinstance(kind, (ir.FloatType, ir.DoubleType))
    bits = builder.bitcast(value, _WORD if isinstance(kind, ir.FloatType) else _LONG) if real else value
    signature = ir.FunctionType(ir.LiteralStructType((_WORD, ir.IntType(1))), (_WORD,) * 5)
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.nvvm.shfl.sync.i32")

    def exchange(word: Any) -> Any:
        return builder.call(function, (mask, ir.Constant(_WORD, mode), _resized(builder, word, _WORD), where, clamp))

    found = exchange(bits)
    moved = _resized(builder, builder.extract_value(found, 0), bits.type)
    if bits.type == _LONG:
        half = ir.Constant(_LONG, 32)
        high = builder.extract_value(exchange(builder.lshr(bits, half)), 0)
        moved = builder.or_(builder.shl(_resized(builder, high, _LONG), half), moved)
    return builder.bitcast(moved, kind) if real else moved, builder.extract_value(found, 1)


def _resized(builder: Any, value: Any, kind: Any) -> Any:
    if value.type == kind:
        return value
    return builder.zext(value, kind) if value.type.width < kind.width else builder.trunc(value, kind)


@_intrinsic
def _together(_typing: Any) -> Any:
    """Say that all threads call the function around at once: compilers may not copy calls of it into branches."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        builder.function.attributes.add("convergent")
        return context.get_dummy_value()

    return types.none(), generate


def value_of(value: Any, like: Any) -> Any:
    """A number as the type of another one: Numba widens small integers as it computes."""
    return type(like)(value)


@_by_types(value_of)
def _value_of(value: Any, like: Any) -> Any:
    kind = like
    return lambda value, like: kind(value)


@register_jitable
def segment_mask(width: Any) -> Any:
    """The bits of the threads of this thread's segment."""
    first = cuda.laneid - cuda.laneid % width
    return (_WHOLE_WARP >> (WARP - width)) << first


# ---------------------------------------------------------------------------------------------------------------------
# Combination of all values


def _reductions(combine: Callable[[Any, Any], Any]) -> tuple[Any, Any, Any]:
    """``segment(value, width)``, ``warp(value)`` and ``block(value, parts)``."""

    @register_jitable
    def segment(value: Any, width: Any) -> Any:
        _together()
        mask, distance = segment_mask(width), width // 2
        while distance > 0:
            value = value_of(combine(_from_partner(mask, value, distance), value), value)
            distance //= 2
        # of 0.0 and -0.0, threads may have taken either
        return _from_thread(mask, value, cuda.laneid - cuda.laneid % width)

    @register_jitable
    def warp(value: Any) -> Any:
        _together()
        return segment(value, WARP)

    @register_jitable
    def block(value: Any, parts: Any) -> Any:
        _together()
        total = segment(value, WARP)
        if cuda.laneid == 0:
            parts[cuda.threadIdx.x // WARP] = total
        cuda.syncthreads()
        total = value_of(parts[0], value)
        for k in range(1, parts.size):
            total = value_of(combine(parts[k], total), value)
        return total

    return segment, warp, block


# ---------------------------------------------------------------------------------------------------------------------
# Running combination along the threads


def _scans(combine: Callable[[Any, Any], Any]) -> tuple[Any, Any, Any]:
    """``segment(value, total, width)``, ``warp(value, total)`` and ``block(value, total, parts)``.

    Each returns what ``total``, which came before, becomes up to this thread without and with its ``value``, and after
    the last thread.
    """

    @register_jitable
    def along(value: Any, mask: Any, width: Any) -> Any:
        _together()
        distance = 1
        while distance < width:
            before, is_there = _from_below(mask, value, distance, width)
            if is_there:
                value = value_of(combine(value, before), value)
            distance *= 2
        return value

    @register_jitable
    def shifted(upto: Any, total: Any, mask: Any, width: Any) -> Any:
        _together()
        earlier, is_there = _from_below(mask, upto, 1, width)
        return value_of(combine(earlier, total), upto) if is_there else total

    @register_jitable
    def segment(value: Any, total: Any, width: Any) -> Any:
        _together()
        mask, last = segment_mask(width), cuda.laneid - cuda.laneid % width + width - 1
        upto = along(value, mask, width)
        before, whole = shifted(upto, total, mask, width), _from_thread(mask, upto, last)
        return before, value_of(combine(upto, total), value), value_of(combine(whole, total), value)

    @register_jitable
    def warp(value: Any, total: Any) -> Any:
        _together()
        return segment(value, total, WARP)

    @register_jitable
    def block(value: Any, total: Any, parts: Any) -> Any:
        _together()
        this = cuda.threadIdx.x // WARP
        upto = along(value, _WHOLE_WARP, WARP)
        if cuda.laneid == WARP - 1:
            parts[this] = upto
        cuda.syncthreads()
        start = total
        for k in range(parts.size):
            total = value_of(combine(parts[k], total), value)
            if k < this:
                start = total
        cuda.syncthreads()  # before the next round writes
        return shifted(upto, start, _WHOLE_WARP, WARP), value_of(combine(upto, start), value), total

    return segment, warp, block


def _recurrence_scans() -> tuple[Any, Any, Any]:
    """As `_scans`, for ``decay * total + value``: each thread has a ``decay`` besides its ``value``.

    A part is a pair: what some neighbouring threads make of ``total`` is ``decay * total + value``, whatever that is.
    """

    @register_jitable
    def along(decay: Any, value: Any, mask: Any, width: Any) -> Any:
        _together()
        value = value_of(decay * value_of(0, decay) + value, value)  # nan, if the decay is infinite
        decay, distance = bounded(decay), 1
        while distance < width:
            factor, is_there = _from_below(mask, decay, distance, width)
            before, _ = _from_below(mask, value, distance, width)
            if is_there:
                value = value_of(decay * before + value, value)
                decay = bounded(value_of(decay * factor, decay))
            distance *= 2
        return decay, value

    @register_jitable
    def shifted(decay: Any, value: Any, total: Any, mask: Any, width: Any) -> Any:
        _together()
        factor, is_there = _from_below(mask, decay, 1, width)
        before, _ = _from_below(mask, value, 1, width)
        return value_of(factor * total + before, value) if is_there else total

    @register_jitable
    def segment(decay: Any, value: Any, total: Any, width: Any) -> Any:
        _together()
        mask, last = segment_mask(width), cuda.laneid - cuda.laneid % width + width - 1
        decay, upto = along(decay, value, mask, width)
        before = shifted(decay, upto, total, mask, width)
        whole = value_of(_from_thread(mask, decay, last) * total + _from_thread(mask, upto, last), value)
        return before, value_of(decay * total + upto, value), whole

    @register_jitable
    def warp(decay: Any, value: Any, total: Any) -> Any:
        _together()
        return segment(decay, value, total, WARP)

    @register_jitable
    def block(decay: Any, value: Any, total: Any, decays: Any, parts: Any) -> Any:
        _together()
        this = cuda.threadIdx.x // WARP
        decay, upto = along(decay, value, _WHOLE_WARP, WARP)
        if cuda.laneid == WARP - 1:
            decays[this] = decay
            parts[this] = upto
        cuda.syncthreads()
        start = total
        for k in range(parts.size):
            total = value_of(decays[k] * total + parts[k], value)
            if k < this:
                start = total
        cuda.syncthreads()  # before the next round writes
        return shifted(decay, upto, start, _WHOLE_WARP, WARP), value_of(decay * start + upto, value), total

    return segment, warp, block


def bounded(decay: Any) -> Any:
    """A finite decay: a product that overflows must not make nan of a running value of 0."""
    return min(max(decay, -np.finfo(type(decay)).max), np.finfo(type(decay)).max)


@_by_types(bounded)
def _bounded(decay: Any) -> Any:
    if not isinstance(decay, types.Float):
        return lambda decay: decay
    most = np.finfo(np.float32 if decay == types.float32 else np.float64).max
    return lambda decay: min(max(decay, -most), most)


def _log_add_exp(a: Any, b: Any) -> Any:
    """``log(exp(a) + exp(b))`` without overflow."""
    return np.logaddexp(a, b)


@_by_types(_log_add_exp)
def _overload_log_add_exp(a: Any, b: Any) -> Any:
    dtype = "f32" if a == types.float32 else "f64"
    exp, log1p = compiled("exp", dtype), compiled("log1p", dtype)

    def combined(a: Any, b: Any) -> Any:
        difference = b - a
        if difference == difference:
            return maximum(b, a) + log1p(exp(-abs(difference)))
        return b + a  # both are the same infinity, or one is nan

    return combined


segment_sum, warp_sum, block_sum = _reductions(add)
segment_prod, warp_prod, block_prod = _reductions(multiply)
segment_max, warp_max, block_max = _reductions(maximum)
segment_min, warp_min, block_min = _reductions(minimum)
segment_and, warp_and, block_and = _reductions(both)
segment_or, warp_or, block_or = _reductions(either)

segment_scan_sum, warp_scan_sum, block_scan_sum = _scans(add)
segment_scan_prod, warp_scan_prod, block_scan_prod = _scans(multiply)
segment_scan_max, warp_scan_max, block_scan_max = _scans(maximum)
segment_scan_min, warp_scan_min, block_scan_min = _scans(minimum)
segment_scan_and, warp_scan_and, block_scan_and = _scans(both)
segment_scan_or, warp_scan_or, block_scan_or = _scans(either)
segment_scan_logsumexp, warp_scan_logsumexp, block_scan_logsumexp = _scans(_log_add_exp)
segment_scan_linear, warp_scan_linear, block_scan_linear = _recurrence_scans()
