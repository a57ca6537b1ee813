"""Machine code for this CPU: compiling LLVM text, and loading it.

llvmlite is imported here alone, and only when something is compiled or loaded.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from graphad.backends.cache import key_of, object_cache
from graphad.backends.llvm import mathlib
from graphad.errors import LoweringError
from graphad.ir.forks import compiling


class Host(NamedTuple):
    """The target machine of generated code.

    ``vector_bytes`` is the size of a native vector, ``fma`` whether there are fused multiply-add instructions, ``x86``
    whether denormals are flushed through MXCSR.
    """

    cpu: str
    features: str
    vector_bytes: int
    fma: bool
    x86: bool


@cache
def _llvm() -> Any:
    """llvmlite's binding, ready to generate code for this machine."""
    with compiling:  # no fork while llvmlite is being imported
        binding = importlib.import_module("llvmlite.binding")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


def llvm_version() -> str:
    """Part of the cache keys of what llvmlite has compiled."""
    with compiling:
        return importlib.import_module("llvmlite").__version__


@cache
def host() -> Host:
    """The machine this process runs on.

    ``GRAPHAD_CPU`` names another CPU (``generic``: the baseline of the architecture),
    ``GRAPHAD_VECTOR_BYTES`` (16, 32 or 64) another vector size.
    """
    llvm = _llvm()
    cpu = os.environ.get("GRAPHAD_CPU")
    features = "" if cpu else llvm.get_host_cpu_features().flatten()
    return describe(cpu or llvm.get_host_cpu_name(), features, os.environ.get("GRAPHAD_VECTOR_BYTES"))


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


# ---------------------------------------------------------------------------------------------------------------------
# Compiling


@cache
def _target_machine(target: Host, opt: int) -> Any:
    try:
        return (
            _llvm()
            .Target.from_default_triple()
            .create_target_machine(cpu=target.cpu, features=target.features, opt=opt, codemodel="jitdefault")
        )
    except RuntimeError as error:
        raise LoweringError(f"LLVM knows no CPU {target.cpu!r} ({error}); unset GRAPHAD_CPU") from error


def compile_object(text: str, opt: int = 1, *, optimize: bool = False, target: Host | None = None) -> bytes:
    """Object code of an LLVM module.

    Parameters
    ----------
    text
        The module. Explicit vector code needs no optimiser: it goes straight to the code generator.
    opt
        Optimisation level of the code generator, 0 to 3.
    optimize
        Run LLVM's pass pipeline first, for scalar code with small functions.
    target
        Other machine than `host`.
    """
    llvm = _llvm()
    machine = _target_machine(target or host(), opt)
    try:
        module = llvm.parse_assembly(text, context=llvm.create_context())
        module.triple, module.data_layout = machine.triple, str(machine.target_data)
        module.verify()
    except RuntimeError as error:
        raise LoweringError(f"LLVM rejects the text that was generated, which is a bug in graphad: {error}") from error
    if optimize:
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        llvm.create_pass_builder(machine, options).getModulePassManager().run(
            module, llvm.create_pass_builder(machine, options)
        )
    return machine.emit_object(module)


def assembly(text: str, opt: int = 1) -> str:
    """What `compile_object` would generate, as assembly to read."""
    llvm = _llvm()
    machine = _target_machine(host(), opt)
    module = llvm.parse_assembly(text, context=llvm.create_context())
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    return machine.emit_assembly(module)


def object_key(kind: str, *parts: str) -> str:
    """The cache key of object code for this machine, which also depends on ``parts``."""
    machine = host()
    return key_of(kind, llvm_version(), platform.machine(), machine.cpu, machine.features, sys.platform, *parts)


# ---------------------------------------------------------------------------------------------------------------------
# Loading


class Executable:
    """Loaded machine code. Its addresses are valid as long as this object lives: keep it with whatever calls them."""

    __slots__ = ("_jit", "_tracker", "addresses", "name")

    def __init__(self, name: str, addresses: Mapping[str, int], tracker: Any, jit: Any) -> None:
        self.name = name
        self.addresses = dict(addresses)
        self._tracker = tracker
        self._jit = jit  # must be disposed after the tracker

    @property
    def address(self) -> int:
        """Address of the function the code was loaded for."""
        return self.addresses[self.name]

    def __repr__(self) -> str:
        return f"<Executable {self.name} at {self.address:#x}>"


class _Loader:
    """The one LLJIT of this process, and the elementary functions it holds."""

    def __init__(self) -> None:
        self.jit = _llvm().create_lljit_compiler(suppress_errors=True)  # errors are raised as exceptions anyway
        self.math: dict[str, Executable] = {}
        self.count = 0

    def link(self, code: bytes, exports: Sequence[str], imports: Mapping[str, int]) -> Executable:
        builder = _llvm().JITLibraryBuilder().add_object_img(code).add_current_process()
        for name in exports:
            builder.export_symbol(name)
        for name, address in imports.items():
            builder.import_symbol(name, address)
        with compiling:
            self.count += 1
            try:
                tracker = builder.link(self.jit, f"{exports[0]}.{self.count}")
            except RuntimeError as error:
                raise LoweringError(f"cannot load {exports[0]}: {str(error).strip()}") from error
        return Executable(exports[0], {name: tracker[name] for name in exports}, tracker, self.jit)

    def link_text(self, text: str, entry: str, opt: int, imports: Mapping[str, int]) -> Executable:
        """Compile and link an LLVM module, through the cache on disk."""
        key = object_key("object", f"opt={opt}", text)
        return object_cache().use(
            key, lambda: compile_object(text, opt), lambda code: self.link(code, [entry], imports)
        )

    def math_addresses(self, symbols: Sequence[str]) -> dict[str, int]:
        """Addresses of elementary functions; each is compiled at its first use, and cached on disk."""
        with compiling:
            for symbol in symbols:
                if symbol not in self.math:
                    text = mathlib.definition(symbol, fma=host().fma)
                    imports = self.math_addresses(mathlib.symbols_in(text))
                    self.math[symbol] = self.link_text(text, symbol, 1, imports)
            return {symbol: self.math[symbol].address for symbol in symbols}


_loaders: list[_Loader] = []


def _loader() -> _Loader:
    with compiling:
        if not _loaders:
            _loaders.append(_Loader())
        return _loaders[0]


def load_object(code: bytes, exports: Sequence[str], imports: Mapping[str, int] | None = None) -> Executable:
    """Load object code; ``imports`` gives the addresses of symbols that the process does not have."""
    return _loader().link(code, exports, imports or {})


def load(text: str, entry: str, opt: int = 1, imports: Mapping[str, int] | None = None) -> Executable:
    """Compile (or take from the cache) and load an LLVM module that defines ``entry``.

    The elementary functions that it declares are linked in; other symbols come from ``imports`` or the process.

    Raises
    ------
    LoweringError
        If LLVM rejects the text, or a name it uses is found nowhere.
    """
    loader = _loader()
    names = {**loader.math_addresses(mathlib.symbols_in(text)), **(imports or {})}
    try:
        return loader.link_text(text, entry, opt, names)
    except LoweringError as error:
        declared = re.findall(r'^declare [^@]*@"?([\w.$]+)', text, re.MULTILINE)
        lookup = _llvm().address_of_symbol
        missing = [name for name in declared if name not in names and name[:5] != "llvm." and not lookup(name)]
        if missing:
            raise LoweringError(f"cannot load {entry}: it calls {', '.join(missing)}, found nowhere") from error
        raise
