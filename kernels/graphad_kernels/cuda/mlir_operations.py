"""What functions of `graphad_kernels` call by declaration to Numba, for numba-cuda-mlir: `MEANINGS` has each.

The package (0.6) departs from Numba in places where our kernels would compute something else. Importing this module
corrects those that its extension interface reaches: ``!=`` of floats, which is false for nan; ``max`` and ``min`` of
unsigned integers, ``cuda.atomic``'s too, which compare signed ones; and ``view`` of scalars, which does not compile.
Its shuffles round float64 to float32: ours do not use them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np

from graphad_kernels import scalar
from graphad_kernels.cuda import atomic, group, rounding
from graphad_kernels.math import helpers

Value = Any  # of MLIR


def package_module(name: str) -> Any:
    """A module of numba-cuda-mlir."""
    return import_module(f"numba_cuda_mlir.{name}")


types: Any = package_module("types")
cuda: Any = package_module("cuda")
_extending: Any = package_module("extending")
_lowering: Any = package_module("lowering_utilities")
_ir: Any = package_module("_mlir.ir")
_arith: Any = package_module("_mlir.dialects.arith")
_func: Any = package_module("_mlir.dialects.func")
_llvm: Any = package_module("_mlir.dialects.llvm")
_nvvm: Any = package_module("_mlir.dialects.nvvm")


def _operation(kind: Callable[..., Any], build: Callable[..., Value]) -> Any:
    """A function of device code, by the type of its result for those of its arguments, and how it is built of values.

    ``build`` gets the package's builder and a value for each argument.
    """

    def definition(_typing: Any, *arguments: Any) -> Any:
        def generate(builder: Any, target: Any, args: Any, _keywords: Any) -> None:
            builder.store_var(target, build(builder, *builder.load_vars(args)))

        return kind(*arguments)(*arguments), generate

    return _extending.intrinsic(definition)


def _first(kind: Any, *_others: Any) -> Any:
    return kind


def _second(_first: Any, kind: Any, *_others: Any) -> Any:
    return kind


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


def _library(name: str) -> Callable[..., Value]:
    """A call of NVIDIA's library, which has exact functions under names like LLVM's."""

    def build(builder: Any, *operands: Value) -> Value:
        kind = operands[0].type
        signature = _ir.FunctionType.get([kind] * len(operands), [kind])
        symbol = f"__nv_{name}" + "f" * (kind == _ir.F32Type.get())
        function = _lowering.get_or_insert_function(symbol, signature, builder.mlir_gpu_module)
        return _func.call(result=[kind], callee=function.name.value, operands_=operands)

    return build


def _exact(name: str) -> Any:
    return _operation(_first, _library(name))


def _horner(builder: Any, x: Value, coefficients: tuple[Value, ...]) -> Value:
    value, *rest = coefficients
    for coefficient in rest:
        value = _library("fma")(builder, value, x, coefficient)
    return value


def _select(_builder: Any, condition: Value, a: Value, b: Value) -> Value:
    return _arith.select(condition, a, b)


def _bits_of(_builder: Any, x: Value) -> Value:
    return _llvm.bitcast(_integer(x.type.width), x)


def _f32_of(_builder: Any, bits: Value) -> Value:
    return _llvm.bitcast(_ir.F32Type.get(), _resized(bits, 32))


def _f64_of(_builder: Any, bits: Value) -> Value:
    return _llvm.bitcast(_ir.F64Type.get(), _resized(bits, 64))


def _integer(width: int) -> Any:
    return _ir.IntegerType.get_signless(width)


def _resized(value: Value, width: int) -> Value:
    """An integer with zeros before it, or without its upper bits."""
    if value.type.width == width:
        return value
    return (_arith.extui if value.type.width < width else _arith.trunci)(_integer(width), value)


def _word(value: int) -> Value:
    return _arith.constant(_integer(32), value)


# ---------------------------------------------------------------------------------------------------------------------
# Threads


def _shuffle(kind: str) -> Callable[..., Value]:
    """A value of another thread of the warp, word by word."""

    def build(_builder: Any, mask: Value, value: Value, where: Value, clamp: Value | None = None) -> Value:
        width, real = value.type.width, not isinstance(value.type, _ir.IntegerType)
        bits = _llvm.bitcast(_integer(width), value) if real else value
        clamp = _word(group.WARP - 1) if clamp is None else clamp
        mask, where, mode = _resized(mask, 32), _resized(where, 32), _nvvm.ShflKind[kind]

        def exchange(word: Value) -> Value:
            return _resized(_nvvm.shfl_sync(mask, _resized(word, 32), where, clamp, mode), width)

        moved = exchange(bits)
        if width == 64:
            half = _arith.constant(_integer(64), 32)
            moved = _arith.ori(_arith.shli(exchange(_arith.shrui(bits, half)), half), moved)
        return _llvm.bitcast(value.type, moved) if real else moved

    return build


def _from_below(builder: Any, mask: Value, value: Value, distance: Value, width: Value) -> Value:
    clamp = _arith.shli(_arith.subi(_word(group.WARP), _resized(width, 32)), _word(8))
    return _shuffle("up")(builder, mask, value, distance, clamp)


def _swap(_builder: Any, array: Value, byte: Value, old: Value, new: Value) -> Value:
    place = _lowering.llvm_ptr_add_bytes(_lowering.memref_data_pointer(array), byte)
    order = _llvm.AtomicOrdering.monotonic
    return _llvm.extractvalue(old.type, _llvm.cmpxchg(place, old, new, order, order), [0])


# ---------------------------------------------------------------------------------------------------------------------
# What is said in Python

_fma = _exact("fma")
_moved_up = _operation(_second, _from_below)


@cuda.jit(device=True)
def _two_product(a: Any, b: Any) -> Any:
    product = a * b
    return product, _fma(a, b, -product)


@cuda.jit(device=True)
def _patch(condition: Any, function: Any, x: Any, otherwise: Any) -> Any:
    return function(x) if condition else otherwise


@cuda.jit(device=True)
def _lookup(table: Any, index: Any) -> Any:
    return table[index]


@cuda.jit(device=True)
def _from_below_if_any(mask: Any, value: Any, distance: Any, width: Any) -> Any:
    return _moved_up(mask, value, distance, width), cuda.laneid % width >= distance


@cuda.jit(device=True)
def _nothing() -> None:
    """Calls are all inlined: there is nothing around the call that says `graphad_kernels.cuda.group._together`."""


def _conversion(kind: Any) -> Any:
    return cuda.jit(device=True)(lambda x: kind(x))


MEANINGS: Final[dict[Any, Any]] = {
    helpers.fma: _fma,
    scalar.fma: _fma,
    helpers.two_product: _two_product,
    helpers.horner: _operation(_first, _horner),
    helpers.sqrt: _exact("sqrt"),
    helpers.absolute: _exact("fabs"),
    helpers.copysign: _exact("copysign"),
    helpers.rint: _exact("rint"),
    helpers.select: _operation(_second, _select),
    helpers.patch: _patch,
    helpers.lookup: _lookup,
    helpers.bits: _operation(lambda x: types.int32 if x == types.float32 else types.int64, _bits_of),
    helpers.to_f32_bits: _operation(lambda _bits: types.float32, _f32_of),
    helpers.to_f64_bits: _operation(lambda _bits: types.float64, _f64_of),
    helpers.to_f32: _conversion(np.float32),
    helpers.to_f64: _conversion(np.float64),
    helpers.to_i32: _conversion(np.int32),
    helpers.to_u32: _conversion(np.uint32),
    **{getattr(rounding, name): _exact(name) for name in rounding.NAMES},
    group._from_thread: _operation(_second, _shuffle("idx")),
    group._from_partner: _operation(_second, _shuffle("bfly")),
    group._from_below: _from_below_if_any,
    group._together: _nothing,
    atomic._swap: _operation(lambda _array, _byte, old, _new: old, _swap),
}
"""Functions declared to Numba alone -> what they are to the package."""


# ---------------------------------------------------------------------------------------------------------------------
# Where the package departs from Numba


def _not_equal(builder: Any, target: Any, args: Any, _keywords: Any) -> None:
    a, b = builder.load_vars(args)
    kind = max([x.type for x in (a, b) if not isinstance(x.type, _ir.IntegerType)], key=lambda kind: kind.width)
    a, b = _lowering.convert(a, kind), _lowering.convert(b, kind)
    builder.store_var(target, _arith.cmpf(_arith.CmpFPredicate.UNE, a, b))


def _extreme(signed: Any, unsigned: Any) -> Callable[..., None]:
    def lower(builder: Any, target: Any, args: Any, _keywords: Any) -> None:
        kind = builder.get_numba_type(target.name)
        signs = [builder.get_numba_type(x.name).signed for x in args]
        wanted = builder.get_mlir_type(kind)
        values = [_lowering.convert(x, wanted, signed=s) for x, s in zip(builder.load_vars(args), signs, strict=True)]
        builder.store_var(target, (signed if kind.signed else unsigned)(*values))

    return lower


def _atomic_extreme(word: Any, unsigned: Any) -> Callable[..., None]:
    known = package_module("lowering.cuda")

    def lower(builder: Any, target: Any, args: Any, _keywords: Any) -> None:
        array, index, value = builder.load_vars(args)
        element, kind = array.type.element_type, builder.get_numba_type(args[0].name).dtype
        if not isinstance(kind, types.Integer) or kind.signed:
            known.cuda_atomic_cg(word, builder, target, array, [index], value)
            return
        place = known.memref_to_llvm_ptr(array, [_lowering.index_of(index)], element)
        value = _lowering.convert(value, element)
        builder.store_var(target, _llvm.atomicrmw(unsigned, place, value, _llvm.AtomicOrdering.monotonic))

    return lower


def _view(builder: Any, target: Any, args: Any, _keywords: Any) -> None:
    value, kind = builder.load_var(args[0]), builder.get_mlir_type(builder.get_numba_type(target.name))
    builder.store_var(target, value if value.type == kind else _llvm.bitcast(kind, value))


def _mend() -> None:
    lower, real, whole = _extending.lowering_registry.lower, types.Float, types.Integer
    for kinds in ((real, real), (real, whole), (whole, real)):
        lower(operator.ne, *kinds)(_not_equal)
    lower(max, whole, whole)(_extreme(_arith.maxsi, _arith.maxui))
    lower(min, whole, whole)(_extreme(_arith.minsi, _arith.minui))
    lower(cuda.atomic.max, types.Array, whole, whole)(_atomic_extreme(cuda.atomic.max, _llvm.AtomicBinOp.umax))
    lower(cuda.atomic.min, types.Array, whole, whole)(_atomic_extreme(cuda.atomic.min, _llvm.AtomicBinOp.umin))
    lower(package_module("numba_cuda.cpython.unsafe.numbers").viewer, types.Any, types.Any)(_view)
    for kind in (real, whole):
        lower((kind, "view"), types.VarArg(types.Any))(_view)
    package_module("descriptor").mlir_target.ensure_initialized()
    _extending.refresh_registries()


_mend()
