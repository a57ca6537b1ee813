"""Floating-point instructions.

``.approx`` and ``.full`` instructions are computed in double precision and rounded, so they are at least as accurate
as on the hardware; their special values are the hardware's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError
from graphad.backends.cuda.emulator.instructions import integers, rounding
from graphad.backends.cuda.emulator.instructions.decoder import Decoder, Step, Values
from graphad.backends.cuda.emulator.instructions.formats import FORMATS, flushing, lifted
from graphad.backends.cuda.emulator.instructions.opcodes import compute, compute_into, opcode
from graphad.backends.cuda.emulator.machine.threads import Threads
from graphad.backends.cuda.emulator.ptx_types import TYPES, PtxType
from graphad.backends.cuda.emulator.syntax import Instruction

Array = np.ndarray[Any, np.dtype[Any]]
Function = Callable[..., Array]


def finish(i: Instruction, d: Decoder, type_: PtxType, function: Function, sources: list[str]) -> Step:
    """The step that applies a function to registers, with ``.ftz``, ``.sat`` and ``.relu``."""
    flushes, saturates, clips = i.has("ftz"), i.has("sat"), i.has("relu")
    if (saturates or clips) and type_.kind in {"bfloat", "packed"}:
        raise EmulatorError("is not supported with .sat or .relu for this type")
    whole = _flushed(function, flushing(type_)) if flushes else function
    if saturates:
        whole = _followed(rounding.saturate, whole)
    if clips:
        whole = _followed(lambda x: np.maximum(x, 0), whole)
    slots = [d.source(source, type_) for source in sources]
    target = d.target(i.operands[0], type_)
    if isinstance(whole, np.ufunc):
        return compute_into(whole, target, *slots)
    return compute(whole, target, *slots)


def is_mixed(i: Instruction) -> bool:
    """Whether a mixed-precision sum has f32 results and narrower operands, as ``add.f32.f16``."""
    return i.opcode in {"add", "sub", "fma"} and sum(name in TYPES for name in i.modifiers) == 2


def finish_mixed(i: Instruction, d: Decoder, function: Function) -> Step:
    """The step of a function of f32 all of whose operands but the last are of a narrower type."""
    narrow, wide = i.type(1), i.type(0)
    load = FORMATS[narrow.name].load
    *sources, last = i.operands[1:]

    def whole(*operands: Array) -> Array:
        return function(*[load(operand).astype(np.float32) for operand in operands[:-1]], operands[-1])

    slots = [*[d.source(source, narrow) for source in sources], d.source(last, wide)]
    return compute(whole, d.target(i.operands[0], wide), *slots)


def _flushed(function: Function, flush: Function) -> Function:
    return lambda *operands: flush(function(*[flush(operand) for operand in operands]))


def _followed(last: Function, function: Function) -> Function:
    return lambda *operands: last(function(*operands))


_MODES = ("rn", "rz", "rm", "rp")


def rounding_mode(i: Instruction) -> str:
    """The rounding mode of an arithmetic instruction; by default to nearest."""
    return i.one_of(*_MODES, default="rn")


def _sum(a: Array, b: Array) -> tuple[Array, Array]:
    return rounding.two_sum(a, b)


def _product(a: Array, b: Array) -> tuple[Array, Array]:
    nearest = a * b
    return nearest, rounding.fma64(a, b, -nearest)


def _ratio(a: Array, b: Array) -> tuple[Array, Array]:
    nearest = a / b
    return nearest, rounding.fma64(-nearest, b, a) * np.sign(b)


def _root(a: Array) -> tuple[Array, Array]:
    nearest = np.sqrt(a)
    return nearest, rounding.fma64(-nearest, nearest, a)


_EXACT: dict[str, Callable[..., tuple[Array, Array]]] = {
    "add": _sum,
    "sub": lambda a, b: rounding.two_sum(a, -b),
    "mul": _product,
    "div": _ratio,
    "rcp": lambda a: _ratio(np.ones_like(a), a),
    "sqrt": _root,
}  # results rounded to nearest, and numbers with the signs of the rounding errors

_NEAREST: dict[str, Function] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "rcp": np.reciprocal,
    "sqrt": np.sqrt,
}


def rounded(name: str, type_: PtxType, mode: str) -> Function:
    """The arithmetic operation `name` on a type in a rounding mode."""
    nearest, exact = _NEAREST[name], _EXACT[name]
    if mode == "rn":
        if type_.kind == "float" and type_.name != "f16":
            return nearest
        return lifted(nearest, type_)
    if type_.name not in {"f32", "f64"}:
        raise EmulatorError(f"is not supported in the rounding mode .{mode} for this type")

    def in_mode(*operands: Array) -> Array:
        result, error = exact(*[np.atleast_1d(np.asarray(operand, np.float64)) for operand in operands])
        error = np.where(np.isfinite(result) & np.isfinite(error), error, 0.0)
        if type_.name == "f64":
            return rounding.directed(result, error, mode)
        bits = result.view(np.int64)  # rounded to odd first, then to single precision
        outward = (error > 0) == (result > 0)
        odd = np.where((error != 0) & (bits & 1 == 0), bits + np.where(outward, 1, -1), bits)
        return rounding.narrow(odd.view(np.float64), np.float32, mode)

    return in_mode


@opcode("add", "sub", "addc", "subc")
def add(i: Instruction, d: Decoder) -> Step:
    """Sum or difference."""
    if is_mixed(i):
        return finish_mixed(i, d, rounded(i.opcode, TYPES["f32"], rounding_mode(i)))
    type_ = i.type()
    if not type_.is_float:
        return integers.sum_of(i, d)
    return finish(i, d, type_, rounded(i.opcode, type_, rounding_mode(i)), i.operands[1:])


@opcode("mul", "mad", "madc", "fma")
def multiply(i: Instruction, d: Decoder) -> Step:
    """Product; ``mad`` of floats is ``fma``."""
    if is_mixed(i):
        return finish_mixed(i, d, fused(TYPES["f32"], rounding_mode(i)))
    type_ = i.type()
    if not type_.is_float:
        return integers.product_of(i, d)
    mode = rounding_mode(i)
    if i.opcode == "mul":
        return finish(i, d, type_, rounded("mul", type_, mode), i.operands[1:])
    _target, *sources = i.operands
    if len(sources) != 3 or not any(mode in i.modifiers for mode in _MODES):
        raise EmulatorError("needs three operands and a rounding mode")
    return finish(i, d, type_, fused(type_, mode), sources)


def fused(type_: PtxType, mode: str) -> Function:
    """Fused multiply-add on a type."""
    if mode != "rn":
        if type_.name != "f32":
            raise EmulatorError(f"is not supported in the rounding mode .{mode} for this type")
        return lambda a, b, c: rounding.narrow(rounding.odd_fma(a, b, c), np.float32, mode)
    if type_.name == "f32":
        return rounding.fma32
    if type_.name == "f64":
        return rounding.fma64
    if type_.name == "f32x2":
        return lifted(rounding.fma32, type_)
    return lifted(rounding.odd_fma, type_)


@opcode("div", "rcp", "sqrt")
def divide(i: Instruction, d: Decoder) -> Step:
    """Quotient, reciprocal, root; ``.approx`` and ``.full`` are computed as ``.rn``."""
    type_ = i.type()
    if not type_.is_float:
        if i.opcode != "div":
            raise EmulatorError("does not exist for integers")
        return integers.quotient_of(i, d)
    if not i.one_of("approx", "full", *_MODES):
        raise EmulatorError("needs .approx or a rounding mode")
    return finish(i, d, type_, rounded(i.opcode, type_, rounding_mode(i)), i.operands[1:])


def _sign_if_zero(function: Function, bitwise: Any) -> Function:
    """Minimum and maximum, with -0 less than +0."""

    def extremum(a: Array, b: Array) -> Array:
        result = function(a, b)
        word = np.dtype(f"u{result.dtype.itemsize}")
        zeros = (a == b) & (result == 0)
        if not np.any(zeros):
            return result
        return np.where(zeros, bitwise(a.view(word), b.view(word)).view(result.dtype), result)

    return extremum


@opcode("min", "max")
def extremum(i: Instruction, d: Decoder) -> Step:
    """Minimum and maximum: nan operands are ignored, unless with ``.NaN``; -0 is less than +0."""
    type_ = i.type()
    if not type_.is_float:
        return integers.extremum_of(i, d)
    if len(i.operands) != 3 or i.has("xorsign"):
        raise EmulatorError("is supported with two operands, without .xorsign.abs")
    takes_nan, least = i.has("NaN"), i.opcode == "min"
    ufunc = (np.minimum if takes_nan else np.fmin) if least else (np.maximum if takes_nan else np.fmax)
    function = _sign_if_zero(ufunc, np.bitwise_or if least else np.bitwise_and)
    if type_.name not in {"f32", "f64"}:
        function = lifted(function, type_)
    return finish(i, d, type_, function, i.operands[1:])


_SIGN_BITS = {"f16": 0x8000, "bf16": 0x8000, "f16x2": 0x80008000, "bf16x2": 0x80008000}


@opcode("abs", "neg")
def sign(i: Instruction, d: Decoder) -> Step:
    """Absolute value or negation, of nan too."""
    type_ = i.type()
    if not type_.is_float:
        return integers.sign_of(i, d)
    clears = i.opcode == "abs"
    if type_.name in _SIGN_BITS:
        i.has("ftz")
        word = TYPES[f"u{type_.bits}"]
        mask = word.dtype.type(_SIGN_BITS[type_.name])
        target, a = i.operands
        slots = d.target(target, word), d.source(a, word)
        return compute(lambda a: a & ~mask if clears else a ^ mask, *slots)
    return finish(i, d, type_, np.fabs if clears else np.negative, i.operands[1:])


@opcode("copysign")
def copy_sign(i: Instruction, d: Decoder) -> Step:
    """The second operand with the sign of the first."""
    type_ = i.type()
    return finish(i, d, type_, lambda a, b: np.copysign(b, a), i.operands[1:])


def _reciprocal_root(x: Array) -> Array:
    return 1.0 / np.sqrt(x)


_APPROXIMATE: dict[str, Function] = {
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "rsqrt": _reciprocal_root,
}


@opcode(*_APPROXIMATE)
def approximate(i: Instruction, d: Decoder) -> Step:
    """An elementary function."""
    type_ = i.type()
    if not i.has("approx"):
        raise EmulatorError("needs .approx")
    function = _APPROXIMATE[i.opcode]
    if type_.name == "f64":
        return finish(i, d, type_, function, i.operands[1:])
    if type_.name == "f32":

        def single(x: Array) -> Array:
            return function(np.asarray(x, np.float64)).astype(np.float32)

        return finish(i, d, type_, single, i.operands[1:])
    return finish(i, d, type_, lifted(function, type_), i.operands[1:])


@opcode("testp")
def test_property(i: Instruction, d: Decoder) -> Step:
    """``testp``: tests the class of a number."""
    type_ = i.type()
    least = np.finfo(type_.dtype).tiny
    tests: dict[str, Function] = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda x: ~np.isnan(x),
        "notanumber": np.isnan,
        "normal": lambda x: np.isfinite(x) & (np.abs(x) >= least),
        "subnormal": lambda x: (np.abs(x) < least) & (x != 0),
    }
    name = i.one_of(*tests)
    if not name:
        raise EmulatorError("tests a property that the emulator does not know")
    target, a = i.operands
    return compute(tests[name], d.target(target, TYPES["pred"]), d.source(a, type_))


@opcode("setp", "set")
def compare(i: Instruction, d: Decoder) -> Step:
    """A comparison into one or two predicates, combined with a third; ``set`` converts it to numbers."""
    type_ = integers.signed_view(i.type())
    flushes, combines = i.has("ftz"), i.one_of("and", "or", "xor")
    name = next((name for name in i.modifiers if name in integers.COMPARISON_NAMES), "")
    if not i.one_of(name):
        raise EmulatorError("needs a comparison, as .lt")
    function = integers.comparison(name, type_)
    if type_.kind == "packed":
        raise EmulatorError("does not compare packed numbers in the emulator")
    target, a, b, *third = i.operands
    if len(third) > 1 or bool(third) != bool(combines):
        raise EmulatorError("takes a third operand with .and, .or and .xor only")
    sources = [d.source(a, type_), d.source(b, type_)]
    condition = _predicate(d, third[0]) if third else None
    targets = _result_slots(i, d, target)
    merge = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}.get(combines)

    def step(values: Values, threads: Threads) -> None:
        a, b = (rounding.flush(values[s]) if flushes else values[s] for s in sources)
        if type_.kind == "bfloat":
            a, b = rounding.from_bfloat16(a), rounding.from_bfloat16(b)
        holds = function(a, b)
        for slot, true, false, negated in targets:
            result = ~holds if negated else holds
            if merge is not None and condition is not None:
                result = merge(result, condition(values, threads))
            values[slot][...] = np.where(result, true, false) if true is not None else result

    return step


def _predicate(d: Decoder, text: str) -> Callable[[Values, Threads], Any]:
    """A predicate operand, which may be negated."""
    slot = d.source(text.removeprefix("!"), TYPES["pred"])
    if text.startswith("!"):
        return lambda values, _: ~values[slot]
    return lambda values, _: values[slot]


def _result_slots(i: Instruction, d: Decoder, target: str) -> list[tuple[int, Any, Any, bool]]:
    """For each result: slot, values of true and false (None for predicates), and whether it is the negated one."""
    if i.opcode == "set":
        result = i.type(0)
        one = result.dtype.type(1) if result.is_float else result.dtype.type(-1 if result.kind == "signed" else 0)
        true = one if result.is_float or result.kind == "signed" else ~result.dtype.type(0)
        return [(d.target(target, result), true, result.dtype.type(0), False)]
    names = [name.strip() for name in target.split("|")]
    return [
        (d.target(name, TYPES["pred"]), None, None, bool(column)) for column, name in enumerate(names) if name != "_"
    ]
