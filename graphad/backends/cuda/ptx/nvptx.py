"""PTX from LLVM text, through the NVPTX back end that llvmlite carries: neither a GPU nor a driver is needed.

llvmlite is imported here alone in this package, and only when something is compiled.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, Final

from graphad.backends.cache import key_of, object_cache
from graphad.backends.llvm.library import llvm_version
from graphad.errors import LoweringError

TRIPLE: Final = "nvptx64-nvidia-cuda"

PTX_VERSIONS: Final = {
    "sm_75": 81, "sm_80": 81, "sm_86": 81, "sm_87": 81, "sm_89": 81, "sm_90": 81,
    "sm_100": 86, "sm_103": 88, "sm_120": 87, "sm_121": 88,
}  # fmt: skip
"""Architectures that code is generated for, each with the version of PTX that is written for it.

Of those that know the architecture the first from 8.1 on, where kernels may take 32,764 bytes of parameters (until then
4,352: no more than 544 pointers).
"""

#: Part of the cache keys: to be changed with what is done to the text.
_FLAGS: Final = "speed_level=2 opt=3 no vectorizers"


@cache
def _llvm() -> Any:
    """llvmlite's binding, ready to generate code for NVIDIA's GPUs."""
    binding = importlib.import_module("llvmlite.binding")
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


def version_for(architecture: str) -> int:
    """The version of PTX to write, as ``80`` for 8.0; `LoweringError` for an unknown architecture."""
    version = PTX_VERSIONS.get(architecture)
    if version is None:
        known = ", ".join(PTX_VERSIONS)
        raise LoweringError(f"no code can be generated for {architecture!r}; architectures are {known}.")
    return version


@cache
def _target_machine(architecture: str) -> Any:
    features = f"+ptx{version_for(architecture)}"
    return _llvm().Target.from_triple(TRIPLE).create_target_machine(cpu=architecture, features=features, opt=3)


def compile_ptx(text: str, architecture: str) -> str:
    """PTX of an LLVM module.

    Parameters
    ----------
    text
        The module; triple and data layout are filled in.
    architecture
        One of `PTX_VERSIONS`.
    """
    machine = _target_machine(architecture)
    llvm = _llvm()
    try:
        # The data layout comes first: the parser takes from it the alignments that the text does not give.
        head = f'target datalayout = "{machine.target_data}"\ntarget triple = "{TRIPLE}"\n'
        module = llvm.parse_assembly(head + text, context=llvm.create_context())
        module.verify()
    except RuntimeError as error:
        raise LoweringError(f"LLVM rejects the text that was generated, which is a bug in graphad: {error}") from error
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_assembly(module)


def cached_ptx(text: str, architecture: str) -> str:
    """`compile_ptx` through the cache on disk."""
    key = key_of("ptx", llvm_version(), architecture, str(version_for(architecture)), _FLAGS, text)
    return object_cache().use(key, lambda: compile_ptx(text, architecture).encode(), bytes.decode)
