"""The C face of the loopback: a shared library that programs take for NVIDIA's driver.

Its functions are written in Python and registered with `entry`. Around each, a C function is generated that takes the
GIL and keeps an exception that is on its way, for destructors call the driver too; it answers by itself once Python is
ending. Loaded beforehand under this name, the library is what a later ``dlopen("libcuda.so.1")`` finds, be it by
ctypes, by ``cuda.bindings`` or by ``cuda.core``.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import traceback
from pathlib import Path
from typing import NamedTuple

from tests.cuda.loopback.machine import NOT_FOUND, UNKNOWN, Failure, machine

NAME = "libcuda.so.1"
COMPILER = shutil.which("cc")

Int, UInt, U64, Size = ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_size_t
Handle = ctypes.c_void_p  # as an argument: an int, or None
Name = ctypes.c_char_p
_IN_C = {Int: "int", UInt: "unsigned", U64: "unsigned long long", Size: "size_t"}


class Entry(NamedTuple):
    """One function of the library."""

    name: str
    since: int  # the version of CUDA that brought this variant
    types: tuple[type, ...]
    call: object  # as a function of C

    @property
    def symbol(self):
        return f"{self.name}_{self.since}" if self.since else self.name


ENTRIES: list[Entry] = []


def To(kind):
    """A pointer to what a call fills."""
    return ctypes.POINTER(kind)


def entry(*types, since=0, context=True, safe=True):
    """Make a function of Python one of the driver's.

    Parameters
    ----------
    types
        Of its arguments.
    since
        Where there are several variants: the version that brought this one.
    context
        Whether a context must be current, and in order.
    safe
        Whether it may be called while this thread records a stream.
    """

    def register(function):
        def call(*arguments):
            with machine.lock:
                if function.__name__ != "cuGetProcAddress_v2":
                    machine.calls.append(function.__name__)
                try:
                    if context:
                        machine.gpu()
                    if not safe:
                        machine.safe()
                    function(*arguments)
                except Failure as failure:
                    return failure.code
                except Exception:  # noqa: BLE001 - there is a C program above
                    machine.accidents.append(traceback.format_exc())
                    return UNKNOWN
                return 0

        ENTRIES.append(Entry(function.__name__, since, types, ctypes.CFUNCTYPE(ctypes.c_int, *types)(call)))
        return function

    return register


_HEAD = """
#include <stddef.h>

extern int Py_IsInitialized(void);
extern int PyGILState_Ensure(void);
extern void PyGILState_Release(int state);
extern void PyErr_Fetch(void **type, void **value, void **traceback);
extern void PyErr_Restore(void *type, void *value, void *traceback);

#define SUCCESS 0
#define CALL(call)                          \\
    if (!Py_IsInitialized())                \\
        return SUCCESS;                     \\
    int state = PyGILState_Ensure();        \\
    void *type, *value, *traceback;         \\
    PyErr_Fetch(&type, &value, &traceback); \\
    int status = call;                      \\
    PyErr_Restore(type, value, traceback);  \\
    PyGILState_Release(state);              \\
    return status;
"""


def source() -> str:
    """The library in C."""
    text = [_HEAD, f"void *loopback[{len(ENTRIES)}];\n"]
    for k, e in enumerate(ENTRIES):
        types = [_IN_C.get(t, "void *") for t in e.types]
        parameters = ", ".join([f"{t} a{n}" for n, t in enumerate(types)])
        arguments = ", ".join([f"a{n}" for n in range(len(types))])
        call = f"((int (*)({', '.join(types)}))loopback[{k}])({arguments})"
        text.append(f"int {e.symbol}({parameters}) {{ CALL({call}) }}")
    return "\n".join(text) + "\n"


def load(folder: Path) -> None:
    """Compile the library into a folder and load it: from now on this process has a driver."""
    target, code = folder / NAME, folder / "libcuda.c"
    code.write_text(source())
    subprocess.run([COMPILER, "-shared", "-fPIC", f"-Wl,-soname,{NAME}", "-o", target, code], check=True)
    library = ctypes.CDLL(str(target), ctypes.RTLD_GLOBAL)
    pointers = (ctypes.c_void_p * len(ENTRIES)).in_dll(library, "loopback")
    for k, e in enumerate(ENTRIES):
        pointers[k] = ctypes.cast(e.call, Handle)
        addresses.setdefault(e.name, []).append((e.since, ctypes.cast(library[e.symbol], Handle).value))


#: Of each name the variants: since when, and where.
addresses: dict[str, list[tuple[int, int]]] = {}


def _look_up(symbol, function, version):
    fitting = [v for v in addresses.get(symbol.decode(), ()) if v[0] <= version]
    function[0] = max(fitting)[1] if fitting else None
    return bool(fitting)


@entry(Name, To(Handle), Int, U64, context=False)
def cuGetProcAddress(symbol, function, version, flags):
    if not _look_up(symbol, function, version):
        raise Failure(NOT_FOUND)


@entry(Name, To(Handle), Int, U64, To(Int), context=False)
def cuGetProcAddress_v2(symbol, function, version, flags, found):
    there = _look_up(symbol, function, version)
    if found:
        found[0] = 0 if there else 1
    if not there:
        raise Failure(NOT_FOUND)


@entry(Name, To(Handle), Int, U64, To(Int), since=12_000, context=False)
def cuGetProcAddress(symbol, function, version, flags, found):  # noqa: F811 - what it stands for since CUDA 12
    cuGetProcAddress_v2(symbol, function, version, flags, found)
