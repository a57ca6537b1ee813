"""Memory for large results and temporaries: blocks on huge pages, kept when they are freed, for what comes next.

A page that the system hands out must be cleared first, at every call: that takes longer than most programs take to fill
it. So what is as large as `LARGE` comes from a *store*: a table of blocks that were freed, in the order of their age,
of which a request gets the youngest one of its size. Sizes are rounded so that neighbours share blocks. A new block
is asked for on huge pages, which take a fifth of the time to clear. The store keeps `config.kept_bytes` at
most, and gives the oldest back for newer ones.

NumPy asks for the memory of an array, and gives it back, through functions that every array remembers (NEP 49: Data
allocation strategies). Results of programs have those that are written here.

Whoever is at the table holds the GIL. Where Python has none, the word ``busy`` lets one thread in; the others do as if
there were no table.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Final

from graphad.backends.cpu.entry.writer import CodeWriter

_pointer, _word = ctypes.c_void_p, ctypes.c_int64

#: Bytes from which on results and temporaries come from the store.
LARGE: Final = 1 << 20
_HUGE_PAGE: Final = 1 << 21
_PLACES: Final = 128
_MADV_HUGEPAGE: Final = 14

#: What the code calls of the system, and of LLVM: result and parameter types.
_USABLE: Final = "malloc_size" if sys.platform == "darwin" else "malloc_usable_size"
_MOVE, _SET = "llvm.memmove.p0.p0.i64", "llvm.memset.p0.i64"
_SYSTEM: Final = {
    "posix_memalign": "i32 ptr i64 i64",
    "free": "void ptr",
    "realloc": "ptr ptr i64",
    _USABLE: "i64 ptr",
    _MOVE: "void ptr ptr i64 i1",
    _SET: "void ptr i8 i64 i1",
} | ({"madvise": "i32 ptr i64 i32"} if sys.platform == "linux" else {})

#: Whether this system has what the code calls.
AVAILABLE: Final = os.name == "posix"


class _Place(ctypes.Structure):
    _fields_ = [("block", _pointer), ("size", _word)]


class Store(ctypes.Structure):
    """The table: ``count`` blocks of ``kept`` bytes together, the oldest first."""

    _fields_ = [
        ("busy", _word),
        ("limit", _word),
        ("kept", _word),
        ("count", _word),
        ("places", _Place * _PLACES),
    ]


class _Allocator(ctypes.Structure):
    """NumPy's PyDataMemAllocator."""

    _fields_ = [(name, _pointer) for name in ("context", "malloc", "calloc", "realloc", "free")]


class _Handler(ctypes.Structure):
    """NumPy's PyDataMem_Handler."""

    _fields_ = [("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", _Allocator)]


#: The functions of the code: ``take(store, bytes)``, null where there is no memory; ``zeroed(store, count, bytes)``;
#: ``resized(store, block, bytes)``; ``give(store, block, bytes)``.
NAMES: Final = ("graphad_take", "graphad_zeroed", "graphad_resized", "graphad_give")


def handler(addresses: Any, store: Store) -> Any:
    """A capsule with NumPy's name for a handler; it and what it points to are never freed.

    An array may be the last object of the process that Python frees.
    """
    take, zeroed, resized, give = (addresses[name] for name in NAMES)
    allocator = _Allocator(ctypes.addressof(store), take, zeroed, resized, give)
    made = _Handler(b"graphad", 1, allocator)
    new = ctypes.PYFUNCTYPE(ctypes.py_object, _pointer, ctypes.c_char_p, _pointer)(("PyCapsule_New", ctypes.pythonapi))
    capsule = new(ctypes.addressof(made), b"mem_handler", None)
    for kept in (store, made, capsule):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    return capsule


# ---------------------------------------------------------------------------------------------------------------------
# Code


def write_memory(w: CodeWriter) -> tuple[Any, Any]:
    """The functions of `NAMES`; of them ``take`` and ``give``."""
    w.functions |= {name: w.declare(name, types) for name, types in _SYSTEM.items()}
    rounded = _write_rounded(w)
    take = _write_take(w, rounded)
    _write_zeroed(w, take)
    _write_resized(w)
    return take, _write_give(w, rounded)


def _write_rounded(w: CodeWriter) -> Any:
    """``rounded(bytes)``: the size of a block, in whole huge pages and in steps of at most an eighth."""
    (size,) = w.begin("rounded", "i64 i64")
    builder, page = w.builder, w.number(_HUGE_PAGE)
    zeros = builder.ctlz(builder.or_(size, w.number(1)), w.number(0, 1))
    eighth = builder.lshr(builder.shl(w.number(1), builder.sub(w.number(63), zeros)), w.number(3))
    step = builder.select(builder.icmp_unsigned(">", eighth, page), eighth, page)
    above = builder.add(size, builder.sub(step, w.number(1)))
    builder.ret(builder.and_(above, builder.sub(w.number(0), step)))
    return w.function


