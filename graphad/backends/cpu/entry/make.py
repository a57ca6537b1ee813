"""Compiled programs as Python callables: arrays in, fresh arrays out, about half a microsecond between.

`make_entry` gives a builtin function that checks its arguments, allocates the results, takes an arena, releases the
GIL, flushes denormals and calls the program, all in machine code (see `entry.code`). Whatever is not exactly as
expected is left to a Python fallback.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from graphad.backends.artifact import Artifact
from graphad.backends.boxes import Box, Input, Output
from graphad.backends.cpu.entry import code as entry_code
from graphad.backends.cpu.entry import memory
from graphad.backends.cpu.entry import writer as entry_writer
from graphad.backends.cpu.entry.spec import ARENA_ALIGNMENT, FROM_NUMPY, SCALARS, InputRow, OutputRow, Spec
from graphad.backends.llvm import loader
from graphad.backends.llvm.library import host, object_key
from graphad.config import config
from graphad.errors import EngineWarning, GraphadError, LoweringError
from graphad.ir.forks import compiling

_SYMBOL: Final = "graphad_entry"
_METH_FASTCALL_KEYWORDS: Final = 0x82
# Places in the table of NumPy's C API (numpy/__multiarray_api.h), part of its ABI.
_PYARRAY_TYPE, _PYARRAY_NEW, _SET_HANDLER = 2, 93, 304
_FROM_NUMPY: Final = {"PyArray_Type": _PYARRAY_TYPE, "PyArray_New": _PYARRAY_NEW, "PyDataMem_SetHandler": _SET_HANDLER}


@dataclass(frozen=True, slots=True)
class Program:
    """What an entry is made from.

    Attributes
    ----------
    address
        Of ``i64 program(ptr *table)``. The table holds pointers to the inputs, the outputs, the arena and the
        ``extras``; the result is 0, or the number of the guard that failed.
    fallback
        Gets the arguments of a call that does not fit.
    on_guard
        Gets ``(status, outputs, *args)`` where the status is not 0; outputs are plain arrays, in a tuple.
    flush_denormals
        Treat denormal numbers as zero while the program runs, where the CPU can (x86).
    results
        How many of the outputs, the first, are handed out; by default all.
    unpack
        Give a single result as itself, not in a tuple.
    keep
        What must live as long as the entry, the executable for one.
    """

    name: str
    address: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    fallback: Callable[..., Any]
    on_guard: Callable[..., Any] | None = None
    arena_bytes: int = 0
    extras: tuple[int, ...] = ()
    box: Box | None = None
    flush_denormals: bool = True
    release_gil: bool = True
    results: int | None = None
    unpack: bool = True
    keep: tuple[object, ...] = ()


def make_entry(program: Program) -> Callable[..., Any]:
    """A builtin function ``f(*arrays)`` that runs the program.

    Where machine code for the entry cannot be made, `call_through_ctypes` stands in, with a warning.
    """
    _check(program)
    try:
        with compiling:
            address = _entry().address
    except (LoweringError, OSError, AttributeError) as error:
        warnings.warn(
            f"the fast way into compiled code cannot be built here ({error}); calls go through ctypes, which takes "
            "some ten microseconds each and does not flush denormals",
            EngineWarning,
            stacklevel=2,
        )
        return call_through_ctypes(program)
    spec, kept = _spec(program)
    method = _MethodDef(program.name.encode(), address, _METH_FASTCALL_KEYWORDS, _signature_of(program).encode())
    # The function keeps its `self`, a tuple: the garbage collector sees through it to the fallback and what that holds.
    owner = (ctypes.addressof(spec), spec, method, kept, program)
    return _NEW_FUNCTION(ctypes.addressof(method), owner, None)


def call_through_ctypes(program: Program) -> Callable[..., Any]:
    """The callable of `make_entry` in Python: the same checks and results, slower, denormals not flushed."""
    _check(program)
    # It keeps the GIL, and raises what a handler of signals has raised.
    function = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(program.address)
    on_guard = program.on_guard or _unexpected_guard(program.name)

    bound = [x.bound for x in program.inputs if x.bound is not None]

    def call(*args: Any, **kwargs: Any) -> Any:
        arrays = [_accepted(program.box, row, x) for row, x in zip(program.inputs, args, strict=False)]
        if kwargs or len(args) + len(bound) != len(program.inputs) or any(array is None for array in arrays):
            return program.fallback(*args, **kwargs)
        arrays += bound
        outputs = [np.empty(row.shape, row.dtype) for row in program.outputs]
        arena = _Arena(program.arena_bytes)
        pointers = [array.ctypes.data for array in (*arrays, *outputs)]
        table = (ctypes.c_void_p * (len(pointers) + 1 + len(program.extras)))(*pointers, arena.address, *program.extras)
        status = function(ctypes.addressof(table))
        if status:
            return on_guard(status, tuple(outputs), *args)
        results = tuple(map(_handed_out, itertools.repeat(program.box), program.outputs, outputs[: program.results]))
        return results[0] if program.unpack and len(results) == 1 else results

    call.__name__ = program.name
    return call


def slot_offset(cls: type, slot: str) -> int:
    """Where instances of ``cls`` keep the slot, in bytes from their start.

    >>> class Pair:
    ...     __slots__ = ("left", "right")
    >>> slot_offset(Pair, "right") - slot_offset(Pair, "left") == ctypes.sizeof(ctypes.c_void_p)
    True
    """
    instance = object.__new__(cls)
    marker = object()
    cls.__dict__[slot].__set__(instance, marker)
    words = (ctypes.c_size_t * (cls.__basicsize__ // ctypes.sizeof(ctypes.c_size_t))).from_address(id(instance))
    return list(words).index(id(marker)) * ctypes.sizeof(ctypes.c_size_t)


# ---------------------------------------------------------------------------------------------------------------------
# The entry's code


class _MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


_NEW_FUNCTION: Final = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


@cache
def _entry() -> loader.Executable:
    """The entry, one for all programs. Call it under the lock: a second one made meanwhile would be unloaded in use."""
    if ctypes.sizeof(ctypes.c_void_p) != 8 or sys.implementation.name != "cpython":
        raise LoweringError("it is written for 64-bit CPython")
    addresses = {
        name: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
        for name in entry_writer.FUNCTIONS
        if name not in _FROM_NUMPY
    }
    addresses |= {
        "PyFloat_Type": id(float),
        "PyDoubleArrType_Type": id(np.float64),
        "PyLong_Type": id(int),
        "PyBool_Type": id(bool),
        "_Py_TrueStruct": id(True),
    }
    table = _numpy_api()
    addresses |= {name: table[place] for name, place in _FROM_NUMPY.items()}
    if table[_PYARRAY_TYPE] != id(np.ndarray):
        raise LoweringError("NumPy's C API is not as expected")
    return loader.find(object_key("entry", str(entry_code.HEADER)), _SYMBOL, _compile_entry, addresses)


def _compile_entry() -> Artifact:
    from graphad.backends.llvm import native  # late: what was found on disk needs none

    code = native.compile_object(entry_code.entry_text(host().x86), opt=2, optimize=True)
    return Artifact(code, _SYMBOL, memory.NAMES if memory.AVAILABLE else ())


def _numpy_api() -> Any:
    """NumPy's table of C functions."""
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    capsule = importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API
    return ctypes.cast(pointer_of(capsule, None), ctypes.POINTER(ctypes.c_void_p))


