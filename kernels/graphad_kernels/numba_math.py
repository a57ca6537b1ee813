"""The elementary functions for Numba: `compiled` gives each as an ``njit`` function.

Importing this module teaches Numba the helpers of `graphad_kernels.math`. Only code that compiles with Numba imports
it, as that takes a second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload, register_jitable

from graphad_kernels.instructions import HAS_FMA, call_fused, call_instruction, fused
from graphad_kernels.math import FUNCTIONS, MODULES, helpers

# No fast-math flag: the text of the functions says where a multiply-add is fused.
OPTIONS: Final[dict[str, Any]] = {"fastmath": False, "error_model": "numpy"}


@cache
def compiled(name: str, dtype: str) -> Callable[..., Any]:
    """The elementary function as an ``njit`` function of scalars, e.g. ``compiled("exp", "f32")``."""
    if (name, dtype) not in FUNCTIONS:
        known = sorted(d for n, d in FUNCTIONS if n == name)
        raise ValueError(f"there is no elementary function {name} for {dtype}; {name} exists for {known or 'no dtype'}")
    return njit(**OPTIONS)(FUNCTIONS[name, dtype])


# ---------------------------------------------------------------------------------------------------------------------
# Instructions that Numba has no expression for

_instruction: Any = intrinsic


@_instruction
def _horner(_typing: Any, x: Any, coefficients: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        point, packed = args
        value = builder.extract_value(packed, 0)
        for i in range(1, len(coefficients)):
            value = call_fused(builder, value, point, builder.extract_value(packed, i))
        return value

    return x(x, coefficients), generate


@_instruction
def _sqrt(_typing: Any, x: Any) -> Any:
    return x(x), lambda _context, builder, _signature, args: call_instruction(builder, "sqrt", args)


@_instruction
def _absolute(_typing: Any, x: Any) -> Any:
    return x(x), lambda _context, builder, _signature, args: call_instruction(builder, "fabs", args)


@_instruction
def _rint(_typing: Any, x: Any) -> Any:
    return x(x), lambda _context, builder, _signature, args: call_instruction(builder, "rint", args)


@_instruction
def _copysign(_typing: Any, x: Any, sign: Any) -> Any:
    return x(x, x), lambda _context, builder, _signature, args: call_instruction(builder, "copysign", args)


@_instruction
def _select(_typing: Any, condition: Any, a: Any, b: Any) -> Any:
    return a(types.boolean, a, a), lambda _context, builder, _signature, args: builder.select(*args)


@_instruction
def _from_bits(_typing: Any, i: Any, like: Any) -> Any:
    """The low bits of an integer as a number of the type of ``like``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real = context.get_value_type(signature.return_type)
        integer = ir.IntType(signature.return_type.bitwidth)
        value = args[0] if args[0].type == integer else builder.trunc(args[0], integer)
        return builder.bitcast(value, real)

    return like(i, like), generate


@_instruction
def _bits(_typing: Any, x: Any) -> Any:
    integer = types.int32 if x == types.float32 else types.int64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return integer(x), generate


# ---------------------------------------------------------------------------------------------------------------------
# What the helpers mean to Numba. The lambdas' parameters are those of the function around them, as Numba asks.

_overload: Any = overload
_f32, _f64 = types.float32, types.float64
_ZERO_F32, _ZERO_F64 = helpers.np.float32(0.0), helpers.np.float64(0.0)


def _means(helper: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    # strict=False: Numba would compare the annotations of parameters too
    return _overload(helper, jit_options=OPTIONS, strict=False)


@_means(helpers.fma)
def _overload_fma(a: Any, b: Any, c: Any) -> Any:
    return lambda a, b, c: fused(a, b, c)


@_means(helpers.two_product)
def _overload_two_product(a: Any, b: Any) -> Any:
    if not HAS_FMA:
        return helpers.two_product.__wrapped__  # pyright: ignore[reportFunctionMemberAccess]

    def exact(a: Any, b: Any) -> Any:
        product = a * b
        return product, fused(a, b, -product)

    return exact


@_means(helpers.horner)
def _overload_horner(x: Any, coefficients: Any) -> Any:
    return lambda x, coefficients: _horner(x, coefficients)


@_means(helpers.sqrt)
def _overload_sqrt(x: Any) -> Any:
    return lambda x: _sqrt(x)


@_means(helpers.absolute)
def _overload_absolute(x: Any) -> Any:
    return lambda x: _absolute(x)


@_means(helpers.rint)
def _overload_rint(x: Any) -> Any:
    return lambda x: _rint(x)


@_means(helpers.copysign)
def _overload_copysign(x: Any, sign: Any) -> Any:
    return lambda x, sign: _copysign(x, sign)


@_means(helpers.select)
def _overload_select(condition: Any, a: Any, b: Any) -> Any:
    return lambda condition, a, b: _select(condition, a, b)


@_means(helpers.patch)
def _overload_patch(condition: Any, function: Any, x: Any, otherwise: Any) -> Any:
    return lambda condition, function, x, otherwise: function(x) if condition else otherwise


@_means(helpers.lookup)
def _overload_lookup(table: Any, index: Any) -> Any:
    return lambda table, index: table[index]


@_means(helpers.bits)
def _overload_bits(x: Any) -> Any:
    return lambda x: _bits(x)


@_means(helpers.to_f32_bits)
def _overload_to_f32_bits(i: Any) -> Any:
    return lambda i: _from_bits(i, _ZERO_F32)


@_means(helpers.to_f64_bits)
def _overload_to_f64_bits(i: Any) -> Any:
    return lambda i: _from_bits(i, _ZERO_F64)


@_means(helpers.to_f32)
def _overload_to_f32(x: Any) -> Any:
    return lambda x: _f32(x)


@_means(helpers.to_f64)
def _overload_to_f64(x: Any) -> Any:
    return lambda x: _f64(x)


@_means(helpers.to_i32)
def _overload_to_i32(i: Any) -> Any:
    return lambda i: types.int32(i)


@_means(helpers.to_u32)
def _overload_to_u32(i: Any) -> Any:
    return lambda i: types.uint32(i)


def _register_bodies() -> None:
    """The functions of `graphad_kernels.math` may call each other in compiled code."""
    for module in MODULES:
        for function in vars(module).values():
            if getattr(function, "__module__", "") == module.__name__ and callable(function):
                register_jitable(**OPTIONS)(function)


_register_bodies()
