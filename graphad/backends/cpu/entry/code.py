"""Machine code of the entry: the C function behind every compiled program's Python callable.

In C it would begin ``PyObject *entry(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)``. It
is generated once per machine; what differs between programs is a `Spec`, whose address stands first in ``self``.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from graphad.backends.cpu.entry.memory import AVAILABLE, write_memory
from graphad.backends.cpu.entry.spec import ARENA_ALIGNMENT, FLUSH_BITS, FROM_NUMPY, SCALARS, InputRow, OutputRow, Spec
from graphad.backends.cpu.entry.writer import CodeWriter
from graphad.backends.outcome import INTERRUPTED

# struct PyObject and struct PyArrayObject_fields (numpy/ndarraytypes.h), both part of their ABI.
HEADER: Final = object.__basicsize__
_TYPE: Final = HEADER - 8
_DATA, _NDIM, _DIMS, _DESCR, _FLAGS = HEADER, HEADER + 8, HEADER + 16, HEADER + 40, HEADER + 48
_USABLE: Final = 0x0001 | 0x0100  # C-contiguous, aligned


def entry_text(x86: bool) -> str:
    """LLVM text of the entry; ``x86``: denormals can be flushed."""
    from llvmlite import ir

    module = ir.Module("graphad_entry")
    writer = CodeWriter(ir, module)
    accept = _write_accept(writer)
    hand_out = _write_hand_out(writer)
    run = _write_run(writer, x86)
    store = write_memory(writer) if AVAILABLE else None
    _write_entry(writer, accept, hand_out, run, store)
    # llvmlite's builder cannot call a plain pointer, so the function that does is written by hand.
    lines = [line for line in str(module).splitlines() if not line.startswith('declare i64 @"call_program"')]
    return "\n".join(lines) + _CALL_PROGRAM


_CALL_PROGRAM: Final = """
define internal i64 @call_program(ptr %program, ptr %table) {
  %status = call i64 %program(ptr %table)
  ret i64 %status
}
"""


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


def _write_accept(w: CodeWriter) -> Any:
    """``accept(object, row, spec, &data, &array, &scratch)``: check one argument, find its data and its array."""
    given, row, spec, place, holder, scratch = w.begin("accept", "i1 ptr ptr ptr ptr ptr ptr")
    builder, no = w.builder, w.number(0, 1)
    kind = w.load(w.at(given, _TYPE))
    chosen = builder.alloca(w.ptr)
    builder.store(given, chosen)
    boxed = w.same(kind, w.get(spec, Spec, "box_type"))
    with builder.if_else(boxed) as (then, otherwise):
        with then:
            mark = w.get(row, InputRow, "mark")
            held = w.load(w.at(given, w.get(spec, Spec, "mark_slot")))
            with builder.if_then(builder.not_(builder.or_(w.is_null(mark), w.same(mark, held)))):
                builder.ret(no)
            inner = w.load(w.at(given, w.get(spec, Spec, "value_slot")))
            with builder.if_then(w.is_null(inner)):  # an unset slot
                builder.ret(no)
            builder.store(inner, chosen)
        with otherwise:
            with builder.if_then(w.truth(w.get(row, InputRow, "scalar"))):
                _accept_number(w, given, kind, row, place, holder, scratch)
            with builder.if_then(builder.not_(w.truth(w.get(row, InputRow, "plain")))):
                builder.ret(no)
    array = w.load(chosen)
    with builder.if_then(builder.not_(w.same(w.load(w.at(array, _TYPE)), w.objects["PyArray_Type"]))):
        builder.ret(no)
    fits = w.same(w.load(w.at(array, _DESCR)), w.get(row, InputRow, "descr"))
    ndim = builder.sext(w.load(w.at(array, _NDIM), w.int32), w.word)
    fits = builder.and_(fits, w.same(ndim, w.get(row, InputRow, "ndim")))
    flags, usable = w.load(w.at(array, _FLAGS), w.int32), w.number(_USABLE, 32)
    fits = builder.and_(fits, w.same(builder.and_(flags, usable), usable))
    with builder.if_then(builder.not_(fits)):
        builder.ret(no)
    shape, wanted = w.load(w.at(array, _DIMS)), w.get(row, InputRow, "shape")
    with w.each(ndim) as i:
        equal = w.same(w.load(w.item(shape, i), w.word), w.load(w.item(wanted, i), w.word))
        with builder.if_then(builder.not_(equal)):
            builder.ret(no)
    builder.store(w.load(w.at(array, _DATA)), place)
    builder.store(array, holder)
    builder.ret(w.number(1, 1))
    return w.function


def _accept_number(w: CodeWriter, given: Any, kind: Any, row: Any, place: Any, holder: Any, scratch: Any) -> None:
    """Return true with the value of a Python number in ``scratch``, if it is one of the type asked for."""
    builder = w.builder
    code = w.get(row, InputRow, "scalar")

    def wanted(*names: str) -> Any:
        tests = [w.same(code, w.number(SCALARS[name])) for name in names]
        return tests[0] if len(tests) == 1 else builder.or_(*tests)

    def done(value: Any) -> None:
        builder.store(value, scratch)
        builder.store(scratch, place)
        builder.store(given, holder)
        builder.ret(w.number(1, 1))

    for name, others in (("PyFloat_Type", 0), ("PyDoubleArrType_Type", FROM_NUMPY)):
        narrow, wide = (w.same(code, w.number(SCALARS[f] + others)) for f in ("float32", "float64"))
        with builder.if_then(builder.and_(builder.or_(narrow, wide), w.same(kind, w.objects[name]))):
            value = w.call("PyFloat_AsDouble", given)
            with builder.if_then(wide):
                done(value)
            done(builder.fptrunc(value, w.ir.FloatType()))
    with builder.if_then(builder.and_(wanted("int32", "int64"), w.same(kind, w.objects["PyLong_Type"]))):
        value = w.call("PyLong_AsLongLong", given)
        with builder.if_then(builder.not_(w.is_null(w.call("PyErr_Occurred")))):
            w.call("PyErr_Clear")
            builder.ret(w.number(0, 1))
        with builder.if_then(wanted("int64")):
            done(value)
        narrow = builder.trunc(value, w.int32)
        with builder.if_then(w.same(builder.sext(narrow, w.word), value)):
            done(narrow)
    with builder.if_then(builder.and_(wanted("bool"), w.same(kind, w.objects["PyBool_Type"]))):
        done(builder.zext(w.same(given, w.objects["_Py_TrueStruct"]), w.ir.IntType(8)))


# ---------------------------------------------------------------------------------------------------------------------
# Results


def _write_hand_out(w: CodeWriter) -> Any:
    """``hand_out(array, row, spec)``: the array, or what holds it; takes over its reference; null after an error."""
    array, row, spec = w.begin("hand_out", "ptr ptr ptr ptr")
    builder = w.builder
    mark = w.get(row, OutputRow, "mark")
    with builder.if_then(builder.not_(w.is_null(mark))):
        box = w.call("PyType_GenericAlloc", w.get(spec, Spec, "box_type"), w.number(0))
        with builder.if_then(w.is_null(box)):
            w.call("Py_DecRef", array)
            builder.ret(w.null)
        w.call("Py_IncRef", mark)
        builder.store(mark, w.at(box, w.get(spec, Spec, "mark_slot")))
        builder.store(array, w.at(box, w.get(spec, Spec, "value_slot")))
        builder.ret(box)
    wrap = w.get(row, OutputRow, "wrap")
    with builder.if_then(w.is_null(wrap)):
        builder.ret(array)
    arguments = builder.alloca(w.ptr)
    builder.store(array, arguments)
    wrapped = w.call("PyObject_Vectorcall", wrap, arguments, w.number(1), w.null)
    w.call("Py_DecRef", array)
    builder.ret(wrapped)
    return w.function


# ---------------------------------------------------------------------------------------------------------------------
# The call


def _write_run(w: CodeWriter, x86: bool) -> Any:
    """``run(spec, table)``: call the program with denormals flushed and the GIL released, as the spec says."""
    spec, table = w.begin("run", "i64 ptr ptr")
    builder = w.builder
    program = w.get(spec, Spec, "program")
    saved, changed, thread = builder.alloca(w.int32), builder.alloca(w.int32), builder.alloca(w.ptr)
    flush = w.truth(w.get(spec, Spec, "flush_denormals"))
    release = w.truth(w.get(spec, Spec, "release_gil"))
    with builder.if_then(release):
        builder.store(w.call("PyEval_SaveThread"), thread)
    load_mode = w.declare("llvm.x86.sse.ldmxcsr", "void ptr") if x86 else None
    if x86:
        builder.call(w.declare("llvm.x86.sse.stmxcsr", "void ptr"), [saved])
        with builder.if_then(flush):
            builder.store(builder.or_(w.load(saved, w.int32), w.number(FLUSH_BITS, 32)), changed)
            builder.call(load_mode, [changed])
    status = builder.call(w.declare("call_program", "i64 ptr ptr"), [program, table])
    if x86:
        builder.call(load_mode, [saved])  # the sticky exception flags of before, too
    with builder.if_then(release):
        w.call("PyEval_RestoreThread", w.load(thread))
    builder.ret(status)
    return w.function


def _write_entry(w: CodeWriter, accept: Any, hand_out: Any, run: Any, store: tuple[Any, Any] | None) -> None:
    """The entry itself; ``store`` takes and gives blocks of memory."""
    owner, given, count, names = w.begin("graphad_entry", "ptr ptr ptr i64 ptr", internal=False)
    builder = w.builder
    spec = w.call("PyLong_AsVoidPtr", w.call("PyTuple_GetItem", owner, w.number(0)))
    inputs, outputs, extras = (w.get(spec, Spec, field) for field in ("inputs", "outputs", "extras"))
    arguments, wanted = (w.get(spec, Spec, field) for field in ("arguments", "results"))
    fixed = builder.add(inputs, outputs)
    table = builder.alloca(w.ptr, builder.add(builder.add(fixed, extras), w.number(1)))
    held, scratch = builder.alloca(w.ptr, inputs), builder.alloca(w.word, inputs)
    results = builder.alloca(w.ptr, outputs)
    slow = w.function.append_basic_block("slow")
    fast = w.function.append_basic_block("fast")
    builder.cbranch(builder.and_(w.same(count, arguments), w.is_null(names)), fast, slow)

    builder.position_at_end(slow)
    builder.ret(w.call("PyObject_Vectorcall", w.get(spec, Spec, "fallback"), given, count, names))

    builder.position_at_end(fast)
    rows = w.get(spec, Spec, "input_rows")
    with w.each(arguments) as i:
        handed = [w.load(w.item(given, i)), w.row(rows, i, InputRow), spec]
        handed += [w.item(place, i) for place in (table, held, scratch)]
        going_on = w.function.append_basic_block("accepted")
        builder.cbranch(builder.call(accept, handed), going_on, slow)
        builder.position_at_end(going_on)
    with w.each(builder.sub(inputs, arguments)) as k:
        i = builder.add(arguments, k)
        bound = w.get(w.row(rows, i, InputRow), InputRow, "bound")
        builder.store(bound, w.item(held, i))
        builder.store(w.load(w.at(bound, _DATA)), w.item(table, i))
    _allocate_results(w, spec, outputs, results, w.item(table, inputs))
    arena, mine = _take_arena(w, spec, results, outputs, store)
    builder.store(arena, w.item(table, fixed))
    pointers = w.get(spec, Spec, "extra_pointers")
    with w.each(extras) as i:
        place = w.item(table, builder.add(builder.add(fixed, w.number(1)), i))
        builder.store(w.load(w.item(pointers, i)), place)

    with w.each(inputs) as i:  # another thread may drop what this one computes with
        w.call("Py_IncRef", w.load(w.item(held, i)))
    status = builder.call(run, [spec, table])
    w.release_all(held, inputs)
    _give_arena_back(w, spec, mine, store)

    with builder.if_then(w.truth(status)):
        _report_guard(w, spec, status, given, count, results, outputs)
    w.release_all(w.item(results, wanted), builder.sub(outputs, wanted))
    rows = w.get(spec, Spec, "output_rows")
    with w.each(wanted) as i:
        made = builder.call(hand_out, [w.load(w.item(results, i)), w.row(rows, i, OutputRow), spec])
        builder.store(made, w.item(results, i))
        with builder.if_then(w.is_null(made)):
            w.release_all(results, i)
            after = builder.add(i, w.number(1))
            w.release_all(w.item(results, after), builder.sub(wanted, after))
            builder.ret(w.null)
    single = builder.and_(w.same(wanted, w.number(1)), w.truth(w.get(spec, Spec, "unpack")))
    with builder.if_then(single):
        builder.ret(w.load(results))
    builder.ret(_make_tuple(w, results, wanted))


def _allocate_results(w: CodeWriter, spec: Any, outputs: Any, results: Any, places: Any) -> None:
    """A fresh array per output in ``results``, its data in ``places``; returns null from the entry where one fails."""
    builder, zero = w.builder, w.number(0, 32)
    rows = w.get(spec, Spec, "output_rows")
    before = builder.alloca(w.ptr)
    with w.each(outputs) as i:
        row = w.row(rows, i, OutputRow)
        ndim, typenum = (builder.trunc(w.get(row, OutputRow, field), w.int32) for field in ("ndim", "typenum"))
        shape, kind = w.get(row, OutputRow, "shape"), w.objects["PyArray_Type"]
        with _large_memory(w, spec, row, before):
            made = w.call("PyArray_New", kind, ndim, shape, typenum, w.null, w.null, zero, zero, w.null)
            builder.store(made, w.item(results, i))
        made = w.load(w.item(results, i))
        with builder.if_then(w.is_null(made)):
            w.release_all(results, i)
            builder.ret(w.null)
        builder.store(w.load(w.at(made, _DATA)), w.item(places, i))


@contextmanager
def _large_memory(w: CodeWriter, spec: Any, row: Any, before: Any) -> Generator[None]:
    """NumPy's memory comes from the store meanwhile, if the row says so; ``before`` is a place for its own handler."""
    builder = w.builder
    large = w.truth(w.get(row, OutputRow, "large"))
    with builder.if_then(large, likely=False):
        builder.store(w.call("PyDataMem_SetHandler", w.get(spec, Spec, "handler")), before)
    yield
    with builder.if_then(large, likely=False):
        own = w.load(before)
        w.call("Py_DecRef", w.call("PyDataMem_SetHandler", own))
        w.call("Py_DecRef", own)