# ---------------------------------------------------------------------------------------------------------------------
# The spec of one program


@cache
def _store() -> tuple[memory.Store, Any]:
    """The store of this process, and the handler by which NumPy uses it."""
    with compiling:
        store = memory.Store()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_entry()))  # what an array is freed by stays as long as arrays may
        return store, memory.handler(_entry().addresses, store)


class _Arena:
    """Memory for temporaries; ``address`` is aligned."""

    def __init__(self, size: int) -> None:
        self.memory = np.empty(size + ARENA_ALIGNMENT, np.uint8)  # not touched, so not yet backed by pages
        self.address = -(-self.memory.ctypes.data // ARENA_ALIGNMENT) * ARENA_ALIGNMENT


def _spec(program: Program) -> tuple[Spec, tuple[object, ...]]:
    """The structure that the entry reads, and the objects it points to."""
    kept: list[object] = []

    def shape_of(shape: tuple[int, ...]) -> int:
        array = (ctypes.c_int64 * max(len(shape), 1))(*shape)
        kept.append(array)
        return ctypes.addressof(array)

    def reference(value: object) -> int | None:
        kept.append(value)
        return None if value is None else id(value)

    input_rows = (InputRow * max(len(program.inputs), 1))()
    for row, x in zip(input_rows, program.inputs, strict=False):
        row.descr, row.ndim, row.shape = reference(np.dtype(x.dtype)), len(x.shape), shape_of(x.shape)
        row.plain, row.mark = x.plain, reference(x.mark)
        row.scalar = SCALARS[np.dtype(x.dtype).name] + FROM_NUMPY * (x.scalar is np.float64) if x.scalar else 0
        row.bound = reference(x.bound)
    output_rows = (OutputRow * max(len(program.outputs), 1))()
    for row, y in zip(output_rows, program.outputs, strict=False):
        row.typenum, row.ndim, row.shape = np.dtype(y.dtype).num, len(y.shape), shape_of(y.shape)
        row.mark, row.wrap, row.large = reference(y.mark), reference(y.wrap), _is_large(y)
    extras = (ctypes.c_void_p * max(len(program.extras), 1))(*program.extras)
    from_store = memory.AVAILABLE and memory.LARGE <= program.arena_bytes <= config.kept_bytes
    arena = None if from_store else _Arena(program.arena_bytes)
    kept += [input_rows, output_rows, extras, arena]
    store, handler = _store() if from_store or any(map(_is_large, program.outputs)) else (None, None)
    if store is not None:
        store.limit = config.kept_bytes
    box = program.box
    spec = Spec(
        program=program.address,
        arguments=sum(x.bound is None for x in program.inputs),
        inputs=len(program.inputs),
        results=len(program.outputs) if program.results is None else program.results,
        outputs=len(program.outputs),
        input_rows=ctypes.addressof(input_rows),
        output_rows=ctypes.addressof(output_rows),
        arena_bytes=program.arena_bytes,
        arena=None if arena is None else arena.address,
        extras=len(program.extras),
        extra_pointers=ctypes.addressof(extras),
        flush_denormals=program.flush_denormals,
        release_gil=program.release_gil,
        unpack=program.unpack,
        fallback=reference(program.fallback),
        on_guard=reference(program.on_guard or _unexpected_guard(program.name)),
        box_type=None if box is None else reference(box.type),
        value_slot=0 if box is None else slot_offset(box.type, box.value_slot),
        mark_slot=0 if box is None else slot_offset(box.type, box.mark_slot),
        store=None if store is None else ctypes.addressof(store),
        handler=None if handler is None else id(handler),
    )
    return spec, tuple(kept)


def _is_large(output: Output) -> bool:
    """Whether its memory is a block of the store."""
    return memory.AVAILABLE and np.dtype(output.dtype).itemsize * math.prod(output.shape) >= memory.LARGE


def _check(program: Program) -> None:
    """Refuse what the machine code would not survive."""
    for row in itertools.chain(program.inputs, program.outputs):
        dtype = np.dtype(row.dtype)
        if not dtype.isnative or dtype.hasobject:
            raise LoweringError(f"{program.name}: a program cannot take or give arrays of {dtype}")
    for x in program.inputs:
        if x.scalar and (x.shape or np.dtype(x.dtype).name not in SCALARS):
            raise LoweringError(f"{program.name}: no Python number is a {x.dtype} of shape {x.shape}")
        if program.box is None and not x.plain:
            raise LoweringError(f"{program.name}: an argument that may be no array needs a box")
    if program.box is None and any(y.mark is not None for y in program.outputs):
        raise LoweringError(f"{program.name}: a marked result needs a box to come in")
    if not program.address:
        raise LoweringError(f"{program.name}: the address of the program is null")


def _unexpected_guard(name: str) -> Callable[..., Any]:
    def raise_error(status: int, _outputs: tuple[Any, ...], *_args: Any) -> Any:
        raise GraphadError(f"{name} left at guard {status}, and nothing is there to take over")

    return raise_error


def _signature_of(program: Program) -> str:
    """The docstring of an entry."""

    def texts(rows: Sequence[Input | Output]) -> str:
        return ", ".join(f"{np.dtype(row.dtype)}[{','.join(map(str, row.shape))}]" for row in rows)

    return f"{program.name}: ({texts(program.inputs)}) -> ({texts(program.outputs)}), a compiled program."


# ---------------------------------------------------------------------------------------------------------------------
# The same in Python


_NUMBERS: Final = {"float32": float, "float64": float, "int32": int, "int64": int, "bool": bool}


def _accepted(box: Box | None, row: Input, x: Any) -> Any:
    """The array of an argument, None if it does not fit."""
    dtype = np.dtype(row.dtype)
    if box is not None and type(x) is box.type:
        if row.mark is not None and getattr(x, box.mark_slot, None) is not row.mark:
            return None
        x = getattr(x, box.value_slot, None)
    elif row.scalar and type(x) is (np.float64 if row.scalar is np.float64 else _NUMBERS[dtype.name]):
        if type(x) is int and not np.iinfo(dtype).min <= x <= np.iinfo(dtype).max:
            return None
        with np.errstate(over="ignore"):
            return np.array(x, dtype)
    elif not row.plain:
        return None
    if type(x) is not np.ndarray or x.dtype is not dtype or x.shape != row.shape:
        return None
    return x if x.flags.c_contiguous and x.flags.aligned else None


def _handed_out(box: Box | None, row: Output, array: Any) -> Any:
    if row.mark is not None and box is not None:
        instance = object.__new__(box.type)
        object.__setattr__(instance, box.value_slot, array)
        object.__setattr__(instance, box.mark_slot, row.mark)
        return instance
    return array if row.wrap is None else row.wrap(array)
