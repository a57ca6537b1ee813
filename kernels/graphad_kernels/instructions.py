"""Instructions that Numba has no expression for, as LLVM's intrinsics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

HAS_FMA: Final[bool] = bool(llvm.get_host_cpu_features().get("fma")) or "aarch64" in llvm.get_default_triple()
"""Whether this CPU has fused multiply-adds."""

DEVICE: Final = "nvptx"
"""What the target triple of a GPU contains."""

# What NVIDIA's compiler takes from its library of exact functions, not knowing LLVM's intrinsic of that name.
_DEVICE_LIBRARY: Final = {"fabs", "rint", "floor", "ceil", "trunc", "copysign", "fmod"}

_instruction: Any = intrinsic


def call_instruction(builder: Any, name: str, arguments: Sequence[Any]) -> Any:
    """Call the LLVM intrinsic of that name, overloaded on the type of its operands."""
    kind = arguments[0].type
    signature = ir.FunctionType(kind, [kind] * len(arguments))
    if name in _DEVICE_LIBRARY and DEVICE in builder.module.triple:
        symbol = f"__nv_{name}" + "f" * isinstance(kind, ir.FloatType)
        function = cgutils.get_or_insert_function(builder.module, signature, symbol)
    else:
        function = builder.module.declare_intrinsic(f"llvm.{name}", [kind], signature)
    return builder.call(function, arguments)


def call_fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` rounded once where the machine can, else twice: a library's function would take far longer."""
    fuses = HAS_FMA or DEVICE in builder.module.triple
    return call_instruction(builder, "fma" if fuses else "fmuladd", (a, b, c))


@_instruction
def fused(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    """`call_fused` of three numbers of one type."""
    return a(a, a, a), lambda _context, builder, _signature, args: call_fused(builder, *args)