def _take_arena(w: CodeWriter, spec: Any, results: Any, outputs: Any, store: tuple[Any, Any] | None) -> tuple[Any, Any]:
    """A block of the store, or the spec's own arena if it is free, else a new one.

    And the block of memory to give back, null for the own one.
    """
    builder = w.builder
    place, block = builder.alloca(w.ptr), builder.alloca(w.ptr)
    builder.store(w.get(spec, Spec, "arena"), place)
    builder.store(w.null, block)
    size = w.get(spec, Spec, "arena_bytes")

    def refuse_null(memory: Any) -> None:
        with builder.if_then(w.is_null(memory)):
            w.release_all(results, outputs)
            builder.ret(w.call("PyErr_NoMemory"))

    with builder.if_else(w.is_null(w.load(place)), likely=False) as (large, small):
        with large:
            if store is not None:
                memory = builder.call(store[0], [w.get(spec, Spec, "store"), size])
                refuse_null(memory)
                builder.store(memory, block)
                builder.store(memory, place)
        with small:
            before = builder.atomic_rmw("xchg", w.at(spec, Spec.arena_taken.offset), w.number(1), "acquire")
            with builder.if_then(w.truth(before), likely=False):
                memory = w.call("PyMem_RawMalloc", builder.add(size, w.number(ARENA_ALIGNMENT)))
                refuse_null(memory)
                builder.store(memory, block)
                behind = builder.sub(w.number(0), builder.ptrtoint(memory, w.word))
                builder.store(w.at(memory, builder.and_(behind, w.number(ARENA_ALIGNMENT - 1))), place)
    return w.load(place), w.load(block)


