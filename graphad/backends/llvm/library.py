"""LLVM's shared library, as far as finished code needs it: which CPU this is, and loading object code.

`llvmlite.binding` takes several times as long to import as its library takes to load, and a program that was compiled
before needs two functions of it. They are called here by their C names, in versions of llvmlite where these are known;
in others llvmlite's own Python is used.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from graphad.backends.cache import key_of
from graphad.backends.sources import sources
from graphad.errors import LoweringError
from graphad.ir.forks import compiling

#: The versions of llvmlite whose C functions are as declared here.
KNOWN: Final = ("0.45.", "0.46.", "0.47.", "0.48.", "0.49.", "0.50.")
_OBJECT, _LIBRARY = 2, 3  # kinds of elements that are linked


@cache
def llvm_version() -> str:
    """That of llvmlite, for keys of what it has made."""
    with compiling:  # whoever imports may not be forked away from
        return importlib.import_module("llvmlite").__version__


@cache
def binding() -> Any:
    """llvmlite's binding, ready to generate code for this machine."""
    with compiling:
        binding = importlib.import_module("llvmlite.binding")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


class _Element(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_uint8), ("value", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class _Symbol(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("address", ctypes.c_uint64)]


_text, _pointer, _size = ctypes.POINTER(ctypes.c_char_p), ctypes.c_void_p, ctypes.c_size_t
_SIGNATURES: Final[Mapping[str, tuple[Any, ...]]] = {
    "InitializeNativeTarget": (ctypes.c_int,),
    "InitializeNativeAsmPrinter": (ctypes.c_int,),
    "GetHostCPUName": (None, _text),
    "GetHostCPUFeatures": (ctypes.c_int, _text),
    "DisposeString": (None, _pointer),
    "CreateLLJITCompiler": (_pointer, _pointer, ctypes.c_bool, ctypes.c_bool, _text),
    "LLJIT_Link": (_pointer, _pointer, ctypes.c_char_p, *[_pointer, _size] * 3, _text),
    "LLJIT_Dylib_Tracker_Dispose": (ctypes.c_bool, _pointer, _text),
}


@cache
def _functions() -> Mapping[str, Any] | None:
    """The C functions by name; None if this version of llvmlite is not known to have them.

    They are called with the GIL held, so that a fork finds no thread within them.
    """
    if not llvm_version().startswith(KNOWN):
        return None
    found = importlib.util.find_spec("llvmlite")
    if found is None or not found.submodule_search_locations:
        return None
    name = importlib.import_module("llvmlite.utils").get_library_name()
    try:
        library = ctypes.PyDLL(os.path.join(found.submodule_search_locations[0], "binding", name))
        functions = {name: getattr(library, f"LLVMPY_{name}") for name in _SIGNATURES}
    except (OSError, AttributeError):  # another layout
        return None
    for name, (result, *arguments) in _SIGNATURES.items():
        functions[name].restype, functions[name].argtypes = result, arguments
    functions["InitializeNativeTarget"]()
    functions["InitializeNativeAsmPrinter"]()
    return functions


def _text_of(functions: Mapping[str, Any], fill: Any, *arguments: Any) -> tuple[Any, str]:
    """What a function gives that also writes a string, and the string."""
    text = ctypes.c_char_p()
    result = fill(*arguments, ctypes.byref(text))
    said = (text.value or b"").decode("utf-8", "replace")
    if text:
        functions["DisposeString"](text)
    return result, said


# ---------------------------------------------------------------------------------------------------------------------
# The machine


class Host(NamedTuple):
    """What code is generated for.

    ``vector_bytes`` is the size of a native vector, ``fma`` whether there are fused multiply-add instructions, ``x86``
    whether denormals are flushed through MXCSR.
    """

    cpu: str
    features: str
    vector_bytes: int
    fma: bool
    x86: bool


@cache
def host() -> Host:
    """The machine this process runs on.

    ``GRAPHAD_CPU`` names another CPU (``generic``: what every machine of the architecture has),
    ``GRAPHAD_VECTOR_BYTES`` (16, 32 or 64) another vector size.
    """
    cpu = os.environ.get("GRAPHAD_CPU")
    name, features = ("", "") if cpu else _this_cpu()
    return describe(cpu or name, features, os.environ.get("GRAPHAD_VECTOR_BYTES"))


def _this_cpu() -> tuple[str, str]:
    """LLVM's names of this CPU and its features."""
    functions = _functions()
    if functions is None:
        return binding().get_host_cpu_name(), binding().get_host_cpu_features().flatten()
    _, name = _text_of(functions, functions["GetHostCPUName"])
    _, features = _text_of(functions, functions["GetHostCPUFeatures"])
    return name, ",".join(sorted(filter(None, features.split(",")), key=lambda feature: feature[1:]))


def describe(cpu: str, features: str, vector_bytes: str | None = None) -> Host:
    """A `Host` of this architecture from LLVM's names of its CPU and features (``+avx2,-sse4a``)."""
    machine = platform.machine().lower()
    x86 = machine in ("x86_64", "amd64", "i686", "x86")
    present = set(features.split(","))
    if vector_bytes is None:
        size = 64 if "+avx512f" in present else 32 if "+avx2" in present else 16
    elif vector_bytes in ("16", "32", "64"):
        size = int(vector_bytes)
    else:
        raise ValueError(f"GRAPHAD_VECTOR_BYTES is {vector_bytes!r}; it may be 16, 32 or 64")
    return Host(cpu, features, size, "+fma" in present if x86 else machine in ("aarch64", "arm64"), x86)


def object_key(kind: str, *parts: str | bytes) -> str:
    """The key of code for this machine that depends on ``parts`` besides."""
    machine = map(str, host())
    return key_of(kind, sources(), llvm_version(), platform.machine(), sys.platform, *machine, *parts)


# ---------------------------------------------------------------------------------------------------------------------
# Linking


class Linked:
    """Object code in memory, and the addresses of what it exports; unloaded with this object."""

    __slots__ = ("_tracker", "addresses")
    _is_finalizing = staticmethod(sys.is_finalizing)  # at the end of the process the module has lost its names

    def __init__(self, tracker: Any, addresses: Mapping[str, int]) -> None:
        self._tracker = tracker
        self.addresses = dict(addresses)

    def __del__(self) -> None:
        # A number is a tracker of LLVM's; llvmlite's own tracker looks after itself.
        if not self._is_finalizing() and type(self._tracker) is int:
            functions = _functions()
            assert functions is not None, "it made the tracker"
            _text_of(functions, functions["LLJIT_Dylib_Tracker_Dispose"], self._tracker)


def link(code: bytes, exports: Sequence[str], imports: Mapping[str, int], name: str) -> Linked:
    """Load an object file; ``name`` is new to this process, and ``imports`` has what the process does not export.

    Raises
    ------
    RuntimeError
        LLVM's message, where the code is none, or lacks or exports too little.
    """
    functions = _functions()
    if functions is None:
        return _link_by_binding(code, exports, imports, name)
    elements = (_Element * 2)(_Element(_OBJECT, code, len(code)), _Element(_LIBRARY, b"", 0))
    wanted = (_Symbol * len(exports))(*[_Symbol(e.encode(), 0) for e in exports])
    given = (_Symbol * len(imports))(*[_Symbol(n.encode(), address) for n, address in imports.items()])
    tracker, error = _text_of(
        functions, functions["LLJIT_Link"], _jit(), name.encode(),
        elements, len(elements), given, len(given), wanted, len(wanted),
    )  # fmt: skip
    if not tracker:
        raise RuntimeError(error)
    return Linked(tracker, {symbol.name.decode(): symbol.address for symbol in wanted})


@cache
def _jit() -> Any:
    """The one LLJIT of this process, which stays to its end."""
    functions = _functions()
    if functions is None:
        return binding().create_lljit_compiler(suppress_errors=True)  # they arrive as exceptions
    jit, error = _text_of(functions, functions["CreateLLJITCompiler"], None, True, False)
    if not jit:
        raise LoweringError(f"LLVM cannot load code here: {error}")
    return jit


def _link_by_binding(code: bytes, exports: Sequence[str], imports: Mapping[str, int], name: str) -> Linked:
    builder = binding().JITLibraryBuilder().add_object_img(code).add_current_process()
    for symbol in exports:
        builder.export_symbol(symbol)
    for symbol, address in imports.items():
        builder.import_symbol(symbol, address)
    tracker = builder.link(_jit(), name)
    return Linked((tracker, _jit()), {symbol: tracker[symbol] for symbol in exports})
