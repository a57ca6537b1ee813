"""Scalar expressions with their dtypes filled in: what a loop body computes for one equation at one point."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from graphad.ir.lowering import COMPARISONS, PAIRS, Arg, Call, Const, Scalar, parse_scalar
from graphad.ir.types import DType, Literal, b1, bf16, f16, f32, literal, u32

#: Half precision accumulates in single precision.
ACCUMULATORS: Final[dict[DType, DType]] = {f16: f32, bf16: f32}

#: What an operator costs, in additions; those not listed cost 1, elementary functions 8.
_COSTS: Final[dict[str, int]] = {
    "div": 4,
    "sqrt": 4,
    "quo": 20,
    "rem": 20,
    "pow": 20,
    "threefry2x32": 60,
    "pair0": 0,
    "pair1": 0,
}
_ELEMENTARY: Final = 8
_CHEAP_OPS: Final = frozenset(
    {"add", "sub", "mul", "fma", "neg", "abs", "maximum", "minimum", "floor", "ceil", "round", "trunc", "and", "or",
     "xor", "not", "shl", "lshr", "ashr", "popcount", "clz", "select", "cast", "bitcast", "copysign", *COMPARISONS}
)  # fmt: skip

#: The next value of each kind of scan, from the running one ({0}) and the elements of its operands.
SCAN_STEPS: Final[dict[str, Scalar]] = {
    kind: parse_scalar(text)
    for kind, text in {
        "sum": "{0} + {1}",
        "prod": "{0} * {1}",
        "max": "maximum({0}, {1})",
        "min": "minimum({0}, {1})",
        # The difference is nan where both are the same infinity, or one is nan.
        "logsumexp": "select({0} - {1} == {0} - {1}, maximum({0}, {1}) + log1p(exp(-abs({0} - {1}))), {0} + {1})",
        "linear": "{1} * {0} + {2}",
    }.items()
}


class Instruction(NamedTuple):
    """``op(args)``; an argument is the number of an operand, ``~k`` for the result of instruction k, or a constant."""

    op: str
    dtype: DType
    args: tuple[int | Literal, ...]


class Template(NamedTuple):
    """The instructions of one scalar expression in order, its result (as an argument is written), and what it costs."""

    instructions: tuple[Instruction, ...]
    result: int | Literal
    cost: int


@lru_cache(maxsize=8192)
def template(scalar: Scalar, operands: tuple[DType, ...], out: DType) -> Template:
    """Type ``scalar`` over operands of these dtypes, for a result of dtype ``out``.

    A constant takes the dtype of what stands beside it; ``cast`` and ``bitcast`` give ``out``.
    """
    writer = _Writer(operands, out)
    result = writer.write(scalar, out)
    cost = sum([cost_of(i.op) for i in writer.instructions])
    return Template(tuple(writer.instructions), result, cost)


def cost_of(op: str) -> int:
    """What an operator costs, in additions."""
    return _COSTS.get(op, 1 if op in _CHEAP_OPS else _ELEMENTARY)


def copy_template(dtype: DType) -> Template:
    """The operand as it is."""
    return template(Arg(0), (dtype,), dtype)


class _Writer:
    def __init__(self, operands: tuple[DType, ...], out: DType) -> None:
        self.operands = operands
        self.out = out
        self.instructions: list[Instruction] = []
        self.known: dict[Instruction, int] = {}

    def write(self, scalar: Scalar, wanted: DType) -> int | Literal:
        """Append what ``scalar`` needs; ``wanted`` is the dtype of a bare constant."""
        match scalar:
            case Arg(index=index):
                return index
            case Const(value=value):
                return literal(value, wanted)
            case Call(op=op, args=args):
                dtype, dtypes = self.types(op, args, wanted)
                written = tuple([self.write(a, d) for a, d in zip(args, dtypes, strict=True)])
                return self.append(Instruction(op, dtype, written))

    def append(self, instruction: Instruction) -> int:
        found = self.known.get(instruction)
        if found is None:
            found = self.known[instruction] = ~len(self.instructions)
            self.instructions.append(instruction)
        return found

    def types(self, op: str, args: tuple[Scalar, ...], wanted: DType) -> tuple[DType, list[DType]]:
        """The dtype of ``op(args)``, and of each argument where it is a constant."""
        if op in ("cast", "bitcast"):
            return self.out, [self.out]
        if op in PAIRS or op == "threefry2x32":
            return u32, [u32] * len(args)
        if op == "select":
            common = self.common(args[1:], wanted)
            return common, [b1, common, common]
        if op in COMPARISONS:
            return b1, [self.common(args, self.out)] * 2
        common = self.common(args, wanted)
        return common, [common] * len(args)

    def common(self, args: tuple[Scalar, ...], wanted: DType) -> DType:
        """The dtype of the first of ``args`` that has one of its own."""
        return next((d for d in map(self.dtype, args) if d is not None), wanted)

    def dtype(self, scalar: Scalar) -> DType | None:
        match scalar:
            case Arg(index=index):
                return self.operands[index]
            case Const():
                return None
            case Call(op=op, args=args):
                if op in ("cast", "bitcast"):
                    return self.out
                if op in COMPARISONS:
                    return b1
                if op in PAIRS or op == "threefry2x32":
                    return u32
                parts = args[1:] if op == "select" else args
                return next((d for d in map(self.dtype, parts) if d is not None), None)


def identity_of(combine: str, dtype: DType) -> Literal:
    """What a reduction or scan starts from, and gives over no elements."""
    match combine:
        case "sum" | "or" | "linear":
            return literal(0, dtype)
        case "prod" | "and":
            return literal(1, dtype)
        case _:
            return extreme(dtype, least=combine in ("max", "logsumexp"))


def extreme(dtype: DType, *, least: bool) -> Literal:
    """The least or the greatest value of ``dtype``, infinite for floats."""
    if dtype.is_float:
        return literal(float("-inf") if least else float("inf"), dtype)
    if dtype is b1:
        return literal(not least, dtype)
    low = -(1 << (dtype.bits - 1)) if dtype.kind == "i" else 0
    return literal(low if least else (1 << (dtype.bits - (dtype.kind == "i"))) - 1, dtype)