def _give_arena_back(w: CodeWriter, spec: Any, block: Any, store: tuple[Any, Any] | None) -> None:
    builder = w.builder
    with builder.if_else(w.is_null(block)) as (own, other):
        with own:
            builder.atomic_rmw("xchg", w.at(spec, Spec.arena_taken.offset), w.number(0), "release")
        with other, builder.if_else(w.is_null(w.get(spec, Spec, "arena")), likely=False) as (large, small):
            with large:
                if store is not None:
                    builder.call(store[1], [w.get(spec, Spec, "store"), block, w.get(spec, Spec, "arena_bytes")])
            with small:
                w.call("PyMem_RawFree", block)


def _make_tuple(w: CodeWriter, objects: Any, count: Any) -> Any:
    """A tuple that takes over the references; returns null from the function where there is no memory for it."""
    made = w.call("PyTuple_New", count)
    with w.builder.if_then(w.is_null(made)):
        w.release_all(objects, count)
        w.builder.ret(w.null)
    with w.each(count) as i:
        w.call("PyTuple_SetItem", made, i, w.load(w.item(objects, i)))
    return made


def _report_guard(w: CodeWriter, spec: Any, status: Any, given: Any, count: Any, results: Any, outputs: Any) -> None:
    """Return ``on_guard(status, outputs, *args)`` from the entry, or the error of a handler of signals."""
    builder = w.builder
    with builder.if_then(w.same(status, w.number(INTERRUPTED))):
        w.release_all(results, outputs)
        builder.ret(w.null)
    outcome = _make_tuple(w, results, outputs)
    number = w.call("PyLong_FromLongLong", status)
    with builder.if_then(w.is_null(number)):
        w.call("Py_DecRef", outcome)
        builder.ret(w.null)
    arguments = builder.alloca(w.ptr, builder.add(count, w.number(2)))
    builder.store(number, arguments)
    builder.store(outcome, w.item(arguments, w.number(1)))
    with w.each(count) as i:
        builder.store(w.load(w.item(given, i)), w.item(arguments, builder.add(i, w.number(2))))
    total = builder.add(count, w.number(2))
    answer = w.call("PyObject_Vectorcall", w.get(spec, Spec, "on_guard"), arguments, total, w.null)
    w.call("Py_DecRef", number)
    w.call("Py_DecRef", outcome)
    builder.ret(answer)
