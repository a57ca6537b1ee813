"""Machine code for this CPU from LLVM text."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from graphad.backends.artifact import Artifact
from graphad.backends.llvm import mathlib
from graphad.backends.llvm.library import Host, binding, host
from graphad.errors import LoweringError


@cache
def _target_machine(target: Host, opt: int) -> Any:
    try:
        return (
            binding()
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
    llvm = binding()
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
    llvm = binding()
    machine = _target_machine(host(), opt)
    module = llvm.parse_assembly(text, context=llvm.create_context())
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    return machine.emit_assembly(module)


def finished(draft: Artifact, text: str, opt: int = 1) -> Artifact:
    """``draft`` with the code of an LLVM module that defines its symbol, and the functions that this calls."""
    return replace(draft, code=compile_object(text, opt), functions=tuple(mathlib.symbols_in(text)))


def elementary_function(symbol: str) -> Artifact:
    """The code of one of the functions of `mathlib`."""
    return finished(Artifact(b"", symbol), mathlib.definition(symbol, fma=host().fma))
