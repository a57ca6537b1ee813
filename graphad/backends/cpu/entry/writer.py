"""An IRBuilder with the few idioms that C code about Python objects needs, and the functions it may call."""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

FUNCTIONS: Final[dict[str, str]] = {
    "PyTuple_GetItem": "ptr ptr i64",
    "PyTuple_New": "ptr i64",
    "PyTuple_SetItem": "i32 ptr i64 ptr",
    "PyLong_AsVoidPtr": "ptr ptr",
    "PyLong_FromLongLong": "ptr i64",
    "PyLong_AsLongLong": "i64 ptr",
    "PyFloat_AsDouble": "double ptr",
    "PyErr_Occurred": "ptr",
    "PyErr_Clear": "void",
    "PyErr_NoMemory": "ptr",
    "PyObject_Vectorcall": "ptr ptr ptr i64 ptr",
    "PyType_GenericAlloc": "ptr ptr i64",
    "Py_IncRef": "void ptr",
    "Py_DecRef": "void ptr",
    "PyEval_SaveThread": "ptr",
    "PyEval_RestoreThread": "void ptr",
    "PyMem_RawMalloc": "ptr i64",
    "PyMem_RawFree": "void ptr",
    "PyArray_New": "ptr ptr i32 ptr i32 ptr ptr i32 i32 ptr",
    "PyDataMem_SetHandler": "ptr ptr",
}
"""The functions of Python and NumPy that the code calls: result and parameter types."""

OBJECTS: Final = (
    "PyArray_Type", "PyDoubleArrType_Type", "PyFloat_Type", "PyLong_Type", "PyBool_Type", "_Py_TrueStruct",
)  # fmt: skip
"""The objects whose addresses it compares with."""


class CodeWriter:
    """An IRBuilder and the few idioms that this file needs."""

    def __init__(self, ir: Any, module: Any) -> None:
        self.ir = ir
        self.module = module
        self.word, self.int32, self.bit, self.ptr = ir.IntType(64), ir.IntType(32), ir.IntType(1), ir.PointerType()
        self.types = {"i64": self.word, "i32": self.int32, "ptr": self.ptr, "double": ir.DoubleType()}
        self.types |= {"void": ir.VoidType(), "i1": self.bit, "i8": ir.IntType(8)}
        self.null = ir.Constant(self.ptr, None)
        self.functions = {name: self.declare(name, types) for name, types in FUNCTIONS.items()}
        self.objects = {name: ir.GlobalVariable(module, ir.IntType(8), name) for name in OBJECTS}
        self.builder: Any = None

    def declare(self, name: str, types: str) -> Any:
        result, *parameters = (self.types[t] for t in types.split())
        return self.ir.Function(self.module, self.ir.FunctionType(result, parameters), name)

    def begin(self, name: str, types: str, internal: bool = True) -> Sequence[Any]:
        """Start a function; the parameters."""
        function = self.declare(name, types)
        if internal:
            function.linkage = "internal"
        self.builder = self.ir.IRBuilder(function.append_basic_block("top"))
        return function.args

    @property
    def function(self) -> Any:
        return self.builder.function

    def number(self, value: int, bits: int = 64) -> Any:
        return self.ir.Constant(self.ir.IntType(bits), value)

    def call(self, name: str, *arguments: Any) -> Any:
        return self.builder.call(self.functions[name], arguments)

    def at(self, base: Any, offset: Any) -> Any:
        """``base`` plus an offset in bytes."""
        offset = self.number(offset) if isinstance(offset, int) else offset
        return self.builder.gep(base, [offset], source_etype=self.ir.IntType(8))

    def item(self, base: Any, index: Any) -> Any:
        """The place of word or pointer number ``index``."""
        return self.builder.gep(base, [index], source_etype=self.word)

    def row(self, base: Any, index: Any, structure: type[ctypes.Structure]) -> Any:
        """The place of element ``index`` of an array of structures."""
        return self.at(base, self.builder.mul(index, self.number(ctypes.sizeof(structure))))

    def load(self, place: Any, kind: Any = None) -> Any:
        return self.builder.load(place, typ=kind or self.ptr)

    def get(self, base: Any, structure: type[ctypes.Structure], field: str) -> Any:
        """A field of a structure, as the pointer or word that it is."""
        fields: Any = structure._fields_
        kind = self.ptr if dict(fields)[field] is ctypes.c_void_p else self.word
        return self.load(self.at(base, getattr(structure, field).offset), kind)

    def is_null(self, pointer: Any) -> Any:
        return self.builder.icmp_unsigned("==", pointer, self.null)

    def same(self, a: Any, b: Any) -> Any:
        return self.builder.icmp_unsigned("==", a, b)

    def truth(self, word: Any) -> Any:
        return self.builder.icmp_unsigned("!=", word, self.number(0))

    @contextmanager
    def each(self, count: Any) -> Generator[Any]:
        """A loop over 0..count-1; the body must fall through."""
        builder, before = self.builder, self.builder.block
        head, body, done = (self.function.append_basic_block(name) for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(self.word)
        index.add_incoming(self.number(0), before)
        builder.cbranch(builder.icmp_unsigned("<", index, count), body, done)
        builder.position_at_end(body)
        yield index
        index.add_incoming(builder.add(index, self.number(1)), builder.block)
        builder.branch(head)
        builder.position_at_end(done)

    def release_all(self, objects: Any, count: Any) -> None:
        """Drop one reference of each object."""
        with self.each(count) as i:
            self.call("Py_DecRef", self.load(self.item(objects, i)))
