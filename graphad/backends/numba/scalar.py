"""The scalar operators as Python expressions, typed so that Numba and NumPy scalars compute the same.

Numba widens small integers as it computes, so every integer result is cast back to its type, which wraps it around.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from graphad.backends.loops.ir import is_half
from graphad.errors import LoweringError
from graphad.ir.lowering import COMPARISONS, ELEMENTARY
from graphad.ir.types import DTYPES, DType, Literal, b1, bf16, f16, f32, f64

_OPERATORS: Final = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^",
                     "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}  # fmt: skip
_FLOAT_CALLS: Final = {"sqrt": "np.sqrt", "floor": "np.floor", "ceil": "np.ceil", "round": "np.rint",
                       "trunc": "np.trunc", "copysign": "np.copysign", "rem": "np.fmod"}  # fmt: skip

#: What the source may import from ``graphad_kernels.scalar``.
HELPERS: Final = frozenset(
    {"fma", "maximum", "minimum", "quo", "rem", "unsigned_quo", "unsigned_rem", "shl", "lshr", "ashr", "to_odd"}
    | {"without_low_digits_i64", "without_low_digits_u64"}
    | {"popcount", "clz"}
    | {f"to_{d.name}" for d in DTYPES.values() if d.is_integer}
    | {text for name in ("f16", "bf16") for text in (f"round_{name}", f"{name}_to_f32", f"f32_to_{name}")}
)
#: Names of the elementary functions in the source.
FUNCTIONS: Final = frozenset({f"{name}_{dtype}" for name in ELEMENTARY for dtype in ("f32", "f64")} | {"threefry2x32"})


class Expressions:
    """Makes expressions; ``helpers`` and ``math`` collect what they call from `graphad_kernels`.

    ``helpers`` names functions of ``graphad_kernels.scalar``; ``math`` maps names to (function, dtype name).
    """

    def __init__(self) -> None:
        self.helpers: set[str] = set()
        self.math: dict[str, tuple[str, str]] = {}

    def helper(self, name: str, *args: str) -> str:
        """A call of ``graphad_kernels.scalar.name``."""
        self.helpers.add(name)
        return f"{name}({', '.join(args)})"

    def operator(self, op: str, dtype: DType, args: list[str], of: DType, by: Literal | None) -> str:
        """``op`` on ``args`` of dtype ``of``; ``by`` is the last of them if it is a literal."""
        if op in COMPARISONS:
            return f"{args[0]} {_OPERATORS[op]} {args[1]}"
        if op == "cast":
            return self.cast(args[0], of, dtype)
        if op == "bitcast":
            return self.bitcast(args[0], of, dtype)
        if op == "select":
            return f"{args[1]} if {args[0]} else {args[2]}"
        if op in ("pair0", "pair1"):
            return f"{args[0]}[{op[-1]}]"
        if op in ELEMENTARY:
            computed = f32 if is_half(dtype) else dtype
            name = op if op == "threefry2x32" else f"{op}_{computed.name}"
            self.math[name] = (op, computed.name)
            return self.rounded(f"{name}({', '.join(args)})", dtype)
        if dtype.is_float:
            return self._float(op, dtype, args)
        return self._bool(op, args) if dtype is b1 else self._integer(op, dtype, args, by)

    def rounded(self, text: str, dtype: DType) -> str:
        """Round a float32 to the 16-bit type that it stands for."""
        return self.helper(f"round_{dtype.name}", text) if is_half(dtype) else text

    def extreme(self, op: str, dtype: DType, a: str, b: str) -> str:
        """``maximum`` or ``minimum`` of ``a`` and the running value ``b``."""
        if dtype is b1:
            return f"{a} {'|' if op == 'maximum' else '&'} {b}"
        return self.helper(op, a, b) if dtype.is_float else f"{op[:3]}({a}, {b})"

    def _float(self, op: str, dtype: DType, args: list[str]) -> str:
        if op in ("maximum", "minimum"):
            return self.extreme(op, dtype, *args)
        if op == "neg":
            return f"-{args[0]}"
        if op == "abs":
            return f"abs({args[0]})"
        if op in ("add", "sub", "mul", "div"):
            return self.rounded(f"{args[0]} {_OPERATORS[op]} {args[1]}", dtype)
        if op == "fma":
            return self.helper("fma", *args)
        if op in _FLOAT_CALLS:
            return self.rounded(self.float_call(op, args), dtype)
        raise _undefined(op, dtype)

    def float_call(self, op: str, args: list[str]) -> str:
        """A call of an operator on floats that machines have an instruction for."""
        return f"{_FLOAT_CALLS[op]}({', '.join(args)})"

    def _bool(self, op: str, args: list[str]) -> str:
        if op in ("maximum", "minimum"):
            return self.extreme(op, b1, *args)
        if op == "not":
            return f"not {args[0]}"
        if op in ("and", "or", "xor"):
            return f"{args[0]} {_OPERATORS[op]} {args[1]}"
        raise _undefined(op, b1)

    def _integer(self, op: str, dtype: DType, args: list[str], by: Literal | None) -> str:
        kind = scalar_type(dtype)
        unsigned = dtype.kind == "u"
        match op:
            case "add" | "sub" | "mul" | "and" | "or" | "xor":
                text = f"{args[0]} {_OPERATORS[op]} {args[1]}"
            case "maximum" | "minimum":
                return self.extreme(op, dtype, *args)
            case "neg":
                text = f"{kind}(0) - {args[0]}"
            case "abs":
                text = args[0] if unsigned else f"abs({args[0]})"
            case "not":
                text = f"~{args[0]}"
            case "quo" | "rem":
                text = self.helper(f"unsigned_{op}" if unsigned else op, *args)
            case "shl" | "lshr" | "ashr":
                return self._shift(op, dtype, args, by)
            case "popcount" | "clz":
                text = self.helper(op, *args, str(dtype.bits))
            case _:
                raise _undefined(op, dtype)
        return f"{kind}({text})"

    def _shift(self, op: str, dtype: DType, args: list[str], by: Literal | None) -> str:
        # Right shifts depend on the sign of the type: take the one that the operator means.
        sign = {"shl": dtype.name[0], "lshr": "u", "ashr": "i"}[op]
        shifted = f"np.{'u' * (sign == 'u')}int{dtype.bits}"
        a, amount = (text if sign == dtype.name[0] else f"{shifted}({text})" for text in args)
        if by is not None and 0 <= by.item() < dtype.bits:
            text = f"{a} {'<<' if op == 'shl' else '>>'} {shifted}({by.item()})"
        else:
            text = self.helper(op, a, amount, str(dtype.bits))
        return f"{scalar_type(dtype)}({text})" if sign == dtype.name[0] else f"{scalar_type(dtype)}({shifted}({text}))"

    # ---- conversions

    def cast(self, text: str, of: DType, to: DType) -> str:
        """Conversion by value."""
        if of is to:
            return text
        if to is b1:
            return f"{text} != {constant(0, of)}"
        if of.is_float and not to.is_float:
            return self.helper(f"to_{to.name}", text)
        if is_half(to):
            if of.bits <= 16 or of is f32:
                return self.rounded(f"np.float32({text})", to)
            if to is bf16 and of.bits == 64 and not of.is_float:
                text = self.helper(f"without_low_digits_{of.name}", text)
            exact = text if of is f64 else f"np.float64({text})"  # one rounding on the way to 16 bits, not two
            return self.rounded(self.helper("to_odd", exact), to)
        if is_half(of) and to is f32:
            return text
        return f"{scalar_type(to)}({text})"

    def bitcast(self, text: str, of: DType, to: DType) -> str:
        """The same bits as another type of equal width."""
        bits = self.stored(text, of)
        kind, into = array_type(of), array_type(to)
        # Numba wants to see the type right before `view`.
        return self.loaded(bits if kind == into else f"{kind}({bits}).view({into})", to)

    def stored(self, text: str, dtype: DType) -> str:
        """A value as its array holds it: 16-bit floats as their bits."""
        return self.helper(f"f32_to_{dtype.name}", text) if is_half(dtype) else text

    def loaded(self, text: str, dtype: DType) -> str:
        """Inverse of `stored`."""
        return self.helper(f"{dtype.name}_to_f32", text) if is_half(dtype) else text


def scalar_type(dtype: DType) -> str:
    """How the source spells the type of a value, e.g. ``np.float32``."""
    return "np.float32" if is_half(dtype) else f"np.{'bool_' if dtype is b1 else dtype.numpy.name}"


def array_type(dtype: DType) -> str:
    """How the source spells the element type of an array; 16-bit floats are held as their bits."""
    return "np.uint16" if is_half(dtype) else scalar_type(dtype)


def constant(value: float | int | bool, dtype: DType) -> str:
    """A typed constant, e.g. ``np.float32(0.5)``."""
    if dtype is b1:
        return str(bool(value))
    if not dtype.is_float:
        return f"{scalar_type(dtype)}({int(value)})"
    number = float(value)
    if not np.isfinite(number):
        text = "np.nan" if number != number else "np.inf" if number > 0 else "-np.inf"
    else:
        text = repr(number) if dtype in (f64, f16, bf16) else str(np.float32(number))
    return f"{scalar_type(dtype)}({text})"


def _undefined(op: str, dtype: DType) -> LoweringError:
    return LoweringError(f"{op} is not defined on {dtype}; cast its operands to a type that has it first.")