def _write_take(w: CodeWriter, rounded: Any) -> Any:
    store, size = w.begin(NAMES[0], "ptr ptr i64", internal=False)
    builder = w.builder
    found = builder.alloca(w.ptr)
    size = builder.call(rounded, [size])
    with builder.if_then(_entered(w, store)):
        count = w.get(store, Store, "count")
        with w.each(count) as i:
            k = builder.sub(builder.sub(count, i), w.number(1))
            place = _place(w, store, k)
            with builder.if_then(w.same(w.get(place, _Place, "size"), size)):
                block = w.get(place, _Place, "block")
                _remove(w, store, k)
                _leave(w, store)
                builder.ret(block)
        _leave(w, store)
    status = w.call("posix_memalign", found, w.number(_HUGE_PAGE), size)
    with builder.if_then(builder.icmp_signed("!=", status, w.number(0, 32))):
        builder.ret(w.null)
    block = w.load(found)
    if "madvise" in w.functions:  # an error means that there are no huge pages
        w.call("madvise", block, size, w.number(_MADV_HUGEPAGE, 32))
    builder.ret(block)
    return w.function


def _write_zeroed(w: CodeWriter, take: Any) -> None:
    store, count, each = w.begin(NAMES[1], "ptr ptr i64 i64", internal=False)
    builder = w.builder
    product = builder.umul_with_overflow(count, each)
    with builder.if_then(builder.extract_value(product, 1)):
        builder.ret(w.null)
    size = builder.extract_value(product, 0)
    block = builder.call(take, [store, size])
    with builder.if_then(builder.not_(w.is_null(block))):
        w.call(_SET, block, w.number(0, 8), size, w.number(0, 1))
    builder.ret(block)


def _write_resized(w: CodeWriter) -> None:
    """What is resized may be no block of the store any more; ``give`` sees to that."""
    _, block, size = w.begin(NAMES[2], "ptr ptr ptr i64", internal=False)
    w.builder.ret(w.call("realloc", block, size))


def _write_give(w: CodeWriter, rounded: Any) -> Any:
    store, block, size = w.begin(NAMES[3], "void ptr ptr i64", internal=False)
    builder = w.builder
    size = builder.call(rounded, [size])
    limit = w.get(store, Store, "limit")
    aligned = w.same(builder.and_(builder.ptrtoint(block, w.word), w.number(_HUGE_PAGE - 1)), w.number(0))
    whole = builder.icmp_unsigned(">=", w.call(_USABLE, block), size)
    fits = builder.icmp_unsigned("<=", size, limit)
    with (
        builder.if_then(builder.and_(builder.and_(aligned, whole), fits)),
        builder.if_then(_entered(w, store)),
    ):
        _make_room(w, store, builder.sub(limit, size))
        count = w.get(store, Store, "count")
        place = _place(w, store, count)
        builder.store(block, w.at(place, _Place.block.offset))
        builder.store(size, w.at(place, _Place.size.offset))
        _add(w, store, "count", w.number(1))
        _add(w, store, "kept", size)
        _leave(w, store)
        builder.ret_void()
    w.call("free", block)
    builder.ret_void()
    return w.function


def _make_room(w: CodeWriter, store: Any, rest: Any) -> None:
    """Free the oldest blocks until a place is free, and ``rest`` bytes at most are kept."""
    builder = w.builder
    test, body, done = (w.function.append_basic_block(name) for name in ("full", "drop", "room"))
    builder.branch(test)
    builder.position_at_end(test)
    full = w.same(w.get(store, Store, "count"), w.number(_PLACES))
    builder.cbranch(builder.or_(full, builder.icmp_signed(">", w.get(store, Store, "kept"), rest)), body, done)
    builder.position_at_end(body)
    oldest = w.get(_place(w, store, w.number(0)), _Place, "block")
    _remove(w, store, w.number(0))
    w.call("free", oldest)
    builder.branch(test)
    builder.position_at_end(done)


def _remove(w: CodeWriter, store: Any, k: Any) -> None:
    """Take place ``k`` out of the table."""
    builder = w.builder
    place, above = _place(w, store, k), _place(w, store, builder.add(k, w.number(1)))
    _add(w, store, "kept", builder.sub(w.number(0), w.get(place, _Place, "size")))
    _add(w, store, "count", w.number(-1))
    behind = builder.sub(w.get(store, Store, "count"), k)
    w.call(_MOVE, place, above, builder.mul(behind, w.number(ctypes.sizeof(_Place))), w.number(0, 1))


def _place(w: CodeWriter, store: Any, k: Any) -> Any:
    return w.row(w.at(store, Store.places.offset), k, _Place)


def _add(w: CodeWriter, store: Any, field: str, change: Any) -> None:
    w.builder.store(w.builder.add(w.get(store, Store, field), change), w.at(store, getattr(Store, field).offset))


def _entered(w: CodeWriter, store: Any) -> Any:
    """Whether nobody else is at the table."""
    before = w.builder.atomic_rmw("xchg", w.at(store, Store.busy.offset), w.number(1), "acquire")
    return w.same(before, w.number(0))


def _leave(w: CodeWriter, store: Any) -> None:
    w.builder.atomic_rmw("xchg", w.at(store, Store.busy.offset), w.number(0), "release")
